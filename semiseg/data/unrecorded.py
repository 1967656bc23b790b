"""An import whose set is in its place and whose lines in the ledgers are not: what a kill between
the two leaves is finished by whoever reads the set next.
"""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import NamedTuple

from semiseg.data import ledger, test_images
from semiseg.data.test_images import TestImages
from semiseg.files import read_json_if_whole, write_text

FILE = "unrecorded.json"
"""Beside the description of a set, until the ledgers have their lines."""


class Unrecorded(NamedTuple):
    """What the ledgers are to be told.

    Attributes:
      before: the test images of the set that was replaced.
      reason: the command, in words.
      id: of the import; its lines are named after it, so that none is written twice.
    """

    before: TestImages | None
    reason: str
    id: str

    def line_id(self, images: TestImages) -> str:
        """The name of the line about a test set."""
        words = json.dumps([self.id, images.fingerprint])
        return ledger.digest(words)[:16]


def announce(folder: Path, before: TestImages | None, reason: str) -> None:
    """Write beside a new set, before it takes its place, what the ledgers are to be told then."""
    content = {
        "reason": reason,
        "id": uuid.uuid4().hex[:16],
        "before": None if before is None else test_images.to_dict(before),
    }
    write_text(folder / FILE, json.dumps(content))


def read(folder: Path) -> Unrecorded | None:
    """What the ledgers have not been told of the set in a folder; None where they have."""
    if not (folder / FILE).exists():
        return None
    content = read_json_if_whole(folder / FILE)
    before = test_images.from_dict(content.get("before") or {})
    return Unrecorded(before, str(content.get("reason", "")), str(content.get("id", "")))


def done(folder: Path) -> None:
    """The ledgers have their lines."""
    (folder / FILE).unlink(missing_ok=True)
