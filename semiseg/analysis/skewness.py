"""Student's statistic of a skewed mean: Hall's transformation.

Scores are skewed: a few subjects fail, and distances have a long tail. The mean of a sample without
the rare bad subjects is too good and its standard error too small at once, so Student's interval
misses on one side.

Source: Hall, J. R. Stat. Soc. B 54(1), 1992, section 2 (removal of skewness by transformation).
"""

from __future__ import annotations

import numpy as np

NONE = 1e-6
"""Skewness of a mean below which it is taken for zero."""


def transform(t: float, skewness: float) -> float:
    """Hall's g(t) = t + A t²/3 + A² t³/27 + A/6, which is distributed nearly like Student's t.

    Args:
      t: (estimate - truth) / standard error.
      skewness: A, of the mean: that of the scores over the root of their number.

    >>> transform(2.0, 0.0), round(transform(2.0, 0.3), 3)
    (2.0, 2.477)
    """
    return t + skewness * t**2 / 3 + skewness**2 * t**3 / 27 + skewness / 6


def inverse(y: float, skewness: float) -> float:
    """The t at which :func:`transform` is y; the transformation is a monotone cubic.

    >>> round(inverse(transform(2.0, 0.3), 0.3), 6)
    2.0
    """
    if abs(skewness) < NONE:
        return y
    return float((np.cbrt(1 + skewness * (y - skewness / 6)) - 1) * 3 / skewness)


def limits(quantile: float, skewness: float) -> tuple[float, float]:
    """How many standard errors an interval reaches below and above the estimate.

    Each side is the farther one of Student's interval and Hall's. Hall's alone is too narrow on the
    side where nothing is missing, by the chance skewness of few subjects. Hall's ends where the
    cubic bends, at 3/A: beyond it half of the width would rest on the third moment alone, and the
    coverage is the same without (experiments/results/coverage.csv).

    Args:
      quantile: of Student's t, e.g. at 0.975.
      skewness: of the mean, see :func:`transform`.

    >>> [round(end, 2) for end in limits(2.0, 0.3)]
    [2.0, 2.73]
    """
    if abs(skewness) < NONE:
        return quantile, quantile
    bend = 3 / abs(skewness)
    below = max(quantile, min(inverse(quantile, skewness), bend))
    above = max(quantile, min(-inverse(-quantile, skewness), bend))
    return below, above


def smaller(t: float, skewness: float) -> float:
    """The one of t and its transform that is nearer to zero, without its sign.

    With it a test rejects just the values that lie outside of :func:`limits`.

    >>> round(smaller(-2.0, 0.3), 2), smaller(2.0, 0.3)
    (1.58, 2.0)
    """
    if t * skewness <= -3:
        return abs(t)
    return min(abs(t), abs(transform(t, skewness)))
