"""Tables of what a mean over subjects hides: the worst ones, failures, subgroups, detection, false
alarms, and who carries a difference.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from semiseg.analysis import subgroups
from semiseg.analysis.design import Design
from semiseg.analysis.false_alarms import VOLUME, false_alarms
from semiseg.analysis.groups import design_of
from semiseg.analysis.influence import influences
from semiseg.analysis.pairing import replicates
from semiseg.analysis.runs import matrix
from semiseg.analysis.scores import MEAN_OF_ALL
from semiseg.analysis.statistics import Interval, mean_interval
from semiseg.analysis.study import Cell, Study
from semiseg.analysis.subgroup_gains import study_columns
from semiseg.analysis.tails import FAILURE, failure_rate, worst_decile
from semiseg.evaluate.lesions import HIT
from semiseg.evaluate.metrics import METRICS
from semiseg.report.details import CellText, SortableTable, score_cell
from semiseg.report.format import (
    MISSING,
    count,
    interval_text,
    listed,
    number,
    p_value,
    score_label,
)

Row = tuple[CellText, ...]
Scores = tuple[np.ndarray, Design]
"""Runs × subjects."""
DETECTION = ("lesion_sensitivity", "lesion_f1", "false_positive_lesions")
CARRIERS_NAMED = 2
"""Subjects that the table of carriers names."""


def subject_tables(s: Study) -> list[SortableTable]:
    """Every such table that the runs of a study have something for; without the subgroups'."""
    tables = [
        tail_table(s),
        carrier_table(s),
        detection_table(s),
        healthy_table(s),
    ]
    return [table for table in tables if table is not None and table.rows]


def tail_table(s: Study) -> SortableTable | None:
    """The worst tenth of the subjects, and the share of failures where the metric has a limit."""
    overlap = METRICS[s.metric].bounds == (0.0, 1.0)
    rows = []
    for cell in s.ordered_cells:
        table = cell_scores(s, cell, s.metric)
        if table is None:
            continue
        values_RS, design = table
        row = [*_what(cell), score_cell(cell.interval.mean, s.metric)]
        row.append(_cell(worst_tenth(s, table), s.metric))
        if overlap:
            row.append(_share(failure_rate(values_RS, design, below=FAILURE, sign=s.sign)))
        rows.append(tuple(row))
    head = ["Method", "Annotated", "Mean", "Worst tenth"]
    note = (
        f"{score_label(s.metric, s.unit)}. Worst tenth: mean of the worst tenth of the subjects of "
        f"a run (of ten subjects the worst one), with 95 % interval."
    )
    if overlap:
        head.append(f"Below {FAILURE:.2f}")
        note += (
            f" Below {FAILURE:.2f}: share of subjects that count as a failure, with Wilson's "
            f"interval."
        )
    return SortableTable("Worst subjects and failures", note, tuple(head), tuple(rows))


def carrier_table(s: Study) -> SortableTable | None:
    """For each comparison the subjects that make up most of it, and what is left without one."""
    rows = []
    for c, parts in influences(s):
        named = [
            f"{subject} {share:.0%}"
            for subject, share in zip(parts.subjects, parts.share_S.tolist(), strict=True)
        ]
        low, high = (number(mean, s.metric, signed=True) for mean in parts.mean_range)
        least, most = (p_value(p) for p in parts.p_range)
        carried = float(parts.share_S[:CARRIERS_NAMED].sum())
        row = (
            CellText(c.arm, c.arm, f"and {c.baseline}"),
            CellText(str(c.labels), c.labels),
            CellText(number(c.difference.mean, s.metric, signed=True), c.difference.mean),
            CellText(f"{carried:.0%}", carried, listed(named[:CARRIERS_NAMED])),
            CellText(f"{low} to {high}", parts.mean_range[0]),
            CellText(f"{least} to {most}", parts.p_range[1]),
        )
        rows.append(row)
    note = (
        f"Difference in {score_label(s.metric, s.unit)}, and the share of it that two subjects "
        f"make up (more than 100 % where the others speak against it). Without one: the mean and "
        f"the uncorrected p if any one subject is left out. A difference near zero is always "
        f"carried by few."
    )
    head = ("Method", "Annotated", "Difference", "Two subjects", "Without one", "p without one")
    return SortableTable("Who carries a difference", note, head, tuple(rows))


