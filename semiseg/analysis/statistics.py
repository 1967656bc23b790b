"""How sure are we: intervals and tests for scores of runs (rows) on subjects (columns). Pure numpy
and scipy; knows nothing of files.

A score varies because other patients could have been annotated (label subset), because training is
random (seed within subset), and because other patients could have been tested (subject). Runs are
nested: seeds within label subsets. Subjects are crossed with runs: every run is scored on the same
ones. :func:`mean_interval` adds up what the three contribute; its coverage is in
experiments/simulate_statistics.py.

Sources: Satterthwaite, Biometrics Bull. 2(6), 1946 (degrees of freedom of a sum of variances);
Cameron, Gelbach & Miller, J. Bus. Econ. Stat. 29(2), 2011 (two-way clusters: V_runs + V_subjects -
V_both); Davison & Hinkley, Bootstrap Methods and their Application, 1997, section 3.8 (hierarchical
data) and 4.3 (permutation tests); Saravanan, Berman & Sober, Neurons Behav. Data Anal. Theory 3(5),
2020; Owen & Eckles, Ann. Appl. Stat. 6(3), 2012 (crossed factors: the product of the factors'
weights); Wilcoxon, Biometrics Bull. 1(6), 1945; Holm, Scand. J. Stat. 6(2), 1979.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.stats

EXACT_UP_TO = 12
"""Subjects up to which the permutation test enumerates every sign pattern (2^12 = 4096)."""


class Interval(NamedTuple):
    """A mean with its interval; ``low == high == mean`` where nothing varied."""

    mean: float
    low: float
    high: float
    n_runs: int
    n_subsets: int
    n_subjects: int

    @property
    def covers(self) -> str:
        """What the interval takes into account, in words."""
        factors = [
            ("label subsets", self.n_subsets > 1),
            ("seeds", self.n_runs > self.n_subsets),
            ("subjects", self.n_subjects > 1),
        ]
        names = [name for name, varied in factors if varied]
        return (
            " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
            or "nothing"
        )


class Spread(NamedTuple):
    """A mean, its standard error and the degrees of freedom of that error; NaN where nothing could
    vary.
    """

    mean: float
    error: float
    df: float
    n_runs: int
    n_subsets: int
    n_subjects: int


def spread(values_RS: np.ndarray, subset_R: Sequence[Any]) -> Spread:
    """Mean over label subsets, runs and subjects, and how far it would move with others of each.

    Runs are clusters by their label subset (by themselves where there is one subset), subjects are
    crossed clusters. With u the contribution of a score to the mean, V_A and V_C are the sums of
    squares of u added up by subset and by subject and V_X that of their interaction, each times
    n/(n-1): in a balanced table the mean squares of a two-way analysis of variance. The squared
    error is V_A + V_C - V_X, at least V_X. The degrees of freedom are Satterthwaite's with V_A
    taken 1 + 2/a + 6/a³ times as large, a its own: with one or two of them, V_A is so often far too
    small that the plain formula covers .90 or .92 instead of .95 (2 or 3 subsets, all alike).

    Args:
      values_RS: scores, NaN where undefined; a run or a subject without any defined score is left
        out.
      subset_R: the label subset of each run; subsets weigh the same however many runs they have.
    """
    values_RS = np.asarray(values_RS, dtype=float)
    kept = ~np.isnan(values_RS).all(1)
    values_RS, code_R = values_RS[kept], _codes([s for s, k in zip(subset_R, kept) if k])
    values_RS = values_RS[:, ~np.isnan(values_RS).all(0)]
    runs, subjects = values_RS.shape
    if not values_RS.size:
        return Spread(np.nan, np.nan, np.nan, 0, 0, 0)
    subsets = int(code_R.max()) + 1
    weight_R, defined = _even_weights(code_R), ~np.isnan(values_RS)
    count_R = defined.sum(1)
    filled = np.where(defined, values_RS, 0)
    mean_R = filled.sum(1) / count_R
    mean = float(weight_R @ mean_R)
    cluster_R = code_R if subsets > 1 else np.arange(runs)
    clusters = int(np.max(cluster_R)) + 1
    u_RS = np.where(defined, values_RS - mean_R[:, None], 0) * (weight_R / count_R)[:, None]
    u_JS = np.zeros((clusters, subjects))
    np.add.at(u_JS, cluster_R, u_RS)
    u_J, u_S = np.bincount(cluster_R, weight_R * (mean_R - mean)), u_JS.sum(0)
    v_a = clusters / (clusters - 1) * float(u_J @ u_J) if clusters > 1 else 0.0
    v_c = subjects / (subjects - 1) * float(u_S @ u_S) if subjects > 1 else 0.0
    a, c = clusters - 1, subjects - 1
    if not a or not c:
        error, df = np.sqrt(v_a + v_c), float(max(a, c))
        return Spread(mean, float(error) if df else np.nan, df or np.nan, runs, subsets, subjects)
    v_x = float(((u_JS - u_S / clusters) ** 2).sum()) * clusters * subjects / (a * c)
    total = v_a + v_c - v_x
    if total <= v_x:
        return Spread(mean, float(np.sqrt(v_x)), float(a * c), runs, subsets, subjects)
    wide = v_a * (1 + 2 / a + 6 / a**3)
    df = max(a, max(wide + v_c - v_x, v_x) ** 2 / (wide**2 / a + v_c**2 / c + v_x**2 / (a * c)))
    return Spread(mean, float(np.sqrt(total)), float(df), runs, subsets, subjects)


def mean_interval(
    values_RS: np.ndarray, subset_R: Sequence[Any], *, level: float = 0.95
) -> Interval:
    """Student's interval of the mean score over label subsets, seeds and subjects, see
    :func:`spread`.

    A level with one member does not vary, so the interval says nothing about it: see
    :attr:`Interval.covers`. All NaN without scores.
    """
    s = spread(values_RS, subset_R)
    half = scipy.stats.t.ppf((1 + level) / 2, s.df) * s.error if s.df == s.df else 0.0
    return Interval(
        s.mean, float(s.mean - half), float(s.mean + half), s.n_runs, s.n_subsets, s.n_subjects
    )


def mean_test(values_RS: np.ndarray, subset_R: Sequence[Any]) -> float:
    """Two-sided p-value of "the mean is zero" for other label subsets, seeds and subjects: the test
    that goes with :func:`mean_interval`.
    """
    s = spread(values_RS, subset_R)
    if s.df != s.df:
        return np.nan
    return (
        float(2 * scipy.stats.t.sf(abs(s.mean) / s.error, s.df))
        if s.error > 1e-12 * abs(s.mean)
        else float(s.mean == 0)
    )


def minimum_detectable(
    values_RS: np.ndarray, subset_R: Sequence[Any], *, level: float = 0.95, power: float = 0.8
) -> float:
    """Smallest true mean that a study with this spread finds different from zero with this power
    (Bloom, Eval. Rev. 19(5), 1995).

    (t_{level} + t_{power}) · standard error. Take it from the spread, never from the difference
    that was found.
    """
    s = spread(values_RS, subset_R)
    return float(
        (scipy.stats.t.ppf((1 + level) / 2, s.df) + scipy.stats.t.ppf(power, s.df)) * s.error
    )


def wilcoxon_test(difference_S: np.ndarray) -> float:
    """Two-sided Wilcoxon signed-rank test by subject, zeros by Pratt's rule; NaN without subjects,
    1 where all differences are zero.

    Like :func:`sign_flip_test` it speaks of the trained models at hand.
    """
    difference_S = np.asarray(difference_S, dtype=float)
    difference_S = difference_S[~np.isnan(difference_S)]
    if not difference_S.size:
        return np.nan
    if not difference_S.any():
        return 1.0
    return float(scipy.stats.wilcoxon(difference_S, zero_method="pratt").pvalue)


class Effect(NamedTuple):
    """How large a paired difference is, beside its own unit.

    Attributes:
      dz: mean over standard deviation of the subjects' differences (Cohen, Statistical Power
        Analysis, 1988, section 2.3.5), times Hedges' small-sample correction 1 - 3 / (4 df - 1)
        (Hedges, J. Educ. Stat. 6(2), 1981).
      better: share of subjects with a positive difference, ties half (McGraw & Wong's common
        language effect, Psychol. Bull. 111(2), 1992).
    """

    dz: float
    better: float


def effect_size(difference_S: np.ndarray) -> Effect:
    """Effect sizes of the differences of subjects; NaN is left out."""
    d = np.asarray(difference_S, dtype=float)
    d = d[~np.isnan(d)]
    if not d.size:
        return Effect(np.nan, np.nan)
    sd = d.std(ddof=1) if d.size > 1 else 0.0
    dz = float(d.mean() / sd * (1 - 3 / (4 * (d.size - 1) - 1))) if sd > 0 else np.nan
    return Effect(dz, float(((d > 0) + 0.5 * (d == 0)).mean()))


def hierarchical_bootstrap(
    values_RS: np.ndarray,
    subset_R: Sequence[Any],
    *,
    draws: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Percentile interval of the mean score over label subsets, seeds and subjects.

    Each draw resamples, with replacement, (1) the label subsets, (2) the runs in each drawn subset,
    (3) the subjects, once for all runs. A run's score is the mean over its defined subjects;
    subsets weigh the same however many runs they have. A level with one member is not resampled, so
    the interval says nothing about it: see :attr:`Interval.covers`. A percentile interval over few
    subsets is narrow (3 subsets × 3 seeds × 20 subjects: .92 where subjects vary most, .73 where
    subsets do): :func:`mean_interval` is for means, this for what has no formula.

    Args:
      values_RS: scores, NaN where undefined; a run or a subject without any defined score is left
        out.
      subset_R: the label subset of each run; runs of equal value are the seeds of one subset.
      draws: bootstrap draws.
      level: of the interval.
      seed: of the random numbers; the same call gives the same interval.

    Returns:
      The interval, all NaN where no score is defined.
    """
    values_RS = np.asarray(values_RS, dtype=float)
    kept = ~np.isnan(values_RS).all(1)
    values_RS, code_R = values_RS[kept], _codes([s for s, k in zip(subset_R, kept) if k])
    values_RS = values_RS[:, ~np.isnan(values_RS).all(0)]
    runs, subjects = values_RS.shape
    if not values_RS.size:
        return Interval(np.nan, np.nan, np.nan, 0, 0, 0)
    subsets = int(code_R.max()) + 1
    mean = _mean(values_RS, _even_weights(code_R)[None], np.ones((1, subjects)))[0]
    rng = np.random.default_rng(seed)
    weight_DR = _nested_weights(rng, code_R, draws)
    weight_DS = rng.multinomial(subjects, np.full(subjects, 1 / subjects), size=draws)
    tail = (1 - level) / 2
    low, high = np.nanquantile(_mean(values_RS, weight_DR, weight_DS), [tail, 1 - tail])
    return Interval(float(mean), float(low), float(high), runs, subsets, subjects)


