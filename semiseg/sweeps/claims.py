"""Who works on which trial, and what a finished trial's folder says: what workers and onlookers of
a sweep share.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from semiseg.files import Lock, read_json_if_whole
from semiseg.run_folder import RunFolder


class Claims:
    """A lock a trial, in one folder of the sweep."""

    def __init__(self, out: Path):
        self.folder = out / ".claims"
        self._locks: dict[str, Lock] = {}

    def take(self, name: str, wait: bool = False) -> bool:
        """Whether the trial is ours now."""
        return self._lock(name).take(wait)

    def drop(self, name: str) -> None:
        """Let go of a trial."""
        self._lock(name).drop()

    def is_taken(self, name: str) -> bool:
        """Whether somebody is working on the trial."""
        return self._lock(name).is_taken()

    def _lock(self, name: str) -> Lock:
        return self._locks.setdefault(name, Lock(self.folder / name))


def summary_of(folder: Path, test: bool = False) -> dict[str, Any]:
    """summary.json of a finished trial (with test scores, where those are wanted); empty for any
    other.
    """
    summary = read_json_if_whole(RunFolder(folder).summary)
    split = "test" if test else "val"
    scores = summary.get("last")
    if isinstance(scores, dict) and isinstance(scores.get(split), dict):
        return summary
    return {}
