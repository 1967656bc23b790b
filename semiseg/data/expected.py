"""What a network was trained on, in a few numbers that travel with its weights, and how a scan that
it is to segment differs from that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from semiseg.data.orientation import PLANES, code_of
from semiseg.types import Case

PERCENTILES = (1, 99)
"""Between which a scan's numbers are said to lie."""
MOST = 2**18
"""Numbers that they are taken of."""
BEYOND = 0.5
"""A range may reach so many widths of training's beyond it."""
NARROW = 0.1
"""A range may be so much narrower than the narrowest of training."""
SPACING = 1.5
"""A spacing may be so many times finer or coarser than any of training."""


class _Facts(NamedTuple):
    """What is kept of a scan."""

    dtype: str
    limits: tuple[float, float]
    by_channel: list[tuple[float, float]]
    spacing: tuple[float, ...]
    orientation: str
    code: str | None


def of_scans(scans: Sequence[Case], unit: str) -> dict[str, Any]:
    """What training saw, as JSON types: unit, types, ranges of numbers, spacings, orientations.

    Each scan is looked at once, one after the other: they may be read from the disk.
    """
    facts = [_facts(scan) for scan in scans]
    ranges = np.array([of_scan.limits for of_scan in facts])
    spacings = np.array([of_scan.spacing for of_scan in facts])
    return {
        "unit": unit,
        "dtypes": sorted({of_scan.dtype for of_scan in facts}),
        "low": _rounded(np.min(ranges[:, 0])),
        "high": _rounded(np.max(ranges[:, 1])),
        "narrowest": _rounded(np.min(ranges[:, 1] - ranges[:, 0])),
        "finest": [_rounded(side) for side in np.min(spacings, 0)],
        "coarsest": [_rounded(side) for side in np.max(spacings, 0)],
        "orientations": sorted({of_scan.orientation for of_scan in facts}),
        "plane": _plane([of_scan.code for of_scan in facts if of_scan.code is not None]),
        "by_channel": _by_channel([of_scan.by_channel for of_scan in facts]),
    }


def _facts(scan: Case) -> _Facts:
    by_channel: list[tuple[float, float]] = []
    channels = scan.image.shape[-1]
    if channels > 1:
        by_channel = [value_range(scan.image[..., channel]) for channel in range(channels)]
    return _Facts(
        scan.image.dtype.name,
        value_range(scan.image),
        by_channel,
        scan.spacing,
        scan.orientation,
        None if scan.affine is None else code_of(scan.affine),
    )


def _by_channel(limits: Sequence[Sequence[tuple[float, float]]]) -> list[list[float]]:
    """The smallest and the largest number of each channel; empty where there is one channel."""
    ranges = np.array(limits)
    return [
        [_rounded(np.min(ranges[:, channel, 0])), _rounded(np.max(ranges[:, channel, 1]))]
        for channel in range(len(limits[0]))
    ]


def _plane(codes: Sequence[str]) -> str:
    """The plane in which volumes are cut to slices; "" of pictures."""
    if not codes:
        return ""
    code, _ = Counter(codes).most_common(1)[0]
    return next((plane for plane, axes in PLANES.items() if axes == code), "")


def value_range(image: np.ndarray) -> tuple[float, float]:
    """The 1st and 99th percentile of a scan's numbers."""
    numbers = image.reshape(-1)
    numbers = numbers[:: max(1, len(numbers) // MOST)]
    low, high = np.percentile(numbers.astype(np.float64), PERCENTILES)
    return float(low), float(high)


def differences(expected: Mapping[str, Any], scan: Case, unit: str) -> list[str]:
    """How a scan is unlike training's, a phrase each; empty where it is like them.

    >>> seen = {"unit": "pixel", "low": 0.0, "high": 255.0, "narrowest": 100.0}
    >>> scan = Case("", "", np.full((2, 2, 1), -1000.0), None, (1.0, 1.0), "")
    >>> differences(seen, scan, "pixel")
    ['its numbers lie between -1000 and -1000, those of training between 0 and 255']
    """
    if "low" not in expected:
        return []
    phrases: list[str] = []
    low, high = value_range(scan.image)
    width = expected["high"] - expected["low"]
    beyond = low < expected["low"] - BEYOND * width or high > expected["high"] + BEYOND * width
    if beyond or high - low < NARROW * expected["narrowest"]:
        phrases.append(
            f"its numbers lie between {low:.4g} and {high:.4g}, those of training between "
            f"{expected['low']:.4g} and {expected['high']:.4g}"
        )
    else:
        phrases += _channel_phrases(expected.get("by_channel", ()), scan.image)
    if unit != "mm" or expected["unit"] != "mm":
        return phrases
    axes = min(len(scan.spacing), len(expected["finest"]))  # a picture has no distance of slices
    finest = expected["finest"][-axes:]
    coarsest = expected["coarsest"][-axes:]
    bounds = zip(scan.spacing[-axes:], finest, coarsest, strict=True)
    if any(not least / SPACING <= side <= most * SPACING for side, least, most in bounds):
        phrases.append(
            f"its spacing is {_times(scan.spacing)} mm, those of training lie between "
            f"{_times(finest)} and {_times(coarsest)} mm"
        )
    return phrases


def _channel_phrases(seen: Sequence[Sequence[float]], image: np.ndarray) -> list[str]:
    """A phrase for each channel whose numbers lie far from those of training: channels in another
    order have the range of the whole.
    """
    phrases: list[str] = []
    if len(seen) != image.shape[-1]:
        return phrases
    for channel, (least, most) in enumerate(seen):
        low, high = value_range(image[..., channel])
        margin = BEYOND * (most - least)
        if low < least - margin or high > most + margin:
            phrases.append(
                f"the numbers of its channel {channel} lie between {low:.4g} and {high:.4g}, those "
                f"of training between {least:.4g} and {most:.4g}"
            )
    return phrases


def _times(sides: Sequence[float]) -> str:
    return " × ".join(f"{side:.3g}" for side in sides)


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")
