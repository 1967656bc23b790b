"""Training images in the frame, as files beside the stores: for sets that are larger than the
memory they are trained from.

    ROOT/.pools/NAME-HASH/index.json, tables.npz, voxels.npy, labels.npy

The hash is over the set's fingerprint and the frame. One scan at a time is in memory while they are
written, once; training maps them and reads a scan when it is its turn.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from semiseg import ragged
from semiseg.data import expected, flat
from semiseg.data.cases_on_disk import CasesOnDisk
from semiseg.data.flat import Flat
from semiseg.data.frame import Frame
from semiseg.data.info import StoreInfo
from semiseg.data.set_folder import root_folder
from semiseg.errors import writing
from semiseg.files import Lock, read_json, write_text
from semiseg.types import IGNORE, Case

FOLDER = ".pools"
VERSION = 1
NOTHING = np.zeros((0, 0, 1), np.uint8)
"""Stands for the pixels of a case that nobody keeps in memory."""
UNKNOWN = np.zeros((0, 0), np.uint8)
"""Stands for its label, where it has one."""
FIELDS = ("subject", "name", "volume", "group", "orientation")


class Prepared(NamedTuple):
    """What :class:`semiseg.data.training_split.Training` is made of, without pixels in memory.

    Attributes:
      frame: with nothing left open.
      cases: N images, without their pixels.
      scan: ``(N,)`` int32, number of the scan that each is of.
      flat: pool images and labels, mapped from the disk.
      annotated: ``(N,)`` bool.
      expected: what prediction warns of, see :mod:`semiseg.data.expected`.
    """

    frame: Frame
    cases: tuple[Case, ...]
    scan: np.ndarray
    flat: Flat
    annotated: np.ndarray
    expected: dict[str, Any]


class Joined(CasesOnDisk):
    """Scans of several splits, each read from the disk when it is asked for."""

    def __init__(self, parts: Sequence[Sequence[Case]], chosen: Sequence[int] | None = None):
        self._parts = parts
        self._where = [(p, i) for p, part in enumerate(parts) for i in range(len(part))]
        if chosen is not None:
            self._where = [self._where[i] for i in chosen]

    def __len__(self) -> int:
        return len(self._where)

    def read(self, i: int) -> Case:
        """Scan ``i`` of all parts."""
        part, number = self._where[i]
        return self._parts[part][number]


def prepared(known: StoreInfo, scans: Sequence[Case], frame: Frame, which: str) -> Prepared:
    """Pool images of ``scans``, read from their files or written to them first.

    Args:
      known: the set.
      scans: each is read from the disk when it is asked for.
      frame: which may leave things open.
      which: of the set's splits they are.
    """
    place = root_folder(known.root) / FOLDER / f"{known.name}-{_hash(known, frame, which)}"
    if not (place / "index.json").exists():  # one at a time: what is unfinished is deleted
        with Lock(place.parent / ".claims" / known.name):
            if not (place / "index.json").exists():
                _remove_others(place.parent, known)
                with writing(place):
                    _write(place, known, scans, frame)
    return _read(place)


def remove(name: str, root: str | Path | None) -> None:
    """Delete all files of a set."""
    for place in _places(root_folder(root) / FOLDER, name):
        shutil.rmtree(place, ignore_errors=True)


def _hash(known: StoreInfo, frame: Frame, which: str) -> str:
    what = [VERSION, known.fingerprint, which, dataclasses.asdict(frame)]
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:12]


def _places(folder: Path, name: str) -> list[Path]:
    places = folder.glob(f"{name}-*")
    return [place for place in places if len(place.name) == len(name) + 13]


def _remove_others(folder: Path, known: StoreInfo) -> None:
    """Delete what was made of the set before it was imported anew, or was left unfinished."""
    for place in _places(folder, known.name):
        index = place / "index.json"
        if not index.exists() or read_json(index)["fingerprint"] != known.fingerprint:
            shutil.rmtree(place, ignore_errors=True)


# ------------------------------------------------------------------ writing
def _write(place: Path, known: StoreInfo, scans: Sequence[Case], frame: Frame) -> None:
    place.mkdir(parents=True)
    frame = frame.resolved(scans, known.unit)
    facts = expected.of_scans(scans, known.unit)
    shapes = [frame.shape(scan) for scan in scans]
    layout = ragged.layout([int(np.prod(shape)) for shape in shapes])
    size = (layout.pages, layout.size)
    mapped = np.lib.format.open_memmap
    dtype = np.dtype(frame.stored)
    voxels = mapped(place / "voxels.npy", "w+", dtype, (*size, known.channels))
    labels = mapped(place / "labels.npy", "w+", np.uint8, size)
    statistics: list[flat.Statistics] = []
    records: list[dict[str, Any]] = []
    images: list[list[Any]] = []
    for q, scan in enumerate(scans):
        made = frame.to_pool(scan)
        pixels = int(np.prod(shapes[q]))
        first = int(layout.offset[q])
        where = (int(layout.page[q]), slice(first, first + pixels))
        voxels[where] = made.levels.reshape(pixels, -1)
        labels[where] = IGNORE
        if scan.label is not None:
            labels[where] = frame.label_to_pool(scan.label, scan.spacing).reshape(-1)
        statistics.append((made.mean, made.deviation))
        fields = {name: getattr(scan, name) for name in FIELDS}
        records.append({**fields, "spacing": list(scan.spacing)})
        for case in frame.scans([scan], f"data set {known.name!r}"):
            images.append([q, case.name, case.index, case.label is not None])
    voxels.flush()
    labels.flush()
    tables = flat.tables(layout, shapes, statistics, frame)._asdict()
    arrays = {name: array for name, array in tables.items() if array is not None}
    np.savez(place / "tables.npz", **arrays)
    index = {
        "fingerprint": known.fingerprint,
        "frame": dataclasses.asdict(frame),
        "expected": facts,
        "scans": records,
        "images": images,
    }
    write_text(place / "index.json", json.dumps(index))  # last: its presence says all is there


# ------------------------------------------------------------------ reading
def _read(place: Path) -> Prepared:
    index = read_json(place / "index.json", f"delete {place}")
    with np.load(place / "tables.npz", allow_pickle=False) as file:
        tables = {name: file.get(name) for name in flat.Tables._fields}
    voxels = np.load(place / "voxels.npy", mmap_mode="r", allow_pickle=False)
    labels = np.load(place / "labels.npy", mmap_mode="r", allow_pickle=False)
    cases: list[Case] = []
    for q, name, number, is_annotated in index["images"]:
        record = index["scans"][q]
        label = UNKNOWN if is_annotated else None
        fields = {**record, "name": name, "spacing": tuple(record["spacing"])}
        cases.append(Case(**fields, image=NOTHING, label=label, index=number))
    return Prepared(
        Frame(**index["frame"]),
        tuple(cases),
        np.array([image[0] for image in index["images"]], np.int32),
        Flat(voxels, labels, **tables),
        np.array([case.label is not None for case in cases]),
        index["expected"],
    )
