"""What every generator and discriminator must do: one row of CASES, all of the tests."""

import functools

import gan_cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from semiseg.generators import GENERATORS, diffaug, losses
from semiseg.generators.blocks import one_hot
from semiseg.generators.discriminators import Patch, UNetPatch, normalised

every = pytest.mark.parametrize("name", gan_cases.CASES)
same = gan_cases.same


@functools.cache
def trained(name: str, **changes: float):
    """State and metrics after one step from the start."""
    return gan_cases.train(
        name,
        gan_cases.data(*gan_cases.pairs()),
        1,
        **dict(changes),
    )


def test_table_holds_every_generator():
    """Catches a generator without a row in the tests."""
    assert {type(p.generator) for p in gan_cases.CASES.values()} == set(GENERATORS.values())


def is_used(name: str, part: str, path) -> bool:
    """Whether a weight must change: a joint generator asks for no style of a real image."""
    return not (part == "g" and name == "joint" and path[0].key == "encoder")


def may_stay(part: str, path) -> bool:
    """The bias of the last layer of a pair discriminator: while both hinges are active, real and
    fake move it by -1 and +1, and nothing but rounding is left.
    """
    return part == "d" and path[-2].key.endswith("_last") and path[-1].key == "bias"


@every
def test_step_is_finite_and_reaches_every_weight(name):
    """Catches a layer that is never used, a bias before a norm that takes it out, a gradient that
    stops half-way: Adam's step is lr where it arrives.
    """
    state, metrics = trained(name)
    assert all(np.isfinite(v) for v in metrics.values()), metrics
    before = gan_cases.start(name)
    parts = {
        "g": (before.g, state.g),
        "d": (before.d.weights, state.d.weights),
        "u": (before.u.weights, state.u.weights),
    }
    for part, (old, new) in parts.items():
        for path, weight in jax.tree_util.tree_leaves_with_path(old):
            if may_stay(part, path):
                continue
            after = functools.reduce(
                lambda tree, key: tree[key.key],
                path,
                new,
            )
            changed = not np.array_equal(weight, after)
            assert changed == is_used(name, part, path), part + jax.tree_util.keystr(path)


@every
def test_neither_side_steps_the_other(name):
    """Catches a discriminator that is trained to be fooled, or a generator that is trained to be
    recognised.
    """
    before = gan_cases.start(name)
    still_d, _ = trained(name, lr_d=0.0)
    still_g, _ = trained(name, lr_g=0.0)
    both, _ = trained(name)
    assert same(still_d.d.weights, before.d.weights)
    assert same(still_d.u.weights, before.u.weights)
    assert not same(still_d.g, before.g)
    assert same(still_g.g, before.g)
    assert not same(still_g.d.weights, before.d.weights)
    assert same(still_g.d.weights, both.d.weights), (
        "the discriminator's step must not depend on the generator's learning rate"
    )


@every
def test_image_follows_mask_style_and_noise(name):
    """Catches a generator that drops one of its inputs; a joint one makes its own mask, of one
    class a pixel.
    """
    size = gan_cases.SIZE
    generator = gan_cases.CASES[name].generator
    weights = gan_cases.start(name).g
    rng = np.random.default_rng(0)
    mask = one_hot(jnp.asarray(gan_cases.pairs(2)[1]), 2)
    code = rng.normal(size=(2, generator.style)).astype(np.float32)
    noise = rng.normal(size=(2, generator.noises(size))).astype(np.float32)
    paint = jax.jit(generator.apply)
    image, painted_mask = paint(weights, mask, code, noise)

    def difference(*inputs):
        other, _ = paint(weights, *inputs)
        return np.abs(np.asarray(other - image)).mean()

    assert image.shape == (2, size, size, 1)
    assert image.dtype == jnp.float32
    assert np.abs(image).max() <= 1
    assert difference(mask, code + 1, noise) > 1e-3
    assert difference(mask, code, -noise) > 1e-3
    if generator.joint:
        assert difference(1 - mask, code, noise) == 0
        assert set(np.unique(painted_mask)) <= {0.0, 1.0}
        assert np.array_equal(painted_mask.sum(-1), np.ones(painted_mask.shape[:-1]))
    else:
        assert difference(1 - mask, code, noise) > 1e-3
        assert np.array_equal(painted_mask, mask)


def test_spectral_norm_is_one():
    """Catches a power iteration on the wrong side of the matrix: kernels are divided by their
    largest singular value.
    """
    judge = Patch((4, 8))
    params = judge.init(jax.random.key(0), 1, 2)
    for _ in range(30):
        params = judge.power(params)
    for name, p in normalised(params).items():
        if name.endswith("last"):
            continue
        matrix = np.asarray(p["kernel"]).reshape(-1, p["kernel"].shape[-1])
        assert np.linalg.norm(matrix, 2) == pytest.approx(1, abs=1e-3)


