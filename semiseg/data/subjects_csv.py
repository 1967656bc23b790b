"""``subjects.csv``: who is in each image, and, if a set states it, the group and the split."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from semiseg.data.images import stem_of
from semiseg.data.source import SPLITS
from semiseg.errors import UserError

FILE = "subjects.csv"


class Row(NamedTuple):
    """One line of the table; "" is an empty cell, or a column that the table does not have."""

    name: str
    subject: str
    group: str = ""
    split: str = ""


def read(path: Path, images: Mapping[str, Path], problems: list[str]) -> dict[str, Row]:
    """Image name → its row; empty where there is no such file.

    Args:
      path: of the table.
      images: name without suffix → image file, of all images of the set.
      problems: receives a line for each name that is missing, unknown, doubled, or has no subject.

    Raises:
      UserError: the file is no table, or lacks the columns name and subject.
    """
    if not path.exists():
        return {}
    rows = _rows(path)
    count = Counter(row.name for row in rows)
    problems += [
        f"{path}: names {name} {n} times; keep one row an image"
        for name, n in count.items()
        if n > 1
    ]
    problems += [
        f"{path}: names {row.name}, which is not among the images; correct the name or remove the "
        f"row"
        for row in rows
        if row.name not in images
    ]
    problems += [
        f"{path}: has no row for {image}; add one"
        for name, image in images.items()
        if name not in count
    ]
    problems += [
        f"{path}: {row.name} has no subject; fill it in" for row in rows if not row.subject
    ]
    return {row.name: row for row in rows}


def _rows(path: Path) -> list[Row]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            lines = list(reader)
            columns = {column.strip() for column in reader.fieldnames or ()}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            f"cannot be read ({error})", where=path, remedy="save it as UTF-8 text with commas"
        ) from error
    if not {"name", "subject"} <= columns:
        has = ", ".join(sorted(columns)) or "none"
        raise UserError(
            f"needs the columns name and subject (and may have group and split); it has {has}",
            where=path,
        )
    return [_row(line) for line in lines]


def _row(line: Mapping[str | None, str | None]) -> Row:
    # a line with too many cells has them under None
    cells = {column.strip(): (cell or "").strip() for column, cell in line.items() if column}
    name = stem_of(Path(cells["name"]))
    return Row(name, cells["subject"], cells.get("group", ""), cells.get("split", ""))


def split_problems(path: Path, rows: Mapping[str, Row]) -> list[str]:
    """Rows whose split is none of train, val and test.

    >>> split_problems(Path("s.csv"), {"p0": Row("p0", "ann", split="training")})
    ["s.csv: p0 has split 'training'; write train, val or test"]
    """
    return [
        f"{path}: {name} has split {row.split!r}; write train, val or test"
        for name, row in rows.items()
        if row.split not in SPLITS
    ]
