"""The convolution that the layers call, and its gradient in a form that is fast on a CPU.

XLA loses its fast path for transposed convolutions inside a loop: a U-Net step takes 6.7 s instead
of 0.2 s, and one with 64 groups 1075 instead of 30 ms at 8×32². On a CPU both gradients are
therefore written as forward convolutions. It has no fast path for three spatial axes: a 3×3×3
convolution of 16 to 8 channels takes 126 instead of 9 ms at 2×32×48×40. On a CPU it is therefore
written as one convolution of planes. Other devices take JAX's own operations, which their
libraries recognise. All are tested to give the same numbers.
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
    """A convolution of any rank, channels last.

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

    def one_operation(x: jax.Array, w: jax.Array) -> jax.Array:
        return _convolve(x, w, stride, dilation, groups, pads, spread)

    def planes(x: jax.Array, w: jax.Array) -> jax.Array:
        return convolve_planes(x, w, stride, dilation, pads, spread)

    if x.ndim != 5 or groups > 1:
        return one_operation(x, w)
    return lax.platform_dependent(x, w, cpu=planes, default=one_operation)


def _convolve(
    x: jax.Array,
    w: jax.Array,
    stride: int,
    dilation: int,
    groups: int,
    pads: Pads,
    spread: int,
) -> jax.Array:
    """:func:`convolve` as one operation of XLA."""
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


def convolve_planes(
    x: jax.Array,
    w: jax.Array,
    stride: int,
    dilation: int,
    pads: Pads,
    spread: int = 1,
) -> jax.Array:
    """:func:`convolve` of a volume as one convolution of its planes.

    The planes that a window reaches stand side by side as channels, and all planes of all volumes
    are one batch.

    Args:
      x: ``(B, D, H, W, C)``.
      w: ``(k, k, k, C, O)``.
      stride, dilation, pads, spread: of the convolution.

    Returns:
      ``(B, D', H', W', O)``.

    Example:
      >>> padded = ((1, 1),) * 3
      >>> convolve_planes(jnp.ones((1, 4, 6, 8, 2)), jnp.ones((3, 3, 3, 2, 5)), 1, 1, padded).shape
      (1, 4, 6, 8, 5)
    """
    planes = _neighbours(x, len(w), stride, dilation * spread, pads[0])
    kernel = jnp.moveaxis(w, 0, 2)
    kernel = kernel.reshape(*kernel.shape[:2], -1, kernel.shape[-1])
    y = _convolve(_as_images(planes), kernel, stride, dilation, 1, pads[1:], spread)
    return y.reshape(*planes.shape[:2], *y.shape[1:])


def _neighbours(
    x: jax.Array, taps: int, stride: int, distance: int, pad: tuple[int, int]
) -> jax.Array:
    """``(B, D, H, W, C)`` to ``(B, D', H, W, taps · C)``: beside each plane those that a window
    along D reaches.
    """
    rest = [(0, 0, 0)] * (x.ndim - 2)
    x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), (*pad, 0), *rest])
    last = x.shape[1] - distance * (taps - 1)
    starts = [distance * tap for tap in range(taps)]
    shifted = [lax.slice_in_dim(x, start, start + last, stride, axis=1) for start in starts]
    return jnp.concatenate(shifted, -1)


def _as_images(volumes: jax.Array) -> jax.Array:
    """``(B, D, H, W, C)`` to ``(B · D, H, W, C)``."""
    return volumes.reshape(-1, *volumes.shape[2:])


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
    if x.ndim == 5 and groups == 1:
        if plain and g.shape[-1] < x.shape[-1]:
            return dx, _kernel_gradient_of_outputs(x, g, pads)
        return dx, _kernel_gradient_of_planes(x, g, len(w), stride, dilation, pads, rest)
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


# Of a volume's kernel, as in convolve_planes, with the input's or with the output's planes side by
# side. The fewer channels are put side by side: 18 instead of 42 ms for 16 → 8 channels at
# 2×32×48×40.


def _kernel_gradient_of_planes(
    x: jax.Array,
    g: jax.Array,
    taps: int,
    stride: int,
    dilation: int,
    pads: Pads,
    rest: Sequence[int],
) -> jax.Array:
    """The gradient of a kernel ``(k, k, k, C, O)`` from the input's planes."""
    planes = _neighbours(x, taps, stride, dilation, (pads[0][0], pads[0][1] - rest[0]))
    dw = _kernel_gradient(
        _as_images(planes), _as_images(g), stride, dilation, 1, pads[1:], rest[1:]
    )
    return jnp.moveaxis(dw.reshape(*dw.shape[:2], taps, -1, dw.shape[-1]), 2, 0)


def _kernel_gradient_of_outputs(x: jax.Array, g: jax.Array, pads: Pads) -> jax.Array:
    """The gradient of a centred kernel ``(k, k, k, C, O)`` from the output's planes."""
    taps = 2 * pads[0][0] + 1
    planes = _neighbours(g, taps, 1, 1, pads[0])
    dw = _kernel_gradient_exchanged(_as_images(x), _as_images(planes), pads[1:])
    dw = dw.reshape(*dw.shape[:-1], taps, -1)
    return jnp.flip(jnp.moveaxis(dw, -2, 0), 0)


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
