"""``semiseg plan-study``: how many label subsets, seeds and subjects the next study needs."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from semiseg.cli.arguments import write_output
from semiseg.cli.typed import typed
from semiseg.errors import UserError
from semiseg.holding import holding

if TYPE_CHECKING:
    from semiseg.analysis.pilot import Pilot
    from semiseg.analysis.planning import Alternative, Goal, Size
    from semiseg.analysis.study import Study

GAIN = 0.03
"""Looked for unless a gain is given: of Dice and other ratios."""


@dataclasses.dataclass(frozen=True)
class PlanStudy:
    """How many label subsets, seeds and subjects must my next study have to find a gain? From the
    spread of paired differences in finished runs, or from standard deviations given by hand.

    Attributes:
      runs: run folders, folders of them, or a results.csv with its NAME_subjects.csv.
      gain: the true gain that the study should find, in the unit of the metric; by default 0.03,
        for a distance it must be given.
      power: with which probability.
      comparisons: how many comparisons the verdict is corrected for; by default those of the runs.
      labels: the label budget whose spread counts; by default the smallest.
      method: the compared setting whose spread counts, by its name in the report; by default all.
      baseline: the setting that others are compared with; by default the supervised one.
      subjects: subjects that the next study scores; by default those of the runs.
      folds: plan a cross-validation of so many folds, in which each subject is held out once; by
        default that of the runs, if they are folds.
      metric: whose differences.
      split: val or test; by default test where every run was scored on it, else val.
      subset_sd: standard deviation of the difference between label subsets, instead of the runs'.
      seed_sd: between seeds of a label subset.
      subject_sd: between subjects.
      interaction_sd: of label subset × subject.
      residual_sd: of seed × subject.
      json: also write the plan to this file.
    """

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    gain: float | None = None
    power: float = 0.8
    comparisons: int | None = None
    labels: int | None = None
    method: str | None = None
    baseline: str | None = None
    subjects: int | None = None
    folds: int | None = None
    metric: str = "dice"
    split: Literal["val", "test"] | None = None
    subset_sd: float | None = None
    seed_sd: float | None = None
    subject_sd: float | None = None
    interaction_sd: float | None = None
    residual_sd: float | None = None
    json: Path | None = None


def main(argv: Sequence[str]) -> int:
    """Run the command; UserError is the caller's to print."""
    args: PlanStudy = typed(PlanStudy, argv, "semiseg plan-study")
    with holding(args.json, "semiseg plan-study"):
        return _plan(args)


def _plan(args: PlanStudy) -> int:
    from semiseg.analysis.planning import Goal, alternatives, cautious, smallest_design
    from semiseg.cli import plan_answers as answers

    gain = _gain(args)
    _check(args)
    pilot, comparisons = _pilot(args)
    comparisons = args.comparisons or comparisons
    if args.folds or pilot.folds:
        return _plan_folds(args, pilot, Goal(gain, args.power, comparisons))
    together = min(comparisons, pilot.together)
    goal = Goal(gain, args.power, comparisons, together)
    subjects = args.subjects or pilot.size.subjects
    upper = None
    if pilot.comparisons:
        upper = cautious(pilot.components, pilot.size)
    overlap = pilot.size.overlap
    rows = alternatives(pilot.components, subjects, goal, upper, overlap)
    best = smallest_design(pilot.components, subjects, goal, overlap=overlap)
    one = goal._replace(comparisons=1)
    alone = smallest_design(pilot.components, subjects, one, overlap=overlap)
    lines = answers.spread(pilot, args.metric)
    lines += ["", answers.answer(best, subjects, goal, args.metric)]
    if alone is not None and goal.comparisons > 1:
        lines.append(answers.declared(alone))
    seeds_given = args.seed_sd is not None or args.residual_sd is not None
    lines += answers.limits(rows, best, pilot, seeds_given)
    lines += ["", *answers.table(rows, best, pilot), "", *answers.reading(goal, pilot)]
    print(*lines, sep="\n")
    if args.json:
        content = _content(args, pilot, goal, best, rows)
        text = json.dumps(content, indent=1, ensure_ascii=False)
        write_output(args.json, f"{text}\n")
    return 0


def _plan_folds(args: PlanStudy, pilot: Pilot, goal: Goal) -> int:
    """Print what a cross-validation finds."""
    from semiseg.analysis.fold_planning import fold_plan, fold_plans
    from semiseg.cli import plan_answers as answers

    subjects = args.subjects or pilot.size.subjects
    folds = args.folds or pilot.folds
    if not 2 <= folds <= subjects:
        raise UserError(
            f"--folds is {folds}: {subjects} subjects are dealt into 2 to {subjects} folds"
        )
    plan = fold_plan(pilot.components, subjects, folds, goal)
    rows = fold_plans(pilot.components, subjects, goal, folds)
    lines = answers.spread(pilot, args.metric)
    lines += ["", answers.fold_answer(plan, goal, args.metric)]
    lines += ["", *answers.fold_table(rows, plan), "", answers.fold_reading(goal)]
    print(*lines, sep="\n")
    if args.json:
        content = {
            "metric": args.metric,
            "power": goal.power,
            "comparisons": goal.comparisons,
            "sd": {name: _finite(value) for name, value in pilot.components._asdict().items()},
            "folds": [row._asdict() | {"runs": row.runs} for row in rows],
        }
        write_output(args.json, f"{json.dumps(content, indent=1)}\n")
    return 0


