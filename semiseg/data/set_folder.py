"""Where the folder of a data set lies, and how a new one takes its place: whole or not at all.

An import builds a set in ``ROOT/.NAME.importing-HOST-PID-RANDOM`` and renames it to ``ROOT/NAME``.
A set that is replaced steps aside to ``ROOT/.NAME.replaced-RANDOM`` until the new one is in place.
:func:`recover` repairs what a killed import left behind. It touches folders of exactly these names.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import uuid
from pathlib import Path

from semiseg.errors import UserError
from semiseg.holding import holding
from semiseg.unfinished import is_alive

DESCRIPTION = "semiseg.json"
"""The file that makes a folder a data set."""
LEDGER = "ledger.jsonl"
"""The file that lists every reading of a set's test split."""

LONGEST = 255
"""Bytes that file systems take in the name of a folder."""
_NAME = r"[A-Za-z0-9][\w.-]*"
_RANDOM = r"[0-9a-f]{6}"
_REPLACED = re.compile(rf"\.(?P<name>{_NAME})\.replaced-{_RANDOM}")
_IMPORTING = re.compile(rf"\.{_NAME}\.importing-(?P<host>.+)-(?P<process>\d+)-{_RANDOM}")


def default_root() -> Path:
    """``SEMISEG_DATA``, or ``semiseg/data`` in the user's cache folder."""
    configured = os.environ.get("SEMISEG_DATA")
    if configured:
        return Path(configured).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return (Path(cache) / "semiseg" / "data").expanduser()


def root_folder(root: str | Path | None) -> Path:
    """``root`` without ``~``; :func:`default_root` where it is None or empty."""
    return Path(root).expanduser() if root else default_root()


def checked_name(name: str) -> str:
    """``name``, if a data set may have it.

    Raises:
      UserError: it may not: it would leave the root, hide the set, or be too long for a folder.

    >>> checked_name("acdc-2017.v2")
    'acdc-2017.v2'
    """
    if not re.fullmatch(_NAME, name):
        raise UserError(
            "must be letters, digits, '.', '_' and '-', and start with a letter or digit",
            where=f"data set name {name!r}",
        )
    if len(name.encode()) > LONGEST:
        raise UserError(
            f"has {len(name)} letters; the name of a folder has at most {LONGEST} bytes",
            where=f"data set name {name[:60]!r}…",
        )
    return name


def check_place(place: Path, overwrite: bool) -> None:
    """Refuse a place that is taken, and one whose replacement would delete what is no data set."""
    if not os.path.lexists(place):
        return
    if place.is_symlink():
        kind = "a link"
    elif not place.is_dir():
        kind = "a file"
    elif not (place / DESCRIPTION).is_file():
        kind = f"a folder without {DESCRIPTION}"
    elif overwrite:
        return
    else:
        raise UserError(
            "exists already",
            where=place,
            remedy="choose another --name, or replace it with --overwrite",
        )
    raise UserError(
        f"is {kind} and no data set, so it is not replaced",
        where=place,
        remedy="choose another --name or --root, or remove it first",
    )


def building_folder(root: Path, name: str) -> Path:
    """The hidden folder in which this process builds the set ``name``; it does not exist yet."""
    owner = f"{socket.gethostname()}-{os.getpid()}-{_random()}"
    return root / f".{name}.importing-{owner}"


def replace(built: Path, place: Path) -> None:
    """Rename ``built`` to ``place``; a set that stands there hands on its ledger.

    The old set steps aside first, so that a kill in between leaves one of the two for
    :func:`recover`.
    """
    aside = place.with_name(f".{place.name}.replaced-{_random()}")
    if place.exists():
        if (place / LEDGER).exists():
            shutil.copy2(place / LEDGER, built / LEDGER)
        place.rename(aside)
    built.rename(place)
    shutil.rmtree(aside, ignore_errors=True)


def remove(place: Path) -> None:
    """Delete the folder of a set. What a kill leaves of it is deleted by :func:`recover`.

    Raises:
      OSError: it cannot be deleted.
    """
    aside = building_folder(place.parent, place.name)
    place.rename(aside)
    shutil.rmtree(aside)


def recover(root: Path) -> None:
    """Put back sets whose replacement was killed half-way; remove what dead imports left."""
    for path in root.glob(".*"):
        if path.is_symlink() or not path.is_dir():
            continue
        replaced = _REPLACED.fullmatch(path.name)
        if replaced and (path / DESCRIPTION).is_file():
            place = root / replaced["name"]
            with contextlib.suppress(UserError), holding(place, "semiseg data import"):
                _put_back(path, place)
        importing = _IMPORTING.fullmatch(path.name)
        if importing and importing["host"] == socket.gethostname():
            _remove_dead(path, int(importing["process"]))


def _put_back(aside: Path, place: Path) -> None:
    if place.exists():
        shutil.rmtree(aside, ignore_errors=True)
    else:
        aside.rename(place)


def _remove_dead(building: Path, process: int) -> None:
    if not is_alive(process):
        shutil.rmtree(building, ignore_errors=True)


def _random() -> str:
    return uuid.uuid4().hex[:6]
