"""Tiny data sets on disk."""

import os
from pathlib import Path

import numpy as np
import pytest
from data_samples import picture, write_png

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def pictures(tmp_path):
    """A folder of ten pictures with labels."""
    folder = tmp_path / "pictures"
    for i in range(10):
        image, label = picture(i)
        write_png(folder / "images" / f"p{i}.png", image)
        write_png(folder / "labels" / f"p{i}.png", label)
    return folder


@pytest.fixture
def acdc_like(tmp_path):
    """The SSL4MIS layout with three training patients (b, a, c in list order), one frame each, and
    one validation volume.
    """
    import h5py

    folder = tmp_path / "acdc"
    (folder / "data" / "slices").mkdir(parents=True)
    rng = np.random.default_rng(0)
    names = []
    for patient, slices in (("b", 3), ("a", 2), ("c", 2)):
        for z in range(1, slices + 1):
            names.append(f"patient{patient}_frame01_slice_{z}")
            with h5py.File(
                folder / "data" / "slices" / f"{names[-1]}.h5",
                "w",
            ) as file:
                file["image"] = rng.random((16, 12), np.float32)
                file["label"] = rng.integers(0, 4, (16, 12), dtype=np.uint8)
    with h5py.File(folder / "data" / "patientv_frame02.h5", "w") as file:
        file["image"] = rng.random((4, 16, 20), np.float32)
        file["label"] = rng.integers(0, 4, (4, 16, 20), dtype=np.uint8)
    (folder / "train_slices.list").write_text("\n".join(names) + "\n")
    (folder / "val.list").write_text("patientv_frame02\n")
    return folder


@pytest.fixture(scope="session")
def acdc():
    """The real ACDC slices."""
    folder = Path(os.environ.get("SEMISEG_ACDC") or REPOSITORY.parent / "shared" / "data" / "acdc")
    if not (folder / "train_slices.list").exists():
        pytest.skip("ACDC in the SSL4MIS layout is not here: set SEMISEG_ACDC to its folder")
    return folder


@pytest.fixture(scope="session")
def dsb():
    """The real Data Science Bowl zip."""
    path = Path(
        os.environ.get("SEMISEG_DSB2018")
        or REPOSITORY.parent / "shared" / "data" / "dsb2018" / "stage1_train.zip"
    )
    if not path.exists():
        pytest.skip(
            "the Data Science Bowl's stage1_train.zip is not here: set SEMISEG_DSB2018 to its path"
        )
    return path
