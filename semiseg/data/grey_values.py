"""Intensity rules: which numbers of a scan become grey values from 0 to 1, and what a network sees
of these.

One rule holds for the whole scan, never for a slice, so that a slice of air stays dark. It looks at
the numbers alone: float, int16 and uint8 files that hold the same numbers are seen alike.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from semiseg.errors import UserError

WINDOWS = {
    "ct": (-1000.0, 1000.0),
    "ct-soft": (-160.0, 240.0),
    "ct-lung": (-1000.0, 400.0),
    "ct-bone": (-450.0, 1050.0),
    "none": (0.0, 255.0),
}
"""Rules with fixed limits: of CT in Hounsfield units (soft tissue: level 40, width 400; lung: level
-300, width 1400; bone: level 300, width 1500), and of pictures whose levels are taken as they are.
"""
OF_SCAN = ("zscore", "percentile")
"""Rules whose limits are a scan's own: all of its numbers, or all but its extremes."""
OF_SLICE = "slice"
"""The rule of runs that were made before there was any other: a slice's own extremes, and every
window standardised by itself. It brightens slices of air.
"""
RULES = ("auto", *WINDOWS, "window LOW HIGH", *OF_SCAN, OF_SLICE)
PERCENTILES = (0.5, 99.5)
"""Of a scan's numbers, for ``percentile``."""
SLICE_PERCENTILES = (0.2, 99.8)
"""Of a slice's numbers, for ``slice``."""
MOST = 2**20
"""Numbers that percentiles are taken of."""
AIR = -500.0
"""A set of volumes of which most go below this holds Hounsfield units."""
FIXED_MEAN = 0.5
FIXED_DEVIATION = 0.25
"""What grey values of a rule with fixed limits are standardised by: the same in every scan."""


class Limits(NamedTuple):
    """Numbers of a scan that become 0 and 1, ``(C,)`` float64 each."""

    low: np.ndarray
    high: np.ndarray


def parse(rule: str) -> str:
    """The rule, in its one spelling.

    Raises:
      UserError: there is no such rule.

    >>> parse("window -160 240"), parse("ct")
    ('window -160 240', 'ct')
    """
    words = rule.replace(",", " ").split()
    if len(words) == 1 and words[0] in ("auto", *WINDOWS, *OF_SCAN, OF_SLICE):
        return words[0]
    if len(words) == 3 and words[0] == "window":
        numbers = [_number(word) for word in words[1:]]
        if None not in numbers and float(words[1]) < float(words[2]):
            return " ".join(words)
    raise UserError(
        f"is no intensity rule; there is {', '.join(RULES)}", where=f"--intensity {rule!r}"
    )


def _number(word: str) -> float | None:
    return float(word) if re.fullmatch(r"[-+]?\d+(\.\d*)?(e[-+]?\d+)?", word) else None


def fixed_limits(rule: str) -> tuple[float, float] | None:
    """The limits of a rule that has the same for every scan; None for another.

    >>> fixed_limits("ct-soft"), fixed_limits("window 0 80"), fixed_limits("zscore")
    ((-160.0, 240.0), (0.0, 80.0), None)
    """
    if rule in WINDOWS:
        return WINDOWS[rule]
    if rule.startswith("window "):
        _, low, high = rule.split()
        return float(low), float(high)
    return None


