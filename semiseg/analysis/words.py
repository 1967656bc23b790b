"""Numbers and sentences: how a score is printed, and what a study says, computed from its cells and never more than they carry."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import numpy as np

from semiseg.analysis.compare import LOWER_IS_BETTER, Study, title
from semiseg.analysis.conclusions import Worth, worth
from semiseg.analysis.records import Runs
from semiseg.analysis.statistics import Interval

METRIC_NAMES = {
    "dice": "Dice",
    "iou": "IoU",
    "precision": "Precision",
    "sensitivity": "Sensitivity",
    "hd95": "HD95",
    "hd95_pooled": "HD95 (pooled)",
    "assd": "ASSD",
    "volume_error": "Volume error",
}
SPLITS = {"val": "validation", "test": "test"}
_FEW_SUBJECTS = 6  # with 5 subjects the smallest two-sided p of a sign-flip test is 2/2^5 = .06


def metric_label(metric: str, unit: str = "") -> str:
    """``hd95`` → ``HD95 (mm)``."""
    name = METRIC_NAMES.get(metric, title(metric))
    return f"{name} ({unit})" if unit not in ("", "1") else name


def number(value: float, metric: str = "dice", signed: bool = False) -> str:
    """A score as it is printed: ``.81`` for shares, ``5.3`` for distances, one place more for a (signed) difference."""
    if not np.isfinite(value):
        return "–"
    places = (1 if metric in LOWER_IS_BETTER else 2) + signed  # a difference is smaller than what it is a difference of
    text = f"{abs(value):.{places}f}".removeprefix("" if metric in LOWER_IS_BETTER else "0")
    sign = "" if float(text) == 0 else "−" if value < 0 else "+" if signed else ""
    return sign + text


def interval_text(interval: Interval, metric: str = "dice", signed: bool = False) -> str:
    """``.81 [.78, .84]``; the mean alone where nothing was resampled."""
    mean = number(interval.mean, metric, signed)
    if not interval.low < interval.high:
        return mean
    return f"{mean} [{number(interval.low, metric, signed)}, {number(interval.high, metric, signed)}]"


def p_text(p: float) -> str:
    """``p = .03``, ``p < .001``, or ``no test``."""
    if p != p:
        return "no test"
    return "p < .001" if p < 0.001 else "p = 1" if p >= 0.9995 else f"p = {p:.3f}".replace("0.", ".")


def claim(s: Study) -> str:
    """What a study shows, in one line: the arm that is significantly ahead of the baseline at most budgets, or that none is."""
    if not s.comparisons:
        arm, n = next(iter(s.cells))
        last = max(labels for a, labels in s.cells if a == arm)
        ends = " to ".join(number(s.cells[arm, labels].interval.mean, s.metric) for labels in sorted({n, last}))
        return f"{capitalise(arm)}: {metric_label(s.metric, s.unit)} {ends} with {n}{f' to {last}' if last != n else ''} annotated"
    sign = -1 if s.metric in LOWER_IS_BETTER else 1
    wins = {arm: [c.labels for c in s.comparisons if c.arm == arm and c.significant and sign * c.difference.mean > 0] for arm in s.arms}
    best = max(wins, key=lambda arm: len(wins[arm]))
    tried = [c.labels for c in s.comparisons if c.arm == best]
    if not wins[best]:
        return f"No method is significantly better than {s.baseline}"
    if len(tried) == 1:
        return f"{capitalise(best)} beats {s.baseline} with {annotated(s, tried[0])}"
    share = "all" if len(wins[best]) == len(tried) else f"{len(wins[best])} of"
    return f"{capitalise(best)} beats {s.baseline} at {share} {len(tried)} budgets"


def answer(s: Study) -> list[str]:
    """The finding in words: at the smallest budget that all arms share (a fixed rule, not the most flattering one), then at all."""
    labels = min(s.shared_budgets or s.budgets)
    here = [s.cells[arm, labels] for arm in s.arms if (arm, labels) in s.cells]
    name = metric_label(s.metric, s.unit)
    reached = "; ".join(f"{c.arm} {interval_text(c.interval, s.metric)}" for c in here)
    sentences = [f"With {annotated(s, labels)}, {name} on the {SPLITS.get(s.split, s.split)} set is: {reached}."]
    at_budget = [c for c in s.comparisons if c.labels == labels]
    told = at_budget if len(at_budget) <= 3 else [c for c in at_budget if c.significant]
    for c in told:
        verdict = "significant" if c.significant else "not significant" if np.isfinite(c.p) else "untested"
        sentences.append(
            f"{capitalise(c.arm)} minus {c.baseline}, paired by subject: {interval_text(c.difference, s.metric, signed=True)}, "
            f"which is {verdict} ({p_text(c.p_holm)}, Holm)."
        )
    if len(told) < len(at_budget):
        sentences.append(f"The other {len(at_budget) - len(told)} of {len(at_budget)} comparisons there are not significant.")
    if len({c.labels for c in s.comparisons}) > 1:
        sign = -1 if s.metric in LOWER_IS_BETTER else 1
        better, worse = (sum(c.significant and sign * side * c.difference.mean > 0 for c in s.comparisons) for side in (1, -1))
        rest = len(s.comparisons) - better - worse
        sentences.append(
            f"Over all budgets, of {len(s.comparisons)} comparisons with {s.baseline}, {better} {_is(better)} significantly better, "
            f"{worse} significantly worse, and {rest} {_is(rest)} undecided."
        )
    if not s.comparisons and len(s.arms) == 1 and len(s.budgets) > 1:
        last = s.cells[here[0].arm, s.budgets[-1]]
        sentences.append(f"With {annotated(s, last.labels)} it is {interval_text(last.interval, s.metric)}.")
    return sentences


def equivalence_text(w: Worth) -> str:
    """``about 12 (95 % interval 9.1 to 16)``: the labels a result is worth, open where the baseline's budgets end."""
    e = w.equivalence
    count = lambda v: f"{v:.1f}".removesuffix(".0") if v < 10 else f"{v:.0f}"
    low = f"< {e.smallest:g}" if e.low == 0 else count(e.low)
    high = f"> {e.largest:g}" if np.isinf(e.high) else count(e.high)
    point = f"fewer than {e.smallest:g}" if e.labels == 0 else f"more than {e.largest:g}" if np.isinf(e.labels) else f"about {count(e.labels)}"
    if (np.isinf(e.labels) and e.low >= e.largest) or (e.labels == 0 and e.high <= e.smallest):
        return f"{point} (for certain at 95 %)"
    return f"{point} (95 % interval {low} to {high})"


