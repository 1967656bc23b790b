"""A stored data set as files of nnU-Net (version 2): what :mod:`semiseg.data.readers.nnunet` reads.

    OUT/dataset.json           channel_names, labels, numTraining, file_ending
    OUT/imagesTr, labelsTr     annotated cases of train and val
    OUT/imagesTs, labelsTs     test cases
    OUT/images_unlabelled      training images that nobody annotated: nnU-Net has no place for them
    OUT/splits_final.json      one fold: train and val; or the folds of a cross-validation
    OUT/subjects.csv           the subject and group of every case, and what else is known of it

Volumes are NIfTI in the orientation of the file that was imported, one file a channel. Pictures are
PNG, three channels of 8 bits in one file.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from semiseg.data import orientation
from semiseg.data.info import StoreInfo
from semiseg.data.subjects_csv import Columns
from semiseg.errors import UserError
from semiseg.escapes import csv_mapping, csv_row
from semiseg.types import IGNORE, Case

UNLABELLED = "images_unlabelled"
COLOURS = ("R", "G", "B")
FOLDER_NAME = r"Dataset\d{3}_\w+"
"""What nnU-Net wants a raw data set's folder to be called."""
_PNG = ("uint8", "uint16")


def check(known: StoreInfo) -> None:
    """Refuse a set that the layout cannot hold.

    Raises:
      UserError: nobody annotated a training subject.
    """
    if not known.number("train", "annotated"):
        raise UserError(
            "has no annotated training subject, and nnU-Net trains on annotated ones alone",
            where=known.name,
            remedy="annotate some and import again",
        )


class _Line(NamedTuple):
    """One line of subjects.csv."""

    name: str
    subject: str
    group: str
    spacing: str


