"""The U-Net: images in, class logits out. The network every method is measured with."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx

from semiseg.errors import FieldError
from semiseg.nets import layers
from semiseg.nets.from_torch.rules import (
    Rule,
    conv_norm,
    layer,
    mapped,
    to_params,
    transposed,
)
from semiseg.nets.network import ModuleOutput, Network
from semiseg.nets.upsampling import ConvInterpolation, Interpolation, Up, upsampled
from semiseg.types import Params

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "relu": jax.nn.relu,
    "gelu": jax.nn.gelu,
}


@dataclasses.dataclass(frozen=True)
class UNet(Network):
    """U-Net of Ronneberger, Fischer & Brox, MICCAI 2015 (fig. 1), in 2D or 3D.

    Deliberate differences: same-size convolutions, so that the output has the size of the input
    (any size: the image is edge padded at the end to a multiple of 2^levels and the output cropped
    back); a norm after each convolution, which then has no bias; leaky ReLU; a quarter of the
    channels; dropout between the convolutions of every encoder level instead of at its end only.

    ``UNet(norm="batch", dropout=(.05, .1, .2, .3, .5), head=3, up="conv_corners")`` is the network
    of SSL4MIS (1.81 M parameters); with 2×2 transposed convolutions it has 1.94 M.

    Attributes:
      widths: channels of each level, finest first.
      norm: ``instance`` (no running statistics: a teacher is a plain average), ``batch``, ``group``
        or ``none``.
      dropout: rate of each encoder level (one number for all), while training with a key.
      dims: 2 for ``(B, H, W, C)``, 3 for ``(B, D, H, W, C)``.
      convs: convolutions of a level, on either side.
      activation: ``leaky_relu``, ``relu`` or ``gelu``.
      deep_supervision: also give logits of every coarser decoder level, in ``aux["deep"]``, finest
        (1/2) first; ``aux["features"]`` ``(B, *space, widths[0])`` are the activations under the
        last layer.
      dtype: of the activations; variables and logits are float32 always.
      head: size of the last kernel, 1 or 3.
      spatial_dropout: drop whole channels instead of elements.
      groups: of the group norm, at most.
      momentum: weight of the old running statistics of batch norm.
      eps: added to the variance.
      slope: of the leaky ReLU below zero.
      down: ``pool`` (2×2 maximum), or ``stride``: the first convolution of a level has stride 2.
      up: ``transpose`` (2×2), ``plain`` (every pixel twice), ``nearest`` (the same, then 3×3
        convolution, norm, activation), ``transpose3`` (3×3, norm, activation), ``linear``
        (linear interpolation), ``conv_corners`` (1×1 convolution, then linear interpolation with
        the corners aligned) or ``corners`` (that interpolation alone; the last convolution of a
        decoder level gives the channels of the next finer one).
    """

    widths: tuple[int, ...] = (16, 32, 64, 128, 256)
    norm: layers.NormKind = "instance"
    dropout: float | tuple[float, ...] = 0.0
    dims: Literal[2, 3] = 2
    convs: int = 2
    activation: Literal["leaky_relu", "relu", "gelu"] = "leaky_relu"
    deep_supervision: bool = False
    dtype: Literal["float32", "bfloat16"] = "float32"
    head: Literal[1, 3] = 1
    spatial_dropout: bool = False
    groups: int = 8
    momentum: float = 0.9
    eps: float = 1e-5
    slope: float = 0.01
    down: Literal["pool", "stride"] = "pool"
    up: Literal[
        "transpose", "plain", "nearest", "transpose3", "linear", "conv_corners", "corners"
    ] = "transpose"

    def __post_init__(self) -> None:
        # YAML gives lists, and a net must be hashable
        object.__setattr__(self, "widths", tuple(self.widths))
        who = type(self).__name__
        if len(self.widths) < 2:
            raise ValueError(f"{who}: widths needs at least two levels, not {self.widths}")
        if isinstance(self.dropout, float | int):
            return
        rates = tuple(self.dropout)
        object.__setattr__(self, "dropout", rates)
        if len(rates) != len(self.widths):
            what = f"{who}: dropout has {len(rates)} rates for {len(self.widths)} levels"
            raise FieldError(what, field="dropout")

    def rates(self) -> tuple[float, ...]:
        """Dropout rate of each encoder level.

        >>> UNet(widths=(8, 16), dropout=0.1).rates()
        (0.1, 0.1)
        """
        if isinstance(self.dropout, tuple):
            return self.dropout
        return (float(self.dropout),) * len(self.widths)

    @property
    def block(self) -> int:
        return 2 ** (len(self.widths) - 1)

    def module(
        self,
        channels: int,
        classes: int,
        normals: layers.Normals,
        size: tuple[int, ...],
    ) -> nnx.Module:
        return _Module(self, channels, classes, normals)

    # ------------------------------------------------------------------ what a variant replaces
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
        """Block of a level, called with ``(x, train, key)``; ``first``: on the image itself."""
        return Block(self, channels, out, rate, stride, normals)

    def decoded(self, i: int) -> int:
        """Channels that decoder level ``i`` gives; the bottom counts as one.

        >>> UNet(widths=(8, 16, 32)).decoded(1), UNet(widths=(8, 16, 32), up="corners").decoded(1)
        (16, 8)
        """
        bottom = len(self.widths) - 1
        plain = type(self).merge is UNet.merge and type(self).stage is UNet.stage
        if self.up == "corners" and plain and 0 < i < bottom:
            return self.widths[i - 1]
        return self.widths[i]

    def merge(self, channels: int, out: int, normals: layers.Normals) -> nnx.Module:
        """Block of a decoder level, on skip and upsampled activations side by side."""
        return self.stage(channels, out, 0.0, 1, normals)

    def decoder_level(self, i: int, channels: int, normals: layers.Normals) -> nnx.Module:
        """Block of decoder level ``i``, whose last convolution gives :meth:`decoded` channels."""
        width = self.widths[i]
        if self.decoded(i) == width:
            return self.merge(channels, width, normals)
        return Block(self, channels, width, 0.0, 1, normals, last=self.decoded(i))

    def upsampling(
        self,
        channels: int,
        out: int,
        normals: layers.Normals,
    ) -> tuple[nnx.Module | None, int]:
        """To the next finer level, called with ``(x, train)``, None for the bare pixels twice; and
        how many channels it gives.
        """
        if self.up == "plain":
            return None, channels
        if self.up in ("linear", "corners"):
            return Interpolation(self), channels
        if self.up == "conv_corners":
            return ConvInterpolation(self, channels, out, normals), out
        if self.up == "transpose":
            return layers.UpConv(channels, out, dims=self.dims, normals=normals), out
        return Up(self, channels, out, normals), out

    def gate(self, skip: int, coarse: int, normals: layers.Normals) -> nnx.Module | None:
        """What a skip connection passes through, called with ``(skip, upsampled, coarse, train)``;
        ``skip`` and ``coarse`` are numbers of channels.
        """
        return None

    def last_layer(self, classes: int, normals: layers.Normals) -> layers.Conv:
        """The convolution to the logits at full resolution."""
        return layers.Conv(self.widths[0], classes, size=self.head, dims=self.dims, normals=normals)

    # ------------------------------------------------------------------ what its layers share
    def level(self, i: int, channels: int, normals: layers.Normals) -> nnx.Module:
        """Block of encoder level ``i`` for images of ``channels``."""
        first = i == 0
        given = channels if first else self.widths[i - 1]
        stride = 1
        if self.down == "stride" and not first:
            stride = 2
        return self.stage(given, self.widths[i], self.rates()[i], stride, normals, first=first)

    def to_level(self, i: int, x: jax.Array) -> jax.Array:
        """The input of encoder level ``i``: halved, unless its first convolution does that."""
        if self.down == "pool" and i > 0:
            return layers.max_pool(x)
        return x

    def act(self, x: jax.Array) -> jax.Array:
        """The activation."""
        if self.activation == "leaky_relu":
            return jax.nn.leaky_relu(x, self.slope)
        return ACTIVATIONS[self.activation](x)

    def normalisation(self, channels: int) -> layers.Norm | layers.NoNorm:
        """The norm after a convolution."""
        return layers.make_norm(
            channels,
            self.norm,
            groups=self.groups,
            momentum=self.momentum,
            eps=self.eps,
        )


class Block(nnx.Module):
    """(convolution, norm, activation) × convs, dropout after the first; its first convolution may
    have a stride, and its ``last`` one another width.
    """

    def __init__(
        self,
        net: UNet,
        channels: int,
        out: int,
        rate: float,
        stride: int,
        normals: layers.Normals,
        last: int | None = None,
    ):
        self.net = net
        self.rate = rate
        for i in range(net.convs):
            if last and i == net.convs - 1:
                out = last
            conv = layers.Conv(
                channels,
                out,
                dims=net.dims,
                stride=stride,
                bias=net.norm == "none",
                normals=normals,
            )
            setattr(self, f"conv{i}", conv)
            setattr(self, f"norm{i}", net.normalisation(out))
            channels = out
            stride = 1

    def __call__(self, x: jax.Array, train: bool, key: jax.Array | None) -> jax.Array:
        for i in range(self.net.convs):
            x = getattr(self, f"conv{i}")(x)
            x = self.net.act(getattr(self, f"norm{i}")(x, train))
            if i == 0:
                x = layers.dropout(x, self.rate, key, self.net.spatial_dropout)
        return x


class _Module(nnx.Module):
    """Variables of a U-Net: down0 … downL, up(L-1) … up0 with joinL-1 … join0 (to twice the size),
    gate0 …, head, head1 …
    """

    def __init__(self, net: UNet, channels: int, classes: int, normals: layers.Normals):
        self.net = net
        for i in range(len(net.widths)):
            setattr(self, f"down{i}", net.level(i, channels, normals))
        for i in reversed(range(len(net.widths) - 1)):
            width = net.widths[i]
            coarse = net.decoded(i + 1)
            out = net.decoded(i)
            join, given = net.upsampling(coarse, width, normals)
            setattr(self, f"join{i}", join)
            setattr(self, f"up{i}", net.decoder_level(i, width + given, normals))
            setattr(self, f"gate{i}", net.gate(width, coarse, normals))
            if i > 0 and net.deep_supervision:
                head = layers.Conv(out, classes, size=1, dims=net.dims, normals=normals)
                setattr(self, f"head{i}", head)
        self.head = net.last_layer(classes, normals)

    def __call__(
        self,
        x: jax.Array,
        train: bool,
        key: jax.Array | None,
    ) -> ModuleOutput:
        skips: list[jax.Array] = []
        deep: list[jax.Array] = []
        for i in range(len(self.net.widths)):
            level_key = layers.subkey(key, i)
            x = getattr(self, f"down{i}")(self.net.to_level(i, x), train, level_key)
            skips.append(x)
        for i in reversed(range(len(self.net.widths) - 1)):
            fine = upsampled(getattr(self, f"join{i}"), x, train)
            gate = getattr(self, f"gate{i}")
            skip = skips[i]
            if gate is not None:
                skip = gate(skip, fine, x, train)
            x = getattr(self, f"up{i}")(jnp.concatenate([skip, fine], -1), train, None)
            if i > 0 and self.net.deep_supervision:
                deep.insert(0, getattr(self, f"head{i}")(x))
        aux: dict[str, Any] = {"features": x}
        if self.net.deep_supervision:
            aux["deep"] = deep
        return self.head(x), aux


@dataclasses.dataclass(frozen=True)
class WideUNet(UNet):
    """Wide U-Net of Zhou et al., IEEE TMI 2020 (UNet++, table I): the U-Net widened to the number
    of parameters of U-Net++, its fair baseline.

    ``WideUNet(widths=(35, 70, 140, 280, 560), norm="none")`` is the paper's; the default has a
    quarter of the channels of U-Net++ widened by the same share. Every other field and difference
    is UNet's.

    Attributes:
      widths: channels of each level, finest first.
    """

    widths: tuple[int, ...] = (18, 35, 70, 140, 280)


def from_torch(state_dict: Mapping[str, Any]) -> Params:
    """Variables of ``UNet(norm="instance", slope=0.1)`` from the state dict of MONAI's
    ``BasicUNet`` with ``features=(w0, w0, w1 …, w0)``.

    For its batch norm variant give ``norm="batch"``. The biases that the norm cancels are left out
    (or subtracted from the running mean).
    """
    block = r"(?:convs\.)?conv_([01])"
    rules: list[Rule] = []
    for theirs, name in (
        (r"conv_(0)\.", r"down\1."),
        (r"down_(\d)\.", r"down\1."),
        (r"upcat_(\d)\.", r"up-\1."),
    ):
        conv = theirs + block + r"\.conv"
        norm = theirs + block + r"\.adn\.N"
        rules += conv_norm(conv, norm, name + r"conv\2", name + r"norm\2")
    rules += [
        (r"upcat_(\d)\.upsample\.deconv\.weight", r"join-\1.kernel", transposed),
        (r"upcat_(\d)\.upsample\.deconv\.bias", r"join-\1.bias"),
        *layer("final_conv", "head"),
    ]
    nested = mapped(state_dict, rules, "UNet", unused=r".*num_batches_tracked")
    for name in [name for name in nested if "-" in name]:  # MONAI counts decoder levels from 1
        kind, level = name.split("-")
        nested[f"{kind}{int(level) - 1}"] = nested.pop(name)
    return to_params(nested)