def worth_sentences(s: Study) -> list[str]:
    """Label equivalence in words, at the smallest budget where an arm was run: at most three arms, those first that save or cost annotations."""
    unit, sentences = unit_of_annotation(s.runs), []
    first = [w for w in worth(s) if w.labels == min(v.labels for v in worth(s) if v.arm == w.arm)]
    for w in sorted(first, key=lambda w: not (w.saves or w.costs))[:3]:
        arm = w.arm
        verdict = (
            "it saves annotations" if w.saves
            else "it costs annotations" if w.costs
            else f"which includes {w.labels} itself, so no saving is shown"
        )  # fmt: skip
        sentences.append(
            f"{capitalise(arm)} with {w.labels} annotated {unit} scores like {s.baseline} with {equivalence_text(w)}: {verdict}."
        )
    return sentences


def first_screen(s: Study) -> list[tuple[str, str]]:
    """Three questions, each with its answer in a sentence or two."""
    labels = min(s.shared_budgets or s.budgets)
    unit = unit_of_annotation(s.runs)
    sign = -1 if s.metric in LOWER_IS_BETTER else 1
    here = [c for c in s.comparisons if c.labels == labels and c.significant and sign * c.difference.mean > 0]
    if not s.comparisons:
        which = f"Only one was run: {next(iter(s.arms))}."
    elif here:
        best = max(here, key=lambda c: sign * c.difference.mean)
        which = f"{capitalise(best.arm)}: {interval_text(best.difference, s.metric, signed=True)} over {s.baseline} with {labels} annotated {unit}."
    else:
        which = f"No method is shown to beat {s.baseline} with {labels} annotated {unit}."
    return [("Which method?", which), ("How many labels?", _how_many(s)), ("How much synthetic data?", _how_synthetic(s))]


def _how_many(s: Study) -> str:
    """Where the baseline's curve flattens, and what the best other arm saves."""
    unit = unit_of_annotation(s.runs)
    arm = s.baseline or next(iter(s.arms))
    budgets = [n for a, n in sorted(s.cells) if a == arm]
    if len(budgets) < 2:
        return f"Only {budgets[0]} annotated {unit} were tried."
    mean = {n: s.cells[arm, n].interval.mean for n in budgets}
    tolerance = 0.5 if s.metric in LOWER_IS_BETTER else 0.01
    sign, most = (-1 if s.metric in LOWER_IS_BETTER else 1), budgets[-1]
    gain = {n: sign * (mean[most] - mean[n]) for n in budgets}
    enough = next(n for n in budgets if gain[n] <= tolerance)
    if enough == most:
        told = f"{capitalise(arm)} still gains at {most} {unit}."
    elif gain[enough] <= 0:
        told = f"No gain is shown from {enough} to {most} {unit} with {arm}."
    else:
        told = f"From {enough} to {most} {unit}, {arm} gains {number(gain[enough], s.metric, signed=True).lstrip('+')} or less."
    saved = [w for w in worth(s) if w.saves]
    if saved:
        w = max(saved, key=lambda w: min(w.equivalence.labels, w.equivalence.largest) / w.labels)
        return f"{told} {capitalise(w.arm)} with {w.labels} is worth {equivalence_text(w)}."
    return told + (" No method is shown to save labels." if s.comparisons else "")


