"""Seals: hashes of what an import states of a data set, so that a later change is noticed.

``seal.json`` in the folder of a set has a hash of each field of ``semiseg.json`` and of each table
beside it. ``seals.jsonl``, a ledger beside the stores and one of the user, holds the seals of all
sets that were imported there: who changes a set and its seal changes neither of them.
A set that an earlier version imported has no seal. It works as before, and a check says so.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from semiseg import __version__, shapes
from semiseg.data import (
    embedded,
    fingerprints,
    ledger,
    provenance,
    resemblance,
    splits_csv,
    subjects_csv,
)
from semiseg.data.info import StoreInfo
from semiseg.data.set_folder import DESCRIPTION
from semiseg.data.test_images import may_be_written
from semiseg.errors import UserError
from semiseg.files import file_hash, read_json, write_text

FILE = "seal.json"
LEDGER = "seals.jsonl"
"""Ledger of seals, in each folder of shared ledgers."""
TABLES = (
    splits_csv.FILE,
    subjects_csv.FILE,
    fingerprints.FILE,
    provenance.FILE,
    resemblance.FILE,
)
"""Files beside the description that an import writes, as far as a set has them, and no command
changes. The list of test images is compared with the fingerprints.
"""
FIELDS = "fields"
FILES = "files"
SHAPE = {FIELDS: shapes.ByName(shapes.TEXT), FILES: shapes.ByName(shapes.TEXT)}
"""What a seal holds, see :mod:`semiseg.shapes`."""
RECORDS = "files"
"""The field of the description with the hashes of the records: it tells the data of two sets
apart.
"""
FINGERPRINT = "fingerprint"
Seal = dict[str, dict[str, str]]


# ------------------------------------------------------------------ making
def of_folder(folder: Path) -> Seal:
    """The seal of a set as it lies in a folder now.

    Raises:
      UserError: its description is damaged.
    """
    facts = read_json(folder / DESCRIPTION, remedy="import the set again with --overwrite")
    fields = {name: _hash(value) for name, value in facts.items()}
    tables = {name: file_hash(folder / name) for name in TABLES if (folder / name).is_file()}
    return {FIELDS: fields, FILES: tables}


def _hash(value: Any) -> str:
    """The hash of a value of JSON; lists and tuples are one.

    >>> _hash(["a", "b"]) == _hash(("a", "b")), _hash({"a": 1, "b": 2}) == _hash({"b": 2, "a": 1})
    (True, True)
    """
    return ledger.digest(json.dumps(value, sort_keys=True))


def write(folder: Path) -> None:
    """Seal a new set; its description and tables are written."""
    write_text(folder / FILE, json.dumps(of_folder(folder), indent=1))


def renew(known: StoreInfo, field: str) -> None:
    """Bring the seal of one field up to date, where the set is sealed; the others stay."""
    seal = _sealed(known.folder)
    if seal is None:
        return
    seal[FIELDS][field] = of_folder(known.folder)[FIELDS][field]
    write_text(known.folder / FILE, json.dumps(seal, indent=1))


def _sealed(folder: Path) -> Seal | None:
    """The seal in a set's folder; None where there is none.

    Raises:
      UserError: it is damaged.
    """
    path = folder / FILE
    if not path.exists():
        return None
    content = read_json(path, remedy="import the set again with --overwrite", shape=SHAPE)
    return {part: dict(content.get(part, {})) for part in (FIELDS, FILES)}


# ------------------------------------------------------------------ where seals are kept
def ledgers(root: Path) -> list[Path]:
    """The ledgers of seals: beside the stores in ``root``, and the user's."""
    return [folder / LEDGER for folder in ledger.shared_folders(root)]


def record(known: StoreInfo, reason: str) -> None:
    """Write the seal of a set into the ledgers that lack it; nothing for a set without one.

    Raises:
      UserError: a ledger cannot be written, although this user may.
    """
    seal = _sealed(known.folder)
    if seal is None:
        return
    place = str(known.folder.resolve())
    line = {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "reason": reason,
        "semiseg": __version__,
        "event": "import",
        "id": ledger.digest(json.dumps([place, seal], sort_keys=True))[:16],
        "set": place,
        "seal": seal,
    }
    paths = [
        path
        for path in ledgers(Path(known.root))
        if may_be_written(path) and not ledger.holds(path, line)
    ]
    ledger.append_or_refuse(paths, line, "a change of the set would not be noticed")


