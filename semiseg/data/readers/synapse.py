"""Synapse multi-organ CT as TransUNet distributes it: slices for training, volumes for test.

    SOURCE/train_npz/case0005_slice000.npz     image and label (H, W), image in [0, 1]
    SOURCE/test_vol_h5/case0001.npy.h5         image and label (slices, H, W)
    SOURCE/lists/lists_Synapse/train.txt, test_vol.txt     optional; else all files

The slices of a case are put together to its volume. The files name no voxel size: spacings are 1,
in voxels. The published code has no validation set: a tenth of the training cases is drawn.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from semiseg.data import hdf5_scans, scan_files, size_limits
from semiseg.data import splits as splitting
from semiseg.data.problems import split_problems
from semiseg.data.source import CaseRef, Pixels, Reader, Source, first_line, progress_bar
from semiseg.errors import UserError

CLASSES = (
    "background",
    "aorta",
    "gallbladder",
    "left kidney",
    "right kidney",
    "liver",
    "pancreas",
    "spleen",
    "stomach",
)
CITATION = (
    "Landman et al., MICCAI Multi-Atlas Labeling Beyond the Cranial Vault workshop and challenge, "
    "2015; preprocessed by Chen et al., TransUNet, arXiv:2102.04306"
)
LICENSE = "of the Synapse data set syn3193805"
SPACING = (1.0, 1.0, 1.0)
SLICES = "train_npz"
VOLUMES = "test_vol_h5"
LISTS = ("lists/lists_Synapse", "lists_Synapse", "lists", "../../lists/lists_Synapse", ".")
"""Where the lists may lie, from SOURCE."""
VAL = {"train": 0.9, "val": 0.1}
_SLICE = re.compile(r"(?P<case>.+)_slice(?P<number>\d+)")


def read(source: Path, *, seed: scan_files.Seed = 0, progress: bool = True) -> Source:
    """Training cases drawn into train and val; the volumes are test.

    Raises:
      UserError: there is no training slice.
    """
    problems: list[str] = []
    slices = _training_slices(source, problems)
    split_of = splitting.assign(dict.fromkeys(slices, ""), VAL, seed)
    splits: dict[str, list[CaseRef]] = {"train": [], "val": [], "test": []}
    for case, paths in slices.items():
        pixels = functools.partial(_stacked, tuple(paths))
        path = str(paths[0])
        placement = splitting.drawn(VAL, seed)
        ref = CaseRef(case, case, path, pixels, label_path=path, placement=placement)
        splits[split_of[case]].append(ref)
    splits["test"] = _test_volumes(source, problems, progress)
    if not splits["test"]:
        del splits["test"]
    problems += split_problems(splits)
    return Source(CLASSES, "voxel", LICENSE, CITATION, splits, problems=tuple(problems))


def recognises(source: Path) -> str | None:
    """What tells the layout; None where nothing does."""
    slices = next(iter(sorted(source.glob(f"{SLICES}/*.npz"))), None)
    if slices is not None:
        return f"{slices.relative_to(source)}: Synapse as TransUNet distributes it"
    return None


READER = Reader(
    "synapse", "Synapse as TransUNet distributes it: train_npz, test_vol_h5", read, recognises
)


def _listed(source: Path, name: str) -> tuple[Path, list[str]] | None:
    """A list file and its names; None where it is not there."""
    for folder in LISTS:
        path = source / folder / name
        if path.is_file():
            return path, hdf5_scans.names_in(path)
    return None


def _training_slices(source: Path, problems: list[str]) -> dict[str, list[Path]]:
    """Case → its slices in their order."""
    paths: Iterable[Path] = sorted((source / SLICES).glob("*.npz"))
    listed = _listed(source, "train.txt")
    if listed is not None:
        paths = [source / SLICES / f"{name.removesuffix('.npz')}.npz" for name in listed[1]]
        problems += scan_files.missing(paths, listed[0])
    numbered: dict[str, list[tuple[int, Path]]] = {}
    for path in paths:
        match = _SLICE.fullmatch(path.stem)
        if match is None:
            problems.append(f"{path}: the name is not CASE_sliceNUMBER.npz; rename or remove it")
        elif path.is_file():
            numbered.setdefault(match["case"], []).append((int(match["number"]), path))
    if not numbered:
        raise UserError(
            "holds no CASE_sliceNUMBER.npz", where=source / SLICES, remedy="restore the slices"
        )
    return {case: [path for _, path in sorted(pairs)] for case, pairs in sorted(numbered.items())}


def _test_volumes(source: Path, problems: list[str], progress: bool) -> list[CaseRef]:
    folder = source / VOLUMES
    names = [path.name.removesuffix(".npy.h5") for path in sorted(folder.glob("*.npy.h5"))]
    named_by = folder
    listed = _listed(source, "test_vol.txt")
    if listed is not None:
        named_by = listed[0]
        names = [name.removesuffix(".npy.h5") for name in listed[1]]
    refs: list[CaseRef] = []
    for name in progress_bar(names, "read test", show=progress):
        path = folder / f"{name}.npy.h5"
        wrong = hdf5_scans.problems_of(path, 3, True, named_by)
        problems += wrong
        if not wrong:
            pixels = functools.partial(_volume, path)
            refs.append(
                CaseRef(
                    name, name, str(path), pixels, label_path=str(path), placement=splitting.IN_LIST
                )
            )
    return refs


def _volume(path: Path) -> Pixels:
    image, label = hdf5_scans.read(path)
    return Pixels(image[..., None], label, SPACING)


def _stacked(paths: Sequence[Path]) -> Pixels:
    """The volume of a case's slices."""
    images: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    for path in paths:
        image, label = _slice(path)
        if (
            image.shape != label.shape
            or image.ndim != 2
            or image.shape != (images or [image])[0].shape
        ):
            raise UserError(
                f"has an image of shape {image.shape} and a label of shape {label.shape}; "
                f"{paths[0].name} has {(images or [image])[0].shape}",
                where=path,
                remedy="save all slices of a case at one size",
            )
        images.append(image)
        labels.append(label)
    return Pixels(np.stack(images)[..., None], np.stack(labels), SPACING)


def _slice(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Image and label of a slice's file.

    Raises:
      UserError: it is no such file.
    """
    try:
        size_limits.check_npz(path)
        with np.load(path, allow_pickle=False) as arrays:
            return arrays["image"], arrays["label"]
    except UserError:
        raise
    except Exception as error:  # NumPy and zipfile raise anything on a damaged file
        raise UserError(
            f"cannot be read ({first_line(error)})",
            where=path,
            remedy="replace it; it needs the arrays image and label",
        ) from error
