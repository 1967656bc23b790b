"""How many annotations of the baseline a method's score is worth, and what more annotations gain."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from semiseg.analysis.curves import (
    Equivalence,
    PowerLaw,
    curve_interval,
    label_equivalence,
    pooling,
)
from semiseg.analysis.pairing import paired
from semiseg.analysis.statistics import Interval, mean_interval
from semiseg.analysis.study import Study
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
