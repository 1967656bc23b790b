"""Every method against one contract: who gets gradient, which view matters, what weight 0 means,
what is averaged.

Each check is a function of a row. It must hold on every row that claims it, and fail on its mutant,
a method broken in one line.
"""

import dataclasses
import functools
import itertools
import os
import re
import types
from pathlib import Path
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from method_cases import (
    KEY,
    LATE,
    MODEL,
    ROWS,
    VARIANTS,
    Row,
    begin,
    close,
    equal,
    first,
    make_batch,
    net,
    probe,
    two_steps,
)
from method_references import See

from semiseg import methods as m
from semiseg.losses import CEDice
from semiseg.methods import (
    METHODS,
    ad_mt,
    bcp,
    dtc,
    fixmatch,
    ict,
    mean_teacher,
    pi_model,
    pseudo_label,
    r_drop,
    ssnet,
    temporal_ensembling,
    uamt,
    unimatch,
    urpc,
)
from semiseg.methods.parts import critic
from semiseg.methods.parts.moving_average import ema_params
from semiseg.methods.parts.ramps import gaussian_ramp
from semiseg.methods.parts.terms import hard_cross_entropy
from semiseg.types import hyper, static

BATCH = make_batch(7)
OTHER = make_batch(8)
CASES = ROWS | VARIANTS


def rows(claim=lambda row: True):
    return pytest.mark.parametrize(
        "name",
        [n for n, row in CASES.items() if claim(row)],
    )


def test_table_is_covered():
    """Catches a method added to the table without a row here."""
    assert {n: type(row.method) for n, row in ROWS.items()} == METHODS


# ------------------------------------------------------------------ the checks
def check_gradient(row):
    """Every weight learns, the memory never does, and all is finite."""
    p = two_steps(row, BATCH)
    assert all(
        np.isfinite(x).all() for x in jax.tree.leaves((p.value, p.metrics, p.gradient, p.params))
    )
    assert np.all(p.memory_gradient == 0), "gradient reaches the memory"
    idle = [
        jax.tree_util.keystr(path)
        for path, g in jax.tree.leaves_with_path(p.gradient)
        if not np.abs(g[0]).max() > 0
    ]
    assert not idle, "weights that never learn"


def check_nothing_accepted_is_finite(row):
    """No valid pixel at all: means over nothing are 0, not NaN."""
    p = two_steps(row, BATCH._replace(valid=jnp.zeros_like(BATCH.valid)))
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((p.value, p.metrics, p.gradient)))


def check_passes(row):
    """Which passes the loss teaches, by their logits or by their features through a head; a pass
    that makes a target is taught nothing.
    """
    p = first(two_steps(row, BATCH).passes)
    by = np.array([[bool(x.any()) for x in g] for g in (p.d_logits, p.d_features)])
    assert "".join("-LFB"[logits + 2 * features] for logits, features in by.T) == row.passes


def check_weight_zero(row):
    """Without its own terms a method is supervised training, bit for bit: loss, gradient,
    statistics. Where heads of its own go on learning from the labels, the labelled pass's logits
    have the gradient of those criteria alone; no other pass has any.
    """
    p = two_steps(row, BATCH, **row.off)
    reference = two_steps(ROWS["supervised"], BATCH)
    at = first(p.passes)
    alone = first(reference.passes)
    labelled = [equal(image, BATCH.image) for image in at.image]
    if row.zero == "heads":
        check_reference(
            row._replace(reference=row.reference._replace(fields=row.reference.fields | row.off))
        )
    else:
        same = functools.partial(close, rtol=1e-5) if row.zero == "pass" else equal
        assert same(
            at.d_logits[labelled.index(True)],
            row.share * alone.d_logits[0],
        )
    free = ~np.array(labelled)
    assert not at.d_logits[free].any()
    assert not at.d_features[free].any()
    if row.zero in ("pass", "heads"):
        return
    same = equal if row.zero == "equal" else functools.partial(close, rtol=1e-5)
    assert not at.d_features.any()
    assert same(p.metrics["supervised"], reference.metrics["supervised"])
    assert same(net(p.gradient), reference.gradient)
    assert same(net(p.params), reference.params)


