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
from semiseg.nets.from_torch.rules import mapped, transposed
from semiseg.nets.layers import PatchEmbed
from semiseg.nets.network import Network
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
    is ``VNet(kernel=3, activation="relu")``, up to its transitions, which are 2×2×2 as here.

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
    dims: Literal[2, 3] = 3  # type: ignore[assignment]
    dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        object.__setattr__(self, "convs", tuple(self.convs))
        object.__setattr__(self, "ups", tuple(self.ups))
        if len(self.ups) != len(self.convs) - 1:
            raise ValueError(
                f"VNet: {len(self.convs)} stages down need {len(self.convs) - 1} up, not "
                f"{len(self.ups)}"
            )

    @property
    def linear_head(self) -> bool:  # type: ignore[override]
        return self.head == "plain"

    @property
    def block(self) -> int:
        return 2 ** (len(self.convs) - 1)

    def module(
        self, channels: int, classes: int, normals: layers.Normals, size: tuple[int, ...]
    ) -> nnx.Module:
        return _Module(self, channels, classes, normals)


class _Act(nnx.Module):
    """(norm,) activation. Variables: those of the norm, and slope ``(C,)`` of a parametric ReLU (He
    et al. 2015).
    """

    def __init__(self, net: VNet, width: int, norm: bool = True):
        self.kind = net.activation
        self.norm = layers.Norm(width, net.norm) if norm and net.norm != "none" else None
        self.slope = nnx.Param(jnp.full(width, 0.25)) if net.activation == "prelu" else None

    def activate(self, x: jax.Array) -> jax.Array:
        if self.slope is not None:
            return jnp.where(
                x > 0, x, x * self.slope[...].astype(x.dtype).reshape((1,) * (x.ndim - 1) + (-1,))
            )
        return jax.nn.elu(x) if self.kind == "elu" else jax.nn.relu(x)

    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        return self.activate(x if self.norm is None else self.norm(x, train))


