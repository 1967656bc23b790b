"""The questions that a study is asked, each one call on a :class:`~semiseg.analysis.study.Study`.

============================  =====================================================================
:func:`as_good_as`            is A as good as B within a margin? (margins.py)
:func:`all_pairs`             which of all settings differ? (study.py)
:func:`cross_validated`       what do folds say together? (folds.py, cross_validation.py)
:func:`labels_for`            how many labels does a score need? (labels_needed.py)
:func:`label_area`            how good is a method over all label budgets? (areas.py)
:func:`area_difference`       which of two is better over all label budgets?
:func:`interaction`           does the difference depend on the label budget?
:func:`probability_better`    how probable is it that A beats B by something? (prediction.py)
:func:`set_worth`             how many real labels is a synthetic set worth? (curves.py)
:func:`dose_response`         does more of it help? (areas.py)
:func:`over_data_sets`        what do several data sets say together? (data_sets.py)
:func:`cheapest_to`           labels or compute: the cheapest way to a score (surface.py)
:func:`per_annotation_hour`   what does an hour of annotation gain? (rates.py)
:func:`per_gpu_hour`          what does an hour of computing gain?
============================  =====================================================================

Differences are A minus B, paired, and positive where A is better, for a distance as well. The
statistics are in the modules named; what their intervals hold is in docs/explanation/questions.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from semiseg.analysis import areas, data_sets, labels_needed, rates, surface
from semiseg.analysis.arms import find_arms
from semiseg.analysis.cells import Cell
from semiseg.analysis.comparisons import lost_subjects
from semiseg.analysis.curves import label_equivalence
from semiseg.analysis.folds import cross_validated, margin_test_in_folds
from semiseg.analysis.margins import MarginTest, margin_test
from semiseg.analysis.pairing import paired
from semiseg.analysis.prediction import Probabilities, next_study, probabilities, true_mean
from semiseg.analysis.runs import Runs
from semiseg.analysis.statistics import Interval, mean_interval, spread
from semiseg.analysis.study import Study, all_pairs
from semiseg.data.info import numbered
from semiseg.errors import UserError
from semiseg.evaluate.metrics import METRICS, metric_of

__all__ = [
    "all_pairs",
    "area_difference",
    "as_good_as",
    "cheapest_to",
    "cross_validated",
    "dose_response",
    "interaction",
    "label_area",
    "labels_for",
    "over_data_sets",
    "per_annotation_hour",
    "per_gpu_hour",
    "probability_better",
    "set_worth",
]


# ------------------------------------------------------------------ two settings at one budget
def as_good_as(s: Study, arm: str, other: str, labels: int, margin: float) -> MarginTest:
    """Whether a setting is as good as another one within a margin, chosen before the runs.

    It is undecided, with p-values that are NaN, where a comparison has no verdict: where one side
    lacks scores that the other has, and where the difference is one row of scores, so that its
    interval is over subjects alone.

    Args:
      arm, other: names of the compared settings.
      labels: annotated subjects of both.
      margin: the largest loss that does not matter, positive, in the unit of the metric.
    """
    cells = (_cell(s, arm, labels), _cell(s, other, labels))
    if s.folds:
        return margin_test_in_folds(s, cells, margin)
    (target, reference), subset_R, _ = paired([cell.runs for cell in cells], *s.scored)
    difference_RS = s.sign * (target - reference)
    test = margin_test(difference_RS, subset_R, margin)
    subjects_alone = spread(difference_RS, subset_R).n_runs == 1
    if subjects_alone or lost_subjects(target, reference):
        return test._replace(p_noninferior=np.nan, p_equivalent=np.nan)
    return test


def probability_better(
    s: Study,
    arm: str,
    other: str,
    labels: int,
    by: float = 0.0,
    *,
    of: Literal["mean", "next study"] = "mean",
    subjects: float = np.inf,
) -> Probabilities:
    """How probable it is that a setting is better than another one by more than ``by``.

    Args:
      arm, other, labels: see :func:`as_good_as`.
      by: the smallest difference that matters.
      of: "mean" over all label subsets, seeds and subjects, or what the "next study" finds: one
        new label subset, one seed, and the mean over ``subjects`` new subjects.
      subjects: of the next study.
    """
    difference_RS, subset_R = _difference(s, arm, other, labels)
    if of == "mean":
        return probabilities(true_mean(difference_RS, subset_R), by)
    return probabilities(next_study(difference_RS, subset_R, subjects=subjects), by)


# ------------------------------------------------------------------ curves
def labels_for(
    s: Study,
    arm: str,
    score: float,
    *,
    subjects: float = np.inf,
) -> labels_needed.Needed:
    """How many labels a setting needs for a score, with a prediction interval for a new study.

    Args:
      arm: name of the compared setting.
      score: the wanted mean, in the unit of the metric.
      subjects: how many subjects the new study's mean is over.
    """
    tables, subset_R, budgets = _curve(s, arm)
    return labels_needed.labels_needed(
        tables,
        subset_R,
        budgets,
        score,
        subjects=subjects,
        rising=s.sign > 0,
        top=METRICS[s.metric].bounds[1],
    )


def label_area(s: Study, arm: str, budgets: Sequence[int] | None = None) -> Interval:
    """Mean score of a setting over its label budgets, each doubling weighing the same.

    Args:
      arm: name of the compared setting.
      budgets: some of its budgets, ascending; by default all.
    """
    tables, subset_R, budgets = _curve(s, arm, budgets)
    bounds = METRICS[s.metric].bounds
    return areas.area_interval(tables, subset_R, budgets, bounds=bounds)[0]


def area_difference(s: Study, arm: str, other: str) -> tuple[Interval, float]:
    """Difference of two settings in the area under the label curve, and its p-value."""
    return areas.area_interval(*_differences(s, arm, other))


def interaction(s: Study, arm: str, other: str) -> areas.Interaction:
    """Whether the difference of two settings depends on the label budget."""
    return areas.budget_interaction(*_differences(s, arm, other))


# ------------------------------------------------------------------ synthetic sets
class SetWorth(NamedTuple):
    """Real annotated subjects that give the same gain as a synthetic set.

    ``labels``, ``low`` and ``high`` may be negative (the set does harm). They are -inf where the
    score is below that of the smallest budget, inf where it is above that of the largest.

    Attributes:
      labels: additional real annotated subjects.
      low, high: 95 % interval.
      gain: over the same setting without the set, paired.
    """

    labels: float
    low: float
    high: float
    gain: Interval


def set_worth(s: Study, arm: str, without: str, labels: int) -> SetWorth:
    """How many more real labels give what a synthetic set gives at one budget.

    Which of two sets is better is a comparison of their settings: :func:`as_good_as` or
    :func:`all_pairs`.

    Args:
      arm: name of the setting with the set.
      without: name of the same setting without it, at two budgets or more.
      labels: annotated subjects of the setting with the set.
    """
    budgets = s.budgets_of(without)
    curve = [_cell(s, without, n).runs for n in budgets]
    (target, *tables), subset_R, _ = paired([_cell(s, arm, labels).runs, *curve], *s.scored)
    e = label_equivalence(target, tables, subset_R, budgets, rising=s.sign > 0)
    gain = mean_interval(*_difference(s, arm, without, labels))
    return SetWorth(_more(e.labels, labels), _more(e.low, labels), _more(e.high, labels), gain)


def _more(equivalent: float, labels: int) -> float:
    """Labels beyond those that were given; -inf for "fewer than the smallest budget"."""
    return equivalent - labels if equivalent > 0 else -np.inf


def dose_response(
    s: Study,
    arms: Sequence[str],
    labels: int,
) -> areas.Trend:
    """By how much a score changes with each doubling of the ratio of synthetic images.

    One test over all ratios; the best of several ratios is no test. Positive is better.

    Args:
      arms: names of two settings or more that differ in their ratio alone, without ratio 0.
      labels: annotated subjects.
    """
    cells = sorted((_cell(s, arm, labels) for arm in arms), key=_ratio)
    tables, subset_R, _ = paired([cell.runs for cell in cells], *s.scored)
    signed = [s.sign * table for table in tables]
    return areas.log_trend(signed, subset_R, [_ratio(cell) for cell in cells])


def _ratio(cell: Cell) -> float:
    return cell.runs[0].ratio


# ------------------------------------------------------------------ several data sets
def over_data_sets(
    studies: Sequence[Study],
    arm: str,
    other: str,
    labels: int | Sequence[int],
) -> data_sets.Combined:
    """The difference of two settings over several data sets, and for another one.

    Args:
      studies: one a data set.
      arm, other: names of the settings in all of them.
      labels: annotated subjects, one number for all data sets or one for each.
    """
    budgets = [labels] * len(studies) if isinstance(labels, int) else list(labels)
    spreads = []
    for s, n in zip(studies, budgets, strict=True):
        spreads.append(spread(*_difference(s, arm, other, n)))
    return data_sets.combine([one.mean for one in spreads], [one.error for one in spreads])


# ------------------------------------------------------------------ compute and hours
def cheapest_to(
    runs: Runs,
    score: float,
    *,
    minutes: float,
    metric: str = "dice",
    split: str = "val",
    checkpoint: str = "last",
) -> surface.Cheapest:
    """The cheapest labels and steps with which one method reaches a score, in hours.

    Args:
      runs: of one method whose settings differ in labels and steps alone; budgets and steps that
        are not run in all combinations are left out.
      score: the wanted mean.
      minutes: of annotation that one subject costs. An hour of computing counts as an hour.
      metric, split, checkpoint: which scores.
    """
    scored = (metric_of(metric).name, split, checkpoint)
    by_steps = {group[0].steps: group for group in find_arms(runs).values()}
    steps = sorted(by_steps)
    budgets = {run.labels for run in runs}
    for group in by_steps.values():
        budgets &= {run.labels for run in group}
    ordered = sorted(budgets)
    groups = [by_steps[t].where(labels=n) for n in ordered for t in steps]
    tables, subset_R, _ = paired(groups, *scored)
    grid = [tables[b * len(steps) : (b + 1) * len(steps)] for b in range(len(ordered))]
    return surface.cheapest(
        grid,
        subset_R,
        ordered,
        steps,
        score,
        label_cost=minutes / 60,
        step_cost=_seconds(runs) / sum(run.steps for run in runs) / 3600,
        rising=METRICS[metric].sign > 0,
    )


def per_annotation_hour(
    s: Study,
    arm: str,
    fewer: int,
    more: int,
    minutes: float,
) -> rates.Rate:
    """What a setting gains by an hour of annotation between two label budgets.

    Args:
      minutes: of annotation that one subject costs.
    """
    cells = (_cell(s, arm, fewer), _cell(s, arm, more))
    (with_fewer, with_more), subset_R, _ = paired([cell.runs for cell in cells], *s.scored)
    gain = mean_interval(s.sign * (with_more - with_fewer), subset_R)
    return rates.gain_per_hour(gain, (more - fewer) * minutes / 60)


def per_gpu_hour(s: Study, arm: str, other: str, labels: int) -> rates.Rate:
    """What a setting gains over another one by an hour more of computing a run.

    Hours are those that the runs took (training and pre-training), on the device they ran on.
    """
    gain = mean_interval(*_difference(s, arm, other, labels))
    hours = []
    for name in (arm, other):
        runs = _cell(s, name, labels).runs
        hours.append(_seconds(runs) / len(runs) / 3600)
    return rates.gain_per_hour(gain, hours[0] - hours[1])


def _seconds(runs: Runs) -> float:
    """Seconds that the runs took together.

    Raises:
      UserError: a run does not record them.
    """
    seconds = 0.0
    for run in runs:
        if not run.summary.get("seconds_train"):
            raise UserError(
                "records no seconds of training",
                where=run.path,
                remedy="give the folders of runs instead of a table",
            )
        seconds += float(run.summary["seconds_train"]) + run.seconds_init
    return seconds


# ------------------------------------------------------------------ tables of a study
def _cell(s: Study, arm: str, labels: int) -> Cell:
    if (arm, labels) in s.cells:
        return s.cells[arm, labels]
    cells = ", ".join(f"{name} at {n}" for name, n in list(s.cells)[:8])
    raise UserError(
        f"{s.data} has no runs of {arm!r} at {numbered(labels, 'annotated subject')}",
        remedy=f"choose among {cells}",
    )


def _difference(
    s: Study,
    arm: str,
    other: str,
    labels: int,
) -> tuple[np.ndarray, Sequence[str]]:
    """Paired differences ``(R, S)``, positive where the first is better, and their subsets."""
    cells = (_cell(s, arm, labels), _cell(s, other, labels))
    (target, reference), subset_R, _ = paired([cell.runs for cell in cells], *s.scored)
    return s.sign * (target - reference), subset_R


def _curve(
    s: Study, arm: str, chosen: Sequence[int] | None = None
) -> tuple[list[np.ndarray], Sequence[str], list[int]]:
    """The tables of a setting's budgets, the label subset of each row, and the budgets."""
    budgets = list(chosen or s.budgets_of(arm))
    if len(budgets) < 2:
        raise UserError(
            f"{arm!r} was run at {len(budgets)} label budget(s), which are no curve",
            remedy=f"give a setting with two budgets or more: {', '.join(s.arms)}",
        )
    tables, subset_R, _ = paired([s.cells[arm, n].runs for n in budgets], *s.scored)
    return tables, subset_R, budgets


def _differences(
    s: Study,
    arm: str,
    other: str,
) -> tuple[list[np.ndarray], Sequence[str], list[int]]:
    """Paired differences of two settings at every budget that both have."""
    budgets = sorted(set(s.budgets_of(arm)) & set(s.budgets_of(other)))
    groups = [_cell(s, arm, n).runs for n in budgets]
    groups += [_cell(s, other, n).runs for n in budgets]
    if len(budgets) < 2:
        raise UserError(
            f"{arm!r} and {other!r} share {len(budgets)} label budget(s)",
            remedy="give two settings that share two label budgets or more",
        )
    tables, subset_R, _ = paired(groups, *s.scored)
    pairs = zip(tables[: len(budgets)], tables[len(budgets) :], strict=True)
    return [s.sign * (target - reference) for target, reference in pairs], subset_R, budgets
