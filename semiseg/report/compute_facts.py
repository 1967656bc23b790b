"""Labels or compute, where one method was run with several numbers of steps: facts."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from semiseg.analysis.arms import find_arms
from semiseg.analysis.questions import cheapest_to
from semiseg.analysis.runs import Runs
from semiseg.analysis.study import Study
from semiseg.analysis.surface import Cheapest
from semiseg.errors import UserError
from semiseg.report.facts import unit_of_annotation

MINUTES = 10.0
"""Of annotation that a subject is taken to cost: the page says so."""


@dataclasses.dataclass(frozen=True)
class Compute:
    """The cheapest labels and steps with which a method reaches a score.

    Attributes:
      arm: name of the method.
      score: the wanted mean.
      minutes: of annotation that one subject costs.
      steps: numbers of steps that were run.
    """

    arm: str
    score: float
    cheapest: Cheapest
    minutes: float
    steps: tuple[int, ...]
    metric: str
    length_unit: str
    unit: str


def compute(s: Study, score: float | None) -> Iterator[Compute]:
    """For the first method whose settings differ in their steps alone.

    Args:
      s: the study.
      score: the wanted mean; without one nothing is asked.
    """
    methods = dict.fromkeys(run.method for run in s.runs)
    for method in methods:
        runs = s.runs.where(method=method, ratio=0)
        steps = sorted({run.steps for run in runs})
        if score is None or len(steps) < 2 or len(find_arms(runs)) != len(steps):
            continue
        fact = _cheapest(s, runs, score, steps)
        if fact is not None:
            yield fact
            return


def _cheapest(s: Study, runs: Runs, score: float, steps: list[int]) -> Compute | None:
    try:
        result = cheapest_to(
            runs,
            score,
            minutes=MINUTES,
            metric=s.metric,
            split=s.split,
            checkpoint=s.checkpoint,
        )
    except UserError:  # no grid of budgets and steps, or nobody recorded the seconds
        return None
    return Compute(
        next(iter(find_arms(runs))).partition(" (")[0],
        score,
        result,
        MINUTES,
        tuple(steps),
        s.metric,
        s.unit,
        unit_of_annotation(s.runs),
    )
