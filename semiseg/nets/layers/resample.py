"""Pooling, its inverse and interpolation, in forms whose gradient needs no scatter. Channels last,
any number of spatial axes.

Plain 2×2 max-pooling is :func:`semiseg.nets.layers.modules.max_pool`, transposed convolutions are beside
it.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


def _every(x: jax.Array, start: int, stride: int, count: int, axis: int) -> jax.Array:
    return lax.slice_in_dim(x, start, start + stride * (count - 1) + 1, stride, axis)


def overlapping_max_pool(x: jax.Array, size: int = 3, stride: int = 2) -> jax.Array:
    """Maximum over windows of odd ``size``, padded by ``size // 2`` on both sides: ``(B, *space,
    C)`` to ``(B, *ceil(space / stride), C)``.

    One axis after the other, as maxima of strided slices, whose gradient is a choice and not a
    scatter.
    """
    for axis in range(1, x.ndim - 1):
        n = x.shape[axis]
        pads = [(0, 0)] * x.ndim
        pads[axis] = (size // 2, size // 2)
        padded = jnp.pad(x, pads, constant_values=-jnp.inf)
        x = functools.reduce(
            jnp.maximum, [_every(padded, i, stride, -(-n // stride), axis) for i in range(size)]
        )
    return x


def _blocks(x: jax.Array) -> jax.Array:
    """``(B, *space, C)`` to ``(B, *space / 2, 2^d, C)``."""
    d = x.ndim - 2
    if any(n % 2 for n in x.shape[1:-1]):
        raise ValueError(f"pooling: sizes must be even, got {x.shape}")
    y = x.reshape(x.shape[0], *(v for n in x.shape[1:-1] for v in (n // 2, 2)), x.shape[-1])
    y = y.transpose(0, *(1 + 2 * i for i in range(d)), *(2 + 2 * i for i in range(d)), 1 + 2 * d)
    return y.reshape(*y.shape[: d + 1], 2**d, y.shape[-1])


def max_pool_with_index(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Like :func:`max_pool`, and where in each block the maximum was: uint8 ``(B, *space / 2, C)``,
    rows first; the first of equal ones.
    """
    blocks = _blocks(x)
    index = blocks.argmax(-2)
    chosen = index[..., None, :] == jnp.arange(blocks.shape[-2], dtype=index.dtype)[:, None]
    return jnp.where(chosen, blocks, 0).sum(-2), index.astype(jnp.uint8)


def max_unpool(x: jax.Array, index: jax.Array) -> jax.Array:
    """Puts each value where :func:`max_pool_with_index` found its maximum, zeros elsewhere: ``(B,
    *space, C)`` to ``(B, *space · 2, C)``.
    """
    d = x.ndim - 2
    chosen = index[..., None, :] == jnp.arange(2**d, dtype=index.dtype)[:, None]
    y = jnp.where(chosen, x[..., None, :], jnp.zeros((), x.dtype)).reshape(
        *x.shape[:-1], *(2,) * d, x.shape[-1]
    )
    order = [0, *(a for i in range(d) for a in (1 + i, 1 + d + i)), 1 + 2 * d]
    return y.transpose(order).reshape(x.shape[0], *(2 * n for n in x.shape[1:-1]), x.shape[-1])


def avg_pool(x: jax.Array) -> jax.Array:
    """Mean over blocks of 2 along every spatial axis; sizes must be even."""
    return _blocks(x).mean(-2)


def resize(x: jax.Array, size: Sequence[int], align_corners: bool = False) -> jax.Array:
    """Linear interpolation (bilinear, trilinear) to ``size``: ``(B, *space, C)`` to ``(B, *size,
    C)``.

    The two conventions of PyTorch's ``interpolate`` (no antialiasing): centres of pixels, or, with
    ``align_corners``, corner on corner. Each axis is a matrix product, whose gradient is one too; a
    gather's gradient is a scatter.
    """
    for axis, wanted in enumerate(size, 1):
        if x.shape[axis] != wanted:
            weights = jnp.asarray(_interpolation(x.shape[axis], wanted, align_corners), x.dtype)
            y = jnp.tensordot(weights, x, (1, axis), precision="highest")
            x = jnp.moveaxis(y, 0, axis)
    return x


@functools.lru_cache
def _interpolation(given: int, wanted: int, align_corners: bool) -> np.ndarray:
    """``(wanted, given)``: the weights of linear interpolation; beyond the first and last centre
    the edge is repeated.
    """
    if align_corners:
        place = np.arange(wanted) * ((given - 1) / max(wanted - 1, 1))
    else:
        place = np.clip((np.arange(wanted) + 0.5) * (given / wanted) - 0.5, 0, given - 1)
    low = np.minimum(np.floor(place).astype(int), given - 1)
    part = place - low
    weights = np.zeros((wanted, given), np.float32)
    weights[np.arange(wanted), low] = 1 - part
    weights[np.arange(wanted), np.minimum(low + 1, given - 1)] += part
    return weights
