"""The distance maps inside jit against SciPy's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from semiseg.losses.distance_transform import distance_to, signed_distance

SHAPES = [
    ((17, 12), (1.0, 1.0)),
    ((17, 12), (2.5, 0.7)),
    ((6, 9, 11), (1.0, 1.0, 1.0)),
    ((6, 9, 11), (2.5, 1.0, 0.5)),
]


def masks(shape: tuple[int, ...]) -> np.ndarray:
    """Sparse, half and dense random masks, and a single corner pixel ``(4, *shape)``."""
    rng = np.random.default_rng(0)
    corner = np.zeros(shape, bool)
    corner[(0,) * len(shape)] = True
    return np.stack(
        [
            *(rng.random(shape) < share for share in (0.02, 0.5, 0.98)),
            corner,
        ]
    )


@pytest.mark.parametrize(("shape", "spacing"), SHAPES)
def test_equals_scipy(shape, spacing):
    """Catches an axis skipped or taken twice, spacings permuted, batch entries mixed, and a
    distance from the wrong side.
    """
    target = masks(shape)
    expected = np.stack([distance_transform_edt(~mask, sampling=spacing) for mask in target])
    with jax.numpy_rank_promotion("raise"):
        found = jax.jit(distance_to, static_argnums=1)(
            target.reshape(2, 2, *shape),
            spacing,
        )
    np.testing.assert_allclose(found.reshape(expected.shape), expected, rtol=1e-6)


def test_without_a_target():
    """Catches a large finite number where there is nothing to be far from."""
    assert np.isposinf(distance_to(jnp.zeros((3, 4), bool), (1.0, 1.0))).all()


@pytest.mark.parametrize(("shape", "spacing"), SHAPES)
def test_signed_equals_scipy(shape, spacing):
    """Positive outside, negative inside. Catches the sign, and one of the two maps missing."""
    mask = masks(shape)
    expected = np.stack(
        [
            distance_transform_edt(~m, sampling=spacing)
            - distance_transform_edt(m, sampling=spacing)
            for m in mask
        ]
    )
    np.testing.assert_allclose(
        signed_distance(
            jnp.asarray(mask),
            ~jnp.asarray(mask),
            spacing,
        ),
        expected,
        rtol=1e-6,
    )


def test_signed_without_a_border():
    """All 0 for an empty and for a full mask, the neighbour in the batch untouched. Catches inf,
    NaN, and a test over the batch.
    """
    mask = jnp.zeros((3, 4, 5), bool).at[1].set(True).at[2, 0, 0].set(True)
    found = signed_distance(mask, ~mask, (1.0, 1.0))
    assert (found[:2] == 0).all()
    assert found[2, 0, 0] == -1
    assert found[2, 3, 4] == 5


def test_undecided_pixels_make_no_border():
    """Row: inside, undecided, undecided, outside. Catches IGNORE read as background."""
    inside = jnp.asarray([[True, False, False, False]])
    outside = jnp.asarray([[False, False, False, True]])
    np.testing.assert_array_equal(
        signed_distance(inside, outside, (1.0,))[0],
        [-3, -1, 1, 3],
    )
