"""Tables that answer the next question: which class, which subject and which run."""

from __future__ import annotations

import dataclasses
import datetime
import os
import urllib.parse
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from semiseg.analysis.breakdown import (
    class_intervals,
    foreground_classes,
    regions_of,
    subject_breakdown,
)
from semiseg.analysis.fold_design import held_out_by
from semiseg.analysis.runs import Run
from semiseg.analysis.study import Study
from semiseg.evaluate.metrics import METRICS
from semiseg.report.facts import smallest_budget, unit_of_annotation
from semiseg.report.format import MISSING, duration, interval_text, number, score_label
from semiseg.run_folder import SCORES, RunFolder, region_label

SORTING = " Select a heading to sort."
MOST_SUBJECT_ROWS = 1000
"""Rows of the table of subjects: the worst are shown."""


@dataclasses.dataclass(frozen=True)
class CellText:
    """A cell of a sortable table: its text, what it is sorted by, a second line and a link."""

    text: str
    key: float | str = ""
    detail: str = ""
    href: str = ""


@dataclasses.dataclass(frozen=True)
class SortableTable:
    """A table whose columns a reader can sort.

    Attributes:
      name: for a screen reader.
      note: what it shows.
    """

    name: str
    note: str
    head: tuple[str, ...]
    rows: tuple[tuple[CellText, ...], ...]


def plain_table(t: SortableTable) -> list[list[str]]:
    """A sortable table as rows of text, header first: each cell with its second line behind it.

    >>> row = (CellText("BCP"), CellText("0.81", 0.81, "[0.78, 0.84]"))
    >>> plain_table(SortableTable("", "", ("Method", "Dice"), (row,)))
    [['Method', 'Dice'], ['BCP', '0.81 [0.78, 0.84]']]
    """
    rows = [list(t.head)]
    for row in t.rows:
        rows.append([f"{cell.text} {cell.detail}".strip() for cell in row])
    return rows


def score_cell(value: float, metric: str, detail: str = "") -> CellText:
    """A score; an undefined one is sorted last."""
    key = value
    if np.isnan(value):
        key = np.inf
    return CellText(number(value, metric), key, detail)


def class_table(s: Study) -> SortableTable | None:
    """Scores by class; None where there is a single class, which the other tables show."""
    classes = foreground_classes(s)
    if len(classes) < 2:
        return None
    regions = regions_of(s)
    rows = []
    for arm in s.arms:
        for labels in s.budgets:
            if (arm, labels) not in s.cells:
                continue
            intervals = class_intervals(s, s.cells[arm, labels])
            row = [CellText(arm, arm), CellText(str(labels), labels)]
            for name in (*classes, *regions):
                cell = CellText(MISSING, np.inf)
                if name in intervals:
                    interval = intervals[name]
                    detail = interval_text(interval, s.metric).partition(" ")[2]
                    cell = score_cell(interval.mean, s.metric, detail)
                row.append(cell)
            rows.append(tuple(row))
    note = (
        f"{score_label(s.metric, s.unit)} of each class: mean over runs and subjects, with 95 % "
        f"interval.{_regions_note(regions)}{SORTING}"
    )
    head = ("Method", "Annotated", *classes, *map(region_label, regions))
    return SortableTable("By class", note, head, tuple(rows))


def _regions_note(regions: Mapping[str, Sequence[str]]) -> str:
    """What the regions of a table are; "" where there are none."""
    if not regions:
        return ""
    unions = [f"{name} = {' ∪ '.join(members)}" for name, members in regions.items()]
    return f" Regions are unions of classes and in no mean over classes: {'; '.join(unions)}."


def subject_table(s: Study, out: Path) -> SortableTable | None:
    """Every subject with every method at the smallest budget, the worst first.

    None where the scores of single subjects are not known.
    """
    labels = smallest_budget(s)
    scores = subject_breakdown(s, labels)
    if not scores:
        return None
    label = score_label(s.metric, s.unit)
    classes = foreground_classes(s)
    regions = regions_of(s)
    if len(classes) < 2:
        classes = []
    rows = []
    for score in scores[:MOST_SUBJECT_ROWS]:
        run, worst = score.worst
        row = [
            CellText(score.subject, score.subject),
            CellText(score.arm, score.arm),
            score_cell(score.mean, s.metric),
            *(score_cell(score.classes[name], s.metric) for name in (*classes, *regions)),
            dataclasses.replace(
                score_cell(worst, s.metric), detail=run.name, href=link(run, out, SCORES)
            ),
            CellText(str(score.runs), score.runs),
        ]
        rows.append(tuple(row))
    note = (
        f"{label} of every subject with {labels} annotated {unit_of_annotation(s.runs)}, mean over "
        f"runs, the worst first.{_regions_note(regions)}{SORTING}"
    )
    if len(scores) > MOST_SUBJECT_ROWS:
        note += f" The {MOST_SUBJECT_ROWS:,} worst of {len(scores):,} rows are listed."
    named = (*classes, *map(region_label, regions))
    head = ("Subject", "Method", label, *named, "Worst run", "Runs")
    return SortableTable("By subject", note, head, tuple(rows))


