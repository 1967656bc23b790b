"""Pooling, its inverse and interpolation, in forms whose gradient needs no scatter.

Channels last, any number of spatial axes. Transposed convolutions are in
:mod:`semiseg.nets.layers.convolution`.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from semiseg.nets.layers.patches import blocks, join, split_axes


def max_pool(x: jax.Array) -> jax.Array:
    """Maximum over blocks of 2 along every spatial axis: ``(B, *space, C)`` to ``(B, *space / 2,
    C)``.

    Pairwise maxima of a reshaped array: their gradient is an elementwise choice instead of a
    scatter (40 → 1.3 ms at 8×128²×16). Where two pixels tie they share the gradient.

    Raises:
      ValueError: a size is odd.

    Example:
      >>> max_pool(jnp.arange(16.0).reshape(1, 4, 4, 1))[0, ..., 0].tolist()
      [[5.0, 7.0], [13.0, 15.0]]
    """
    for axis in range(1, x.ndim - 1):
        if x.shape[axis] % 2:
            raise ValueError(f"max_pool: sizes must be even, got {x.shape}")
        pairs = x.reshape(*x.shape[:axis], x.shape[axis] // 2, 2, *x.shape[axis + 1 :])
        even = lax.index_in_dim(pairs, 0, axis + 1, keepdims=False)
        odd = lax.index_in_dim(pairs, 1, axis + 1, keepdims=False)
        x = jnp.maximum(even, odd)
    return x


def overlapping_max_pool(x: jax.Array, size: int = 3, stride: int = 2) -> jax.Array:
    """Maximum over windows of odd ``size``, padded by ``size // 2`` on both sides.

    One axis after the other, as maxima of strided slices, whose gradient is a choice and not a
    scatter. ``(B, *space, C)`` to ``(B, *ceil(space / stride), C)``.

    >>> overlapping_max_pool(jnp.ones((1, 5, 8, 3))).shape
    (1, 3, 4, 3)
    """
    for axis in range(1, x.ndim - 1):
        count = -(-x.shape[axis] // stride)
        pads = [(0, 0)] * x.ndim
        pads[axis] = (size // 2, size // 2)
        padded = jnp.pad(x, pads, constant_values=-jnp.inf)
        taps = [_every(padded, tap, stride, count, axis) for tap in range(size)]
        x = functools.reduce(jnp.maximum, taps)
    return x


def _every(x: jax.Array, start: int, stride: int, count: int, axis: int) -> jax.Array:
    """``count`` entries along ``axis`` at distances of ``stride``."""
    return lax.slice_in_dim(x, start, start + stride * (count - 1) + 1, stride, axis)


def _halves(x: jax.Array) -> jax.Array:
    """``(B, *space, C)`` to ``(B, *space / 2, 2^d, C)``."""
    if any(n % 2 for n in x.shape[1:-1]):
        raise ValueError(f"pooling: sizes must be even, got {x.shape}")
    return blocks(x, (2,) * (x.ndim - 2))


def max_pool_with_index(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Like :func:`max_pool`, and where in each block the maximum was.

    Returns:
      The maxima ``(B, *space / 2, C)``, and uint8 of that shape: the row-major index of the
      maximum in its block, the first of equal ones.

    Raises:
      ValueError: a size is odd.

    Example:
      >>> pooled, index = max_pool_with_index(jnp.array([1.0, 7.0, 3.0, 5.0]).reshape(1, 2, 2, 1))
      >>> pooled.item(), index.item()
      (7.0, 1)
    """
    pixels = _halves(x)
    index = pixels.argmax(-2)
    chosen = index[..., None, :] == jnp.arange(pixels.shape[-2], dtype=index.dtype)[:, None]
    return jnp.where(chosen, pixels, 0).sum(-2), index.astype(jnp.uint8)


def max_unpool(x: jax.Array, index: jax.Array) -> jax.Array:
    """Puts each value where :func:`max_pool_with_index` found its maximum, zeros elsewhere.

    ``(B, *space, C)`` to ``(B, *space · 2, C)``.

    >>> x = jnp.array([1.0, 7.0, 3.0, 5.0]).reshape(1, 2, 2, 1)
    >>> max_unpool(*max_pool_with_index(x))[0, ..., 0].tolist()
    [[0.0, 7.0], [0.0, 0.0]]
    """
    dims = x.ndim - 2
    chosen = index[..., None, :] == jnp.arange(2**dims, dtype=index.dtype)[:, None]
    y = jnp.where(chosen, x[..., None, :], jnp.zeros((), x.dtype))
    return join(y.reshape(*x.shape[:-1], *(2,) * dims, x.shape[-1]))


def avg_pool(x: jax.Array) -> jax.Array:
    """Mean over blocks of 2 along every spatial axis; sizes must be even.

    >>> avg_pool(jnp.arange(4.0).reshape(1, 2, 2, 1)).item()
    1.5
    """
    return _halves(x).mean(-2)


def block_mean(x: jax.Array, size: Sequence[int]) -> jax.Array:
    """Mean over blocks of ``size``: ``(B, *space, C)`` to ``(B, *(space / size), C)``.

    >>> block_mean(jnp.arange(8.0).reshape(1, 2, 4, 1), (1, 2))[0, ..., 0].tolist()
    [[0.5, 2.5], [4.5, 6.5]]
    """
    return split_axes(x, size).mean(tuple(range(2, 2 * len(size) + 1, 2)))


def nearest(x: jax.Array) -> jax.Array:
    """Every pixel twice along every spatial axis: ``(B, *space, C)`` to ``(B, *space · 2, C)``.

    >>> nearest(jnp.arange(2.0).reshape(1, 1, 2, 1))[0, ..., 0].tolist()
    [[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0]]
    """
    single = [x.shape[0]]
    twice = [x.shape[0]]
    for pixels in x.shape[1:-1]:
        single += [pixels, 1]
        twice += [pixels, 2]
    copies = jnp.broadcast_to(x.reshape(*single, x.shape[-1]), (*twice, x.shape[-1]))
    return copies.reshape(x.shape[0], *(2 * n for n in x.shape[1:-1]), x.shape[-1])


def resize(x: jax.Array, size: Sequence[int], align_corners: bool = False) -> jax.Array:
    """Linear interpolation (bilinear, trilinear): ``(B, *space, C)`` to ``(B, *size, C)``.

    The two conventions are those of PyTorch's ``interpolate`` (no antialiasing): centres of pixels,
    or, with ``align_corners``, corner on corner. Each axis is a matrix product, whose gradient is
    one too; a gather's gradient is a scatter.

    >>> resize(jnp.array([0.0, 4.0]).reshape(1, 2, 1), (4,)).ravel().tolist()
    [0.0, 1.0, 3.0, 4.0]
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
    target = np.arange(wanted)
    if align_corners:
        place = target * ((given - 1) / max(wanted - 1, 1))
    else:
        place = np.clip((target + 0.5) * (given / wanted) - 0.5, 0, given - 1)
    low = np.minimum(np.floor(place).astype(int), given - 1)
    high = np.minimum(low + 1, given - 1)
    part = place - low
    weights = np.zeros((wanted, given), np.float32)
    weights[target, low] = 1 - part
    weights[target, high] += part
    return weights
