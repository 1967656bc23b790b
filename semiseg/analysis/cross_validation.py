"""Scores of a cross-validated study: every subject is held out once, training sets overlap.

The folds of a cross-validation share most of their training subjects, so their means are not
independent: the usual standard error is too small, and repeating the folds makes it smaller still
without new information. The corrected variance adds the overlap. The error rates of both are in
experiments/results/questions.csv.

Sources: Nadeau & Bengio, Machine Learning 52(3), 2003, equation 15 and section 4.1 (corrected
resampled t-test); Bouckaert & Frank, PAKDD 2004 (repeated cross-validation).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
import scipy.stats

from semiseg.errors import UserError


class CrossValidated(NamedTuple):
    """A mean over folds with its corrected interval and test.

    Attributes:
      mean: over folds, in the unit of the scores.
      low, high: ends of its interval.
      p: two-sided, of "the mean is zero"; meant for differences.
      error: corrected standard error.
      naive: standard error as if the folds were independent; for comparison.
      folds: folds times repeats.
    """

    mean: float
    low: float
    high: float
    p: float
    error: float
    naive: float
    folds: int


def fold_means(
    score_S: np.ndarray,
    fold_S: Sequence[Hashable],
) -> np.ndarray:
    """``(F,)`` mean score of each fold's held-out subjects, in the order in which folds appear.

    Args:
      score_S: of each subject by the training that did not see it; NaN where undefined.
      fold_S: the fold that held the subject out, of one repeat.

    Raises:
      UserError: a fold without any defined score, or fewer than two folds.

    >>> fold_means(np.array([0.8, 0.6, 0.9, 0.7]), [0, 0, 1, 1])
    array([0.7, 0.8])
    """
    score_S = np.asarray(score_S, dtype=float)
    means = []
    for fold in dict.fromkeys(fold_S):
        in_fold_S = np.array([other == fold for other in fold_S])
        scores = score_S[in_fold_S & ~np.isnan(score_S)]
        if not scores.size:
            raise UserError(
                f"fold {fold} has no defined score",
                remedy="score its held-out subjects, or use fewer folds",
            )
        means.append(scores.mean())
    if len(means) < 2:
        raise UserError(
            f"{len(means)} fold is no cross-validation",
            remedy="give the fold of every subject, two folds or more",
        )
    return np.array(means)


def corrected_mean(
    mean_F: np.ndarray,
    *,
    test: float,
    train: float,
    level: float = 0.95,
    weight_F: np.ndarray | None = None,
) -> CrossValidated:
    """The mean over folds with the variance of Nadeau & Bengio (2003).

    With F folds (times repeats) of sample variance s², the squared error is
    (1/F + test/train) s², with F - 1 degrees of freedom. Of folds with weights w that sum to 1 it
    is Σ w (m - mean)² / (F - 1) · (1 + F · test/train), which is the same where all are 1/F.

    Args:
      mean_F: mean score, or mean paired difference, of each fold; of repeats one after another.
      test: subjects that a fold holds out.
      train: subjects that a fold may train on.
      level: of the interval.
      weight_F: scored subjects of each fold, for the mean over all subjects; by default folds
        weigh the same.

    Raises:
      UserError: fewer than two folds.

    >>> result = corrected_mean(np.array([0.02, 0.03, 0.01, 0.02, 0.02]), test=20, train=80)
    >>> f"{result.mean:.3f} [{result.low:.3f}, {result.high:.3f}], p = {result.p:.3f}"
    '0.020 [0.007, 0.033], p = 0.014'
    """
    mean_F = np.asarray(mean_F, dtype=float)
    folds = mean_F.size
    if folds < 2:
        raise UserError(
            f"{folds} fold(s) have no spread",
            remedy="run every fold of the cross-validation",
        )
    if weight_F is None:
        weight_F = np.ones(folds)
    share_F = np.asarray(weight_F) / np.sum(weight_F)
    mean = float(share_F @ mean_F)
    squares = float(share_F @ (mean_F - mean) ** 2) / (folds - 1)
    naive = float(np.sqrt(squares))
    error = float(np.sqrt((1 + folds * test / train) * squares))
    half = float(scipy.stats.t.ppf((1 + level) / 2, folds - 1)) * error
    p = float(mean == 0)
    if error > 0:
        p = float(2 * scipy.stats.t.sf(abs(mean) / error, folds - 1))
    return CrossValidated(mean, mean - half, mean + half, p, error, naive, folds)
