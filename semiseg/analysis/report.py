"""The last stage: a folder of runs becomes one page that answers the question, with its figures, tables and results.csv beside it.

Every sentence with a number in it is computed here from the studies; the template only lays it out.
"""

from __future__ import annotations

import ast
import base64
import io
import re
import shlex
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from semiseg.analysis import plot, tables
from semiseg.analysis.compare import BASELINE, Study, study
from semiseg.analysis.plot import number
from semiseg.analysis.records import Run, Runs
from semiseg.analysis.tables import interval_text, p_text
from semiseg.errors import UserError

OTHER_METRICS = ("iou", "hd95", "assd", "precision", "sensitivity")
_FEW_SUBJECTS = 6  # with 5 subjects the smallest two-sided p of a sign-flip test is 2/2^5 = .06


def write_report(runs: Runs, out: str | Path, split: str | None = None, metric: str = "dice") -> dict[str, Any]:
    """Write report.html, results.csv, figures/ and tables/ into ``out``.

    Args:
      runs: any number of runs, of one or several data sets.
      out: folder, made if absent.
      split: "val" or "test"; by default test where every run was scored on it, else val.
      metric: the primary metric.

    Returns:
      What the page says, for ``--json``: answers, cells, comparisons, cautions.
    """
    out = Path(out)
    split = split or ("test" if all("test" in run.scores.axes[0] for run in runs) else "val")
    by_data: dict[str, list[Run]] = {}
    for run in runs:
        by_data.setdefault(run.data, []).append(run)
    studies = [study(Runs(members), metric, split) for members in by_data.values()]
    runs.write_csv(out / "results.csv")
    (out / "tables").mkdir(parents=True, exist_ok=True)
    (out / "tables" / "label_efficiency.md").write_text(tables.markdown(studies), encoding="utf-8")
    (out / "tables" / "label_efficiency.tex").write_text(tables.latex(studies), encoding="utf-8")
    sections = [_section(s, out, "" if len(studies) == 1 else f"_{re.sub(r'[^A-Za-z0-9.-]+', '_', s.data)}") for s in studies]
    (out / "report.html").write_text(_render(sections, runs, split), encoding="utf-8")
    return {
        "answers": [sentence for part in sections for sentence in part["answer"]],
        "cautions": [c for part in sections for c in part["cautions"]],
        "cells": [row for s in studies for row in tables.cell_rows(s)],
        "comparisons": [row for s in studies for row in tables.comparison_rows(s)],
        "left_out": runs.problems,
    }


# ------------------------------------------------------------------ words
def answer(s: Study) -> list[str]:
    """The finding in words: the smallest budget that all arms share (a fixed rule, not the most flattering one), then all budgets together."""
    labels = min(s.shared_budgets or s.budgets)
    here = [s.cells[arm, labels] for arm in s.arms if (arm, labels) in s.cells]
    name = plot.metric_label(s.metric, s.unit)
    reached = "; ".join(f"{c.arm} {interval_text(c.interval, s.metric)}" for c in here)
    sentences = [f"With {_annotated(s, labels)}, {name} on the {plot.SPLITS.get(s.split, s.split)} set is: {reached}."]
    for c in s.comparisons:
        if c.labels == labels:
            verdict = "significant" if c.significant else "not significant" if np.isfinite(c.p) else "untested"
            sentences.append(
                f"{_capital(c.arm)} minus {c.baseline}, paired by subject: {interval_text(c.difference, s.metric, signed=True)}, "
                f"which is {verdict} ({p_text(c.p_holm)}, Holm)."
            )
    if len({c.labels for c in s.comparisons}) > 1:
        sign = -1 if s.metric in plot.LOWER_IS_BETTER else 1
        better, worse = (sum(c.significant and sign * side * c.difference.mean > 0 for c in s.comparisons) for side in (1, -1))
        rest = len(s.comparisons) - better - worse
        sentences.append(
            f"Over all budgets, of {len(s.comparisons)} comparisons with {s.baseline}, {better} {_is(better)} significantly better, "
            f"{worse} significantly worse, and {rest} {_is(rest)} undecided."
        )
    if not s.comparisons and len(s.arms) == 1 and len(s.budgets) > 1:
        last = s.cells[here[0].arm, s.budgets[-1]]
        sentences.append(f"With {_annotated(s, last.labels)} it is {interval_text(last.interval, s.metric)}.")
    return sentences


