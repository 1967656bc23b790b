"""ACDC cardiac MRI as SSL4MIS and its successors distribute it: HDF5 slices for training, HDF5
volumes for validation and test.

``train_slices.list`` names ``data/slices/patientXXX_frameYY_slice_Z.h5``; ``val.list`` (and
``test.list``, where it exists) name ``data/patientXXX_frameYY.h5``. Volumes become one record a
slice, so that all records are ``(H, W, 1)``. The files name no voxel size: the spacing is (1, 1,
1), slice axis first, in voxels.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from pathlib import Path

import numpy as np

from semiseg.data.problems import split_problems
from semiseg.data.source import CaseRef, Pixels, Reader, Source, existing, progress_bar
from semiseg.errors import UserError

CLASSES = ("background", "right ventricle", "myocardium", "left ventricle")
CITATION = (
    "Bernard et al., Deep Learning Techniques for Automatic MRI Cardiac Multi-structures "
    "Segmentation, IEEE TMI 37(11), 2018"
)
LICENSE = "CC BY-NC-SA 4.0, non-commercial research"
SPACING = (1.0, 1.0, 1.0)
_NAME = re.compile(r"(?P<volume>(?P<subject>[^_]+)_frame\d+)(?:_slice_(?P<index>\d+))?")


def read(source: Path, *, progress: bool = True) -> Source:
    """The splits as published: training patients in the order of ``train_slices.list``.

    The prefixes of that order are the published label budgets: 1, 3, 7 and 14 patients are the
    first 32, 68, 136 and 256 slices.
    """
    problems: list[str] = []
    splits: dict[str, list[CaseRef]] = {"train": [], "val": []}
    if (source / "test.list").exists():
        splits["test"] = []
    for name in _names(source / "train_slices.list"):
        splits["train"] += _slice(source, name, problems)
    for split in ("val", "test"):
        if split in splits:
            names = _names(source / f"{split}.list")
            for name in progress_bar(names, f"read {split}.list", show=progress):
                splits[split] += _volume(source, name, problems)
    order = tuple(dict.fromkeys(ref.subject for ref in splits["train"]))
    problems += split_problems(splits)
    return Source(CLASSES, "voxel", LICENSE, CITATION, splits, order, tuple(problems))


def recognises(source: Path) -> str | None:
    """What tells the layout; None where nothing does."""
    if (source / "train_slices.list").is_file():
        return "train_slices.list: ACDC as SSL4MIS distributes it"
    return None


READER = Reader(
    "ssl4mis-acdc", "ACDC as SSL4MIS distributes it, HDF5 files and lists", read, recognises
)


def _names(path: Path) -> list[str]:
    """The names in a list file, without ``.h5``."""
    existing(path, "the SSL4MIS layout needs it beside the folder data")
    lines = path.read_text(encoding="utf-8").split()
    if not lines:
        raise UserError("is empty; it should name one file a line", where=path)
    return [line.removesuffix(".h5") for line in lines]


def _ref(path: Path, name: str, problems: list[str]) -> CaseRef | None:
    """A record of what the file name says; None, and a problem, where it is wrong or missing."""
    match = _NAME.fullmatch(name)
    if not match:
        problems.append(
            f"{path}: the name does not follow patientXXX_frameYY or patientXXX_frameYY_slice_Z; "
            f"correct the list"
        )
        return None
    if not path.exists():
        problems.append(
            f"{path}: not found, but the list names it; restore the file or take the line out"
        )
        return None
    return CaseRef(
        match["subject"],
        name,
        str(path),
        functools.partial(_read_slice, path),
        match["volume"],
        int(match["index"] or 0),
        label_path=str(path),
    )


def _slice(source: Path, name: str, problems: list[str]) -> list[CaseRef]:
    """The record of a training slice; none where there is a problem."""
    ref = _ref(source / "data" / "slices" / f"{name}.h5", name, problems)
    return [] if ref is None else [ref]


def _volume(source: Path, name: str, problems: list[str]) -> list[CaseRef]:
    """One record a slice of a volume; none where there is a problem."""
    path = source / "data" / f"{name}.h5"
    ref = _ref(path, name, problems)
    if ref is None:
        return []
    import h5py

    try:
        with h5py.File(path) as file:
            shape = file["image"].shape
            if "label" not in file:
                problems.append(f"{path}: has no dataset label; validation and test need one")
            elif file["label"].shape != shape:
                problems.append(
                    f"{path}: label has shape {file['label'].shape} but the image {shape}; save "
                    f"both at one size"
                )
    except Exception as error:  # h5py raises OSError, KeyError or RuntimeError on a damaged file
        problems.append(f"{path}: cannot be read ({str(error)[:80]}); replace the file")
        return []
    return [
        dataclasses.replace(
            ref,
            name=f"{name}_slice_{i + 1}",
            pixels=functools.partial(_read_plane, path, i),
            volume=name,
            index=i + 1,
        )
        for i in range(shape[0])
    ]


def _read_slice(path: Path) -> Pixels:
    import h5py

    with h5py.File(path) as file:
        label = file["label"][()] if "label" in file else None
        return _with_channel(file["image"][()], label)


def _read_plane(path: Path, i: int) -> Pixels:
    import h5py

    with h5py.File(path) as file:
        return _with_channel(file["image"][i], file["label"][i])


def _with_channel(image: np.ndarray, label: np.ndarray | None) -> Pixels:
    return Pixels(image[..., None], label, SPACING)
