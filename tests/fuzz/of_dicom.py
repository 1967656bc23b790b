"""DICOM series as ``semiseg predict`` reads them, against pydicom."""

from __future__ import annotations

from pathlib import Path
from random import Random

import numpy as np

from fuzz import mutate_bytes, mutate_scans, truths
from fuzz.engine import DIFFERENT, FAILURE, SAME, Kind, Place, Tree, Verdict, written
from fuzz.of_scans import LIBRARIES, refusal


def seeds() -> dict[str, Tree]:
    import dicom_samples
    from pydicom.uid import RLELossless

    def series(folder: Path) -> None:
        dicom_samples.write_ct(folder)

    def frames(folder: Path) -> None:
        header = dicom_samples.multi_frame(dicom_samples.stored())
        dicom_samples.write(header, folder / "many.dcm")

    def packed(folder: Path) -> None:
        headers = dicom_samples.images(dicom_samples.stored())
        headers = dicom_samples.compressed(headers, RLELossless)
        dicom_samples.write_images(headers, folder)

    return {"series": written(series), "frames": written(frames), "packed": written(packed)}


def mutate(tree: Tree, rng: Random) -> str:
    """Change elements of one file, or take one away."""
    if rng.random() < 0.05:
        name = rng.choice(sorted(tree))
        if len(tree) > 1:
            del tree[name]
        return f"{name} removed"
    return mutate_bytes.mutate_one(tree, rng, mutate_scans.dicom)


def read(place: Place) -> Verdict:
    """Read as a prediction does, and compare with pydicom."""
    from semiseg.data.dicom_input import inputs_of, is_series, read_input
    from semiseg.errors import UserError

    if not is_series(place.input):
        return refusal("holds no DICOM file")
    try:
        scan = read_input(place.input)
    except MemoryError:
        raise
    except UserError as error:
        return refusal(str(error))
    if not np.isfinite(scan.image).all():
        return Verdict(FAILURE, "silent dicom: not finite")
    sides = np.linalg.norm(scan.affine[:3, :3], axis=0)
    if not 1e-6 < min(sides) <= max(sides) < 1e6:
        return Verdict(FAILURE, "silent dicom: spacing", str(scan.spacing))
    if place.name == "frames" or has_unused_bits(place.input):
        return Verdict(DIFFERENT)
    notes = inputs_of(place.input).notes
    if notes:  # a prediction says what was left out
        return Verdict(DIFFERENT, detail=notes[0])
    try:
        expected = truth_of(place.input, scan.image.shape[0])
    except Exception as error:
        return Verdict(FAILURE, "silent dicom: pydicom does not read it", repr(error))
    words = truths.differs(scan.image, scan.affine, expected)
    if words:
        return Verdict(FAILURE, f"silent dicom: {words.partition(' ')[0]}", words)
    if place.tree == place.seed:
        return Verdict(SAME)
    return Verdict(DIFFERENT)


def has_unused_bits(folder: Path) -> bool:
    """Whether a file stores less bits than it has; pydicom does not take the others away."""
    import pydicom

    for path in folder.iterdir():
        try:
            header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
            if header.BitsStored != header.BitsAllocated:
                return True
        except Exception:
            continue
    return False


def truth_of(folder: Path, number: int) -> truths.Truth:
    """The slices of a folder in the order of their places, by pydicom alone."""
    import pydicom

    headers = []
    for path in sorted(folder.iterdir()):
        try:
            header = pydicom.dcmread(path)
            header.pixel_array  # noqa: B018  raises where there are none
            headers.append(header)
        except Exception:
            continue
    if len(headers) != number:
        raise ValueError(f"{len(headers)} of {number} slices can be read")
    cosines = np.array(headers[0].ImageOrientationPatient, float)
    normal = np.cross(cosines[:3], cosines[3:])
    depths = [float(normal @ np.array(one.ImagePositionPatient, float)) for one in headers]
    order = np.argsort(depths)
    planes = []
    for place in order:
        header = headers[place]
        slope = float(header.get("RescaleSlope", 1))
        intercept = float(header.get("RescaleIntercept", 0))
        planes.append(header.pixel_array * slope + intercept)
    rows, columns = (float(side) for side in headers[0].PixelSpacing)
    first = np.array(headers[order[0]].ImagePositionPatient, float)
    last = np.array(headers[order[-1]].ImagePositionPatient, float)
    affine = np.eye(4)
    affine[:3, 0] = cosines[:3] * columns
    affine[:3, 1] = cosines[3:] * rows
    affine[:3, 2] = (last - first) / (len(order) - 1)
    affine[:3, 3] = first
    numbers = np.stack(planes).transpose(2, 1, 0)[..., None]
    return truths.Truth(numbers, truths.LPS @ affine)


KINDS = (
    Kind("scan.dicom", seeds, mutate, read, 3, (*LIBRARIES, "pydicom.pixels", "pydicom.encoders")),
)
