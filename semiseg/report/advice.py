"""What a study may advise: which method, how many labels, how much synthetic data, how surely.

Facts; :mod:`semiseg.report.answers` says them. No advice is given where :func:`needs` names what
is missing.
"""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter

from semiseg.analysis.comparisons import scores_by_subject
from semiseg.analysis.results_csv import COLUMNS
from semiseg.analysis.scores import MEAN
from semiseg.analysis.selection import Choice, best_comparison, choice, choose
from semiseg.analysis.statistics import Interval
from semiseg.analysis.study import FEW_SUBJECTS, FEW_SUBSETS, Comparison, Study
from semiseg.analysis.worth import Worth, gain, worth
from semiseg.evaluate.metrics import METRICS
from semiseg.report.design_limits import look_alikes
from semiseg.report.facts import (
    Correction,
    correction_of,
    gain_of,
    smallest_budget,
    unit_of_annotation,
)
from semiseg.report.untrained import untrained_cells
from semiseg.synthetic_sources import CONTROLS

MOST_METHODS = 4
"""Methods whose scores are named where none is compared."""


@dataclasses.dataclass(frozen=True)
class Needs:
    """What a study needs before it can advise.

    Attributes:
      subjects: scored subjects, where they are too few; else None.
      untrained: whether no network has learnt anything.
      subsets: label subsets, where they are too few; else None.
    """

    subjects: int | None
    untrained: bool
    subsets: int | None


@functools.lru_cache(8)
def needs(s: Study) -> Needs | None:
    """What is missing for advice; None where nothing is."""
    subjects = None
    if scored_subjects(s) < FEW_SUBJECTS:
        subjects = scored_subjects(s)
    untrained = len(untrained_cells(s)) == len(s.cells)
    if subjects is None and not untrained:
        return None
    subsets = max(c.interval.n_subsets for c in s.cells.values())
    if subsets < FEW_SUBSETS and not s.folds:
        return Needs(subjects, untrained, subsets)
    return Needs(subjects, untrained, None)


def scored_subjects(s: Study) -> int:
    """Of the cell with most; of a results.csv without its subjects, those that it counts."""
    counts = [c.interval.n_subjects for c in s.cells.values()]
    key = (s.split, s.checkpoint, MEAN, s.metric)
    for run in s.runs:
        for row in run.table or ():
            values = dict(zip(COLUMNS, row, strict=True))
            if tuple(values[name] for name in ("split", "checkpoint", "class", "metric")) == key:
                counts.append(int(values["n_subjects"]))
    return max(counts)


# ------------------------------------------------------------------ which method
@dataclasses.dataclass(frozen=True)
class MethodScore:
    """The score of a setting at one budget."""

    arm: str
    labels: int
    interval: Interval


@dataclasses.dataclass(frozen=True)
class NotCompared:
    """No setting has a baseline beside it; their scores at their smallest budgets."""

    scores: tuple[MethodScore, ...]
    metric: str
    length_unit: str
    unit: str


@dataclasses.dataclass(frozen=True)
class Recommended:
    """The best setting, see :func:`semiseg.report.facts.best_comparison`.

    Attributes:
      only_at: the budget, where it is not the smallest that all settings share; else None.
      better: at how many of the ``tried`` budgets it is better.
      choice: how it was chosen.
      correction: of its p.
    """

    score: MethodScore
    comparison: Comparison
    only_at: int | None
    better: int
    tried: int
    metric: str
    length_unit: str
    unit: str
    choice: Choice = "the only one"
    correction: Correction = "Holm"


@dataclasses.dataclass(frozen=True)
class StayWithBaseline:
    """No setting is better; the nearest at the smallest budget."""

    nearest: Comparison
    worse: bool
    metric: str
    unit: str


