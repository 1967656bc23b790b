"""How many annotations of the baseline a score is worth, and what more annotations gain."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Literal

import numpy as np

from semiseg.analysis.curves import (
    Equivalence,
    curve_interval,
    label_equivalence,
    pooling,
)
from semiseg.analysis.pairing import paired
from semiseg.analysis.power_law import PowerLaw
from semiseg.analysis.statistics import Interval, mean_interval
from semiseg.analysis.study import Study
from semiseg.evaluate.metrics import METRICS


@dataclasses.dataclass(frozen=True)
class Worth:
    """The score of a compared setting at one budget, in annotated subjects of the baseline.

    Attributes:
      arm: name of the compared setting.
      labels: annotated subjects that it was given.
      equivalence: annotated subjects of the baseline for the same score.
      paired_by: what pairs the runs beside the subject.
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
        """Whether the whole interval is above what the setting was given, or above all that the
        baseline was run with.
        """
        e = self.equivalence
        return bool(e.low > self.labels or (np.isinf(e.labels) and e.low >= e.largest))

    @property
    def below(self) -> bool:
        """Whether the whole interval is below what the setting was given, or below all that the
        baseline was run with.
        """
        e = self.equivalence
        return bool(e.high < self.labels or (e.labels == 0 and e.high <= e.smallest))

    @property
    def saves(self) -> bool:
        """Whether labels are saved: interval and test say so."""
        return self.above and self.tested in (None, 1)

    @property
    def costs(self) -> bool:
        """Whether more labels are needed: interval and test say so."""
        return self.below and self.tested in (None, -1)

    @property
    def verdict(self) -> Literal["saves", "costs", "undecided"]:
        """What interval and test say together.

        >>> Worth("UA-MT", 4, Equivalence(9.0, 5.5, 14.0, 4.0, 32.0), "label subset", 1).verdict
        'saves'
        """
        if self.saves:
            return "saves"
        return "costs" if self.costs else "undecided"


@functools.lru_cache(8)
def worth(s: Study) -> tuple[Worth, ...]:
    """Label equivalence of every cell of every setting but the baseline.

    It is empty without a baseline at two budgets or more, and of folds.
    """
    if not s.baseline or s.folds:
        return ()
    budgets = s.budgets_of(s.baseline)
    if len(budgets) < 2:
        return ()
    curve = [s.cells[s.baseline, n].runs for n in budgets]
    verdicts = {(c.arm, c.labels): s.verdict(c) for c in s.comparisons}
    results = []
    for cell in s.ordered_cells:
        if cell.arm == s.baseline:
            continue
        (target, *tables), subset_R, paired_by = paired([cell.runs, *curve], *s.scored)
        equivalence = label_equivalence(
            target,
            tables,
            subset_R,
            budgets,
            rising=s.sign > 0,
            labels=cell.labels,
        )
        tested = verdicts.get((cell.arm, cell.labels))
        results.append(Worth(cell.arm, cell.labels, equivalence, paired_by, tested))
    return tuple(results)


def plateaus(
    s: Study,
    arm: str,
) -> list[tuple[int, int]]:
    """First and last budget of each range over which a setting's mean does not improve.

    Label equivalence counts such a range as one level.
    """
    budgets = s.budgets_of(arm)
    mean_B = np.array([s.sign * s.cells[arm, n].interval.mean for n in budgets])
    ranges = []
    for row in pooling(mean_B):
        block = np.flatnonzero(row)
        ends = (budgets[block[0]], budgets[block[-1]])
        if len(block) > 1 and ends not in ranges:
            ranges.append(ends)
    return ranges


def gain(
    s: Study,
    arm: str,
    fewer: int,
    more: int,
) -> Interval:
    """What a setting gains from ``more`` annotated subjects over ``fewer``, paired.

    It is positive where ``more`` is better, for a distance as well.
    """
    cells = (s.cells[arm, fewer], s.cells[arm, more])
    (with_fewer, with_more), subset_R, _ = paired([cell.runs for cell in cells], *s.scored)
    return mean_interval(s.sign * (with_more - with_fewer), subset_R)


def learning_curve(
    s: Study, arm: str, at: Sequence[float]
) -> tuple[PowerLaw, list[Interval]] | None:
    """The power law through a setting's budgets and its interval at each of ``at``.

    None with fewer than three budgets.
    """
    budgets = s.budgets_of(arm)
    if len(budgets) < 3:
        return None
    tables, subset_R, _ = paired([s.cells[arm, n].runs for n in budgets], *s.scored)
    top = METRICS[s.metric].bounds[1]
    return curve_interval(
        tables,
        subset_R,
        budgets,
        at,
        rising=s.sign > 0,
        top=top,
    )
