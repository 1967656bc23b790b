"""U-Nets of residual blocks: pre-activated ones, and recurrent ones."""

from __future__ import annotations

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx

from semiseg.nets import layers
from semiseg.nets.unet import UNet


class _PreActivated(nnx.Module):
    """x + f(x) with f = (norm, activation, convolution) × convs; where shapes differ, x passes a
    1×1 convolution and norm of the same stride.
    """

    def __init__(
        self,
        net: UNet,
        channels: int,
        out: int,
        rate: float,
        stride: int,
        first: bool,
        normals: layers.Normals,
    ):
        self.net = net
        self.rate = rate
        self.first = first
        self.projects = channels != out or stride > 1
        given = channels
        for i in range(net.convs):
            if not first or i > 0:
                setattr(self, f"norm{i}", net.normalisation(given))
            conv = layers.Conv(
                given,
                out,
                dims=net.dims,
                stride=stride if i == 0 else 1,
                bias=i == net.convs - 1 or net.norm == "none",
                normals=normals,
            )
            setattr(self, f"conv{i}", conv)
            given = out
        if self.projects:
            self.shortcut = layers.Conv(
                channels,
                out,
                size=1,
                dims=net.dims,
                stride=stride,
                bias=False,
                normals=normals,
            )
            self.shortcut_norm = net.normalisation(out)

    def __call__(self, x: jax.Array, train: bool, key: jax.Array | None) -> jax.Array:
        y = x
        for i in range(self.net.convs):
            if not self.first or i > 0:
                y = self.net.act(getattr(self, f"norm{i}")(y, train))
            y = getattr(self, f"conv{i}")(y)
            if i == 0:
                y = layers.dropout(y, self.rate, key, self.net.spatial_dropout)
        if self.projects:
            x = self.shortcut_norm(self.shortcut(x), train)
        return y + x


@dataclasses.dataclass(frozen=True)
class ResidualUNet(UNet):
    """Deep residual U-Net of Zhang, Liu & Wang, IEEE GRSL 2018 (fig. 2, table I), in 2D or 3D.

    Blocks are pre-activated (norm, activation, convolution, twice) with an identity path; the
    encoder halves by a stride instead of pooling. ``ResidualUNet(widths=(64, 128, 256, 512),
    norm="batch", activation="relu", up="plain")`` is the paper's. Differences: where a block
    changes the number of channels its identity path is a 1×1 convolution and a norm; dropout;
    transposed convolutions upsample by default; leaky ReLU; a quarter of the channels. Every other
    field is UNet's.

    Attributes:
      widths: channels of each level, finest first.
      down: ``stride``: the first convolution of a level has stride 2, or ``pool``.
    """

    widths: tuple[int, ...] = (16, 32, 64, 128)
    down: Literal["pool", "stride"] = "stride"

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
        return _PreActivated(self, channels, out, rate, stride, first, normals)


class _Recurrent(nnx.Module):
    """1×1 convolution, then x + units(x), each unit one convolution, norm and activation used
    ``steps`` + 1 times: y ← f(x + y).
    """

    def __init__(
        self,
        net: R2UNet,
        channels: int,
        out: int,
        rate: float,
        stride: int,
        normals: layers.Normals,
    ):
        self.net = net
        self.rate = rate
        self.enter = layers.Conv(
            channels,
            out,
            size=1,
            dims=net.dims,
            stride=stride,
            normals=normals,
        )
        for i in range(net.convs):
            bias = net.norm == "none"
            conv = layers.Conv(out, out, dims=net.dims, bias=bias, normals=normals)
            setattr(self, f"conv{i}", conv)
            setattr(self, f"norm{i}", net.normalisation(out))

    def __call__(self, x: jax.Array, train: bool, key: jax.Array | None) -> jax.Array:
        x = self.enter(x)
        z = x
        for i in range(self.net.convs):
            conv = getattr(self, f"conv{i}")
            norm = getattr(self, f"norm{i}")
            y = jnp.zeros((), x.dtype)
            for _ in range(self.net.steps + 1):
                y = self.net.act(norm(conv(z + y), train))
            if i == 0:
                y = layers.dropout(y, self.rate, key, self.net.spatial_dropout)
            z = y
        return x + z


@dataclasses.dataclass(frozen=True)
class R2UNet(UNet):
    """R2U-Net of Alom et al., J. Medical Imaging 2019 (arXiv 1802.06955, fig. 4d), in 2D or 3D.

    ``R2UNet(widths=(64, 128, 256, 512, 1024), norm="batch", activation="relu", up="nearest")`` is
    the public implementation's (39.1 M parameters). Differences: the statistics of a norm are those
    of each of its uses in turn, and the running ones follow them all, as there; dropout after the
    first unit; leaky ReLU, transposed convolutions, and a quarter of the channels by default. Every
    other field is UNet's.

    Attributes:
      steps: t, how often a convolution sees its own output (2 in the paper, also 3).
    """

    steps: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 0:
            raise ValueError(f"R2UNet: steps is {self.steps}: it must be at least 0")

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
        return _Recurrent(self, channels, out, rate, stride, normals)
