"""The scores of one run: an array with an axis each for split, checkpoint, metric, class and
subject, read from per_subject.csv.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from semiseg.data.info import numbered
from semiseg.errors import UserError
from semiseg.escapes import csv_text
from semiseg.evaluate.metrics import METRICS
from semiseg.run_folder import SCORE_COLUMNS

MEAN = "mean"
"""The pseudo-class that is the mean over foreground classes, taken for each subject before subjects
are averaged.
"""
MEAN_OF_ALL = "(mean of all)"
"""Stands for the subjects of a run of which a results.csv has the mean alone."""
AXES = ("split", "checkpoint", "metric", "class", "subject")
"""Columns of per_subject.csv that are axes of the array, in order."""
ROUNDING = 1e-6
"""How far a stored score may be out of its bounds."""
LARGEST = 1e12
"""No length, area, volume or number of a scan is beyond this, in any unit."""
SMALL = 1 << 20
"""Scores that any run may have room for."""
SPARSEST = 64
"""Places for scores a row of the table: real tables have a row for nearly every place."""
_NOT_FOREGROUND = {"0", "background", MEAN}


@dataclasses.dataclass(frozen=True)
class Scores:
    """Everything in a per_subject.csv. Only foreground classes and regions of them are here.

    Attributes:
      axes: name → index for each of :data:`AXES`.
      units: metric → unit.
      value: ``[split, checkpoint, metric, class, subject]``; NaN where undefined or not measured.
      present: ``[split, checkpoint, metric, class]``; tells a measured but undefined score from one
        that nobody measured.
      regions: those of ``axes[3]`` that unite classes, and are in no mean over classes.
    """

    axes: tuple[dict[str, int], ...]
    units: dict[str, str]
    value: np.ndarray
    present: np.ndarray
    regions: frozenset[str] = frozenset()

    @functools.cached_property
    def classes(self) -> tuple[str, ...]:
        """Foreground classes, in the order of the data; no regions."""
        return tuple(name for name in self.axes[3] if name not in self.regions)

    @functools.cached_property
    def of_classes(self) -> slice | list[int]:
        """Index of the classes along ``axes[3]``, without the regions."""
        if not self.regions:
            return slice(None)
        return [self.axes[3][name] for name in self.classes]

    def __repr__(self) -> str:
        *names, subjects = (list(axis) for axis in self.axes)
        return f"Scores({' × '.join(map(str, names))} × {numbered(len(subjects), 'subject')})"

    def row(
        self,
        metric: str,
        split: str,
        checkpoint: str,
        class_: str = MEAN,
        absolute: bool = False,
    ) -> np.ndarray | None:
        """The score of each subject.

        Args:
          class_: "mean" averages the classes in which the subject's score is defined.
          absolute: take absolute values, before the mean.

        Returns:
          ``(S,)`` in the order of ``axes[4]``, NaN where undefined; None where nobody measured it.
        """
        splits, checkpoints, metrics, classes, _ = self.axes
        measured = split in splits and checkpoint in checkpoints and metric in metrics
        if not measured or (class_ != MEAN and class_ not in classes):
            return None
        values_KS = self.value[splits[split], checkpoints[checkpoint], metrics[metric]]
        if absolute:
            values_KS = np.abs(values_KS)
        if class_ != MEAN:
            return values_KS[classes[class_]]
        values_KS = values_KS[self.of_classes]
        if len(values_KS) == 1:
            return values_KS[0]
        return nanmean(values_KS, 0)

    def per_subject(
        self, metric: str, split: str, checkpoint: str, class_: str = MEAN
    ) -> dict[str, float]:
        """The defined score of each subject of the split, see :meth:`row`."""
        row_S = self.row(metric, split, checkpoint, class_)
        if row_S is None:
            return {}
        by_subject = zip(
            self.axes[4],
            row_S.tolist(),
            strict=True,
        )
        return {subject: value for subject, value in by_subject if not np.isnan(value)}


def nanmean(values: np.ndarray, axis: int) -> np.ndarray:
    """The mean of the defined values; NaN, without a warning, where none is defined.

    >>> nanmean(np.array([[1.0, np.nan], [2.0, np.nan]]), 0)
    array([1.5, nan])
    """
    defined = ~np.isnan(values)
    count = defined.sum(axis)
    total = np.where(defined, values, 0).sum(axis)
    return np.where(
        count > 0,
        total / np.maximum(count, 1),
        np.nan,
    )


# ------------------------------------------------------------------ reading
Columns = dict[str, list[str]]
"""The columns of a per_subject.csv but for ``run`` and ``value``."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where the rows of a per_subject.csv go in the array.

    The runs of a sweep all have the same rows, so that their names are looked up once.

    Attributes:
      columns: what is not a score.
      foreground: of each row, whether its class is foreground.
      at: index of each foreground row along each axis.
      axes, units, present, regions: of :class:`Scores`.
    """

    columns: Columns
    foreground: np.ndarray
    at: tuple[np.ndarray, ...]
    axes: tuple[dict[str, int], ...]
    units: dict[str, str]
    present: np.ndarray
    regions: frozenset[str]


def read_scores(file: Path, layouts: list[Layout], regions: frozenset[str] = frozenset()) -> Scores:
    """Read a per_subject.csv.

    Args:
      file: the table.
      layouts: those of other runs; a new one is added.
      regions: names in the column ``class`` that are unions of classes.

    Raises:
      UserError: a line cannot be read, or there is no score.
    """
    columns, values = _read_table(file)
    alike = (known for known in layouts if known.columns == columns and known.regions == regions)
    layout = next(alike, None)
    if layout is None:
        layout = _layout(file, columns, regions)
        layouts.append(layout)
    value = np.full([len(axis) for axis in layout.axes], np.nan)
    value[layout.at] = np.array(values)[layout.foreground]
    for metric, place in layout.axes[2].items():
        check_bounds(file, metric, value[:, :, place])
    return Scores(layout.axes, layout.units, value, layout.present, layout.regions)


def check_bounds(file: Path, metric: str, values: np.ndarray) -> None:
    """Refuse scores that their metric cannot have.

    Raises:
      UserError: one is infinite or out of the metric's bounds.
    """
    wrong = np.abs(values) > LARGEST
    if metric in METRICS:
        low, high = METRICS[metric].bounds
        compared = np.abs(values) if METRICS[metric].absolute else values
        wrong |= (compared < low - ROUNDING) | (compared > high + ROUNDING)
    if wrong.any():
        raise UserError(
            f"{metric} is {values[wrong][0]:g}, which it cannot be",
            where=file,
            remedy="evaluate this run again",
        )


def _layout(file: Path, columns: Columns, regions: frozenset[str]) -> Layout:
    """The layout of a table's rows.

    Args:
      file: the table, for a message.
      columns: what is not a score.
      regions: names that are unions of classes.

    Raises:
      UserError: no row has a foreground class.
    """
    foreground = np.array([name not in _NOT_FOREGROUND for name in columns["class"]], dtype=bool)
    if set(columns["class"]) <= _NOT_FOREGROUND | regions:
        raise UserError("has no scores", where=file, remedy="evaluate this run again")
    rows = np.flatnonzero(foreground).tolist()
    axes = []
    at = []
    for name in AXES:
        column = columns[name]
        axis: dict[str, int] = {}
        at.append(indices((column[row] for row in rows), axis))
        axes.append(axis)
    if math.prod(map(len, axes)) > max(SMALL, SPARSEST * len(rows)):
        raise UserError(
            f"most of its splits, metrics, classes and subjects have no row ({len(rows):,} rows)",
            where=file,
            remedy="evaluate this run again",
        )
    _check_once(file, at, axes)
    present = np.zeros([len(axis) for axis in axes[:4]], dtype=bool)
    present[tuple(at[:4])] = True
    units = {columns["metric"][row]: columns["unit"][row] for row in rows}
    return Layout(
        columns,
        foreground,
        tuple(at),
        tuple(axes),
        units,
        present,
        regions,
    )


def _check_once(file: Path, at: Sequence[np.ndarray], axes: Sequence[dict[str, int]]) -> None:
    """Refuse two scores of one thing: a part of the table was written twice.

    Raises:
      UserError: naming the first.
    """
    place = np.ravel_multi_index(tuple(at), tuple(map(len, axes)))
    first = np.unique(place, return_index=True)[1]
    again = np.setdiff1d(np.arange(len(place)), first)
    if again.size:
        names = [list(axis)[index[again[0]]] for axis, index in zip(axes, at, strict=True)]
        raise UserError(
            f"has two scores of {', '.join(names)}", where=file, remedy="evaluate this run again"
        )


def indices(
    names: Iterable[str],
    axis: dict[str, int],
) -> np.ndarray:
    """The index of each name along an axis; names that it lacks are added to it.

    >>> axis = {"a": 0}
    >>> indices(["b", "a", "b"], axis).tolist(), axis
    ([1, 0, 1], {'a': 0, 'b': 1})
    """
    return np.array([axis.setdefault(name, len(axis)) for name in names], dtype=np.intp)


def _read_table(file: Path) -> tuple[Columns, list[float]]:
    """The names and the scores of each row."""
    try:
        table = _plain_table(file.read_text(encoding="utf-8"))
    except ValueError:  # the slower reader names the line
        table = None
    return table or _quoted_table(file)


def _plain_table(text: str) -> tuple[Columns, list[float]] | None:
    """Read a table in which nothing is quoted and no row is odd, else return None.

    It is twice as fast as the csv module.
    """
    width = len(SCORE_COLUMNS)
    fields = text.replace("\n", ",").split(",")
    runs = set(fields[width:-1:width])
    plain = '"' not in text and len(fields) % width == 1 and len(runs) == 1
    if not plain or tuple(fields[:width]) != SCORE_COLUMNS:
        return None
    columns = {name: fields[width + k : -1 : width] for k, name in enumerate(SCORE_COLUMNS)}
    if "'" in text:
        columns = {name: [*map(csv_text, column)] for name, column in columns.items()}
    values = [float(text or "nan") for text in columns["value"]]
    return _without_scores(columns), values


def _quoted_table(file: Path) -> tuple[Columns, list[float]]:
    columns: Columns = {name: [] for name in SCORE_COLUMNS}
    values: list[float] = []
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            reader = csv.reader(lines)
            if tuple(next(reader, [])) != SCORE_COLUMNS:
                raise UserError(
                    f"the header should be {','.join(SCORE_COLUMNS)}",
                    where=file,
                    remedy="evaluate this run again",
                )
            for row in reader:
                values.append(_append(columns, row))
    except (ValueError, csv.Error, UnicodeDecodeError) as error:
        raise UserError(
            f"line {len(values) + 2} cannot be read ({error})",
            where=file,
            remedy="evaluate this run again",
        ) from None
    return _without_scores(columns), values


def _append(columns: Columns, row: Sequence[str]) -> float:
    """Add a row to the columns; returns its score."""
    if len(row) != len(columns):
        raise ValueError(f"{len(row)} fields for {len(columns)} columns")
    fields = dict(zip(columns, row, strict=True))
    value = float(fields["value"] or "nan")
    for name, text in fields.items():
        columns[name].append(csv_text(text))
    return value


def _without_scores(columns: Columns) -> Columns:
    return {name: column for name, column in columns.items() if name not in ("run", "value")}