class _Stage(nnx.Module):
    """act(x + (conv, norm, act) × n (x)); the first stage's convolution changes the channels, and
    its activation comes after the sum alone.
    """

    def __init__(self, net: VNet, channels: int, width: int, convs: int, normals: layers.Normals):
        self.net, self.width, self.convs, self.enters = net, width, convs, channels != width
        for i in range(convs):
            conv = layers.Conv(
                channels if i == 0 else width,
                width,
                size=net.kernel,
                dims=net.dims,
                bias=net.norm == "none",
                normals=normals,
            )
            setattr(self, f"conv{i}", conv)
            if self.enters and i == convs - 1:
                self.norm = None if net.norm == "none" else layers.Norm(width, net.norm)
            else:
                setattr(self, f"act{i}", _Act(net, width))
        self.last = _Act(net, width, norm=False)

    def __call__(self, y: jax.Array, x: jax.Array, train: bool) -> jax.Array:
        """``y`` is ``x`` after dropout; the residual is ``x``."""
        for i in range(self.convs):
            y = getattr(self, f"conv{i}")(y)
            if self.enters and i == self.convs - 1:
                y = y if self.norm is None else self.norm(y, train)
            else:
                y = getattr(self, f"act{i}")(y, train)
        if self.enters:
            x = jnp.tile(x, (1,) * (x.ndim - 1) + (-(-self.width // x.shape[-1]),))[
                ..., : self.width
            ]
        return self.last.activate(x + y)


class _Module(nnx.Module):
    """Variables: down0 …, into1 (stride 2), enter1 (its norm and activation) …; out…, leave…, up…
    the same upward; (last, final,) head.
    """

    def __init__(self, net: VNet, channels: int, classes: int, normals: layers.Normals):
        self.net = net
        bias = net.norm == "none"
        width = lambda i: net.width * 2**i
        for i, convs in enumerate(net.convs):
            if i:
                setattr(
                    self,
                    f"into{i}",
                    PatchEmbed(
                        width(i - 1), width(i), 2, dims=net.dims, bias=bias, normals=normals
                    ),
                )
                setattr(self, f"enter{i}", _Act(net, width(i)))
            setattr(
                self, f"down{i}", _Stage(net, width(i) if i else channels, width(i), convs, normals)
            )
        below = width(len(net.convs) - 1)
        for i, convs in zip(reversed(range(len(net.ups))), net.ups):
            setattr(self, f"out{i}", layers.UpConv(below, width(i), dims=net.dims, normals=normals))
            setattr(self, f"leave{i}", _Act(net, width(i)))
            below = 2 * width(i)
            setattr(self, f"up{i}", _Stage(net, below, below, convs, normals))
        if net.head == "conv":
            self.last = layers.Conv(
                below, classes, size=5, dims=net.dims, bias=bias, normals=normals
            )
            self.final = _Act(net, classes)
        self.head = layers.Conv(
            below if net.head == "plain" else classes,
            classes,
            size=1,
            dims=net.dims,
            normals=normals,
        )

    def __call__(
        self, x: jax.Array, train: bool, key: jax.Array | None
    ) -> tuple[jax.Array, dict[str, Any]]:
        levels = len(self.net.convs)
        skips = []
        for i in range(levels):
            if i:
                x = getattr(self, f"enter{i}")(getattr(self, f"into{i}")(x), train)
            drop = None if key is None or i < levels - 2 else jax.random.fold_in(key, i)
            x = getattr(self, f"down{i}")(
                layers.dropout(x, self.net.dropout, drop, spatial=True), x, train
            )
            skips.append(x)
        for i in reversed(range(levels - 1)):
            y = getattr(self, f"leave{i}")(getattr(self, f"out{i}")(x), train)
            x = jnp.concatenate([y, skips[i]], -1)
            x = getattr(self, f"up{i}")(x, x, train)
        aux = {"features": x}
        return self.head(self.final(self.last(x), train) if self.net.head == "conv" else x), aux


def from_torch(state_dict: Mapping[str, Any]) -> Params:
    """Variables of ``VNet(convs=(1, 1, 2, 3, 2), ups=(2, 2, 1, 1), activation="elu", head="conv")``
    from the state dict of MONAI's ``VNet``.
    """
    down, up = r"down_tr(\d+)\.", r"up_tr(\d+)\."
    lines: list[Any] = [
        (r"in_tr\.conv_block\.conv\.weight", "down0.conv0.kernel"),
        (down + r"down_conv\.weight", r"into-\1.kernel"),
        (down + r"ops\.(\d)\.conv_block\.conv\.weight", r"down-\1.conv\2.kernel"),
        (up + r"up_conv\.weight", r"out-\1.kernel", transposed),
        (up + r"up_conv\.bias", r"out-\1.bias"),
        (up + r"ops\.(\d)\.conv_block\.conv\.weight", r"up-\1.conv\2.kernel"),
        (r"out_tr\.conv_block\.conv\.weight", "last.kernel"),
        (r"out_tr\.conv2\.weight", "head.kernel"),
        (r"out_tr\.conv2\.bias", "head.bias"),
    ]
    places = [
        (r"in_tr\.conv_block\.adn\.N", "down0.norm"),
        (down + "bn1", r"enter-\1.norm"),
        (down + r"ops\.(\d)\.conv_block\.adn\.N", r"down-\1.act\2.norm"),
        (up + "bn1", r"leave-\1.norm"),
        (up + r"ops\.(\d)\.conv_block\.adn\.N", r"up-\1.act\2.norm"),
        (r"out_tr\.conv_block\.adn\.N", "final.norm"),
    ]
    for pattern, target in places:
        for theirs, ours in (
            ("weight", "scale"),
            ("bias", "bias"),
            ("running_mean", "mean"),
            ("running_var", "var"),
        ):
            lines.append((rf"{pattern}\.{theirs}", f"{target}.{ours}"))
    every = mapped(state_dict, lines, "VNet", unused=r".*num_batches_tracked")
    for name in [n for n in every if "-" in n]:
        kind, number = name.split("-")
        level = int(
            np.log2(int(number) // 16)
        )  # MONAI names a stage by its channels, on the way up after the join
        every[f"{kind}{level if kind in ('into', 'down', 'enter') else level - 1}"] = every.pop(
            name
        )
    return Params(*_split(every))


def _split(tree: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Weights and running statistics of nested dicts that hold both."""
    weights: dict[str, Any] = {}
    state: dict[str, Any] = {}
    for name, part in tree.items():
        if isinstance(part, dict):
            inner = _split(part)
            weights |= {name: inner[0]} if inner[0] else {}
            state |= {name: inner[1]} if inner[1] else {}
        else:
            (state if name in ("mean", "var") else weights)[name] = part
    return weights, state