def cautions(s: Study) -> list[str]:
    """What a careful reader would hold against the numbers."""
    found = []
    cells = list(s.cells.values())
    single = [c for c in cells if c.interval.n_runs == 1]
    if single:
        which = "Every result is" if len(single) == len(cells) else f"{len(single)} of {len(cells)} results are"
        found.append(
            f"{which} a single run: no interval over runs exists. What is shown reflects other test subjects only, not another seed or other "
            "annotated subjects."
        )
    one_subset = [c for c in cells if c.interval.n_subsets == 1 and c.interval.n_runs > 1]
    if one_subset:
        found.append(
            f"{len(one_subset)} of {len(cells)} results rest on one choice of annotated subjects: their intervals do not cover another choice."
        )
    few = [c for c in cells if 1 < c.interval.n_runs < 9 and c.interval.n_subsets > 1]
    if few:
        found.append("Some results have fewer than 3 seeds × 3 label subsets; intervals over so few runs tend to be too narrow.")
    subjects = max(c.interval.n_subjects for c in cells)
    if subjects < _FEW_SUBJECTS and s.comparisons:
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
    plain = plain.partition(": ")[2] or plain
    return _capital(plain), source


# ------------------------------------------------------------------ parts of the page
def _section(s: Study, out: Path, suffix: str) -> dict[str, Any]:
    wide = plot.label_efficiency(s)
    file = out / "figures" / f"label_efficiency{suffix}.png"
    plot.save(wide, file, file.with_suffix(".pdf"))
    if suffix and not (out / "figures" / "label_efficiency.png").exists():  # the contract's name exists whatever was compared
        plot.save(wide, out / "figures" / "label_efficiency.png", out / "figures" / "label_efficiency.pdf")
    alt = (
        f"{plot.claim(s)}. "
        + tables.caption(s)
        + " "
        + "; ".join(f"{c.arm}, {c.labels} annotated: {interval_text(c.interval, s.metric)}" for c in list(s.cells.values())[:40])
    )
    curves = ""
    if any(run.log() for run in s.runs[:3]):
        figure = plot.training_curves(s.runs)
        plot.save(figure, out / "figures" / f"training_curves{suffix}.png")
        curves = plot.inline_svg(figure, "Training loss and validation Dice against steps, a panel for each number of annotated subjects.")
    examples, shown = _examples(s, out / "figures" / f"overlays{suffix}.png")
    return {
        "data": s.data,
        "claim": plot.claim(s),
        "answer": answer(s),
        "cautions": cautions(s),
        "caption": tables.caption(s),
        "figure_wide": plot.inline_svg(wide, alt),
        "figure_narrow": plot.inline_svg(plot.label_efficiency(s, size=(4.2, 4.4)), alt),
        "methods": [
            {"arm": arm, "colour": plot.COLOURS[i % len(plot.COLOURS)], "text": method_text(members[0].method), "runs": len(members)}
            for i, (arm, members) in enumerate(s.arms.items())
        ],
        "budgets": s.budgets,
        "unit": plot.unit_of_annotation(s.runs),
        "rows": _rows(s),
        "comparisons": _comparisons(s),
        "baseline": s.baseline,
        "others": _other_metrics(s),
        "metric": plot.metric_label(s.metric, s.unit),
        "curves": curves,
        "examples": examples,
        "example_labels": shown,
        "protocol": _protocol(s),
        "cost": _cost(s),
        "commands": _commands(s),
    }


def _rows(s: Study) -> list[dict[str, Any]]:
    rows = []
    for arm in s.arms:
        entries = []
        for n in s.budgets:
            cell, comparison = s.cells.get((arm, n)), tables.find(s, arm, n)
            entries.append(
                None
                if cell is None
                else {
                    "mean": number(cell.interval.mean, s.metric),
                    "range": interval_text(cell.interval, s.metric).partition(" ")[2],
                    "runs": cell.interval.n_runs,
                    "star": bool(comparison and comparison.significant),
                }
            )
        rows.append({"arm": arm, "entries": entries})
    return rows


