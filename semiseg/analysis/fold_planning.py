"""What does a cross-validation of so many subjects and folds find?

The answer is the difference that the report would call detectable: (t_level + t_power) · error with
F - 1 degrees of freedom (Bloom, Eval. Rev. 19(5), 1995) and the corrected error of
:mod:`semiseg.analysis.cross_validation`, for Holm's first step where there are several comparisons.
"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import numpy as np
import scipy.stats

from semiseg.analysis.comparisons import fold_differences
from semiseg.analysis.planning import Goal, pooled
from semiseg.analysis.study import Study
from semiseg.analysis.variance import Split

FOLDS = (3, 5, 10)
"""Numbers of folds that a plan lists."""


class FoldPlan(NamedTuple):
    """A cross-validation and what it finds.

    Attributes:
      folds: that the subjects are dealt into.
      seeds: runs of each fold.
      subjects: of all folds.
      finds: the true difference that is found with the wanted power; inf where no test can be
        significant.
    """

    folds: int
    seeds: int
    subjects: int
    finds: float

    @property
    def runs(self) -> int:
        """Runs of each compared setting at one label budget.

        >>> FoldPlan(5, 3, 20, 0.05).runs
        15
        """
        return self.folds * self.seeds


def fold_error(components: Split, subjects: int, folds: int, seeds: int = 1) -> float:
    """Corrected standard error of a paired difference.

    The variance of a fold's mean is that between its subjects, divided by how many it has, and that
    between trainings. Folds share training subjects, so that the latter is at most that of label
    subsets, which is taken.

    Args:
      components: standard deviations of a paired difference; NaN counts 0.
      subjects: of all folds.
      folds: at least two, and at most one a subject.
      seeds: runs of each fold.

    >>> round(fold_error(Split(0.0, 0.0, 0.1, 0.0, 0.0), 20, 5), 4)
    0.0335
    """
    subset, seed, subject, crossed, residual = np.nan_to_num(np.square(components)).tolist()
    of_subjects = (subject + crossed + residual / seeds) * folds / subjects
    of_fold = subset + seed / seeds + of_subjects
    return math.sqrt((1 / folds + 1 / (folds - 1)) * of_fold)


def fold_plan(components: Split, subjects: int, folds: int, goal: Goal, seeds: int = 1) -> FoldPlan:
    """What a cross-validation finds.

    Args:
      components, subjects, folds, seeds: see :func:`fold_error`.
      goal: power, and the number of comparisons; its gain does not matter.

    >>> round(fold_plan(Split(0.0, 0.0, 0.1, 0.0, 0.0), 20, 5, Goal(0.03)).finds, 3)
    0.125
    """
    error = fold_error(components, subjects, folds, seeds)
    tail = goal.level / 2 / goal.comparisons
    quantiles = scipy.stats.t.isf((tail, 1 - goal.power), folds - 1)
    return FoldPlan(folds, seeds, subjects, float(quantiles.sum()) * error)


def fold_plans(components: Split, subjects: int, goal: Goal, folds: int) -> list[FoldPlan]:
    """A small table: fewer and more folds, with one seed, and with three where seeds matter."""
    seeds = [1]
    if np.nansum((components.seed, components.residual)) > 0:
        seeds = [1, 3]
    designs = itertools.product(sorted({*FOLDS, folds}), seeds)
    return [fold_plan(components, subjects, f, goal, n) for f, n in designs if f <= subjects]


def fold_components(s: Study, labels: int | None = None, arm: str | None = None) -> Split:
    """Standard deviations of the differences in a cross-validated study, pooled over comparisons.

    ``subject`` is that of subjects within a fold; ``subset`` is what folds differ by beyond it:
    their trainings. The others are in these two.

    Args:
      labels: the label budget; by default all.
      arm: name of a compared setting; by default all.

    Raises:
      UserError: no two settings have all folds.
    """
    splits = []
    for c in s.comparisons:
        if labels not in (None, c.labels) or arm not in (None, c.arm):
            continue
        cells = (s.cells[c.arm, c.labels], s.cells[c.baseline, c.labels])
        shared, _ = fold_differences(*cells, s.scored)
        if shared.is_complete:
            splits.append(_within_and_between(shared.score_FS))
    return pooled(splits)


def _within_and_between(score_FS: np.ndarray) -> Split:
    """One-way analysis of variance: between folds, and between the subjects of a fold."""
    size_F = (~np.isnan(score_FS)).sum(1)
    mean_F = np.nanmean(score_FS, 1)
    subjects = int(size_F.sum())
    folds = len(score_FS)
    within = 0.0
    if subjects > folds:
        within = float(np.nansum((score_FS - mean_F[:, None]) ** 2)) / (subjects - folds)
    mean = float(size_F @ mean_F) / subjects
    between = float(size_F @ (mean_F - mean) ** 2) / (folds - 1)
    excess = max((between - within) * folds / subjects, 0.0)
    return Split(math.sqrt(excess), np.nan, math.sqrt(within), np.nan, np.nan)
