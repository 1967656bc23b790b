"""Subjects' scores beside a results.csv, so that its intervals and tests are those of the run
folders: ``NAME_subjects.csv`` for ``NAME.csv``.

A row a run, split and metric (last checkpoint, mean over classes), a column a subject, four
decimals: 270 runs on 164 subjects take 0.3 MB.
"""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from semiseg.analysis.runs import MEAN, MEAN_OF_ALL, Run, Runs, Scores
from semiseg.errors import UserError

CHECKPOINT = "last"


def place(results: Path) -> Path:
    """The file beside ``results``."""
    return results.with_name(f"{results.stem}_subjects.csv")


def write(
    runs: Runs, results: str | Path, metrics: Sequence[str] = ("dice",), split: str = "test"
) -> Path:
    """Write the scores of every subject of the split; the same runs give the same bytes."""
    file = place(Path(results))
    tables = {metric: runs.matrix(metric, split, CHECKPOINT) for metric in metrics}
    subjects = sorted({subject for names, _ in tables.values() for subject in names})
    with file.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(("run", "split", "metric", *subjects))
        for metric, (names, values_RS) in tables.items():
            column = {name: i for i, name in enumerate(names)}
            for run, row in zip(runs, values_RS):
                values = [row[column[s]] if s in column else np.nan for s in subjects]
                writer.writerow(
                    (run.name, split, metric, *("" if np.isnan(v) else f"{v:.4f}" for v in values))
                )
    return file


def attach(results: Path, runs: list[Run]) -> list[Run]:
    """The runs of a results.csv with the subjects' scores that stand beside it; as they are where
    there are none.

    Raises:
      UserError: a row of the file beside cannot be read, or is of a run that the results do not
        have.
    """
    file = place(results)
    if not file.exists():
        return runs
    found: dict[str, list[tuple[str, str, np.ndarray]]] = {}
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            reader = csv.reader(lines)
            subjects = next(reader)[3:]
            for name, split, metric, *values in reader:
                found.setdefault(name, []).append(
                    (split, metric, np.array([float(v or "nan") for v in values]))
                )
        if any(
            len(row) != len(subjects) for rows in found.values() for _, _, row in rows
        ) or found.keys() - {run.name for run in runs}:
            raise ValueError(f"a row that does not fit its header or {results.name}")
    except (ValueError, csv.Error, StopIteration, UnicodeDecodeError) as error:
        raise UserError(
            f"{file}: cannot be read ({error}); delete it, or write it again from the run folders"
        ) from None
    columns = {subject: i for i, subject in enumerate((MEAN_OF_ALL, *subjects))}
    return [_with(run, columns, found.get(run.name, [])) for run in runs]


def _with(run: Run, columns: dict[str, int], rows: list[tuple[str, str, np.ndarray]]) -> Run:
    splits, checkpoints, metrics, _, _ = run.scores.axes
    value = np.pad(run.scores.value, [(0, 0)] * 4 + [(0, len(columns) - 1)], constant_values=np.nan)
    for split, metric, scores_S in rows:
        value[splits[split], checkpoints[CHECKPOINT], metrics[metric], 0] = [
            np.nan,
            *scores_S,
        ]  # the mean gives way to what it is a mean of
    return dataclasses.replace(
        run,
        scores=Scores(
            (splits, checkpoints, metrics, {MEAN: 0}, columns),
            run.scores.units,
            value,
            run.scores.present,
        ),
    )
