"""How time, memory and disk grow with the size of what comes in, a command at a time.

Command: python experiments/benchmarks/scale.py --csv experiments/results/scale.csv
(an hour of one core; 6 GB of disk and 6 GB of memory at the largest sizes)
Every step is one `semiseg` command in a process of its own: seconds of the clock, seconds of all
its cores, and the peak of its memory (ru_maxrss) are written down as soon as it ends. The same
command goes on after the last step of the file. --cases and --most leave out cases and large sizes.
"""

from __future__ import annotations

import argparse
import csv
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from scale_commands import STEPS_OF, Step

HERE = Path(__file__).parent
COLUMNS = ("case", "size", "step", "wall_s", "cpu_s", "peak_mib", "disk_mib", "exit")
SIZES = {
    "images": (1_000, 10_000, 30_000, 100_000),
    "volume": (20, 200, 2_000),
    "runs": (100, 1_000, 10_000),
    "trials": (100, 1_000, 4_000, 10_000),
    "classes": (5, 64, 255),
    "channels": (1, 8, 64),
}
LIMIT_S = 3000


def main() -> int:
    """Measure what the table lacks; returns 1 where a command failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--csv", type=Path, required=True)
    parser.add_argument("--cases", default=",".join(SIZES))
    parser.add_argument("--most", type=float, default=math.inf, help="largest size of a case")
    parser.add_argument("--work", type=Path, help="folder for the files, which are removed")
    parser.add_argument("--growth", action="store_true", help="print the exponents of a table")
    args = parser.parse_args()
    if args.growth:
        print(growth(args.csv))
        return 0
    code = 0
    for case in args.cases.split(","):
        for size in SIZES[case]:
            if size <= args.most:
                code |= measure(case, size, args.csv, args.work)
    return code


def measure(case: str, size: int, table: Path, work: Path | None) -> int:
    """Measure the steps of a case that the table lacks."""
    with tempfile.TemporaryDirectory(dir=work) as place:
        folder = Path(place)
        steps = STEPS_OF[case](folder)
        done = {row["step"] for row in rows_of(table, case, size)}
        if {step.name for step in steps} <= done:
            return 0
        maker = [sys.executable, str(HERE / "scale_sources.py"), case, str(size), place]
        subprocess.run(maker, check=True)
        code = 0
        for step in steps:
            result = run(step, folder)
            code |= result["exit"]
            if step.name not in done:
                add(
                    table,
                    {"case": case, "size": size, "step": step.name, **result},
                )
    return code


def run(step: Step, folder: Path) -> dict[str, float]:
    """Run a command; returns what it took."""
    command = [sys.executable, "-m", "semiseg.cli.main", *step.words]
    log = folder / f"{step.name}.log"
    environment = os.environ | {
        "SEMISEG_DATA": str(folder / "root"),
        "JAX_COMPILATION_CACHE_DIR": str(folder / "programs"),
    }
    began = time.perf_counter()
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env=environment, cwd=folder)
        until = began + LIMIT_S
        first = None
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            now = time.perf_counter()
            if first is None and step.until is not None and has_line(step.until):
                first = now - began
            if pid:
                break
            if now > until:
                process.kill()
            time.sleep(0.02)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        print(f"{' '.join(step.words)}: {log.read_text()[-600:]}", file=sys.stderr)
    disk = 0.0
    if step.makes is not None:
        disk = used(step.makes)
    return {
        "wall_s": round(first or now - began, 2),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 2),
        "peak_mib": round(usage.ru_maxrss / 1024),
        "disk_mib": round(disk, 1),
        "exit": abs(process.returncode),
    }


def has_line(file: Path) -> bool:
    return file.exists() and file.stat().st_size > 0


def used(folder: Path) -> float:
    """MiB of the files below a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 2**20


# ------------------------------------------------------------------ the table
def rows_of(table: Path, case: str, size: int) -> Iterable[dict[str, str]]:
    """The rows of a case and size that are there already."""
    for row in read(table):
        if (row["case"], row["size"]) == (case, str(size)):
            yield row


def read(table: Path) -> list[dict[str, str]]:
    """All rows."""
    if not table.exists():
        return []
    with table.open(newline="") as file:
        return list(csv.DictReader(file))


def add(table: Path, row: dict[str, object]) -> None:
    """Append a row."""
    is_new = not table.exists()
    with table.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerow(row)
    print(*(str(value) for value in row.values()), flush=True)


def growth(table: Path) -> str:
    """A Markdown table of the steps: seconds and memory by size, and the exponent of the seconds of
    all cores between the two largest sizes.
    """
    by_step: dict[tuple[str, str], list[dict[str, str]]] = {}
    for row in read(table):
        by_step.setdefault((row["case"], row["step"]), []).append(row)
    lines = ["| case | step | sizes | seconds | MiB | exponent |", "|---|---|---|---|---|---|"]
    for (case, step), rows in by_step.items():
        rows = sorted(rows, key=lambda row: int(row["size"]))
        cells = [", ".join(row[key] for row in rows) for key in ("size", "cpu_s", "peak_mib")]
        lines.append(f"| {case} | {step} | {' | '.join(cells)} | {exponent(rows)} |")
    return "\n".join(lines)


def exponent(rows: Sequence[dict[str, str]]) -> str:
    """b of seconds = a + c·size^b between the two largest sizes, with a such that the smallest size
    is on the line of b = 1 to the middle one; – where growth is within the noise of a process.
    """
    if len(rows) < 3:
        return "–"
    seconds = [float(row["cpu_s"]) for row in rows[-3:]]
    sizes = [int(row["size"]) for row in rows[-3:]]
    each = (seconds[1] - seconds[0]) / (sizes[1] - sizes[0])
    start = seconds[0] - each * sizes[0]
    if seconds[1] - start < 1 or seconds[2] - seconds[1] < 1:
        return "–"
    ratio = math.log((seconds[2] - start) / (seconds[1] - start))
    return f"{ratio / math.log(sizes[2] / sizes[1]):.2f}"


if __name__ == "__main__":
    sys.exit(main())
