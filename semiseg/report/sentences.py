"""Numbers and sentences: how a score is printed, and what a study says, computed from its cells and
never more than they carry.
"""

from __future__ import annotations

import ast
import functools
import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from semiseg.analysis.mixes import mixes
from semiseg.analysis.runs import BOOKKEEPING, MEAN, MEAN_OF_ALL, Run, Runs
from semiseg.analysis.statistics import Interval
from semiseg.analysis.study import (
    CONTROLS,
    FACTORS,
    FEW_SUBJECTS,
    FEW_SUBSETS,
    Comparison,
    Study,
    same_subsets,
    source_title,
    title,
)
from semiseg.analysis.worth import Worth, gain, plateaus, worth
from semiseg.evaluate.metrics import METRICS

EMBEDDED_SET = "nuclei"
"""The data set of the package, whose name no other can have: each of its images is a subject."""
SPLITS = {"val": "validation", "test": "test"}


def metric_label(metric: str, unit: str = "") -> str:
    """``hd95`` → ``HD95 (mm)``."""
    name = METRICS[metric].title if metric in METRICS else title(metric)
    return f"{name} ({unit})" if unit not in ("", "1") else name


def score_label(metric: str, unit: str = "") -> str:
    """The label of what a study compares: ``Absolute volume error``, ``HD95 (mm)``."""
    label = metric_label(metric, unit)
    return f"Absolute {label[:1].lower()}{label[1:]}" if METRICS[metric].absolute else label


def number(value: float, metric: str = "dice", signed: bool = False) -> str:
    """A score as it is printed: ``.81`` for shares, ``5.3`` for distances, one place more for a
    (signed) difference.
    """
    if not np.isfinite(value):
        return "–"
    known = METRICS[metric]
    places = known.places + signed  # a difference is smaller than what it is a difference of
    text = f"{abs(value):.{places}f}"
    if known.unit == "":
        text = text.removeprefix("0")
    sign = "" if float(text) == 0 else "−" if value < 0 else "+" if signed else ""
    return sign + text


def interval_text(interval: Interval, metric: str = "dice", signed: bool = False) -> str:
    """``.81 [.78, .84]``; the mean alone where nothing was resampled."""
    mean = number(interval.mean, metric, signed)
    if not interval.low < interval.high:
        return mean
    return (
        f"{mean} [{number(interval.low, metric, signed)}, {number(interval.high, metric, signed)}]"
    )


def no_interval(interval: Interval) -> str:
    """Why a mean stands alone, in a few words; "" where it has an interval."""
    if interval.low < interval.high:
        return ""
    return "1 run" if interval.n_runs == interval.n_subjects == 1 else "all alike"


def covered(s: Study) -> str:
    """What the intervals of most factors cover, in words; "" where no cell has an interval."""
    covers = {c.interval.covers for c in s.cells.values() if c.interval.low < c.interval.high}
    return max(covers, key=len, default="")


def p_text(p: float) -> str:
    """``p = .03``, ``p < .001``, or ``no test``."""
    if p != p:
        return "no test"
    return (
        "p < .001" if p < 0.001 else "p = 1" if p >= 0.9995 else f"p = {p:.3f}".replace("0.", ".")
    )


def claim(s: Study) -> str:
    """What a study shows, in one line: the arm that is shown to beat the baseline (see
    :func:`first_screen`), or that none is.
    """
    if not s.comparisons:
        arm, n = next(iter(s.cells))
        last = max(labels for a, labels in s.cells if a == arm)
        ends = " to ".join(
            number(s.cells[arm, labels].interval.mean, s.metric) for labels in sorted({n, last})
        )
        return (
            f"{capitalise(arm)}: {score_label(s.metric, s.unit)} {ends} with "
            f"{n}{f' to {last}' if last != n else ''} annotated"
        )
    if lacking(s):
        return "No method can be recommended yet"
    winner = _winner(s)
    if not winner:
        return f"No method is significantly better than {s.baseline}"
    best = winner[0]
    tried, won = (
        [c.labels for c in s.comparisons if c.arm == best and (every or s.verdict(c) > 0)]
        for every in (True, False)
    )
    once = all(c.difference.n_runs == 1 for c in s.comparisons if c.arm == best)
    beats = (
        f"{f'One trained {best}' if once else capitalise(best)} beats "
        f"{f'one trained {s.baseline}' if once else s.baseline}"
    )
    if len(tried) == 1:
        return f"{beats} with {annotated(s, tried[0])}"
    share = "all" if len(won) == len(tried) else f"{len(won)} of"
    return f"{beats} at {share} {len(tried)} budgets"