def check_reference(row):
    """The loss, and its gradient with respect to every pass's logits and features, are those of the
    formula written a second time. The gradient shows what the value does not: a target through
    which it flows.
    """
    how = row.reference
    fields = {"threshold": 0.0} | dataclasses.asdict(row.method) | how.fields
    batch = BATCH._replace(strong=BATCH.weak) if how.one_view else BATCH
    steps = two_steps(row, batch, how.progress, how.sharp, **how.fields)
    p = jax.tree.map(lambda x: x[how.step], steps)
    before = begin(row, how.sharp) if how.step == 0 else first((steps.params, steps.memory))
    t = min(how.progress[how.step] / fields["ramp"], 1.0)
    see = See(
        p.passes.image,
        p.passes.logits,
        p.passes.features,
        *before,
        batch,
        fields["weight"],
        fields["threshold"],
        t,
    )
    value, gradient = differentiated(how.formula)(see.x, see.z, see)
    np.testing.assert_allclose(p.value, value, rtol=how.rtol)
    for ours, theirs in zip(
        (p.passes.d_logits, p.passes.d_features),
        gradient,
        strict=True,
    ):
        for a, b in zip(ours, theirs, strict=True):
            assert np.abs(a - b).max() <= 10 * how.rtol * np.abs(b).max()


@functools.cache
def differentiated(formula):
    return jax.jit(jax.value_and_grad(formula, (0, 1)))


def check_views(row):
    """The loss follows the strong view where the method has one, and only there; the unlabelled
    images always matter.
    """
    strong = two_steps(row, BATCH._replace(strong=OTHER.strong))
    assert equal(strong.value, two_steps(row, BATCH).value) != row.strong
    if row.method.__class__ is not m.Supervised:
        assert not equal(
            two_steps(row, BATCH._replace(weak=OTHER.weak, strong=OTHER.strong)).value,
            two_steps(row, BATCH).value,
        )


def check_teacher(row):
    """The pseudo-labels do not follow the strong view: it is what they are learnt on."""
    a, b = (first(two_steps(row, x).pseudo) for x in (BATCH, BATCH._replace(strong=OTHER.strong)))
    assert equal(a[:2], b[:2])


def check_outside(row):
    """Pixels that augmentation moved in from outside the frame teach the network nothing."""
    nothing = BATCH._replace(valid=jnp.zeros_like(BATCH.valid))
    changed = nothing._replace(weak=OTHER.weak, strong=OTHER.strong)
    a, b = (two_steps(row, x) for x in (nothing, changed))
    assert close(first(net(a.gradient)), first(net(b.gradient)))


def check_rejected(row):
    """With no pixel accepted, the gradient is that of supervised training."""
    p = two_steps(row, BATCH, threshold=1.1)
    off = two_steps(row, BATCH, **row.off)
    assert close(net(p.gradient), net(off.gradient), 1e-5)


def check_partly_rejected(row):
    """At the median confidence: no pass has a gradient at the logits or features of a rejected
    pixel, and those that are taught have one at nearly every accepted pixel.
    """
    confidence = first(two_steps(row, BATCH, **row.still).pseudo).probability.max(-1)
    p = first(
        two_steps(
            row,
            BATCH,
            threshold=float(np.median(confidence[BATCH.valid])),
            **row.still,
        )
    )
    accepted = p.pseudo.accepted
    assert 0.1 < accepted[BATCH.valid].mean() < 0.9
    reached = np.any(p.passes.d_logits != 0, -1) | np.any(p.passes.d_features != 0, -1)
    taught = [
        there
        for there, image in zip(reached, p.passes.image, strict=True)
        if there.any() and not equal(image, BATCH.image)
    ]
    assert taught
    assert all(not there[~accepted].any() and there[accepted].mean() > 0.9 for there in taught)


def check_permutation(row):
    """The order of the unlabelled images changes nothing: each is taught with its own prediction,
    not with a neighbour's.
    """
    turned = BATCH._replace(
        **{f: getattr(BATCH, f)[::-1] for f in ("weak", "strong", "valid", "place", "coordinates")}
    )
    a, b = (two_steps(row, x, **row.still) for x in (BATCH, turned))
    assert close(a.value, b.value)
    assert close(net(a.gradient), net(b.gradient), 1e-2)


