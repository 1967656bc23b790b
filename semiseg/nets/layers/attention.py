"""Attention: what the transformer networks share, for any number of spatial axes, channels last.

Functions first (attention, the bias of relative positions), then the modules that hold their
variables. Everything is matrix products, reshapes and slices, without a gather, as in
:mod:`semiseg.nets.layers.patches`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from semiseg.nets.layers.linear import Linear
from semiseg.nets.layers.norm import LayerNorm
from semiseg.nets.layers.normals import Normals
from semiseg.nets.layers.patches import blocks, unblocks
from semiseg.nets.layers.stochastic import drop_path, dropout, subkeys


# ------------------------------------------------------------------ functions
def attend(q: jax.Array, k: jax.Array, v: jax.Array, bias: jax.Array | None = None) -> jax.Array:
    """softmax(q kᵀ / √d + bias) v (Vaswani et al., NeurIPS 2017, eq. 1); the softmax is float32.

    Args:
      q, k, v: ``(..., T, d)``.
      bias: broadcasts against ``(..., T, T)``.

    Returns:
      ``(..., T, d)`` in the dtype of ``v``.

    Example:
      >>> token = jnp.ones((1, 2, 4))
      >>> attend(token, token, jnp.arange(8.0).reshape(1, 2, 4))[0, 0].tolist()
      [2.0, 3.0, 4.0, 5.0]
    """
    scores = jnp.einsum("...td,...sd->...ts", q * q.shape[-1] ** -0.5, k).astype(jnp.float32)
    if bias is not None:
        scores = scores + bias
    return jax.nn.softmax(scores).astype(v.dtype) @ v


def relative_bias(table: jax.Array, window: Sequence[int]) -> jax.Array:
    """``(heads, T, T)`` with ``[h, i, j] = table[h, i − j]`` for the pixels i, j of a window (Liu
    et al., ICCV 2021, eq. 4).

    Along each axis it is a Toeplitz matrix, built of shifted slices of the reversed table.

    Args:
      table: ``(heads, *(2·w − 1))``, the offset 0 in the middle.
      window: at most ``w`` along each axis; T is its product.

    Example:
      >>> relative_bias(jnp.array([[10.0, 20.0, 30.0]]), (2,)).tolist()
      [[[20.0, 10.0], [30.0, 20.0]]]
    """
    for i, side in enumerate(window):
        axis = 1 + 2 * i
        middle = table.shape[axis] // 2
        reverse = jnp.flip(table, axis)
        rows = []
        for row in range(side):
            start = middle - row
            rows.append(jax.lax.slice_in_dim(reverse, start, start + side, axis=axis))
        table = jnp.stack(rows, axis)
    dims = len(window)
    order = (0, *range(1, 2 * dims, 2), *range(2, 2 * dims + 1, 2))
    return table.transpose(order).reshape(table.shape[0], math.prod(window), -1)


@functools.lru_cache
def shift_mask(
    space: tuple[int, ...],
    window: tuple[int, ...],
    shift: tuple[int, ...],
) -> np.ndarray:
    """What is added to the scores of cyclically shifted windows (Liu et al., ICCV 2021, fig. 4).

    Args:
      space: size of the image.
      window: size of a window; it divides ``space``.
      shift: by how many pixels the image was rolled along each axis.

    Returns:
      ``(*(space / window), T, T)`` float32: 0 where two pixels of a window were neighbours before
      the shift, else −100.

    Example:
      >>> mask = shift_mask((4,), (2,), (1,))
      >>> mask.shape, mask.min(axis=(1, 2)).tolist()
      ((2, 2, 2), [0.0, -100.0])
    """
    region = np.zeros(space, np.int64)
    for axis, (pixels, side, step) in enumerate(zip(space, window, shift, strict=True)):
        if step:
            line = np.arange(pixels)
            part = (line >= pixels - side).astype(int) + (line >= pixels - step)
            shape = np.ones(len(space), int)
            shape[axis] = -1
            region = 3 * region + part.reshape(shape)
    dims = len(window)
    split: list[int] = []
    for pixels, side in zip(space, window, strict=True):
        split += [pixels // side, side]
    order = (*range(0, 2 * dims, 2), *range(1, 2 * dims, 2))
    regions = region.reshape(split).transpose(order).reshape(*split[::2], -1)
    alike = regions[..., :, None] == regions[..., None, :]
    return np.where(alike, 0, -100).astype(np.float32)


def heads_divide(who: str, widths: Sequence[int], heads: Sequence[int]) -> None:
    """Refuses numbers of heads that do not divide the channels.

    Args:
      who: the network, for the message.
      widths: channels of each stage.
      heads: heads of each stage.

    Raises:
      ValueError: a number of heads does not divide its stage's channels.

    Example:
      >>> heads_divide("SwinUnet", [96, 192], [3, 5])
      Traceback (most recent call last):
      ValueError: SwinUnet: 5 heads do not divide 192 channels
    """
    for width, head in zip(widths, heads, strict=True):
        if width % head:
            raise ValueError(f"{who}: {head} heads do not divide {width} channels")


# ------------------------------------------------------------------ modules
class Attention(nnx.Module):
    """Multi-head self-attention of ``(..., T, C)``.

    Variables: qkv (C → 3C, ordered q, k, v, each by head) and out (C → C).
    """

    def __init__(self, channels: int, heads: int, *, bias: bool = True, normals: Normals):
        self.heads = heads
        self.qkv = Linear(channels, 3 * channels, bias=bias, normals=normals)
        self.out = Linear(channels, channels, normals=normals)

    def __call__(self, x: jax.Array, bias: jax.Array | None = None) -> jax.Array:
        qkv = self.qkv(x).reshape(*x.shape[:-1], 3, self.heads, -1)
        q, k, v = (qkv[..., i, :, :].swapaxes(-2, -3) for i in range(3))
        return self.out(attend(q, k, v, bias).swapaxes(-2, -3).reshape(x.shape))


class MLP(nnx.Module):
    """C → hidden → C with a GELU (its exact form, by the error function) between."""

    def __init__(self, channels: int, hidden: int, *, normals: Normals):
        self.up = Linear(channels, hidden, normals=normals)
        self.down = Linear(hidden, channels, normals=normals)

    def __call__(self, x: jax.Array, rate: float = 0.0, key: jax.Array | None = None) -> jax.Array:
        return self.down(dropout(jax.nn.gelu(self.up(x), approximate=False), rate, key))


class Transformer(nnx.Module):
    """Pre-norm transformer block of ``(B, T, C)`` (Dosovitskiy et al., ICLR 2021, eq. 2 and 3) with
    dropout on both branches.
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
        normals: Normals,
    ):
        self.rate = rate
        self.norm1 = LayerNorm(channels, eps)
        self.norm2 = LayerNorm(channels, eps)
        self.attention = Attention(channels, heads, bias=bias, normals=normals)
        self.mlp = MLP(channels, hidden, normals=normals)

    def __call__(self, x: jax.Array, key: jax.Array | None) -> jax.Array:
        k_attention, k_hidden, k_mlp = subkeys(key, 3)
        x = x + dropout(self.attention(self.norm1(x)), self.rate, k_attention)
        return x + dropout(self.mlp(self.norm2(x), self.rate, k_hidden), self.rate, k_mlp)


