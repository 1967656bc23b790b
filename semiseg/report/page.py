"""A folder of runs becomes one page that answers the question, with figures, tables and results.csv
beside it.

Every sentence with a number in it is computed from the studies; the template only lays it out.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from semiseg.analysis.fold_design import HELD_OUT, has_folds
from semiseg.analysis.load import once
from semiseg.analysis.runs import Run, Runs
from semiseg.analysis.study import Study, correct_together, curve_runs, ratio_runs, study
from semiseg.analysis.study_file import declared as declared_of
from semiseg.errors import UserError
from semiseg.escapes import markdown as markdown_text
from semiseg.files import write_text
from semiseg.report import json_rows, tables
from semiseg.report.data_sets_together import sentences, together
from semiseg.report.declared import check_splits, metric_and_split, study_of
from semiseg.report.details import SORTING, dates, plain_table
from semiseg.report.question_sentences import Asked
from semiseg.report.section import section

Section = dict[str, Any]


def write_report(
    runs: Runs,
    out: str | Path,
    split: str | None = None,
    metric: str | None = None,
    study_file: str | Path | None = None,
) -> dict[str, Any]:
    """Write report.html, results.csv, figures/ and tables/ into ``out``.

    Args:
      runs: any number of runs, of one or several data sets.
      out: folder, made if absent.
      split: "val" or "test"; by default test where every run was scored on it, else val.
      metric: the primary metric; by default the declared one, else Dice.
      study_file: the declaration of the study; by default the ``study.yaml`` beside the run
        folders, if there is one.

    Returns:
      What the page says, for ``--json``: answers, cells, comparisons, cautions.
    """
    out = Path(out)
    runs = once(runs)
    groups = _by_data(runs)
    declared = [declared_of(members, study_file) for members in groups]
    known = [d for d in declared if d is not None]
    if metric is None or split is None:
        check_splits(known)
    metric, split = metric_and_split(known, metric, split, common_split(runs))
    studies = []
    mixed: list[Study | None] = []
    for members, d in zip(groups, declared, strict=True):
        if has_folds(members):  # runs with synthetic images are settings like others
            studies.append(study_of(members, metric, split, d))
            mixed.append(None)
            continue
        studies.append(study_of(curve_runs(members), metric, split, d))
        mixed.append(_study_of_mixes(runs, ratio_runs(members), metric, split))
        _correct_together(studies, mixed)
    runs.write_csv(out / "results.csv")
    _write_tables(studies, out / "tables")
    suffixes = _suffixes(studies)
    sections = [
        section(s, m, out, suffix, d)
        for s, m, suffix, d in zip(studies, mixed, suffixes, declared, strict=True)
    ]
    _write_breakdowns(sections, out / "tables")
    joint = sentences(together(studies))
    page = _render(sections, joint, runs, split)
    write_text(out / "report.html", page)
    return _summary(sections, studies, mixed, runs) | {"questions": _questions(sections, joint)}


def common_split(runs: Runs) -> str:
    """Test where every run was scored on it, else validation; that of the held-out subjects where
    there are folds.
    """
    if has_folds(runs):
        return HELD_OUT
    if all("test" in run.scores.axes[0] for run in runs):
        return "test"
    return "val"


def _by_data(runs: Runs) -> list[Runs]:
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.data, []).append(run)
    return [Runs(members) for members in groups.values()]


def _study_of_mixes(runs: Runs, members: Runs | None, metric: str, split: str) -> Study | None:
    """None, with the reason among the problems, where a results.csv does not say how its runs
    differ.
    """
    if not members:
        return None
    try:
        return study(members, metric, split)
    except UserError as error:
        runs.problems.append(str(error))
        return None


def _correct_together(studies: list[Study], mixed: list[Study | None]) -> None:
    """Make one family of the last curve and the mixes of the same data set."""
    of_mixes = mixed[-1]
    if of_mixes is not None:
        studies[-1], mixed[-1] = correct_together([studies[-1], of_mixes])


def _suffixes(studies: list[Study]) -> list[str]:
    """Of the figures' names: none for a single data set."""
    if len(studies) == 1:
        return [""]
    return [f"_{re.sub(r'[^A-Za-z0-9.-]+', '_', s.data)}" for s in studies]


def _write_tables(studies: list[Study], out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "label_efficiency.md", tables.markdown(studies))
    write_text(out / "label_efficiency.tex", tables.latex(studies))
    others = {
        "label_equivalence": tables.worth_table(studies),
        "comparisons": tables.comparison_table(studies),
    }
    for name, rows in others.items():
        if len(rows) > 1:
            write_text(out / f"{name}.md", tables.as_markdown(rows))
            write_text(out / f"{name}.tex", tables.as_latex(rows))


