"""Whether the names of image files say that several of them show one subject.

``p01_s03.png`` and ``p01_s04.png`` are probably two slices of patient p01. If each of them became a
subject of its own, p01 could train and be tested at once. So names of two levels are asked about.
Names of one level (``img1``, ``img2``: a word and a running number) tell nothing and pass;
:mod:`semiseg.data.near_duplicates` looks at their pixels.
"""

from __future__ import annotations

import csv
import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from semiseg.data.subjects_csv import FILE
from semiseg.escapes import csv_row, csv_text

PROPOSAL = "subjects.proposed.csv"
"""Ending of a table for the user to check, see :func:`question`."""
ASKS = "names of images share beginnings"
"""What :func:`question` says, whatever the names are."""
_SEPARATED = re.compile(r"[^\W_]+")
_WITHOUT_SEPARATOR = re.compile(r"([A-Za-z]+)(\d+)[A-Za-z]+\d+")
_EXAMPLES = 3
_TABLES = 99
"""Sets whose folders have one name, each with its own table."""


def subjects_of(names: Sequence[str]) -> dict[str, str]:
    """Name of an image → the subject that the names suggest; empty if they suggest none.

    A name is split at everything that is neither a letter nor a digit. The subject is the shortest
    beginning that differs between images, if two or more images share it. Names without separators
    count as two levels only if every one of them is letters, digits, letters, digits
    (``p01s03``): hexadecimal names must not look like patients.

    >>> subjects_of(["p01_s03", "p01_s04", "p02_s01"])
    {'p01_s03': 'p01', 'p01_s04': 'p01', 'p02_s01': 'p02'}
    >>> subjects_of(["study_p1_left", "study_p1_right", "study_p2_left"])["study_p1_left"]
    'study_p1'
    >>> subjects_of(["p01s03", "p01s04", "p02s01"])["p02s01"]
    'p02'
    >>> subjects_of(["img1", "img2", "img3"]), subjects_of(["img_1", "img_2"])
    ({}, {})
    """
    whole = [_WITHOUT_SEPARATOR.fullmatch(name) for name in names]
    if all(whole):
        beginnings = {name: _letters_and_digits(name) for name in names}
        return _if_shared(beginnings)
    ends = {name: [match.end() for match in _SEPARATED.finditer(name)] for name in names}
    deepest = max((len(places) for places in ends.values()), default=0)
    for level in range(deepest - 1):
        beginnings = {}
        for name, places in ends.items():
            beginnings[name] = name
            if level < len(places):
                beginnings[name] = name[: places[level]]
        if len(set(beginnings.values())) > 1:
            return _if_shared(beginnings)
    return {}


def _letters_and_digits(name: str) -> str:
    match = _WITHOUT_SEPARATOR.fullmatch(name)
    assert match is not None
    return match[1] + match[2]


def _if_shared(beginnings: Mapping[str, str]) -> dict[str, str]:
    """``beginnings``, if there are several of them and two images share one."""
    number = len(set(beginnings.values()))
    if 1 < number < len(beginnings):
        return dict(beginnings)
    return {}


def question(source: Path, subjects: Mapping[str, str], folder: Path | None = None) -> str:
    """The problem in one line: which names are shared, and the remedies. A table for the user to
    check is written into the working folder: the source is the user's, and is only read.

    Args:
      source: the set's folder.
      subjects: of :func:`subjects_of`.
      folder: for the table instead of the working folder.

    >>> names = {"p1_a": "p1", "p1_b": "p1", "p2_a": "p2"}
    >>> question(Path("mine"), names, Path("absent")).split(",")[0]
    'mine: names of images share beginnings (p1: 2 images)'
    """
    counts = Counter(subjects.values())
    shared = [f"{name}: {n} images" for name, n in counts.most_common(_EXAMPLES) if n > 1]
    more = sum(n > 1 for n in counts.values()) - len(shared)
    if more:
        shared.append(f"{more} more")
    remedy = f"say who is in each image with {source / FILE} (columns name,subject)"
    table = _proposal(folder or Path.cwd(), source.resolve().name, subjects)
    if table is not None:
        flag = f"--subjects-file {shlex.quote(str(table))}"
        remedy = f"check {table}, written for you, and pass {flag}"
    return (
        f"{source}: {ASKS} ({', '.join(shared)}), so one subject may be in "
        f"train and in test; {remedy}, or {_pattern(subjects)}pass --subjects-are-images if every "
        f"image shows another subject"
    )


def _pattern(subjects: Mapping[str, str]) -> str:
    """The flag that says the same as the names suggest, where a pattern does; else "".

    >>> _pattern({"p1_a": "p1", "p1_b": "p1", "p2_a": "p2"})
    "--subject-pattern '^([^_]+)_' if that is right, or "
    """
    separators = {name[len(subject) : len(subject) + 1] for name, subject in subjects.items()}
    if len(separators) != 1 or separators == {""}:
        return ""
    separator = separators.pop()
    if any(subject != name.partition(separator)[0] for name, subject in subjects.items()):
        return ""
    mark = re.escape(separator)
    return f"--subject-pattern '^([^{mark}]+){mark}' if that is right, or "


def _proposal(folder: Path, name: str, subjects: Mapping[str, str]) -> Path | None:
    """The table of a set: that of an earlier import with the user's edits, else a new one; None
    where none can be written. A table of another set whose folder has the same name stays.
    """
    for number in range(1, _TABLES + 1):
        stem = name if number == 1 else f"{name}_{number}"
        path = folder / f"{stem}.{PROPOSAL}"
        if _names_in(path) == set(subjects):
            return path
        if not path.exists():
            return path if _write(path, subjects) else None
    return None


def _names_in(path: Path) -> set[str]:
    """The images that a table names; none where there is no table."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return {csv_text((row.get("name") or "").strip()) for row in csv.DictReader(file)}
    except (OSError, UnicodeDecodeError, csv.Error):
        return set()


def _write(path: Path, subjects: Mapping[str, str]) -> bool:
    """Write the table ``name,subject``; whether it could be written."""
    try:
        with path.open("x", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("name", "subject"))
            writer.writerows(map(csv_row, sorted(subjects.items())))
    except OSError:  # a read-only disk
        return False
    return True
