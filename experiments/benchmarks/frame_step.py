"""Whether training from ragged pools costs more than from images of one size: steps of two
checkouts on ACDC slices, in turn.

Command: git clone . ../base && git -C ../base checkout COMMIT
         python experiments/benchmarks/frame_step.py --base ../base --source ACDC
             --json experiments/results/frame_step.json
(six minutes on 2 quiet cores; exit 1 above --goal)
Each checkout imports the set into a store of its own. A round trains --steps steps in each, in turn
first; a ratio is the median over rounds of this checkout's seconds over the base's.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[2]
CHILD = """
import json, sys, time
import jax, jax.numpy as jnp
from semiseg import Trial
from semiseg.config import make
from semiseg.runner.build import knobs_of, program_of
from semiseg.runner.execute import prepare
from semiseg.train import program as programs
root, method, steps = sys.argv[1], sys.argv[2], int(sys.argv[3])
trial = Trial(data="acdc", root=root, method=make("method", method), labels=7, image_size=128,
              batch=8, steps=100000)
job = prepare(trial)
program = program_of(trial, job.model)
knobs = jax.tree.map(jnp.float32, knobs_of(trial))
seed = jnp.uint32(0)
state = programs.start(program, knobs, seed)
state, _ = programs.chunk(program, knobs, seed, job.pools, state, jnp.int32(2))
jax.block_until_ready(state)
began = time.perf_counter()
state, _ = programs.chunk(program, knobs, seed, job.pools, state, jnp.int32(2 + steps))
jax.block_until_ready(state)
print(json.dumps((time.perf_counter() - began) / steps))
"""
METHODS = ("supervised", "fixmatch")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base", type=Path, required=True, help="the other checkout")
    parser.add_argument("--source", type=Path, required=True, help="ACDC as SSL4MIS has it")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--goal", type=float, default=1.05, help="largest ratio")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    checkouts = {"base": args.base.resolve(), "this": HERE}
    seconds: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory() as place:
        for name, root in checkouts.items():
            store = Path(place) / name
            command = ["data", "import", "--format=ssl4mis-acdc", f"--source={args.source}"]
            child = "import sys; from semiseg.cli.main import main; sys.exit(main(sys.argv[1:]))"
            run(root, child, *command, "--name=acdc", f"--root={store}")
        for i in range(args.rounds):
            for method in METHODS:
                order = list(checkouts)
                if i % 2:
                    order.reverse()
                for name in order:
                    store = Path(place) / name
                    out = run(checkouts[name], CHILD, str(store), method, str(args.steps))
                    of_method = seconds.setdefault(method, {})
                    of_method.setdefault(name, []).append(float(json.loads(out.splitlines()[-1])))
    report: dict[str, Any] = {}
    for method, timed in seconds.items():
        ratios = [a / b for a, b in zip(timed["this"], timed["base"], strict=True)]
        report[method] = {
            "ratio": round(statistics.median(ratios), 3),
            "step_s": {name: round(statistics.median(times), 4) for name, times in timed.items()},
            "rounds": args.rounds,
        }
        print(f"{method}: {report[method]['ratio']} of the base's seconds a step")
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n")
    return int(any(row["ratio"] > args.goal for row in report.values()))


def run(checkout: Path, code: str, *arguments: str) -> str:
    """What a child process of a checkout prints."""
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=environment,
        cwd=checkout,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
