"""The largest connected part of each class of a mask."""

from __future__ import annotations

import numpy as np


def largest_components(mask: np.ndarray, classes: int) -> np.ndarray:
    """A mask whose classes are in one piece each; what else there was is background.

    Pixels that touch at a corner are connected.

    Args:
      mask: ``(H, W)`` or ``(D, H, W)`` uint8.
      classes: number of them, with the background.

    >>> largest_components(np.array([[1, 1, 0, 1, 0, 2]], np.uint8), 3).tolist()
    [[1, 1, 0, 0, 0, 2]]
    """
    from scipy import ndimage

    result = mask.copy()
    every = np.ones((3,) * mask.ndim, int)
    for k in range(1, classes):
        where = mask == k
        parts, number = ndimage.label(where, every)
        if number < 2:
            continue
        sizes = np.bincount(parts.ravel())
        largest = int(np.argmax(sizes[1:])) + 1
        result[where & (parts != largest)] = 0
    return result
