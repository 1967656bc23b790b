"""How the findings of a study are said: each function makes a sentence of one fact.

Plain English: subject, verb, object; one fact a sentence; terms of the literature.
tests/report/sentences.golden.md shows every sentence that these functions can say.
"""

from __future__ import annotations

import numpy as np

from semiseg.analysis.comparisons import FOLD, LEVEL
from semiseg.analysis.mixes import Mix
from semiseg.analysis.pseudo_labels import Bias
from semiseg.analysis.statistics import Interval
from semiseg.analysis.study import Comparison
from semiseg.analysis.worth import Worth
from semiseg.report import facts
from semiseg.report.format import (
    capitalise,
    capitalise_arm,
    count,
    interval_text,
    is_or_are,
    labels_text,
    listed,
    number,
    p_text,
    score_label,
    size,
)
from semiseg.report.pseudo_label_findings import LITTLE, LOST, PseudoLabelFindings

SPLITS = {"val": "validation", "test": "test"}


def annotated(budget: facts.Budget) -> str:
    """``4 annotated subjects (31 images)``."""
    unit = budget.unit
    if budget.labels == 1:
        unit = unit[:-1]
    images = ""
    if budget.images is not None:
        images = f" ({count(budget.images, 'image')})"
    return f"{budget.labels} annotated {unit}{images}"


def no_interval(interval: Interval) -> str:
    """Why a mean stands alone, in a few words; "" where it has an interval."""
    if interval.low < interval.high:
        return ""
    if interval.n_folds:
        return "incomplete"
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
        return _none_better(fact)
    return _winner(fact)


def _only_scores(fact: facts.OnlyScores) -> str:
    start = f"{capitalise_arm(fact.arm)}: {score_label(fact.metric, fact.length_unit)}"
    first, last = fact.budgets
    scores = [number(score, fact.metric) for score in fact.scores]
    if first == last:
        return f"{start} {scores[0]} with {annotated(facts.Budget(first, fact.unit))}"
    budgets = f"{first} to {last} annotated {fact.unit}"
    return f"{start} {scores[0]} to {scores[1]} with {budgets}"


def _none_better(fact: facts.NoneBetter) -> str:
    if fact.single_runs:
        return "One run of each method: no verdict"
    if fact.subjects_alone:
        return "The methods have no label subset or seed in common: no verdict"
    return f"No method is significantly better than {fact.baseline}"


def _winner(fact: facts.Winner) -> str:
    beats = f"{capitalise_arm(fact.arm)} beats {fact.baseline}"
    if len(fact.tried) == 1:
        return f"{beats} with {annotated(fact.first)}"
    if len(fact.better) < len(fact.tried):
        return f"{beats} at {len(fact.better)} of {len(fact.tried)} label budgets"
    if len(fact.tried) == 2:
        return f"{beats} at both label budgets"
    return f"{beats} at all {len(fact.tried)} label budgets"


# ------------------------------------------------------------------ the answer
def reached(fact: facts.Reached) -> str:
    """What the settings reach at the smallest shared budget."""
    scores = [f"{arm} {interval_text(interval, fact.metric)}" for arm, interval in fact.scores]
    label = score_label(fact.metric, fact.length_unit)
    where = f"{label} on the {fact.scored_on}"
    given = f"With {annotated(fact.budget)}"
    if fact.settings == len(fact.scores):
        return f"{given}, {where} is: {'; '.join(scores)}."
    return (
        f"{given}, the {len(scores)} best of {fact.settings} compared settings by {where} are: "
        f"{'; '.join(scores)}."
    )


def over_subjects_only(c: Comparison) -> str:
    """What the interval covers of a difference that has no verdict for that reason."""
    reason = "no label subset in common"
    if c.runs_paired:
        reason = "no seed in common"
    if c.single_runs:
        reason = "one run each"
    return f"over subjects only ({reason}: no verdict)"


