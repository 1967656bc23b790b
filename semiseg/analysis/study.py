"""A study: compared settings × label budgets, each cell with an interval, each setting paired with
the baseline.

Between :mod:`semiseg.analysis.statistics`, which knows only arrays, and the figures, tables and
report, which only show a :class:`Study`.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from semiseg.analysis.arms import find_arms, find_baseline
from semiseg.analysis.pairing import compared_scores, paired, replicates
from semiseg.analysis.runs import Run, Runs
from semiseg.analysis.statistics import (
    Interval,
    holm,
    mean_interval,
    mean_test,
    minimum_detectable,
    subject_means,
)
from semiseg.analysis.subject_tests import Effect, effect_size, sign_flip_test, wilcoxon_test
from semiseg.errors import UserError
from semiseg.evaluate.metrics import METRICS, metric_of

FEW_SUBSETS = 3
"""Label subsets below which a comparison is also tested by permutation of subjects."""
FEW_SUBJECTS = 6
"""Scored subjects below which no method is recommended: with 5 the smallest two-sided p of a
sign-flip test is 2/2^5 = 0.06.
"""


class Scored(NamedTuple):
    """Which scores a study is about: one metric, on one split, at one checkpoint."""

    metric: str
    split: str
    checkpoint: str


@dataclasses.dataclass(frozen=True)
class Cell:
    """One compared setting at one label budget.

    Attributes:
      arm: name of the compared setting.
      labels: annotated subjects.
      runs: those that have scores.
      mean_R: a mean for each run, in the order of ``runs``.
      interval: of the mean over :func:`~semiseg.analysis.pairing.replicates`.
    """

    arm: str
    labels: int
    runs: Runs
    mean_R: np.ndarray
    interval: Interval


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A compared setting minus the baseline at one label budget, paired by subject.

    Attributes:
      arm: name of the compared setting.
      baseline: name of the baseline.
      labels: annotated subjects of both.
      difference: mean difference with its interval.
      p: for other label subsets, seeds and subjects (:func:`mean_test`). With fewer than three
        label subsets, where that test is less sure of itself (experiments/results/statistics.csv),
        the larger of it and of a permutation of subjects for the models at hand. That one needs no
        normal distribution, but with S subjects it is never below 2^(1-S): corrected for many
        methods, ten subjects show nothing.
      p_holm: ``p`` corrected for all comparisons of the study.
      paired_by: what pairs the runs beside the subject, see
        :data:`~semiseg.analysis.pairing.PAIRINGS`.
      p_wilcoxon: by subject, beside it.
      effect: how large the difference is, beside its own unit.
      detectable: the difference that a study with this spread would find with a power of 80 %; NaN
        where no test can be significant.
    """

    arm: str
    baseline: str
    labels: int
    difference: Interval
    p: float
    p_holm: float
    paired_by: str
    p_wilcoxon: float = np.nan
    effect: Effect = Effect(np.nan, np.nan)
    detectable: float = np.nan

    @property
    def significant(self) -> bool:
        """Whether the test, corrected for the number of comparisons, and the interval say so."""
        apart = self.difference.low > 0 or self.difference.high < 0
        return self.p_holm < 0.05 and apart


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

    @property
    def scored(self) -> Scored:
        """Which scores the study is about."""
        return Scored(self.metric, self.split, self.checkpoint)

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
) -> Study:
    """Intervals and comparisons of the runs of one data set.

    Args:
      runs: of one data set.
      metric: a name of :data:`semiseg.evaluate.metrics.METRICS`.
      split: "val" or "test".
      checkpoint: "last" or "val_best".
      tests: False leaves the comparisons out. Only the primary metric is tested, or Holm's family
        would have to hold every metric.

    Raises:
      UserError: the runs are of several data sets, or were never scored so.
    """
    scored = Scored(metric_of(metric).name, split, checkpoint)
    data = sorted({run.data for run in runs})
    if len(data) != 1:
        raise UserError(
            f"runs of several data sets ({', '.join(data)}) have no common curve",
            remedy=f"take one with runs.where(data={data[0]!r})",
        )
    _check_told_apart(runs)
    arms = find_arms(runs)
    cells = _cells(arms, scored)
    if not cells:
        raise _never_scored(runs[0], scored)
    with_scores = {arm for arm, _ in cells}
    arms = {arm: members for arm, members in arms.items() if arm in with_scores}
    baseline = find_baseline(arms)
    comparisons = compare(cells, baseline, scored) if baseline and tests else []
    unit = next((run.scores.units.get(metric, "") for run in runs), "")
    return Study(
        data[0],
        *scored,
        unit,
        arms,
        cells,
        comparisons,
        baseline,
    )


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


# ------------------------------------------------------------------ cells
def _cells(
    arms: dict[str, Runs],
    scored: Scored,
) -> dict[tuple[str, int], Cell]:
    cells = {}
    for arm, members in arms.items():
        for labels in sorted({run.labels for run in members}):
            cell = _cell(arm, labels, members.where(labels=labels), scored)
            if cell is not None:
                cells[arm, labels] = cell
    return cells


def _cell(
    arm: str,
    labels: int,
    runs: Runs,
    scored: Scored,
) -> Cell | None:
    """The scores of the runs; None where none of them has any."""
    _, values_RS = compared_scores(runs, *scored)
    has_scores = np.flatnonzero(~np.isnan(values_RS).all(1)).tolist()
    if not has_scores:
        return None
    runs = Runs([runs[r] for r in has_scores])
    values_RS = values_RS[has_scores]
    rows, subset_R = replicates(runs)
    lowest, highest = METRICS[scored.metric].bounds
    interval = mean_interval(values_RS[rows], subset_R)
    interval = interval._replace(low=max(interval.low, lowest), high=min(interval.high, highest))
    return Cell(arm, labels, runs, np.nanmean(values_RS, 1), interval)


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


# ------------------------------------------------------------------ comparisons
def compare(
    cells: dict[tuple[str, int], Cell],
    baseline: str,
    scored: Scored,
) -> list[Comparison]:
    """Every compared setting against the baseline, at every budget that both have.

    Together they are one family for Holm's correction.
    """
    comparisons = [
        _compare(cell, cells[baseline, cell.labels], scored)
        for cell in cells.values()
        if cell.arm != baseline and (baseline, cell.labels) in cells
    ]
    corrected = holm([c.p for c in comparisons]).tolist()
    return [dataclasses.replace(c, p_holm=p) for c, p in zip(comparisons, corrected, strict=True)]


def _compare(
    cell: Cell,
    base: Cell,
    scored: Scored,
) -> Comparison:
    """A comparison whose ``p_holm`` is not known yet."""
    (target, reference), subset_R, paired_by = paired([cell.runs, base.runs], *scored)
    values_RS = target - reference
    difference_S = subject_means(values_RS, subset_R)
    p = mean_test(values_RS, subset_R)
    p_wilcoxon = np.nan
    detectable = minimum_detectable(values_RS, subset_R)
    from_folders = all(run.table is None for run in (*cell.runs, *base.runs))
    if difference_S.size > 1 or from_folders:
        p_wilcoxon = wilcoxon_test(difference_S)
        if len(set(subset_R)) < FEW_SUBSETS:
            p = float(np.fmax(p, sign_flip_test(difference_S)))
            if np.count_nonzero(~np.isnan(difference_S)) < FEW_SUBJECTS:
                detectable = np.nan
    return Comparison(
        cell.arm,
        base.arm,
        cell.labels,
        mean_interval(values_RS, subset_R),
        p,
        np.nan,
        paired_by,
        p_wilcoxon,
        effect_size(difference_S),
        detectable,
    )
