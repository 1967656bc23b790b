"""ENet: the smallest of the family, early downsampling and narrow bottlenecks."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx

from semiseg.nets import layers
from semiseg.nets.layers.resample import max_pool_with_index, max_unpool
from semiseg.nets.network import Network


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
        self, channels: int, classes: int, normals: layers.Normals, size: tuple[int, ...]
    ) -> nnx.Module:
        return _Module(self, channels, classes, normals)


class _PReLU(nnx.Module):
    """max(x, 0) + slope · min(x, 0), a slope a channel (He et al. 2015)."""

    def __init__(self, channels: int):
        self.slope = nnx.Param(jnp.full(channels, 0.25))

    def __call__(self, x: jax.Array) -> jax.Array:
        return jnp.where(x > 0, x, self.slope[...].astype(x.dtype) * x)


class _Unit(nnx.Module):
    """Convolution, norm, and PReLU in the encoder or ReLU in the decoder."""

    def __init__(self, net: ENet, conv: Any, out: int, act: str):
        self.conv, self.kind = conv, act
        self.norm = None if net.norm == "none" else layers.Norm(out, net.norm)
        self.act = _PReLU(out) if act == "prelu" else None

    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        x = self.conv(x)
        x = x if self.norm is None else self.norm(x, train)
        if self.act is not None:
            return self.act(x)
        return jax.nn.relu(x) if self.kind == "relu" else x


class _Initial(nnx.Module):
    """Fig. 2a: a 3×3 convolution of stride 2 beside the pooled image."""

    def __init__(self, net: ENet, channels: int, normals: layers.Normals):
        out = net.widths[0]
        self.own = max(1, out - channels)
        self.conv = layers.Conv(
            channels, self.own, stride=2, bias=net.norm == "none", normals=normals
        )
        self.norm = None if net.norm == "none" else layers.Norm(self.own + channels, net.norm)
        self.act = _PReLU(self.own + channels)

    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        x = jnp.concatenate([self.conv(x), layers.max_pool(x)], -1)
        return self.act(x if self.norm is None else self.norm(x, train))


class _Bottleneck(nnx.Module):
    """Fig. 2b: the main path plus 1×1, a convolution of the given kind and 1×1, with a quarter of
    the channels inside.

    Kinds: ``regular``, ``dilated`` by ``rate``, ``asymmetric`` (5×1 then 1×5), ``down`` (2×2 of
    stride 2 beside pooling) and ``up`` (transposed 3×3 beside unpooling).
    """

    def __init__(
        self,
        net: ENet,
        channels: int,
        out: int,
        kind: str,
        rate: int,
        drop: float,
        act: str,
        normals: layers.Normals,
    ):
        self.net, self.kind, self.drop, self.out = net, kind, drop, out
        inner, bias = max(1, out // 4), net.norm == "none"
        enter: Any = (
            layers.DownConv(channels, inner, bias=bias, normals=normals) if kind == "down" else None
        )
        self.enter = _Unit(
            net,
            enter or layers.Conv(channels, inner, size=1, bias=bias, normals=normals),
            inner,
            act,
        )
        middle: Any
        if kind == "up":
            middle = layers.TransposedConv(inner, inner, bias=bias, normals=normals)
        elif kind == "asymmetric":
            self.first = layers.Conv(inner, inner, size=(5, 1), bias=False, normals=normals)
            middle = layers.Conv(inner, inner, size=(1, 5), bias=bias, normals=normals)
        else:
            middle = layers.Conv(inner, inner, dilation=rate, bias=bias, normals=normals)
        self.middle = _Unit(net, middle, inner, act)
        self.leave = _Unit(
            net, layers.Conv(inner, out, size=1, bias=bias, normals=normals), out, "none"
        )
        self.main = (
            _Unit(net, layers.Conv(channels, out, size=1, bias=bias, normals=normals), out, "none")
            if kind == "up"
            else None
        )
        self.act = _PReLU(out) if act == "prelu" else None

    def __call__(
        self, x: jax.Array, train: bool, key: jax.Array | None, place: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array | None]:
        y = self.enter(x, train)
        if self.kind == "asymmetric":
            y = self.first(y)
        y = self.leave(self.middle(y, train), train)
        y = layers.dropout(y, self.drop, key, self.net.spatial_dropout)
        if self.kind == "down":
            x, place = max_pool_with_index(x)
            x = jnp.pad(x, [(0, 0)] * 3 + [(0, self.out - x.shape[-1])])
        elif self.main is not None:
            assert place is not None
            x = max_unpool(self.main(x, train), place)
        return (jax.nn.relu(x + y) if self.act is None else self.act(x + y)), place


_MIDDLE = (
    ("regular", 1),
    ("dilated", 2),
    ("asymmetric", 1),
    ("dilated", 4),
    ("regular", 1),
    ("dilated", 8),
    ("asymmetric", 1),
    ("dilated", 16),
)


class _Module(nnx.Module):
    """Variables: initial, block0 … in the order of table I, head (2×2, stride 2 upwards)."""

    def __init__(self, net: ENet, channels: int, classes: int, normals: layers.Normals):
        self.initial = _Initial(net, channels, normals)
        a, b, c = (self.initial.own + channels, *net.widths[1:])
        early, late = net.dropout
        plan: list[tuple[int, int, str, int, float, str]] = [
            (a, b, "down", 1, early, "prelu"),
            *[(b, b, "regular", 1, early, "prelu")] * 4,
        ]
        plan += [
            (b, c, "down", 1, late, "prelu"),
            *[(c, c, kind, rate, late, "prelu") for kind, rate in _MIDDLE * net.repeats],
        ]
        plan += [
            (c, b, "up", 1, late, "relu"),
            *[(b, b, "regular", 1, late, "relu")] * 2,
            (b, a, "up", 1, late, "relu"),
            (a, a, "regular", 1, late, "relu"),
        ]
        self.kinds = tuple(p[2] for p in plan)
        for i, (given, out, kind, rate, drop, act) in enumerate(plan):
            setattr(self, f"block{i}", _Bottleneck(net, given, out, kind, rate, drop, act, normals))
        self.head = layers.UpConv(a, classes, normals=normals)

    def __call__(
        self, x: jax.Array, train: bool, key: jax.Array | None
    ) -> tuple[jax.Array, dict[str, Any]]:
        x = self.initial(x, train)
        places: list[jax.Array | None] = []
        for i, kind in enumerate(self.kinds):
            key_i = None if key is None else jax.random.fold_in(key, i)
            x, place = getattr(self, f"block{i}")(
                x, train, key_i, places.pop() if kind == "up" else None
            )
            if kind == "down":
                places.append(place)
        return self.head(x), {"features": x}
