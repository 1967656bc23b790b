"""DICOM series in a folder tree: which there are, and what their headers say.

Headers alone are read to find them. Nothing that identifies a person leaves this module but the
patient ID, by which :mod:`semiseg.data.readers.dicom` keeps the scans of a patient together.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from semiseg.data.dicom_files import (
    DIRECTORY,
    SUFFIXES,
    files_under,
    interpreting,
    is_dicom,
    read_header,
    require,
)
from semiseg.data.dicom_geometry import MIN_SLICES, Plane, Stack, stack_of
from semiseg.data.source import progress_bar
from semiseg.errors import UserError

TAGS = (
    "SOPClassUID",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "PatientID",
    "Modality",
    "ImageType",
    "SeriesDescription",
    "SeriesNumber",
    "FrameOfReferenceUID",
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "NumberOfFrames",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "RescaleSlope",
    "RescaleIntercept",
    "ModalityLUTSequence",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "SegmentSequence",
    "SegmentationType",
    "ReferencedSeriesSequence",
    "ReferencedFrameOfReferenceSequence",
    "StructureSetROISequence",
)
LABELS = ("SEG", "RTSTRUCT")
"""Modalities of objects that hold annotations."""
NO_SCANS = ("RTDOSE", "RTPLAN", "REG", "KO", "PR", "SR", "DOC")
"""Modalities that hold no scan, though some have rows and columns."""
MOST = 1e9
"""A rescaling by more would leave the range of float32, or of whole numbers."""


@dataclasses.dataclass(frozen=True)
class Series:
    """The images of one series, as their headers describe them.

    Attributes:
      uid: of the series.
      patient: patient ID; in memory alone.
      modality, description, number: as the headers say.
      is_localiser: whether the images call themselves so.
      planes: in the order in which they were met.
    """

    uid: str
    patient: str
    modality: str
    description: str
    number: str
    is_localiser: bool
    planes: tuple[Plane, ...]

    @property
    def folder(self) -> Path:
        """Of the first image."""
        return self.planes[0].path.parent

    @property
    def where(self) -> str:
        """What names the series in a message."""
        name = self.number or f"…{self.uid[-8:]}"
        return f"{self.folder} (series {name}, {self.modality})"

    def stack(self, min_slices: int = MIN_SLICES, resample: bool = False) -> Stack:
        """Its images in their order.

        Raises:
          UserError: they make no volume, see :func:`semiseg.data.dicom_geometry.stack_of`.
        """
        return stack_of(self.planes, self.where, min_slices, resample)


class LabelFile(NamedTuple):
    """A DICOM SEG or RTSTRUCT, as its header describes it.

    Attributes:
      path: of the file.
      kind: SEG or RTSTRUCT.
      patient: patient ID; in memory alone.
      names: number of a segment or region → its label or name.
      references: UIDs of the series that it names.
      frames: UIDs of the frames of reference that it names.
    """

    path: Path
    kind: str
    patient: str
    names: dict[int, str]
    references: frozenset[str] = frozenset()
    frames: frozenset[str] = frozenset()


class Findings(NamedTuple):
    """What is in a folder tree.

    Attributes:
      series: of images with positions, by their first file.
      labels: files that hold annotations.
      problems: files that cannot be read, one line each.
      notes: what was left out, one line each.
    """

    series: tuple[Series, ...]
    labels: tuple[LabelFile, ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...]


CODE = 16
"""Letters of a code in DICOM."""


def find_series(folder: Path, progress: bool = False, below: bool = True) -> Findings:
    """Read the headers of a folder tree and put images together by their series.

    A DICOMDIR is not followed, other objects (reports, doses, plans) are left out.

    Args:
      folder: or a single file.
      progress: show a progress bar.
      below: look into the folders below as well.

    Raises:
      UserError: the extra ``dicom`` is not installed.
    """
    require()
    paths = [folder]
    if folder.is_dir():
        paths = [path for path in files_under(folder) if below or path.parent == folder]
    search = _Search()
    for path in progress_bar(paths, "read headers", show=progress):
        search.add(path)
    return search.findings(folder)


class _Search:
    """Series and label files so far."""

    def __init__(self) -> None:
        self.images: dict[str, list[Plane]] = {}
        self.first: dict[str, Any] = {}
        self.labels: list[LabelFile] = []
        self.problems: list[str] = []
        self.left_out: Counter[str] = Counter()
        self.instances: set[str] = set()
        self.strangers: list[Path] = []

    def add(self, path: Path) -> None:
        """Look at one file."""
        try:
            is_marked = is_dicom(path)
        except OSError as error:
            self.problems.append(
                f"{path}: cannot be read ({error.strerror}); allow it, or take it out of the folder"
            )
            return
        if not is_marked:
            if path.suffix.lower() in SUFFIXES:
                self.problems.append(
                    f"{path}: is no DICOM file, in spite of its name; copy it again, or take it "
                    f"out of the folder"
                )
            elif not path.suffix or path.suffix[1:].isdigit():  # as files of slices are called
                self.strangers.append(path)
            return
        try:
            header = read_header(path, TAGS)
            with interpreting(path):
                self._sort(path, header)
        except UserError as error:
            self.problems.append(str(error))

    def _sort(self, path: Path, header: Any) -> None:
        # of a damaged file it may hold all that follows, names of patients among it
        modality = str(header.get("Modality") or "")[:CODE]
        if header.get("SOPClassUID") == DIRECTORY:
            return
        if not header.get("SOPClassUID") and not header.get("Rows"):
            raise UserError(
                "is damaged: its header does not say what it holds",
                where=path,
                remedy="copy the file again, or take it out of the folder",
            )
        instance = str(header.get("SOPInstanceUID") or path)
        if instance in self.instances:
            self.left_out["copies of files that are read (the same SOP instance)"] += 1
            return
        self.instances.add(instance)
        if modality in LABELS:
            self.labels.append(_label_file(path, header, modality))
            return
        if modality in NO_SCANS or not header.get("Rows"):
            self.left_out[f"objects that hold no scan ({modality or 'no modality'})"] += 1
            return
        planes = planes_of(path, header)
        if not planes:
            self.left_out[
                f"images without a position in space ({modality}: projections or screenshots)"
            ] += 1
            return
        uid = str(header.get("SeriesInstanceUID") or path.parent)
        self.first.setdefault(uid, header)
        self.images.setdefault(uid, []).extend(planes)

    def findings(self, folder: Path) -> Findings:
        """What was met."""
        notes = [f"{folder}: left out {what}: {n}" for what, n in self.left_out.items()]
        for path in self.strangers[:1]:
            more = ""
            if len(self.strangers) > 1:
                more = f", nor are {len(self.strangers) - 1} more"
            notes.append(f"{path}: left out: it is no DICOM file{more}")
        series: list[Series] = []
        for uid, planes in self.images.items():
            with interpreting(planes[0].path):
                series.append(_series(uid, self.first[uid], planes))
        series.sort(key=lambda one: str(one.planes[0].path))
        return Findings(tuple(series), tuple(self.labels), tuple(self.problems), tuple(notes))


def _series(uid: str, header: Any, planes: Sequence[Plane]) -> Series:
    kinds = [str(kind).upper() for kind in header.get("ImageType") or ()]
    return Series(
        uid=uid,
        patient=str(header.get("PatientID") or "").strip(),
        modality=str(header.get("Modality") or ""),
        description=str(header.get("SeriesDescription") or ""),
        number=str(header.get("SeriesNumber") or ""),
        is_localiser="LOCALIZER" in kinds,
        planes=tuple(planes),
    )


# ------------------------------------------------------------------ headers
def planes_of(path: Path, header: Any) -> list[Plane]:
    """The slices of a file: one, or those of a multi-frame object; none without a position.

    Raises:
      UserError: the header lacks a value, or frames are described that it does not declare.
    """
    frames = header.get("PerFrameFunctionalGroupsSequence")
    if frames is None:
        frames = [header]
    shared = (header.get("SharedFunctionalGroupsSequence") or [None])[0]
    planes: list[Plane] = []
    for number, frame in enumerate(frames):
        groups = [group for group in (frame, shared, header) if group is not None]
        position = lookup(groups, "PlanePositionSequence", "ImagePositionPatient")
        directions = lookup(groups, "PlaneOrientationSequence", "ImageOrientationPatient")
        if not position or not directions:
            return []
        planes.append(_plane(path, header, number, groups))
    if len(planes) > int(header.get("NumberOfFrames") or 1):
        raise UserError(
            f"describes {len(planes)} frames and declares {header.get('NumberOfFrames') or 1}",
            where=path,
            remedy="copy the file again",
        )
    return planes


def _plane(path: Path, header: Any, number: int, groups: Sequence[Any]) -> Plane:
    if lookup(groups, "PixelValueTransformationSequence", "ModalityLUTSequence"):
        raise UserError(
            "stores its values through a look-up table, which is not read",
            where=path,
            remedy="convert the series with your viewer or dcm2niix",
        )
    spacing = lookup(groups, "PixelMeasuresSequence", "PixelSpacing")
    if not spacing:
        raise UserError("states no size of a pixel", where=path, remedy="export the series again")
    slope = lookup(groups, "PixelValueTransformationSequence", "RescaleSlope")
    intercept = lookup(groups, "PixelValueTransformationSequence", "RescaleIntercept")
    position = lookup(groups, "PlanePositionSequence", "ImagePositionPatient")
    directions = lookup(groups, "PlaneOrientationSequence", "ImageOrientationPatient")
    return Plane(
        path=path,
        frame=number,
        instance=str(header.get("SOPInstanceUID") or ""),
        position=_numbers(position, 3, path),
        directions=_numbers(directions, 6, path),
        spacing=_numbers(spacing, 2, path),
        shape=(int(header.Rows), int(header.Columns)),
        rescale=_rescale(slope, intercept, path),
        reference=str(header.get("FrameOfReferenceUID") or ""),
        colours=_colours(header),
    )


def _colours(header: Any) -> int:
    """Samples a pixel; a palette makes three of one."""
    if header.get("PhotometricInterpretation") == "PALETTE COLOR":
        return 3
    return int(header.get("SamplesPerPixel") or 1)


def lookup(groups: Sequence[Any], sequence: str, keyword: str) -> Any:
    """A value of a frame: from its own functional group, the shared one, or the file's header."""
    for group in groups:
        items = group.get(sequence)
        if items and keyword in items[0]:
            return items[0].get(keyword)
        if keyword in group:
            return group.get(keyword)
    return None


