"""ResNets of bottlenecks whose last stages may keep their resolution: the encoders of DeepLab and
FCN-ResNet.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
from flax import nnx

from semiseg.nets.layers.modules import ConvNorm, Normals, NormKind
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
        self.unit1 = ConvNorm(channels, width, norm, size=1, normals=normals)
        self.unit2 = ConvNorm(width, width, norm, stride=stride, dilation=dilation, normals=normals)
        self.unit3 = ConvNorm(width, 4 * width, norm, None, size=1, normals=normals)
        project = stride > 1 or channels != 4 * width
        self.shortcut = (
            ConvNorm(channels, 4 * width, norm, None, size=1, stride=stride, normals=normals)
            if project
            else None
        )

    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        y = self.unit3(self.unit2(self.unit1(x, train), train), train)
        return jax.nn.relu(y + (x if self.shortcut is None else self.shortcut(x, train)))


class ResNet(nnx.Module):
    """He et al., CVPR 2016 (table 1), with the stride on the 3×3 convolution; the classifier is
    left out.

    From ``output_stride`` (8, 16 or 32) on, strides become dilations (Chen et al. 2017, fig. 3):
    the first block of such a stage keeps the dilation of the stage before it, as in the public
    implementations. ``grid`` multiplies the dilations of the last stage's blocks. Variables: stem,
    stage{1…4}_{block}.
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
        given, reached, dilation = width, 4, 1
        for s, depth in enumerate(depths):
            stride = 1 if s == 0 or reached == output_stride else 2
            before, reached = dilation, reached * stride
            dilation = dilation if s == 0 or stride == 2 else 2 * dilation
            for b in range(depth):
                d = dilation if b or max(grid) > 1 else before
                d *= grid[b % len(grid)] if s == len(depths) - 1 else 1
                block = Bottleneck(
                    given,
                    width * 2**s,
                    norm,
                    stride=stride if b == 0 else 1,
                    dilation=d,
                    normals=normals,
                )
                setattr(self, f"stage{s + 1}_{b}", block)
                given = 4 * width * 2**s

    def __call__(self, x: jax.Array, train: bool) -> list[jax.Array]:
        """Activations of each stage, at 1/4, 1/8 or coarser."""
        x = overlapping_max_pool(self.stem(x, train))
        found = []
        for s, depth in enumerate(self.depths, 1):
            for b in range(depth):
                x = getattr(self, f"stage{s}_{b}")(x, train)
            found.append(x)
        return found
