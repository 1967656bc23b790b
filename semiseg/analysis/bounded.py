"""The interval of a mean whose scores have two bounds, such as Dice.

Near a bound the mean can move farther away from it than towards it. So the interval is Student's on
the scale of the logit, on which a score has no bounds.

Source: Brown, Cai & DasGupta, Stat. Sci. 16(2), 2001 (the logit interval of a proportion: Student's
or normal limits of log(p / (1 - p)) by the delta method).
"""

from __future__ import annotations

import numpy as np
import scipy.special

from semiseg.analysis.skewness import FARTHEST


def has_two_sides(bounds: tuple[float, float]) -> bool:
    """Whether a score has a smallest and a largest value.

    >>> has_two_sides((0.0, 1.0)), has_two_sides((0.0, float("inf")))
    (True, False)
    """
    return bool(np.isfinite(bounds).all())


def logit_ends(
    mean: float, error: float, quantile: float, bounds: tuple[float, float]
) -> tuple[float, float]:
    """Ends of the interval of a mean between two bounds.

    They are those of logit(mean) ± q · error / (p (1 - p)), p being the mean as a share of the way
    between the bounds. Beyond three standard errors, where the quantile of few degrees of freedom
    lies, an end goes on by further standard errors of the mean.

    Args:
      mean, error: of the score, in its unit.
      quantile: q of Student's t.
      bounds: smallest and largest possible score, finite.

    >>> [round(end, 3) for end in logit_ends(0.9, 0.02, 2.0, (0.0, 1.0))]
    [0.852, 0.933]
    """
    low, high = bounds
    share = (mean - low) / (high - low)
    if not 0 < share < 1:
        return max(low, mean - quantile * error), min(high, mean + quantile * error)
    steps = min(quantile, FARTHEST)
    stretched = steps * error / (high - low) / (share * (1 - share))
    centre = scipy.special.logit(share)
    further = (quantile - steps) * error
    lower = low + (high - low) * scipy.special.expit(centre - stretched) - further
    upper = low + (high - low) * scipy.special.expit(centre + stretched) + further
    return max(low, float(lower)), min(high, float(upper))
