"""Which subjects carry a difference: the share of each, and what is left without it.

A mean difference over ten patients may be that of two whom the baseline fails on. The interval then
is wide, but a reader of the mean does not see why.

Sources: Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapter 11 (the jackknife: a
statistic with each observation left out); Cook, Technometrics 19(1), 1977 (influence of single
observations).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from semiseg.analysis.comparisons import Comparison
from semiseg.analysis.design import as_design
from semiseg.analysis.pairing import compared_scores, paired
from semiseg.analysis.scores import MEAN_OF_ALL
from semiseg.analysis.statistics import mean_test, subject_means
from semiseg.analysis.study import Study

CARRIERS = 2
"""Subjects whose share together is named."""
HALF = 0.5
"""Share of the difference from which they carry it."""
LEFT_OUT = 40
"""Subjects that are left out, one at a time, for the range of p."""
FEWEST = 5
"""Subjects below which no share is named: two of four are half of them anyway."""


@dataclasses.dataclass(frozen=True, eq=False)
class Influence:
    """What single subjects contribute to a mean difference.

    Attributes:
      subjects: names, the largest contribution to the difference first.
      difference_S: mean difference of each, in the same order.
      share_S: of the sum of all differences; negative where a subject speaks against the mean.
      carriers: the first :data:`CARRIERS` subjects, or as few as together are half.
      carried: their share together.
      without: mean difference of the other subjects.
      mean_range: smallest and largest mean with one subject left out.
      p_range: smallest and largest p-value with one subject left out, not corrected for other
        comparisons; of more than :data:`LEFT_OUT` subjects those that are farthest from the mean
        are left out.
    """

    subjects: tuple[str, ...]
    difference_S: np.ndarray
    share_S: np.ndarray
    carriers: tuple[str, ...]
    carried: float
    without: float
    mean_range: tuple[float, float]
    p_range: tuple[float, float]

    @property
    def by_few(self) -> bool:
        """Whether at most two of five or more subjects carry half of the difference."""
        return len(self.subjects) >= FEWEST and self.carried >= HALF


def influence(
    values_RS: np.ndarray, subset_R: Sequence[Any], subjects: Sequence[str]
) -> Influence | None:
    """The contribution of each subject to the mean of a table of differences.

    Args:
      values_RS: differences of runs (rows) on subjects (columns), NaN where undefined.
      subset_R: the label subset of each row, or a :class:`~semiseg.analysis.design.Design`.
      subjects: name of each column.

    Returns:
      None with fewer than two subjects, and where the mean difference is zero.

    >>> table = np.array([[0.5, 0.01, 0.02, 0.0, 0.02, 0.25]])
    >>> result = influence(table, ["a"], ["p1", "p2", "p3", "p4", "p5", "p6"])
    >>> result.carriers, round(result.carried, 2), round(result.without, 4), result.by_few
    (('p1',), 0.62, 0.06, True)
    >>> [round(mean, 3) for mean in result.mean_range], [round(p, 2) for p in result.p_range]
    ([0.06, 0.16], [0.17, 0.32])
    """
    difference_S = subject_means(values_RS, as_design(subset_R).subset_R)
    defined = np.flatnonzero(~np.isnan(difference_S))
    total = float(difference_S[defined].sum())
    if defined.size < 2 or total == 0:
        return None
    order = defined[np.argsort(-np.sign(total) * difference_S[defined], kind="stable")]
    ordered_S = difference_S[order]
    share_S = ordered_S / total
    first = min(CARRIERS, 1 + int(np.argmax(np.cumsum(share_S) >= HALF)))
    if share_S[:CARRIERS].sum() < HALF:
        first = CARRIERS
    without_each = (total - ordered_S) / (defined.size - 1)
    farthest = np.argsort(-np.abs(ordered_S - ordered_S.mean()), kind="stable")[:LEFT_OUT]
    p_values = _without_each(values_RS, subset_R, order[farthest])
    return Influence(
        tuple(subjects[i] for i in order),
        ordered_S,
        share_S,
        tuple(subjects[i] for i in order[:first]),
        float(share_S[:first].sum()),
        float(ordered_S[first:].mean()) if defined.size > first else np.nan,
        (float(np.min(without_each)), float(np.max(without_each))),
        (float(p_values.min()), float(p_values.max())),
    )


def _without_each(
    values_RS: np.ndarray, subset_R: Sequence[Any], columns_left_out: np.ndarray
) -> np.ndarray:
    """p-values with each of these columns left out."""
    design = as_design(subset_R)
    rows = np.ones(len(values_RS), bool)
    p_values = []
    for column in columns_left_out:
        columns = np.arange(values_RS.shape[1]) != column
        p_values.append(mean_test(values_RS[:, columns], design.of(rows, columns)))
    return np.array(p_values)


@functools.lru_cache(8)
def influences(s: Study) -> tuple[tuple[Comparison, Influence], ...]:
    """Every comparison of a study whose subjects are known, with what each contributes; none of
    folds.
    """
    if s.folds:
        return ()
    every = [(c, influence_of(s, c)) for c in s.comparisons]
    return tuple((c, parts) for c, parts in every if parts is not None)


def influence_of(s: Study, c: Comparison) -> Influence | None:
    """The contribution of each subject to a comparison of a study.

    None where the scores of single subjects are not known.
    """
    groups = [s.cells[arm, c.labels].runs for arm in (c.arm, c.baseline)]
    runs = [run for members in groups for run in members]
    subjects, _ = compared_scores(runs, *s.scored)
    if MEAN_OF_ALL in subjects:
        return None
    (target, reference), design, _ = paired(groups, *s.scored)
    return influence(target - reference, design, subjects)
