"""How sure are we: intervals and tests of mean scores of runs (rows) on subjects (columns).

Pure numpy and scipy; it knows nothing of files.

A score varies because other patients could have been annotated (label subset), because training is
random (seed within subset), and because other patients could have been tested (subject). Runs are
nested: seeds within label subsets. Subjects are crossed with runs: every run is scored on the same
ones. :func:`mean_interval` adds up what the three contribute; its coverage is in
experiments/simulate_statistics.py. Tests by subject alone are in
:mod:`semiseg.analysis.subject_tests`.

Sources: Satterthwaite, Biometrics Bull. 2(6), 1946 (degrees of freedom of a sum of variances);
Cameron, Gelbach & Miller, J. Bus. Econ. Stat. 29(2), 2011 (two-way clusters: V_runs + V_subjects -
V_both); Bloom, Eval. Rev. 19(5), 1995 (minimum detectable effect); Holm, Scand. J. Stat. 6(2), 1979
(corrected p-values).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.stats


class Interval(NamedTuple):
    """A mean with its interval, in the unit of the scores.

    Attributes:
      mean: the estimate.
      low, high: ends of the interval; both are the mean where nothing varied.
      n_runs, n_subsets, n_subjects: what the mean is over.
    """

    mean: float
    low: float
    high: float
    n_runs: int
    n_subsets: int
    n_subjects: int

    @property
    def covers(self) -> str:
        """What the interval takes into account, in words.

        >>> Interval(0.8, 0.7, 0.9, n_runs=6, n_subsets=3, n_subjects=1).covers
        'label subsets and seeds'
        """
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
    """

    mean: float
    error: float
    df: float
    n_runs: int
    n_subsets: int
    n_subjects: int


def spread(values_RS: np.ndarray, subset_R: Sequence[Any]) -> Spread:
    """Mean over label subsets, runs and subjects, and its standard error.

    Runs are clusters by their label subset (by themselves where there is one subset), subjects are
    crossed clusters. With u the contribution of a score to the mean, V_A and V_C are the sums of
    squares of u added up by subset and by subject and V_X that of their interaction, each times
    n/(n-1): in a balanced table the mean squares of a two-way analysis of variance. The squared
    error is V_A + V_C - V_X (Cameron et al. 2011), at least V_X.

    Args:
      values_RS: scores, NaN where undefined; a run or a subject without any defined score is left
        out.
      subset_R: the label subset of each run; subsets weigh the same however many runs they have.

    >>> s = spread(np.array([[0.7, 0.8], [0.5, 0.8]]), ["a", "b"])
    >>> f"{s.mean:.2f} ± {s.error:.3f} with {s.df:.1f} degrees of freedom"
    '0.70 ± 0.100 with 1.5 degrees of freedom'
    """
    values_RS, code_R = scored(values_RS, subset_R)
    if not values_RS.size:
        return Spread(np.nan, np.nan, np.nan, 0, 0, 0)
    runs, subjects = values_RS.shape
    subsets = int(code_R.max()) + 1
    size = (runs, subsets, subjects)
    cluster_R = code_R if subsets > 1 else np.arange(runs)
    clusters = int(np.max(cluster_R)) + 1

    defined_RS = ~np.isnan(values_RS)
    count_R = defined_RS.sum(1)
    mean_R = np.where(defined_RS, values_RS, 0).sum(1) / count_R
    weight_R = even_weights(code_R)
    mean = float(weight_R @ mean_R)

    u_J = np.bincount(cluster_R, weight_R * (mean_R - mean))
    centred_RS = np.where(
        defined_RS,
        values_RS - mean_R[:, None],
        0,
    )
    u_JS = np.zeros((clusters, subjects))
    np.add.at(
        u_JS,
        cluster_R,
        centred_RS * (weight_R / count_R)[:, None],
    )
    u_S = u_JS.sum(0)

    v_a = _between(u_J)
    v_c = _between(u_S)
    a = clusters - 1
    c = subjects - 1
    if not a and not c:
        return Spread(mean, np.nan, np.nan, *size)
    if not a or not c:
        return Spread(
            mean,
            float(np.sqrt(v_a + v_c)),
            float(max(a, c)),
            *size,
        )
    v_x = float(((u_JS - u_S / clusters) ** 2).sum()) * clusters * subjects / (a * c)
    total = v_a + v_c - v_x
    if total <= v_x:
        return Spread(
            mean,
            float(np.sqrt(v_x)),
            float(a * c),
            *size,
        )
    return Spread(
        mean,
        float(np.sqrt(total)),
        _degrees_of_freedom(v_a, v_c, v_x, a, c),
        *size,
    )