def limits(rule: str, image: np.ndarray) -> Limits:
    """The limits of a scan ``(*space, C)``.

    ``zscore`` takes all numbers; whole numbers from 0 to 255 become the levels that an 8-bit file
    of them has.
    """
    channels = image.shape[-1]
    fixed = fixed_limits(rule)
    if fixed is not None:
        return Limits(np.full(channels, fixed[0]), np.full(channels, fixed[1]))
    numbers = image.reshape(-1, channels)
    if rule == "percentile":
        step = max(1, len(numbers) // MOST)
        low, high = np.percentile(numbers[::step].astype(np.float64), PERCENTILES, axis=0)
        return Limits(low, high)
    low = np.min(numbers, 0).astype(np.float64)
    high = np.max(numbers, 0).astype(np.float64)
    if np.all(low >= 0) and np.all(high <= 255) and are_whole(numbers):
        return Limits(np.zeros(channels), np.full(channels, 255.0))
    return Limits(low, high)


def are_whole(numbers: np.ndarray) -> bool:
    """Whether all numbers are whole, whatever type holds them."""
    if numbers.dtype.kind in "ui":
        return True
    return bool(np.all(numbers == np.rint(numbers)))


def grey(image: np.ndarray, limits: Limits) -> np.ndarray:
    """Grey values float32 in [0, 1]; numbers beyond the limits are clipped.

    >>> image = np.array([[-1024.0], [0.0], [3071.0]])
    >>> grey(image, Limits(np.array([-1000.0]), np.array([1000.0]))).ravel().tolist()
    [0.0, 0.5, 1.0]
    """
    low = limits.low.astype(np.float32)
    width = np.maximum(limits.high - limits.low, 1e-6).astype(np.float32)
    x = image.astype(np.float32)
    x -= low  # in place: a large scan takes four bytes a voxel here
    x /= width
    return np.clip(x, 0, 1, out=x)


def statistics(rule: str, grey: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation ``(C,)`` float32 that a network's input is standardised by.

    Args:
      rule: of the scan.
      grey: ``(*space, C)`` in [0, 1].
    """
    channels = grey.shape[-1]
    if fixed_limits(rule) is not None:
        mean = np.full(channels, FIXED_MEAN, np.float32)
        return mean, np.full(channels, FIXED_DEVIATION, np.float32)
    numbers = grey.reshape(-1, channels)
    mean = numbers.mean(0, dtype=np.float64)
    deviation = numbers.std(0, dtype=np.float64)
    return mean.astype(np.float32), deviation.astype(np.float32)


def auto(images: Iterable[np.ndarray]) -> str:
    """The rule for a set, from images of its training split.

    ``ct`` where most volumes hold Hounsfield units, ``percentile`` for other volumes, ``zscore``
    for pictures.

    >>> auto([np.zeros((2, 4, 4, 1)) - 1024]), auto([np.zeros((4, 4, 1), np.uint8)])
    ('ct', 'zscore')
    """
    below = []
    for image in images:
        if image.ndim == 3:
            return "zscore"
        below.append(float(np.min(image[..., 0])) <= AIR)
    if not below:
        return "zscore"
    if sum(below) > len(below) / 2:
        return "ct"
    return "percentile"


def noise(grey: np.ndarray) -> float:
    """Deviation of the noise of a scan ``(*space, C)`` of grey values, from differences of
    neighbouring pixels: the median of the absolute values of a Laplacian (Immerkær, Computer Vision
    and Image Understanding 64(2), 1996, with a median in place of the mean).

    >>> rng = np.random.default_rng(0)
    >>> f"{noise(0.5 + 0.01 * rng.standard_normal((64, 64, 1))):.3f}"
    '0.010'
    """
    plane = grey if grey.ndim == 3 else grey[len(grey) // 2]
    x = plane[..., 0].astype(np.float64)
    if min(x.shape) < 3:
        return 0.0
    rows = x[2:] - 2 * x[1:-1] + x[:-2]
    laplacian = rows[:, 2:] - 2 * rows[:, 1:-1] + rows[:, :-2]
    inner = x[1:-1, 1:-1]
    seen = (inner > 0) & (inner < 1)
    if not seen.any():
        return 0.0
    return float(np.median(np.abs(laplacian[seen])) / 0.6745 / 6.0)


def stored_as(noises: Sequence[float]) -> str:
    """``uint8`` where the step between two of 256 levels is smaller than the noise of most scans,
    else ``float16``.

    >>> stored_as([0.01, 0.02]), stored_as([0.0001, 0.02, 0.0])
    ('uint8', 'float16')
    """
    return "uint8" if np.median(noises) > 1 / 255 else "float16"
