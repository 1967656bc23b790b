"""What may be said of a study: the findings, as numbers.

Between :mod:`semiseg.analysis`, which computes, and :mod:`semiseg.report.sentences`, which says.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Literal

import numpy as np

from semiseg.analysis.areas import Trend
from semiseg.analysis.mixes import Mix, dose_responses, mixes
from semiseg.analysis.runs import Run, Runs
from semiseg.analysis.selection import best_comparison
from semiseg.analysis.statistics import Interval
from semiseg.analysis.study import Comparison, Study
from semiseg.analysis.worth import Worth, plateaus, worth
from semiseg.synthetic_sources import CONTROLS

EMBEDDED_SET = "nuclei"
"""The data set of the package, whose name no other can have: each of its images is a subject."""


# ------------------------------------------------------------------ what an annotation is
@dataclasses.dataclass(frozen=True)
class Budget:
    """A label budget.

    Attributes:
      labels: annotated subjects.
      unit: what one annotation is of, see :func:`unit_of_annotation`.
      images: that these subjects have; None where each subject is an image, or it is not known.
    """

    labels: int
    unit: str
    images: int | None = None


def unit_of_annotation(runs: Runs) -> str:
    """What one annotation is of: "images" where a subject is an image, else "subjects".

    "cases" where runs come from a results.csv, which does not say.
    """
    units = {_unit(run) for run in runs}
    if len(units) == 1:
        return units.pop()
    if "cases" in units:
        return "cases"
    return "subjects"


def _unit(run: Run) -> str:
    if run.table is not None:
        if run.data == EMBEDDED_SET:
            return "images"
        return "cases"
    images = run.summary.get("images_labelled")
    if images is not None and images == run.summary.get("subjects_labelled"):
        return "images"
    return "subjects"


def budget(s: Study, labels: int) -> Budget:
    """A label budget of a study."""
    unit = unit_of_annotation(s.runs)
    images = {run.summary.get("images_labelled") for run in s.runs.where(labels=labels)}
    if unit != "subjects" or len(images) != 1:
        return Budget(labels, unit)
    return Budget(labels, unit, images.pop())


SPLITS = {"val": "validation set", "test": "test set"}


def scored_on(s: Study) -> str:
    """What the scores of a study are of."""
    if s.folds:
        return f"held-out subjects of {s.folds} folds"
    return SPLITS.get(s.split, f"{s.split} set")


def smallest_budget(s: Study) -> int:
    """The smallest budget that all compared settings share, else the smallest of any."""
    return min(s.shared_budgets or s.budgets)


# ------------------------------------------------------------------ the claim
@dataclasses.dataclass(frozen=True)
class OnlyScores:
    """Nothing is compared: the scores of one setting at its first and last budget."""

    arm: str
    metric: str
    length_unit: str
    budgets: tuple[int, int]
    scores: tuple[float, float]
    unit: str


@dataclasses.dataclass(frozen=True)
class NothingToRecommend:
    """The study is too small to advise, see :func:`semiseg.report.advice.needs`."""


@dataclasses.dataclass(frozen=True)
class NoneBetter:
    """No setting is significantly better than the baseline.

    Attributes:
      single_runs: every comparison is of one run with one run, so that none has a verdict.
      subjects_alone: every comparison is over subjects alone, so that none has a verdict.
    """

    baseline: str
    single_runs: bool = False
    subjects_alone: bool = False


@dataclasses.dataclass(frozen=True)
class Winner:
    """A setting that is significantly better than the baseline.

    Attributes:
      tried: budgets at which it was compared.
      better: those at which it is better.
      first: the smallest of ``tried``.
    """

    arm: str
    baseline: str
    tried: tuple[int, ...]
    better: tuple[int, ...]
    first: Budget


Claim = OnlyScores | NothingToRecommend | NoneBetter | Winner


def claim(s: Study, too_small: bool) -> Claim:
    """What a study shows in one line; ``too_small`` to advise, it shows no winner."""
    if not s.comparisons:
        return _only_scores(s)
    if too_small:
        return NothingToRecommend()
    best = best_comparison(s)
    if best is None:
        single_runs = all(c.single_runs for c in s.comparisons)
        return NoneBetter(
            str(s.baseline), single_runs, all(c.subjects_alone for c in s.comparisons)
        )
    compared = [c for c in s.comparisons if c.arm == best.arm]
    tried = tuple(c.labels for c in compared)
    return Winner(
        best.arm,
        str(s.baseline),
        tried,
        tuple(c.labels for c in compared if s.verdict(c) > 0),
        budget(s, tried[0]),
    )


def _only_scores(s: Study) -> OnlyScores:
    arm, first = next(iter(s.cells))
    last = max(labels for other, labels in s.cells if other == arm)
    scores = (s.cells[arm, first].interval.mean, s.cells[arm, last].interval.mean)
    unit = unit_of_annotation(s.runs)
    return OnlyScores(arm, s.metric, s.unit, (first, last), scores, unit)


Correction = Literal["Holm", "declared", "only one"]
"""What the corrected p of a comparison is: Holm's over the others, or its own."""