def answer(s: Study) -> list[str]:
    """The finding in words: at the smallest budget that all arms share (a fixed rule, not the most
    flattering one), then at all.
    """
    labels = min(s.shared_budgets or s.budgets)
    here = [s.cells[arm, labels] for arm in s.arms if (arm, labels) in s.cells]
    name = score_label(s.metric, s.unit)
    reached = "; ".join(f"{c.arm} {interval_text(c.interval, s.metric)}" for c in here)
    sentences = [
        (
            f"With {annotated(s, labels)}, {name} on the {SPLITS.get(s.split, s.split)} set is: "
            f"{reached}."
        )
    ]
    at_budget = [c for c in s.comparisons if c.labels == labels]
    told = at_budget if len(at_budget) <= 3 else [c for c in at_budget if c.significant]
    for c in told:
        verdict = (
            "significant"
            if c.significant
            else "not significant"
            if np.isfinite(c.p)
            else "untested"
        )
        sentences.append(
            f"{capitalise(c.arm)} minus {c.baseline}, paired by subject: "
            f"{interval_text(c.difference, s.metric, signed=True)}, "
            f"which is {verdict} ({p_text(c.p_holm)}, Holm)."
        )
    if len(told) < len(at_budget):
        none = f"None of the {len(at_budget)} comparisons there is significant."
        sentences.append(
            (
                f"The other {len(at_budget) - len(told)} of {len(at_budget)} comparisons there are "
                f"not significant."
            )
            if told
            else none
        )
    if len({c.labels for c in s.comparisons}) > 1:
        better, worse = (sum(s.verdict(c) == side for c in s.comparisons) for side in (1, -1))
        rest = len(s.comparisons) - better - worse
        sentences.append(
            f"Over all budgets, of {len(s.comparisons)} comparisons with {s.baseline}, {better} "
            f"{_is(better)} significantly better, "
            f"{worse} significantly worse, and {rest} {_is(rest)} undecided."
        )
    if not s.comparisons and len(s.arms) == 1 and len(s.budgets) > 1:
        last = s.cells[here[0].arm, s.budgets[-1]]
        sentences.append(
            f"With {annotated(s, last.labels)} it is {interval_text(last.interval, s.metric)}."
        )
    return sentences


def equivalence_parts(w: Worth) -> tuple[str, str]:
    """``about 12`` and ``9.1 to 16``: the labels a result is worth and the 95 % interval, open
    where the baseline's budgets end.
    """
    e = w.equivalence
    count = lambda v: f"{v:.1f}".removesuffix(".0") if v < 10 else f"{v:.0f}"
    low = f"< {e.smallest:g}" if e.low == 0 else count(e.low)
    high = f"> {e.largest:g}" if np.isinf(e.high) else count(e.high)
    point = (
        f"fewer than {e.smallest:g}"
        if e.labels == 0
        else f"more than {e.largest:g}"
        if np.isinf(e.labels)
        else f"about {count(e.labels)}"
    )
    beyond = np.isinf(e.labels) and e.low >= e.largest, e.labels == 0 and e.high <= e.smallest
    return point, f"> {e.largest:g}" if beyond[0] else f"< {e.smallest:g}" if beyond[
        1
    ] else f"{low} to {high}"


def equivalence_text(w: Worth) -> str:
    """``about 12 (95 % interval 9.1 to 16)``."""
    point, interval = equivalence_parts(w)
    return f"{point} (95 % interval {interval})"


