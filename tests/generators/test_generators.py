"""What every generator and discriminator must do: one row of CASES, all of the tests."""

import functools

import gan_cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from semiseg.generators import GENERATORS, diffaug, losses
from semiseg.generators.blocks import one_hot
from semiseg.generators.discriminators import Patch, UNetPatch

every = pytest.mark.parametrize("name", gan_cases.CASES)


@functools.cache
def trained(name: str, **changes: float):
    """State and metrics after one step from the start."""
    return gan_cases.train(name, gan_cases.data(*gan_cases.pairs()), 1, **dict(changes))


def same(a, b) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b)))


def test_table_holds_every_generator():
    """Catches a generator without a row in the tests."""
    assert {type(p.generator) for p in gan_cases.CASES.values()} == set(GENERATORS.values())


@every
def test_step_is_finite_and_reaches_every_weight(name):
    """Catches a layer that is never used, a bias before a norm that takes it out, a gradient that
    stops half-way: Adam's step is lr where it arrives.
    """
    state, metrics = trained(name)
    assert all(np.isfinite(v) for v in metrics.values()), metrics
    before = gan_cases.start(name)
    for part, old, new in (
        ("g", before.g, state.g),
        ("d", before.d.weights, state.d.weights),
        ("u", before.u.weights, state.u.weights),
    ):
        for path, a in jax.tree_util.tree_leaves_with_path(old):
            b = functools.reduce(lambda t, k: t[k.key], path, new)
            used = not (
                part == "g" and name == "joint" and path[0].key == "encoder"
            )  # no style of a real image is asked for
            if part == "d" and path[-2].key.endswith("_last") and path[-1].key == "bias":
                # while both hinges are active, real and fake move it by -1 and +1: nothing but
                # rounding is left
                continue
            assert np.array_equal(a, b) != used, f"{part}{jax.tree_util.keystr(path)}"


@every
def test_neither_side_steps_the_other(name):
    """Catches a discriminator that is trained to be fooled, or a generator that is trained to be
    told.
    """
    before = gan_cases.start(name)
    still_d, _ = trained(name, lr_d=0.0)
    still_g, _ = trained(name, lr_g=0.0)
    assert (
        same(still_d.d.weights, before.d.weights)
        and same(still_d.u.weights, before.u.weights)
        and not same(still_d.g, before.g)
    )
    assert same(still_g.g, before.g) and not same(still_g.d.weights, before.d.weights)
    assert same(still_g.d.weights, trained(name)[0].d.weights), (
        "the discriminator's step must not depend on the generator's learning rate"
    )


@every
def test_image_follows_mask_style_and_noise(name):
    """Catches a generator that drops one of its inputs; a joint one makes its own mask, of one
    class a pixel.
    """
    program = gan_cases.CASES[name]
    gen, weights, rng = program.generator, gan_cases.start(name).g, np.random.default_rng(0)
    mask = one_hot(jnp.asarray(gan_cases.pairs(2)[1]), 2)
    code, noise = (
        rng.normal(size=(2, n)).astype(np.float32) for n in (gen.style, gen.noises(gan_cases.SIZE))
    )
    paint = jax.jit(gen.apply)
    image, made = paint(weights, mask, code, noise)
    assert (
        image.shape == (2, gan_cases.SIZE, gan_cases.SIZE, 1)
        and np.abs(image).max() <= 1
        and image.dtype == jnp.float32
    )
    unlike = lambda *args: np.abs(np.asarray(paint(weights, *args)[0] - image)).mean()
    assert unlike(mask, code + 1, noise) > 1e-3 and unlike(mask, code, -noise) > 1e-3
    if gen.joint:
        assert (
            unlike(1 - mask, code, noise) == 0
            and set(np.unique(made)) <= {0.0, 1.0}
            and np.array_equal(made.sum(-1), np.ones(made.shape[:-1]))
        )
    else:
        assert unlike(1 - mask, code, noise) > 1e-3 and np.array_equal(made, mask)


def test_spectral_norm_is_one():
    """Catches a power iteration on the wrong side of the matrix: kernels are divided by their
    largest singular value.
    """
    from semiseg.generators.discriminators import _normalised

    judge = Patch((4, 8))
    params = judge.init(jax.random.key(0), 1, 2)
    for _ in range(30):
        params = judge.power(params)
    for name, p in _normalised(params).items():
        if name.endswith("last"):
            continue
        assert np.linalg.norm(
            np.asarray(p["kernel"]).reshape(-1, p["kernel"].shape[-1]), 2
        ) == pytest.approx(1, abs=1e-3)


