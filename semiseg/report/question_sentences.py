"""How the answers to a study's questions are said: each in one line, with its source and with how
often such an answer holds in simulations.

tests/report/sentences.golden.md shows every answer.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from semiseg.analysis.comparisons import LEVEL
from semiseg.analysis.labels_needed import Needed
from semiseg.analysis.statistics import Interval
from semiseg.evaluate.metrics import METRICS
from semiseg.report import question_facts as facts
from semiseg.report.compute_facts import Compute
from semiseg.report.format import (
    capitalise,
    capitalise_arm,
    count,
    interval_text,
    labels_text,
    listed,
    number,
    p_text,
    score_label,
    share,
)
from semiseg.report.sentences import annotated, equivalence_text
from semiseg.report.simulated import of_probability, said
from semiseg.report.synthetic_facts import Dose, SetLabels
from semiseg.report.tail_facts import FALSE, FOUND, Healthy, Lesions, OfSetting, Worst

MEANS = "The intervals are those of all means, see How it was measured."


class Asked(NamedTuple):
    """A question, its answer, how often such an answer holds, and where it comes from."""

    question: str
    answer: str
    simulated: str
    source: str


def asked(fact: facts.Answerable) -> Asked:
    """A fact as a question with its answer."""
    match fact:
        case facts.LabelsFor():
            return _labels_for(fact)
        case facts.AllBudgets():
            return _all_budgets(fact)
        case facts.ByBudget():
            return _by_budget(fact)
        case facts.Probable():
            return _probable(fact)
        case facts.Gains():
            return _gains(fact)
        case SetLabels():
            return _set_labels(fact)
        case Dose():
            return _dose(fact)
        case Compute():
            return _compute(fact)
        case Worst():
            return _worst(fact)
        case Lesions():
            return _lesions(fact)
    return _healthy(fact)


def about(pair: facts.Pair | None) -> str:
    """Which settings the answers are about, and how the one was chosen."""
    if pair is None:
        return (
            "No curve is compared with another: answers are about the first setting of the page, "
            "those on synthetic images about the mix that the first screen names."
        )
    c = pair.comparison
    start = f"Where two settings are compared, they are {c.arm} and {c.baseline}"
    how = {
        "declared": "as declared before the runs",
        "the only one": "the only ones",
        "validation": "which the validation set chose",
        "same scores": (
            "which the first screen names. It was chosen on these scores, so that they flatter it"
        ),
    }[pair.choice]
    return (
        f"{start}, {how}. `semiseg.analysis.questions` answers the same for any other pair. Only a "
        f"declared comparison confirms anything: all else here is exploratory."
    )


# ------------------------------------------------------------------ labels
def _labels_for(fact: facts.LabelsFor) -> Asked:
    label = score_label(fact.metric, fact.length_unit)
    wanted = number(fact.score, fact.metric)
    words = {arm: _needed(needed, fact.unit) for arm, needed in fact.needed}
    parts = [f"with {arm} {needed}" for arm, needed in words.items()]
    if len(words) > 1 and len(set(words.values())) == 1:
        parts = [f"with {listed(words, 'or')} {next(iter(words.values()))}"]
    return Asked(
        f"How many labels until {label} is {wanted}?",
        f"For {_study(fact.new)}: {'; '.join(parts)}.",
        said("labels"),
        "prediction interval (Geisser 1993)",
    )


def _study(new: facts.NewStudy) -> str:
    subjects = count(new.subjects, "subject")
    if new.grouped:
        subjects = f"{count(new.subjects, 'group')} of look-alike subjects"
    return f"a new study of one label subset, one seed and {subjects}"


def _needed(needed: Needed, unit: str) -> str:
    least = f"{needed.smallest:g}"
    most = f"{needed.reach:g}"
    if needed.low == 0 and math.isinf(needed.high):
        return f"these runs cannot tell ({least} {unit} may be enough, {most} may be too few)"
    low = labels_text(needed.low)
    high = labels_text(needed.high)
    if needed.low == 0:
        low = f"at most {least}"
    if math.isinf(needed.high):
        high = f"more than {most}"
    point = f"about {labels_text(needed.labels)}"
    if needed.labels == 0:
        point = f"at most {least}"
    if math.isinf(needed.labels):
        point = f"more than {most}"
    return f"{point} {unit} (95 % prediction interval {low} to {high})"


# ------------------------------------------------------------------ two settings
def _all_budgets(fact: facts.AllBudgets) -> Asked:
    label = score_label(fact.metric, fact.length_unit)
    areas = [f"{arm} {interval_text(area, fact.metric)}" for arm, area in fact.areas]
    first, last = fact.budgets
    return Asked(
        "Which is better over all label budgets?",
        f"{label} averaged over {first} to {last} annotated {fact.unit}, each doubling weighing "
        f"the same: {' and '.join(areas)}; gain {_gain(fact.difference, fact.metric)}, "
        f"{_p(fact.p, fact.settings)}, {_verdict(fact.p, fact.difference)}.",
        said("area"),
        "area under the learning curve (Guyon et al. 2011)",
    )


def _verdict(p: float, gain: Interval) -> str:
    if not p < LEVEL:
        return "undecided"
    if gain.mean > 0:
        return "better"
    return "worse"


def _p(p: float, tests: int) -> str:
    if tests == 1:
        return p_text(p)
    return f"{p_text(p)} (Holm over {tests} tests)"


def _by_budget(fact: facts.ByBudget) -> Asked:
    i = fact.interaction
    shown = "no change is shown, which does not say that there is none"
    if i.p_slope < LEVEL:
        shown = "it changes"
    elif i.p < LEVEL:
        shown = "it is not the same at all budgets"
    arm, baseline = fact.pair
    return Asked(
        "Does the gain depend on the number of labels?",
        f"With each doubling, the gain of {arm} over {baseline} changes by "
        f"{_gain(i.slope, fact.metric)}, {_p(i.p_slope, fact.settings)}. Test of an equal gain "
        f"at every budget: {p_text(i.p)}. So {shown}.",
        said("interaction"),
        "contrasts of the budgets (Holm 1979)",
    )


def _probable(fact: facts.Probable) -> Asked:
    arm, baseline = fact.pair
    by = number(fact.by, fact.metric)
    return Asked(
        f"How probable is it that {arm} beats {baseline} by {by}?",
        f"With {annotated(fact.budget)}: {fact.mean.better:.2f} for the mean over all label "
        f"subsets, seeds and subjects ({fact.mean.worse:.2f} that it is worse by as much), and "
        f"{fact.new.better:.2f} in {_study(fact.of)}.",
        of_probability(fact.new.better),
        "correlated Bayesian t-test, flat prior (Benavoli et al. 2017)",
    )


def _gains(fact: facts.Gains) -> Asked:
    arm, baseline = fact.pair
    column = fact.column.replace("_", " ")
    parts = [
        f"{group.value}: {_gain(group.interval, fact.metric)} "
        f"({count(group.interval.n_subjects, 'subject')})"
        for group in fact.groups
    ]
    return Asked(
        f"Does the gain depend on the {column}?",
        f"Gain of {arm} over {baseline} with {annotated(fact.budget)}, {'; '.join(parts)}. Groups "
        f"whose intervals overlap may have the same gain, and nothing corrects for their number.",
        said("subgroup"),
        "subgroup analysis (Wang et al. 2007)",
    )


def _gain(gain: Interval, metric: str) -> str:
    text = interval_text(gain, metric, signed=True)
    if METRICS[metric].sign < 0:
        return f"{text} (positive is better)"
    return text


# ------------------------------------------------------------------ synthetic images
def _set_labels(fact: SetLabels) -> Asked:
    w = fact.worth
    return Asked(
        "How many real labels are the synthetic images worth?",
        f"{capitalise_arm(w.arm)} with {w.labels} annotated {fact.unit} performs like "
        f"{fact.without} with {equivalence_text(w)}; gain {_gain(fact.gain, fact.metric)}. "
        f"{_saved(fact)}",
        said("worth"),
        "label equivalence (Fieller 1954)",
    )


def _saved(fact: SetLabels) -> str:
    if fact.worth.verdict == "saves":
        return "They save labels."
    if fact.worth.verdict == "costs":
        return "They cost labels."
    return "No label saving is shown."


def _dose(fact: Dose) -> Asked:
    shown = "No trend is shown."
    if fact.trend.p < LEVEL:
        shown = "There is a trend."
    return Asked(
        "Do more synthetic images help more?",
        f"{capitalise(fact.line)} with {annotated(fact.budget)}: each doubling of the ratio "
        f"changes the score by {_gain(fact.trend.slope, fact.metric)}, "
        f"{_p(fact.trend.p, fact.tested)}. {shown}",
        said("dose"),
        "trend over log ratio",
    )


# ------------------------------------------------------------------ compute
def _compute(fact: Compute) -> Asked:
    label = score_label(fact.metric, fact.length_unit)
    wanted = number(fact.score, fact.metric)
    c = fact.cheapest
    steps = f"{fact.steps[0]:,} to {fact.steps[-1]:,} steps"
    reached = f"{share(c.reached)} of resampled studies reach it with what was run"
    if math.isinf(c.cost):
        answer = f"Not reached by {fact.arm} with {steps}; {reached}."
    else:
        answer = (
            f"Cheapest with about {labels_text(c.labels)} annotated {fact.unit} and "
            f"{c.steps:,.0f} steps of {fact.arm}: {_hours(c.cost)} hours (95 % interval "
            f"{_hours(c.low)} to {_hours(c.high)}), if an annotation takes {fact.minutes:g} "
            f"minutes; {reached}."
        )
    return Asked(
        f"Labels or compute, until {label} is {wanted}?",
        answer,
        said("compute"),
        "monotone surface (Dykstra and Robertson 1982)",
    )


def _hours(hours: float) -> str:
    if math.isinf(hours):
        return "more than was run"
    return f"{hours:.2g}"


# ------------------------------------------------------------------ what means hide
def _worst(fact: Worst) -> Asked:
    label = score_label(fact.metric, fact.length_unit)
    tails = [f"{one.arm} {interval_text(one.first, fact.metric)}" for one in fact.settings]
    answer = f"{label} of the worst tenth with {annotated(fact.budget)}: {'; '.join(tails)}."
    failures = [_failures(one) for one in fact.settings if one.second is not None]
    simulated = said("worst")
    if failures:
        simulated += f" {said('failures')}"
        answer += f" Subjects below {number(fact.below)}: {'; '.join(failures)}."
    return Asked(
        "How bad are the worst subjects?",
        answer,
        simulated,
        "mean of a tail (Rockafellar and Uryasev 2000); Wilson 1927",
    )


def _failures(one: OfSetting) -> str:
    assert one.second is not None
    return f"{one.arm} {_share(one.second)}"


def _share(interval: Interval) -> str:
    return f"{interval.mean:.0%} [{interval.low:.0%}, {interval.high:.0%}]"


def _lesions(fact: Lesions) -> Asked:
    found = [f"{one.arm} {interval_text(one.first, FOUND)}" for one in fact.settings]
    false = [
        f"{one.arm} {interval_text(one.second, FALSE)}"
        for one in fact.settings
        if one.second is not None
    ]
    return Asked(
        "Which lesions are found?",
        f"Share of the lesions found with {annotated(fact.budget)}: {'; '.join(found)}. False ones "
        f"in an image or volume: {'; '.join(false)}.",
        MEANS,
        "connected components, matched one to one (Maier-Hein et al. 2024)",
    )


def _healthy(fact: Healthy) -> Asked:
    subjects = count(fact.settings[0].first.n_subjects, "subject")
    rates = [f"{one.arm} in {_share(one.first)}" for one in fact.settings]
    return Asked(
        "Is something found where nothing is?",
        f"Of {subjects} who have nothing of a class, with {annotated(fact.budget)}: "
        f"{'; '.join(rates)}.",
        said("failures"),
        "Wilson 1927",
    )
