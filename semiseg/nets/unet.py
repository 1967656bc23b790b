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
from semiseg.nets.from_torch.rules import Rule, conv_norm, mapped, to_params, transposed
from semiseg.nets.network import Network
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

    ``UNet(norm="batch", dropout=(.05, .1, .2, .3, .5), head=3)`` is the network of SSL4MIS with 2×2
    transposed convolutions (1.94 M parameters).

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
        convolution, norm, activation) or ``transpose3`` (3×3, norm, activation).
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
    up: Literal["transpose", "plain", "nearest", "transpose3"] = "transpose"

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "widths", tuple(self.widths)
        )  # YAML gives lists, and a net must be hashable
        if len(self.widths) < 2:
            raise ValueError(
                f"{type(self).__name__}: widths needs at least two levels, not {self.widths}"
            )
        if not isinstance(self.dropout, float | int):
            object.__setattr__(self, "dropout", tuple(self.dropout))
            if len(self.dropout) != len(self.widths):  # type: ignore[arg-type]
                raise FieldError(
                    f"{type(self).__name__}: dropout has {len(self.dropout)} rates for "
                    f"{len(self.widths)} levels",
                    field="dropout",
                )

    def rates(self) -> tuple[float, ...]:
        """Dropout rate of each encoder level."""
        return (
            self.dropout
            if isinstance(self.dropout, tuple)
            else (float(self.dropout),) * len(self.widths)
        )

    @property
    def block(self) -> int:
        return 2 ** (len(self.widths) - 1)

    def module(
        self, channels: int, classes: int, normals: layers.Normals, size: tuple[int, ...]
    ) -> nnx.Module:
        return _Module(self, channels, classes, normals)

    # what a variant replaces
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

    def merge(self, channels: int, out: int, normals: layers.Normals) -> nnx.Module:
        """Block of a decoder level, on skip and upsampled activations side by side."""
        return self.stage(channels, out, 0.0, 1, normals)

    def upsampling(
        self, channels: int, out: int, normals: layers.Normals
    ) -> tuple[nnx.Module | None, int]:
        """To the next finer level, called with ``(x, train)``, None for the bare pixels twice; and
        how many channels it gives.
        """
        if self.up == "plain":
            return None, channels
        return (
            layers.UpConv(channels, out, dims=self.dims, normals=normals)
            if self.up == "transpose"
            else Up(self, channels, out, normals)
        ), out

    def gate(self, skip: int, coarse: int, normals: layers.Normals) -> nnx.Module | None:
        """What a skip connection passes through, called with ``(skip, upsampled, coarse, train)``;
        ``skip`` and ``coarse`` are numbers of channels.
        """
        return None

    def act(self, x: jax.Array) -> jax.Array:
        """The activation."""
        return (
            jax.nn.leaky_relu(x, self.slope)
            if self.activation == "leaky_relu"
            else ACTIVATIONS[self.activation](x)
        )

    def normalisation(self, channels: int) -> layers.Norm:
        """The norm after a convolution."""
        return layers.Norm(
            channels, self.norm, groups=self.groups, momentum=self.momentum, eps=self.eps
        )


class Block(nnx.Module):
    """(convolution, norm, activation) × convs, dropout after the first; its first convolution may
    have a stride.
    """

    def __init__(
        self, net: UNet, channels: int, out: int, rate: float, stride: int, normals: layers.Normals
    ):
        self.net, self.rate = net, rate
        for i in range(net.convs):
            first = i == 0
            conv = layers.Conv(
                channels if first else out,
                out,
                dims=net.dims,
                stride=stride if first else 1,
                bias=net.norm == "none",
                normals=normals,
            )
            setattr(self, f"conv{i}", conv)
            if net.norm != "none":
                setattr(self, f"norm{i}", net.normalisation(out))

    def __call__(self, x: jax.Array, train: bool, key: jax.Array | None) -> jax.Array:
        for i in range(self.net.convs):
            x = getattr(self, f"conv{i}")(x)
            if self.net.norm != "none":
                x = getattr(self, f"norm{i}")(x, train)
            x = self.net.act(x)
            if i == 0:
                x = layers.dropout(x, self.rate, key, self.net.spatial_dropout)
        return x


class Up(nnx.Module):
    """To twice the size: see ``UNet.up``. Called with ``train``."""

    def __init__(self, net: UNet, channels: int, out: int, normals: layers.Normals):
        self.net = net
        self.conv = (layers.TransposedConv if net.up == "transpose3" else layers.Conv)(
            channels, out, dims=net.dims, bias=net.norm == "none", normals=normals
        )
        self.norm = None if net.norm == "none" else net.normalisation(out)

    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        if self.net.up == "nearest":
            x = nearest(x)
        x = self.conv(x)
        return self.net.act(x if self.norm is None else self.norm(x, train))