def worth_sentences(s: Study) -> list[str]:
    """Label equivalence in words, at the smallest budget where an arm was run: at most three arms,
    those first that save or cost annotations.

    A saving is said where the interval and the corrected comparison both show it, see
    :class:`Worth`; else the sentence says what is missing. Of savings nothing is said where
    :func:`lacking` withholds advice.
    """
    unit, found = unit_of_annotation(s.runs), worth(s)
    first = [
        w
        for w in found
        if not lacking(s) and w.labels == min(v.labels for v in found if v.arm == w.arm)
    ]
    sentences = []
    for w in sorted(first, key=lambda w: w.verdict == "undecided")[:3]:
        given, (point, interval) = (
            f"{capitalise(w.arm)} with {w.labels} annotated {unit}",
            equivalence_parts(w),
        )
        if w.verdict != "undecided":
            sentences.append(
                f"{given} scores like {s.baseline} with {equivalence_text(w)}: it {w.verdict} "
                f"annotations."
            )
        elif w.tested:
            told = (
                "better, but how many annotations that saves"
                if w.tested > 0
                else "worse, but how many annotations that costs"
            )
            sentences.append(
                f"{given} is shown to be {told} is open: it scores like {s.baseline} with "
                f"{point}, 95 % interval {interval}."
            )
        else:
            why = (
                f"leaves out {w.labels}, but the corrected comparison with as many is undecided"
                if w.above or w.below
                else f"holds {w.labels} itself"
            )
            sentences.append(
                f"{given}: no saving is shown. It scores like {s.baseline} with {point}, and the "
                f"95 % interval, {interval}, {why}."
            )
    if found and s.baseline:
        for low, high in plateaus(s, s.baseline):
            means = [
                number(s.cells[s.baseline, n].interval.mean, s.metric, signed=True).lstrip("+")
                for n in (low, high)
            ]
            sentences.append(
                f"{capitalise(s.baseline)} does not improve from {low} to {high} annotated "
                f"{unit} ({means[0]} and {means[1]}): "
                "numbers between them count as one level, so what lies there cannot be told apart."
            )
    return sentences


class Answer(NamedTuple):
    """A question of the first screen: the answer in a few words, in numbers, and the commands that
    would tell more.
    """

    question: str
    short: str
    detail: str
    commands: tuple[str, ...] = ()


def first_screen(s: Study, mixed: Study | None = None) -> list[Answer]:
    """Which method, how many labels, how much synthetic data (from ``mixed``, the study of the runs
    with some), and how sure that is.

    No advice is given where :func:`lacking` says why.
    """
    asked = Answer("Which method? How many labels?", "No advice yet", lacking(s))
    drawn = mixed or s
    none = any(run.ratio for run in drawn.runs) and lacking(drawn)
    synthetic_ = (
        Answer("How much synthetic data?", "No advice yet", none) if none else _how_synthetic(drawn)
    )
    return [*([asked] if asked.detail else [_which(s), _how_many(s)]), synthetic_, _how_sure(s)]


@functools.lru_cache(8)
def lacking(s: Study) -> str:
    """What a study needs before it can advise, in one sentence; "" where it can."""
    subjects, subsets = scored_subjects(s), max(c.interval.n_subsets for c in s.cells.values())
    naive = unlearnt(s)
    needs = (
        [f"{FEW_SUBJECTS} scored subjects at least (here {subjects})"]
        if subjects < FEW_SUBJECTS
        else []
    )
    needs += (
        ["networks that have learnt something (here none has)"]
        if len(naive) == len(s.cells)
        else []
    )
    if not needs:
        return ""
    needs += [f"{FEW_SUBSETS} label subsets (here {subsets})"] if subsets < FEW_SUBSETS else []
    return (
        f"Before this page can advise it needs "
        f"{', '.join(needs[:-1])}{' and ' if needs[1:] else ''}{needs[-1]}."
    )


def scored_subjects(s: Study) -> int:
    """Of the cell with most; of a results.csv, which holds their means alone, those that it counts."""
    told = [
        int(row[14])
        for run in s.runs
        for row in run.table or ()
        if (row[9], row[10], row[11], row[12]) == (s.split, s.checkpoint, MEAN, s.metric)
    ]
    return max([c.interval.n_subjects for c in s.cells.values()] + told)


@functools.lru_cache(8)
def unlearnt(s: Study) -> dict[tuple[str, int], str]:
    """The cells whose networks paint nearly everything, or nothing, at the last checkpoint:
    ``everything`` or ``nothing``.

    Everything: every class is found (sensitivity above .9) at a precision of at most 1.5 times its
    share of the pixels, as the examples that the run kept tell it. Nothing: no class is found in
    most subjects. More than half of the cell's runs must be so.
    """
    found = {}
    for key, cell in s.cells.items():
        kinds = Counter(_painted(run, s) for run in cell.runs)
        kind, n = kinds.most_common(1)[0]
        if kind and 2 * n > len(cell.runs):
            found[key] = kind
    return found


