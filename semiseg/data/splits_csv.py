"""``splits.csv`` in the folder of a stored data set: who is in which split, and why."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from semiseg.data import fingerprints
from semiseg.data.fingerprints import Hashes
from semiseg.data.source import SPLITS
from semiseg.errors import UserError
from semiseg.escapes import csv_row, csv_text

FILE = "splits.csv"
COLUMNS = ("subject", "split", "annotated", "why")


class Row(NamedTuple):
    """One subject of a stored data set.

    Attributes:
      split: ``train``, ``val`` or ``test``.
      annotated: whether one of its images has a label.
      why: it is in that split, in words.
    """

    split: str
    annotated: bool
    why: str = ""


def write(folder: Path, rows: Mapping[str, Row]) -> None:
    """Write the table of a set: the subjects of train first, each split in the order given."""
    lines: list[list[str]] = []
    for split in SPLITS:
        for subject, row in rows.items():
            if row.split == split:
                lines.append(csv_row((subject, split, _yes(row.annotated), row.why)))
    with (folder / FILE).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(lines)


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def read(folder: Path) -> dict[str, Row]:
    """Subject → row of the set in a folder; empty where nothing says it.

    A set that was imported before the table was written says it in its fingerprints.

    Raises:
      UserError: the table is damaged.
    """
    path = folder / FILE
    if path.exists():
        return _read(path)
    if (folder / fingerprints.FILE).exists():
        return _of_fingerprints(folder / fingerprints.FILE)
    return {}


def _read(path: Path) -> dict[str, Row]:
    remedy = "restore it, or pass --resplit to do without it"
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = list(csv.DictReader(file))
        rows = {
            csv_text(line["subject"]): Row(
                line["split"], line["annotated"] == "yes", csv_text(line["why"])
            )
            for line in lines
        }
    except (OSError, ValueError, TypeError, KeyError, csv.Error) as error:
        raise UserError(f"damaged ({error})", where=path, remedy=remedy) from error
    wrong = next((subject for subject, row in rows.items() if row.split not in SPLITS), None)
    if wrong is not None:
        raise UserError(
            f"{wrong} has split {rows[wrong].split!r}, not one of {', '.join(SPLITS)}",
            where=path,
            remedy=remedy,
        )
    return rows


def of_hashes(table: Hashes) -> dict[str, Row]:
    """Subject → row without a reason, from what an import wrote down of every image."""
    return _rows(table.subjects.tolist(), table.splits.tolist(), table.labelled.tolist())


def _of_fingerprints(path: Path) -> dict[str, Row]:
    columns = fingerprints.arrays(path, ("subject", "split", "labelled"))
    return _rows(*(column.tolist() for column in columns.values()))


def _rows(subjects: list[str], splits: list[str], labelled: list[bool]) -> dict[str, Row]:
    rows: dict[str, Row] = {}
    for subject, split, label in zip(subjects, splits, labelled, strict=True):
        earlier = rows.get(subject)
        annotated = bool(label) or (earlier is not None and earlier.annotated)
        rows[subject] = Row(split, annotated)
    return rows


def counted(splits: Iterable[str]) -> str:
    """How many subjects went where, in words.

    >>> counted(["test", "train", "train"])
    'train 2, test 1'
    """
    places = list(splits)
    numbers = [f"{split} {places.count(split)}" for split in SPLITS if split in places]
    return ", ".join(numbers)
