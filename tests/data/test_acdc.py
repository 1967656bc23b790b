"""The SSL4MIS reader."""

import h5py
import numpy as np
import pytest

from semiseg.data import check, readers
from semiseg.errors import UserError


def read(folder):
    return readers.read("ssl4mis-acdc", folder, progress=False)


def test_layout(acdc_like):
    """Catches a sorted official order, training slices that are no volume or stand in the order of
    the list, volumes with other axes, two-number spacings.
    """
    found = read(acdc_like)
    assert found.problems == ()
    assert found.official_order == ("patientb", "patienta", "patientc")
    assert found.unit == "voxel"
    first = found.splits["train"][0].load()
    assert (first.subject, first.name, first.index) == ("patientb", "patientb_frame01", 0)
    assert first.image.shape == (3, 16, 12, 1)
    assert first.spacing == (1.0, 1.0, 1.0)
    for i in range(3):
        path = acdc_like / "data" / "slices" / f"patientb_frame01_slice_{i + 1}.h5"
        with h5py.File(path) as file:
            np.testing.assert_array_equal(first.image[i, ..., 0], file["image"][()])
            np.testing.assert_array_equal(first.label[i], file["label"][()])
    (volume,) = [ref.load() for ref in found.splits["val"]]
    with h5py.File(acdc_like / "data" / "patientv_frame02.h5") as file:
        np.testing.assert_array_equal(volume.image[..., 0], file["image"][()])
        np.testing.assert_array_equal(volume.label, file["label"][()])
    assert volume.volume == "patientv_frame02"


def test_a_slice_without_a_label_is_ignored_in_its_volume(acdc_like):
    """Catches a slice nobody annotated that is read as background, or that empties its volume."""
    with h5py.File(acdc_like / "data/slices/patientb_frame01_slice_2.h5", "r+") as file:
        del file["label"]
    label = read(acdc_like).splits["train"][0].load().label
    assert (label[1] == 255).all()
    assert (label[[0, 2]] < 4).all()


def test_test_list_becomes_test(acdc_like):
    """Catches a test list merged with val, and test patients that are also trained on."""
    with h5py.File(acdc_like / "data" / "patientt_frame01.h5", "w") as file:
        file["image"] = np.zeros((2, 8, 8), np.float32)
        file["label"] = np.zeros((2, 8, 8), np.uint8)
    (acdc_like / "test.list").write_text("patientt_frame01\n")
    found = read(acdc_like)
    assert {ref.subject for ref in found.splits["test"]} == {"patientt"}
    assert {ref.subject for ref in found.splits["val"]} == {"patientv"}
    (acdc_like / "test.list").write_text("patientv_frame02\n")
    assert any("patientv: is in val" in line for line in read(acdc_like).problems)


def test_all_problems_at_once(acdc_like):
    """Catches a check that stops early, and damaged HDF5 files, NaN or foreign labels that pass."""
    slices = acdc_like / "data" / "slices"
    (slices / "patienta_frame01_slice_1.h5").unlink()
    (slices / "patientb_frame01_slice_1.h5").write_bytes(b"nonsense")
    with h5py.File(slices / "patienta_frame01_slice_2.h5", "r+") as file:
        file["label"][0, 0] = 9
    with h5py.File(slices / "patientc_frame01_slice_2.h5", "r+") as file:
        file["image"][0, 0] = np.nan
    with h5py.File(acdc_like / "data" / "patientv_frame02.h5", "r+") as file:
        del file["label"]
    found = check.check_source("ssl4mis-acdc", acdc_like, progress=False)
    for word in (
        "patienta_frame01_slice_1.h5: not found",
        "patientb_frame01_slice_1.h5: cannot be read",
        "patienta_frame01_slice_*.h5: subject patienta: label has value 9",
        "patientc_frame01_slice_*.h5: image holds NaN or infinity in 1 of 384 voxels, the first at "
        "slice 1, row 0, column 0",
        "patientv_frame02.h5: has no dataset label",
    ):
        assert any(word in line for line in found), (word, found)


def test_missing_lists(acdc_like):
    """Catches a traceback for a folder of another layout."""
    (acdc_like / "train_slices.list").write_text("")
    with pytest.raises(UserError, match="train_slices.list: is empty"):
        read(acdc_like)
    (acdc_like / "train_slices.list").unlink()
    with pytest.raises(UserError, match="train_slices.list: not found"):
        read(acdc_like)
