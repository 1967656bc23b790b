"""Scores by class and by subject: which organ, and which patient, a method fails on."""

from __future__ import annotations

import dataclasses

import numpy as np

from semiseg.analysis.cells import interval_over
from semiseg.analysis.runs import Run, Runs, matrix
from semiseg.analysis.scores import MEAN_OF_ALL, nanmean
from semiseg.analysis.statistics import Interval
from semiseg.analysis.study import Cell, Study
from semiseg.evaluate.metrics import METRICS
from semiseg.run_folder import REGIONS


def foreground_classes(s: Study) -> list[str]:
    """Names of all classes that runs of the study were scored on, in the order of the data."""
    names: dict[str, None] = {}
    for run in s.runs:
        names |= dict.fromkeys(run.scores.classes)
    return list(names)


def regions_of(s: Study) -> dict[str, list[str]]:
    """Name → classes of all regions that runs of the study were scored on."""
    regions: dict[str, list[str]] = {}
    for run in s.runs:
        scored = run.scores.axes[3]
        named = run.summary.get(REGIONS) or {}
        regions |= {name: list(members) for name, members in named.items() if name in scored}
    return regions


def class_intervals(s: Study, cell: Cell) -> dict[str, Interval]:
    """The mean of each class, and each region, over the runs and subjects of a cell, with its 95 %
    interval.

    Those in which no subject has a score are left out.
    """
    bounds = METRICS[s.metric].bounds
    intervals = {}
    for name in (*foreground_classes(s), *regions_of(s)):
        subjects, values_RS = scores_of(s, cell.runs, name)
        if values_RS.size and not np.isnan(values_RS).all():
            intervals[name] = interval_over(cell.runs, subjects, values_RS, bounds)
    return {name: interval for name, interval in intervals.items() if interval.n_subjects}


@dataclasses.dataclass(frozen=True)
class SubjectScore:
    """What a compared setting reaches on one subject.

    Attributes:
      mean: over classes and runs.
      classes: mean of each class and region over the runs; NaN where it is not defined.
      runs: that scored the subject.
      worst: the run that is worst on this subject, and its score.
    """

    subject: str
    arm: str
    mean: float
    classes: dict[str, float]
    runs: int
    worst: tuple[Run, float]


def subject_breakdown(s: Study, labels: int) -> list[SubjectScore]:
    """Every subject with every setting at one label budget, the worst first.

    Empty where the scores of single subjects are not known.
    """
    scores: list[SubjectScore] = []
    for arm in s.arms:
        if (arm, labels) in s.cells:
            scores += _subjects_of(s, s.cells[arm, labels])
    return sorted(scores, key=lambda score: s.sign * score.mean)


def _subjects_of(s: Study, cell: Cell) -> list[SubjectScore]:
    subjects, values_RS = scores_of(s, cell.runs)
    if MEAN_OF_ALL in subjects:
        return []
    names = (*foreground_classes(s), *regions_of(s))
    by_class = {name: _class_means(s, cell.runs, name) for name in names}
    scores = []
    for subject, values_R in zip(subjects, values_RS.T, strict=True):
        scored = np.flatnonzero(~np.isnan(values_R))
        worst = min(scored, key=lambda r: s.sign * values_R[r])
        classes = {name: means.get(subject, np.nan) for name, means in by_class.items()}
        scores.append(
            SubjectScore(
                subject,
                cell.arm,
                float(np.nanmean(values_R)),
                classes,
                len(scored),
                (cell.runs[int(worst)], float(values_R[worst])),
            )
        )
    return scores


def _class_means(
    s: Study,
    runs: Runs,
    name: str,
) -> dict[str, float]:
    """The mean of one class over the runs, for each subject."""
    subjects, values_RS = scores_of(s, runs, name)
    return dict(zip(subjects, nanmean(values_RS, 0).tolist(), strict=True))


def scores_of(
    s: Study,
    runs: Runs,
    class_: str = "mean",
) -> tuple[list[str], np.ndarray]:
    absolute = METRICS[s.metric].absolute
    return matrix(runs, s.metric, s.split, s.checkpoint, class_, absolute)
