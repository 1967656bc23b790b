"""The last stage: a folder of runs becomes one page that answers the question, with its figures,
tables and results.csv beside it.

Every sentence with a number in it is computed here from the studies; the template only lays it out.
"""

from __future__ import annotations

import base64
import io
import re
import shlex
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from semiseg.analysis.load import once
from semiseg.analysis.runs import Run, Runs
from semiseg.analysis.spread import ranking, splits
from semiseg.analysis.study import Study, arm_settings, curve_runs, ratio_runs, study
from semiseg.analysis.worth import worth
from semiseg.errors import UserError
from semiseg.evaluate.metrics import METRICS
from semiseg.report import pictures as examples
from semiseg.report import plot, pseudo_label_figures, pseudo_label_text, tables
from semiseg.report import synthetic_sets as synthetic
from semiseg.report.sentences import (
    SPLITS,
    answer,
    cautions,
    claim,
    covered,
    equivalence_parts,
    first_screen,
    interval_text,
    lacking,
    method_text,
    no_interval,
    number,
    p_text,
    ratio_sentences,
    score_label,
    scored_subjects,
    unit_of_annotation,
    unlearnt_sentence,
    worth_sentences,
)


def write_report(
    runs: Runs, out: str | Path, split: str | None = None, metric: str = "dice"
) -> dict[str, Any]:
    """Write report.html, results.csv, figures/ and tables/ into ``out``.

    Args:
      runs: any number of runs, of one or several data sets.
      out: folder, made if absent.
      split: "val" or "test"; by default test where every run was scored on it, else val.
      metric: the primary metric.

    Returns:
      What the page says, for ``--json``: answers, cells, comparisons, cautions.
    """
    out, runs = Path(out), once(runs)
    split = split or ("test" if all("test" in run.scores.axes[0] for run in runs) else "val")
    by_data: dict[str, list[Run]] = {}
    for run in runs:
        by_data.setdefault(run.data, []).append(run)
    studies = [study(curve_runs(Runs(members)), metric, split) for members in by_data.values()]
    beside = [ratio_runs(Runs(members)) for members in by_data.values()]
    mixed = [_told_apart(runs, members, metric, split) for members in beside]
    runs.write_csv(out / "results.csv")
    (out / "tables").mkdir(parents=True, exist_ok=True)
    (out / "tables" / "label_efficiency.md").write_text(tables.markdown(studies), encoding="utf-8")
    (out / "tables" / "label_efficiency.tex").write_text(tables.latex(studies), encoding="utf-8")
    for name, rows in (
        ("label_equivalence", tables.worth_table(studies)),
        ("comparisons", tables.comparison_table(studies)),
    ):
        if len(rows) > 1:
            (out / "tables" / f"{name}.md").write_text(tables.as_markdown(rows), encoding="utf-8")
            (out / "tables" / f"{name}.tex").write_text(tables.as_latex(rows), encoding="utf-8")
    suffixes = [
        "" if len(studies) == 1 else f"_{re.sub(r'[^A-Za-z0-9.-]+', '_', s.data)}" for s in studies
    ]
    sections = [_section(s, m, out, suffix) for s, m, suffix in zip(studies, mixed, suffixes)]
    every = [s for pair in zip(studies, mixed) for s in pair if s]
    (out / "report.html").write_text(_render(sections, runs, split), encoding="utf-8")
    return {
        "answers": [sentence for part in sections for sentence in part["answer"]],
        "first_screen": [
            {"question": a.question, "short": a.short, "answer": f"{a.short}. {a.detail}"}
            for part in sections
            for a in part["screen"]
        ],
        "label_equivalence": [row for s in studies for row in tables.worth_rows(s)],
        "unlearnt": [part["unlearnt"] for part in sections if part["unlearnt"]],
        "cautions": [c for part in sections for c in part["cautions"]],
        "synthetic": [
            sentence for part in sections if part["mixes"] for sentence in part["mixes"]["told"]
        ],
        "cells": list(
            {
                (row["data"], row["arm"], row["labels"]): row
                for s in reversed(every)
                for row in tables.cell_rows(s)
            }.values()
        ),
        "comparisons": [row for s in every for row in tables.comparison_rows(s)],
        "left_out": runs.problems,
    }


def _told_apart(runs: Runs, members: Runs | None, metric: str, split: str) -> Study | None:
    """The study of mixes; None, with the reason among the problems, where a table does not say how
    its runs differ.
    """
    try:
        return study(members, metric, split) if members else None
    except UserError as error:
        runs.problems.append(str(error))
        return None


