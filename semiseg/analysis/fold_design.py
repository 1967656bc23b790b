"""Which runs are the folds of one setting, whom they hold out, and what is missing.

A run with ``folds: 5`` and ``fold: 2`` trains on the subjects outside fold 2, and its validation
scores are those of the subjects in it. The folds of a setting are one result: their training sets
overlap, so they are neither replicates nor label subsets. The statistics are in
:mod:`semiseg.analysis.fold_statistics`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from semiseg.analysis.runs import Run
from semiseg.analysis.scores import MEAN_OF_ALL
from semiseg.errors import UserError

HELD_OUT = "val"
"""The split whose scores are those of the held-out subjects."""


@dataclasses.dataclass(frozen=True)
class FoldDesign:
    """The folds of one setting at one label budget.

    Attributes:
      number: folds that the subjects are dealt into.
      present: those that have runs.
      held_out: subjects that these hold out.
      unscored: subjects of the missing folds; None where the runs do not record how many there are.
      seeds: runs of each fold, where all have as many; else 0.
    """

    number: int
    present: tuple[int, ...]
    held_out: int
    unscored: int | None
    seeds: int

    @property
    def missing(self) -> tuple[int, ...]:
        """Folds without a run.

        >>> FoldDesign(3, (0, 2), 10, 5, 1).missing
        (1,)
        """
        return tuple(fold for fold in range(self.number) if fold not in self.present)

    @property
    def all(self) -> int | None:
        """Subjects of all folds; None where that is not recorded."""
        if self.unscored is None:
            return None
        return self.held_out + self.unscored


def fold_design(runs: Sequence[Run]) -> FoldDesign:
    """The folds of the runs of one setting at one label budget."""
    number = runs[0].folds
    by_fold: dict[int, list[Run]] = {}
    for run in runs:
        by_fold.setdefault(run.fold, []).append(run)
    sizes = {fold: max(map(_size, members)) for fold, members in by_fold.items()}
    held_out = sum(sizes.values())
    counts = {len(members) for members in by_fold.values()}
    seeds = counts.pop() if len(counts) == 1 else 0
    unscored: int | None = 0
    if len(by_fold) < number:
        totals = [_total(run) for run in runs]
        unscored = max((total - held_out for total in totals if total), default=None)
    return FoldDesign(number, tuple(sorted(by_fold)), held_out, unscored, seeds)


def _size(run: Run) -> int:
    """Subjects that a run holds out."""
    return int(run.summary.get("subjects_val") or len(held_out_by(run)))


def _total(run: Run) -> int:
    """Subjects of all folds, as one run records them; 0 where it does not."""
    outside = run.summary.get("subjects_annotated")
    return int(outside) + _size(run) if outside else 0


def held_out_by(run: Run) -> frozenset[str]:
    """Subjects that have any score in the fold of a run; none of a table of means."""
    splits = run.scores.axes[0]
    if HELD_OUT not in splits:
        return frozenset()
    defined_S = ~np.isnan(run.scores.value[splits[HELD_OUT]]).all((0, 1, 2))
    subjects = run.scores.axes[4].items()
    return frozenset(name for name, s in subjects if defined_S[s] and name != MEAN_OF_ALL)


# ------------------------------------------------------------------ what cannot be handled
def has_folds(runs: Iterable[Run]) -> bool:
    """Whether any of the runs is a fold."""
    return any(run.folds for run in runs)


def check_folds(runs: Sequence[Run], split: str = HELD_OUT) -> None:
    """Refuse runs whose folds do not make one cross-validation; runs without folds pass.

    Raises:
      UserError: some runs are folds and others are not, the numbers of folds differ, a subject is
        held out by two folds, or the scores are not those of held-out subjects.
    """
    if not has_folds(runs):
        return
    numbers = {run.folds: run for run in runs}
    if 0 in numbers:
        raise UserError(
            f"some runs are folds of a cross-validation and others are not ({numbers[0].name}), "
            f"so they are scored on different subjects",
            remedy="give the folders of the one or of the other",
        )
    if len(numbers) > 1:
        few, many = min(numbers), max(numbers)
        raise UserError(
            f"the runs have {few} and {many} folds ({numbers[few].name}, {numbers[many].name}), so "
            f"they train on different shares of the subjects",
            remedy="give the runs of one number of folds",
        )
    if split != HELD_OUT:
        raise UserError(
            f"the training sets of {runs[0].folds} folds overlap, so on one {split} set they are "
            f"no independent runs",
            remedy="compare folds by the subjects that they hold out, with --split val; for the "
            "test set, train without folds",
        )
    _check_partition(runs)


def _check_partition(runs: Sequence[Run]) -> None:
    first: dict[str, Run] = {}
    for run in runs:
        for subject in held_out_by(run):
            other = first.setdefault(subject, run)
            if other.fold != run.fold:
                raise UserError(
                    f"subject {subject} is held out by fold {other.fold} in run {other.name} and "
                    f"by fold {run.fold} in run {run.name}, but every subject is held out once",
                    remedy="give the runs of one data set and one partition into folds",
                )


def refuse_folds(runs: Iterable[Run]) -> None:
    """Refuse folds where runs are replicates of each other.

    Raises:
      UserError: one of the runs is a fold.
    """
    if has_folds(runs):
        raise UserError(
            "the runs are folds of a cross-validation, which are no replicates of each other: "
            "their training sets overlap, and each is scored on other subjects",
            remedy="ask semiseg.analysis.questions.cross_validated, or read `semiseg report`",
        )