def test_gradient_penalty_is_that_of_autodiff():
    """Catches a wrong sign, factor or batch mean: value and gradient are those of differentiating
    twice, on a smooth network.
    """
    rng = np.random.default_rng(0)
    weights = {
        "a": jnp.asarray(rng.normal(size=(9, 5)), jnp.float32),
        "b": jnp.asarray(rng.normal(size=(5,)), jnp.float32),
    }
    x = jnp.asarray(rng.normal(size=(4, 3, 3, 1)), jnp.float32)

    def score(w, x):
        return jnp.tanh(x.reshape(len(x), -1) @ w["a"]) @ w["b"]

    def exact(w):
        slope = jax.grad(lambda x: score(w, x).sum())(x)
        return 0.5 * (slope**2).sum() / len(x)

    value, gradient = losses.gradient_penalty(score, weights, x)
    assert value == pytest.approx(float(exact(weights)), rel=1e-5)
    for name, wanted in jax.grad(exact)(weights).items():
        tolerance = 2e-3 * float(jnp.abs(wanted).max()) + 1e-4
        np.testing.assert_allclose(gradient[name], wanted, rtol=2e-2, atol=tolerance)


def test_adversarial_losses_by_hand():
    """Catches a swapped sign: a judge that is right with margin 1 has no hinge loss, and a fooled
    one costs the generator nothing.
    """
    y = jnp.full((2, 3, 3, 1), 2.0)
    assert np.allclose(losses.adversary("hinge", y, True), 0)
    assert np.allclose(losses.adversary("hinge", y, False), 3)
    assert np.allclose(losses.generator("hinge", y), -2)
    assert np.allclose(losses.adversary("bce", y, True), np.log1p(np.exp(-2)))


def test_kl_and_weighted_mean_by_hand():
    """Catches a mean over the code, and weights that are not divided by their sum."""
    zeros = jnp.zeros((1, 4))
    assert np.allclose(losses.kl(zeros, zeros), 0)
    assert np.allclose(losses.kl(jnp.ones((1, 4)), zeros), 2)
    assert losses.weighted(jnp.array([1.0, 3.0]), jnp.array([1.0, 0.0])) == 1


def mask_of_one_pixel(size: int) -> jax.Array:
    """``(1, size, size, 2)`` one-hot: all but the first pixel are background."""
    mask = jnp.zeros((1, size, size, 2)).at[..., 0].set(1)
    return mask.at[0, 0, 0].set(jnp.array([0.0, 1.0]))


def test_l1_counts_classes_alike():
    """Catches a mean over pixels: one pixel of a class is half of the loss."""
    mask = mask_of_one_pixel(4)
    pixel = mask[..., 1:]
    assert losses.l1(pixel, 0 * pixel, mask).item() == 0.5


def test_mode_seeking_by_hand():
    """Catches a sign, and a background that outweighs a small foreground: each is half."""
    image = jnp.zeros((1, 8, 8, 1))
    foreground = jnp.zeros((1, 8, 8, 1)).at[0, :2].set(1)
    half = jnp.float32(0.5)
    assert losses.mode_seeking(image, image, foreground, half).item() == 1
    assert losses.mode_seeking(image, image + 1, foreground, half).item() == 0
    in_foreground = losses.mode_seeking(
        image,
        image + foreground,
        foreground,
        jnp.float32(1.0),
    )
    assert in_foreground.item() == pytest.approx(1 - 0.5 * 16 / 17)


def test_unet_judge_balances_classes_and_names_fakes():
    """Catches the fake class at another place, and a rare class that counts by its pixels."""
    judge = UNetPatch((4, 8))
    mask = mask_of_one_pixel(8)

    def sure_of(k):
        return [jnp.zeros((1, 8, 8, 3)).at[..., k].set(9.0)]

    right = [9 * jnp.concatenate([mask, jnp.zeros((1, 8, 8, 1))], -1)]
    assert judge.discriminator_loss("hinge", right, sure_of(2), mask, mask).item() < 0.01
    assert judge.generator_loss("hinge", right, mask).item() < 0.01
    missed = judge.generator_loss("hinge", sure_of(0), mask).item()
    invented = judge.generator_loss("hinge", sure_of(1), mask).item()
    assert missed == pytest.approx(invented, rel=0.05)
    assert missed > 4


@pytest.mark.parametrize(
    "move, grey",
    [
        (0.0, 0.0),
        (0.0, 1.0),
        (1.0, 0.0),
    ],
)
def test_diffaug_moves_both_and_greys_the_image_alone(move, grey):
    """Catches grey values on mask channels, and a mask that stays where it was."""
    images, labels = gan_cases.pairs(8)
    mask = one_hot(jnp.asarray(labels), 2)
    image = jnp.asarray(images / 127.5 - 1, jnp.float32)
    rng = np.random.default_rng(0)
    u = jnp.asarray(
        rng.uniform(
            -1,
            1,
            (8, diffaug.NUMBERS),
        ),
        jnp.float32,
    )
    view = diffaug.draw(u, gan_cases.SIZE, move, grey)
    new_mask, new_image = diffaug.apply(view, mask, image)
    assert np.allclose(new_mask, mask, atol=1e-5) == (move == 0)
    assert np.allclose(new_image, image, atol=1e-5) == (move == grey == 0)
    np.testing.assert_allclose(new_mask.sum(-1), 1, atol=1e-5)
    if not grey:
        both, as_image = diffaug.apply(
            view,
            mask,
            mask[..., 1:],
        )
        np.testing.assert_allclose(
            both[..., 1:],
            as_image,
            atol=1e-5,
        )