def sign_flip_test(difference_S: np.ndarray, *, draws: int = 9999, seed: int = 0) -> float:
    """Two-sided paired permutation test by subject: under the null a subject's difference could as
    well have had the other sign.

    Exact (all 2^S sign patterns) up to :data:`EXACT_UP_TO` subjects, else ``(1 + #{|t*| ≥ |t|}) /
    (1 + draws)``, which never is 0. It speaks of the trained models at hand: other subjects, the
    same runs.

    Args:
      difference_S: difference of each subject, averaged over runs; NaN is left out.

    Returns:
      The p-value; NaN without subjects.
    """
    difference_S = np.asarray(difference_S, dtype=float)
    difference_S = difference_S[~np.isnan(difference_S)]
    subjects = difference_S.size
    if not subjects:
        return np.nan
    exact = subjects <= EXACT_UP_TO
    if exact:
        sign_DS = (np.arange(2**subjects)[:, None] >> np.arange(subjects) & 1) * 2 - 1
    else:
        sign_DS = (
            np.random.default_rng(seed).integers(0, 2, (draws, subjects), dtype=np.int8) * 2 - 1
        )
    total = difference_S.sum()
    extreme = (
        np.abs(sign_DS @ difference_S) >= abs(total) - 1e-12 * np.abs(difference_S).sum()
    )  # rounding must not break ties
    return float(extreme.mean()) if exact else float((1 + extreme.sum()) / (1 + draws))


