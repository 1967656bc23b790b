"""The squared error of a mean from the variances of two crossed factors, with its degrees of
freedom.

Sources: Satterthwaite, Biometrics Bull. 2(6), 1946; Cameron, Gelbach & Miller, J. Bus. Econ. Stat.
29(2), 2011 (V_runs + V_subjects - V_both); Nadeau & Bengio, Mach. Learn. 52(3), 2003 (what training
sets that overlap hide).
"""

from __future__ import annotations

from semiseg.analysis.cluster_variance import Between

LEAST_HIDDEN = 0.5
"""Least share of V_A that subsets which overlap are taken to hide."""
LOST = 1 / 3
"""Share of the degrees of freedom of V_A that is lost where subsets have all subjects in common.
It was chosen on simulated studies like those of experiments/simulate_overlap.py, which compares
eight rules.
"""


def sum_of_variances(
    by_run: Between, by_subject: Between, v_x: float, overlap: float
) -> tuple[float, float]:
    """V_A + V_C - V_X, with what overlapping subsets hide, and Satterthwaite's degrees of freedom.

    What they hide is in proportion to V_A - V_X, which with two degrees of freedom is too often
    near zero or below it; so it is taken for at least :data:`LEAST_HIDDEN` of V_A, and V_A has
    :func:`degrees_left`.

    Args:
      by_run, by_subject: V_A and V_C with their degrees of freedom.
      v_x: V_X, their interaction.
      overlap: share of its subjects that a label subset has in common with another one.

    Returns:
      The squared error of the mean, and its degrees of freedom.

    >>> total, df = sum_of_variances(Between(3.0, 2, 0.0), Between(2.0, 19, 0.0), 1.0, 0.0)
    >>> total, round(df, 2)
    (4.0, 2.61)
    """
    a = by_run.df
    c = by_subject.df
    v_a = by_run.variance
    v_c = by_subject.variance
    odds = (a + 1) * overlap / (1 - overlap)
    if not a or not c:
        return v_a * (1 + odds) + v_c, max(a, c)
    v_a += odds * max(v_a - v_x, LEAST_HIDDEN * v_a)
    total = v_a + v_c - v_x
    if total <= v_x:
        return v_x, a * c
    a = degrees_left(a, overlap)
    wide_a = widened(v_a, a)
    wide_c = widened(v_c, c)
    sum_of_wide = max(wide_a + wide_c - v_x, v_x)
    df = sum_of_wide**2 / (wide_a**2 / a + wide_c**2 / c + v_x**2 / (a * c))
    return total, max(min(a, c), df)


def degrees_left(df: float, overlap: float) -> float:
    """Degrees of freedom of V_A among label subsets that have a share of their subjects in common.

    What they hide is many times V_A - V_X, which varies more than V_A does: tests with J - 1
    degrees of freedom err in up to 0.071 of studies where subsets share half of their subjects.

    >>> degrees_left(2.0, 0.0), round(degrees_left(2.0, 0.5), 2)
    (2.0, 1.67)
    """
    return df * (1 - LOST * overlap)


def widened(variance: float, df: float) -> float:
    """The variance 1 + 2/f + 6/f³ times, as Satterthwaite's degrees of freedom take it.

    With one or two degrees of freedom f a variance is so often far too small that the plain formula
    covers 0.90 or 0.92 instead of 0.95 (2 or 3 subsets, all effects alike).

    >>> widened(1.0, 2.0), round(widened(1.0, 60.0), 2)
    (2.75, 1.03)
    """
    return variance * (1 + 2 / df + 6 / df**3)