# ------------------------------------------------------------------ parts of the page
def _section(s: Study, mixed: Study | None, out: Path, suffix: str) -> dict[str, Any]:
    full = arm_settings(s.runs)
    panels, shown = _examples(s, out / "figures" / f"overlays{suffix}.png")
    return {
        "data": s.data,
        "claim": claim(s),
        "unlearnt": unlearnt_sentence(s),
        "screen": first_screen(s, mixed),
        "answer": answer(s),
        "worth_sentences": worth_sentences(s),
        "figures": _drawn(s, mixed, out / "figures", suffix),
        "mixes": _mixes(s, mixed),
        "worth": [
            {
                "arm": w.arm,
                "labels": w.labels,
                "point": equivalence_parts(w)[0],
                "interval": equivalence_parts(w)[1],
                "verdict": w.verdict,
            }
            for w in (() if lacking(s) else worth(s))
        ],
        "taught": pseudo_label_text.sentences(s),
        "spread": _spread(s),
        "citations": _citations(s),
        "classes": max(len(run.scores.axes[3]) for run in s.runs),
        "cautions": cautions(s),
        "caption": tables.caption(s),
        "methods": [
            {
                "arm": arm,
                "settings": full.get(arm, []),
                "colour": f"var(--c{i % len(plot.COLOURS)})",
                "text": method_text(members[0].method),
                "runs": len(members),
            }
            for i, (arm, members) in enumerate(s.arms.items())
        ],
        "budgets": s.budgets,
        "unit": unit_of_annotation(s.runs),
        "rows": _rows(s),
        "comparisons": _comparisons(s),
        "baseline": s.baseline,
        "others": _other_metrics(s),
        "metric": score_label(s.metric, s.unit),
        "examples": panels,
        "example_labels": shown,
        "protocol": _protocol(s),
        "cost": _cost(s) + (_cost(mixed, mixes=True) if mixed else []),
        "begun": any(run.init != "none" for some in (s, mixed) if some for run in some.runs),
        "commands": _commands(s) + (_commands(mixed, mixes=True) if mixed else []),
    }


def _mixes(s: Study, mixed: Study | None) -> dict[str, Any] | None:
    """What the page says of synthetic data; None where no run had any beside the same method
    without.
    """
    if mixed is None:
        return None
    try:
        sentences = ratio_sentences(mixed)
    except UserError:  # they share no budget
        return None
    sets = synthetic.section(mixed)
    told = [*sentences, *([sets["verdict"]] if sets["verdict"] else []), *sets["advice"]]
    return {
        "sentences": sentences,
        "cautions": [c for c in cautions(mixed) if c not in cautions(s)],
        "sets": sets,
        "told": told,
    }


def _drawn(
    s: Study, mixed: Study | None, out: Path, suffix: str
) -> dict[str, dict[str, Any] | None]:
    """Every figure by name: written to files, and for the page as SVG, ``wide`` and ``narrow``
    (None: the wide one scrolls), with its ``table``.
    """
    alt = (
        f"{claim(s)}. {score_label(s.metric, s.unit)} against annotated "
        f"{unit_of_annotation(s.runs)}; the same numbers are in the table under The numbers."
    )
    efficiency = plot.label_efficiency(s)
    for name in dict.fromkeys((f"label_efficiency{suffix}", "label_efficiency")):
        file = out / f"{name}.png"
        if (
            name.endswith(suffix) or not file.exists()
        ):  # the contract's name exists whatever was compared
            plot.save(efficiency, file, file.with_suffix(".pdf"), file.with_suffix(".svg"))
    sizes = {"wide": (7.2, 4.3), "narrow": (4.2, 4.2)}
    figures: dict[str, dict[str, Any] | None] = {
        "label_efficiency": {
            key: plot.inline_svg(plot.label_efficiency(s, size=size, headline=False), alt)
            for key, size in sizes.items()
        }
        | {"table": None}
    }
    for name, draw, words, table in _figures(s, mixed):
        try:
            made = {key: draw(size) for key, size in _SIZES[name].items()}
        except UserError:  # the runs have nothing for it
            figures[name] = None
            continue
        file = out / f"{name}{suffix}.png"
        plot.save(
            made["wide"],
            file,
            *(file.with_suffix(end) for end in (".pdf", ".svg") if name != "training_curves"),
        )
        least = round(
            min(47.0, 5.2 * made["wide"].get_figwidth()), 1
        )  # where a page scrolls it: so that its letters can be read
        figures[name] = {"narrow": None, "least": least, "table": table()} | {
            key: plot.inline_svg(figure, words) for key, figure in made.items()
        }
    return figures


