"""Who is in a BIDS data set: people, their sessions, and what ``participants.tsv`` says of them."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from semiseg.data import subjects_csv
from semiseg.data.info import numbered
from semiseg.data.scan_files import ScanFiles
from semiseg.data.source import first_line
from semiseg.data.splits import Placement
from semiseg.errors import UserError

PARTICIPANTS = "participants.tsv"
IN_PARTICIPANTS = Placement(f"stated in {PARTICIPANTS}")
ABSENT = ("", "n/a", "N/A", "nan")
_SESSION = re.compile(r"(?P<person>sub-.+?)(?:ses|session|visit|scan|timepoint|tp)\d+", re.I)
_EXAMPLES = 3


def people_of(
    folders: Iterable[str], folders_are_subjects: bool, notes: list[str], source: Path
) -> dict[str, str]:
    """Participant → person: those whose names differ in a session alone are one."""
    ids = list(dict.fromkeys(f"sub-{folder}" for folder in folders))
    people = {ident.removeprefix("sub-"): ident for ident in ids}
    if folders_are_subjects:
        return people
    joined: dict[str, list[str]] = {}
    for ident in ids:
        match = _SESSION.fullmatch(ident)
        if match:
            joined.setdefault(match["person"].rstrip("-_"), []).append(ident)
    for person, members in joined.items():
        for member in members:
            people[member.removeprefix("sub-")] = person
    several = {person: members for person, members in joined.items() if len(members) > 1}
    if several:
        examples = [" and ".join(members) for members in list(several.values())[:_EXAMPLES]]
        more = " …" * (len(several) > _EXAMPLES)
        notes.append(
            f"{source}: sessions of one person are one subject ({'; '.join(examples)}{more}); if "
            f"they are different people, pass --folders-are-subjects"
        )
    return people


def columns_of(source: Path, people: dict[str, str], notes: list[str]) -> subjects_csv.Columns:
    """What ``participants.tsv`` says of each person; empty where there is no such file.

    Raises:
      UserError: it is no such table.
    """
    path = source / PARTICIPANTS
    if not path.exists():
        return {}
    rows: dict[str, subjects_csv.Row] = {}
    absent: list[str] = []
    for cells in _lines(path):
        ident = cells.pop("participant_id")
        person = people.get(ident.removeprefix("sub-"))
        if person is None:
            absent.append(ident)
            continue
        others = tuple((key, cell) for key, cell in cells.items() if cell not in ABSENT)
        rows[ident] = subjects_csv.Row(ident, person, others=others)
    if absent:
        notes.append(
            f"{path}: left out {numbered(len(absent), 'participant')} without images "
            f"({absent[0]} …)"
        )
    nameless = [ident for ident in people if f"sub-{ident}" not in rows and ident not in rows]
    if nameless:
        notes.append(
            f"{path}: has no row for {numbered(len(nameless), 'participant')} "
            f"(sub-{nameless[0]} …), of whom nothing else is known"
        )
    return subjects_csv.columns_of(rows)


def _lines(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, delimiter="\t")
            lines = list(reader)
            columns = list(reader.fieldnames or ())
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            f"cannot be read ({first_line(error)})", where=path, remedy="save it as UTF-8 text"
        ) from error
    if "participant_id" not in columns:
        raise UserError(
            f"has no column participant_id, but {', '.join(columns)}",
            where=path,
            remedy="separate its columns by tabs and name the first one participant_id",
        )
    return [
        {column.strip(): (cell or "").strip() for column, cell in line.items() if column}
        for line in lines
    ]


def in_stated_splits(scans: Sequence[ScanFiles], columns: subjects_csv.Columns) -> list[ScanFiles]:
    """Scans in the splits of a column ``split`` of the table, which is taken out of it."""
    split_of = {subject: values.pop("split", "") for subject, values in columns.items()}
    return [
        scan._replace(split=split_of.get(scan.subject, ""), placement=IN_PARTICIPANTS)
        for scan in scans
    ]
