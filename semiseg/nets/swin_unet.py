"""Swin-Unet: a U-Net whose encoder and decoder are shifted-window attention."""

from __future__ import annotations

import dataclasses
import functools
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from semiseg.nets import layers
from semiseg.nets.network import ModuleOutput, Network


@dataclasses.dataclass(frozen=True)
class SwinUnet(Network):
    """Swin-Unet of Cao et al., ECCV Workshops 2022 (fig. 1), in 2D or 3D.

    Patches are embedded and normalised; stages of Swin blocks with patch merging between them, and
    the same upward with patch expanding (a matrix to twice as many channels, then depth to space);
    a skip is joined by concatenation and a matrix back to its width. Deliberate differences: any
    number of channels (the code repeats a grey image three times); the last layer has a bias;
    decoder blocks are left out (``drop_path``) at the rates of their encoder stages.

    Parameters, 3 channels, 9 classes, the defaults: 27.17 M (published comparisons: 27.17 M).

    Attributes:
      features: channels of a token of the first stage; they double with each stage.
      depths: transformer blocks of each stage on both sides, the last being the bottleneck; every
        second one has shifted windows.
      heads: of each stage's attention.
      window: side of a window in tokens.
      patch: side of a token of the first stage.
      drop_path: rate at which the bottleneck's last block is left out while training with a key; it
        rises linearly from 0.
      dropout: rate on the tokens after embedding.
      dims: 2 or 3.
      dtype: of the activations; variables and logits are float32 always.
    """

    features: int = 96
    depths: tuple[int, ...] = (2, 2, 2, 2)
    heads: tuple[int, ...] = (3, 6, 12, 24)
    window: int = 7
    patch: int = 4
    drop_path: float = 0.0
    dropout: float = 0.0
    dims: Literal[2, 3] = 2
    dtype: Literal["float32", "bfloat16"] = "float32"

    norm = "layer"  # of every layer, so that images of a batch never meet

    def __post_init__(self) -> None:
        object.__setattr__(self, "depths", tuple(self.depths))
        object.__setattr__(self, "heads", tuple(self.heads))
        if len(self.depths) != len(self.heads):
            raise ValueError(
                f"SwinUnet: {len(self.depths)} depths but {len(self.heads)} numbers of heads"
            )
        if self.window < 2 or self.patch < 1:
            raise ValueError(
                f"SwinUnet: window is {self.window} and patch {self.patch}; they must be at "
                f"least 2 and 1"
            )
        layers.heads_divide("SwinUnet", self.widths(), self.heads)

    def widths(self) -> list[int]:
        """Channels of each stage.

        >>> SwinUnet().widths()
        [96, 192, 384, 768]
        """
        return [self.features * 2**i for i in range(len(self.depths))]

    @property
    def block(self) -> int:
        return self.patch * 2 ** (len(self.depths) - 1)

    def module(
        self,
        channels: int,
        classes: int,
        normals: layers.Normals,
        size: tuple[int, ...],
    ) -> nnx.Module:
        return _Module(self, channels, classes, normals)


class _Module(nnx.Module):
    """Variables: embed, enter (norm), down0block0 …, merge0 …, middle (norm), expand…, grow… (its
    norm), join…, up…block0 …, out, last, final, head.
    """

    def __init__(self, net: SwinUnet, channels: int, classes: int, normals: layers.Normals):
        self.net = net
        widths = net.widths()
        last = len(widths) - 1
        up = functools.partial(layers.UpConv, dims=net.dims, bias=False, normals=normals)
        self.embed = layers.PatchEmbed(
            channels,
            widths[0],
            net.patch,
            dims=net.dims,
            normals=normals,
        )
        self.enter = layers.LayerNorm(widths[0])
        for i, width in enumerate(widths):
            self._make_blocks("down", i, normals)
            if i < last:
                merge = layers.PatchMerge(width, dims=net.dims, normals=normals)
                setattr(self, f"merge{i}", merge)
        self.middle = layers.LayerNorm(widths[last])
        for i in reversed(range(last)):
            width = widths[i]
            setattr(self, f"expand{i}", up(widths[i + 1], width))
            setattr(self, f"grow{i}", layers.LayerNorm(width))
            setattr(self, f"join{i}", layers.Linear(2 * width, width, normals=normals))
            self._make_blocks("up", i, normals)
        self.out = layers.LayerNorm(widths[0])
        self.last = up(widths[0], widths[0], factor=net.patch)
        self.final = layers.LayerNorm(widths[0])
        self.head = layers.Conv(widths[0], classes, size=1, dims=net.dims, normals=normals)

    def _make_blocks(self, name: str, stage: int, normals: layers.Normals) -> None:
        """The Swin blocks of a stage, on the way ``down`` or ``up``."""
        net = self.net
        rates = np.linspace(0, net.drop_path, sum(net.depths)).tolist()
        first = sum(net.depths[:stage])
        for j in range(net.depths[stage]):
            block = layers.Swin(
                net.widths()[stage],
                net.heads[stage],
                (net.window,) * net.dims,
                shifted=j % 2 == 1,
                drop=rates[first + j],
                normals=normals,
            )
            setattr(self, f"{name}{stage}block{j}", block)

    def _blocks(
        self,
        name: str,
        stage: int,
        x: jax.Array,
        key: jax.Array | None,
        first_key: int,
    ) -> jax.Array:
        """``x`` through the Swin blocks of a stage; ``first_key`` and every second number after it
        are folded into ``key``.
        """
        first = sum(self.net.depths[:stage])
        for j in range(self.net.depths[stage]):
            block_key = layers.subkey(key, first_key + 2 * (first + j))
            x = getattr(self, f"{name}{stage}block{j}")(x, block_key)
        return x

    def __call__(
        self,
        x: jax.Array,
        train: bool,
        key: jax.Array | None,
    ) -> ModuleOutput:
        last = len(self.net.depths) - 1
        x = layers.dropout(self.enter(self.embed(x)), self.net.dropout, layers.subkey(key, 0))
        skips = []
        for i in range(last):
            x = self._blocks("down", i, x, key, first_key=1)
            skips.append(x)
            x = getattr(self, f"merge{i}")(x)
        x = self.middle(self._blocks("down", last, x, key, first_key=1))
        for i in reversed(range(last)):
            x = getattr(self, f"grow{i}")(getattr(self, f"expand{i}")(x))
            x = getattr(self, f"join{i}")(jnp.concatenate([x, skips[i]], -1))
            x = self._blocks("up", i, x, key, first_key=2)
        x = self.final(self.last(self.out(x)))
        return self.head(x), {"features": x}
