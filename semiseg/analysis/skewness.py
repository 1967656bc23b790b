"""How skewed scores move the ends of an interval of their mean.

Scores are skewed: a few subjects fail, and distances have a long tail. The mean of a sample without
the rare bad subjects is too good and its standard error too small at once, so Student's interval
misses on one side. The first term of the Edgeworth expansion says by how much.

Sources: Hall, Ann. Stat. 11(2), 1983 (an Edgeworth expansion inverted: the end of an interval);
Johnson, J. Am. Stat. Assoc. 73(363), 1978 (the same correction of Student's statistic). Other rules
were tried, see experiments/results/interval_rules.csv.
"""

from __future__ import annotations

import numpy as np

NONE = 1e-6
"""Skewness of a mean below which it is taken for zero."""
FARTHEST = 3.0
"""Standard errors up to which the correction grows: farther out it would rest on the third moment
alone."""


def correction(quantile: float, skewness: float) -> float:
    """What the longer side of an interval has more than Student's: |A| (1 + 2 q²) / 6 standard
    errors, with the q of :data:`FARTHEST` at most.

    Args:
      quantile: q of Student's t, e.g. at 0.975.
      skewness: A, of the mean: that of the scores over the root of their number.

    >>> round(correction(2.0, 0.3), 3), round(correction(6.0, 0.3), 3)
    (0.45, 0.95)
    """
    return abs(skewness) * (1 + 2 * min(quantile, FARTHEST) ** 2) / 6


def limits(quantile: float, skewness: float) -> tuple[float, float]:
    """How many standard errors an interval reaches below and above the estimate.

    The side on which the long tail lies is longer by :func:`correction`. The other one is Student's
    and not shorter: few subjects often look skewed by chance.

    >>> [round(end, 2) for end in limits(2.0, -0.3)]
    [2.45, 2.0]
    """
    longer = quantile + correction(quantile, skewness)
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

    >>> smaller(np.array([-2.45, 2.0, -3.95]), 0.3).round(2)
    array([2., 2., 3.])
    """
    t = np.asarray(t, dtype=float)
    size = np.abs(skewness)
    farthest = size * (1 + 2 * FARTHEST**2) / 6
    beyond = np.abs(t) - farthest
    rest = np.maximum(np.abs(t) - size / 6, 0.0)
    within = 2 * rest / (1 + np.sqrt(1 + 4 * size * rest / 3))
    nearer = np.where(beyond >= FARTHEST, beyond, within)
    longer_side = (t * skewness < 0) & (size > NONE)
    return np.where(longer_side, nearer, np.abs(t))