def fold_table(s: Study) -> SortableTable | None:
    """The mean of each fold, a column a setting, at the smallest budget; None without folds."""
    if not s.folds:
        return None
    labels = smallest_budget(s)
    arms = [arm for arm in s.arms if (arm, labels) in s.cells]
    rows = []
    for fold in range(s.folds):
        held_out: set[str] = set()
        scores = []
        for arm in arms:
            runs = s.cells[arm, labels].runs.where(fold=fold)
            held_out |= set().union(*map(held_out_by, runs))
            means = [_mean_score(s, run) for run in runs]
            mean = float(np.mean(means)) if means else np.nan
            scores.append(score_cell(mean, s.metric))
        subjects = CellText(str(len(held_out)), len(held_out))
        rows.append((CellText(str(fold), fold), subjects, *scores))
    note = (
        f"{score_label(s.metric, s.unit)} of the subjects that each fold holds out, with {labels} "
        f"annotated {unit_of_annotation(s.runs)}, mean over runs.{SORTING}"
    )
    return SortableTable("By fold", note, ("Fold", "Held out", *arms), tuple(rows))


def run_table(s: Study, out: Path) -> SortableTable:
    """Every run: its factors, score, date and folder."""
    label = score_label(s.metric, s.unit)
    rows = []
    for arm, runs in s.arms.items():
        for run in runs:
            rows.append(_run_row(s, run, arm, out))
    head = ["Run", "Method", "Annotated", "Label subset", "Seed", label, "Training", "Finished"]
    if s.folds:
        head.insert(3, "Fold")
    note = f"Finished: when the run's summary.json was written.{SORTING}"
    return SortableTable("Runs", note, tuple(head), tuple(rows))


def _run_row(s: Study, run: Run, arm: str, out: Path) -> tuple[CellText, ...]:
    seconds = run.summary.get("seconds_train")
    training = CellText(MISSING, np.inf)
    if isinstance(seconds, int | float):
        training = CellText(duration(seconds), float(seconds))
    date = finished(run)
    fold = (CellText(str(run.fold), run.fold),) if s.folds else ()
    return (
        CellText(run.name, run.name, href=link(run, out)),
        CellText(arm, arm),
        CellText(str(run.labels), run.labels),
        *fold,
        CellText(str(run.label_subset), str(run.label_subset)),
        CellText(str(run.seed), run.seed),
        score_cell(_mean_score(s, run), s.metric),
        training,
        CellText(date or MISSING, date),
    )


def _mean_score(s: Study, run: Run) -> float:
    absolute = METRICS[s.metric].absolute
    score_S = run.scores.row(s.metric, s.split, s.checkpoint, absolute=absolute)
    if score_S is None or np.isnan(score_S).all():
        return float("nan")
    return float(np.nanmean(score_S))


def finished(run: Run) -> str:
    """When summary.json was written; "" for a run of a results.csv."""
    file = RunFolder(run.path).summary
    if run.table is not None or not file.exists():
        return ""
    seconds = file.stat().st_mtime
    return datetime.datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")


def dates(runs: Sequence[Run]) -> str:
    """The first and the last day of the runs; "" where none is known."""
    days = sorted({finished(run)[:10] for run in runs} - {""})
    if not days:
        return ""
    if len(days) == 1:
        return days[0]
    return f"{days[0]} to {days[-1]}"


def link(run: Run, out: Path, file: str = "") -> str:
    """From the page to a run's folder, or to a file in it; "" for a run of a results.csv."""
    if run.table is not None:
        return ""
    target = run.path / file
    return urllib.parse.quote(Path(os.path.relpath(target, out)).as_posix())
