"""What synthetic images are worth, and whether more of them help more: facts."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from semiseg.analysis.areas import Trend
from semiseg.analysis.curves import label_equivalence
from semiseg.analysis.mixes import dose_responses
from semiseg.analysis.pairing import paired
from semiseg.analysis.statistics import Interval
from semiseg.analysis.study import Comparison, Study
from semiseg.analysis.worth import Worth
from semiseg.report import advice
from semiseg.report.facts import Budget, best_ratios, budget, unit_of_annotation


@dataclasses.dataclass(frozen=True)
class SetLabels:
    """Real annotated subjects that give the score of a mix with synthetic images.

    Attributes:
      worth: of the mix, in labels of the same method without.
      without: the name of that.
      gain: over it, paired.
    """

    worth: Worth
    without: str
    gain: Interval
    metric: str
    unit: str


@dataclasses.dataclass(frozen=True)
class Dose:
    """By how much a score changes with each doubling of the ratio of synthetic images.

    Attributes:
      line: the kind of images.
      trend: its p is corrected for all ``tested`` kinds and budgets.
    """

    line: str
    trend: Trend
    tested: int
    budget: Budget
    metric: str


def set_labels(s: Study, mixed: Study) -> Iterator[SetLabels]:
    """Of the mix that the first screen names, on the curve of its method without synthetic images.

    Args:
      s: the study of the label-efficiency curve.
      mixed: the study of the mixes.
    """
    fact = advice.how_much_synthetic(mixed)
    if not isinstance(fact, advice.Mixes):
        return
    c = fact.best
    without = _curve_of(s, mixed, c)
    budgets = s.budgets_of(without)
    if len(budgets) < 2:
        return
    curve = [s.cells[without, n].runs for n in budgets]
    target_runs = mixed.cells[c.arm, c.labels].runs
    (target, *tables), design, paired_by = paired([target_runs, *curve], *s.scored)
    e = label_equivalence(target, tables, design, budgets, rising=s.sign > 0, labels=c.labels)
    worth = Worth(c.arm, c.labels, e, paired_by, mixed.verdict(c))
    yield SetLabels(worth, without, c.difference, s.metric, unit_of_annotation(s.runs))


def _curve_of(s: Study, mixed: Study, c: Comparison) -> str:
    """The setting of the curve that has the runs without synthetic images."""
    alone = mixed.cells[c.baseline, c.labels].runs[0]
    for arm, runs in s.arms.items():
        if any(run is alone for run in runs):
            return arm
    return ""


def doses(mixed: Study) -> Iterator[Dose]:
    """The trend over the ratios of the images that the first screen names."""
    fact = advice.how_much_synthetic(mixed)
    if not isinstance(fact, advice.Mixes):
        return
    source = mixed.arms[fact.best.arm][0].source
    ratios = [ratio for ratio in best_ratios(mixed) if ratio.trend is not None]
    for ratio in ratios:
        mix = ratio.mix
        if (mix.labels, mix.source) == (fact.best.labels, source) and ratio.trend is not None:
            given = budget(mixed, mix.labels)
            tested = len(dose_responses(mixed))
            yield Dose(mix.line, ratio.trend, tested, given, mixed.metric)
            return
