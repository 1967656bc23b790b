"""nnU-Net's rules for a network's depth and width, and estimates of what such a network costs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from semiseg.nets.resenc_unet import ResEncUNet

LEAST = 4
"""Side of the coarsest feature map, pixels (Isensee et al. 2021, supplementary note 2)."""

BLOCKS = (1, 3, 4, 6, 6, 6, 6, 6)
"""Residual blocks of each stage (Isensee et al. 2024)."""

ARRAYS_HELD = 3.0
"""Arrays of a convolution's output size that a training step holds at once: its input, output and a
gradient. Measured with XLA's own account (``memory_analysis``) of a training step on a CPU: 2.0 to
2.5 for 2D networks of five and six stages at 64² and 128².
"""

Encoder = Literal["residual", "plain"]
"""Kinds of encoder, see :class:`semiseg.nets.resenc_unet.ResEncUNet`."""


def topology(size: Sequence[int], spacing: Sequence[float]) -> tuple[int, int]:
    """(stages, flat stages) of a network (Isensee et al. 2021, supplementary note 2).

    Stages: as many as leave :data:`LEAST` pixels along the shortest axis of the plane. A volume's
    first axis is left alone by the finest ``flat`` stages: as long as its spacing is more than
    twice the plane's, and where it is too short to be halved as often.

    Args:
      size: of the images in pixels, the thick axis of a volume first.
      spacing: of the pixels along each axis, in any unit.

    Example:
      >>> topology((128, 128), (1, 1))
      (6, 0)
      >>> topology((40, 128, 128), (5, 1, 1))
      (6, 2)
    """
    stages = 1 + _halvings(min(size[-2:]))
    if len(size) == 2:
        return stages, 0
    thickness = spacing[0] / min(spacing[-2:])
    by_spacing = 0
    if thickness > 2:
        by_spacing = math.ceil(math.log2(thickness)) - 1
    by_size = stages - 1 - _halvings(size[0])
    return stages, min(max(by_spacing, by_size, 0), stages - 1)


def _halvings(pixels: int) -> int:
    """How often an axis can be halved until :data:`LEAST` pixels are left."""
    return max(0, math.floor(math.log2(pixels / LEAST)))


def network(
    patch: Sequence[int],
    spacing: Sequence[float],
    *,
    width: int = 32,
    encoder: Encoder = "residual",
) -> ResEncUNet:
    """nnU-Net's network for a patch: widths doubling from ``width`` up to 512 (volumes: 320) times
    ``width / 32``.

    >>> network((64, 64), (1, 1), width=8).widths
    (8, 16, 32, 64, 128)
    >>> network((64, 64), (1, 1), width=8).blocks
    (1, 3, 4, 6, 6)
    """
    stages, flat = topology(patch, spacing)
    dims: Literal[2, 3] = 2 if len(patch) == 2 else 3
    widest = width * {2: 16, 3: 10}[dims]
    widths = tuple(min(width * 2**i, widest) for i in range(stages))
    blocks: int | tuple[int, ...] = 2
    convs = 2
    if encoder == "residual":
        blocks = tuple(BLOCKS[min(i, len(BLOCKS) - 1)] for i in range(stages))
        convs = 1
    return ResEncUNet(widths, blocks, convs, encoder, flat, deep_supervision=True, dims=dims)


def activations(net: ResEncUNet, patch: Sequence[int]) -> int:
    """Numbers in the outputs of all convolutions for one image of ``patch`` pixels.

    >>> activations(ResEncUNet((8, 16), (1, 1)), (16, 16))
    13312
    """
    total = 0
    pixels = math.prod(patch)
    for i, (width, blocks) in enumerate(zip(net.widths, net.counts(), strict=True)):
        if i > 0:
            pixels //= math.prod(net.factor(i))
        convolutions = blocks
        if net.encoder == "residual":
            convolutions = 2 * blocks + 1  # the projection, or the stem
        if i < len(net.widths) - 1:
            convolutions += net.convs + 1  # the decoder's
        total += pixels * width * convolutions
    return total


def parameters(net: ResEncUNet, channels: int, classes: int) -> int:
    """Number of weights, without those of norms and biases.

    >>> parameters(ResEncUNet((8, 16), (1, 1)), channels=1, classes=2)
    6488
    """
    total = net.widths[0] * classes
    given = channels
    for i, (width, blocks) in enumerate(zip(net.widths, net.counts(), strict=True)):
        taps = _taps(net, i)
        inner = width * width
        if net.encoder == "plain":
            total += taps * (given * width + (blocks - 1) * inner)
        elif i == 0:
            total += taps * (given * width + 2 * blocks * inner)
        else:
            projection = given * width
            total += taps * (given * width + (2 * blocks - 1) * inner) + projection
        if i > 0:
            total += _decoder_parameters(net, i)
        given = width
    return total


def _decoder_parameters(net: ResEncUNet, stage: int) -> int:
    """Number of weights of the decoder's level above ``stage``."""
    low = net.widths[stage]
    high = net.widths[stage - 1]
    upsampling = math.prod(net.factor(stage)) * low * high
    convolutions = 2 * high * high + (net.convs - 1) * high * high
    return upsampling + _taps(net, stage - 1) * convolutions


def _taps(net: ResEncUNet, stage: int) -> int:
    """Pixels of a stage's kernels."""
    if stage < net.flat:
        return 3 ** (net.dims - 1)
    return 3**net.dims


def memory(net: ResEncUNet, patch: Sequence[int], batch: int, channels: int, classes: int) -> float:
    """Estimate of a training step's memory in GB, float32: activations, and weights with their
    gradient, two moments and an average.

    >>> round(memory(ResEncUNet((8, 16), (1, 1)), (64, 64), 4, channels=1, classes=2), 4)
    0.0104
    """
    held = ARRAYS_HELD * batch * activations(net, patch) + 5 * parameters(net, channels, classes)
    return 4 * held / 1e9
