"""Studies with contours through ``semiseg data import``: each scan and each mask that is stored is
that of a study, as pydicom and a rasterisation of our own read it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fuzz import truths
from fuzz.engine import (
    DIFFERENT,
    FAILURE,
    SAME,
    Kind,
    Outcome,
    Place,
    Tree,
    Verdict,
    judged,
    write_tree,
    written,
)
from fuzz.of_dicom import has_unused_bits, truth_of
from fuzz.of_sets import IMPORTS, mutate, typed

STUDIES = 4
SLICES = 4
REGION = "GTV-1"
FLAGS = {"roi": REGION, "classes": "background,tumour"}


def seeds() -> dict[str, Tree]:
    """Studies of four patients, each with other pixels and another contour."""
    import dicom_samples

    def write(folder: Path) -> None:
        for number in range(STUDIES):
            patient = f"ID-{number}"
            voxels = dicom_samples.stored(SLICES, 20, 24, seed=number)
            regions = {REGION: [dicom_samples.box(2, 2, 6 + number, 7, 1)]}
            place = folder / f"p{number}"
            dicom_samples.write_images(
                dicom_samples.images(voxels, patient=patient, reference=f"1.2.3.{number}"),
                place / "ct",
            )
            structures = dicom_samples.structures(regions, patient=patient)
            dicom_samples.write(structures, place / "rs.dcm")

    return {"dicom": written(write)}


class Study(NamedTuple):
    """What other programs read of a study: the scan, and the mask ``(X, Y, Z, 1)`` on its grid."""

    scan: truths.Truth
    mask: truths.Truth | None


def import_studies(place: Place) -> Verdict:
    """Import them; what the set holds is what the files say, or a line says what is left out."""
    from semiseg.data import store

    outcome = typed("import", place, "dicom", FLAGS)
    refused = judged(outcome)
    if refused is not None:
        return refused
    known = store.info("x", place.work / "root")
    number = sum(known.number(split) for split in ("train", "val", "test"))
    cases = []
    for split in ("train", "val"):
        if known.number(split):
            cases += store.read_split("x", split, place.work / "root")
    before = place.work / "before"
    before.mkdir()
    write_tree(before, place.seed)
    as_seeded = dict(_studies(before))
    as_stated = dict(_studies(place.input))
    said = _words(outcome)
    same = number == STUDIES
    for case in cases:
        study = _study_of(case, as_seeded)
        same = same and study is not None
        if study is None:
            study = _study_of(case, as_stated)
        if study is None and re.search("it is no DICOM file|left out (objects|images)", said):
            continue
        if study is None and any(has_unused_bits(path) for path in place.input.rglob("ct")):
            continue
        if study is None:
            return Verdict(FAILURE, "silent dicom set: a scan or mask of nobody", case.name + said)
        if case.label is None and study.mask is not None and "without annotation" not in said:
            return Verdict(FAILURE, "silent dicom set: a mask is left out", case.name + said)
    if number < STUDIES and "left out" not in said:
        return Verdict(FAILURE, "silent dicom set: a study is left out", said)
    if same:
        return Verdict(SAME)
    return Verdict(DIFFERENT, detail="what the files state, or a note says" + said)


def _words(outcome: Outcome) -> str:
    return f"\n{outcome.out}\n{outcome.err}"


def _study_of(case: object, studies: dict[str, Study]) -> Study | None:
    """The study of which a stored case has the pixels and, where it has a mask, the mask."""
    for study in studies.values():
        if truths.differs(case.image, case.affine, study.scan):  # type: ignore[attr-defined]
            continue
        label = case.label  # type: ignore[attr-defined]
        if label is None or (study.mask is not None and _is_mask(case, study.mask)):
            return study
    return None


def _is_mask(case: object, mask: truths.Truth) -> bool:
    label = case.label[..., None]  # type: ignore[attr-defined]
    return not truths.differs(label, case.affine, mask)  # type: ignore[attr-defined]


# ------------------------------------------------------------------ what pydicom reads
def _studies(folder: Path) -> Iterator[tuple[str, Study]]:
    """The studies of a folder that can be read, by the folder's name."""
    for place in sorted(folder.iterdir()):
        try:
            scan = truth_of(place / "ct", _files_in(place / "ct"))
        except Exception:
            continue
        yield place.name, Study(scan, _mask(place / "rs.dcm", scan))


def _files_in(folder: Path) -> int:
    """Files of a folder, without hidden ones: who takes the last slice away leaves a whole scan."""
    return sum(path.is_file() and not path.name.startswith(".") for path in folder.iterdir())


def _mask(path: Path, scan: truths.Truth) -> truths.Truth | None:
    """The region of a structure set on the grid of its scan; None where there is none."""
    import pydicom

    try:
        header = pydicom.dcmread(path)
        names = {one.ROINumber: one.ROIName for one in header.StructureSetROISequence}
        contours = []
        for region in header.ROIContourSequence:
            if names[region.ReferencedROINumber] == REGION:
                contours += [one.ContourData for one in region.ContourSequence]
        points = [np.array(contour, float).reshape(-1, 3) for contour in contours]
    except Exception:
        return None
    assert scan.affine is not None
    to_index = np.linalg.inv(truths.LPS @ scan.affine)
    inside = np.zeros(scan.numbers.shape[:3], bool)
    for contour in points:
        index = contour @ to_index[:3, :3].T + to_index[:3, 3]
        z = int(np.clip(np.rint(index[:, 2].mean()), 0, inside.shape[2] - 1))
        inside[..., z] ^= _inside(index[:, :2], inside.shape[:2])
    return truths.Truth(inside[..., None].astype(np.float64), scan.affine)


def _inside(corners: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """``(X, Y)`` bool: centres of pixels from which a ray along Y crosses an odd number of edges.

    >>> square = np.array([[0.5, 0.5], [2.5, 0.5], [2.5, 1.5], [0.5, 1.5]])
    >>> _inside(square, (4, 3)).astype(int).tolist()
    [[0, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 0]]
    """
    x, y = np.indices(shape)
    odd = np.zeros(shape, bool)
    for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        between = (start[0] > x) != (end[0] > x)
        with np.errstate(all="ignore"):
            crossing = start[1] + (x - start[0]) * (end[1] - start[1]) / (end[0] - start[0])
        odd ^= between & (y < crossing)
    return odd


KINDS = (Kind("set.dicom", seeds, mutate, import_studies, 0.5, IMPORTS),)