_SIZES: dict[str, dict[str, Any]] = {
    "differences": {"wide": (7.2, 3.6), "narrow": (4.2, 3.6)},
    "label_equivalence": {"wide": (7.2, 4.3), "narrow": (4.2, 4.0)},
    "ratio": {"wide": (7.2, 3.6), "narrow": (4.2, 3.6)},
    "subjects": {"wide": (7.2, 3.6), "narrow": (4.2, 3.6)},
    "calibration": {"wide": (7.2, 3.2), "narrow": (4.2, 3.4)},
    "training_curves": {"wide": None},  # many panels: a phone scrolls them
    "pseudo_labels": {"wide": None},
    "pseudo_classes": {"wide": None},
    "diagnostics": {"wide": None},
}
"""Figures are drawn twice: for a page as wide as a sheet of paper, and for a phone's, where the
same letters need a smaller frame.
"""


def _figures(
    s: Study, mixed: Study | None
) -> list[tuple[str, Callable[[Any], Any], str, Callable[[], list[list[str]] | None]]]:
    """Name, how it is drawn at a size, its words, and its numbers; those that do not apply to a
    study raise UserError and are left out.
    """
    ends, keys = (
        (["loss", "val_dice"], ["Last training loss", "Last validation Dice"]),
        plot.diagnostic_keys(s.runs),
    )

    def curves() -> Any:
        if not any(run.end() for run in s.runs[:3]):
            raise UserError("nothing was logged")
        return plot.training_curves(s.runs)

    def saved(size: Any) -> Any:
        if lacking(s):
            raise UserError(lacking(s))
        return plot.label_equivalence(s, size)

    return [
        (
            "differences",
            lambda size: plot.differences(s, size),
            (
                "Difference of each method to the baseline with its interval, best first; the same "
                "numbers are in the table below it."
            ),
            lambda: None,
        ),
        (
            "label_equivalence",
            lambda size: saved(size),
            "Label equivalence; the same numbers are in the table below it.",
            lambda: None,
        ),
        (
            "ratio",
            lambda size: plot.ratio(mixed or s, size),
            (
                "Gain over real images alone against synthetic images per real one, beside the "
                "controls; the same numbers are in the table below it."
            ),
            lambda: tables.ratio_table(mixed or s),
        ),
        (
            "subjects",
            lambda size: plot.subjects(s, size=size),
            "Score of each subject by method, at the smallest budget that all methods share.",
            lambda: tables.subject_table(s),
        ),
        (
            "calibration",
            lambda size: plot.calibration(s, size),
            (
                "Accuracy of pixels against the network's confidence in them; the errors are in the "
                "table below it."
            ),
            lambda: tables.calibration_table(s),
        ),
        (
            "training_curves",
            lambda size: curves(),
            (
                "Training loss and validation Dice against steps, a panel for each number of "
                f"annotated {unit_of_annotation(s.runs)}."
            ),
            lambda: tables.end_table(s, *ends),
        ),
        (
            "pseudo_labels",
            lambda size: pseudo_label_figures.trends(s),
            "Accepted share of the pseudo-labels, accuracy of the accepted, calibration error, "
            "gap between teacher and student and the teacher's lead, "
            f"against steps, a column for each number of annotated {unit_of_annotation(s.runs)}; "
            "where they end is in the table below it.",
            lambda: pseudo_label_text.trend_table(s),
        ),
        (
            "pseudo_classes",
            lambda size: pseudo_label_figures.by_class(s),
            (
                "Accepted share, accuracy and recall of the last pseudo-labels by method and class; "
                "the same numbers are in the table below it."
            ),
            lambda: pseudo_label_text.class_table(s),
        ),
        (
            "diagnostics",
            lambda size: plot.diagnostics(s.runs),
            "What the methods logged beside loss and Dice, against steps.",
            lambda: tables.end_table(s, keys, [f"Last {key.replace('_', ' ')}" for key in keys]),
        ),
    ]


