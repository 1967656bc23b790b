"""Swin UNETR: shifted-window attention as the encoder of a convolutional decoder."""

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
from semiseg.nets.from_torch.rules import (
    Rule,
    layer,
    mapped,
    norm_only,
    renumbered,
    transposed,
)
from semiseg.nets.network import ModuleOutput, Network
from semiseg.nets.unetr import ResBlock, with_norms
from semiseg.types import Params


@dataclasses.dataclass(frozen=True)
class SwinUNETR(Network):
    """Swin UNETR of Hatamizadeh et al., BrainLes 2021 (fig. 1), in 3D or 2D.

    As in the authors' code every stage's output is normalised over its channels (without variables)
    where it leaves the encoder, and the skip of the coarsest stage goes to the decoder without a
    residual block. Deliberate differences: the instance norms of the decoder have a scale and a
    bias; where a window is smaller than ``window`` because the image is, the bias belongs to the
    true offset of two pixels (``flat_bias`` restores the code's habit).

    Parameters, 4 channels, 3 classes, features 48: 62.20 M (the paper: 61.98 M; MONAI 1.6: 62.19
    M).

    Attributes:
      features: channels of a token of the first stage and of the decoder at full resolution; they
        double with each stage.
      depths: transformer blocks of each stage; every second one has shifted windows.
      heads: of each stage's attention.
      window: side of a window in tokens.
      patch: side of a token of the first stage, a power of two.
      drop_path: rate at which the last block's branches are left out while training with a key; it
        rises linearly from 0.
      dropout: rate on the tokens after embedding.
      flat_bias: read the bias of a small window from the corner of the full window's matrix,
        whatever offsets stand there, as MONAI does: for its weights on images whose coarsest stage
        is smaller than a window.
      norm: of the decoder.
      dims: 2 or 3.
      dtype: of the activations; variables and logits are float32 always.
    """

    features: int = 48
    depths: tuple[int, ...] = (2, 2, 2, 2)
    heads: tuple[int, ...] = (3, 6, 12, 24)
    window: int = 7
    patch: Literal[2, 4] = 2
    drop_path: float = 0.0
    dropout: float = 0.0
    flat_bias: bool = False
    norm: layers.NormKind = "instance"
    dims: Literal[2, 3] = 3
    dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        object.__setattr__(self, "depths", tuple(self.depths))
        object.__setattr__(self, "heads", tuple(self.heads))
        if len(self.depths) != len(self.heads):
            raise ValueError(
                f"SwinUNETR: {len(self.depths)} depths but {len(self.heads)} numbers of heads"
            )
        if self.window < 2:
            raise ValueError(f"SwinUNETR: window is {self.window}; it must be at least 2")
        if self.patch not in (2, 4):
            raise ValueError(f"SwinUNETR: patch is {self.patch}; it must be 2 or 4")
        layers.heads_divide("SwinUNETR", self.widths()[:-1], self.heads)

    def widths(self) -> list[int]:
        """Channels of each stage's tokens, and of those after the last merge.

        >>> SwinUNETR().widths()
        [48, 96, 192, 384, 768]
        """
        return [self.features * 2**i for i in range(len(self.depths) + 1)]

    @property
    def block(self) -> int:
        return self.patch * 2 ** len(self.depths)

    def module(
        self,
        channels: int,
        classes: int,
        normals: layers.Normals,
        size: tuple[int, ...],
    ) -> nnx.Module:
        return _Module(self, channels, classes, normals)


