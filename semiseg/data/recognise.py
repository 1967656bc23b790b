"""Which format a folder or file is of: every reader is asked what it recognises."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from semiseg.data.source import Reader, existing
from semiseg.errors import UserError

AUTO = "auto"
"""The value of ``--format`` that asks the readers."""


MOST_FOLDERS = 20
"""Folders below a source that are looked at where it is of no format itself."""


class Recognised(NamedTuple):
    """A format, and what tells it, in words."""

    format: str
    words: str


def recognise(source: Path, readers: Iterable[Reader]) -> Recognised:
    """The one format that a folder or file is of.

    Raises:
      UserError: it is not there, or no reader or several readers recognise it.
    """
    path = existing(source.expanduser(), "give the data's path with --source")
    asked = list(readers)
    results = _results(path, asked)
    if len(results) == 1:
        return results[0]
    if results:
        listed = "; ".join(f"{result.format} ({result.words})" for result in results)
        raise UserError(
            f"may be of several formats: {listed}", where=path, remedy="say which with --format"
        )
    formats = ", ".join(reader.format for reader in asked)
    remedy = f"lay the files out as one of these, or say --format ({formats})"
    for folder in _around(path):
        near = _results(folder, asked)
        if len(near) == 1:
            remedy = f"did you mean --source {folder} ({near[0].words})?"
            break
    raise UserError(
        "is of no layout that is known: looked for images/ and labels/ with the same names, for "
        "dataset.json, sub-*/anat, features.json, DICOM files, folders of patients, and the lists "
        "of published code",
        where=path,
        remedy=remedy,
    )


def _around(path: Path) -> list[Path]:
    """The folders that may have been meant: the one above, and those below."""
    folders = [path.resolve().parent]
    if path.is_dir():
        below = [child for child in sorted(path.iterdir()) if child.is_dir()]
        folders += below[:MOST_FOLDERS]
    return folders


def _results(path: Path, readers: Iterable[Reader]) -> list[Recognised]:
    """What each reader recognises."""
    results: list[Recognised] = []
    for reader in readers:
        words = _asked(reader, path)
        if words:
            results.append(Recognised(reader.format, words))
    return results


def _asked(reader: Reader, path: Path) -> str | None:
    """What a reader recognises; a folder that may not be read holds nothing."""
    if reader.recognises is None:
        return None
    try:
        return reader.recognises(path)
    except OSError:
        return None
