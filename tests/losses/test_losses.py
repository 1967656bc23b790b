"""What every loss must do, whichever it is: one row of LOSSES, all of the tests."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from semiseg.errors import UserError
from semiseg.losses import GA, LOSSES, SSL4MIS, CEDice, Dice, GeneralisedDice
from semiseg.types import IGNORE, is_hyper

ALL = {name: cls() for name, cls in LOSSES.items()} | {
    "ssl4mis": SSL4MIS,
    "dice per image": Dice(batch=False, background=True),
    "dice without smooth": Dice(smooth=0.0),
    "generalised dice over the batch": GeneralisedDice(batch=True, smooth=0.0),
    "focal of a small exponent": LOSSES["focal"](gamma=0.5),
    "boundary with background": LOSSES["boundary"](background=True, weight=1.0),
    "ga dice per image": LOSSES["ga_dice"](batch=False, background=False),
    "ga ce of all pixels": LOSSES["ga_ce"](hardest=1.0, gamma=0.2),
    "hausdorff with background": LOSSES["hausdorff_dt"](background=True, weight=1.0),
}
every = pytest.mark.parametrize(
    "loss",
    ALL.values(),
    ids=ALL.keys(),
)
K = 3


def example(*space: int, batch: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Logits of no particular quality, and a label with a class absent from the second image.
    NumPy: eager JAX would compile each edit.
    """
    rng = np.random.default_rng(0)
    label = rng.integers(0, K, (batch, *space)).astype(np.int32)
    label[1] = np.minimum(label[1], 1)
    return rng.normal(size=(batch, *space, K)).astype(np.float32), label


def ignoring(label: np.ndarray, *where: slice | int) -> np.ndarray:
    """``label`` with IGNORE at an index."""
    label = label.copy()
    label[where] = IGNORE
    return label


EVERYTHING = slice(None)
LAST_COLUMNS = (EVERYTHING, EVERYTHING, slice(5, None))


TRACES: list[object] = []


@jax.jit
def evaluate(loss, logits, label):
    TRACES.append(loss)
    with jax.numpy_rank_promotion("raise"):
        return jax.value_and_grad(loss)(logits, label)


def numbers(loss, logits, label) -> tuple[np.ndarray, np.ndarray]:
    """``(value, gradient)``: one program a loss and shape, shared by the tests."""
    return jax.tree.map(np.asarray, evaluate(loss, logits, label))


@jax.jit
def forward(loss, logits, label):
    return loss(logits, label)


@pytest.mark.parametrize(
    "loss",
    [cls() for cls in LOSSES.values()],
    ids=LOSSES.keys(),
)
def test_learns_inside_jit_and_scan(loss):
    """Gradient descent on a volume's logits lowers the loss and finds the label. Catches a sign, a
    dead gradient, a 2D-only axis.
    """
    logits, label = example(3, 4, 5)

    def step(logits, _):
        value, gradient = jax.value_and_grad(loss)(logits, label)
        return logits - gradient / jnp.maximum(jnp.abs(gradient).max(), 1e-9), value

    after, values = jax.jit(lambda x: jax.lax.scan(step, x, None, length=12))(logits)
    assert values[-1] < values[0]

    def agrees(x):
        return float((np.asarray(x).argmax(-1) == label).mean())

    assert agrees(after) > agrees(logits) + 0.1


@every
def test_ignored_pixels_have_no_gradient(loss):
    """Exactly zero at ignored pixels, even where their logits are NaN, and nonzero elsewhere.
    Catches a mask applied after the softmax.
    """
    logits, label = example(6, 8)
    logits[0, 2, 6] = np.nan
    logits[1, 3, 7] = np.inf
    value, gradient = numbers(loss, logits, ignoring(label, *LAST_COLUMNS))
    assert np.isfinite(value)
    assert (gradient[:, :, 5:] == 0).all()
    assert np.isfinite(gradient).all()
    assert (gradient[:, :, :5] != 0).any()


@every
def test_a_diverged_network_shows(loss):
    """NaN at a labelled pixel is NaN in the loss. Catches a guard against 0 that turns it into a
    perfect score.
    """
    logits, label = example(6, 8)
    logits[0, 2, 6] = np.nan
    assert np.isnan(numbers(loss, logits, label)[0])


@every
def test_ignored_columns_equal_a_crop(loss):
    """Ignoring the last columns is the same as not having them. Catches them in a denominator, a
    class's size or a distance map.
    """
    logits, label = example(6, 8)
    ignored, _ = numbers(loss, logits, ignoring(label, *LAST_COLUMNS))
    cropped = forward(
        loss,
        logits[:, :, :5],
        label[:, :, :5],
    )
    np.testing.assert_allclose(ignored, cropped, rtol=2e-6)


