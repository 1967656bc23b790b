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
from semiseg.nets.from_torch.rules import mapped, same, transposed
from semiseg.nets.layers.resample import resize
from semiseg.nets.network import Network
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
    dims: Literal[2, 3] = 3  # type: ignore[assignment]
    dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        object.__setattr__(self, "taps", tuple(self.taps))
        levels = self.patch.bit_length() - 1
        if self.patch != 2**levels or levels < 2:
            raise ValueError(f"UNETR: patch is {self.patch}; it must be a power of two from 4")
        if (
            len(self.taps) != levels - 1
            or list(self.taps) != sorted(set(self.taps))
            or not 0 < self.taps[0] <= self.taps[-1] <= self.depth
        ):
            raise ValueError(
                f"UNETR: taps {self.taps} must be {levels - 1} rising numbers of blocks from 1 "
                f"to {self.depth} for a patch of {self.patch}"
            )
        layers.heads_divide("UNETR", [self.hidden], [self.heads])

    @property
    def block(self) -> int:
        return self.patch

    def module(
        self, channels: int, classes: int, normals: layers.Normals, size: tuple[int, ...]
    ) -> nnx.Module:
        return _Module(self, channels, classes, normals, size)


class ResBlock(nnx.Module):
    """Two 3×3 convolutions with norms around a shortcut (projected and normalised where the
    channels change), leaky ReLU .01.
    """

    def __init__(
        self, channels: int, out: int, norm: layers.NormKind, *, dims: int, normals: layers.Normals
    ):
        make = functools.partial(layers.Conv, dims=dims, bias=False, normals=normals)
        self.conv1, self.norm1 = make(channels, out), layers.Norm(out, norm)
        self.conv2, self.norm2 = make(out, out), layers.Norm(out, norm)
        self.project = channels != out
        if self.project:
            self.conv3, self.norm3 = make(channels, out, size=1), layers.Norm(out, norm)

    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        y = self.norm2(self.conv2(_leaky(self.norm1(self.conv1(x), train))), train)
        return _leaky(y + (self.norm3(self.conv3(x), train) if self.project else x))


