"""The terms of TraCoCo's loss, each against a few lines of numpy, and the pictures that teach."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from method_cases import ROWS, make_batch
from test_quirks import watch

from semiseg.methods import tracoco
from semiseg.types import IGNORE, Output

BATCH = make_batch(7)
METHOD = ROWS["tracoco"].method
RNG = np.random.default_rng(3)
LOGITS = (2 * RNG.normal(size=(2, 5, 4, 3))).astype(np.float32)


def softmax(x):
    z = np.exp(
        x
        - x.max(
            -1,
            keepdims=True,
        )
    )
    return z / z.sum(-1, keepdims=True)


def moved_by_hand(x, down, right):
    """One pixel after another."""
    made = np.zeros_like(x)
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            if 0 <= i - down < x.shape[0] and 0 <= j - right < x.shape[1]:
                made[i, j] = x[i - down, j - right]
    return made


def test_the_confident_cross_entropy_by_hand():
    """A pixel weighs its confidence, the mean is over accepted ones. Catches a mean over all
    pixels, one divided by the confidences, and a label outside the frame that is looked up.
    """
    label = RNG.integers(0, 3, (2, 5, 4))
    confidence = RNG.uniform(
        0.4,
        1,
        (2, 5, 4),
    ).astype(np.float32)
    accepted = confidence >= 0.65
    label[0, 0, 0], accepted[0, 0, 0] = IGNORE, False
    p = softmax(LOGITS)
    terms = [
        -confidence[at] * np.log(p[at][label[at]])
        for at in zip(
            *np.nonzero(accepted),
            strict=True,
        )
    ]
    found = tracoco.confident_cross_entropy(
        LOGITS,
        jnp.array(label),
        confidence,
        accepted,
    )
    assert float(found) == pytest.approx(
        np.mean(terms),
        rel=1e-5,
    )
    none = jnp.zeros_like(accepted)
    assert (
        float(
            tracoco.confident_cross_entropy(
                LOGITS,
                jnp.array(label),
                confidence,
                none,
            )
        )
        == 0
    )


def test_the_negative_cross_entropy_by_hand():
    """Catches -log p in place of -log(1 - p), a mean over pixels instead of pixels and classes, and
    an infinite loss where the network is certain of what is unlikely.
    """
    unlikely = RNG.uniform(size=LOGITS.shape) < 0.3
    expected = -np.log(1 - softmax(LOGITS))[unlikely].mean()
    found = tracoco.negative_cross_entropy(LOGITS, unlikely)
    assert float(found) == pytest.approx(expected, rel=1e-4)
    certain = jnp.array([[[200.0, 0.0]]])
    assert np.isfinite(
        tracoco.negative_cross_entropy(
            certain,
            jnp.array([[[True, False]]]),
        )
    )
    assert (
        float(
            tracoco.negative_cross_entropy(
                LOGITS,
                jnp.zeros_like(unlikely),
            )
        )
        == 0
    )


def test_the_divergence_of_two_views_by_hand():
    """Over the pixels that both views show: KL(moved view || image) and their mean entropy. Catches
    a move the other way, a divergence the other way, and pixels that moved in.
    """
    other = (2 * RNG.normal(size=LOGITS.shape)).astype(np.float32)
    shift = np.array(
        [[1, -2], [-3, 0]],
        np.int32,
    )
    valid = RNG.uniform(size=(2, 5, 4)) < 0.8
    apart, unsure = [], []
    for b, (down, right) in enumerate(shift):
        p = softmax(moved_by_hand(LOGITS[b], down, right))
        q = softmax(other[b])
        both = moved_by_hand(valid[b], down, right)
        apart += list((q * np.log(q / p)).sum(-1)[both])
        unsure += list(-0.5 * (p * np.log(p) + q * np.log(q)).sum(-1)[both])
    look = tracoco.Look(
        None,
        None,
        Output(LOGITS, {}, None),
        Output(other, {}, None),
    )
    found = METHOD.translated(
        look,
        jnp.array(valid),
        jnp.array(shift),
    )
    np.testing.assert_allclose(
        found,
        (np.mean(apart), np.mean(unsure)),
        rtol=1e-4,
    )


def test_images_move_by_whole_pixels_and_nothing_wraps_around():
    """Catches a roll, and one shift for all images or axes."""
    shift = np.array(
        [[2, -1], [0, 3]],
        np.int32,
    )
    found = tracoco.move(
        jnp.array(LOGITS),
        jnp.array(shift),
    )
    expected = [
        moved_by_hand(
            x,
            *s,
        )
        for x, s in zip(LOGITS, shift, strict=True)
    ]
    np.testing.assert_array_equal(found, expected)


def test_shifts_are_drawn_up_to_their_share_of_each_side():
    """Catches a reach in pixels of another axis, and one direction alone."""
    method = dataclasses.replace(METHOD, shift=0.25)
    drawn = np.asarray(
        method.draw_shift(
            jax.random.key(0),
            (400, 8, 16),
        )
    )
    assert drawn.min(0).tolist() == [-2, -4]
    assert drawn.max(0).tolist() == [2, 4]
    counts = np.bincount(drawn[:, 0] + 2)
    assert counts.min() > 400 / 5 / 2


def test_the_largest_component_alone_teaches_its_class():
    """A pixel that it leaves out is taught as background, at the probability of background. Catches
    a confidence of what was left out, and a label outside the frame.
    """
    decided = np.array([[[1, 1, 0, 1]]])
    q = np.where(
        np.arange(3) == decided[..., None],
        0.8,
        0.1,
    ).astype(np.float32)
    valid = jnp.array([[[True, True, True, True]]]).at[0, 0, 2].set(False)
    guess = METHOD.guess(jnp.log(q), valid)
    assert guess.label.tolist() == [[[1, 1, IGNORE, 0]]]
    np.testing.assert_allclose(
        guess.confidence,
        [[[0.8, 0.8, 0.8, 0.1]]],
        rtol=1e-5,
    )
    taught = tracoco.taught_probability(guess)
    np.testing.assert_allclose(
        taught[0, 0, 3],
        [1, 0, 0],
        rtol=1e-5,
    )
    np.testing.assert_allclose(
        taught[0, 0, 0],
        [0.1, 0.8, 0.1],
        rtol=1e-5,
    )


def test_every_picture_has_noise_of_its_own():
    """Catches noise without bounds, one draw for all passes, and labelled images without it."""
    still = dataclasses.replace(
        METHOD,
        cutmix=0.0,
        shift=0.0,
        noise=0.3,
    )
    _, _, pictures, _ = watch(still)
    images = [BATCH.image, BATCH.weak, BATCH.weak] * 2 + [BATCH.weak] * 2
    noise = [
        p - np.asarray(image)
        for p, image in zip(
            pictures,
            images,
            strict=True,
        )
    ]
    for i, x in enumerate(noise):
        assert 0.25 < np.abs(x).max() < 0.3 + 1e-5
        assert abs(x.mean()) < 0.05
        assert not any(
            np.allclose(
                x,
                other,
            )
            for other in noise[:i]
        )
