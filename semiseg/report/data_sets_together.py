"""What the data sets of one page say together: one line for each setting that all of them compare
with the same baseline.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from semiseg.analysis.comparisons import LEVEL
from semiseg.analysis.data_sets import Combined
from semiseg.analysis.questions import over_data_sets
from semiseg.analysis.statistics import Interval, holm
from semiseg.analysis.study import Study
from semiseg.errors import UserError
from semiseg.evaluate.metrics import METRICS
from semiseg.report.format import interval_text, listed, number, p_text
from semiseg.report.question_sentences import Asked
from semiseg.report.simulated import said

MOST = 6
"""Settings that the page names."""


@dataclasses.dataclass(frozen=True)
class Together:
    """The gain of a setting over several data sets.

    Attributes:
      p: corrected for all ``tested`` settings.
      labels: annotated subjects in each data set.
    """

    arm: str
    baseline: str
    combined: Combined
    p: float
    tested: int
    data: tuple[str, ...]
    labels: tuple[int, ...]
    metric: str


def together(studies: Sequence[Study]) -> list[Together]:
    """Of the settings that all data sets share, in the order of the first one.

    Each is taken at the smallest budget at which all data sets compare it, else at the smallest of
    each. Folds are left out. Empty with one data set, or where nothing is compared with the same
    baseline in all.
    """
    studies = [s for s in studies if not s.folds]
    if len(studies) < 2:
        return []
    first = studies[0]
    if first.baseline is None:
        return []
    if {s.baseline for s in studies} != {first.baseline}:
        return []
    results: list[Together] = []
    for arm in dict.fromkeys(c.arm for c in first.comparisons):
        labels = _budgets(studies, arm)
        if not labels:
            continue
        try:
            combined = over_data_sets(studies, arm, first.baseline, labels)
        except UserError:  # a data set has no standard error
            continue
        data = tuple(s.data for s in studies)
        one = Together(
            arm, first.baseline, combined, combined.p, 1, data, tuple(labels), first.metric
        )
        results.append(one)
    corrected = holm([one.combined.p for one in results]).tolist()
    pairs = zip(results, corrected, strict=True)
    return [dataclasses.replace(one, p=p, tested=len(results)) for one, p in pairs]


def _budgets(studies: Sequence[Study], arm: str) -> list[int]:
    """Annotated subjects at which each data set compares a setting; empty where one never does."""
    each = [{c.labels for c in s.comparisons if c.arm == arm} for s in studies]
    if not all(each):
        return []
    shared = set.intersection(*each)
    if shared:
        return [min(shared)] * len(studies)
    return [min(budgets) for budgets in each]


def sentences(facts: Sequence[Together]) -> list[Asked]:
    """A question and its answer for each setting, the first ones where there are many."""
    return [_asked(fact) for fact in facts[:MOST]]


def _asked(fact: Together) -> Asked:
    c = fact.combined
    better = ""
    if METRICS[fact.metric].sign < 0:
        better = " (positive is better)"
    gain = interval_text(Interval(c.mean, c.low, c.high, 0, 0, 0), fact.metric, signed=True)
    correction = ""
    if fact.tested > 1:
        correction = f" (Holm over {fact.tested} tests)"
    answer = (
        f"Gain {gain}{better} over {c.sets} data sets ({listed(fact.data)}) with "
        f"{_labels(fact.labels)}, {p_text(fact.p)}{correction}, {_verdict(fact)}."
    )
    if c.sets > 2:
        low = number(c.new_low, fact.metric, signed=True)
        high = number(c.new_high, fact.metric, signed=True)
        answer += f" In another data set, it lies in [{low}, {high}]."
    return Asked(
        f"Is {fact.arm} better than {fact.baseline} over all data sets?",
        answer,
        said("data sets"),
        "random effects (Hartung and Knapp 2001; Higgins et al. 2009)",
    )


def _labels(labels: tuple[int, ...]) -> str:
    if len(set(labels)) == 1:
        return f"{labels[0]} annotations"
    return f"{listed(labels)} annotations"


def _verdict(fact: Together) -> str:
    if not fact.p < LEVEL:
        return "undecided"
    if fact.combined.mean > 0:
        return "better"
    return "worse"
