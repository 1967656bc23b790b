"""DeepLabv3 and v3+, and the plain head on the same encoder (FCN-ResNet50): dilated ResNets with
atrous spatial pyramid pooling.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx

from semiseg.nets import layers
from semiseg.nets.from_torch.rules import Rule, conv_norm, mapped, to_params
from semiseg.nets.layers import ConvNorm
from semiseg.nets.layers.resample import resize
from semiseg.nets.layers.resnet import ResNet
from semiseg.nets.network import Network
from semiseg.types import Params


class _Pool(nnx.Module):
    """Mean over the image, 1×1 convolution, norm, ReLU. Instance and group norm are left out: of
    one pixel they would keep nothing.
    """

    def __init__(self, channels: int, out: int, norm: layers.NormKind, normals: layers.Normals):
        self.unit = ConvNorm(
            channels, out, norm if norm == "batch" else "none", size=1, normals=normals
        )

    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        y = self.unit(jnp.mean(x, (1, 2), keepdims=True), train)
        return jnp.broadcast_to(y, (*x.shape[:-1], y.shape[-1]))


class _Separable(nnx.Module):
    """3×3 convolution of every channel by itself, then 1×1, each with norm; ReLU after the second."""

    def __init__(
        self,
        channels: int,
        out: int,
        norm: layers.NormKind,
        *,
        dilation: int = 1,
        normals: layers.Normals,
    ):
        self.each = ConvNorm(
            channels, channels, norm, None, dilation=dilation, groups=channels, normals=normals
        )
        self.mix = ConvNorm(channels, out, norm, size=1, normals=normals)

    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        return self.mix(self.each(x, train), train)


class _ASPP(nnx.Module):
    """Chen et al. 2017, fig. 5: a 1×1 and three dilated 3×3 convolutions and the image's mean, side
    by side, then 1×1 and dropout.
    """

    def __init__(self, net: DeepLabV3, channels: int, normals: layers.Normals):
        self.net = net
        wide: Any = _Separable if net.separable else ConvNorm
        self.rate0 = ConvNorm(channels, net.hidden, net.norm, size=1, normals=normals)
        for i, rate in enumerate(net.rates(), 1):
            setattr(
                self,
                f"rate{i}",
                wide(channels, net.hidden, net.norm, dilation=rate, normals=normals),
            )
        self.pool = _Pool(channels, net.hidden, net.norm, normals)
        self.project = ConvNorm(5 * net.hidden, net.hidden, net.norm, size=1, normals=normals)

    def __call__(self, x: jax.Array, train: bool, key: jax.Array | None) -> jax.Array:
        branches = [getattr(self, f"rate{i}")(x, train) for i in range(4)]
        y = self.project(jnp.concatenate([*branches, self.pool(x, train)], -1), train)
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
        for name in ("depths", "grid"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if len(self.depths) != 4 or min(self.depths) < 1:
            raise ValueError(
                f"{type(self).__name__}: depths are the blocks of four stages, not {self.depths}"
            )
        if self.output_stride not in (8, 16):
            raise ValueError(
                f"{type(self).__name__}: output_stride is {self.output_stride}; it must be 8 or 16"
            )

    def rates(self) -> tuple[int, int, int]:
        """Dilations of the pyramid."""
        return (6, 12, 18) if self.output_stride == 16 else (12, 24, 36)

    @property
    def block(self) -> int:
        return self.output_stride

    def module(
        self, channels: int, classes: int, normals: layers.Normals, size: tuple[int, ...]
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
        self.unit = ConvNorm(net.hidden, net.hidden, net.norm, normals=normals)

    def __call__(
        self, y: jax.Array, finest: jax.Array, train: bool, key: jax.Array | None
    ) -> jax.Array:
        return self.unit(y, train)


class _PlainHead(nnx.Module):
    """3×3 convolution to a quarter of the channels, norm, ReLU, dropout: before a 1×1 convolution
    it is the head of FCN-ResNet.
    """

    def __init__(
        self, channels: int, norm: layers.NormKind, dropout: float, normals: layers.Normals
    ):
        self.dropout = dropout
        self.unit = ConvNorm(channels, channels // 4, norm, normals=normals)

    def __call__(self, x: jax.Array, train: bool, key: jax.Array | None) -> jax.Array:
        return layers.dropout(self.unit(x, train), self.dropout, key)


class _DeepLab(nnx.Module):
    """Variables: encoder, pyramid, decoder, head; before_auxiliary and auxiliary."""

    def __init__(
        self, net: DeepLabV3 | FCNResNet, channels: int, classes: int, normals: layers.Normals
    ):
        self.net = net
        grid = net.grid if isinstance(net, DeepLabV3) else (1, 1, 1)
        self.encoder = ResNet(
            channels, net.width, net.depths, net.norm, net.output_stride, grid, normals
        )
        if isinstance(net, DeepLabV3):
            self.pyramid = _ASPP(net, 32 * net.width, normals)
            self.decoder = net.decoder(normals)
            self.head = layers.Conv(net.hidden, classes, size=1, normals=normals)
        else:
            self.before = _PlainHead(32 * net.width, net.norm, net.dropout, normals)
            self.head = layers.Conv(8 * net.width, classes, size=1, normals=normals)
        if net.auxiliary:
            self.before_auxiliary = _PlainHead(16 * net.width, net.norm, 0.1, normals)
            self.auxiliary = layers.Conv(4 * net.width, classes, size=1, normals=normals)

    def __call__(
        self, x: jax.Array, train: bool, key: jax.Array | None
    ) -> tuple[jax.Array, dict[str, Any]]:
        keys = [None] * 3 if key is None else [jax.random.fold_in(key, i) for i in range(3)]
        stages = self.encoder(x, train)
        size = x.shape[1:-1]
        if isinstance(self.net, DeepLabV3):
            y = self.decoder(self.pyramid(stages[-1], train, keys[0]), stages[0], train, keys[1])
        else:
            y = self.before(stages[-1], train, keys[0])
        aux: dict[str, Any] = {"features": y}
        if self.net.auxiliary:
            aux["deep"] = [
                resize(
                    self.auxiliary(self.before_auxiliary(stages[2], train, keys[2])).astype(
                        jnp.float32
                    ),
                    size,
                )
            ]
        return resize(self.head(y).astype(jnp.float32), size), aux


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
        wide: Any = _Separable if net.separable else ConvNorm
        self.low = ConvNorm(4 * net.width, net.low, net.norm, size=1, normals=normals)
        self.unit0 = wide(net.hidden + net.low, net.hidden, net.norm, normals=normals)
        self.unit1 = wide(net.hidden, net.hidden, net.norm, normals=normals)

    def __call__(
        self, y: jax.Array, finest: jax.Array, train: bool, key: jax.Array | None
    ) -> jax.Array:
        y = jnp.concatenate([resize(y, finest.shape[1:-1]), self.low(finest, train)], -1)
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
        if len(self.depths) != 4 or min(self.depths) < 1:
            raise ValueError(f"FCNResNet: depths are the blocks of four stages, not {self.depths}")
        if self.output_stride not in (8, 16, 32):
            raise ValueError(
                f"FCNResNet: output_stride is {self.output_stride}; it must be 8, 16 or 32"
            )

    @property
    def block(self) -> int:
        return self.output_stride

    def module(
        self, channels: int, classes: int, normals: layers.Normals, size: tuple[int, ...]
    ) -> nnx.Module:
        return _DeepLab(self, channels, classes, normals)


def from_torch(state_dict: Mapping[str, Any]) -> Params:
    """Variables of ``DeepLabV3`` (``output_stride=8, grid=(1, 1, 1)``) or ``FCNResNet`` from the
    state dict of torchvision's ``deeplabv3_resnet50`` or ``fcn_resnet50`` (or 101), with or without
    the auxiliary head; which one, the names say.
    """
    block = r"backbone\.layer(\d)\.(\d+)\."
    rules: list[Rule] = [
        *conv_norm(r"backbone\.conv1", r"backbone\.bn1", "encoder.stem.conv", "encoder.stem.norm"),
        *conv_norm(
            block + r"conv(\d)",
            block + r"bn(\d)",
            r"encoder.stage\1_\2.unit\3.conv",
            r"encoder.stage\1_\2.unit\3.norm",
        ),
        *conv_norm(
            block + r"downsample\.0",
            block + r"downsample\.1",
            r"encoder.stage\1_\2.shortcut.conv",
            r"encoder.stage\1_\2.shortcut.norm",
        ),
        *conv_norm(
            r"aux_classifier\.0",
            r"aux_classifier\.1",
            "before_auxiliary.unit.conv",
            "before_auxiliary.unit.norm",
        ),
        (r"aux_classifier\.4\.weight", "auxiliary.kernel"),
        (r"aux_classifier\.4\.bias", "auxiliary.bias"),
        (r"classifier\.4\.weight", "head.kernel"),
        (r"classifier\.4\.bias", "head.bias"),
    ]
    if any(name.startswith("classifier.0.convs") for name in state_dict):
        rate = r"classifier\.0\.convs\.([0-3])\."
        rules += [
            *conv_norm(rate + "0", rate + "1", r"pyramid.rate\1.conv", r"pyramid.rate\1.norm"),
            *conv_norm(
                r"classifier\.0\.convs\.4\.1",
                r"classifier\.0\.convs\.4\.2",
                "pyramid.pool.unit.conv",
                "pyramid.pool.unit.norm",
            ),
            *conv_norm(
                r"classifier\.0\.project\.0",
                r"classifier\.0\.project\.1",
                "pyramid.project.conv",
                "pyramid.project.norm",
            ),
            *conv_norm(
                r"classifier\.1", r"classifier\.2", "decoder.unit.conv", "decoder.unit.norm"
            ),
        ]
    else:
        rules += conv_norm(
            r"classifier\.0", r"classifier\.1", "before.unit.conv", "before.unit.norm"
        )
    return to_params(
        mapped(state_dict, rules, "DeepLabV3 or FCNResNet", unused=r".*num_batches_tracked")
    )
