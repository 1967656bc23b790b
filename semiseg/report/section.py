"""The part of the page that one data set has: everything the template lays out."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from semiseg.analysis.arms import arm_settings, title
from semiseg.analysis.comparisons import scores_by_subject
from semiseg.analysis.spread import ranking, splits
from semiseg.analysis.statistics import Interval
from semiseg.analysis.study import FEW_SUBSETS, Comparison, Study, study
from semiseg.analysis.study_file import Declared
from semiseg.analysis.worth import worth
from semiseg.errors import UserError
from semiseg.evaluate.metrics import METRICS
from semiseg.method_docs import describe_method
from semiseg.report import details, fold_findings, summary, synthetic_sets, tables
from semiseg.report.cost import cost_rows
from semiseg.report.declared import block, is_primary
from semiseg.report.facts import covered, smallest_budget, unit_of_annotation
from semiseg.report.figures import FIGURES
from semiseg.report.figures.figure import Figure, Material
from semiseg.report.figures.output import inline_svg, save
from semiseg.report.figures.overlays import draw_galleries, legend
from semiseg.report.figures.style import COLOURS
from semiseg.report.format import (
    MISSING,
    count,
    decimal,
    interval_text,
    number,
    p_value,
    score_label,
    share,
    size,
)
from semiseg.report.pictures import Gallery, data_uri, pick_examples
from semiseg.report.protocol import protocol
from semiseg.report.reproduce import citations, commands
from semiseg.report.sentences import equivalence_parts, no_interval
from semiseg.report.subject_details import subgroup_tables, subject_tables

MOST_ROWS = 8
"""Compared settings above which differences are the first figure."""


@dataclasses.dataclass(frozen=True)
class Drawn:
    """A figure on the page: its declaration, as SVG, and its numbers.

    ``narrow`` is "" where the wide one scrolls on a phone, and is then ``least`` rem wide, so that
    its letters can be read.
    """

    figure: Figure
    wide: str
    narrow: str
    least: float
    note: str
    table: list[list[str]]


def section(
    s: Study, mixed: Study | None, out: Path, suffix: str, declared: Declared | None = None
) -> dict[str, Any]:
    """The part of one data set.

    Args:
      s: the study of the label-efficiency curve.
      mixed: the study of its runs with synthetic images, if there are any.
      out: folder of the report; figures are written below it.
      suffix: of the figures' names, where the report is of several data sets.
      declared: the declaration of the study.
    """
    figures = draw_figures(Material(s, mixed), out / "figures", suffix)
    crowded = len(s.arms) > MOST_ROWS and "differences" in figures
    headline = "label_efficiency"
    if crowded:
        headline = "differences"
    galleries = _galleries(s)
    overlays = f"figures/overlays{suffix}.png"
    if galleries:
        save(draw_galleries(galleries), out / overlays)
    of_mixes = _training_of_mixes(mixed)
    by_subgroup = list(subgroup_tables(s))
    return {
        "data": s.data,
        "claim": summary.claim(s),
        "measured": summary.measured(s),
        "declared": block(s, declared),
        "folds": fold_findings.lines(s),
        "by_fold": details.fold_table(s),
        "untrained": summary.untrained_sentence(s),
        "screen": summary.first_screen(s, mixed),
        "answer": summary.answer(s),
        "equivalence_sentences": summary.equivalence_sentences(s),
        "figures": figures,
        "headline": headline,
        "mixes": _mixes(s, mixed),
        "worth": _worth(s),
        "questions": _questions(s, mixed),
        "pseudo_labels": summary.pseudo_label_sentences(s),
        "spread": _spread(s),
        "citations": citations(s),
        "by_class": details.class_table(s),
        "by_subject": details.subject_table(s, out),
        "subject_tables": [*subject_tables(s), *by_subgroup],
        "subgroup_tables": by_subgroup,
        "every_run": details.run_table(s, out),
        "cautions": summary.cautions(s),
        "caption": tables.caption(s),
        "methods": _methods(s),
        "budgets": s.budgets,
        "unit": unit_of_annotation(s.runs),
        "rows": score_rows(s),
        "comparisons": _comparisons(s, declared is not None),
        "paired_by": _paired_by(s),
        "baseline": s.baseline,
        "others": _other_metrics(s),
        "metric": score_label(s.metric, s.unit),
        "examples": [_example(gallery, out) for gallery in galleries],
        "example_labels": smallest_budget(s),
        "example_file": overlays,
        "legend": _legend(galleries),
        "protocol": protocol(s),
        "cost": cost_rows(s) + of_mixes["cost"],
        "pre_trained": of_mixes["pre_trained"] or any(run.init != "none" for run in s.runs),
        "commands": commands(s) + of_mixes["commands"],
    }


def _training_of_mixes(mixed: Study | None) -> dict[str, Any]:
    """Cost and commands of the runs with synthetic images."""
    if mixed is None:
        return {"cost": [], "pre_trained": False, "commands": []}
    return {
        "cost": cost_rows(mixed, mixes=True),
        "pre_trained": any(run.init != "none" for run in mixed.runs),
        "commands": commands(mixed, mixes=True),
    }


# ------------------------------------------------------------------ figures
def draw_figures(material: Material, out: Path, suffix: str) -> dict[str, Drawn]:
    """Every figure that the runs have anything for, by name; written to files as well."""
    result = {}
    for name, figure in FIGURES.items():
        if material.study.folds and not figure.of_folds:
            continue
        if figure.applies(material):
            result[name] = _draw(figure, material, out, suffix)
    return result


def _draw(figure: Figure, material: Material, out: Path, suffix: str) -> Drawn:
    wide = figure.draw(material, figure.wide)
    for_file = wide
    if figure.for_file is not None:
        for_file = figure.for_file(material)
    save(for_file, *(out / f"{figure.name}{suffix}{ending}" for ending in figure.formats))
    first = out / f"{figure.name}.png"
    if figure.section == "headline" and not first.exists():  # whatever was compared
        save(for_file, *(first.with_suffix(ending) for ending in figure.formats))
    alt = figure.alt(material)
    narrow = ""
    if figure.narrow is not None:
        narrow = inline_svg(figure.draw(material, figure.narrow), alt)
    return Drawn(
        figure,
        inline_svg(wide, alt),
        narrow,
        round(min(47.0, 5.2 * wide.get_figwidth()), 1),
        figure.note(material),
        figure.table(material),
    )


# ------------------------------------------------------------------ tables
def score_rows(s: Study) -> list[dict[str, Any]]:
    """A row a compared setting, an entry a budget; None where it was not run."""
    rows = []
    for arm in s.arms:
        rows.append({"arm": arm, "entries": [_entry(s, arm, n) for n in s.budgets]})
    return rows


def _entry(s: Study, arm: str, labels: int) -> dict[str, Any] | None:
    if (arm, labels) not in s.cells:
        return None
    interval = s.cells[arm, labels].interval
    comparison = tables.find(s, arm, labels)
    runs = count(interval.n_runs, "run")
    subjects = count(interval.n_subjects, "subject")
    if interval.n_groups:
        subjects = f"{count(interval.n_groups, 'group')} of {subjects}"
    if not scores_by_subject(s.cells[arm, labels].runs, s.scored):
        subjects = "scores of single subjects not known"
    return {
        "mean": number(interval.mean, s.metric),
        "range": interval_text(interval, s.metric).partition(" ")[2],
        "why": no_interval(interval),
        "covers": f"over {interval.covers}, {runs}, {subjects}",
        "star": bool(comparison and comparison.significant),
    }


def _paired_by(s: Study) -> str:
    """What the caption of the comparisons says of their pairs."""
    if s.folds:
        return ", paired by fold and subject"
    if all(c.by_subject for c in s.comparisons):
        return ", paired by subject"
    return ", paired by run where the scores of single subjects are not known"


def _kind(s: Study, c: Comparison) -> str:
    """What a declared study calls a comparison."""
    return "declared" if is_primary(s, c) else "exploratory"


def _comparisons(s: Study, is_declared: bool) -> list[dict[str, Any]]:
    rows = []
    for c in s.comparisons:
        mean, interval = _parts(c.difference, s.metric)
        rows.append(
            {
                "arm": c.arm,
                "labels": str(c.labels),
                "kind": _kind(s, c) if is_declared else "",
                "difference": mean,
                "interval": interval or no_interval(c.difference),
                "p": p_value(c.p),
                "holm": p_value(c.p_holm),
                "verdict": ("undecided", "better", "worse")[s.verdict(c)],
                "effect": decimal(c.effect.dz),
                "better": share(c.effect.better),
                "detectable": size(c.detectable, s.metric),
                "wilcoxon": p_value(c.p_wilcoxon),
            }
        )
    return rows


def _parts(interval: Interval, metric: str) -> tuple[str, str]:
    """A difference and its interval, apart."""
    mean, _, rest = interval_text(interval, metric, signed=True).partition(" ")
    return mean, rest


def _other_metrics(s: Study) -> list[dict[str, Any]]:
    others = []
    for metric in METRICS.values():
        measured = any(metric.name in run.scores.axes[2] for run in s.runs)
        if not metric.in_report or metric.name == s.metric or not measured:
            continue
        try:
            other = study(s.runs, metric.name, s.split, s.checkpoint, tests=False)
        except UserError:  # nobody has it on this split
            continue
        better = "higher is better"
        if other.sign < 0:
            better = "lower is better"
        if not scores_by_subject(other.runs, other.scored) and covered(other):
            better += f"; intervals over {covered(other)} alone"
        others.append(
            {
                "name": score_label(metric.name, other.unit),
                "better": better,
                "rows": score_rows(other),
                "budgets": other.budgets,
            }
        )
    return others


def _worth(s: Study) -> list[dict[str, Any]]:
    if not summary.saves_labels(s):
        return []
    rows = []
    for w in worth(s):
        point, interval = equivalence_parts(w)
        if w.equivalence.low == 0 and np.isinf(w.equivalence.high):
            point = "cannot be told"
        row = {"arm": w.arm, "labels": w.labels, "verdict": w.verdict}
        rows.append(row | {"point": point, "interval": interval})
    return rows


def _spread(s: Study) -> list[dict[str, str]]:
    """Where the spread of one score comes from, and how stable the ranking is, at each budget."""
    rows = []
    for labels, parts in splits(s).items():
        row = {name: size(value, s.metric) for name, value in parts._asdict().items()}
        row |= {"labels": str(labels), "tau": MISSING, "first": MISSING}
        order = ranking(s, labels)
        if order is not None:
            arms = [arm for arm in s.arms if (arm, labels) in s.cells]
            best = int(np.argmax(order.first))
            if order.subsets >= FEW_SUBSETS:
                row["tau"] = decimal(order.tau)
            row["first"] = f"{arms[best]}, {order.first[best]:.0%} of {order.subsets} subsets"
        rows.append(row)
    return rows


def _methods(s: Study) -> list[dict[str, Any]]:
    settings = arm_settings(s.runs)
    rows = []
    for i, (arm, runs) in enumerate(s.arms.items()):
        method = runs[0].method
        rows.append(
            {
                "arm": arm,
                "settings": settings.get(arm, []),
                "colour": f"var(--c{i % len(COLOURS)})",
                "text": describe_method(method, title(method)),
                "runs": len(runs),
            }
        )
    return rows


# ------------------------------------------------------------------ synthetic images and examples
def _mixes(s: Study, mixed: Study | None) -> dict[str, Any] | None:
    """What the page says of synthetic data; None where no run had any beside the same method
    without.
    """
    if mixed is None:
        return None
    try:
        sentences = summary.mix_sentences(mixed)
    except UserError:  # they share no budget
        return None
    sets = synthetic_sets.section(mixed)
    said = list(sentences)
    if sets["verdict"]:
        said.append(sets["verdict"])
    return {
        "sentences": sentences,
        "cautions": [c for c in summary.cautions(mixed) if c not in summary.cautions(s)],
        "sets": sets,
        "said": said + sets["advice"],
    }


def _questions(s: Study, mixed: Study | None) -> dict[str, Any]:
    """The answers to the questions of a study, and what they are about."""
    rows = summary.questions(s, mixed)
    if not rows:
        return {"rows": [], "about": ""}
    return {"rows": rows, "about": summary.about_questions(s)}


def _galleries(s: Study) -> list[Gallery]:
    """Pictures of each compared setting at the smallest budget; none where no run stored any."""
    try:
        return pick_examples(s.runs, smallest_budget(s))
    except UserError:
        return []


def _legend(galleries: list[Gallery]) -> dict[str, str]:
    if not galleries:
        return {}
    return legend(galleries)


def _example(gallery: Gallery, out: Path) -> dict[str, Any]:
    images = []
    for picture in gallery.pictures:
        dice = number(picture.dice)
        alt = (
            f"{gallery.arm}, {picture.rank} image ({picture.subject}), Dice {dice}: truth "
            f"outlined, "
            f"errors tinted"
        )
        image = {"rank": picture.rank, "subject": picture.subject, "dice": dice, "alt": alt}
        images.append(image | {"src": data_uri(picture.rgb)})
    run = gallery.run
    return {"arm": gallery.arm, "run": run.name, "href": details.link(run, out), "images": images}