def detection_table(s: Study) -> SortableTable | None:
    """Lesions found and invented."""
    rows = []
    for cell in s.ordered_cells:
        cells = []
        for metric in DETECTION:
            table = cell_scores(s, cell, metric)
            if table is not None:
                cells.append(_interval_cell(table, metric))
        if len(cells) == len(DETECTION):
            rows.append((*_what(cell), *cells))
    note = (
        f"A lesion is a connected component. It is found if a predicted one has an intersection "
        f"over union of at least {HIT} with it; each finds one at most. False: predicted lesions "
        f"that match none, in one image or volume. Means over subjects and classes, with 95 % "
        f"interval."
    )
    head = ("Method", "Annotated", "Found", "F1", "False")
    return SortableTable("Lesions found", note, head, tuple(rows))


def healthy_table(s: Study) -> SortableTable | None:
    """False alarms on subjects whose truth is empty; None where there is no such subject."""
    rows = []
    unit = ""
    for cell in s.ordered_cells:
        rate = false_alarms(s, cell)
        volumes = cell_scores(s, cell, VOLUME)
        if rate is None or volumes is None:
            continue
        unit = cell.runs[0].scores.units.get(VOLUME, "")
        subjects = CellText(str(rate.n_subjects), rate.n_subjects)
        volume = _interval_cell(volumes, VOLUME)
        rows.append((*_what(cell), subjects, _share(rate), volume))
    note = (
        "Subjects who have nothing of a class. False alarms: share of them in which any voxel is "
        "predicted, with Wilson's interval. They are in no other score of that class, whatever is "
        "predicted."
    )
    volume_head = "Predicted volume"
    if unit:
        volume_head = f"Predicted volume ({unit})"
    head = ("Method", "Annotated", "Healthy", "False alarms", volume_head)
    return SortableTable("False positives on healthy subjects", note, head, tuple(rows))


def subgroup_tables(s: Study) -> Iterator[SortableTable]:
    """A table for each column that is known of the subjects; none of folds."""
    if s.folds:
        return
    for column, values in sorted(study_columns(s).items()):
        groups = subgroups.groups_of_column(values)
        if len(groups) > 1:
            yield _subgroup_table(s, column, groups)


def _subgroup_table(s: Study, column: str, groups: Mapping[str, Sequence[str]]) -> SortableTable:
    rows = []
    for cell in s.ordered_cells:
        scores = {part.value: part.interval for part in subgroups.subgroup_scores(s, cell, groups)}
        row = [*_what(cell)]
        for name in groups:
            text = CellText(MISSING, np.inf)
            if name in scores:
                subjects = count(scores[name].n_subjects, "subject")
                text = _cell(scores[name], s.metric, subjects)
            row.append(text)
        rows.append(tuple(row))
    note = (
        f"{score_label(s.metric, s.unit)} by {column.replace('_', ' ')} of the subjects, with 95 % "
        f"interval. Exploratory: nothing corrects for the number of subgroups."
    )
    title = f"By {column.replace('_', ' ')}"
    return SortableTable(title, note, ("Method", "Annotated", *groups), tuple(rows))


# ------------------------------------------------------------------ numbers
def worst_tenth(s: Study, scores: Scores) -> Interval:
    """The mean of the worst tenth of the subjects, on the scale of the study's metric."""
    values_RS, design = scores
    return worst_decile(values_RS, design, sign=s.sign, bounds=METRICS[s.metric].bounds)


def bounded_interval(scores: Scores, metric: str) -> Interval:
    """The mean of a metric with its interval, within the metric's bounds."""
    return mean_interval(*scores, bounds=METRICS[metric].bounds)


# ------------------------------------------------------------------ cells
def cell_scores(s: Study, cell: Cell, metric: str) -> Scores | None:
    """The replicates of a cell on all subjects that have the metric, and their design; None where
    the scores of single subjects are not known, and of folds.
    """
    if s.folds:
        return None
    absolute = METRICS[metric].absolute
    subjects, values_RS = matrix(cell.runs, metric, s.split, s.checkpoint, absolute=absolute)
    if not subjects or MEAN_OF_ALL in subjects:
        return None
    rows, subset_R = replicates(cell.runs)
    return values_RS[rows], design_of(cell.runs, subset_R, subjects)


def _what(cell: Cell) -> Row:
    labels = CellText(str(cell.labels), cell.labels)
    return CellText(cell.arm, cell.arm), labels


def _interval_cell(table: Scores, metric: str) -> CellText:
    return _cell(bounded_interval(table, metric), metric)


def _cell(interval: Interval, metric: str, more: str = "") -> CellText:
    """A mean with its interval below it, and what else there is to say."""
    text = interval_text(interval, metric).partition(" ")[2]
    detail = ", ".join(part for part in (text, more) if part)
    return score_cell(interval.mean, metric, detail)


def _share(interval: Interval) -> CellText:
    ends = f"[{interval.low:.0%}, {interval.high:.0%}]"
    return CellText(f"{interval.mean:.0%}", interval.mean, ends)