def _painted(run: Run, s: Study) -> str:
    """``everything``, ``nothing``, or "" for a network that tells classes apart, and where the
    scores or examples cannot say.
    """
    rows = {
        metric: [run.scores.row(metric, s.split, s.checkpoint, k) for k in run.scores.axes[3]]
        for metric in ("sensitivity", "precision")
    }
    if (
        run.table is not None
        or not rows["sensitivity"]
        or any(row is None or np.isnan(row).all() for row in rows["sensitivity"])
    ):
        return ""
    found = [row[~np.isnan(row)] for row in rows["sensitivity"] if row is not None]
    if all(np.median(row) < 0.005 for row in found):
        return "nothing"
    if any(row.mean() < 0.9 for row in found) or any(
        row is None or np.isnan(row).all() for row in rows["precision"]
    ):
        return ""
    right = [float(np.nanmean(row)) for row in rows["precision"] if row is not None]
    kept = (
        run.examples() if max(right) <= 0.75 else None
    )  # no object fills more than half of its images
    if kept is None:
        return ""
    share = [float((kept["label"] == k).mean()) for k in range(1, len(found) + 1)]
    return "everything" if all(p <= 1.5 * of for p, of in zip(right, share)) else ""


def unlearnt_sentence(s: Study) -> str:
    """The warning for :func:`unlearnt` networks; "" where there is none."""
    naive = unlearnt(s)
    if not naive:
        return ""
    arms = list(dict.fromkeys(arm for arm, _ in naive))
    of = lambda arm: sorted(n for a, n in naive if a == arm)
    spelt = lambda arm: (
        arm
        if len(of(arm)) == sum(a == arm for a, _ in s.cells)
        else f"{arm} with {', '.join(map(str, of(arm)))} annotated"
    )
    who = (
        "No network here"
        if len(naive) == len(s.cells)
        else "; ".join(map(spelt, arms[:6]))
        + (f" and {len(arms) - 6} more" if len(arms) > 6 else "")
    )
    which = (
        "has learnt anything yet: they"
        if len(naive) == len(s.cells)
        else "have learnt nothing yet: their networks"
    )
    kinds = " or ".join(
        f"paint nearly {kind}" if kind == "everything" else "find nothing"
        for kind in sorted(set(naive.values()))
    )
    steps = ", ".join(
        str(n) for n in sorted({run.steps for key in naive for run in s.cells[key].runs})
    )
    return f"{capitalise(who)} {which} {kinds} after {steps} steps; give more steps first."


def _winner(s: Study) -> tuple[str, int] | None:
    """The arm that is shown to be ahead by most at the smallest budget all arms share, else at the
    smallest at which any is; and that budget.
    """
    won = [c for c in s.comparisons if s.verdict(c) > 0]
    if not won:
        return None
    shared = min(s.shared_budgets or s.budgets)
    labels = shared if any(c.labels == shared for c in won) else min(c.labels for c in won)
    best = max((c for c in won if c.labels == labels), key=lambda c: s.sign * c.difference.mean)
    return best.arm, labels


def _which(s: Study) -> Answer:
    unit, question = unit_of_annotation(s.runs), "Which method?"
    labels, name = min(s.shared_budgets or s.budgets), score_label(s.metric, s.unit)
    reached = lambda arm, n: interval_text(s.cells[arm, n].interval, s.metric)
    if not s.comparisons:
        firsts = {arm: min(n for a, n in s.cells if a == arm) for arm in s.arms}
        told = "; ".join(
            f"{arm} {reached(arm, n)} with {n} annotated {unit}"
            for arm, n in list(firsts.items())[:4]
        )
        if len(s.arms) == 1:
            return Answer(
                question,
                capitalise(next(iter(s.arms))),
                f"It is the only one that was run. {name}: {told}.",
            )
        return Answer(
            question,
            "Not compared",
            (
                f"No supervised run stands beside another method with as many annotations. {name}: "
                f"{told}."
            ),
        )
    winner = _winner(s)
    if winner:
        arm, n = winner
        c = next(c for c in s.comparisons if (c.arm, c.labels) == winner)
        tried, better = (
            [c.labels for c in s.comparisons if c.arm == arm],
            [c.labels for c in s.comparisons if c.arm == arm and s.verdict(c) > 0],
        )
        at = f" It is ahead at {len(better)} of {len(tried)} budgets." if len(tried) > 1 else ""
        return Answer(
            question,
            capitalise(arm) + ("" if n == labels else f", with {n}"),
            f"{name} {reached(arm, n)} with {n} annotated {unit}: "
            f"{interval_text(c.difference, s.metric, signed=True)} over {s.baseline} "
            f"({p_text(c.p_holm)}, Holm).{at}",
        )
    here = [c for c in s.comparisons if c.labels == min(v.labels for v in s.comparisons)]
    near = max(here, key=lambda c: s.sign * c.difference.mean)
    verdict = "worse" if s.verdict(near) < 0 else "undecided"
    return Answer(
        question,
        f"Stay with {s.baseline}",
        f"No other is shown to beat it. The nearest with {near.labels} annotated {unit} is "
        f"{near.arm}: "
        f"{interval_text(near.difference, s.metric, signed=True)}, {verdict}.",
    )


