"""Scores by subgroup of the subjects: site, scanner, vendor, size … whatever is known of them.

A run records what is known of the subjects that it was scored on in its own ``subjects.csv``: the
columns of the data set's ``subjects.csv`` that semiseg itself does not use, and the size of the
truth. So a run folder is enough for a report, wherever the data set lies.

Subgroups are exploratory: nothing corrects for their number (Wang et al., N. Engl. J. Med. 357,
2007).
"""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from semiseg.analysis.breakdown import scores_of
from semiseg.analysis.groups import design_of
from semiseg.analysis.pairing import replicates
from semiseg.analysis.runs import Run
from semiseg.analysis.statistics import Interval, mean_interval
from semiseg.analysis.study import Cell, Study
from semiseg.errors import UserError
from semiseg.escapes import csv_text
from semiseg.evaluate.metrics import METRICS
from semiseg.run_folder import SUBJECT_COLUMNS

MOST = 6
"""Values of a column up to which each is a subgroup; numbers of more values are cut in thirds."""
FEWEST = 2
"""Subjects of a subgroup below which it has no interval, and is left out."""


def columns_of(runs: Iterable[Run], split: str) -> dict[str, dict[str, str]]:
    """What is known of the scored subjects: column → subject → value; empty cells are left out.

    Raises:
      UserError: a run's subjects.csv cannot be read.
    """
    columns: dict[str, dict[str, str]] = {}
    texts: set[str] = set()  # runs of one study have the same table
    for run in runs:
        file = run.folder.subjects
        if run.table is not None or not file.exists():
            continue
        text = _text(file)
        if text in texts:
            continue
        texts.add(text)
        for row in _rows(text, file):
            if row.get("split") == split:
                _add(columns, row)
    return columns


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"cannot be read ({error})", where=file, remedy="evaluate this run again"
        ) from None


def _rows(text: str, file: Path) -> list[dict[str, str]]:
    """The rows of a table; cells beyond its header are left out."""
    try:
        reader = csv.DictReader(text.splitlines())
        names = reader.fieldnames or ()
        return [{name: row[name] or "" for name in names} for row in reader]
    except csv.Error as error:
        raise UserError(
            f"cannot be read ({error})", where=file, remedy="evaluate this run again"
        ) from None


def _add(columns: dict[str, dict[str, str]], row: Mapping[str, str]) -> None:
    subject = csv_text(row.get("subject", ""))
    for name, value in row.items():
        if subject and value and name not in SUBJECT_COLUMNS:
            columns.setdefault(csv_text(name), {})[subject] = csv_text(value)


def groups_of_column(values: Mapping[str, str]) -> dict[str, list[str]]:
    """Subgroup → its subjects. Numbers of more than :data:`MOST` values are cut in thirds.

    Returns:
      Empty where there are more values than that which are no numbers, or only one.

    >>> groups_of_column({"p1": "A", "p2": "B", "p3": "A"})
    {'A': ['p1', 'p3'], 'B': ['p2']}
    >>> ages = {f"p{age}": str(age) for age in (31, 64, 47, 52, 78, 25, 59)}
    >>> {name: len(subjects) for name, subjects in groups_of_column(ages).items()}
    {'25 to 47': 3, '52 to 59': 2, '64 to 78': 2}
    """
    names = sorted(set(values.values()))
    if len(names) > MOST:
        return thirds(values)
    if len(names) < 2:
        return {}
    groups: dict[str, list[str]] = {name: [] for name in names}
    for subject, value in values.items():
        groups[value].append(subject)
    return groups


def thirds(values: Mapping[str, str]) -> dict[str, list[str]]:
    """The subjects of the lowest, middle and highest third of a number; empty where a value is no
    number. Equal values are in one third.
    """
    try:
        numbers = {subject: float(value) for subject, value in values.items()}
    except ValueError:
        return {}
    if not np.isfinite(list(numbers.values())).all():
        return {}
    ordered = sorted(set(numbers.values()))
    limits = np.quantile(list(numbers.values()), [1 / 3, 2 / 3])
    third = {value: int(np.searchsorted(limits, value)) for value in ordered}
    groups: dict[str, list[str]] = {}
    for part in range(3):
        inside = [value for value in ordered if third[value] == part]
        if inside:
            name = f"{inside[0]:.4g} to {inside[-1]:.4g}"
            groups[name] = [s for s, value in numbers.items() if third[value] == part]
    return groups


@dataclasses.dataclass(frozen=True)
class Subgroup:
    """A cell's score on the subjects that have one value of a column.

    Attributes:
      value: of the column.
      interval: of the mean over the runs of the cell and these subjects.
    """

    value: str
    interval: Interval


def subgroup_scores(
    s: Study, cell: Cell, groups: Mapping[str, Sequence[str]], class_: str = "mean"
) -> list[Subgroup]:
    """The score of a cell on each group of subjects, in the order of the groups.

    Args:
      s: the study.
      cell: one of its cells.
      groups: name → subjects, such as :func:`groups_of_column` returns, or any others.
      class_: "mean" over foreground classes, or one class.
    """
    subjects, values_RS = scores_of(s, cell.runs, class_)
    rows, subset_R = replicates(cell.runs)
    bounds = METRICS[s.metric].bounds
    design = design_of(cell.runs, subset_R, subjects)
    result = []
    for name, members in groups.items():
        columns = np.isin(subjects, list(members))
        if np.count_nonzero(columns) < FEWEST:
            continue
        part = design.of(np.ones(len(rows), bool), columns)
        interval = mean_interval(values_RS[rows][:, columns], part, bounds=bounds)
        result.append(Subgroup(name, interval))
    return result