def correction_of(s: Study, c: Comparison) -> Correction:
    """Which correction the p of a comparison has."""
    if s.primary is not None and s.primary == (c.arm, c.labels):
        return "declared"
    if len(s.comparisons) == 1 and s.comparisons[0].p_holm == s.comparisons[0].p:
        return "only one"
    return "Holm"


def gain_of(s: Study, c: Comparison) -> float:
    """By how much a compared setting is better than the baseline."""
    return s.sign * c.difference.mean


# ------------------------------------------------------------------ the answer
MOST_SCORES = 6
"""Settings whose scores one sentence names; of more it names the :data:`BEST_SCORES` best."""
BEST_SCORES = 3


@dataclasses.dataclass(frozen=True)
class Reached:
    """What the settings reach at one budget.

    Attributes:
      scores: of every setting; of more than :data:`MOST_SCORES` the three best.
      settings: how many settings have a score.
      scored_on: see :func:`scored_on`.
    """

    budget: Budget
    metric: str
    length_unit: str
    scored_on: str
    scores: tuple[tuple[str, Interval], ...]
    settings: int


@dataclasses.dataclass(frozen=True)
class Others:
    """Comparisons at a budget that have no sentence of their own, none of them significant."""

    others: int
    all: int


@dataclasses.dataclass(frozen=True)
class Verdicts:
    """The comparisons at all budgets."""

    baseline: str
    better: int
    worse: int
    undecided: int


@dataclasses.dataclass(frozen=True)
class LastBudget:
    """What the only setting reaches with most annotations."""

    budget: Budget
    metric: str
    interval: Interval


@dataclasses.dataclass(frozen=True)
class Findings:
    """The answer of a study: at the smallest shared budget, then at all.

    Attributes:
      compared: comparisons at that budget that have a sentence: all up to three, else the
        significant ones.
    """

    reached: Reached
    compared: tuple[Comparison, ...]
    others: Others | None
    verdicts: Verdicts | None
    last: LastBudget | None


def findings(s: Study) -> Findings:
    """The answer of a study as facts."""
    labels = smallest_budget(s)
    scores = [(arm, s.cells[arm, labels].interval) for arm in s.arms if (arm, labels) in s.cells]
    compared = [c for c in s.comparisons if c.labels == labels]
    named = compared
    if len(compared) > 3:
        named = [c for c in compared if c.significant]
    others = None
    if len(named) < len(compared):
        others = Others(len(compared) - len(named), len(compared))
    best = _best_scores(s, scores)
    reached = Reached(budget(s, labels), s.metric, s.unit, scored_on(s), best, len(scores))
    return Findings(reached, tuple(named), others, _verdicts(s), _last_budget(s, scores[0][0]))


def _best_scores(s: Study, scores: list[tuple[str, Interval]]) -> tuple[tuple[str, Interval], ...]:
    """All scores; of more than :data:`MOST_SCORES` the best."""
    if len(scores) <= MOST_SCORES:
        return tuple(scores)

    def rank(score: tuple[str, Interval]) -> float:
        return float(np.nan_to_num(-s.sign * score[1].mean, nan=np.inf))

    return tuple(sorted(scores, key=rank)[:BEST_SCORES])