def check_average(row):
    """The evaluated average after two steps: the first copies, the second keeps min(1/2, decay =
    .3) of that; weights AND statistics.
    """
    p = two_steps(row, BATCH)
    average = p.memory["average" if "average" in p.memory else "teacher"]
    mean = jax.tree.map(
        lambda x: jnp.stack([x[0], 0.3 * x[0] + 0.7 * x[1]]),
        net(p.params),
    )
    assert jax.tree.leaves(mean.state)
    assert close(average.state, mean.state, 1e-5)
    assert close(average.weights, mean.weights, 1e-5)
    final = row.method.final(
        jax.tree.map(lambda x: x[1], p.params), jax.tree.map(lambda x: x[1], p.memory)
    )
    assert equal(
        final,
        jax.tree.map(lambda x: x[1], average),
    ), "another network is evaluated"


def check_two_teachers(row):
    """In turn, each keeps .3 of itself and takes .7 of the student of its step; out of turn it
    stays.
    """
    p, (_, memory) = two_steps(row, BATCH), begin(row)
    for turn, name in enumerate(("first", "second")):
        old = memory[name]
        for step in (0, 1):
            new, student = (
                jax.tree.map(lambda x, i=step: x[i], tree) for tree in (p.memory[name], p.params)
            )
            wanted = (
                jax.tree.map(
                    lambda a, b: 0.3 * a + 0.7 * b,
                    old,
                    student,
                )
                if step == turn
                else old
            )
            assert jax.tree.leaves(new.state)
            assert close(new.state, wanted.state, 1e-5)
            assert close(new.weights, wanted.weights, 1e-5)
            old = new


def check_critic(row):
    """The critic learns from its own loss alone, and all else from the rest alone."""
    full, no_weight, no_critic = (
        first(two_steps(row, BATCH, **f).gradient)
        for f in ({}, {"weight": 0.0}, {"critic_weight": 0.0})
    )
    assert close(full["critic"], no_weight["critic"], 1e-5)
    assert not any(x.any() for x in jax.tree.leaves(no_critic["critic"]))

    def rest(g):
        return {k: v for k, v in g.items() if k != "critic"}

    assert close(rest(full), rest(no_critic), 1e-5)


def check_ramp(row):
    """What the loss adds, and the weight that is logged, rise as exp(-5 (1 - t)²) to their full
    value at the ramp's end; twice the ``weight`` adds twice as much. Without a ramp it is all there
    at once. Over pixels that teach from the start, as UA-MT's limit on their entropy rises too.
    """
    ramp, start = ({"ramp": 0.4}, 0.0) if row.ramps else ({}, LATE[0])
    batch = BATCH._replace(
        valid=first(two_steps(row, BATCH, (start, start), **ramp)).pseudo.accepted
    )

    def look(t, weight):
        return first(
            two_steps(
                row,
                batch,
                (t, t),
                weight=weight,
                **ramp,
            )
        )

    none, half, full = (look(LATE[0], weight).value for weight in (0.0, 50.0, 100.0))
    assert full != none, "nothing is added"
    np.testing.assert_allclose(
        2 * (half - none),
        full - none,
        rtol=1e-3,
    )
    for t, share in ((0.0, np.exp(-5.0)), (0.2, np.exp(-1.25))) if row.ramps else ():
        p = look(t, 100.0)
        np.testing.assert_allclose(
            p.value - none,
            share * (full - none),
            rtol=1e-3,
        )
        np.testing.assert_allclose(
            next(v for k, v in p.metrics.items() if k.endswith("_weight")), 100 * share, rtol=1e-5
        )


def check_compiles_once(row):
    """Other values of float fields, weights and batches run through the program there is."""
    two_steps(row, BATCH)
    before = probe._cache_size()
    fields = {f.name for f in dataclasses.fields(row.method)}
    two_steps(
        row,
        OTHER,
        progress=(0.1, 0.2),
        **{k: v for k, v in {"weight": 0.3, "ramp": 0.7, "decay": 0.5}.items() if k in fields},
    )
    assert probe._cache_size() == before


def check_image_weight(row):
    """The mask of an image of weight 0 teaches nothing, early (in a pre-training) and late: neither
    gradient nor memory follow it. By cross-entropy alone, since a Dice over the batch has every
    mask in its sums.
    """
    off = BATCH._replace(weight=jnp.array([0.0, 1.0]))
    batches = off, off._replace(label=off.label.at[0].set(OTHER.label[0])), BATCH
    a, b, on = (two_steps(row, x, (0.1, 0.6), criterion=CEDice(dice_weight=0.0)) for x in batches)
    assert close(a.gradient, b.gradient, 1e-6)
    assert close(a.memory, b.memory, 1e-6)
    assert not close(a.gradient, on.gradient)