def _spread(s: Study) -> list[dict[str, str]]:
    """Where the spread of one score comes from, and how stable the ranking is, at each budget."""
    rows = []
    for labels, split in splits(s).items():
        order = ranking(s, labels)
        row = {
            name: "–" if value != value else number(value, s.metric, signed=True).lstrip("+")
            for name, value in split._asdict().items()
        }
        row |= {"labels": str(labels), "tau": "–", "first": "–"}
        if order is not None:
            arms = [arm for arm in s.arms if (arm, labels) in s.cells]
            best = int(np.argmax(order.first))
            row["tau"] = "–" if order.tau != order.tau else f"{order.tau:.2f}".replace("-", "−")
            row["first"] = f"{arms[best]}, {order.first[best]:.0%} of {order.subsets} subsets"
        rows.append(row)
    return rows


def _citations(s: Study) -> str:
    """BibTeX of semiseg, and what else the numbers rest on, as comments with their sources."""
    import semiseg

    lines = [
        "@software{semiseg,", ("  title   = {semiseg: label-efficient medical image segmentation "
"on JAX},"), "  author  = {{The semiseg authors}},",
        f"  version = {{{semiseg.__version__}}},", "  license = {Apache-2.0}", "}", f"% data set {s.data}: {_data_citation(s)}",
    ]  # fmt: skip
    for method in dict.fromkeys(run.method for run in s.runs):
        source = method_text(method)[1]
        if source:
            lines.append(f"% {method}: {source}")
    return "\n".join(lines)


def _data_citation(s: Study) -> str:
    from semiseg.data import store

    try:
        return store.info(s.data, s.runs[0].config.get("root")).citation
    except UserError:  # the set is not on this machine
        return "see its own page"


def _ledger(s: Study) -> str:
    """How often the test split was looked at, where the data set is on this machine."""
    from semiseg.data import store

    try:
        file = store.info(s.data, s.runs[0].config.get("root")).folder / "ledger.jsonl"
    except UserError:
        return ""
    if not file.exists():
        return ""
    looks = [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    return f" The data set's ledger counts {len(looks)} looks at test in all."


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
                    "why": no_interval(cell.interval),
                    "covers": (
                        f"over {cell.interval.covers}, "
                        f"{_count(cell.interval.n_runs, 'run')}, "
                        f"{_count(cell.interval.n_subjects, 'subject')}"
                    ),
                    "star": bool(comparison and comparison.significant),
                }
            )
        rows.append({"arm": arm, "entries": entries})
    return rows


def _comparisons(s: Study) -> list[dict[str, Any]]:
    return [
        {
            "arm": c.arm,
            "labels": str(c.labels),
            "why": no_interval(c.difference),
            "difference": interval_text(c.difference, s.metric, signed=True).partition(" ["),
            "p": p_text(c.p).removeprefix("p ").removeprefix("= "),
            "holm": p_text(c.p_holm).removeprefix("p ").removeprefix("= "),
            "verdict": ("undecided", "better", "worse")[s.verdict(c)],
            "effect": "–" if c.effect.dz != c.effect.dz else f"{c.effect.dz:.2f}".replace("-", "−"),
            "better": f"{c.effect.better:.0%}",
            "detectable": number(c.detectable, s.metric, signed=True).lstrip("+"),
            "wilcoxon": p_text(c.p_wilcoxon).removeprefix("p ").removeprefix("= "),
            "paired_by": c.paired_by,
        }
        for c in s.comparisons
    ]


def _other_metrics(s: Study) -> list[dict[str, Any]]:
    others = []
    for metric in (m.name for m in METRICS.values() if m.in_report):
        if metric != s.metric and any(metric in run.scores.axes[2] for run in s.runs):
            try:
                other = study(s.runs, metric, s.split, s.checkpoint, tests=False)
            except UserError:  # nobody has it on this split
                continue
            better = "lower is better" if other.sign < 0 else "higher is better"
            others.append(
                {
                    "name": score_label(metric, other.unit),
                    "better": better,
                    "rows": _rows(other),
                    "budgets": other.budgets,
                }
            )
    return others


