"""How skewed scores move the ends of an interval of their mean.

Scores are skewed: a few subjects fail, and distances have a long tail. The mean of a sample without
the rare bad subjects is too good and its standard error too small at once, so Student's interval
misses on one side. The first term of the Edgeworth expansion says by how much.

Sources: Hall, The Bootstrap and Edgeworth Expansion, 1992, chapter 2 (the expansion of a
studentised mean, and the end of an interval by it); Johnson, J. Am. Stat. Assoc. 73(363), 1978 (the
correction of Student's statistic). Other rules were tried, see
experiments/results/interval_rules.csv.
"""

from __future__ import annotations

import numpy as np

FARTHEST = 3.0
"""Standard errors up to which the correction grows: farther out it would rest on the third moment
alone."""
UNSEEN = 1.5
"""How many times the skewness of a sample is taken. A sample understates a long tail: twenty values
of a log-normal distribution with a skewness of 6.2 have one of 2.0 on average, and one above 4.5 is
not possible."""


def correction(quantile: float, skewness: float | np.ndarray) -> float | np.ndarray:
    """What the longer side of an interval has more than Student's: :data:`UNSEEN` times
    |A| (1 + 2 q²) / 6 standard errors, with a q of :data:`FARTHEST` at most.

    Args:
      quantile: q of Student's t, e.g. at 0.975.
      skewness: A, of the mean: that of the scores over the root of their number.

    >>> round(float(correction(2.0, 0.2)), 3), round(float(correction(6.0, 0.2)), 3)
    (0.45, 0.95)
    """
    steps = min(quantile, FARTHEST)
    return np.abs(skewness) * UNSEEN * (1 + 2 * steps**2) / 6


def limits(quantile: float, skewness: float) -> tuple[float, float]:
    """How many standard errors an interval reaches below and above the estimate.

    The side on which the long tail lies is longer by :func:`correction`. The other one is Student's
    and not shorter: few subjects often look skewed by chance.

    >>> [round(end, 2) for end in limits(2.0, -0.2)]
    [2.45, 2.0]
    """
    longer = quantile + float(correction(quantile, skewness))
    if skewness < 0:
        return longer, quantile
    return quantile, longer


def smaller(t: float | np.ndarray, skewness: float | np.ndarray) -> np.ndarray:
    """The quantile whose :func:`limits` end at t, without its sign: t itself on the shorter side.

    With it a test rejects just the values that lie outside of the interval. Arrays are taken
    element by element.

    Args:
      t: (estimate - value) / standard error.
      skewness: see :func:`correction`.

    >>> smaller(np.array([-2.45, 2.0, -3.95]), 0.2).round(2)
    array([2., 2., 3.])
    """
    t = np.asarray(t, dtype=float)
    distance = np.abs(t)
    linear = distance - correction(FARTHEST, skewness)
    constant = correction(0.0, skewness)  # of t = constant + q + 2 · constant · q²
    rest = np.maximum(distance - constant, 0.0)
    within = 2 * rest / (1 + np.sqrt(1 + 8 * constant * rest))
    nearer = np.where(linear >= FARTHEST, linear, within)
    return np.where(t * skewness < 0, nearer, distance)
