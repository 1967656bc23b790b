"""Every real set from its files to masks: check, import, describe, train, evaluate, predict.

A set takes 10 seconds to 6 minutes, so that the chain runs with SEMISEG_ALL_RUNS=1 alone. One
that is absent is skipped; SEMISEG_REAL_DATA names the folder that holds them. Other readers
(nibabel, Pillow, highdicom, SimpleITK) say where the masks lie.
"""

import csv
import os
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from semiseg.cli.main import main
from semiseg.data import readers

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = Path(os.environ.get("SEMISEG_REAL_DATA") or REPOSITORY.parent / "shared" / "data")
EXAMINATION = r"^(\d+)_"

minutes = pytest.mark.skipif(
    not os.environ.get("SEMISEG_ALL_RUNS"), reason="SEMISEG_ALL_RUNS=1 runs it (minutes)"
)

FLAT = ("--image-size", "32", "--net.widths", "4,8")
SOLID = ("--net.dims", "3", "--depth", "16", *FLAT)


@dataclass(frozen=True)
class RealSet:
    """A set below FOLDER, and how a user brings it through.

    Attributes:
      source: what is imported, below FOLDER, or in the test's own folder (``laid_out``).
      flags: of ``data check`` and ``data import``.
      network: flags of ``train``.
      split: what ``evaluate`` scores; empty where the set has one subject.
      prediction: flags of ``predict``.
    """

    source: str
    flags: tuple[str, ...] = ()
    network: tuple[str, ...] = FLAT
    split: str = "val"
    prediction: tuple[str, ...] = ()


SETS = {
    "acdc": RealSet("acdc", network=SOLID),
    # one patient, who trains: nobody is left to score, and one patient makes no folds
    "brats15": RealSet(
        "brats15",
        ("--channel-files", "Flair,T1c", "--label", "OTMultiClass", "--splits", "train"),
        (*SOLID, "--spacing", "6"),
        split="",
    ),
    "ct_rtstruct": RealSet(
        "ct_rtstruct",
        ("--roi", "GTV-1", "--classes", "background,tumour"),
        (*FLAT, "--intensity", "ct-soft"),
        split="test",
        prediction=("--nifti",),
    ),
    "dicom": RealSet(
        "laid_out",
        ("--segments", "1", "--subjects-are-folders", "True", "--allow-near-duplicates", "True"),
        prediction=("--nifti",),
    ),
    "dsb2018": RealSet("laid_out", ("--allow-near-duplicates", "True")),
    "gm2018": RealSet("gm2018", split="test"),
    "hc18": RealSet(
        "hc18",
        ("--subject-pattern", EXAMINATION, "--classes", "background,head"),
        (*FLAT, "--spacing", "2"),
        split="test",
        prediction=("--spacing", "0.1"),
    ),
    "hippocampus": RealSet(
        "hippocampus", ("--classes", "background,anterior,posterior"), (*SOLID, "--depth", "16")
    ),
}


@minutes
@pytest.mark.parametrize("name", SETS)
def test_from_files_to_masks(name, tmp_path, monkeypatch, capfd):
    """Catches a set of which a step fails, and masks that do not lie on their scans."""
    if not (FOLDER / name).is_dir():
        pytest.skip(f"{name} is not here: set SEMISEG_REAL_DATA to the folder that holds it")
    if name in ("dicom", "ct_rtstruct"):
        pytest.importorskip("pydicom", reason="needs the extra dicom")
    monkeypatch.setenv("SEMISEG_DATA", str(tmp_path / "stores"))
    monkeypatch.chdir(tmp_path)
    real = SETS[name]
    source = FOLDER / real.source
    if name == "dicom":
        source = _three_patients(FOLDER / name, tmp_path / "studies")
    elif name == "dsb2018":
        source = _few_nuclei(FOLDER / name / "stage1_train.zip", tmp_path / "stage1_train")
    _semiseg("data", "import", "--source", source, "--name", name, *real.flags)
    _semiseg("data", "check", name)
    _semiseg("data", "describe", name, "--preview", "seen.png", "--image-size", "32")
    assert Image.open("seen.png").size[0] > 500
    _semiseg(
        *("train", "--data", name, *real.network, "--batch", "2", "--steps", "4"),
        *("--eval-every", "4", "--out", "run"),
    )
    if real.split:
        _semiseg("evaluate", "run", "--split", real.split)
    images = _new_images(name, source, tmp_path / "new")
    _semiseg("predict", "run", "--input", images, "--output", "masks", *real.prediction)
    masks = sorted(path for path in Path("masks").rglob("[!.]*.*") if path.is_file())
    assert masks
    for mask in masks:
        _check_place(mask, images)


