"""Where the spread of scores comes from, and whether the order of methods is stable. Beside
:mod:`semiseg.analysis.statistics`.

Sources: Searle, Casella & McCulloch, Variance Components, 1992, chapter 4 (expected mean squares);
Kendall & Babington Smith, Ann. Math. Stat. 10(3), 1939 (concordance W); Kendall, Biometrika 30,
1938 (tau).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.stats


class Split(NamedTuple):
    """Standard deviations of one score (a run on a subject) by what causes them; NaN where the runs
    cannot tell.

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
        """Share of each cause in the variance of one score; they add up to 1."""
        known = {name: value**2 for name, value in self._asdict().items() if value == value}
        total = sum(known.values())
        return {name: value / total if total else 0.0 for name, value in known.items()}


def variance_split(values_RS: np.ndarray, subset_R: Sequence[Any]) -> Split:
    """Method-of-moments variance components of y_jis = μ + A_j + B_ji + C_s + (AC)_js + E_jis; a
    negative estimate is 0.

    Subsets j and subjects s are crossed, seeds i nested in subsets. Only subjects that every run
    has a score for are used, and of every subset as many runs as the smallest has, so that the
    table is balanced and the mean squares have their textbook expectations.
    """
    values_RS = np.asarray(values_RS, dtype=float)
    groups: dict[str, list[int]] = {}
    for r, subset in enumerate(subset_R):
        groups.setdefault(str(subset), []).append(r)
    n = min(len(rows) for rows in groups.values())
    y_JNS = np.stack([values_RS[rows[:n]] for rows in groups.values()])
    y_JNS = y_JNS[..., ~np.isnan(y_JNS).any((0, 1))]
    j, n, s = y_JNS.shape
    if s < 2:
        return Split(*[np.nan] * 5)
    z_JS, run_JN, subset_J, subject_S, mean = (
        y_JNS.mean(1),
        y_JNS.mean(2),
        y_JNS.mean((1, 2)),
        y_JNS.mean((0, 1)),
        y_JNS.mean(),
    )
    residual = _over(
        ((y_JNS - run_JN[..., None] - z_JS[:, None] + subset_J[:, None, None]) ** 2).sum(),
        j * (n - 1) * (s - 1),
    )
    between_seeds = _over(
        ((run_JN - subset_J[:, None]) ** 2).sum(), j * (n - 1)
    )  # seed² + residual² / S
    crossed = _over(
        ((z_JS - subset_J[:, None] - subject_S + mean) ** 2).sum(), (j - 1) * (s - 1)
    )  # interaction² + residual² / N
    between_subsets = _over(((subset_J - mean) ** 2).sum(), j - 1)
    between_subjects = float(((subject_S - mean) ** 2).sum() / (s - 1))
    seed = between_seeds - residual / s
    interaction = crossed - (residual / n if n > 1 else 0.0)
    # what a subset's mean owes to its seeds and subjects is taken off it; with one seed the seed
    # stays in
    subset = between_subsets - (between_seeds / n + interaction / s if n > 1 else crossed / s)
    subject = between_subjects - (crossed / j if j > 1 else residual / n if n > 1 else 0.0)
    return Split(
        *(
            float(np.sqrt(max(v, 0.0))) if v == v else np.nan
            for v in (subset, seed, subject, interaction, residual)
        )
    )


class RankStability(NamedTuple):
    """Attributes: w: Kendall's concordance of the label subsets' rankings, 1 for one order in all,
    about 1/subsets for none. tau: mean Kendall tau-b between the rankings of two subsets. first:
    for each arm, the share of subsets in which it is first (ties share). subsets: how many rankings
    there are.
    """

    w: float
    tau: float
    first: np.ndarray
    subsets: int


def rank_stability(score_JA: np.ndarray) -> RankStability:
    """How much the ranking of arms depends on which subjects happened to be annotated.

    Args:
      score_JA: mean score of each arm (columns) with each label subset (rows); larger is better, no
        NaN.
    """
    score_JA = np.asarray(score_JA, dtype=float)
    subsets, arms = score_JA.shape
    rank_JA = scipy.stats.rankdata(-score_JA, axis=1)
    first = score_JA == score_JA.max(1, keepdims=True)
    share_A = (first / first.sum(1, keepdims=True)).mean(0)
    if arms < 2 or subsets < 2:
        return RankStability(np.nan, np.nan, share_A, subsets)
    squares = ((rank_JA.sum(0) - subsets * (arms + 1) / 2) ** 2).sum()
    ties = sum(
        ((c**3 - c).sum() for c in (np.unique(row, return_counts=True)[1] for row in rank_JA)), 0
    )
    w = (
        12 * squares / (subsets**2 * (arms**3 - arms) - subsets * ties)
        if subsets * (arms**3 - arms) > ties
        else np.nan
    )
    pairs = [
        scipy.stats.kendalltau(score_JA[i], score_JA[k]).statistic
        for i in range(subsets)
        for k in range(i)
    ]
    return RankStability(
        float(w), float(np.nanmean(pairs)) if np.isfinite(pairs).any() else np.nan, share_A, subsets
    )


def _over(total: Any, degrees: int) -> float:
    return float(total) / degrees if degrees > 0 else np.nan
