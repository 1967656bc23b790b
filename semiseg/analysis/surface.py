"""Labels against compute: the score over label budgets and training steps, and the cheapest way to
a score.

The surface is the closest one to the cells' means that rises with labels and with steps, bilinear
in their logarithms between cells. It says nothing outside of them. The interval of the cheapest
cost comes from resampling label subsets and subjects; its coverage is in
experiments/results/questions.csv.

Sources: Dykstra & Robertson, Ann. Stat. 10(3), 1982 (monotone in two directions); Barlow et al.,
Statistical Inference under Order Restrictions, 1972; Davison & Hinkley, Bootstrap Methods and their
Application, 1997, section 3.8; Rao & Wu, J. Am. Stat. Assoc. 83(401), 1988 (a bootstrap of few
clusters is rescaled).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.stats

from semiseg.analysis.curves import pooling
from semiseg.analysis.design import as_design
from semiseg.analysis.statistics import codes, even_weights, spread
from semiseg.errors import UserError

_POINTS = 33  # of the search, along each axis
_ROUNDS = 200  # of alternating projections, at most


@dataclasses.dataclass(frozen=True)
class Surface:
    """A score over label budgets and training steps.

    Attributes:
      budgets: annotated subjects, ascending.
      steps: optimiser steps, ascending.
      mean_BT: score of each cell, monotone along both axes.
    """

    budgets: tuple[float, ...]
    steps: tuple[float, ...]
    mean_BT: np.ndarray

    def at(self, labels: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """``(N, M)`` scores at N budgets × M numbers of steps, within those that were run.

        >>> surface = Surface((4, 16), (100, 400), np.array([[0.4, 0.5], [0.6, 0.7]]))
        >>> surface.at(np.array([8.0]), np.array([200.0]))
        array([[0.55]])
        """
        rows_NB = _weights(np.log(self.budgets), np.log(labels))
        columns_MT = _weights(np.log(self.steps), np.log(steps))
        return rows_NB @ self.mean_BT @ columns_MT.T


class Cheapest(NamedTuple):
    """The cheapest combination of labels and steps that reaches a score.

    Attributes:
      labels, steps: the combination; NaN where no cell reaches the score.
      cost: of it, inf where no cell reaches the score.
      low, high: 95 % interval of the cheapest cost; inf where it may lie beyond the cells.
      reached: share of the resampled studies that reach the score.
    """

    labels: float
    steps: float
    cost: float
    low: float
    high: float
    reached: float


def monotone(mean_BT: np.ndarray, *, rising: bool = True) -> np.ndarray:
    """The closest surface that rises (or falls) along both axes, by Dykstra's alternating
    projections.

    >>> monotone(np.array([[0.5, 0.4], [0.6, 0.7]]))
    array([[0.45, 0.45],
           [0.6 , 0.7 ]])
    """
    sign = 1.0 if rising else -1.0
    surface_BT = sign * np.asarray(mean_BT, dtype=float)
    by_labels_BT = np.zeros_like(surface_BT)
    by_steps_BT = np.zeros_like(surface_BT)
    for _ in range(_ROUNDS):
        before_BT = surface_BT
        moved_BT = surface_BT + by_labels_BT
        surface_BT = _pooled(moved_BT)
        by_labels_BT = moved_BT - surface_BT
        moved_BT = surface_BT + by_steps_BT
        surface_BT = _pooled(moved_BT.T).T
        by_steps_BT = moved_BT - surface_BT
        if np.abs(surface_BT - before_BT).max() < 1e-10:
            break
    return sign * surface_BT


def fit_surface(
    tables: Sequence[Sequence[np.ndarray]],
    subset_R: Sequence[Any],
    budgets: Sequence[float],
    steps: Sequence[float],
    *,
    rising: bool = True,
) -> Surface:
    """The surface through the means of all cells.

    Args:
      tables: for each budget and number of steps one ``(R, S)`` table, rows (label subset and seed)
        and columns (subjects) alike in all.
      subset_R: the label subset of each row.
      budgets, steps: of the cells, ascending.
      rising: whether the score should be high.

    Raises:
      UserError: fewer than two budgets or two numbers of steps.

    >>> tables = [[np.full((2, 3), 0.4 + 0.1 * (b + t)) for t in range(2)] for b in range(2)]
    >>> fit_surface(tables, range(2), [4, 8], [100, 200]).mean_BT.round(2).tolist()
    [[0.4, 0.5], [0.5, 0.6]]
    """
    if min(len(budgets), len(steps)) < 2:
        raise UserError(
            f"{len(budgets)} label budget(s) × {len(steps)} number(s) of steps are no surface",
            remedy="run two label budgets or more with two numbers of steps or more",
        )
    mean_BT = np.array([[spread(table, subset_R).mean for table in row] for row in tables])
    return Surface(tuple(budgets), tuple(steps), monotone(mean_BT, rising=rising))


def cheapest(
    tables: Sequence[Sequence[np.ndarray]],
    subset_R: Sequence[Any],
    budgets: Sequence[float],
    steps: Sequence[float],
    score: float,
    *,
    label_cost: float,
    step_cost: float,
    rising: bool = True,
    draws: int = 400,
    seed: int = 0,
) -> Cheapest:
    """The cheapest labels and steps with which the mean score is reached, within the cells.

    Each draw resamples label subsets and subjects, moves the cells' means by what the draw differs
    (rescaled to the t distribution of the few clusters), fits the surface and searches again.

    Args:
      tables, subset_R, budgets, steps, rising: see :func:`fit_surface`.
      score: the wanted mean, in the unit of the scores.
      label_cost: of one annotated subject, in the unit of the cost (hours, money).
      step_cost: of one optimiser step, in the same unit.
      draws: resampled studies.
      seed: of the random numbers.

    >>> tables = [[np.full((2, 3), 0.4 + 0.1 * (b + t)) for t in range(2)] for b in range(2)]
    >>> best = cheapest(
    ...     tables, range(2), [4, 8], [100, 200], 0.5, label_cost=1.0, step_cost=0.001
    ... )
    >>> f"{best.labels:.0f} labels, {best.steps:.0f} steps, cost {best.cost:.1f}"
    '4 labels, 200 steps, cost 4.2'
    """
    surface = fit_surface(tables, subset_R, budgets, steps, rising=rising)
    labels_N = np.geomspace(budgets[0], budgets[-1], _POINTS)
    steps_M = np.geomspace(steps[0], steps[-1], _POINTS)
    cost_NM = labels_N[:, None] * label_cost + steps_M * step_cost
    sign = 1.0 if rising else -1.0

    def price_of(one: Surface) -> np.ndarray:
        enough_NM = sign * one.at(labels_N, steps_M) >= sign * score - 1e-12
        return np.where(enough_NM, cost_NM, math.inf)

    price_NM = price_of(surface)
    n, m = np.unravel_index(int(np.argmin(price_NM)), price_NM.shape)
    cost = float(price_NM[n, m])
    moved_DBT = _resampled(np.array(tables, dtype=float), subset_R, draws, seed)
    costs = []
    for mean_BT in moved_DBT:
        one = Surface(surface.budgets, surface.steps, monotone(mean_BT, rising=rising))
        costs.append(float(price_of(one).min()))
    cost_D = np.array(costs)
    low, high = np.quantile(cost_D, (0.025, 0.975), method="inverted_cdf")
    reached = float(np.isfinite(cost_D).mean())
    if math.isinf(cost):
        return Cheapest(math.nan, math.nan, cost, float(low), float(high), reached)
    return Cheapest(float(labels_N[n]), float(steps_M[m]), cost, float(low), float(high), reached)


def _resampled(
    values_BTRS: np.ndarray,
    subset_R: Sequence[Any],
    draws: int,
    seed: int,
) -> np.ndarray:
    """``(D, B, T)`` means of resampled studies, spread like the error of the cells' means.

    Rows and columns (by group of look-alike subjects) are drawn apart, and what each draw moves the
    means is stretched by √(n / (n - 1)) for n clusters and by the quantile of t over that of the
    normal distribution. Overlap of label subsets counts as in
    :func:`semiseg.analysis.statistics.spread`.
    """
    rng = np.random.default_rng(seed)
    design = as_design(subset_R)
    code_R = codes(design.subset_R)
    cluster_R = code_R
    if code_R.max() == 0:
        cluster_R = np.arange(len(code_R))
    weight_R = even_weights(code_R)
    subjects = values_BTRS.shape[-1]
    mean_BT = _means(values_BTRS, weight_R[None], np.ones((1, subjects)))[0]
    df = spread(np.nanmean(values_BTRS, axis=(0, 1)), subset_R).df
    stretch = 1.0
    if np.isfinite(df):
        stretch = float(scipy.stats.t.ppf(0.975, df) / scipy.stats.norm.ppf(0.975))
    moved_DBT = np.repeat(mean_BT[None], draws, axis=0)
    clusters = int(cluster_R.max()) + 1
    if clusters > 1:
        count_DJ = rng.multinomial(clusters, np.full(clusters, 1 / clusters), draws)
        drawn_DBT = _means(values_BTRS, weight_R * count_DJ[:, cluster_R], np.ones((1, subjects)))
        hidden = math.sqrt(1 + clusters * design.share / (1 - design.share))
        moved_DBT = moved_DBT + stretch * hidden * _few(clusters) * (drawn_DBT - mean_BT)
    code_S = np.arange(subjects)
    if design.group_S is not None:
        code_S = codes(design.group_S)
    groups = int(np.max(code_S)) + 1
    if groups > 1:
        count_DG = rng.multinomial(groups, np.full(groups, 1 / groups), draws)
        drawn_DBT = _means(values_BTRS, weight_R[None], count_DG[:, code_S])
        moved_DBT = moved_DBT + stretch * _few(groups) * (drawn_DBT - mean_BT)
    return moved_DBT


def _few(clusters: int) -> float:
    return math.sqrt(clusters / (clusters - 1))


def _means(
    values_BTRS: np.ndarray,
    weight_DR: np.ndarray,
    weight_DS: np.ndarray,
) -> np.ndarray:
    """``(D, B, T)`` weighted means of the defined scores; one row of weights stands for all."""
    draws = max(len(weight_DR), len(weight_DS))
    weight_DR = np.broadcast_to(weight_DR, (draws, weight_DR.shape[1]))
    weight_DS = np.broadcast_to(weight_DS, (draws, weight_DS.shape[1]))
    defined_BTRS = ~np.isnan(values_BTRS)
    values_BTRS = np.where(defined_BTRS, values_BTRS, 0.0)
    total_DBT = np.einsum("dr,btrs,ds->dbt", weight_DR, values_BTRS, weight_DS, optimize=True)
    weight_DBT = np.einsum("dr,btrs,ds->dbt", weight_DR, defined_BTRS, weight_DS, optimize=True)
    return total_DBT / weight_DBT


def _pooled(surface_BT: np.ndarray) -> np.ndarray:
    """Each column made monotone by itself."""
    columns = [pooling(column_B) @ column_B for column_B in surface_BT.T]
    return np.stack(columns, axis=1)


def _weights(x_B: np.ndarray, at_N: np.ndarray) -> np.ndarray:
    """``(N, B)`` weights of linear interpolation.

    >>> _weights(np.array([0.0, 1.0]), np.array([0.25]))
    array([[0.75, 0.25]])
    """
    return np.stack([np.interp(at_N, x_B, unit_B) for unit_B in np.eye(len(x_B))], axis=1)
