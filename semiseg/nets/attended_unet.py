"""U-Nets whose blocks weigh their own activations: by channel, by channel and place, or along rows
and columns.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from semiseg.nets import layers
from semiseg.nets.unet import Block, UNet


class SqueezeExcite(nnx.Module):
    """Hu et al., CVPR 2018 (fig. 2): channels times sigmoid(W2 relu(W1 mean over the image)); W1
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
    """Woo et al., ECCV 2018 (fig. 2): channel attention from mean and maximum through one shared
    pair of layers, then a map of the image from a 7×7 convolution on the mean and maximum over
    channels. Difference: that convolution has a bias and no norm.
    """

    def __init__(self, channels: int, reduction: int, dims: int, normals: layers.Normals):
        self.channel = SqueezeExcite(channels, reduction, dims, normals)
        self.place = layers.Conv(2, 1, size=7, dims=dims, normals=normals)

    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        space = tuple(range(1, x.ndim - 1))
        pooled = [self.channel.logits(f(x, space, keepdims=True)) for f in (jnp.mean, jnp.max)]
        x = x * jax.nn.sigmoid(pooled[0] + pooled[1])
        return x * jax.nn.sigmoid(
            self.place(jnp.concatenate([f(x, -1, keepdims=True) for f in (jnp.mean, jnp.max)], -1))
        )


class CoordinateAttention(nnx.Module):
    """Hou, Zhou & Feng, CVPR 2021 (fig. 2c): means along each axis share a 1×1 convolution, norm
    and hard swish; each then weighs its axis.

    The axes meet in one norm, as in the paper, which concatenates them; any number of axes.
    """

    def __init__(self, net: UNet, channels: int, reduction: int, normals: layers.Normals):
        hidden = max(1, channels // reduction)
        self.conv = layers.Conv(
            channels, hidden, size=1, dims=net.dims, bias=net.norm == "none", normals=normals
        )
        self.norm = None if net.norm == "none" else net.normalisation(hidden)
        for axis in range(net.dims):
            setattr(
                self,
                f"axis{axis}",
                layers.Conv(hidden, channels, size=1, dims=net.dims, normals=normals),
            )

    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        space = range(1, x.ndim - 1)
        profiles = [jnp.mean(x, [a for a in space if a != axis], keepdims=True) for axis in space]
        line = jnp.concatenate([jnp.moveaxis(p, axis, 1) for axis, p in zip(space, profiles)], 1)
        line = self.conv(line)
        line = jax.nn.hard_swish(line if self.norm is None else self.norm(line, train))
        start, gates = 0, []
        for axis in space:
            part = jax.lax.slice_in_dim(line, start, start + x.shape[axis], axis=1)
            gates.append(
                jax.nn.sigmoid(getattr(self, f"axis{axis - 1}")(jnp.moveaxis(part, 1, axis)))
            )
            start += x.shape[axis]
        for gate in gates:
            x = x * gate
        return x


class _Attended(nnx.Module):
    def __init__(self, block: Block, attention: Any):
        self.block, self.attention = block, attention

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
        return _Attended(
            Block(self, channels, out, rate, stride, normals), self.attention(out, normals)
        )

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
