"""ENet: the smallest of the family, early downsampling and narrow bottlenecks."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx

from semiseg.nets import layers
from semiseg.nets.network import ModuleOutput, Network


@dataclasses.dataclass(frozen=True)
class ENet(Network):
    """ENet of Paszke et al., arXiv 1606.02147 (table I, fig. 2), 2D.

    The defaults are the paper's (0.37 M parameters). Differences: elements instead of whole
    channels are dropped unless ``spatial_dropout``; the convolutions inside a bottleneck have a
    bias only without a norm.

    Attributes:
      widths: channels of the initial block, of stage 1 and of stages 2 and 3.
      repeats: how often the eight bottlenecks of the middle come (2: stages 2 and 3).
      dropout: rates in stage 1 and after it, while training with a key.
      spatial_dropout: drop whole channels of an image (the paper's regulariser).
      norm: ``batch``, ``instance``, ``group`` or ``none``.
      dtype: of the activations; variables and logits are float32 always.
    """

    widths: tuple[int, int, int] = (16, 64, 128)
    repeats: int = 2
    dropout: tuple[float, float] = (0.01, 0.1)
    spatial_dropout: bool = True
    norm: layers.NormKind = "batch"
    dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        for name, count in (("widths", 3), ("dropout", 2)):
            object.__setattr__(self, name, tuple(getattr(self, name)))
            if len(getattr(self, name)) != count:
                raise ValueError(f"ENet: {name} are {count} numbers, not {getattr(self, name)}")
        if self.repeats < 0:
            raise ValueError(f"ENet: repeats is {self.repeats}: it must be at least 0")
        if not 4 < self.widths[0] <= self.widths[1] <= self.widths[2]:
            raise ValueError(
                f"ENet: widths must not fall and the first be more than 4, not {self.widths}"
            )

    linear_head = False

    @property
    def block(self) -> int:
        return 8

    def module(
        self,
        channels: int,
        classes: int,
        normals: layers.Normals,
        size: tuple[int, ...],
    ) -> nnx.Module:
        return _Module(self, channels, classes, normals)


class _PReLU(nnx.Module):
    """max(x, 0) + slope · min(x, 0), a slope a channel (He et al. 2015)."""

    def __init__(self, channels: int):
        self.slope = nnx.Param(jnp.full(channels, 0.25))

    def __call__(self, x: jax.Array) -> jax.Array:
        return jnp.where(x > 0, x, self.slope[...].astype(x.dtype) * x)


class _ReLU(nnx.Module):
    """max(x, 0), in the place of a parametric one; without variables."""

    def __call__(self, x: jax.Array) -> jax.Array:
        return jax.nn.relu(x)


class _Identity(nnx.Module):
    """No activation; without variables."""

    def __call__(self, x: jax.Array) -> jax.Array:
        return x


Act = Literal["prelu", "relu", "none"]
"""Activations: PReLU in the encoder, ReLU in the decoder, none before a sum."""


def _activation(kind: Act, channels: int) -> _PReLU | _ReLU | _Identity:
    """The module of an activation."""
    if kind == "prelu":
        return _PReLU(channels)
    if kind == "relu":
        return _ReLU()
    return _Identity()


class _Unit(nnx.Module):
    """Convolution, norm, activation."""

    def __init__(self, net: ENet, conv: Any, out: int, act: Act):
        self.conv = conv
        self.norm = layers.make_norm(out, net.norm)
        self.act = _activation(act, out)

    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        return self.act(self.norm(self.conv(x), train))


class _Initial(nnx.Module):
    """Fig. 2a: a 3×3 convolution of stride 2 beside the pooled image; it gives ``out`` channels."""

    def __init__(self, net: ENet, channels: int, normals: layers.Normals):
        convolved = max(1, net.widths[0] - channels)
        self.out = convolved + channels
        bias = net.norm == "none"
        self.conv = layers.Conv(channels, convolved, stride=2, bias=bias, normals=normals)
        self.norm = layers.make_norm(self.out, net.norm)
        self.act = _PReLU(self.out)

    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        x = jnp.concatenate([self.conv(x), layers.max_pool(x)], -1)
        return self.act(self.norm(x, train))


@dataclasses.dataclass(frozen=True)
class _Row:
    """A row of table I.

    Attributes:
      channels: of the input.
      out: channels of the output.
      kind: ``regular``, ``dilated`` by ``rate``, ``asymmetric`` (5×1 then 1×5), ``down`` (2×2 of
        stride 2 beside pooling) or ``up`` (transposed 3×3 beside unpooling).
      rate: of the dilation.
      drop: rate of the dropout.
      act: the activation.
    """

    channels: int
    out: int
    kind: Literal["regular", "dilated", "asymmetric", "down", "up"]
    drop: float
    act: Act
    rate: int = 1


class _Bottleneck(nnx.Module):
    """Fig. 2b: the main path plus 1×1, a convolution of the given kind and 1×1, with a quarter of
    the channels inside.
    """

    def __init__(self, net: ENet, row: _Row, normals: layers.Normals):
        self.net = net
        self.row = row
        inner = max(1, row.out // 4)
        conv = functools.partial(layers.Conv, bias=net.norm == "none", normals=normals)
        enter: Any
        if row.kind == "down":
            enter = layers.DownConv(row.channels, inner, bias=net.norm == "none", normals=normals)
        else:
            enter = conv(row.channels, inner, size=1)
        self.enter = _Unit(net, enter, inner, row.act)
        middle: Any
        if row.kind == "up":
            middle = layers.TransposedConv(inner, inner, bias=net.norm == "none", normals=normals)
        elif row.kind == "asymmetric":
            self.first = conv(inner, inner, size=(5, 1), bias=False)
            middle = conv(inner, inner, size=(1, 5))
        else:
            middle = conv(inner, inner, dilation=row.rate)
        self.middle = _Unit(net, middle, inner, row.act)
        self.leave = _Unit(net, conv(inner, row.out, size=1), row.out, "none")
        if row.kind == "up":
            self.main = _Unit(net, conv(row.channels, row.out, size=1), row.out, "none")
        self.act = _activation(row.act, row.out)

    def __call__(
        self,
        x: jax.Array,
        train: bool,
        key: jax.Array | None,
        place: jax.Array | None = None,
    ) -> tuple[jax.Array, jax.Array | None]:
        """The output, and where the maxima were that a ``down`` block pooled; ``place`` are those
        that an ``up`` block puts back.
        """
        row = self.row
        y = self.enter(x, train)
        if row.kind == "asymmetric":
            y = self.first(y)
        y = self.leave(self.middle(y, train), train)
        y = layers.dropout(y, row.drop, key, self.net.spatial_dropout)
        if row.kind == "down":
            x, place = layers.max_pool_with_index(x)
            x = jnp.pad(x, [(0, 0), (0, 0), (0, 0), (0, row.out - x.shape[-1])])
        elif row.kind == "up":
            assert place is not None
            x = layers.max_unpool(self.main(x, train), place)
        return self.act(x + y), place


def _table(net: ENet, stem: int) -> list[_Row]:
    """Table I from the first bottleneck on; ``stem`` are the channels of the initial block."""
    _, stage1, stage2 = net.widths
    early, late = net.dropout
    encode = functools.partial(_Row, act="prelu")
    decode = functools.partial(_Row, drop=late, act="relu")
    middle = functools.partial(encode, stage2, stage2, drop=late)
    stages = [
        middle("regular"),
        middle("dilated", rate=2),
        middle("asymmetric"),
        middle("dilated", rate=4),
        middle("regular"),
        middle("dilated", rate=8),
        middle("asymmetric"),
        middle("dilated", rate=16),
    ]
    return [
        encode(stem, stage1, "down", drop=early),
        *[encode(stage1, stage1, "regular", drop=early)] * 4,
        encode(stage1, stage2, "down", drop=late),
        *stages * net.repeats,
        decode(stage2, stage1, "up"),
        *[decode(stage1, stage1, "regular")] * 2,
        decode(stage1, stem, "up"),
        decode(stem, stem, "regular"),
    ]


class _Module(nnx.Module):
    """Variables: initial, block0 … in the order of table I, head (2×2, stride 2 upwards)."""

    def __init__(self, net: ENet, channels: int, classes: int, normals: layers.Normals):
        self.initial = _Initial(net, channels, normals)
        rows = _table(net, self.initial.out)
        self.kinds = tuple(row.kind for row in rows)
        for i, row in enumerate(rows):
            setattr(self, f"block{i}", _Bottleneck(net, row, normals))
        self.head = layers.UpConv(self.initial.out, classes, normals=normals)

    def __call__(
        self,
        x: jax.Array,
        train: bool,
        key: jax.Array | None,
    ) -> ModuleOutput:
        x = self.initial(x, train)
        places: list[jax.Array] = []
        for i, kind in enumerate(self.kinds):
            place = None
            if kind == "up":
                place = places.pop()
            x, place = getattr(self, f"block{i}")(x, train, layers.subkey(key, i), place)
            if kind == "down":
                places.append(place)
        return self.head(x), {"features": x}
