"""The size of a picture's pixels, from a table beside the pictures.

Pictures rarely state a size themselves. Ultrasound sets bring a table instead, such as HC18's
``training_set_pixel_size_and_HC.csv`` with the columns ``filename`` and ``pixel size(mm)``.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Container, Mapping, Sequence
from pathlib import Path

from semiseg.data.images import stem_of
from semiseg.data.orientation import SIDES
from semiseg.data.source import first_line
from semiseg.errors import UserError

NAMES = ("filename", "file name", "file", "image", "image name", "name")
"""Headings of the column that names the picture."""
MICRONS = re.compile(r"\(\s*(um|µm|μm|micron|microns)\s*\)")
_SIZE = re.compile(r"(pixel[ _-]?(size|spacing)|spacing|mm[ _-]?per[ _-]?pixel)")
_ROWS = re.compile(r"(\by\b|row|height|vertical)")
_COLUMNS = re.compile(r"(\bx\b|col|width|horizontal)")


def read(path: Path, images: Container[str]) -> dict[str, tuple[float, float]]:
    """Name of a picture → mm of its rows and columns.

    Args:
      path: of the table.
      images: names of the pictures, without suffix; rows of others are stepped over.

    Raises:
      UserError: it is no such table, or a size is no positive number.
    """
    columns, lines = _table(path)
    name_column, size_columns = _columns(columns, path)
    sizes: dict[str, tuple[float, float]] = {}
    for number, line in enumerate(lines, 2):
        name = stem_of(Path((line.get(name_column) or "").strip()))
        if name not in images:
            continue
        sides = [_size(line.get(column) or "", column, path, number) for column in size_columns]
        sizes[name] = (sides[0], sides[-1])
    return sizes


def find(folder: Path) -> Path | None:
    """The one table of a folder that has both columns; None where there is none, or several."""
    tables: list[Path] = []
    for path in sorted(folder.glob("*.csv")):
        if path.name.startswith("subjects."):  # its column spacing has a rule of its own
            continue
        try:
            columns, _ = _table(path)
            _columns(columns, path)
        except UserError:
            continue
        tables.append(path)
    if len(tables) == 1:
        return tables[0]
    return None


def missing(
    path: Path, sizes: Mapping[str, tuple[float, float]], images: Sequence[str]
) -> list[str]:
    """A problem for each picture of which the table says nothing."""
    return [
        f"{path}: has no row for {name}; add one, or take the picture out of the set"
        for name in images
        if name not in sizes
    ]


def _table(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            lines = list(reader)
            return list(reader.fieldnames or ()), lines
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            f"cannot be read ({first_line(error)})",
            where=path,
            remedy="save it as UTF-8 text with commas",
        ) from error


def _columns(columns: Sequence[str], path: Path) -> tuple[str, tuple[str, ...]]:
    """The column of names, and that of sizes: one, or one for rows and one for columns.

    >>> _columns(["filename", "pixel size(mm)", "head circumference (mm)"], Path("a.csv"))
    ('filename', ('pixel size(mm)',))
    >>> _columns(["file", "Pixel spacing x", "Pixel spacing y"], Path("a.csv"))[1]
    ('Pixel spacing y', 'Pixel spacing x')
    """
    names = [column for column in columns if column.strip().lower() in NAMES]
    sizes = [column for column in columns if _SIZE.search(column.lower())]
    rows = [column for column in sizes if _ROWS.search(column.lower())]
    across = [column for column in sizes if _COLUMNS.search(column.lower())]
    pair = len(sizes) == 2 and len(rows) == len(across) == 1 and rows != across
    if not names or not (len(sizes) == 1 or pair):
        has = ", ".join(columns) or "none"
        raise UserError(
            f"needs a column filename and a column pixel size(mm), or one for x and one for y; it "
            f"has {has}",
            where=path,
            remedy="rename its columns",
        )
    if pair:
        return names[0], (rows[0], across[0])
    return names[0], (sizes[0],)


def _size(cell: str, column: str, path: Path, number: int) -> float:
    """A cell in mm."""
    try:
        size = float(cell)
    except ValueError:
        size = math.nan
    if MICRONS.search(column):
        size /= 1000
    if not SIDES[0] <= size <= SIDES[1]:
        raise UserError(
            f"line {number} has {cell!r} under {column}",
            where=path,
            remedy="write the size of a pixel in mm, such as 0.07",
        )
    return size