class Swin(nnx.Module):
    """Swin transformer block of ``(B, *space, C)`` (Liu et al., ICCV 2021, fig. 3b and eq. 3).

    Attention is within windows; in every second block the windows are shifted by half, cyclically,
    and pixels that are neighbours by the cycle alone do not see each other. An axis no longer than
    the window is one window of its own length. Where the window does not divide an axis, that is
    padded at the end with zeros, which take part in the attention, as in the published code.

    Variables: norm1, attention, table ``(heads, *(2·window − 1))``, norm2, mlp.

    Args:
      channels: C.
      heads: of the attention.
      window: side of a window along each axis, in tokens.
      shifted: shift the windows.
      drop: rate at which a branch is left out, see :func:`drop_path`.
      ratio: hidden channels of the MLP per channel.
      flat_bias: give a window that is smaller than ``window`` the corner of the full window's
        matrix of biases, whatever offsets stand there.
      normals: of the initial weights.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        window: Sequence[int],
        *,
        shifted: bool,
        drop: float = 0.0,
        ratio: int = 4,
        flat_bias: bool = False,
        normals: Normals,
    ):
        self.window = tuple(window)
        self.shifted = shifted
        self.drop = drop
        self.flat_bias = flat_bias
        self.norm1 = LayerNorm(channels)
        self.norm2 = LayerNorm(channels)
        self.attention = Attention(channels, heads, normals=normals)
        offsets = [2 * side - 1 for side in window]
        self.table = nnx.Param(normals.he((heads, *offsets), 5000))  # standard deviation 0.02
        self.mlp = MLP(channels, ratio * channels, normals=normals)

    def __call__(self, x: jax.Array, key: jax.Array | None) -> jax.Array:
        k_attention, k_mlp = subkeys(key, 2)
        x = x + drop_path(self._windows(self.norm1(x)), self.drop, k_attention)
        return x + drop_path(self.mlp(self.norm2(x)), self.drop, k_mlp)

    def _windows(self, x: jax.Array) -> jax.Array:
        """Attention within windows."""
        space = x.shape[1:-1]
        window = tuple(min(n, side) for n, side in zip(space, self.window, strict=True))
        shift = self._shift(space)
        bias = self._bias(window)
        missing = [-n % side for n, side in zip(space, window, strict=True)]
        if any(missing):
            x = jnp.pad(x, [(0, 0), *((0, pixels) for pixels in missing), (0, 0)])
        axes = tuple(range(1, x.ndim - 1))
        if any(shift):
            mask = shift_mask(x.shape[1:-1], window, shift)
            bias = bias + mask[None, ..., None, :, :]
            x = jnp.roll(x, [-step for step in shift], axes)
        x = unblocks(self.attention(blocks(x, window), bias), window)
        if any(shift):
            x = jnp.roll(x, shift, axes)
        if x.shape[1:-1] == space:
            return x
        return jax.lax.slice(x, [0] * x.ndim, [x.shape[0], *space, x.shape[-1]])

    def _shift(self, space: Sequence[int]) -> tuple[int, ...]:
        """Half a window along every axis that has more than one."""
        if not self.shifted:
            return (0,) * len(space)
        several = [n > side for n, side in zip(space, self.window, strict=True)]
        return tuple(side // 2 * more for side, more in zip(self.window, several, strict=True))

    def _bias(self, window: Sequence[int]) -> jax.Array:
        """``(1, *(1 …), heads, T, T)``: the bias of a window's pixels."""
        if self.flat_bias:
            tokens = math.prod(window)
            bias = relative_bias(self.table[...], self.window)[:, :tokens, :tokens]
        else:
            bias = relative_bias(self.table[...], window)
        return bias.reshape((1,) * (len(window) + 1) + bias.shape)
