"""Scoring by subject: slices are stacked to their volume, a volume is scored whole, a subject's
volumes are averaged.
"""

from __future__ import annotations

import math
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from semiseg.evaluate.metrics import NO_REGIONS, EmptyPolicy, Row, score
from semiseg.types import IGNORE, Case


class SubjectRow(NamedTuple):
    """One number: a subject's, for a class (or a region of several) and a metric."""

    subject: str
    class_: str
    metric: str
    value: float
    unit: str
    is_region: bool = False


def score_subjects(
    cases: Sequence[Case],
    predictions: Sequence[np.ndarray],
    classes: Sequence[str],
    unit: str,
    *,
    metrics: Sequence[str] | None = None,
    policy: EmptyPolicy | None = None,
    regions: Mapping[str, Sequence[int]] = NO_REGIONS,
) -> list[SubjectRow]:
    """Rows of every subject and foreground class, and of every region.

    A subject with several volumes (two heart phases, say) gets their mean; a metric that is
    undefined for a volume under ``policy`` is NaN and left out of it.

    Args:
      cases: annotated records; those of one volume in any order, or whole volumes.
      predictions: ``(H, W)`` or ``(D, H, W)`` labels of each.
      classes: names, background first.
      unit: of the spacing, written beside distances.
      metrics: names; those scored by default unless given.
      policy: for empty masks.
      regions: name → the classes that it unites.
    """
    policy = policy or EmptyPolicy()
    values: dict[tuple[str, Row], list[float]] = defaultdict(list)
    for members in _volumes(cases):
        first = cases[members[0]]
        truth = np.stack([_label(cases[i]) for i in members])
        prediction = np.stack([predictions[i] for i in members])
        spacing = first.spacing
        if len(truth) == 1 and len(spacing) == truth.ndim - 1:  # an image, or a whole volume
            truth = truth[0]
            prediction = prediction[0]
        rows = score(
            prediction,
            truth,
            spacing,
            classes,
            metrics=metrics,
            policy=policy,
            unit=unit,
            regions=regions,
        )
        for row in rows:
            values[first.subject, row._replace(value=0.0)].append(row.value)
    return [
        SubjectRow(subject, *row._replace(value=_mean_of_defined(numbers)))
        for (subject, row), numbers in values.items()
    ]


def never_predicted(
    cases: Sequence[Case], predictions: Sequence[np.ndarray], classes: Sequence[str]
) -> list[str]:
    """The classes that an annotation shows and no prediction does, whose Dice is 0.

    Args:
      cases: annotated records.
      predictions: labels of each.
      classes: names, background first.
    """
    shown: set[int] = set()
    predicted: set[int] = set()
    for case, prediction in zip(cases, predictions, strict=True):
        shown.update(np.unique(_label(case)).tolist())
        predicted.update(np.unique(prediction).tolist())
    missed = shown - predicted - {0, IGNORE}
    return [classes[value] for value in sorted(missed)]


def truth_sizes(cases: Sequence[Case]) -> dict[str, float]:
    """Subject → volume of all annotated foreground (area in 2D) in units of the spacing; the mean
    over the volumes of a subject.
    """
    sizes: dict[str, list[float]] = defaultdict(list)
    for members in _volumes(cases):
        first = cases[members[0]]
        size = 0.0
        for i in members:
            truth = _label(cases[i])
            size += np.count_nonzero((truth != 0) & (truth != IGNORE))
        sizes[first.subject].append(size * math.prod(first.spacing))
    return {subject: float(np.mean(values)) for subject, values in sizes.items()}


def _volumes(cases: Sequence[Case]) -> list[list[int]]:
    """Indices of the cases of each volume, in the order of their places."""
    volumes: dict[str, list[int]] = defaultdict(list)
    for i, case in enumerate(cases):
        volumes[case.volume].append(i)
    return [sorted(members, key=lambda i: cases[i].index) for members in volumes.values()]


def _mean_of_defined(values: Sequence[float]) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the mean of nothing but NaN is NaN
        return float(np.nanmean(values))


def mean(rows: Sequence[SubjectRow], metric: str) -> float:
    """Mean over foreground classes, then over subjects: the number that tables report.

    Regions, which count a class once more, and NaN are left out; NaN where nothing is left.

    Example:
      >>> rows = [
      ...     SubjectRow("p1", "myocardium", "dice", 0.5, ""),
      ...     SubjectRow("p1", "ventricle", "dice", 0.75, ""),
      ...     SubjectRow("p2", "ventricle", "dice", 0.875, ""),
      ... ]
      >>> mean(rows, "dice")
      0.75
    """
    by_subject: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        if row.metric == metric and not row.is_region and np.isfinite(row.value):
            by_subject[row.subject].append(row.value)
    if not by_subject:
        return float("nan")
    return float(np.mean([np.mean(values) for values in by_subject.values()]))


def _label(case: Case) -> np.ndarray:
    assert case.label is not None, f"{case.name} has no label"
    return case.label
