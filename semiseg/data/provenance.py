"""Provenance: which images and whose labels went into something that was learnt from data.

It travels in the header of weights and generators (key ``provenance``), in the folder of generated
pairs (``origin.json``) and in an imported set (``provenance.json``). It names data sets by
fingerprint, annotated subjects by name, and images by the hash of their pixels: a data set that is
imported again under another name is still recognised.

What has no provenance (another program's weights or images) is named in ``unknown``.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from semiseg import __version__, shapes
from semiseg.data import fold_splits, resemblance
from semiseg.data.fingerprints import hashes_of
from semiseg.data.info import StoreInfo
from semiseg.errors import UserError
from semiseg.files import read_json, write_text
from semiseg.shapes import TEXT, Each, Leaf

KEY = "provenance"
"""In the header of a weights file."""
FILE = "provenance.json"
"""In the folder of an imported set."""
ORIGIN = "origin.json"
"""In the folder of generated pairs."""
PREDICTED = ".origin.json"
"""In a folder of predicted masks; hidden, since what else lies there are masks."""
VERSION = 1
REMEDY = "generate the set again"


def _no_hashes() -> np.ndarray:
    return np.zeros(0, np.uint64)


@dataclasses.dataclass(frozen=True, eq=False)
class Seen:
    """What was seen of one data set.

    Attributes:
      name, fingerprint: of the data set.
      subjects: annotated subjects whose labels were used.
      labelled: sorted uint64 hashes of the images whose labels were used.
      images: sorted uint64 hashes of all images that were seen, those without labels included.
      resembled: sorted uint64 hashes of validation and test images of other sets that look like
        them, see :mod:`semiseg.data.resemblance`.
    """

    name: str
    fingerprint: str
    subjects: frozenset[str] = frozenset()
    labelled: np.ndarray = dataclasses.field(default_factory=_no_hashes)
    images: np.ndarray = dataclasses.field(default_factory=_no_hashes)
    resembled: np.ndarray = dataclasses.field(default_factory=_no_hashes)

    def joined(self, other: Seen) -> Seen:
        """What either of two saw of one data set."""
        return dataclasses.replace(
            self,
            subjects=self.subjects | other.subjects,
            labelled=np.union1d(self.labelled, other.labelled),
            images=np.union1d(self.images, other.images),
            resembled=np.union1d(self.resembled, other.resembled),
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON; what it resembles is named where there is something."""
        record = {
            "name": self.name,
            "fingerprint": self.fingerprint,
            "subjects": sorted(self.subjects),
            "labelled": _encoded(self.labelled),
            "images": _encoded(self.images),
        }
        if len(self.resembled):
            record["resembled"] = _encoded(self.resembled)
        return record


@dataclasses.dataclass(frozen=True, eq=False)
class Provenance:
    """What was seen of all data sets.

    Attributes:
      seen: a part for each data set.
      unknown: what nobody recorded the origin of, in words.
    """

    seen: tuple[Seen, ...] = ()
    unknown: tuple[str, ...] = ()

    @property
    def labelled(self) -> np.ndarray:
        """Sorted uint64 hashes of all images whose labels were used."""
        return _union(part.labelled for part in self.seen)

    @property
    def images(self) -> np.ndarray:
        """Sorted uint64 hashes of all images that were seen."""
        return _union(part.images for part in self.seen)

    def labelled_alone(self) -> Provenance:
        """The same without the images that were seen without their labels."""
        parts = [dataclasses.replace(part, images=part.labelled) for part in self.seen]
        return Provenance(tuple(parts), self.unknown)

    def subjects_of(self, fingerprint: str) -> frozenset[str]:
        """Annotated subjects of the data set with this fingerprint whose labels were used."""
        parts = [part.subjects for part in self.seen if part.fingerprint == fingerprint]
        return frozenset().union(*parts)

    def to_dict(self) -> dict[str, Any]:
        """As JSON; hashes are base64 of big-endian 64-bit numbers."""
        return {
            "version": VERSION,
            "semiseg": __version__,
            "seen": [part.to_dict() for part in self.seen],
            "unknown": list(self.unknown),
        }


def from_dict(record: Mapping[str, Any], where: str | Path = "") -> Provenance:
    """Provenance from its JSON.

    Args:
      record: what :meth:`Provenance.to_dict` made.
      where: the file that holds it, for a message.

    Raises:
      UserError: a part of it is missing or damaged.

    >>> part = Seen("mine", "ab12", frozenset({"p1"}), np.array([5], np.uint64))
    >>> again = from_dict(Provenance((part,)).to_dict())
    >>> again.labelled, again.subjects_of("ab12")
    (array([5], dtype=uint64), frozenset({'p1'}))
    """
    words = shapes.problem(record, SHAPE)
    if words:
        raise _damaged(words, where)
    try:
        parts = [
            Seen(
                part["name"],
                part["fingerprint"],
                frozenset(part["subjects"]),
                _decoded(part["labelled"]),
                _decoded(part["images"]),
                _decoded(part.get("resembled", "")),
            )
            for part in record["seen"]
        ]
        return Provenance(tuple(parts), tuple(record["unknown"]))
    except KeyError as error:
        raise _damaged(f"{error.args[0]} is missing", where) from None


def _damaged(words: str, where: str | Path) -> UserError:
    return UserError(
        f"its provenance is damaged ({words})",
        where=where or None,
        remedy="restore the file, or make it again",
    )


