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

from semiseg.analysis.skewness import smaller
from semiseg.analysis.statistics import Spread

LENT = 0.5
"""Share of the variance between subsets that comes from all comparisons of the budget."""
SHARED = 0.5
"""Correlation of two differences from one baseline, where all settings vary alike."""
SMALLEST_P = 1e-12
"""Below it, a p-value is not computed further."""


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


class Outcome(NamedTuple):
    """What the test of a family knows of each difference, ``(M,)`` each.

    Attributes:
      p: two-sided, not yet corrected; NaN where nothing could vary.
      error: standard error.
      by_run, by_subject: variances of the mean between label subsets (or runs) and between
        subjects.
      df_run, df_subject: their degrees of freedom.
    """

    p: np.ndarray
    error: np.ndarray
    by_run: np.ndarray
    by_subject: np.ndarray
    df_run: np.ndarray
    df_subject: np.ndarray

    def of(self, i: int) -> Outcome:
        """What it knows of one difference."""
        return Outcome(*(values_M[i : i + 1] for values_M in self))

    def critical(self, tail: float) -> np.ndarray:
        """``(M,)`` the value that a statistic exceeds with probability ``tail`` on one side.

        Cochran's: the mean of the critical values of two t distributions, weighted by the
        variances that they belong to.
        """
        return _critical(self, np.full(self.p.shape, tail))


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
    mean = np.array([s.mean for s in spreads])
    df_run = np.array([s.between_runs.df for s in spreads], dtype=float)
    df_subject = np.array([s.between_subjects.df for s in spreads], dtype=float)
    by_run = np.array([s.between_runs.variance for s in spreads])
    by_subject = np.array([s.between_subjects.variance for s in spreads])
    interaction = np.array([s.interaction for s in spreads])
    overlap = np.array([s.overlap for s in spreads])

    subsets = df_run + 1
    by_run, df_lent = _lend(differences, by_run, df_run)
    hidden = np.maximum(by_run - interaction, 0)
    by_run = by_run + subsets * overlap / (1 - overlap) * hidden
    variance = np.maximum(by_run + by_subject - interaction, np.maximum(by_run, by_subject))
    error = np.sqrt(variance)
    alone = np.array([_members(differences, d) == 1 for d in differences]) & (df_run > 0)
    df_subject = np.where(alone & (df_subject > 0), np.minimum(df_run, df_subject), df_subject)

    outcome = Outcome(mean, error, by_run, by_subject, df_lent, df_subject)
    third = np.array([s.between_subjects.third for s in spreads])
    return outcome._replace(p=_p_values(outcome, mean, third))


def _members(differences: Sequence[Difference], of: Difference) -> int:
    """How many differences may lend each other variance."""
    return sum(_lends(d, of) for d in differences)


def _lends(d: Difference, of: Difference) -> bool:
    """Whether the variance between subsets of one difference says something of another's."""
    same_kind = (d.spread.n_subsets > 1) == (of.spread.n_subsets > 1)
    return d.group == of.group and same_kind and d.spread.between_runs.df > 0


def _lend(
    differences: Sequence[Difference], by_run_M: np.ndarray, df_M: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """``(M,)`` variances between label subsets after lending, and their degrees of freedom."""
    lent_M = by_run_M.copy()
    df_lent_M = df_M.copy()
    of_one_subset_M = by_run_M * (df_M + 1)
    done: set[int] = set()
    for i, d in enumerate(differences):
        if i in done or not df_M[i]:
            continue
        members = [k for k, other in enumerate(differences) if _lends(other, d)]
        done.update(members)
        if len(members) < 2:
            continue
        pool = np.array(members)
        weight = df_M[pool] / df_M[pool].sum()
        mean = float(weight @ of_one_subset_M[pool])
        df_pool = _pooled_df([differences[k] for k in members], weight, df_M[pool])
        both_M = LENT * mean + (1 - LENT) * of_one_subset_M[pool]
        lent_M[pool] = both_M / (df_M[pool] + 1)
        of_pool = (LENT**2 + 2 * LENT * (1 - LENT)) / df_pool
        df_lent_M[pool] = 1 / (of_pool + (1 - LENT) ** 2 / df_M[pool])
    return lent_M, df_lent_M


def _pooled_df(differences: list[Difference], weight_M: np.ndarray, df_M: np.ndarray) -> float:
    """Degrees of freedom of the mean variance: of M correlated ones, fewer than M times as many.

    The variance of the mean is Σ 2 w w ρ² / df, where squared correlations are those of Gaussian
    sample variances. For K settings and one baseline they are df · 4K / (K + 3).
    """
    shared = np.eye(len(differences))
    for i, one in enumerate(differences):
        for k in range(i):
            other = differences[k]
            if {one.first, one.second} & {other.first, other.second}:
                shared[i, k] = shared[k, i] = SHARED**2
    return float(1 / (weight_M @ shared @ (weight_M / df_M)))


def _critical(outcome: Outcome, tail_M: np.ndarray) -> np.ndarray:
    total = outcome.by_run + outcome.by_subject
    share_run = np.divide(outcome.by_run, total, out=np.ones(total.shape), where=total > 0)
    share_run = np.where(outcome.df_run == 0, 0.0, share_run)
    share_run = np.where(outcome.df_subject == 0, 1.0, share_run)
    of_run = _quantile(outcome.df_run, tail_M)
    of_subject = _quantile(outcome.df_subject, tail_M)
    return share_run * of_run + (1 - share_run) * of_subject


def _quantile(df_M: np.ndarray, tail_M: np.ndarray) -> np.ndarray:
    """Of Student's t, where ``tail`` is above it; ``stdtrit`` is ``t.ppf`` without its overhead."""
    return -scipy.special.stdtrit(np.where(df_M == 0, 1, df_M), tail_M)


def _p_values(outcome: Outcome, mean_M: np.ndarray, third_M: np.ndarray) -> np.ndarray:
    """The p at which the critical value equals the statistic, by bisection of its logarithm."""
    testable = (outcome.df_run > 0) | (outcome.df_subject > 0)
    fixed = outcome.error <= 1e-12 * np.abs(mean_M)
    t_M = np.zeros(mean_M.size)
    for i in np.flatnonzero(testable & ~fixed):
        largest = max(outcome.error[i] ** 2, outcome.by_subject[i])
        t_M[i] = smaller(mean_M[i] / outcome.error[i], third_M[i] / largest**1.5)
    low_M = np.full(mean_M.size, np.log(SMALLEST_P))
    high_M = np.zeros(mean_M.size)
    for _ in range(50):
        middle_M = (low_M + high_M) / 2
        beyond = t_M > _critical(outcome, np.exp(middle_M) / 2)
        high_M = np.where(beyond, middle_M, high_M)
        low_M = np.where(beyond, low_M, middle_M)
    p_M = np.where(fixed, (mean_M == 0).astype(float), np.exp(high_M))
    return np.where(testable, p_M, np.nan)
