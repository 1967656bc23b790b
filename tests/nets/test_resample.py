"""Pooling and interpolation against lax, NumPy by hand, and PyTorch where it is installed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from semiseg.nets.layers import max_pool, resample


def random(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


def wiggle(f):
    return jax.jit(jax.value_and_grad(lambda x: jnp.sin(3 * f(x)).sum()))


@pytest.mark.parametrize("size", [(9, 6), (4, 5, 6)])
def test_overlapping_max_pool_is_lax(size):
    """Catches a window that starts one pixel late, zeros (not -inf) beyond the edge, and an axis
    left out; negative inputs show the second.
    """
    x = random(0, 2, *size, 3) - 5
    window = (1, *(3,) * len(size), 1)
    strides = (1, *(2,) * len(size), 1)
    pad = [
        (0, 0),
        *[(1, 1)] * len(size),
        (0, 0),
    ]
    (a, ga), (b, gb) = (
        wiggle(f)(x)
        for f in (
            resample.overlapping_max_pool,
            lambda x: lax.reduce_window(x, -jnp.inf, lax.max, window, strides, pad),
        )
    )
    np.testing.assert_allclose(a, b, rtol=1e-5)
    np.testing.assert_allclose(ga, gb, atol=1e-5)


@pytest.mark.parametrize("size", [(4, 6), (2, 4, 6)])
def test_unpooling_puts_the_maximum_back(size):
    """Catches rows and columns exchanged in the index, and an index that pool and unpool read
    differently.
    """
    x = random(0, 2, *size, 3)
    pooled, index = resample.max_pool_with_index(x)
    np.testing.assert_array_equal(pooled, max_pool(x))
    back = resample.max_unpool(pooled, index)
    at_maximum = np.repeat(pooled, 2, 1)
    for axis in range(2, x.ndim - 1):
        at_maximum = np.repeat(at_maximum, 2, axis)
    np.testing.assert_array_equal(back, np.where(at_maximum == x, x, 0))
    gradient = jax.grad(lambda x: (resample.max_pool_with_index(x)[0] ** 2).sum() / 2)(x)
    np.testing.assert_array_equal(gradient, back)
    ties, first = resample.max_pool_with_index(jnp.ones((1, 2, 2, 1)))
    assert float(ties.sum()) == 1
    assert int(first.sum()) == 0


def test_average_pool_by_hand():
    """Catches a mean over the wrong axes."""
    x = jnp.arange(16.0).reshape(1, 4, 4, 1)
    np.testing.assert_array_equal(
        resample.avg_pool(x)[0, :, :, 0],
        [[2.5, 4.5], [10.5, 12.5]],
    )


@pytest.mark.parametrize("pool", [resample.avg_pool, resample.max_pool_with_index])
def test_odd_sizes_are_refused(pool):
    """Catches a silently dropped last row."""
    with pytest.raises(ValueError, match="even"):
        pool(jnp.ones((1, 3, 4, 1)))


def test_resize_by_hand():
    """Catches the two conventions exchanged: 2 to 4 pixels, and down again."""
    x = jnp.array([0.0, 1.0]).reshape(1, 2, 1)
    np.testing.assert_allclose(
        resample.resize(x, (4,))[0, :, 0],
        [0, 0.25, 0.75, 1],
        atol=1e-7,
    )
    np.testing.assert_allclose(
        resample.resize(x, (4,), align_corners=True)[0, :, 0], [0, 1 / 3, 2 / 3, 1], atol=1e-7
    )
    np.testing.assert_allclose(
        resample.resize(x, (1,), align_corners=True)[0, :, 0], [0], atol=1e-7
    )


@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize("size", [(10, 14), (3, 5), (13, 7), (1, 9), (4, 6, 10)])
def test_resize_is_pytorchs(size, align):
    """Catches a scale taken from the wrong side, and corners that move, for sizes that do not
    divide.
    """
    torch = pytest.importorskip("torch")
    x = np.asarray(random(0, 2, *(5, 7, 4)[: len(size)], 3))
    theirs = torch.nn.functional.interpolate(
        torch.tensor(np.moveaxis(x, -1, 1)),
        size,
        mode=("bilinear", "trilinear")[len(size) - 2],
        align_corners=align,
    )
    np.testing.assert_allclose(
        resample.resize(x, size, align), np.moveaxis(theirs.numpy(), 1, -1), atol=1e-5
    )
