"""Is a network right as often as it is sure? Confidence against accuracy around the objects."""

from __future__ import annotations

from typing import Any

import numpy as np

from semiseg.types import IGNORE

BINS = 10
"""Of confidence, equally wide, from 0 to 1."""
MARGIN = 5
"""Pixels by which the box around the foreground is grown."""
SUMS = ("pixels", "confidence", "right")
"""Rows of :func:`count`."""


def count(probability: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Sums by bin of confidence ``(3, BINS)``: pixels, confidence, and right pixels.

    Only the box around all true foreground counts, grown by MARGIN (Mehrtash et al., IEEE TMI
    2020): an easy background far away would hide the rest, and a choice that looked at the
    prediction would favour its errors. Without foreground everything counts.

    Args:
      probability: ``(*space, K)``.
      label: ``(*space)`` with IGNORE.
    """
    box = foreground_box(label)
    probability = probability[box]
    label = label[box]
    seen = label != IGNORE
    confidence = probability.max(-1).astype(np.float64)[seen]
    right = (probability.argmax(-1) == label)[seen].astype(float)
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    weights = (np.ones(bins.size), confidence, right)
    return np.stack([np.bincount(bins, weight, BINS) for weight in weights])


def foreground_box(label: np.ndarray) -> tuple[slice, ...]:
    """The box around all foreground of a label, grown by MARGIN; everything without foreground.

    Example:
      >>> foreground_box(np.array([0, 0, 0, 0, 0, 0, 0, 1, 0]))
      (slice(2, 13, None),)
    """
    places = np.argwhere((label != IGNORE) & (label != 0))
    if not len(places):
        return (slice(None),) * label.ndim
    ends = zip(places.min(0), places.max(0), strict=True)
    return tuple(slice(int(max(0, a - MARGIN)), int(b + 1 + MARGIN)) for a, b in ends)


def error(total: np.ndarray) -> float:
    """Expected calibration error: mean over pixels of the difference between confidence and
    accuracy of their bin (Guo et al., ICML 2017, eq. 3).

    Args:
      total: sums of :func:`count`, ``(3, BINS)``.

    Returns:
      NaN where no pixel was counted.

    Example:
      >>> error(np.array([[10.0, 10.0], [5.0, 9.0], [5.0, 7.0]]))
      0.1
    """
    pixels, confidence, right = total
    if not pixels.any():
        return float("nan")
    return float(np.abs(confidence - right).sum() / pixels.sum())


def summary(total: np.ndarray) -> dict[str, Any]:
    """What summary.json says of one split: the error, and the sums it is computed from."""
    value = error(total)
    sums = {name: row.round(3).tolist() for name, row in zip(SUMS, total, strict=True)}
    return {"ece": round(value, 6) if np.isfinite(value) else None, **sums}
