"""Test images that are predicted outside of an evaluation: known by their hashes, written down."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from semiseg.data import ledger, store, test_images, wall
from semiseg.data.set_folder import default_root, root_folder
from semiseg.data.test_images import TestImages
from semiseg.errors import UserError


class Guard:
    """Writes a line when test images are predicted: one a test set, however many calls there are.

    Attributes:
      run: whose network predicts.
      data: the data set of the run, which may be older than the lists of test images.
      root: of the data set.
    """

    def __init__(self, run: str, data: str | None = None, root: str | None = None):
        self.run = run
        self.data = data
        self.root = root
        self._sets: list[TestImages] | None = None
        self._recorded: set[str] = set()

    def look(self, images: Sequence[np.ndarray], reason: str) -> list[str]:
        """Write what there is to write before ``images`` are predicted.

        Args:
          images: ``(H, W, C)`` each.
          reason: why, in words.

        Returns:
          A line for each test set that was not met before.

        Raises:
          UserError: a ledger cannot be written.
        """
        hashes = [name for image in images for name in test_images.image_hashes(image)]
        return self.look_at_hashes([hashes], reason)

    def look_at_hashes(self, scans: Sequence[Sequence[str]], reason: str) -> list[str]:
        """:meth:`look` at scans of which the hashes are known.

        Args:
          scans: the hashes of the images of each: one of a picture, one a slice of a volume.
          reason: why, in words.
        """
        if self._sets is None:
            self._sets = known_sets(self.data, self.root)
        messages: list[str] = []
        for images in self._sets:
            numbers = [len(images.among(hashes)) for hashes in scans]
            if not any(numbers) or images.fingerprint in self._recorded:
                continue
            self._recorded.add(images.fingerprint)
            wall.record_predictions(images, self.run, reason, sum(numbers))
            where = ", ".join(images.sets) or f"the test set {images.fingerprint[:8]}"
            messages.append(
                f"{_test_words(numbers)} of {where}: the prediction is written into its ledger"
            )
        return messages


def _test_words(numbers: Sequence[int]) -> str:
    """How many of the scans that a user gave are of a test set.

    Args:
      numbers: test images in each: 1 of a picture, of a volume its slices.

    >>> _test_words([19, 0, 19])
    '2 of 3 scans are test images (38 slices)'
    >>> _test_words([1, 0, 1])
    '2 of the images are test images'
    >>> _test_words([1]), _test_words([1, 0])
    ('the image is a test image', '1 of the images is a test image')
    """
    scans = sum(1 for number in numbers if number)
    if list(numbers) == [1]:
        return "the image is a test image"
    if max(numbers) == 1 and scans == 1:
        return "1 of the images is a test image"
    if max(numbers) == 1:
        return f"{scans} of the images are test images"
    if len(numbers) == 1:
        return f"the scan is of the test images ({sum(numbers)} slices)"
    verb = "is of the" if scans == 1 else "are"
    return f"{scans} of {len(numbers)} scans {verb} test images ({sum(numbers)} slices)"


def known_sets(data: str | None = None, root: str | None = None) -> list[TestImages]:
    """Every test set that is listed for this user or next to the stores.

    Args:
      data: a data set that may have been imported before test sets were listed.
      root: of it.
    """
    roots = dict.fromkeys((root_folder(root), default_root()))
    folders: dict[Path, None] = {}
    for folder in roots:
        folders |= dict.fromkeys(ledger.shared_folders(folder))
    sets = {images.fingerprint: images for images in test_images.registered(folders)}
    for name in dict.fromkeys((store.EMBEDDED, data or store.EMBEDDED)):
        images = stored_images(name, root)
        if images is not None:
            sets.setdefault(images.fingerprint, images)
    return list(sets.values())


def stored_images(name: str, root: str | Path | None) -> TestImages | None:
    """The test images of a set; None where there is no such set, no test split, or only ruins."""
    try:
        known = store.info(name, root)
        if not known.number("test"):
            return None
        return wall.images_of(known)
    except UserError:
        return None


class Recorded(Guard):
    """Of an evaluation, whose line is in the ledger before its images are read."""

    def look(self, images: Sequence[np.ndarray], reason: str) -> list[str]:
        """Nothing: it is written."""
        return []

    def look_at_hashes(self, scans: Sequence[Sequence[str]], reason: str) -> list[str]:
        """Nothing: it is written."""
        return []