# ------------------------------------------------------------------ on every method
@rows()
def test_every_weight_learns_and_the_memory_never(name):
    """Catches a teacher that is trained, a head left out, a NaN; ``ssnet`` and ``unimatch``
    differentiate inside their loss.
    """
    check_gradient(CASES[name])


@rows()
def test_nothing_valid_is_finite(name):
    """Catches a mean over no pixels."""
    check_nothing_accepted_is_finite(CASES[name])


@rows()
def test_the_passes_that_are_taught(name):
    """Catches a target that is trained towards what learns from it, in a pass of its own, and a
    pass that is forgotten.
    """
    check_passes(CASES[name])


@rows()
def test_weight_zero_is_supervised_bit_for_bit(name):
    """Catches an unlabelled term that leaks past its weight, or statistics that follow unlabelled
    images; BCP at a box of the whole picture.
    """
    check_weight_zero(CASES[name])


@rows(lambda row: row.reference is not None)
def test_the_loss_is_that_of_its_formula(name):
    """Catches a mask inverted, a label not mixed with its picture, a network that teaches itself, a
    mean that is a sum, and a target with gradient that is made in the pass it teaches.
    """
    check_reference(CASES[name])


@rows()
def test_the_strong_view_matters(name):
    """Catches the strong view computed and the weak one used, and the reverse."""
    check_views(CASES[name])


@rows(lambda row: row.strong and row.teacher)
def test_the_target_does_not_follow_the_strong_view(name):
    """Catches the views swapped."""
    check_teacher(CASES[name])


@rows(lambda row: row.outside)
def test_pixels_from_outside_the_frame_teach_nothing(name):
    """Catches an unlabelled term that ignores ``valid``."""
    check_outside(CASES[name])


@rows(lambda row: row.rejects)
def test_rejected_pixels_have_zero_gradient(name):
    """Catches rejected pixels trained as background."""
    check_rejected(CASES[name])


@rows(lambda row: row.rejects or hasattr(row.method, "rule"))
def test_rejected_pixels_beside_accepted_ones_have_zero_gradient(name):
    """Catches an image, or a batch, that teaches whole where one of its pixels is confident."""
    check_partly_rejected(CASES[name])


@rows(lambda row: row.still is not None)
def test_the_order_of_unlabelled_images_changes_nothing(name):
    """Catches a pseudo-label paired with the wrong image."""
    check_permutation(CASES[name])


@rows()
def test_the_evaluated_average_follows_its_closed_form(name):
    """Catches forgotten statistics, a teacher left at zero, a decay of its own, and ``final``
    returning the student.
    """
    check_average(CASES[name])


@rows(lambda row: isinstance(row.method, m.ADMT))
def test_two_teachers_follow_their_closed_forms(name):
    """Catches teachers that are the same, that are both averaged into always, and a student of
    another step.
    """
    check_two_teachers(CASES[name])


@rows(lambda row: hasattr(row.method, "critic_weight"))
def test_a_critic_and_what_it_judges_learn_apart(name):
    """Catches a critic that is trained to be fooled, and a segmenter that is trained to be told."""
    check_critic(CASES[name])


@rows(lambda row: row.method.__class__ is not m.Supervised)
def test_the_weight_ramps(name):
    """Catches a weight that is constant, ends where the training does, or is logged and not
    applied.
    """
    check_ramp(CASES[name])


@rows()
def test_an_image_of_weight_zero_teaches_nothing(name):
    """Catches a head or a part of a picture that is taught with a synthetic image's mask beside its
    weight.
    """
    check_image_weight(CASES[name])


@rows()
def test_a_method_compiles_once(name):
    """Catches a float field that became static, and Python control flow on a value."""
    check_compiles_once(CASES[name])


