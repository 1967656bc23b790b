"""Trials that share a program, trained side by side: the compiled chunk of steps, mapped over them.

Command: python experiments/population.py --sweep experiments/sweeps/acdc_baseline.yaml
         --side-by-side 8 --csv acdc_baseline.csv

On an accelerator a small network leaves most of the chip idle; this fills it. Scores are those of
`semiseg train` without a run folder: last checkpoint, validation subjects. A row a trial and
subject is written as soon as a group of trials is done; trials that have rows are left out.
"""

from __future__ import annotations

import argparse
import csv
import functools
import json
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from semiseg.config import Trial
from semiseg.runner.build import knobs_of, program_of
from semiseg.runner.execute import Job, prepare
from semiseg.runner.score_split import validation_of
from semiseg.sweeps import spec
from semiseg.train import program as programs
from semiseg.train.program import Knobs, Program, State
from semiseg.train.segmenter import placed
from semiseg.types import Params, Pools

FACTS = ("trial", "subject", "dice", "seconds", "side_by_side", "device")


class Group(NamedTuple):
    """Trials of one program, stacked.

    Attributes:
      program: what is compiled in.
      knobs: with a leading axis of trials.
      seeds: ``(T,)`` uint32.
      pools: leaves that differ between trials have a leading axis, the others are shared.
      axes: the axis of each leaf of ``pools``: 0 or None.
    """

    program: Program
    knobs: Knobs
    seeds: jax.Array
    pools: Pools
    axes: Pools


def stacked(jobs: Sequence[Job]) -> Group:
    """The group of some jobs.

    Raises:
      ValueError: they do not share a program.
    """
    first = jobs[0]
    program = program_of(first.trial, first.model)
    if any(program_of(job.trial, job.model) != program for job in jobs):
        raise ValueError("trials of several programs do not train side by side")
    knobs = [jax.tree.map(jnp.float32, knobs_of(job.trial)) for job in jobs]
    mesh = program.mesh(knobs[0].method)
    with placed(first.pools, program, knobs[0], first.trial.seed, mesh) as (program, _):
        leaves = [jax.tree.leaves(job.pools) for job in jobs]
    columns = list(zip(*leaves, strict=True))
    shared = [all(_same(column[0], other) for other in column[1:]) for column in columns]
    values = []
    for column, same in zip(columns, shared, strict=True):
        values.append(jnp.asarray(column[0]) if same else jnp.stack(column))
    tree = jax.tree.structure(first.pools)
    axes = jax.tree.unflatten(tree, [None if same else 0 for same in shared])
    return Group(
        program,
        jax.tree.map(lambda *parts: jnp.stack(parts), *knobs),
        jnp.array([job.trial.seed for job in jobs], jnp.uint32),
        jax.tree.unflatten(tree, values),
        axes,
    )


def _same(a: Any, b: Any) -> bool:
    return a is b or np.array_equal(a, b)


class Population:
    """The compiled programs of groups of one shape."""

    def __init__(self, group: Group):
        self.group = group

        def begin(knobs: Knobs, seed: jax.Array) -> State:
            return programs.start.__wrapped__(group.program, knobs, seed)

        def steps(
            knobs: Knobs, seed: jax.Array, pools: Pools, state: State, until: jax.Array
        ) -> tuple[State, dict[str, jax.Array]]:
            return programs.chunk.__wrapped__(group.program, knobs, seed, pools, state, until)

        # the trip count is shared: a loop whose length differs between trials is a masked one
        axes = (0, 0, group.axes, State(0, 0, 0, None), None)
        mapped = jax.vmap(steps, in_axes=axes, out_axes=(State(0, 0, 0, None), 0))
        self.begin = jax.jit(jax.vmap(begin, out_axes=State(0, 0, 0, None)))
        self.advance = jax.jit(mapped, donate_argnums=3)

    def start(self) -> State:
        """Fresh states."""
        return self.begin(self.group.knobs, self.group.seeds)

    def train(self, group: Group, state: State, until: int) -> State:
        """States after step ``until``; waits for them."""
        state, _ = self.advance(group.knobs, group.seeds, group.pools, state, jnp.int32(until))
        return jax.block_until_ready(state)


