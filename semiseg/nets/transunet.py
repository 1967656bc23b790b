"""TransUNet: a residual network, then a vision transformer on its coarse features, then the decoder
of a U-Net.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx

from semiseg.nets import layers
from semiseg.nets.network import ModuleOutput, Network


@dataclasses.dataclass(frozen=True)
class TransUNet(Network):
    """TransUNet of Chen et al., arXiv 2102.04306, 2021 (fig. 1): the R50-ViT hybrid.

    The residual network is the one of Kolesnikov et al., ECCV 2020 (Big Transfer): standardised
    kernels, group norm, three stages, so that a token is 16×16 pixels. Deliberate differences:
    pooling is padded, so that sizes halve exactly (the code pads the skip instead); any number of
    channels (the code repeats a grey image three times); the position embedding, learnt for the
    size of the first images, is interpolated linearly for others; nothing is pretrained.

    Parameters, 3 channels, 9 classes, 224², the defaults: 105.28 M (published comparisons: 105.28
    M).

    Attributes:
      width: channels of the first convolution; the stages have 4, 8, 16 times as many.
      blocks: bottleneck blocks of each stage.
      hidden: channels of the transformer.
      mlp: hidden channels of its MLPs.
      heads: of its attention.
      depth: its blocks.
      decoder: channels of the decoder's levels, coarsest first.
      dropout: rate within the transformer, while training with a key (the paper's code: .1).
      norm: of the decoder; the encoder has group norm with 32 groups, the transformer layer norm.
      dtype: of the activations; variables and logits are float32 always.
    """

    width: int = 64
    blocks: tuple[int, int, int] = (3, 4, 9)
    hidden: int = 768
    mlp: int = 3072
    heads: int = 12
    depth: int = 12
    decoder: tuple[int, int, int, int] = (256, 128, 64, 16)
    dropout: float = 0.0
    norm: layers.NormKind = "batch"
    dtype: Literal["float32", "bfloat16"] = "float32"

    dims = 2

    def __post_init__(self) -> None:
        object.__setattr__(self, "blocks", tuple(self.blocks))
        object.__setattr__(self, "decoder", tuple(self.decoder))
        layers.heads_divide("TransUNet", [self.hidden], [self.heads])

    @property
    def block(self) -> int:
        return 16

    def module(
        self,
        channels: int,
        classes: int,
        normals: layers.Normals,
        size: tuple[int, ...],
    ) -> nnx.Module:
        return _Module(self, channels, classes, normals, size)


class StdConv(nnx.Module):
    """Convolution whose kernel is standardised for each output channel (Qiao et al., 2019)."""

    def __init__(
        self,
        channels: int,
        out: int,
        *,
        size: int,
        stride: int = 1,
        normals: layers.Normals,
    ):
        self.stride = stride
        self.kernel = nnx.Param(normals.he((size, size, channels, out), channels * size**2))

    def __call__(self, x: jax.Array) -> jax.Array:
        w = self.kernel[...]
        w = w - w.mean((0, 1, 2), keepdims=True)
        w = w * jax.lax.rsqrt((w * w).mean((0, 1, 2), keepdims=True) + 1e-5)
        return layers.conv(x, w.astype(x.dtype), self.stride)


class _Bottleneck(nnx.Module):
    """relu(shortcut + 1×1, 3×3 (stride), 1×1), each with a norm; the shortcut is projected where
    shapes differ.
    """

    def __init__(self, channels: int, out: int, stride: int, normals: layers.Normals):
        inner = out // 4
        conv = functools.partial(StdConv, normals=normals)
        norm = functools.partial(layers.Norm, kind="group", groups=32, eps=1e-6)
        self.conv1 = conv(channels, inner, size=1)
        self.norm1 = norm(inner)
        self.conv2 = conv(inner, inner, size=3, stride=stride)
        self.norm2 = norm(inner)
        self.conv3 = conv(inner, out, size=1)
        self.norm3 = norm(out)
        self.project = channels != out or stride > 1
        if self.project:
            self.conv4 = conv(channels, out, size=1, stride=stride)
            self.norm4 = layers.Norm(out, "instance")

    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        y = jax.nn.relu(self.norm1(self.conv1(x), train))
        y = jax.nn.relu(self.norm2(self.conv2(y), train))
        y = self.norm3(self.conv3(y), train)
        if self.project:
            x = self.norm4(self.conv4(x), train)
        return jax.nn.relu(y + x)


class _Module(nnx.Module):
    """Variables: root, root_norm, stage0block0 …; embed, position, block0 …, norm; widen, up0conv0
    …; head.
    """

    def __init__(
        self,
        net: TransUNet,
        channels: int,
        classes: int,
        normals: layers.Normals,
        size: tuple[int, ...],
    ):
        self.net = net
        self.root = StdConv(channels, net.width, size=7, stride=2, normals=normals)
        self.root_norm = layers.Norm(net.width, "group", groups=32, eps=1e-6)
        width = net.width
        skips = [width]
        for i, count in enumerate(net.blocks):
            out = net.width * 4 * 2**i
            stride = 1 if i == 0 else 2
            for j in range(count):
                setattr(self, f"stage{i}block{j}", _Bottleneck(width, out, stride, normals))
                width = out
                stride = 1
            skips.append(width)
        self.embed = layers.Linear(width, net.hidden, normals=normals)
        grid = [n // 16 for n in size]
        self.position = nnx.Param(normals.normal((*grid, net.hidden), 0.02))
        for i in range(net.depth):
            transformer = layers.Transformer(
                net.hidden,
                net.heads,
                net.mlp,
                rate=net.dropout,
                eps=1e-6,
                normals=normals,
            )
            setattr(self, f"block{i}", transformer)
        self.norm = layers.LayerNorm(net.hidden, eps=1e-6)
        unit = functools.partial(layers.ConvNorm, kind=net.norm, normals=normals)
        width = 2 * net.decoder[0]
        self.widen = unit(net.hidden, width)
        joined = [*reversed(skips[:3]), 0]  # the finest level has no skip
        for i, out in enumerate(net.decoder):
            setattr(self, f"up{i}conv0", unit(width + joined[i], out))
            setattr(self, f"up{i}conv1", unit(out, out))
            width = out
        self.head = layers.Conv(width, classes, size=3, normals=normals)

    def __call__(
        self,
        x: jax.Array,
        train: bool,
        key: jax.Array | None,
    ) -> ModuleOutput:
        x = jax.nn.relu(self.root_norm(self.root(x), train))
        skips = [x]
        x = layers.overlapping_max_pool(x)
        for i, count in enumerate(self.net.blocks):
            for j in range(count):
                x = getattr(self, f"stage{i}block{j}")(x, train)
            skips.append(x)
        x = self.widen(self._transformed(self.embed(x), key), train)
        for i in range(len(self.net.decoder)):
            x = layers.resize(x, [2 * n for n in x.shape[1:-1]], align_corners=True)
            if i < 3:
                x = jnp.concatenate([x, skips[2 - i]], -1)
            x = getattr(self, f"up{i}conv0")(x, train)
            x = getattr(self, f"up{i}conv1")(x, train)
        return self.head(x), {"features": x}

    def _transformed(self, tokens: jax.Array, key: jax.Array | None) -> jax.Array:
        """Tokens ``(B, h, w, C)`` with their positions, through the transformer."""
        shape = tokens.shape
        position = layers.resize(self.position[...][None], shape[1:-1])
        x = (tokens + position.astype(tokens.dtype)).reshape(shape[0], -1, shape[-1])
        x = layers.dropout(x, self.net.dropout, layers.subkey(key, self.net.depth))
        for i in range(self.net.depth):
            x = getattr(self, f"block{i}")(x, layers.subkey(key, i))
        return self.norm(x).reshape(shape)