def _examples(s: Study, file: Path) -> tuple[list[dict[str, Any]], int | None]:
    labels = min(s.shared_budgets or s.budgets)
    try:
        rows = examples.pick_examples(s.runs, labels)
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
                    "alt": (
                        f"{arm}, {rank} image ({subject}), Dice {number(dice)}: truth "
                        f"outlined, errors tinted"
                    ),
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
    values = lambda get: ", ".join(
        map(str, dict.fromkeys(v for v in map(get, runs) if v is not None))
    )
    per_cell = Counter((c.interval.n_subsets, c.interval.n_runs) for c in cells).most_common(1)[0][
        0
    ]
    size = values(lambda r: r.config.get("image_size"))
    rows = [
        (
            "Data",
            (
                f"{s.data}. Splits are by subject: no subject is on both sides. Training has no "
                f"access to the test set.{_ledger(s)}"
            ),
        ),
        (
            "Scored on",
            f"{_count(scored_subjects(s), 'subject')} of the {SPLITS.get(s.split, s.split)} set. "
            f"A score is computed for each "
            "subject and class, averaged over foreground classes, then over subjects.",
        ),
        (
            "Checkpoint",
            (
                "The last one. None was picked by its scores; results.csv has the best validation "
                "checkpoint beside it, under its own name."
            ),
        ),
        (
            "Runs",
            f"{len(runs)}: as a rule {_count(per_cell[0], 'label subset')}, "
            f"{_count(per_cell[1], 'run')} for each method and budget. "
            f"Label subsets {_short(values(lambda r: r.label_subset))}; seeds "
            f"{_short(values(lambda r: r.seed))}.",
        ),
        (
            "Training",
            (
                f"{values(lambda r: r.steps)} steps, batch "
                f"{values(lambda r: r.config.get('batch')) or 'not recorded'}"
            )
            + (f", images of {size} pixels a side" if size else "")
            + f", network {values(lambda r: r.net)}."
            + _begun(runs)
            + (
                f" Synthetic share of the batch: {values(lambda r: f'{r.ratio:g}')}."
                if any(r.ratio for r in runs)
                else ""
            ),
        ),
        (
            "Empty masks",
            (
                "A score not defined for a subject and class is left out of the mean, and n_subjects "
                "in results.csv counts what is left."
            )
            + _policy(
                next(
                    (r.summary["empty_policy"] for r in runs if r.summary.get("empty_policy")), None
                )
            ),
        ),
        (
            "Intervals",
            f"95 % intervals for other {covered(s)}: Student's, with the variance of two crossed "
            f"clusters (runs by label "
            "subset, subjects) and Satterthwaite's degrees of freedom. In simulations with 3 "
            "label subsets they hold the truth in 94 to 96 of "
            "100 cases, with 2 label subsets in 93 to 97 (experiments/results/statistics.csv). A "
            "factor with one member does not vary, and no interval "
            "covers it; the pointer over an interval shows what it covers."
            if covered(s)
            else (
                "None: with one run on one subject, or runs that are all alike, nothing "
                "varies that an interval could be made of."
            ),
        ),
    ]
    if s.comparisons:
        rows.append(
            (
                "Comparisons",
                f"Each method minus {s.baseline}, on the same subjects and, where they exist, "
                f"the same label subset and seed. p is that of the "
                "test that goes with the interval (other label subsets, seeds and subjects); "
                "with fewer than three label subsets the larger of it "
                "and of a sign-flip permutation test by subject. It is corrected with Holm's "
                "method over all comparisons of methods on this data set, "
                "and over those of synthetic data by themselves. At the small levels where that "
                "correction looks, a test on three label subsets errs "
                "up to eight times as often as it says (simulated, the worst of five designs): "
                "after many comparisons, take a corrected p just below "
                ".05 for a hint. Better or worse (significant): the corrected p is below .05 and "
                "the interval leaves "
                "out zero; the rest is undecided, which is not the same as equal.",
            )
        )
    return rows


def _cost(s: Study, mixes: bool = False) -> list[dict[str, str]]:
    rows = []
    for arm, runs in s.arms.items():
        if mixes and not runs[0].ratio:
            continue
        seconds = [
            float(v)
            for run in runs
            if isinstance(v := run.summary.get("seconds_train"), (int, float))
        ]
        before = {
            (
                run.path.parent,
                run.init,
                run.seed,
                run.total_steps,
                run.seconds_init,
            ): run.seconds_init
            for run in runs
        }  # runs that begin alike share it
        sizes = sorted(
            {int(v) for run in runs if isinstance(v := run.summary.get("parameters"), (int, float))}
        )
        devices = sorted({str(run.env["device"]) for run in runs if run.env.get("device")})
        rows.append(
            {
                "arm": arm,
                "seconds": _seconds(float(np.median(seconds))) if seconds else "–",
                "total": _seconds(sum(seconds) + sum(before.values())) if seconds else "–",
                "before": _seconds(float(np.median(list(before.values()))))
                if any(before.values())
                else "–",
                "steps": " / ".join(f"{n:,}" for n in sorted({run.total_steps for run in runs})),
                "parameters": " / ".join(f"{n:,}" for n in sizes) or "–",
                "device": ", ".join(devices) or "–",
            }
        )
    return rows


