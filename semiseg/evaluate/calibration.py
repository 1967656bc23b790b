"""Is a network right as often as it is sure? Confidence against accuracy around the objects."""

from __future__ import annotations

from typing import Any

import numpy as np

from semiseg.types import IGNORE

BINS, MARGIN = 10, 5


def count(probability: np.ndarray, label: np.ndarray) -> np.ndarray:
    """``(3, BINS)``: pixels, summed confidence and right ones, by confidence in bins of equal width
    from 0 to 1.

    Of the pixels in the box around all true foreground, grown by MARGIN (Mehrtash et al., IEEE TMI
    2020): an easy background far away would hide the rest, and a choice that looked at the
    prediction would favour its errors. Everywhere where there is no foreground.

    Args:
      probability: ``(*space, K)``.
      label: ``(*space)`` with IGNORE.
    """
    front = np.argwhere((label != IGNORE) & (label != 0))
    box = (
        tuple(slice(max(0, a - MARGIN), b + 1 + MARGIN) for a, b in zip(front.min(0), front.max(0)))
        if len(front)
        else ...
    )
    probability, label = probability[box], label[box]
    guess, sure, seen = (
        probability.argmax(-1),
        probability.max(-1).astype(np.float64),
        label != IGNORE,
    )
    at = np.minimum((sure[seen] * BINS).astype(int), BINS - 1)
    return np.stack(
        [
            np.bincount(at, w, BINS)
            for w in (np.ones(at.size), sure[seen], (guess == label)[seen].astype(float))
        ]
    )


def error(total: np.ndarray) -> float:
    """Expected calibration error of :func:`count`'s sums: mean over pixels of |confidence -
    accuracy| of their bin (Guo et al., ICML 2017, eq. 3).
    """
    return (
        float(np.abs(total[1] - total[2]).sum() / total[0].sum())
        if total[0].any()
        else float("nan")
    )


def told(total: np.ndarray) -> dict[str, Any]:
    """What summary.json says of one split."""
    value = error(total)
    return {
        "ece": round(value, 6) if np.isfinite(value) else None,
        **{
            name: row.round(3).tolist()
            for name, row in zip(("pixels", "confidence", "right"), total)
        },
    }
