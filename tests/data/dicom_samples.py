"""Small DICOM objects, written with pydicom."""

import warnings
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
    RTStructureSetStorage,
    generate_uid,
)

from semiseg.data import readers
from semiseg.data.dicom_scan import read_scan
from semiseg.data.dicom_series import find_series

AXIAL = (1, 0, 0, 0, 1, 0)
SAGITTAL = (0, 1, 0, 0, 0, -1)
CORONAL = (1, 0, 0, 0, 0, -1)
SPACING = (0.5, 0.8)
"""Between rows and between columns, mm."""
GAP = 2.5
ORIGIN = (-10.0, -20.0, 30.0)
NAME = "Doe^Jane"
BIRTH_DATE = "19700102"


def stored(slices=4, rows=6, columns=8, seed=0):
    """Stored values ``(Z, Y, X)`` int16, -24 to 1999 HU after a rescale by -1024."""
    rng = np.random.default_rng(seed)
    return rng.integers(1000, 3024, (slices, rows, columns), dtype=np.int16)


def positions(count, directions=AXIAL, gap=GAP, origin=ORIGIN):
    """Places of slices along their normal."""
    cosines = np.array(directions, float)
    normal = np.cross(cosines[:3], cosines[3:])
    return [np.array(origin) + i * gap * normal for i in range(count)]


def blank(kind, patient="ID-4711"):
    """An object without content."""
    header = Dataset()
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.file_meta.MediaStorageSOPClassUID = kind
    header.SOPClassUID = kind
    header.SOPInstanceUID = generate_uid()
    header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
    header.PatientID = patient
    header.PatientName = NAME
    header.PatientBirthDate = BIRTH_DATE
    header.StudyInstanceUID = generate_uid(entropy_srcs=[patient, "study"])
    header.SeriesInstanceUID = generate_uid()
    header.SeriesNumber = 7
    header.SeriesDescription = "thorax"
    return header


