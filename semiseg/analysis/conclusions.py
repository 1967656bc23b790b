"""What a study says beyond its cells: labels saved, learning curves, where the spread comes from, whether the ranking is stable.

Between :mod:`semiseg.analysis.compare` and the figures, tables and report.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from semiseg.analysis.compare import LOWER_IS_BETTER, SHARES, Study, paired
from semiseg.analysis.curves import Equivalence, PowerLaw, curve_interval, label_equivalence
from semiseg.analysis.statistics import Interval
from semiseg.analysis.variance import RankStability, Split, rank_stability, variance_split


@dataclasses.dataclass(frozen=True)
class Worth:
    """An arm's score at one budget, in annotated subjects of the baseline."""

    arm: str
    labels: int
    equivalence: Equivalence
    paired_by: str

    @property
    def saves(self) -> bool:
        """Whether the whole interval is above what the arm was given, or above all that the baseline was run with."""
        e = self.equivalence
        return e.low > self.labels or (np.isinf(e.labels) and e.low >= e.largest)

    @property
    def costs(self) -> bool:
        """The contrary."""
        e = self.equivalence
        return e.high < self.labels or (e.labels == 0 and e.high <= e.smallest)


@functools.lru_cache(8)
def worth(s: Study) -> tuple[Worth, ...]:
    """Label equivalence of every cell of every other arm; empty without a baseline at two budgets or more."""
    budgets = [n for arm, n in sorted(s.cells) if arm == s.baseline]
    if len(budgets) < 2 or not s.baseline:
        return ()
    curve = [s.cells[s.baseline, n].runs for n in budgets]
    found = []
    for (arm, labels), cell in sorted(s.cells.items(), key=lambda item: (list(s.arms).index(item[0][0]), item[0][1])):
        if arm != s.baseline:
            (target, *tables), subset_R, paired_by = paired([cell.runs, *curve], s.metric, s.split, s.checkpoint)
            equivalence = label_equivalence(target, tables, subset_R, budgets, rising=s.metric not in LOWER_IS_BETTER)
            found.append(Worth(arm, labels, equivalence, paired_by))
    return tuple(found)


def learning_curve(s: Study, arm: str, at: Sequence[float]) -> tuple[PowerLaw, list[Interval]] | None:
    """The power law through an arm's budgets and its interval at each of ``at``; None with fewer than three budgets."""
    budgets = [n for a, n in sorted(s.cells) if a == arm]
    if len(budgets) < 3:
        return None
    tables, subset_R, _ = paired([s.cells[arm, n].runs for n in budgets], s.metric, s.split, s.checkpoint)
    top = 1.0 if s.metric in SHARES else np.inf
    return curve_interval(tables, subset_R, budgets, at, rising=s.metric not in LOWER_IS_BETTER, top=top)


def splits(s: Study) -> dict[int, Split]:
    """Variance components at each budget: of the baseline, else of the first arm there."""
    found = {}
    for n in s.budgets:
        arm = next(a for a in ([s.baseline] if (s.baseline, n) in s.cells else []) + list(s.arms) if (a, n) in s.cells)
        runs = s.cells[str(arm), n].runs
        found[n] = variance_split(runs.matrix(s.metric, s.split, s.checkpoint)[1], [run.label_subset for run in runs])
    return found


def ranking(s: Study, labels: int) -> RankStability | None:
    """How stable the order of the arms is across label subsets at one budget; None where fewer than two arms share two subsets."""
    arms = [arm for arm in s.arms if (arm, labels) in s.cells]
    sign = -1 if s.metric in LOWER_IS_BETTER else 1
    tables, subset_R, _ = paired([s.cells[arm, labels].runs for arm in arms], s.metric, s.split, s.checkpoint)
    subsets = list(dict.fromkeys(subset_R))
    if len(arms) < 2 or len(subsets) < 2:
        return None
    rows = [[i for i, other in enumerate(subset_R) if other == subset] for subset in subsets]
    return rank_stability(np.array([[sign * np.nanmean(table[members]) for table in tables] for members in rows]))