class _Module(nnx.Module):
    """Variables: embed, stage0block0 …, merge0 … (encoder); enter, skip0 …, bottom (residual blocks
    of the skips); up…, join…; head.
    """

    def __init__(self, net: SwinUNETR, channels: int, classes: int, normals: layers.Normals):
        self.net = net
        widths = net.widths()
        stages = len(net.depths)
        block = functools.partial(ResBlock, norm=net.norm, dims=net.dims, normals=normals)
        up = functools.partial(layers.UpConv, dims=net.dims, bias=False, normals=normals)
        self.embed = layers.PatchEmbed(
            channels,
            widths[0],
            net.patch,
            dims=net.dims,
            normals=normals,
        )
        rates = iter(np.linspace(0, net.drop_path, sum(net.depths)).tolist())
        for i, depth in enumerate(net.depths):
            for j in range(depth):
                swin = layers.Swin(
                    widths[i],
                    net.heads[i],
                    (net.window,) * net.dims,
                    shifted=j % 2 == 1,
                    drop=next(rates),
                    flat_bias=net.flat_bias,
                    normals=normals,
                )
                setattr(self, f"stage{i}block{j}", swin)
            merge = layers.PatchMerge(widths[i], dims=net.dims, normals=normals)
            setattr(self, f"merge{i}", merge)
        self.enter = block(channels, widths[0])
        for i in range(stages - 1):
            setattr(self, f"skip{i}", block(widths[i], widths[i]))
        self.bottom = block(widths[stages], widths[stages])
        for i in reversed(range(stages)):
            setattr(self, f"up{i}", up(widths[i + 1], widths[i]))
            setattr(self, f"join{i}", block(2 * widths[i], widths[i]))
        self.doublings = net.patch.bit_length() - 2  # a patch of 4: one more, without a skip
        for i in range(self.doublings):
            setattr(self, f"grow{i}", up(widths[0], widths[0]))
        self.last = up(widths[0], widths[0])
        self.join = block(2 * widths[0], widths[0])
        self.head = layers.Conv(widths[0], classes, size=1, dims=net.dims, normals=normals)

    def __call__(
        self,
        x: jax.Array,
        train: bool,
        key: jax.Array | None,
    ) -> ModuleOutput:
        *skips, y = self._encoded(x, key)
        y = self.bottom(y, train)
        coarsest = len(skips) - 1
        for i in reversed(range(len(skips))):
            skip = skips[i]
            if i < coarsest:
                skip = getattr(self, f"skip{i}")(skip, train)
            y = jnp.concatenate([getattr(self, f"up{i}")(y), skip], -1)
            y = getattr(self, f"join{i}")(y, train)
        for i in range(self.doublings):
            y = getattr(self, f"grow{i}")(y)
        y = self.join(jnp.concatenate([self.last(y), self.enter(x, train)], -1), train)
        return self.head(y), {"features": y}

    def _encoded(self, x: jax.Array, key: jax.Array | None) -> list[jax.Array]:
        """Normalised tokens where they leave the encoder, finest first."""
        tokens = layers.dropout(self.embed(x), self.net.dropout, layers.subkey(key, 0))
        hidden = [layers.layer_norm(tokens)]
        number = 1
        for i, depth in enumerate(self.net.depths):
            for j in range(depth):
                tokens = getattr(self, f"stage{i}block{j}")(tokens, layers.subkey(key, number))
                number += 1
            tokens = getattr(self, f"merge{i}")(tokens)
            hidden.append(layers.layer_norm(tokens))
        return hidden


def from_torch(state_dict: Mapping[str, Any], window: int = 7) -> Params:
    """Variables of ``SwinUNETR(flat_bias=True)`` from the state dict of MONAI's ``SwinUNETR`` (four
    stages, patch 2, no second version).

    ``window`` is the side the table of relative positions was made for. Weights trained with MONAI
    before 1.6 saw some corners of a merged patch twice and others never; they load, but the order
    of the merge is today's.
    """
    dims = np.asarray(state_dict["out.conv.conv.weight"]).ndim - 2
    offsets = (2 * window - 1,) * dims

    def table(weight: np.ndarray) -> np.ndarray:
        """``(prod(offsets), heads)`` to ``(heads, *offsets)``."""
        return np.moveaxis(weight.reshape(*offsets, -1), -1, 0)

    conv = r"\.conv([123])\.conv\.weight"
    block = r"swinViT\.layers(\d)\.0\.blocks\.(\d+)\."
    ours = r"stage-\1block\2."
    merge = r"swinViT\.layers(\d)\.0\.downsample\."
    rules: list[Rule] = [
        *layer(r"swinViT\.patch_embed\.proj", "embed"),
        (block + r"attn\.relative_position_bias_table", ours + "table", table),
        *layer(block + r"attn\.qkv", ours + "attention.qkv"),
        *layer(block + r"attn\.proj", ours + "attention.out"),
        *norm_only(block + "norm([12])", ours + r"norm\3"),
        *layer(block + r"mlp\.linear1", ours + "mlp.up"),
        *layer(block + r"mlp\.linear2", ours + "mlp.down"),
        (merge + r"reduction\.weight", r"merge-\1.reduce.kernel"),
        *norm_only(merge + "norm", r"merge-\1.norm"),
        (r"encoder1\.layer" + conv, r"enter.conv\1.kernel"),
        (r"encoder10\.layer" + conv, r"bottom.conv\1.kernel"),
        (r"encoder([234])\.layer" + conv, r"skip-\1.conv\2.kernel"),
        (r"decoder1\.transp_conv\.conv\.weight", "last.kernel", transposed),
        (r"decoder1\.conv_block" + conv, r"join.conv\1.kernel"),
        (r"decoder(\d)\.transp_conv\.conv\.weight", r"up-\1.kernel", transposed),
        (r"decoder(\d)\.conv_block" + conv, r"join-\1.conv\2.kernel"),
        *layer(r"out\.conv\.conv", "head"),
    ]
    weights = mapped(state_dict, rules, "SwinUNETR", unused=r".*\.relative_position_index")
    # layers1 is stage 0, encoder2 and decoder2 belong to it
    first = {"stage": 1, "merge": 1, "skip": 2, "up": 2, "join": 2}
    return Params(with_norms(renumbered(weights, first)), {})
