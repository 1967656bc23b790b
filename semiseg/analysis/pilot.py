"""What runs at hand say about the size of the next study: how much paired differences vary."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from semiseg.analysis import scores_csv
from semiseg.analysis.declaration import spelled
from semiseg.analysis.design import as_design
from semiseg.analysis.fold_planning import fold_components
from semiseg.analysis.pairing import paired
from semiseg.analysis.planning import Size, pooled
from semiseg.analysis.study import Comparison, Study
from semiseg.analysis.variance import Split, mean_squares, variance_split
from semiseg.data.info import numbered
from semiseg.errors import UserError, nearest


class Pilot(NamedTuple):
    """The spread of paired differences in a study.

    Attributes:
      components: root mean square over the comparisons.
      size: of the smallest comparison.
      labels: annotated subjects.
      comparisons: "A − B" of each.
      seconds: mean of a run; NaN where the runs do not record it.
      grouped: whether its subjects are groups of look-alikes.
      together: comparisons with the baseline at this label budget, whichever are in
        ``components``: the verdict's test lends variance among them.
      folds: of the cross-validation that the runs are of; 0 where they are of none.
    """

    components: Split
    size: Size
    labels: int
    comparisons: tuple[str, ...]
    seconds: float
    grouped: bool = False
    together: int = 1
    folds: int = 0


def pilot(
    s: Study,
    labels: int | None = None,
    arm: str | None = None,
) -> Pilot:
    """The variance components of the differences from the baseline at one label budget.

    Args:
      labels: the budget; by default the smallest with a comparison.
      arm: name of a compared setting; by default all of them are pooled.

    Raises:
      UserError: no such comparison, or fewer than two label subsets or subjects in it.
    """
    if arm is not None:
        arm = _arm(s, arm)
    comparisons = [c for c in s.comparisons if arm in (None, c.arm)]
    budgets = sorted({c.labels for c in comparisons})
    if labels is None and budgets:
        labels = budgets[0]
    comparisons = [c for c in comparisons if c.labels == labels]
    if labels is None or not comparisons:
        raise UserError(
            f"{s.data}: no two methods can be compared{_at(labels)}{_of(arm)}",
            remedy="give runs of two methods with the same label subsets, or the standard "
            "deviations by hand (--subset-sd …)",
        )
    if s.folds:
        return _fold_pilot(s, labels, comparisons)
    splits = []
    sizes = []
    seconds: list[float] = []
    grouped = False
    for c in comparisons:
        groups = [s.cells[name, labels].runs for name in (c.arm, c.baseline)]
        (target, reference), subset_R, _ = paired(groups, *s.scored)
        m = mean_squares(target - reference, subset_R)
        if m.subsets > 1 and m.subjects > 1:
            splits.append(variance_split(target - reference, subset_R))
            design = as_design(subset_R)
            grouped = grouped or design.group_S is not None
            sizes.append(Size(m.subsets, m.seeds, m.subjects, design.share))
            seconds += [float(run.summary.get("seconds_train") or np.nan) for run in groups[0]]
    if not splits:
        _check_subjects(s)
        raise UserError(
            f"{s.data}: one label subset or one subject{_at(labels)} does not say how much another "
            f"one changes a difference",
            remedy="run a second label subset, or give --subset-sd and the others by hand",
        )
    subsets, seeds, subjects, _ = np.min(sizes, axis=0).astype(int).tolist()
    smallest = Size(subsets, seeds, subjects, max(size.overlap for size in sizes))
    mean_seconds = float(np.nanmean(seconds)) if np.isfinite(seconds).any() else np.nan
    names = tuple(f"{c.arm} − {c.baseline}" for c in comparisons)
    together = sum(c.labels == labels for c in s.comparisons)
    return Pilot(pooled(splits), smallest, labels, names, mean_seconds, grouped, together)


def _fold_pilot(s: Study, labels: int, comparisons: list[Comparison]) -> Pilot:
    """The spread of the differences in a cross-validation."""
    arms = list(dict.fromkeys(c.arm for c in comparisons))
    splits = [fold_components(s, labels, arm) for arm in arms]
    subjects = min(c.difference.n_subjects for c in comparisons)
    seconds = [float(run.summary.get("seconds_train") or np.nan) for run in s.runs]
    mean_seconds = float(np.nanmean(seconds)) if np.isfinite(seconds).any() else np.nan
    names = tuple(f"{c.arm} − {c.baseline}" for c in comparisons)
    size = Size(1, 1, subjects)
    return Pilot(pooled(splits), size, labels, names, mean_seconds, folds=s.folds)


def _arm(s: Study, name: str) -> str:
    """A compared setting as the study spells it."""
    names = list(dict.fromkeys(c.arm for c in s.comparisons))
    arm = spelled(name, names)
    if names and arm not in names:
        raise UserError(f"{s.data}: no compared setting is called {name!r}{nearest(name, names)}")
    return arm


def _check_subjects(s: Study) -> None:
    """Refuse a results.csv without the scores of its subjects."""
    for run in s.runs:
        if run.table is not None and not scores_csv.place(run.path).is_file():
            raise UserError(
                f"{scores_csv.place(run.path).name} is missing beside it, so that nobody knows how "
                f"much subjects differ",
                where=run.path,
                remedy="name the run folders, or put it there",
            )


def _at(labels: int | None) -> str:
    if labels is None:
        return ""
    return f" at {numbered(labels, 'annotated subject')}"


def _of(arm: str | None) -> str:
    return "" if arm is None else f" for {arm!r}"