def _comparisons(s: Study) -> list[dict[str, str]]:
    return [
        {
            "arm": c.arm,
            "labels": str(c.labels),
            "difference": interval_text(c.difference, s.metric, signed=True),
            "p": p_text(c.p).removeprefix("p = "),
            "holm": p_text(c.p_holm).removeprefix("p = "),
            "verdict": "significant" if c.significant else "undecided",
            "paired_by": c.paired_by,
        }
        for c in s.comparisons
    ]


def _other_metrics(s: Study) -> list[dict[str, Any]]:
    others = []
    for metric in OTHER_METRICS:
        if metric != s.metric and any(metric in run.scores.axes[2] for run in s.runs):
            try:
                other = study(s.runs, metric, s.split, s.checkpoint)
            except UserError:  # nobody has it on this split
                continue
            better = "lower is better" if metric in plot.LOWER_IS_BETTER else "higher is better"
            others.append({"name": plot.metric_label(metric, other.unit), "better": better, "rows": _rows(other), "budgets": other.budgets})
    return others


def _examples(s: Study, file: Path) -> tuple[list[dict[str, Any]], int | None]:
    labels = min(s.shared_budgets or s.budgets)
    try:
        rows = plot.pick_examples(s.runs, labels)
    except UserError:
        return [], None
    plot.save(plot.overlays(s.runs, labels), file)
    return [
        {
            "arm": arm,
            "run": run.name,
            "images": [
                {
                    "rank": rank,
                    "subject": subject,
                    "dice": number(dice),
                    "src": _png(rgb),
                    "alt": f"{arm}, {rank} image ({subject}), Dice {number(dice)}: truth outlined, errors tinted",
                }
                for rank, subject, dice, rgb in shown
            ],
        }
        for arm, run, shown in rows
    ], labels


def _png(rgb: np.ndarray) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _protocol(s: Study) -> list[tuple[str, str]]:
    runs = s.runs
    cells = s.cells.values()
    values = lambda get: ", ".join(map(str, dict.fromkeys(v for v in map(get, runs) if v is not None)))
    per_cell = Counter((c.interval.n_subsets, c.interval.n_runs) for c in cells).most_common(1)[0][0]
    size = values(lambda r: r.config.get("image_size"))
    rows = [
        ("Data", f"{s.data}. Splits are by subject: no subject is on both sides. Training has no access to the test set."),
        (
            "Scored on",
            f"{max(c.interval.n_subjects for c in cells)} subjects of the {plot.SPLITS.get(s.split, s.split)} set. A score is computed for each "
            "subject and class, averaged over foreground classes, then over subjects.",
        ),
        (
            "Checkpoint",
            "The last one. None was picked by looking at scores; results.csv has the best validation checkpoint beside it, under its own name.",
        ),
        (
            "Runs",
            f"{len(runs)}: as a rule {_count(per_cell[0], 'label subset')}, {_count(per_cell[1], 'run')} for each method and budget. "
            f"Label subsets {_short(values(lambda r: r.label_subset))}; seeds {_short(values(lambda r: r.seed))}.",
        ),
        (
            "Training",
            f"{values(lambda r: r.steps)} steps, batch {values(lambda r: r.config.get('batch')) or 'not recorded'}"
            + (f", images of {size} pixels a side" if size else "")
            + f", network {values(lambda r: r.net)}."
            + (f" Synthetic share of the batch: {values(lambda r: f'{r.ratio:g}')}." if any(r.ratio for r in runs) else ""),
        ),
        (
            "Empty masks",
            next(
                (str(r.summary["empty_policy"]) for r in runs if r.summary.get("empty_policy")),
                "A score that is not defined for a subject and class (such as a distance to an empty mask) is left out of the mean, and "
                "n_subjects in results.csv counts what is left. It is never silently 0 or perfect.",
            ),
        ),
        (
            "Intervals",
            "95 % percentile intervals of a hierarchical bootstrap (2000 draws): label subsets, then runs within a subset, then subjects, "
            "are drawn again with replacement; subjects are drawn once for all runs, since all runs are scored on the same ones "
            "(Davison & Hinkley 1997; Saravanan et al. 2020). They are somewhat narrow when there are few label subsets.",
        ),
    ]
    if s.comparisons:
        rows.append(
            (
                "Comparisons",
                f"Each method minus {s.baseline}, on the same subjects and, where they exist, the same label subset and seed. Two-sided "
                "sign-flip permutation test by subject, corrected with Holm's method over all comparisons of this data set. We say significant where "
                "the corrected p is below .05 and the interval leaves out zero; anything else is undecided, which is not the same as equal.",
            )
        )
    return rows


