"""Whether training from ragged pools costs more than from images of one size: steps of two
checkouts on ACDC slices, in turn.

Command: git clone . ../base && git -C ../base checkout COMMIT
         python experiments/benchmarks/frame_step.py --base ../base --source ACDC
             --json experiments/results/frame_step.json
(four minutes on 2 cores; exit 1 above --goal)
Each checkout imports the set into a store of its own. In a round a fresh process of each takes
--pieces pieces of --steps steps, in turn; a ratio is that of two neighbouring pieces, and the
result its median over all rounds. Processor seconds stand beside the clock's, because other work on
the machine moves the clock.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import checkouts

IMPORT = "import sys; from semiseg.cli.main import main; sys.exit(main(sys.argv[1:]))"
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
until = 2
state, _ = programs.chunk(program, knobs, seed, job.pools, state, jnp.int32(until))
jax.block_until_ready(state)
print("ready", flush=True)
for _ in sys.stdin:
    until += steps
    clock, processor = time.perf_counter(), time.process_time()
    state, _ = programs.chunk(program, knobs, seed, job.pools, state, jnp.int32(until))
    jax.block_until_ready(state)
    took = {"clock": time.perf_counter() - clock, "processor": time.process_time() - processor}
    print(json.dumps({name: seconds / steps for name, seconds in took.items()}), flush=True)
"""
METHODS = ("supervised", "fixmatch")
TIMES = ("clock", "processor")


def main() -> int:
    parser = checkouts.parser(__doc__, rounds=3, goal=1.05)
    parser.add_argument("--source", type=Path, required=True, help="ACDC as SSL4MIS has it")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--pieces", type=int, default=12)
    args = parser.parse_args()
    pair = checkouts.pair(args.base)
    report: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as place:
        stores = {name: Path(place) / name for name in pair}
        for name, root in pair.items():
            source = f"--source={args.source.resolve()}"
            command = ["data", "import", "--format=ssl4mis-acdc", source]
            checkouts.run(root, IMPORT, *command, "--name=acdc", f"--root={stores[name]}")
        for method in METHODS:
            timed: dict[str, list[dict[str, float]]] = {name: [] for name in pair}
            for _ in range(args.rounds):
                taken = taken_in_turn(pair, stores, method, args.steps, args.pieces)
                for name, pieces in taken.items():
                    timed[name] += pieces
            report[method] = summary(timed) | {
                "rounds": args.rounds,
                "pieces": args.pieces,
                "steps": args.steps,
            }
            print(f"{method}: {report[method]['ratio']} of the base's seconds a step")
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n")
    return int(any(max(row["ratio"].values()) > args.goal for row in report.values()))


def taken_in_turn(
    pair: dict[str, Path], stores: dict[str, Path], method: str, steps: int, pieces: int
) -> dict[str, list[dict[str, float]]]:
    """Seconds a step of each piece, of one process of each checkout."""
    timed: dict[str, list[dict[str, float]]] = {name: [] for name in pair}
    with contextlib.ExitStack() as stack:
        learners = {}
        for name, root in pair.items():
            learners[name] = stack.enter_context(learner(root, stores[name], method, steps))
        for process in learners.values():
            assert answer(process).strip() == "ready"
        for _, name, _ in checkouts.in_turn(pair, pieces):
            command = learners[name].stdin
            assert command is not None
            command.write("go on\n")
            command.flush()
            timed[name].append(json.loads(answer(learners[name])))
    return timed


def learner(root: Path, store: Path, method: str, steps: int) -> subprocess.Popen[str]:
    """A process of a checkout that takes so many steps for each line it is sent."""
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(store), method, str(steps)],
        env={**os.environ, "PYTHONPATH": str(root)},
        cwd=root,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def answer(process: subprocess.Popen[str]) -> str:
    """The next line that a process prints."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise SystemExit("a process ended before its steps were taken")
    return line


def summary(timed: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Medians and ratios of both times."""
    ratios = {}
    medians: dict[str, dict[str, float]] = {name: {} for name in timed}
    for time in TIMES:
        values = {name: [piece[time] for piece in pieces] for name, pieces in timed.items()}
        ratios[time] = round(checkouts.ratio(values["this"], values["base"]), 3)
        for name, seconds in values.items():
            medians[name][time] = round(statistics.median(seconds), 4)
    return {"ratio": ratios, "step_s": medians}


if __name__ == "__main__":
    sys.exit(main())
