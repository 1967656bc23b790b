"""What will the next study find: scores and differences of a new label subset, seed and subjects.

A confidence interval speaks of a mean over all label subsets. Who annotates eight patients has one
label subset, one training and one set of patients to segment; their score varies more. These
functions add the spread of that one study to the error of the mean, from the mean squares of the
runs at hand (:func:`semiseg.analysis.variance.mean_squares`).

Pure functions of tables runs × subjects; coverage and calibration are in
experiments/results/questions.csv.

Sources: Geisser, Predictive Inference, 1993, chapter 2 (predictive t); Searle, Casella & McCulloch,
Variance Components, 1992, chapter 4; Satterthwaite, Biometrics Bull. 2(6), 1946; Benavoli, Corani,
Demšar & Zaffalon, J. Mach. Learn. Res. 18(77), 2017 (probability that A is better than B by more
than a region of practical equivalence).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.stats

from semiseg.analysis.design import as_design
from semiseg.analysis.statistics import spread
from semiseg.analysis.variance import MeanSquares, mean_squares
from semiseg.errors import UserError


class Prediction(NamedTuple):
    """A t distribution of what a new study finds, or of where the true mean is.

    Attributes:
      mean: its centre, in the unit of the scores.
      error: its scale.
      df: its degrees of freedom.
    """

    mean: float
    error: float
    df: float

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """The central interval that holds ``level`` of the distribution.

        >>> low, high = Prediction(0.80, 0.02, 10.0).interval()
        >>> f"[{low:.2f}, {high:.2f}]"
        '[0.76, 0.84]'
        """
        half = float(scipy.stats.t.ppf((1 + level) / 2, self.df)) * self.error
        return self.mean - half, self.mean + half

    def above(self, value: float) -> float:
        """The probability of a larger value.

        >>> round(Prediction(0.02, 0.02, 4.0).above(0.0), 2)
        0.81
        """
        if not self.error > 0:
            return float(self.mean > value)
        return float(scipy.stats.t.sf((value - self.mean) / self.error, self.df))


class Probabilities(NamedTuple):
    """How probable it is that A is better than B, alike, or worse; they add up to 1.

    Attributes:
      better: by more than the relevant difference.
      alike: less apart than the relevant difference.
      worse: by more than the relevant difference.
    """

    better: float
    alike: float
    worse: float


def next_study(
    values_RS: np.ndarray,
    subset_R: Sequence[Any],
    *,
    subjects: float = math.inf,
) -> Prediction:
    """The mean of one new run: another label subset, one seed, other subjects.

    With the mean squares a (subset), b (seed), c (subject), x (interaction) and e (residual) of J
    subsets × N seeds × S subjects, and m new subjects, the squared error is
    (1 + 1/J) a + (1 - 1/N) b + (1/m + 1/S) c + k_x x + k_e e with
    k_x = (1 - 1/J) / m - (1 + 1/J) / S and k_e = (1/m - 1/S) (1 - 1/N): its expectation is the
    variance of the new run's mean plus that of the mean at hand. If label subsets take a share of
    their pool and so differ by too little, 2 share / (1 - share) times a - x/S comes to it: the new
    label subset is of another pool (as in :func:`semiseg.analysis.statistics.spread`).

    Args:
      values_RS: scores, or paired differences of two settings, NaN where undefined.
      subset_R: the label subset of each run, or a whole design.
      subjects: how many new subjects the mean is over: 1 for one patient, inf for all there are.
        Where subjects come in groups of look-alikes, how many groups.

    Raises:
      UserError: one label subset or one subject alone, which say nothing of others.

    >>> y_RS = np.array([[0.5, 0.7, 0.6], [0.6, 0.7, 0.6], [0.7, 0.9, 0.8], [0.7, 0.8, 0.9]])
    >>> low, high = next_study(y_RS, ["a", "a", "b", "b"]).interval(0.8)
    >>> f"[{low:.2f}, {high:.2f}]"
    '[0.22, 1.20]'
    """
    m = mean_squares(values_RS, subset_R)
    if m.subsets < 2 or m.subjects < 2:
        raise UserError(
            f"{m.subsets} label subset(s) × {m.subjects} subject(s) do not say how much another "
            f"label subset changes a score",
            remedy="run at least two label subsets on at least two subjects (better five)",
        )
    mean = spread(values_RS, subset_R).mean
    parts = _parts(m, subjects, as_design(subset_R).share)
    total = sum(part for part, _ in parts)
    total = max(total, parts[0][0], parts[2][0])
    return Prediction(mean, math.sqrt(total), _degrees(parts, total))


def true_mean(values_RS: np.ndarray, subset_R: Sequence[Any]) -> Prediction:
    """Where the mean over all label subsets, seeds and subjects is.

    With a flat prior this t distribution is the posterior of the correlated Bayesian t-test
    (Benavoli et al. 2017, section 4.1), the correlation of runs taken from the runs themselves.

    >>> round(true_mean(np.array([[0.01, 0.02, 0.03]]), ["a"]).above(0.0), 2)
    0.96
    """
    s = spread(values_RS, subset_R)
    return Prediction(s.mean, s.error, s.df)


def probabilities(prediction: Prediction, relevant: float = 0.0) -> Probabilities:
    """Better, alike or worse, from the distribution of a difference that is positive for better.

    Args:
      prediction: of :func:`next_study` or :func:`true_mean`.
      relevant: the smallest difference that matters.

    >>> probabilities(Prediction(0.03, 0.02, 4.0), relevant=0.01)._asdict()["better"] > 0.8
    True
    """
    better = prediction.above(relevant)
    not_worse = prediction.above(-relevant)
    return Probabilities(better, not_worse - better, 1 - not_worse)


def _parts(m: MeanSquares, subjects: float, overlap: float) -> list[tuple[float, float]]:
    """Each term of the squared error of :func:`next_study`, and its degrees of freedom."""
    new = 1 / subjects
    j = m.subsets
    n = m.seeds
    s = m.subjects
    hidden = 2 * overlap / (1 - overlap) * max(m.subset - m.interaction / s, 0.0)
    parts = [
        ((1 + 1 / j) * m.subset + hidden, j - 1),
        ((1 - 1 / n) * m.seed, j * (n - 1)),
        ((new + 1 / s) * m.subject, s - 1),
        ((new * (1 - 1 / j) - (1 + 1 / j) / s) * m.interaction, (j - 1) * (s - 1)),
        ((new - 1 / s) * (1 - 1 / n) * m.residual, j * (n - 1) * (s - 1)),
    ]
    return [(part, float(df)) if df else (0.0, 1.0) for part, df in parts]


def _degrees(parts: list[tuple[float, float]], total: float) -> float:
    """Satterthwaite's degrees of freedom of a sum of mean squares.

    The term of the label subsets is taken 1 + 2/a + 6/a³ times as large for a degrees of freedom,
    as in :func:`semiseg.analysis.statistics.spread`: with one or two it is so often far too small.
    """
    (subset, a), *others = parts
    wide = subset * (1 + 2 / a + 6 / a**3)
    squares = wide**2 / a + sum(part**2 / df for part, df in others)
    if squares <= 0:
        return a
    return max(a, (total + wide - subset) ** 2 / squares)