def holm(p: Sequence[float]) -> np.ndarray:
    """Holm's step-down adjusted p-values, in the order given: the i-th smallest of m times (m - i +
    1), monotone, at most 1.

    NaN (no test was possible) stays NaN and does not count into the family.
    """
    p_M = np.asarray(p, dtype=float)
    adjusted = np.full(p_M.shape, np.nan)
    tested = np.flatnonzero(~np.isnan(p_M))
    order = tested[np.argsort(p_M[tested], kind="stable")]
    adjusted[order] = np.minimum(
        np.maximum.accumulate(p_M[order] * np.arange(order.size, 0, -1)), 1
    )
    return adjusted


def subject_means(values_RS: np.ndarray, subset_R: Sequence[Any]) -> np.ndarray:
    """``(S,)`` mean over runs, label subsets weighing the same; NaN for a subject that no run
    defines.
    """
    values_RS = np.asarray(values_RS, dtype=float)
    weight_R = _even_weights(_codes(subset_R))
    defined = ~np.isnan(values_RS)
    total = weight_R @ defined
    return np.where(
        total > 0,
        weight_R @ np.where(defined, values_RS, 0) / np.where(total > 0, total, 1),
        np.nan,
    )


# ------------------------------------------------------------------ weights
def _codes(subset_R: Sequence[Any]) -> np.ndarray:
    """0 … J-1 for the label subset of each run."""
    return np.unique([str(s) for s in subset_R], return_inverse=True)[1]


