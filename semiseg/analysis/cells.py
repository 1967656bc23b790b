"""Cells of a study: one compared setting at one label budget, with its interval."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np

from semiseg.analysis.fold_design import has_folds
from semiseg.analysis.fold_statistics import fold_interval, fold_table
from semiseg.analysis.groups import design_of
from semiseg.analysis.pairing import compared_scores, replicates
from semiseg.analysis.runs import Runs
from semiseg.analysis.statistics import Interval, mean_interval
from semiseg.evaluate.metrics import METRICS


class Scored(NamedTuple):
    """Which scores a study is about: one metric, on one split, at one checkpoint."""

    metric: str
    split: str
    checkpoint: str


@dataclasses.dataclass(frozen=True)
class Cell:
    """One compared setting at one label budget.

    Attributes:
      arm: name of the compared setting.
      labels: annotated subjects.
      runs: those that have scores.
      mean_R: a mean for each run, in the order of ``runs``.
      interval: see :func:`interval_over`.
    """

    arm: str
    labels: int
    runs: Runs
    mean_R: np.ndarray
    interval: Interval


def cells_of(
    arms: dict[str, Runs],
    scored: Scored,
) -> dict[tuple[str, int], Cell]:
    """The cell of every setting and budget that has scores."""
    cells = {}
    for arm, members in arms.items():
        for labels in sorted({run.labels for run in members}):
            cell = _cell(arm, labels, members.where(labels=labels), scored)
            if cell is not None:
                cells[arm, labels] = cell
    return cells


def _cell(
    arm: str,
    labels: int,
    runs: Runs,
    scored: Scored,
) -> Cell | None:
    """The scores of the runs; None where none of them has any."""
    subjects, values_RS = compared_scores(runs, *scored)
    has_scores = np.flatnonzero(~np.isnan(values_RS).all(1)).tolist()
    if not has_scores:
        return None
    runs = Runs([runs[r] for r in has_scores])
    values_RS = values_RS[has_scores]
    interval = interval_over(runs, subjects, values_RS, METRICS[scored.metric].bounds)
    return Cell(arm, labels, runs, np.nanmean(values_RS, 1), interval)


def interval_over(
    runs: Runs, subjects: list[str], values_RS: np.ndarray, bounds: tuple[float, float]
) -> Interval:
    """The mean of the scores of runs, with its interval.

    Of folds it is that of all held-out subjects, see
    :func:`semiseg.analysis.fold_statistics.fold_interval`.
    """
    if has_folds(runs):
        return fold_interval(fold_table(runs, values_RS, subjects), bounds)
    rows, subset_R = replicates(runs)
    design = design_of(runs, subset_R, subjects)
    return mean_interval(values_RS[rows], design, bounds=bounds)