def merged(*provenances: Provenance) -> Provenance:
    """What any of them saw.

    >>> one = Provenance((Seen("mine", "ab12", frozenset({"p1"})),))
    >>> other = Provenance((Seen("copy", "ab12", frozenset({"p2"})),), ("weights x",))
    >>> both = merged(one, other)
    >>> sorted(both.subjects_of("ab12")), both.unknown
    (['p1', 'p2'], ('weights x',))
    """
    parts: dict[str, Seen] = {}
    unknown: dict[str, None] = {}
    for provenance in provenances:
        unknown |= dict.fromkeys(provenance.unknown)
        for part in provenance.seen:
            known = parts.get(part.fingerprint)
            parts[part.fingerprint] = part if known is None else known.joined(part)
    return Provenance(tuple(parts.values()), tuple(unknown))


def unknown(what: str) -> Provenance:
    """Of something that nobody recorded the origin of."""
    return Provenance(unknown=(what,))


def of_training(
    info: StoreInfo,
    subjects: Iterable[str],
    *,
    unlabelled: bool = True,
    held_out: frozenset[str] | None = None,
) -> Provenance:
    """Of what was learnt from a data set's training split.

    Args:
      info: of the data set.
      subjects: whose labels were used.
      unlabelled: whether all training images were seen, or those of ``subjects`` alone.
      held_out: subjects of the fold that is held out; None without folds.
    """
    members = frozenset(subjects)
    part = Seen(info.name, info.fingerprint, members)
    table = fold_splits.dealt(hashes_of(info), held_out)
    if table is not None:
        of_subjects = np.isin(table.subjects, sorted(members)) & table.of("train")
        labelled = np.unique(table.hashes[of_subjects & table.labelled])
        images = labelled
        if unlabelled:
            images = np.unique(table.hashes[table.of("train")])
        alike = resemblance.held_out_like(info, images)
        part = dataclasses.replace(part, labelled=labelled, images=images, resembled=alike)
    return Provenance((part,))


def of_header(header: Mapping[str, Any], what: str) -> Provenance:
    """Of weights, from what their file says of itself.

    A file of an earlier version names its data set and its annotated subjects, without hashes.

    >>> of_header({}, "weights x").unknown
    ('weights x',)
    """
    if KEY in header:
        return from_dict(header[KEY], what)
    record = header.get("config") or header.get("settings") or {}
    if "fingerprint" not in header or "data" not in record:
        return unknown(what)
    subjects = frozenset(header.get("subjects", ()))
    return Provenance((Seen(record["data"], header["fingerprint"], subjects),), (what,))


# ------------------------------------------------------------------ files
def write(path: Path, provenance: Provenance) -> None:
    """Write it as a JSON file."""
    write_text(path, json.dumps(provenance.to_dict(), indent=1) + "\n")


def add_to(folder: Path, origin: Provenance) -> None:
    """Write into a folder of masks what the networks that made them have seen, on top of what it
    says of earlier masks: of images as hashes, without a subject's name, so that the folder may be
    handed on.
    """
    nameless = [dataclasses.replace(part, subjects=frozenset()) for part in origin.seen]
    lost = [part.name for part in origin.seen if part.subjects and not part.labelled.size]
    places = [_without_folders(words) for words in origin.unknown]
    lines = [f"labels of {name} without hashes" for name in lost]
    origin = Provenance(tuple(nameless), (*places, *lines))
    file = folder / PREDICTED
    if file.is_file():
        origin = merged(from_dict(read_json(file, REMEDY), file), origin)
    elif any(path.is_file() and not path.name.startswith(".") for path in folder.rglob("*")):
        origin = merged(unknown("files that were there before"), origin)
    write(file, origin)


def _without_folders(words: str) -> str:
    """What nobody recorded the origin of, without the folders that it lies in: they may name
    people.

    >>> _without_folders("weights /data/Smith/run/weights.safetensors")
    'weights weights.safetensors'
    """
    first, *rest = words.split("/")
    return " ".join([first.strip(), *rest[-1:]]).strip()


def of_pairs(folder: Path) -> Provenance | None:
    """Of a folder of generated pairs; None for any other folder.

    Raises:
      UserError: a file of it is damaged.
    """
    if (folder / ORIGIN).is_file():
        return from_dict(read_json(folder / ORIGIN, REMEDY), folder / ORIGIN)
    record = folder / "generator.json"  # of a set that an earlier version wrote
    if record.is_file() and (folder / "provenance.csv").is_file():
        return of_header(read_json(record, REMEDY), f"generated set {folder.name}")
    return None


def of_set(info: StoreInfo) -> Provenance | None:
    """Of an imported set; None for one whose images nobody generated here."""
    path = info.folder / FILE
    if not path.is_file():
        return None
    return from_dict(read_json(path, f"import {info.name} again with --overwrite"), path)


# ------------------------------------------------------------------ hashes
def _union(parts: Iterable[np.ndarray]) -> np.ndarray:
    return np.unique(np.concatenate([_no_hashes(), *parts]))


def _encoded(hashes: np.ndarray) -> str:
    return base64.b64encode(hashes.astype(">u8").tobytes()).decode()


def _are_hashes(value: Any) -> bool:
    """Whether a value is the text of :func:`_encoded`.

    >>> _are_hashes(_encoded(np.array([5], np.uint64))), _are_hashes("AA=="), _are_hashes(5)
    (True, False, False)
    """
    try:
        return isinstance(value, str) and len(base64.b64decode(value, validate=True)) % 8 == 0
    except (binascii.Error, ValueError):
        return False


HASHES = Leaf("64-bit numbers in base64", _are_hashes)
SHAPE = {
    "seen": Each(
        {
            **dict.fromkeys(("name", "fingerprint"), TEXT),
            "subjects": Each(TEXT),
            **dict.fromkeys(("labelled", "images", "resembled"), HASHES),
        }
    ),
    "unknown": Each(TEXT),
}
"""What the JSON holds, see :mod:`semiseg.shapes`."""


def _decoded(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), ">u8").astype(np.uint64)