def _between(u: np.ndarray) -> float:
    """Sum of squares of the clusters' contributions, times n/(n-1); 0 for one cluster."""
    if u.size < 2:
        return 0.0
    return u.size / (u.size - 1) * float(u @ u)


def _degrees_of_freedom(
    v_a: float,
    v_c: float,
    v_x: float,
    a: int,
    c: int,
) -> float:
    """Satterthwaite's degrees of freedom of V_A + V_C - V_X, from those of V_A and V_C.

    V_A is taken 1 + 2/a + 6/a³ times as large: with one or two degrees of freedom it is so often
    far too small that the plain formula covers 0.90 or 0.92 instead of 0.95 (2 or 3 subsets, all
    effects alike).
    """
    wide = v_a * (1 + 2 / a + 6 / a**3)
    total = max(wide + v_c - v_x, v_x)
    return float(max(a, total**2 / (wide**2 / a + v_c**2 / c + v_x**2 / (a * c))))


def mean_interval(
    values_RS: np.ndarray, subset_R: Sequence[Any], *, level: float = 0.95
) -> Interval:
    """Student's interval of the mean score over label subsets, seeds and subjects.

    A factor with one member does not vary, so the interval says nothing about it: see
    :attr:`Interval.covers`. All NaN without scores.

    Args:
      values_RS, subset_R: see :func:`spread`.
      level: share of such intervals that hold the true mean.

    >>> interval = mean_interval(np.array([[0.7, 0.8, 0.9]]), ["a"])
    >>> f"{interval.mean:.2f} [{interval.low:.2f}, {interval.high:.2f}] over {interval.covers}"
    '0.80 [0.55, 1.05] over subjects'
    """
    s = spread(values_RS, subset_R)
    half = 0.0
    if not np.isnan(s.df):
        half = scipy.stats.t.ppf((1 + level) / 2, s.df) * s.error
    size = (s.n_runs, s.n_subsets, s.n_subjects)
    return Interval(
        s.mean,
        float(s.mean - half),
        float(s.mean + half),
        *size,
    )


def mean_test(values_RS: np.ndarray, subset_R: Sequence[Any]) -> float:
    """Two-sided p-value of "the mean is zero" for other label subsets, seeds and subjects.

    It is the test that goes with :func:`mean_interval`; NaN where nothing could vary.

    >>> round(mean_test(np.array([[0.01, 0.02, 0.03]]), ["a"]), 3)
    0.074
    """
    s = spread(values_RS, subset_R)
    if np.isnan(s.df):
        return np.nan
    if s.error > 1e-12 * abs(s.mean):
        return float(2 * scipy.stats.t.sf(abs(s.mean) / s.error, s.df))
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


# ------------------------------------------------------------------ weights
def scored(
    values_RS: np.ndarray,
    subset_R: Sequence[Any],
) -> tuple[np.ndarray, np.ndarray]:
    """The table without runs and subjects that have no score, and the code of each run's subset."""
    values_RS = np.asarray(values_RS, dtype=float)
    has_score_R = ~np.isnan(values_RS).all(1)
    subsets = [subset for subset, has in zip(subset_R, has_score_R, strict=True) if has]
    values_RS = values_RS[has_score_R]
    return values_RS[:, ~np.isnan(values_RS).all(0)], codes(subsets)


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