def comparison(c: Comparison, metric: str, correction: facts.Correction = "Holm") -> str:
    """The difference of a setting from the baseline, and whether it is significant."""
    difference = interval_text(c.difference, metric, signed=True)
    start = f"{capitalise_arm(c.arm)} minus {c.baseline}, {_pairing(c)}: {difference}"
    if np.isnan(c.p):
        return f"{start}, which could not be tested."
    if c.lost:
        return (
            f"{start}, which has no verdict: {count(c.lost, 'subject')} with a score on one side "
            f"only {is_or_are(c.lost)} not in it."
        )
    if c.subjects_alone:
        return f"{start}, {over_subjects_only(c)}."
    significance = "not significant"
    if c.significant:
        significance = "significant"
    return f"{start}, which is {significance} ({corrected_p(c, correction)})."


def _pairing(c: Comparison) -> str:
    if c.paired_by == FOLD:
        return "paired by fold and subject"
    if c.by_subject:
        return "paired by subject"
    if c.runs_paired:
        return "paired by run"
    return "not paired"


def corrected_p(c: Comparison, correction: facts.Correction) -> str:
    """The corrected p of a comparison, and what corrected it."""
    if correction == "declared":
        return f"declared, {p_text(c.p_holm)}"
    if correction == "only one":
        return p_text(c.p_holm)
    return f"{p_text(c.p_holm)}, Holm-corrected"


def others(fact: facts.Others) -> str:
    """How many more comparisons there are, none of them significant."""
    if fact.others == fact.all:
        return f"None of the {fact.all} comparisons at this label budget is significant."
    return (
        f"The other {fact.others} of {fact.all} comparisons at this label budget are not "
        f"significant."
    )


def verdicts(fact: facts.Verdicts) -> str:
    """How many of the comparisons at all budgets are better, worse and undecided."""
    comparisons = fact.better + fact.worse + fact.undecided
    return (
        f"Over all label budgets, of {comparisons} comparisons with {fact.baseline}, {fact.better} "
        f"{is_or_are(fact.better)} significantly better, {fact.worse} significantly worse, and "
        f"{fact.undecided} {is_or_are(fact.undecided)} undecided."
    )


def last_budget(fact: facts.LastBudget) -> str:
    """What the only setting reaches with most annotations."""
    return f"With {annotated(fact.budget)}, it is {interval_text(fact.interval, fact.metric)}."


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
    """``about 12 (95 % CI 9.1 to 16)``."""
    point, interval = equivalence_parts(w)
    return f"{point} (95 % CI {interval})"


def equivalence(fact: facts.Equivalence) -> str:
    """A saving is said where the interval and the corrected comparison both show it.

    Else the sentence says what is missing, see :class:`semiseg.analysis.worth.Worth`.
    """
    w = fact.worth
    given = f"{capitalise_arm(w.arm)} with {w.labels} annotated {fact.unit}"
    if w.verdict != "undecided":
        return (
            f"{given} performs like {fact.baseline} with {equivalence_text(w)}: it {w.verdict} "
            f"annotations."
        )
    if w.tested:
        return (
            f"{given} is significantly {_how_tested(fact)} is not clear: it performs like "
            f"{fact.baseline} with {equivalence_text(w)}."
        )
    if w.equivalence.low == 0 and np.isinf(w.equivalence.high):
        _, interval = equivalence_parts(w)
        return (
            f"{given}: no label saving is shown. These runs cannot tell how many annotations of "
            f"{fact.baseline} it is worth: the 95 % CI, {interval}, spans all that were run."
        )
    return (
        f"{given}: no label saving is shown. It performs like {fact.baseline} with "
        f"{equivalence_text(w)}, {_why_undecided(w)}."
    )


def _how_tested(fact: facts.Equivalence) -> str:
    if fact.worth.tested == 1:
        return f"better than {fact.baseline}, but how many annotations it saves"
    return f"worse than {fact.baseline}, but how many annotations it costs"


def _why_undecided(w: Worth) -> str:
    if w.above or w.below:
        return (
            f"which excludes the {w.labels} it was given, but the corrected comparison at this "
            f"label budget is undecided"
        )
    return f"which includes the {w.labels} it was given"


