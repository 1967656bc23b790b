"""The first screen of the page: four questions, each answered in a few words and in numbers.

tests/report/sentences.golden.md shows every answer.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from semiseg.analysis.selection import Choice
from semiseg.analysis.statistics import Interval
from semiseg.analysis.study import FEW_SUBJECTS, FEW_SUBSETS, Comparison
from semiseg.report import advice
from semiseg.report.facts import Budget
from semiseg.report.format import (
    capitalise_arm,
    count,
    interval_text,
    is_or_are,
    listed,
    number,
    score_label,
    size,
)
from semiseg.report.sentences import (
    annotated,
    corrected_p,
    equivalence_text,
    over_subjects_only,
)
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
    return f"For advice, this page needs {listed(parts)}."


def untrained(fact: Untrained) -> str:
    """The warning over networks that have learnt nothing."""
    kinds = []
    for kind in fact.kinds:
        if kind == EVERYTHING:
            kinds.append("predict nearly every pixel as an object")
        else:
            kinds.append("find no object")
    end = (
        f"After {listed(fact.steps, 'or')} steps, they {listed(kinds, 'or')}. Train for more steps "
        f"first."
    )
    if fact.every:
        return f"No network here has learnt anything yet. {end}"
    named = [_with_budgets(arm, labels, fact.unit) for arm, labels in fact.budgets.items()]
    who = "; ".join(named[:MOST_NAMED])
    if len(named) > MOST_NAMED:
        who += f"; and {len(named) - MOST_NAMED} more"
    return f"These networks have learnt nothing yet: {who}. {end}"


def _with_budgets(arm: str, labels: tuple[int, ...] | None, unit: str) -> str:
    if labels is None:
        return arm
    if labels == (1,):
        unit = unit[:-1]
    return f"{arm} with {listed(labels)} annotated {unit}"


# ------------------------------------------------------------------ which method
def which_method(
    fact: advice.NotCompared | advice.Recommended | advice.StayWithBaseline,
) -> Answer:
    """The answer to "Which method?"."""
    if isinstance(fact, advice.NotCompared):
        return _not_compared(fact)
    if isinstance(fact, advice.Recommended):
        return _recommended(fact)
    c = fact.nearest
    difference = interval_text(c.difference, fact.metric, signed=True)
    short = f"Undecided: stay with {c.baseline}"
    verdict = "undecided"
    if c.subjects_alone:
        verdict = over_subjects_only(c)
    if fact.worse:
        short = f"Stay with {c.baseline}"
        verdict = "significantly worse"
    return Answer(
        WHICH,
        short,
        f"No other method is significantly better. The nearest with {c.labels} annotated "
        f"{fact.unit} is {c.arm}: {difference}, {verdict}.{_not_equal(c, fact)}",
    )


def _not_equal(c: Comparison, fact: advice.StayWithBaseline) -> str:
    """What an undecided comparison could have found: it does not say that two methods are alike."""
    if fact.worse or not np.isfinite(c.detectable):
        return ""
    return (
        f" Undecided does not mean equal: a study with this spread usually finds, with {c.labels} "
        f"annotated {fact.unit}, a difference of {size(c.detectable, fact.metric)} or more."
    )


def _not_compared(fact: advice.NotCompared) -> Answer:
    scores = [
        f"{score.arm} {_score(score, fact.metric, fact.unit)}"
        for score in fact.scores[: advice.MOST_METHODS]
    ]
    reached = f"{score_label(fact.metric, fact.length_unit)}: {'; '.join(scores)}."
    if len(fact.scores) == 1:
        only = capitalise_arm(fact.scores[0].arm)
        return Answer(WHICH, only, f"It is the only method that was run. {reached}")
    why = "No supervised run has as many annotations as a run of another method."
    return Answer(WHICH, "Not compared", f"{why} {reached}")


def _score(score: advice.MethodScore, metric: str, unit: str) -> str:
    return f"{interval_text(score.interval, metric)} with {score.labels} annotated {unit}"


def _recommended(fact: advice.Recommended) -> Answer:
    c = fact.comparison
    short = capitalise_arm(c.arm)
    if fact.only_at is not None:
        short += f", with {fact.only_at} annotated {fact.unit}"
    gain = interval_text(c.difference, fact.metric, signed=True)
    detail = (
        f"{score_label(fact.metric, fact.length_unit)} {_score(fact.score, fact.metric, fact.unit)}"
        f": {gain} compared with {c.baseline} ({corrected_p(c, fact.correction)})."
    )
    if fact.tried > 1:
        detail += f" It is significantly better at {fact.better} of {fact.tried} label budgets."
    return Answer(WHICH, short, detail + _CHOICE[fact.choice])


_CHOICE: dict[Choice, str] = {
    "declared": " It was declared before the runs.",
    "the only one": "",
    "validation": " It was chosen by validation scores, and the difference is that of test scores.",
    "same scores": (
        " It was chosen and is quoted on the same scores: expect a smaller difference for other "
        "subjects."
    ),
}


# ------------------------------------------------------------------ how many labels
def how_many_labels(fact: advice.OneBudget | advice.HowMany) -> Answer:
    """The answer to "How many labels?"."""
    if isinstance(fact, advice.OneBudget):
        detail = (
            f"{capitalise_arm(fact.arm)} was run with {fact.labels} annotated {fact.unit} only; a "
            f"learning curve needs at least two label budgets."
        )
        return Answer(HOW_MANY, "Not compared", detail)
    short, detail = _enough(fact)
    return Answer(HOW_MANY, short, detail + _saving(fact))


def _enough(fact: advice.HowMany) -> tuple[str, str]:
    score = interval_text(fact.score, fact.metric)
    reached = f"{capitalise_arm(fact.arm)} reaches {score} with {fact.most} annotated {fact.unit}"
    if fact.enough is not None and fact.gains[fact.enough].high < 0:
        detail = (
            f"{reached}; from {fact.enough} to {fact.most} it changes by "
            f"{_gain(fact, fact.enough)}. More annotations should not lower a score: train for "
            f"more steps before you read the curve."
        )
        return "Undecided", detail
    if fact.enough is not None:
        detail = (
            f"{reached}; from {fact.enough} to {fact.most} it changes by "
            f"{_gain(fact, fact.enough)}, which is {_bound(fact, fact.enough)}."
        )
        return f"{fact.enough} {fact.unit}", detail
    before, gain = fact.last_gain
    if fact.ignored:
        changes = f"from {before} to {fact.most} it changes by {_gain(fact, before)}"
        return "Undecided", f"{reached}; {changes}. {_why_ignored(fact.ignored, gain)}"
    if 0 < gain.low < gain.high:
        detail = f"{reached}; from {before} to {fact.most} it still gains {_gain(fact, before)}."
        return f"More than {fact.most} may help", detail
    first = next(iter(fact.gains))
    more = ""
    if first != before:
        more = f"; the gain over {first} is {_gain(fact, first)}"
    detail = (
        f"{reached}. It is undecided whether that is better than with {before}: the gain is "
        f"{_gain(fact, before)}{more}."
    )
    return "Undecided", detail


def _why_ignored(ignored: str, gain: Interval) -> str:
    if not gain.low < gain.high:
        return "Without an interval, how many are enough is undecided."
    return (
        f"The intervals ignore {ignored}, that is how much one differs from the next, so they do "
        f"not say how many are enough."
    )


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
            f" {capitalise_arm(w.arm)} with {w.labels} annotated {fact.unit} performs like "
            f"{fact.baseline} with {equivalence_text(w)}."
        )
    if fact.compared:
        return " No method significantly saves labels."
    return ""


# ------------------------------------------------------------------ how much synthetic data
def how_much_synthetic(
    fact: advice.OneRatio | advice.NoSyntheticRuns | advice.NoMix | advice.Mixes,
) -> Answer:
    """The answer to "How much synthetic data?"."""
    if isinstance(fact, advice.OneRatio):
        detail = (
            f"Only one ratio was run, {fact.ratio:g} synthetic images per real image; add ratio 0 "
            f"to compare."
        )
        return Answer(HOW_MUCH, "Not compared", detail)
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
    given = annotated(Budget(c.labels, fact.unit))
    if fact.better:
        short = f"{fact.ratio:g} per real image"
        detail = (
            f"It gains most: {gain} with {given}. Of {count(fact.tried, 'mix', 'mixes')}, "
            f"{fact.better} {is_or_are(fact.better)} significantly better and {fact.worse} "
            f"significantly worse."
        )
    else:
        short = "No significant gain"
        detail = (
            f"{_none_better(fact)} has {fact.ratio:g} synthetic images per real image, with "
            f"{given}: {gain}."
        )
    return Answer(HOW_MUCH, short, detail + _controls(fact))


def _none_better(fact: advice.Mixes) -> str:
    worse = "none"
    if fact.worse:
        worse = str(fact.worse)
    if fact.tried > 1:
        return (
            f"Of {fact.tried} mixes, none is significantly better and {worse} "
            f"{is_or_are(fact.worse or 1)} significantly worse. The best"
        )
    if fact.worse:
        return "The only mix is significantly worse than real images alone. It"
    return "The only mix does not differ significantly from real images alone. It"


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
    """The answer to "How sure?"."""
    noun = "compared setting"
    if fact.methods:
        noun = "method"
    detail = (
        f"{count(fact.runs, 'run')}: {count(fact.arms, noun)} and "
        f"{count(fact.budgets, 'label budget')}, each usually with "
        f"{count(fact.subsets, 'label subset')} × {count(round(fact.seeds, 1), 'seed')}, scored on "
        f"{count(fact.subjects, 'subject')}"
    )
    if fact.independent:
        detail += f" that look alike and say as much as {fact.independent} independent ones"
    detail += "."
    if fact.fewer:
        verb = "have"
        if fact.fewer == 1:
            verb = "has"
        detail += f" {fact.fewer} of {fact.cells} results {verb} fewer subsets or runs."
    detail += " A label subset is one draw of the annotated cases, a seed one start of training."
    if not fact.advice:
        return Answer(HOW_SURE, "Too few data to say", detail)
    few = []
    if fact.subsets < 3:
        few.append("fewer than 3 label subsets")
    if fact.seeds < 3:
        few.append("fewer than 3 seeds")
    if few:
        detail += (
            f" A firm result needs 3 label subsets × 3 seeds. Most results have {listed(few)}."
        )
        return Answer(HOW_SURE, "Provisional", detail)
    return Answer(HOW_SURE, f"{fact.subsets} label subsets × {fact.seeds:g} seeds", detail)
