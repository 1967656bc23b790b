"""The U-Nets of nnU-Net: plain and with a residual encoder, deep supervision, in 2D and 3D."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from semiseg.nets import layers
from semiseg.nets.from_torch.rules import Rule, last, layer, mapped, transposed
from semiseg.nets.network import ModuleOutput, Network
from semiseg.types import Params

_leaky = functools.partial(jax.nn.leaky_relu, negative_slope=0.01)


@dataclasses.dataclass(frozen=True)
class ResEncUNet(Network):
    """U-Nets of nnU-Net of Isensee et al., Nature Methods 2021 (fig. 2) and MICCAI 2024 (residual
    encoder).

    Each stage but the first begins with a convolution of stride 2. ``residual`` encoder blocks are
    those of ResNet-D (He et al. 2019): two convolutions around a shortcut of average pooling and
    1×1 convolution; a single convolution comes before the first stage. ``plain`` stages are
    convolution, norm, leaky ReLU (slope .01). Deliberate differences: convolutions before a norm
    have no bias, which the norm would cancel; coarse logits are made while ``deep_supervision`` is
    on alone.

    The defaults are the 2D network of the residual-encoder presets at seven stages with a third of
    their width. nnU-Net's own: ``widths=(32, 64, 128, 256, 512, 512, 512)`` in 2D, at most 320 in
    3D; ``encoder="plain", blocks=2, convs=2`` for the plain one. Parameters in 3D, six stages, 1
    channel, 3 classes: residual 102.3 M, plain 31.2 M (dynamic-network-architectures 0.4.4: the
    same plus biases).

    Attributes:
      widths: channels of each stage, finest first.
      blocks: residual blocks (plain: convolutions) of each encoder stage; one number for all.
      convs: convolutions of each decoder stage.
      encoder: residual or plain.
      flat: stages, from the finest, that do not look along the first axis of a volume: kernels
        1×3×3, and strides 1×2×2 into the next; for thick slices.
      deep_supervision: also give logits of every coarser decoder level, in ``aux["deep"]``, finest
        (1/2) first.
      norm: instance, batch, group or none.
      dropout: rate after the first convolution of an encoder block while training with a key; drops
        whole channels.
      dims: 2 or 3.
      dtype: of the activations; variables and logits are float32 always.
    """

    widths: tuple[int, ...] = (16, 32, 64, 128, 160, 160)
    blocks: int | tuple[int, ...] = (1, 3, 4, 6, 6, 6)
    convs: int = 1
    encoder: Literal["residual", "plain"] = "residual"
    flat: int = 0
    deep_supervision: bool = False
    norm: layers.NormKind = "instance"
    dropout: float = 0.0
    dims: Literal[2, 3] = 2
    dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))
        stages = len(self.widths)
        if not isinstance(self.blocks, int):
            blocks = tuple(self.blocks)
            object.__setattr__(self, "blocks", blocks)
            if len(blocks) != stages:
                raise ValueError(f"ResEncUNet: {len(blocks)} numbers of blocks for {stages} stages")
        if self.flat and self.dims == 2:
            raise ValueError("ResEncUNet: flat stages are for volumes (dims 3)")
        if not 0 <= self.flat < stages:
            raise ValueError(
                f"ResEncUNet: flat is {self.flat}; it must be less than the {stages} stages"
            )

    def counts(self) -> tuple[int, ...]:
        """Blocks of each encoder stage.

        >>> ResEncUNet((8, 16), blocks=2).counts()
        (2, 2)
        """
        if isinstance(self.blocks, int):
            return (self.blocks,) * len(self.widths)
        return self.blocks

    def factor(self, stage: int) -> tuple[int, ...]:
        """By how much each axis shrinks from the stage before to ``stage``, which is at least 1.

        >>> ResEncUNet((8, 16, 32), blocks=1, flat=1, dims=3).factor(1)
        (1, 2, 2)
        >>> ResEncUNet((8, 16, 32), blocks=1, flat=1, dims=3).factor(2)
        (2, 2, 2)
        """
        if self.flat and stage <= self.flat:
            return (1, 2, 2)
        return (2,) * self.dims

    @property
    def block(self) -> int | tuple[int, ...]:
        full = 2 ** (len(self.widths) - 1)
        if self.flat:
            return (full // 2**self.flat, full, full)
        return full

    def module(
        self,
        channels: int,
        classes: int,
        normals: layers.Normals,
        size: tuple[int, ...],
    ) -> nnx.Module:
        return _Module(self, channels, classes, normals)


class _Conv(nnx.Module):
    """Convolution, dropout, norm, leaky ReLU if ``act``.

    Args:
      net: the network.
      channels: of the input.
      out: channels of the output.
      flat: a 2D convolution of every slice, with the depth folded into the batch.
      normals: of the initial weights.
      size: of the kernel.
      down: factor by which each axis shrinks; None to keep the size.
      rate: of the dropout.
      act: whether an activation follows.
    """

    def __init__(
        self,
        net: ResEncUNet,
        channels: int,
        out: int,
        *,
        flat: bool,
        normals: layers.Normals,
        size: int = 3,
        down: tuple[int, ...] | None = None,
        rate: float = 0.0,
        act: bool = True,
    ):
        self.act = act
        self.rate = rate
        self.flat = flat and size > 1
        # into the first full stage: the kernel is 3×3×3 and the stride 1×2×2
        self.thin = not flat and down == (1, 2, 2)
        stride = 1
        if down is not None and not self.thin:
            stride = 2
        self.conv = layers.Conv(
            channels,
            out,
            size=size,
            dims=2 if self.flat else net.dims,
            stride=stride,
            bias=net.norm == "none",
            normals=normals,
        )
        self.norm = layers.make_norm(out, net.norm)

    def __call__(self, x: jax.Array, train: bool, key: jax.Array | None = None) -> jax.Array:
        if self.flat:
            y = self.conv(x.reshape(-1, *x.shape[2:]))
            y = y.reshape(x.shape[0], -1, *y.shape[1:])
        else:
            y = self.conv(x)
        if self.thin:
            y = y[:, :, ::2, ::2]
        y = self.norm(layers.dropout(y, self.rate, key, spatial=True), train)
        if self.act:
            return _leaky(y)
        return y


class _Residual(nnx.Module):
    """leaky(conv2(conv1(x)) + project(pool(x)))."""

    def __init__(
        self,
        net: ResEncUNet,
        channels: int,
        out: int,
        *,
        flat: bool,
        down: tuple[int, ...] | None,
        normals: layers.Normals,
    ):
        self.down = down
        make = functools.partial(_Conv, net, flat=flat, normals=normals)
        self.conv1 = make(channels, out, down=down, rate=net.dropout)
        self.conv2 = make(out, out, act=False)
        self.projects = channels != out
        if self.projects:
            self.project = make(channels, out, size=1, act=False)

    def __call__(self, x: jax.Array, train: bool, key: jax.Array | None) -> jax.Array:
        y = self.conv2(self.conv1(x, train, key), train)
        if self.down is not None:
            x = layers.block_mean(x, self.down)
        if self.projects:
            x = self.project(x, train)
        return _leaky(y + x)


class _Module(nnx.Module):
    """Variables: stem, down0block0 …, join… (transposed convolutions), up…conv0 …, head, head1 …"""

    def __init__(self, net: ResEncUNet, channels: int, classes: int, normals: layers.Normals):
        self.net = net
        block: Any = functools.partial(_Conv, rate=net.dropout)
        given = channels
        if net.encoder == "residual":
            block = _Residual
            given = net.widths[0]
            self.stem = _Conv(net, channels, given, flat=net.flat > 0, normals=normals)
        for i, width in enumerate(net.widths):
            down = net.factor(i) if i > 0 else None
            for j in range(net.counts()[i]):
                part = block(net, given, width, flat=i < net.flat, down=down, normals=normals)
                setattr(self, f"down{i}block{j}", part)
                given = width
                down = None
        for i in reversed(range(len(net.widths) - 1)):
            width = net.widths[i]
            factor = net.factor(i + 1)
            join = layers.UpConv(net.widths[i + 1], width, factor=factor, normals=normals)
            setattr(self, f"join{i}", join)
            given = 2 * width
            for j in range(net.convs):
                conv = _Conv(net, given, width, flat=i < net.flat, normals=normals)
                setattr(self, f"up{i}conv{j}", conv)
                given = width
            if i > 0 and net.deep_supervision:
                head = layers.Conv(width, classes, size=1, dims=net.dims, normals=normals)
                setattr(self, f"head{i}", head)
        self.head = layers.Conv(net.widths[0], classes, size=1, dims=net.dims, normals=normals)

    def __call__(
        self,
        x: jax.Array,
        train: bool,
        key: jax.Array | None,
    ) -> ModuleOutput:
        skips: list[jax.Array] = []
        deep: list[jax.Array] = []
        if self.net.encoder == "residual":
            x = self.stem(x, train)
        for i, count in enumerate(self.net.counts()):
            for j in range(count):
                block_key = layers.subkey(key, 100 * i + j)
                x = getattr(self, f"down{i}block{j}")(x, train, block_key)
            skips.append(x)
        for i in reversed(range(len(self.net.widths) - 1)):
            x = jnp.concatenate([getattr(self, f"join{i}")(x), skips[i]], -1)
            for j in range(self.net.convs):
                x = getattr(self, f"up{i}conv{j}")(x, train)
            if i > 0 and self.net.deep_supervision:
                deep.insert(0, getattr(self, f"head{i}")(x))
        aux: dict[str, Any] = {"features": x}
        if self.net.deep_supervision:
            aux["deep"] = deep
        return self.head(x), aux


def from_torch(state_dict: Mapping[str, Any]) -> Params:
    """Variables of ``ResEncUNet(deep_supervision=True)`` from nnU-Net's ``ResidualEncoderUNet`` or
    ``PlainConvUNet``.

    Biases of convolutions before a norm have no effect and are left out, as are the second names
    the classes give to their weights.
    """
    numbers = [name.split(".")[2] for name in state_dict if name.startswith("encoder.stages.")]
    stages = 1 + max(map(int, numbers))
    encoder = r"encoder\.stages\.(\d+)\."
    block = encoder + r"blocks\.(\d+)\."
    decoder = r"decoder\.stages\.(\d+)\."
    rules: list[Rule] = []
    for theirs, ours in (
        (r"conv\.weight", "conv.kernel"),
        (r"norm\.weight", "norm.scale"),
        (r"norm\.bias", "norm.bias"),
    ):
        rules += [
            (r"encoder\.stem\.convs\.0\." + theirs, "stem." + ours, _flat_kernel),
            (block + r"(conv[12])\." + theirs, r"down\1block\2.\3." + ours, _flat_kernel),
            (block + r"skip\.\d\." + theirs, r"down\1block\2.project." + ours),
            (encoder + r"0\.convs\.(\d+)\." + theirs, r"down\1block\2." + ours, _flat_kernel),
            (decoder + r"convs\.(\d+)\." + theirs, r"up-\1-conv\2." + ours, _flat_kernel),
        ]
    rules += [
        (r"decoder\.transpconvs\.(\d+)\.weight", r"join-\1.kernel", transposed),
        (r"decoder\.transpconvs\.(\d+)\.bias", r"join-\1.bias"),
        *layer(r"decoder\.seg_layers\.(\d+)", r"head-\1"),
    ]
    unused = r".*all_modules.*|decoder\.encoder\..*|.*\.conv\.bias"
    weights = mapped(state_dict, rules, "ResEncUNet", unused=unused)
    for name in [name for name in weights if "-" in name]:
        kind, number, *rest = name.split("-")
        level = stages - 2 - int(number)  # nnU-Net counts decoder stages from the coarsest
        ours = f"{kind}{level}" + "".join(rest)
        if ours == "head0":
            ours = "head"
        weights[ours] = weights.pop(name)
    return Params(weights, {})


def _flat_kernel(weight: np.ndarray) -> np.ndarray:
    """A kernel, without the depth of 1 that a flat stage's has in PyTorch."""
    if weight.ndim == 5 and weight.shape[2:] == (1, 3, 3):
        return last(weight[:, :, 0])
    return last(weight)
