"""Which images are the test set: their hashes, where these are kept, and the test set's name.

A test set is its images, whatever the data set, its name and its folder are called. So a copy, a
second import and an import with other splits are recognised.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from semiseg.data import ledger
from semiseg.data.ledger import DIGITS
from semiseg.errors import UserError
from semiseg.files import read_json_if_whole, write_text

if TYPE_CHECKING:
    from semiseg.data.fingerprints import Hashes

FILE = "test_images.json"
"""The file in a set's folder that lists the hashes of its test images."""
FILE_LEVELS = (255, 65535)
"""Largest grey levels of picture files."""
OPEN_SPLITS = ("train", "val")
"""Splits that anybody may read."""


# ------------------------------------------------------------------ hashes
def image_hash(image: np.ndarray) -> str:
    """The hash of an image's pixels ``(H, W, C)`` or ``(H, W)``, whatever numbers hold them.

    It is "" for an image of one value: slices without anything in them are alike in all scans.

    >>> image = np.array([[1, 2], [3, 4]], np.uint8)
    >>> image_hash(image) == image_hash(image[..., None].astype(np.float32))
    True
    >>> image_hash(np.zeros((2, 2), np.uint8))
    ''
    """
    from semiseg.data.fingerprints import pixel_hash  # with JAX, for which no list of sets waits

    pixels = image.reshape(*image.shape[:2], -1)
    if pixels.dtype == np.bool_:
        pixels = pixels.astype(np.uint8)
    elif pixels.dtype != np.uint8:
        pixels = pixels.astype(np.float32)  # as an import stores them
    return _text(pixel_hash(pixels))


def image_hashes(image: np.ndarray) -> list[str]:
    """The hashes by which an image may be known: that of its pixels and, for grey levels that a
    reader divided by 255 or 65535 (as ``matplotlib.image.imread`` does), those of the levels in the
    file.

    >>> levels = np.array([[1, 2], [3, 255]], np.uint8)
    >>> image_hash(levels) in image_hashes(levels / 255), len(image_hashes(levels))
    (True, 1)
    """
    hashes = [image_hash(image)]
    if image.size and image.dtype.kind == "f" and image.min() >= 0 and image.max() <= 1:
        for largest in FILE_LEVELS:
            levels = np.round(image.astype(np.float64) * largest)
            if np.allclose(levels / largest, image, rtol=0, atol=0.01 / largest):
                hashes.append(image_hash(levels))
    return hashes


def _text(number: int) -> str:
    """A hash as text, "" for an image of one value."""
    if not number:
        return ""
    return f"{number:016x}"


@dataclasses.dataclass(frozen=True)
class TestImages:
    """The images of a test set.

    Attributes:
      subjects: hash of an image → subject; images of one value are left out.
      n: number of images, those included.
      sets: folders of the data sets in which they are test.
    """

    __test__ = False  # pytest takes classes of this name for tests

    subjects: dict[str, str]
    n: int
    sets: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the hashes in their order: the name of the test set."""
        words = [str(self.n), *sorted(self.subjects)]
        return ledger.digest("\n".join(words))

    def among(self, hashes: Iterable[str]) -> list[str]:
        """Those of ``hashes`` that are test images."""
        return [image for image in hashes if image in self.subjects]


def collected(cases: Iterable[tuple[str, np.ndarray]], sets: Sequence[str] = ()) -> TestImages:
    """The test images among pairs of a subject and an image; a volume is an image a slice.

    >>> images = [("p1", np.array([[1, 2]])), ("p2", np.array([[0, 0]]))]
    >>> collected(images).n, list(collected(images).subjects.values())
    (2, ['p1'])
    """
    subjects: dict[str, str] = {}
    n = 0
    for subject, image in cases:
        for plane in _planes(image):
            n += 1
            subjects[image_hash(plane)] = subject
    subjects.pop("", None)
    return TestImages(subjects, n, tuple(sets))


def _planes(image: np.ndarray) -> Iterable[np.ndarray]:
    """The slices of a volume ``(D, H, W, C)``, or the picture itself."""
    if image.ndim == 4:
        return image
    return [image]


def of_split(table: Hashes, split: str) -> TestImages:
    """The images of a split of an import, from their fingerprints."""
    rows = table.of(split)
    pairs = zip(table.subjects[rows].tolist(), table.hashes[rows].tolist(), strict=True)
    subjects = {_text(number): str(subject) for subject, number in pairs}
    subjects.pop("", None)
    return TestImages(subjects, int(rows.sum()))


# ------------------------------------------------------------------ files
def read(path: Path, records: dict[str, str] | None = None) -> TestImages | None:
    """What :func:`write` wrote; None where there is none, or where it is of other ``records``."""
    content = read_json_if_whole(path)
    images = from_dict(content)
    if images is None or (records is not None and content.get("records") != records):
        return None
    return images


def write(path: Path, images: TestImages, records: dict[str, str] | None = None) -> None:
    """Write test images; ``records`` are the hashes of the record files that hold them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(to_dict(images, records), indent=0))