def which_method(s: Study) -> NotCompared | Recommended | StayWithBaseline:
    """The method that a study recommends, or why it recommends none."""
    unit = unit_of_annotation(s.runs)
    if not s.comparisons:
        scores = [_first_score(s, arm) for arm in s.arms]
        return NotCompared(tuple(scores), s.metric, s.unit, unit)
    best = best_comparison(s)
    if best is not None:
        return _recommended(s, best, unit)
    smallest = min(c.labels for c in s.comparisons)
    candidates = [c for c in s.comparisons if c.labels == smallest]
    nearest = choose(s, candidates)
    return StayWithBaseline(nearest, s.verdict(nearest) < 0, s.metric, unit)


def _first_score(s: Study, arm: str) -> MethodScore:
    labels = min(n for other, n in s.cells if other == arm)
    return MethodScore(arm, labels, s.cells[arm, labels].interval)


def _recommended(s: Study, best: Comparison, unit: str) -> Recommended:
    compared = [c for c in s.comparisons if c.arm == best.arm]
    only_at = None
    if best.labels != smallest_budget(s):
        only_at = best.labels
    return Recommended(
        MethodScore(best.arm, best.labels, s.cells[best.arm, best.labels].interval),
        best,
        only_at,
        sum(s.verdict(c) > 0 for c in compared),
        len(compared),
        s.metric,
        s.unit,
        unit,
        choice(s, best),
        correction_of(s, best),
    )


# ------------------------------------------------------------------ how many labels
@dataclasses.dataclass(frozen=True)
class OneBudget:
    """A curve needs two budgets."""

    arm: str
    labels: int
    unit: str


@dataclasses.dataclass(frozen=True)
class HowMany:
    """What more labels gain, for the recommended setting.

    Attributes:
      score: with most labels.
      most: labels of the largest budget.
      gains: what the largest budget gains over each smaller one.
      margin: the smallest difference that matters.
      saves: the largest saving of another setting, if any.
      compared: whether any setting has a baseline beside it.
      ignored: what no interval of ``gains`` covers, "subjects" or "runs"; else "". Such intervals
        do not say how many labels are enough.
    """

    arm: str
    score: Interval
    most: int
    gains: dict[int, Interval]
    margin: float
    saves: Worth | None
    baseline: str
    compared: bool
    metric: str
    unit: str
    ignored: str = ""

    @property
    def enough(self) -> int | None:
        """The smallest budget over which the largest gains no difference that matters."""
        if self.ignored:
            return None
        for labels, interval in self.gains.items():
            if interval.low < interval.high <= self.margin:
                return labels
        return None

    @property
    def last_gain(self) -> tuple[int, Interval]:
        """The budget before the largest, and what the largest gains over it."""
        return list(self.gains.items())[-1]


def how_many_labels(s: Study) -> OneBudget | HowMany:
    """What more labels gain for the recommended method, else for the baseline."""
    unit = unit_of_annotation(s.runs)
    best = best_comparison(s)
    arm = s.baseline or next(iter(s.arms))
    if best is not None:
        arm = best.arm
    budgets = [n for other, n in sorted(s.cells) if other == arm]
    if len(budgets) < 2:
        return OneBudget(arm, budgets[0], unit)
    most = budgets[-1]
    gains = {n: gain(s, arm, n, most) for n in budgets[:-1]}
    return HowMany(
        arm,
        s.cells[arm, most].interval,
        most,
        gains,
        METRICS[s.metric].relevant,
        _largest_saving(s),
        str(s.baseline),
        bool(s.comparisons),
        s.metric,
        unit,
        _ignored(s, arm),
    )


def _ignored(s: Study, arm: str) -> str:
    """What the intervals between a setting's budgets do not cover."""
    runs_of = [cell.runs for (name, _), cell in s.cells.items() if name == arm]
    if not all(scores_by_subject(runs, s.scored) for runs in runs_of):
        return "subjects"
    if all(len(runs) == 1 for runs in runs_of):
        return "runs"
    return ""


def _largest_saving(s: Study) -> Worth | None:
    saving = [w for w in worth(s) if w.saves]
    if not saving:
        return None

    def times(w: Worth) -> float:
        return min(w.equivalence.labels, w.equivalence.largest) / w.labels

    return max(saving, key=times)


