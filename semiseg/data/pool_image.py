"""An image as the pool holds it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from semiseg.data import grey_values


class PoolImage(NamedTuple):
    """A scan, or a slice of one, as the pool holds it.

    Attributes:
      levels: ``(*space, C)`` uint8, or float16 in [0, 1].
      mean: ``(C,)`` float32, what is taken from its grey values before a network sees them; None
        where every window is standardised by itself.
      deviation: ``(C,)`` float32, what they are divided by then.
    """

    levels: np.ndarray
    mean: np.ndarray | None = None
    deviation: np.ndarray | None = None


def pool_images(levels_NHWC: np.ndarray, rule: str | None = None) -> list[PoolImage]:
    """Arrays that are pool images already, ``(N, *space, C)`` uint8.

    They are standardised window by window, or by an intensity ``rule``.
    """
    if rule is None or rule == grey_values.OF_SLICE:
        return [PoolImage(levels) for levels in levels_NHWC]
    images = []
    for levels in levels_NHWC:
        mean, deviation = grey_values.statistics(rule, levels.astype(np.float32) / 255)
        images.append(PoolImage(levels, mean, deviation))
    return images
