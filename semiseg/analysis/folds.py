"""Cross-validated settings in the API: each run holds out the subjects that it was scored on.

The statistics are in :mod:`semiseg.analysis.fold_statistics`.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from semiseg.analysis.cells import Cell
from semiseg.analysis.comparisons import fold_differences
from semiseg.analysis.cross_validation import CrossValidated
from semiseg.analysis.fold_design import check_folds, fold_design, has_folds
from semiseg.analysis.fold_statistics import corrected
from semiseg.analysis.margins import MarginTest, margin_test_of
from semiseg.analysis.pairing import compared_scores
from semiseg.analysis.runs import Run, Runs
from semiseg.analysis.statistics import subject_means
from semiseg.analysis.study import Study
from semiseg.errors import UserError
from semiseg.evaluate.metrics import METRICS, metric_of


def cross_validated(
    runs: Runs,
    others: Runs | None = None,
    *,
    train: float | None = None,
    metric: str = "dice",
    split: str = "val",
    checkpoint: str = "last",
) -> CrossValidated:
    """The mean of a cross-validated setting, or its difference from another one.

    Each run is a fold: it holds out the subjects that it was scored on. Runs of one fold (other
    seeds, other label subsets) are averaged; runs that do not record their fold are of one fold if
    they hold out the same subjects. The mean is over all held-out subjects.

    Args:
      runs: the folds of one setting at one label budget.
      others: the folds of another one, with the same held-out subjects; None for the mean itself.
      train: subjects that a fold may train on; by default those that other folds hold out.
      metric, split, checkpoint: which scores.

    Raises:
      UserError: a subject is held out by two folds, a fold is missing, or the folds of the two
        settings differ.
    """
    every = [*runs, *(others or ())]
    check_folds(every, split)
    subjects, values_RS = compared_scores(every, metric_of(metric).name, split, checkpoint)
    row_of = _rows_of_folds(runs, subjects, values_RS[: len(runs)])
    if others is not None:
        other_row_of = _rows_of_folds(others, subjects, values_RS[len(runs) :])
        if _subjects_of(row_of) != _subjects_of(other_row_of):
            raise UserError(
                "the two settings hold out different subjects, so their folds cannot be paired",
                remedy="give the runs of the same folds of both",
            )
        sign = METRICS[metric].sign
        row_of = {fold: sign * (row_of[fold] - other_row_of[fold]) for fold in row_of}
    return corrected(np.array(list(row_of.values())), train)


def margin_test_in_folds(s: Study, cells: tuple[Cell, Cell], margin: float) -> MarginTest:
    """:func:`semiseg.analysis.questions.as_good_as` of folds, with their corrected error."""
    shared, lost = fold_differences(*cells, s.scored)
    better_FS = s.sign * shared.score_FS
    test = margin_test_of(shared._replace(score_FS=better_FS).spread, margin)
    if lost:
        return test._replace(p_noninferior=np.nan, p_equivalent=np.nan)
    return test


def _subjects_of(row_of: dict[Hashable, np.ndarray]) -> set[tuple[int, ...]]:
    """Indices of the subjects that each fold holds out."""
    return {tuple(np.flatnonzero(~np.isnan(row_S)).tolist()) for row_S in row_of.values()}


def _rows_of_folds(
    runs: Runs, subjects: Sequence[str], values_RS: np.ndarray
) -> dict[Hashable, np.ndarray]:
    """``(S,)`` mean scores of each fold, NaN for subjects that it does not hold out."""
    rows: dict[Hashable, list[int]] = {}
    for r, run in enumerate(runs):
        rows.setdefault(_fold_of(run, values_RS[r]), []).append(r)
    _check_complete(runs)
    row_of = {}
    held_out_S = np.zeros(len(subjects), int)
    for fold, members in rows.items():
        subset_R = [runs[r].label_subset for r in members]
        row_of[fold] = subject_means(values_RS[members], subset_R)
        held_out_S += ~np.isnan(row_of[fold])
    if (held_out_S > 1).any():
        twice = subjects[int(np.argmax(held_out_S > 1))]
        raise UserError(
            f"subject {twice} is held out by two folds, but every subject is held out once",
            remedy="give the runs of one partition into folds",
        )
    return row_of


def _fold_of(run: Run, values_S: np.ndarray) -> Hashable:
    """The number of its fold, or the subjects that it holds out where it records none."""
    if run.folds:
        return run.fold
    return tuple(np.flatnonzero(~np.isnan(values_S)).tolist())


def _check_complete(runs: Runs) -> None:
    missing = fold_design(runs).missing if has_folds(runs) else ()
    if missing:
        raise UserError(
            f"fold {missing[0]} is missing, so that not every subject is held out",
            remedy="run every fold of the cross-validation",
        )
