"""U-Net++: U-Nets of every depth in one, joined by dense skip connections."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from semiseg.nets import layers
from semiseg.nets.from_torch.rules import (
    Rule,
    conv_norm,
    layer,
    mapped,
    to_params,
    transposed,
)
from semiseg.nets.network import ModuleOutput
from semiseg.nets.unet import UNet
from semiseg.nets.upsampling import upsampled
from semiseg.types import Params


@dataclasses.dataclass(frozen=True)
class UNetPlusPlus(UNet):
    """U-Net++ of Zhou et al., DLMIA 2018 and IEEE TMI 2020 (fig. 1e), in 2D or 3D.

    Node X(i, j) at level i sees X(i, 0) … X(i, j − 1) and X(i + 1, j − 1) upsampled; X(0, j) is the
    output of a U-Net of depth j. ``UNetPlusPlus(widths=(32, 64, 128, 256, 512), norm="none",
    activation="relu")`` is the paper's (9.0 M parameters). Differences: the U-Net's own, and half
    of those channels by default.

    Attributes:
      widths: channels of each level, finest first.
      deep_supervision: a head on every X(0, j); the others' logits are in ``aux["deep"]``, deepest
        first, all of the size of the image.
      pruned: evaluate the U-Net of this depth (its head needs deep supervision), which computes the
        others' nodes no more; 0 is the whole.
      average: evaluation averages the probabilities of all heads (the paper's accurate mode).
    """

    widths: tuple[int, ...] = (16, 32, 64, 128, 256)
    pruned: int = 0
    average: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        depth = len(self.widths) - 1
        if not 0 <= self.pruned <= depth:
            raise ValueError(
                f"UNetPlusPlus: pruned is {self.pruned}: {depth + 1} levels can be pruned to a "
                f"depth of 1 to {depth}, or 0 for the whole"
            )
        shallow = self.pruned not in (0, depth)
        if (shallow or self.average) and not self.deep_supervision:
            raise ValueError(
                "UNetPlusPlus: pruned and average need deep_supervision, which trains the heads "
                "they use"
            )

    def module(
        self,
        channels: int,
        classes: int,
        normals: layers.Normals,
        size: tuple[int, ...],
    ) -> nnx.Module:
        return _Module(self, channels, classes, normals)


class _Module(nnx.Module):
    """Variables: node{i}_{j}, join{i}_{j} (upsampling into that node), head1 … and head, the
    deepest.
    """

    def __init__(self, net: UNetPlusPlus, channels: int, classes: int, normals: layers.Normals):
        self.net = net
        depth = len(net.widths) - 1
        for i in range(depth + 1):
            setattr(self, f"node{i}_0", net.level(i, channels, normals))
        for j in range(1, depth + 1):
            for i in range(depth + 1 - j):
                width = net.widths[i]
                join, given = net.upsampling(net.widths[i + 1], width, normals)
                setattr(self, f"join{i}_{j}", join)
                setattr(self, f"node{i}_{j}", net.merge(j * width + given, width, normals))
            if net.deep_supervision and j < depth:
                setattr(self, f"head{j}", net.last_layer(classes, normals))
        self.head = net.last_layer(classes, normals)

    def __call__(
        self,
        x: jax.Array,
        train: bool,
        key: jax.Array | None,
    ) -> ModuleOutput:
        net = self.net
        depth = len(net.widths) - 1
        if net.pruned and not train:
            depth = net.pruned
        nodes: dict[tuple[int, int], jax.Array] = {}
        for i in range(depth + 1):
            level_key = layers.subkey(key, i)
            x = getattr(self, f"node{i}_0")(net.to_level(i, x), train, level_key)
            nodes[i, 0] = x
        for j in range(1, depth + 1):
            for i in range(depth + 1 - j):
                up = upsampled(getattr(self, f"join{i}_{j}"), nodes[i + 1, j - 1], train)
                seen = jnp.concatenate([*(nodes[i, k] for k in range(j)), up], -1)
                nodes[i, j] = getattr(self, f"node{i}_{j}")(seen, train, None)
        features = nodes[0, depth]
        if not net.deep_supervision:
            return self.head(features), {"features": features}
        heads = [self._head(j)(nodes[0, j]) for j in range(depth, 0, -1)]
        logits = heads[0]
        if net.average and not train:
            each = jnp.stack([jax.nn.log_softmax(h.astype(jnp.float32)) for h in heads])
            logits = jax.nn.logsumexp(each, 0) - jnp.log(len(heads))
        return logits, {"features": features, "deep": heads[1:]}

    def _head(self, depth: int) -> Any:
        """The last layer of the U-Net of a depth."""
        if depth == len(self.net.widths) - 1:
            return self.head
        return getattr(self, f"head{depth}")


def from_torch(state_dict: Mapping[str, Any]) -> Params:
    """Variables of ``UNetPlusPlus(norm="instance", slope=0.1, deep_supervision=True)`` from the
    state dict of MONAI's ``BasicUNetPlusPlus`` with ``features=(w0, w0, w1 …, w0)``; it has five
    levels and a head at every depth.
    """
    node = r"(?:conv|upcat)_(\d)_(\d)\."
    block = node + r"(?:convs\.)?conv_([01])"
    rules: list[Rule] = [
        *conv_norm(
            block + r"\.conv", block + r"\.adn\.N", r"node\1_\2.conv\3", r"node\1_\2.norm\3"
        ),
        (node + r"upsample\.deconv\.weight", r"join\1_\2.kernel", transposed),
        (node + r"upsample\.deconv\.bias", r"join\1_\2.bias"),
        *layer(r"final_conv_0_4", "head"),
        *layer(r"final_conv_0_(\d)", r"head\1"),
    ]
    return to_params(mapped(state_dict, rules, "UNetPlusPlus", unused=r".*num_batches_tracked"))
