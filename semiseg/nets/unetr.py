"""UNETR: a vision transformer as the encoder of a convolutional decoder."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx

from semiseg.nets import layers
from semiseg.nets.from_torch.rules import (
    Rule,
    layer,
    mapped,
    norm_only,
    renumbered,
    same,
    transposed,
)
from semiseg.nets.network import ModuleOutput, Network
from semiseg.types import Params

_leaky = functools.partial(jax.nn.leaky_relu, negative_slope=0.01)


@dataclasses.dataclass(frozen=True)
class UNETR(Network):
    """UNETR of Hatamizadeh et al., WACV 2022 (fig. 2), in 3D or 2D.

    Deliberate differences: the position embedding, learnt for the size of the first images, is
    interpolated linearly for others; the decoder blocks are residual (as in the authors' code; the
    figure shows plain ones) and their instance norms have a scale and a bias (the code's have
    none). With 12 blocks the figure reads the encoder after blocks 3, 6 and 9; the authors' code
    counts from zero and so reads after 4, 7 and 10, which is ``taps=(4, 7, 10)``.

    Parameters, 96³, 1 channel, 14 classes: 92.79 M (the paper: 92.58 M; MONAI 1.6: 92.80 M, of
    which 18 k of layer norms it never applies).

    Attributes:
      patch: side of a token, a power of two.
      hidden: channels of the transformer.
      mlp: hidden channels of its MLPs.
      heads: of its attention.
      depth: its blocks.
      taps: after which blocks the skips are read, finest skip first; one fewer than log2(patch).
      features: channels of the decoder at full resolution; they double with each level.
      qkv_bias: biases of queries, keys and values.
      dropout: rate within the transformer, while training with a key.
      norm: of the decoder.
      dims: 2 or 3.
      dtype: of the activations; variables and logits are float32 always.
    """

    patch: int = 16
    hidden: int = 768
    mlp: int = 3072
    heads: int = 12
    depth: int = 12
    taps: tuple[int, ...] = (3, 6, 9)
    features: int = 16
    qkv_bias: bool = False
    dropout: float = 0.0
    norm: layers.NormKind = "instance"
    dims: Literal[2, 3] = 3
    dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        object.__setattr__(self, "taps", tuple(self.taps))
        levels = self.patch.bit_length() - 1
        if self.patch != 2**levels or levels < 2:
            raise ValueError(f"UNETR: patch is {self.patch}; it must be a power of two from 4")
        rising = list(self.taps) == sorted(set(self.taps))
        inside = all(0 < tap <= self.depth for tap in self.taps)
        if len(self.taps) != levels - 1 or not rising or not inside:
            raise ValueError(
                f"UNETR: taps {self.taps} must be {levels - 1} rising numbers of blocks from 1 "
                f"to {self.depth} for a patch of {self.patch}"
            )
        layers.heads_divide("UNETR", [self.hidden], [self.heads])

    @property
    def block(self) -> int:
        return self.patch

    def module(
        self,
        channels: int,
        classes: int,
        normals: layers.Normals,
        size: tuple[int, ...],
    ) -> nnx.Module:
        return _Module(self, channels, classes, normals, size)


class ResBlock(nnx.Module):
    """Two 3×3 convolutions with norms around a shortcut (projected and normalised where the
    channels change), leaky ReLU .01.
    """

    def __init__(
        self,
        channels: int,
        out: int,
        norm: layers.NormKind,
        *,
        dims: int,
        normals: layers.Normals,
    ):
        conv = functools.partial(layers.Conv, dims=dims, bias=False, normals=normals)
        self.conv1 = conv(channels, out)
        self.norm1 = layers.Norm(out, norm)
        self.conv2 = conv(out, out)
        self.norm2 = layers.Norm(out, norm)
        self.project = channels != out
        if self.project:
            self.conv3 = conv(channels, out, size=1)
            self.norm3 = layers.Norm(out, norm)

    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        y = _leaky(self.norm1(self.conv1(x), train))
        y = self.norm2(self.conv2(y), train)
        if self.project:
            x = self.norm3(self.conv3(x), train)
        return _leaky(y + x)


class _Module(nnx.Module):
    """Variables: embed, position, block0 …, norm; enter (full resolution); lift1 … (token skips);
    up…, join… (decoder); head.
    """

    def __init__(
        self,
        net: UNETR,
        channels: int,
        classes: int,
        normals: layers.Normals,
        size: tuple[int, ...],
    ):
        self.net = net
        block = functools.partial(ResBlock, norm=net.norm, dims=net.dims, normals=normals)
        up = functools.partial(layers.UpConv, dims=net.dims, bias=False, normals=normals)
        self.embed = layers.PatchEmbed(
            channels,
            net.hidden,
            net.patch,
            dims=net.dims,
            normals=normals,
        )
        grid = [n // net.patch for n in size]
        self.position = nnx.Param(normals.normal((*grid, net.hidden), 0.02))
        for i in range(net.depth):
            transformer = layers.Transformer(
                net.hidden,
                net.heads,
                net.mlp,
                rate=net.dropout,
                bias=net.qkv_bias,
                normals=normals,
            )
            setattr(self, f"block{i}", transformer)
        self.norm = layers.LayerNorm(net.hidden)
        levels = len(net.taps) + 1
        widths = [net.features * 2**level for level in range(levels)]
        self.enter = block(channels, widths[0])
        for level, width in enumerate(widths[1:], 1):
            setattr(self, f"lift{level}", up(net.hidden, width))
            for i in range(levels - level - 1):
                setattr(self, f"lift{level}up{i}", up(width, width))
                setattr(self, f"lift{level}join{i}", block(width, width))
        below = net.hidden
        for level in reversed(range(levels)):
            width = widths[level]
            setattr(self, f"up{level}", up(below, width))
            setattr(self, f"join{level}", block(2 * width, width))
            below = width
        self.head = layers.Conv(widths[0], classes, size=1, dims=net.dims, normals=normals)

    def __call__(
        self,
        x: jax.Array,
        train: bool,
        key: jax.Array | None,
    ) -> ModuleOutput:
        tokens = self.embed(x)
        shape = tokens.shape
        position = self.position[...]
        if position.shape != shape[1:]:
            position = layers.resize(position[None], shape[1:-1])[0]
        flat = (tokens + position.astype(x.dtype)[None]).reshape(shape[0], -1, shape[-1])
        skips = [self.enter(x, train)]
        for i in range(self.net.depth):
            flat = getattr(self, f"block{i}")(flat, layers.subkey(key, i))
            if i + 1 in self.net.taps:
                skips.append(self._lifted(flat.reshape(shape), len(skips), train))
        y = self.norm(flat).reshape(shape)
        for level in reversed(range(len(skips))):
            y = jnp.concatenate([getattr(self, f"up{level}")(y), skips[level]], -1)
            y = getattr(self, f"join{level}")(y, train)
        return self.head(y), {"features": y}

    def _lifted(self, tokens: jax.Array, level: int, train: bool) -> jax.Array:
        """Tokens as the skip of a level: doubled until they have its size."""
        skip = getattr(self, f"lift{level}")(tokens)
        for i in range(len(self.net.taps) - level):
            skip = getattr(self, f"lift{level}up{i}")(skip)
            skip = getattr(self, f"lift{level}join{i}")(skip, train)
        return skip


def with_norms(weights: dict[str, Any]) -> dict[str, Any]:
    """Adds scale 1 and bias 0 to every :class:`ResBlock` whose norms had none.

    >>> weights = with_norms({"enter": {"conv1": {"kernel": jnp.ones((3, 3, 1, 4))}}})
    >>> weights["enter"]["norm1"]["scale"].tolist()
    [1.0, 1.0, 1.0, 1.0]
    """
    for part in weights.values():
        if not isinstance(part, dict) or "conv1" not in part:
            continue
        for i in "123":
            if f"conv{i}" in part:
                width = part[f"conv{i}"]["kernel"].shape[-1]
                part.setdefault(f"norm{i}", {"scale": jnp.ones(width), "bias": jnp.zeros(width)})
    return weights


def from_torch(state_dict: Mapping[str, Any], grid: tuple[int, ...] | None = None) -> Params:
    """Variables of ``UNETR(taps=(4, 7, 10))`` from the state dict of MONAI's ``UNETR`` (conv
    projection, residual blocks).

    ``grid`` is the number of tokens along each axis; by default all axes have the same.
    """
    block = r"vit\.blocks\.(\d+)\."
    conv = r"\.conv([123])\.conv\.weight"
    rules: list[Rule] = [
        *layer(r"vit\.patch_embedding\.patch_embeddings", "embed"),
        (r"vit\.patch_embedding\.position_embeddings", "position", same),
        *layer(block + r"attn\.qkv", r"block\1.attention.qkv"),
        *layer(block + r"attn\.out_proj", r"block\1.attention.out"),
        *norm_only(block + "norm([12])", r"block\1.norm\2"),
        *layer(block + r"mlp\.linear1", r"block\1.mlp.up"),
        *layer(block + r"mlp\.linear2", r"block\1.mlp.down"),
        *norm_only(r"vit\.norm", "norm"),
        (r"encoder1\.layer" + conv, r"enter.conv\1.kernel"),
        (r"encoder(\d)\.transp_conv_init\.conv\.weight", r"lift-\1.kernel", transposed),
        (r"encoder(\d)\.blocks\.(\d)\.0\.conv\.weight", r"lift-\1up\2.kernel", transposed),
        (r"encoder(\d)\.blocks\.(\d)\.1" + conv, r"lift-\1join\2.conv\3.kernel"),
        (r"decoder(\d)\.transp_conv\.conv\.weight", r"up-\1.kernel", transposed),
        (r"decoder(\d)\.conv_block" + conv, r"join-\1.conv\2.kernel"),
        *layer(r"out\.conv\.conv", "head"),
    ]
    unused = r"vit\.blocks\.\d+\.norm_cross_attn\..*"
    weights = mapped(state_dict, rules, "UNETR", unused=unused)
    # encoder2 is level 1, decoder2 level 0
    weights = renumbered(weights, {"lift": 1, "up": 2, "join": 2})
    position = weights["position"]
    if grid is None:
        dims = weights["head"]["kernel"].ndim - 2
        grid = (round(position.shape[1] ** (1 / dims)),) * dims
    weights["position"] = position.reshape(*grid, -1)
    return Params(with_norms(weights), {})
