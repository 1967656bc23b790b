"""Learning curves through a baseline's label budgets, and how many labels another result is worth
on them.

Everything here is a linear combination (exact, or by its derivative) of tables runs × subjects, one
a budget, whose rows are paired by label subset and seed. So every interval is
:func:`semiseg.analysis.statistics.mean_interval` of one combined table, and its coverage is known.

Sources: Barlow et al., Statistical Inference under Order Restrictions, 1972 (pool adjacent
violators); Fieller, J. R. Stat. Soc. B 16(2), 1954 (an interval for a ratio, or an inverse, by
inverting a test).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from semiseg.analysis.design import as_design
from semiseg.analysis.power_law import PowerLaw, fit_power_law, reach
from semiseg.analysis.statistics import Interval, mean_interval, spread
from semiseg.errors import UserError


def curve_interval(
    tables: Sequence[np.ndarray],
    subset_R: Sequence[Any],
    budgets: Sequence[float],
    at: Sequence[float],
    *,
    rising: bool = True,
    top: float = np.inf,
    farthest: float | None = None,
) -> tuple[PowerLaw, list[Interval]]:
    """The fitted curve, and its 95 % interval at each of ``at`` by the delta method.

    Args:
      tables: one ``(R, S)`` table a budget, with the same rows (label subset and seed) and columns
        (subjects) in all.
      subset_R: the label subset of each row.
      budgets: annotated subjects of each table.
      at: numbers of annotated subjects at which the curve is wanted.
      rising, top: see :func:`semiseg.analysis.power_law.fit_power_law`.
      farthest: the largest ``at`` that is answered, by default
        :func:`semiseg.analysis.power_law.reach`.

    Raises:
      UserError: one of ``at`` is farther.

    >>> tables = [np.full((3, 4), mean) for mean in (0.5, 0.7, 0.8)]
    >>> _, intervals = curve_interval(tables, range(3), [4, 16, 64], [32])
    >>> round(intervals[0].mean, 3)
    0.759
    """
    at_N = np.asarray(at, dtype=float)
    if farthest is None:
        farthest = reach(budgets)
    if at_N.size and at_N.max() > farthest * (1 + 1e-9):
        raise UserError(
            f"a power law through {len(budgets)} label budgets is not followed to "
            f"{at_N.max():g} labels: so far out its 95 % interval covers less than 0.9",
            remedy=f"ask for at most {farthest:g} labels, or run larger budgets",
        )
    mean_B = np.array([spread(table, subset_R).mean for table in tables])

    def fit(moved_B: np.ndarray) -> PowerLaw:
        return fit_power_law(budgets, moved_B, rising=rising, top=top)

    law = fit(mean_B)
    slope_BN = _slopes(fit, mean_B, at_N)
    pairs = zip(tables, mean_B, strict=True)
    centred_BRS = np.stack([np.asarray(table, float) - mean for table, mean in pairs])
    intervals = []
    for slope_B, value in zip(slope_BN.T, law(at_N), strict=True):
        moved = mean_interval(np.tensordot(slope_B, centred_BRS, 1), subset_R)
        low = float(value + moved.low - moved.mean)
        high = float(value + moved.high - moved.mean)
        intervals.append(moved._replace(mean=float(value), low=low, high=high))
    return law, intervals


def _slopes(
    fit: Callable[[np.ndarray], PowerLaw], mean_B: np.ndarray, at_N: np.ndarray
) -> np.ndarray:
    """``(B, N)`` central differences: how the curve at each point moves with each budget's mean."""
    step = 1e-4
    rows = []
    for unit_B in np.eye(len(mean_B)):
        above_N = fit(mean_B + step * unit_B)(at_N)
        below_N = fit(mean_B - step * unit_B)(at_N)
        rows.append((above_N - below_N) / (2 * step))
    return np.stack(rows)


class Equivalence(NamedTuple):
    """How many annotated subjects the baseline needs for the same score.

    ``labels``, ``low`` and ``high`` are 0 for "fewer than the smallest budget", inf for "more than
    the largest": a curve says nothing there.

    Attributes:
      labels: the estimate.
      low, high: its 95 % interval.
      smallest, largest: budgets of the baseline.
    """

    labels: float
    low: float
    high: float
    smallest: float
    largest: float


