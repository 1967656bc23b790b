"""Blocks of neighbouring pixels: cut out, put back, embedded as tokens and merged.

Everything is a reshape and a transposition: no gather, whose gradient is a scatter that a CPU takes
one element at a time.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from semiseg.nets.layers.linear import Linear, add_bias, zero_bias
from semiseg.nets.layers.norm import LayerNorm
from semiseg.nets.layers.normals import Normals


def split_axes(x: jax.Array, size: Sequence[int]) -> jax.Array:
    """``(B, H, W, C)`` to ``(B, H / h, h, W / w, w, C)`` for blocks of ``size`` ``(h, w)``.

    >>> split_axes(jnp.ones((1, 6, 4, 3)), (3, 2)).shape
    (1, 2, 3, 2, 2, 3)
    """
    shape = [x.shape[0]]
    for pixels, side in zip(x.shape[1:-1], size, strict=True):
        shape += [pixels // side, side]
    return x.reshape(*shape, x.shape[-1])


def cut(x: jax.Array, size: Sequence[int]) -> jax.Array:
    """``(B, *space, C)`` cut into blocks: ``(B, *(space / size), *size, C)``.

    >>> cut(jnp.ones((1, 6, 4, 3)), (3, 2)).shape
    (1, 2, 2, 3, 2, 3)
    """
    dims = len(size)
    order = (0, *range(1, 2 * dims, 2), *range(2, 2 * dims + 1, 2), 2 * dims + 1)
    return split_axes(x, size).transpose(order)


def join(x: jax.Array) -> jax.Array:
    """The inverse of :func:`cut`: ``(B, *number, *size, C)`` to ``(B, *(number · size), C)``.

    >>> x = jnp.arange(24.0).reshape(1, 6, 4, 1)
    >>> bool((join(cut(x, (3, 2))) == x).all())
    True
    """
    dims = x.ndim // 2 - 1
    number = x.shape[1 : 1 + dims]
    size = x.shape[1 + dims : -1]
    order = [0]
    for axis in range(1, 1 + dims):
        order += [axis, axis + dims]
    space = [n * s for n, s in zip(number, size, strict=True)]
    return x.transpose(*order, 1 + 2 * dims).reshape(x.shape[0], *space, x.shape[-1])


def blocks(x: jax.Array, size: Sequence[int]) -> jax.Array:
    """``(B, *space, C)`` to ``(B, *(space / size), T, C)``, T the number of pixels of a block.

    The pixels of a block are in row-major order.

    >>> blocks(jnp.ones((1, 6, 4, 3)), (3, 2)).shape
    (1, 2, 2, 6, 3)
    """
    pieces = cut(x, size)
    number = pieces.shape[: len(size) + 1]
    return pieces.reshape(*number, math.prod(size), x.shape[-1])


def unblocks(x: jax.Array, size: Sequence[int]) -> jax.Array:
    """The inverse of :func:`blocks`.

    >>> x = jnp.arange(24.0).reshape(1, 6, 4, 1)
    >>> bool((unblocks(blocks(x, (3, 2)), (3, 2)) == x).all())
    True
    """
    number = x.shape[: len(size) + 1]
    return join(x.reshape(*number, *size, x.shape[-1]))


def merge_order(dims: int) -> list[int]:
    """Order in which the pixels of a block of 2 along each axis are joined to channels.

    They come by the number of odd offsets, then the first axis first. It is the order of the
    published Swin code (00, 10, 01, 11), so that its weights fit.

    >>> merge_order(2)
    [0, 2, 1, 3]
    """
    offsets = list(itertools.product((0, 1), repeat=dims))

    def rank(index: int) -> tuple[int, list[int]]:
        return sum(offsets[index]), [-offset for offset in offsets[index]]

    return sorted(range(2**dims), key=rank)


class PatchEmbed(nnx.Module):
    """Convolution whose stride is its kernel, as a matrix product of patches.

    Variables: kernel ``(*patch, C, O)``, bias ``(O,)``.
    """

    def __init__(
        self,
        channels: int,
        out: int,
        patch: int,
        *,
        dims: int = 2,
        bias: bool = True,
        normals: Normals,
    ):
        size = (patch,) * dims
        self.kernel = nnx.Param(normals.he((*size, channels, out), 2 * channels * math.prod(size)))
        self.bias = zero_bias(out, bias)

    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.kernel[...].astype(x.dtype)
        patches = blocks(x, kernel.shape[:-2])
        flat = patches.reshape(*patches.shape[:-2], -1)
        return add_bias(flat @ kernel.reshape(-1, kernel.shape[-1]), self.bias)


class PatchMerge(nnx.Module):
    """Halves every axis: blocks of 2 are joined to channels, normalised and mapped to twice the
    channels (Liu et al., ICCV 2021, section 3.1).
    """

    def __init__(self, channels: int, *, dims: int = 2, normals: Normals):
        self.dims = dims
        self.norm = LayerNorm(2**dims * channels)
        self.reduce = Linear(2**dims * channels, 2 * channels, bias=False, normals=normals)

    def __call__(self, x: jax.Array) -> jax.Array:
        pieces = blocks(x, (2,) * self.dims)
        pixels = [pieces[..., i, :] for i in merge_order(self.dims)]
        return self.reduce(self.norm(jnp.concatenate(pixels, -1)))
