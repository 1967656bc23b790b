"""Real data of several layouts, imported without naming their format; skipped where absent."""

import os
from pathlib import Path

import nibabel
import numpy as np
import pytest

from semiseg.cli.data import main
from semiseg.data import store

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = Path(os.environ.get("SEMISEG_REAL_DATA") or REPOSITORY.parent / "shared" / "data")
"""Where hippocampus, gm2018, hc18 and brats15 are."""


@pytest.fixture
def imported(tmp_path):
    """Checks, imports and describes a set; returns its StoreInfo and the root of its store."""

    def run(name, *flags):
        source = FOLDER / name
        if not source.is_dir():
            pytest.skip(f"{name} is not here: set SEMISEG_REAL_DATA to the folder that holds it")
        root = str(tmp_path / "stores")
        where = ["--source", str(source), *flags]
        assert main(["check", *where]) == 0
        assert (
            main(
                [
                    "import",
                    *where,
                    "--name",
                    name,
                    "--root",
                    root,
                ]
            )
            == 0
        )
        assert main(["describe", name, "--root", root]) == 0
        return store.info(name, root), root

    return run


def test_hippocampus(imported):
    """Catches subjects that vanish, and voxels that are not the file's."""
    info, root = imported(
        "hippocampus",
        "--classes",
        "background,anterior,posterior",
    )
    assert sum(count["subjects"] for count in info.counts.values()) == 96
    assert info.unit == "mm"
    case = store.read_split("hippocampus", "val", root)[0]
    file = nibabel.load(FOLDER / "hippocampus" / "images" / f"{case.name}.nii.gz")
    assert sorted(case.image.shape[:3]) == sorted(file.shape)
    assert case.image.sum(dtype=np.float64) == np.asarray(file.dataobj).sum(dtype=np.float64)


def test_gray_matter(imported):
    """Catches one person's sessions in two splits, and gray matter that the cord hides."""
    info, root = imported("gm2018")
    assert sum(count["subjects"] for count in info.counts.values()) == 6
    assert info.classes == ("background", "seg-manual", "gmseg-manual")
    splits = {
        case.name: split
        for split in ("train", "val")
        for case in store.read_split("gm2018", split, root)
    }
    for person in ("9709", "10062"):
        homes = {split for name, split in splits.items() if name.startswith(f"sub-{person}Ses")}
        assert len(homes) <= 1
    for case in store.read_split("gm2018", "train", root):
        assert case.spacing[0] > 2 * case.spacing[1]
        assert (case.label == 2).sum() > 0


@pytest.mark.slow
def test_head_circumference(imported):
    """Catches pixels without a size, and examinations in two splits."""
    flags = ("--subject-pattern", r"^(\d+)_", "--classes", "background,head")
    info, root = imported("hc18", *flags)
    assert sum(count["subjects"] for count in info.counts.values()) == 27
    assert info.unit == "mm"
    for case in store.read_split("hc18", "train", root):
        assert 0.05 < case.spacing[0] < 0.4
        assert set(np.unique(case.label)) == {0, 1}


@pytest.mark.slow
def test_brain_tumour(imported):
    """Catches two channels in one file, and a label of floats."""
    flags = ("--channel-files", "Flair,T1c", "--label", "OTMultiClass", "--splits", "train")
    info, root = imported("brats15", *flags)
    assert info.channels == 2
    case = store.read_split("brats15", "train", root)[0]
    assert case.image.shape == (155, 240, 240, 2)
    assert set(np.unique(case.label)) == {0, 1, 2, 3, 4}