class _Module(nnx.Module):
    """Variables of a U-Net: down0 … downL, up(L-1) … up0 with joinL-1 … join0 (to twice the size),
    gate0 …, head, head1 …
    """

    def __init__(self, net: UNet, channels: int, classes: int, normals: layers.Normals):
        self.net = net
        for i, width in enumerate(net.widths):
            stride = 2 if i and net.down == "stride" else 1
            setattr(
                self,
                f"down{i}",
                net.stage(
                    net.widths[i - 1] if i else channels,
                    width,
                    net.rates()[i],
                    stride,
                    normals,
                    first=i == 0,
                ),
            )
        for i in reversed(range(len(net.widths) - 1)):
            width = net.widths[i]
            join, given = net.upsampling(net.widths[i + 1], width, normals)
            setattr(self, f"join{i}", join)
            setattr(self, f"up{i}", net.merge(width + given, width, normals))
            setattr(self, f"gate{i}", net.gate(width, net.widths[i + 1], normals))
            if i and net.deep_supervision:
                setattr(
                    self,
                    f"head{i}",
                    layers.Conv(width, classes, size=1, dims=net.dims, normals=normals),
                )
        self.head = layers.Conv(
            net.widths[0], classes, size=net.head, dims=net.dims, normals=normals
        )

    def __call__(
        self, x: jax.Array, train: bool, key: jax.Array | None
    ) -> tuple[jax.Array, dict[str, Any]]:
        skips: list[jax.Array] = []
        deep: list[jax.Array] = []
        for i in range(len(self.net.widths)):
            key_i = None if key is None else jax.random.fold_in(key, i)
            x = getattr(self, f"down{i}")(
                layers.max_pool(x) if i and self.net.down == "pool" else x, train, key_i
            )
            skips.append(x)
        for i in reversed(range(len(self.net.widths) - 1)):
            gate, coarse = getattr(self, f"gate{i}"), x
            x = upsampled(getattr(self, f"join{i}"), x, train)
            skip = skips[i] if gate is None else gate(skips[i], x, coarse, train)
            x = getattr(self, f"up{i}")(jnp.concatenate([skip, x], -1), train, None)
            if i and self.net.deep_supervision:
                deep.insert(0, getattr(self, f"head{i}")(x))
        aux = {"features": x, "deep": deep} if self.net.deep_supervision else {"features": x}
        return self.head(x), aux


def upsampled(join: Any, x: jax.Array, train: bool) -> jax.Array:
    """``x`` through what :meth:`UNet.upsampling` made."""
    if join is None:
        return nearest(x)
    return join(x) if isinstance(join, layers.UpConv) else join(x, train)


def nearest(x: jax.Array) -> jax.Array:
    """Every pixel twice along every spatial axis."""
    shape = [x.shape[0], *(v for n in x.shape[1:-1] for v in (n, 1)), x.shape[-1]]
    twice = [x.shape[0], *(v for n in x.shape[1:-1] for v in (n, 2)), x.shape[-1]]
    return jnp.broadcast_to(x.reshape(shape), twice).reshape(
        x.shape[0], *(2 * n for n in x.shape[1:-1]), x.shape[-1]
    )


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
    block, ours = r"(?:convs\.)?conv_([01])", r"\2"
    lines: list[Rule] = []
    for theirs, name in (
        (r"conv_(0)\.", r"down\1."),
        (r"down_(\d)\.", r"down\1."),
        (r"upcat_(\d)\.", r"up-\1."),
    ):
        lines += conv_norm(
            theirs + block + r"\.conv",
            theirs + block + r"\.adn\.N",
            name + "conv" + ours,
            name + "norm" + ours,
        )
    lines += [
        (r"upcat_(\d)\.upsample\.deconv\.weight", r"join-\1.kernel", transposed),
        (r"upcat_(\d)\.upsample\.deconv\.bias", r"join-\1.bias"),
        (r"final_conv\.weight", "head.kernel"),
        (r"final_conv\.bias", "head.bias"),
    ]
    every = mapped(state_dict, lines, "UNet", unused=r".*num_batches_tracked")
    for name in [n for n in every if "-" in n]:
        kind, level = name.split("-")
        every[f"{kind}{int(level) - 1}"] = every.pop(name)
    return to_params(every)
