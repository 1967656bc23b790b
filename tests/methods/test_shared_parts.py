"""What methods share, by hand: the moving average, the ramp, cross-entropy over accepted pixels."""

import jax
import jax.numpy as jnp
import numpy as np

from semiseg.methods.parts.moving_average import ema_params
from semiseg.methods.parts.ramps import gaussian_ramp
from semiseg.methods.parts.terms import hard_cross_entropy


def test_ema_is_a_mean_first_and_exponential_later():
    """a = min(1 - 1/(t+1), .9). Catches a teacher that keeps its zeros, and a decay off by one
    step.
    """
    from semiseg.types import Params

    params = [
        Params(
            {"w": jnp.full(2, float(i))},
            {"mean": jnp.full(2, 10.0 * i)},
        )
        for i in range(1, 21)
    ]
    average = Params(
        {"w": jnp.full(2, 99.0)},
        {"mean": jnp.full(2, 99.0)},
    )
    by_hand = 99.0
    for t, new in enumerate(params):
        average = ema_params(average, new, 0.9, jnp.int32(t))
        a = min(1 - 1 / (t + 1), 0.9)
        by_hand = a * by_hand + (1 - a) * (t + 1)
        if t == 3:
            np.testing.assert_allclose(
                average.weights["w"],
                2.5,
            )  # the mean of 1, 2, 3, 4
    np.testing.assert_allclose(
        average.weights["w"],
        by_hand,
        rtol=1e-6,
    )
    np.testing.assert_allclose(
        average.state["mean"],
        10 * by_hand,
        rtol=1e-6,
    )
    kept = ema_params(
        average,
        params[0],
        0.9,
        jnp.int32(50),
        state=False,
    )
    np.testing.assert_array_equal(
        kept.state["mean"],
        average.state["mean"],
    )


def test_a_teacher_of_its_own_is_younger_than_the_evaluated_average():
    """After three steps at decays .5 and .9. Catches one average for both, and a teacher that is
    evaluated.
    """
    from semiseg.methods import MeanTeacher
    from semiseg.types import Params

    params = [Params({"w": jnp.float32(i)}, {}) for i in (0.0, 1.0, 5.0)]
    method = MeanTeacher(decay=0.9, teacher_decay=0.5)
    memory = {"teacher": params[0], "young": params[0], "step": jnp.int32(0)}
    for new in params:
        _, memory = method.update(new, memory)
    np.testing.assert_allclose(
        memory["teacher"].weights["w"],
        2.0,
        rtol=1e-5,
    )  # a true mean
    np.testing.assert_allclose(
        memory["young"].weights["w"],
        0.5 * 0.5 + 0.5 * 5,
        rtol=1e-5,
    )
    assert method.teacher(memory) is memory["young"]
    assert method.final(params[-1], memory) is memory["teacher"]
    alone = MeanTeacher(decay=0.9)
    _, memory = alone.update(
        params[0],
        {"teacher": params[0], "step": jnp.int32(0)},
    )
    assert alone.teacher(memory) is memory["teacher"]


def test_gaussian_ramp_hits_its_values():
    """exp(-5) at the start, exp(-1.25) half way up, 1 from the end on."""
    got = [float(gaussian_ramp(jnp.float32(p), 0.4)) for p in (0.0, 0.2, 0.4, 0.9)]
    np.testing.assert_allclose(
        got,
        [np.exp(-5), np.exp(-1.25), 1, 1],
        rtol=1e-5,
    )


def test_hard_cross_entropy_counts_rejected_pixels_in_its_mean_only():
    """One of four pixels accepted, at p = 1/2: ln 2 / 4. Catches a mean over accepted pixels, and a
    label looked up out of range.
    """
    logits = jnp.zeros((1, 2, 2, 2))
    label = jnp.full((1, 2, 2), 255).at[0, 0, 0].set(1)
    accepted = label != 255
    value, g = jax.value_and_grad(hard_cross_entropy)(
        logits, label, accepted, jnp.ones_like(accepted)
    )
    np.testing.assert_allclose(
        value,
        np.log(2) / 4,
        rtol=1e-6,
    )
    np.testing.assert_allclose(
        g[0, 0, 0],
        [0.125, -0.125],
        rtol=1e-6,
    )
    assert np.all(np.asarray(g).reshape(4, 2)[1:] == 0)
