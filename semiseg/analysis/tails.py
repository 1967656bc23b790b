"""What a mean hides: the worst tenth of the subjects, and how often a method fails.

Both are of a table runs × subjects, see :mod:`semiseg.analysis.statistics`.

Sources: Rockafellar & Uryasev, J. Risk 2(3), 2000 (the mean of a tail); Wilson, J. Am. Stat. Assoc.
22(158), 1927 (interval of a proportion); Korn & Graubard, Surv. Methodol. 24(2), 1998 (its
effective sample size where observations are clustered).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
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
    values_RS: np.ndarray, subset_R: Sequence[Any], *, sign: int = 1, draws: int = DRAWS
) -> Interval:
    """Mean of the worst tenth of the subjects of a run, averaged over runs, with its bootstrap
    interval over label subsets, seeds and subjects.

    Of S subjects a run's worst ⌈S/10⌉ count: of ten subjects the worst one. Its interval is narrow
    with few subjects, whose tail a resample cannot exceed.

    Args:
      values_RS, subset_R: see :func:`semiseg.analysis.statistics.spread`; a subject that a run does
        not define is not of its tail.
      sign: 1 where larger values are better, -1 where smaller ones are.
      draws: of the bootstrap.

    >>> interval = worst_decile(np.array([[0.1, 0.5, 0.6, 0.7, 0.9]]), ["a"])
    >>> f"{interval.mean:.2f} [{interval.low:.2f}, {interval.high:.2f}]"
    '0.10 [0.10, 0.60]'
    """
    values_RS, design = defined_part(values_RS, subset_R)
    if not values_RS.size:
        return Interval(np.nan, np.nan, np.nan, 0, 0, 0)
    runs, subjects = values_RS.shape
    every = np.ones((1, subjects))
    weight_R = even_weights(codes(design.subset_R))[None]
    mean = _tail_means(values_RS, weight_R, every, sign)[0]
    weight_DR, weight_DS = resampled_weights(design, subjects, draws, seed=0)
    mean_D = _tail_means(values_RS, weight_DR, weight_DS, sign)
    low, high = np.nanquantile(mean_D, [0.025, 0.975])
    size = (runs, len(set(design.subset_R)), subjects, design.clusters or 0)
    return Interval(float(mean), float(low), float(high), *size)


def _tail_means(
    values_RS: np.ndarray, weight_DR: np.ndarray, weight_DS: np.ndarray, sign: int
) -> np.ndarray:
    """``(D,)`` weighted mean over runs of the mean of each run's worst subjects.

    Args:
      weight_DR: of the runs, each row sums to 1.
      weight_DS: how often each subject is drawn.
    """
    mean_DR = np.full(weight_DR.shape, np.nan)
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
