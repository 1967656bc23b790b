"""Attention: what the transformer networks share, for any number of spatial axes, channels last.

Functional cores first (attention, windows, the bias of relative positions), then the flax.nnx
modules that hold their variables. Everything is matrix products, reshapes and slices: no gather,
whose gradient is a scatter that a CPU takes one element at a time.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from semiseg.nets.layers import modules as layers


# ------------------------------------------------------------------ functions
def attend(q: jax.Array, k: jax.Array, v: jax.Array, bias: jax.Array | None = None) -> jax.Array:
    """softmax(q kᵀ / √d + bias) v (Vaswani et al. 2017, eq. 1); the softmax is float32.

    Args:
      q, k, v: ``(..., T, d)``.
      bias: broadcasts against ``(..., T, T)``.
    """
    scores = jnp.einsum("...td,...sd->...ts", q * q.shape[-1] ** -0.5, k).astype(jnp.float32)
    return jax.nn.softmax(scores if bias is None else scores + bias).astype(v.dtype) @ v


def layer_norm(
    x: jax.Array, scale: jax.Array | None = None, bias: jax.Array | None = None, eps: float = 1e-5
) -> jax.Array:
    """Normalisation over the channels (Ba, Kiros & Hinton 2016), in float32; keeps the dtype of
    ``x``.
    """
    y = x.astype(jnp.float32)
    y = y - y.mean(-1, keepdims=True)
    y = y * jax.lax.rsqrt((y * y).mean(-1, keepdims=True) + eps)
    return (y if scale is None or bias is None else y * scale + bias).astype(x.dtype)


def blocks(x: jax.Array, size: Sequence[int]) -> jax.Array:
    """``(B, *space, C)`` cut into blocks: ``(B, *(space / size), prod(size), C)``, a block's pixels
    in row-major order.
    """
    d = len(size)
    cut = x.reshape(
        x.shape[0], *(m for n, s in zip(x.shape[1:-1], size) for m in (n // s, s)), x.shape[-1]
    )
    cut = cut.transpose(0, *range(1, 2 * d, 2), *range(2, 2 * d + 1, 2), 2 * d + 1)
    return cut.reshape(*cut.shape[: d + 1], math.prod(size), x.shape[-1])


def unblocks(x: jax.Array, size: Sequence[int]) -> jax.Array:
    """The inverse of :func:`blocks`."""
    d = len(size)
    cut = x.reshape(*x.shape[: d + 1], *size, x.shape[-1])
    cut = cut.transpose(0, *(a for i in range(d) for a in (1 + i, 1 + d + i)), 2 * d + 1)
    return cut.reshape(x.shape[0], *(n * s for n, s in zip(x.shape[1 : d + 1], size)), x.shape[-1])


def relative_bias(table: jax.Array, window: Sequence[int]) -> jax.Array:
    """``(heads, T, T)`` with ``[h, i, j] = table[h, i − j]`` for the pixels i, j of a window (Liu
    et al. 2021, eq. 4).

    Args:
      table: ``(heads, *(2·w − 1))``, the offset 0 in the middle.
      window: at most ``w`` along each axis; T is its product.

    Along each axis a Toeplitz matrix, built of shifted slices of the reversed table.
    """
    for axis, w in enumerate(window):
        at = 1 + 2 * axis
        middle = table.shape[at] // 2
        reverse = jnp.flip(table, at)
        table = jnp.stack(
            [jax.lax.slice_in_dim(reverse, middle - i, middle - i + w, axis=at) for i in range(w)],
            at,
        )
    d = len(window)
    return table.transpose(0, *range(1, 2 * d, 2), *range(2, 2 * d + 1, 2)).reshape(
        table.shape[0], math.prod(window), -1
    )


@functools.lru_cache
def shift_mask(
    space: tuple[int, ...], window: tuple[int, ...], shift: tuple[int, ...]
) -> np.ndarray:
    """``(*(space / window), T, T)`` float32: 0 where two pixels of a cyclically shifted window were
    neighbours before the shift, else −100.
    """
    region = np.zeros(space, np.int64)
    for axis, (n, w, s) in enumerate(zip(space, window, shift)):
        if s:
            line = np.arange(n)
            region = 3 * region + ((line >= n - w).astype(int) + (line >= n - s)).reshape(
                [-1 if a == axis else 1 for a in range(len(space))]
            )
    ids = np.asarray(region)[None, ..., None]
    d = len(window)
    cut = ids.reshape(1, *(m for n, w in zip(space, window) for m in (n // w, w)), 1)
    cut = cut.transpose(0, *range(1, 2 * d, 2), *range(2, 2 * d + 1, 2), 2 * d + 1).reshape(
        *(n // w for n, w in zip(space, window)), -1
    )
    return np.where(cut[..., :, None] == cut[..., None, :], 0, -100).astype(np.float32)


def merge_order(dims: int) -> list[int]:
    """Order in which a patch of 2 along each axis is joined to channels: by the number of odd
    offsets, then the first axis first.

    It is the order of the published Swin code (00, 10, 01, 11), so that its weights fit.
    """
    offsets = list(itertools.product((0, 1), repeat=dims))
    return sorted(range(2**dims), key=lambda i: (sum(offsets[i]), [-o for o in offsets[i]]))


def drop_path(x: jax.Array, rate: float, key: jax.Array | None) -> jax.Array:
    """Leaves out a residual branch for whole images with probability ``rate`` (Huang et al. 2016,
    stochastic depth); none without a key.
    """
    if key is None or rate == 0:
        return x
    keep = jax.random.bernoulli(key, 1 - rate, (x.shape[0], *(1,) * (x.ndim - 1)))
    return jnp.where(keep, x / (1 - rate), jnp.zeros((), x.dtype)).astype(x.dtype)


def heads_divide(who: str, widths: Sequence[int], heads: Sequence[int]) -> None:
    """Refuses numbers of heads that do not divide the channels."""
    for width, head in zip(widths, heads):
        if width % head:
            raise ValueError(f"{who}: {head} heads do not divide {width} channels")


# ------------------------------------------------------------------ modules
class Linear(nnx.Module):
    """Matrix product along the channels. Variables: kernel ``(C, O)``, normal with variance 2 / (C
    + O) (Glorot & Bengio 2010); bias ``(O,)``.
    """

    def __init__(self, channels: int, out: int, *, bias: bool = True, normals: layers.Normals):
        self.kernel = nnx.Param(normals.he((channels, out), channels + out))
        self.bias = nnx.Param(jnp.zeros(out)) if bias else None

    def __call__(self, x: jax.Array) -> jax.Array:
        y = x @ self.kernel[...].astype(x.dtype)
        return (
            y
            if self.bias is None
            else y + self.bias[...].astype(x.dtype).reshape((1,) * (x.ndim - 1) + (-1,))
        )


class LayerNorm(nnx.Module):
    """:func:`layer_norm` with variables scale and bias ``(C,)``."""

    def __init__(self, channels: int, eps: float = 1e-5):
        self.eps = eps
        self.scale = nnx.Param(jnp.ones(channels))
        self.bias = nnx.Param(jnp.zeros(channels))

    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (1,) * (x.ndim - 1) + (-1,)
        return layer_norm(
            x, self.scale[...].reshape(shape), self.bias[...].reshape(shape), self.eps
        )


class Attention(nnx.Module):
    """Multi-head self-attention of ``(..., T, C)``. Variables: qkv (C → 3C, ordered q, k, v, each
    by head) and out (C → C).
    """

    def __init__(self, channels: int, heads: int, *, bias: bool = True, normals: layers.Normals):
        self.heads = heads
        self.qkv = Linear(channels, 3 * channels, bias=bias, normals=normals)
        self.out = Linear(channels, channels, normals=normals)

    def __call__(self, x: jax.Array, bias: jax.Array | None = None) -> jax.Array:
        qkv = self.qkv(x).reshape(*x.shape[:-1], 3, self.heads, -1)
        q, k, v = (qkv[..., i, :, :].swapaxes(-2, -3) for i in range(3))
        return self.out(attend(q, k, v, bias).swapaxes(-2, -3).reshape(x.shape))


class MLP(nnx.Module):
    """C → hidden → C with a GELU (its exact form, by the error function) between."""

    def __init__(self, channels: int, hidden: int, *, normals: layers.Normals):
        self.up = Linear(channels, hidden, normals=normals)
        self.down = Linear(hidden, channels, normals=normals)

    def __call__(self, x: jax.Array, rate: float = 0.0, key: jax.Array | None = None) -> jax.Array:
        return self.down(layers.dropout(jax.nn.gelu(self.up(x), approximate=False), rate, key))


class Transformer(nnx.Module):
    """Pre-norm transformer block of ``(B, T, C)`` (Dosovitskiy et al. 2021, eq. 2 and 3); dropout
    on both branches.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        hidden: int,
        *,
        rate: float,
        bias: bool = True,
        eps: float = 1e-5,
        normals: layers.Normals,
    ):
        self.rate = rate
        self.norm1, self.norm2 = LayerNorm(channels, eps), LayerNorm(channels, eps)
        self.attention = Attention(channels, heads, bias=bias, normals=normals)
        self.mlp = MLP(channels, hidden, normals=normals)

    def __call__(self, x: jax.Array, key: jax.Array | None) -> jax.Array:
        k1, k2, k3 = (None,) * 3 if key is None else jax.random.split(key, 3)
        x = x + layers.dropout(self.attention(self.norm1(x)), self.rate, k1)
        return x + layers.dropout(self.mlp(self.norm2(x), self.rate, k2), self.rate, k3)


