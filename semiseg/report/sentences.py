"""How the findings of a study are said: each function makes a sentence of one fact.

Plain English: subject, verb, object; one fact a sentence; terms of the literature.
tests/report/sentences.golden.md shows every sentence that these functions can say.
"""

from __future__ import annotations

import numpy as np

from semiseg.analysis.mixes import Mix
from semiseg.analysis.pseudo_labels import SMALLEST_FALL, Bias
from semiseg.analysis.statistics import Interval
from semiseg.analysis.study import Comparison
from semiseg.analysis.worth import Worth
from semiseg.report import facts
from semiseg.report.format import (
    capitalise,
    interval_text,
    is_or_are,
    labels_text,
    number,
    p_text,
    score_label,
    size,
)
from semiseg.report.pseudo_label_findings import LITTLE, PseudoLabelFindings

SPLITS = {"val": "validation", "test": "test"}


def annotated(budget: facts.Budget) -> str:
    """``4 annotated subjects (31 images)``."""
    unit = budget.unit
    if budget.labels == 1:
        unit = unit[:-1]
    images = ""
    if budget.images is not None:
        images = f" ({budget.images} images)"
    return f"{budget.labels} annotated {unit}{images}"


def no_interval(interval: Interval) -> str:
    """Why a mean stands alone, in a few words; "" where it has an interval."""
    if interval.low < interval.high:
        return ""
    if interval.n_runs == interval.n_subjects == 1:
        return "1 run"
    return "all alike"


# ------------------------------------------------------------------ the claim
def claim(fact: facts.Claim) -> str:
    """The headline of a study."""
    if isinstance(fact, facts.OnlyScores):
        return _only_scores(fact)
    if isinstance(fact, facts.NothingToRecommend):
        return "No method can be recommended yet"
    if isinstance(fact, facts.NoneBetter):
        return f"No method is significantly better than {fact.baseline}"
    return _winner(fact)


def _only_scores(fact: facts.OnlyScores) -> str:
    start = f"{capitalise(fact.arm)}: {score_label(fact.metric, fact.length_unit)}"
    first, last = fact.budgets
    scores = [number(score, fact.metric) for score in fact.scores]
    if first == last:
        return f"{start} {scores[0]} with {first} annotated"
    return f"{start} {scores[0]} to {scores[1]} with {first} to {last} annotated"


def _winner(fact: facts.Winner) -> str:
    beats = f"{capitalise(fact.arm)} beats {fact.baseline}"
    if fact.single_runs:
        beats = f"One trained {fact.arm} beats one trained {fact.baseline}"
    if len(fact.tried) == 1:
        return f"{beats} with {annotated(fact.first)}"
    share = f"{len(fact.better)} of"
    if len(fact.better) == len(fact.tried):
        share = "all"
    return f"{beats} at {share} {len(fact.tried)} budgets"


# ------------------------------------------------------------------ the answer
def reached(fact: facts.Reached) -> str:
    scores = [f"{arm} {interval_text(interval, fact.metric)}" for arm, interval in fact.scores]
    label = score_label(fact.metric, fact.length_unit)
    split = SPLITS.get(fact.split, fact.split)
    return f"With {annotated(fact.budget)}, {label} on the {split} set is: {'; '.join(scores)}."


def comparison(c: Comparison, metric: str) -> str:
    difference = interval_text(c.difference, metric, signed=True)
    return (
        f"{capitalise(c.arm)} minus {c.baseline}, paired by subject: {difference}, which is "
        f"{_significance(c)} ({p_text(c.p_holm)}, Holm)."
    )


def _significance(c: Comparison) -> str:
    if c.significant:
        return "significant"
    if np.isfinite(c.p):
        return "not significant"
    return "untested"


def others(fact: facts.Others) -> str:
    if fact.others == fact.all:
        return f"None of the {fact.all} comparisons there is significant."
    return f"The other {fact.others} of {fact.all} comparisons there are not significant."


def verdicts(fact: facts.Verdicts) -> str:
    comparisons = fact.better + fact.worse + fact.undecided
    return (
        f"Over all budgets, of {comparisons} comparisons with {fact.baseline}, {fact.better} "
        f"{is_or_are(fact.better)} significantly better, {fact.worse} significantly worse, and "
        f"{fact.undecided} {is_or_are(fact.undecided)} undecided."
    )


def last_budget(fact: facts.LastBudget) -> str:
    return f"With {annotated(fact.budget)} it is {interval_text(fact.interval, fact.metric)}."


