"""Files that declare more than they hold: one line says why, before anything is allocated."""

import gzip
import io
import os
import struct
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest
from data_samples import write_png
from layouts import LAYOUTS
from refusals import little_memory, refused, refused_with

from semiseg.data import mask_files, nifti
from semiseg.data.input_scan import read_scan
from semiseg.errors import UserError


def nifti_header(shape, kind=np.uint8, start=352):
    """A header of one NIfTI version that declares a shape."""
    version = nibabel.Nifti1Header
    if max(shape) > 32767:
        version = nibabel.Nifti2Header
    header = version()
    header.set_data_shape(shape)
    header.set_data_dtype(kind)
    header["magic"] = b"n+1" if version is nibabel.Nifti1Header else b"n+2"
    header["vox_offset"] = max(
        start,
        header.sizeof_hdr + 4,
    )
    header.set_sform(
        np.eye(4),
        1,
    )
    return header.binaryblock + bytes(4)


BOMBS = {
    "hundred_gigabytes.nii.gz": gzip.compress(nifti_header((5000, 5000, 4000)) + bytes(999)),
    "hundred_gigabytes.nii": nifti_header((5000, 5000, 4000)) + bytes(999),
    "beyond_64_bits.nii": nifti_header((1 << 31, 1 << 31, 1 << 20)) + bytes(999),
    "far_away.nii": nifti_header((5, 5, 5), start=1e12) + bytes(999),
    "zeros.nii.gz": gzip.compress(nifti_header((500, 500, 300))) + gzip.compress(bytes(75_000_000)),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_nifti_that_declares_too_much_is_refused(name, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("semiseg.data.size_limits.LARGEST", 1 << 26)
    source = tmp_path / "set"
    LAYOUTS["folder"].write(source)
    path = source / "images" / name
    path.write_bytes(BOMBS[name])
    assert str(path) in refused(
        "folder",
        source,
        tmp_path / "root",
        capsys,
    )


def test_an_itk_header_that_declares_too_much_is_refused(tmp_path):
    path = tmp_path / "p7.mha"
    header = "ObjectType = Image\nNDims = 3\nDimSize = 9000 9000 9000\nElementType = MET_SHORT\n"
    path.write_text(header + "ElementDataFile = LOCAL\n")
    with little_memory(), pytest.raises(UserError, match="declares 1,458,000,000,000 bytes"):
        read_scan(path, "auto")
    path.write_text(header + "Comment = " + 70_000 * "x" + "\nElementDataFile = /etc/passwd\n")
    with pytest.raises(UserError, match="does not end"):
        read_scan(path, "auto")


def _npy(shape, content=b""):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        file, {"descr": "<f4", "fortran_order": False, "shape": shape}
    )
    return file.getvalue() + content


def _pickled():
    file = io.BytesIO()
    np.save(
        file,
        np.array([Planted()], object),
        allow_pickle=True,
    )
    return file.getvalue()


class Planted:
    """Code that runs when it is unpickled."""

    def __reduce__(self):
        return (os.mkdir, ("planted",))


@pytest.mark.parametrize("kind", ["declared", "zeros", "pickled"])
def test_an_npz_that_is_no_slice_is_refused(kind, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = tmp_path / "set"
    LAYOUTS["synapse"].write(source)
    path = source / LAYOUTS["synapse"].image
    content = {"declared": _npy((1 << 20, 1 << 20)), "zeros": b"", "pickled": _pickled()}[kind]
    with zipfile.ZipFile(
        path,
        "w",
        zipfile.ZIP_DEFLATED,
    ) as archive:
        archive.writestr("image.npy", content)
        if kind == "zeros":
            monkeypatch.setattr("semiseg.data.size_limits.LARGEST", 1 << 24)
            archive.writestr(
                "label.npy",
                _npy(
                    (5000, 1000),
                    bytes(20_000_000),
                ),
            )
    assert str(path) in refused(
        "synapse",
        source,
        tmp_path / "root",
        capsys,
    )
    assert not (tmp_path / "planted").exists()


@pytest.mark.parametrize("kind", ["declared", "pickled"])
def test_an_npy_mask_that_is_none_is_refused(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "p7.npy"
    path.write_bytes(_pickled() if kind == "pickled" else _npy((1 << 20, 1 << 20)))
    with little_memory(), pytest.raises(UserError, match=r"p7\.npy"):
        mask_files._read(path)
    assert not (tmp_path / "planted").exists()


def test_a_zip_writes_nothing_and_unpacks_little(tmp_path, capsys, monkeypatch):
    """Catches members that are unpacked where their names say, and pictures of gigabytes."""
    monkeypatch.setattr("semiseg.data.readers.dsb2018.PICTURE", 1 << 24)
    LAYOUTS["dsb2018"].write(tmp_path / "extracted")
    source = tmp_path / "in" / "nuclei.zip"
    source.parent.mkdir()
    with zipfile.ZipFile(
        source,
        "w",
        zipfile.ZIP_DEFLATED,
    ) as archive:
        for path in sorted((tmp_path / "extracted").rglob("*.png")):
            archive.write(
                path,
                path.relative_to(tmp_path / "extracted"),
            )
        archive.write(path, "../../evil/images/evil.png")
        archive.write(path, "../../evil/masks/evil.png")
        archive.writestr(
            "bomb/images/bomb.png",
            bytes(1 << 25),
        )
        archive.writestr("bomb/masks/bomb.png", bytes(9))
    line = refused(
        "dsb2018",
        source,
        tmp_path / "root",
        capsys,
    )
    assert "bomb.png" in line and "declares" in line
    assert not (tmp_path.parent / "evil").exists() and not (tmp_path / "evil").exists()


def test_a_png_of_a_billion_pixels_is_one_line(tmp_path, capsys):
    source = tmp_path / "set"
    for i in range(4):
        write_png(
            source / "images" / f"p{i}.png",
            np.full(
                (8, 8),
                40 * i,
                np.uint8,
            ),
        )
        write_png(
            source / "labels" / f"p{i}.png",
            np.eye(
                8,
                dtype=np.uint8,
            ),
        )
    path = source / "images" / "p0.png"
    content = bytearray(path.read_bytes())
    content[16:24] = struct.pack(">II", 40_000, 40_000)
    path.write_bytes(bytes(content))
    assert str(path) in refused_with(
        source,
        tmp_path / "root",
        capsys,
    )


def test_a_number_of_many_digits_is_one_line(tmp_path, capsys):
    source = tmp_path / "set"
    LAYOUTS["msd"].write(source)
    path = source / "dataset.json"
    path.write_text(
        path.read_text().replace(
            '"numTraining": 10',
            '"numTraining": ' + "9" * 5000,
        )
    )
    assert str(path) in refused(
        "msd",
        source,
        tmp_path / "root",
        capsys,
    )


def test_a_folder_at_the_root_of_a_disk_is_read(monkeypatch):
    """Catches a look two folders up from /data, where a container has its volumes."""
    from semiseg.data.readers import nnunet

    assert nnunet._folds_path(Path("/proc"), "") is None


def test_a_volume_of_a_wrong_size_is_read_once(tmp_path, capsys, monkeypatch):
    """Catches a file that is read once for each slice that its header declares."""
    source = tmp_path / "set"
    LAYOUTS["folder"].write(source)
    path = source / "images" / "p0.nii.gz"
    path.write_bytes(gzip.compress(nifti_header((8, 8, 30_000), np.int16) + bytes(384)))
    opened = []
    open_file = nifti._open
    monkeypatch.setattr(nifti, "_open", lambda path: opened.append(path) or open_file(path))
    line = refused("folder", source, tmp_path / "root", capsys)
    assert f"{path}: holds 384 bytes of voxels instead of 3840000" in line
    assert 1 <= opened.count(path) <= 4
