"""Tests and effect sizes by subject: what do the trained models at hand say of other subjects?

They take one difference for each subject, averaged over runs, and know nothing of label subsets and
seeds: for these see :func:`semiseg.analysis.statistics.mean_test`.

Sources: Wilcoxon, Biometrics Bull. 1(6), 1945; Pratt, J. Am. Stat. Assoc. 54(287), 1959 (zeros);
Davison & Hinkley, Bootstrap Methods and their Application, 1997, section 4.3 (permutation tests);
Cohen, Statistical Power Analysis, 1988, section 2.3.5 (d_z); Hedges, J. Educ. Stat. 6(2), 1981
(small samples); McGraw & Wong, Psychol. Bull. 111(2), 1992 (common language effect).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.stats

EXACT_UP_TO = 12
"""Subjects up to which the permutation test enumerates every sign pattern (2^12 = 4096)."""


def wilcoxon_test(difference_S: np.ndarray) -> float:
    """Two-sided p-value of Wilcoxon's signed-rank test, zeros by Pratt's rule.

    Args:
      difference_S: difference of each subject; NaN is left out.

    Returns:
      NaN without subjects, 1 where all differences are zero.

    >>> round(wilcoxon_test(np.array([0.01, 0.02, 0.03, 0.04])), 3)
    0.125
    """
    difference_S = _defined(difference_S)
    if not difference_S.size:
        return np.nan
    if not difference_S.any():
        return 1.0
    return float(scipy.stats.wilcoxon(difference_S, zero_method="pratt").pvalue)


def sign_flip_test(
    difference_S: np.ndarray,
    *,
    draws: int = 9999,
    seed: int = 0,
) -> float:
    """Two-sided p-value of the paired permutation test: under the null hypothesis a subject's
    difference could as well have had the other sign.

    Exact (all 2^S sign patterns) up to :data:`EXACT_UP_TO` subjects, else (1 + #{|t*| ≥ |t|}) /
    (1 + draws), which never is 0 (Davison & Hinkley 1997).

    Args:
      difference_S: difference of each subject; NaN is left out.
      draws: random sign patterns, where not all are enumerated.
      seed: of the random patterns.

    Returns:
      NaN without subjects.

    >>> sign_flip_test(np.array([1.0, 2.0, 3.0]))
    0.25
    """
    difference_S = _defined(difference_S)
    subjects = difference_S.size
    if not subjects:
        return np.nan
    exact = subjects <= EXACT_UP_TO
    if exact:
        bit_DS = np.arange(2**subjects)[:, None] >> np.arange(subjects) & 1
    else:
        rng = np.random.default_rng(seed)
        bit_DS = rng.integers(
            0,
            2,
            (draws, subjects),
            dtype=np.int8,
        )
    total_D = (bit_DS * 2 - 1) @ difference_S
    rounding = 1e-12 * np.abs(difference_S).sum()  # it must not break ties
    extreme_D = np.abs(total_D) >= abs(difference_S.sum()) - rounding
    if exact:
        return float(extreme_D.mean())
    return float((1 + extreme_D.sum()) / (1 + draws))


class Effect(NamedTuple):
    """How large a paired difference is, beside its own unit.

    Attributes:
      dz: mean over standard deviation of the subjects' differences (Cohen 1988), times Hedges'
        small-sample correction 1 - 3 / (4 df - 1).
      better: share of subjects with a positive difference, ties half (McGraw & Wong 1992).
    """

    dz: float
    better: float


def effect_size(difference_S: np.ndarray) -> Effect:
    """Effect sizes of the differences of subjects; NaN is left out.

    >>> effect = effect_size(np.array([0.02, 0.0, 0.04, 0.02]))
    >>> round(effect.dz, 2), effect.better
    (0.89, 0.875)
    """
    difference_S = _defined(difference_S)
    subjects = difference_S.size
    if not subjects:
        return Effect(np.nan, np.nan)
    dz = np.nan
    deviation = difference_S.std(ddof=1) if subjects > 1 else 0.0
    if deviation > 0:
        correction = 1 - 3 / (4 * (subjects - 1) - 1)
        dz = float(difference_S.mean() / deviation * correction)
    better_S = (difference_S > 0) + 0.5 * (difference_S == 0)
    return Effect(dz, float(better_S.mean()))


def _defined(difference_S: np.ndarray) -> np.ndarray:
    difference_S = np.asarray(difference_S, dtype=float)
    return difference_S[~np.isnan(difference_S)]
