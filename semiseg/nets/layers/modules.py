"""Layers of the networks: functional cores first, then the flax.nnx modules that hold their
variables.

Everything is channels last and takes any number of spatial axes, ``(B, H, W, C)`` or ``(B, D, H, W,
C)``. The formulations are those that XLA compiles well on a CPU, also inside ``lax.scan``; each is
tested to give the numbers of lax and of autodiff.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

NormKind = Literal["batch", "instance", "group", "none"]


# ------------------------------------------------------------------ convolution
Pads = tuple[tuple[int, int], ...]


def _conv(
    x: jax.Array,
    w: jax.Array,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    pads: Pads = (),
    spread: int = 1,
) -> jax.Array:
    """``stride`` of the window, ``dilation`` of the kernel; ``spread`` times that dilation where
    the kernel is the gradient of a stride.
    """
    space = "DHW"[-(x.ndim - 2) :]
    dims = (f"N{space}C", f"{space}IO", f"N{space}C")
    n = len(space)
    return lax.conv_general_dilated(
        x,
        w,
        (stride,) * n,
        pads,
        rhs_dilation=(dilation * spread,) * n,
        dimension_numbers=dims,
        feature_group_count=groups,
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4, 5))
def _conv_cpu(
    x: jax.Array, w: jax.Array, stride: int, dilation: int, groups: int, pads: Pads
) -> jax.Array:
    return _conv(x, w, stride, dilation, groups, pads)


def _conv_forward(
    x: jax.Array, w: jax.Array, *how: Any
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _conv(x, w, *how), (x, w)


def _conv_backward(*args: Any) -> tuple[jax.Array, jax.Array]:
    *how, (x, w), g = args

    def autodiff(x: jax.Array, w: jax.Array, g: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jax.vjp(lambda x, w: _conv(x, w, *how), x, w)[1](g)

    return lax.platform_dependent(
        x, w, g, cpu=lambda *a: _forward_gradients(*how, *a), default=autodiff
    )


def _forward_gradients(
    stride: int, dilation: int, groups: int, pads: Pads, x: jax.Array, w: jax.Array, g: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Both gradients of a convolution as plain forward convolutions."""
    size, kernel = x.shape[1:-1], w.shape[:-2]
    space = tuple(range(len(kernel)))
    reach = [dilation * (k - 1) for k in kernel]
    # rows at the end that a window of this stride no longer reaches
    rest = [
        n + lo + hi - r - 1 - stride * (m - 1)
        for n, (lo, hi), r, m in zip(size, pads, reach, g.shape[1:-1])
    ]
    stuffed = g
    if stride > 1:  # zeros between the outputs make it the gradient of the stride-1 convolution
        stuffed = lax.pad(
            g, jnp.zeros((), g.dtype), [(0, 0, 0), *((0, s, stride - 1) for s in rest), (0, 0, 0)]
        )
    dx = _conv(
        stuffed,
        _exchanged(w, groups),
        1,
        dilation,
        groups,
        tuple((r - lo, r - hi) for r, (lo, hi) in zip(reach, pads)),
    )
    # dw[k, c, o] = sum_{b, s} x[b, stride s + dilation k, c] g[b, s, o]: channels are the batch,
    # and the batch is the channels; stride and
    # dilation change places. The transposes are explicit because inside a loop XLA multiplies
    # matrices only for the plain NHWC order; given
    # as dimension numbers they cost a factor of 30. The wider of the two is the kernel: up to 16
    # output channels XLA takes a slower routine
    # (11 instead of 6 ms for 32 → 16 channels at 4×128²).
    order = [d + 1 for d in space]
    first, last = lambda a: a.transpose(-1, *order, 0), lambda a: a.transpose(*order, 0, -1)
    same = all(lo == hi == k // 2 and k % 2 for (lo, hi), k in zip(pads, kernel))
    if stride == dilation == groups == 1 and same and g.shape[-1] <= 16 < x.shape[-1]:
        return dx, jnp.flip(last(_conv(first(g), last(x), pads=pads)), space).swapaxes(-1, -2)
    if (
        groups > 1
    ):  # the images of a group side by side: group i of the batch meets group i of the outputs
        parts = jnp.moveaxis(x.reshape(*x.shape[:-1], groups, -1), -1, 0).transpose(
            0, *(d + 2 for d in space), -1, 1
        )
        x_first = parts.reshape(*parts.shape[:-2], -1)
    else:
        x_first = first(x)
    return dx, last(
        _conv(
            x_first,
            last(g),
            dilation,
            1,
            groups,
            tuple((lo, hi - s) for (lo, hi), s in zip(pads, rest)),
            spread=stride,
        )
    )


def _exchanged(w: jax.Array, groups: int) -> jax.Array:
    """The kernel of the transposed convolution: flipped, inputs and outputs exchanged within each
    group.
    """
    w = jnp.flip(w, range(w.ndim - 2))
    if groups == 1:
        return w.swapaxes(-1, -2)
    *k, c, o = w.shape
    parts = w.reshape(*k, c, groups, o // groups)
    return jnp.moveaxis(parts, -1, -3).swapaxes(-1, -2).reshape(*k, o // groups, groups * c)


_conv_cpu.defvjp(_conv_forward, _conv_backward)


def conv(
    x: jax.Array,
    kernel: jax.Array,
    stride: int = 1,
    *,
    dilation: int = 1,
    groups: int = 1,
    pads: Pads | None = None,
) -> jax.Array:
    """Convolution (cross-correlation, as everywhere in deep learning), zero padded by ``dilation ·
    (k // 2)`` on both sides.

    On a CPU its gradient is written as two forward convolutions, because XLA loses its fast path
    for the transposed ones inside a loop (a U-Net step of 6.7 s instead of .2 s; with 64 groups
    1075 instead of 30 ms at 8×32²); other devices take JAX's own gradient, which their libraries
    recognise.

    Args:
      x: ``(B, *space, C)`` with 1 to 3 spatial axes.
      kernel: ``(*k, C / groups, O)``, every ``k`` odd unless ``pads`` are given. All ones is a
        matrix product.
      stride: the same along every axis.
      dilation: distance of the kernel's taps, the same along every axis (à trous).
      groups: channels and outputs are split into this many independent convolutions.
      pads: zeros before and after each axis, in place of the default.

    Returns:
      ``(B, *ceil(space / stride), O)``.
    """
    if kernel.ndim != x.ndim or (pads is None and any(k % 2 == 0 for k in kernel.shape[:-2])):
        raise ValueError(
            f"conv: kernel {kernel.shape} must be odd and have the rank of the input {x.shape}"
        )
    if groups == 1 and pads is None and math.prod(kernel.shape[:-2]) == 1:
        every = (slice(None), *(slice(None, None, stride) for _ in x.shape[1:-1]))
        return x[every] @ kernel.reshape(kernel.shape[-2:])
    return _conv_cpu(
        x,
        kernel,
        stride,
        dilation,
        groups,
        pads or tuple((dilation * (k // 2),) * 2 for k in kernel.shape[:-2]),
    )


def transposed_conv(x: jax.Array, kernel: jax.Array, stride: int = 2) -> jax.Array:
    """Transposed convolution whose windows may overlap, with an output of ``stride`` times the
    input's size.

    The correlation of ``kernel`` with the input after ``stride − 1`` zeros have followed each of
    its pixels. For stride 2 it is PyTorch's ``ConvTranspose(k, 2, padding=(k - 1) // 2,
    output_padding=k % 2)``, whose kernel is stored flipped.

    Args:
      x: ``(B, *space, C)``.
      kernel: ``(*k, C, O)``.
    """
    spread = lax.pad(
        x,
        jnp.zeros((), x.dtype),
        [(0, 0, 0), *((0, stride - 1, stride - 1),) * (x.ndim - 2), (0, 0, 0)],
    )
    return conv(spread, kernel, pads=tuple((k // 2, (k - 1) // 2) for k in kernel.shape[:-2]))


def down_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolution whose stride is its kernel, as space-to-depth and a matrix product; sizes must be
    multiples of the kernel's.

    Args:
      x: ``(B, *space, C)``.
      kernel: ``(*k, C, O)``.

    Returns:
      ``(B, *space / k, O)``.
    """
    *factor, c, o = kernel.shape
    d = len(factor)
    if any(n % k for n, k in zip(x.shape[1:-1], factor)):
        raise ValueError(f"down_conv: sizes of {x.shape} must be multiples of {tuple(factor)}")
    y = x.reshape(x.shape[0], *(v for n, k in zip(x.shape[1:-1], factor) for v in (n // k, k)), c)
    y = y.transpose(0, *(1 + 2 * i for i in range(d)), *(2 + 2 * i for i in range(d)), 1 + 2 * d)
    return y.reshape(*y.shape[: d + 1], -1) @ kernel.reshape(-1, o)


def up_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Transposed convolution whose stride is its kernel, as a matrix product and depth-to-space.

    Args:
      x: ``(B, *space, C)``.
      kernel: ``(*k, C, O)``; output pixel ``k·s + i`` is ``x[s] @ kernel[i]``.

    Returns:
      ``(B, *(space · k), O)``.
    """
    *factor, c, o = kernel.shape
    d = len(factor)
    y = x @ jnp.moveaxis(kernel, -2, 0).reshape(c, -1)
    y = y.reshape(*x.shape[:-1], *factor, o)
    order = [0, *(a for i in range(d) for a in (1 + i, 1 + d + i)), 1 + 2 * d]
    return y.transpose(order).reshape(
        x.shape[0], *(n * k for n, k in zip(x.shape[1:-1], factor)), o
    )


def max_pool(x: jax.Array) -> jax.Array:
    """Maximum over blocks of 2 along every spatial axis; sizes must be even. ``(B, *space, C)`` to
    ``(B, *space / 2, C)``.

    Pairwise maxima of a reshaped array: their gradient is an elementwise choice instead of a
    scatter (40 → 1.3 ms at 8×128²×16). Where two pixels tie they share the gradient.
    """
    for axis in range(1, x.ndim - 1):
        if x.shape[axis] % 2:
            raise ValueError(f"max_pool: sizes must be even, got {x.shape}")
        blocks = x.reshape(*x.shape[:axis], x.shape[axis] // 2, 2, *x.shape[axis + 1 :])
        x = jnp.maximum(*(lax.index_in_dim(blocks, i, axis + 1, keepdims=False) for i in (0, 1)))
    return x


# ------------------------------------------------------------------ normalisation and dropout
def _along_channels(v: jax.Array, ndim: int) -> jax.Array:
    """``(C,)`` or ``(B, C)`` shaped to broadcast against ``(B, *space, C)``."""
    return v.reshape(v.shape[0] if v.ndim == 2 else 1, *(1,) * (ndim - 2), v.shape[-1])


def moments(x: jax.Array, kind: NormKind, groups: int = 1) -> tuple[jax.Array, jax.Array]:
    """Mean and biased variance, float32: ``(C,)`` for batch norm, ``(B, C)`` for instance norm and
    (equal within a group) group norm.

    One pass, E[x²] − E[x]². Rounding may make that negative where a channel is constant, hence the
    clamp.
    """
    x = x.astype(jnp.float32)
    axes = tuple(range(0 if kind == "batch" else 1, x.ndim - 1))
    mean, square = jnp.mean(x, axes), jnp.mean(x * x, axes)
    if kind == "group":
        b, c = mean.shape
        mean, square = (
            jnp.repeat(v.reshape(b, groups, c // groups).mean(-1), c // groups, 1)
            for v in (mean, square)
        )
    return mean, jnp.maximum(square - mean * mean, 0)


def normalize(
    x: jax.Array, mean: jax.Array, var: jax.Array, scale: jax.Array, bias: jax.Array, eps: float
) -> jax.Array:
    """``scale · (x − mean) / sqrt(var + eps) + bias`` as one multiply and add in float32; keeps the
    dtype of ``x``.
    """
    gain = lax.rsqrt(var + eps) * (scale if var.ndim == 1 else scale[None])
    shift = (bias if var.ndim == 1 else bias[None]) - mean * gain
    return (
        x.astype(jnp.float32) * _along_channels(gain, x.ndim) + _along_channels(shift, x.ndim)
    ).astype(x.dtype)


def dropout(x: jax.Array, rate: float, key: jax.Array | None, spatial: bool = False) -> jax.Array:
    """Zeroes elements (or, if ``spatial``, whole channels of an image) with probability ``rate``
    and scales the rest; none without a key.

    The probability is rounded to a multiple of 2⁻¹⁶ (half the random bits of a uniform draw), and
    the scale is exact for the rounded one.
    """
    if key is None or rate == 0:
        return x
    threshold = round(rate * 2**16)
    shape = (x.shape[0], *(1,) * (x.ndim - 2), x.shape[-1]) if spatial else x.shape
    keep = jax.random.bits(key, shape, jnp.uint16) >= threshold
    return jnp.where(keep, x * (2**16 / (2**16 - threshold)), jnp.zeros((), x.dtype))


# ------------------------------------------------------------------ modules
class Normals:
    """Hands a network's layers consecutive pieces of ONE normal draw: a draw for each layer takes
    seconds to compile.

    Without a source it hands out zeros and counts (``used``) how long the draw must be. Layers of
    flax that draw for themselves take :meth:`rngs`.
    """

    def __init__(self, source: jax.Array | None = None, key: jax.Array | None = None):
        self.source = source
        self.key = key
        self.used = 0
        self.calls = 0

    def rngs(self) -> nnx.Rngs:
        """Keys for layers of flax, ``nnx.Conv(..., rngs=normals.rngs())``: they follow the seed.

        Every call gives a new stream, so that two layers never start alike.
        """
        key = jax.random.key(0) if self.key is None else self.key
        self.calls += 1
        return nnx.Rngs(jax.random.fold_in(key, self.calls))

    def he(self, shape: Sequence[int], fan_in: float) -> jax.Array:
        """He et al. 2015: normal with variance ``2 / fan_in``."""
        return self.normal(shape, math.sqrt(2 / fan_in))

    def normal(self, shape: Sequence[int], std: float) -> jax.Array:
        """Normal with standard deviation ``std``."""
        start, self.used = self.used, self.used + math.prod(shape)
        if self.source is None:
            return jnp.zeros(tuple(shape))
        return self.source[start : self.used].reshape(tuple(shape)) * std


class Conv(nnx.Module):
    """Odd convolution with He initialisation. Variables: kernel ``(*k, C / groups, O)``, bias
    ``(O,)`` unless a norm follows.

    ``size`` is one number, or one an axis.
    """

    def __init__(
        self, channels: int, out: int, *, size: int | Sequence[int] = 3, dims: int = 2, stride: int = 1, dilation: int = 1, groups: int = 1,
        bias: bool = True, normals: Normals,
    ):  # fmt: skip
        if channels % groups or out % groups:
            raise ValueError(
                f"Conv: {groups} groups must divide {channels} channels and {out} outputs"
            )
        self.stride, self.dilation, self.groups = stride, dilation, groups
        sizes = (size,) * dims if isinstance(size, int) else tuple(size)
        self.kernel = nnx.Param(
            normals.he((*sizes, channels // groups, out), channels // groups * math.prod(sizes))
        )
        self.bias = nnx.Param(jnp.zeros(out)) if bias else None

    def __call__(self, x: jax.Array) -> jax.Array:
        y = conv(
            x,
            self.kernel[...].astype(x.dtype),
            self.stride,
            dilation=self.dilation,
            groups=self.groups,
        )
        return (
            y if self.bias is None else y + _along_channels(self.bias[...].astype(x.dtype), x.ndim)
        )


class UpConv(nnx.Module):
    """2×2 (2×2×2) transposed convolution of stride 2. Variables: kernel ``(*2, C, O)``, bias
    ``(O,)``.
    """

    def __init__(self, channels: int, out: int, *, dims: int = 2, normals: Normals):
        self.kernel = nnx.Param(normals.he((*(2,) * dims, channels, out), channels))
        self.bias = nnx.Param(jnp.zeros(out))

    def __call__(self, x: jax.Array) -> jax.Array:
        return up_conv(x, self.kernel[...].astype(x.dtype)) + _along_channels(
            self.bias[...].astype(x.dtype), x.ndim
        )


class TransposedConv(nnx.Module):
    """Transposed convolution of stride 2, see :func:`transposed_conv`. Variables: kernel ``(*k, C,
    O)``, bias ``(O,)`` unless a norm follows.
    """

    def __init__(
        self,
        channels: int,
        out: int,
        *,
        size: int = 3,
        dims: int = 2,
        bias: bool = True,
        normals: Normals,
    ):
        self.kernel = nnx.Param(
            normals.he((*(size,) * dims, channels, out), channels * size**dims / 2**dims)
        )
        self.bias = nnx.Param(jnp.zeros(out)) if bias else None

    def __call__(self, x: jax.Array) -> jax.Array:
        y = transposed_conv(x, self.kernel[...].astype(x.dtype))
        return (
            y if self.bias is None else y + _along_channels(self.bias[...].astype(x.dtype), x.ndim)
        )


class DownConv(nnx.Module):
    """2×2 (2×2×2) convolution of stride 2, see :func:`down_conv`. Variables: kernel ``(*2, C, O)``,
    bias ``(O,)`` unless a norm follows.
    """

    def __init__(
        self, channels: int, out: int, *, dims: int = 2, bias: bool = True, normals: Normals
    ):
        self.kernel = nnx.Param(normals.he((*(2,) * dims, channels, out), channels * 2**dims))
        self.bias = nnx.Param(jnp.zeros(out)) if bias else None

    def __call__(self, x: jax.Array) -> jax.Array:
        y = down_conv(x, self.kernel[...].astype(x.dtype))
        return (
            y if self.bias is None else y + _along_channels(self.bias[...].astype(x.dtype), x.ndim)
        )


class Norm(nnx.Module):
    """Normalisation of activations; statistics are float32 whatever the input.

    Kinds: ``batch`` (Ioffe & Szegedy 2015; running statistics, biased variance), ``instance``
    (Ulyanov et al. 2016), ``group`` (Wu & He 2018; the largest number of groups that is at most
    ``groups`` and divides the channels). Variables: scale and bias ``(C,)``; for batch norm also
    mean and var ``(C,)``, replaced while training by ``momentum · old + (1 − momentum) · batch``.
    """

    def __init__(
        self,
        channels: int,
        kind: NormKind,
        *,
        groups: int = 8,
        momentum: float = 0.9,
        eps: float = 1e-5,
    ):
        self.kind, self.momentum, self.eps = kind, momentum, eps
        self.groups = max(g for g in range(1, min(groups, channels) + 1) if channels % g == 0)
        self.scale = nnx.Param(jnp.ones(channels))
        self.bias = nnx.Param(jnp.zeros(channels))
        if kind == "batch":
            self.mean = nnx.BatchStat(jnp.zeros(channels))
            self.var = nnx.BatchStat(jnp.ones(channels))

    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        if self.kind == "batch" and not train:
            mean, var = self.mean[...], self.var[...]
        else:
            mean, var = moments(x, self.kind, self.groups)
        if self.kind == "batch" and train:
            for old, new in ((self.mean, mean), (self.var, var)):
                # not `old[...] = `: that asks a traced array for its sharding, which walks the
                # whole program (80 % of the tracing time of ENet)
                old.set_value(
                    self.momentum * old[...] + (1 - self.momentum) * lax.stop_gradient(new)
                )
        return normalize(x, mean, var, self.scale[...], self.bias[...], self.eps)


class ConvNorm(nnx.Module):
    """Convolution, norm, activation: the unit most networks are made of. Variables: conv, and norm
    unless its kind is ``none``.
    """

    def __init__(
        self, channels: int, out: int, kind: NormKind, act: Callable[[jax.Array], jax.Array] | None = jax.nn.relu, *, size: int | Sequence[int] = 3,
        dims: int = 2, stride: int = 1, dilation: int = 1, groups: int = 1, normals: Normals,
    ):  # fmt: skip
        self.act = act
        self.conv = Conv(
            channels,
            out,
            size=size,
            dims=dims,
            stride=stride,
            dilation=dilation,
            groups=groups,
            bias=kind == "none",
            normals=normals,
        )
        self.norm = Norm(out, kind) if kind != "none" else None

    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        x = self.conv(x)
        x = x if self.norm is None else self.norm(x, train)
        return x if self.act is None else self.act(x)
