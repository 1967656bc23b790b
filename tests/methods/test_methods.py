"""Every method against one contract: who gets gradient, which view matters, what weight 0 means, what is averaged.

Each check is a function of a row. It must hold on every row that claims it, and fail on its mutant, a method broken in one line.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from method_cases import KEY, MODEL, NOW, ROWS, Row, close, equal, make_batch, net, probe, two_steps

from semiseg import methods as m
from semiseg.losses import CEDice
from semiseg.methods import METHODS
from semiseg.methods.blocks import ema_params, gaussian_ramp, hard_cross_entropy
from semiseg.types import hyper, static

BATCH, OTHER = make_batch(7), make_batch(8)


def rows(claim=lambda row: True):
    return pytest.mark.parametrize("name", [n for n, row in ROWS.items() if claim(row)])


def test_table_is_covered():
    """Catches a method added to the table without a row here."""
    assert {n: type(row.method) for n, row in ROWS.items()} == METHODS


# ------------------------------------------------------------------ the checks
def check_gradient(row):
    """Every weight learns, the memory never does, and all is finite."""
    p = two_steps(row, BATCH)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((p.value, p.metrics, p.gradient, p.params)))
    assert np.all(p.memory_gradient == 0), "gradient reaches the memory"
    idle = [jax.tree_util.keystr(path) for path, g in jax.tree.leaves_with_path(p.gradient) if not np.abs(g[0]).max() > 0]
    assert not idle, "weights that never learn"


def check_nothing_accepted_is_finite(row):
    """No valid pixel at all: means over nothing are 0, not NaN."""
    p = two_steps(row, BATCH._replace(valid=jnp.zeros_like(BATCH.valid)))
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((p.value, p.metrics, p.gradient)))


def check_weight_zero(row):
    """Without its own terms a method is supervised training, bit for bit: loss, gradient, statistics."""
    p, reference = two_steps(row, BATCH, **row.off), two_steps(ROWS["supervised"], BATCH)
    same = equal if row.exact else functools.partial(close, rtol=1e-5)
    assert same(p.metrics["supervised"], reference.metrics["supervised"])
    assert same(net(p.gradient), reference.gradient)
    assert same(net(p.params), reference.params)


def check_views(row):
    """The loss follows the strong view where the method has one, and only there; the unlabelled images always matter."""
    strong = two_steps(row, BATCH._replace(strong=OTHER.strong))
    assert equal(strong.value, two_steps(row, BATCH).value) != row.strong
    if row.method.__class__ is not m.Supervised:
        assert not equal(two_steps(row, BATCH._replace(weak=OTHER.weak, strong=OTHER.strong)).value, two_steps(row, BATCH).value)


def check_outside(row):
    """Pixels that augmentation moved in from outside the frame teach the network nothing."""
    nothing = BATCH._replace(valid=jnp.zeros_like(BATCH.valid))
    changed = nothing._replace(weak=OTHER.weak, strong=OTHER.strong)
    a, b = (two_steps(row, x) for x in (nothing, changed))
    first = lambda p: jax.tree.map(lambda g: g[0], net(p.gradient))
    assert close(first(a), first(b))


def check_rejected(row):
    """With no pixel accepted, the gradient is that of supervised training."""
    p, off = two_steps(row, BATCH, threshold=1.1), two_steps(row, BATCH, **row.off)
    assert close(net(p.gradient), net(off.gradient), 1e-5)


def check_permutation(row):
    """The order of the unlabelled images changes nothing: each is taught with its own prediction, not with a neighbour's."""
    turned = BATCH._replace(**{f: getattr(BATCH, f)[::-1] for f in ("weak", "strong", "valid", "place", "coordinates")})
    a, b = (two_steps(row, x, **row.still) for x in (BATCH, turned))
    assert close(a.value, b.value) and close(net(a.gradient), net(b.gradient), 1e-2)


def check_average(row):
    """The evaluated average after two steps: the first copies, the second is the mean of both; weights AND statistics."""
    p = two_steps(row, BATCH)
    average = p.memory["average" if "average" in p.memory else "teacher"]
    mean = jax.tree.map(lambda x: jnp.stack([x[0], 0.5 * x[0] + 0.5 * x[1]]), net(p.params))
    assert jax.tree.leaves(mean.state) and close(average.state, mean.state, 1e-5) and close(average.weights, mean.weights, 1e-5)
    final = row.method.final(jax.tree.map(lambda x: x[1], p.params), jax.tree.map(lambda x: x[1], p.memory))
    assert equal(final, jax.tree.map(lambda x: x[1], average)), "another network is evaluated"


