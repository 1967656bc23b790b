"""Whether a set that is larger than --pool-memory trains as fast as one that is on the device as a
whole: steps of both, in turn, in one process.

Command: python experiments/benchmarks/pool_memory.py --json experiments/results/pool_memory.json
(eight minutes on 2 loaded cores: 0.952; exit 1 below --goal)
The set is made here: --pictures noisy pictures of --size pixels a side. The memory is a quarter of
what they take. A round trains --steps steps of each, in turn first; a ratio is that of the rotating
pool's steps a second to the resident pool's in one round, and the result the median over rounds.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from semiseg import Trial
from semiseg.config import make
from semiseg.data.importing import import_set
from semiseg.data.rotating import words
from semiseg.nets import UNet
from semiseg.runner.build import knobs_of, program_of
from semiseg.runner.execute import prepare
from semiseg.train import segmenter


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", type=int, default=128)
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--method", default="supervised")
    parser.add_argument("--goal", type=float, default=0.9, help="smallest ratio")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        report = measured(Path(place), args)
    report["seconds"] = round(time.monotonic() - began)
    print(f"{report['ratio']} of the resident pool's steps a second")
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n")
    return int(report["ratio"] < args.goal)


def measured(place: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Steps a second of both, and the ratio."""
    write_pictures(place / "source", args.pictures, args.size)
    import_set(
        "folder", place / "source", "noise", place / "stores", False, allow_near_duplicates=True
    )
    trial = Trial(
        data="noise",
        root=str(place / "stores"),
        method=make("method", args.method),
        net=UNet(widths=(16, 32, 64)),
        labels=0,
        image_size=128,
        zoom=args.size / 128,
        steps=100_000,
    )
    voxels = args.pictures * args.size**2
    memory = words(3 * voxels // 4)
    trials = {"resident": trial, "rotating": dataclasses.replace(trial, pool_memory=memory)}
    runs = {name: Steps(each) for name, each in trials.items()}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for each in runs.values():  # compiles
        each.take(args.steps)
    for i in range(args.rounds):
        for name in sorted(runs, reverse=bool(i % 2)):
            seconds[name].append(runs[name].take(args.steps) / args.steps)
    pairs = zip(seconds["resident"], seconds["rotating"], strict=True)
    return {
        "ratio": round(statistics.median(resident / rotating for resident, rotating in pairs), 3),
        "step_s": {name: round(statistics.median(times), 4) for name, times in seconds.items()},
        "method": args.method,
        "pool_bytes": 3 * voxels,
        "pool_memory": memory,
        "rounds": args.rounds,
        "steps": args.steps,
        "device": jax.devices()[0].device_kind,
    }


class Steps:
    """A run of which some steps are taken at a time."""

    def __init__(self, trial: Trial):
        job = prepare(trial)
        program = program_of(trial, job.model)
        knobs = jax.tree.map(jnp.float32, knobs_of(trial))
        mesh = program.mesh(trial.method)
        self._open = segmenter.placed(job.pools, program, knobs, trial.seed, mesh)
        program, pools = self._open.__enter__()
        self._learner = segmenter.Segmenter(
            program, knobs, trial.seed, pools, None, None, {}, segmenter.REMEDY
        )
        self._state = segmenter.programs.start(program, knobs, jnp.uint32(0))
        self._step = 0

    def take(self, steps: int) -> float:
        """Seconds that so many steps take, the exchange of scans included."""
        began = time.perf_counter()
        self._step += steps
        self._state, metrics = self._learner.advance(self._state, self._step)
        jax.block_until_ready((self._state, metrics))
        return time.perf_counter() - began


def write_pictures(place: Path, number: int, size: int) -> None:
    """Noise with a bright square, whose mask is the label; two for the other splits each."""
    rng = np.random.default_rng(0)
    for split, count in (("train", number), ("val", 2), ("test", 2)):
        for kind in ("images", "labels"):
            (place / split / kind).mkdir(parents=True)
        for i in range(count):
            mask = np.zeros((size, size), np.uint8)
            top, left = rng.integers(0, size - 40, 2)
            mask[top : top + 40, left : left + 40] = 1
            image = rng.integers(0, 150, (size, size), dtype=np.uint8) + 100 * mask
            for kind, pixels in (("images", image), ("labels", mask)):
                Image.fromarray(pixels).save(place / split / kind / f"{split}{i:04d}.png")


if __name__ == "__main__":
    sys.exit(main())