def _write_breakdowns(sections: list[Section], out: Path) -> None:
    """Scores by class and by subgroup, as on the page: one table below the other.

    The classes and subgroups of two data sets are not the same, so each has a table of its own.
    """
    by_class = [(part["data"], part["by_class"]) for part in sections if part["by_class"]]
    by_subgroup = []
    for part in sections:
        by_subgroup += [(part["data"], table) for table in part["subgroup_tables"]]
    for name, members in {"by_class": by_class, "by_subgroup": by_subgroup}.items():
        if not members:
            continue
        markdown = []
        latex = []
        for data, table in members:
            rows = plain_table(table)
            caption = f"{data}. {table.name}. {table.note}".removesuffix(SORTING)
            markdown.append(f"{markdown_text(caption)}\n\n{tables.as_markdown(rows)}")
            latex.append(tables.captioned(rows, caption))
        write_text(out / f"{name}.md", "\n".join(markdown))
        write_text(out / f"{name}.tex", tables.BOOKTABS + "\n\n".join(latex) + "\n")


def _summary(
    sections: list[Section], studies: list[Study], mixed: list[Study | None], runs: Runs
) -> dict[str, Any]:
    """The content of ``--json``."""
    every: list[Study] = []
    for s, of_mixes in zip(studies, mixed, strict=True):
        every.append(s)
        if of_mixes is not None:
            every.append(of_mixes)
    cells: dict[tuple[str, str, int], json_rows.Row] = {}
    equivalence: list[json_rows.Row] = []
    comparisons: list[json_rows.Row] = []
    for s in reversed(every):
        for row in json_rows.cell_rows(s):
            cells[row["data"], row["arm"], row["labels"]] = row
    for s in studies:
        equivalence += json_rows.worth_rows(s)
    for s in every:
        comparisons += json_rows.comparison_rows(s)
    return {
        "answers": _joined(sections, "answer"),
        "declared": [part["declared"] for part in sections if part["declared"]],
        "folds": _joined(sections, "folds"),
        "first_screen": [
            {"question": a.question, "short": a.short, "answer": f"{a.short}. {a.detail}"}
            for a in _joined(sections, "screen")
        ],
        "label_equivalence": equivalence,
        "unlearnt": [part["untrained"] for part in sections if part["untrained"]],
        "cautions": _joined(sections, "cautions"),
        "synthetic": _joined([part["mixes"] for part in sections if part["mixes"]], "said"),
        "cells": list(cells.values()),
        "comparisons": comparisons,
        "left_out": runs.problems,
    }


def _questions(sections: list[Section], joint: list[Asked]) -> list[dict[str, str]]:
    """The questions of each data set, and those of all together, for ``--json``."""
    rows = [{"data": "", **answer._asdict()} for answer in joint]
    for part in sections:
        rows += [{"data": part["data"], **q._asdict()} for q in part["questions"]["rows"]]
    return rows


def _joined(sections: list[Section], key: str) -> list[Any]:
    result: list[Any] = []
    for part in sections:
        result += part[key]
    return result


# ------------------------------------------------------------------ the template
def _render(sections: list[Section], joint: list[Asked], runs: Runs, split: str) -> str:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["unbroken"] = unbroken
    environment.filters["code"] = code
    title = f"Label efficiency on {len(sections)} data sets"
    if len(sections) == 1:
        title = sections[0]["claim"]
    return environment.get_template("report.html.j2").render(
        title=title,
        sections=sections,
        joint=joint,
        env=software(runs),
        problems=runs.problems,
        n_runs=len(runs),
        split=split,
        dates=dates(list(runs)),
    )


_TOGETHER = re.compile(r"\[[^\[\]]*\]|95 %|(p )?[<>=] \d+")
"""``[0.78,`` and ``0.84]``, or ``p <`` and ``0.05``, on two lines read badly."""


def unbroken(text: str) -> str:
    """Intervals and p values with spaces at which no line breaks."""
    return _TOGETHER.sub(lambda match: match[0].replace(" ", "\u00a0"), text)


def code(text: str) -> Any:
    """What stands between backquotes, as code."""
    import markupsafe

    escaped = str(markupsafe.escape(text))
    return markupsafe.Markup(re.sub(r"`(.*?)`", r"<code>\1</code>", escaped))


def software(runs: Runs, most: int = 4) -> list[tuple[str, str]]:
    """Versions and devices of the runs, from their env.json."""
    versions: dict[str, set[str]] = {}
    for run in runs:
        for key, value in _leaves(run.env):
            versions.setdefault(key, set()).add(str(value))
    rows = []
    for key, values in versions.items():
        text = ", ".join(sorted(values)[:most])
        if len(values) > most:
            text += " …"
        rows.append((key, text))
    return rows


def _leaves(tree: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    leaves: list[tuple[str, Any]] = []
    for key, value in tree.items():
        if isinstance(value, dict):
            leaves += _leaves(value, f"{prefix}{key} ")
        else:
            leaves.append((f"{prefix}{key}", value))
    return leaves