def check_ramp(row):
    """The weight rises as exp(-5 (1 - t)²) to its full value at the ramp's end."""
    p = two_steps(row, BATCH, progress=(0.0, 0.2), ramp=0.4)
    weight = next(v for k, v in p.metrics.items() if k.endswith("_weight"))
    np.testing.assert_allclose(weight, row.method.weight * np.exp([-5.0, -1.25]), rtol=1e-5)


def check_compiles_once(row):
    """Other values of float fields, weights and batches run through the program there is."""
    two_steps(row, BATCH)
    before = probe._cache_size()
    fields = {f.name for f in dataclasses.fields(row.method)}
    two_steps(row, OTHER, progress=(0.1, 0.2), **{k: v for k, v in {"weight": 0.3, "ramp": 0.7, "decay": 0.5}.items() if k in fields})
    assert probe._cache_size() == before


def check_image_weight(row):
    """The mask of an image of weight 0 teaches nothing, early (in a pre-training) and late: neither gradient nor memory follow it. By cross-entropy
    alone, since a Dice over the batch has every mask in its sums."""
    off = BATCH._replace(weight=jnp.array([0.0, 1.0]))
    batches = off, off._replace(label=off.label.at[0].set(OTHER.label[0])), BATCH
    a, b, on = (two_steps(row, x, (0.1, 0.6), criterion=CEDice(dice_weight=0.0)) for x in batches)
    assert close(a.gradient, b.gradient, 1e-6) and close(a.memory, b.memory, 1e-6)
    assert not close(a.gradient, on.gradient)


# ------------------------------------------------------------------ on every method
@rows()
def test_every_weight_learns_and_the_memory_never(name):
    """Catches a teacher that is trained, a head left out, a NaN; ``ssnet`` and ``unimatch`` differentiate inside their loss."""
    check_gradient(ROWS[name])


@rows()
def test_nothing_valid_is_finite(name):
    """Catches a mean over no pixels."""
    check_nothing_accepted_is_finite(ROWS[name])


@rows(lambda row: row.off is not None)
def test_weight_zero_is_supervised_bit_for_bit(name):
    """Catches an unlabelled term that leaks past its weight, or statistics that follow unlabelled images."""
    check_weight_zero(ROWS[name])


@rows()
def test_the_strong_view_matters(name):
    """Catches the strong view computed and the weak one used, and the reverse."""
    check_views(ROWS[name])


@rows(lambda row: row.outside)
def test_pixels_from_outside_the_frame_teach_nothing(name):
    """Catches an unlabelled term that ignores ``valid``."""
    check_outside(ROWS[name])


@rows(lambda row: row.rejects)
def test_rejected_pixels_have_zero_gradient(name):
    """Catches rejected pixels trained as background."""
    check_rejected(ROWS[name])


@rows(lambda row: row.still is not None)
def test_the_order_of_unlabelled_images_changes_nothing(name):
    """Catches a pseudo-label paired with the wrong image."""
    check_permutation(ROWS[name])


@rows()
def test_the_evaluated_average_follows_its_closed_form(name):
    """Catches forgotten statistics, a teacher left at zero, and ``final`` returning the student."""
    check_average(ROWS[name])


@rows(lambda row: hasattr(row.method, "ramped") and not isinstance(row.method, m.BCP | m.SelfTraining))
def test_the_weight_ramps(name):
    """Catches a consistency weight that is constant, or ends where the training does."""
    check_ramp(ROWS[name])


@rows()
def test_an_image_of_weight_zero_teaches_nothing(name):
    """Catches a head or a part of a picture that is taught with a synthetic image's mask beside its weight."""
    check_image_weight(ROWS[name])


@rows()
def test_a_method_compiles_once(name):
    """Catches a float field that became static, and Python control flow on a value."""
    check_compiles_once(ROWS[name])


# ------------------------------------------------------------------ mutants: each broken in one line
class _Trained(m.MeanTeacher):
    def loss(self, model, params, memory, batch, key, progress):
        value, aux = super().loss(model, params, memory, batch, key, progress)
        return value + jnp.square(model.apply(memory["teacher"], batch.weak, train=False).logits).mean(), aux  # no stop_gradient


class _Nan(m.PseudoLabel):
    def loss(self, model, params, memory, batch, key, progress):
        value, aux = super().loss(model, params, memory, batch, key, progress)
        return value + 0.0 * (1.0 / aux.pseudo.accepted.sum()), aux  # a mean over accepted pixels alone


class _Leak(m.MeanTeacher):
    def loss(self, model, params, memory, batch, key, progress):
        value, aux = super().loss(model, params, memory, batch, key, progress)
        return value + aux.metrics["consistency"], aux  # a term beside its weight


