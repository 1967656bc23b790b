"""How often the checks of a report would reject a set whose masks are spoilt: held-out real pairs
are drawn, and some of their masks shifted, dilated, eroded or exchanged.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage

from semiseg.generators.quality_masks import Evidence, checks, evidence
from semiseg.types import IGNORE

DRAWS = 25
"""Sets that are drawn to count how often a check rejects."""
MOST = 48
"""Held-out pairs whose masks are spoilt."""
SPOILT_SHARE = 0.18
"""Share of masks that are exchanged."""
ENOUGH = 0.8
"""Power below which a report cannot tell."""


def _wrong(labels: np.ndarray) -> np.ndarray:
    """Every mask is another pair's."""
    return np.roll(labels, 1, 0)


def _to_the_right(labels: np.ndarray) -> np.ndarray:
    return np.roll(labels, 1, 2)


def _larger(labels: np.ndarray) -> np.ndarray:
    """Each class two pixels larger, where there was background."""
    size = (1, 5, 5)
    swollen = ndimage.maximum_filter(np.where(labels == IGNORE, 0, labels), size)
    return np.where(labels == 0, swollen, labels)


def _smaller(labels: np.ndarray) -> np.ndarray:
    """The foreground one pixel smaller."""
    foreground = (labels != 0) & (labels != IGNORE)
    inner = ndimage.minimum_filter(foreground, (1, 3, 3))
    return np.where(foreground & ~inner, 0, labels)


SPOILT: dict[str, tuple[Callable[[np.ndarray], np.ndarray], float]] = {
    "masks shifted by 1 pixel": (_to_the_right, 1.0),
    "masks dilated by 2 pixels": (_larger, 1.0),
    "masks eroded by 1 pixel": (_smaller, 1.0),
    "18 % wrong masks": (_wrong, SPOILT_SHARE),
}
"""What is done to masks to know the power, and to which share of them."""


def missed(power: dict[str, float]) -> list[str]:
    """The kinds of spoilt masks that a report cannot tell from right ones; all where nothing is
    known.

    >>> missed({"real pairs": 0.0, "masks shifted by 1 pixel": 0.5, "18 % wrong masks": 0.9})
    ['masks shifted by 1 pixel', 'masks dilated by 2 pixels', 'masks eroded by 1 pixel']
    """
    return [kind for kind in SPOILT if power.get(kind, 0.0) < ENOUGH]


def power(
    images: np.ndarray,
    labels: np.ndarray,
    predictions: np.ndarray,
    held_out: Evidence,
    size: int,
) -> dict[str, float]:
    """How often the checks of the masks would reject a set of ``size`` real pairs whose masks are
    spoilt, by kind; "real pairs" is how often they would reject unspoilt ones.

    The pairs are held-out ones, drawn with replacement.

    Args:
      images: ``(N, H, W, C)``, held out.
      labels: ``(N, H, W)``.
      predictions: ``(N, H, W)``, the referee's.
      held_out: evidence of these pairs.
      size: pairs of a set.
    """
    if not checks(held_out, held_out):
        return {}
    some = slice(0, MOST)
    classes = held_out.dice.shape[1] + 1
    count = len(labels[some])
    rng = np.random.default_rng(0)
    of_real_pairs = _rejections(
        held_out,
        held_out,
        0.0,
        held_out,
        size,
        rng,
    )
    result = {"real pairs": of_real_pairs}
    right = Evidence(*(array[some] for array in held_out))
    for kind, (spoil, share) in SPOILT.items():
        spoilt = spoil(labels[some])
        bad = evidence(images[:count], spoilt, predictions[:count], classes)
        result[kind] = _rejections(
            bad,
            right,
            share,
            held_out,
            size,
            rng,
        )
    return result


def _rejections(
    bad: Evidence,
    good: Evidence,
    share: float,
    held_out: Evidence,
    size: int,
    rng: np.random.Generator,
) -> float:
    """Share of drawn sets, of which ``share`` is bad, that a check rejects."""
    rejected = 0
    for _ in range(DRAWS):
        index = rng.integers(len(good.size), size=size)
        is_bad = np.arange(size) < round(share * size)
        arrays = []
        for of_bad, of_good in zip(bad, good, strict=True):
            further_axes = [1] * (of_bad.ndim - 1)
            selector = is_bad.reshape(-1, *further_axes)
            arrays.append(np.where(selector, of_bad[index], of_good[index]))
        rows = checks(Evidence(*arrays), held_out)
        rejected += not all(row.passed for row in rows)
    return rejected / DRAWS
