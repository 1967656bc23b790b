"""The scores of subjects beside a results.csv: ``NAME_subjects.csv`` for ``NAME.csv``.

With it the intervals and tests of the table are those of the run folders. A row a run, split and
metric (last checkpoint, mean over classes), a column a subject, four decimals: 270 runs on 164
subjects take 0.3 MB.
"""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from semiseg.analysis.groups import write_facts
from semiseg.analysis.runs import Run, Runs
from semiseg.analysis.scores import MEAN, MEAN_OF_ALL, Scores, check_bounds
from semiseg.errors import UserError
from semiseg.escapes import csv_cell, csv_row, csv_text
from semiseg.files import replacing

CHECKPOINT = "last"


@dataclasses.dataclass(frozen=True)
class _Row:
    """A row of the table: ``scores`` has a value for each subject, NaN where undefined."""

    split: str
    metric: str
    scores: list[float]


def place(results: Path) -> Path:
    """The file beside ``results``.

    >>> place(Path("tables/results.csv")).as_posix()
    'tables/results_subjects.csv'
    """
    return results.with_name(f"{results.stem}_subjects.csv")


def write(
    runs: Runs, results: str | Path, metrics: Sequence[str] = ("dice",), split: str = "test"
) -> Path:
    """Write the scores of every subject of the split; the same runs give the same bytes.

    What is known of the data sets (groups of look-alikes, annotated training subjects) is written
    beside them, see :func:`semiseg.analysis.groups.write_facts`.
    """
    write_facts(runs, Path(results))
    file = place(Path(results))
    tables = {metric: runs.matrix(metric, split, CHECKPOINT) for metric in metrics}
    every: set[str] = set()
    for names, _ in tables.values():
        every |= set(names)
    subjects = sorted(every)
    with replacing(file) as partial, partial.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(csv_row(("run", "split", "metric", *subjects)))
        for metric, (names, values_RS) in tables.items():
            for run, row_S in zip(runs, values_RS.tolist(), strict=True):
                by_subject = dict(zip(names, row_S, strict=True))
                cells = [_cell(by_subject.get(subject, np.nan)) for subject in subjects]
                writer.writerow((csv_cell(run.name), split, metric, *cells))
    return file


def attach(
    results: Path,
    runs: list[Run],
) -> list[Run]:
    """The runs of a results.csv with the subjects' scores that lie beside it; as they are where
    there are none.

    Raises:
      UserError: a row of the file beside it cannot be read, holds a score that its metric cannot
        have, or is of a run that the results lack.
    """
    file = place(results)
    if not file.exists():
        return runs
    by_name = {run.name: run for run in runs}
    try:
        subjects, rows = _read(file)
        if len({MEAN_OF_ALL, *subjects}) <= len(subjects):
            raise ValueError("a subject twice")
        for name, of_run in rows.items():
            for row in of_run:
                if name not in by_name or not _fits(row, by_name[name], len(subjects)):
                    raise ValueError(f"a row that does not fit its header or {results.name}")
                check_bounds(file, row.metric, np.array(row.scores))
    except (ValueError, csv.Error, StopIteration, UnicodeDecodeError) as error:
        raise UserError(
            f"cannot be read ({error})",
            where=file,
            remedy="delete it, or write it again from the run folders",
        ) from None
    columns = {subject: i for i, subject in enumerate((MEAN_OF_ALL, *subjects))}
    return [_with_subjects(run, columns, rows.get(run.name, [])) for run in runs]


def _fits(row: _Row, run: Run, subjects: int) -> bool:
    """Whether a row has a score for each subject, and the run a mean of it."""
    splits, checkpoints, metrics, _, _ = run.scores.axes
    of_run = row.split in splits and row.metric in metrics and CHECKPOINT in checkpoints
    return of_run and len(row.scores) == subjects


def _read(file: Path) -> tuple[list[str], dict[str, list[_Row]]]:
    """The subjects, and the rows of each run."""
    rows: dict[str, list[_Row]] = {}
    with file.open(encoding="utf-8", newline="") as lines:
        reader = csv.reader(lines)
        subjects = [csv_text(name) for name in next(reader)[3:]]
        for name, split, metric, *cells in reader:
            scores = [float(text or "nan") for text in cells]
            rows.setdefault(csv_text(name), []).append(_Row(split, metric, scores))
    return subjects, rows


def _cell(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.4f}"


def _with_subjects(
    run: Run,
    columns: dict[str, int],
    rows: list[_Row],
) -> Run:
    """The run with a column for each subject; a mean gives way to the scores it is the mean of."""
    splits, checkpoints, metrics, _, _ = run.scores.axes
    more_subjects = [(0, 0)] * 4 + [(0, len(columns) - 1)]
    value = np.pad(run.scores.value, more_subjects, constant_values=np.nan)
    for row in rows:
        place_of_row = (splits[row.split], checkpoints[CHECKPOINT], metrics[row.metric], 0)
        value[place_of_row] = [np.nan, *row.scores]
    axes = (splits, checkpoints, metrics, {MEAN: 0}, columns)
    return dataclasses.replace(
        run, scores=Scores(axes, run.scores.units, value, run.scores.present)
    )
