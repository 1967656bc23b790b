"""Mean scores of the folds of a setting, and their paired differences, with corrected errors.

First runs of one fold (seeds, label subsets) are averaged, then the subjects of each fold. The
folds' means have the corrected variance of :mod:`semiseg.analysis.cross_validation`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from semiseg.analysis.cross_validation import CrossValidated, corrected_mean
from semiseg.analysis.runs import Run
from semiseg.analysis.scores import MEAN_OF_ALL
from semiseg.analysis.statistics import UNBOUNDED, Interval, Spread, interval_of, subject_means
from semiseg.errors import UserError


class FoldTable(NamedTuple):
    """Scores of held-out subjects.

    Attributes:
      score_FS: a row for each fold, NaN for subjects that it does not hold out.
      runs, subsets: that were averaged.
    """

    score_FS: np.ndarray
    runs: int
    subsets: int

    @property
    def is_complete(self) -> bool:
        """Whether every fold has a defined score."""
        return bool((~np.isnan(self.score_FS)).any(1).all()) and len(self.score_FS) > 1

    @property
    def score_S(self) -> np.ndarray:
        """``(S,)`` of each subject that has a score."""
        return self.score_FS[~np.isnan(self.score_FS)]

    @property
    def spread(self) -> Spread:
        """Mean over all subjects with its corrected error, which is NaN where a fold is missing."""
        scores = self.score_S
        size = (self.runs, self.subsets, scores.size)
        if not scores.size:
            return Spread(np.nan, np.nan, np.nan, *size)
        if not self.is_complete:
            return Spread(float(scores.mean()), np.nan, np.nan, *size)
        result = corrected(self.score_FS)
        return Spread(result.mean, result.error, len(self.score_FS) - 1, *size)


def fold_table(runs: Sequence[Run], values_RS: np.ndarray, subjects: Sequence[str]) -> FoldTable:
    """The scores of held-out subjects, runs of one fold averaged.

    Args:
      runs: folds of one setting at one label budget.
      values_RS: their scores, NaN where a run does not hold the subject out.
      subjects: name of each column.

    Raises:
      UserError: the scores of single subjects are not known.
    """
    if MEAN_OF_ALL in subjects:
        raise UserError(
            "the scores of the held-out subjects are not known, so that folds cannot be joined",
            where=runs[0].path,
            remedy="give the run folders, or put NAME_subjects.csv beside NAME.csv",
        )
    fold_R = np.array([run.fold for run in runs])
    score_FS = np.full((runs[0].folds, len(subjects)), np.nan)
    for fold in range(len(score_FS)):
        rows = np.flatnonzero(fold_R == fold).tolist()
        if rows:
            subset_R = [runs[r].label_subset for r in rows]
            score_FS[fold] = subject_means(values_RS[rows], subset_R)
    return FoldTable(score_FS, len(runs), len({str(run.label_subset) for run in runs}))


def corrected(score_FS: np.ndarray, train: float | None = None) -> CrossValidated:
    """Mean over all held-out subjects, corrected for training sets that overlap.

    With F folds of S subjects, a fold trains on the (F - 1)/F of them that others hold out.

    Args:
      score_FS: a row for each fold, NaN for subjects that it does not hold out; every row has a
        number.
      train: subjects that a fold may train on; by default those that other folds hold out.

    >>> score_FS = np.array([[0.8, 0.6, np.nan, np.nan], [np.nan, np.nan, 0.9, 0.7]])
    >>> round(corrected(score_FS).mean, 2)
    0.75
    """
    folds = len(score_FS)
    size_F = (~np.isnan(score_FS)).sum(1)
    test = float(size_F.sum()) / folds
    if train is None:
        train = (folds - 1) * test
    return corrected_mean(np.nanmean(score_FS, 1), test=test, train=train, weight_F=size_F)


def fold_interval(table: FoldTable, bounds: tuple[float, float] = UNBOUNDED) -> Interval:
    """The mean over all held-out subjects with its 95 % interval; alone where a fold is missing."""
    interval = interval_of(table.spread, 0.95, bounds)
    return interval._replace(n_folds=len(table.score_FS))
