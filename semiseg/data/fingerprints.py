"""What an import writes down of every image, so that copies are found later without its pixels:
``fingerprints.npz`` in the folder of a data set.

    split, subject, name, labelled    of each picture and each slice of a volume
    hash                              64 bits of a hash of its pixels
    description                       (16, 16) int8, see near_duplicates.py

The file is written while the records are. Training reads the hashes; the descriptions are read by
`semiseg data check` alone. A set that an earlier version imported has no such file.
"""

from __future__ import annotations

import functools
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from semiseg.data import near_duplicates
from semiseg.data.frame import planes
from semiseg.data.info import StoreInfo, numbered
from semiseg.data.size_limits import check_npz
from semiseg.errors import UserError

if TYPE_CHECKING:
    from semiseg.types import Case

FILE = "fingerprints.npz"
EMBEDDED = Path(__file__).parent / "nuclei" / FILE


class Hashes(NamedTuple):
    """A row for each picture and each slice of a data set.

    Attributes:
      splits, subjects, names: ``(N,)`` str.
      labelled: ``(N,)`` bool, whether it has a mask.
      hashes: ``(N,)`` uint64 of :func:`pixel_hash`; 0 for an image of one grey level.
    """

    splits: np.ndarray
    subjects: np.ndarray
    names: np.ndarray
    labelled: np.ndarray
    hashes: np.ndarray

    def of(self, *splits: str) -> np.ndarray:
        """``(N,)`` bool: which records are in one of these splits."""
        return np.isin(self.splits, splits)

    def known(self, hashes: np.ndarray) -> np.ndarray:
        """``(N,)`` bool: whose pixels are among ``hashes``; images of one grey level never are."""
        return np.isin(self.hashes, hashes) & (self.hashes != 0)


def pixel_hash(image: np.ndarray) -> int:
    """64 bits that two images share if their pixels are equal, 0 for an image of one grey level.

    Equal channels count as one, and numbers as float32 or, from 0 to 255, as uint8, so that a grey
    picture that was saved as RGB or in another type keeps its hash.

    >>> picture = np.arange(12, dtype=np.uint8).reshape(3, 4, 1)
    >>> pixel_hash(picture) == pixel_hash(picture.astype(np.float32).repeat(3, axis=2))
    True
    >>> pixel_hash(picture) == pixel_hash(picture.transpose(1, 0, 2))
    False
    >>> pixel_hash(np.full((3, 4, 1), 7, np.uint8))
    0
    """
    if image.size == 0 or (image == image.flat[0]).all():
        return 0
    if image.shape[-1] > 1 and (image == image[..., :1]).all():
        image = image[..., :1]
    if image.dtype != np.uint8:
        image = _numbers(image)
    digest = hashlib.blake2b(repr((image.shape, image.dtype.name)).encode(), digest_size=8)
    digest.update(np.ascontiguousarray(image).tobytes())
    return int.from_bytes(digest.digest(), "big")


def _numbers(image: np.ndarray) -> np.ndarray:
    """``image`` as uint8 where it holds whole numbers from 0 to 255, else as float32."""
    if image.min() >= 0 and image.max() <= 255:
        small = image.astype(np.uint8)
        if (small == image).all():
            return small
    return image.astype(np.float32)


class Collector:
    """Gathers fingerprints of cases, one by one."""

    def __init__(self) -> None:
        self._rows: list[tuple[str, str, str, bool, int]] = []
        self._paths: list[str] = []
        self._descriptions: list[np.ndarray] = []

    def add(self, split: str, case: Case, path: str = "") -> None:
        """Add a picture, or the slices of a volume; ``path`` is what a message calls it."""
        for plane in planes(case):
            labelled = plane.label is not None
            row = (split, plane.subject, plane.name, labelled, pixel_hash(plane.image))
            self._rows.append(row)
            self._paths.append(path or f"{split}/{plane.name}")
            self._descriptions.append(near_duplicates.description(plane.image))

    @property
    def hashes(self) -> Hashes:
        """The table so far."""
        if not self._rows:
            empty = np.zeros(0, str)
            return Hashes(empty, empty, empty, np.zeros(0, bool), np.zeros(0, np.uint64))
        splits, subjects, names, labelled, hashes = zip(*self._rows, strict=True)
        return Hashes(
            np.array(splits),
            np.array(subjects),
            np.array(names),
            np.array(labelled),
            np.array(hashes, np.uint64),
        )

    @property
    def descriptions(self) -> np.ndarray:
        """``(N, 16, 16)`` int8."""
        cells = near_duplicates.CELLS
        return np.array(self._descriptions, np.int8).reshape(-1, cells, cells)

    def write(self, path: Path) -> None:
        """Write the table to an .npz file."""
        table = self.hashes
        np.savez_compressed(
            path,
            split=table.splits,
            subject=table.subjects,
            name=table.names,
            labelled=table.labelled,
            hash=table.hashes,
            description=self.descriptions,
        )

    def copies(self) -> list[str]:
        """One line for each pair of subjects on two sides of a split that share an image."""
        return copies(self.hashes, self._paths)

    def look_alikes(self) -> list[str]:
        """One line for each pair of subjects on two sides of a split that look alike."""
        return look_alikes(self.hashes, self.descriptions, self._paths)

    def twins(self) -> list[str]:
        """One line for each pair of subjects of one split that share an image."""
        return twins(self.hashes)


