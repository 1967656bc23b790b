"""Kill -9 a sweep of 40 short trials at random moments, restart it each time, and compare it with
one that was never disturbed.

Command: python experiments/benchmarks/kill_sweep.py --kills 10
    --json experiments/results/kill_sweep.json
(minutes; exit 1 if anything differs)
Once with one worker and once with two (--jobs 2, parent and workers killed together). One kill in
four falls into the start (imports, compilation, restoring); the others fall into training,
validation and saving, or between two trials. On two cores, so that one and two workers compute the
same bits: a device each.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

STEPS = 30
LINE = 5
TRIALS = 40
GRID: dict[str, Any] = {
    "method": "grid",
    "parameters": {
        "seed": {"values": [0, 1]},
        "label_subset": {"values": [0, 1, 2, 3, 4]},
        "labels": {"values": [4, 8]},
        "method": {"values": ["supervised", "mean_teacher"]},
        "data": {"value": "nuclei"},
        "image_size": {"value": 32},
        "net.widths": {"value": [4, 8]},
        "batch": {"value": 4},
        "steps": {"value": STEPS},
        "eval_every": {"value": STEPS // 2},
        "log_every": {"value": LINE},
        "checkpoint_seconds": {"value": 0},
    },
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
    with tempfile.TemporaryDirectory() as place:
        os.environ |= {"JAX_COMPILATION_CACHE_DIR": f"{place}/programs", "JAX_NUM_CPU_DEVICES": "1"}
        grid = Path(place) / "grid.yaml"
        whole = Path(place) / "whole"
        grid.write_text(yaml.safe_dump(GRID | {"run_cap": 2}))
        start(
            grid, Path(place) / "warm", 1
        ).wait()  # compiles both programs: a start is then as long as after a kill
        grid.write_text(yaml.safe_dump(GRID))
        began = time.monotonic()
        process = start(grid, whole, 1)
        while process.poll() is None and not list(whole.glob("*/metrics.jsonl")):
            time.sleep(0.02)
        first = time.monotonic() - began
        process.wait()
        trial = (time.monotonic() - began - first) / TRIALS
        expected = {folder.name: content(folder) for folder in trials(whole)}
        assert len(expected) == TRIALS, (
            f"the undisturbed sweep finished {len(expected)} of {TRIALS} trials"
        )
        disturbed: list[dict[str, Any]] = []
        for jobs in (1, 2):
            left = args.kills
            while left > 0:  # a sweep may end before its last kill: then another one takes the rest
                disturbed.append(
                    disturb(
                        grid,
                        Path(place) / f"sweep{len(disturbed)}",
                        jobs,
                        left,
                        rng,
                        first,
                        trial,
                        expected,
                    )
                )
                left -= disturbed[-1]["kills"]
    found = {
        "trials": TRIALS,
        "steps": STEPS,
        "start_s": round(first, 2),
        "trial_s": round(trial, 2),
        "sweeps": disturbed,
    }
    shown = []
    for sweep in disturbed:
        shown.append({k: v for k, v in sweep.items() if k != "moments"})
    print(json.dumps({"sweeps": shown}, indent=1))
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")
    good = all(
        s["finished"] == TRIALS
        and not s["lost"]
        and not s["repeated"]
        and not s["different"]
        and s["each_step_once"]
        for s in disturbed
    )
    return int(not good)


def disturb(
    grid: Path,
    out: Path,
    jobs: int,
    kills: int,
    rng: random.Random,
    first: float,
    trial: float,
    expected: dict[str, tuple[Any, ...]],
) -> dict[str, Any]:
    """Kill, restart, and at the end let it finish. ``lost`` and ``repeated`` are finished trials
    whose summary vanished or was written again.
    """
    moments: list[dict[str, float]] = []
    stamps: dict[str, int] = {}
    lost = set()
    repeated = set()

    def look() -> None:
        now = {folder.name: (folder / "summary.json").stat().st_mtime_ns for folder in trials(out)}
        lost.update(stamps.keys() - now.keys())
        repeated.update(name for name in stamps.keys() & now.keys() if now[name] != stamps[name])
        stamps.update(now)

    while len(moments) < kills and len(stamps) < TRIALS:
        early = rng.random() < 0.25
        goal = len(stamps) + rng.randint(
            0,
            max(1, round(1.4 * TRIALS / kills)),
        )
        began = time.monotonic()
        process = start(grid, out, jobs)
        clock = time.time()
        if early:
            time.sleep(rng.uniform(0, first))
        else:
            while process.poll() is None and (len(trials(out)) < goal or not training(out, clock)):
                time.sleep(0.01)
            time.sleep(rng.uniform(0, trial))
        if process.poll() is None:
            kill(process)
            look()
            unfinished = [f for f in out.glob("*/metrics.jsonl") if f.parent.name not in stamps]
            lines = sum(f.read_bytes().count(b"\n") for f in unfinished)
            moments.append(
                {
                    "after_s": round(time.monotonic() - began, 2),
                    "finished": len(stamps),
                    "unfinished_lines": lines,
                }
            )
            print(
                f"--jobs {jobs}, kill {len(moments)}: after {moments[-1]['after_s']} s, "
                f"{len(stamps)} trials finished",
                flush=True,
            )
        process.wait()
    code = start(grid, out, jobs).wait()
    look()
    found = {folder.name: content(folder) for folder in trials(out)}

    def steps_of(folder: Path) -> list[int]:
        lines = (folder / "metrics.jsonl").read_text().splitlines()
        return [json.loads(line)["step"] for line in lines]

    steps = [steps_of(folder) for folder in trials(out)]
    return {
        "jobs": jobs,
        "kills": len(moments),
        "moments": moments,
        "finished": len(found),
        "exit_code": code,
        "lost": sorted(lost),
        "repeated": sorted(repeated),
        "different": sorted(name for name in expected if found.get(name) != expected[name]),
        "each_step_once": all(s == list(range(LINE, STEPS + 1, LINE)) for s in steps),
    }


def start(grid: Path, out: Path, jobs: int) -> subprocess.Popen[bytes]:
    command = [
        sys.executable,
        "-m",
        "semiseg.cli.main",
        "sweep",
        str(grid),
        f"--out={out}",
        f"--jobs={jobs}",
    ]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def kill(process: subprocess.Popen[bytes]) -> None:
    """The sweep's process and its workers, whose parent is looked up before it dies; returns when
    all are gone.
    """
    workers = [
        int(p.parent.name) for p in Path("/proc").glob("[0-9]*/stat") if parent(p) == process.pid
    ]
    for pid in [process.pid, *workers]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()
    while any(
        Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes()
        for pid in workers
    ):
        time.sleep(0.01)


def parent(stat: Path) -> int | None:
    try:
        return int(stat.read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError):  # it ended while we looked
        return None


def training(out: Path, since: float) -> bool:
    """Whether a trial that is not finished has logged since then."""
    logs = (
        file for file in out.glob("*/metrics.jsonl") if not (file.parent / "summary.json").exists()
    )
    with contextlib.suppress(FileNotFoundError):  # it is being replaced
        return any(file.stat().st_mtime >= since for file in logs)
    return False


def trials(out: Path) -> list[Path]:
    return sorted(file.parent for file in out.glob("*/summary.json"))


def content(folder: Path) -> tuple[Any, ...]:
    """What a trial found, without how long it took."""

    def untimed(record):
        return {k: v for k, v in record.items() if not k.startswith("seconds")}

    lines = [
        untimed(json.loads(line)) for line in (folder / "metrics.jsonl").read_text().splitlines()
    ]
    return (
        (folder / "weights.safetensors").read_bytes(),
        (folder / "per_subject.csv").read_text(),
        untimed(json.loads((folder / "summary.json").read_text())),
        lines,
    )


if __name__ == "__main__":
    sys.exit(main())