def test_sessions_of_a_person_stay_together():
    """Catches one person in two splits of the spinal cords."""
    if not (FOLDER / "gm2018").is_dir():
        pytest.skip("gm2018 is not here: set SEMISEG_REAL_DATA to the folder that holds it")
    for seed in range(3):
        source = readers.read("bids", FOLDER / "gm2018", seed=seed, progress=False)
        scans = [(ref.name, split) for split, refs in source.splits.items() for ref in refs]
        assert len(scans) == 8
        for person in ("sub-9709Ses", "sub-10062Ses"):
            homes = [split for name, split in scans if name.startswith(person)]
            assert len(homes) == 2
            assert len(set(homes)) == 1


def test_pixel_sizes_and_examinations_of_heads():
    """Catches a pixel size that is not the table's, and an examination in two splits."""
    folder = FOLDER / "hc18"
    if not folder.is_dir():
        pytest.skip("hc18 is not here: set SEMISEG_REAL_DATA to the folder that holds it")
    with (folder / "pixel_size_and_HC.csv").open() as file:
        sizes = {
            row["filename"].removesuffix(".png"): float(row["pixel size(mm)"])
            for row in csv.DictReader(file)
        }
    source = readers.read("folder", folder, subject_pattern=EXAMINATION, progress=False)
    splits: dict[str, set[str]] = {}
    number = 0
    for split, refs in source.splits.items():
        for ref in refs:
            case = ref.load()
            assert case.spacing == pytest.approx((sizes[case.name],) * 2)
            assert case.subject == case.name.split("_")[0]
            splits.setdefault(case.subject, set()).add(split)
            number += 1
    assert (number, len(splits)) == (37, 27)
    assert all(len(homes) == 1 for homes in splits.values())


# ------------------------------------------------------------------ the chain
def _semiseg(*words):
    argv = [str(word) for word in words]
    assert main(argv) == 0, " ".join(argv)


def _three_patients(dicom: Path, target: Path) -> Path:
    """Three CTs with their segments, a folder a patient."""
    for name in ("23x38x3", "24x38x3"):
        for part in ("image", "seg"):
            shutil.copytree(dicom / "dcmqi" / name / part, target / name, dirs_exist_ok=True)
    shutil.copytree(dicom / "dcmqi" / "ct-3slice", target / "ct")
    shutil.copy(dicom / "dcmqi" / "liver.dcm", target / "ct" / "liver.dcm")
    return target


def _few_nuclei(archive: Path, target: Path) -> Path:
    """Forty images of the Data Science Bowl with the masks of their nuclei."""
    with zipfile.ZipFile(archive) as file:
        names = [name for name in file.namelist() if name.endswith(".png")]
        scans = sorted({name.split("/")[-3] for name in names})[:40]
        for name in names:
            scan, part, picture = name.split("/")[-3:]
            if scan in scans:
                path = target / scan / part / picture
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(file.read(name))
    return target


