"""Where the spread of scores comes from, and whether the order of methods is stable.

Beside :mod:`semiseg.analysis.statistics`: pure functions of arrays.

Sources: Searle, Casella & McCulloch, Variance Components, 1992, chapter 4 (expected mean squares);
Kendall & Babington Smith, Ann. Math. Stat. 10(3), 1939 (concordance W); Kendall, Biometrika 30,
1938 (tau).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.stats

from semiseg.analysis.design import as_design
from semiseg.analysis.scores import nanmean


class Split(NamedTuple):
    """Standard deviations of one score (a run on a subject) by what causes them.

    They are in the unit of the score; NaN where the runs cannot tell.

    Attributes:
      subset: which subjects were annotated.
      seed: initialisation, batches and augmentation, within a label subset; NaN with one seed a
        subset, then ``subset`` holds both.
      subject: which subject is scored; some are harder for every run.
      interaction: subjects that suit one label subset and not another.
      residual: seed × subject, and what nothing else explains.
    """

    subset: float
    seed: float
    subject: float
    interaction: float
    residual: float

    @property
    def shares(self) -> dict[str, float]:
        """Share of each cause in the variance of one score; they add up to 1.

        >>> Split(subset=3.0, seed=1.0, subject=2.0, interaction=1.0, residual=1.0).shares["subset"]
        0.5625
        """
        known = {name: value**2 for name, value in self._asdict().items() if not np.isnan(value)}
        total = sum(known.values())
        if not total:
            return dict.fromkeys(known, 0.0)
        return {name: variance / total for name, variance in known.items()}


def variance_split(values_RS: np.ndarray, subset_R: Sequence[Any]) -> Split:
    """Variance components of a score by the method of moments (Searle et al. 1992).

    The model is y_jis = μ + A_j + B_ji + C_s + (AC)_js + E_jis.

    Subsets j and subjects s are crossed, seeds i nested in subsets. Only subjects that every run
    has a score for are used, and of every subset as many runs as the smallest has, so that the
    table is balanced and the mean squares have their textbook expectations. A negative estimate is
    0.

    Args:
      values_RS: scores, NaN where undefined.
      subset_R: the label subset of each run.

    >>> y_RS = np.array([[0.5, 0.7, 0.6], [0.6, 0.7, 0.6], [0.7, 0.9, 0.8], [0.7, 0.8, 0.9]])
    >>> split = variance_split(y_RS, ["a", "a", "b", "b"])
    >>> f"subset {split.subset:.3f}, subject {split.subject:.3f}, residual {split.residual:.3f}"
    'subset 0.129, subject 0.071, residual 0.058'
    """
    m = mean_squares(values_RS, subset_R)
    if m.subjects < 2:
        return Split(
            np.nan,
            np.nan,
            np.nan,
            np.nan,
            np.nan,
        )

    # Expected: between_seeds = seed² + residual² / S, crossed = interaction² + residual² / N. What
    # a subset's mean owes to its seeds and subjects is taken off it.
    seed = m.seed - m.residual / m.subjects
    if m.seeds > 1:
        interaction = m.interaction - m.residual / m.seeds
        subset = m.subset - (m.seed / m.seeds + interaction / m.subjects)
        by_chance = m.residual / m.seeds
    else:  # the seed stays in
        interaction = m.interaction
        subset = m.subset - m.interaction / m.subjects
        by_chance = 0.0
    if m.subsets > 1:
        by_chance = m.interaction / m.subsets
    subject = m.subject - by_chance
    return Split(*map(_deviation, (subset, seed, subject, interaction, m.residual)))


class MeanSquares(NamedTuple):
    """Variances of the means of a balanced table, by what they are between.

    NaN where a factor has one member.

    Attributes:
      subset: of the means of the label subsets; J - 1 degrees of freedom.
      seed: of the means of the runs within a subset; J (N - 1).
      subject: of the means of the subjects; S - 1.
      interaction: of subset × subject; (J - 1) (S - 1).
      residual: of seed × subject within a subset; J (N - 1) (S - 1).
      subsets, seeds, subjects: J, N and S of the balanced table; a group of look-alike subjects
        counts as one.
    """

    subset: float
    seed: float
    subject: float
    interaction: float
    residual: float
    subsets: int
    seeds: int
    subjects: int


def mean_squares(values_RS: np.ndarray, subset_R: Sequence[Any]) -> MeanSquares:
    """The variances of the means of a table, from which components and predictions are made.

    Args:
      values_RS, subset_R: see :func:`variance_split`, which says how the table is balanced.

    >>> y_RS = np.array([[0.5, 0.7, 0.6], [0.6, 0.7, 0.6], [0.7, 0.9, 0.8], [0.7, 0.8, 0.9]])
    >>> m = mean_squares(y_RS, ["a", "a", "b", "b"])
    >>> f"{m.subset:.4f} between {m.subsets} subsets, {m.seed:.4f} between {m.seeds} seeds"
    '0.0168 between 2 subsets, 0.0003 between 2 seeds'
    """
    y_JNS = _balanced(group_means(values_RS, subset_R), subset_R)
    j, n, s = y_JNS.shape
    if s < 2:
        return MeanSquares(np.nan, np.nan, np.nan, np.nan, np.nan, j, n, s)
    mean = y_JNS.mean()
    mean_J = y_JNS.mean((1, 2))
    mean_S = y_JNS.mean((0, 1))
    mean_JN = y_JNS.mean(2)
    mean_JS = y_JNS.mean(1)

    residual_JNS = y_JNS - mean_JN[..., None] - mean_JS[:, None] + mean_J[:, None, None]
    crossed_JS = mean_JS - mean_J[:, None] - mean_S + mean
    residual = _over((residual_JNS**2).sum(), j * (n - 1) * (s - 1))
    between_seeds = _over(((mean_JN - mean_J[:, None]) ** 2).sum(), j * (n - 1))
    crossed = _over((crossed_JS**2).sum(), (j - 1) * (s - 1))
    between_subsets = _over(((mean_J - mean) ** 2).sum(), j - 1)
    between_subjects = float(((mean_S - mean) ** 2).sum() / (s - 1))
    return MeanSquares(
        between_subsets,
        between_seeds,
        between_subjects,
        crossed,
        residual,
        j,
        n,
        s,
    )


def group_means(values_RS: np.ndarray, subset_R: Sequence[Any]) -> np.ndarray:
    """``(R, G)`` mean of each group of look-alike subjects; the table itself without groups.

    A group without a defined score in a run is NaN there.

    >>> from semiseg.analysis.design import Design
    >>> design = Design(["a"], group_S=("slide 1", "slide 1", "slide 2"))
    >>> group_means(np.array([[0.6, 0.8, 0.9]]), design)
    array([[0.7, 0.9]])
    """
    values_RS = np.asarray(values_RS, dtype=float)
    group_S = as_design(subset_R).group_S
    if group_S is None:
        return values_RS
    columns = []
    for group in dict.fromkeys(group_S):
        inside_S = np.array([other == group for other in group_S])
        columns.append(nanmean(values_RS[:, inside_S], 1))
    return np.stack(columns, axis=1)


def _balanced(
    values_RS: np.ndarray,
    subset_R: Sequence[Any],
) -> np.ndarray:
    """``(J, N, S)``: the same number of runs of each subset, and the subjects that all define."""
    groups: dict[str, list[int]] = {}
    for r, subset in enumerate(subset_R):
        groups.setdefault(str(subset), []).append(r)
    smallest = min(len(rows) for rows in groups.values())
    y_JNS = np.stack([values_RS[rows[:smallest]] for rows in groups.values()])
    return y_JNS[..., ~np.isnan(y_JNS).any((0, 1))]


def _over(total: Any, degrees: int) -> float:
    return float(total) / degrees if degrees > 0 else np.nan


def _deviation(variance: float) -> float:
    """The standard deviation; 0 of a negative estimate.

    >>> _deviation(0.25), _deviation(-0.1), _deviation(np.nan)
    (0.5, 0.0, nan)
    """
    return np.nan if np.isnan(variance) else float(np.sqrt(max(variance, 0.0)))


class RankStability(NamedTuple):
    """Whether the order of compared settings depends on which subjects were annotated.

    Attributes:
      w: Kendall's concordance of the label subsets' rankings, 1 for one order in all, about
        1/subsets for none.
      tau: mean Kendall tau-b between the rankings of two subsets.
      first: for each setting, the share of subsets in which it is first (ties share).
      subsets: how many rankings there are.
    """

    w: float
    tau: float
    first: np.ndarray
    subsets: int


def rank_stability(score_JA: np.ndarray) -> RankStability:
    """How much the ranking of compared settings depends on which subjects were annotated.

    Args:
      score_JA: mean score of each setting (columns) with each label subset (rows); larger is
        better, no NaN.

    >>> stability = rank_stability(np.array([[0.8, 0.7, 0.6], [0.9, 0.8, 0.7], [0.7, 0.8, 0.6]]))
    >>> round(stability.w, 2), round(stability.tau, 2), stability.first.round(2).tolist()
    (0.78, 0.56, [0.67, 0.33, 0.0])
    """
    score_JA = np.asarray(score_JA, dtype=float)
    subsets, arms = score_JA.shape
    first_JA = score_JA == score_JA.max(1, keepdims=True)
    share_A = (first_JA / first_JA.sum(1, keepdims=True)).mean(0)
    if arms < 2 or subsets < 2:
        return RankStability(np.nan, np.nan, share_A, subsets)
    taus = []
    for i in range(subsets):
        for k in range(i):
            taus.append(scipy.stats.kendalltau(score_JA[i], score_JA[k]).statistic)
    tau = float(np.nanmean(taus)) if np.isfinite(taus).any() else np.nan
    return RankStability(_concordance(score_JA), tau, share_A, subsets)


def _concordance(score_JA: np.ndarray) -> float:
    """Kendall's W with his correction for ties; NaN where all are tied."""
    subsets, arms = score_JA.shape
    rank_JA = scipy.stats.rankdata(-score_JA, axis=1)
    squares = ((rank_JA.sum(0) - subsets * (arms + 1) / 2) ** 2).sum()
    ties = sum(_ties(rank_A) for rank_A in rank_JA)
    largest = subsets * (arms**3 - arms)
    if largest <= ties:
        return np.nan
    return float(12 * squares / (subsets**2 * (arms**3 - arms) - subsets * ties))


def _ties(rank_A: np.ndarray) -> int:
    """Sum of t³ - t over the groups of t tied ranks.

    >>> _ties(np.array([1.5, 1.5, 3.0]))
    6
    """
    counts = np.unique(rank_A, return_counts=True)[1]
    return int((counts**3 - counts).sum())
