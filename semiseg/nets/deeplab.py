"""DeepLabv3 and v3+, and the plain head on the same encoder (FCN-ResNet50): dilated ResNets with
atrous spatial pyramid pooling.

Three networks share one file, which is why it is longer than the others: they are one encoder with
different heads, and one function reads the weights of all.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx

from semiseg.nets import layers
from semiseg.nets.from_torch.rules import Rule, conv_norm, layer, mapped, to_params
from semiseg.nets.layers.resnet import ResNet
from semiseg.nets.network import ModuleOutput, Network
from semiseg.types import Params


class _Pool(nnx.Module):
    """Mean over the image, 1×1 convolution, norm, ReLU. Instance and group norm are left out: of
    one pixel they would leave nothing.
    """

    def __init__(self, channels: int, out: int, norm: layers.NormKind, normals: layers.Normals):
        if norm != "batch":
            norm = "none"
        self.unit = layers.ConvNorm(channels, out, norm, size=1, normals=normals)

    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        y = self.unit(jnp.mean(x, (1, 2), keepdims=True), train)
        return jnp.broadcast_to(y, (*x.shape[:-1], y.shape[-1]))


class _Separable(nnx.Module):
    """3×3 convolution of every channel by itself, then 1×1, each with norm; ReLU at the end."""

    def __init__(
        self,
        channels: int,
        out: int,
        norm: layers.NormKind,
        *,
        dilation: int = 1,
        normals: layers.Normals,
    ):
        self.each = layers.ConvNorm(
            channels,
            channels,
            norm,
            None,
            dilation=dilation,
            groups=channels,
            normals=normals,
        )
        self.mix = layers.ConvNorm(channels, out, norm, size=1, normals=normals)

    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        return self.mix(self.each(x, train), train)


class _ASPP(nnx.Module):
    """A 1×1 and three dilated 3×3 convolutions and the image's mean, side by side, then 1×1 and
    dropout (Chen et al., arXiv 1706.05587, fig. 5).
    """

    def __init__(self, net: DeepLabV3, channels: int, normals: layers.Normals):
        self.net = net
        wide = net.wide_convolution()
        self.rate0 = layers.ConvNorm(channels, net.hidden, net.norm, size=1, normals=normals)
        for i, rate in enumerate(net.rates(), 1):
            branch = wide(channels, net.hidden, net.norm, dilation=rate, normals=normals)
            setattr(self, f"rate{i}", branch)
        self.pool = _Pool(channels, net.hidden, net.norm, normals)
        self.project = layers.ConvNorm(
            5 * net.hidden,
            net.hidden,
            net.norm,
            size=1,
            normals=normals,
        )

    def __call__(self, x: jax.Array, train: bool, key: jax.Array | None) -> jax.Array:
        branches = [getattr(self, f"rate{i}")(x, train) for i in range(4)]
        branches.append(self.pool(x, train))
        y = self.project(jnp.concatenate(branches, -1), train)
        return layers.dropout(y, self.net.dropout, key)


@dataclasses.dataclass(frozen=True)
class DeepLabV3(Network):
    """DeepLabv3 of Chen et al., arXiv 1706.05587 (figs. 3 and 5), on a ResNet of bottlenecks, 2D.

    ``DeepLabV3(width=64, hidden=256, output_stride=8, grid=(1, 1, 1), auxiliary=True)`` is the
    public PyTorch implementation (42.0 M parameters); with ``depths=(3, 4, 23, 3)`` on ResNet101.
    Differences from the paper: a 3×3 convolution before the head, as there; no multi-scale inputs;
    a quarter of the channels.

    Attributes:
      width: channels of the first convolution; the last stage has 32 times as many.
      hidden: channels of the pyramid.
      depths: bottlenecks of each stage.
      output_stride: 8 or 16: size of the image per size of the last stage. The pyramid's rates are
        6, 12, 18 for 16, and twice that for 8.
      grid: factors of the dilations of the last stage's blocks (multi-grid).
      separable: pyramid (and decoder) of depthwise and 1×1 convolutions.
      auxiliary: also give the logits of a plain head on the last stage but one, in ``aux["deep"]``.
      norm: ``batch``, ``instance``, ``group`` or ``none``.
      dropout: rate after the pyramid, while training with a key.
      dtype: of the activations; variables and logits are float32 always.
    """

    width: int = 16
    hidden: int = 64
    depths: tuple[int, int, int, int] = (3, 4, 6, 3)
    output_stride: int = 16
    grid: tuple[int, int, int] = (1, 2, 4)
    separable: bool = False
    auxiliary: bool = False
    norm: layers.NormKind = "batch"
    dropout: float = 0.5
    dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        object.__setattr__(self, "depths", tuple(self.depths))
        object.__setattr__(self, "grid", tuple(self.grid))
        _check_stages(self, output_strides=(8, 16))

    def rates(self) -> tuple[int, int, int]:
        """Dilations of the pyramid.

        >>> DeepLabV3(output_stride=8).rates()
        (12, 24, 36)
        """
        if self.output_stride == 16:
            return (6, 12, 18)
        return (12, 24, 36)

    def wide_convolution(self) -> Any:
        """The class of the 3×3 convolutions of pyramid and decoder."""
        if self.separable:
            return _Separable
        return layers.ConvNorm

    @property
    def block(self) -> int:
        return self.output_stride

    def module(
        self,
        channels: int,
        classes: int,
        normals: layers.Normals,
        size: tuple[int, ...],
    ) -> nnx.Module:
        return _DeepLab(self, channels, classes, normals)

    def decoder(self, normals: layers.Normals) -> nnx.Module:
        """What follows the pyramid, called with ``(y, finest, train, key)``; ``finest`` is the
        encoder's first stage.
        """
        return _Convolve(self, normals)


class _Convolve(nnx.Module):
    """3×3 convolution, norm, ReLU at the resolution of the pyramid."""

    def __init__(self, net: DeepLabV3, normals: layers.Normals):
        self.unit = layers.ConvNorm(net.hidden, net.hidden, net.norm, normals=normals)

    def __call__(
        self,
        y: jax.Array,
        finest: jax.Array,
        train: bool,
        key: jax.Array | None,
    ) -> jax.Array:
        return self.unit(y, train)


class _PlainHead(nnx.Module):
    """3×3 convolution to a quarter of the channels, norm, ReLU, dropout: before a 1×1 convolution
    it is the head of FCN-ResNet.
    """

    def __init__(
        self,
        channels: int,
        norm: layers.NormKind,
        dropout: float,
        normals: layers.Normals,
    ):
        self.dropout = dropout
        self.unit = layers.ConvNorm(channels, channels // 4, norm, normals=normals)

    def __call__(self, x: jax.Array, train: bool, key: jax.Array | None) -> jax.Array:
        return layers.dropout(self.unit(x, train), self.dropout, key)


class _Auxiliary(nnx.Module):
    """The parts of both modules: the encoder, and the second head on its last stage but one."""

    def __init__(
        self,
        net: DeepLabV3 | FCNResNet,
        channels: int,
        grid: tuple[int, int, int],
        normals: layers.Normals,
    ):
        self.net = net
        self.encoder = ResNet(
            channels, net.width, net.depths, net.norm, net.output_stride, grid, normals
        )

    def make_auxiliary(self, classes: int, normals: layers.Normals) -> None:
        """Makes the second head if the network has one; called after the first is made."""
        net = self.net
        if net.auxiliary:
            self.before_auxiliary = _PlainHead(16 * net.width, net.norm, 0.1, normals)
            self.auxiliary = layers.Conv(4 * net.width, classes, size=1, normals=normals)

    def aux(
        self,
        features: jax.Array,
        stage: jax.Array,
        size: tuple[int, ...],
        train: bool,
        key: jax.Array | None,
    ) -> dict[str, Any]:
        """The last features, and the logits of the second head on ``stage``."""
        if not self.net.auxiliary:
            return {"features": features}
        coarse = self.auxiliary(self.before_auxiliary(stage, train, layers.subkey(key, 2)))
        return {"features": features, "deep": [layers.resize(coarse.astype(jnp.float32), size)]}


class _DeepLab(_Auxiliary):
    """Variables: encoder, pyramid, decoder, head; before_auxiliary and auxiliary."""

    def __init__(self, net: DeepLabV3, channels: int, classes: int, normals: layers.Normals):
        super().__init__(net, channels, net.grid, normals)
        self.pyramid = _ASPP(net, 32 * net.width, normals)
        self.decoder = net.decoder(normals)
        self.head = layers.Conv(net.hidden, classes, size=1, normals=normals)
        self.make_auxiliary(classes, normals)

    def __call__(
        self,
        x: jax.Array,
        train: bool,
        key: jax.Array | None,
    ) -> ModuleOutput:
        size = x.shape[1:-1]
        stages = self.encoder(x, train)
        y = self.pyramid(stages[-1], train, layers.subkey(key, 0))
        y = self.decoder(y, stages[0], train, layers.subkey(key, 1))
        aux = self.aux(y, stages[2], size, train, key)
        return layers.resize(self.head(y).astype(jnp.float32), size), aux


class _FCN(_Auxiliary):
    """Variables: encoder, before, head; before_auxiliary and auxiliary."""

    def __init__(self, net: FCNResNet, channels: int, classes: int, normals: layers.Normals):
        super().__init__(net, channels, (1, 1, 1), normals)
        self.before = _PlainHead(32 * net.width, net.norm, net.dropout, normals)
        self.head = layers.Conv(8 * net.width, classes, size=1, normals=normals)
        self.make_auxiliary(classes, normals)

    def __call__(
        self,
        x: jax.Array,
        train: bool,
        key: jax.Array | None,
    ) -> ModuleOutput:
        size = x.shape[1:-1]
        stages = self.encoder(x, train)
        y = self.before(stages[-1], train, layers.subkey(key, 0))
        aux = self.aux(y, stages[2], size, train, key)
        return layers.resize(self.head(y).astype(jnp.float32), size), aux


@dataclasses.dataclass(frozen=True)
class DeepLabV3Plus(DeepLabV3):
    """DeepLabv3+ of Chen et al., ECCV 2018 (fig. 2), on a ResNet of bottlenecks, 2D.

    The pyramid's output is interpolated to 1/4 of the image, joined with the first stage's
    activations (1×1 convolution to few channels) and refined by two 3×3 convolutions.
    ``DeepLabV3Plus(width=64, hidden=256, low=48, separable=True)`` has the paper's decoder.
    Differences: ResNet instead of aligned Xception; plain convolutions unless ``separable``; a
    quarter of the channels. Every other field is DeepLabV3's.

    Attributes:
      low: channels the first stage is reduced to (48 in the paper, beside 256).
    """

    low: int = 12

    def decoder(self, normals: layers.Normals) -> nnx.Module:
        return _Refine(self, normals)


class _Refine(nnx.Module):
    """ECCV 2018, fig. 2: join with the finest stage, then two 3×3 convolutions."""

    def __init__(self, net: DeepLabV3Plus, normals: layers.Normals):
        wide = net.wide_convolution()
        self.low = layers.ConvNorm(4 * net.width, net.low, net.norm, size=1, normals=normals)
        self.unit0 = wide(net.hidden + net.low, net.hidden, net.norm, normals=normals)
        self.unit1 = wide(net.hidden, net.hidden, net.norm, normals=normals)

    def __call__(
        self,
        y: jax.Array,
        finest: jax.Array,
        train: bool,
        key: jax.Array | None,
    ) -> jax.Array:
        y = jnp.concatenate([layers.resize(y, finest.shape[1:-1]), self.low(finest, train)], -1)
        return self.unit1(self.unit0(y, train), train)


@dataclasses.dataclass(frozen=True)
class FCNResNet(Network):
    """FCN-ResNet50, a plain head (Long et al., CVPR 2015) on a dilated ResNet, the baseline of the
    DeepLab line, 2D.

    ``FCNResNet(width=64, auxiliary=True)`` is the public PyTorch implementation (35.3 M
    parameters). Difference: a quarter of the channels.

    Attributes:
      width: channels of the first convolution; the last stage has 32 times as many.
      depths: bottlenecks of each stage; (3, 4, 23, 3) is ResNet101.
      output_stride: 8, 16 or 32: size of the image per size of the last stage.
      auxiliary: also give the logits of a second head, on the last stage but one, in
        ``aux["deep"]``.
      norm: ``batch``, ``instance``, ``group`` or ``none``.
      dropout: rate before the head, while training with a key.
      dtype: of the activations; variables and logits are float32 always.
    """

    width: int = 16
    depths: tuple[int, int, int, int] = (3, 4, 6, 3)
    output_stride: int = 8
    auxiliary: bool = False
    norm: layers.NormKind = "batch"
    dropout: float = 0.1
    dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        object.__setattr__(self, "depths", tuple(self.depths))
        _check_stages(self, output_strides=(8, 16, 32))

    @property
    def block(self) -> int:
        return self.output_stride

    def module(
        self,
        channels: int,
        classes: int,
        normals: layers.Normals,
        size: tuple[int, ...],
    ) -> nnx.Module:
        return _FCN(self, channels, classes, normals)


def _check_stages(net: DeepLabV3 | FCNResNet, output_strides: tuple[int, ...]) -> None:
    """Refuses other numbers of stages and other output strides."""
    who = type(net).__name__
    if len(net.depths) != 4 or min(net.depths) < 1:
        raise ValueError(f"{who}: depths are the blocks of four stages, not {net.depths}")
    if net.output_stride not in output_strides:
        *others, largest = map(str, output_strides)
        raise ValueError(
            f"{who}: output_stride is {net.output_stride}; it must be {', '.join(others)} or "
            f"{largest}"
        )


def from_torch(state_dict: Mapping[str, Any]) -> Params:
    """Variables of ``DeepLabV3`` (``output_stride=8, grid=(1, 1, 1)``) or ``FCNResNet`` from the
    state dict of torchvision's ``deeplabv3_resnet50`` or ``fcn_resnet50`` (or 101), with or without
    the auxiliary head; which one, the names say.
    """
    block = r"backbone\.layer(\d)\.(\d+)\."
    ours = r"encoder.stage\1_\2."
    rules: list[Rule] = [
        *_unit(r"backbone\.conv1", r"backbone\.bn1", "encoder.stem"),
        *_unit(block + r"conv(\d)", block + r"bn(\d)", ours + r"unit\3"),
        *_unit(block + r"downsample\.0", block + r"downsample\.1", ours + "shortcut"),
        *_unit(r"aux_classifier\.0", r"aux_classifier\.1", "before_auxiliary.unit"),
        *layer(r"aux_classifier\.4", "auxiliary"),
        *layer(r"classifier\.4", "head"),
    ]
    if any(name.startswith("classifier.0.convs") for name in state_dict):
        pyramid = r"classifier\.0\."
        rules += [
            *_unit(
                pyramid + r"convs\.([0-3])\.0", pyramid + r"convs\.([0-3])\.1", r"pyramid.rate\1"
            ),
            *_unit(pyramid + r"convs\.4\.1", pyramid + r"convs\.4\.2", "pyramid.pool.unit"),
            *_unit(pyramid + r"project\.0", pyramid + r"project\.1", "pyramid.project"),
            *_unit(r"classifier\.1", r"classifier\.2", "decoder.unit"),
        ]
    else:
        rules += _unit(r"classifier\.0", r"classifier\.1", "before.unit")
    what = "DeepLabV3 or FCNResNet"
    return to_params(mapped(state_dict, rules, what, unused=r".*num_batches_tracked"))


def _unit(conv: str, norm: str, ours: str) -> list[Rule]:
    """Rules for a :class:`semiseg.nets.layers.ConvNorm`."""
    return conv_norm(conv, norm, ours + ".conv", ours + ".norm")