@every
def test_an_ignored_image_is_not_there(loss):
    """Half the batch ignored is the other half, as is that half twice. Catches a wholly ignored
    image that drags a mean towards 0.
    """
    logits, label = example(6, 8)
    ignored, _ = numbers(loss, logits, ignoring(label, 0))
    twice, _ = numbers(loss, logits[[1, 1]], label[[1, 1]])
    np.testing.assert_allclose(ignored, twice, rtol=2e-5)


@every
def test_all_ignored_is_zero(loss):
    """A batch without a labelled pixel gives 0 with zero gradient. Catches 0/0, and a Dice of 1 for
    nothing.
    """
    logits, label = example(6, 8)
    value, gradient = numbers(loss, logits, ignoring(label, EVERYTHING))
    assert value == 0
    assert (gradient == 0).all()


@every
def test_extreme_logits(loss):
    """Certain and right, certain and wrong: finite value and gradient. Catches log(0), 0^gamma and
    a square root at 0.
    """
    _, label = example(6, 8)
    for size in (50.0, 1e4):
        right = (size * (2 * np.eye(K)[label] - 1)).astype(np.float32)
        values = []
        for logits in (right, -right, np.full_like(right, size)):
            value, gradient = numbers(loss, logits, label)
            assert np.isfinite(value)
            assert np.isfinite(gradient).all()
            values.append(value)
        assert values[0] < values[1]


@every
def test_half_precision_is_summed_in_float32(loss):
    """Nothing but the cast to float32 sees 16-bit logits, and the label may be uint8. Catches a sum
    or a softmax in 16 bits.
    """
    logits, label = example(6, 8)
    program = jax.make_jaxpr(loss)(
        logits.astype(jnp.bfloat16),
        label.astype(np.uint8),
    )

    def takes_half(equation):
        return any(v.aval.dtype == jnp.bfloat16 for v in equation.invars)

    seen = {e.primitive.name for e in program.eqns if takes_half(e)}
    assert seen == {"convert_element_type"}
    assert [(x.dtype, x.shape) for x in program.out_avals] == [(jnp.float32, ())]


@every
def test_number_fields_are_traced(loss):
    """Other numbers, the same program, another value. Catches a float field that would compile a
    sweep once per value.
    """
    logits, label = example(6, 8)
    first, _ = numbers(loss, logits, label)
    before = len(TRACES)
    second, _ = numbers(
        jax.tree.map(lambda x: 2 * x, loss),
        logits,
        label,
    )
    assert len(TRACES) == before
    assert (first != second) == any(jax.tree.leaves(loss))


@pytest.mark.parametrize("cls", LOSSES.values(), ids=LOSSES.keys())
def test_is_a_documented_hyper_dataclass(cls):
    """Catches a plain class in the table, which a trial could not carry."""
    assert is_hyper(cls())
    assert cls() == cls()
    assert cls.__doc__
    assert hash(cls()) is not None


@pytest.mark.parametrize(
    "cls",
    [cls for cls in LOSSES.values() if cls not in (CEDice, GA)],
)
def test_wrong_number_of_class_weights(cls):
    """Catches weights that broadcasting would stretch, and a class left out in silence."""
    shapes = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in example(6, 8)]
    with pytest.raises(UserError, match="2 weights for 3 classes"):
        jax.eval_shape(cls(class_weights=(1.0, 2.0)), *shapes)


@pytest.mark.parametrize(
    "cls",
    [
        LOSSES[name]
        for name in (
            "dice",
            "tversky",
            "generalised_dice",
            "focal_tversky",
            "ga_dice",
            "boundary",
            "hausdorff_dt",
        )
    ],
)
def test_background_is_optional(cls):
    """Excluding background equals weighing it 0, and including it differs. Catches an option that
    is not read.
    """
    logits, label = example(6, 8)
    without, weighed, included = (
        forward(loss, logits, label)
        for loss in (
            cls(background=False),
            cls(background=True, class_weights=(0.0, 1.0, 1.0)),
            cls(background=True),
        )
    )
    np.testing.assert_allclose(without, weighed, rtol=2e-6)
    assert abs(without - included) > 1e-5


def test_terms_of_ce_dice():
    """Catches a weight applied to the other term."""
    logits, label = example(6, 8)
    loss = CEDice(ce_weight=2.0, dice_weight=3.0)
    both, ce, dice = (forward(term, logits, label) for term in (loss, loss.ce, loss.dice))
    np.testing.assert_allclose(
        both,
        2 * ce + 3 * dice,
        rtol=1e-6,
    )
