"""The first screen of the page: four questions, each answered in a few words and in numbers.

tests/report/sentences.golden.md shows every answer.
"""

from __future__ import annotations

from typing import NamedTuple

from semiseg.analysis.study import FEW_SUBJECTS, FEW_SUBSETS
from semiseg.report import advice
from semiseg.report.format import (
    capitalise,
    count,
    interval_text,
    is_or_are,
    number,
    p_text,
    score_label,
)
from semiseg.report.sentences import equivalence_text
from semiseg.report.untrained import EVERYTHING, Untrained
from semiseg.synthetic_sources import source_title

WHICH = "Which method?"
HOW_MANY = "How many labels?"
HOW_MUCH = "How much synthetic data?"
HOW_SURE = "How sure?"
NO_ADVICE = "No advice yet"
MOST_NAMED = 6
"""Settings that the warning of untrained networks names."""


class Answer(NamedTuple):
    """The answer to a question: in a few words, in numbers, and the commands that tell more."""

    question: str
    short: str
    detail: str
    commands: tuple[str, ...] = ()


def needs(fact: advice.Needs) -> str:
    """What a study needs before it can advise."""
    parts = []
    if fact.subjects is not None:
        parts.append(f"at least {FEW_SUBJECTS} scored subjects (here {fact.subjects})")
    if fact.untrained:
        parts.append("networks that have learnt something (here none has)")
    if fact.subsets is not None:
        parts.append(f"at least {FEW_SUBSETS} label subsets (here {fact.subsets})")
    words = parts[-1]
    if len(parts) > 1:
        words = f"{', '.join(parts[:-1])} and {parts[-1]}"
    return f"For advice, this page needs {words}."


def untrained(fact: Untrained) -> str:
    """The warning over networks that have learnt nothing."""
    kinds = []
    for kind in fact.kinds:
        if kind == EVERYTHING:
            kinds.append("predict nearly every pixel as an object")
        else:
            kinds.append("find no object")
    steps = ", ".join(map(str, fact.steps))
    end = f"{' or '.join(kinds)} after {steps} steps. Train for more steps first."
    if fact.every:
        return f"No network here has learnt anything yet. They {end}"
    named = [_with_budgets(arm, labels) for arm, labels in fact.budgets.items()]
    who = "; ".join(named[:MOST_NAMED])
    if len(named) > MOST_NAMED:
        who += f" and {len(named) - MOST_NAMED} more"
    return f"{capitalise(who)} have learnt nothing yet. Their networks {end}"


def _with_budgets(arm: str, labels: tuple[int, ...] | None) -> str:
    if labels is None:
        return arm
    return f"{arm} with {', '.join(map(str, labels))} annotated"


# ------------------------------------------------------------------ which method
def which_method(
    fact: advice.NotCompared | advice.Recommended | advice.StayWithBaseline,
) -> Answer:
    if isinstance(fact, advice.NotCompared):
        return _not_compared(fact)
    if isinstance(fact, advice.Recommended):
        return _recommended(fact)
    c = fact.nearest
    verdict = "undecided"
    if fact.worse:
        verdict = "worse"
    return Answer(
        WHICH,
        f"Stay with {c.baseline}",
        f"No other method is significantly better. The nearest with {c.labels} annotated "
        f"{fact.unit} is "
        f"{c.arm}: {interval_text(c.difference, fact.metric, signed=True)}, {verdict}.",
    )


def _not_compared(fact: advice.NotCompared) -> Answer:
    scores = [
        f"{score.arm} {_score(score, fact.metric, fact.unit)}"
        for score in fact.scores[: advice.MOST_METHODS]
    ]
    reached = f"{score_label(fact.metric, fact.length_unit)}: {'; '.join(scores)}."
    if len(fact.scores) == 1:
        only = capitalise(fact.scores[0].arm)
        return Answer(WHICH, only, f"It is the only method that was run. {reached}")
    why = "No supervised run has as many annotations as a run of another method."
    return Answer(WHICH, "Not compared", f"{why} {reached}")


def _score(score: advice.MethodScore, metric: str, unit: str) -> str:
    return f"{interval_text(score.interval, metric)} with {score.labels} annotated {unit}"


def _recommended(fact: advice.Recommended) -> Answer:
    c = fact.comparison
    short = capitalise(c.arm)
    if fact.only_at is not None:
        short += f", with {fact.only_at}"
    gain = interval_text(c.difference, fact.metric, signed=True)
    detail = (
        f"{score_label(fact.metric, fact.length_unit)} {_score(fact.score, fact.metric, fact.unit)}"
        f": {gain} compared with {c.baseline} ({p_text(c.p_holm)}, Holm-corrected)."
    )
    if fact.tried > 1:
        detail += f" It is significantly better at {fact.better} of {fact.tried} label budgets."
    return Answer(WHICH, short, detail)


# ------------------------------------------------------------------ how many labels
def how_many_labels(fact: advice.OneBudget | advice.HowMany) -> Answer:
    if isinstance(fact, advice.OneBudget):
        detail = (
            f"{capitalise(fact.arm)} was run with {fact.labels} annotated {fact.unit} only; a "
            f"learning curve needs at least two label budgets."
        )
        return Answer(HOW_MANY, "Not asked", detail)
    short, detail = _enough(fact)
    return Answer(HOW_MANY, short, detail + _saving(fact))