def test_the_readmes_method_passes_with_its_row():
    """Catches an example that a newcomer copies and that the suite refuses."""
    blocks = re.findall(
        r"```python\n(.*?)```", (Path(__file__).parents[2] / "README.md").read_text(), re.S
    )
    code, line = next(
        (a, b)
        for a, b in itertools.pairwise(blocks)
        if a.startswith("# semiseg/methods/entropy.py")
    )
    made: dict = {"__name__": "semiseg.methods.entropy"}
    exec(code, made)
    row = eval(
        f"{{{line}}}",
        {"Row": Row, "m": types.SimpleNamespace(**made)},
    )["entropy"]
    checks = (
        check_gradient,
        check_nothing_accepted_is_finite,
        check_passes,
        check_weight_zero,
        check_views,
        check_outside,
        check_permutation,
    )
    for check in (*checks, check_average, check_ramp, check_image_weight, check_compiles_once):
        check(row)


# ------------------------------------------------------------------ mutants: each broken in one
# line
class _Trained(m.MeanTeacher):
    def loss(self, model, params, memory, batch, key, progress):
        value, aux = super().loss(model, params, memory, batch, key, progress)
        return value + jnp.square(
            model.apply(memory["teacher"], batch.weak, train=False).logits
        ).mean(), aux  # no stop_gradient


class _Nan(m.PseudoLabel):
    def loss(self, model, params, memory, batch, key, progress):
        value, aux = super().loss(model, params, memory, batch, key, progress)
        return value + 0.0 * (
            1.0 / aux.pseudo.accepted.sum()
        ), aux  # a mean over accepted pixels alone


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
        return super().loss(
            model, params, memory, batch._replace(valid=jnp.ones_like(batch.valid)), key, progress
        )


class _Neighbour(m.MeanTeacher):
    def loss(self, model, params, memory, batch, key, progress):
        return super().loss(
            model,
            params,
            memory,
            batch._replace(strong=batch.strong.at[0].set(batch.strong[1])),
            key,
            progress,
        )


class _Flat(m.MeanTeacher):
    def ramped(self, progress):
        return self.weight * jnp.ones_like(progress)


class _StudentEvaluated(m.MeanTeacher):
    def final(self, params, memory):
        return params


class _Unweighed(m.MCNet):
    def loss(self, model, params, memory, batch, key, progress):
        return super().loss(
            model, params, memory, batch._replace(weight=jnp.ones_like(batch.weight)), key, progress
        )


class _Frozen(m.MeanTeacher):
    def update(self, params, memory):
        return params, memory


class _StaticWeight(m.MeanTeacher):
    weight: float = static(default=2.0)


class _Unramped(m.MeanTeacher):
    def loss(self, model, params, memory, batch, key, progress):
        value, aux = super().loss(model, params, memory, batch, key, progress)
        return value + (self.weight - aux.metrics["consistency_weight"]) * aux.metrics[
            "consistency"
        ], aux  # w(t) is logged


class _Swapped(m.MeanTeacher):
    def loss(self, model, params, memory, batch, key, progress):
        return super().loss(
            model,
            params,
            memory,
            batch._replace(weak=batch.strong, strong=batch.weak),
            key,
            progress,
        )


class _OwnDecay(m.MeanTeacher):
    def update(self, params, memory):
        return m.MeanTeacher.update(dataclasses.replace(self, decay=0.99), params, memory)


class _OneTeacher(m.ADMT):
    def update(self, params, memory):
        params, memory = super().update(params, memory)
        return params, {**memory, "second": memory["first"]}


class _Beside(m.MCNet):
    def loss(self, model, params, memory, batch, key, progress):
        value, aux = super().loss(model, params, memory, batch, key, progress)
        return value + 1e-3 * aux.metrics["mutual"], aux


class _OwnDecision(m.CPS):
    def teach(self, pupil, other, valid):
        return super().teach(pupil, pupil, valid)


class _OwnDecisions(m.CrossTeaching):
    def teach(self, pupil, other, valid):
        return super().teach(pupil, pupil, valid)


def broken(cls, place, name, become):
    """``cls`` whose loss finds another function under ``name``; ``become(original, memory, batch)``
    makes it.
    """

    class Broken(cls):
        def loss(self, model, params, memory, batch, key, progress):
            with mock.patch.object(
                place,
                name,
                become(getattr(place, name), memory, batch),
            ):
                return super().loss(model, params, memory, batch, key, progress)

    return Broken


def _passed_on(original, memory, batch):
    return lambda x: x