def _how_synthetic(s: Study) -> str:
    ratios = sorted({run.ratio for run in s.runs})
    if len(ratios) < 2:
        return "Not asked: no run mixed in synthetic images." if ratios == [0.0] else f"Only one ratio was run: {ratios[0]:g}."
    of = {arm: runs[0].ratio for arm, runs in s.arms.items()}
    baseline_method = s.arms[s.baseline][0].method if s.baseline else ""
    tried = [c for c in s.comparisons if of[c.arm] > 0 and s.arms[c.arm][0].method == baseline_method]
    sign = -1 if s.metric in LOWER_IS_BETTER else 1
    good = [c for c in tried if c.significant and sign * c.difference.mean > 0]
    harm = [c for c in tried if c.significant and sign * c.difference.mean < 0]
    if good:
        best = max(good, key=lambda c: sign * c.difference.mean)
        return (
            f"{of[best.arm]:g} per real image gains most: {interval_text(best.difference, s.metric, signed=True)} with {best.labels} annotated; "
            f"{len(good)} of {len(tried)} mixes help, {len(harm)} harm."
        )
    return f"None of {len(tried)} mixes is shown to help" + (f"; {len(harm)} harm." if harm else ".")


def cautions(s: Study) -> list[str]:
    """What a careful reader would hold against the numbers."""
    found = []
    cells = list(s.cells.values())
    single = [c for c in cells if c.interval.n_runs == 1]
    if single:
        which = "Every result is" if len(single) == len(cells) else f"{len(single)} of {len(cells)} results are"
        found.append(
            f"{which} a single run: no interval over runs exists. Intervals shown are over subjects only, not over seeds or "
            "choices of annotated subjects."
        )
    one_subset = [c for c in cells if c.interval.n_subsets == 1 and c.interval.n_runs > 1]
    if one_subset:
        found.append(
            f"{len(one_subset)} of {len(cells)} results rest on one choice of annotated subjects, and their intervals cover no other."
        )
    few = [c for c in cells if 1 < c.interval.n_runs < 9 and c.interval.n_subsets > 1]
    if few:
        found.append("Some results have fewer than 3 seeds × 3 label subsets; with two label subsets a 95 % interval covers about 90 %.")
    subjects = max(c.interval.n_subjects for c in cells)
    if any(run.table is not None for run in s.runs):
        found.append("These runs were read from a results.csv, which holds no subjects: intervals and tests leave out the spread between subjects.")
    elif subjects < _FEW_SUBJECTS and s.comparisons:
        found.append(f"With {subjects} scored subjects no paired test can reach p < .05, whatever the difference.")
    if any(c.paired_by != "label subset and seed" for c in s.comparisons):
        found.append("Not all methods were run with the same label subsets and seeds: some comparisons are paired less finely.")
    for key, what in (("steps", "steps"), ("net", "network")):
        values = {getattr(run, key) for run in s.runs}
        if len(values) > 1:
            found.append(f"Runs differ in {what} ({', '.join(map(str, sorted(values)))}): differences between methods may be due to that.")
    if s.split == "val":
        found.append(
            "These are validation scores. Settings tuned on the validation set flatter all of them; a final claim needs the test set."
        )
    if len({n for _, n in s.cells}) > 1 and len(s.shared_budgets) < len(s.budgets):
        found.append("Not every method was run at every budget.")
    return found


def method_text(method: str) -> tuple[str, str]:
    """A method in plain words and its source: the first lines of its file's and its class's docstrings, read without importing it."""
    file = Path(__file__).parent.parent / "methods" / f"{method}.py"
    if not re.fullmatch(r"\w+", method) or not file.is_file():
        return "", ""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    plain = (ast.get_docstring(tree) or "").partition("\n\n")[0].replace("\n", " ")
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
    source = (ast.get_docstring(classes[-1]) or "").partition("\n\n")[0].replace("\n", " ") if classes else ""
    name, _, rest = plain.partition(": ")
    plain = rest if name.lower().replace("-", " ") == title(method) else plain  # "Mean teacher: agree …" stands beside its name already
    return capitalise(plain), source


def unit_of_annotation(runs: Runs) -> str:
    """ "images" where a subject is an image, else "subjects"."""
    same = [run.summary.get("images_labelled") == run.summary.get("subjects_labelled") is not None for run in runs]
    return "images" if same and all(same) else "subjects"


def annotated(s: Study, labels: int) -> str:
    unit = unit_of_annotation(s.runs)
    images = {run.summary.get("images_labelled") for run in s.runs.where(labels=labels)}
    extra = f" ({next(iter(images))} images)" if unit == "subjects" and len(images) == 1 and None not in images else ""
    return f"{labels} annotated {unit if labels != 1 else unit[:-1]}{extra}"


def capitalise(text: str) -> str:
    return text[:1].upper() + text[1:]


def _is(n: int) -> str:
    return "is" if n == 1 else "are"