def write(header, path):
    """Write an object where it says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header.save_as(path, enforce_file_format=True)


def with_pixels(header, pixels):
    """``header`` with stored values int16 or uint16."""
    header.SamplesPerPixel = 1
    header.PhotometricInterpretation = "MONOCHROME2"
    header.Rows = pixels.shape[-2]
    header.Columns = pixels.shape[-1]
    header.BitsAllocated = 16
    header.BitsStored = 16
    header.HighBit = 15
    header.PixelRepresentation = int(pixels.dtype == np.int16)
    header.PixelData = pixels.tobytes()
    return header


def images(voxels_ZYX, directions=AXIAL, places=None, patient="ID-4711", reference="1.2.3.4"):
    """The images of a CT series, in the order of their positions."""
    if places is None:
        places = positions(len(voxels_ZYX), directions)
    series = generate_uid()
    headers = []
    for plane, place in zip(voxels_ZYX, places, strict=True):
        header = with_pixels(blank(CTImageStorage, patient), plane)
        header.SeriesInstanceUID = series
        header.Modality = "CT"
        header.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        header.FrameOfReferenceUID = reference
        header.ImagePositionPatient = [float(value) for value in place]
        header.ImageOrientationPatient = list(directions)
        header.PixelSpacing = list(SPACING)
        header.SliceThickness = GAP
        header.RescaleSlope = 1
        header.RescaleIntercept = -1024
        headers.append(header)
    return headers


def write_images(headers, folder):
    """Files whose names say nothing of the order of the slices."""
    for i, header in enumerate(headers):
        write(header, folder / f"IM{(i * 7 + 3) % 97:04d}")
    return folder


def write_ct(folder, size=(4, 6, 8), seed=0, **options):
    """The files of a CT; ``options`` are those of :func:`images`."""
    return write_images(images(stored(*size, seed), **options), folder)


def multi_frame(voxels_ZYX, patient="ID-4711"):
    """The same as one enhanced CT, its frames in reverse order."""
    backwards = voxels_ZYX[::-1]
    header = with_pixels(blank(EnhancedCTImageStorage, patient), backwards)
    header.Modality = "CT"
    header.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    header.FrameOfReferenceUID = "1.2.3.4"
    header.NumberOfFrames = len(voxels_ZYX)
    shared = Dataset()
    shared.PlaneOrientationSequence = _item(ImageOrientationPatient=list(AXIAL))
    shared.PixelMeasuresSequence = _item(PixelSpacing=list(SPACING), SliceThickness=GAP)
    shared.PixelValueTransformationSequence = _item(
        RescaleSlope=1, RescaleIntercept=-1024, RescaleType="HU"
    )
    header.SharedFunctionalGroupsSequence = Sequence([shared])
    frames = []
    for place in positions(len(voxels_ZYX))[::-1]:
        frame = Dataset()
        frame.PlanePositionSequence = _item(ImagePositionPatient=[float(x) for x in place])
        frames.append(frame)
    header.PerFrameFunctionalGroupsSequence = Sequence(frames)
    return header


def _item(**values):
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return Sequence([item])


# ------------------------------------------------------------------ structures
def structures(regions, patient="ID-4711"):
    """An RTSTRUCT that names a series and a frame of reference which do not exist.

    Args:
      regions: name → contours, each a list of (column, row, slice) on the grid of ``images``.
      patient: its ID.
    """
    header = blank(RTStructureSetStorage, patient)
    header.Modality = "RTSTRUCT"
    study = Dataset()
    study.RTReferencedSeriesSequence = _item(SeriesInstanceUID=generate_uid())
    reference = Dataset()
    reference.FrameOfReferenceUID = generate_uid()
    reference.RTReferencedStudySequence = Sequence([study])
    header.ReferencedFrameOfReferenceSequence = Sequence([reference])
    names = []
    contours = []
    for number, (name, polygons) in enumerate(regions.items(), 1):
        names.append(_item(ROINumber=number, ROIName=name)[0])
        region = Dataset()
        region.ReferencedROINumber = number
        region.ContourSequence = Sequence([_contour(polygon) for polygon in polygons])
        contours.append(region)
    header.StructureSetROISequence = Sequence(names)
    header.ROIContourSequence = Sequence(contours)
    return header


def _contour(polygon):
    index = np.array(polygon, float)
    points = index * (SPACING[1], SPACING[0], GAP) + ORIGIN
    contour = Dataset()
    contour.ContourGeometricType = "CLOSED_PLANAR"
    contour.NumberOfContourPoints = len(points)
    contour.ContourData = [f"{value:.6g}" for value in points.ravel()]
    return contour


def box(left, top, right, bottom, z):
    """A contour around the pixels from (left, top) to (right, bottom)."""
    low = -0.5
    return [
        (left + low, top + low, z),
        (right - low, top + low, z),
        (right - low, bottom - low, z),
        (left + low, bottom - low, z),
    ]


def directory(reference, path):
    """A DICOMDIR that names another file."""
    header = blank(MediaStorageDirectoryStorage)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a file ID may not hold ".."
        record = _item(DirectoryRecordType="IMAGE", ReferencedFileID=list(Path(reference).parts))
        header.DirectoryRecordSequence = record
        write(header, path)


def compressed(headers, syntax):
    """Images in a compressed transfer syntax."""
    for header in headers:
        header.compress(syntax, generate_instance_uid=False)
    return headers


def read_back(path):
    """An object as it is in a file."""
    return pydicom.dcmread(path)


# ------------------------------------------------------------------ as semiseg reads them
def only_scan(folder, plane="axial"):
    """The one series of a folder."""
    findings = find_series(folder)
    assert not findings.problems
    (series,) = findings.series
    return read_scan(series, plane)


def only_series(folder):
    """The one series of a folder, whatever its slices make."""
    (series,) = find_series(folder).series
    return series


def read_set(folder, **options):
    """What the reader makes of a folder."""
    return readers.read("dicom", folder, progress=False, **options)


def refs_of(source):
    """The cases of all splits, before they are loaded."""
    refs = []
    for members in source.splits.values():
        refs += members
    return refs


def write_study(folder, regions, **options):
    write_images(images(stored(rows=20, columns=24), **options), folder / "ct")
    write(structures(regions, **options), folder / "rs.dcm")
    return folder


def mask_of(*boxes, rows=20, columns=24, slices=4):
    """Ones in boxes (left, top, right, bottom, z), which turn what lies below."""
    mask = np.zeros((slices, rows, columns), bool)
    for left, top, right, bottom, z in boxes:
        mask[z, top : bottom + 1, left : right + 1] ^= True
    return mask