def _even_weights(subset_R: np.ndarray) -> np.ndarray:
    """``(R,)`` summing to 1: every subset the same share, split evenly between its runs."""
    count_J = np.bincount(subset_R)
    return 1 / (count_J.size * count_J[subset_R])


def _nested_weights(rng: np.random.Generator, subset_R: np.ndarray, draws: int) -> np.ndarray:
    """``(draws, R)`` weights of the runs when subsets, then runs within each drawn subset, are
    resampled; each row sums to 1.
    """
    count_J = np.bincount(subset_R)
    subsets, widest, runs = count_J.size, int(np.max(count_J)), subset_R.size
    member_JN = np.zeros((subsets, widest), dtype=int)
    for j in range(subsets):
        member_JN[j, : count_J[j]] = np.flatnonzero(subset_R == j)
    drawn_DJ = rng.integers(0, subsets, (draws, subsets))
    count_DJ1 = count_J[drawn_DJ][..., None]
    pick_DJN = (rng.random((draws, subsets, widest)) * count_DJ1).astype(int)
    weight_DJN = np.where(np.arange(widest) < count_DJ1, 1 / (subsets * count_DJ1), 0)
    run_DJN = member_JN[drawn_DJ[..., None], pick_DJN]
    flat = np.arange(draws)[:, None, None] * runs + run_DJN
    return np.bincount(flat.ravel(), weight_DJN.ravel(), draws * runs).reshape(draws, runs)


def _mean(values_RS: np.ndarray, weight_DR: np.ndarray, weight_DS: np.ndarray) -> np.ndarray:
    """``(D,)`` weighted mean over runs of each run's weighted mean over its defined subjects."""
    defined_RS = ~np.isnan(values_RS)
    total_DR = weight_DS @ defined_RS.T.astype(float)
    mean_DR = weight_DS @ np.where(defined_RS, values_RS, 0).T / np.where(total_DR > 0, total_DR, 1)
    usable_DR = weight_DR * (total_DR > 0)
    total_D = usable_DR.sum(1)
    return np.where(
        total_D > 0, (usable_DR * mean_DR).sum(1) / np.where(total_D > 0, total_D, 1), np.nan
    )
