"""Which format a folder or file is of: every reader is asked what it recognises."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from semiseg.data.source import Reader, existing
from semiseg.errors import UserError

AUTO = "auto"
"""The value of ``--format`` that asks the readers."""


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
    results: list[Recognised] = []
    formats: list[str] = []
    for reader in readers:
        formats.append(reader.format)
        words = None
        if reader.recognises is not None:
            words = _asked(reader, path)
        if words:
            results.append(Recognised(reader.format, words))
    if len(results) == 1:
        return results[0]
    if results:
        listed = "; ".join(f"{result.format} ({result.words})" for result in results)
        raise UserError(
            f"may be of several formats: {listed}", where=path, remedy="say which with --format"
        )
    raise UserError(
        "is of no layout that is known: looked for images/ and labels/ with the same names, for "
        "dataset.json, sub-*/anat, features.json, DICOM files, folders of patients, and the lists "
        "of published code",
        where=path,
        remedy=f"lay the files out as one of these, or say --format ({', '.join(formats)})",
    )


def _asked(reader: Reader, path: Path) -> str | None:
    """What a reader recognises; a folder that may not be read holds nothing."""
    assert reader.recognises is not None
    try:
        return reader.recognises(path)
    except OSError:
        return None