def _verdicts(s: Study) -> Verdicts | None:
    if len({c.labels for c in s.comparisons}) < 2:
        return None
    verdicts = [s.verdict(c) for c in s.comparisons]
    return Verdicts(str(s.baseline), verdicts.count(1), verdicts.count(-1), verdicts.count(0))


def _last_budget(s: Study, arm: str) -> LastBudget | None:
    if s.comparisons or len(s.arms) > 1 or len(s.budgets) == 1:
        return None
    last = s.cells[arm, s.budgets[-1]]
    return LastBudget(budget(s, last.labels), s.metric, last.interval)


# ------------------------------------------------------------------ annotations saved
@dataclasses.dataclass(frozen=True)
class Equivalence:
    """How many annotations of the baseline a setting's score is worth."""

    worth: Worth
    baseline: str
    unit: str


@dataclasses.dataclass(frozen=True)
class Plateau:
    """Two budgets between which the baseline does not improve."""

    baseline: str
    budgets: tuple[int, int]
    scores: tuple[float, float]
    unit: str
    metric: str


def equivalences(s: Study, most: int = 3) -> list[Equivalence]:
    """Of each setting at its smallest budget; those first that save or cost annotations, and of
    these, as of the others, those that are worth most.
    """
    results = worth(s)
    first: list[Worth] = []
    for w in results:
        if w.labels == min(other.labels for other in results if other.arm == w.arm):
            first.append(w)
    first.sort(key=_least_worth)
    unit = unit_of_annotation(s.runs)
    return [Equivalence(w, str(s.baseline), unit) for w in first[:most]]


def _least_worth(w: Worth) -> tuple[bool, float]:
    return w.verdict == "undecided", -float(np.nan_to_num(w.equivalence.labels, posinf=np.inf))


def baseline_plateaus(s: Study) -> list[Plateau]:
    """Ranges of budgets over which the baseline does not improve."""
    if not s.baseline or not worth(s):
        return []
    result = []
    for low, high in plateaus(s, s.baseline):
        scores = (
            s.cells[s.baseline, low].interval.mean,
            s.cells[s.baseline, high].interval.mean,
        )
        unit = unit_of_annotation(s.runs)
        result.append(Plateau(s.baseline, (low, high), scores, unit, s.metric))
    return result


# ------------------------------------------------------------------ synthetic images
@dataclasses.dataclass(frozen=True)
class BestRatio:
    """The ratio of one kind of synthetic images that gains most at one budget.

    Attributes:
      trend: over all ratios of the kind, corrected for all kinds and budgets; None for one ratio.
    """

    mix: Mix
    ratios: int
    metric: str
    unit: str
    trend: Trend | None = None


def best_ratios(s: Study) -> list[BestRatio]:
    """For each budget and kind of images its best ratio; controls are left out.

    Raises UserError where no mix stands beside real images alone.
    """
    groups: dict[tuple[int, str], list[Mix]] = {}
    for m in mixes(s):
        groups.setdefault((m.labels, m.line), []).append(m)
    order = list(groups)
    unit = unit_of_annotation(s.runs)
    trends = {(d.labels, d.line): d.trend for d in dose_responses(s)}
    result = []
    for key in sorted(groups, key=lambda key: (key[0], order.index(key))):
        tried = groups[key]
        if tried[0].source not in CONTROLS:
            best = max(tried, key=lambda m: m.gain.mean)
            trend = trends.get((best.labels, best.line))
            result.append(BestRatio(best, len(tried), s.metric, unit, trend))
    return result


@functools.lru_cache(8)
def covered(s: Study) -> str:
    """What the intervals with most factors cover, in words; "" where no cell has an interval."""
    intervals = [c.interval for c in s.cells.values()]
    covers = {i.covers for i in intervals if i.low < i.high}
    return max(covers, key=len, default="")