# ------------------------------------------------------------------ annotations saved
def equivalence_parts(w: Worth) -> tuple[str, str]:
    """``about 12`` and ``9.1 to 16``: the labels a result is worth and the 95 % interval.

    The interval is open where the baseline's budgets end.
    """
    e = w.equivalence
    least = f"{e.smallest:g}"
    most = f"{e.largest:g}"
    if e.labels == 0:
        point = f"fewer than {least}"
    elif np.isinf(e.labels):
        point = f"more than {most}"
    else:
        point = f"about {labels_text(e.labels)}"
    if np.isinf(e.labels) and e.low >= e.largest:
        return point, f"> {most}"
    if e.labels == 0 and e.high <= e.smallest:
        return point, f"< {least}"
    low = labels_text(e.low)
    high = labels_text(e.high)
    if e.low == 0:
        low = f"< {least}"
    if np.isinf(e.high):
        high = f"> {most}"
    return point, f"{low} to {high}"


def equivalence_text(w: Worth) -> str:
    """``about 12 (95 % interval 9.1 to 16)``."""
    point, interval = equivalence_parts(w)
    return f"{point} (95 % interval {interval})"


def equivalence(fact: facts.Equivalence) -> str:
    """A saving is said where the interval and the corrected comparison both show it.

    Else the sentence says what is missing, see :class:`semiseg.analysis.worth.Worth`.
    """
    w = fact.worth
    given = f"{capitalise(w.arm)} with {w.labels} annotated {fact.unit}"
    point, interval = equivalence_parts(w)
    if w.verdict != "undecided":
        return (
            f"{given} scores like {fact.baseline} with {equivalence_text(w)}: it {w.verdict} "
            f"annotations."
        )
    if w.tested:
        return (
            f"{given} is shown to be {_how_tested(w)} is open: it scores like {fact.baseline} with "
            f"{point}, 95 % interval {interval}."
        )
    return (
        f"{given}: no saving is shown. It scores like {fact.baseline} with {point}, and the "
        f"95 % interval, {interval}, {_why_undecided(w)}."
    )


def _how_tested(w: Worth) -> str:
    if w.tested == 1:
        return "better, but how many annotations that saves"
    return "worse, but how many annotations that costs"


def _why_undecided(w: Worth) -> str:
    if w.above or w.below:
        return f"leaves out {w.labels}, but the corrected comparison with as many is undecided"
    return f"holds {w.labels} itself"


def plateau(fact: facts.Plateau) -> str:
    low, high = fact.budgets
    scores = [size(score, fact.metric) for score in fact.scores]
    return (
        f"{capitalise(fact.baseline)} does not improve from {low} to {high} annotated "
        f"{fact.unit} ({scores[0]} and {scores[1]}): numbers between them count as one level, so "
        f"what lies there cannot be told apart."
    )


# ------------------------------------------------------------------ synthetic images
def best_ratio(fact: facts.BestRatio) -> str:
    """What synthetic images give beside real ones alone and beside each control."""
    m = fact.mix
    of = "the only ratio"
    if fact.ratios > 1:
        of = f"the best of {fact.ratios} ratios"
    controls = "".join(
        f"; over as many {name}: {_gain(interval, fact.metric)}"
        for name, interval in m.beside.items()
    )
    return f"{_mix(m)} ({of}): {_gain(m.gain, fact.metric)} over real images alone{controls}."


def _mix(m: Mix) -> str:
    return f"{capitalise(m.line)} with {m.labels} annotated, {m.ratio:g} for each real one"


def _gain(interval: Interval, metric: str) -> str:
    return f"{interval_text(interval, metric, signed=True)} ({_direction(interval)})"


def _direction(interval: Interval) -> str:
    if not interval.low < interval.high:
        return "no interval"
    if interval.low > 0:
        return "a gain"
    if interval.high < 0:
        return "a loss"
    return "undecided"


# ------------------------------------------------------------------ pseudo-labels
def pseudo_labels(fact: PseudoLabelFindings) -> list[str]:
    """Where confirmation bias shows, who accepts next to nothing, and classes that are lost."""
    start = f"With {fact.labels} annotated {fact.unit} "
    result = []
    if fact.most_biased:
        arm, bias = fact.most_biased
        result.append(f"{start}confirmation bias shows most in {arm}: {_bias(bias)}")
    elif fact.judged:
        who = f"none of {', '.join(fact.judged)} shows"
        if fact.all_judged:
            who = "no method shows"
        result.append(
            f"{start}{who} confirmation bias: none lost more than {number(SMALLEST_FALL)} of its "
            f"accuracy while its ECE rose."
        )
    if fact.idle:
        result.append(
            f"{start}{', '.join(fact.idle)} accepted less than {number(LITTLE)} of the foreground "
            f"at the end: next to nothing was taught."
        )
    for name, arms in fact.lost.items():
        result.append(f"Class {name} is all but lost (recall below .1) with {', '.join(arms)}.")
    return result


def _bias(bias: Bias) -> str:
    return (
        f"from step {bias.step:.0f} on, the accuracy of accepted pixels went from "
        f"{number(bias.accuracy[0])} to {number(bias.accuracy[1])} while their share went from "
        f"{number(bias.accepted[0])} to {number(bias.accepted[1])} and the ECE from "
        f"{number(bias.ece[0])} to {number(bias.ece[1])}."
    )
