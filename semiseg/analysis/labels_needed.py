"""How many labels does a score need: with a prediction interval for the next study.

:func:`semiseg.analysis.curves.label_equivalence` speaks of the mean over all label subsets. Who
plans an annotation has one label subset, one training and some patients of their own, so their
number of labels is less certain. The interval here holds the number that such a study needs.

Inside the measured budgets the curve is the monotone one; beyond them it is the power law of
:mod:`semiseg.analysis.curves`, up to a stated multiple of the largest budget and no further.
Coverage is in experiments/results/questions.csv.

Sources: those of :mod:`semiseg.analysis.curves` and :mod:`semiseg.analysis.prediction`; Viering &
Loog, IEEE TPAMI 45(6), 2023, section 5 (extrapolating learning curves).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from semiseg.analysis.curves import curve_interval, pooling
from semiseg.analysis.power_law import reach
from semiseg.analysis.prediction import Prediction, next_study
from semiseg.analysis.statistics import spread
from semiseg.errors import UserError

_STEPS = 24  # points of the curve for each doubling of the budget


class Needed(NamedTuple):
    """How many annotated subjects a study needs for a score.

    ``labels``, ``low`` and ``high`` are 0 for "the smallest budget is enough" and inf for "more
    than ``reach``", where nothing is known.

    Attributes:
      labels: with which half of such studies reach the score.
      low: with fewer, 1 study of 40 reaches it (2.5 %).
      high: with so many, 39 of 40 reach it (97.5 %).
      smallest, largest: budgets that were run.
      reach: the largest budget that is considered.
    """

    labels: float
    low: float
    high: float
    smallest: float
    largest: float
    reach: float


class Chance(NamedTuple):
    """How probable it is that a study reaches a score, by its label budget.

    Attributes:
      labels_N: annotated subjects, ascending.
      mean_N: expected score.
      probability_N: of at least the wanted score.
    """

    labels_N: np.ndarray
    mean_N: np.ndarray
    probability_N: np.ndarray


def labels_needed(
    tables: Sequence[np.ndarray],
    subset_R: Sequence[Any],
    budgets: Sequence[float],
    score: float,
    *,
    subjects: float = math.inf,
    rising: bool = True,
    top: float = np.inf,
    level: float = 0.95,
) -> Needed:
    """The label budget at which a new study reaches a score, with a prediction interval.

    A new study is another label subset, one training, and the mean over ``subjects`` other
    subjects. The limits are where its probability to reach the score is (1 - level) / 2 and
    (1 + level) / 2.

    Args:
      tables: one ``(R, S)`` table of scores a budget, rows and columns alike in all.
      subset_R: the label subset of each row; at least two.
      budgets: annotated subjects of each table, ascending, at least two.
      score: the wanted mean score, in the unit of the scores.
      subjects: how many subjects the new study's mean is over.
      rising: whether the score should be high.
      top: the largest possible score, where rising.
      level: of the interval.

    Raises:
      UserError: fewer than two budgets, label subsets or subjects.

    >>> y_RS = np.array([[-0.01, 0.0, 0.01], [0.0, 0.01, -0.01]])
    >>> needed = labels_needed([0.5 + y_RS, 0.7 + y_RS], range(2), [4, 16], 0.6)
    >>> f"{needed.labels:.0f} ({needed.low:.1f} to {needed.high:.1f})"
    '8 (6.2 to 10.3)'
    """
    chance = chance_to_reach(
        tables, subset_R, budgets, score, subjects=subjects, rising=rising, top=top
    )
    tail = (1 - level) / 2
    return Needed(
        _first(chance, 0.5),
        _first(chance, tail),
        _first(chance, 1 - tail),
        float(budgets[0]),
        float(budgets[-1]),
        float(chance.labels_N[-1]),
    )


def chance_to_reach(
    tables: Sequence[np.ndarray],
    subset_R: Sequence[Any],
    budgets: Sequence[float],
    score: float,
    *,
    subjects: float = math.inf,
    rising: bool = True,
    top: float = np.inf,
) -> Chance:
    """The probability that a new study reaches a score, from the smallest budget as far as a power
    law is followed (:func:`semiseg.analysis.power_law.reach`); with two budgets to the larger one.

    Args: see :func:`labels_needed`.

    >>> y_RS = np.array([[-0.01, 0.0, 0.01], [0.0, 0.01, -0.01]])
    >>> chance = chance_to_reach([0.5 + y_RS, 0.7 + y_RS], range(2), [4, 16], 0.6)
    >>> bool(chance.probability_N[0] < 0.1 < 0.9 < chance.probability_N[-1])
    True
    """
    if len(budgets) < 2:
        raise UserError(
            f"{len(budgets)} label budget is no curve",
            remedy="run the method at two label budgets or more",
        )
    sign = 1.0 if rising else -1.0
    log_n_B = np.log(np.asarray(budgets, dtype=float))
    predictions = [next_study(table, subset_R, subjects=subjects) for table in tables]
    mean_B = np.array([spread(table, subset_R).mean for table in tables])
    curve_B = sign * (pooling(sign * mean_B) @ (sign * mean_B))
    inside_N = _steps(log_n_B[0], log_n_B[-1])
    mean_N = np.interp(inside_N, log_n_B, curve_B)
    error_N = np.interp(inside_N, log_n_B, [p.error for p in predictions])
    df_N = _fewest(inside_N, log_n_B, [p.df for p in predictions])
    log_n_N = inside_N
    if len(budgets) > 2:
        beyond_N = _steps(log_n_B[-1], math.log(reach(budgets)))[1:]
        _, intervals = curve_interval(
            tables, subset_R, budgets, np.exp(beyond_N).tolist(), rising=rising, top=top
        )
        law_N = np.array([interval.mean for interval in intervals])
        if sign * law_N[0] < sign * curve_B[-1]:  # the law joins the curve where that ends
            law_N = law_N + curve_B[-1] - law_N[0]
        half_N = np.array([interval.high - interval.low for interval in intervals]) / 2
        last = predictions[-1]
        limit_last = last.interval()[1] - last.mean
        scale_N = np.hypot(half_N / limit_last, 1.0) * last.error
        log_n_N = np.concatenate([inside_N, beyond_N])
        mean_N = np.concatenate([mean_N, law_N])
        error_N = np.concatenate([error_N, scale_N])
        df_N = np.concatenate([df_N, np.full(len(beyond_N), last.df)])
    chances = zip(mean_N, error_N, df_N, strict=True)
    probability_N = [
        Prediction(sign * mean, error, df).above(sign * score) for mean, error, df in chances
    ]
    return Chance(np.exp(log_n_N), mean_N, np.array(probability_N))


def _steps(low: float, high: float) -> np.ndarray:
    """Log budgets between two, both included."""
    return np.linspace(low, high, 2 + int(_STEPS * (high - low) / np.log(2)))


def _fewest(
    at_N: np.ndarray,
    log_n_B: np.ndarray,
    df_B: Sequence[float],
) -> np.ndarray:
    """The degrees of freedom of the neighbouring budget that has fewer."""
    after_N = np.searchsorted(log_n_B, at_N).clip(1, len(log_n_B) - 1)
    df = np.asarray(df_B, dtype=float)
    return np.minimum(df[after_N - 1], df[after_N])


def _first(chance: Chance, probability: float) -> float:
    """The budget from which on the probability is reached, see :class:`Needed`."""
    reached_N = chance.probability_N >= probability
    if not reached_N[-1]:
        return math.inf
    below = np.flatnonzero(~reached_N)
    if not below.size:
        return 0.0
    i = int(below[-1])
    p_low = chance.probability_N[i]
    share = (probability - p_low) / (chance.probability_N[i + 1] - p_low)
    ratio = chance.labels_N[i + 1] / chance.labels_N[i]
    return float(chance.labels_N[i] * ratio**share)
