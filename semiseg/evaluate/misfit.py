"""Masks that do not lie on their scans: transposed, mirrored, shifted, or with classes renumbered.

A wrong file format is easily taken for a bad method. Here the foreground of each mask is compared
with the truth as it is, turned, and shifted (by the peak of their cross-correlation). Where most
scans fit much better in the *same* other place, the files are wrong, not the method.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import optimize

from semiseg.types import IGNORE

GAIN = 0.2
"""Dice that a mask gains elsewhere before it is said to be misplaced …"""
GOOD = 0.5
"""… and Dice that it reaches there."""
TOLERANCE = 2
"""Pixels by which the shifts of scans may differ."""
SLIGHT_GAIN = 0.01
"""Dice that each of most masks gains at one same place before a small shift is noted."""
FEWEST_SCANS = 3
"""Scans without which a small shift is no more than chance."""
MOST_SCANS = 64
"""Scans that are compared."""
TURNS = ("transposed", "upside down", "left to right", "turned by 180°")


class Fit(NamedTuple):
    """Where a mask fits its truth best.

    Attributes:
      turn: one of :data:`TURNS`, or "".
      shift: steps along each axis by which it lies off; empty where it is turned or lies right.
      gain: Dice there minus Dice where it is.
    """

    turn: str = ""
    shift: tuple[int, ...] = ()
    gain: float = 0.0


def misplaced(truths: Sequence[np.ndarray], masks: Sequence[np.ndarray]) -> str:
    """How the masks lie on their scans, "" where they lie right or fit nowhere.

    Args:
      truths: labels ``(H, W)`` or ``(D, H, W)`` of each scan.
      masks: predicted labels of the same shapes.

    >>> truth = np.zeros((8, 8), int)
    >>> truth[1:3, 2:7] = 1
    >>> misplaced([truth, truth], [truth.T, truth.T]), misplaced([truth], [truth])
    ('transposed', '')
    >>> misplaced([truth], [np.roll(truth, 3, axis=0)])
    'shifted by 3 rows'
    """
    pairs = [
        (_foreground(truth), _foreground(mask)) for truth, mask in zip(truths, masks, strict=True)
    ]
    pairs = [(truth, mask) for truth, mask in pairs if truth.any() and mask.any()][:MOST_SCANS]
    fits = [best_fit(truth, mask) for truth, mask in pairs]
    turns = Counter(fit.turn for fit in fits if fit.turn)
    for turn, number in turns.most_common(1):
        if 2 * number > len(fits):
            return turn
    shifts = np.array([fit.shift for fit in fits if fit.shift])
    if not len(shifts):
        return ""
    middle = np.median(shifts, axis=0)
    near = np.abs(shifts - middle).max(axis=1) <= TOLERANCE
    if 2 * near.sum() <= len(fits):
        return ""
    return _in_words([round(step) for step in middle])


def slightly_shifted(truths: Sequence[np.ndarray], masks: Sequence[np.ndarray]) -> str:
    """A shift too small for :func:`misplaced` that most of several scans have in common, in words.

    Args:
      truths: labels ``(H, W)`` or ``(D, H, W)`` of each scan.
      masks: predicted labels of the same shapes.

    >>> truth = np.zeros((32, 32), int)
    >>> truth[8:24, 8:24] = 1
    >>> moved = [np.roll(truth, 1, axis=1)] * 3
    >>> print(slightly_shifted([truth] * 3, moved))  # doctest: +NORMALIZE_WHITESPACE
    the masks fit the truth better when they are taken as shifted by 1 column
    (3 of 3 scans, mean gain in Dice 0.06)
    >>> slightly_shifted([truth] * 3, [truth] * 3)
    ''
    """
    gains: dict[tuple[int, ...], list[float]] = {}
    compared = 0
    for truth, mask in zip(map(_foreground, truths), map(_foreground, masks), strict=True):
        if not truth.any() or not mask.any() or compared == MOST_SCANS:
            continue
        compared += 1
        shift = tuple(_shift(truth, mask))
        gain = _dice(truth, _moved_back(mask, shift)) - _dice(truth, mask)
        if any(shift) and gain > SLIGHT_GAIN:
            gains.setdefault(shift, []).append(gain)
    if compared < FEWEST_SCANS or not gains:
        return ""
    number, shift = max((len(members), shift) for shift, members in gains.items())
    if 2 * number <= compared:
        return ""
    return (
        f"the masks fit the truth better when they are taken as {_in_words(shift)} ({number} of "
        f"{compared} scans, mean gain in Dice {np.mean(gains[shift]):.2f})"
    )


def _foreground(label: np.ndarray) -> np.ndarray:
    return (label > 0) & (label != IGNORE)


def best_fit(truth: np.ndarray, mask: np.ndarray) -> Fit:
    """Where a mask fits best; where it is, if it gains less than :data:`GAIN` elsewhere.

    Args:
      truth, mask: ``(H, W)`` or ``(D, H, W)`` bool.
    """
    here = _dice(truth, mask)
    best = Fit()
    for turn, other in zip(TURNS, _turned(mask), strict=True):
        if other.shape == truth.shape:
            best = _better(best, Fit(turn), _dice(truth, other), here)
    shift = _shift(truth, mask)
    moved = _moved_back(mask, shift)
    return _better(best, Fit(shift=tuple(shift)), _dice(truth, moved), here)


def _moved_back(mask: np.ndarray, shift: Sequence[int]) -> np.ndarray:
    return np.roll(mask, [-step for step in shift], tuple(range(mask.ndim)))


def _better(best: Fit, other: Fit, dice: float, here: float) -> Fit:
    """``best``, or the other fit where it has a clearly better Dice."""
    gain = dice - here
    if dice < GOOD or gain < GAIN or gain <= best.gain + 1e-6:
        return best
    return other._replace(gain=gain)


def _dice(truth: np.ndarray, mask: np.ndarray) -> float:
    return 2 * float((truth & mask).sum()) / float(truth.sum() + mask.sum())


def _turned(mask: np.ndarray) -> list[np.ndarray]:
    """The mask as :data:`TURNS` say, in the plane."""
    return [
        np.swapaxes(mask, -1, -2),
        np.flip(mask, -2),
        np.flip(mask, -1),
        np.flip(mask, (-1, -2)),
    ]


def _shift(truth: np.ndarray, mask: np.ndarray) -> list[int]:
    """By how many pixels along each axis a mask lies off: the peak of the cross-correlation."""
    spectrum = np.fft.rfftn(mask) * np.conj(np.fft.rfftn(truth))
    correlation = np.fft.irfftn(spectrum, mask.shape, axes=tuple(range(mask.ndim)))
    peak = np.unravel_index(int(np.argmax(correlation)), mask.shape)
    steps = []
    for place, size in zip(peak, mask.shape, strict=True):
        step = int(place)
        if step > size // 2:
            step -= size
        steps.append(step)
    return steps


def _in_words(shift: Sequence[int]) -> str:
    """A shift in words.

    >>> _in_words([0, -3, 1]), _in_words([0, 0])
    ('shifted by -3 rows and 1 column', '')
    """
    names = ("slice", "row", "column")[-len(shift) :]
    moves: list[str] = []
    for step, name in zip(shift, names, strict=True):
        if step:
            plural = "" if abs(step) == 1 else "s"
            moves.append(f"{step} {name}{plural}")
    if not moves:
        return ""
    return f"shifted by {' and '.join(moves)}"


def renumbered(
    truths: Sequence[np.ndarray], masks: Sequence[np.ndarray], classes: Sequence[str]
) -> str:
    """Which values of the masks cover which classes, "" where each covers its own best.

    Args:
      truths: labels of each scan.
      masks: predicted labels of the same shapes.
      classes: names, background first.

    >>> truth = np.repeat([0, 1, 2], 4)
    >>> renumbered([truth], [np.repeat([0, 2, 1], 4)], ["back", "left", "right"])
    'value 2 covers left and value 1 covers right'
    >>> renumbered([truth], [truth], ["back", "left", "right"])
    ''
    """
    number = len(classes)
    counts = np.zeros((number, number))
    for truth, mask in zip(truths, masks, strict=True):
        seen = truth != IGNORE
        pairs = truth[seen].astype(int) * number + mask[seen]
        counts += np.bincount(pairs, minlength=number**2).reshape(number, number)
    sizes = counts.sum(1)[:, None] + counts.sum(0)[None]
    dice = (2 * counts / np.maximum(sizes, 1))[1:, 1:]
    rows, columns = optimize.linear_sum_assignment(-dice)
    best = dice[rows, columns].mean()
    if best < GOOD or best - np.diag(dice).mean() < GAIN:
        return ""
    words = [
        f"value {column + 1} covers {classes[row + 1]}"
        for row, column in zip(rows, columns, strict=True)
        if row != column
    ]
    return " and ".join(words)