# ------------------------------------------------------------------ what it is planned from
def _gain(args: PlanStudy) -> float:
    from semiseg.evaluate.metrics import metric_of

    metric = metric_of(args.metric)
    if args.gain is None and metric.unit == "length":
        raise UserError(
            f"--gain must be given for {metric.title}, in the unit of the data, as in --gain 2"
        )
    if args.gain is None:
        return GAIN
    if not args.gain > 0:
        raise UserError(f"--gain is {args.gain}: it must be above 0, as in --gain {GAIN}")
    low, high = metric.bounds
    if args.gain >= high - low:
        raise UserError(
            f"--gain is {args.gain}: {metric.title} lies between {low:g} and {high:g}, so that no "
            f"gain is so large; give one as in --gain {GAIN}"
        )
    return args.gain


def _check(args: PlanStudy) -> None:
    if not 0 < args.power < 1:
        raise UserError(f"--power is {args.power}: it lies between 0 and 1, as in --power 0.8")
    for name in ("comparisons", "subjects", "folds"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise UserError(f"--{name} is {value}: it must be 1 or more")
    for name in ("subset_sd", "seed_sd", "subject_sd", "interaction_sd", "residual_sd"):
        value = getattr(args, name)
        if value is not None and not 0 <= value < math.inf:
            flag = name.replace("_", "-")
            raise UserError(f"--{flag} is {value}: a standard deviation is 0 or more")
    if not args.runs and args.subset_sd is None:
        raise UserError(
            "semiseg plan-study: nothing says how much differences vary; name finished runs, as in "
            "`semiseg plan-study runs`, or give --subset-sd and the others by hand"
        )
    if not args.runs and args.subjects is None:
        raise UserError("semiseg plan-study: without runs --subjects must be given")


def _pilot(args: PlanStudy) -> tuple[Pilot, int]:
    """The spread to plan with, and how many comparisons the runs make."""
    from semiseg.analysis.pilot import Pilot, pilot
    from semiseg.analysis.planning import Size
    from semiseg.analysis.variance import Split

    by_hand = (
        args.subset_sd,
        args.seed_sd,
        args.subject_sd,
        args.interaction_sd,
        args.residual_sd,
    )
    if args.runs:
        s, comparisons = _study(args)
        result = pilot(s, args.labels, args.method)
        pairs = zip(by_hand, result.components, strict=True)
        given = [value if value is not None else measured for value, measured in pairs]
        return result._replace(components=Split(*given)), comparisons
    components = Split(*(value or 0.0 for value in by_hand))
    subjects = args.subjects or 1
    return Pilot(components, Size(1, 1, subjects), args.labels or 0, (), math.nan), 1


def _study(args: PlanStudy) -> tuple[Study, int]:
    """The study of the curve, and how many comparisons its report corrects for."""
    from semiseg.analysis.arms import find_arms
    from semiseg.analysis.declaration import spelled
    from semiseg.analysis.fold_design import HELD_OUT, has_folds
    from semiseg.analysis.load import load_runs, once
    from semiseg.analysis.study import curve_runs, ratio_runs, study

    runs = once(load_runs(args.runs))
    split: str | None = args.split
    if split is None and has_folds(runs):
        split = HELD_OUT
    if split is None:
        on_test = all("test" in run.scores.axes[0] for run in runs)
        split = "test" if on_test else "val"
    curve = runs if has_folds(runs) else curve_runs(runs)
    baseline = args.baseline
    if baseline is not None:
        baseline = spelled(baseline, find_arms(curve))
    s = study(curve, args.metric, split, baseline=baseline)
    comparisons = len(s.comparisons)
    mixes = None if s.folds else ratio_runs(runs)
    if mixes:
        with contextlib.suppress(UserError):  # a table that does not say how its runs differ
            comparisons += len(study(mixes, args.metric, split).comparisons)
    return s, comparisons


# ------------------------------------------------------------------ what --json writes
def _content(
    args: PlanStudy, pilot: Pilot, goal: Goal, best: Size | None, rows: list[Alternative]
) -> dict[str, Any]:
    """What --json writes."""
    return {
        "metric": args.metric,
        **goal._asdict(),
        "labels": pilot.labels or None,
        "pilot": pilot.size._asdict() if pilot.comparisons else None,
        "comparisons_used": list(pilot.comparisons),
        "sd": {name: _finite(value) for name, value in pilot.components._asdict().items()},
        "design": best._asdict() | {"runs": best.runs} if best else None,
        "alternatives": [
            {
                **row.design._asdict(),
                "runs": row.design.runs,
                "seconds": _finite(row.design.runs * pilot.seconds),
                "detects": _finite(row.detects),
                "detects_cautiously": _finite(row.detects_cautiously),
                "power": row.power,
            }
            for row in rows
        ],
    }


def _finite(value: float) -> float | None:
    """JSON has no NaN and no infinity."""
    return value if math.isfinite(value) else None
