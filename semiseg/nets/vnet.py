"""V-Net: residual stages of large convolutions, down and up by convolutions of stride 2."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from semiseg.nets import layers
from semiseg.nets.from_torch.rules import (
    Rule,
    layer,
    mapped,
    norm_only,
    split_state,
    transposed,
)
from semiseg.nets.network import ModuleOutput, Network, freeze_stages
from semiseg.types import Params


@dataclasses.dataclass(frozen=True)
class VNet(Network):
    """V-Net of Milletari, Navab & Ahmadi, 3DV 2016 (fig. 2 and table 1), in 3D or 2D.

    Each stage adds its input to the result of its convolutions; downward 2×2×2 convolutions of
    stride 2 double the channels, upward transposed ones halve them. Deliberate differences: a norm
    after each convolution (``norm="none"`` is the paper), which then has no bias; the image is
    repeated over the channels of the first stage to be added to it; logits, for a softmax, of any
    number of classes.

    Parameters of the figure, 1 channel, 2 classes, without norms: 65.18 M (the paper gives none;
    the test counts the figure by hand). In MONAI's arrangement, ``VNet(convs=(1, 1, 2, 3, 2),
    ups=(2, 2, 1, 1), activation="elu", head="conv")``: 45.60 M, as MONAI 1.6. The V-Net of SSL4MIS
    has no residuals and adds its skips: it is :class:`~semiseg.nets.plain_vnet.PlainVNet`.

    Attributes:
      width: channels of the finest stage; they double with each level.
      convs: convolutions of each stage on the way down, finest first, the bottom last.
      ups: convolutions of each stage on the way up, coarsest first.
      kernel: side of the convolutions, 5 or 3.
      activation: ``prelu`` (a slope a channel, .25 at first), ``elu`` or ``relu``.
      head: ``plain`` is the figure's 1×1×1 convolution; ``conv`` is MONAI's 5×5×5 one to the
        classes with norm and activation before it.
      dropout: rate at which whole channels are dropped in the two coarsest levels while training
        with a key.
      norm: batch, instance, group or none.
      dims: 2 or 3.
      dtype: of the activations; variables and logits are float32 always.
    """

    width: int = 16
    convs: tuple[int, ...] = (1, 2, 3, 3, 3)
    ups: tuple[int, ...] = (3, 3, 2, 1)
    kernel: Literal[3, 5] = 5
    activation: Literal["prelu", "elu", "relu"] = "prelu"
    head: Literal["plain", "conv"] = "plain"
    dropout: float = 0.0
    norm: layers.NormKind = "batch"
    dims: Literal[2, 3] = 3
    dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        freeze_stages(self, "convs", "ups", "stages")

    @property
    def linear_head(self) -> bool:
        return self.head == "plain"

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


class _Act(nnx.Module):
    """The activation. Variables: slope ``(C,)`` of a parametric ReLU (He et al., ICCV 2015)."""

    def __init__(self, net: VNet, width: int):
        self.kind = net.activation
        if net.activation == "prelu":
            self.slope = nnx.Param(jnp.full(width, 0.25))

    def __call__(self, x: jax.Array) -> jax.Array:
        if self.kind == "prelu":
            slope = layers.along_channels(self.slope[...].astype(x.dtype), x.ndim)
            return jnp.where(x > 0, x, x * slope)
        if self.kind == "elu":
            return jax.nn.elu(x)
        return jax.nn.relu(x)


class _NormAct(_Act):
    """Norm and activation. Variables: those of the norm, and the slope."""

    def __init__(self, net: VNet, width: int):
        super().__init__(net, width)
        self.norm = layers.make_norm(width, net.norm)

    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        return super().__call__(self.norm(x, train))


class _Stage(nnx.Module):
    """act(x + (conv, norm, act) × n (x)); the first stage's convolution changes the channels, and
    its activation comes after the sum alone.
    """

    def __init__(self, net: VNet, channels: int, width: int, convs: int, normals: layers.Normals):
        self.net = net
        self.width = width
        self.convs = convs
        self.enters = channels != width
        for i in range(convs):
            conv = layers.Conv(
                channels,
                width,
                size=net.kernel,
                dims=net.dims,
                bias=net.norm == "none",
                normals=normals,
            )
            setattr(self, f"conv{i}", conv)
            if self.enters and i == convs - 1:
                self.norm = layers.make_norm(width, net.norm)
            else:
                setattr(self, f"act{i}", _NormAct(net, width))
            channels = width
        self.last = _Act(net, width)

    def __call__(self, y: jax.Array, x: jax.Array, train: bool) -> jax.Array:
        """``y`` is ``x`` after dropout; the residual is ``x``."""
        for i in range(self.convs):
            y = getattr(self, f"conv{i}")(y)
            if self.enters and i == self.convs - 1:
                y = self.norm(y, train)
            else:
                y = getattr(self, f"act{i}")(y, train)
        if self.enters:
            copies = -(-self.width // x.shape[-1])
            x = jnp.tile(x, (*(1,) * (x.ndim - 1), copies))[..., : self.width]
        return self.last(x + y)


class _Module(nnx.Module):
    """Variables: down0 …, into1 (stride 2), enter1 (its norm and activation) …; out…, leave…, up…
    the same upward; (last, final,) head.
    """

    def __init__(self, net: VNet, channels: int, classes: int, normals: layers.Normals):
        self.net = net
        bias = net.norm == "none"
        widths = [net.width * 2**i for i in range(len(net.convs))]
        for i, convs in enumerate(net.convs):
            given = channels
            if i > 0:
                given = widths[i]
                into = layers.PatchEmbed(
                    widths[i - 1],
                    given,
                    2,
                    dims=net.dims,
                    bias=bias,
                    normals=normals,
                )
                setattr(self, f"into{i}", into)
                setattr(self, f"enter{i}", _NormAct(net, given))
            setattr(self, f"down{i}", _Stage(net, given, widths[i], convs, normals))
        below = widths[-1]
        for i, convs in zip(reversed(range(len(net.ups))), net.ups, strict=True):
            out = layers.UpConv(below, widths[i], dims=net.dims, normals=normals)
            setattr(self, f"out{i}", out)
            setattr(self, f"leave{i}", _NormAct(net, widths[i]))
            below = 2 * widths[i]
            setattr(self, f"up{i}", _Stage(net, below, below, convs, normals))
        if net.head == "conv":
            self.last = layers.Conv(
                below,
                classes,
                size=5,
                dims=net.dims,
                bias=bias,
                normals=normals,
            )
            self.final = _NormAct(net, classes)
            below = classes
        self.head = layers.Conv(below, classes, size=1, dims=net.dims, normals=normals)

    def __call__(
        self,
        x: jax.Array,
        train: bool,
        key: jax.Array | None,
    ) -> ModuleOutput:
        levels = len(self.net.convs)
        skips = []
        for i in range(levels):
            if i > 0:
                x = getattr(self, f"enter{i}")(getattr(self, f"into{i}")(x), train)
            y = x
            if i >= levels - 2:
                y = layers.dropout(x, self.net.dropout, layers.subkey(key, i), spatial=True)
            x = getattr(self, f"down{i}")(y, x, train)
            skips.append(x)
        for i in reversed(range(levels - 1)):
            y = getattr(self, f"leave{i}")(getattr(self, f"out{i}")(x), train)
            x = jnp.concatenate([y, skips[i]], -1)
            x = getattr(self, f"up{i}")(x, x, train)
        aux = {"features": x}
        if self.net.head == "conv":
            x = self.final(self.last(x), train)
        return self.head(x), aux


def from_torch(state_dict: Mapping[str, Any]) -> Params:
    """Variables of ``VNet(convs=(1, 1, 2, 3, 2), ups=(2, 2, 1, 1), activation="elu", head="conv")``
    from the state dict of MONAI's ``VNet``.
    """
    down = r"down_tr(\d+)\."
    up = r"up_tr(\d+)\."
    rules: list[Rule] = [
        (r"in_tr\.conv_block\.conv\.weight", "down0.conv0.kernel"),
        *norm_only(r"in_tr\.conv_block\.adn\.N", "down0.norm"),
        (down + r"down_conv\.weight", r"into-\1.kernel"),
        *norm_only(down + "bn1", r"enter-\1.norm"),
        (down + r"ops\.(\d)\.conv_block\.conv\.weight", r"down-\1.conv\2.kernel"),
        *norm_only(down + r"ops\.(\d)\.conv_block\.adn\.N", r"down-\1.act\2.norm"),
        (up + r"up_conv\.weight", r"out-\1.kernel", transposed),
        (up + r"up_conv\.bias", r"out-\1.bias"),
        *norm_only(up + "bn1", r"leave-\1.norm"),
        (up + r"ops\.(\d)\.conv_block\.conv\.weight", r"up-\1.conv\2.kernel"),
        *norm_only(up + r"ops\.(\d)\.conv_block\.adn\.N", r"up-\1.act\2.norm"),
        (r"out_tr\.conv_block\.conv\.weight", "last.kernel"),
        *norm_only(r"out_tr\.conv_block\.adn\.N", "final.norm"),
        *layer(r"out_tr\.conv2", "head"),
    ]
    nested = mapped(state_dict, rules, "VNet", unused=r".*num_batches_tracked")
    for name in [name for name in nested if "-" in name]:
        kind, channels = name.split("-")
        # MONAI names a stage by its channels, on the way up by those after the join
        level = int(np.log2(int(channels) // 16))
        if kind not in ("into", "down", "enter"):
            level -= 1
        nested[f"{kind}{level}"] = nested.pop(name)
    return split_state(nested)