# ------------------------------------------------------------------ of a set on disk
def hashes_of(info: StoreInfo) -> Hashes | None:
    """The hashes of a set's images; None for a set without them."""
    return _hashes(_path(info), info.fingerprint)


@functools.lru_cache(8)
def _hashes(path: Path, fingerprint: str) -> Hashes | None:
    if not path.exists():
        return None
    found = arrays(path)
    return Hashes(*(found[key] for key in ("split", "subject", "name", "labelled", "hash")))


_KINDS = {"split": "U", "subject": "U", "name": "U", "labelled": "b", "hash": "u"}
"""Array of the file → kind of its values; ``description`` is int8."""


def arrays(path: Path, keys: Iterable[str] = (*_KINDS, "description")) -> dict[str, np.ndarray]:
    """Arrays of the file.

    Raises:
      UserError: one is missing, damaged, or not of the others' length.
    """
    cells = near_duplicates.CELLS
    try:
        check_npz(path)
        with np.load(path, allow_pickle=False) as file:
            found = {key: file[key] for key in keys}
        rows = len(found["split"])
        whole = True
        for key, array in found.items():
            if key == "description":
                whole &= array.shape == (rows, cells, cells) and array.dtype == np.int8
            else:
                whole &= array.shape == (rows,) and array.dtype.kind == _KINDS[key]
    except UserError:
        raise
    except Exception:  # zipfile, zlib and numpy each have their own
        whole = False
    if not whole:
        raise UserError(
            "damaged", where=path, remedy="import the set again with --overwrite"
        ) from None
    return found


def descriptions_of(info: StoreInfo) -> np.ndarray | None:
    """``(N, 16, 16)`` int8 of a set's images; None for a set without them."""
    path = _path(info)
    if not path.exists():
        return None
    return arrays(path)["description"]


def _path(info: StoreInfo) -> Path:
    if info.format == "embedded":
        return EMBEDDED
    return info.folder / FILE


# ------------------------------------------------------------------ problems
MOST_TWINS = 3
"""Pairs of subjects with an image in common that are named."""


def copies(table: Hashes, paths: Sequence[str]) -> list[str]:
    """One line for each pair of subjects in two splits of which an image is the same."""
    lines: dict[tuple[str, str], str] = {}
    for i, j in _equal(table):
        if table.splits[i] != table.splits[j]:
            pair = (str(table.subjects[i]), str(table.subjects[j]))
            lines.setdefault(
                pair,
                f"{paths[i]}: is the same image as one in {table.splits[j]} ({paths[j]}); remove "
                f"one, or give both one subject",
            )
    return list(lines.values())


def twins(table: Hashes) -> list[str]:
    """A line for pairs of subjects in one split of which an image is the same, of many pairs for
    the first :data:`MOST_TWINS`.
    """
    counts: dict[tuple[str, str, str], int] = defaultdict(int)
    for i, j in _equal(table):
        if table.splits[i] == table.splits[j] and table.subjects[i] != table.subjects[j]:
            first, second = sorted((str(table.subjects[i]), str(table.subjects[j])))
            counts[str(table.splits[i]), first, second] += 1
    lines: list[str] = []
    for (split, first, second), number in list(counts.items())[:MOST_TWINS]:
        images = "an identical image" if number == 1 else f"{number} identical images"
        lines.append(
            f"subjects {first} and {second} ({split}) share {images}, so one person may count "
            f"twice in a label budget"
        )
    if len(counts) > MOST_TWINS:
        more = len(counts) - MOST_TWINS
        verb = "shares" if more == 1 else "share"
        lines.append(f"{numbered(more, 'more pair')} of subjects {verb} identical images")
    return lines


def _equal(table: Hashes) -> Iterator[tuple[int, int]]:
    """Pairs of records of equal pixels: each record with the first of its kind in every split."""
    firsts: dict[int, dict[str, int]] = defaultdict(dict)
    for i, value in enumerate(table.hashes.tolist()):
        if not value:
            continue
        for j in firsts[value].values():
            yield j, i
        firsts[value].setdefault(str(table.splits[i]), i)


def look_alikes(table: Hashes, descriptions: np.ndarray, paths: Sequence[str]) -> list[str]:
    """One line for each pair of subjects in two splits of which an image looks alike and is not the
    same.
    """
    lines: dict[tuple[str, str], str] = {}
    for first_split, second_split in (("val", "train"), ("test", "train"), ("test", "val")):
        first = np.flatnonzero(table.of(first_split))
        second = np.flatnonzero(table.of(second_split))
        for pair in near_duplicates.pairs(descriptions[first], descriptions[second]):
            i = int(first[pair.first])
            j = int(second[pair.second])
            if table.hashes[i] == table.hashes[j]:
                continue
            lines.setdefault(
                (str(table.subjects[i]), str(table.subjects[j])),
                f"{paths[i]}: looks like one in {second_split} ({paths[j]}), correlation "
                f"{pair.correlation:.2f}; give both one subject or group, remove one, or pass "
                f"--allow-near-duplicates if they are of two subjects",
            )
    return list(lines.values())
