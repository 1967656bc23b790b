"""Scoring by subject: slices are stacked to their volume, a volume is scored whole, a subject's
volumes are averaged.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from semiseg.evaluate.metrics import EmptyPolicy, score
from semiseg.types import Case


class SubjectRow(NamedTuple):
    """One number: a subject's, for a class and a metric."""

    subject: str
    class_: str
    metric: str
    value: float
    unit: str


def score_subjects(
    cases: Sequence[Case], predictions: Sequence[np.ndarray], classes: Sequence[str], unit: str,
    *, metrics: Sequence[str] | None = None, policy: EmptyPolicy | None = None,
) -> list[SubjectRow]:  # fmt: skip
    """Rows of every subject and foreground class.

    Args:
      cases: annotated records; those of one volume in any order, or whole volumes.
      predictions: ``(H, W)`` or ``(D, H, W)`` labels of each.
      classes: names, background first.
      unit: of the spacing, written beside distances.

    A subject with several volumes (two heart phases, say) gets their mean; a metric that is
    undefined for a volume under ``policy`` is NaN and left out of it.
    """
    policy = policy or EmptyPolicy()
    volumes: dict[str, list[int]] = defaultdict(list)
    for i, case in enumerate(cases):
        volumes[case.volume].append(i)
    found: dict[tuple[str, str, str, str], list[float]] = defaultdict(list)
    for members in volumes.values():
        members.sort(key=lambda i: cases[i].index)
        first = cases[members[0]]
        truth = np.stack([_label(cases[i]) for i in members])
        prediction = np.stack([predictions[i] for i in members])
        spacing = first.spacing
        if (
            truth.shape[0] == 1 and len(spacing) == truth.ndim - 1
        ):  # an image, or a volume that is one record
            truth, prediction = truth[0], prediction[0]
        for row in score(
            prediction, truth, spacing, classes, metrics=metrics, policy=policy, unit=unit
        ):
            found[first.subject, row.class_, row.metric, row.unit].append(row.value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the mean of nothing but NaN is NaN
        return [
            SubjectRow(s, c, m, float(np.nanmean(values)), u)
            for (s, c, m, u), values in found.items()
        ]


def mean(rows: Sequence[SubjectRow], metric: str) -> float:
    """Mean over foreground classes, then over subjects, NaN left out: the number tables report."""
    by_subject: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        if row.metric == metric and np.isfinite(row.value):
            by_subject[row.subject].append(row.value)
    return float(np.mean([np.mean(v) for v in by_subject.values()])) if by_subject else float("nan")


def _label(case: Case) -> np.ndarray:
    assert case.label is not None, f"{case.name} has no label"
    return case.label
