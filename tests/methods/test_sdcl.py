"""What the formula of SDCL's loss takes as given: where the networks are corrected, and when."""

import jax.numpy as jnp
import numpy as np
import pytest
from method_cases import ROWS, make_batch
from test_quirks import watch

from semiseg.methods.bcp import Mix
from semiseg.methods.sdcl import Taught, differing, divergence_from_uniform, squared_error

BATCH = make_batch(7)
OTHER = make_batch(8)


def logits_of(*probabilities):
    return jnp.log(jnp.array([probabilities]))


def taught(labels, weights):
    return Taught(
        jnp.array([labels]),
        jnp.array([weights]),
    )


def test_only_known_pixels_of_different_decisions_count():
    """Catches a correction where the networks agree, and one outside the frame."""
    one = logits_of(
        [0.9, 0.1],
        [0.9, 0.1],
        [0.2, 0.8],
    )
    other = logits_of(
        [0.4, 0.6],
        [0.6, 0.4],
        [0.9, 0.1],
    )
    known = jnp.array([[True, True, False]])
    mixes = [Mix(0.0, None, known, logits, None) for logits in (one, other)]
    assert differing(*mixes).tolist() == [[True, False, False]]


def test_the_squared_error_by_hand():
    """Means over the pixels that differ and over classes, a pseudo-labelled pixel at its weight.
    Catches a sum, and a mean over all pixels.
    """
    logits = logits_of(
        [0.7, 0.2, 0.1],
        [0.2, 0.2, 0.6],
        [0.1, 0.8, 0.1],
    )
    where = jnp.array([[True, True, False]])
    first = (0.09 + 0.04 + 0.01) / 3
    second = (0.04 + 0.64 + 0.36) / 3
    found = squared_error(
        logits,
        taught([0, 1, 2], [1.0, 0.5, 1.0]),
        where,
    )
    assert float(found) == pytest.approx((first + 0.5 * second) / 2, rel=1e-5)


def test_the_divergence_by_hand_is_over_wrong_pixels_alone():
    """Catches one that makes right pixels unsure, too, divides by all that differ, or is not 0 for
    a network that is unsure already.
    """
    logits = logits_of(
        [0.7, 0.2, 0.1],
        [0.2, 0.2, 0.6],
        [0.1, 0.8, 0.1],
    )
    where = jnp.array([[True, True, True]])
    wrong = [-np.log(3) - np.log(p).mean() for p in ([0.2, 0.2, 0.6], [0.1, 0.8, 0.1])]
    found = divergence_from_uniform(
        logits,
        taught([0, 1, 2], [1.0, 0.5, 1.0]),
        where,
    )
    assert float(found) == pytest.approx((0.5 * wrong[0] + wrong[1]) / 2, rel=1e-5)
    unsure = logits_of([1 / 3, 1 / 3, 1 / 3])
    none = divergence_from_uniform(
        unsure,
        taught([1], [1.0]),
        jnp.array([[True]]),
    )
    assert abs(float(none)) < 1e-6


def test_nothing_that_differs_is_zero():
    """Catches a mean over nothing."""
    where = jnp.zeros(
        (1, 1),
        bool,
    )
    for term in (squared_error, divergence_from_uniform):
        assert float(term(logits_of([0.7, 0.3]), taught([0], [1.0]), where)) == 0.0


def test_the_pretraining_needs_no_unlabelled_image_and_no_correction():
    """Catches a correction, or a pseudo-label, before the pre-training ends."""
    changed = BATCH._replace(
        weak=OTHER.weak,
        strong=OTHER.strong,
        valid=OTHER.valid,
    )
    method = ROWS["sdcl"].method
    for progress, same in ((0.1, True), (0.5, False)):
        (a, aux, *_), (b, *_) = (watch(method, progress, batch) for batch in (BATCH, changed))
        assert (a == b) == same
        added = a - aux.metrics["copy_paste"]
        expected = 0.5 * (
            method.correct * aux.metrics["correct"] + method.unsure * aux.metrics["unsure"]
        )
        assert float(added) == pytest.approx(0.0 if same else float(expected), abs=1e-6)
        assert float(expected) > 0
