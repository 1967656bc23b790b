"""DICOM series as inputs of a prediction: a folder of one series, or one multi-frame file.

What an import refuses is refused here in the same words.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from semiseg.data import dicom_seg
from semiseg.data.dicom_files import is_dicom
from semiseg.data.dicom_scan import DicomScan, read_scan
from semiseg.data.dicom_series import LABELS, LabelFile, find_series
from semiseg.data.orientation import acquisition_plane
from semiseg.errors import UserError

NAMED = 3
"""Files of annotations that a line names."""


class Inputs(NamedTuple):
    """The series in a folder tree.

    Attributes:
      folders: that hold a series each, in their order.
      notes: what was left out, one line each.
    """

    folders: tuple[Path, ...]
    notes: tuple[str, ...]


def inputs_of(source: Path) -> Inputs:
    """The folders of a tree that hold series of slices; localisers are left out.

    Raises:
      UserError: the extra ``dicom`` is not installed, or a file cannot be read.
    """
    findings = find_series(source, progress=True)
    if findings.problems:
        raise UserError(findings.problems[0])
    scans = [one for one in findings.series if not one.is_localiser]
    folders = dict.fromkeys(one.folder for one in scans)
    return Inputs(tuple(folders), (*findings.notes, *_label_notes(source, findings.labels)))


def _label_notes(source: Path, labels: Sequence[LabelFile]) -> list[str]:
    """A line on each kind of files that hold annotations, which no network takes."""
    notes: list[str] = []
    for kind in LABELS:
        paths = [label.path for label in labels if label.kind == kind]
        names = [path.relative_to(source).as_posix() for path in paths[:NAMED]]
        if len(paths) > NAMED:
            names.append(f"and {len(paths) - NAMED} more")
        if paths:
            notes.append(
                f"{source}: left out files of annotations ({kind}): {len(paths)} "
                f"({', '.join(names)})"
            )
    return notes


def is_series(path: Path) -> bool:
    """Whether a path is a folder with DICOM files in it, or a DICOM file."""
    if path.is_dir():
        return any(is_dicom(file) for file in sorted(path.iterdir()) if file.is_file())
    return is_dicom(path)


def mask_name(folder: Path, source: Path) -> str:
    """The file name of a series' mask: its folder's place below ``source``.

    >>> mask_name(Path("in/p1/ct"), Path("in")), mask_name(Path("in"), Path("in"))
    ('p1_ct.dcm', 'in.dcm')
    """
    parts = folder.relative_to(source).parts
    name = "_".join(parts) or folder.resolve().name
    return f"{name.removesuffix('.dcm')}.dcm"


def read_input(path: Path, plane: str = "", resample: bool = False) -> DicomScan:
    """The one series of a folder (not of those below it), or of a file.

    Args:
      path: of the folder or file.
      plane: of acquisition; "" for the series' own.
      resample: see :func:`semiseg.data.dicom_scan.read_scan`.

    Raises:
      UserError: there is none, there are several, or its slices make no volume.
    """
    findings = find_series(path, below=False)
    if findings.problems:
        raise UserError(findings.problems[0])
    scans = [one for one in findings.series if not one.is_localiser]
    if not scans:
        what = "holds no DICOM series of slices"
        if findings.labels:
            what += f", but annotations ({findings.labels[0].kind})"
        raise UserError(what, where=path, remedy="name the folder of a series")
    if len(scans) > 1:
        raise UserError(
            f"holds {len(scans)} DICOM series",
            where=path,
            remedy="put each into a folder of its own",
        )
    if not plane:
        plane, _ = acquisition_plane([scans[0].stack(resample=resample).grid])
    return read_scan(scans[0], plane, resample=resample)


@dataclasses.dataclass(frozen=True, eq=False)
class SeriesScan:
    """A series as the scan of a prediction, like :class:`semiseg.data.input_scan.Scan`.

    Attributes:
      path: of its folder or file.
      scan: its voxels and geometry.
      names: of the classes, background first.
      with_nifti: write masks as NIfTI, too.
    """

    path: Path
    scan: DicomScan
    names: tuple[str, ...]
    with_nifti: bool = False
    is_volume = True

    @property
    def image(self) -> np.ndarray:
        """``(D, H, W, 1)``."""
        return self.scan.image

    @property
    def slices(self) -> Sequence[np.ndarray]:
        """``(H, W, 1)`` each, in their order."""
        return list(self.scan.image)

    @property
    def spacing(self) -> tuple[float, ...]:
        """Of D, H and W, mm."""
        return self.scan.spacing

    @property
    def affine(self) -> np.ndarray:
        """``(4, 4)``: index (d, h, w, 1) to RAS mm."""
        return self.scan.affine

    def write_mask(self, mask: np.ndarray, target: Path, classes: int) -> None:
        """Write a mask ``(D, H, W)`` uint8 as a DICOM SEG of the series.

        The names of the ``classes`` are the scan's own.
        """
        del classes
        dicom_seg.write_segmentation(mask, self.scan, self.names, target)
        if self.with_nifti:
            voxels = self.scan.turn.to_file(mask)
            dicom_seg.write_volume(voxels, self.scan, self.names, _nifti_path(target))

    def write_probabilities(
        self, probability: np.ndarray, target: Path, classes: Sequence[str]
    ) -> None:
        """Write probabilities ``(D, H, W, K)`` float32 as a NIfTI of four dimensions."""
        voxels = self.scan.turn.to_file(probability)
        dicom_seg.write_volume(voxels, self.scan, classes, target)


def _nifti_path(target: Path) -> Path:
    """The NIfTI beside a DICOM SEG.

    >>> _nifti_path(Path("masks/p1.ct.dcm")).as_posix()
    'masks/p1.ct.nii.gz'
    """
    return target.with_name(f"{target.stem}.nii.gz")
