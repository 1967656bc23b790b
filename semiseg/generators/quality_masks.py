"""Whether the masks of a set belong to its images and lie where the images' edges are, beside the
same of held-out real pairs.

What is asked here does not depend on the label budget: the edges of an image speak for themselves,
and the segmenter that is asked (the referee) has learnt from half of the held-out pairs. It had no
part in the filter, so a filtered set is not judged by what it was filtered with.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from semiseg.generators.mask_offsets import offsets
from semiseg.types import IGNORE

OTHERS = 20
"""Masks of other pairs that are tried on each image."""
BETTER = 0.1
"""A mask is foreign if more than this share of the others fits the image better."""
POOR = 0.1
"""Quantile of the Dice of held-out pairs: a pair below it is poor."""
FAR = 0.95
"""Quantile of the offsets of held-out masks: a mask beyond it is misplaced."""
ERRORS = 3.0
"""Standard errors that a limit leaves to chance."""
LEAST_PAIRS = 8
"""Fewer held-out pairs tell nothing."""


class Evidence(NamedTuple):
    """What is known of each pair's mask; NaN where nothing is.

    Attributes:
      move: ``(N, 2)`` pixels by which the mask would have to move.
      size: ``(N,)`` pixels by which it would have to grow.
      foreign: ``(N,)`` share of other masks that fit the referee's prediction better.
      dice: ``(N, K − 1)`` of mask and prediction, each class.
      area: ``(N, K − 1)`` logarithm of the prediction's area over the mask's, each class.
    """

    move: np.ndarray
    size: np.ndarray
    foreign: np.ndarray
    dice: np.ndarray
    area: np.ndarray


class Row(NamedTuple):
    """A check of the masks: what was measured, and the limit (``sign`` ">=" or "<=")."""

    name: str
    value: float
    sign: str
    limit: float

    @property
    def passed(self) -> bool:
        if self.sign == ">=":
            return self.value >= self.limit
        return self.value <= self.limit


def evidence(
    images: np.ndarray,
    labels: np.ndarray,
    predictions: np.ndarray,
    classes: int,
) -> Evidence:
    """The evidence of each pair.

    Args:
      images: ``(N, H, W, C)``.
      labels: ``(N, H, W)``.
      predictions: ``(N, H, W)``, the referee's.
      classes: K, with the background.

    >>> label = np.zeros((2, 16, 16), int)
    >>> label[0, 4:12, 4:12] = 1
    >>> label[1, 2:6, 2:6] = 1
    >>> known = evidence(200 * label[..., None], label, label, 2)
    >>> known.foreign.tolist(), known.dice.tolist()
    ([0.0, 0.0], [[1.0], [1.0]])
    """
    offset = offsets(images, labels)
    dice = np.full((len(labels), classes - 1), np.nan)
    area = np.full((len(labels), classes - 1), np.nan)
    valid = labels != IGNORE
    for k in range(1, classes):
        drawn = labels == k
        predicted = predictions == k
        of_mask = (drawn & valid).sum((1, 2))
        of_prediction = (predicted & valid).sum((1, 2))
        both = (drawn & predicted).sum((1, 2))
        some = of_mask > 0
        total = np.maximum(of_mask + of_prediction, 1)
        ratio = (of_prediction + 1) / (of_mask + 1)
        dice[some, k - 1] = (2 * both / total)[some]
        area[some, k - 1] = np.log(ratio)[some]
    foreign = _foreign(labels, predictions)
    return Evidence(offset.move, offset.size, foreign, dice, area)


def _foreign(labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """``(N,)`` share of other masks with a larger Dice with the prediction than the mask has."""
    n = len(labels)
    foreground = (labels != 0) & (labels != IGNORE)
    mask = foreground.reshape(n, -1).astype(np.float32)
    prediction = (predictions != 0).reshape(n, -1)
    prediction = prediction.astype(np.float32)
    area = mask.sum(1)
    # rows are predictions, columns masks
    both = prediction @ mask.T
    total = prediction.sum(1)[:, None] + area + 1e-6
    dice = 2 * both / total
    rng = np.random.default_rng(0)
    share = np.full(n, np.nan)
    for i in range(n):
        candidates = np.delete(np.arange(n), i)
        others = rng.permutation(candidates)[:OTHERS]
        if area[i] and len(others):
            better = dice[i, others] > dice[i, i] + 1e-6
            share[i] = better.mean()
    return share


# ------------------------------------------------------------------ checks
def checks(of_set: Evidence, held_out: Evidence) -> list[Row]:
    """The masks of a set beside those of held-out real pairs.

    Each limit is a tolerance, in units that mean something, and three standard errors of the
    difference to the held-out pairs, so that few of them make the check weak and not wrong.

    - ``foreign``: share of masks that fit their image worse than masks of other images do;
    - ``moved``, ``grown``: pixels by which the median mask is off, to any side, or in size;
    - ``misplaced``: share of masks that are further off than 95 % of held-out ones;
    - ``poor``: share of pairs with a lower Dice with the referee's prediction than 90 % of held-out
      ones;
    - ``area``: logarithm of the area by which the referee sees more or less of a class than the
      masks do, of the worst class;
    - ``class_agreement``: Dice of the worst class, as a share of that of held-out pairs.

    Args:
      of_set: of the set.
      held_out: of real pairs that neither a generator nor the referee has seen.

    Returns:
      The checks that the held-out pairs allow.
    """
    if np.isfinite(held_out.size).sum() < LEAST_PAIRS:
        return []
    rows = _placement(of_set, held_out)
    foreign = _share(of_set.foreign > BETTER, of_set.foreign)
    of_held_out = _share(held_out.foreign > BETTER, held_out.foreign)
    limit = _bound(of_held_out, of_set.foreign, held_out.foreign)
    rows.append(Row("foreign", foreign, "<=", limit))
    return [*rows, *_agreement(of_set, held_out)]


def _placement(of_set: Evidence, held_out: Evidence) -> list[Row]:
    centre = np.nanmedian(held_out.move, 0)
    usual_size = np.nanmedian(held_out.size)
    move = of_set.move - centre
    size = of_set.size - usual_size
    moved = np.hypot(*_median(move))
    errors = [_error(of_set.move[:, axis], held_out.move[:, axis]) for axis in range(2)]
    error = float(np.linalg.norm(errors))
    grown = abs(_median(size))
    size_error = _error(of_set.size, held_out.size)
    distance = np.hypot(*(held_out.move - centre).T)
    growth = np.abs(held_out.size - usual_size)
    border = max(0.5, np.nanquantile(distance, FAR))
    size_border = max(0.5, np.nanquantile(growth, FAR))
    far = np.hypot(*move.T) > border
    far |= np.abs(size) > size_border
    far_held_out = (distance > border) | (growth > size_border)
    usual = _share(far_held_out, held_out.size)
    most_moved = float(0.3 + ERRORS * error)
    most_grown = float(0.35 + ERRORS * size_error)
    most_misplaced = 0.05 + _bound(usual, of_set.size, held_out.size)
    return [
        Row("moved", float(moved), "<=", most_moved),
        Row("grown", float(grown), "<=", most_grown),
        Row("misplaced", _share(far, of_set.size), "<=", most_misplaced),
    ]


def _agreement(of_set: Evidence, held_out: Evidence) -> list[Row]:
    of_pairs = _means(held_out.dice)
    dice = _means(of_set.dice)
    border = np.nanquantile(of_pairs, POOR)
    poor = _share(dice < border, dice)
    most_poor = 0.05 + _bound(POOR, dice, of_pairs)
    rows = [Row("poor", poor, "<=", most_poor)]
    ratios = []
    biases = []
    for k in range(held_out.dice.shape[1]):
        usual_dice = held_out.dice[:, k]
        if np.isfinite(usual_dice).sum() < LEAST_PAIRS:
            continue
        usual = float(np.nanmean(usual_dice))
        ratios.append(_mean(of_set.dice[:, k]) / max(usual, 1e-6))
        area = of_set.area[:, k]
        usual_area = held_out.area[:, k]
        bias = abs(_median(area) - _median(usual_area))
        biases.append((bias, ERRORS * _error(area, usual_area)))
    if not ratios:
        return rows
    bias, chance = max(biases, key=_excess)
    return [
        *rows,
        Row("area", float(bias), "<=", float(0.15 + chance)),
        Row("class_agreement", float(min(ratios)), ">=", 0.8),
    ]


def _excess(bias: tuple[float, float]) -> float:
    return bias[0] - bias[1]


def _share(of: np.ndarray, where: np.ndarray) -> float:
    """Share of the known ones; 1 where nothing is known."""
    known = np.isfinite(where)
    if not known.any():
        return 1.0
    return float(of[known].mean())


def _bound(share: float, a: np.ndarray, b: np.ndarray) -> float:
    """``share`` and three standard errors of the difference of two shares."""
    of_a = max(int(np.isfinite(a).sum()), 1)
    of_b = max(int(np.isfinite(b).sum()), 1)
    spread = max(share, 1 / of_b)
    variance = spread * (1 - spread) * (1 / of_a + 1 / of_b)
    return float(share + ERRORS * np.sqrt(variance))


def _median(x: np.ndarray) -> np.ndarray:
    """Over the first axis, without NaN; infinite where nothing is known."""
    if not np.isfinite(x).any():
        return np.full(x.shape[1:], np.inf)
    return np.asarray(np.nanmedian(x, 0))


def _mean(x: np.ndarray) -> float:
    if not np.isfinite(x).any():
        return 0.0
    return float(np.nanmean(x))


def _means(x: np.ndarray) -> np.ndarray:
    """Mean of each row ``(N, K)`` without NaN."""
    known = np.isfinite(x)
    sums = np.where(known, x, 0).sum(1)
    counts = np.maximum(known.sum(1), 1)
    return np.where(known.any(1), sums / counts, np.nan)


def _error(a: np.ndarray, b: np.ndarray) -> float:
    """Standard error of the difference of two medians, from the quartiles."""
    squares = 0.0
    for x in (a, b):
        known = x[np.isfinite(x)]
        if len(known) < 2:
            return 0.0
        low, high = np.quantile(known, [0.25, 0.75])
        # 1.2533 / sqrt(n) is the error of a normal median, 1.349 its quartiles' distance
        deviation = 1.2533 * (high - low) / 1.349
        squares += deviation**2 / len(known)
    return float(np.sqrt(squares))