def _new_images(name: str, source: Path, target: Path) -> Path:
    """A few scans of a set, as files that ``predict`` takes."""
    if name == "acdc":  # HDF5 files: their scans as NIfTI
        _semiseg("data", "export", "acdc", "--out", "exported", "--without-test")
        files = {
            path.name.replace("_0000", ""): path for path in Path("exported/imagesTr").iterdir()
        }
    elif name == "brats15":
        (patient,) = [path for path in source.iterdir() if path.is_dir()]
        files = {
            f"p_000{k}.nii.gz": patient / f"{word}_subtrMeanDivStd.nii.gz"
            for k, word in enumerate(("Flair", "T1c"))
        }
    elif name == "dsb2018":
        found = source.rglob("images/*.png")
        files = {path.name: path for path in found}
    elif name in ("ct_rtstruct", "dicom"):
        return source
    else:
        folders = [source / "images"]
        if name == "gm2018":
            folders = [source / "sub-9604", source / "sub-9418"]
        paths = [path for folder in folders for path in folder.rglob("*.*")]
        files = {path.name: path for path in sorted(paths) if path.suffix in (".gz", ".png")}
    target.mkdir()
    for new, path in sorted(files.items())[:3]:
        shutil.copy(path, target / new)
    return target


# ------------------------------------------------------------------ where a mask lies
def _check_place(mask: Path, images: Path):
    """The mask has its scan's grid, by readers that are not ours."""
    relative = mask.relative_to("masks")
    if mask.suffix == ".dcm":
        _check_segments(mask, images / relative.with_suffix(""))
    elif mask.with_name(mask.name.removesuffix(".nii.gz") + ".dcm").exists():
        _check_itk(mask, images / relative.with_name(relative.name.removesuffix(".nii.gz")))
    elif mask.suffix == ".png":
        assert Image.open(mask).size == Image.open(images / relative).size
    else:
        scan = images / relative
        if not scan.exists():
            scan = scan.with_name(scan.name.replace(".nii.gz", "_0000.nii.gz"))
        result = nibabel.load(mask)
        original = nibabel.load(scan)
        assert result.shape == original.shape[:3]
        np.testing.assert_allclose(result.affine, original.affine, atol=1e-4)
        np.testing.assert_allclose(result.header.get_zooms(), original.header.get_zooms()[:3])


def _slices(folder: Path):
    """The image files of a series."""
    import pydicom

    slices = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            file = pydicom.dcmread(path, stop_before_pixels=True)
            if file.Modality not in ("SEG", "RTSTRUCT"):
                slices.append((path, file))
    return slices


def _check_segments(mask: Path, series: Path):
    """Catches another frame of reference, size, or place of a plane."""
    highdicom = pytest.importorskip("highdicom")
    segmentation = highdicom.seg.segread(mask)
    files = [file for _, file in _slices(series)]
    first = files[0]
    assert segmentation.FrameOfReferenceUID == first.FrameOfReferenceUID
    assert segmentation.PatientID == first.PatientID
    assert (segmentation.Rows, segmentation.Columns) == (first.Rows, first.Columns)
    shared = segmentation.SharedFunctionalGroupsSequence[0]
    spacing = shared.PixelMeasuresSequence[0].PixelSpacing
    assert [float(side) for side in spacing] == pytest.approx(list(first.PixelSpacing))
    direction = shared.PlaneOrientationSequence[0].ImageOrientationPatient
    assert list(direction) == pytest.approx(list(first.ImageOrientationPatient), abs=1e-5)
    planes = np.array([file.ImagePositionPatient for file in files], float)
    for frame in segmentation.PerFrameFunctionalGroupsSequence:
        place = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
        assert np.abs(planes - place).sum(axis=1).min() < 1e-2
    named = {uid for _, _, uid in segmentation.get_source_image_uids()}
    assert named <= {file.SOPInstanceUID for file in files}


def _check_itk(mask: Path, series: Path):
    """Catches a NIfTI beside the SEG that lies elsewhere than ITK puts the series."""
    sitk = pytest.importorskip("SimpleITK")
    slices = sorted(_slices(series), key=_height)
    image = sitk.ReadImage([str(path) for path, _ in slices])
    result = sitk.ReadImage(str(mask))
    assert result.GetSize() == image.GetSize()
    np.testing.assert_allclose(_centre(result), _centre(image), atol=1e-2)
    np.testing.assert_allclose(sorted(result.GetSpacing()), sorted(image.GetSpacing()), rtol=1e-3)


def _height(file) -> float:
    return float(file[1].ImagePositionPatient[2])


def _centre(image):
    """Millimetres of the middle voxel."""
    return image.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in image.GetSize()])
