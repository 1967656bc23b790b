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

import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import checkouts

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
    parser = checkouts.parser(__doc__, rounds=5, goal=1.05)
    parser.add_argument("--source", type=Path, required=True, help="ACDC as SSL4MIS has it")
    parser.add_argument("--steps", type=int, default=20)
    args = parser.parse_args()
    pair = checkouts.pair(args.base)
    seconds: dict[str, dict[str, list[float]]] = {method: {} for method in METHODS}
    with tempfile.TemporaryDirectory() as place:
        for name, root in pair.items():
            store = Path(place) / name
            source = f"--source={args.source.resolve()}"
            command = ["data", "import", "--format=ssl4mis-acdc", source]
            child = "import sys; from semiseg.cli.main import main; sys.exit(main(sys.argv[1:]))"
            checkouts.run(root, child, *command, "--name=acdc", f"--root={store}")
        for _, name, root in checkouts.in_turn(pair, args.rounds):
            store = Path(place) / name
            for method in METHODS:
                out = checkouts.run(root, CHILD, str(store), method, str(args.steps))
                seconds[method].setdefault(name, []).append(float(json.loads(out.splitlines()[-1])))
    report: dict[str, Any] = {}
    for method, timed in seconds.items():
        report[method] = {
            "ratio": round(checkouts.ratio(timed["this"], timed["base"]), 3),
            "step_s": {name: round(statistics.median(times), 4) for name, times in timed.items()},
            "rounds": args.rounds,
        }
        print(f"{method}: {report[method]['ratio']} of the base's seconds a step")
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n")
    return int(any(row["ratio"] > args.goal for row in report.values()))


if __name__ == "__main__":
    sys.exit(main())
