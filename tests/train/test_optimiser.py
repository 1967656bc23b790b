"""Several networks are each clipped by themselves, and a critic has an Adam of its own."""

import jax
import jax.numpy as jnp
import numpy as np

from semiseg.augment import none
from semiseg.config import Trial
from semiseg.data.pools import of_arrays
from semiseg.methods import DAN
from semiseg.nets import UNet
from semiseg.runner.build import knobs_of
from semiseg.train import optimiser, program
from semiseg.types import Model

PLAIN = {"momentum": 0.0, "weight_decay": 0.0}


def test_each_network_is_clipped_by_itself():
    """Catches one norm over all, by which a critic's large gradient stops the segmenter."""
    gradient = {"net": {"w": jnp.array([0.3, 0.4])}, "critic": {"w": jnp.array([300.0, 400.0])}}
    tx = optimiser.optimiser(
        "sgd",
        **PLAIN,
        clip=1.0,
        by_network=True,
    )
    direction, _ = tx.update(
        gradient,
        tx.init(gradient),
        gradient,
    )
    np.testing.assert_allclose(
        direction["net"]["w"],
        [0.3, 0.4],
        rtol=1e-6,
    )
    np.testing.assert_allclose(
        direction["critic"]["w"],
        [0.6, 0.8],
        rtol=1e-6,
    )


def test_a_critic_has_an_adam_of_its_own():
    """The first step of Adam is the gradient's sign, that of SGD the gradient. Catches a critic
    that decays, and one that the networks' optimiser steps.
    """
    weights = {"net": {"w": jnp.ones((2, 2))}, "critic": {"w": jnp.ones((2, 2))}}
    gradient = {"net": {"w": jnp.full((2, 2), 0.5)}, "critic": {"w": jnp.full((2, 2), 0.02)}}
    sgd = optimiser.optimiser(
        "sgd",
        momentum=0.9,
        weight_decay=0.1,
        clip=0.0,
        by_network=True,
    )
    tx = optimiser.with_critics(
        sgd,
        ("critic",),
        clip=0.0,
    )
    direction, _ = tx.update(gradient, tx.init(weights), weights)
    np.testing.assert_allclose(
        direction["net"]["w"],
        0.6,
        rtol=1e-6,
    )
    np.testing.assert_allclose(
        direction["critic"]["w"],
        1.0,
        rtol=1e-3,
    )


def test_a_critic_steps_at_its_own_rate():
    """At a learning rate of 0 the segmenter stays and the critic of DAN moves by its own. Catches a
    rate that is not handed to the critic.
    """
    side = 16
    model = Model(
        UNet(widths=(4, 8), convs=1, norm="batch"),
        jax.ShapeDtypeStruct(
            (1, side, side, 1),
            np.float32,
        ),
        2,
    )
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (4, side, side, 1)).astype(np.uint8)
    label = np.where(
        np.arange(4)[:, None, None] < 2,
        image[..., 0] > 99,
        255,
    ).astype(np.uint8)
    pools = of_arrays(image, label, np.arange(4) < 2)
    method = DAN(critic_width=4, critic_lr=0.01)
    trial = Trial(
        method=method,
        augment=none(),
        steps=4,
        lr=0.0,
        warmup=0.0,
    )
    knobs = jax.tree.map(jnp.float32, knobs_of(trial))
    compiled_in = program.Program(
        model,
        side,
        4,
        "sgd",
        "constant",
    )
    start = program.start(
        compiled_in,
        knobs,
        jnp.uint32(0),
    )
    before = jax.tree.map(np.asarray, start.params)
    after, _ = program.chunk(
        compiled_in,
        knobs,
        jnp.uint32(0),
        pools,
        start,
        jnp.int32(1),
    )

    def moved(name):
        old = jax.tree.leaves(before[name].weights)
        new = jax.tree.leaves(after.params[name].weights)
        return max(np.abs(a - b).max() for a, b in zip(old, new, strict=True))

    assert moved("net") == 0
    np.testing.assert_allclose(
        moved("critic"),
        0.01,
        rtol=0.05,
    )
