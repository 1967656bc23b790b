"""Tiny generators, data and programs that the tests of this folder share, compiled without
optimisation: they run a few steps each.

The fits of the other tests have SPADE's program of CASES, so that all share one compilation: `TINY`
with the data set of 8 discs.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from semiseg import devices
from semiseg.generators import gan_program as programs
from semiseg.generators.discriminators import Patch, UNetPatch
from semiseg.generators.gan_program import Data, Knobs, Program
from semiseg.generators.joint import Joint
from semiseg.generators.pix2pix import Pix2Pix
from semiseg.generators.spade import Spade
from semiseg.types import IGNORE

SIZE, COUNT, SHOWN, CLASSES = 16, 8, 4, 2
SPADE = Spade(widths=(8, 8), hidden=4, style=4)
TINY = {
    "image_size": 16,
    "batch": 4,
    "generator.widths": "8,8",
    "generator.hidden": "4",
    "generator.style": "4",
    "discriminator.widths": "4,8",
}
CASES = {
    "spade": Program(SPADE, Patch((4, 8), scales=2), SIZE, 1, CLASSES, 4),
    "pix2pix": Program(
        Pix2Pix((4, 8), noise=2, style=4),
        UNetPatch((4, 8)),
        SIZE,
        1,
        CLASSES,
        4,
        unconditional=False,
    ),
    "joint": Program(
        Joint((8, 8), 4, 2, 4, layout=(4, 4), layout_noise=4),
        Patch((4, 8), scales=1),
        SIZE,
        1,
        CLASSES,
        4,
    ),
}
chunk = jax.jit(programs.chunk.__wrapped__, static_argnums=0)


def pairs(n: int = COUNT, size: int = SIZE, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Discs with their masks: bright, textured, of different grey levels."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:size, :size]
    centres, radii = rng.integers(size // 3, size - size // 3, (n, 2)), rng.integers(6, 22, n)
    label = np.stack(
        [(rows - a) ** 2 + (columns - b) ** 2 < r for (a, b), r in zip(centres, radii)]
    )
    grey = rng.integers(90, 220, n)[:, None, None] * label + 40 + rng.normal(0, 6, label.shape)
    return np.clip(grey, 0, 255).astype(np.uint8)[..., None], label.astype(np.uint8)


def data(images: np.ndarray, labels: np.ndarray, shown: int = SHOWN) -> Data:
    """The first ``shown`` pairs are the budget; every other label is IGNORE."""
    n = len(images)
    visible = np.where(np.arange(n)[:, None, None] < shown, labels, IGNORE).astype(np.uint8)
    index = jnp.asarray(np.resize(np.arange(shown), n).astype(np.int32))
    return Data(
        jnp.asarray(images), jnp.asarray(visible), index, jnp.int32(shown), jnp.zeros(n, jnp.int32), jnp.int32(0), jnp.ones(n)
    )  # fmt: skip


def knobs(**changes: float) -> Knobs:
    return jax.tree.map(jnp.float32, Knobs(steps=100.0, **changes))


@functools.cache
def start(name: str):
    return programs.start(CASES[name], jnp.uint32(0))


def train(name: str, given: Data, steps: int = 1, state=None, **changes: float):
    program = CASES[name]
    state, given = jax.device_put(
        (start(name) if state is None else state, given), devices.copied(program.mesh())
    )  # as a fit does
    return chunk(program, knobs(**changes), jnp.uint32(0), given, state, jnp.int32(steps))
