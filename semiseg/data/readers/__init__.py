"""Readers: one file a format, one line each in READERS. A reader turns a path into a
:class:`semiseg.data.source.Source`.
"""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any

from semiseg.data.source import Source, existing
from semiseg.errors import UserError

READERS = {
    "dsb2018": "semiseg.data.readers.dsb2018",
    "folder": "semiseg.data.readers.folder",
    "ssl4mis-acdc": "semiseg.data.readers.ssl4mis_acdc",
}
"""Format → module whose ``read(source, *, progress, **options)`` reads it; imported on use, since
each needs its own file library.
"""


def read(format: str, source: str | Path, progress: bool = True, **options: Any) -> Source:
    """Read the layout of ``source``. Options that are None are left to the reader's default.

    Raises UserError for an unknown format, a path that does not exist, or an option the format does
    not know.
    """
    if format not in READERS:
        raise UserError(f"--format {format}: unknown; there is {', '.join(sorted(READERS))}")
    reader = importlib.import_module(READERS[format]).read
    options = {key: value for key, value in options.items() if value is not None}
    unknown = set(options) - set(inspect.signature(reader).parameters)
    if unknown:
        raise UserError(
            f"--{sorted(unknown)[0]}: the format {format} has no such option; leave it out"
        )
    return reader(
        existing(Path(source).expanduser(), "give the data's path with --source"),
        progress=progress,
        **options,
    )