def params_of(group: Group, state: State, index: int) -> Params:
    """The variables of one trial that are evaluated."""
    mine = jax.tree.map(lambda leaf: leaf[index], state._replace(step=state.step[None]))
    knobs = jax.tree.map(lambda leaf: leaf[index], group.knobs)
    return programs.final(group.program, knobs, mine._replace(step=state.step))


def rows_of(name: str, job: Job, params: Params, facts: Iterable[Any]) -> list[list[Any]]:
    """A row a validation subject: its mean Dice over the classes."""
    scores = job.score(params, validation_of(job.training), ("dice",))
    by_subject: dict[str, list[float]] = {}
    for row in scores.rows:
        by_subject.setdefault(row.subject, []).append(row.value)
    return [
        [name, subject, round(float(np.nanmean(values)), 4), *facts]
        for subject, values in by_subject.items()
    ]


@functools.cache
def device() -> str:
    """Name of the device that trains."""
    return str(jax.devices()[0].device_kind)


def measure(jobs: Sequence[Job], steps: int, ready: Path | None) -> dict[str, Any]:
    """Milliseconds of a step of one trial beside the others, the median of five stretches.

    Args:
      jobs: what trains side by side.
      steps: of a stretch.
      ready: a file that is written when all is compiled; the timing begins when it is gone.
    """
    group = stacked(jobs)
    population = Population(group)
    began = time.monotonic()
    state = population.train(group, population.start(), 2)
    compiled = time.monotonic() - began
    await_turn(ready)
    seconds = []
    for i in range(5):
        began = time.monotonic()
        state = population.train(group, state, 2 + (i + 1) * steps)
        seconds.append((time.monotonic() - began) / steps / len(jobs))
    return {
        "side_by_side": len(jobs),
        "step_ms": round(1000 * float(np.median(seconds)), 3),
        "compile_s": round(compiled, 1),
        "device": device(),
    }


def await_turn(ready: Path | None) -> None:
    """Say that all is compiled, and wait until the file that says so is removed."""
    if ready is None:
        return
    ready.touch()
    while ready.exists():
        time.sleep(0.05)


def run(trials: dict[str, Trial], side_by_side: int, path: Path, deadline: float) -> None:
    """Train groups of trials, and append the rows of each as soon as it is done."""
    done = set()
    if path.exists():
        with path.open(newline="") as file:
            done = {row["trial"] for row in csv.DictReader(file)}
    else:
        path.write_text(",".join(FACTS) + "\n")
    todo = [name for name in trials if name not in done]
    population: Population | None = None
    while todo and time.monotonic() < deadline:
        names = todo[:side_by_side]
        todo = todo[side_by_side:]
        # a last group that is smaller would be compiled anew: its first trial fills it up
        padded = names + names[:1] * (side_by_side - len(names))
        jobs = [prepare(trials[name]) for name in padded]
        group = stacked(jobs)
        population = population or Population(group)
        population.group = group
        began = time.monotonic()
        state = population.train(group, population.start(), jobs[0].trial.steps)
        seconds = round((time.monotonic() - began) / len(names), 1)
        with path.open("a", newline="") as file:
            for i, name in enumerate(names):
                facts = (seconds, side_by_side, device())
                rows = rows_of(name, jobs[i], params_of(group, state, i), facts)
                csv.writer(file, lineterminator="\n").writerows(rows)
                mean = float(np.mean([row[2] for row in rows]))
                print(f"{name}: Dice {mean:.3f}, {seconds} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sweep", type=Path, required=True, help="a grid of one program")
    parser.add_argument("--side-by-side", type=int, default=8)
    parser.add_argument("--csv", type=Path, help="where the rows go")
    parser.add_argument("--minutes", type=float, default=1e6, help="begin no group after these")
    parser.add_argument("--measure", type=int, help="only time so many steps, and print JSON")
    parser.add_argument("--ready", type=Path, help="with --measure: see measure()")
    args = parser.parse_args()
    trials = spec.trials(args.sweep)
    if args.measure:
        chosen = list(trials.values())[: args.side_by_side]
        print(json.dumps(measure([prepare(trial) for trial in chosen], args.measure, args.ready)))
        return
    deadline = time.monotonic() + 60 * args.minutes
    run(dict(trials), args.side_by_side, args.csv, deadline)


if __name__ == "__main__":
    main()
