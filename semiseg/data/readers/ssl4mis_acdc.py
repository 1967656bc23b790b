"""ACDC cardiac MRI as SSL4MIS and its successors distribute it: HDF5 slices for training, HDF5
volumes for validation and test.

``train_slices.list`` names ``data/slices/patientXXX_frameYY_slice_Z.h5``; ``val.list`` (and
``test.list``, where it exists) name ``data/patientXXX_frameYY.h5``. The training slices of a frame
become one volume, in the order of their numbers; a slice nobody annotated is IGNORE. The files name
no voxel size: the spacing is (1, 1, 1), slice axis first, in voxels.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from semiseg.data import hdf5_scans
from semiseg.data.problems import split_problems
from semiseg.data.source import (
    CaseRef,
    Pixels,
    Reader,
    Source,
    existing,
    first_line,
    progress_bar,
)
from semiseg.data.splits import IN_LIST
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
    splits["train"] = _stacks(source, problems)
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
    return [name.removesuffix(".h5") for name in hdf5_scans.names_in(path)]


class Slice(NamedTuple):
    """A training slice by its file's name."""

    path: Path
    name: str
    subject: str
    volume: str
    place: int


def _slice(path: Path, name: str, problems: list[str]) -> Slice | None:
    """What the name of a file says; None, and a problem, where it is wrong or there is no file."""
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
    return Slice(path, name, match["subject"], match["volume"], int(match["index"] or 0))


def _stacks(source: Path, problems: list[str]) -> list[CaseRef]:
    """The training volumes, in the order of the first slice of each in the list."""
    volumes: dict[str, list[Slice]] = {}
    for name in _names(source / "train_slices.list"):
        part = _slice(source / "data" / "slices" / f"{name}.h5", name, problems)
        if part is not None:
            volumes.setdefault(part.volume, []).append(part)
    refs: list[CaseRef] = []
    for volume, parts in volumes.items():
        ordered = sorted(parts, key=_number)
        path = str(source / "data" / "slices" / f"{volume}_slice_*.h5")
        pixels = functools.partial(_read_stack, [part.path for part in ordered])
        refs.append(
            CaseRef(parts[0].subject, volume, path, pixels, label_path=path, placement=IN_LIST)
        )
    return refs


def _number(part: Slice) -> int:
    return part.place


def _volume(source: Path, name: str, problems: list[str]) -> list[CaseRef]:
    """A validation or test volume; none where there is a problem."""
    path = source / "data" / f"{name}.h5"
    part = _slice(path, name, problems)
    if part is None:
        return []
    wrong = hdf5_scans.problems_of(path, 3, True, source)
    problems += wrong
    if wrong:
        return []
    pixels = functools.partial(_read_volume, path)
    return [CaseRef(part.subject, name, str(path), pixels, label_path=str(path), placement=IN_LIST)]


def _read_stack(paths: Sequence[Path]) -> Pixels:
    """The slices of a volume, each from its file."""
    from semiseg.types import IGNORE  # with JAX, for which no list of formats waits

    images: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    for path in paths:
        image, label = _read(path)
        if images and image.shape != images[0].shape:
            raise UserError(
                f"has shape {image.shape}, the slice before it {images[0].shape}",
                where=path,
                remedy="save a volume's slices at one size",
            )
        images.append(image)
        labels.append(np.full(image.shape, IGNORE, np.uint8) if label is None else label)
    whole = np.stack(labels)
    if (whole == IGNORE).all():
        return Pixels(np.stack(images)[..., None], None, SPACING)
    return Pixels(np.stack(images)[..., None], whole, SPACING)


def _read_volume(path: Path) -> Pixels:
    image, label = _read(path)
    return Pixels(image[..., None], label, SPACING)


def _read(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """The datasets of a file.

    Raises:
      UserError: it cannot be read, or its label has another shape than its image.
    """
    try:
        image, label = hdf5_scans.read(path)
    except UserError:
        raise
    except Exception as error:  # h5py raises OSError, KeyError or RuntimeError on a damaged file
        raise UserError(
            f"cannot be read ({first_line(error)})", where=path, remedy="replace the file"
        ) from error
    if label is not None and label.shape != image.shape:
        raise UserError(
            f"label has shape {label.shape} but the image {image.shape}",
            where=path,
            remedy="save both at one size",
        )
    return image, label
