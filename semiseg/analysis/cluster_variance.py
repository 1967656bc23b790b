"""The variance of a mean over clusters of unequal size, with its degrees of freedom and skewness.

A cluster is a group of look-alike subjects, or a subject that stands for itself. With clusters of
equal size the numbers are those of the textbook: s²/n, n - 1, and the skewness of a sample.

Sources: Bell & McCaffrey, Survey Methodology 28(2), 2002 (the unbiased variance "CR2" and its
degrees of freedom); Imbens & Kolesár, Rev. Econ. Stat. 98(4), 2016; Joanes & Gill, The Statistician
47(1), 1998 (the skewness G1); Searle, Casella & McCulloch, Variance Components, 1992, section 3.6
(correlation within groups of unequal size); Kish, Survey Sampling, 1965, section 5.4 (effective
number).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np


class Between(NamedTuple):
    """What differences between clusters say of a mean.

    Attributes:
      variance: of the mean.
      df: degrees of freedom of the variance; 0 for one cluster.
      third: third cumulant of the mean: its skewness times its standard error cubed.
    """

    variance: float
    df: float
    third: float


def between_clusters(u_G: np.ndarray, weight_G: np.ndarray) -> Between:
    """Variance, degrees of freedom and third cumulant of a mean over clusters.

    The variance is the sum of u² / (1 - w) (CR2, Bell & McCaffrey 2002). Its degrees of freedom are
    those of Satterthwaite for the quadratic form, where all variance is between clusters: one
    cluster that holds half of the subjects leaves few of them.

    Args:
      u_G: contribution of each cluster to the mean, less its share of the mean; they sum to 0.
      weight_G: share of each cluster in the mean; they sum to 1.

    >>> x = np.array([1.0, 2.0, 6.0])
    >>> between = between_clusters((x - x.mean()) / 3, np.full(3, 1 / 3))
    >>> round(between.variance, 3), round(between.df, 3)
    (2.333, 2.0)
    """
    if u_G.size < 2:
        return Between(0.0, 0.0, 0.0)
    factor_G = 1 / (1 - weight_G)
    variance = float(factor_G @ u_G**2)
    third = float(factor_G**1.5 @ u_G**3) * _skewness_factor(1 / float(weight_G @ weight_G))
    return Between(variance, degrees_of_freedom(weight_G), third)


def degrees_of_freedom(weight_G: np.ndarray) -> float:
    """Bell & McCaffrey's degrees of freedom of the variance of a mean over clusters.

    They are tr(M)² / tr(M²) for M = (I - w1ᵀ) D (I - 1wᵀ) and D = diag(w² / (1 - w)), written out.

    Args:
      weight_G: share of each cluster in the mean; they sum to 1.

    >>> round(degrees_of_freedom(np.full(60, 1 / 60)), 6)
    59.0
    >>> round(degrees_of_freedom(np.array([0.5, 0.1, 0.1, 0.1, 0.1, 0.1])), 2)
    1.58
    """
    d_G = weight_G**2 / (1 - weight_G)
    total = float(d_G.sum())
    dw = float(d_G @ weight_G)
    ww = float(weight_G @ weight_G)
    trace = total - 2 * dw + total * ww
    squares = float(d_G @ d_G) * (1 + 2 * ww) + (total * ww) ** 2
    mixed = 2 * total * float(d_G @ weight_G**2) - 4 * float(d_G**2 @ weight_G)
    norm = squares + mixed + 2 * dw**2 - 4 * total * dw * ww
    return trace**2 / norm


def _skewness_factor(clusters: float) -> float:
    """What makes a sample's third moment the one of G1 (Joanes & Gill 1998); 0 with fewer than
    three effective clusters, where no skewness can be seen.
    """
    if clusters < 3:
        return 0.0
    return float(np.sqrt(clusters * (clusters - 1)) / (clusters - 2))


def within_group_correlation(score_S: np.ndarray, group_S: Sequence[Any]) -> float:
    """How much alike the scores of one group are: (B - W) / (B + (m - 1) W) of the mean squares
    between and within groups, m being the mean size corrected for unequal sizes; at least 0.

    Args:
      score_S: score of each subject, no NaN.
      group_S: its group.

    Returns:
      NaN where every subject stands for itself, or all are of one group.

    >>> scores = np.array([0.1, 0.2, 0.8, 0.9, 0.5])
    >>> round(within_group_correlation(scores, ["a", "a", "b", "b", "c"]), 2)
    0.97
    """
    code_S = np.unique([str(group) for group in group_S], return_inverse=True)[1]
    size_G = np.bincount(code_S)
    subjects = code_S.size
    groups = size_G.size
    if groups in (1, subjects):
        return np.nan
    mean_G = np.bincount(code_S, score_S) / size_G
    between = float(size_G @ (mean_G - score_S.mean()) ** 2) / (groups - 1)
    within = float(((score_S - mean_G[code_S]) ** 2).sum()) / (subjects - groups)
    size = (subjects - float(size_G @ size_G) / subjects) / (groups - 1)
    total = between + (size - 1) * within
    return max(0.0, (between - within) / total) if total > 0 else 0.0


def effective_subjects(score_S: np.ndarray, group_S: Sequence[Any]) -> float:
    """How many independent subjects inform as well about the mean as these groups do: S over the
    design effect 1 + ρ (Σn²/S - 1) (Kish 1965).

    >>> scores = np.array([0.1, 0.2, 0.8, 0.9, 0.5])
    >>> round(effective_subjects(scores, ["a", "a", "b", "b", "c"]), 1)
    2.8
    """
    correlation = within_group_correlation(score_S, group_S)
    size_G = np.unique([str(group) for group in group_S], return_counts=True)[1]
    subjects = float(size_G.sum())
    if np.isnan(correlation):
        return subjects if np.max(size_G) == 1 else 1.0
    return subjects / (1 + correlation * (float(size_G @ size_G) / subjects - 1))
