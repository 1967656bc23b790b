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
from semiseg.generators.gan_batch import Data, Knobs, Program
from semiseg.generators.gan_losses import Terms
from semiseg.generators.gan_program import State
from semiseg.generators.joint import Joint
from semiseg.generators.pix2pix import Pix2Pix
from semiseg.generators.spade import Spade
from semiseg.types import IGNORE

SIZE = 16
COUNT = 8
LABELLED = 4
CLASSES = 2
SPADE = Spade(widths=(8, 8), hidden=4, style=4)
PIX2PIX = Pix2Pix((4, 8), noise=2, style=4)
JOINT = Joint((8, 8), 4, 2, 4, layout=(4, 4), layout_noise=4)
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
    "pix2pix": Program(PIX2PIX, UNetPatch((4, 8)), SIZE, 1, CLASSES, 4, unconditional=False),
    "joint": Program(JOINT, Patch((4, 8), scales=1), SIZE, 1, CLASSES, 4),
}
chunk = jax.jit(programs.chunk.__wrapped__, static_argnums=0)


def same(a, b) -> bool:
    """Whether two trees hold the same numbers, bit by bit."""
    leaves = zip(
        jax.tree.leaves(a),
        jax.tree.leaves(b),
        strict=True,
    )
    return all(np.array_equal(x, y, equal_nan=True) for x, y in leaves)


def pairs(n: int = COUNT, size: int = SIZE, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Discs with their masks: bright, textured, of different grey levels."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:size, :size]
    centres = rng.integers(
        size // 3,
        size - size // 3,
        (n, 2),
    )
    radii = rng.integers(6, 22, n)
    discs = []
    for (row, column), square in zip(centres, radii, strict=True):
        discs.append((rows - row) ** 2 + (columns - column) ** 2 < square)
    label = np.stack(discs)
    grey = rng.integers(90, 220, n)[:, None, None] * label + 40 + rng.normal(0, 6, label.shape)
    return np.clip(grey, 0, 255).astype(np.uint8)[..., None], label.astype(np.uint8)


def data(images: np.ndarray, labels: np.ndarray, labelled: int = LABELLED) -> Data:
    """The first ``labelled`` pairs are the budget; every other label is IGNORE."""
    n = len(images)
    in_budget = np.arange(n)[:, None, None] < labelled
    visible = np.where(in_budget, labels, IGNORE).astype(np.uint8)
    index = jnp.asarray(np.resize(np.arange(labelled), n).astype(np.int32))
    return Data(
        jnp.asarray(images),
        jnp.asarray(visible),
        index,
        jnp.int32(labelled),
        jnp.zeros(n, jnp.int32),
        jnp.int32(0),
        jnp.ones(n),
    )


def knobs(**changes: float) -> Knobs:
    return jax.tree.map(jnp.float32, Knobs(steps=100.0, **changes))


@functools.cache
def start(name: str) -> State:
    return programs.start(CASES[name], jnp.uint32(0))


def train(name: str, given: Data, steps: int = 1, **changes: float) -> tuple[State, Terms]:
    """State and metrics after some steps from the start, on the devices as in a fit."""
    program = CASES[name]
    state, given = jax.device_put((start(name), given), devices.copied(program.mesh()))
    return chunk(
        program,
        knobs(**changes),
        jnp.uint32(0),
        given,
        state,
        jnp.int32(steps),
    )