def _known_seals(known: StoreInfo) -> list[ledger.Entry]:
    """The lines with a seal that is whole, oldest first."""
    return [
        line for line in ledger.merged(ledgers(Path(known.root))) if _is_whole(line.get("seal"))
    ]


def _is_whole(seal: Any) -> bool:
    if not isinstance(seal, dict) or not {FIELDS, FILES} <= seal.keys():
        return False
    return not shapes.problem(seal, SHAPE)


def is_known(known: StoreInfo) -> bool:
    """Whether a ledger has the records of a set, by their hashes, with the fingerprint that it
    states.

    Raises:
      UserError: its description is damaged.
    """
    now = of_folder(known.folder)
    return any(_identity(line["seal"]) == _identity(now) for line in _known_seals(known))


def _identity(seal: Seal) -> tuple[str, str]:
    return _records(seal), seal[FIELDS].get(FINGERPRINT, "")


# ------------------------------------------------------------------ checking
def problems(known: StoreInfo, say: Callable[[str], None]) -> list[str]:
    """What was changed in a set since its import, one line each.

    Args:
      known: the set.
      say: receives a line where there is no seal to compare with.
    """
    if known.format == embedded.FORMAT:
        return []
    lines = _problems_of_ledgers(known)
    try:
        now = of_folder(known.folder)
        stored = _sealed(known.folder)
    except UserError as error:
        return [*lines, str(error)]
    same = [line for line in _known_seals(known) if _records(line["seal"]) == _records(now)]
    place = str(known.folder.resolve())
    here = [line for line in same if line.get("set") == place]
    if stored is None and not here:
        say(
            f"{known.name}: was imported before data sets were sealed, so changes of its "
            f"description are not noticed; import it again with --overwrite to seal it"
        )
        return lines
    if stored is None:
        lines.append(_line(known, FILE, "is missing"))
        stored = here[-1]["seal"]
    elif not here:
        _say_other_records(known, place, say)
    changed = _differences(known, now, stored, "")
    if not changed and here and now not in [line["seal"] for line in here]:
        latest = here[-1]
        changed = _differences(known, now, latest["seal"], f" on {latest.get('time', '')[:10]}")
    if not changed and not here:
        _say_differences(known, now, same, say)
    return lines + changed


def _say_other_records(known: StoreInfo, place: str, say: Callable[[str], None]) -> None:
    """Say where the set that an import put here had other records: this one may have been put in
    its place, or its records were changed.
    """
    imported = [line for line in _known_seals(known) if line.get("set") == place]
    for line in imported[-1:]:
        when = line.get("time", "")[:10]
        say(f"{known.name}: the records that were imported here on {when} were others")


def _say_differences(
    known: StoreInfo, now: Seal, same: Sequence[ledger.Entry], say: Callable[[str], None]
) -> None:
    """Say what a set states otherwise than the same data that were imported into another place:
    the set may have been received, or changed.
    """
    for line in same[-1:]:
        fields = _differing(now[FIELDS], line["seal"][FIELDS])
        if fields:
            say(f"{known.name}: {line.get('set')} has the same data and another {fields[0]}")


def _problems_of_ledgers(known: StoreInfo) -> list[str]:
    lines = ledger.problems(ledgers(Path(known.root)))
    return [f"{line}; restore it from a backup" for line in lines]


def _records(seal: Seal) -> str:
    return seal[FIELDS].get(RECORDS, "")


def _differences(known: StoreInfo, now: Seal, then: Seal, when: str) -> list[str]:
    """A line for each field and each table of which two seals have another hash."""
    lines: list[str] = []
    for field in _differing(now[FIELDS], then[FIELDS]):
        lines.append(_line(known, DESCRIPTION, f"{field} is not what was imported{when}"))
    for name in _differing(now[FILES], then[FILES]):
        lines.append(_line(known, name, f"is not what was imported{when}"))
    return lines


def _differing(now: Mapping[str, str], then: Mapping[str, str]) -> Sequence[str]:
    """The names of what has two hashes, or one of two.

    >>> _differing({"a": "5f", "b": "6a"}, {"a": "5f", "b": "7b", "c": "8c"})
    ['b', 'c']
    """
    names = dict.fromkeys((*now, *then))
    return [name for name in names if now.get(name) != then.get(name)]


def _line(known: StoreInfo, file: str, what: str) -> str:
    return (
        f"{known.folder / file}: {what}; restore the file from a backup, or import {known.name} "
        f"again with --overwrite"
    )
