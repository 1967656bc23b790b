"""The convolutions of VGG16, which FCN-8s and SegNet begin with."""

from __future__ import annotations

from collections.abc import Sequence

import jax
from flax import nnx

from semiseg.nets.layers.modules import ConvNorm, Normals, NormKind


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


def plan(width: int) -> list[list[int]]:
    """Outputs of VGG16's convolutions (Simonyan & Zisserman, ICLR 2015, table 1, column D) whose
    first has ``width`` channels (64 there).
    """
    return [[width] * 2, [2 * width] * 2, [4 * width] * 3, [8 * width] * 3, [8 * width] * 3]
