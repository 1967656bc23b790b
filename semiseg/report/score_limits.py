"""What limits scores and differences because of single subjects: who is scored, and who carries a
difference.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from semiseg.analysis.comparisons import Comparison
from semiseg.analysis.false_alarms import false_alarms
from semiseg.analysis.influence import Influence, influences
from semiseg.analysis.study import Study
from semiseg.evaluate.empty_policy import policy_of
from semiseg.report.external_masks import ExternalMasks, external_masks
from semiseg.report.facts import findings, unit_of_annotation


@dataclasses.dataclass(frozen=True)
class EarlierPolicy:
    """Runs scored by a rule for empty masks under which the prediction decided who is scored.

    Attributes:
      runs: scored so.
      all: runs of the study.
      split: that they must be evaluated on again.
    """

    runs: int
    all: int
    split: str


@dataclasses.dataclass(frozen=True)
class LostSubjects:
    """Comparisons that rest on fewer subjects than the results they compare.

    Attributes:
      comparisons: that do.
      all: comparisons of the study.
      fewest: subjects of the comparison that has the fewest, and of its results.
    """

    comparisons: int
    all: int
    fewest: tuple[int, int]


@dataclasses.dataclass(frozen=True)
class CarriedByFew:
    """One or two subjects make up half of a difference, or more.

    Attributes:
      comparison: the largest significant one, else the largest.
      metric: that is compared.
      carriers: names of the subjects.
      share: of the difference.
      subjects: of the comparison.
      without: mean difference of the others.
      unit: what one annotation is of.
      more: other comparisons that are carried by one or two subjects.
    """

    comparison: Comparison
    metric: str
    carriers: tuple[str, ...]
    share: float
    subjects: int
    without: float
    unit: str
    more: int


@dataclasses.dataclass(frozen=True)
class FalseAlarms:
    """A compared setting predicts something in more healthy subjects than the baseline.

    Attributes:
      comparison: the one whose shares differ most.
      metric: that is compared, which does not count healthy subjects.
      healthy: subjects whose truth is empty.
      shares: of them in which the setting and the baseline predict anything.
      unit: what one annotation is of.
    """

    comparison: Comparison
    metric: str
    healthy: int
    shares: tuple[float, float]
    unit: str


ScoreLimit = EarlierPolicy | LostSubjects | FalseAlarms | CarriedByFew | ExternalMasks


def score_limits(s: Study) -> Iterable[ScoreLimit]:
    """All of these that hold for a study."""
    yield from _earlier_policy(s)
    yield from _lost_subjects(s)
    yield from _false_alarms(s)
    yield from _carried_by_few(s)
    yield from external_masks(s)


def _earlier_policy(s: Study) -> Iterable[EarlierPolicy]:
    policies = [policy_of(run.summary, s.split) for run in s.runs]
    earlier = [policy for policy in policies if policy and policy.get("invented") == "diagonal"]
    if earlier:
        yield EarlierPolicy(len(earlier), len(policies), s.split)


def _lost_subjects(s: Study) -> Iterable[LostSubjects]:
    lost = []
    for c in s.comparisons:
        scored = max(s.cells[arm, c.labels].interval.n_subjects for arm in (c.arm, c.baseline))
        if c.difference.n_subjects < scored:
            lost.append((c.difference.n_subjects, scored))
    if lost:
        yield LostSubjects(len(lost), len(s.comparisons), min(lost))


def _false_alarms(s: Study) -> Iterable[FalseAlarms]:
    """The largest difference in false alarms whose intervals do not overlap."""
    alarms = {key: false_alarms(s, cell) for key, cell in s.cells.items()}
    worse = []
    for c in s.comparisons:
        target = alarms[c.arm, c.labels]
        base = alarms[c.baseline, c.labels]
        if target and base and target.low > base.high:
            worse.append((target.mean - base.mean, c, (target.mean, base.mean), target.n_subjects))
    if worse:
        _, c, shares, healthy = max(worse, key=_first)
        yield FalseAlarms(c, s.metric, healthy, shares, unit_of_annotation(s.runs))


def _first(values: tuple[float, Comparison, tuple[float, float], int]) -> float:
    return values[0]


def _carried_by_few(s: Study) -> Iterable[CarriedByFew]:
    """Of the comparisons that the report quotes: the significant ones and those of its answer."""
    if not s.comparisons:
        return
    named = findings(s).compared
    carried = [
        (c, parts) for c, parts in influences(s) if parts.by_few and (c.significant or c in named)
    ]
    if not carried:
        return
    c, parts = max(carried, key=_priority)
    yield CarriedByFew(
        c,
        s.metric,
        parts.carriers,
        parts.carried,
        len(parts.subjects),
        parts.without,
        unit_of_annotation(s.runs),
        len(carried) - 1,
    )


def _priority(carried: tuple[Comparison, Influence]) -> tuple[bool, float]:
    """Significant differences come first, then large ones."""
    c, _ = carried
    return c.significant, abs(c.difference.mean)
