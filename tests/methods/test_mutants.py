"""Each check of the contract against methods broken in one line: it must fail on them."""

import dataclasses
import os
from unittest import mock

import jax
import jax.numpy as jnp
import pytest
from method_cases import ROWS
from method_checks import (
    check_average,
    check_compiles_once,
    check_critic,
    check_gradient,
    check_hidden,
    check_image_weight,
    check_nothing_accepted_is_finite,
    check_outside,
    check_partly_rejected,
    check_passes,
    check_permutation,
    check_ramp,
    check_reference,
    check_rejected,
    check_teacher,
    check_two_teachers,
    check_views,
    check_weight_zero,
)

from semiseg import methods as m
from semiseg.methods import (
    METHODS,
    abd,
    ad_mt,
    bcp,
    beta_fft,
    dtc,
    fixmatch,
    ict,
    mean_teacher,
    pi_model,
    pseudo_label,
    r_drop,
    sdcl,
    ssnet,
    temporal_ensembling,
    tracoco,
    uamt,
    unimatch,
    unimatch_v2,
    urpc,
)
from semiseg.methods.parts import critic
from semiseg.types import hyper, static


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


class _Blind(m.MeanTeacher):
    def loss(self, model, params, memory, batch, key, progress):
        return super().loss(model, params, memory, batch._replace(hidden=None), key, progress)


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


class _OwnMixes(m.ABD):
    def teach_each_other(self, seen_by):
        return super().teach_each_other(dict.fromkeys(seen_by, seen_by["net"]))


class _AllKnown(m.BetaFFT):
    def remake(self, mixes, key):
        return [(picture, jnp.ones_like(known)) for picture, known in super().remake(mixes, key)]


class _SureWhereWrong(m.SDCL):
    def corrections(self, mixes, pairs, inside, w):
        correct, unsure = super().corrections(mixes, pairs, inside, w)
        return correct, -unsure


class _OwnPseudoLabels(m.SDCL):
    def taught_as(self, mixes, pairs, inside, w):
        own = [mix.logits.argmax(-1) for mix in mixes["other"]]
        taught = super().taught_as(mixes, pairs, inside, w)
        return tuple(t._replace(label=label) for t, label in zip(taught, own, strict=True))


class _CertainWhereMoved(m.TraCoCo):
    def translated(self, look, valid, shift):
        apart, unsure = super().translated(look, valid, shift)
        return apart, -unsure


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
    seen = temporal_ensembling.look_up(memory["ensemble"], batch.layout, batch.coordinates).sum(
        -1, keepdims=True
    )
    return lambda p, target, known: original(p, target * seen, known)


def _unrectified(original, memory, batch):
    return lambda x, weight: original(x, (weight > 0).astype(weight.dtype))


def _evenly(original, memory, batch):
    return lambda p: jnp.zeros(p.shape[:-1])


def _accepted_alone(original, memory, batch):
    return lambda logits, label, accepted, valid: original(logits, label, accepted, accepted)


def _summed(original, memory, batch):
    return lambda p, q, known: original(p, q, known) * p.shape[-1]


def _inverted_known(original, memory, batch):
    return lambda one, other: ~original(one, other) & one.known


def _over_all(original, memory, batch):
    return lambda x, where: original(x, where) * where.mean()


def _themselves(original, memory, batch):
    return {name: name for name in original}


def _pictures_moved_alone(original, memory, batch):
    return lambda x, shift: original(x, shift) if x.shape[-1] == 1 else x


def _likely(original, memory, batch):
    return lambda logits, unlikely: original(logits, ~unlikely)


def _all_known(original, memory, batch):
    return lambda mix: original(mix._replace(known=jnp.ones_like(mix.known)))


def _same_channels(original, memory, batch):
    return lambda *args: (original(*args)[0],) * 2


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
    "cut-outs ignored": (_Blind, {}, check_hidden),
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
    "critic trained to be fooled": (
        broken(m.DAN, critic, "frozen", _passed_on),
        {},
        check_critic,
    ),
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
    "UniMatch V2's views have the same channels": (
        broken(m.UniMatchV2, unimatch_v2, "complementary_channels", _same_channels),
        {},
        check_reference,
    ),
    "UniMatch V2 mixes no label": (
        broken(m.UniMatchV2, unimatch_v2, "paste", _picture_alone),
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
    "ABD's networks teach themselves": (_OwnMixes, {}, check_reference),
    "ABD teaches what is outside the frame": (
        broken(m.ABD, abd, "_with_known", _all_known),
        {},
        check_reference,
    ),
    "beta-FFT teaches what is outside the frame": (_AllKnown, {}, check_reference),
    "beta-FFT's target is not mixed": (
        broken(m.BetaFFT, beta_fft, "softmax_mse", _straight),
        {},
        check_reference,
    ),
    "SDCL makes a wrong network surer": (_SureWhereWrong, {}, check_reference),
    "SDCL's second network teaches the first": (_OwnPseudoLabels, {}, check_reference),
    "SDCL corrects where the networks agree": (
        broken(m.SDCL, sdcl, "differing", _inverted_known),
        {},
        check_reference,
    ),
    "SDCL divides by all pixels": (broken(m.SDCL, sdcl, "_mean", _over_all), {}, check_reference),
    "TraCoCo's networks teach themselves": (
        broken(m.TraCoCo, tracoco, "LABELLER", _themselves),
        {},
        check_reference,
    ),
    "TraCoCo compares places instead of pixels": (
        broken(m.TraCoCo, tracoco, "move", _pictures_moved_alone),
        {},
        check_reference,
    ),
    "TraCoCo draws away from likely classes": (
        broken(m.TraCoCo, tracoco, "negative_cross_entropy", _likely),
        {},
        check_reference,
    ),
    "TraCoCo mixes no label": (
        broken(m.TraCoCo, tracoco, "paste", _picture_alone),
        {},
        check_reference,
    ),
    "TraCoCo lowers the entropy": (_CertainWhereMoved, {}, check_reference),
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
