"""What a study says beyond its cells: labels saved, learning curves, where the spread comes from,
whether the ranking is stable.

Between :mod:`semiseg.analysis.study` and the figures, tables and report.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Hashable, Iterable, Sequence

import numpy as np

from semiseg.analysis.curves import (
    Equivalence,
    PowerLaw,
    curve_interval,
    label_equivalence,
    pooling,
)
from semiseg.analysis.runs import Runs
from semiseg.analysis.statistics import Interval, mean_interval, subject_means
from semiseg.analysis.study import (
    CONTROLS,
    Study,
    compared_scores,
    paired,
    replicates,
    source_title,
    title,
)
from semiseg.analysis.variance import RankStability, Split, rank_stability, variance_split
from semiseg.errors import UserError
from semiseg.evaluate.metrics import METRICS


@dataclasses.dataclass(frozen=True)
class Worth:
    """An arm's score at one budget, in annotated subjects of the baseline.

    Attributes:
      tested: the verdict of the paired comparison at the same budget (1 better, -1 worse, 0
        undecided), None where there is none. It is corrected for the number of comparisons, which
        the interval of ``equivalence`` is not: labels are saved where both say so.
    """

    arm: str
    labels: int
    equivalence: Equivalence
    paired_by: str
    tested: int | None = None

    @property
    def above(self) -> bool:
        """Whether the whole interval is above what the arm was given, or above all that the
        baseline was run with.
        """
        e = self.equivalence
        return bool(e.low > self.labels or (np.isinf(e.labels) and e.low >= e.largest))

    @property
    def below(self) -> bool:
        """The contrary."""
        e = self.equivalence
        return bool(e.high < self.labels or (e.labels == 0 and e.high <= e.smallest))

    @property
    def saves(self) -> bool:
        return self.above and self.tested in (None, 1)

    @property
    def costs(self) -> bool:
        return self.below and self.tested in (None, -1)

    @property
    def verdict(self) -> str:
        """``saves``, ``costs`` or ``undecided``."""
        return "saves" if self.saves else "costs" if self.costs else "undecided"


@functools.lru_cache(8)
def worth(s: Study) -> tuple[Worth, ...]:
    """Label equivalence of every cell of every other arm; empty without a baseline at two budgets
    or more.
    """
    budgets = [n for arm, n in sorted(s.cells) if arm == s.baseline]
    if len(budgets) < 2 or not s.baseline:
        return ()
    curve = [s.cells[s.baseline, n].runs for n in budgets]
    verdicts = {(c.arm, c.labels): s.verdict(c) for c in s.comparisons}
    found = []
    for (arm, labels), cell in sorted(
        s.cells.items(), key=lambda item: (list(s.arms).index(item[0][0]), item[0][1])
    ):
        if arm != s.baseline:
            (target, *tables), subset_R, paired_by = paired(
                [cell.runs, *curve], s.metric, s.split, s.checkpoint
            )
            equivalence = label_equivalence(target, tables, subset_R, budgets, rising=s.sign > 0)
            found.append(Worth(arm, labels, equivalence, paired_by, verdicts.get((arm, labels))))
    return tuple(found)


def plateaus(s: Study, arm: str) -> list[tuple[int, int]]:
    """Ranges of budgets over which an arm's mean does not improve: label equivalence counts each as
    one level.
    """
    budgets = [n for a, n in sorted(s.cells) if a == arm]
    pool_BB = pooling(np.array([s.sign * s.cells[arm, n].interval.mean for n in budgets]))
    blocks = dict.fromkeys(tuple(np.flatnonzero(row).tolist()) for row in pool_BB)
    return [(budgets[block[0]], budgets[block[-1]]) for block in blocks if len(block) > 1]


def gain(s: Study, arm: str, fewer: int, more: int) -> Interval:
    """What an arm gains from ``more`` annotated subjects over ``fewer``, paired; positive where it
    is better, for a distance as well.
    """
    (low, high), subset_R, _ = paired(
        [s.cells[arm, fewer].runs, s.cells[arm, more].runs], s.metric, s.split, s.checkpoint
    )
    return mean_interval(s.sign * (high - low), subset_R)


def learning_curve(
    s: Study, arm: str, at: Sequence[float]
) -> tuple[PowerLaw, list[Interval]] | None:
    """The power law through an arm's budgets and its interval at each of ``at``; None with fewer
    than three budgets.
    """
    budgets = [n for a, n in sorted(s.cells) if a == arm]
    if len(budgets) < 3:
        return None
    tables, subset_R, _ = paired(
        [s.cells[arm, n].runs for n in budgets], s.metric, s.split, s.checkpoint
    )
    top = METRICS[s.metric].bounds[1]
    return curve_interval(tables, subset_R, budgets, at, rising=s.sign > 0, top=top)


def splits(s: Study) -> dict[int, Split]:
    """Variance components at each budget: of the baseline, else of the first arm there."""
    found = {}
    for n in s.budgets:
        arm = next(
            a
            for a in ([s.baseline] if (s.baseline, n) in s.cells else []) + list(s.arms)
            if (a, n) in s.cells
        )
        runs = s.cells[str(arm), n].runs
        rows, subset_R = replicates(runs)
        _, values_RS = compared_scores(runs, s.metric, s.split, s.checkpoint)
        found[n] = variance_split(values_RS[rows], subset_R)
    return found


def ranking(s: Study, labels: int) -> RankStability | None:
    """How stable the order of the arms is across label subsets at one budget; None where fewer than
    two arms share two subsets.
    """
    arms = [arm for arm in s.arms if (arm, labels) in s.cells]
    tables, subset_R, _ = paired(
        [s.cells[arm, labels].runs for arm in arms], s.metric, s.split, s.checkpoint
    )
    subsets = list(dict.fromkeys(subset_R))
    if len(arms) < 2 or len(subsets) < 2:
        return None
    rows = [[i for i, other in enumerate(subset_R) if other == subset] for subset in subsets]
    return rank_stability(
        np.array([[s.sign * np.nanmean(table[members]) for table in tables] for members in rows])
    )


@dataclasses.dataclass(frozen=True)
class Mix:
    """A method with synthetic images at one budget and ratio.

    Attributes:
      line: what it shares with the other ratios: the kind of images, and settings that differ.
      source: the arm that made the images, see :data:`semiseg.analysis.study.SOURCES`; "" for a
        set of one's own.
      score: of its runs.
      alone: of the same method with real images alone.
      gain: over that, paired; positive where it is better, for a distance as well.
      beside: the same over each control with as many images, by the control's line.
    """

    line: str
    source: str
    labels: int
    ratio: float
    score: Interval
    alone: Interval
    gain: Interval
    beside: dict[str, Interval]


@functools.lru_cache(8)
def mixes(s: Study) -> tuple[Mix, ...]:
    """All mixes that stand beside the same method without synthetic images, lines in the order of
    the arms; controls last.

    Raises UserError where there is none.
    """
    plain = [arm for arm, runs in s.arms.items() if not runs[0].ratio]
    arms = [arm for arm, runs in s.arms.items() if runs[0].ratio]
    methods = {s.arms[arm][0].method for arm in arms}
    found: list[Mix] = []
    for arm in sorted(arms, key=lambda arm: s.arms[arm][0].source in CONTROLS):
        first = s.arms[arm][0]
        details = [part for part in _details(arm) if not part.startswith("ratio ")]
        near = [other for other in plain if s.arms[other][0].method == first.method]
        base = max(near, key=lambda other: len(set(_details(other)) & set(details)), default=None)
        line = ", ".join([title(first.method)] * (len(methods) > 1) + details) or source_title(
            first.source
        )
        for labels in sorted(n for a, n in s.cells if a == arm and (base, n) in s.cells):
            score, alone = s.cells[arm, labels], s.cells[str(base), labels]
            gain = _beyond(s, score.runs, alone.runs)
            beside = _controls(s, arm, labels) if first.source not in CONTROLS else {}
            found.append(
                Mix(
                    line,
                    first.source,
                    labels,
                    first.ratio,
                    score.interval,
                    alone.interval,
                    gain,
                    beside,
                )
            )
    if not found:
        raise UserError(
            f"{s.data}: no run with synthetic images stands beside one of the same method without"
        )
    return tuple(found)


def table_mixes(rows: Iterable[tuple[str, str, int, Hashable, int, float, float]]) -> list[Mix]:
    """Mixes of a table with a mean per run: rows ``(line, arm, labels, label_subset, seed, ratio,
    score)``, ratio 0 with real images alone.

    Pairs are of one budget, label subset and seed; runs without such a partner are left out.
    Controls come last.
    """
    alone: dict[tuple[Hashable, ...], float] = {}
    cells: dict[tuple[str, str, int, float], dict[tuple[Hashable, ...], float]] = {}
    for line, arm, labels, subset, seed, ratio, score in rows:
        if ratio:
            cells.setdefault((line, arm, labels, ratio), {})[labels, subset, seed] = score
        else:
            alone[labels, subset, seed] = score
    found = []
    for (line, arm, labels, ratio), cell in sorted(
        cells.items(), key=lambda item: item[0][1] in CONTROLS
    ):
        shared = sorted(cell.keys() & alone.keys(), key=str)
        if shared:
            mine, theirs = (np.array([[scores[key]] for key in shared]) for scores in (cell, alone))
            score_, alone_, gain_ = (
                mean_interval(values, [key[1] for key in shared])
                for values in (mine, theirs, mine - theirs)
            )
            found.append(Mix(line, arm, labels, ratio, score_, alone_, gain_, {}))
    return found


def _controls(s: Study, arm: str, labels: int) -> dict[str, Interval]:
    """An arm's difference from the control arms that differ from it by the images alone: of its
    method, ratio, other settings and budget.
    """
    treatment = lambda arm, run: (
        run.method,
        run.ratio,
        set(_details(arm)) - {source_title(run.source)},
    )
    mine, found = s.cells[arm, labels].runs, {}
    for other, runs in s.arms.items():
        if (
            runs[0].source in CONTROLS
            and treatment(other, runs[0]) == treatment(arm, mine[0])
            and (other, labels) in s.cells
        ):
            found[source_title(runs[0].source)] = _beyond(s, mine, s.cells[other, labels].runs)
    return found


def _beyond(s: Study, runs: Runs, others: Runs) -> Interval:
    (mine, theirs), subset_R, _ = paired([runs, others], s.metric, s.split, s.checkpoint)
    return mean_interval(s.sign * (mine - theirs), subset_R)


def _details(arm: str) -> list[str]:
    """The settings in an arm's name: ``supervised (SPADE images, ratio 0.5)``."""
    return arm.partition(" (")[2].removesuffix(")").split(", ") if " (" in arm else []


def subject_scores(s: Study, labels: int | None = None) -> dict[str, np.ndarray]:
    """Arm → score of each subject, averaged over its runs at one budget (the smallest that all
    share).
    """
    labels = min(s.shared_budgets or s.budgets) if labels is None else labels
    found = {}
    for arm in s.arms:
        if (arm, labels) in s.cells:
            members = s.cells[arm, labels].runs
            rows, subset_R = replicates(members)
            _, values_RS = compared_scores(members, s.metric, s.split, s.checkpoint)
            score_S = subject_means(values_RS[rows], subset_R)
            found[arm] = score_S[~np.isnan(score_S)]
    return found
