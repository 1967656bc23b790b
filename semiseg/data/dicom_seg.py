"""Masks of a DICOM series as a DICOM SEG, which viewers (3D Slicer, OHIF) show over the images.

The object is BINARY, one segment a class but the background. Patient, study, frame of reference,
positions and references to the images are those of the series, so the file belongs beside it in an
archive. (PS3.3 A.51; written by highdicom, Bridge et al., J Digit Imaging 35, 2022.)
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from semiseg.data.dicom_files import EXTRA, quiet, read_header
from semiseg.data.dicom_scan import DicomScan
from semiseg.data.orientation import sides_of
from semiseg.data.source import first_line
from semiseg.errors import UserError, writing
from semiseg.files import replacing

NAME = "semiseg"
NIFTI = (".nii", ".nii.gz")
SERIES_NUMBER = 900
"""Of the new series: beyond those of a scanner."""
CATEGORY = ("123037004", "SCT", "Anatomical Structure")
KIND = ("91723000", "SCT", "Anatomical structure")
"""SNOMED CT codes of a segment; its class is its label, since a class's own code is not known."""
COLOURS = (
    (230, 75, 53),
    (77, 187, 213),
    (0, 160, 135),
    (243, 155, 127),
    (132, 145, 180),
    (145, 209, 194),
    (126, 97, 72),
    (176, 156, 133),
)
"""Recommended colours of the classes, RGB; they repeat beyond the eighth."""
NEEDED = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
)
"""Attributes that a SEG must have, empty where the series lacks them (type 2 in PS3.3)."""


def write_segmentation(
    mask_DHW: np.ndarray, scan: DicomScan, classes: Sequence[str], target: Path
) -> None:
    """Write the mask of a series as a DICOM SEG.

    Args:
      mask_DHW: ``(D, H, W)`` uint8 on the grid of ``scan.image``; values are classes, and others
        (IGNORE) belong to none.
      scan: what :func:`semiseg.data.dicom_scan.read_scan` read.
      classes: names, background first.
      target: the file to write.

    Raises:
      UserError: the mask has another shape, the series cannot be referred to, or the extra
        ``dicom`` is not installed.
    """
    if mask_DHW.shape != scan.image.shape[:3]:
        raise UserError(
            f"the mask has shape {mask_DHW.shape}, its series {scan.image.shape[:3]}",
            where=scan.series.folder,
        )
    write_volume(scan.turn.to_file(mask_DHW), scan, classes, target)


def write_volume(voxels: np.ndarray, scan: DicomScan, classes: Sequence[str], target: Path) -> None:
    """Write what a network says of a series. A SEG holds the series' own slices, whatever grid they
    were resampled to.

    Args:
      voxels: mask ``(X, Y, Z)`` uint8, or probabilities ``(X, Y, Z, K)``, on the scan's grid.
      scan: the series.
      classes: names, background first.
      target: a NIfTI by its name's end, else a DICOM SEG, which holds masks alone.

    Raises:
      UserError: as :func:`write_segmentation`.
    """
    if target.name.endswith(NIFTI):
        _write_nifti(voxels, scan, target)
        return
    mask_ZYX = scan.on_slices(voxels).transpose(2, 1, 0)
    images, order = _source_images(scan)
    segments = _segment_descriptions(classes)
    stored = np.where(mask_ZYX[order] < len(classes), mask_ZYX[order], 0).astype(np.uint8)
    try:
        with quiet():
            document = _document(images, stored, segments)
    except Exception as error:  # highdicom raises anything on headers that lack something
        raise UserError(
            f"no DICOM SEG can be made of its headers ({first_line(error, 120)})",
            where=scan.series.folder,
            remedy="write NIfTI instead: --nifti",
        ) from error
    with writing(target), replacing(target) as partial:
        document.save_as(partial)


def _write_nifti(voxels: np.ndarray, scan: DicomScan, target: Path) -> None:
    import nibabel

    image = nibabel.Nifti1Image(voxels, scan.grid.affine)
    image.header.set_xyzt_units("mm")
    with writing(target), replacing(target, keep_suffix=True) as partial:
        nibabel.save(image, partial)


