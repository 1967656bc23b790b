"""BraTS 2019 as SSL4MIS distributes it: one HDF5 file a patient, FLAIR alone, whole tumour.

    SOURCE/train.txt, SOURCE/val.txt, SOURCE/test.txt     names, one a line
    SOURCE/data/BraTS19_2013_0_1.h5                       image and label (Z, Y, X)

Voxels are 1 mm along each axis; the volumes are cropped to the brain, and their place in space is
lost. The order of ``train.txt`` is the published order of label budgets. Without ``val.txt`` or
``test.txt``, the last tenth of the training patients becomes val.
"""

from __future__ import annotations

import functools
from pathlib import Path

from semiseg.data import hdf5_scans
from semiseg.data.problems import split_problems
from semiseg.data.source import SPLITS, CaseRef, Pixels, Reader, Source, existing, progress_bar
from semiseg.data.splits import IN_LIST

CLASSES = ("background", "whole tumour")
CITATION = (
    "Menze et al., The Multimodal Brain Tumor Image Segmentation Benchmark (BRATS), IEEE TMI "
    "34(10), 2015"
)
LICENSE = "of the BraTS 2019 challenge"
SPACING = (1.0, 1.0, 1.0)
VALIDATION = 0.1
"""Share of ``train.txt`` that becomes val where ``val.txt`` is missing."""


def read(source: Path, *, progress: bool = True) -> Source:
    """The patients of the lists.

    Raises:
      UserError: ``train.txt`` is missing.
    """
    existing(source / "train.txt", "the list of training patients lies beside the folder data")
    listed: dict[str, list[str]] = {}
    for split in SPLITS:
        if (source / f"{split}.txt").exists():
            listed[split] = hdf5_scans.names_in(source / f"{split}.txt")
    notes: list[str] = []
    if "val" not in listed:
        listed["train"], listed["val"] = hdf5_scans.last_part(listed["train"], VALIDATION)
        notes.append(
            f"{source}: has no val.txt: the last {len(listed['val'])} names of train.txt are val"
        )
    problems: list[str] = []
    splits: dict[str, list[CaseRef]] = {}
    for split, names in listed.items():
        splits[split] = []
        for name in progress_bar(names, f"read {split}", show=progress):
            name = name.removesuffix(".h5")
            path = source / "data" / f"{name}.h5"
            wrong = hdf5_scans.problems_of(path, 3, split != "train", source / f"{split}.txt")
            problems += wrong
            if not wrong:
                pixels = functools.partial(_pixels, path)
                splits[split].append(
                    CaseRef(name, name, str(path), pixels, label_path=str(path), placement=IN_LIST)
                )
    problems += split_problems(splits)
    order = tuple(ref.subject for ref in splits["train"])
    return Source(
        CLASSES, "mm", LICENSE, CITATION, splits, order, tuple(problems), notes=tuple(notes)
    )


def recognises(source: Path) -> str | None:
    """What tells the layout; None where nothing does."""
    files = sorted(source.glob("data/*.h5"))
    if files and (source / "train.txt").is_file():
        return f"train.txt and {files[0].relative_to(source)}: BraTS as SSL4MIS distributes it"
    return None


READER = Reader(
    "ssl4mis-brats", "BraTS 2019 as SSL4MIS distributes it: data/NAME.h5, lists", read, recognises
)


def _pixels(path: Path) -> Pixels:
    image, label = hdf5_scans.read(path)
    return Pixels(image[..., None], label, SPACING)
