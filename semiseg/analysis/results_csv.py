"""The format of results.csv, written and read: a row a run, split, checkpoint, class and metric.

It knows columns and cells, not runs. :meth:`semiseg.analysis.runs.Runs.write_csv` writes one, and
:func:`semiseg.analysis.load.load_runs` makes runs of one again.
"""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from semiseg.analysis.scores import LARGEST
from semiseg.errors import UserError
from semiseg.escapes import csv_cell, csv_text
from semiseg.files import replacing

FACTORS = ("run", "data", "method", "net", "labels", "label_subset", "seed", "ratio", "steps")
"""Columns that say what a run is."""
COLUMNS = (*FACTORS, "split", "checkpoint", "class", "metric", "mean", "n_subjects")
"""Columns of results.csv: a contract, other people's scripts depend on it."""
INIT_COLUMNS = ("init", "total_steps", "seconds_init")
"""Columns after these, if a run of the table began with other weights than random ones. A table
without them has runs that began at random.
"""

FOLD_COLUMNS = ("folds", "fold")
"""Columns after these, if a run of the table is a fold of a cross-validation."""

_HEADERS = [COLUMNS + init + folds for init in ((), INIT_COLUMNS) for folds in ((), FOLD_COLUMNS)]


@dataclasses.dataclass(frozen=True)
class RunRows:
    """The rows of one run.

    Attributes:
      rows: values in the order of :data:`COLUMNS`; an empty mean is NaN.
      init: the values of :data:`INIT_COLUMNS` and :data:`FOLD_COLUMNS`; without those that the
        table has no columns of.
    """

    rows: list[tuple[Any, ...]] = dataclasses.field(default_factory=list)
    init: dict[str, Any] = dataclasses.field(default_factory=dict)


def write(
    file: Path,
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
) -> None:
    """Write a table; the same rows give the same bytes. An undefined mean is empty."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as partial, partial.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            writer.writerow([csv_cell(cell(value)) for value in row])


def read(file: Path) -> dict[str, RunRows]:
    """The rows of each run, by its name, in the order of the table.

    Raises:
      UserError: other columns, or a line that cannot be read, which is named.
    """
    runs: dict[str, RunRows] = {}
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            reader = csv.reader(lines)
            header = tuple(next(reader, []))
            if header not in _HEADERS:
                raise UserError(
                    f"the header should be {','.join(COLUMNS)}",
                    where=file,
                    remedy="write it with `semiseg report`",
                )
            for row in reader:
                values = _parsed(header, row)
                of_run = runs.setdefault(values["run"], RunRows())
                of_run.rows.append(tuple(values[name] for name in COLUMNS))
                of_run.init.update((name, values[name]) for name in header[len(COLUMNS) :])
    except (ValueError, csv.Error, UnicodeDecodeError) as error:
        raise UserError(
            f"line {reader.line_num} cannot be read ({error})",
            where=file,
            remedy="write it again with `semiseg report`",
        ) from None
    return runs


def cell(value: Any) -> Any:
    """A value as it is written: six digits of a number with decimals, nothing for NaN.

    >>> cell(2 / 3), cell(float("nan")), cell(12)
    ('0.666667', '', 12)
    """
    if not isinstance(value, float):
        return value
    return "" if np.isnan(value) else f"{value:.6g}"


def _parsed(
    header: Sequence[str],
    row: Sequence[str],
) -> dict[str, Any]:
    if len(row) != len(header):
        raise ValueError(f"{len(row)} fields for {len(header)} columns")
    return {
        name: _PARSERS.get(name, str)(csv_text(text))
        for name, text in zip(header, row, strict=True)
    }


def _label_subset(text: str) -> int | str:
    return int(text) if text.isdigit() else text


def _mean(text: str) -> float:
    value = float(text or "nan")
    if abs(value) > LARGEST:
        raise ValueError(f"{text} is no mean of scores")
    return value


_PARSERS: dict[str, Callable[[str], Any]] = {
    "labels": int,
    "label_subset": _label_subset,
    "seed": int,
    "ratio": float,
    "steps": int,
    "mean": _mean,
    "n_subjects": int,
    "total_steps": int,
    "seconds_init": float,
    "folds": int,
    "fold": int,
}
"""How a cell is read; the others are text."""