def _enough(fact: advice.HowMany) -> tuple[str, str]:
    score = interval_text(fact.score, fact.metric)
    reached = f"{capitalise(fact.arm)} reaches {score} with {fact.most}"
    if fact.enough is not None:
        detail = (
            f"{reached}; from {fact.enough} to {fact.most} it gains "
            f"{_gain(fact, fact.enough)}, which is {_bound(fact, fact.enough)}."
        )
        return f"{fact.enough} {fact.unit}", detail
    before, gain = fact.last_gain
    if 0 < gain.low < gain.high:
        detail = f"{reached}; from {before} to {fact.most} it still gains {_gain(fact, before)}."
        return f"More than {fact.most} may help", detail
    first = next(iter(fact.gains))
    more = ""
    if first != before:
        more = f", from {first} it is {_gain(fact, first)}"
    detail = (
        f"{reached}. It is undecided whether that is better than {before}: the gain is "
        f"{_gain(fact, before)}{more}."
    )
    return "Undecided", detail


def _gain(fact: advice.HowMany, labels: int) -> str:
    return interval_text(fact.gains[labels], fact.metric, signed=True)


def _bound(fact: advice.HowMany, labels: int) -> str:
    if fact.gains[labels].mean > 0:
        return f"at most {number(fact.margin, fact.metric)}"
    return "no gain"


def _saving(fact: advice.HowMany) -> str:
    w = fact.saves
    if w is not None:
        return (
            f" {capitalise(w.arm)} with {w.labels} performs like {fact.baseline} with "
            f"{equivalence_text(w)}."
        )
    if fact.compared:
        return " No method significantly saves labels."
    return ""


# ------------------------------------------------------------------ how much synthetic data
def how_much_synthetic(
    fact: advice.OneRatio | advice.NoSyntheticRuns | advice.NoMix | advice.Mixes,
) -> Answer:
    if isinstance(fact, advice.OneRatio):
        detail = (
            f"Only one ratio was run, {fact.ratio:g} synthetic images per real image; add ratio 0 "
            f"to compare."
        )
        return Answer(HOW_MUCH, "Not asked", detail)
    if isinstance(fact, advice.NoSyntheticRuns):
        detail = "No run used synthetic images, so these runs do not answer this question."
        return Answer(HOW_MUCH, "Not tried here", detail, _commands(fact))
    if isinstance(fact, advice.NoMix):
        detail = "No run with synthetic images has a partner of the same method without them."
        return Answer(HOW_MUCH, "Undecided", detail)
    return _mixes(fact)


def _commands(fact: advice.NoSyntheticRuns) -> tuple[str, ...]:
    return (
        f"semiseg gan fit --data {fact.data} --labels {fact.labels} --out gan",
        "semiseg gan sample gan --n 200 --out synthetic",
        "semiseg data import --format folder --source synthetic --name synthetic",
        f"semiseg train --data {fact.data} --labels {fact.labels} --ratio 0.5 "
        f"--synthetic synthetic --out runs/synthetic",
    )


def _mixes(fact: advice.Mixes) -> Answer:
    c = fact.best
    gain = interval_text(c.difference, fact.metric, signed=True)
    if fact.better:
        short = f"{fact.ratio:g} per real image"
        detail = (
            f"It gains most: {gain} with {c.labels} annotated. Of {fact.tried} mixes, "
            f"{fact.better} "
            f"{is_or_are(fact.better)} significantly better and {fact.worse} significantly worse."
        )
    else:
        short = "No significant gain"
        detail = (
            f"Of {count(fact.tried, 'mix', 'mixes')}, {fact.worse} {is_or_are(fact.worse)} "
            f"significantly worse. The best has {fact.ratio:g} synthetic images per real image, "
            f"with "
            f"{c.labels} annotated: {gain}."
        )
    return Answer(HOW_MUCH, short, detail + _controls(fact))


def _controls(fact: advice.Mixes) -> str:
    if not fact.controls:
        return ""
    parts = [
        f"{source_title(source)} {interval_text(interval, fact.metric, signed=True)}"
        for source, interval in fact.controls
    ]
    return f" Controls with as many images, made without a generator: {'; '.join(parts)}."


# ------------------------------------------------------------------ how sure
def how_sure(fact: advice.Certainty) -> Answer:
    noun = "compared setting"
    if fact.methods:
        noun = "method"
    detail = (
        f"{count(fact.runs, 'run')}: {count(fact.arms, noun)}, "
        f"{count(fact.budgets, 'label budget')}, for each usually "
        f"{count(fact.subsets, 'label subset')} × "
        f"{count(round(fact.seeds, 1), 'seed')}, scored on {count(fact.subjects, 'subject')}."
    )
    if fact.fewer:
        detail += f" {fact.fewer} of {fact.cells} results have fewer."
    if not fact.advice:
        return Answer(HOW_SURE, "Not at all", detail)
    few = []
    if fact.subsets < 3:
        few.append("fewer than 3 label subsets")
    if fact.seeds < 3:
        few.append("fewer than 3 seeds")
    if few:
        detail += f" A firm result needs 3 label subsets × 3 seeds; here are {' and '.join(few)}."
        return Answer(HOW_SURE, "Provisional", detail)
    return Answer(HOW_SURE, f"{fact.subsets} label subsets × {fact.seeds:g} seeds", detail)
