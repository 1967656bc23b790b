"""A study: compared settings × label budgets, each cell with an interval, each setting paired with
the baseline.

Between :mod:`semiseg.analysis.statistics`, which knows only arrays, and the figures, tables and
report, which only show a :class:`Study`.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any, Literal

from semiseg.analysis.arms import find_arms, find_baseline
from semiseg.analysis.cells import Cell, Scored, cells_of
from semiseg.analysis.comparisons import (
    FEW_SUBJECTS,
    FEW_SUBSETS,
    Comparison,
    compare,
    compare_couples,
    correct,
    pairs,
)
from semiseg.analysis.declaration import Primary
from semiseg.analysis.fold_design import check_folds
from semiseg.analysis.runs import Run, Runs
from semiseg.errors import UserError
from semiseg.evaluate.metrics import METRICS, metric_of

__all__ = [
    "FEW_SUBJECTS",
    "FEW_SUBSETS",
    "Cell",
    "Comparison",
    "Scored",
    "Study",
    "all_pairs",
    "correct_together",
    "curve_runs",
    "ratio_runs",
    "study",
]


@dataclasses.dataclass(frozen=True, eq=False)
class Study:
    """All compared settings on one data set, for one metric, split and checkpoint.

    Cells and comparisons are of absolute values where the metric is best at zero. Studies are
    compared by identity, so that what is derived from one can be remembered.

    Attributes:
      data: name of the data set.
      metric, split, checkpoint: which scores.
      unit: of the metric; "" for a ratio.
      arms: name of each compared setting → its runs.
      cells: (name, annotated subjects) → its scores.
      comparisons: of every other setting with the baseline, at every budget that both have.
      baseline: name of the compared setting that the others are compared with.
      primary: the comparison declared before the runs; None if all are exploratory.
      pairs: of the other settings with each other, where all pairs are one family with
        ``comparisons``; else empty.
    """

    data: str
    metric: str
    split: str
    checkpoint: str
    unit: str
    arms: dict[str, Runs]
    cells: dict[tuple[str, int], Cell]
    comparisons: list[Comparison]
    baseline: str | None
    primary: Primary | None = None
    pairs: list[Comparison] = dataclasses.field(default_factory=list)

    @property
    def scored(self) -> Scored:
        """Which scores the study is about."""
        return Scored(self.metric, self.split, self.checkpoint)

    @property
    def folds(self) -> int:
        """Folds of the cross-validation that the runs are of; 0 where they are of none."""
        return next(iter(self.cells.values())).interval.n_folds

    @property
    def budgets(self) -> list[int]:
        """All label budgets, ascending."""
        return sorted({labels for _, labels in self.cells})

    def budgets_of(self, arm: str) -> list[int]:
        """Label budgets of one compared setting, ascending."""
        return sorted(labels for name, labels in self.cells if name == arm)

    @property
    def shared_budgets(self) -> list[int]:
        """Budgets at which every compared setting has runs."""
        shared = set(self.budgets)
        for arm in self.arms:
            shared &= set(self.budgets_of(arm))
        return sorted(shared)

    @property
    def ordered_cells(self) -> list[Cell]:
        """All cells in the order of the compared settings, then of the budgets."""
        cells = []
        for arm in self.arms:
            cells += [self.cells[arm, n] for n in self.budgets_of(arm)]
        return cells

    @property
    def sign(self) -> int:
        """1 where more of what is compared is better, -1 where less is."""
        return METRICS[self.metric].sign

    def verdict(self, c: Comparison) -> int:
        """1: the setting is significantly better than the baseline, -1: worse, 0: undecided."""
        if not c.significant:
            return 0
        return 1 if self.sign * c.difference.mean > 0 else -1

    @property
    def runs(self) -> Runs:
        """The runs of all compared settings."""
        runs: list[Run] = []
        for members in self.arms.values():
            runs += members
        return Runs(runs)


def study(
    runs: Runs,
    metric: str = "dice",
    split: str = "val",
    checkpoint: str = "last",
    tests: bool = True,
    *,
    baseline: str | None = None,
    primary: Primary | None = None,
    family: Literal["baseline", "pairs"] = "baseline",
) -> Study:
    """Intervals and comparisons of the runs of one data set.

    Args:
      runs: of one data set.
      metric: a name of :data:`semiseg.evaluate.metrics.METRICS`.
      split: "val" or "test".
      checkpoint: "last" or "val_best".
      tests: False leaves the comparisons out. Only the primary metric is tested, or the family
        would have to hold every metric.
      baseline: name of the compared setting that the others are compared with, see
        :func:`semiseg.analysis.arms.find_arms`; by default the supervised one.
      primary: a comparison declared before the runs, which is tested by itself.
      family: which comparisons are corrected together: those with the baseline, or all pairs at
        every budget. Of each pair the later one in the order of the settings is compared with the
        earlier one, and everything with the baseline.

    Raises:
      UserError: the runs are of several data sets, or were never scored so; or nothing is called
        as ``baseline`` or ``primary`` say; or their folds do not make one cross-validation, see
        :func:`semiseg.analysis.fold_design.check_folds`.
    """
    scored = Scored(metric_of(metric).name, split, checkpoint)
    data = sorted({run.data for run in runs})
    if len(data) != 1:
        raise UserError(
            f"runs of several data sets ({', '.join(data)}) have no common curve",
            remedy=f"take one with runs.where(data={data[0]!r})",
        )
    check_folds(runs, scored.split)
    _check_told_apart(runs)
    arms = find_arms(runs)
    cells = cells_of(arms, scored)
    if not cells:
        raise _never_scored(runs[0], scored)
    with_scores = {arm for arm, _ in cells}
    arms = {arm: members for arm, members in arms.items() if arm in with_scores}
    baseline = _baseline(arms, baseline)
    comparisons: list[Comparison] = []
    others: list[Comparison] = []
    if baseline and tests:
        _check_primary(cells, baseline, primary)
        if family == "baseline":
            comparisons = compare(cells, baseline, scored, primary)
    if tests and family == "pairs":
        comparisons, others = _every_pair(cells, baseline, scored, primary)
    unit = next((run.scores.units.get(metric, "") for run in runs), "")
    return Study(
        data[0],
        *scored,
        unit,
        arms,
        cells,
        comparisons,
        baseline,
        primary,
        others,
    )


def _every_pair(
    cells: dict[tuple[str, int], Cell],
    baseline: str | None,
    scored: Scored,
    primary: Primary | None,
) -> tuple[list[Comparison], list[Comparison]]:
    """All pairs at every budget as one family: those with the baseline, and the others."""
    with_baseline = []
    others = []
    for one, other in itertools.combinations(cells.values(), 2):
        if one.labels != other.labels:
            continue
        if one.arm == baseline:
            with_baseline.append((other, one))
        elif other.arm == baseline:
            with_baseline.append((one, other))
        else:
            others.append((other, one))
    family = compare_couples([*with_baseline, *others], scored, primary, baseline)
    return family[: len(with_baseline)], family[len(with_baseline) :]


def all_pairs(s: Study, labels: int) -> list[Comparison]:
    """Every compared setting against every other one at one budget, corrected as one family.

    Of each pair the later one in the order of the study is compared with the earlier one.
    """
    at_budget = [s.cells[arm, labels] for arm in s.arms if (arm, labels) in s.cells]
    return pairs(at_budget, s.scored)


def correct_together(studies: Sequence[Study]) -> list[Study]:
    """The studies with all their comparisons corrected as one family.

    What stands on one page is read as one study: the curve, and the mixes with synthetic images.
    """
    every: list[Comparison] = []
    for s in studies:
        every += s.comparisons
        every += s.pairs
    declared = next((s for s in studies if s.primary is not None), None)
    if declared is None:
        corrected = iter(correct(every))
    else:
        corrected = iter(correct(every, declared.primary, declared.baseline))
    results = []
    for s in studies:
        comparisons = [next(corrected) for _ in s.comparisons]
        others = [next(corrected) for _ in s.pairs]
        results.append(dataclasses.replace(s, comparisons=comparisons, pairs=others))
    return results


def curve_runs(runs: Runs) -> Runs:
    """What belongs on the label-efficiency curve: runs without synthetic images.

    A method that was never run without them has all its runs there.
    """
    plain = {run.method for run in runs if not run.ratio}
    return Runs([run for run in runs if not run.ratio or run.method not in plain], runs.problems)


def ratio_runs(runs: Runs) -> Runs | None:
    """Runs with synthetic images, and runs of the same methods without, at the same label budgets.

    The latter are of the same label subsets and seeds where there are such. None if there is
    nothing to stand beside the former.
    """
    mixed = [run for run in runs if run.ratio]
    budgets = {_budget(run) for run in mixed}
    replicas = {_replica(run) for run in mixed}
    plain = [run for run in runs if not run.ratio and _budget(run) in budgets]
    same = [run for run in plain if _replica(run) in replicas]
    covered = {_budget(run) for run in same}
    beside = same + [run for run in plain if _budget(run) not in covered]
    if not beside:
        return None
    methods = {run.method for run in beside}
    return Runs([*beside, *(run for run in mixed if run.method in methods)], runs.problems)


def _budget(run: Run) -> tuple[Any, ...]:
    return (run.method, run.labels)


def _replica(run: Run) -> tuple[Any, ...]:
    return (run.method, run.labels, run.label_subset, run.seed)


def _baseline(arms: dict[str, Runs], name: str | None) -> str | None:
    """The setting of this name; without a name the usual one."""
    if name is None:
        return find_baseline(arms)
    if name not in arms:
        raise UserError(
            f"no compared setting is called {name!r}", remedy=f"take one of {', '.join(arms)}"
        )
    return name


def _check_primary(
    cells: dict[tuple[str, int], Cell], baseline: str, primary: Primary | None
) -> None:
    """Refuse a declared comparison that the runs do not hold."""
    if primary is None:
        return
    possible = [
        str(Primary(arm, labels))
        for arm, labels in cells
        if arm != baseline and (baseline, labels) in cells
    ]
    if str(primary) not in possible:
        raise UserError(
            f"no runs compare {primary} with {baseline}",
            remedy=f"take one of {', '.join(possible)}",
        )


def _never_scored(run: Run, scored: Scored) -> UserError:
    split = "test" if scored.split == "test" else "val"
    return UserError(
        f"no run has {scored.metric} on {scored.split} at checkpoint {scored.checkpoint}",
        where=run.folder.scores,
        remedy=f"run `semiseg evaluate RUN --split {split}` first",
    )


def _check_told_apart(runs: Runs) -> None:
    """Refuse runs of a results.csv that differ only in what its columns do not hold.

    As replicates of each other they would narrow an interval.
    """
    first: dict[tuple[Any, ...], Run] = {}
    for run in runs:
        if run.table is None:
            continue
        *factors, _ = run.order  # without the name
        other = first.setdefault((run.path, *factors, run.init), run)
        if other is not run:
            raise UserError(
                f"runs {other.name} and {run.name} are alike in all columns that say what a run "
                f"is, so they differ in something else (which synthetic images, how they are "
                f"mixed, a learning rate …)",
                where=run.path,
                remedy="give the run folders instead of the table, or runs.where(ratio=0)",
            )