class Up(nnx.Module):
    """Transposed convolution without bias whose stride is its kernel, ``factor`` along each axis."""

    def __init__(
        self, channels: int, out: int, *, dims: int, factor: int = 2, normals: layers.Normals
    ):
        self.kernel = nnx.Param(normals.he((*(factor,) * dims, channels, out), channels))

    def __call__(self, x: jax.Array) -> jax.Array:
        return layers.up_conv(x, self.kernel[...].astype(x.dtype))


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
        width = lambda level: net.features * 2**level
        make = functools.partial(ResBlock, norm=net.norm, dims=net.dims, normals=normals)
        up = functools.partial(Up, dims=net.dims, normals=normals)
        self.embed = layers.PatchEmbed(
            channels, net.hidden, net.patch, dims=net.dims, normals=normals
        )
        self.position = nnx.Param(
            normals.normal((*(n // net.patch for n in size), net.hidden), 0.02)
        )
        for i in range(net.depth):
            block = layers.Transformer(
                net.hidden, net.heads, net.mlp, rate=net.dropout, bias=net.qkv_bias, normals=normals
            )
            setattr(self, f"block{i}", block)
        self.norm = layers.LayerNorm(net.hidden)
        self.enter = make(channels, width(0))
        levels = len(net.taps) + 1
        for level in range(1, levels):
            setattr(self, f"lift{level}", up(net.hidden, width(level)))
            for i in range(levels - level - 1):
                setattr(self, f"lift{level}up{i}", up(width(level), width(level)))
                setattr(self, f"lift{level}join{i}", make(width(level), width(level)))
        for level in reversed(range(levels)):
            setattr(
                self,
                f"up{level}",
                up(net.hidden if level == levels - 1 else width(level + 1), width(level)),
            )
            setattr(self, f"join{level}", make(2 * width(level), width(level)))
        self.head = layers.Conv(width(0), classes, size=1, dims=net.dims, normals=normals)

    def __call__(
        self, x: jax.Array, train: bool, key: jax.Array | None
    ) -> tuple[jax.Array, dict[str, Any]]:
        levels = len(self.net.taps) + 1
        tokens = self.embed(x)
        position, shape = self.position[...], tokens.shape
        if position.shape != shape[1:]:
            position = resize(position[None], shape[1:-1])[0]
        flat = (tokens + position.astype(x.dtype)[None]).reshape(shape[0], -1, shape[-1])
        skips = [self.enter(x, train)]
        for i in range(self.net.depth):
            flat = getattr(self, f"block{i}")(
                flat, None if key is None else jax.random.fold_in(key, i)
            )
            if i + 1 in self.net.taps:
                level = self.net.taps.index(i + 1) + 1
                skip = getattr(self, f"lift{level}")(flat.reshape(shape))
                for j in range(levels - level - 1):
                    skip = getattr(self, f"lift{level}join{j}")(
                        getattr(self, f"lift{level}up{j}")(skip), train
                    )
                skips.append(skip)
        y = self.norm(flat).reshape(shape)
        for level in reversed(range(levels)):
            y = jnp.concatenate([getattr(self, f"up{level}")(y), skips[level]], -1)
            y = getattr(self, f"join{level}")(y, train)
        return self.head(y), {"features": y}


def with_norms(weights: dict[str, Any]) -> dict[str, Any]:
    """Adds scale 1 and bias 0 to every :class:`ResBlock` whose norms had none."""
    for part in weights.values():
        if isinstance(part, dict) and "conv1" in part:
            for i in "123":
                if f"conv{i}" in part:
                    width = part[f"conv{i}"]["kernel"].shape[-1]
                    part.setdefault(
                        f"norm{i}", {"scale": jnp.ones(width), "bias": jnp.zeros(width)}
                    )
    return weights


def from_torch(state_dict: Mapping[str, Any], grid: tuple[int, ...] | None = None) -> Params:
    """Variables of ``UNETR(taps=(4, 7, 10))`` from the state dict of MONAI's ``UNETR`` (conv
    projection, residual blocks).

    ``grid`` is the number of tokens along each axis; by default all axes have the same.
    """
    v, ours = r"vit\.", r"block\1"
    conv = r"\.conv([123])\.conv\.weight"
    weights = mapped(
        state_dict,
        [
            (v + r"patch_embedding\.patch_embeddings\.weight", "embed.kernel"),
            (v + r"patch_embedding\.patch_embeddings\.bias", "embed.bias"),
            (v + r"patch_embedding\.position_embeddings", "position", same),
            (v + r"blocks\.(\d+)\.attn\.qkv\.weight", ours + ".attention.qkv.kernel"),
            (v + r"blocks\.(\d+)\.attn\.qkv\.bias", ours + ".attention.qkv.bias"),
            (v + r"blocks\.(\d+)\.attn\.out_proj\.weight", ours + ".attention.out.kernel"),
            (v + r"blocks\.(\d+)\.attn\.out_proj\.bias", ours + ".attention.out.bias"),
            (v + r"blocks\.(\d+)\.norm([12])\.weight", ours + r".norm\2.scale"),
            (v + r"blocks\.(\d+)\.norm([12])\.bias", ours + r".norm\2.bias"),
            (v + r"blocks\.(\d+)\.mlp\.linear1\.weight", ours + ".mlp.up.kernel"),
            (v + r"blocks\.(\d+)\.mlp\.linear1\.bias", ours + ".mlp.up.bias"),
            (v + r"blocks\.(\d+)\.mlp\.linear2\.weight", ours + ".mlp.down.kernel"),
            (v + r"blocks\.(\d+)\.mlp\.linear2\.bias", ours + ".mlp.down.bias"),
            (v + r"norm\.weight", "norm.scale"),
            (v + r"norm\.bias", "norm.bias"),
            (r"encoder1\.layer" + conv, r"enter.conv\1.kernel"),
            (r"encoder(\d)\.transp_conv_init\.conv\.weight", r"lift-\1.kernel", transposed),
            (r"encoder(\d)\.blocks\.(\d)\.0\.conv\.weight", r"lift-\1up\2.kernel", transposed),
            (r"encoder(\d)\.blocks\.(\d)\.1" + conv, r"lift-\1join\2.conv\3.kernel"),
            (r"decoder(\d)\.transp_conv\.conv\.weight", r"up-\1.kernel", transposed),
            (r"decoder(\d)\.conv_block" + conv, r"join-\1.conv\2.kernel"),
            (r"out\.conv\.conv\.weight", "head.kernel"),
            (r"out\.conv\.conv\.bias", "head.bias"),
        ],
        "UNETR",
        unused=r"vit\.blocks\.\d+\.norm_cross_attn\..*",
    )
    shift = {"lift": 1, "up": 2, "join": 2}  # encoder2 is level 1, decoder2 level 0
    for name in [n for n in weights if "-" in n]:
        kind, rest = name.split("-")
        weights[f"{kind}{int(rest[0]) - shift[kind]}{rest[1:]}"] = weights.pop(name)
    position = weights["position"]
    side = round(position.shape[1] ** (1 / (weights["head"]["kernel"].ndim - 2)))
    weights["position"] = position.reshape(
        *(grid or (side,) * (weights["head"]["kernel"].ndim - 2)), -1
    )
    return Params(with_norms(weights), {})
