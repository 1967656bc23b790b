"""The questions that a study is asked, each answered where its runs can: facts.

:mod:`semiseg.analysis.questions` computes, :mod:`semiseg.report.question_sentences` says. Each
question is about one pair: the setting that the first screen names, and the baseline.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from semiseg.analysis import questions as ask
from semiseg.analysis.areas import Interaction
from semiseg.analysis.comparisons import scores_by_subject
from semiseg.analysis.labels_needed import Needed
from semiseg.analysis.prediction import Probabilities
from semiseg.analysis.selection import Choice, choice
from semiseg.analysis.statistics import Interval, holm
from semiseg.analysis.study import FEW_SUBSETS, Comparison, Study
from semiseg.analysis.subgroup_gains import study_columns, subgroup_gains
from semiseg.analysis.subgroups import Subgroup, groups_of_column
from semiseg.errors import UserError
from semiseg.evaluate.metrics import METRICS
from semiseg.report import advice
from semiseg.report.compute_facts import Compute, compute
from semiseg.report.facts import Budget, budget
from semiseg.report.synthetic_facts import Dose, SetLabels, doses, set_labels
from semiseg.report.tail_facts import Healthy, Lesions, Worst, hidden_by_means

ROUND = 0.05
"""A wanted score is a multiple of it, where there is one between the curve's ends."""


@dataclasses.dataclass(frozen=True)
class Pair:
    """The settings that the questions are about.

    Attributes:
      comparison: of the setting that the first screen names with the baseline.
      choice: how that setting was chosen.
    """

    comparison: Comparison
    choice: Choice


@dataclasses.dataclass(frozen=True)
class NewStudy:
    """A study of one label subset and one seed, scored on as many subjects as these runs.

    Attributes:
      subjects: how many; groups of look-alikes where these come in such.
      grouped: whether they are groups.
    """

    subjects: int
    grouped: bool = False


@dataclasses.dataclass(frozen=True)
class LabelsFor:
    """How many labels a score needs.

    Attributes:
      score: the wanted mean.
      needed: for each setting.
    """

    score: float
    needed: tuple[tuple[str, Needed], ...]
    new: NewStudy
    metric: str
    length_unit: str
    unit: str


@dataclasses.dataclass(frozen=True)
class AllBudgets:
    """Which of two is better over all label budgets.

    Attributes:
      areas: of the setting and of the baseline.
      difference: positive where the setting is better.
      p: corrected for all settings.
      settings: that were compared with the baseline.
      budgets: the first and the last.
    """

    areas: tuple[tuple[str, Interval], ...]
    difference: Interval
    p: float
    settings: int
    budgets: tuple[int, int]
    metric: str
    length_unit: str
    unit: str


@dataclasses.dataclass(frozen=True)
class ByBudget:
    """Whether a gain depends on the label budget; p values corrected for all settings."""

    pair: tuple[str, str]
    interaction: Interaction
    settings: int
    metric: str


@dataclasses.dataclass(frozen=True)
class Probable:
    """How probable it is that one setting is better than another by something.

    Attributes:
      mean: over all label subsets, seeds and subjects.
      new: in the study ``of``.
    """

    pair: tuple[str, str]
    by: float
    mean: Probabilities
    new: Probabilities
    of: NewStudy
    budget: Budget
    metric: str


@dataclasses.dataclass(frozen=True)
class Gains:
    """The gain of one setting over another in each subgroup of the subjects."""

    pair: tuple[str, str]
    column: str
    groups: tuple[Subgroup, ...]
    budget: Budget
    metric: str


Answerable = (
    LabelsFor
    | AllBudgets
    | ByBudget
    | Probable
    | SetLabels
    | Dose
    | Compute
    | Worst
    | Lesions
    | Healthy
    | Gains
)


def answerable(s: Study, mixed: Study | None) -> list[Answerable]:
    """Every question that the runs of a study answer, in the order of the page.

    Args:
      s: the study of the label-efficiency curve.
      mixed: the study of its runs with synthetic images, if there are any.
    """
    if advice.needs(s) is not None:
        return []
    result: list[Answerable] = []
    pair = pair_of(s)
    if _is_replicated(s):
        result += _inferred(s, pair)
        if mixed is not None:
            result += [*set_labels(s, mixed), *doses(mixed)]
        result += compute(s, wanted_score(s, baseline_of(s)))
    result += hidden_by_means(s, pair.comparison if pair else None)
    if pair is not None and _is_replicated(s):
        result += _gains(s, pair.comparison)
    return result


def pair_of(s: Study) -> Pair | None:
    """The setting that the first screen names, and the baseline; None where none is compared."""
    fact = advice.which_method(s)
    if isinstance(fact, advice.Recommended):
        return Pair(fact.comparison, fact.choice)
    if isinstance(fact, advice.StayWithBaseline):
        return Pair(fact.nearest, choice(s, fact.nearest))
    return None


