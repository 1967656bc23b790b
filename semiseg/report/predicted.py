"""Pictures of predicted masks: the slices that show most of them."""

from __future__ import annotations

import numpy as np

from semiseg.data.grey_values import Limits, grey
from semiseg.report.pictures import overlay

SLICES = 4
"""Of a volume in a picture."""
APART = 12
"""Of so many slices of a volume, two of a picture are at least one apart."""


def predicted_slices(image: np.ndarray, mask: np.ndarray, limits: Limits) -> np.ndarray:
    """The fullest slices of a scan side by side, classes outlined in the colours of the report.

    Args:
      image: ``(H, W, C)`` or ``(D, H, W, C)``; three channels are colours, of others the first is
        shown.
      mask: ``(H, W)`` or ``(D, H, W)`` classes.
      limits: the numbers that are black and white.

    Returns:
      ``(H', W', 3)`` uint8.
    """
    if mask.ndim == 2:
        image = image[None]
        mask = mask[None]
    pictures: list[np.ndarray] = []
    for place in fullest(mask):
        levels = (grey(image[place], limits) * 255).round().astype(np.uint8)
        if levels.shape[-1] != 3:
            levels = levels[..., 0]
        pictures.append(overlay(levels, mask[place], mask[place]))
    return np.concatenate(pictures, axis=1)


def fullest(mask: np.ndarray) -> list[int]:
    """Places of the slices ``(D, H, W)`` with most foreground, in their order; at least one.

    >>> fullest(np.array([[[1, 1]], [[0, 0]], [[0, 1]], [[1, 0]]], np.uint8))
    [0, 2, 3]
    """
    counts = np.count_nonzero(mask, axis=(1, 2))
    apart = len(mask) // APART
    chosen: list[int] = []
    for place in np.argsort(-counts, kind="stable").tolist():
        near = any(abs(place - other) <= apart for other in chosen if other != place)
        if len(chosen) == SLICES or (chosen and not counts[place]):
            break
        if not near or not apart:
            chosen.append(place)
    return sorted(chosen)