def _document(images: Sequence[Any], mask_ZYX: np.ndarray, segments: Sequence[Any]) -> Any:
    from pydicom.uid import generate_uid

    from semiseg import __version__

    highdicom = _highdicom()
    return highdicom.seg.Segmentation(
        source_images=images,
        pixel_array=mask_ZYX,
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=segments,
        series_instance_uid=generate_uid(),
        series_number=SERIES_NUMBER,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer=NAME,
        manufacturer_model_name=NAME,
        software_versions=__version__,
        device_serial_number="0",
        content_label="SEMISEG",
        series_description="semiseg predict",
        omit_empty_frames=bool(mask_ZYX.any()),
    )


def _highdicom() -> Any:
    try:
        import highdicom
        import highdicom.seg
    except ImportError as error:
        raise UserError(
            f"a DICOM SEG needs packages that are not installed ({first_line(error)})",
            remedy=EXTRA,
        ) from error
    return highdicom


def _source_images(scan: DicomScan) -> tuple[list[Any], list[int]]:
    """Headers of the images, and the slices of the stack in their order: a multi-frame file's own,
    or that of the stack.
    """
    planes = scan.stack.planes
    paths = list(dict.fromkeys(plane.path for plane in planes))
    images = [_complete(read_header(path), scan) for path in paths]
    for image in images[1:]:  # broken anonymisers give each image a study of its own
        image.StudyInstanceUID = images[0].StudyInstanceUID
        image.SeriesInstanceUID = images[0].SeriesInstanceUID
    if len(paths) == len(planes):
        return images, list(range(len(planes)))
    if len(paths) > 1:
        raise UserError(
            f"consists of {len(paths)} multi-frame files, and a DICOM SEG refers to one",
            where=scan.series.folder,
            remedy="write NIfTI instead: --nifti",
        )
    frames = [plane.frame for plane in planes]
    return images, [int(i) for i in np.argsort(frames)]


def _complete(header: Any, scan: DicomScan) -> Any:
    """A header with the attributes that a SEG must repeat, empty where it lacks them.

    A series without a frame of reference gets one that depends on its UID alone. Text is written
    in UTF-8.
    """
    header.decode()
    header.SpecificCharacterSet = "ISO_IR 192"
    for keyword in NEEDED:
        if keyword not in header:
            setattr(header, keyword, None)
    if not header.get("FrameOfReferenceUID"):
        header.FrameOfReferenceUID = reference_of(scan.series.uid)
    if "PerFrameFunctionalGroupsSequence" in header:
        _complete_frames(header, scan)
    elif not header.get("SliceThickness"):
        header.SliceThickness = _gap(scan)
    return header


def _complete_frames(header: Any, scan: DicomScan) -> None:
    """State the directions and the size of pixels for all frames of a multi-frame header at once,
    where it states them frame by frame.
    """
    from pydicom.dataset import Dataset

    highdicom = _highdicom()
    if "SharedFunctionalGroupsSequence" not in header:
        header.SharedFunctionalGroupsSequence = [Dataset()]
    shared = header.SharedFunctionalGroupsSequence[0]
    plane = scan.stack.planes[0]
    shared.PlaneOrientationSequence = highdicom.PlaneOrientationSequence(
        coordinate_system="PATIENT", image_orientation=plane.directions
    )
    shared.PixelMeasuresSequence = highdicom.PixelMeasuresSequence(
        pixel_spacing=plane.spacing,
        slice_thickness=_gap(scan),
        spacing_between_slices=_gap(scan),
    )


def _gap(scan: DicomScan) -> float:
    """Distance between slices, mm."""
    return round(sides_of(scan.stack.affine)[2], 6)


def reference_of(series: str) -> str:
    """The UID of a frame of reference for a series that has none.

    >>> reference_of("1.2.3") == reference_of("1.2.3") != reference_of("1.2.4")
    True
    """
    digest = hashlib.sha256(f"semiseg frame of reference {series}".encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


def _segment_descriptions(classes: Sequence[str]) -> list[Any]:
    from pydicom.sr.codedict import codes
    from pydicom.sr.coding import Code

    from semiseg import __version__

    highdicom = _highdicom()
    algorithm = highdicom.AlgorithmIdentificationSequence(
        name=NAME, version=__version__, family=codes.DCM.ArtificialIntelligence
    )
    return [
        highdicom.seg.SegmentDescription(
            segment_number=number,
            segment_label=name[:64],
            segmented_property_category=Code(*CATEGORY),
            segmented_property_type=Code(*KIND),
            algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm,
            display_color=highdicom.color.CIELabColor.from_rgb(
                *COLOURS[(number - 1) % len(COLOURS)]
            ),
        )
        for number, name in enumerate(classes[1:], 1)
    ]
