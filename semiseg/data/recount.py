"""What a stored set says of itself, counted again: from its cases of train and val, and for test
from what the import wrote down of its images. The fingerprint of records that no ledger of seals
knows is computed from all cases.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from semiseg.data import embedded, seal, splits_csv, test_images, wall
from semiseg.data.fingerprints import Hashes
from semiseg.data.info import StoreInfo
from semiseg.data.problems import value_counts
from semiseg.data.set_digest import SetDigest
from semiseg.data.set_folder import DESCRIPTION
from semiseg.errors import UserError
from semiseg.files import read_json_if_whole
from semiseg.types import Case

DIGITS = 12
"""Of a fingerprint in a message."""
RESTORE = "restore the file from a backup, or import the set again with --overwrite"


class Recount:
    """Counts the cases of train and val, one by one, in stored order.

    Args:
      known: what the set says of itself.
    """

    def __init__(self, known: StoreInfo):
        self.known = known
        self.counts: dict[str, dict[str, int]] = {}
        self._dtypes: set[str] = set()
        self._shown = np.zeros(256, bool)
        self._members: dict[tuple[str, str], set[str]] = {}
        # SHA-256 of all pixels takes a fifth of a check: where a ledger has the hashes of these
        # records beside the fingerprint, it is not made again
        self._digest: SetDigest | None = None
        if known.format != embedded.FORMAT and not seal.is_known(known):
            self._digest = SetDigest()

    def add(self, split: str, case: Case) -> None:
        """Count one case: a picture or a volume."""
        numbers = self.counts.setdefault(split, {"records": 0, "images": 0})
        numbers["records"] += 1
        numbers["images"] += 1 if case.image.ndim == 3 else len(case.image)
        self._member(split, "volumes", case.volume)
        self._member(split, "subjects", case.subject)
        self._dtypes.add(case.image.dtype.name)
        if self._digest is not None:
            self._digest.add(split, case)
        if case.label is not None:
            self._member(split, "annotated", case.subject)
            self._shown |= value_counts(case.label) > 0

    def _member(self, split: str, what: str, name: str) -> None:
        self._members.setdefault((split, what), set()).add(name)

    # ------------------------------------------------------------------ what does not agree
    def problems(self, table: Hashes | None) -> list[str]:
        """Counts, the type of the images, lists of subjects and a fingerprint that are not those of
        the data.

        Args:
          table: what the import wrote down of every image; None for a set without it.
        """
        lines = [*self._wrong_types(), *self._wrong_fingerprint()]
        for split in self.counts:
            lines += self._wrong_counts(split, self._numbers(split))
        if table is not None and table.of("test").any():
            lines += self._wrong_counts("test", _numbers_of_table(table, "test"))
        path = self.known.folder / DESCRIPTION
        problems = [f"{path}: {line}; {RESTORE}" for line in lines]
        if table is not None:
            problems += _problems_of_splits(self.known, table)
            problems += _problems_of_test_images(self.known, table)
        return problems

    def _wrong_types(self) -> list[str]:
        stated = self.known.dtype
        others = sorted(self._dtypes - {stated})
        if stated == "mixed" or not others:
            return []
        return [f"dtype is {stated}, and images are {', '.join(others)}"]

    def _wrong_fingerprint(self) -> list[str]:
        """A line where images, labels or spacings are not those that were imported. Records that
        were changed with their hashes and the seal still have another fingerprint.
        """
        if self._digest is None:
            return []
        if self.known.number("test"):
            wall.add_to_fingerprint(self.known, self._digest)
        stated = self.known.fingerprint
        computed = self._digest.fingerprint
        if stated == computed:
            return []
        return [f"fingerprint is {stated[:DIGITS]}, and that of the images is {computed[:DIGITS]}"]

    def notes(self) -> list[str]:
        """A line for classes that nobody sees; they may be in test."""
        absent = [name for value, name in enumerate(self.known.classes) if not self._shown[value]]
        if not absent or not self._shown.any():
            return []
        return [f"no annotation of train and val shows {', '.join(absent)}"]

    def _numbers(self, split: str) -> dict[str, int]:
        numbers = dict(self.counts[split])
        for what in ("volumes", "subjects", "annotated"):
            members = self._members.get((split, what), set())
            numbers[what] = len(members)
        return numbers

    def _wrong_counts(self, split: str, numbers: Mapping[str, int]) -> list[str]:
        stated = self.known.counts.get(split, {})
        lines: list[str] = []
        for what, number in numbers.items():
            if what in stated and stated[what] != number:
                lines.append(f"counts.{split}.{what} is {stated[what]}, and there are {number}")
        return lines


def _numbers_of_table(table: Hashes, split: str) -> dict[str, int]:
    rows = table.of(split)
    subjects = table.subjects[rows]
    annotated = subjects[table.labelled[rows]]
    return {
        "images": len(subjects),
        "subjects": len(np.unique(subjects)),
        "annotated": len(np.unique(annotated)),
    }


def _problems_of_splits(known: StoreInfo, table: Hashes) -> list[str]:
    """Subjects that ``splits.csv`` puts into another split than the import did."""
    path = known.folder / splits_csv.FILE
    if not path.exists():
        return []
    try:
        rows = splits_csv.read(known.folder)
    except UserError as error:
        return [str(error)]
    placed = splits_csv.of_hashes(table)
    for subject in dict.fromkeys((*placed, *rows)):
        stated = rows.get(subject)
        imported = placed.get(subject)
        if stated is None or imported is None or stated[:2] != imported[:2]:
            return [f"{path}: does not say of {subject} what the records do; {RESTORE}"]
    return []


def _problems_of_test_images(known: StoreInfo, table: Hashes) -> list[str]:
    """A list of test images that is not of the images that the import put into test."""
    path: Path = known.folder / test_images.FILE
    if not path.exists():
        return []
    records = {name: known.files[name] for name in known.files if name.startswith("records-test.")}
    expected = test_images.to_dict(test_images.of_split(table, "test"), records)
    stated = read_json_if_whole(path)
    if any(stated.get(key) != expected[key] for key in expected if key != "sets"):
        return [f"{path}: does not list the test images; delete it, and it is written anew"]
    return []