def _numbers(values: Any, count: int, path: Path) -> tuple[float, ...]:
    numbers = tuple(float(value) for value in values)
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise UserError(
            f"states {len(numbers)} numbers for a position, direction or size of {count}",
            where=path,
            remedy="export the series again",
        )
    return numbers


def _rescale(slope: Any, intercept: Any, path: Path) -> tuple[float, float]:
    """Slope and intercept; 1 and 0 where the header has none.

    Raises:
      UserError: they are no numbers, or beyond MOST, or the slope is 0.
    """
    factor = 1.0
    if slope not in (None, ""):
        factor = float(slope)
    offset = float(intercept or 0.0)
    beyond = max(abs(factor), abs(offset)) > MOST
    if not factor or beyond or not np.isfinite((factor, offset)).all():
        raise UserError(
            f"rescales its values by {factor:g} and {offset:g}",
            where=path,
            remedy="export the series again",
        )
    return factor, offset


def _label_file(path: Path, header: Any, kind: str) -> LabelFile:
    names: dict[int, str] = {}
    references: set[str] = set()
    frames = {str(header.get("FrameOfReferenceUID") or "")}
    for item in header.get("SegmentSequence") or ():
        names[int(item.SegmentNumber)] = str(item.get("SegmentLabel") or "").strip()
    for item in header.get("StructureSetROISequence") or ():
        names[int(item.ROINumber)] = str(item.get("ROIName") or "").strip()
    for item in header.get("ReferencedSeriesSequence") or ():
        references.add(str(item.get("SeriesInstanceUID")))
    for frame in header.get("ReferencedFrameOfReferenceSequence") or ():
        frames.add(str(frame.get("FrameOfReferenceUID") or ""))
        for study in frame.get("RTReferencedStudySequence") or ():
            for item in study.get("RTReferencedSeriesSequence") or ():
                references.add(str(item.get("SeriesInstanceUID")))
    patient = str(header.get("PatientID") or "").strip()
    named = frozenset(frames - {""})
    return LabelFile(path, kind, patient, names, frozenset(references), named)
