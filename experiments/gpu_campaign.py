"""What an accelerator says of semiseg in a few minutes, in order of worth: does it train, a step
beside PyTorch, trials side by side, a generator, the published recipes with 3 patients.

Command: python experiments/gpu_campaign.py --minutes 8 --out DIR --acdc ACDC
         (--only steps,smoke … for some parts; --small for tiny sizes, to try the script on a CPU)

A row of ``campaign.csv`` is written as soon as it is measured, the whole output of every command
goes into ``campaign.log``. Parts that have a row of exit code 0 are left out by a second call.
Programs compile together and are timed one by one. ``semiseg`` must be importable by this Python;
ACDC is in the SSL4MIS layout.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
COLUMNS = ("part", "what", "exit", "seconds", "result", "command")
PARTS = ("machine", "smoke", "import", "steps", "population", "sweeps", "recipes")
SEMISEG = "import sys; from semiseg.cli.main import main; sys.exit(main(sys.argv[1:]))"
RECIPES = {"supervised": "ssl4mis", "bcp": "bcp-acdc", "unimatch": "unimatch-acdc"}


class Work(NamedTuple):
    """A command under way."""

    part: str
    what: str
    command: tuple[str, ...]
    process: subprocess.Popen[str]
    began: float
    ready: Path | None


class Campaign:
    """Commands with time limits, and the table of what they said."""

    def __init__(self, args: argparse.Namespace):
        self.out: Path = args.out
        self.end = time.monotonic() + 60 * args.minutes
        self.small: bool = args.small
        self.patience: float = args.patience
        self.work = Path(args.work)
        self.out.mkdir(parents=True, exist_ok=True)
        self.work.mkdir(parents=True, exist_ok=True)
        self.table = self.out / "campaign.csv"
        self.done: set[tuple[str, str]] = set()
        if self.table.exists():
            with self.table.open(newline="") as file:
                rows = list(csv.DictReader(file))
            self.done = {(row["part"], row["what"]) for row in rows if row["exit"] == "0"}
        else:
            self._append(COLUMNS)

    @property
    def left(self) -> float:
        """Seconds left."""
        return self.end - time.monotonic()

    def _append(self, row: Sequence[Any]) -> None:
        with self.table.open("a", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow(row)

    def start(self, part: str, what: str, *command: str, ready: bool = False) -> Work | None:
        """Start a command in the background, unless it has been done."""
        if (part, what) in self.done or self.left < 10:
            return None
        file = self.work / f"ready-{len(os.listdir(self.work))}-{time.monotonic_ns()}"
        if ready:
            command = (*command, f"--ready={file}")
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        return Work(part, what, command, process, time.monotonic(), file if ready else None)

    def finish(self, work: Work | None, limit: float) -> str:
        """Wait for a command, write its row, and return what it printed."""
        if work is None:
            return ""
        code: int | str
        try:
            output, _ = work.process.communicate(
                timeout=max(1.0, min(limit * self.patience, self.left))
            )
            code = work.process.returncode
        except subprocess.TimeoutExpired:
            work.process.kill()
            output, _ = work.process.communicate()
            code = "time limit"
        seconds = round(time.monotonic() - work.began, 1)
        lines = [line for line in output.splitlines() if line.strip()]
        last = lines[-1] if lines else ""
        self._append((work.part, work.what, code, seconds, last[:400], " ".join(work.command)))
        with (self.out / "campaign.log").open("a") as log:
            log.write(f"\n##### {work.what}: exit {code}, {seconds} s: {work.command}\n{output}\n")
        print(f"{work.what}: exit {code}, {seconds} s, {last[:150]}", flush=True)
        return output

    def run(self, part: str, what: str, *command: str, limit: float = 120) -> str:
        """Run a command alone."""
        return self.finish(self.start(part, what, *command), limit)

    def in_turn(self, works: Sequence[Work | None], compile_limit: float, limit: float) -> None:
        """Let commands compile together, then time one after another."""
        waiting = [work for work in works if work is not None]
        until = time.monotonic() + min(compile_limit * self.patience, self.left)
        while time.monotonic() < until:
            running = [w for w in waiting if w.process.poll() is None]
            if all(w.ready is None or w.ready.exists() for w in running):
                break
            time.sleep(0.2)
        late = [w for w in waiting if w.ready and not w.ready.exists()]
        for work in late:
            work.process.kill()
            self.finish(work, 5)
        for work in waiting:
            if work in late:
                continue
            if work.ready:
                work.ready.unlink(missing_ok=True)
            self.finish(work, limit)


def semiseg(*words: str) -> tuple[str, ...]:
    """A command of the package, without its console script."""
    return (sys.executable, "-c", SEMISEG, *words)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--acdc", type=Path, help="ACDC in the SSL4MIS layout")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, separated by commas")
    parser.add_argument("--sweeps", default="", help="grids run whole, separated by commas")
    parser.add_argument("--work", default="/tmp/semiseg_campaign")
    parser.add_argument("--small", action="store_true", help="tiny sizes")
    parser.add_argument("--patience", type=float, default=1, help="factor of all time limits")
    args = parser.parse_args()
    # several processes share the device, and none may take three quarters of it
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    os.environ["SEMISEG_DATA"] = str(Path(args.work).resolve() / "data")
    campaign = Campaign(args)
    parts = args.only.split(",")
    background = _import(campaign, args.acdc) if "import" in parts else []
    for part in parts:
        if part == "machine":
            _machine(campaign)
        if part == "smoke":
            _smoke(campaign)
        if part == "steps":
            _steps(campaign)
        if part in ("population", "sweeps", "recipes"):
            for work in background:
                campaign.finish(work, 120)
            background = []
        if part == "population":
            _population(campaign)
        if part == "sweeps":
            _sweeps(campaign, [word for word in args.sweeps.split(",") if word])
        if part == "recipes":
            _recipes(campaign)
    print(f"{campaign.left:.0f} s left")


def _machine(campaign: Campaign) -> None:
    fields = "--query-gpu=name,driver_version,memory.total"
    if shutil.which("nvidia-smi"):
        campaign.run("machine", "device", "nvidia-smi", fields, "--format=csv,noheader", limit=20)
    packages = "'jax', 'flax', 'torch', 'semiseg'"
    code = f"from importlib.metadata import version; print(*map(version, [{packages}]))"
    campaign.run("machine", "versions: jax, flax, torch, semiseg", sys.executable, "-c", code)


def _import(campaign: Campaign, acdc: Path | None) -> list[Work | None]:
    """Start the imports of ACDC and of its tuning set."""
    if acdc is None:
        return []
    tuning = campaign.work / "acdc_tuning"
    script = str(HERE / "acdc_tuning_set.py")
    campaign.run(
        "import", "tuning set", sys.executable, script, f"--source={acdc}", f"--out={tuning}"
    )
    common = ("data", "import", "--format=ssl4mis-acdc")
    whole = semiseg(*common, f"--source={acdc}", "--name=acdc")
    links = semiseg(*common, f"--source={tuning}", "--name=acdc_tuning", "--follow-links")
    return [
        campaign.start("import", "acdc", *whole),
        campaign.start("import", "acdc_tuning", *links),
    ]


def _smoke(campaign: Campaign) -> None:
    """Does it train at all, a network and a generator, beside each other."""
    runs = campaign.work / "runs"
    steps = "20" if campaign.small else "300"
    words = ["--data=nuclei", "--labels=16", "--image-size=64", "--steps=40"]
    train = semiseg("train", *words, "--method=mean_teacher", f"--out={runs / 'first'}")
    words = ["--data=nuclei", "--labels=32", f"--steps={steps}", f"--out={runs / 'gan'}"]
    first = campaign.start("smoke", "mean teacher, nuclei, 40 steps", *train)
    second = campaign.start(
        "smoke", f"generator, nuclei, {steps} steps", *semiseg("gan", "fit", *words)
    )
    campaign.finish(first, 150)
    campaign.finish(second, 150)


def _steps(campaign: Campaign) -> None:
    """A step here and in PyTorch."""
    script = str(HERE / "benchmarks" / "gpu_step.py")
    cases: list[tuple[str, list[str], bool]] = []
    flat = ["--batch=2", "--size=32", "--width=4"] if campaign.small else ["--batch=24"]
    volume = ["--dims=3", "--norm=instance", "--batch=2"]
    volume += ["--size=16", "--width=2"] if campaign.small else ["--size=96", "--width=32"]
    cases.append(("U-Net 16-256", flat, True))
    if not campaign.small:
        wide = [*flat, "--width=32", "--norm=instance"]
        cases.append(("U-Net 32-512, instance", wide, False))
    cases.append(("3D U-Net 32-256, 2 x 96³, instance", volume, False))
    works = []
    for name, words, both in cases:
        for precision in ("float32", "bfloat16"):
            if not both and precision == "float32":
                continue
            words_here = [*words, f"--precision={precision}"]
            contenders: list[tuple[str, list[str]]] = [("semiseg", [])]
            if find_spec("torch"):
                contenders += [("torch", []), ("torch", ["--compile"])]
            for which, more in contenders:
                if more and not both:
                    continue
                what = f"{name}, {precision}: {' '.join([which, *more])}"
                command = (sys.executable, script, which, *words_here, *more)
                works.append(campaign.start("steps", what, *command, ready=True))
    # the same step with less choosing among kernels: what compiles faster
    if not campaign.small:
        os.environ["XLA_FLAGS"] = "--xla_gpu_autotune_level=0"
        what = "U-Net 16-256, bfloat16: semiseg, xla_gpu_autotune_level=0"
        command = (sys.executable, script, "semiseg", *flat, "--precision=bfloat16")
        works.append(campaign.start("steps", what, *command, ready=True))
        del os.environ["XLA_FLAGS"]
    campaign.in_turn(works, compile_limit=150, limit=30)


def _population(campaign: Campaign) -> None:
    """Trials side by side: time of a step each, then the grid of the baseline."""
    grid = HERE / "sweeps" / "acdc_baseline.yaml"
    widths = [1, 2] if campaign.small else [1, 8, 24]
    if campaign.small:
        text = grid.read_text().replace("3000", "4").replace("{value: 128}", "{value: 32}")
        grid = campaign.work / "acdc_baseline.yaml"
        grid.write_text(text.replace("bfloat16", "float32"))
    script = str(HERE / "population.py")
    works = []
    for width in widths:
        command = (sys.executable, script, f"--sweep={grid}", f"--side-by-side={width}")
        steps = "--measure=2" if campaign.small else "--measure=40"
        works.append(
            campaign.start("population", f"{width} side by side", *command, steps, ready=True)
        )
    campaign.in_turn(works, compile_limit=150, limit=60)
    with campaign.table.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["part"] == "population"]
    timed = [json.loads(row["result"]) for row in rows if row["result"].startswith("{")]
    if not timed:
        return
    fastest = min(timed, key=lambda result: result["step_ms"])["side_by_side"]
    command = (sys.executable, script, f"--sweep={grid}", f"--side-by-side={fastest}")
    table = campaign.out / "acdc_baseline.csv"
    limit = max(20.0, campaign.left - 20)
    minutes = f"--minutes={0.2 if campaign.small else limit / 60 * 0.8}"
    campaign.run(
        "population",
        f"grid, {fastest} side by side",
        *command,
        f"--csv={table}",
        minutes,
        limit=limit,
    )


def _sweeps(campaign: Campaign, grids: Sequence[str]) -> None:
    """Whole grids beside each other."""
    works = []
    for grid in grids:
        path, _, jobs = grid.partition(":")
        out = campaign.work / Path(path).stem
        words = ["sweep", path, f"--out={out}", "--test", f"--jobs={jobs or 1}"]
        works.append(campaign.start("sweeps", Path(path).stem, *semiseg(*words)))
    for work in works:
        campaign.finish(work, campaign.left - 10)


def _recipes(campaign: Campaign) -> None:
    """The published recipes with 3 patients, beside each other, as long as the time allows."""
    works = []
    for method, preset in RECIPES.items():
        words = ["--data=acdc", "--labels=3", f"--preset={preset}", f"--method={method}"]
        if campaign.small:
            words += ["--batch=4", "--image-size=32", "--steps=12", "--log-every=2"]
        else:
            words += ["--net.dtype=bfloat16"]
        out = campaign.work / "runs" / method
        works.append(campaign.start("recipes", method, *semiseg("train", *words, f"--out={out}")))
    for work in works:
        campaign.finish(work, campaign.left - 10)


if __name__ == "__main__":
    main()
