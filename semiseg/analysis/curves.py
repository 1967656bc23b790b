"""Learning curves: a monotone curve through a baseline's label budgets, and how many labels another
result is worth on it.

Everything here is a linear combination (exact, or by its derivative) of tables runs × subjects, one
a budget, whose rows are paired by label subset and seed; so every interval is
:func:`semiseg.analysis.statistics.mean_interval` of one combined table, and its coverage is known.

Sources: Hestness et al., arXiv 1712.00409, 2017 and Viering & Loog, IEEE TPAMI 45(6), 2023
(power-law learning curves); Golub & Pereyra, SIAM J. Numer. Anal. 10(2), 1973 (variable
projection); Barlow et al., Statistical Inference under Order Restrictions, 1972 (pool adjacent
violators); Fieller, J. R. Stat. Soc. B 16(2), 1954 (an interval for a ratio, or an inverse, by
inverting a test).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.optimize
import scipy.stats

from semiseg.analysis.statistics import Interval, mean_interval, spread


class PowerLaw(NamedTuple):
    """score(n) = a - b · n^(-c) with c > 0; b > 0 where more labels help a score that should be
    high, b < 0 for a distance.
    """

    a: float
    b: float
    c: float

    def __call__(self, n: float | np.ndarray) -> Any:
        return self.a - self.b * np.asarray(n, dtype=float) ** -self.c


def fit_power_law(
    budgets: Sequence[float] | np.ndarray,
    means: Sequence[float] | np.ndarray,
    *,
    rising: bool = True,
    top: float = np.inf,
) -> PowerLaw:
    """Least squares over c in [.05, 3], a and b solved exactly for each c, b of the right sign and
    a at most ``top``.

    Needs three budgets; with three the curve goes through all of them where it can.
    """
    n_B, y_B = np.asarray(budgets, dtype=float), np.asarray(means, dtype=float)
    if len(n_B) < 3:
        raise ValueError(
            f"a power law has three parameters: it needs three budgets, not {len(n_B)}"
        )
    sign = 1.0 if rising else -1.0

    def solve(log_c: float) -> tuple[float, PowerLaw]:
        x_B = n_B ** -np.exp(log_c)
        dx = x_B - x_B.mean()
        b = max(0.0, -sign * float(dx @ y_B) / float(dx @ dx)) * sign
        a = float(y_B.mean() + b * x_B.mean())
        if rising and a > top:
            a = top
            b = max(0.0, float(x_B @ (top - y_B)) / float(x_B @ x_B))
        law = PowerLaw(a, b, float(np.exp(log_c)))
        return float(((law(n_B) - y_B) ** 2).sum()), law

    low, high = np.log(0.05), np.log(3.0)
    grid = np.linspace(low, high, 25)
    best = int(np.argmin([solve(v)[0] for v in grid]))
    found = scipy.optimize.minimize_scalar(
        lambda v: solve(v)[0],
        bounds=(grid[max(best - 1, 0)], grid[min(best + 1, 24)]),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return min((solve(float(found.x)), solve(float(grid[best]))), key=lambda pair: pair[0])[1]


def curve_interval(
    tables: Sequence[np.ndarray],
    subset_R: Sequence[Any],
    budgets: Sequence[float],
    at: Sequence[float],
    *,
    rising: bool = True,
    top: float = np.inf,
) -> tuple[PowerLaw, list[Interval]]:
    """The fitted curve, and its interval at each of ``at`` by the delta method.

    Args:
      tables: one ``(R, S)`` table a budget, with the same rows (label subset and seed) and columns
        (subjects) in all.
      subset_R: the label subset of each row.
    """
    means = np.array([spread(table, subset_R).mean for table in tables])
    law = fit_power_law(budgets, means, rising=rising, top=top)
    at_n = np.asarray(at, dtype=float)
    step = 1e-4
    slope_BN = np.stack([(fit_power_law(budgets, means + step * e, rising=rising, top=top)(at_n)
                          - fit_power_law(budgets, means - step * e, rising=rising, top=top)(at_n)) / (2 * step) for e in np.eye(len(means))])  # fmt: skip
    stacked = np.stack([np.asarray(t, float) - m for t, m in zip(tables, means)])
    intervals = []
    for i, value in enumerate(law(at_n)):
        moved = mean_interval(np.tensordot(slope_BN[:, i], stacked, 1), subset_R)
        intervals.append(
            moved._replace(
                mean=float(value),
                low=float(value + moved.low - moved.mean),
                high=float(value + moved.high - moved.mean),
            )
        )
    return law, intervals


class Equivalence(NamedTuple):
    """How many annotated subjects the baseline needs for the same score.

    ``labels``, ``low`` and ``high`` are 0 for "fewer than the smallest budget", inf for "more than
    the largest": a curve says nothing there.
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
) -> Equivalence:
    """The budget at which the baseline's monotone curve reaches the target's mean, with a 95 %
    interval.

    The curve is linear in log n between budgets, after pooling budgets that go the wrong way. The
    interval holds every budget k at which "target = curve(k)" is not rejected: target minus the two
    neighbouring budgets' weighted tables is one table, tested like any mean. So what runs and
    subjects share cancels, and the interval is open where the baseline's budgets end.

    Args:
      target_RS: the other arm's table; rows and columns as in ``tables``.
      tables: the baseline's, one a budget, ascending.
    """
    sign = 1.0 if rising else -1.0
    log_n = np.log(np.asarray(budgets, dtype=float))
    mean_B = sign * np.array([spread(t, subset_R).mean for t in tables])
    target = sign * spread(target_RS, subset_R).mean
    pool_BB = pooling(mean_B)
    curve_B = pool_BB @ mean_B
    ends = (float(budgets[0]), float(budgets[-1]))
    if target < curve_B[0]:
        labels = 0.0
    elif target > curve_B[-1]:
        labels = np.inf
    else:
        labels = float(np.exp(_first_crossing(log_n, curve_B, target)))
    stacked = np.stack([np.asarray(t, float) for t in tables])

    def side(k: float) -> int:
        """1 where the target is surely above the curve at log budget k, -1 where surely below, 0
        where it may be on it.
        """
        return int(sign) * _sign(
            np.asarray(target_RS, float) - np.tensordot(_weights(log_n, k) @ pool_BB, stacked, 1),
            subset_R,
        )

    found = (
        [np.log(labels)] if 0 < labels < np.inf else []
    )  # the interval may be narrower than the grid's steps
    grid = np.unique(
        np.concatenate([found, *(np.linspace(a, b, 5) for a, b in zip(log_n, log_n[1:]))])
    )
    sides = np.array([side(k) for k in grid])
    inside = np.flatnonzero(sides == 0)
    if (
        not inside.size
    ):  # certain: on the curve between two points of the grid, or surely beyond an end
        return Equivalence(labels, min(labels, ends[1]), max(labels, ends[0]), *ends)
    first, last = inside[0], inside[-1]
    low = 0.0 if first == 0 else _edge(side, grid[first - 1], grid[first])
    high = np.inf if last == len(grid) - 1 else _edge(side, grid[last + 1], grid[last])
    return Equivalence(labels, low, high, *ends)


