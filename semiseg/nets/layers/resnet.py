"""ResNets of bottlenecks whose last stages may keep their resolution: the encoders of DeepLab and
FCN-ResNet.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
from flax import nnx

from semiseg.nets.layers.convolution import ConvNorm
from semiseg.nets.layers.norm import NormKind
from semiseg.nets.layers.normals import Normals
from semiseg.nets.layers.resample import overlapping_max_pool


class Bottleneck(nnx.Module):
    """1×1, 3×3 (with the stride and the dilation), 1×1 to four times the channels, plus the
    identity or its projection.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        norm: NormKind,
        *,
        stride: int,
        dilation: int,
        normals: Normals,
    ):
        out = 4 * width
        self.unit1 = ConvNorm(channels, width, norm, size=1, normals=normals)
        self.unit2 = ConvNorm(width, width, norm, stride=stride, dilation=dilation, normals=normals)
        self.unit3 = ConvNorm(width, out, norm, None, size=1, normals=normals)
        self.project = stride > 1 or channels != out
        if self.project:
            self.shortcut = ConvNorm(
                channels,
                out,
                norm,
                None,
                size=1,
                stride=stride,
                normals=normals,
            )

    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        y = self.unit3(self.unit2(self.unit1(x, train), train), train)
        if self.project:
            x = self.shortcut(x, train)
        return jax.nn.relu(y + x)


class ResNet(nnx.Module):
    """ResNet of He et al., CVPR 2016 (table 1), with the stride on the 3×3 convolution and without
    the classifier.

    From ``output_stride`` (8, 16 or 32) on, strides become dilations (Chen et al., arXiv
    1706.05587, fig. 3): the first block of such a stage keeps the dilation of the stage before it,
    as in the public implementations. ``grid`` multiplies the dilations of the last stage's blocks.
    Variables: stem, stage{1…4}_{block}.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        depths: Sequence[int],
        norm: NormKind,
        output_stride: int,
        grid: Sequence[int],
        normals: Normals,
    ):
        self.depths = tuple(depths)
        self.stem = ConvNorm(channels, width, norm, size=7, stride=2, normals=normals)
        given = width
        for stage, (stride, dilations) in enumerate(_stages(depths, output_stride, grid)):
            inner = width * 2**stage
            for i, dilation in enumerate(dilations):
                block = Bottleneck(
                    given,
                    inner,
                    norm,
                    stride=stride,
                    dilation=dilation,
                    normals=normals,
                )
                setattr(self, f"stage{stage + 1}_{i}", block)
                given = 4 * inner
                stride = 1

    def __call__(self, x: jax.Array, train: bool) -> list[jax.Array]:
        """Activations of each stage, at 1/4, 1/8 or coarser."""
        x = overlapping_max_pool(self.stem(x, train))
        stages = []
        for stage, depth in enumerate(self.depths, 1):
            for i in range(depth):
                x = getattr(self, f"stage{stage}_{i}")(x, train)
            stages.append(x)
        return stages


def _stages(
    depths: Sequence[int],
    output_stride: int,
    grid: Sequence[int],
) -> list[tuple[int, list[int]]]:
    """Of each stage: the stride of its first block, and the dilation of every block."""
    stages = []
    reached = 4
    dilation = 1
    for stage, depth in enumerate(depths):
        before = dilation
        stride = 1
        if stage > 0 and reached < output_stride:
            stride = 2
        elif stage > 0:
            dilation *= 2
        reached *= stride
        dilations = [dilation] * depth
        if max(grid) == 1:
            dilations[0] = before
        if stage == len(depths) - 1:
            dilations = [d * grid[i % len(grid)] for i, d in enumerate(dilations)]
        stages.append((stride, dilations))
    return stages
