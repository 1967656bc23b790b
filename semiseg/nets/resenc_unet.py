"""The U-Nets of nnU-Net: plain and with a residual encoder, deep supervision, in 2D and 3D."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx

from semiseg.nets import layers
from semiseg.nets.from_torch.rules import last, mapped, transposed
from semiseg.nets.network import Network
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
    dims: Literal[2, 3] = 2  # type: ignore[assignment]
    dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))
        if not isinstance(self.blocks, int):
            object.__setattr__(self, "blocks", tuple(self.blocks))
            if len(self.blocks) != len(self.widths):  # type: ignore[arg-type]
                raise ValueError(
                    f"ResEncUNet: {len(self.blocks)} numbers of blocks for {len(self.widths)} "
                    f"stages"
                )  # type: ignore[arg-type]
        if self.flat and self.dims == 2:
            raise ValueError("ResEncUNet: flat stages are for volumes (dims 3)")
        if not 0 <= self.flat < len(self.widths):
            raise ValueError(
                f"ResEncUNet: flat is {self.flat}; it must be less than the {len(self.widths)} "
                f"stages"
            )

    def counts(self) -> tuple[int, ...]:
        """Blocks of each encoder stage."""
        return (self.blocks,) * len(self.widths) if isinstance(self.blocks, int) else self.blocks

    @property
    def block(self) -> int | tuple[int, ...]:
        full = 2 ** (len(self.widths) - 1)
        return (full // 2**self.flat, full, full) if self.flat else full

    def module(
        self, channels: int, classes: int, normals: layers.Normals, size: tuple[int, ...]
    ) -> nnx.Module:
        return _Module(self, channels, classes, normals)


class _Conv(nnx.Module):
    """Convolution, norm, leaky ReLU if ``act``; where a stage is flat a 2D convolution of every
    slice, with the depth folded into the batch.
    """

    def __init__(
        self, net: ResEncUNet, channels: int, out: int, *, flat: bool, normals: layers.Normals, size: int = 3, stride: int = 1,
        flat_stride: bool = False, act: bool = True,
    ):  # fmt: skip
        self.act, self.thin = act, flat_stride and stride > 1 and not flat
        self.flat = flat and size > 1
        dims = 2 if self.flat else net.dims
        self.conv = layers.Conv(
            channels,
            out,
            size=size,
            dims=dims,
            stride=1 if self.thin else stride,
            bias=net.norm == "none",
            normals=normals,
        )
        self.norm = None if net.norm == "none" else layers.Norm(out, net.norm)

    def __call__(
        self, x: jax.Array, train: bool, rate: float = 0.0, key: jax.Array | None = None
    ) -> jax.Array:
        if self.thin:  # into the first full stage: the kernel is 3×3×3 and the stride 1×2×2
            y = self.conv(x)[:, :, ::2, ::2]
        elif self.flat:
            y = self.conv(x.reshape(-1, *x.shape[2:]))
            y = y.reshape(x.shape[0], -1, *y.shape[1:])
        else:
            y = self.conv(x)
        y = layers.dropout(y, rate, key, spatial=True)
        y = y if self.norm is None else self.norm(y, train)
        return _leaky(y) if self.act else y


def _pool(x: jax.Array, factor: tuple[int, ...]) -> jax.Array:
    """Mean over blocks."""
    cut = x.reshape(
        x.shape[0], *(m for n, f in zip(x.shape[1:-1], factor) for m in (n // f, f)), x.shape[-1]
    )
    return cut.mean(tuple(range(2, 2 * len(factor) + 1, 2)))


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
        self.net, self.down = net, down
        make = functools.partial(_Conv, net, flat=flat, normals=normals)
        self.conv1 = make(
            channels,
            out,
            stride=2 if down else 1,
            flat_stride=down is not None and net.dims == 3 and down[:1] == (1,),
        )
        self.conv2 = make(out, out, act=False)
        self.project = make(channels, out, size=1, act=False) if channels != out else None

    def __call__(self, x: jax.Array, train: bool, key: jax.Array | None) -> jax.Array:
        y = self.conv2(self.conv1(x, train, self.net.dropout, key), train)
        short = x if self.down is None else _pool(x, self.down)
        return _leaky(y + (short if self.project is None else self.project(short, train)))


class _Plain(_Conv):
    """One convolution of a plain stage."""

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
        thin = down is not None and net.dims == 3 and down[0] == 1
        super().__init__(
            net,
            channels,
            out,
            flat=flat,
            normals=normals,
            stride=2 if down else 1,
            flat_stride=thin,
        )
        self.rate = net.dropout

    def __call__(self, x: jax.Array, train: bool, key: jax.Array | None) -> jax.Array:  # type: ignore[override]
        return super().__call__(x, train, self.rate, key)


class _Up(nnx.Module):
    """Transposed convolution whose stride is its kernel."""

    def __init__(self, channels: int, out: int, factor: tuple[int, ...], normals: layers.Normals):
        self.kernel = nnx.Param(normals.he((*factor, channels, out), channels))
        self.bias = nnx.Param(jnp.zeros(out))

    def __call__(self, x: jax.Array) -> jax.Array:
        return layers.up_conv(x, self.kernel[...].astype(x.dtype)) + self.bias[...].astype(
            x.dtype
        ).reshape((1,) * (x.ndim - 1) + (-1,))


class _Module(nnx.Module):
    """Variables: stem, down0block0 …, join… (transposed convolutions), up…conv0 …, head, head1 …"""

    def __init__(self, net: ResEncUNet, channels: int, classes: int, normals: layers.Normals):
        self.net = net
        factor = lambda i: (
            (1, 2, 2) if i <= net.flat and net.flat else (2,) * net.dims
        )  # from stage i − 1 to i
        if net.encoder == "residual":
            self.stem = _Conv(net, channels, net.widths[0], flat=net.flat > 0, normals=normals)
        block = _Residual if net.encoder == "residual" else _Plain
        width = net.widths[0] if net.encoder == "residual" else channels
        for i, count in enumerate(net.counts()):
            for j in range(count):
                down = factor(i) if i and not j else None
                setattr(
                    self,
                    f"down{i}block{j}",
                    block(net, width, net.widths[i], flat=i < net.flat, down=down, normals=normals),
                )
                width = net.widths[i]
        for i in reversed(range(len(net.widths) - 1)):
            setattr(self, f"join{i}", _Up(net.widths[i + 1], net.widths[i], factor(i + 1), normals))
            for j in range(net.convs):
                conv = _Conv(
                    net,
                    net.widths[i] if j else 2 * net.widths[i],
                    net.widths[i],
                    flat=i < net.flat,
                    normals=normals,
                )
                setattr(self, f"up{i}conv{j}", conv)
            if i and net.deep_supervision:
                setattr(
                    self,
                    f"head{i}",
                    layers.Conv(net.widths[i], classes, size=1, dims=net.dims, normals=normals),
                )
        self.head = layers.Conv(net.widths[0], classes, size=1, dims=net.dims, normals=normals)

    def __call__(
        self, x: jax.Array, train: bool, key: jax.Array | None
    ) -> tuple[jax.Array, dict[str, Any]]:
        skips: list[jax.Array] = []
        deep: list[jax.Array] = []
        if self.net.encoder == "residual":
            x = self.stem(x, train)
        for i, count in enumerate(self.net.counts()):
            for j in range(count):
                x = getattr(self, f"down{i}block{j}")(
                    x, train, None if key is None else jax.random.fold_in(key, 100 * i + j)
                )
            skips.append(x)
        for i in reversed(range(len(self.net.widths) - 1)):
            x = jnp.concatenate([getattr(self, f"join{i}")(x), skips[i]], -1)
            for j in range(self.net.convs):
                x = getattr(self, f"up{i}conv{j}")(x, train)
            if i and self.net.deep_supervision:
                deep.insert(0, getattr(self, f"head{i}")(x))
        aux: dict[str, Any] = {"features": x}
        return self.head(x), aux | {"deep": deep} if self.net.deep_supervision else aux


def from_torch(state_dict: Mapping[str, Any]) -> Params:
    """Variables of ``ResEncUNet(deep_supervision=True)`` from nnU-Net's ``ResidualEncoderUNet`` or
    ``PlainConvUNet``.

    Biases of convolutions before a norm have no effect and are left out, as are the second names
    the classes give to their weights.
    """
    stages = 1 + max(
        int(name.split(".")[2]) for name in state_dict if name.startswith("encoder.stages.")
    )
    thin = lambda w: last(
        w[:, :, 0] if w.ndim == 5 and w.shape[2:] == (1, 3, 3) else w
    )  # flat stages fold the depth away
    rules: list[Any] = []
    for theirs, ours in (
        ("conv.weight", "conv.kernel"),
        ("norm.weight", "norm.scale"),
        ("norm.bias", "norm.bias"),
    ):
        e = theirs.replace(".", r"\.")
        rules += [
            (r"encoder\.stem\.convs\.0\." + e, "stem." + ours, thin),
            (
                r"encoder\.stages\.(\d+)\.blocks\.(\d+)\.(conv[12])\." + e,
                r"down\1block\2.\3." + ours,
                thin,
            ),
            (
                r"encoder\.stages\.(\d+)\.blocks\.(\d+)\.skip\.\d\." + e,
                r"down\1block\2.project." + ours,
            ),
            (r"encoder\.stages\.(\d+)\.0\.convs\.(\d+)\." + e, r"down\1block\2." + ours, thin),
            (r"decoder\.stages\.(\d+)\.convs\.(\d+)\." + e, r"up-\1-conv\2." + ours, thin),
        ]
    rules += [
        (r"decoder\.transpconvs\.(\d+)\.weight", r"join-\1.kernel", transposed),
        (r"decoder\.transpconvs\.(\d+)\.bias", r"join-\1.bias"),
        (r"decoder\.seg_layers\.(\d+)\.weight", r"head-\1.kernel"),
        (r"decoder\.seg_layers\.(\d+)\.bias", r"head-\1.bias"),
    ]
    weights = mapped(
        state_dict,
        rules,
        "ResEncUNet",
        unused=r".*all_modules.*|decoder\.encoder\..*|.*\.conv\.bias",
    )
    for name in [n for n in weights if "-" in n]:
        kind, level, *rest = name.split("-")
        level = str(stages - 2 - int(level))  # nnU-Net counts decoder stages from the coarsest
        weights[kind + ("" if kind == "head" and level == "0" else level) + "".join(rest)] = (
            weights.pop(name)
        )
    return Params(weights, {})
