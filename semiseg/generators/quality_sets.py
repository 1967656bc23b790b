"""The two sides that a quality report compares: a synthetic set, and three parts of the real data.

``seen`` are the pairs of the generator's budget, ``images`` the whole training split (images only),
``held_out`` the validation split, which no generator has seen.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from semiseg.data import pools, readers, store
from semiseg.data.frame import FIT, Frame, planes
from semiseg.data.grey_values import OF_SLICE
from semiseg.data.scaling import as_uint8, in_the_middle
from semiseg.errors import UserError
from semiseg.escapes import csv_text
from semiseg.generators.sample import PROVENANCE
from semiseg.types import Case


class Pairs(NamedTuple):
    """Images with their masks.

    Attributes:
      names: ``(N,)``.
      images: ``(N, S, S, C)`` uint8.
      labels: ``(N, S, S)`` uint8.
      subjects: ``(N,)``: of a real pair its subject, of a synthetic one the subject whose mask it
        has, "" where none is known.
    """

    names: np.ndarray
    images: np.ndarray
    labels: np.ndarray
    subjects: np.ndarray


class Reference(NamedTuple):
    """The real data that a set is compared with.

    Attributes:
      seen: pairs of the generator's budget.
      held_out: pairs of the validation split.
      images: ``(N, S, S, C)`` uint8, of the whole training split.
      subjects: ``(N,)``, of these images.
      classes: names.
    """

    seen: Pairs
    held_out: Pairs
    images: np.ndarray
    subjects: np.ndarray
    classes: tuple[str, ...]


# ------------------------------------------------------------------ the synthetic set
def read_set(folder: Path, side: int | None, channels: int) -> Pairs:
    """A synthetic set from its folder.

    Args:
      folder: with images/ and labels/.
      side: of the images, pixels; None for that of the first one.
      channels: of the data set that it is compared with.

    Raises:
      UserError: there is no such folder, or a pair in it does not fit.
    """
    if not folder.is_dir():
        remedy = "name the --out of `semiseg gan sample`, or a folder with images/ and labels/"
        raise UserError("no such folder", where=folder, remedy=remedy)
    source = readers.read("folder", folder, progress=False)
    refs = [ref for split in source.splits.values() for ref in split]
    images = [plane for ref in refs for plane in planes(ref.load())]
    cases = sorted(images, key=lambda case: case.name)
    if side is None:
        side = cases[0].image.shape[0]
    frame = Frame(side, spacing=FIT, intensity=OF_SLICE, stored="uint8")
    subjects = _subjects(folder)
    labels = [_checked_label(case, side, channels, folder) for case in cases]
    names = [case.name.removesuffix("_slice_0") for case in cases]
    return Pairs(
        np.array(names),
        np.stack([frame.to_pool(case).levels for case in cases]),
        np.stack(labels),
        np.array([subjects.get(name, "") for name in names]),
    )


def _checked_label(
    case: Case,
    side: int,
    channels: int,
    folder: Path,
) -> np.ndarray:
    """The mask of a case that has one, of the right size, with the right image."""
    if case.label is None:
        what = f"{case.name} has no mask"
        remedy = "a synthetic set needs one for every image"
        raise UserError(what, where=folder, remedy=remedy)
    height, width, own_channels = case.image.shape
    if own_channels != channels:
        what = f"images have {own_channels} channels, the data set {channels}"
        raise UserError(what, where=folder)
    if (height, width) != (side, side):
        what = f"{case.name} is {height}×{width}, the others {side}×{side}"
        raise UserError(what, where=folder, remedy="a set needs one size")
    if case.label.shape != (height, width):
        shape = "×".join(map(str, case.label.shape))
        what = f"the mask of {case.name} is {shape}, its image {side}×{side}"
        raise UserError(what, where=folder, remedy="save both at one size")
    return case.label


def _subjects(folder: Path) -> dict[str, str]:
    """Subject of the mask of each sample, as far as the set says it."""
    path = folder / PROVENANCE
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        rows = csv.DictReader(file)
        return {row["name"]: csv_text(row["source_subject"]) for row in rows}


# ------------------------------------------------------------------ the real data
def read_reference(
    data: str,
    root: str | None,
    frame: Frame,
    labels: int,
    label_subset: int,
    folds: int = 0,
    fold: int = 0,
) -> Reference:
    """The real data in the frame's centre.

    Args:
      data: name of the data set.
      root: folder of the stores; None for the default.
      frame: geometry of the generator's fit.
      labels: its label budget.
      label_subset: which of the nested orders of subjects.
      folds, fold: the fold that the fit held out, by which it is judged.

    Raises:
      UserError: the set has no annotated validation split.
    """
    _, budget, training = pools.pools(
        data, root, frame, labels=labels, label_subset=label_subset, folds=folds, fold=fold
    )
    subjects = np.array([case.subject for case in training.cases])
    in_budget = np.isin(subjects, budget.subjects) & training.annotated
    seen = np.flatnonzero(in_budget)
    size = (frame.image_size, frame.image_size)
    images, masks = pools.dense(training, size)
    scans: Sequence[Case] = training.validation
    if not folds:
        scans = store.read_split(data, "val", root)
    held_out = _held_out(data, scans, training.frame, size)
    cases = [training.cases[i] for i in seen]
    return Reference(
        _pairs(cases, images[seen], masks[seen]), held_out, images, subjects, training.info.classes
    )


def _held_out(
    data: str,
    scans: Sequence[Case],
    frame: Frame,
    size: tuple[int, int],
) -> Pairs:
    """The middle of every annotated validation image."""
    cases: list[Case] = []
    images: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    for scan in scans:
        of_scan = frame.scans([scan], f"data set {data!r}")
        for case, image in zip(of_scan, frame.each_pool([scan]), strict=True):
            if case.label is not None:
                cases.append(case)
                images.append(in_the_middle(as_uint8(image.levels), size))
                labels.append(in_the_middle(frame.label_to_pool(case.label, case.spacing), size))
    if not cases:
        what = "has no annotated validation split to hold a synthetic set against"
        raise UserError(f"data set {data!r} {what}", remedy="import it with one")
    return _pairs(cases, np.stack(images), np.stack(labels))


def _pairs(cases: Sequence[Case], images: np.ndarray, labels: np.ndarray) -> Pairs:
    return Pairs(
        np.array([case.name for case in cases]),
        images,
        labels,
        np.array([case.subject for case in cases]),
    )
