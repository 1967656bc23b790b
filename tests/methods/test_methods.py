"""Every method against the contract, term by term: who gets gradient, which view matters, what weight 0 means."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from semiseg.methods import METHODS, MeanTeacher, PseudoLabel, Supervised
from semiseg.methods.blocks import ema_params, gaussian_ramp
from semiseg.nets import UNet
from semiseg.types import Batch, Model, Params, get_weights, with_weights

SEMI = {"mean_teacher": MeanTeacher(weight=2.0, ramp=1e-6), "pseudo_label": PseudoLabel(weight=2.0, ramp=1e-6, threshold=0.4)}
KEY = jax.random.key(0)
MODEL = Model(UNet(widths=(4, 8)), jax.ShapeDtypeStruct((1, 16, 16, 1), np.float32), 3)


@pytest.fixture(scope="module")
def batch():
    k = jax.random.split(jax.random.key(7), 4)
    weak = jax.random.normal(k[1], (2, 16, 16, 1))
    label = jax.random.randint(k[2], (2, 16, 16), 0, 3)
    strong = weak + 0.5 * jax.random.normal(k[3], weak.shape)
    return Batch(jax.random.normal(k[0], (2, 16, 16, 1)), label, weak, strong, jnp.ones((2, 16, 16), bool))


def loss_and_gradient(method, batch, progress=0.5, memory=None):
    params, fresh = method.init(MODEL, KEY)
    memory = fresh if memory is None else memory

    def loss(weights, memory, batch):
        return method.loss(MODEL, with_weights(params, weights), memory, batch, KEY, jnp.float32(progress))[0]

    return jax.jit(jax.value_and_grad(loss, (0, 1), allow_int=True))(get_weights(params), memory, batch)


def size(tree) -> float:
    return float(sum(jnp.abs(x).sum() for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.floating)))


def same(a, b) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b)))


@pytest.mark.parametrize("name", list(METHODS))
def test_gradient_reaches_every_weight_and_never_the_memory(name, batch):
    """Catches a teacher that is trained, and a student that is not."""
    _, (student, memory) = loss_and_gradient(SEMI.get(name, METHODS[name]()), batch)
    assert size(memory) == 0.0
    assert all(float(jnp.abs(g).sum()) > 0 for g in jax.tree.leaves(student))


@pytest.mark.parametrize("name", list(SEMI))
def test_weight_zero_is_supervised_bit_for_bit(name, batch):
    """Catches an unlabelled term that leaks past its weight, or statistics that follow unlabelled images."""
    method = dataclasses.replace(SEMI[name], weight=0.0)
    value, (gradient, _) = loss_and_gradient(method, batch)
    expected, (reference, _) = loss_and_gradient(Supervised(), batch)
    params, memory = method.init(MODEL, KEY)
    states = [m.loss(MODEL, params, m.init(MODEL, KEY)[1], batch, KEY, 0.5)[1][1] for m in (method, Supervised())]
    assert value == expected and same(gradient, reference) and same(*states)


@pytest.mark.parametrize("name", list(SEMI))
def test_the_strong_view_matters(name, batch):
    """Catches the strong view computed and the weak one used, and the reverse: the quirk of a preset is honoured."""
    other = batch._replace(strong=batch.strong + 1.0 * jnp.roll(batch.strong, 3, 1))
    assert loss_and_gradient(SEMI[name], batch)[0] != loss_and_gradient(SEMI[name], other)[0]
    weak = dataclasses.replace(SEMI[name], student_view="weak")
    assert loss_and_gradient(weak, batch)[0] == loss_and_gradient(weak, other)[0]


@pytest.mark.parametrize("name", list(SEMI))
def test_pixels_from_outside_the_frame_teach_nothing(name, batch):
    """Catches an unlabelled term that ignores ``valid``."""
    nothing = batch._replace(valid=jnp.zeros_like(batch.valid))
    value, (gradient, _) = loss_and_gradient(SEMI[name], nothing)
    expected, (reference, _) = loss_and_gradient(Supervised(), batch)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    assert size(jax.tree.map(jnp.subtract, gradient, reference)) < 1e-5 * size(reference)


def test_rejected_pixels_have_zero_gradient(batch):
    """Catches rejected pixels trained as background: with nothing accepted, pseudo-labelling is supervised training."""
    value, (gradient, _) = loss_and_gradient(dataclasses.replace(SEMI["pseudo_label"], threshold=1.1), batch)
    expected, (reference, _) = loss_and_gradient(Supervised(), batch)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    assert size(jax.tree.map(jnp.subtract, gradient, reference)) < 1e-5 * size(reference)


def test_ema_follows_its_closed_form_with_statistics():
    """a = min(1 - 1/(t+1), .9): a mean at first, exponential later. Catches a teacher that keeps its zeros, and forgotten statistics."""
    params = [Params({"w": jnp.full(2, float(i))}, {"mean": jnp.full(2, 10.0 * i)}) for i in range(1, 21)]
    average, by_hand = Params({"w": jnp.full(2, 99.0)}, {"mean": jnp.full(2, 99.0)}), 99.0
    for t, new in enumerate(params):
        average = ema_params(average, new, 0.9, jnp.int32(t))
        a = min(1 - 1 / (t + 1), 0.9)
        by_hand = a * by_hand + (1 - a) * (t + 1)
        if t == 3:
            np.testing.assert_allclose(average.weights["w"], 2.5)  # the mean of 1, 2, 3, 4
    np.testing.assert_allclose(average.weights["w"], by_hand, rtol=1e-6)
    np.testing.assert_allclose(average.state["mean"], 10 * by_hand, rtol=1e-6)
    kept = ema_params(average, params[0], 0.9, jnp.int32(50), state=False)
    np.testing.assert_array_equal(kept.state["mean"], average.state["mean"])


def test_ramp_hits_its_values():
    """exp(-5) at the start, exp(-1.25) half way up, 1 from the end on: catches a consistency weight that never ramps."""
    got = [float(gaussian_ramp(jnp.float32(p), 0.4)) for p in (0.0, 0.2, 0.4, 0.9)]
    np.testing.assert_allclose(got, [np.exp(-5), np.exp(-1.25), 1, 1], rtol=1e-5)


@pytest.mark.parametrize("name", list(SEMI))
def test_the_teacher_is_what_is_evaluated(name):
    """Catches ``final`` returning the student; mean teacher's quirk returns it on request."""
    method = SEMI[name]
    params, memory = method.init(MODEL, KEY)
    moved = params._replace(weights=jax.tree.map(lambda w: w + 1, params.weights))
    assert same(method.final(moved, memory), memory["teacher"]) and not same(method.final(moved, memory), moved)
    assert same(MeanTeacher(evaluate="student").final(moved, memory), moved)
    assert same(method.update(memory, moved)["teacher"], moved), "the first update copies the student"
