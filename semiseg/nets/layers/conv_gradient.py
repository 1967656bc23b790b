"""The convolution that the layers call, and its gradient in a form that is fast on a CPU.

XLA loses its fast path for transposed convolutions inside a loop: a U-Net step takes 6.7 s instead
of 0.2 s, and one with 64 groups 1075 instead of 30 ms at 8×32². On a CPU both gradients are
therefore written as forward convolutions. Other devices take JAX's own gradient, which their
libraries recognise. Both are tested to give the same numbers.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

Pads = tuple[tuple[int, int], ...]
"""Zeros before and after each spatial axis; a negative number crops."""


def convolve(
    x: jax.Array,
    w: jax.Array,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    pads: Pads = (),
    spread: int = 1,
) -> jax.Array:
    """A convolution of any rank, channels last, as one operation of XLA.

    Args:
      x: ``(B, *space, C)``.
      w: ``(*k, C / groups, O)``.
      stride: of the window, the same along every axis.
      dilation: distance of the kernel's taps, the same along every axis.
      groups: number of independent convolutions.
      pads: zeros before and after each axis.
      spread: a further factor of the dilation, where the kernel is the gradient of a stride.

    Example:
      >>> convolve(jnp.ones((1, 8, 8, 2)), jnp.ones((3, 3, 2, 5)), pads=((1, 1), (1, 1))).shape
      (1, 8, 8, 5)
    """
    axes = "DHW"[-(x.ndim - 2) :]
    dims = len(axes)
    return lax.conv_general_dilated(
        x,
        w,
        (stride,) * dims,
        pads,
        rhs_dilation=(dilation * spread,) * dims,
        dimension_numbers=(f"N{axes}C", f"{axes}IO", f"N{axes}C"),
        feature_group_count=groups,
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4, 5))
def differentiable_conv(
    x: jax.Array,
    w: jax.Array,
    stride: int,
    dilation: int,
    groups: int,
    pads: Pads,
) -> jax.Array:
    """:func:`convolve` with the gradient of this module."""
    return convolve(x, w, stride, dilation, groups, pads)


def _forward(
    x: jax.Array,
    w: jax.Array,
    *settings: Any,
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return convolve(x, w, *settings), (x, w)


def _backward(*args: Any) -> tuple[jax.Array, jax.Array]:
    *settings, (x, w), g = args

    def own_gradient(x: jax.Array, w: jax.Array, g: jax.Array) -> tuple[jax.Array, jax.Array]:
        return gradients(x, w, g, *settings)

    def autodiff(x: jax.Array, w: jax.Array, g: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jax.vjp(lambda x, w: convolve(x, w, *settings), x, w)[1](g)

    return lax.platform_dependent(x, w, g, cpu=own_gradient, default=autodiff)


differentiable_conv.defvjp(_forward, _backward)


def gradients(
    x: jax.Array,
    w: jax.Array,
    g: jax.Array,
    stride: int,
    dilation: int,
    groups: int,
    pads: Pads,
) -> tuple[jax.Array, jax.Array]:
    """Both gradients of a convolution as forward convolutions.

    Args:
      x: the input ``(B, *space, C)``.
      w: its kernel ``(*k, C / groups, O)``.
      g: the gradient of its output ``(B, *space', O)``.
      stride, dilation, groups, pads: of the convolution.

    Returns:
      The gradients of ``x`` and ``w``, in their shapes.
    """
    size = x.shape[1:-1]
    kernel = w.shape[:-2]
    reach = [dilation * (k - 1) for k in kernel]
    rest = []  # rows at the end that a window of this stride no longer reaches
    for n, (lo, hi), r, m in zip(size, pads, reach, g.shape[1:-1], strict=True):
        rest.append(n + lo + hi - r - 1 - stride * (m - 1))
    dx = _input_gradient(g, w, stride, dilation, groups, pads, reach, rest)
    centred = all(lo == hi == k // 2 and k % 2 for (lo, hi), k in zip(pads, kernel, strict=True))
    plain = stride == dilation == groups == 1 and centred
    if plain and g.shape[-1] <= 16 < x.shape[-1]:
        return dx, _kernel_gradient_exchanged(x, g, pads)
    return dx, _kernel_gradient(x, g, stride, dilation, groups, pads, rest)


def _input_gradient(
    g: jax.Array,
    w: jax.Array,
    stride: int,
    dilation: int,
    groups: int,
    pads: Pads,
    reach: Sequence[int],
    rest: Sequence[int],
) -> jax.Array:
    """The gradient of the input: the output's, correlated with the flipped kernel."""
    if stride > 1:  # zeros between the outputs make it the gradient of the stride-1 convolution
        between = [(0, rows, stride - 1) for rows in rest]
        g = lax.pad(g, jnp.zeros((), g.dtype), [(0, 0, 0), *between, (0, 0, 0)])
    opposite = tuple((r - lo, r - hi) for r, (lo, hi) in zip(reach, pads, strict=True))
    return convolve(g, _exchanged(w, groups), 1, dilation, groups, opposite)


# The gradient of the kernel is dw[k, c, o] = sum_{b, s} x[b, stride s + dilation k, c] g[b, s, o]:
# channels are the batch, and the batch is the channels; stride and dilation change places. The
# transpositions are explicit because inside a loop XLA multiplies matrices only for the plain NHWC
# order; given as dimension numbers they cost a factor of 30. The wider of the two is the kernel: up
# to 16 output channels XLA takes a slower routine (11 instead of 6 ms for 32 → 16 channels at
# 4×128²), hence two functions.


def _channels_first(a: jax.Array) -> jax.Array:
    """``(B, *space, C)`` to ``(C, *space, B)``."""
    return a.transpose(-1, *range(1, a.ndim - 1), 0)


def _batch_last(a: jax.Array) -> jax.Array:
    """``(B, *space, C)`` to ``(*space, B, C)``."""
    return a.transpose(*range(1, a.ndim - 1), 0, -1)


def _kernel_gradient_exchanged(x: jax.Array, g: jax.Array, pads: Pads) -> jax.Array:
    """The gradient of the kernel with the input as the kernel, for few output channels."""
    flipped = _batch_last(convolve(_channels_first(g), _batch_last(x), pads=pads))
    return jnp.flip(flipped, tuple(range(x.ndim - 2))).swapaxes(-1, -2)


def _kernel_gradient(
    x: jax.Array,
    g: jax.Array,
    stride: int,
    dilation: int,
    groups: int,
    pads: Pads,
    rest: Sequence[int],
) -> jax.Array:
    """The gradient of the kernel with the output's gradient as the kernel."""
    if groups > 1:
        images = _groups_side_by_side(x, groups)
    else:
        images = _channels_first(x)
    cropped = tuple((lo, hi - rows) for (lo, hi), rows in zip(pads, rest, strict=True))
    return _batch_last(
        convolve(images, _batch_last(g), dilation, 1, groups, cropped, spread=stride)
    )


def _groups_side_by_side(x: jax.Array, groups: int) -> jax.Array:
    """``(B, *space, groups · c)`` to ``(c, *space, groups · B)``.

    Group i of the batch then meets group i of the outputs.
    """
    space = range(2, x.ndim)
    parts = jnp.moveaxis(x.reshape(*x.shape[:-1], groups, -1), -1, 0)
    parts = parts.transpose(0, *space, -1, 1)
    return parts.reshape(*parts.shape[:-2], -1)


def _exchanged(w: jax.Array, groups: int) -> jax.Array:
    """The kernel of the transposed convolution: flipped, inputs and outputs exchanged within each
    group.
    """
    w = jnp.flip(w, range(w.ndim - 2))
    if groups == 1:
        return w.swapaxes(-1, -2)
    *kernel, c, o = w.shape
    parts = w.reshape(*kernel, c, groups, o // groups)
    return jnp.moveaxis(parts, -1, -3).swapaxes(-1, -2).reshape(*kernel, o // groups, groups * c)