def _how_many(s: Study) -> Answer:
    """The smallest budget that is shown to be as good as the largest, for the arm that is
    recommended; and what another arm saves.
    """
    unit, question = unit_of_annotation(s.runs), "How many labels?"
    winner = _winner(s)
    arm = winner[0] if winner else s.baseline or next(iter(s.arms))
    budgets = [n for a, n in sorted(s.cells) if a == arm]
    if len(budgets) < 2:
        return Answer(
            question,
            "Not asked",
            (
                f"{capitalise(arm)} was run with {budgets[0]} annotated {unit} alone; a curve needs "
                f"two numbers at least."
            ),
        )
    most, before = budgets[-1], budgets[-2]
    margin = METRICS[s.metric].relevant
    gains = {n: gain(s, arm, n, most) for n in budgets[:-1]}
    text = lambda n: interval_text(gains[n], s.metric, signed=True)
    reached = (
        f"{capitalise(arm)} reaches {interval_text(s.cells[arm, most].interval, s.metric)} "
        f"with {most}"
    )
    enough = next((n for n, g in gains.items() if g.low < g.high <= margin), None)
    if enough is not None:
        bound = f"at most {number(margin, s.metric)}" if gains[enough].mean > 0 else "no gain"
        short, told = (
            f"{enough} {unit}",
            f"{reached}; from {enough} to {most} it gains {text(enough)}, which is {bound}.",
        )
    elif gains[before].low > 0 and gains[before].low < gains[before].high:
        short, told = (
            f"More than {most} may help",
            f"{reached}; from {before} to {most} it still gains {text(before)}.",
        )
    else:
        first = f", from {budgets[0]} it is {text(budgets[0])}" if before != budgets[0] else ""
        short, told = (
            "Undecided",
            (
                f"{reached}. Whether that is better than {before} is open: the gain is "
                f"{text(before)}{first}."
            ),
        )
    saved = [w for w in worth(s) if w.saves]
    if saved:
        w = max(saved, key=lambda w: min(w.equivalence.labels, w.equivalence.largest) / w.labels)
        told += (
            f" {capitalise(w.arm)} with {w.labels} is worth {equivalence_text(w)} of {s.baseline}."
        )
    elif s.comparisons:
        told += " No method is shown to save labels."
    return Answer(question, short, told)