def plateau(fact: facts.Plateau) -> str:
    """Between which budgets the baseline does not improve, and how its labels are then counted."""
    low, high = fact.budgets
    scores = [size(score, fact.metric) for score in fact.scores]
    return (
        f"{capitalise_arm(fact.baseline)} does not improve from {low} to {high} annotated "
        f"{fact.unit} ({scores[0]} and {scores[1]}). All numbers in this range count as one level, "
        f"because more annotations did not score better."
    )


# ------------------------------------------------------------------ synthetic images
def best_ratio(fact: facts.BestRatio) -> str:
    """What synthetic images give beside real ones alone and beside each control.

    Whether it is a gain is the verdict of the corrected comparison: the best of several ratios is
    above zero by chance too often.
    """
    m = fact.mix
    of = "the only ratio"
    if fact.ratios > 1:
        of = f"the best of {fact.ratios} ratios"
    controls = "".join(
        f"; compared with as many {name}: {interval_text(interval, fact.metric, signed=True)}"
        for name, interval in m.beside.items()
    )
    gain = interval_text(m.gain, fact.metric, signed=True)
    start = f"{_mix(fact)} ({of}): {gain} compared with real images alone ({_verdict(m)})"
    return f"{start}{controls}.{_trend(fact)}"


def _mix(fact: facts.BestRatio) -> str:
    m = fact.mix
    given = annotated(facts.Budget(m.labels, fact.unit))
    return f"{capitalise(m.line)} with {given}, {m.ratio:g} for each real image"


def _verdict(m: Mix) -> str:
    if not m.gain.low < m.gain.high:
        return "no interval"
    if m.verdict is None:
        return "not tested"
    return {1: "a significant gain", -1: "a significant loss", 0: "undecided"}[m.verdict]


def _trend(fact: facts.BestRatio) -> str:
    """The dose–response: one test over all ratios."""
    if fact.trend is None or np.isnan(fact.trend.p):
        return ""
    slope = interval_text(fact.trend.slope, fact.metric, signed=True)
    shown = "no trend is shown"
    if fact.trend.p < LEVEL:
        shown = "a significant trend"
    return (
        f" Each doubling of the ratio changes the score by {slope} ({shown}, "
        f"{p_text(fact.trend.p)}, corrected)."
    )


# ------------------------------------------------------------------ pseudo-labels
def pseudo_labels(fact: PseudoLabelFindings) -> list[str]:
    """Where confirmation bias shows, who accepts next to nothing, and classes that are lost."""
    start = f"With {fact.labels} annotated {fact.unit}, "
    result = []
    if fact.most_biased:
        arm, bias = fact.most_biased
        result.append(f"{start}confirmation bias shows most in {arm}: {_bias(bias)}")
    elif fact.judged:
        who = f"none of the methods with long enough logs ({listed(fact.judged)})"
        if fact.all_judged:
            who = "no method"
        result.append(
            f"{start}{who} shows confirmation bias: a fall in the accuracy of accepted pixels that "
            f"exceeds the noise of the curve, while the calibration error (ECE) rises."
        )
    if fact.idle:
        result.append(
            f"{start}{listed(fact.idle)} accepted less than {number(LITTLE)} of the foreground "
            f"at the end, so pseudo-labels had almost no effect."
        )
    for name, arms in fact.lost.items():
        result.append(f"Class {name} is nearly lost (recall below {LOST}) with {listed(arms)}.")
    return result


def _bias(bias: Bias) -> str:
    return (
        f"from step {bias.step:.0f} on, the accuracy of accepted pixels fell from "
        f"{number(bias.accuracy[0])} to {number(bias.accuracy[1])}, while their share went from "
        f"{number(bias.accepted[0])} to {number(bias.accepted[1])} and the calibration error (ECE) "
        f"rose from {number(bias.ece[0])} to {number(bias.ece[1])}. The network reinforces its own "
        f"mistakes."
    )
