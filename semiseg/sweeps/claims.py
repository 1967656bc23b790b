"""Who works on which trial, and what a finished trial's folder says: what workers and onlookers of
a sweep share.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from semiseg.files import Lock, read_json_if_whole, write_text
from semiseg.run_folder import SUMMARY_SHAPE, RunFolder

DEATHS = 2
"""Workers of one call that may die of a trial before the others leave it alone."""


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

    def begin(self, name: str, session: str) -> int:
        """Record that a worker of this call begins a trial that is ours.

        Returns:
          How many workers of the call began it before and never called :meth:`end`: they are dead.
        """
        file = self._begun(name)
        before = read_json_if_whole(file)
        deaths = int(before["times"]) if before.get("session") == session else 0
        write_text(file, json.dumps({"session": session, "times": deaths + 1}))
        return deaths

    def end(self, name: str) -> None:
        """Record that the worker has survived the trial."""
        self._begun(name).unlink(missing_ok=True)

    def _begun(self, name: str) -> Path:
        return self.folder / f"{name}.begun"

    def _lock(self, name: str) -> Lock:
        return self._locks.setdefault(name, Lock(self.folder / name))


def summary_of(folder: Path, test: bool = False) -> dict[str, Any]:
    """summary.json of a finished trial (with test scores, where those are wanted); empty for any
    other.
    """
    summary = read_json_if_whole(RunFolder(folder).summary, SUMMARY_SHAPE)
    split = "test" if test else "val"
    scores = summary.get("last")
    if isinstance(scores, dict) and isinstance(scores.get(split), dict):
        return summary
    return {}