def _how_synthetic(s: Study) -> Answer:
    question, ratios = "How much synthetic data?", sorted({run.ratio for run in s.runs})
    if len(ratios) < 2:
        if ratios != [0.0]:
            return Answer(
                question,
                "Not asked",
                (
                    f"Only one ratio was run, {ratios[0]:g} synthetic images per real one; add ratio "
                    f"0 to compare."
                ),
            )
        n = min(s.shared_budgets or s.budgets)
        commands = (
            f"semiseg gan fit --data {s.data} --labels {n} --out gan",
            "semiseg gan sample gan --n 200 --out synthetic",
            "semiseg data import --format folder --source synthetic --name synthetic",
            (
                f"semiseg train --data {s.data} --labels {n} --ratio 0.5 --synthetic synthetic --out "
                f"runs/synthetic"
            ),
        )
        return Answer(
            question,
            "Not tried here",
            "No run mixed in synthetic images, so these runs say nothing about it.",
            commands,
        )
    of = {arm: runs[0].ratio for arm, runs in s.arms.items()}
    baseline_method = s.arms[s.baseline][0].method if s.baseline else ""
    tried = [
        c
        for c in s.comparisons
        if of[c.arm] > 0
        and s.arms[c.arm][0].method == baseline_method
        and s.arms[c.arm][0].source not in CONTROLS
    ]
    good, harm = ([c for c in tried if s.verdict(c) == side] for side in (1, -1))
    if good:
        best = max(good, key=lambda c: s.sign * c.difference.mean)
        return Answer(
            question,
            f"{of[best.arm]:g} per real image",
            f"It gains most: {interval_text(best.difference, s.metric, signed=True)} with "
            f"{best.labels} annotated; "
            f"{len(good)} of {len(tried)} mixes help, {len(harm)} harm.{_control(s, best)}",
        )
    if not tried:
        return Answer(
            question, "Undecided", "No mix was run beside the same method without synthetic data."
        )
    near = max(tried, key=lambda c: s.sign * c.difference.mean)
    return Answer(
        question,
        "None is shown to help",
        f"Mixes tried: {len(tried)}, of which {len(harm)} harm. The best, {of[near.arm]:g} per "
        f"real image with {near.labels} annotated: "
        f"{interval_text(near.difference, s.metric, signed=True)}.{_control(s, near)}",
    )


def _control(s: Study, c: Comparison) -> str:
    """What the controls of a mix give; "" where none was run."""
    runs = s.arms[c.arm]
    beside = [
        (
            f"{source_title(s.arms[o.arm][0].source)} "
            f"{interval_text(o.difference, s.metric, signed=True)}"
        )
        for o in s.comparisons
        if o.labels == c.labels
        and s.arms[o.arm][0].source in CONTROLS
        and (s.arms[o.arm][0].method, s.arms[o.arm][0].ratio) == (runs[0].method, runs[0].ratio)
    ]
    return (
        f" The controls, as many images without a generator: {'; '.join(beside)}." if beside else ""
    )


def ratio_sentences(s: Study) -> list[str]:
    """What synthetic images give beside real ones alone and beside each control, in words: one
    sentence a budget and kind, for its best ratio.
    """
    found, sentences = mixes(s), []
    for labels in sorted({m.labels for m in found}):
        for line in dict.fromkeys(
            m.line for m in found if m.labels == labels and m.source not in CONTROLS
        ):
            tried = [m for m in found if (m.labels, m.line) == (labels, line)]
            best = max(tried, key=lambda m: m.gain.mean)
            of = f"the best of {len(tried)} ratios" if len(tried) > 1 else "the only ratio"
            told = lambda interval: (
                f"{interval_text(interval, s.metric, signed=True)} ({_direction(interval)})"
            )
            beside = "".join(
                f"; over as many {name}: {told(interval)}" for name, interval in best.beside.items()
            )
            sentences.append(
                f"{capitalise(line)} with {labels} annotated, {best.ratio:g} for each real one "
                f"({of}): {told(best.gain)} over real images alone{beside}."
            )
    return sentences


def _direction(interval: Interval) -> str:
    if not interval.low < interval.high:
        return "no interval"
    return "a gain" if interval.low > 0 else "a loss" if interval.high < 0 else "undecided"


def _how_sure(s: Study) -> Answer:
    """The runs, label subsets, seeds and subjects behind the answers."""
    cells = list(s.cells.values())
    (subsets, runs), _ = Counter(
        (c.interval.n_subsets, c.interval.n_runs) for c in cells
    ).most_common(1)[0]
    seeds = runs / max(1, subsets)
    count = lambda n, noun: f"{n:g} {noun}{'' if n == 1 else 's'}"
    few = [
        f"fewer than 3 {noun}"
        for noun, n in (("label subsets", subsets), ("seeds", seeds))
        if n < 3
    ]
    less = sum(c.interval.n_subsets < subsets or c.interval.n_runs < runs for c in cells)
    noun = "method" if len({run.method for run in s.runs}) == len(s.arms) else "arm"
    detail = (
        f"{count(len(s.runs), 'run')}: {count(len(s.arms), noun)}, "
        f"{count(len(s.budgets), 'budget')}, for each as a rule "
        f"{count(subsets, 'label subset')} × {count(round(seeds, 1), 'seed')}, scored on "
        f"{count(scored_subjects(s), 'subject')}."
        + (f" {less} of {len(cells)} results have fewer." if less else "")
    )
    if lacking(s):
        return Answer("How sure?", "Not at all", detail)
    if few:
        return Answer(
            "How sure?",
            "Provisional",
            f"{detail} A result wants 3 × 3; here are {' and '.join(few)}.",
        )
    return Answer("How sure?", f"{subsets} label subsets × {seeds:g} seeds", detail)


