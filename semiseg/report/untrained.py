"""Networks that have learnt nothing: they predict nearly every pixel as object, or none."""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter

import numpy as np

from semiseg.analysis.runs import Run
from semiseg.analysis.study import Study
from semiseg.report.facts import unit_of_annotation

EVERYTHING, NOTHING = "everything", "nothing"
FOUND = 0.9
"""Sensitivity above which a class counts as found."""
LARGEST_SHARE = 0.75
"""No object fills more than half of its images: a precision above this is learnt."""


@dataclasses.dataclass(frozen=True)
class Untrained:
    """The cells whose networks have learnt nothing.

    Attributes:
      budgets: by compared setting; None where it is untrained at all its budgets.
      every: whether this is all the cells of the study.
      kinds: what the networks predict: "everything", "nothing", or both.
      steps: numbers of training steps of these runs.
      unit: what one annotation is of.
    """

    budgets: dict[str, tuple[int, ...] | None]
    every: bool
    kinds: tuple[str, ...]
    steps: tuple[int, ...]
    unit: str


def untrained(s: Study) -> Untrained | None:
    """The fact for a warning; None where every network has learnt something."""
    cells = untrained_cells(s)
    if not cells:
        return None
    budgets: dict[str, tuple[int, ...] | None] = {}
    for arm in dict.fromkeys(arm for arm, _ in cells):
        labels = tuple(sorted(n for other, n in cells if other == arm))
        budgets[arm] = labels
        if len(labels) == sum(other == arm for other, _ in s.cells):
            budgets[arm] = None
    steps: set[int] = set()
    for key in cells:
        steps |= {run.steps for run in s.cells[key].runs}
    kinds = tuple(sorted(set(cells.values())))
    return Untrained(
        budgets,
        len(cells) == len(s.cells),
        kinds,
        tuple(sorted(steps)),
        unit_of_annotation(s.runs),
    )


@functools.lru_cache(8)
def untrained_cells(s: Study) -> dict[tuple[str, int], str]:
    """Cells in which more than half of the runs predict everything or nothing, and which of the
    two; at the last checkpoint.
    """
    result = {}
    for key, cell in s.cells.items():
        kinds = Counter(_prediction(run, s) for run in cell.runs)
        kind, n = kinds.most_common(1)[0]
        if kind and 2 * n > len(cell.runs):
            result[key] = kind
    return result


def _prediction(run: Run, s: Study) -> str:
    """Everything, nothing, or "" for a network that tells classes apart or is not known to.

    Nothing: no class is found in most subjects. Everything: every class is found (sensitivity
    above 0.9) at a precision of at most 1.5 times its share of the pixels in the stored examples.
    """
    sensitivity = _rows(run, s, "sensitivity")
    if run.table is not None or not sensitivity or not all(map(len, sensitivity)):
        return ""
    if all(np.median(row) < 0.005 for row in sensitivity):
        return NOTHING
    precision = _rows(run, s, "precision")
    if any(row.mean() < FOUND for row in sensitivity) or not all(map(len, precision)):
        return ""
    means = [float(row.mean()) for row in precision]
    if max(means) > LARGEST_SHARE:
        return ""
    examples = run.examples()
    if examples is None:
        return ""
    shares = [float((examples["label"] == k).mean()) for k in range(1, len(means) + 1)]
    if all(p <= 1.5 * share for p, share in zip(means, shares, strict=True)):
        return EVERYTHING
    return ""


def _rows(run: Run, s: Study, metric: str) -> list[np.ndarray]:
    """For each class the defined scores of the subjects; empty where nobody measured it."""
    rows = []
    for class_ in run.scores.classes:
        row = run.scores.row(metric, s.split, s.checkpoint, class_)
        if row is None:
            row = np.array([])
        rows.append(row[~np.isnan(row)])
    return rows
