"""A training step of every method against a supervised step of the same batch: the trainer's own
program, interleaved in one run.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from semiseg import devices
from semiseg.augment import Augmentation
from semiseg.environment import versions
from semiseg.errors import UserError
from semiseg.methods import METHODS
from semiseg.nets import UNet
from semiseg.train import program as programs
from semiseg.train.program import Knobs, Program
from semiseg.types import Model, Pools

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
      with hidden labels adds to a mean-teacher step, as a share of it.

    Raises:
      UserError: an unknown method.
    """
    for name in names:
        if name not in METHODS:
            raise UserError(
                f"there is no method called {name!r}: choose one of {', '.join(METHODS)}"
            )
    names = [n for n in METHODS if n in {*names, "supervised", "mean_teacher"}]
    contenders: dict[str, Callable[[], None]] = {}
    compile_s: dict[str, float] = {}
    for name in (*names, BARE):
        began = time.perf_counter()
        contenders[name] = _contender(name, widths, batch, size, inner)
        contenders[name]()
        compile_s[name] = round(time.perf_counter() - began, 2)
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, run in contenders.items():
            began = time.perf_counter()
            run()
            seconds[name].append((time.perf_counter() - began) / inner)
    ratio = lambda a, b: statistics.median(x / y for x, y in zip(seconds[a], seconds[b]))
    rows = {
        n: {
            "step_s": statistics.median(seconds[n]),
            "relative": ratio(n, "supervised"),
            "compile_s": compile_s[n],
        }
        for n in names
    }
    device = jax.devices()[0]
    return {
        "methods": rows, "diagnostics": ratio("mean_teacher", BARE) - 1, "goals": {k: v for k, v in GOALS.items() if k in names},
        "widths": list(widths), "batch": batch, "size": size, "repeats": repeats, "inner": inner,
        "versions": versions("jax", "jaxlib", "flax"), "device": f"{device.platform}: {device.device_kind}",
    }  # fmt: skip


def _contender(
    name: str, widths: tuple[int, ...], batch: int, size: int, inner: int
) -> Callable[[], None]:
    """A call that trains ``inner`` steps on random images, half of them labelled."""
    method = METHODS["mean_teacher" if name == BARE else name]()
    rng, many = np.random.default_rng(0), 4 * batch
    label = jnp.asarray(rng.integers(0, 4, (many, size, size)), jnp.uint8)
    image = jnp.asarray(rng.integers(0, 256, (many, size, size, 1)), jnp.uint8)
    labelled, rest = jnp.arange(many) < many // 2, jnp.arange(many) >= many // 2
    pools = Pools(
        image_NHWC=image, label_NHW=jnp.where(labelled[:, None, None], label, jnp.uint8(255)),
        labelled_N=jnp.resize(jnp.flatnonzero(labelled), (many,)).astype(jnp.int32), labelled_count=jnp.int32(many // 2),
        unlabelled_N=jnp.resize(jnp.flatnonzero(rest), (many,)).astype(jnp.int32), unlabelled_count=jnp.int32(many - many // 2),
        synthetic_image_MHWC=jnp.zeros((1, size, size, 1), jnp.uint8), synthetic_label_MHW=jnp.full((1, size, size), 255, jnp.uint8),
        synthetic_count=jnp.int32(0), hidden_NHW=None if name == BARE else label,
    )  # fmt: skip
    model = Model(
        UNet(widths=widths),
        jax.ShapeDtypeStruct((1, size, size, 1), np.float32),
        4,
        jax.ShapeDtypeStruct(image.shape, image.dtype),
    )
    program = Program(model, size, batch, "adamw", "poly")
    knobs = jax.tree.map(jnp.float32, Knobs(method=method, augment=Augmentation(), steps=1e6))
    seed = jnp.uint32(0)
    state, pools = jax.device_put(
        (programs.start(program, knobs, seed), pools), devices.copied(program.mesh(method))
    )
    held = [state]  # a step takes its state's memory over

    def run() -> None:
        state = held[0]
        held[0], metrics = programs.chunk(program, knobs, seed, pools, state, state.step + inner)
        jax.block_until_ready((held[0], metrics))

    return run
