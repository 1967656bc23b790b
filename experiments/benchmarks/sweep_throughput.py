"""What a trial of a sweep costs beside its training steps and its evaluation, and what the same
trial costs as a process of its own.

Command: python experiments/benchmarks/sweep_throughput.py
    --json experiments/results/sweep_throughput.json
(minutes; exit 1 above --goal)
A sweep of short trials on the built-in nuclei set, in a fresh process, then every trial once more
as `semiseg train`; both find their compiled programs in a warm cache. Own work is the time inside
the compiled steps, waited for, and inside prediction and scoring; what is left of the clock is the
cost: budget and pools, initial state, checkpoint, weights, tables, examples, claims. The first
trial also imports and loads.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

FIXED = {
    "data": "nuclei",
    "image_size": 64,
    "zoom": 1.5,
    "net.widths": [8, 16, 32, 64],
    "batch": 8,
    "log_every": 20,
    "checkpoint_seconds": 600,
}
AXES = {"labels": [8, 16, 32], "label_subset": [0, 1], "seed": [0, 1], "lr": [0.003, 0.001]}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument(
        "--goal", type=float, default=0.5, help="most seconds a trial may cost beside its own work"
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.inside:
        return inside(args.inside, args.trials, args.steps)
    from semiseg.runner.versions import environment
    from semiseg.sweeps.spec import points, read

    with tempfile.TemporaryDirectory() as place:
        os.environ["JAX_COMPILATION_CACHE_DIR"] = f"{place}/programs"
        again = [
            sys.executable,
            __file__,
            f"--trials={args.trials}",
            f"--steps={args.steps}",
            f"--inside={place}/",
        ]
        cold = clock(
            lambda: subprocess.run(
                [again[0], again[1], "--trials=1", again[3], f"{again[4]}cold"], check=True
            )
        )
        sweep = clock(lambda: subprocess.run([*again[:-1], f"{again[-1]}sweep"], check=True))
        trials = json.loads((Path(place) / "sweep" / "timed.json").read_text())
        commands = [
            command(point, f"{place}/{name}")
            for name, point in points(read(grid(args.trials, args.steps))).items()
        ]

        def quietly(argv: list[str]) -> None:
            subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)

        alone = [clock(functools.partial(quietly, argv)) for argv in commands]
    rest = trials[1:]  # the first one imports and loads the programs
    cost = [t["wall_s"] - t["steps_s"] - t["evaluation_s"] for t in rest]
    own = [t["steps_s"] + t["evaluation_s"] for t in rest]
    mean = statistics.mean(own)
    found = {
        "command": (
            f"python experiments/benchmarks/sweep_throughput.py --trials {args.trials} "
            f"--steps {args.steps}"
        ),
        "trials": args.trials,
        "steps": args.steps,
        "own_work_s": mean,
        "sweep": {
            "cost_s_mean": statistics.mean(cost),
            "cost_s_median": statistics.median(cost),
            "cost_s_most": max(cost),
            "first_trial_s": trials[0]["wall_s"],
            "wall_s": sweep,
            "wall_s_cold_one_trial": cold,
        },
        "process_per_trial": {
            "cost_s_mean": statistics.mean(alone[1:]) - mean,
            "cost_s_median": statistics.median(alone[1:]) - mean,
            "wall_s": sum(alone),
        },
        "each": trials,
        "goal_s": args.goal,
        "environment": environment(),
    }
    found = rounded(found)
    print(
        json.dumps(
            {k: v for k, v in found.items() if k not in ("each", "environment")},
            indent=1,
        )
    )
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")
    return int(statistics.mean(cost) > args.goal)


def inside(out: Path, count: int, steps: int) -> int:
    """The sweep, in this process, with a clock around the compiled steps and around scoring."""
    import jax

    from semiseg import sweeps
    from semiseg.runner import execute
    from semiseg.train import program

    spent = {"steps_s": 0.0, "evaluation_s": 0.0}

    def timed(key: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            began = time.perf_counter()
            result = jax.block_until_ready(function(*args, **options))
            spent[key] += time.perf_counter() - began
            return result

        return call

    program.chunk = timed("steps_s", program.chunk)
    execute.score_split = timed("evaluation_s", execute.score_split)
    trials: list[dict[str, float]] = []
    began = time.perf_counter()

    def say(line: str) -> None:
        nonlocal began
        now = time.perf_counter()
        trials.append({"wall_s": now - began, **spent})
        began = now
        spent.update(steps_s=0.0, evaluation_s=0.0)
        print(line, flush=True)

    sweeps.sweep(grid(count, steps), out, say=say)
    (out / "timed.json").write_text(json.dumps(trials))
    return 0


def grid(count: int, steps: int) -> dict[str, Any]:
    """The first ``count`` of 24 short trials that share one program."""
    fixed = {k: {"value": v} for k, v in (FIXED | {"steps": steps, "eval_every": steps}).items()}
    return {
        "method": "grid",
        "run_cap": count,
        "parameters": fixed | {k: {"values": v} for k, v in AXES.items()},
    }


def command(point: dict[str, Any], out: str) -> list[str]:
    """The same trial as a process."""
    return [
        sys.executable,
        "-m",
        "semiseg.cli.main",
        "train",
        f"--out={out}",
        *(f"--{k}={v}" for k, v in point.items()),
    ]


def clock(body: Callable[[], Any]) -> float:
    began = time.perf_counter()
    body()
    return time.perf_counter() - began


def rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    if isinstance(value, list):
        return [rounded(v) for v in value]
    return round(value, 3) if isinstance(value, float) else value


if __name__ == "__main__":
    sys.exit(main())
