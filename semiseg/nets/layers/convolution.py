"""Convolutions: functions first, then the modules that hold their variables.

Everything is channels last and takes any number of spatial axes, ``(B, H, W, C)`` or ``(B, D, H, W,
C)``. The formulations are those that XLA compiles well on a CPU, also inside ``lax.scan``; each is
tested to give the numbers of lax and of autodiff.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from semiseg.nets.layers.conv_gradient import Pads, differentiable_conv
from semiseg.nets.layers.linear import add_bias, zero_bias
from semiseg.nets.layers.norm import NormKind, make_norm
from semiseg.nets.layers.normals import Normals
from semiseg.nets.layers.patches import cut, join


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

    Its gradient is that of :mod:`semiseg.nets.layers.conv_gradient`.

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

    Raises:
      ValueError: the kernel is even or of another rank.

    Example:
      >>> conv(jnp.ones((1, 7, 8, 2)), jnp.ones((3, 3, 2, 5)), stride=2).shape
      (1, 4, 4, 5)
    """
    size = kernel.shape[:-2]
    even = pads is None and any(k % 2 == 0 for k in size)
    if kernel.ndim != x.ndim or even:
        raise ValueError(
            f"conv: kernel {kernel.shape} must be odd and have the rank of the input {x.shape}"
        )
    if groups == 1 and pads is None and math.prod(size) == 1:
        every = [slice(None, None, stride)] * len(size)
        return x[(slice(None), *every)] @ kernel.reshape(kernel.shape[-2:])
    if not pads:
        pads = tuple((dilation * (k // 2),) * 2 for k in size)
    return differentiable_conv(x, kernel, stride, dilation, groups, pads)


def transposed_conv(x: jax.Array, kernel: jax.Array, stride: int = 2) -> jax.Array:
    """Transposed convolution whose windows may overlap.

    The correlation of ``kernel`` with the input after ``stride − 1`` zeros have followed each of
    its pixels. For stride 2 it is PyTorch's ``ConvTranspose(k, 2, padding=(k - 1) // 2,
    output_padding=k % 2)``, whose kernel is stored flipped.

    Args:
      x: ``(B, *space, C)``.
      kernel: ``(*k, C, O)``.

    Returns:
      ``(B, *(stride · space), O)``.

    Example:
      >>> transposed_conv(jnp.ones((1, 4, 5, 2)), jnp.ones((3, 3, 2, 6))).shape
      (1, 8, 10, 6)
    """
    between = [(0, stride - 1, stride - 1)] * (x.ndim - 2)
    spread = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *between, (0, 0, 0)])
    return conv(spread, kernel, pads=tuple((k // 2, (k - 1) // 2) for k in kernel.shape[:-2]))


def down_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolution whose stride is its kernel, as space-to-depth and a matrix product.

    Args:
      x: ``(B, *space, C)``.
      kernel: ``(*k, C, O)``.

    Returns:
      ``(B, *space / k, O)``.

    Raises:
      ValueError: a size is no multiple of the kernel's.

    Example:
      >>> down_conv(jnp.ones((1, 4, 6, 2)), jnp.ones((2, 2, 2, 5)))[0, 0, 0].tolist()
      [8.0, 8.0, 8.0, 8.0, 8.0]
    """
    *factor, _, out = kernel.shape
    if any(n % k for n, k in zip(x.shape[1:-1], factor, strict=True)):
        raise ValueError(f"down_conv: sizes of {x.shape} must be multiples of {tuple(factor)}")
    y = cut(x, factor)
    return y.reshape(*y.shape[: len(factor) + 1], -1) @ kernel.reshape(-1, out)


def up_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Transposed convolution whose stride is its kernel, as a matrix product and depth-to-space.

    Args:
      x: ``(B, *space, C)``.
      kernel: ``(*k, C, O)``; output pixel ``k·s + i`` is ``x[s] @ kernel[i]``.

    Returns:
      ``(B, *(space · k), O)``.

    Example:
      >>> up_conv(jnp.ones((1, 4, 6, 3)), jnp.ones((2, 2, 3, 5))).shape
      (1, 8, 12, 5)
    """
    *factor, channels, out = kernel.shape
    y = x @ jnp.moveaxis(kernel, -2, 0).reshape(channels, -1)
    return join(y.reshape(*x.shape[:-1], *factor, out))


class Conv(nnx.Module):
    """:func:`conv` with He initialisation. Variables: kernel ``(*k, C / groups, O)``, bias ``(O,)``
    unless a norm follows.

    ``size`` is one number, or one an axis.
    """

    def __init__(
        self,
        channels: int,
        out: int,
        *,
        size: int | Sequence[int] = 3,
        dims: int = 2,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
        normals: Normals,
    ):
        if channels % groups or out % groups:
            raise ValueError(
                f"Conv: {groups} groups must divide {channels} channels and {out} outputs"
            )
        if isinstance(size, int):
            size = (size,) * dims
        inputs = channels // groups
        self.stride = stride
        self.dilation = dilation
        self.groups = groups
        self.kernel = nnx.Param(normals.he((*size, inputs, out), inputs * math.prod(size)))
        self.bias = zero_bias(out, bias)

    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.kernel[...].astype(x.dtype)
        y = conv(x, kernel, self.stride, dilation=self.dilation, groups=self.groups)
        return add_bias(y, self.bias)


class UpConv(nnx.Module):
    """Transposed convolution whose stride is its kernel, see :func:`up_conv`. Variables: kernel
    ``(*factor, C, O)``, bias ``(O,)``.

    ``factor`` is one number, or one an axis.
    """

    def __init__(
        self,
        channels: int,
        out: int,
        *,
        factor: int | Sequence[int] = 2,
        dims: int = 2,
        bias: bool = True,
        normals: Normals,
    ):
        if isinstance(factor, int):
            factor = (factor,) * dims
        self.kernel = nnx.Param(normals.he((*factor, channels, out), channels))
        self.bias = zero_bias(out, bias)

    def __call__(self, x: jax.Array) -> jax.Array:
        return add_bias(up_conv(x, self.kernel[...].astype(x.dtype)), self.bias)


class TransposedConv(nnx.Module):
    """:func:`transposed_conv` of stride 2. Variables: kernel ``(*k, C, O)``, bias ``(O,)`` unless a
    norm follows.
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
        shape = (*(size,) * dims, channels, out)
        self.kernel = nnx.Param(normals.he(shape, channels * size**dims / 2**dims))
        self.bias = zero_bias(out, bias)

    def __call__(self, x: jax.Array) -> jax.Array:
        return add_bias(transposed_conv(x, self.kernel[...].astype(x.dtype)), self.bias)


class DownConv(nnx.Module):
    """2×2 (2×2×2) convolution of stride 2, see :func:`down_conv`. Variables: kernel ``(*2, C, O)``,
    bias ``(O,)`` unless a norm follows.
    """

    def __init__(
        self,
        channels: int,
        out: int,
        *,
        dims: int = 2,
        bias: bool = True,
        normals: Normals,
    ):
        self.kernel = nnx.Param(normals.he((*(2,) * dims, channels, out), channels * 2**dims))
        self.bias = zero_bias(out, bias)

    def __call__(self, x: jax.Array) -> jax.Array:
        return add_bias(down_conv(x, self.kernel[...].astype(x.dtype)), self.bias)


class ConvNorm(nnx.Module):
    """Convolution, norm, activation: the unit that most networks are made of.

    Variables: conv, and norm unless its kind is ``none``. ``act`` None leaves the activation out.
    """

    def __init__(
        self,
        channels: int,
        out: int,
        kind: NormKind,
        act: Callable[[jax.Array], jax.Array] | None = jax.nn.relu,
        *,
        size: int | Sequence[int] = 3,
        dims: int = 2,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        normals: Normals,
    ):
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
        self.norm = make_norm(out, kind)

    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        x = self.norm(self.conv(x), train)
        if self.act is None:
            return x
        return self.act(x)