def label_equivalence(
    target_RS: np.ndarray,
    tables: Sequence[np.ndarray],
    subset_R: Sequence[Any],
    budgets: Sequence[float],
    *,
    rising: bool = True,
    labels: float = 0.0,
) -> Equivalence:
    """The budget at which the baseline's monotone curve reaches the target's mean, with a 95 %
    interval.

    The curve is linear in log n between budgets, after pooling budgets that go the wrong way. The
    interval holds every budget k at which "target = curve(k)" is not rejected (Fieller 1954):
    target minus the two neighbouring budgets' weighted tables is one table, tested like any mean.
    So what runs and subjects share cancels, and the interval is open where the baseline's budgets
    end.

    Args:
      target_RS: the other setting's table; rows and columns as in ``tables``.
      tables: the baseline's, one a budget, ascending.
      subset_R: the label subset of each row.
      budgets: annotated subjects of each table of the baseline.
      rising: whether the score should be high.
      labels: annotated subjects of the target. A design's share is that of the largest budget; each
        test takes that of the budgets it compares.

    >>> tables = [np.full((3, 4), mean) for mean in (0.5, 0.6, 0.7)]
    >>> e = label_equivalence(np.full((3, 4), 0.65), tables, range(3), [4, 8, 16])
    >>> round(e.labels, 1)
    11.3
    """
    sign = 1.0 if rising else -1.0
    log_n_B = np.log(np.asarray(budgets, dtype=float))
    mean_B = sign * np.array([spread(table, subset_R).mean for table in tables])
    pool_BB = pooling(mean_B)
    target = sign * spread(target_RS, subset_R).mean
    equivalent = _labels_at(log_n_B, pool_BB @ mean_B, target)
    design = as_design(subset_R)
    n_B = np.asarray(budgets, dtype=float)
    stacked_BRS = np.stack([np.asarray(table, float) for table in tables])

    def side(log_k: float) -> int:
        """1 where the target is surely above the curve at log budget k, -1 where surely below, 0
        where it may be on it.
        """
        weight_B = _weights(log_n_B, log_k) @ pool_BB
        difference_RS = np.asarray(target_RS, float) - np.tensordot(weight_B, stacked_BRS, 1)
        largest_compared = max(labels, n_B[weight_B > 0].max())
        part = largest_compared / max(labels, n_B.max())
        return int(sign) * _sign(difference_RS, design.at(part))

    grid = _grid(log_n_B, equivalent)
    inside = np.flatnonzero(np.array([side(log_k) for log_k in grid]) == 0)
    smallest = float(budgets[0])
    largest = float(budgets[-1])
    if not inside.size:  # surely on the curve between two points of the grid, or beyond an end
        return Equivalence(
            equivalent,
            min(equivalent, largest),
            max(equivalent, smallest),
            smallest,
            largest,
        )
    first = inside[0]
    last = inside[-1]
    low = 0.0
    if first > 0:
        low = _edge(
            side,
            grid[first - 1],
            grid[first],
        )
    high = np.inf
    if last < len(grid) - 1:
        high = _edge(
            side,
            grid[last + 1],
            grid[last],
        )
    return Equivalence(equivalent, low, high, smallest, largest)


def _labels_at(
    log_n_B: np.ndarray,
    curve_B: np.ndarray,
    target: float,
) -> float:
    """Where the curve reaches the target, see :class:`Equivalence`."""
    if target < curve_B[0]:
        return 0.0
    if target > curve_B[-1]:
        return np.inf
    return float(np.exp(_first_crossing(log_n_B, curve_B, target)))


def _grid(log_n_B: np.ndarray, labels: float) -> np.ndarray:
    """Log budgets to test at: five from each budget to the next, and the estimate, since the
    interval may be narrower than the steps.
    """
    points = []
    if 0 < labels < np.inf:
        points.append(np.array([np.log(labels)]))
    for low, high in itertools.pairwise(log_n_B):
        points.append(np.linspace(low, high, 5))
    return np.unique(np.concatenate(points))


def pooling(mean_B: np.ndarray) -> np.ndarray:
    """``(B, B)`` averaging matrix of the pool-adjacent-violators algorithm (Barlow et al. 1972).

    Times the means it gives the closest non-decreasing curve.

    >>> pooling(np.array([0.6, 0.5, 0.7])) @ np.array([0.6, 0.5, 0.7])
    array([0.55, 0.55, 0.7 ])
    """
    blocks = [[i] for i in range(len(mean_B))]
    i = 0
    while i + 1 < len(blocks):
        if mean_B[blocks[i]].mean() > mean_B[blocks[i + 1]].mean():
            blocks[i : i + 2] = [blocks[i] + blocks[i + 1]]
            i = max(i - 1, 0)
        else:
            i += 1
    matrix_BB = np.zeros((len(mean_B),) * 2)
    for block in blocks:
        matrix_BB[np.ix_(block, block)] = 1 / len(block)
    return matrix_BB


def _first_crossing(
    x_B: np.ndarray,
    y_B: np.ndarray,
    value: float,
) -> float:
    """Where a non-decreasing piecewise linear curve first reaches ``value``, which lies in its
    range.

    >>> _first_crossing(np.array([0.0, 1.0, 2.0]), np.array([0.5, 0.7, 0.7]), 0.6)
    0.5
    """
    i = int(np.searchsorted(y_B, value))
    if i == 0:
        return float(x_B[0])
    beyond = (x_B[i] - x_B[i - 1]) * (value - y_B[i - 1]) / (y_B[i] - y_B[i - 1])
    return float(x_B[i - 1] + beyond)


def _weights(x_B: np.ndarray, at: float) -> np.ndarray:
    """Weights of the budgets in the linear interpolation at ``at``.

    >>> _weights(np.array([0.0, 1.0, 2.0]), 0.25)
    array([0.75, 0.25, 0.  ])
    """
    return np.array([np.interp(at, x_B, row) for row in np.eye(len(x_B))])


def _edge(
    side: Callable[[float], int],
    outside: float,
    inside: float,
) -> float:
    """The budget between the two at which the test begins to reject, to a thousandth of their
    distance.
    """
    for _ in range(10):
        middle = (outside + inside) / 2
        if side(middle) == 0:
            inside = middle
        else:
            outside = middle
    return float(np.exp(inside))


def _sign(table_RS: np.ndarray, subset_R: Sequence[Any]) -> int:
    """-1, 1, or 0 where the mean may be zero."""
    interval = mean_interval(table_RS, subset_R)
    return int(interval.low > 0) - int(interval.high < 0)
