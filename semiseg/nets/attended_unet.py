"""U-Nets whose blocks weigh their own activations: by channel, by channel and place, or along rows
and columns.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from semiseg.nets import layers
from semiseg.nets.unet import Block, UNet


class SqueezeExcite(nnx.Module):
    """Channels times sigmoid(W2 relu(W1 mean over the image)) (Hu et al., CVPR 2018, fig. 2); W1
    has C / reduction outputs.
    """

    def __init__(self, channels: int, reduction: int, dims: int, normals: layers.Normals):
        hidden = max(1, channels // reduction)
        self.squeeze = layers.Conv(channels, hidden, size=1, dims=dims, normals=normals)
        self.excite = layers.Conv(hidden, channels, size=1, dims=dims, normals=normals)

    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        return x * jax.nn.sigmoid(self.logits(jnp.mean(x, range(1, x.ndim - 1), keepdims=True)))

    def logits(self, pooled: jax.Array) -> jax.Array:
        """``(B, 1 …, C)`` to the same, before the sigmoid."""
        return self.excite(jax.nn.relu(self.squeeze(pooled)))


class CBAM(nnx.Module):
    """Channel attention, then a map of the image (Woo et al., ECCV 2018, fig. 2).

    Channel attention is from mean and maximum through one shared pair of layers; the map is from a
    7×7 convolution on the mean and maximum over channels. Difference: that convolution has a bias
    and no norm.
    """

    def __init__(self, channels: int, reduction: int, dims: int, normals: layers.Normals):
        self.channel = SqueezeExcite(channels, reduction, dims, normals)
        self.place = layers.Conv(2, 1, size=7, dims=dims, normals=normals)

    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        space = tuple(range(1, x.ndim - 1))
        from_mean = self.channel.logits(jnp.mean(x, space, keepdims=True))
        from_max = self.channel.logits(jnp.max(x, space, keepdims=True))
        x = x * jax.nn.sigmoid(from_mean + from_max)
        profile = [jnp.mean(x, -1, keepdims=True), jnp.max(x, -1, keepdims=True)]
        return x * jax.nn.sigmoid(self.place(jnp.concatenate(profile, -1)))


class CoordinateAttention(nnx.Module):
    """Weights along every axis from the means over the other axes (Hou, Zhou & Feng, CVPR 2021,
    fig. 2c).

    The means share a 1×1 convolution, norm and hard swish; each then weighs its axis. The axes meet
    in one norm, as in the paper, which concatenates them; any number of axes.
    """

    def __init__(self, net: UNet, channels: int, reduction: int, normals: layers.Normals):
        hidden = max(1, channels // reduction)
        pointwise = functools.partial(layers.Conv, size=1, dims=net.dims, normals=normals)
        self.conv = pointwise(channels, hidden, bias=net.norm == "none")
        self.norm = net.normalisation(hidden)
        for axis in range(net.dims):
            setattr(self, f"axis{axis}", pointwise(hidden, channels))

    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        space = range(1, x.ndim - 1)
        profiles = [_profile(x, axis) for axis in space]
        lines = [jnp.moveaxis(p, axis, 1) for axis, p in zip(space, profiles, strict=True)]
        line = self.conv(jnp.concatenate(lines, 1))
        line = jax.nn.hard_swish(self.norm(line, train))
        start = 0
        gates = []
        for axis in space:
            end = start + x.shape[axis]
            part = jax.lax.slice_in_dim(line, start, end, axis=1)
            conv = getattr(self, f"axis{axis - 1}")
            gates.append(jax.nn.sigmoid(conv(jnp.moveaxis(part, 1, axis))))
            start = end
        for gate in gates:
            x = x * gate
        return x


def _profile(x: jax.Array, axis: int) -> jax.Array:
    """Means along ``axis``: over every other axis of the image, which becomes 1 pixel long."""
    others = [other for other in range(1, x.ndim - 1) if other != axis]
    return jnp.mean(x, others, keepdims=True)


class _Attended(nnx.Module):
    """A U-Net's block, then attention."""

    def __init__(self, block: Block, attention: Any):
        self.block = block
        self.attention = attention

    def __call__(self, x: jax.Array, train: bool, key: jax.Array | None) -> jax.Array:
        return self.attention(self.block(x, train, key), train)


@dataclasses.dataclass(frozen=True)
class SEUNet(UNet):
    """U-Net with squeeze and excitation (Hu et al., CVPR 2018) after every block of encoder and
    decoder. That is its place in Roy et al. (MICCAI 2018, fig. 1). Every other field and difference
    is UNet's.

    Attributes:
      reduction: channels of a block per channel of its bottleneck (16 in Hu et al., 2 in Roy et
        al.).
    """

    reduction: int = 8

    def stage(
        self,
        channels: int,
        out: int,
        rate: float,
        stride: int,
        normals: layers.Normals,
        *,
        first: bool = False,
    ) -> nnx.Module:
        block = Block(self, channels, out, rate, stride, normals)
        return _Attended(block, self.attention(out, normals))

    def attention(self, channels: int, normals: layers.Normals) -> nnx.Module:
        """What follows a block, called with ``(x, train)``."""
        return SqueezeExcite(channels, self.reduction, self.dims, normals)


@dataclasses.dataclass(frozen=True)
class CBAMUNet(SEUNet):
    """U-Net with the convolutional block attention module (Woo et al., ECCV 2018) after every block
    of encoder and decoder. Its map of places comes from a 7×7 convolution with a bias and no norm.
    Every other field and difference is UNet's.

    Attributes:
      reduction: channels of a block per channel of its bottleneck (16 in the paper).
    """

    def attention(self, channels: int, normals: layers.Normals) -> nnx.Module:
        return CBAM(channels, self.reduction, self.dims, normals)


@dataclasses.dataclass(frozen=True)
class CoordinateUNet(SEUNet):
    """U-Net with coordinate attention (Hou, Zhou & Feng, CVPR 2021) after every block of encoder
    and decoder. Padding is seen by the means along an axis, as it is by every mean over the image.
    Every other field and difference is UNet's.

    Attributes:
      reduction: channels of a block per channel of its bottleneck (32 in the paper).
    """

    def attention(self, channels: int, normals: layers.Normals) -> nnx.Module:
        return CoordinateAttention(self, channels, self.reduction, normals)
