"""ACDC cardiac MRI as SSL4MIS and its successors distribute it: HDF5 slices for training, HDF5
volumes for validation and test.

``train_slices.list`` names ``data/slices/patientXXX_frameYY_slice_Z.h5``; ``val.list`` (and
``test.list``, where it exists) name ``data/patientXXX_frameYY.h5``. Volumes become one record a
slice, so that all records are ``(H, W, 1)``. The files name no voxel size: the spacing is (1, 1,
1), slice axis first, in voxels.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path

import numpy as np

from semiseg.data.source import CaseRef, Source, existing, progress_bar, split_problems
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
    """The splits as published: training patients in the order of ``train_slices.list``, whose
    prefixes are the published budgets.

    One, 3, 7 and 14 patients are the first 32, 68, 136 and 256 slices.
    """
    problems: list[str] = []
    train = [_slice(source, name, problems) for name in _names(source / "train_slices.list")]
    splits = {"train": [ref for ref in train if ref]}
    for split in ("val", "test"):
        if split == "val" or (source / "test.list").exists():
            names = progress_bar(
                _names(source / f"{split}.list"), f"read {split}.list", show=progress
            )
            splits[split] = [ref for name in names for ref in _volume(source, name, problems)]
    order = tuple(dict.fromkeys(ref.subject for ref in splits["train"]))
    return Source(
        CLASSES, "voxel", LICENSE, CITATION, splits, order, (*problems, *split_problems(splits))
    )


def _names(path: Path) -> list[str]:
    lines = (
        existing(path, "the SSL4MIS layout needs it beside the folder data")
        .read_text(encoding="utf-8")
        .split()
    )
    if not lines:
        raise UserError(f"{path}: is empty; it should name one file a line")
    return [line.removesuffix(".h5") for line in lines]


def _parts(path: Path, name: str, problems: list[str]) -> re.Match[str] | None:
    match = _NAME.fullmatch(name)
    if not match:
        problems.append(
            f"{path}: the name does not follow patientXXX_frameYY or patientXXX_frameYY_slice_Z; "
            f"correct the list"
        )
    elif not path.exists():
        problems.append(
            f"{path}: not found, but the list names it; restore the file or take the line out"
        )
    else:
        return match
    return None


def _slice(source: Path, name: str, problems: list[str]) -> CaseRef | None:
    path = source / "data" / "slices" / f"{name}.h5"
    match = _parts(path, name, problems)
    if match is None:
        return None
    pixels = functools.partial(_read_slice, path)
    return CaseRef(
        match["subject"],
        name,
        str(path),
        pixels,
        match["volume"],
        int(match["index"] or 0),
        label_path=str(path),
    )


def _volume(source: Path, name: str, problems: list[str]) -> list[CaseRef]:
    path = source / "data" / f"{name}.h5"
    match = _parts(path, name, problems)
    if match is None:
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
    subject, where = match["subject"], str(path)
    return [
        CaseRef(
            subject,
            f"{name}_slice_{i + 1}",
            where,
            functools.partial(_read_plane, path, i),
            name,
            i + 1,
            label_path=where,
        )
        for i in range(shape[0])
    ]


def _read_slice(path: Path):
    import h5py

    with h5py.File(path) as file:
        return _pixels(file["image"][()], file["label"][()] if "label" in file else None)


def _read_plane(path: Path, i: int):
    import h5py

    with h5py.File(path) as file:
        return _pixels(file["image"][i], file["label"][i])


def _pixels(image: np.ndarray, label: np.ndarray | None):
    return image[..., None], label, SPACING
