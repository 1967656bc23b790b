"""Is A as good as B within a margin: non-inferiority and equivalence of two settings.

A difference that is not significant does not show that two settings are alike: a small study never
finds a difference. These tests turn the burden of proof around. The margin is the largest loss that
does not matter; it must be chosen before the scores are seen.

Pure functions of tables runs × subjects; their error and power are in
experiments/results/questions.csv.

Sources: Schuirmann, J. Pharmacokinet. Biopharm. 15(6), 1987 (two one-sided tests); Piaggio et al.,
JAMA 308(24), 2012 (CONSORT: non-inferiority and equivalence).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import scipy.stats

from semiseg.analysis import skewness
from semiseg.analysis.statistics import Spread, spread
from semiseg.errors import UserError


class MarginTest(NamedTuple):
    """What a study says about a difference and a margin; positive differences are better.

    Attributes:
      mean: the difference, in the unit of the scores.
      low, high: its 90 % interval. Each end by itself is a one-sided limit of 95 %.
      margin: the largest loss that does not matter, positive.
      p_noninferior: of "it is worse by the margin or more"; NaN where it was not tested.
      p_equivalent: of "it differs by the margin or more, in either direction".
      level: of the one-sided tests, 0.05 unless asked otherwise.
    """

    mean: float
    low: float
    high: float
    margin: float
    p_noninferior: float
    p_equivalent: float
    level: float

    @property
    def noninferior(self) -> bool:
        """Whether a loss of the margin or more is excluded."""
        return self.p_noninferior < self.level

    @property
    def equivalent(self) -> bool:
        """Whether a difference of the margin or more, in either direction, is excluded."""
        return self.p_equivalent < self.level

    @property
    def verdict(self) -> Literal["equivalent", "not worse", "worse", "undecided"]:
        """What can be said of the difference beside the margin.

        "worse" says that the loss is larger than the margin. What was not tested is "undecided".

        >>> MarginTest(0.0, -0.01, 0.01, 0.02, 0.002, 0.004, 0.05).verdict
        'equivalent'
        """
        if np.isnan(self.p_noninferior):
            return "undecided"
        if self.equivalent:
            return "equivalent"
        if self.noninferior:
            return "not worse"
        return "worse" if self.high < -self.margin else "undecided"


def margin_test(
    difference_RS: np.ndarray,
    subset_R: Sequence[Any],
    margin: float,
    *,
    level: float = 0.05,
    df: float | None = None,
) -> MarginTest:
    """Non-inferiority and equivalence for other label subsets, seeds and subjects.

    Two one-sided t tests (Schuirmann 1987) with the standard error and the skewness of
    :func:`semiseg.analysis.statistics.spread`: t = (mean ± margin) / error.

    Args:
      difference_RS: scores of A minus those of B, paired; positive where A is better.
      subset_R: the label subset of each run.
      margin: the largest loss that does not matter, in the unit of the scores.
      level: of each one-sided test.
      df: degrees of freedom, if others than those of the standard error.

    Raises:
      UserError: the margin is not positive.

    >>> rng = np.random.default_rng(0)
    >>> test = margin_test(rng.normal(0, 0.01, (3, 20)), range(3), margin=0.02)
    >>> f"{test.mean:+.3f} [{test.low:+.3f}, {test.high:+.3f}]: {test.verdict}"
    '+0.001 [-0.004, +0.005]: equivalent'
    """
    if not margin > 0:
        raise UserError(
            f"the margin is {margin}, but a loss that does not matter is a positive number",
            remedy="give the largest loss that does not matter, as in margin=0.02",
        )
    return margin_test_of(spread(difference_RS, subset_R), margin, level, df)


def margin_test_of(
    s: Spread, margin: float, level: float = 0.05, df: float | None = None
) -> MarginTest:
    """:func:`margin_test` of a difference whose spread is known."""
    degrees = s.df if df is None else df
    if np.isnan(s.df):
        return MarginTest(s.mean, np.nan, np.nan, margin, np.nan, np.nan, level)
    quantile = float(scipy.stats.t.ppf(1 - level, degrees))
    below, above = skewness.limits(quantile, s.skewness)
    p_loss = _p_value(s.mean + margin, s.error, s.skewness, degrees)
    p_gain = _p_value(margin - s.mean, s.error, -s.skewness, degrees)
    return MarginTest(
        s.mean,
        s.mean - below * s.error,
        s.mean + above * s.error,
        margin,
        p_loss,
        max(p_loss, p_gain),
        level,
    )


def _p_value(
    distance: float,
    error: float,
    skew: float,
    df: float,
) -> float:
    """One-sided p-value of "the distance from the margin is at most 0".

    Of Student's t and Hall's the one nearer to zero, as in
    :func:`semiseg.analysis.statistics.mean_test`.
    """
    if error <= 1e-12 * abs(distance):
        return float(distance <= 0)
    if distance <= 0:
        return float(scipy.stats.t.sf(distance / error, df))
    return float(scipy.stats.t.sf(skewness.smaller(distance / error, skew), df))
