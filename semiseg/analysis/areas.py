"""One number for a whole label curve, and whether a gain depends on the label budget.

The area under the curve of scores over log budgets, divided by its width, is the mean score over
budgets from the smallest to the largest, each doubling weighing the same. It is a weighted sum of
tables runs × subjects, so its interval and test are those of any mean
(:mod:`semiseg.analysis.statistics`). Error rates are in experiments/results/questions.csv.

Sources: Settles & Craven, EMNLP 2008 and Guyon et al., JMLR W&CP 16, 2011 (area under the learning
curve, budgets on a logarithmic scale); Holm, Scand. J. Stat. 6(2), 1979.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from semiseg.analysis.statistics import UNBOUNDED, Interval, holm, mean_interval, mean_test
from semiseg.errors import UserError


class Interaction(NamedTuple):
    """Whether a difference between two settings is the same at every label budget.

    Attributes:
      slope: by how much the difference grows with each doubling of the budget.
      p_slope: of "it neither grows nor shrinks".
      p: of "it is the same at every budget", against any other pattern.
    """

    slope: Interval
    p_slope: float
    p: float


class Trend(NamedTuple):
    """By how much a score grows with each doubling of a dose.

    Attributes:
      slope: per doubling, in the unit of the scores.
      p: two-sided, of "it neither grows nor shrinks".
    """

    slope: Interval
    p: float


def area_weights(budgets: Sequence[float]) -> np.ndarray:
    """``(B,)`` weights of the budgets in the area under a curve that is linear in log n; they sum
    to 1.

    Raises:
      UserError: fewer than two budgets, or budgets that do not ascend.

    >>> area_weights([4, 8, 32]).round(3)
    array([0.167, 0.5  , 0.333])
    """
    log_n_B = np.log(np.asarray(budgets, dtype=float))
    if len(log_n_B) < 2 or not (np.diff(log_n_B) > 0).all():
        raise UserError(
            f"budgets {list(budgets)} have no curve between them",
            remedy="give two or more label budgets in ascending order",
        )
    width_I = np.diff(log_n_B)
    weight_B = np.zeros(len(log_n_B))
    weight_B[:-1] += width_I / 2
    weight_B[1:] += width_I / 2
    return weight_B / width_I.sum()


def curve_area(
    tables: Sequence[np.ndarray],
    budgets: Sequence[float],
) -> np.ndarray:
    """``(R, S)`` the area under the label curve of each run's row on each subject.

    Args:
      tables: one ``(R, S)`` table a budget, with the same rows (label subset and seed) and columns
        (subjects) in all. For a difference of two methods give the tables of the differences.
      budgets: annotated subjects of each table, ascending.

    >>> curve_area([np.array([[0.5]]), np.array([[0.7]])], [4, 16])
    array([[0.6]])
    """
    return np.tensordot(area_weights(budgets), _stacked(tables), 1)


def area_interval(
    tables: Sequence[np.ndarray],
    subset_R: Sequence[Any],
    budgets: Sequence[float],
    *,
    bounds: tuple[float, float] = UNBOUNDED,
) -> tuple[Interval, float]:
    """The area under the label curve with its interval, and the p-value of "it is zero".

    Args:
      tables, budgets: see :func:`curve_area`. The test is meant for differences.
      subset_R: the label subset of each row.
      bounds: smallest and largest possible score; none of a difference.

    >>> tables = [np.array([[0.01, 0.02, 0.03]]), np.array([[0.03, 0.04, 0.05]])]
    >>> area, p = area_interval(tables, ["a"], [4, 16])
    >>> f"{area.mean:.3f} [{area.low:.3f}, {area.high:.3f}], p = {p:.3f}"
    '0.030 [0.005, 0.055], p = 0.035'
    """
    area_RS = curve_area(tables, budgets)
    return mean_interval(area_RS, subset_R, bounds=bounds), mean_test(area_RS, subset_R)


def log_trend(
    tables: Sequence[np.ndarray],
    subset_R: Sequence[Any],
    doses: Sequence[float],
) -> Trend:
    """Least-squares slope over log2 of a dose (label budget, ratio of synthetic images), tested.

    It is one contrast of the tables, so interval and test are those of a mean. One test over all
    doses has more power than a test a dose, and needs no correction.

    Args:
      tables: one ``(R, S)`` table a dose, rows and columns as in :func:`curve_area`.
      subset_R: the label subset of each row.
      doses: positive, ascending.

    >>> tables = [np.array([[0.01, 0.02, 0.03]]) * k for k in (1, 2, 3)]
    >>> trend = log_trend(tables, ["a"], [0.5, 1, 2])
    >>> f"{trend.slope.mean:.2f} a doubling, p = {trend.p:.2f}"
    '0.02 a doubling, p = 0.07'
    """
    area_weights(doses)
    log_n_B = np.log2(np.asarray(doses, dtype=float))
    centred_B = log_n_B - log_n_B.mean()
    slope_RS = np.tensordot(centred_B / (centred_B @ centred_B), _stacked(tables), 1)
    return Trend(mean_interval(slope_RS, subset_R), mean_test(slope_RS, subset_R))


def budget_interaction(
    differences: Sequence[np.ndarray],
    subset_R: Sequence[Any],
    budgets: Sequence[float],
) -> Interaction:
    """Method × budget interaction: is the difference of two settings the same at every budget?

    The slope is the least-squares line over log2 n, one contrast of the tables. The test against
    any pattern takes each budget minus the mean of the others, and of their p-values the smallest
    after Holm's correction: with three label subsets a joint F test has no degrees of freedom.

    Args:
      differences: one ``(R, S)`` table of paired differences a budget, rows and columns as in
        :func:`curve_area`.
      subset_R: the label subset of each row.
      budgets: annotated subjects of each table, ascending.

    >>> rng = np.random.default_rng(0)
    >>> tables = [gain + rng.normal(0, 0.01, (3, 9)) for gain in (0.08, 0.04, 0.0)]
    >>> test = budget_interaction(tables, range(3), [4, 8, 16])
    >>> f"{test.slope.mean:+.3f} a doubling, constant: p = {test.p:.4f}"
    '-0.039 a doubling, constant: p = 0.0000'
    """
    trend = log_trend(differences, subset_R, budgets)
    stacked_BRS = _stacked(differences)
    p_B = []
    for contrast_B in _one_against_others(len(stacked_BRS)):
        p_B.append(mean_test(np.tensordot(contrast_B, stacked_BRS, 1), subset_R))
    return Interaction(
        *trend,
        float(np.nanmin(holm(p_B))) if np.isfinite(p_B).any() else np.nan,
    )


def _one_against_others(budgets: int) -> np.ndarray:
    """Contrasts of each budget with the mean of the others; for two budgets one suffices.

    >>> _one_against_others(2)
    array([[ 1., -1.]])
    """
    contrasts = np.eye(budgets) * (1 + 1 / (budgets - 1)) - 1 / (budgets - 1)
    if budgets == 2:
        return contrasts[:1]
    return contrasts


def _stacked(tables: Sequence[np.ndarray]) -> np.ndarray:
    return np.stack([np.asarray(table, dtype=float) for table in tables])
