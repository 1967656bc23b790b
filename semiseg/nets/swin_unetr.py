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
from semiseg.nets.from_torch.rules import mapped, same, transposed
from semiseg.nets.network import Network
from semiseg.nets.unetr import ResBlock, Up, with_norms
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
    dims: Literal[2, 3] = 3  # type: ignore[assignment]
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
        layers.heads_divide(
            "SwinUNETR", [self.features * 2**i for i in range(len(self.depths))], self.heads
        )

    @property
    def block(self) -> int:
        return self.patch * 2 ** len(self.depths)

    def module(
        self, channels: int, classes: int, normals: layers.Normals, size: tuple[int, ...]
    ) -> nnx.Module:
        return _Module(self, channels, classes, normals)


class _Module(nnx.Module):
    """Variables: embed, stage0block0 …, merge0 … (encoder); enter, skip0 …, bottom (residual blocks
    of the skips); up…, join…; head.
    """

    def __init__(self, net: SwinUNETR, channels: int, classes: int, normals: layers.Normals):
        self.net = net
        width = lambda stage: net.features * 2**stage
        stages = len(net.depths)
        make = functools.partial(ResBlock, norm=net.norm, dims=net.dims, normals=normals)
        up = functools.partial(Up, dims=net.dims, normals=normals)
        self.embed = layers.PatchEmbed(
            channels, width(0), net.patch, dims=net.dims, normals=normals
        )
        rates = iter(np.linspace(0, net.drop_path, sum(net.depths)).tolist())
        for i, (depth, heads) in enumerate(zip(net.depths, net.heads)):
            for j in range(depth):
                block = layers.Swin(
                    width(i),
                    heads,
                    (net.window,) * net.dims,
                    shifted=bool(j % 2),
                    drop=next(rates),
                    flat_bias=net.flat_bias,
                    normals=normals,
                )
                setattr(self, f"stage{i}block{j}", block)
            setattr(self, f"merge{i}", layers.PatchMerge(width(i), dims=net.dims, normals=normals))
        self.enter = make(channels, width(0))
        for i in range(stages - 1):
            setattr(self, f"skip{i}", make(width(i), width(i)))
        self.bottom = make(width(stages), width(stages))
        for i in reversed(range(stages)):
            setattr(self, f"up{i}", up(width(i + 1), width(i)))
            setattr(self, f"join{i}", make(2 * width(i), width(i)))
        for i in range(
            net.patch.bit_length() - 2
        ):  # a patch of 4: one more doubling, without a skip
            setattr(self, f"grow{i}", up(width(0), width(0)))
        self.last = up(width(0), width(0))
        self.join = make(2 * width(0), width(0))
        self.head = layers.Conv(width(0), classes, size=1, dims=net.dims, normals=normals)

    def __call__(
        self, x: jax.Array, train: bool, key: jax.Array | None
    ) -> tuple[jax.Array, dict[str, Any]]:
        stages = len(self.net.depths)
        key_of = lambda i: None if key is None else jax.random.fold_in(key, i)
        tokens = layers.dropout(self.embed(x), self.net.dropout, key_of(0))
        hidden = [layers.layer_norm(tokens)]
        for i, depth in enumerate(self.net.depths):
            for j in range(depth):
                tokens = getattr(self, f"stage{i}block{j}")(
                    tokens, key_of(1 + sum(self.net.depths[:i]) + j)
                )
            tokens = getattr(self, f"merge{i}")(tokens)
            hidden.append(layers.layer_norm(tokens))
        y = self.bottom(hidden[stages], train)
        for i in reversed(range(stages)):
            skip = hidden[i] if i == stages - 1 else getattr(self, f"skip{i}")(hidden[i], train)
            y = getattr(self, f"join{i}")(
                jnp.concatenate([getattr(self, f"up{i}")(y), skip], -1), train
            )
        for i in range(self.net.patch.bit_length() - 2):
            y = getattr(self, f"grow{i}")(y)
        y = self.join(jnp.concatenate([self.last(y), self.enter(x, train)], -1), train)
        return self.head(y), {"features": y}


def from_torch(state_dict: Mapping[str, Any], window: int = 7) -> Params:
    """Variables of ``SwinUNETR(flat_bias=True)`` from the state dict of MONAI's ``SwinUNETR`` (four
    stages, patch 2, no second version).

    ``window`` is the side the table of relative positions was made for. Weights trained with MONAI
    before 1.6 saw some corners of a merged patch twice and others never; they load, but the order
    of the merge is today's.
    """
    dims = np.asarray(state_dict["out.conv.conv.weight"]).ndim - 2
    conv = r"\.conv([123])\.conv\.weight"
    block, ours = r"swinViT\.layers(\d)\.0\.blocks\.(\d+)\.", r"stage-\1block\2."
    table = lambda w: np.moveaxis(w.reshape(*(2 * window - 1,) * dims, -1), -1, 0)
    weights = mapped(
        state_dict,
        [
            (r"swinViT\.patch_embed\.proj\.weight", "embed.kernel"),
            (r"swinViT\.patch_embed\.proj\.bias", "embed.bias"),
            (block + r"attn\.relative_position_bias_table", ours + "table", table),
            (block + r"attn\.qkv\.weight", ours + "attention.qkv.kernel"),
            (block + r"attn\.qkv\.bias", ours + "attention.qkv.bias"),
            (block + r"attn\.proj\.weight", ours + "attention.out.kernel"),
            (block + r"attn\.proj\.bias", ours + "attention.out.bias"),
            (block + r"norm([12])\.weight", ours + r"norm\3.scale"),
            (block + r"norm([12])\.bias", ours + r"norm\3.bias"),
            (block + r"mlp\.linear1\.weight", ours + "mlp.up.kernel"),
            (block + r"mlp\.linear1\.bias", ours + "mlp.up.bias"),
            (block + r"mlp\.linear2\.weight", ours + "mlp.down.kernel"),
            (block + r"mlp\.linear2\.bias", ours + "mlp.down.bias"),
            (r"swinViT\.layers(\d)\.0\.downsample\.reduction\.weight", r"merge-\1.reduce.kernel"),
            (r"swinViT\.layers(\d)\.0\.downsample\.norm\.weight", r"merge-\1.norm.scale"),
            (r"swinViT\.layers(\d)\.0\.downsample\.norm\.bias", r"merge-\1.norm.bias"),
            (r"encoder1\.layer" + conv, r"enter.conv\1.kernel"),
            (r"encoder10\.layer" + conv, r"bottom.conv\1.kernel"),
            (r"encoder([234])\.layer" + conv, r"skip-\1.conv\2.kernel"),
            (r"decoder1\.transp_conv\.conv\.weight", "last.kernel", transposed),
            (r"decoder1\.conv_block" + conv, r"join.conv\1.kernel"),
            (r"decoder(\d)\.transp_conv\.conv\.weight", r"up-\1.kernel", transposed),
            (r"decoder(\d)\.conv_block" + conv, r"join-\1.conv\2.kernel"),
            (r"out\.conv\.conv\.weight", "head.kernel"),
            (r"out\.conv\.conv\.bias", "head.bias", same),
        ],
        "SwinUNETR",
        unused=r".*\.relative_position_index",
    )
    shift = {
        "stage": 1,
        "merge": 1,
        "skip": 2,
        "up": 2,
        "join": 2,
    }  # layers1 is stage 0, encoder2 and decoder2 belong to it
    for name in [n for n in weights if "-" in n]:
        kind, rest = name.split("-")
        weights[f"{kind}{int(rest[0]) - shift[kind]}{rest[1:]}"] = weights.pop(name)
    return Params(with_norms(weights), {})
