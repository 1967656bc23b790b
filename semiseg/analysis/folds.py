"""Cross-validated settings: each run is a fold, and holds out the subjects that it was scored on.

The statistics are in :mod:`semiseg.analysis.cross_validation`.
"""

from __future__ import annotations

import numpy as np

from semiseg.analysis.cross_validation import CrossValidated, corrected_mean
from semiseg.analysis.pairing import compared_scores
from semiseg.analysis.runs import Run, Runs
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

    Each run is a fold: it holds out the subjects that it was scored on. Runs that held out the same
    subjects (other seeds) are averaged.

    Args:
      runs: the folds of one setting.
      others: the folds of another one, with the same held-out subjects; None for the mean itself.
      train: subjects that a fold may train on; by default those that other folds hold out.
      metric, split, checkpoint: which scores.

    Raises:
      UserError: a subject is held out by two folds, or the folds of the two settings differ.
    """
    scored = (metric_of(metric).name, split, checkpoint)
    fold_of = _held_out(runs, *scored)
    score_of = _fold_scores(fold_of, *scored)
    if others is not None:
        other_scores = _fold_scores(_held_out(others, *scored), *scored)
        if other_scores.keys() != score_of.keys():
            raise UserError(
                "the two settings hold out different subjects, so their folds cannot be paired",
                remedy="give the runs of the same folds of both",
            )
        sign = METRICS[metric].sign
        score_of = {fold: sign * (score_of[fold] - other_scores[fold]) for fold in score_of}
    subjects = sum(len(fold) for fold in score_of)
    test = subjects / len(score_of)
    means = np.array(list(score_of.values()))
    return corrected_mean(means, test=test, train=train or subjects - test)


def _held_out(runs: Runs, metric: str, split: str, checkpoint: str) -> dict[frozenset[str], Runs]:
    """The runs of each fold, by the subjects that it holds out."""
    groups: dict[frozenset[str], list[Run]] = {}
    for run in runs:
        subjects = frozenset(run.scores.per_subject(metric, split, checkpoint))
        groups.setdefault(subjects, []).append(run)
    seen: set[str] = set()
    for subjects in groups:
        twice = sorted(seen & subjects)
        if twice:
            raise UserError(
                f"subject {twice[0]} is held out by two folds, but every subject is held out once",
                remedy="give the runs of one partition into folds",
            )
        seen |= subjects
    return {subjects: Runs(members) for subjects, members in groups.items()}


def _fold_scores(
    fold_of: dict[frozenset[str], Runs], metric: str, split: str, checkpoint: str
) -> dict[frozenset[str], float]:
    """The mean of each fold, over its subjects and runs."""
    scores = {}
    for subjects, members in fold_of.items():
        _, values_RS = compared_scores(members, metric, split, checkpoint)
        scores[subjects] = float(np.nanmean(values_RS))
    return scores