def _commands(s: Study, mixes: bool = False) -> list[str]:
    """A shell loop for each arm, over its budgets, label subsets and seeds; everything else is in
    the configuration it starts from.

    A made set belongs to one budget and subset: its arm is named instead, and each run makes its
    own.
    """
    lines: list[str] = []
    for runs in s.arms.values():
        if mixes and not runs[0].ratio:
            continue
        config = shlex.quote((runs[0].path / "config.yaml").as_posix())
        name = re.sub(r"[^A-Za-z0-9]+", "-", runs[0].method) + (
            f"-{len(lines)}" if len({r.method for r in s.runs}) < len(s.arms) else ""
        )
        name = "-".join([name, runs[0].source.replace("_", "-") or "synthetic"]) if mixes else name
        factors = {"labels": "n", "label_subset": "j", "seed": "s"}
        values = {
            key: list(dict.fromkeys(str(getattr(run, key)) for run in runs)) for key in factors
        }
        looped = {key: letter for key, letter in factors.items() if len(values[key]) > 1}
        loops = [
            f"for {letter} in {' '.join(map(shlex.quote, values[key]))}; do"
            for key, letter in looped.items()
        ]
        flags = [f"--{key.replace('_', '-')} ${letter}" for key, letter in looped.items()] + (
            synthetic.flags(runs[0]) if runs[0].source else []
        )
        out = "-".join([f"again/{name}", *(f"{letter}${letter}" for letter in looped.values())])
        command = " ".join([f"semiseg train --config {config} \\\n   ", *flags, f"--out {out}"])
        lines.append(
            "\n".join([" ".join(loops), f"  {command}", "; ".join(["done"] * len(loops))])
            if loops
            else command
        )
    return lines


def _render(sections: list[dict[str, Any]], runs: Runs, split: str) -> str:
    import jinja2
    import markupsafe

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
    # "[.78," and ".84]", "p <" and ".05" on two lines read badly
    env.filters["unbroken"] = lambda text: re.sub(
        r"\[[^\]]*\]|95 %|(p )?[<>=] \.?\d+", lambda m: m[0].replace(" ", "\u00a0"), text
    )
    env.filters["code"] = lambda text: markupsafe.Markup(
        re.sub(r"`(.*?)`", r"<code>\1</code>", str(markupsafe.escape(text)))
    )
    env_rows = [
        (key, ", ".join(sorted(values)[:4]) + (" …" if len(values) > 4 else ""))
        for key, values in versions.items()
    ]
    title = (
        sections[0]["claim"]
        if len(sections) == 1
        else f"Label efficiency on {len(sections)} data sets"
    )
    return env.get_template("report.html.j2").render(
        title=title,
        sections=sections,
        env=env_rows,
        problems=runs.problems,
        n_runs=len(runs),
        split=split,
        colours={
            "fp": examples.FALSE_POSITIVE,
            "fn": examples.FALSE_NEGATIVE,
            "confused": examples.CONFUSED,
        },
    )


# ------------------------------------------------------------------ small words


def _policy(policy: Any) -> str:
    """The evaluator's policy for empty masks, as the runs recorded it."""
    if isinstance(policy, dict):
        policy = "; ".join(f"{key.replace('_', ' ')}: {value}" for key, value in policy.items())
    return f" Policy for an empty mask, as recorded by the runs: {policy}." if policy else ""


def _begun(runs: Runs) -> str:
    """What came before the training, for those that did not begin at random."""
    told = {(run.init, run.total_steps - run.steps) for run in runs if run.init != "none"}
    return "".join(
        f" Runs with init {init} have {steps:,} steps before these." for init, steps in sorted(told)
    )


def _short(text: str, most: int = 12) -> str:
    parts = text.split(", ")
    return text if len(parts) <= most else ", ".join(parts[:most]) + f" … ({len(parts)} in all)"


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"


def _seconds(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )


def _leaves(tree: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for key, value in tree.items():
        pairs += (
            _leaves(value, f"{prefix}{key} ")
            if isinstance(value, dict)
            else [(f"{prefix}{key}", value)]
        )
    return pairs
