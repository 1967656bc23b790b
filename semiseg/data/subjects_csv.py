"""``subjects.csv``: who is in each image, and, if a set states it, the group and the split.

Other columns (site, scanner, vendor, age …) are stored with the data set: scores are shown by them.
"""

from __future__ import annotations

import csv
import difflib
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from semiseg.data.images import stem_of
from semiseg.data.source import SPLITS
from semiseg.errors import UserError
from semiseg.escapes import csv_mapping, csv_row, csv_text

FILE = "subjects.csv"
USED = ("name", "subject", "group", "split", "spacing")
"""Columns that say what is in an image; all others are of the subjects."""
Columns = dict[str, dict[str, str]]
"""Subject → column → value."""


class Row(NamedTuple):
    """One line of the table; "" is an empty cell, or a column that the table does not have."""

    name: str
    subject: str
    group: str = ""
    split: str = ""
    others: tuple[tuple[str, str], ...] = ()
    spacing: tuple[float, ...] = ()


def place(source: Path, given: str) -> Path:
    """Where the table is: as the user says, else in the set's folder.

    Raises:
      UserError: there is none where the user says.

    >>> place(Path("set"), "").as_posix()
    'set/subjects.csv'
    """
    if not given:
        return source / FILE
    path = Path(given).expanduser()
    if not path.is_file():
        raise UserError("not found", where=f"--subjects-file {given}", remedy="correct the path")
    return path


def read(path: Path, images: Mapping[str, Path], problems: list[str]) -> dict[str, Row]:
    """Image name → its row; empty where there is no such file.

    Args:
      path: of the table.
      images: name without suffix → image file, of all images of the set.
      problems: receives a line for each name that is missing, unknown, doubled, or has no subject.

    Raises:
      UserError: the file is no table, lacks the columns name and subject, or has one whose name
        is nearly that of a column with a meaning.
    """
    if not path.exists():
        return {}
    rows = _rows(path, problems)
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


def _rows(path: Path, problems: list[str]) -> list[Row]:
    lines = _lines(path, {"name", "subject"})
    for column in lines[0] if lines else ():
        meant = nearly(column)
        if meant:
            raise UserError(
                f"has a column {column!r}, which has no meaning",
                where=path,
                remedy=f"write {meant!r} if that is meant, or rename the column",
            )
    return [_row(cells, path, problems) for cells in lines]


def nearly(column: str) -> str:
    """The column with a meaning that a user may have meant; "" for none, or for the column itself.

    >>> [nearly(column) for column in ("Subject ID", "splits", "subject", "site", "subgroup")]
    ['subject', 'split', '', '', '']
    """
    if column in USED:
        return ""
    letters = re.sub(r"[^a-z]", "", column.lower())
    for name in USED:
        if letters in (name, f"{name}id", f"{name}s", f"{name}mm"):
            return name
    return next(iter(difflib.get_close_matches(letters, USED, 1, cutoff=0.85)), "")


def _lines(path: Path, needed: set[str]) -> list[dict[str, str]]:
    """The cells of each line, without spaces around them.

    Raises:
      UserError: the file is no table, or lacks a column that is needed.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            lines = list(reader)
            columns = {column.strip() for column in reader.fieldnames or ()}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            f"cannot be read ({error})", where=path, remedy="save it as UTF-8 text with commas"
        ) from error
    if not needed <= columns:
        has = ", ".join(sorted(columns)) or "none"
        raise UserError(
            f"needs the columns {' and '.join(sorted(needed))} (and may have group, split and "
            f"others); it has {has}",
            where=path,
        )
    # a line with too many cells has them under None
    return [
        {
            csv_text(column.strip()): csv_text((cell or "").strip())
            for column, cell in line.items()
            if column
        }
        for line in lines
    ]


def _row(cells: Mapping[str, str], path: Path, problems: list[str]) -> Row:
    name = unicodedata.normalize("NFC", stem_of(Path(cells["name"])))
    others = tuple((column, cell) for column, cell in cells.items() if column not in USED)
    try:
        spacing = spacing_of(cells.get("spacing", ""))
    except ValueError:
        spacing = ()
        problems.append(
            f"{path}: {name} has spacing {cells['spacing']!r}; write the mm of a pixel, such as "
            f"0.13, or height×width, such as 0.13x0.2"
        )
    split = cells.get("split", "")
    return Row(name, cells["subject"], cells.get("group", ""), split, others, spacing)


def spacing_of(cell: str) -> tuple[float, ...]:
    """Mm of a pixel's height and width; empty for an empty cell.

    Raises:
      ValueError: it is no positive number, or two.

    >>> spacing_of("0.5"), spacing_of("0.5x0.25"), spacing_of("")
    ((0.5, 0.5), (0.5, 0.25), ())
    """
    if not cell:
        return ()
    sides = [float(side) for side in re.split("[x×]", cell)]
    if len(sides) > 2 or not all(0 < side < float("inf") for side in sides):
        raise ValueError(cell)
    return (sides[0], sides[-1])


def columns_of(rows: Mapping[str, Row]) -> Columns:
    """What a table says of each subject beside its group and split; empty cells are left out.

    Where the images of a subject differ, all of its values are joined by a slash.

    >>> rows = {name: Row(name, "ann", others=(("site", site),)) for name, site in ("aA", "bB")}
    >>> columns_of(rows)
    {'ann': {'site': 'A/B'}}
    """
    values: dict[str, dict[str, set[str]]] = {}
    for row in rows.values():
        for column, cell in row.others:
            if cell:
                values.setdefault(row.subject, {}).setdefault(column, set()).add(cell)
    return {
        subject: {column: "/".join(sorted(cells)) for column, cells in columns.items()}
        for subject, columns in values.items()
    }


def write_columns(folder: Path, columns: Columns) -> None:
    """Write what is known of the subjects into the folder of a stored set; nothing where nothing
    is known.
    """
    if not columns:
        return
    names: dict[str, None] = {"subject": None}
    for values in columns.values():
        names |= dict.fromkeys(values)
    with (folder / FILE).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, csv_row(names), restval="", lineterminator="\n")
        writer.writeheader()
        for subject, values in sorted(columns.items()):
            writer.writerow(csv_mapping({"subject": subject, **values}))


def read_columns(folder: Path) -> Columns:
    """What is known of the subjects of a stored set; empty where its folder has no such file.

    Raises:
      UserError: the file cannot be read.
    """
    path = folder / FILE
    if not path.exists():
        return {}
    columns: Columns = {}
    for line in _lines(path, {"subject"}):
        subject = line.pop("subject", "")
        columns[subject] = {column: cell for column, cell in line.items() if cell}
    return columns


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
