"""Who works on which trial, and what a trial's folder says: the two things that workers and
onlookers share.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import IO, Any


class Claims:
    """A lock file a trial, held with flock: a worker that is killed lets go of it by dying."""

    def __init__(self, out: Path):
        self.folder = out / ".claims"
        self._held: dict[str, IO[str]] = {}

    def take(self, name: str, wait: bool = False) -> bool:
        """Whether the claim is ours now."""
        import fcntl

        self.folder.mkdir(parents=True, exist_ok=True)
        file = (self.folder / name).open("a")
        for pause in (
            0.01,
            0.02,
            0.0,
        ):  # somebody may be looking (:meth:`taken`), which takes microseconds
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except OSError:
                time.sleep(pause)
                continue
            self._held[name] = file
            return True
        file.close()
        return False

    def drop(self, name: str) -> None:
        self._held.pop(name).close()

    def taken(self, name: str) -> bool:
        """Whether somebody is working on it."""
        if not (self.folder / name).exists():
            return False
        if name in self._held:
            return True
        import fcntl

        with (
            (self.folder / name).open() as file
        ):  # a shared lock: onlookers do not see each other, and may look at what they cannot write
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return True
        return False


def summary_of(folder: Path, test: bool = False) -> dict[str, Any]:
    """summary.json of a finished trial (with test scores, where those are wanted); empty for any
    other.
    """
    found = json_of(folder / "summary.json")
    last = found.get("last")
    return (
        found
        if isinstance(last, dict) and isinstance(last.get("test" if test else "val"), dict)
        else {}
    )


def json_of(file: Path) -> dict[str, Any]:
    """A JSON mapping; empty where there is none or it is damaged."""
    try:
        found = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
