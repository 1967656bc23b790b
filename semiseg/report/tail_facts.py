"""What a mean hides, for the setting that the first screen names and the baseline: facts.

The tables of :mod:`semiseg.report.subject_details` have it for every setting.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from semiseg.analysis.false_alarms import false_alarms
from semiseg.analysis.statistics import Interval
from semiseg.analysis.study import Cell, Comparison, Study
from semiseg.analysis.tails import FAILURE, failure_rate
from semiseg.evaluate.metrics import METRICS
from semiseg.report.facts import Budget, budget, smallest_budget
from semiseg.report.subject_details import bounded_interval, cell_scores, worst_tenth

FOUND = "lesion_sensitivity"
FALSE = "false_positive_lesions"


@dataclasses.dataclass(frozen=True)
class OfSetting:
    """One number of a setting, and a second one where there is one."""

    arm: str
    first: Interval
    second: Interval | None = None


@dataclasses.dataclass(frozen=True)
class Worst:
    """The mean of the worst tenth of each setting, and its share of failures."""

    settings: tuple[OfSetting, ...]
    below: float
    budget: Budget
    metric: str
    length_unit: str


@dataclasses.dataclass(frozen=True)
class Lesions:
    """The share of lesions that each setting finds, and the false ones in an image."""

    settings: tuple[OfSetting, ...]
    budget: Budget


@dataclasses.dataclass(frozen=True)
class Healthy:
    """In how many healthy subjects each setting predicts something."""

    settings: tuple[OfSetting, ...]
    budget: Budget


def hidden_by_means(s: Study, c: Comparison | None) -> Iterator[Worst | Lesions | Healthy]:
    """Worst subjects, lesions and false alarms, where the scores of single subjects are known.

    Args:
      s: the study.
      c: the comparison whose settings are shown; without one the first setting is.
    """
    arms = [next(iter(s.arms))]
    labels = smallest_budget(s)
    if c is not None:
        arms = [c.arm, c.baseline]
        labels = c.labels
    cells = [s.cells[arm, labels] for arm in arms if (arm, labels) in s.cells]
    given = budget(s, labels)
    worst = [fact for cell in cells if (fact := _worst(s, cell)) is not None]
    if worst:
        yield Worst(tuple(worst), FAILURE, given, s.metric, s.unit)
    lesions = [fact for cell in cells if (fact := _lesions(s, cell)) is not None]
    if lesions:
        yield Lesions(tuple(lesions), given)
    healthy = [fact for cell in cells if (fact := _healthy(s, cell)) is not None]
    if healthy:
        yield Healthy(tuple(healthy), given)


def _worst(s: Study, cell: Cell) -> OfSetting | None:
    scores = cell_scores(s, cell, s.metric)
    if scores is None:
        return None
    values_RS, design = scores
    failures = None
    if METRICS[s.metric].bounds == (0.0, 1.0):
        failures = failure_rate(values_RS, design, below=FAILURE, sign=s.sign)
    return OfSetting(cell.arm, worst_tenth(s, scores), failures)


def _lesions(s: Study, cell: Cell) -> OfSetting | None:
    found = cell_scores(s, cell, FOUND)
    false = cell_scores(s, cell, FALSE)
    if found is None or false is None:
        return None
    return OfSetting(cell.arm, bounded_interval(found, FOUND), bounded_interval(false, FALSE))


def _healthy(s: Study, cell: Cell) -> OfSetting | None:
    rate = false_alarms(s, cell)
    if rate is None:
        return None
    return OfSetting(cell.arm, rate)
