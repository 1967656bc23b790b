"""What ``semiseg plan-study`` prints: the answer, what it does not know, and a table of designs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from semiseg.analysis.planning import MOST_SUBSETS
from semiseg.report.format import count, duration, listed, number, score_label, shortened

if TYPE_CHECKING:
    from semiseg.analysis.fold_planning import FoldPlan
    from semiseg.analysis.pilot import Pilot
    from semiseg.analysis.planning import Alternative, Goal, Size

UNKNOWN = "–"
SMALL_SHARE = 0.05
"""Of the training pool: label subsets that take less hardly overlap."""


def spread(pilot: Pilot, metric: str) -> list[str]:
    """What the plan is made from: the components of a paired difference."""
    if pilot.comparisons:
        first = (
            f"From {shortened(list(pilot.comparisons), 3)} at "
            f"{count(pilot.labels, 'annotated subject')} ({_pilot_size(pilot)}):"
        )
    else:
        first = "From standard deviations given by hand:"
    words = {
        "subset": "between trainings of folds" if pilot.folds else "between label subsets",
        "seed": "between seeds",
        "subject": "between subjects",
        "interaction": "label subset × subject",
        "residual": "seed × subject",
    }
    parts = [
        f"{_number(value, metric)} {words[name]}"
        for name, value in pilot.components._asdict().items()
        if not math.isnan(value)
    ]
    title = _title(metric)
    return [first, f"a paired difference in {title} has standard deviations {', '.join(parts)}."]


def _pilot_size(pilot: Pilot) -> str:
    if pilot.folds:
        return f"{pilot.folds} folds of {count(pilot.size.subjects, 'subject')}"
    return _size(pilot.size)


def fold_answer(plan: FoldPlan, goal: Goal, metric: str) -> str:
    """What the cross-validation that was asked for finds."""
    return (
        f"{plan.folds} folds of {count(plan.subjects, 'subject')} find a difference of "
        f"{_number(plan.finds, metric)} in {_title(metric)} with a power of {goal.power:g}, "
        f"corrected for {_counted(goal.comparisons)}: {count(plan.runs, 'run')} of each method "
        f"at each label budget."
    )


def fold_table(rows: list[FoldPlan], plan: FoldPlan) -> list[str]:
    """The cross-validations, one a line, the one that was asked for marked."""
    head = ("folds", "seeds", "subjects", "runs", "finds")
    lines = ["".join(f"{name:>10}" for name in head)]
    for row in rows:
        cells = (row.folds, row.seeds, row.subjects, row.runs, f"{row.finds:.3g}")
        mark = "  <-" if row == plan else ""
        lines.append("".join(f"{cell:>10}" for cell in cells) + mark)
    return lines


def fold_reading(goal: Goal) -> str:
    """How the table of folds is read."""
    return (
        f"finds: the true difference that is found with a power of {goal.power:g}, by the test of "
        f"the report: corrected for training sets that overlap, with one degree of freedom fewer "
        f"than folds. What trainings differ by is taken to be that of label subsets, which is the "
        f"most that folds can differ by."
    )


def answer(best: Size | None, subjects: int, goal: Goal, metric: str) -> str:
    """The smallest design, or that there is none."""
    gain = f"a gain of {_number(goal.gain, metric)} in {_title(metric)}"
    chance = f"with a power of {goal.power:g}, corrected for {_counted(goal.comparisons)}"
    if best is None:
        return (
            f"No study with {count(subjects, 'subject')} and up to {MOST_SUBSETS} label subsets "
            f"finds {gain} {chance}: score more subjects, plan fewer comparisons, or look for a "
            f"larger gain."
        )
    return (
        f"Your next study needs {_size(best)} to find {gain} {chance}: "
        f"{count(best.runs, 'run')} of each method at each label budget."
    )


def declared(alone: Size) -> str:
    """What a declared comparison needs."""
    return (
        f"Declared beforehand as the one primary comparison (study.yaml), it needs {_size(alone)}: "
        f"{count(alone.runs, 'run')}."
    )


def limits(
    rows: list[Alternative], best: Size | None, pilot: Pilot, seeds_given: bool
) -> list[str]:
    """What the answer does not know."""
    lines = []
    at_worst = [row.detects_cautiously for row in rows if row.design == best]
    if at_worst and pilot.comparisons:
        lines.append(
            f"The design marked <- is for the spread as estimated: if it is as large as these runs "
            f"leave open, that design finds {at_worst[0]:.3g} (at worst)."
        )
    if pilot.comparisons and pilot.size.subsets == 2:
        lines.append(
            "Caution: with 2 label subsets the spread between them rests on one degree of freedom. "
            "Run a third before you trust the plan."
        )
    if pilot.comparisons:
        unknown = math.isnan(pilot.components.seed) and math.isnan(pilot.components.residual)
    else:
        unknown = not seeds_given
    if unknown:
        lines.append(
            "Seeds were not measured: rows of 1 and 3 seeds are the same. Runs with 2 seeds a "
            "label subset, or --seed-sd and --residual-sd, would tell them apart."
        )
    return lines


def table(rows: list[Alternative], best: Size | None, pilot: Pilot) -> list[str]:
    """The designs, one a line, the smallest that reaches the goal marked."""
    head = ("subsets", "seeds", "subjects", "runs", "time", "finds", "at worst", "power")
    lines = ["".join(f"{name:>10}" for name in head)]
    for row in rows:
        design = row.design
        time = UNKNOWN
        if not math.isnan(pilot.seconds):
            time = duration(design.runs * pilot.seconds)
        at_worst = f"{row.detects_cautiously:.3g}" if pilot.comparisons else UNKNOWN
        cells = (
            f"{design.subsets}",
            f"{design.seeds}",
            f"{design.subjects}",
            f"{design.runs}",
            time,
            f"{row.detects:.3g}",
            at_worst,
            f"{row.power:.2f}",
        )
        mark = "  <-" if design == best else ""
        lines.append("".join(f"{cell:>10}" for cell in cells) + mark)
    return lines


def reading(goal: Goal, pilot: Pilot) -> list[str]:
    """How the table is read."""
    lines = [
        "runs and time: of each method at each label budget. finds: the true gain that is found "
        f"with a power of {goal.power:g}.",
        _test(goal),
    ]
    if pilot.comparisons:
        lines.append(
            f"at worst: the same if the spread is at the 80 % upper limit of what "
            f"{pilot.size.subsets} label subsets leave open."
        )
    if pilot.grouped:
        lines.append("subjects: groups of subjects that look alike; each group counts as one.")
    others = pilot.together - len(pilot.comparisons)
    if pilot.comparisons and others > 0 and goal.together > 1:
        lines.append(
            f"The spread is that of {listed(pilot.comparisons)} alone; the variance that the other "
            f"{count(others, 'comparison')} at this label budget lend is taken to be the same."
        )
    if pilot.comparisons:
        lines.append(_beside_the_page(pilot))
    if pilot.size.overlap >= SMALL_SHARE:
        lines.append(
            f"A label subset takes {pilot.size.overlap:.0%} of the training pool. Label subsets "
            f"of one pool overlap, so more of them help less and less; the plan counts that in."
        )
    return lines


def _test(goal: Goal) -> str:
    if goal.comparisons == 1:
        return f"The test is that of a comparison that is declared or alone, at {goal.level:g}."
    lend = "and no other is at its label budget"
    if goal.together > 1:
        lend = f"and the {goal.together} at a label budget lend each other variance"
    return (
        f"The test is that of the report's verdict: the first step of Holm's correction, at "
        f"{goal.level:g}/{goal.comparisons}, {lend}."
    )


def _beside_the_page(pilot: Pilot) -> str:
    """Why the report's Detectable is another number."""
    reasons = "takes the error of the finished runs as known, where a new study estimates its own"
    if len(pilot.comparisons) > 1:
        reasons += ", and is of each comparison, where this is of their mean variance"
    if pilot.grouped:
        reasons += "; it weighs every subject alike, where this weighs every group alike"
    return f"The report's Detectable differs from `finds`: it {reasons}."


def _size(size: Size) -> str:
    subsets = count(size.subsets, "label subset")
    return f"{subsets} × {count(size.seeds, 'seed')} × {count(size.subjects, 'subject')}"


def _counted(comparisons: int) -> str:
    return "1 comparison" if comparisons == 1 else f"{comparisons} comparisons"


def _number(value: float, metric: str) -> str:
    return number(value, metric, signed=True).lstrip("+")


def _title(metric: str) -> str:
    return score_label(metric)
