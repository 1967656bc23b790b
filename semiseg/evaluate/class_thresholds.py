"""A probability for each class above which it is predicted, instead of the most likely class.

A threshold t of a class counts its probability (1 - t) / t times: of two classes exactly the pixels
with p > t are predicted, and with t = 1/2 throughout the most likely class is. Dice is best at
thresholds below 1/2 where a network is unsure (Lipton, Elkan & Naryanaswamy, ECML PKDD 2014: half
of the best F1 itself), so they are chosen on subjects that are not reported.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from semiseg.errors import UserError
from semiseg.types import IGNORE

GRID = tuple(round(0.05 * i, 2) for i in range(1, 20))
"""What is tried for each class: 0.05 to 0.95."""
ROUNDS = 3
"""How often each class is chosen anew, given the others."""


def labels(probability: np.ndarray, thresholds: Sequence[float] = ()) -> np.ndarray:
    """The class of each pixel.

    Args:
      probability: ``(*space, K)``.
      thresholds: of each class but the background, K-1 numbers between 0 and 1; none for the most
        likely class.

    Returns:
      ``(*space)`` uint8.

    >>> labels(np.array([[0.65, 0.35], [0.75, 0.25]]), [0.3]).tolist()
    [1, 0]
    """
    if not thresholds:
        return probability.argmax(-1).astype(np.uint8)
    t = np.asarray([0.5, *thresholds], np.float32)
    return (probability * ((1.0 - t) / t)).argmax(-1).astype(np.uint8)


def of_classes(typed: Mapping[str, float], classes: Sequence[str]) -> tuple[float, ...]:
    """Of every class but the background; 1/2 where none is stated.

    Raises:
      UserError: no such class, or a number that is not between 0 and 1.

    >>> of_classes({"cup": 0.3}, ("background", "disc", "cup"))
    (0.5, 0.3)
    """
    foreground = classes[1:]
    for name, value in typed.items():
        if name not in foreground:
            known = ", ".join(foreground)
            raise UserError(f"--thresholds names the class {name!r}: the classes are {known}")
        if not 0 < value < 1:
            raise UserError(f"--thresholds gives {name} {value:g}: give a number between 0 and 1")
    return tuple(typed.get(name, 0.5) for name in foreground)


def typed_thresholds(typed: str | None) -> dict[str, float]:
    """Class → threshold of what was typed.

    Raises:
      UserError: it is no list of classes and numbers.

    >>> typed_thresholds("disc=0.4, cup=0.35"), typed_thresholds(None)
    ({'disc': 0.4, 'cup': 0.35}, {})
    """
    result = {}
    for part in (typed or "").split(",") if typed is not None else ():
        name, _, value = part.rpartition("=")
        try:
            result[name.strip()] = float(value)
        except ValueError:
            name = ""
        if not name.strip():
            raise UserError(f"--thresholds is {typed!r}: give classes as in disc=0.4,cup=0.35")
    return result


class Scan(NamedTuple):
    """What thresholds are chosen by.

    Attributes:
      subject: whose scan it is.
      probability: ``(*space, K)``.
      label: ``(*space)`` uint8 with IGNORE.
    """

    subject: str
    probability: np.ndarray
    label: np.ndarray


def chosen(scans: Sequence[Scan]) -> tuple[float, ...]:
    """The thresholds of the highest mean Dice over subjects and classes.

    Each class is chosen in turn, the others as they are; among equals the one nearest to 1/2.
    """
    return _best(_dice_of(scans), scans[0].probability.shape[-1] - 1)


def chosen_without(scans: Sequence[Scan]) -> dict[str, tuple[float, ...]]:
    """Subject → the thresholds that are :func:`chosen` on all others; 1/2 where there are none."""
    dice = _dice_of(scans)
    foreground = scans[0].probability.shape[-1] - 1
    subjects = list(dict.fromkeys(scan.subject for scan in scans))
    if len(subjects) == 1:
        return {subjects[0]: (0.5,) * foreground}
    result = {}
    for i, subject in enumerate(subjects):
        others = np.arange(len(subjects)) != i
        result[subject] = _best(dice, foreground, others)
    return result


def _best(
    dice: Callable[[tuple[float, ...]], np.ndarray],
    foreground: int,
    rows: np.ndarray | slice = slice(None),
) -> tuple[float, ...]:
    """The thresholds of the highest mean over some subjects."""
    best = (0.5,) * foreground
    for _ in range(ROUNDS):
        before = best
        for k in range(foreground):
            tried = [(*best[:k], t, *best[k + 1 :]) for t in GRID]
            best = max(tried, key=lambda t: (_mean(dice(t)[rows]), -abs(t[k] - 0.5)))
        if best == before:
            break
    return best


def _mean(dice_SK: np.ndarray) -> float:
    """Of subjects and classes; a class that an annotation does not show is left out."""
    defined = dice_SK[np.isfinite(dice_SK)]
    if not defined.size:
        return 0.0
    return round(float(defined.mean()), 6)  # so that equals are equal


def _dice_of(scans: Sequence[Scan]) -> Callable[[tuple[float, ...]], np.ndarray]:
    """Thresholds → Dice ``(S, K-1)`` of each subject and class, NaN where the class is not shown;
    the mean over a subject's scans.
    """
    subjects = list(dict.fromkeys(scan.subject for scan in scans))

    @functools.cache
    def dice(thresholds: tuple[float, ...]) -> np.ndarray:
        total = np.zeros((len(subjects), len(thresholds)))
        number = np.zeros_like(total)
        for scan in scans:
            values = _dice(labels(scan.probability, thresholds), scan.label, len(thresholds) + 1)
            row = subjects.index(scan.subject)
            total[row] += np.nan_to_num(values)
            number[row] += np.isfinite(values)
        with np.errstate(invalid="ignore"):
            return total / number

    return dice


def _dice(predicted: np.ndarray, truth: np.ndarray, classes: int) -> np.ndarray:
    """``(K-1,)``; NaN where a class is not in the truth."""
    known = truth != IGNORE
    pairs = truth[known].astype(np.int64) * classes + predicted[known]
    confusion = np.bincount(pairs, minlength=classes**2).reshape(classes, classes)
    both = confusion.diagonal()[1:]
    of_truth = confusion.sum(1)[1:]
    of_prediction = confusion.sum(0)[1:]
    with np.errstate(invalid="ignore"):
        return np.where(of_truth > 0, 2 * both / (of_truth + of_prediction), np.nan)