# ------------------------------------------------------------------ how much synthetic data
@dataclasses.dataclass(frozen=True)
class OneRatio:
    """Every run has the same ratio, so that nothing can be compared with it."""

    ratio: float


@dataclasses.dataclass(frozen=True)
class NoSyntheticRuns:
    """No run has synthetic images; what a command that tries some needs."""

    data: str
    labels: int


@dataclasses.dataclass(frozen=True)
class NoMix:
    """No mix stands beside the baseline's method without synthetic images."""


@dataclasses.dataclass(frozen=True)
class Mixes:
    """The best mix: of those that are better if any is, else of all.

    Attributes:
      better: how many of ``tried`` are significantly better than real images alone.
      controls: differences of the controls that match it: name and interval.
    """

    best: Comparison
    ratio: float
    tried: int
    better: int
    worse: int
    controls: tuple[tuple[str, Interval], ...]
    metric: str
    unit: str


def how_much_synthetic(s: Study) -> OneRatio | NoSyntheticRuns | NoMix | Mixes:
    """The mix of real and synthetic images that a study recommends, or why it recommends none."""
    ratios = sorted({run.ratio for run in s.runs})
    if ratios == [0.0]:
        return NoSyntheticRuns(s.data, smallest_budget(s))
    if len(ratios) == 1:
        return OneRatio(ratios[0])
    tried = [c for c in s.comparisons if _is_mix_of_baseline(s, c)]
    if not tried:
        return NoMix()
    better = [c for c in tried if s.verdict(c) > 0]
    worse = [c for c in tried if s.verdict(c) < 0]
    best = max(better or tried, key=lambda c: gain_of(s, c))
    return Mixes(
        best,
        s.arms[best.arm][0].ratio,
        len(tried),
        len(better),
        len(worse),
        _controls(s, best),
        s.metric,
        unit_of_annotation(s.runs),
    )


def _is_mix_of_baseline(s: Study, c: Comparison) -> bool:
    run = s.arms[c.arm][0]
    method = s.arms[str(s.baseline)][0].method
    return run.ratio > 0 and run.method == method and run.source not in CONTROLS


def _controls(s: Study, mix: Comparison) -> tuple[tuple[str, Interval], ...]:
    """The controls of a mix: as many images for the same method, without a generator."""
    run = s.arms[mix.arm][0]
    result = []
    for c in s.comparisons:
        other = s.arms[c.arm][0]
        alike = (other.method, other.ratio) == (run.method, run.ratio)
        if c.labels == mix.labels and other.source in CONTROLS and alike:
            result.append((other.source, c.difference))
    return tuple(result)


# ------------------------------------------------------------------ how sure
@dataclasses.dataclass(frozen=True)
class Certainty:
    """The runs, label subsets, seeds and subjects behind the answers.

    Attributes:
      subsets: of most cells.
      seeds: runs for each label subset, of most cells.
      independent: subjects that would inform as well, where some look alike; else 0.
      fewer: cells with fewer runs or subsets than that.
      methods: whether each compared setting is a method of its own.
    """

    runs: int
    arms: int
    methods: bool
    budgets: int
    subsets: int
    seeds: float
    subjects: int
    independent: int
    fewer: int
    cells: int
    advice: bool


def certainty(s: Study) -> Certainty:
    """How many runs, label subsets, seeds and subjects the answers of a study have."""
    sizes = [(c.interval.n_subsets, c.interval.n_runs) for c in s.cells.values()]
    (subsets, runs), _ = Counter(sizes).most_common(1)[0]
    return Certainty(
        len(s.runs),
        len(s.arms),
        len({run.method for run in s.runs}) == len(s.arms),
        len(s.budgets),
        subsets,
        runs / max(1, subsets),
        scored_subjects(s),
        sum(fact.effective for fact in look_alikes(s)),
        sum(n_subsets < subsets or n_runs < runs for n_subsets, n_runs in sizes),
        len(s.cells),
        needs(s) is None,
    )