def test_gradient_penalty_is_that_of_autodiff():
    """Catches a wrong sign, factor or batch mean: value and gradient are those of differentiating
    twice, on a smooth network.
    """
    rng = np.random.default_rng(0)
    w = {
        "a": jnp.asarray(rng.normal(size=(9, 5)), jnp.float32),
        "b": jnp.asarray(rng.normal(size=(5,)), jnp.float32),
    }
    x = jnp.asarray(rng.normal(size=(4, 3, 3, 1)), jnp.float32)
    score = lambda w, x: jnp.tanh(x.reshape(len(x), -1) @ w["a"]) @ w["b"]
    exact = lambda w: 0.5 * (jax.grad(lambda x: score(w, x).sum())(x) ** 2).sum() / len(x)
    value, slope = losses.gradient_penalty(score, w, x)
    assert value == pytest.approx(float(exact(w)), rel=1e-5)
    for name, wanted in jax.grad(exact)(w).items():
        np.testing.assert_allclose(
            slope[name], wanted, rtol=2e-2, atol=2e-3 * float(jnp.abs(wanted).max()) + 1e-4
        )


def test_losses_by_hand():
    """Catches a swapped sign: a judge that is right with margin 1 has no hinge loss, and a fooled
    one costs the generator nothing.
    """
    y = jnp.full((2, 3, 3, 1), 2.0)
    assert np.allclose(losses.adversary("hinge", y, True), 0) and np.allclose(
        losses.adversary("hinge", y, False), 3
    )
    assert np.allclose(losses.generator("hinge", y), -2) and np.allclose(
        losses.adversary("bce", y, True), np.log1p(np.exp(-2))
    )
    assert np.allclose(losses.kl(jnp.zeros((1, 3)), jnp.zeros((1, 3))), 0) and np.allclose(
        losses.kl(jnp.ones((1, 4)), jnp.zeros((1, 4))), 2
    )
    assert losses.weighted(jnp.array([1.0, 3.0]), jnp.array([1.0, 0.0])) == 1
    rare = jnp.zeros((1, 4, 4, 2)).at[..., 0].set(1).at[0, 0, 0].set(jnp.array([0.0, 1.0]))
    assert losses.l1(rare[..., 1:], 0 * rare[..., 1:], rare).item() == 0.5, (
        "one pixel of a class is half of the loss"
    )
    image, front = jnp.zeros((1, 8, 8, 1)), jnp.zeros((1, 8, 8, 1)).at[0, :2].set(1)
    assert losses.mode_seeking(image, image, front, jnp.float32(0.5)).item() == 1
    assert losses.mode_seeking(image, image + 1, front, jnp.float32(0.5)).item() == 0
    assert losses.mode_seeking(
        image, image + front, front, jnp.float32(1.0)
    ).item() == pytest.approx(1 - 0.5 * 16 / 17), "a small foreground is half"


def test_unet_judge_balances_classes_and_names_fakes():
    """Catches the fake class at another place, and a rare class that counts by its pixels."""
    judge = UNetPatch((4, 8))
    mask = jnp.zeros((1, 8, 8, 2)).at[..., 0].set(1).at[0, 0, 0].set(jnp.array([0.0, 1.0]))
    sure = lambda k: [jnp.zeros((1, 8, 8, 3)).at[..., k].set(9.0)]
    right = [9 * jnp.concatenate([mask, jnp.zeros((1, 8, 8, 1))], -1)]
    assert (
        judge.told("hinge", right, sure(2), mask, mask).item() < 0.01
        and judge.fooled("hinge", right, mask).item() < 0.01
    )
    missed = judge.fooled("hinge", sure(0), mask).item()
    assert (
        missed == pytest.approx(judge.fooled("hinge", sure(1), mask).item(), rel=0.05)
        and missed > 4
    )


def test_diffaug_moves_both_and_greys_the_image_alone():
    """Catches grey values on mask channels, and a mask that stays where it was."""
    images, labels = gan_cases.pairs(8)
    mask, image = one_hot(jnp.asarray(labels), 2), jnp.asarray(images / 127.5 - 1, jnp.float32)
    u = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (8, diffaug.NUMBERS)), jnp.float32)
    for move, grey in ((0.0, 0.0), (0.0, 1.0), (1.0, 0.0)):
        m, x = diffaug.apply(diffaug.draw(u, gan_cases.SIZE, move, grey), mask, image)
        assert np.allclose(m, mask, atol=1e-5) == (move == 0) and np.allclose(
            x, image, atol=1e-5
        ) == (move == grey == 0)
        np.testing.assert_allclose(m.sum(-1), 1, atol=1e-5)
    same_way, _ = diffaug.apply(diffaug.draw(u, gan_cases.SIZE, 1.0, 0.0), mask, mask[..., 1:])
    both = diffaug.apply(diffaug.draw(u, gan_cases.SIZE, 1.0, 0.0), mask, mask[..., 1:])[1]
    np.testing.assert_allclose(same_way[..., 1:], both, atol=1e-5)
