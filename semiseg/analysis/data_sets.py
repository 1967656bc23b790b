"""One statement over several data sets: random-effects meta-analysis.

A difference found on one data set holds there. Over several, its mean and how far another data set
may lie from it are estimated from one difference and standard error a set. Coverage is in
experiments/results/questions.csv.

Sources: Hartung & Knapp, Stat. Med. 20(24), 2001 and Sidik & Jonkman, Stat. Med. 21(21), 2002 (the
variance of the mean, t with K - 1 degrees of freedom); Röver, Knapp & Friede, BMC Med. Res.
Methodol. 15:99, 2015 (never smaller than the usual variance); Paule & Mandel, J. Res. Natl. Bur.
Stand. 87(5), 1982 (the variance between sets); Higgins, Thompson & Spiegelhalter, J. R. Stat. Soc.
A 172(1), 2009 (prediction interval, t with K - 2); Cochran, Biometrics 10(1), 1954 (Q).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.optimize
import scipy.stats

from semiseg.errors import UserError


class Combined(NamedTuple):
    """A difference over several data sets.

    Attributes:
      mean: over data sets, in the unit of the scores.
      low, high: its interval.
      p: two-sided, of "the mean over data sets is zero".
      new_low, new_high: prediction interval for another data set; NaN with two sets.
      between: standard deviation between data sets.
      p_same: Cochran's test of "all sets have the same difference".
      sets: how many data sets.
    """

    mean: float
    low: float
    high: float
    p: float
    new_low: float
    new_high: float
    between: float
    p_same: float
    sets: int


def combine(
    mean_K: Sequence[float] | np.ndarray,
    error_K: Sequence[float] | np.ndarray,
    *,
    level: float = 0.95,
) -> Combined:
    """Random-effects mean of one difference a data set.

    Weights are 1 / (error² + between²), between² after Paule & Mandel. The variance of the mean is
    Hartung, Knapp, Sidik & Jonkman's, q / sum of weights, with q at least 1 (Röver et al. 2015).

    Args:
      mean_K: difference on each data set, positive where A is better, in one unit.
      error_K: its standard error.
      level: of both intervals.

    Raises:
      UserError: fewer than two data sets, or a set without a standard error.

    >>> result = combine([0.03, 0.05, 0.02], [0.01, 0.02, 0.01])
    >>> f"{result.mean:.3f} [{result.low:.3f}, {result.high:.3f}] over {result.sets} data sets"
    '0.028 [-0.001, 0.056] over 3 data sets'
    """
    y_K = np.asarray(mean_K, dtype=float)
    error_K = np.asarray(error_K, dtype=float)
    sets = y_K.size
    if sets < 2:
        raise UserError(
            f"{sets} data set has no spread between data sets",
            remedy="give the runs of two data sets or more (better five)",
        )
    if not (np.isfinite(y_K) & np.isfinite(error_K) & (error_K > 0)).all():
        raise UserError(
            "a data set has no standard error of its difference",
            remedy="leave it out, or run two label subsets or score two subjects there",
        )
    between2 = _paule_mandel(y_K, error_K)
    weight_K = 1 / (error_K**2 + between2)
    mean = float(weight_K @ y_K / weight_K.sum())
    q = float(weight_K @ (y_K - mean) ** 2) / (sets - 1)
    error = float(np.sqrt(max(q, 1.0) / weight_K.sum()))
    half = float(scipy.stats.t.ppf((1 + level) / 2, sets - 1)) * error
    new = np.nan
    if sets > 2:
        t_new = float(scipy.stats.t.ppf((1 + level) / 2, sets - 2))
        new = t_new * float(np.sqrt(between2 + error**2))
    return Combined(
        mean,
        mean - half,
        mean + half,
        float(2 * scipy.stats.t.sf(abs(mean) / error, sets - 1)),
        mean - new,
        mean + new,
        float(np.sqrt(between2)),
        float(scipy.stats.chi2.sf(_generalised_q(0.0, y_K, error_K), sets - 1)),
        sets,
    )


def _generalised_q(
    between2: float,
    y_K: np.ndarray,
    error_K: np.ndarray,
) -> float:
    """Cochran's Q with the variance between sets in the weights."""
    weight_K = 1 / (error_K**2 + between2)
    mean = weight_K @ y_K / weight_K.sum()
    return float(weight_K @ (y_K - mean) ** 2)


def _paule_mandel(y_K: np.ndarray, error_K: np.ndarray) -> float:
    """The variance between sets with which Q is K - 1; 0 where it is smaller without any."""
    degrees = y_K.size - 1

    def excess(between2: float) -> float:
        return _generalised_q(between2, y_K, error_K) - degrees

    if excess(0.0) <= 0:
        return 0.0
    upper = float(np.ptp(y_K)) ** 2 + float(error_K.max()) ** 2
    while excess(upper) > 0:
        upper *= 2
    return float(scipy.optimize.brentq(excess, 0.0, upper))