class _UnlabelledStatistics(m.MeanTeacher):
    def loss(self, model, params, memory, batch, key, progress):
        value, aux = super().loss(model, params, memory, batch, key, progress)
        return value, aux._replace(state=model.apply(params, batch.weak, train=True).new_state)


class _EveryPixel(m.MeanTeacher):
    def loss(self, model, params, memory, batch, key, progress):
        return super().loss(model, params, memory, batch._replace(valid=jnp.ones_like(batch.valid)), key, progress)


class _Neighbour(m.MeanTeacher):
    def loss(self, model, params, memory, batch, key, progress):
        return super().loss(model, params, memory, batch._replace(strong=batch.strong.at[0].set(batch.strong[1])), key, progress)


class _Flat(m.MeanTeacher):
    def ramped(self, progress):
        return self.weight * jnp.ones_like(progress)


class _StudentEvaluated(m.MeanTeacher):
    def final(self, params, memory):
        return params


class _Unweighed(m.MCNet):
    def loss(self, model, params, memory, batch, key, progress):
        return super().loss(model, params, memory, batch._replace(weight=jnp.ones_like(batch.weight)), key, progress)


class _Frozen(m.MeanTeacher):
    def update(self, params, memory):
        return params, memory


class _StaticWeight(m.MeanTeacher):
    weight: float = static(default=2.0)


MUTANTS = {
    "trained teacher": (_Trained, NOW, check_gradient),
    "mean over nothing": (_Nan, {**NOW, "threshold": 0.4}, check_nothing_accepted_is_finite),
    "term beside its weight": (_Leak, NOW, check_weight_zero),
    "statistics of unlabelled images": (_UnlabelledStatistics, NOW, check_weight_zero),
    "strong view unused": (m.MeanTeacher, {**NOW, "student_view": "weak"}, check_views),
    "valid ignored": (_EveryPixel, NOW, check_outside),
    "rejected is background": (m.FixMatch, {**NOW, "threshold": 0.4, "rejected": "background"}, check_rejected),
    "neighbour's label": (_Neighbour, NOW, check_permutation),
    "statistics not averaged": (m.MeanTeacher, {**NOW, "average_state": False}, check_average),
    "student evaluated": (_StudentEvaluated, NOW, check_average),
    "teacher never updated": (_Frozen, NOW, check_average),
    "constant weight": (_Flat, NOW, check_ramp),
    "image's weight ignored": (_Unweighed, NOW, check_image_weight),
    "weight compiled in": (_StaticWeight, NOW, check_compiles_once),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_each_check_fails_on_its_mutant(name):
    """Catches a check that cannot fail."""
    cls, fields, check = MUTANTS[name]
    with pytest.raises(AssertionError):
        check(Row((cls if cls in METHODS.values() else hyper(cls))(**fields)))


# ------------------------------------------------------------------ shared parts, by hand
def test_ema_is_a_mean_first_and_exponential_later():
    """a = min(1 - 1/(t+1), .9). Catches a teacher that keeps its zeros, and a decay off by one step."""
    from semiseg.types import Params

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


def test_gaussian_ramp_hits_its_values():
    """exp(-5) at the start, exp(-1.25) half way up, 1 from the end on."""
    got = [float(gaussian_ramp(jnp.float32(p), 0.4)) for p in (0.0, 0.2, 0.4, 0.9)]
    np.testing.assert_allclose(got, [np.exp(-5), np.exp(-1.25), 1, 1], rtol=1e-5)


def test_hard_cross_entropy_counts_rejected_pixels_in_its_mean_only():
    """One of four pixels accepted, at p = 1/2: ln 2 / 4. Catches a mean over accepted pixels, and a label looked up out of range."""
    logits, label = jnp.zeros((1, 2, 2, 2)), jnp.full((1, 2, 2), 255).at[0, 0, 0].set(1)
    accepted = label != 255
    value, g = jax.value_and_grad(hard_cross_entropy)(logits, label, accepted, jnp.ones_like(accepted))
    np.testing.assert_allclose(value, np.log(2) / 4, rtol=1e-6)
    np.testing.assert_allclose(g[0, 0, 0], [0.125, -0.125], rtol=1e-6)
    assert np.all(np.asarray(g).reshape(4, 2)[1:] == 0)


def test_init_starts_with_the_supervised_network():
    """Catches comparisons in which methods begin at different weights."""
    reference = m.Supervised().init(MODEL, KEY)[0]
    assert all(equal(net(row.method.init(MODEL, KEY)[0]), reference) for row in ROWS.values())