class Swin(nnx.Module):
    """Swin transformer block of ``(B, *space, C)`` (Liu et al. 2021, fig. 3b and eq. 3).

    Attention is within windows; in every second block the windows are shifted by half, cyclically,
    and pixels that are neighbours by the cycle alone do not see each other. An axis no longer than
    the window is one window of its own length. Where the window does not divide an axis, that is
    padded at the end with zeros, which take part in the attention, as in the published code.

    Variables: norm1, attention, table ``(heads, *(2·window − 1))``, norm2, mlp.
    """

    def __init__(
        self, channels: int, heads: int, window: Sequence[int], *, shifted: bool, drop: float = 0.0, ratio: int = 4,
        flat_bias: bool = False, normals: layers.Normals,
    ):  # fmt: skip
        self.window, self.shifted, self.drop, self.flat_bias = (
            tuple(window),
            shifted,
            drop,
            flat_bias,
        )
        self.norm1, self.norm2 = LayerNorm(channels), LayerNorm(channels)
        self.attention = Attention(channels, heads, normals=normals)
        self.table = nnx.Param(
            normals.he((heads, *(2 * w - 1 for w in window)), 5000)
        )  # standard deviation .02
        self.mlp = MLP(channels, ratio * channels, normals=normals)

    def __call__(self, x: jax.Array, key: jax.Array | None) -> jax.Array:
        k1, k2 = (None, None) if key is None else jax.random.split(key)
        x = x + drop_path(self._windows(self.norm1(x)), self.drop, k1)
        return x + drop_path(self.mlp(self.norm2(x)), self.drop, k2)

    def _windows(self, x: jax.Array) -> jax.Array:
        space, axes = x.shape[1:-1], tuple(range(1, x.ndim - 1))
        window = tuple(min(n, w) for n, w in zip(space, self.window))
        shift = tuple(w // 2 if self.shifted and n > w else 0 for n, w in zip(space, self.window))
        if (
            self.flat_bias
        ):  # the corner of the full window's matrix, whatever the shape of the smaller window
            bias = relative_bias(self.table[...], self.window)[
                :, : math.prod(window), : math.prod(window)
            ]
        else:
            bias = relative_bias(self.table[...], window)
        bias = bias.reshape((1,) * len(space) + (1, *bias.shape))
        if any(n % w for n, w in zip(space, window)):
            x = jnp.pad(x, [(0, 0), *((0, -n % w) for n, w in zip(space, window)), (0, 0)])
        if any(shift):
            mask = shift_mask(x.shape[1:-1], window, shift)
            bias = bias + mask[None, ..., None, :, :]
            x = jnp.roll(x, [-s for s in shift], axes)
        x = unblocks(self.attention(blocks(x, window), bias), window)
        if any(shift):
            x = jnp.roll(x, shift, axes)
        return (
            x
            if x.shape[1:-1] == space
            else jax.lax.slice(x, [0] * x.ndim, [x.shape[0], *space, x.shape[-1]])
        )


class PatchEmbed(nnx.Module):
    """Convolution whose stride is its kernel, as a matrix product of patches. Variables: kernel
    ``(*patch, C, O)``, bias ``(O,)``.
    """

    def __init__(
        self,
        channels: int,
        out: int,
        patch: int | Sequence[int],
        *,
        dims: int = 2,
        bias: bool = True,
        normals: layers.Normals,
    ):
        size = (patch,) * dims if isinstance(patch, int) else tuple(patch)
        self.kernel = nnx.Param(normals.he((*size, channels, out), 2 * channels * math.prod(size)))
        self.bias = nnx.Param(jnp.zeros(out)) if bias else None

    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.kernel[...].astype(x.dtype)
        cut = blocks(x, kernel.shape[:-2])
        y = cut.reshape(*cut.shape[:-2], -1) @ kernel.reshape(-1, kernel.shape[-1])
        return (
            y
            if self.bias is None
            else y + self.bias[...].astype(x.dtype).reshape((1,) * (y.ndim - 1) + (-1,))
        )


class PatchMerge(nnx.Module):
    """Halves every axis: patches of 2 joined to channels, normalised, mapped to twice the channels
    (Liu et al. 2021, section 3.1).
    """

    def __init__(self, channels: int, *, dims: int = 2, normals: layers.Normals):
        self.dims = dims
        self.norm = LayerNorm(2**dims * channels)
        self.reduce = Linear(2**dims * channels, 2 * channels, bias=False, normals=normals)

    def __call__(self, x: jax.Array) -> jax.Array:
        cut = blocks(x, (2,) * self.dims)
        x = jnp.concatenate([cut[..., i, :] for i in merge_order(self.dims)], -1)
        return self.reduce(self.norm(x))
