"""The V-Net that semi-supervised studies of 3D segmentation share: convolutions of 3×3×3 without
residuals, down and up by convolutions of stride 2, skips that are added.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import jax
from flax import nnx

from semiseg.nets import layers
from semiseg.nets.network import ModuleOutput, Network, freeze_stages


@dataclasses.dataclass(frozen=True)
class PlainVNet(Network):
    """The V-Net of Yu et al., MICCAI 2019 (UA-MT), and of SSL4MIS: the network that semi-supervised
    methods are compared with on the left atrium.

    It is a V-Net (Milletari, Navab & Ahmadi, 3DV 2016) whose stages have 3×3×3 convolutions and no
    residuals, and whose skips are added to the decoder. Deliberate difference: a convolution before
    a norm has no bias, which the norm would cancel. 9.45 M parameters with 1 channel and 2 classes.

    Attributes:
      width: channels of the finest stage; they double with each level.
      convs: convolutions of each stage on the way down, finest first, the bottom last.
      ups: convolutions of each stage on the way up, coarsest first.
      dropout: rate at which whole channels are dropped after the bottom and before the last layer,
        while training with a key (SSL4MIS: 0.5).
      norm: batch, instance, group or none.
      dims: 2 or 3.
      dtype: of the activations; variables and logits are float32 always.
    """

    width: int = 16
    convs: tuple[int, ...] = (1, 2, 3, 3, 3)
    ups: tuple[int, ...] = (3, 3, 2, 1)
    dropout: float = 0.0
    norm: layers.NormKind = "batch"
    dims: Literal[2, 3] = 3
    dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        freeze_stages(self, "convs", "ups", "stages")

    @property
    def block(self) -> int:
        return 2 ** (len(self.convs) - 1)

    def module(
        self,
        channels: int,
        classes: int,
        normals: layers.Normals,
        size: tuple[int, ...],
    ) -> nnx.Module:
        return _Module(self, channels, classes, normals)


class _Part(nnx.Module):
    """Convolution, norm, ReLU.

    Args:
      net: the network.
      channels: of the input.
      out: channels of the output.
      to: ``same`` size, ``half`` (2×2×2 convolution of stride 2) or ``twice`` (transposed).
      normals: of the initial weights.
    """

    def __init__(
        self,
        net: PlainVNet,
        channels: int,
        out: int,
        to: Literal["same", "half", "twice"],
        normals: layers.Normals,
    ):
        kinds = {"same": layers.Conv, "half": layers.DownConv, "twice": layers.UpConv}
        bias = net.norm == "none"
        self.conv = kinds[to](channels, out, dims=net.dims, bias=bias, normals=normals)
        self.norm = layers.make_norm(out, net.norm)

    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        return jax.nn.relu(self.norm(self.conv(x), train))


class _Stage(nnx.Module):
    """A number of parts, the first of which may change the channels."""

    def __init__(
        self, net: PlainVNet, channels: int, width: int, count: int, normals: layers.Normals
    ):
        self.count = count
        for i in range(count):
            setattr(self, f"part{i}", _Part(net, channels, width, "same", normals))
            channels = width

    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        for i in range(self.count):
            x = getattr(self, f"part{i}")(x, train)
        return x


class _Module(nnx.Module):
    """Variables: down0, into1, down1 … downL; out(L-1), up(L-1) … up0; head."""

    def __init__(self, net: PlainVNet, channels: int, classes: int, normals: layers.Normals):
        self.net = net
        for i, count in enumerate(net.convs):
            width = net.width * 2**i
            if i > 0:
                setattr(self, f"into{i}", _Part(net, width // 2, width, "half", normals))
                channels = width
            setattr(self, f"down{i}", _Stage(net, channels, width, count, normals))
        for i, count in zip(reversed(range(len(net.ups))), net.ups, strict=True):
            width = net.width * 2**i
            setattr(self, f"out{i}", _Part(net, 2 * width, width, "twice", normals))
            setattr(self, f"up{i}", _Stage(net, width, width, count, normals))
        self.head = layers.Conv(net.width, classes, size=1, dims=net.dims, normals=normals)

    def __call__(
        self,
        x: jax.Array,
        train: bool,
        key: jax.Array | None,
    ) -> ModuleOutput:
        levels = len(self.net.convs)
        skips: list[jax.Array] = []
        for i in range(levels):
            if i > 0:
                x = getattr(self, f"into{i}")(x, train)
            x = getattr(self, f"down{i}")(x, train)
            skips.append(x)
        x = layers.dropout(x, self.net.dropout, layers.subkey(key, 0), spatial=True)
        for i in reversed(range(levels - 1)):
            x = getattr(self, f"out{i}")(x, train) + skips[i]
            x = getattr(self, f"up{i}")(x, train)
        x = layers.dropout(x, self.net.dropout, layers.subkey(key, 1), spatial=True)
        return self.head(x), {"features": x}
