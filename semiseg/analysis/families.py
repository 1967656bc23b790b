"""One test for a whole family of comparisons: how often does any of them mislead?

With three label subsets, the variance between subsets has two degrees of freedom. A test that
estimates it from its own comparison, and its degrees of freedom from the same data, errs eight
times as often as it states at the levels that a correction for forty comparisons uses; one with two
degrees of freedom finds nothing. So the comparisons of one label budget lend each other half of
that variance, and the critical value is Cochran's, which is not too small far out. Rates and power
of the candidates are in experiments/results/families.csv (experiments/simulate_families.py).

Sources: Smyth, Stat. Appl. Genet. Mol. Biol. 3(1), 2004, section 3 (a variance drawn towards that
of the other comparisons); Cochran & Cox, Experimental Designs, 2nd ed. 1957, section 4.14 (critical
value of a mean with two variances); Holm, Scand. J. Stat. 6(2), 1979.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
import scipy.special

from semiseg.analysis.satterthwaite import LEAST_HIDDEN, LOST
from semiseg.analysis.skewness import smaller
from semiseg.analysis.statistics import Spread

LENT = 0.5
"""Share of the variance between subsets that comes from all comparisons of the budget."""
SHARED = 0.5
"""Correlation of two differences from one baseline, where all settings vary alike."""
SMALLEST_P = 1e-12
"""Below it, a p-value is not computed further."""
FIXED = 1e-12
"""Standard error, as a share of the mean, up to which nothing has varied."""


class Difference(NamedTuple):
    """A difference as a member of a family.

    Attributes:
      spread: of the difference.
      first, second: the settings that are compared; differences that have one in common are
        correlated.
      group: of the comparisons that may lend each other variance: the label budget.
    """

    spread: Spread
    first: str
    second: str
    group: Hashable


class Family(NamedTuple):
    """What the test takes of M differences, as arrays.

    The axes before M are of families that are alike in all but their scores, for simulations.

    Attributes:
      mean, by_run, by_subject, interaction: ``(..., M)`` mean, V_A, V_C and V_X of each difference.
      third: ``(..., M)`` third cumulant of the mean, from the scores of the subjects.
      df_run, df_subject, overlap: ``(M,)``, see :class:`~semiseg.analysis.statistics.Spread`.
      pools: indices of the differences that lend each other variance; each stands in one pool, but
        for those without variance between runs.
      alike: ``(M, M)`` squared correlations of their variances.
    """

    mean: np.ndarray
    by_run: np.ndarray
    by_subject: np.ndarray
    interaction: np.ndarray
    third: np.ndarray
    df_run: np.ndarray
    df_subject: np.ndarray
    overlap: np.ndarray
    pools: list[np.ndarray]
    alike: np.ndarray


class Outcome(NamedTuple):
    """What the test of a family knows of each difference, ``(..., M)`` each.

    Attributes:
      p: two-sided, not yet corrected; NaN where nothing could vary, or it is not computed yet.
      statistic: to compare with :meth:`critical`: the mean over its error, nearer to zero where
        subjects are skewed; 0 where nothing could vary.
      error: standard error.
      by_run, by_subject: variances of the mean between label subsets (or runs) and between
        subjects.
      df_run, df_subject: ``(M,)`` their degrees of freedom.
    """

    p: np.ndarray
    statistic: np.ndarray
    error: np.ndarray
    by_run: np.ndarray
    by_subject: np.ndarray
    df_run: np.ndarray
    df_subject: np.ndarray

    def of(self, i: int) -> Outcome:
        """What it knows of one difference."""
        return Outcome(*(values[..., i : i + 1] for values in self))

    def critical(self, tail: float | np.ndarray) -> np.ndarray:
        """``(..., M)`` the value that a statistic exceeds with probability ``tail`` on one side.

        Cochran's: the mean of the critical values of two t distributions, weighted by the
        variances that they belong to.
        """
        total = self.by_run + self.by_subject
        share_run = np.divide(self.by_run, total, out=np.ones(total.shape), where=total > 0)
        share_run = np.where(self.df_run == 0, 0.0, share_run)
        share_run = np.where(self.df_subject == 0, 1.0, share_run)
        of_run = _quantile(self.df_run, tail)
        of_subject = _quantile(self.df_subject, tail)
        return share_run * of_run + (1 - share_run) * of_subject


def family_test(differences: Sequence[Difference]) -> Outcome:
    """Test each difference of a family, with variances drawn towards those of its budget.

    The variance between label subsets is :data:`LENT` times the mean over the comparisons of the
    budget, plus the rest of the comparison's own. The squared error is V_A + V_C - V_X as in
    :func:`semiseg.analysis.statistics.spread`, at least V_A and at least V_C. A comparison that is
    alone at its budget keeps its own variance and takes its degrees of freedom for all: label
    subsets less one.

    >>> from semiseg.analysis.statistics import spread
    >>> subsets = ["a", "b", "c"]
    >>> gain = spread(np.array([[0.08, 0.09], [0.10, 0.11], [0.12, 0.13]]), subsets)
    >>> none = spread(np.array([[0.01, 0.02], [-0.02, 0.0], [0.0, -0.01]]), subsets)
    >>> family_test([Difference(gain, "x", "base", 8), Difference(none, "y", "base", 8)]).p.round(3)
    array([0.022, 1.   ])
    """
    spreads = [d.spread for d in differences]
    family = Family(
        np.array([s.mean for s in spreads]),
        np.array([s.between_runs.variance for s in spreads]),
        np.array([s.between_subjects.variance for s in spreads]),
        np.array([s.interaction for s in spreads]),
        np.array([s.between_subjects.third for s in spreads]),
        np.array([s.between_runs.df for s in spreads], dtype=float),
        np.array([s.between_subjects.df for s in spreads], dtype=float),
        np.array([s.overlap for s in spreads]),
        _pools(differences),
        likeness([(d.first, d.second) for d in differences]),
    )
    outcome = outcome_of(family)
    return outcome._replace(p=_p_values(outcome, family.mean))


def _pools(differences: Sequence[Difference]) -> list[np.ndarray]:
    """Which differences lend each other variance: those of a budget, and of one kind."""
    pools: dict[Hashable, list[int]] = {}
    for i, d in enumerate(differences):
        if d.spread.between_runs.df > 0:
            pools.setdefault((d.group, d.spread.n_subsets > 1), []).append(i)
    return [np.array(members) for members in pools.values()]


def likeness(couples: Sequence[tuple[str, str]]) -> np.ndarray:
    """``(M, M)`` squared correlations of the differences between these settings.

    They are those of the sample variances of Gaussian differences: :data:`SHARED` squared for two
    that have a setting in common, else 0.

    >>> likeness([("a", "base"), ("b", "base"), ("c", "d")])[0]
    array([1.  , 0.25, 0.  ])
    """
    alike = np.eye(len(couples))
    for i, one in enumerate(couples):
        for k in range(i):
            if set(one) & set(couples[k]):
                alike[i, k] = alike[k, i] = SHARED**2
    return alike


def outcome_of(family: Family) -> Outcome:
    """Statistics and their variances after lending, without p-values."""
    df_subject = family.df_subject
    by_subject = family.by_subject
    by_run, df_lent = _lend(family)
    hidden = np.maximum(by_run - family.interaction, LEAST_HIDDEN * by_run)
    odds = (family.df_run + 1) * family.overlap / (1 - family.overlap)
    by_run = by_run + odds * hidden
    left = 1 - LOST * family.overlap
    df_run = left * family.df_run
    variance = by_run + by_subject - family.interaction
    variance = np.maximum(variance, np.maximum(by_run, by_subject))
    error = np.sqrt(variance)
    alone = [pool[0] for pool in family.pools if len(pool) == 1 and df_subject[pool[0]] > 0]
    if alone:
        df_subject = df_subject.copy()
        df_subject[alone] = np.minimum(df_run, df_subject)[alone]

    testable = ((df_run > 0) | (df_subject > 0)) & (error > FIXED * np.abs(family.mean))
    safe = np.where(testable, error, 1.0)
    largest = np.where(testable, np.maximum(safe**2, by_subject), 1.0)
    steps = smaller(family.mean / safe, family.third / largest**1.5)
    statistic = np.where(testable, steps, 0.0)
    unknown = np.full(statistic.shape, np.nan)
    return Outcome(unknown, statistic, error, by_run, by_subject, left * df_lent, df_subject)


def _lend(family: Family) -> tuple[np.ndarray, np.ndarray]:
    """Variances between label subsets after lending, and their degrees of freedom."""
    df_M = family.df_run
    lent = family.by_run.copy()
    df_lent_M = df_M.copy()
    of_one_subset = family.by_run * (df_M + 1)
    for pool in family.pools:
        if len(pool) < 2:
            continue
        weight = df_M[pool] / df_M[pool].sum()
        mean = of_one_subset[..., pool] @ weight
        df_pool = _pooled_df(family.alike[np.ix_(pool, pool)], weight, df_M[pool])
        both = LENT * mean[..., None] + (1 - LENT) * of_one_subset[..., pool]
        lent[..., pool] = both / (df_M[pool] + 1)
        of_pool = (LENT**2 + 2 * LENT * (1 - LENT)) / df_pool
        df_lent_M[pool] = 1 / (of_pool + (1 - LENT) ** 2 / df_M[pool])
    return lent, df_lent_M


def _pooled_df(alike: np.ndarray, weight_M: np.ndarray, df_M: np.ndarray) -> float:
    """Degrees of freedom of the mean variance: of M correlated ones, fewer than M times as many.

    The variance of the mean is Σ 2 w w ρ² / df. For K settings and one baseline the degrees of
    freedom are df · 4K / (K + 3).
    """
    return float(1 / (weight_M @ alike @ (weight_M / df_M)))


def _quantile(df_M: np.ndarray, tail: float | np.ndarray) -> np.ndarray:
    """Of Student's t, where ``tail`` is above it; ``stdtrit`` is ``t.ppf`` without its overhead."""
    return -scipy.special.stdtrit(np.where(df_M == 0, 1, df_M), tail)


def _p_values(outcome: Outcome, mean_M: np.ndarray) -> np.ndarray:
    """The p at which the critical value equals the statistic, by bisection of its logarithm."""
    testable = (outcome.df_run > 0) | (outcome.df_subject > 0)
    fixed = outcome.error <= FIXED * np.abs(mean_M)
    low_M = np.full(mean_M.size, np.log(SMALLEST_P))
    high_M = np.zeros(mean_M.size)
    for _ in range(50):
        middle_M = (low_M + high_M) / 2
        beyond = outcome.statistic > outcome.critical(np.exp(middle_M) / 2)
        high_M = np.where(beyond, middle_M, high_M)
        low_M = np.where(beyond, low_M, middle_M)
    p_M = np.where(fixed, (mean_M == 0).astype(float), np.exp(high_M))
    return np.where(testable, p_M, np.nan)
