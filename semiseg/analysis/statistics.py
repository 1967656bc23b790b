"""How sure are we: intervals and tests of mean scores of runs (rows) on subjects (columns).

Pure numpy and scipy; it knows nothing of files.

A score varies because other patients could have been annotated (label subset), because training is
random (seed within subset), and because other patients could have been tested (subject). Runs are
nested: seeds within label subsets. Subjects are crossed with runs: every run is scored on the same
ones; look-alike subjects are one cluster. :func:`mean_interval` adds up what the three contribute;
its coverage is in experiments/simulate_coverage.py. Tests by subject alone are in
:mod:`semiseg.analysis.subject_tests`.

Sources: Satterthwaite, Biometrics Bull. 2(6), 1946 (degrees of freedom of a sum of variances);
Cameron, Gelbach & Miller, J. Bus. Econ. Stat. 29(2), 2011 (two-way clusters: V_runs + V_subjects -
V_both); Nadeau & Bengio, Mach. Learn. 52(3), 2003 (training sets that overlap); Bloom, Eval. Rev.
19(5), 1995 (minimum detectable effect); Holm, Scand. J. Stat. 6(2), 1979 (corrected p-values).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.special
import scipy.stats

from semiseg.analysis import skewness
from semiseg.analysis.bounded import has_two_sides, logit_ends
from semiseg.analysis.cluster_variance import Between, between_clusters
from semiseg.analysis.design import Design, as_design
from semiseg.analysis.satterthwaite import sum_of_variances

NOTHING_VARIES = Between(0.0, 0.0, 0.0)
"""Of a factor with one member."""
UNBOUNDED = (-np.inf, np.inf)
"""Bounds of a score that has none, or of a difference."""


class Interval(NamedTuple):
    """A mean with its interval, in the unit of the scores.

    Attributes:
      mean: the estimate.
      low, high: ends of the interval; both are the mean where nothing varied.
      n_runs, n_subsets, n_subjects: what the mean is over.
      n_groups: groups of look-alike subjects; 0 where every subject stands for itself.
      n_folds: folds of a cross-validation, of which each subject is in one; else 0.
    """

    mean: float
    low: float
    high: float
    n_runs: int
    n_subsets: int
    n_subjects: int
    n_groups: int = 0
    n_folds: int = 0

    @property
    def covers(self) -> str:
        """What the interval takes into account, in words.

        >>> Interval(0.8, 0.7, 0.9, n_runs=6, n_subsets=3, n_subjects=1).covers
        'label subsets and seeds'
        """
        if self.n_folds:
            return "folds"
        names = []
        if self.n_subsets > 1:
            names.append("label subsets")
        if self.n_runs > self.n_subsets:
            names.append("seeds")
        if self.n_subjects > 1:
            names.append("subjects")
        *first, last = names or ["nothing"]
        return f"{', '.join(first)} and {last}" if first else last


class Spread(NamedTuple):
    """A mean and how far it would move with other label subsets, seeds and subjects.

    Attributes:
      mean: in the unit of the scores.
      error: standard error of the mean; NaN where nothing could vary.
      df: degrees of freedom of the error; NaN where nothing could vary.
      n_runs, n_subsets, n_subjects: what the mean is over.
      n_groups: groups of look-alike subjects; 0 where every subject stands for itself.
      skewness: of the mean, from the skewness of the subjects' scores.
      between_runs, between_subjects, interaction: V_A, V_C and V_X of :func:`spread`.
      overlap: share of its subjects that a label subset has in common with another one.
    """

    mean: float
    error: float
    df: float
    n_runs: int
    n_subsets: int
    n_subjects: int
    n_groups: int = 0
    skewness: float = 0.0
    between_runs: Between = NOTHING_VARIES
    between_subjects: Between = NOTHING_VARIES
    interaction: float = 0.0
    overlap: float = 0.0


def spread(values_RS: np.ndarray, subset_R: Sequence[Any]) -> Spread:
    """Mean over label subsets, runs and subjects, and its standard error.

    Runs are clusters by their label subset (by themselves where there is one subset), subjects are
    crossed clusters, by their group where a design has groups. With u the contribution of a score
    to the mean, V_A and V_C are the sums of squares of u added up by subset and by subject (or
    group) and V_X that of their interaction, each divided by 1 - w for a cluster with share w in
    the mean: in a balanced table the mean squares of a two-way analysis of variance. The squared
    error is V_A + V_C - V_X (Cameron et al. 2011), at least V_X.

    Label subsets of n out of N subjects share n/N of them, so they differ by too little. To the
    squared error comes J · share / (1 - share) times V_A - V_X, for J subsets (Nadeau & Bengio
    2003, whose training sets overlap in the same way).

    Args:
      values_RS: scores, NaN where undefined; a run or a subject without any defined score is left
        out.
      subset_R: the label subset of each run, or a whole :class:`~semiseg.analysis.design.Design`
        with groups and overlap; subsets weigh the same however many runs they have.

    >>> s = spread(np.array([[0.7, 0.8], [0.5, 0.8]]), ["a", "b"])
    >>> f"{s.mean:.2f} ± {s.error:.3f} with {s.df:.1f} degrees of freedom"
    '0.70 ± 0.100 with 1.4 degrees of freedom'
    """
    values_RS, design = defined_part(values_RS, subset_R)
    if not values_RS.size:
        return Spread(np.nan, np.nan, np.nan, 0, 0, 0)
    code_R = codes(design.subset_R)
    runs, subjects = values_RS.shape
    subsets = int(code_R.max()) + 1
    cluster_R = code_R if subsets > 1 else np.arange(runs)
    clusters = int(np.max(cluster_R)) + 1

    defined_RS = ~np.isnan(values_RS)
    count_R = defined_RS.sum(1)
    mean_R = np.where(defined_RS, values_RS, 0).sum(1) / count_R
    weight_R = even_weights(code_R)
    mean = float(weight_R @ mean_R)

    share_RS = defined_RS * (weight_R / count_R)[:, None]
    centred_RS = np.where(defined_RS, values_RS - mean_R[:, None], 0)
    u_J = np.bincount(cluster_R, weight_R * (mean_R - mean))
    u_JS = np.zeros((clusters, subjects))
    np.add.at(u_JS, cluster_R, centred_RS * share_RS)
    u_JG, weight_G = _by_group(u_JS, share_RS.sum(0), design)
    size = (runs, subsets, subjects, design.clusters or 0)

    by_run = between_clusters(u_J, np.full(clusters, 1 / clusters))
    u_G = u_JG.sum(0)
    by_subject = between_clusters(u_G, weight_G)
    if not by_run.df and not by_subject.df:
        return Spread(mean, np.nan, np.nan, *size)
    overlap = design.share if subsets > 1 else 0.0
    v_x = 0.0
    if by_run.df and by_subject.df:
        interaction_JG = u_JG - u_G / clusters
        v_x = float((interaction_JG**2 @ (1 / (1 - weight_G))).sum()) * clusters / by_run.df
    return spread_of_parts(mean, size, by_run, by_subject, v_x, overlap)


def spread_of_parts(
    mean: float,
    size: tuple[int, int, int, int],
    by_run: Between,
    by_subject: Between,
    v_x: float,
    overlap: float,
) -> Spread:
    """The spread from its variances; at least one of the two factors has varied.

    Args:
      mean: of the scores.
      size: numbers of runs, subsets, subjects and groups.
      by_run, by_subject, v_x, overlap: see
        :func:`semiseg.analysis.satterthwaite.sum_of_variances`.

    >>> by_run = Between(0.01, 2, 0.0)
    >>> s = spread_of_parts(0.8, (3, 3, 20, 0), by_run, Between(0.0044, 19, 0.0), 0.0, 0.0)
    >>> round(s.error, 2)
    0.12
    """
    variance, df = sum_of_variances(by_run, by_subject, v_x, overlap)
    lopsided = 0.0
    largest = max(variance, by_subject.variance)
    if largest > 0:
        lopsided = by_subject.third / largest**1.5
    parts = (by_run, by_subject, v_x, overlap)
    return Spread(mean, float(np.sqrt(variance)), df, *size, lopsided, *parts)


def _by_group(
    u_JS: np.ndarray, weight_S: np.ndarray, design: Design
) -> tuple[np.ndarray, np.ndarray]:
    """``(J, G)`` contributions and ``(G,)`` shares in the mean, added up by group."""
    if design.group_S is None:
        return u_JS, weight_S
    code_S = codes(design.group_S)
    member_SG = np.eye(int(code_S.max()) + 1)[code_S]
    return u_JS @ member_SG, weight_S @ member_SG


def mean_interval(
    values_RS: np.ndarray,
    subset_R: Sequence[Any],
    *,
    level: float = 0.95,
    bounds: tuple[float, float] = UNBOUNDED,
) -> Interval:
    """Interval of the mean score over label subsets, seeds and subjects.

    It is Student's, with a longer side where the scores of subjects are skewed
    (:func:`semiseg.analysis.skewness.limits`). Where scores have two bounds it is Student's on the
    logit scale (:func:`semiseg.analysis.bounded.logit_ends`). A factor with one member does not
    vary, so the interval says nothing about it: see :attr:`Interval.covers`. All NaN without
    scores.

    Args:
      values_RS, subset_R: see :func:`spread`.
      level: share of such intervals that hold the true mean.
      bounds: smallest and largest possible score; the ends stay within them. Leave them out for a
        difference, so that the interval goes with :func:`mean_test`.

    >>> interval = mean_interval(np.array([[0.7, 0.8, 0.9]]), ["a"])
    >>> f"{interval.mean:.2f} [{interval.low:.2f}, {interval.high:.2f}] over {interval.covers}"
    '0.80 [0.55, 1.05] over subjects'
    >>> interval = mean_interval(np.array([[0.7, 0.8, 0.9]]), ["a"], bounds=(0.0, 1.0))
    >>> f"[{interval.low:.2f}, {interval.high:.2f}]"
    '[0.50, 1.00]'
    """
    return interval_of(spread(values_RS, subset_R), level, bounds)


def interval_of(s: Spread, level: float, bounds: tuple[float, float]) -> Interval:
    """:func:`mean_interval` of a mean whose spread is known."""
    size = (s.n_runs, s.n_subsets, s.n_subjects, s.n_groups)
    if np.isnan(s.df):
        return Interval(s.mean, s.mean, s.mean, *size)
    quantile = float(scipy.special.stdtrit(s.df, (1 + level) / 2))
    if has_two_sides(bounds):
        return Interval(s.mean, *logit_ends(s.mean, s.error, quantile, bounds), *size)
    below, above = skewness.limits(quantile, s.skewness)
    low = max(s.mean - below * s.error, bounds[0])
    high = min(s.mean + above * s.error, bounds[1])
    return Interval(s.mean, low, high, *size)


def mean_test(values_RS: np.ndarray, subset_R: Sequence[Any]) -> float:
    """Two-sided p-value of "the mean is zero" for other label subsets, seeds and subjects.

    It is the test that goes with :func:`mean_interval` without bounds. NaN where nothing could
    vary.

    >>> round(mean_test(np.array([[0.01, 0.02, 0.03]]), ["a"]), 3)
    0.074
    """
    s = spread(values_RS, subset_R)
    if np.isnan(s.df):
        return np.nan
    if s.error > 1e-12 * abs(s.mean):
        t = skewness.smaller(s.mean / s.error, s.skewness)
        return float(2 * scipy.stats.t.sf(t, s.df))
    return float(s.mean == 0)


def minimum_detectable(
    values_RS: np.ndarray, subset_R: Sequence[Any], *, level: float = 0.95, power: float = 0.8
) -> float:
    """Smallest true mean that a study with this spread finds different from zero with this power.

    It is (t_level + t_power) · standard error (Bloom 1995), in the unit of the scores. Take it from
    the spread, never from the difference that was found.

    >>> round(minimum_detectable(np.array([[0.01, 0.02, 0.03]]), ["a"]), 4)
    0.031
    """
    s = spread(values_RS, subset_R)
    t_level = scipy.stats.t.ppf((1 + level) / 2, s.df)
    t_power = scipy.stats.t.ppf(power, s.df)
    return float((t_level + t_power) * s.error)


def holm(p: Sequence[float]) -> np.ndarray:
    """Holm's step-down adjusted p-values, in the order given.

    The i-th smallest of m is multiplied by m - i + 1; the results are made monotone and at most 1.
    NaN (no test was possible) stays NaN and does not count into the family.

    >>> holm([0.01, 0.04, 0.03]).round(2)
    array([0.03, 0.06, 0.06])
    """
    p_M = np.asarray(p, dtype=float)
    adjusted_M = np.full(p_M.shape, np.nan)
    tested = np.flatnonzero(~np.isnan(p_M))
    order = tested[np.argsort(p_M[tested], kind="stable")]
    multiplied = p_M[order] * np.arange(order.size, 0, -1)
    adjusted_M[order] = np.minimum(np.maximum.accumulate(multiplied), 1)
    return adjusted_M


def subject_means(
    values_RS: np.ndarray,
    subset_R: Sequence[Any],
) -> np.ndarray:
    """``(S,)`` mean over runs, label subsets weighing the same; NaN for a subject that no run
    defines.

    >>> subject_means(np.array([[0.2, 0.4], [0.4, 0.4], [0.9, np.nan]]), ["a", "a", "b"])
    array([0.6, 0.4])
    """
    values_RS = np.asarray(values_RS, dtype=float)
    weight_R = even_weights(codes(subset_R))
    defined_RS = ~np.isnan(values_RS)
    weight_S = weight_R @ defined_RS
    total_S = weight_R @ np.where(defined_RS, values_RS, 0)
    return np.where(
        weight_S > 0,
        total_S / np.where(weight_S > 0, weight_S, 1),
        np.nan,
    )


def cluster_means(values_RS: np.ndarray, subset_R: Sequence[Any]) -> np.ndarray:
    """``(G,)`` what each group of subjects contributes, scaled so that the mean over groups is the
    mean over subjects; :func:`subject_means` where a design has no groups.

    Tests by subject take these, as they would count look-alike subjects as many.

    >>> cluster_means(np.array([[0.1, 0.3, 0.8]]), Design(["a"], ("g", "g", "h")))
    array([0.26666667, 0.53333333])
    """
    score_S = subject_means(values_RS, subset_R)
    group_S = as_design(subset_R).group_S
    if group_S is None:
        return score_S
    defined_S = ~np.isnan(score_S)
    code_S = codes([g for g, has in zip(group_S, defined_S.tolist(), strict=True) if has])
    total_G = np.bincount(code_S, score_S[defined_S])
    return total_G * total_G.size / code_S.size


# ------------------------------------------------------------------ weights
def defined_part(
    values_RS: np.ndarray,
    subset_R: Sequence[Any],
) -> tuple[np.ndarray, Design]:
    """The table without runs and subjects that have no score, and its design."""
    values_RS = np.asarray(values_RS, dtype=float)
    defined_RS = ~np.isnan(values_RS)
    has_score_R = defined_RS.any(1)
    has_score_S = defined_RS.any(0)
    design = as_design(subset_R).of(has_score_R, has_score_S)
    return values_RS[has_score_R][:, has_score_S], design


def codes(subset_R: Sequence[Any]) -> np.ndarray:
    """0 … J-1 for the label subset of each run.

    >>> codes(["b", "a", "b"])
    array([1, 0, 1])
    """
    return np.unique([str(s) for s in subset_R], return_inverse=True)[1]


def even_weights(code_R: np.ndarray) -> np.ndarray:
    """``(R,)`` summing to 1: every subset has the same share, split evenly between its runs.

    >>> even_weights(np.array([0, 0, 1]))
    array([0.25, 0.25, 0.5 ])
    """
    count_J = np.bincount(code_R)
    return 1 / (count_J.size * count_J[code_R])
