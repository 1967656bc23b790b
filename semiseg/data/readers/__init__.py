"""Readers: one file a format, one line each in READERS.

A reader turns a path into a :class:`semiseg.data.source.Source`; see there for how to write one.
Importing a reader is cheap: it imports its file library where it opens a file.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from semiseg import plugins
from semiseg.data import size_limits, subjects_csv
from semiseg.data.readers import (
    bids,
    dicom,
    dsb2018,
    folder,
    msd,
    nnunet,
    patients,
    ssl4mis_acdc,
    ssl4mis_brats,
    ssl4mis_la,
    synapse,
    tfds_set,
)
from semiseg.data.source import Option, Reader, Source, existing
from semiseg.errors import UserError

READERS: dict[str, Reader] = {
    reader.format: reader
    for reader in (
        folder.READER,
        nnunet.READER,
        msd.READER,
        bids.READER,
        patients.READER,
        dsb2018.READER,
        ssl4mis_acdc.READER,
        ssl4mis_la.READER,
        ssl4mis_brats.READER,
        synapse.READER,
        tfds_set.READER,
        dicom.READER,
    )
}
"""Format → its reader."""
plugins.offer("reader", READERS)
TABLE_OPTION = "subjects_file"
"""The option of the formats that read a subjects.csv."""


def read(format: str, source: str | Path, progress: bool = True, **options: Any) -> Source:
    """Read the layout of ``source``.

    Args:
      format: a key of READERS.
      source: folder or file.
      progress: show a progress bar.
      **options: of the format, or of all formats; those that are None are left to its default.

    Raises:
      UserError: for an unknown format, a path that does not exist, an option that the format does
        not have, or a link that leads out of the folder.
    """
    if format not in READERS:
        raise UserError(
            f"unknown; there is {', '.join(sorted(READERS))}", where=f"--format {format}"
        )
    reader = READERS[format]
    options = {key: value for key, value in options.items() if value is not None}
    follow_links = options.pop(size_limits.FOLLOW, False)
    unknown = sorted(options.keys() - reader.options().keys())
    if unknown:
        raise UserError(
            f"the format {format} has no such option",
            where=f"--{unknown[0]}",
            remedy="leave it out",
        )
    path = existing(Path(source).expanduser(), "give the data's path with --source")
    if not follow_links:
        size_limits.check_tree(path)
    result = reader.read(path, progress=progress, **options)
    table = path / subjects_csv.FILE
    if not table.is_file() or TABLE_OPTION in reader.options():
        return result
    note = f"{table}: is not read in the format {format}, whose own files say who is in an image"
    return dataclasses.replace(result, notes=(*result.notes, note))


def formats() -> str:
    """Every format with its layout, as one line of help."""
    return "; ".join(f"{reader.format}: {reader.layout}" for reader in READERS.values())


def all_options() -> dict[str, Option]:
    """The options of all formats; each help text names the formats that have the option."""
    formats_of: dict[str, dict[str, list[str]]] = {}
    kinds: dict[str, type] = {}
    for reader in READERS.values():
        for name, option in reader.options().items():
            kinds[name] = option.kind
            formats_of.setdefault(name, {}).setdefault(option.help, []).append(reader.format)
    options: dict[str, Option] = {}
    for name, texts in formats_of.items():
        parts = [f"{text} ({', '.join(formats)})" for text, formats in texts.items()]
        options[name] = Option(kinds[name], "; ".join(parts))
    links = "read what links that lead out of the source point to; else they are refused (all)"
    options[size_limits.FOLLOW] = Option(bool, links)
    return options