def _cost(s: Study) -> list[dict[str, str]]:
    rows = []
    for arm, runs in s.arms.items():
        seconds = [float(v) for run in runs if isinstance(v := run.summary.get("seconds_train"), (int, float))]
        sizes = sorted({int(v) for run in runs if isinstance(v := run.summary.get("parameters"), (int, float))})
        devices = sorted({str(run.env["device"]) for run in runs if run.env.get("device")})
        rows.append(
            {
                "arm": arm,
                "seconds": _seconds(float(np.median(seconds))) if seconds else "–",
                "total": _seconds(sum(seconds)) if seconds else "–",
                "parameters": " / ".join(f"{n:,}" for n in sizes) or "–",
                "device": ", ".join(devices) or "–",
            }
        )
    return rows


def _commands(s: Study, most: int = 12) -> list[str]:
    """One ``semiseg train`` line for each arm and budget; subsets and seeds are the shell's loop variables."""
    lines = []
    for cell in s.cells.values():
        run = cell.runs[0]
        subsets, seeds = ({str(getattr(r, key)) for r in cell.runs} for key in ("label_subset", "seed"))
        parts = ["semiseg train --config", shlex.quote(f"{run.path.name}/config.yaml")]
        if len(cell.runs) > 1:
            parts += ["--label-subset", _choice(subsets), "--seed", _choice(seeds)]
        lines.append(" ".join([*parts, "--out", "again/" + shlex.quote(run.path.name) if len(cell.runs) == 1 else "again/…"]))
    return lines[:most] + ([f"# … and {len(lines) - most} more: every run folder's config.yaml is complete"] if len(lines) > most else [])


def _render(sections: list[dict[str, Any]], runs: Runs, split: str) -> str:
    import jinja2

    env = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    versions: dict[str, set[str]] = {}
    for run in runs:
        for key, value in _leaves(run.env):
            versions.setdefault(key, set()).add(str(value))
    env_rows = [(key, ", ".join(sorted(values)[:4]) + (" …" if len(values) > 4 else "")) for key, values in versions.items()]
    title = sections[0]["claim"] if len(sections) == 1 else f"Label efficiency on {len(sections)} data sets"
    return env.get_template("report.html.j2").render(
        title=title,
        sections=sections,
        env=env_rows,
        problems=runs.problems,
        n_runs=len(runs),
        split=split,
        colours={"fp": plot._hex(plot.FALSE_POSITIVE), "fn": plot._hex(plot.FALSE_NEGATIVE), "confused": plot._hex(plot.CONFUSED)},
        baseline=BASELINE,
    )


# ------------------------------------------------------------------ small words
def _annotated(s: Study, labels: int) -> str:
    unit = plot.unit_of_annotation(s.runs)
    images = {run.summary.get("images_labelled") for run in s.runs.where(labels=labels)}
    extra = f" ({next(iter(images))} images)" if unit == "subjects" and len(images) == 1 and None not in images else ""
    return f"{labels} annotated {unit if labels != 1 else unit[:-1]}{extra}"


def _choice(values: set[str]) -> str:
    ordered = sorted(values, key=lambda v: (len(v), v))
    return ordered[0] if len(ordered) == 1 else "{" + ",".join(ordered) + "}"


def _short(text: str, most: int = 12) -> str:
    parts = text.split(", ")
    return text if len(parts) <= most else ", ".join(parts[:most]) + f" … ({len(parts)} in all)"


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"


def _is(n: int) -> str:
    return "is" if n == 1 else "are"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _seconds(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _leaves(tree: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for key, value in tree.items():
        pairs += _leaves(value, f"{prefix}{key} ") if isinstance(value, dict) else [(f"{prefix}{key}", value)]
    return pairs