def pooling(mean_B: np.ndarray) -> np.ndarray:
    """``(B, B)`` averaging matrix of the pool-adjacent-violators algorithm: times the means it
    gives the closest non-decreasing curve.
    """
    blocks = [[i] for i in range(len(mean_B))]
    i = 0
    while i + 1 < len(blocks):
        if mean_B[blocks[i]].mean() > mean_B[blocks[i + 1]].mean():
            blocks[i : i + 2] = [blocks[i] + blocks[i + 1]]
            i = max(i - 1, 0)
        else:
            i += 1
    matrix = np.zeros((len(mean_B),) * 2)
    for block in blocks:
        matrix[np.ix_(block, block)] = 1 / len(block)
    return matrix


def _first_crossing(x_B: np.ndarray, y_B: np.ndarray, value: float) -> float:
    """Where a non-decreasing piecewise linear curve first reaches ``value``, which lies in its
    range.
    """
    i = int(np.searchsorted(y_B, value))
    if i == 0:
        return float(x_B[0])
    return float(x_B[i - 1] + (x_B[i] - x_B[i - 1]) * (value - y_B[i - 1]) / (y_B[i] - y_B[i - 1]))


def _weights(x_B: np.ndarray, at: float) -> np.ndarray:
    """Weights of the budgets in the linear interpolation at ``at``."""
    return np.array([np.interp(at, x_B, row) for row in np.eye(len(x_B))])


def _edge(side: Callable[[float], int], outside: float, inside: float) -> float:
    """The budget between the two at which the test begins to reject, to a thousandth of their
    distance.
    """
    for _ in range(10):
        middle = (outside + inside) / 2
        outside, inside = (outside, middle) if side(middle) == 0 else (middle, inside)
    return float(np.exp(inside))


def _sign(table_RS: np.ndarray, subset_R: Sequence[Any]) -> int:
    """-1, 1, or 0 where the mean may be zero."""
    found = mean_interval(table_RS, subset_R)
    return int(found.low > 0) - int(found.high < 0)