def to_dict(images: TestImages, records: dict[str, str] | None = None) -> dict[str, Any]:
    """Test images as JSON."""
    return {
        "fingerprint": images.fingerprint,
        "n": images.n,
        "sets": list(images.sets),
        "records": records,
        "subjects": images.subjects,
    }


def from_dict(content: Mapping[str, Any]) -> TestImages | None:
    """What :func:`to_dict` made; None where it is damaged."""
    try:
        images = TestImages(dict(content["subjects"]), int(content["n"]), tuple(content["sets"]))
        whole = content["fingerprint"] == images.fingerprint
    except (KeyError, TypeError, ValueError):
        return None
    return images if whole else None


def register(folders: Iterable[Path], images: TestImages) -> None:
    """List a test set in the folders of shared ledgers, so that its images are known there.

    A folder of another user is left out: the ledger itself says so when test is read.

    Raises:
      OSError: a folder cannot be written, although this user may.
    """
    for folder in folders:
        path = folder / f"{images.fingerprint[:DIGITS]}.json"
        known = read(path)
        sets = tuple(dict.fromkeys((*(known.sets if known else ()), *images.sets)))
        if (known is None or known.sets != sets) and may_be_written(path):
            write(path, dataclasses.replace(images, sets=sets))


def may_be_written(path: Path) -> bool:
    """Whether this user may write a file that need not exist."""
    place = path
    while not place.exists():
        place = place.parent
    return os.access(place, os.W_OK) and (place == path or place.is_dir())


def registered(folders: Iterable[Path]) -> list[TestImages]:
    """Every test set that is listed in the folders of shared ledgers, each once."""
    sets: dict[str, TestImages] = {}
    for folder in folders:
        for path in sorted(folder.glob("*.json")):
            images = read(path)
            if images is not None:
                earlier = sets.get(images.fingerprint, images)
                both = tuple(dict.fromkeys((*earlier.sets, *images.sets)))
                sets[images.fingerprint] = dataclasses.replace(images, sets=both)
    return list(sets.values())


# ------------------------------------------------------------------ permission
class Token:
    """Permission to read the test records in one place, once.

    :func:`semiseg.data.store.read_test` makes it when the line in the ledger is on the disk.
    """

    def __init__(self, place: Path):
        self.place = place
        self.spent = False

    def spend(self, place: Path) -> bool:
        """Whether it opens the test records in ``place``; it does so once."""
        opens = place == self.place and not self.spent
        self.spent = True
        return opens


def check_split(split: str, place: Path, token: Token | None) -> None:
    """Refuse to read anything but train and val without a token.

    Raises:
      UserError: it is another split, and no fresh token for this place is given.

    >>> check_split("val", Path("own"), None)
    >>> check_split("test", Path("own"), None)  # doctest: +NORMALIZE_WHITESPACE
    Traceback (most recent call last):
    semiseg.errors.UserError: own: split 'test' cannot be read here; read_test of
      semiseg.data.store reads the test cases and writes the ledger
    """
    if split in OPEN_SPLITS:
        return
    if split == "test" and token is not None and token.spend(place):
        return
    raise UserError(
        f"split {split!r} cannot be read here",
        where=place,
        remedy="read_test of semiseg.data.store reads the test cases and writes the ledger",
    )