def _whole(original, memory, batch):
    return lambda logits, label, accepted, valid: original(
        logits, label, valid & accepted.any((1, 2), keepdims=True), valid
    )


def _picture_alone(original, memory, batch):
    return lambda mask, onto, patch: original(mask, onto, patch) if onto.ndim == 4 else onto


def _inverted_paste(original, memory, batch):
    return lambda mask, onto, patch: original(~mask, onto, patch)


def _straight(original, memory, batch):
    return lambda p, q, mask: original(
        p, jnp.roll(q, 1, 0), mask
    )  # the target of the next image, not of the mix


def _constant(original, memory, batch):
    return lambda p, q, mask: original(p, jax.lax.stop_gradient(q), mask)


def _one_way(original, memory, batch):
    return lambda p, q: original(p, jax.lax.stop_gradient(q))


def _other_side(original, memory, batch):
    return lambda z, k: original(-z, k)


def _halved(original, memory, batch):
    return lambda score, target: original(score, target) / (1 + target)


def _uncertain(original, memory, batch):
    return lambda p, q, certain: original(p, q, batch.valid & ~certain)


def _uncorrected(original, memory, batch):
    seen = temporal_ensembling.look_up(
        memory["ensemble"][batch.place].astype(jnp.float32), batch.coordinates
    ).sum(-1, keepdims=True)
    return lambda p, target, known: original(p, target * seen, known)


def _unrectified(original, memory, batch):
    return lambda x, weight: original(x, (weight > 0).astype(weight.dtype))


def _evenly(original, memory, batch):
    return lambda p: jnp.zeros(p.shape[:-1])


def _accepted_alone(original, memory, batch):
    return lambda logits, label, accepted, valid: original(logits, label, accepted, accepted)


def _summed(original, memory, batch):
    return lambda p, q, known: original(p, q, known) * p.shape[-1]


MUTANTS = {
    "trained teacher": (_Trained, {}, check_gradient),
    "mean over nothing": (_Nan, {}, check_nothing_accepted_is_finite),
    "term beside its weight": (_Leak, {}, check_weight_zero),
    "term of heads beside its weight": (_Beside, {}, check_weight_zero),
    "statistics of unlabelled images": (_UnlabelledStatistics, {}, check_weight_zero),
    "strong view unused": (m.MeanTeacher, {"student_view": "weak"}, check_views),
    "strong view unused by FixMatch": (m.FixMatch, {"student_view": "weak"}, check_views),
    "views swapped": (_Swapped, {}, check_teacher),
    "valid ignored": (_EveryPixel, {}, check_outside),
    "rejected is background": (m.FixMatch, {"rejected": "background"}, check_rejected),
    "image accepted whole": (
        broken(m.PseudoLabel, pseudo_label, "hard_cross_entropy", _whole),
        {},
        check_partly_rejected,
    ),
    "neighbour's label": (_Neighbour, {}, check_permutation),
    "statistics not averaged": (m.MeanTeacher, {"average_state": False}, check_average),
    "student evaluated": (_StudentEvaluated, {}, check_average),
    "teacher never updated": (_Frozen, {}, check_average),
    "decay of its own": (_OwnDecay, {}, check_average),
    "one teacher for two": (_OneTeacher, {}, check_two_teachers),
    "constant weight": (_Flat, {}, check_ramp),
    "ramp logged, not applied": (_Unramped, {}, check_ramp),
    "image's weight ignored": (_Unweighed, {}, check_image_weight),
    "weight compiled in": (_StaticWeight, {}, check_compiles_once),
    "trained target of CCT": (
        broken(m.CCT, jax.lax, "stop_gradient", _passed_on),
        {},
        check_passes,
    ),
    "trained target of MC-Net": (
        broken(m.MCNet, jax.lax, "stop_gradient", _passed_on),
        {},
        check_reference,
    ),
    "critic trained to be fooled": (broken(m.DAN, critic, "frozen", _passed_on), {}, check_critic),
    "CPS's networks teach themselves": (_OwnDecision, {}, check_reference),
    "cross-teaching's networks teach themselves": (_OwnDecisions, {}, check_reference),
    "ICT's target is not mixed": (
        broken(m.ICT, ict, "softmax_mse", _straight),
        {},
        check_reference,
    ),
    "one side of the Pi model is constant": (
        broken(m.PiModel, pi_model, "softmax_mse", _constant),
        {},
        check_reference,
    ),
    "one side of R-Drop is constant": (
        broken(m.RDrop, r_drop, "divergence", _one_way),
        {},
        check_reference,
    ),
    "DTC takes inside for outside": (
        broken(m.DTC, dtc, "as_probability", _other_side),
        {},
        check_reference,
    ),
    "SASSNet's critic weighs its sides": (
        broken(m.SASSNet, critic, "binary_cross_entropy", _halved),
        {},
        check_reference,
    ),
    "SS-Net's vectors have lengths": (
        broken(m.SSNet, ssnet, "_unit", _passed_on),
        {},
        check_reference,
    ),
    "UA-MT learns from the uncertain": (
        broken(m.UAMT, uamt, "softmax_mse", _uncertain),
        {},
        check_reference,
    ),
    "temporal ensemble from zero": (
        broken(m.TemporalEnsembling, temporal_ensembling, "softmax_mse", _uncorrected),
        {},
        check_reference,
    ),
    "UniMatch mixes no label": (
        broken(m.UniMatch, unimatch, "paste", _picture_alone),
        {},
        check_reference,
    ),
    "URPC trusts what its scales disagree on": (
        broken(m.URPC, urpc, "weighted_mean", _unrectified),
        {},
        check_reference,
    ),
    "AD-MT's teachers weigh the same": (
        broken(m.ADMT, ad_mt, "entropy", _evenly),
        {},
        check_reference,
    ),
    "FixMatch's mean over accepted pixels": (
        broken(m.FixMatch, fixmatch, "hard_cross_entropy", _accepted_alone),
        {},
        check_reference,
    ),
    "mean teacher's sum over classes": (
        broken(m.MeanTeacher, mean_teacher, "softmax_mse", _summed),
        {},
        check_reference,
    ),
    "BCP pastes labels the other way": (
        broken(m.BCP, bcp, "paste", _inverted_paste),
        {},
        check_reference,
    ),
}


