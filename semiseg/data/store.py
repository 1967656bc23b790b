"""The store: imported data sets as TFDS array_record files, and the wall between training and test.

A set lies in ``ROOT/NAME``: ``records/1.0.0/`` (TFDS, written and read without TensorFlow),
``semiseg.json`` and ``card.md`` (what it is, for programs and for people) and ``ledger.jsonl``
(every reading of its test split). Training code reads with :func:`read_split`, which knows no test
split. :mod:`semiseg.data.importing` writes a set.

Listing sets must be instant: what needs JAX or TFDS is imported where it is used.
"""

from __future__ import annotations

import datetime
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semiseg import __version__
from semiseg.data import embedded
from semiseg.data.info import StoreInfo
from semiseg.data.set_folder import DESCRIPTION, LEDGER, checked_name, recover, root_folder
from semiseg.data.source import SPLITS
from semiseg.errors import UserError
from semiseg.files import file_hash

if TYPE_CHECKING:
    from semiseg.types import Case

LAYOUT = 1
"""Version of a set's folder; a set of another version is refused."""
EMBEDDED = "nuclei"
"""Name of the set that comes with the package."""


def list_sets(root: str | Path | None = None) -> list[StoreInfo]:
    """Every set under ``root``, the embedded one first."""
    folder = root_folder(root)
    places = [path.parent for path in folder.glob(f"*/{DESCRIPTION}")]
    names = sorted(place.name for place in places if not place.name.startswith("."))
    sets = [info(EMBEDDED, root)]
    for name in names:
        try:
            sets.append(info(name, root))
        except UserError:  # a damaged set must not hide the others; its own name still reports it
            continue
    return sets


def info(name: str, root: str | Path | None = None) -> StoreInfo:
    """What a set is.

    Raises:
      UserError: there is none of that name, or its ``semiseg.json`` is damaged.
    """
    folder = root_folder(root)
    if name == EMBEDDED:
        return embedded.info(str(folder))
    path = folder / checked_name(name) / DESCRIPTION
    if not path.exists():
        recover(folder)
    if not path.exists():
        names = ", ".join(listed.name for listed in list_sets(root))
        raise UserError(
            f"no data set {name!r} in {folder}; there is {names}",
            remedy="import it or give --root",
        )
    try:
        return _parse(path.read_text(encoding="utf-8"), name, folder)
    except (ValueError, TypeError, KeyError, AttributeError, OSError) as error:
        raise UserError(
            f"damaged ({error})", where=path, remedy="import the set again with --overwrite"
        ) from error


def _parse(text: str, name: str, folder: Path) -> StoreInfo:
    fields = json.loads(text)
    if fields.pop("layout") != LAYOUT:
        raise ValueError("written by another version of semiseg")
    for key in ("classes", "official_order"):
        fields[key] = tuple(fields[key])
    return StoreInfo(name=name, root=str(folder), **fields)


def read_split(name: str, split: str, root: str | Path | None = None) -> list[Case]:
    """The cases of ``train`` or ``val`` in stored order; :func:`read_test` reads the test split."""
    if split not in ("train", "val"):
        raise UserError(
            f"split {split!r} cannot be read here: training sees train and val",
            remedy="`semiseg evaluate RUN --split test` reads test",
        )
    return _read(info(name, root), split)


def read_test(name: str, root: str | Path | None = None, *, reason: str, run: str) -> list[Case]:
    """The test cases; the set's ledger gets a line before the first byte is read.

    Args:
      name, root: the set.
      reason: why, in words, e.g. ``semiseg evaluate``.
      run: the run folder that is tested.
    """
    known = info(name, root)
    if not known.number("test"):
        raise UserError(
            "has no test split",
            where=name,
            remedy="import it with test cases, or evaluate with --split val",
        )
    entry = {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "run": str(run),
        "reason": reason,
        "semiseg": __version__,
        "n": known.number("test"),
    }
    path = known.folder / LEDGER
    try:
        _append(path, json.dumps(entry))
    except OSError as error:
        raise UserError(
            f"cannot be written ({error.strerror}), so test is not read",
            where=path,
            remedy="make it writable",
        ) from error
    return _read(known, "test")


def _append(path: Path, line: str) -> None:
    """Add a line to a file; it is on the disk when this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
        file.flush()
        os.fsync(file.fileno())


def ledger(name: str, root: str | Path | None = None) -> list[dict[str, Any]]:
    """Every reading of a set's test split so far, oldest first."""
    path = info(name, root).folder / LEDGER
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _read(known: StoreInfo, split: str) -> list[Case]:
    if known.name == EMBEDDED:
        return embedded.read(split)
    from semiseg.data import array_records

    expected = known.number(split)
    if not expected:
        raise UserError(f"has no {split} split", where=known.name, remedy="import it with one")
    remedy = f"import {known.name} again with --overwrite"
    # before TFDS opens a file: what it reads can make it import modules
    damaged = damaged_files(known, split)
    if damaged:
        raise UserError("damaged or missing", where=damaged[0], remedy=remedy)
    try:
        cases = array_records.read(known.folder, split)
        if len(cases) != expected:
            raise ValueError(f"{len(cases)} records instead of {expected}")
    except (ValueError, RuntimeError, OSError, IndexError) as error:
        place = array_records.folder(known.folder)
        raise UserError("damaged or missing", where=place, remedy=remedy) from error
    return cases


def damaged_files(known: StoreInfo, split: str | None = None) -> list[Path]:
    """Record files that are missing or no longer what the import wrote.

    With ``split``, the files that hold the records of the other splits are not opened.
    """
    from semiseg.data import array_records

    folder = array_records.folder(known.folder)
    skipped: list[str] = []
    if split:
        skipped = [f"-{other}.array_record" for other in SPLITS if other != split]
    return [
        folder / name
        for name, digest in known.files.items()
        if not any(part in name for part in skipped) and not _has_hash(folder / name, digest)
    ]


def _has_hash(path: Path, digest: str) -> bool:
    try:
        return file_hash(path) == digest
    except OSError:  # missing, a folder, or not to be read
        return False
