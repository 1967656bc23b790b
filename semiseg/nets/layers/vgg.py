"""The convolutions of VGG16, which FCN-8s and SegNet begin with."""

from __future__ import annotations

from collections.abc import Sequence

import jax
from flax import nnx

from semiseg.nets.layers.convolution import ConvNorm
from semiseg.nets.layers.norm import NormKind
from semiseg.nets.layers.normals import Normals


class Stage(nnx.Module):
    """3×3 convolutions of one resolution, each with norm and ReLU; ``widths`` are their outputs."""

    def __init__(self, channels: int, widths: Sequence[int], norm: NormKind, normals: Normals):
        self.count = len(widths)
        for i, out in enumerate(widths):
            setattr(self, f"conv{i}", ConvNorm(channels, out, norm, normals=normals))
            channels = out

    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        for i in range(self.count):
            x = getattr(self, f"conv{i}")(x, train)
        return x


def stage_widths(width: int) -> list[list[int]]:
    """Outputs of VGG16's convolutions, stage by stage (Simonyan & Zisserman, ICLR 2015, table 1,
    column D); the first has ``width`` channels (64 there).

    >>> stage_widths(64)[:3]
    [[64, 64], [128, 128], [256, 256, 256]]
    """
    return [[width] * 2, [2 * width] * 2, [4 * width] * 3, [8 * width] * 3, [8 * width] * 3]