FIRST = {check: name for name, (_, _, check) in reversed(MUTANTS.items())}
"""A mutant of each check. Each compiles a program of its own: the others take two minutes more, and
SEMISEG_ALL_RUNS=1.
"""


@pytest.mark.parametrize(
    "name",
    MUTANTS if os.environ.get("SEMISEG_ALL_RUNS") else FIRST.values(),
)
def test_each_check_fails_on_its_mutant(name):
    """Catches a check that cannot fail."""
    cls, fields, check = MUTANTS[name]
    row = next(row for base in cls.__mro__ for row in ROWS.values() if type(row.method) is base)
    made = cls if cls in METHODS.values() else hyper(cls)
    given = {f.name: getattr(row.method, f.name) for f in dataclasses.fields(row.method)} | fields
    with pytest.raises(AssertionError):
        check(row._replace(method=made(**given)))


# ------------------------------------------------------------------ shared parts, by hand
def test_ema_is_a_mean_first_and_exponential_later():
    """a = min(1 - 1/(t+1), .9). Catches a teacher that keeps its zeros, and a decay off by one
    step.
    """
    from semiseg.types import Params

    params = [
        Params({"w": jnp.full(2, float(i))}, {"mean": jnp.full(2, 10.0 * i)}) for i in range(1, 21)
    ]
    average = Params({"w": jnp.full(2, 99.0)}, {"mean": jnp.full(2, 99.0)})
    by_hand = 99.0
    for t, new in enumerate(params):
        average = ema_params(average, new, 0.9, jnp.int32(t))
        a = min(1 - 1 / (t + 1), 0.9)
        by_hand = a * by_hand + (1 - a) * (t + 1)
        if t == 3:
            np.testing.assert_allclose(average.weights["w"], 2.5)  # the mean of 1, 2, 3, 4
    np.testing.assert_allclose(average.weights["w"], by_hand, rtol=1e-6)
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
    np.testing.assert_array_equal(kept.state["mean"], average.state["mean"])


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


def test_init_starts_with_the_supervised_network():
    """Catches comparisons in which methods begin at different weights."""
    reference = m.Supervised().init(MODEL, KEY)[0]
    assert all(equal(net(row.method.init(MODEL, KEY)[0]), reference) for row in ROWS.values())
