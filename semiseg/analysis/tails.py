"""What a mean hides: the worst tenth of the subjects, and how often a method fails.

Both are of a table runs × subjects, see :mod:`semiseg.analysis.statistics`.

Sources: Rockafellar & Uryasev, J. Risk 2(3), 2000 (the mean of a tail); Wilson, J. Am. Stat. Assoc.
22(158), 1927 (interval of a proportion); Korn & Graubard, Surv. Methodol. 24(2), 1998 (its
effective sample size where observations are clustered).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.special
import scipy.stats

from semiseg.analysis.bootstrap import resampled_weights
from semiseg.analysis.statistics import Interval, codes, defined_part, even_weights, spread

TAIL = 0.1
"""Share of the subjects whose mean is shown: the worst decile."""
FAILURE = 0.5
"""Score of overlap (Dice, IoU …) below which a subject counts as a failure."""
DRAWS = 500
"""Of the bootstrap."""


def worst_decile(
    values_RS: np.ndarray,
    subset_R: Sequence[Any],
    *,
    sign: int = 1,
    bounds: tuple[float, float] = (-np.inf, np.inf),
    draws: int = DRAWS,
) -> Interval:
    """Mean of the worst tenth of the subjects of a run, averaged over runs, with its interval over
    label subsets, seeds and subjects.

    Of S subjects a run's worst ⌈S/10⌉ count: of ten subjects the worst one. The variance is that
    between label subsets (between runs where there is one subset) plus that of resampled subjects,
    each for a finite number of clusters, and the interval is Student's, on a scale on which the
    score has no bounds (logit or log). It covers as experiments/results/tails.csv says; percentiles
    of the bootstrap cover about 0.75 where label subsets decide.

    Args:
      values_RS, subset_R: see :func:`semiseg.analysis.statistics.spread`; a subject that a run does
        not define is not of its tail.
      sign: 1 where larger values are better, -1 where smaller ones are.
      bounds: smallest and largest possible score.
      draws: of the bootstrap.

    >>> interval = worst_decile(np.linspace(0.3, 0.9, 30)[None], ["a"], bounds=(0.0, 1.0))
    >>> f"{interval.mean:.2f} [{interval.low:.2f}, {interval.high:.2f}]"
    '0.32 [0.28, 0.37]'
    """
    values_RS, design = defined_part(values_RS, subset_R)
    if not values_RS.size:
        return Interval(np.nan, np.nan, np.nan, 0, 0, 0)
    runs, subjects = values_RS.shape
    code_R = codes(design.subset_R)
    every = np.ones((1, subjects))
    weight_1R = even_weights(code_R)[None]
    mean = float(_tail_means(values_RS, weight_1R, every, sign)[0])
    tail_R = _tail_means(np.array(values_RS), np.eye(runs), every, sign)
    by_run = _between_runs(tail_R, code_R, design.share)
    _, weight_DS = resampled_weights(design, subjects, draws, seed=0)
    mean_D = _tail_means(values_RS, weight_1R, weight_DS, sign)
    groups = design.clusters or subjects
    by_subject = Part(0.0, 0)
    if groups > 1:
        by_subject = Part(float(np.nanvar(mean_D)) * groups / (groups - 1), groups - 1)
    low, high = _unbounded_limits(mean, by_run, by_subject, bounds)
    size = (runs, len(set(design.subset_R)), subjects, design.clusters or 0)
    return Interval(mean, low, high, *size)


class Part(NamedTuple):
    """A part of a squared error, and its degrees of freedom; 0 of both where nothing varies."""

    variance: float
    df: int


def _between_runs(tail_R: np.ndarray, code_R: np.ndarray, share: float) -> Part:
    """The squared error of the mean between label subsets, or between the runs of one; overlap
    counts as in :func:`semiseg.analysis.statistics.spread`.
    """
    cluster_R = code_R
    if code_R.max() == 0:
        cluster_R = np.arange(len(code_R))
        share = 0.0
    clusters = int(cluster_R.max()) + 1
    if clusters < 2:
        return Part(0.0, 0)
    tail_J = np.bincount(cluster_R, tail_R) / np.bincount(cluster_R)
    variance = float(tail_J.var(ddof=1)) / clusters
    return Part(variance * (1 + clusters * share / (1 - share)), clusters - 1)


def _unbounded_limits(
    mean: float, by_run: Part, by_subject: Part, bounds: tuple[float, float]
) -> tuple[float, float]:
    """Student's interval on a scale without bounds, or cut where it reaches a bound; the mean twice
    where nothing varies.

    The part of the label subsets counts for more in the degrees of freedom, as in
    :func:`semiseg.analysis.statistics.spread`.
    """
    variance = by_run.variance + by_subject.variance
    if not variance > 0:
        return mean, mean
    wide = by_run.variance
    squares = 0.0
    if by_run.df:
        wide *= 1 + 2 / by_run.df + 6 / by_run.df**3
        squares += wide**2 / by_run.df
    if by_subject.df:
        squares += by_subject.variance**2 / by_subject.df
    df = max(by_run.df, (wide + by_subject.variance) ** 2 / squares)
    half = float(scipy.stats.t.ppf(0.975, df)) * np.sqrt(variance)
    low, high = bounds
    if not low < mean - half <= mean + half < high:
        return max(mean - half, low), min(mean + half, high)
    if np.isfinite(high - low):
        return _logit_limits(mean, half, bounds)
    if np.isfinite(low):
        return _log_limits(mean, half, low)
    return mean - half, mean + half


def _log_limits(mean: float, half: float, low: float) -> tuple[float, float]:
    """The interval of a score above ``low``, on the scale of its logarithm."""
    over = mean - low
    ratio = float(np.exp(half / over))
    return low + over / ratio, low + over * ratio


def _logit_limits(mean: float, half: float, bounds: tuple[float, float]) -> tuple[float, float]:
    """The interval of a score within bounds, on the scale of its logit."""
    low, high = bounds
    over = mean - low
    under = high - mean
    centre = np.log(over / under)
    stretched = half * (high - low) / (over * under)
    ends = scipy.special.expit([centre - stretched, centre + stretched])
    lower, upper = (low + (high - low) * ends).tolist()
    return lower, upper


def _tail_means(
    values_RS: np.ndarray, weight_DR: np.ndarray, weight_DS: np.ndarray, sign: int
) -> np.ndarray:
    """``(D,)`` weighted mean over runs of the mean of each run's worst subjects.

    Args:
      weight_DR: of the runs, each row sums to 1; one row stands for all.
      weight_DS: how often each subject is drawn; one row stands for all.
    """
    draws = max(len(weight_DR), len(weight_DS))
    mean_DR = np.full((draws, len(values_RS)), np.nan)
    for r, values_S in enumerate(values_RS):
        defined = np.flatnonzero(~np.isnan(values_S))
        order = defined[np.argsort(sign * values_S[defined], kind="stable")]
        count_DS = weight_DS[:, order]
        upto_DS = count_DS.cumsum(1)
        drawn_D1 = upto_DS[:, -1:]
        size_D1 = np.ceil(TAIL * drawn_D1)
        taken_DS = np.clip(size_D1 - (upto_DS - count_DS), 0, count_DS)
        with np.errstate(invalid="ignore"):  # a draw without any subject of this run is NaN
            mean_DR[:, r] = (taken_DS @ values_S[order]) / size_D1[:, 0]
    defined_DR = ~np.isnan(mean_DR) & (weight_DR > 0)
    total_D = np.where(defined_DR, weight_DR, 0).sum(1)
    sum_D = np.where(defined_DR, weight_DR * mean_DR, 0).sum(1)
    return np.where(total_D > 0, sum_D / np.where(total_D > 0, total_D, 1), np.nan)


def failure_rate(
    values_RS: np.ndarray, subset_R: Sequence[Any], *, below: float = FAILURE, sign: int = 1
) -> Interval:
    """Share of subjects whose score is worse than ``below``, averaged over runs; see
    :func:`proportion_interval`.

    Args:
      values_RS, subset_R: see :func:`semiseg.analysis.statistics.spread`.
      below: the limit of a failure.
      sign: 1 where larger values are better, -1 where smaller ones are.

    >>> rate = failure_rate(np.array([[0.1, 0.5, 0.6, 0.7, 0.9]]), ["a"])
    >>> f"{rate.mean:.2f} [{rate.low:.2f}, {rate.high:.2f}]"
    '0.20 [0.04, 0.62]'
    """
    worse_RS = np.where(np.isnan(values_RS), np.nan, sign * values_RS < sign * below)
    return proportion_interval(worse_RS, subset_R)


def proportion_interval(event_RS: np.ndarray, subset_R: Sequence[Any]) -> Interval:
    """Wilson's interval of a share, for other label subsets, seeds and subjects.

    Runs on one subject are no independent trials. The number of trials n is that which gives the
    share its clustered variance, n = p (1 - p) / variance, less what few label subsets leave unsure
    (z/t squared; Korn & Graubard 1998). It is at most the number of subjects (or of groups of
    look-alikes), which it is where nothing or everything happened: the interval of 0 of 10 ends at
    0.28.

    Args:
      event_RS: 1 where it happened in a run on a subject, 0 where not, NaN where undefined.
      subset_R: the label subset of each row, or a :class:`~semiseg.analysis.design.Design`.

    >>> interval = proportion_interval(np.zeros((1, 10)), ["a"])
    >>> f"{interval.mean:.2f} [{interval.low:.2f}, {interval.high:.2f}]"
    '0.00 [0.00, 0.28]'
    """
    s = spread(event_RS, subset_R)
    size = (s.n_runs, s.n_subsets, s.n_subjects, s.n_groups)
    if np.isnan(s.mean):
        return Interval(np.nan, np.nan, np.nan, *size)
    trials = float(s.n_groups or s.n_subjects)
    z = float(scipy.stats.norm.ppf(0.975))
    if s.n_runs > 1 and s.mean * (1 - s.mean) > 0 and s.error > 0:
        widened = s.error * scipy.stats.t.ppf(0.975, s.df) / z
        trials = min(trials, s.mean * (1 - s.mean) / widened**2)
    centre = (s.mean + z**2 / (2 * trials)) / (1 + z**2 / trials)
    inside = s.mean * (1 - s.mean) / trials + z**2 / (4 * trials**2)
    half = z * np.sqrt(inside) / (1 + z**2 / trials)
    return Interval(s.mean, float(max(0.0, centre - half)), float(min(1.0, centre + half)), *size)
