"""MetaImage headers that ITK believes, names that are none, and lines of brackets in a ledger."""

import numpy as np
import pytest
import SimpleITK as sitk

from semiseg.cli.main import main
from semiseg.data import array_records, ledger
from semiseg.data.input_scan import read_scan
from semiseg.data.sitk_files import read_voxels
from semiseg.errors import UserError

CHANGES = {
    "axes": (b"NDims = 3", b"NDims = 1e308", "declares '1e308' axes"),
    "list": (b"ElementDataFile = LOCAL", b"ElementDataFile = LIST\nno.raw", "which is not there"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_headers_that_itk_believes_are_refused(name, tmp_path):
    """Catches a segmentation fault of ITK, and voxels that are stale memory."""
    old, new, words = CHANGES[name]
    path = tmp_path / "p7.mha"
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((3, 4, 5), np.int16)), str(path))
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))
    with pytest.raises(UserError, match=words):
        read_voxels(path)


def listing(folder, slices):
    """A MetaImage of three slices of 4 × 5 whose header lists so many of their files."""
    for i in range(3):
        np.arange(20, dtype="<i2").tofile(folder / f"s{i}.raw")
    header = folder / "p7.mhd"
    lines = ["NDims = 3", "DimSize = 5 4 3", "ElementType = MET_SHORT", "ElementDataFile = LIST"]
    header.write_text("\n".join([*lines, *(f"s{i}.raw" for i in range(slices)), ""]))
    return header


def test_a_list_of_too_few_files_is_refused(tmp_path):
    """Catches slices that are stale memory."""
    whole = read_voxels(listing(tmp_path, 3))
    assert (whole[..., 0].T.reshape(3, 20) == np.arange(20)).all()
    for slices, words in ((0, "lists no file"), (1, "have 40"), (2, "have 80")):
        with pytest.raises(UserError, match=words):
            read_voxels(listing(tmp_path, slices))


@pytest.mark.parametrize("name", [b"CompressedDataSizf", b"CompresSedDataSize"])
def test_compressed_voxels_without_a_size_are_refused(name, tmp_path):
    """Catches voxels that are stale memory."""
    path = tmp_path / "p7.mha"
    sitk.WriteImage(sitk.GetImageFromArray(np.ones((3, 4, 5), np.int16)), str(path), True)
    assert (read_voxels(path) == 1).all()
    content = path.read_bytes()
    path.write_bytes(content.replace(b"CompressedDataSize", name))
    with pytest.raises(UserError, match="how many bytes"):
        read_voxels(path)


def test_a_line_of_brackets_in_a_ledger_is_a_problem(tmp_path):
    """Catches a RecursionError that ends every command on the set."""
    path = tmp_path / "ledger.jsonl"
    path.write_text("[" * 3000 + "\n")
    assert ledger.read(path) == []
    assert ledger.chain_problems(path.read_text().splitlines()) == ["line 1 cannot be read"]


def test_a_name_that_is_too_long_is_not_a_full_disk(tmp_path, capsys):
    """Catches advice to free space, and a line of thousands of letters."""
    source = tmp_path / ("a" * 3000)
    assert main(["data", "check", "--source", str(source), "--format", "folder"]) == 2
    line = capsys.readouterr().err
    assert "free space" not in line and len(line) < 500


def test_an_entry_of_odd_values_is_a_damaged_line(tmp_path):
    """Catches a TypeError of a number that should be a list of paths."""
    path = tmp_path / "ledger.jsonl"
    path.write_text('{"ledgers": 1.5, "previous": ""}\n{"before": {}, "id": "a"}\n')
    assert [entry["id"] for entry in ledger.read(path)] == ["a"]
    path.write_text('{"fingerprint": 7}\n{"before": 3}\n[]\n')
    assert ledger.read(path) == []


def test_numbers_that_are_infinite_as_they_are_stored_are_refused(tmp_path):
    """Catches a voxel of 1e300 that a prediction takes for infinity."""
    import nibabel

    voxels = np.zeros((5, 4, 3))
    voxels[1, 1, 1] = 1e300
    nibabel.Nifti1Image(voxels, np.eye(4)).to_filename(tmp_path / "p7.nii")
    with pytest.raises(UserError, match="infinity"):
        read_scan(tmp_path / "p7.nii", "auto")


def test_a_record_with_a_name_that_is_none_is_missing(tmp_path):
    """Catches a ValueError of a name with a null byte in it."""
    assert array_records.damaged_files(tmp_path, {"\x00": "ab"})