def baseline_of(s: Study) -> str:
    """The baseline; without one the first setting."""
    return s.baseline or next(iter(s.arms))


def _is_replicated(s: Study) -> bool:
    """Whether there are label subsets and subjects enough for what was simulated."""
    subsets = min(cell.interval.n_subsets for cell in s.cells.values())
    known = all(scores_by_subject(cell.runs, s.scored) for cell in s.cells.values())
    return known and subsets >= FEW_SUBSETS


def _inferred(s: Study, pair: Pair | None) -> Iterator[Answerable]:
    arms = [baseline_of(s)]
    if pair is not None:
        arms.append(pair.comparison.arm)
    yield from _labels_for(s, arms)
    if pair is not None:
        yield from _over_budgets(s, pair.comparison)
        yield from _probable(s, pair.comparison)


# ------------------------------------------------------------------ how many labels
def wanted_score(s: Study, arm: str) -> float | None:
    """A round score between those of the smallest and the largest budget; None where there is none.

    Of a ratio it is the best multiple of 0.05, else the middle, as it is printed.
    """
    budgets = s.budgets_of(arm)
    ends = [s.cells[arm, n].interval.mean for n in (budgets[0], budgets[-1])]
    low, high = sorted(ends)
    middle = round((low + high) / 2, METRICS[s.metric].places)
    if METRICS[s.metric].bounds == (0.0, 1.0) and s.sign > 0:
        best = round(float(np.floor(high / ROUND)) * ROUND, 2)
        if low < best < high:
            return best
    if len(budgets) > 1 and low < middle < high and s.sign * (ends[1] - ends[0]) > 0:
        return middle
    return None


def _labels_for(s: Study, arms: list[str]) -> Iterator[LabelsFor]:
    score = wanted_score(s, arms[0])
    if score is None:
        return
    new = new_study(s)
    needed = []
    for arm in arms:
        try:
            needed.append((arm, ask.labels_for(s, arm, score, subjects=new.subjects)))
        except UserError:  # it has one budget, or budgets that share no label subset
            continue
    if needed:
        unit = budget(s, s.budgets[0]).unit
        yield LabelsFor(score, tuple(needed), new, s.metric, s.unit, unit)


def new_study(s: Study) -> NewStudy:
    """A new study like this one."""
    intervals = [cell.interval for cell in s.cells.values()]
    groups = max(interval.n_groups for interval in intervals)
    if groups:
        return NewStudy(groups, grouped=True)
    return NewStudy(max(interval.n_subjects for interval in intervals))


# ------------------------------------------------------------------ two settings
def _over_budgets(s: Study, c: Comparison) -> Iterator[Answerable]:
    """The area under the curve and the interaction, corrected for all compared settings."""
    compared = list(dict.fromkeys(other.arm for other in s.comparisons))
    settings = [arm for arm in compared if len(shared_budgets(s, arm, c.baseline)) > 1]
    if c.arm not in settings:
        return
    areas = [ask.area_difference(s, arm, c.baseline) for arm in settings]
    interactions = [ask.interaction(s, arm, c.baseline) for arm in settings]
    i = settings.index(c.arm)
    budgets = shared_budgets(s, c.arm, c.baseline)
    yield AllBudgets(
        tuple((arm, ask.label_area(s, arm, budgets)) for arm in (c.arm, c.baseline)),
        areas[i][0],
        float(holm([p for _, p in areas])[i]),
        len(settings),
        (budgets[0], budgets[-1]),
        s.metric,
        s.unit,
        budget(s, budgets[0]).unit,
    )
    p_slope = float(holm([one.p_slope for one in interactions])[i])
    p = float(holm([one.p for one in interactions])[i])
    corrected = interactions[i]._replace(p_slope=p_slope, p=p)
    yield ByBudget((c.arm, c.baseline), corrected, len(settings), s.metric)


def shared_budgets(s: Study, arm: str, other: str) -> list[int]:
    """Label budgets that two settings have, ascending."""
    return sorted(set(s.budgets_of(arm)) & set(s.budgets_of(other)))


def _probable(s: Study, c: Comparison) -> Iterator[Probable]:
    by = METRICS[s.metric].relevant
    of = new_study(s)
    settings = (s, c.arm, c.baseline, c.labels, by)
    try:
        new = ask.probability_better(*settings, of="next study", subjects=of.subjects)
    except UserError:  # they share one label subset
        return
    mean = ask.probability_better(*settings)
    given = budget(s, c.labels)
    yield Probable((c.arm, c.baseline), by, mean, new, of, given, s.metric)


def _gains(s: Study, c: Comparison) -> Iterator[Gains]:
    for column, values in sorted(study_columns(s).items()):
        groups = groups_of_column(values)
        gains = subgroup_gains(s, (c.arm, c.baseline), c.labels, groups)
        if len(gains) > 1:
            given = budget(s, c.labels)
            yield Gains((c.arm, c.baseline), column, tuple(gains), given, s.metric)
