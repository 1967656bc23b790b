"""Left atrium MRI (2018 challenge) as UA-MT and its successors distribute it: one HDF5 file a
patient.

    SOURCE/train.list, SOURCE/test.list                   80 and 20 names
    SOURCE/2018LA_Seg_Training Set/NAME/mri_norm2.h5      image and label (X, Y, Z)

Voxels are 0.625 mm along each axis. The files keep the axes of their NRRD originals (to the
patient's left, posterior, superior), cropped around the atrium; their place in space is lost. The
published code has no validation set: the last tenth of ``train.list`` becomes one, so that the
published label budgets, which are the first names of that list, stay in train.
"""

from __future__ import annotations

import functools
from pathlib import Path

from semiseg.data import hdf5_scans
from semiseg.data.problems import split_problems
from semiseg.data.source import CaseRef, Pixels, Reader, Source, existing, progress_bar
from semiseg.data.splits import IN_LIST
from semiseg.errors import UserError

CLASSES = ("background", "left atrium")
CITATION = (
    "Xiong et al., A global benchmark of algorithms for segmenting the left atrium from late "
    "gadolinium-enhanced cardiac magnetic resonance imaging, Medical Image Analysis 67, 2021"
)
LICENSE = "of the 2018 Atrial Segmentation Challenge"
FILE = "mri_norm2.h5"
SPACING = (0.625, 0.625, 0.625)
VALIDATION = 0.1
"""Share of ``train.list`` that becomes val."""


def read(source: Path, *, progress: bool = True) -> Source:
    """The patients of both lists.

    Raises:
      UserError: a list or all patients are missing.
    """
    train_list = existing(source / "train.list", "the list of training patients lies beside them")
    test_list = existing(source / "test.list", "the list of test patients lies beside train.list")
    files = {path.parent.name: path for path in _files(source)}
    if not files:
        raise UserError(
            f"holds no NAME/{FILE}", where=source, remedy="name the folder that holds the lists"
        )
    train, val = hdf5_scans.last_part(hdf5_scans.names_in(train_list), VALIDATION)
    listed = {"train": train, "val": val, "test": hdf5_scans.names_in(test_list)}
    problems: list[str] = []
    splits: dict[str, list[CaseRef]] = {}
    for split, names in listed.items():
        splits[split] = []
        named_by = test_list if split == "test" else train_list
        for name in progress_bar(names, f"read {split}", show=progress):
            path = files.get(name, source / name / FILE)
            wrong = hdf5_scans.problems_of(path, 3, split != "train", named_by)
            problems += wrong
            if not wrong:
                pixels = functools.partial(_pixels, path)
                splits[split].append(
                    CaseRef(name, name, str(path), pixels, label_path=str(path), placement=IN_LIST)
                )
    problems += split_problems(splits)
    note = (
        f"{train_list}: its last {len(val)} names are val, because the published lists have no "
        f"validation patients"
    )
    order = tuple(ref.subject for ref in splits["train"])
    return Source(CLASSES, "mm", LICENSE, CITATION, splits, order, tuple(problems), notes=(note,))


def recognises(source: Path) -> str | None:
    """What tells the layout; None where nothing does."""
    files = _files(source)
    if files:
        return f"{files[0].relative_to(source)}: the left atrium as UA-MT distributes it"
    return None


READER = Reader(
    "ssl4mis-la", "left atrium as UA-MT distributes it: NAME/mri_norm2.h5, lists", read, recognises
)


def _files(source: Path) -> list[Path]:
    """The patients' files, one or two folders below ``source``."""
    return sorted(source.glob(f"*/{FILE}")) + sorted(source.glob(f"*/*/{FILE}"))


def _pixels(path: Path) -> Pixels:
    image, label = hdf5_scans.read(path)
    if label is not None:
        label = label.transpose(2, 1, 0)
    return Pixels(image.transpose(2, 1, 0)[..., None], label, SPACING)