def cautions(s: Study) -> list[str]:
    """What a careful reader would hold against the numbers."""
    found = unlike(s.runs)
    unit = unit_of_annotation(s.runs)
    cells = list(s.cells.values())
    single = [c for c in cells if c.interval.n_runs == 1]
    if single:
        which = (
            "Every result is"
            if len(single) == len(cells)
            else f"{len(single)} of {len(cells)} results are"
        )
        alone = all(c.interval.n_subjects == 1 for c in single)
        shown = (
            "there is none at all, with a single subject"
            if alone
            else (
                "intervals shown are over subjects only, not over seeds or choices of "
                f"annotated {unit}"
            )
        )
        found.append(f"{which} a single run: no interval over runs exists; {shown}.")
    several = [c for c in cells if c.interval.n_runs > 1]
    for those, words in (
        (
            [c for c in several if c.interval.n_subsets == 1],
            f"rest on one choice of annotated {unit}, and their intervals cover no other",
        ),
        (
            [c for c in several if c.interval.n_subsets == 2],
            (
                "have two label subsets: intervals are wide, and tests see an effect where there is "
                "none in up to 6 of 100 cases"
            ),
        ),
        (
            [c for c in several if c.interval.n_runs < 3 * c.interval.n_subsets],
            "have fewer than 3 seeds a label subset",
        ),
    ):
        if those:
            found.append(f"{len(those)} of {len(cells)} results {words}.")
    for n in sorted({n for _, n in s.cells}):
        alike: dict[str, list[str]] = {}
        for subset, first in same_subsets(s.runs.where(labels=n)).items():
            alike.setdefault(first, []).append(subset)
        for subsets in alike.values():
            if len(subsets) > 1:
                found.append(
                    f"With {n} annotated, label subsets {' and '.join(subsets)} hold the same "
                    f"{unit_of_annotation(s.runs)}: they count as one, "
                    "and of runs with the same seed one counts."
                )
    subjects = max(c.interval.n_subjects for c in cells)
    found += _of_tables(s)
    if (
        subjects < FEW_SUBJECTS
        and not any(_mean_alone(run, s) for run in s.runs)
        and s.comparisons
        and all(np.isnan(c.detectable) for c in s.comparisons)
    ):
        found.append(
            f"With {subjects} scored subject{'s' * (subjects > 1)} no paired test can reach p < "
            f".05, whatever the difference."
        )
    if any(c.paired_by != "label subset and seed" for c in s.comparisons):
        found.append(
            "Not all methods were run with the same label subsets and seeds: some comparisons "
            "are paired less finely."
        )
    apart = lambda key: {getattr(run, key) for run in s.runs}
    for values, what in (
        (apart("steps"), "steps"),
        (
            apart("total_steps") if len(apart("steps")) == 1 else set(),
            "steps with those of a pre-training",
        ),
        (apart("net"), "network"),
    ):
        if len(values) > 1:
            found.append(
                f"Runs differ in {what} ({', '.join(map(str, sorted(values)))}): differences "
                f"between methods may be due to that."
            )
    if s.split == "val":
        found.append(
            "These are validation scores. Settings tuned on the validation set flatter all of "
            "them; a final claim needs the test set."
        )
    if len({n for _, n in s.cells}) > 1 and len(s.shared_budgets) < len(s.budgets):
        found.append("Not every method was run at every budget.")
    return found


def _mean_alone(run: Run, s: Study) -> bool:
    """Whether the mean of a run is all that is known of the study's scores."""
    return MEAN_OF_ALL in run.scores.per_subject(s.metric, s.split, s.checkpoint)


