"""Values by hand, and the closed forms and other libraries that a loss must agree with."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from semiseg.losses import (
    CE,
    GACE,
    SSL4MIS,
    Boundary,
    CEDice,
    Dice,
    Focal,
    FocalTversky,
    GADice,
    GeneralisedDice,
    HausdorffDT,
    Tversky,
)
from semiseg.losses.common import masked_mean, softmax_mse


@jax.jit
def value(loss, logits, label):
    return loss(logits, label)


@functools.partial(jax.jit, static_argnums=0)
def term(name, loss, logits, label):
    return getattr(loss, name)(logits, label)


def strip(*values: int) -> np.ndarray:
    """A one-row image ``(1, 1, W)`` of labels."""
    return np.asarray(values)[None, None]


def certain(label: np.ndarray, classes: int = 2) -> np.ndarray:
    """Logits whose softmax is exactly the one-hot ``label``."""
    return 200 * np.eye(classes, dtype=np.float32)[label]


def foreground(*p: float) -> np.ndarray:
    """Logits of a one-row image whose foreground probabilities are ``p``."""
    return np.log(np.stack([1 - np.asarray(p), p], -1)).astype(np.float32)[None, None]


def random(classes: int = 4, shape: tuple[int, ...] = (3, 8, 8)) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(*shape, classes)).astype(np.float32), rng.integers(0, classes, shape)


@pytest.mark.parametrize(
    ("loss", "prediction", "truth", "expected"),
    [
        pytest.param(Dice(), (0, 1, 1, 0), (0, 1, 1, 0), 0.0, id="dice, perfect"),
        pytest.param(Dice(), (1, 1, 0, 0), (0, 0, 1, 1), 1.0, id="dice, disjoint"),
        pytest.param(Dice(), (1, 1, 0, 0), (0, 1, 1, 0), 0.5, id="dice, half overlap"),
        pytest.param(
            Dice(background=True),
            (1, 1, 0, 0),
            (0, 0, 0, 1),
            1 - 0.5 * 2 / 5,
            id="dice with background, disjoint",
        ),
        pytest.param(Dice(), (0, 0, 0, 0), (0, 0, 0, 0), 0.0, id="dice, class absent from both"),
        pytest.param(
            Dice(), (0, 1, 0, 0), (0, 0, 0, 0), 1.0, id="dice, class absent from the truth"
        ),
        pytest.param(
            Dice(smooth=1.0), (0, 1, 0, 0), (0, 0, 0, 0), 0.5, id="dice, absent, smooth 1"
        ),
        pytest.param(Dice(), (0, 0, 0, 0), (0, 1, 0, 0), 1.0, id="dice, one pixel missed"),
        pytest.param(
            Tversky(),
            (0, 0, 1, 1),
            (1, 1, 1, 0),
            1 - 1 / (1 + 0.3 * 1 + 0.7 * 2),
            id="tversky, 1 TP 1 FP 2 FN",
        ),
        pytest.param(
            FocalTversky(),
            (0, 0, 1, 1),
            (1, 1, 1, 0),
            (1 - 1 / 2.7) ** 0.75,
            id="focal tversky, 1 TP 1 FP 2 FN",
        ),
        pytest.param(FocalTversky(), (0, 1, 1, 0), (0, 1, 1, 0), 0.0, id="focal tversky, perfect"),
        # Foreground (weight 1): both 1, either 3. Background (weight 1/9): both 2, either 5.
        pytest.param(
            GeneralisedDice(),
            (1, 1, 0, 0),
            (1, 0, 0, 0),
            1 - 2 * (1 + 2 / 9) / (3 + 5 / 9),
            id="generalised dice",
        ),
        # An absent foreground takes the background's weight: both 3, either 1 + 7.
        pytest.param(
            GeneralisedDice(),
            (1, 0, 0, 0),
            (0, 0, 0, 0),
            1 - 2 * 3 / 8,
            id="generalised dice, absent class",
        ),
        pytest.param(GADice(), (0, 1, 1, 0), (0, 1, 1, 0), 0.0, id="ga dice, perfect"),
        pytest.param(
            GADice(background=False), (0, 1, 0, 0), (0, 0, 0, 0), 1 / 4, id="ga dice, absent class"
        ),
        pytest.param(GADice(), (1, 1, 0, 0), (0, 0, 0, 1), 1 - 0.5 * 2 / 5, id="ga dice, disjoint"),
        # of four pixels the wrong one alone is hardest
        pytest.param(GACE(), (1, 1, 1, 0), (0, 1, 1, 0), 200.0, id="ga ce, one of four wrong"),
        pytest.param(
            GACE(hardest=1.0), (1, 1, 1, 0), (0, 1, 1, 0), 200 / 8**0.5, id="ga ce of all pixels"
        ),
        pytest.param(CE(), (0, 1, 1, 0), (0, 1, 1, 0), 0.0, id="ce, perfect"),
        pytest.param(CE(), (1, 1, 1, 0), (0, 1, 1, 0), 50.0, id="ce, one of four wrong by 200"),
        pytest.param(
            CE(class_weights=(3.0, 1.0)), (1, 1, 1, 0), (0, 1, 1, 0), 200 * 3 / 8, id="ce, weighted"
        ),
        pytest.param(
            Focal(), (1, 1, 1, 0), (0, 1, 1, 0), 50.0, id="focal, one of four wrong by 200"
        ),
    ],
)
def test_hard_predictions(loss, prediction, truth, expected):
    """Catches swapped FP and FN, a missing 2, a dropped smooth or weight, the wrong absent-class
    value.
    """
    np.testing.assert_allclose(
        value(
            loss,
            certain(strip(*prediction)),
            strip(*truth),
        ),
        expected,
        atol=2e-5,
    )


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (CE(), (-np.log(0.25) - np.log(0.5)) / 2),
        (
            CE(class_weights=(1.0, 3.0)),
            (-3 * np.log(0.25) - np.log(0.5)) / 4,
        ),
        (
            Focal(),
            (-(0.75**2) * np.log(0.25) - 0.5**2 * np.log(0.5)) / 2,
        ),
        (
            Focal(gamma=1.0, class_weights=(1.0, 3.0)),
            (-0.75 * 3 * np.log(0.25) - 0.5 * np.log(0.5)) / 4,
        ),
        (Dice(smooth=0.0), 1 - 2 * 0.25 / (0.75 + 1)),
        (
            Dice(smooth=0.0, squared=True),
            1 - 2 * 0.25 / (0.25**2 + 0.5**2 + 1),
        ),
    ],
    ids=repr,
)
def test_soft_predictions(loss, expected):
    """Foreground .25 where it is true, .5 where it is not. Catches p for p^2, the wrong base of a
    mean, 1-p of the wrong class.
    """
    np.testing.assert_allclose(
        value(loss, foreground(0.25, 0.5), strip(1, 0)),
        expected,
        rtol=1e-6,
    )


@pytest.mark.parametrize("cls", [Dice, Tversky, GeneralisedDice, GADice])
def test_batch_or_image(cls):
    """Image 1 right in 4 pixels, image 2 wrong in its one. Catches `batch` over the wrong axes."""
    prediction, truth = (
        np.asarray([[[1, 1, 1, 1, 0, 0]], [[*second, 0, 0, 0, 0]]]) for second in ((1, 0), (0, 1))
    )

    def found(batch):
        return value(cls(batch=batch, background=False), certain(prediction), truth)

    np.testing.assert_allclose(found(False), 0.5, atol=1e-5)
    np.testing.assert_allclose(found(True), 0.2, atol=1e-5)


def test_boundary_by_hand():
    """phi of two pixels in seven is 2 1 0 0 1 2 3, of three in five 1 0 -1 0 1. Catches its sign,
    its offset inside, the wrong class.
    """
    half = foreground(*[0.5] * 7)
    np.testing.assert_allclose(
        term(
            "boundary",
            Boundary(),
            half,
            strip(0, 0, 1, 1, 0, 0, 0),
        ),
        0.5 * 9 / 7,
        rtol=1e-6,
    )
    five = foreground(0.1, 0.2, 0.9, 0.8, 0.3)
    np.testing.assert_allclose(
        term(
            "boundary",
            Boundary(),
            five,
            strip(0, 1, 1, 1, 0),
        ),
        (0.1 - 0.9 + 0.3) / 5,
        rtol=1e-5,
    )


def test_hausdorff_by_hand():
    """Two pixels too many at one end. Distances to the truth's contour 2 1, to the prediction's 4
    3. Catches one map left out, or alpha.
    """
    truth = strip(0, 0, 1, 1, 0)
    logits = certain(strip(1, 1, 1, 1, 0))
    np.testing.assert_allclose(
        term("hausdorff", HausdorffDT(), logits, truth), (16 + 4 + 9 + 1) / 5, rtol=1e-5
    )
    np.testing.assert_allclose(
        term(
            "hausdorff",
            HausdorffDT(alpha=1.0),
            logits,
            truth,
        ),
        (4 + 2 + 3 + 1) / 5,
        rtol=1e-5,
    )
    assert term("hausdorff", HausdorffDT(), certain(truth), truth) == 0


@pytest.mark.parametrize(
    ("cls", "name"),
    [(Boundary, "boundary"), (HausdorffDT, "hausdorff")],
)
def test_distance_term_and_region_add_up(cls, name):
    """Weight 0 is the region loss alone. Catches a weight on the wrong term, and a region that is
    not called.
    """
    logits, label = random()
    region = value(CEDice(), logits, label)
    np.testing.assert_allclose(
        value(cls(weight=0.0), logits, label),
        region,
        rtol=1e-6,
    )
    np.testing.assert_allclose(
        value(cls(weight=2.0), logits, label),
        region + 2 * term(name, cls(), logits, label),
        rtol=1e-6,
    )


@pytest.mark.parametrize(
    ("cls", "name"),
    [(Boundary, "boundary"), (HausdorffDT, "hausdorff")],
)
def test_absent_class_has_no_contour(cls, name):
    """A class in no pixel, and predicted nowhere, adds nothing. Catches an infinite distance."""
    assert (
        term(
            name,
            cls(),
            foreground(0.1, 0.2, 0.3),
            strip(0, 0, 0),
        )
        == 0
    )


def test_ce_is_optax():
    """Catches a mean over classes as well as pixels."""
    logits, label = random()
    expected = optax.softmax_cross_entropy_with_integer_labels(logits, label).mean()
    np.testing.assert_allclose(
        value(CE(), logits, label),
        expected,
        rtol=1e-6,
    )


def test_ssl4mis_closed_form():
    """½(CE + Dice) in plain NumPy. Catches background left out, unsquared denominators, per-image
    sums, another smooth or weight.
    """
    logits, label = random()
    z = np.exp(np.asarray(logits, np.float64))
    p = z / z.sum(-1, keepdims=True)
    y = np.eye(4)[np.asarray(label)]

    def total(a):
        return a.reshape(-1, 4).sum(0)

    dice = 1 - ((2 * total(p * y) + 1e-5) / (total(p * p) + total(y * y) + 1e-5)).mean()
    np.testing.assert_allclose(
        value(SSL4MIS, logits, label), 0.5 * (-(y * np.log(p)).sum(-1).mean() + dice), rtol=1e-6
    )
    absent = certain(np.zeros_like(label), 4)  # the smooth shows where a class is absent from both
    np.testing.assert_allclose(
        value(SSL4MIS, absent, np.zeros_like(label)),
        0.0,
        atol=1e-6,
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            Focal(gamma=0.0, class_weights=(1.0, 2.0, 3.0, 4.0)),
            CE(class_weights=(1.0, 2.0, 3.0, 4.0)),
        ),
        (Tversky(alpha=0.5, beta=0.5, smooth=0.5), Dice(smooth=1.0)),
        (FocalTversky(gamma=1.0), Tversky()),
        (
            FocalTversky(gamma=1.0, batch=False, background=True),
            Tversky(batch=False, background=True),
        ),
        (Dice(class_weights=(9.0, 3.0, 3.0, 3.0)), Dice()),
        (
            GeneralisedDice(class_weights=(3.0,) * 4, smooth=0.0),
            GeneralisedDice(smooth=0.0),
        ),
    ],
    ids=repr,
)
def test_special_cases_coincide(one, other):
    """Catches a parameter that is read wrongly in one of the pair."""
    logits, label = random()
    np.testing.assert_allclose(
        value(one, logits, label),
        value(other, logits, label),
        rtol=2e-6,
    )


def test_dice_class_weights_by_hand():
    """Class 1 right (0), class 2 wrong (1), weights 1 and 3. Catches weights that are not
    normalised, or shifted by the background.
    """
    logits = certain(strip(1, 1, 0, 2), 3)
    label = strip(1, 1, 2, 0)
    np.testing.assert_allclose(
        value(
            Dice(class_weights=(7.0, 1.0, 3.0)),
            logits,
            label,
        ),
        0.75,
        atol=1e-5,
    )


def test_masked_mean_by_hand():
    """Catches a mean over dropped entries, a mask aligned with the last axes instead of the first,
    and NaN for an empty mask.
    """
    x = jnp.asarray([[1.0, 3.0], [5.0, jnp.nan]])
    assert masked_mean(x, jnp.asarray([[True, True], [True, False]])) == 3
    assert masked_mean(x, jnp.asarray([True, False])) == 2
    assert masked_mean(x, jnp.asarray([[1.0, 3.0], [0.0, 0.0]])) == 2.5
    assert masked_mean(x, jnp.zeros((2, 2), bool)) == 0


def test_softmax_mse_by_hand():
    """Catches a sum over classes instead of a mean, the square left out, and invalid pixels
    counted.
    """
    p = jnp.asarray([[[[0.5, 0.5], [1.0, 0.0]]]])
    q = jnp.asarray([[[[0.1, 0.9], [0.0, 1.0]]]])
    np.testing.assert_allclose(
        softmax_mse(p, q, jnp.asarray([[[True, False]]])),
        0.16,
        rtol=1e-6,
    )
    np.testing.assert_allclose(
        softmax_mse(
            p,
            q,
            jnp.asarray([[[True, True]]]),
        ),
        (0.16 + 1) / 2,
        rtol=1e-6,
    )
    gradient = jax.grad(softmax_mse)(
        p,
        q,
        jnp.asarray([[[True, False]]]),
    )
    assert (gradient[0, 0, 1] == 0).all()
    assert (gradient[0, 0, 0] != 0).all()
