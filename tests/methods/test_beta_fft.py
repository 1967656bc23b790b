"""The terms of β-FFT's loss against a few lines of numpy, the pictures that it makes, and when."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from method_cases import KEY, ROWS, make_batch
from test_quirks import watch

from semiseg.augment.fourier import with_amplitude, with_low_frequencies
from semiseg.losses import CEDice
from semiseg.methods.co_training import View
from semiseg.types import Output, Params

BATCH = make_batch(7)
OTHER = make_batch(8)
METHOD = ROWS["beta_fft"].method
RNG = np.random.default_rng(4)


def softmax(x):
    z = np.exp(
        x
        - x.max(
            -1,
            keepdims=True,
        )
    )
    return z / z.sum(-1, keepdims=True)


def exchanged_by_hand(image, other, most):
    """One frequency after another, by the definition of the Fourier transform."""
    rows, columns = image.shape
    made = image.astype(complex)
    y, x = np.mgrid[:rows, :columns]
    for f in range(-most, most + 1):
        for g in range(-most, most + 1):
            wave = np.exp(2j * np.pi * (f * y / rows + g * x / columns))
            made += ((other - image) * wave.conj()).mean() * wave
    return made.real


def test_the_exchange_of_low_frequencies_by_hand():
    """Catches low frequencies that are not around 0, another number of them, and phases that
    stay.
    """
    image, other = RNG.normal(size=(2, 9, 12, 2)).astype(np.float32)
    for share, most in ((0.0, 0), (0.25, 2)):
        found = with_low_frequencies(image, other, share)
        for c in range(2):
            expected = exchanged_by_hand(
                image[..., c],
                other[..., c],
                most,
            )
            np.testing.assert_allclose(
                found[..., c],
                expected,
                atol=1e-5,
            )


def test_slices_of_a_volume_are_exchanged_one_by_one():
    """Catches a transform over the depth."""
    image, other = RNG.normal(size=(2, 3, 8, 8, 1)).astype(np.float32)
    found = with_low_frequencies(image, other, 0.2)
    expected = [
        with_low_frequencies(
            a,
            b,
            0.2,
        )
        for a, b in zip(image, other, strict=True)
    ]
    np.testing.assert_allclose(
        found,
        np.stack(expected),
        atol=1e-6,
    )


@pytest.mark.parametrize("exchange", ["parts", "amplitudes"])
def test_both_networks_see_the_mixes_of_each_view_with_the_others_low_frequencies(exchange):
    """Catches a network that sees its own view alone, views of different images, and an exchange
    that its name does not say.
    """
    method = dataclasses.replace(METHOD, exchange=exchange, share=0.2)
    value, _, pictures, flags = watch(method)
    assert [train for train, _ in flags] == [i not in (0, 3) for i in range(18)]
    own = [*pictures[1:3], *pictures[4:6]]
    others = [*pictures[4:6], *pictures[1:3]]
    by = with_low_frequencies if exchange == "parts" else with_amplitude
    for of_one in (pictures[6:10], pictures[10:14]):
        for made, mine, other in zip(
            of_one,
            own,
            others,
            strict=True,
        ):
            expected = [
                by(
                    a,
                    b,
                    0.2,
                )
                for a, b in zip(mine, other, strict=True)
            ]
            np.testing.assert_allclose(
                made,
                np.stack(expected),
                atol=1e-4,
            )
            assert not np.allclose(made, mine, atol=0.1)
    assert np.isfinite(value)


def test_the_pretraining_needs_no_unlabelled_image_and_no_further_training():
    """Catches a term of one network alone, or a pseudo-label, before the pre-training ends."""
    changed = BATCH._replace(
        weak=OTHER.weak,
        strong=OTHER.strong,
        valid=OTHER.valid,
    )
    for progress, same in ((0.1, True), (0.5, False)):
        (a, aux, *_), (b, *_) = (
            watch(
                METHOD,
                progress,
                batch,
            )
            for batch in (BATCH, changed)
        )
        assert (a == b) == same
        assert (
            float(a)
            == pytest.approx(
                float(aux.metrics["copy_paste"]),
                rel=1e-6,
            )
        ) == same


class Plain(NamedTuple):
    """A model whose logits are an image, its negative and 0; it notes what it sees."""

    seen: list[Any]

    def apply(self, params, x, *, train, key):
        self.seen.append((np.asarray(x), train))
        return Output(
            jnp.concatenate(
                [x, -x, 0 * x],
                -1,
            ),
            {},
            len(self.seen),
        )


@pytest.mark.parametrize(
    "progress, ramp",
    [(0.25, np.exp(-5)), (0.625, np.exp(-1.25)), (1.0, 1.0)],
)
def test_the_further_training_by_hand(progress, ramp):
    """Criterion on the labelled images of both views, squared error on mixed unlabelled ones, whose
    weight rises from the end of the pre-training on. Catches a target of one image, one λ for all,
    pixels that only one of the images shows, and a ramp over the whole training.
    """
    method = dataclasses.replace(
        METHOD, criterion=CEDice(dice_weight=0.0), pretrain=0.25, extra=0.7, interpolation=0.5
    )
    views = {}
    for i, name in enumerate(("net", "other")):
        batch = make_batch(11 + i)
        q = jax.nn.softmax(
            jax.random.normal(
                jax.random.key(i),
                (*batch.label.shape, 3),
            )
        )
        valid = batch.valid.at[i, 4:7].set(False)
        views[name] = View(
            batch.image,
            batch.weak,
            valid,
            q,
            batch.label,
            q,
        )
    model = Plain([])
    found, metrics, state = method.train_first(
        model,
        Params(
            None,
            0,
        ),
        BATCH,
        views,
        KEY,
        jnp.float32(progress),
    )
    further, mixed = 0.0, 0.0
    for i, view in enumerate(views.values()):
        (labelled, _), (picture, _) = model.seen[2 * i : 2 * i + 2]
        np.testing.assert_array_equal(labelled, view.labelled)
        p = softmax(
            np.concatenate(
                [labelled, -labelled, 0 * labelled],
                -1,
            )
        )
        of_label = np.take_along_axis(
            p,
            np.asarray(BATCH.label)[..., None],
            -1,
        )
        further -= np.log(of_label).mean()
        u, q, valid = (np.asarray(x) for x in (view.unlabelled, view.probability, view.valid))
        next_u = u[::-1]
        next_q = q[::-1]
        from_next = u - next_u
        both = ((picture - next_u) * from_next).sum(
            (1, 2, 3),
            keepdims=True,
        )
        own = both / (from_next**2).sum(
            (1, 2, 3),
            keepdims=True,
        )
        assert abs(own[0] - own[1]) > 1e-3, "one share for all"
        p = softmax(
            np.concatenate(
                [picture, -picture, 0 * picture],
                -1,
            )
        )
        error = (p - own * q - (1 - own) * next_q) ** 2
        mixed += error[valid & valid[::-1]].mean()
    assert all(train for _, train in model.seen)
    assert state == 4
    weight = float(method.criterion.ce_weight)
    np.testing.assert_allclose(
        metrics["further"],
        weight * further,
        rtol=1e-4,
    )
    np.testing.assert_allclose(metrics["interpolated"], mixed, rtol=1e-3)
    np.testing.assert_allclose(
        metrics["interpolation_weight"],
        0.5 * ramp,
        rtol=1e-4,
    )
    np.testing.assert_allclose(
        found,
        0.7 * weight * further + 0.5 * ramp * mixed,
        rtol=1e-3,
    )