def _of_tables(s: Study) -> list[str]:
    """What the numbers lack because runs were read from a results.csv."""
    tables = [run for run in s.runs if run.table is not None]
    alone = [run for run in tables if _mean_alone(run, s)]
    found = []
    if alone:
        who = "These runs"
        if len(alone) < len(s.runs):
            who = f"{len(alone)} of {len(s.runs)} runs"
        found.append(
            f"{who} were read from a results.csv without their subjects' scores: intervals and "
            "tests leave out the spread between subjects."
        )
    if tables and METRICS[s.metric].absolute:
        found.append(
            f"A results.csv holds signed means: errors of opposite sign cancel before the "
            f"{score_label(s.metric).lower()} is taken."
        )
    return found


def unlike(runs: Runs) -> list[str]:
    """Settings of the training that one method had and another did not, as a caution: what looks
    like the method may be its network or its rate.

    The methods' own fields and what an arm is compared for (start, synthetic images, steps,
    network) are told elsewhere.
    """
    told = BOOKKEEPING | FACTORS | {"ratio", "steps", "eval_every", "init_steps"}
    told_by = ("method.", "init", "synthetic") + (
        ("net.",) if len({run.net for run in runs}) > 1 else ()
    )
    shared = ("method.criterion", "method.decay")  # of every method, and not what it is
    number = lambda value: (
        float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value
    )
    values: dict[str, dict[str, set[str]]] = {}
    for key in sorted(
        set.intersection(*(set(run.settings) for run in runs)) - told
    ):  # an older folder lacks what was added since
        if key.startswith(shared) or not key.startswith(told_by):
            for run in runs:
                values.setdefault(key, {}).setdefault(run.method, set()).add(
                    f"{number(run.settings[key])}".removesuffix(".0")
                )
    methods = {run.method for run in runs}
    differ = [
        key
        for key, by in sorted(values.items(), key=lambda item: not item[0].startswith("net."))
        if len({frozenset(by[m]) for m in methods}) > 1
    ]
    if not differ:
        return []
    shown = "; ".join(
        f"{key} is {', '.join(sorted(set().union(*values[key].values())))}" for key in differ[:3]
    )
    more = f"; and {len(differ) - 3} more" if len(differ) > 3 else ""
    return [
        (
            f"The methods were not trained alike ({shown}{more}): a difference between them may be "
            f"one of these settings."
        )
    ]


def method_text(method: str) -> tuple[str, str]:
    """A method in plain words and its source: the first lines of its file's and its class's
    docstrings, read without importing it.
    """
    file = Path(__file__).parent.parent / "methods" / f"{method}.py"
    if not re.fullmatch(r"\w+", method) or not file.is_file():
        return "", ""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    plain = (ast.get_docstring(tree) or "").partition("\n\n")[0].replace("\n", " ")
    classes = [
        node
        for node in tree.body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    ]
    source = (
        (ast.get_docstring(classes[-1]) or "").partition("\n\n")[0].replace("\n", " ")
        if classes
        else ""
    )
    name, _, rest = plain.partition(": ")
    spelt = lambda text: text.lower().replace("-", " ")
    plain = (
        rest if spelt(name) == spelt(title(method)) else plain
    )  # "Mean teacher: agree …" stands beside its name already
    return capitalise(plain), source


def unit_of_annotation(runs: Runs) -> str:
    """What one annotation is of: "images" where a subject is an image, else "subjects"; "cases"
    where runs come from a results.csv, which does not say.
    """
    units = {_unit(run) for run in runs}
    if len(units) == 1:
        return units.pop()
    return "cases" if "cases" in units else "subjects"


def _unit(run: Run) -> str:
    if run.table is not None:
        return "images" if run.data == EMBEDDED_SET else "cases"
    images = run.summary.get("images_labelled")
    one_each = images is not None and images == run.summary.get("subjects_labelled")
    return "images" if one_each else "subjects"


def annotated(s: Study, labels: int) -> str:
    unit = unit_of_annotation(s.runs)
    images = {run.summary.get("images_labelled") for run in s.runs.where(labels=labels)}
    extra = (
        f" ({next(iter(images))} images)"
        if unit == "subjects" and len(images) == 1 and None not in images
        else ""
    )
    return f"{labels} annotated {unit if labels != 1 else unit[:-1]}{extra}"


def capitalise(text: str) -> str:
    return text[:1].upper() + text[1:]


def _is(n: int) -> str:
    return "is" if n == 1 else "are"
