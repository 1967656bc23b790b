"""A training step of every method against a supervised step of the same batch: the trainer's own
program, interleaved in one run.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from semiseg import devices
from semiseg.augment import Augmentation
from semiseg.bench.timing import Contender, median_ratio, medians, timed
from semiseg.config import Trial
from semiseg.data.pools import of_arrays
from semiseg.environment import versions
from semiseg.errors import UserError
from semiseg.methods import METHODS
from semiseg.nets import UNet
from semiseg.runner.build import knobs_of
from semiseg.train import program as programs
from semiseg.train.program import Program
from semiseg.types import IGNORE, Model, Pools

CLASSES = 4
GOALS = {"mean_teacher": 1.45, "bcp": 1.6}
"""Largest cost relative to a supervised step that has as many images with gradient."""
BARE = "mean_teacher without diagnostics"


def measure(
    names: Sequence[str], widths: tuple[int, ...], batch: int, size: int, repeats: int, inner: int
) -> dict[str, Any]:
    """Seconds of a step, draw and augmentation included, medians over rounds; in each round every
    method is timed once.

    Args:
      names: of METHODS; ``supervised`` and ``mean_teacher`` are always among them.
      widths: of the U-Net.
      batch: images of a step: all labelled for supervised, labelled and unlabelled for the others.
      size: side of the pool's images and of the network's windows.
      repeats: rounds.
      inner: steps a round.

    Returns:
      ``methods[name]`` = ``{"step_s", "relative", "compile_s"}``, relative the median over rounds
      of the ratio to supervised in the same round; ``diagnostics`` = what comparing pseudo-labels
      with held-back labels adds to a mean-teacher step, as a share of it.

    Raises:
      UserError: an unknown method.
    """
    for name in names:
        if name not in METHODS:
            raise UserError(
                f"there is no method called {name!r}: choose one of {', '.join(METHODS)}"
            )
    wanted = {*names, "supervised", "mean_teacher"}
    names = [name for name in METHODS if name in wanted]
    contenders: dict[str, Contender] = {}
    compile_s: dict[str, float] = {}
    for name in (*names, BARE):
        began = time.perf_counter()
        contenders[name] = _contender(name, widths, batch, size, inner)
        contenders[name].run()
        compile_s[name] = round(time.perf_counter() - began, 2)
    seconds = timed(contenders, repeats)
    step_s = medians(seconds)
    rows = {
        name: {
            "step_s": step_s[name],
            "relative": median_ratio(seconds[name], seconds["supervised"]),
            "compile_s": compile_s[name],
        }
        for name in names
    }
    device = jax.devices()[0]
    return {
        "methods": rows,
        "diagnostics": median_ratio(seconds["mean_teacher"], seconds[BARE]) - 1,
        "goals": {name: goal for name, goal in GOALS.items() if name in names},
        "widths": list(widths),
        "batch": batch,
        "size": size,
        "repeats": repeats,
        "inner": inner,
        "versions": versions("jax", "jaxlib", "flax"),
        "device": f"{device.platform}: {device.device_kind}",
    }


def _contender(name: str, widths: tuple[int, ...], batch: int, size: int, inner: int) -> Contender:
    """A call that trains ``inner`` steps on random images, half of them labelled."""
    method = METHODS["mean_teacher"]()
    if name != BARE:
        method = METHODS[name]()
    pools = _random_pools(4 * batch, size, diagnosed=name != BARE)
    voxels = pools.image.voxels
    model = Model(
        UNet(widths=widths),
        jax.ShapeDtypeStruct((1, size, size, 1), np.float32),
        CLASSES,
        jax.ShapeDtypeStruct(voxels.shape, voxels.dtype),
    )
    program = Program(model, size, batch, "adamw", "poly", anywhere=False)
    trial = Trial(method=method, augment=Augmentation(), steps=1_000_000)
    knobs = jax.tree.map(jnp.float32, knobs_of(trial))
    seed = jnp.uint32(0)
    start = programs.start(program, knobs, seed)
    begun, pools = jax.device_put((start, pools), devices.copied(program.mesh(method)))
    states = [begun]  # a step takes its state's memory over

    def run() -> None:
        state = states[0]
        last = state.step + inner
        states[0], metrics = programs.chunk(program, knobs, seed, pools, state, last)
        jax.block_until_ready((states[0], metrics))

    return Contender(run, inner)


def _random_pools(images: int, size: int, *, diagnosed: bool) -> Pools:
    """Random images, the first half of them labelled; the labels of the others are held back for
    the diagnostics.
    """
    rng = np.random.default_rng(0)
    label = rng.integers(0, CLASSES, (images, size, size)).astype(np.uint8)
    image = rng.integers(0, 256, (images, size, size, 1)).astype(np.uint8)
    is_labelled = np.arange(images) < images // 2
    shown = np.where(is_labelled[:, None, None], label, np.uint8(IGNORE))
    hidden = label if diagnosed else None
    return of_arrays(image, shown, is_labelled, hidden)