class Writer:
    """Writes cases one by one; :meth:`finish` describes them.

    Attributes:
      folder: that is filled.
      known: the data set.
      counts: part → number of cases.
    """

    def __init__(self, folder: Path, known: StoreInfo, columns: Columns):
        self.folder = folder
        self.known = known
        self.columns = columns
        self.counts = dict.fromkeys(("train", "val", "test", "unlabelled"), 0)
        self._names: dict[str, list[str]] = {"train": [], "val": []}
        self._used: set[str] = set()
        self._lines: list[_Line] = []
        self._ending = ""
        self._ignores = False
        self._has_pixel_sizes = False

    def add(self, split: str, case: Case) -> None:
        """Write a case of a split."""
        name = self._name(case)
        part = split
        images = "imagesTs" if split == "test" else "imagesTr"
        if case.label is None:
            part = "unlabelled"
            images = UNLABELLED
        self._write_images(case, self.folder / images, name)
        self.counts[part] += 1
        if case.label is None:
            return
        labels = "labelsTs" if split == "test" else "labelsTr"
        self._write_label(case, case.label, self.folder / labels, name)
        if split != "test":
            self._names[split].append(name)
        self._lines.append(_Line(name, case.subject, case.group, self._size(case)))

    def finish(self, fold_of: Mapping[str, int] | None = None) -> list[str]:
        """Write the descriptions; returns one line for each thing that the layout does not hold.

        Args:
          fold_of: subject → fold; by default there is one fold, of train and val.
        """
        description = json.dumps(self._description(), indent=2)
        (self.folder / "dataset.json").write_text(description, encoding="utf-8")
        folds = self._folds(fold_of)
        if folds:
            content = json.dumps(folds, indent=2)
            (self.folder / "splits_final.json").write_text(content, encoding="utf-8")
        self._write_subjects()
        return self._notes(len(folds))

    def _folds(self, fold_of: Mapping[str, int] | None) -> list[dict[str, list[str]]]:
        if not fold_of:
            return [self._names] if self._names["val"] else []
        subject_of = {line.name: line.subject for line in self._lines}
        names = [*self._names["train"], *self._names["val"]]
        number_of = {name: fold_of.get(subject_of[name]) for name in names}
        folds: list[dict[str, list[str]]] = []
        for number in range(1 + max(fold_of.values())):
            fold: dict[str, list[str]] = {"train": [], "val": []}
            for name in names:
                fold["val" if number_of[name] == number else "train"].append(name)
            folds.append(fold)
        return folds

    # -------------------------------------------------------------- names
    def _name(self, case: Case) -> str:
        """A name that may be that of a file, and that no other case has."""
        name = re.sub(r"[^\w.-]", "_", case.name)
        while name in self._used:
            name += "_"
        self._used.add(name)
        return name

    def _channel_names(self) -> list[str]:
        names = self.known.channel_names
        if names:
            return list(names)
        if self._ending == ".png" and self.known.channels == len(COLOURS):
            return list(COLOURS)
        return [f"channel {i}" for i in range(self.known.channels)]

    # -------------------------------------------------------------- files
    def _write_images(self, case: Case, folder: Path, name: str) -> None:
        folder.mkdir(exist_ok=True)
        if case.image.ndim == 4:
            self._ending = ".nii.gz"
            for channel in range(case.image.shape[-1]):
                path = folder / f"{name}_{channel:04d}.nii.gz"
                write_volume(path, case.image[..., channel], case)
            return
        self._ending = ".png"
        if case.image.dtype.name not in _PNG:
            raise UserError(
                f"{case.name} holds {case.image.dtype.name} numbers, which a PNG does not",
                where=self.known.name,
                remedy="store whole numbers from 0 to 65535, or NIfTI files of one slice",
            )
        if case.image.shape[-1] == len(COLOURS) and case.image.dtype == np.uint8:
            _write_png(folder / f"{name}_0000.png", case.image)
            return
        for channel in range(case.image.shape[-1]):
            _write_png(folder / f"{name}_{channel:04d}.png", case.image[..., channel])

    def _write_label(self, case: Case, label: np.ndarray, folder: Path, name: str) -> None:
        folder.mkdir(exist_ok=True)
        ignored = label == IGNORE
        if ignored.any():
            self._ignores = True
            label = np.where(ignored, np.uint8(len(self.known.classes)), label)
        if label.ndim == 3:
            write_volume(folder / f"{name}.nii.gz", label, case)
        else:
            _write_png(folder / f"{name}.png", label)

    def _size(self, case: Case) -> str:
        """Mm of a picture's pixels, as subjects.csv says it; "" for a volume, which says it itself,
        and where nobody knows.
        """
        if case.image.ndim == 4 or self.known.unit != "mm":
            return ""
        self._has_pixel_sizes = True
        return "x".join(f"{side:g}" for side in case.spacing)

    # -------------------------------------------------------------- descriptions
    def _description(self) -> dict[str, object]:
        labels: dict[str, object] = {self.known.classes[0]: 0}
        order: list[int] = []
        for name, values in self._regions():
            labels[name] = list(values)
            order.append(values[0])
        for value, name in enumerate(self.known.classes):
            labels[name] = value
        order += range(1, len(self.known.classes))
        if self._ignores:
            labels["ignore"] = len(self.known.classes)
        painted: dict[str, object] = {}
        if self.known.regions:
            painted["regions_class_order"] = order
        channels = {str(i): name for i, name in enumerate(self._channel_names())}
        return {
            "name": self.known.name,
            "reference": self.known.citation,
            "licence": self.known.license,
            "channel_names": channels,
            "labels": labels,
            **painted,
            "numTraining": self.counts["train"] + self.counts["val"],
            "file_ending": self._ending,
        }

    def _regions(self) -> list[tuple[str, tuple[int, ...]]]:
        """Regions with their values, the largest first: nnU-Net paints later ones over them."""
        return sorted(self.known.region_values.items(), key=lambda pair: -len(pair[1]))

    def _write_subjects(self) -> None:
        columns: dict[str, None] = {}
        for values in self.columns.values():
            columns |= dict.fromkeys(values)
        header = ["name", "subject", "group"]
        if self._has_pixel_sizes:
            header.append("spacing")
        with (self.folder / "subjects.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(
                file,
                csv_row([*header, *columns]),
                restval="",
                extrasaction="ignore",
                lineterminator="\n",
            )
            writer.writeheader()
            for line in self._lines:
                row = {**self.columns.get(line.subject, {}), **line._asdict()}
                writer.writerow(csv_mapping(row))

    def _notes(self, folds: int) -> list[str]:
        name = self.known.name
        notes: list[str] = []
        if self.counts["unlabelled"]:
            notes.append(
                f"{name}: images without annotation are in {UNLABELLED}, where nnU-Net does not "
                f"look: {self.counts['unlabelled']}"
            )
        if self.known.regions:
            notes.append(
                f"{name}: labels of dataset.json are regions ({len(self.known.regions)}) and "
                f"classes ({len(self.known.classes) - 1}), and nnU-Net trains an output for each; "
                f"take the regions out of it to train on the classes alone"
            )
        if self._ignores:
            notes.append(f"{name}: pixels without a class are {len(self.known.classes)}, ignore")
        if self._has_pixel_sizes:
            notes.append(f"{name}: the mm of pixels are in subjects.csv; a PNG does not hold them")
        if folds:
            notes.append(
                f"{name}: nnU-Net looks for splits_final.json in its folder of preprocessed data; "
                f"copy it there once nnUNetv2_plan_and_preprocess is done"
            )
        return notes


def write_volume(path: Path, scan: np.ndarray, case: Case) -> None:
    """Write one channel or a label as a NIfTI, with the axes of the file that was imported.

    Args:
      path: of the new file.
      scan: ``(D, H, W)`` on the grid of the case.
      case: whose affine and orientation it has. Where nobody knows the affine, slices are axial.
    """
    import nibabel

    code = case.orientation or "LPS"
    affine = case.affine
    if affine is None:
        affine = _axial(case.spacing)
    turn = orientation.orientation_back(affine, code)
    voxels = np.ascontiguousarray(turn.to_file(scan))
    image = nibabel.Nifti1Image(voxels, turn.file_affine(affine, voxels.shape))
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)


def _axial(spacing: tuple[float, ...]) -> np.ndarray:
    """``(4, 4)`` of a scan whose axes run to superior, posterior and left.

    >>> _axial((5.0, 2.0, 1.0))[:3, :3].tolist()
    [[0.0, 0.0, -1.0], [0.0, -2.0, 0.0], [5.0, 0.0, 0.0]]
    """
    affine = np.zeros((4, 4))
    affine[2, 0] = spacing[0]
    affine[1, 1] = -spacing[1]
    affine[0, 2] = -spacing[2]
    affine[3, 3] = 1
    return affine


def _write_png(path: Path, pixels: np.ndarray) -> None:
    from PIL import Image

    Image.fromarray(np.ascontiguousarray(pixels)).save(path)
