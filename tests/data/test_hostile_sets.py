"""Data sets that a stranger packed: nothing outside is read, nothing is allocated that a file does
not hold, and one line says why.
"""

import gzip
import io
import json
import os
import resource
import struct
import zipfile
from contextlib import contextmanager
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
from data_samples import write_png
from layouts import LAYOUTS, nifti, volume

from semiseg.cli.main import main
from semiseg.data import mask_files
from semiseg.data.input_scan import read_scan
from semiseg.errors import UserError

MOST = 1 << 30
"""Bytes by which a refusal may grow."""


@contextmanager
def little_memory():
    """Catches an allocation that a header asked for."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown * 1024 < MOST


def refused(name, source, root, capsys):
    """The one line that refuses a set; nothing is stored."""
    flags = []
    for option, value in LAYOUTS[name].options.items():
        flags.append(f"--{option.replace('_', '-')}={value}")
    where = ["--source", str(source), "--format", name, *flags]
    capsys.readouterr()
    with little_memory():
        code = main(["data", "import", "--name", "x", "--root", str(root), *where])
    error = capsys.readouterr().err.strip().splitlines()
    assert code == 2
    assert len([line for line in error if line.startswith("semiseg: error")]) == 1
    assert not root.exists() or list(root.iterdir()) == []
    return error[-1]


@pytest.fixture
def outside(tmp_path):
    """A folder beside the set, whose files nobody may read."""
    folder = tmp_path / "outside"
    voxels, label = volume(3)
    nifti(folder / "secret.nii.gz", voxels)
    nifti(folder / "secret_label.nii.gz", label)
    with h5py.File(folder / "secret.h5", "w") as file:
        file["image"] = voxels.astype(np.float32)
        file["label"] = label
    (folder / "secret.raw").write_bytes(bytes(480))
    return folder


# ------------------------------------------------------------------ out of the folder
@pytest.mark.parametrize("name", [name for name in LAYOUTS if name != "tfds"])
def test_a_link_out_of_the_folder_is_refused(name, tmp_path, outside, capsys):
    """Catches a file of this machine that becomes pixels of a set because a link leads there."""
    source = tmp_path / "set"
    LAYOUTS[name].write(source)
    path = source / LAYOUTS[name].image
    moved = outside / path.name
    path.rename(moved)
    path.symlink_to(moved)
    line = refused(name, source, tmp_path / "root", capsys)
    assert str(path) in line and "--follow-links" in line


def test_a_link_of_the_users_own_is_followed(tmp_path, outside, capsys):
    source = tmp_path / "set"
    LAYOUTS["folder"].write(source)
    (source / "images").rename(outside / "images")
    (source / "images").symlink_to(outside / "images")
    (source / "more").symlink_to(source / "labels")
    where = ["--source", str(source), "--format=folder", "--classes=background,organ,lesion"]
    assert main(["data", "check", *where]) == 1
    assert main(["data", "check", *where, "--follow-links"]) == 0


def test_a_pipe_is_not_waited_for(tmp_path, capsys):
    """Catches an import that hangs for ever."""
    source = tmp_path / "set"
    LAYOUTS["folder"].write(source)
    os.mkfifo(source / "images" / "p99.nii.gz")
    assert "p99.nii.gz" in refused("folder", source, tmp_path / "root", capsys)


@pytest.mark.parametrize("where", ["../outside/secret.nii.gz", "{outside}/secret.nii.gz"])
@pytest.mark.parametrize("key", ["image", "label", "test"])
def test_a_path_of_dataset_json_leads_nowhere_else(key, where, tmp_path, outside, capsys):
    source = tmp_path / "set"
    LAYOUTS["msd"].write(source)
    path = source / "dataset.json"
    content = json.loads(path.read_text())
    name = where.format(outside=outside)
    if key == "test":
        content["test"] = [name]
    else:
        content["training"][1][key] = name
    path.write_text(json.dumps(content))
    line = refused_with(source, tmp_path / "root", capsys, "--unlabelled-test")
    assert str(path) in line and name in line


def refused_with(source, root, capsys, *flags):
    """The last line of an import that is refused."""
    capsys.readouterr()
    where = ["--source", str(source), "--name", "x", "--root", str(root), *flags]
    assert main(["data", "import", *where]) == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_a_path_of_nnunets_dataset_leads_nowhere_else(tmp_path, outside, capsys):
    source = tmp_path / "set"
    LAYOUTS["nnunet"].write(source)
    path = source / "dataset.json"
    content = json.loads(path.read_text())
    content["dataset"] = {"p1": {"images": ["../outside/secret.nii.gz"], "label": "x.nii.gz"}}
    path.write_text(json.dumps(content))
    line = refused_with(source, tmp_path / "root", capsys)
    assert str(path) in line and "secret.nii.gz" in line


LISTS = {"ssl4mis-la": "train.list", "ssl4mis-brats": "train.txt", "ssl4mis-acdc": "val.list"}
LISTS["synapse"] = "lists/lists_Synapse/train.txt"


@pytest.mark.parametrize("name", LISTS)
def test_a_name_of_a_list_leads_nowhere_else(name, tmp_path, outside, capsys):
    source = tmp_path / "set"
    LAYOUTS[name].write(source)
    path = source / LISTS[name]
    path.write_text(path.read_text() + "../../outside/secret\n")
    assert str(path) in refused(name, source, tmp_path / "root", capsys)


def _linked(file, outside):
    file["image"] = h5py.ExternalLink(str(outside / "secret.h5"), "image")


def _through_a_group(file, outside):
    file["other"] = h5py.ExternalLink(str(outside / "secret.h5"), "/")
    file["image"] = h5py.SoftLink("/other/image")


def _stored_outside(file, outside):
    size = 480 * 4
    external = [(str(outside / "secret.raw"), 0, size)]
    file.create_dataset("image", (12, 10, 4), np.float32, external=external)


def _virtual(file, outside):
    layout = h5py.VirtualLayout((12, 10, 4), np.float32)
    layout[:] = h5py.VirtualSource(str(outside / "secret.h5"), "image", (12, 10, 4))
    file.create_virtual_dataset("image", layout)


def _of_words(file, outside):
    file["image"] = np.array(["no"] * 3, h5py.string_dtype())


def _never_written(file, outside):
    file.create_dataset("image", (1 << 14, 1 << 12, 1 << 12), np.float32, chunks=(1, 64, 64))


HDF5 = [_linked, _through_a_group, _stored_outside, _virtual, _of_words, _never_written]


@pytest.mark.parametrize("name", ["ssl4mis-la", "ssl4mis-brats", "synapse", "ssl4mis-acdc"])
@pytest.mark.parametrize("change", HDF5, ids=lambda change: change.__name__)
def test_an_hdf5_file_holds_its_own_numbers(name, change, tmp_path, outside, capsys):
    """Catches links, external storage and virtual datasets, through which HDF5 reads any file, and
    terabytes that are declared and never written.
    """
    source = tmp_path / "set"
    LAYOUTS[name].write(source)
    path = source / LAYOUTS[name].image
    if name == "synapse":
        path = source / "test_vol_h5" / "t20.npy.h5"
    with h5py.File(path, "a") as file:
        del file["image"]
        change(file, outside)
    line = refused(name, source, tmp_path / "root", capsys)
    assert path.name in line


@pytest.mark.parametrize("line", ["ElementDataFile = {raw}", "ElementDataFile = LIST\n{raw}"])
@pytest.mark.parametrize("suffix", [".mhd", ".mha"])
def test_a_metaimage_reads_no_other_file(suffix, line, tmp_path, outside):
    raw = outside / "secret.raw"
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / f"p7{suffix}"
    header = "ObjectType = Image\nNDims = 3\nDimSize = 12 10 4\nElementType = MET_UCHAR\n"
    path.write_text(header + line.format(raw=raw) + "\n")
    with pytest.raises(UserError, match=r"which is out of"):
        read_scan(path, "auto")


@pytest.mark.parametrize("suffix", [".nhdr", ".nrrd"])
@pytest.mark.parametrize("line", ["data file: {raw}", "data file: ../outside/secret.raw"])
def test_an_nrrd_reads_no_other_file(suffix, line, tmp_path, outside):
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / f"p7{suffix}"
    header = "NRRD0004\ntype: uchar\ndimension: 3\nsizes: 12 10 4\nencoding: raw\n"
    path.write_text(header + line.format(raw=outside / "secret.raw") + "\n\n")
    with pytest.raises(UserError, match=r"which is out of"):
        read_scan(path, "auto")


def test_names_of_subjects_are_no_paths(tmp_path, capsys):
    """Catches a subject called ../../x that becomes a file of this machine."""
    source = tmp_path / "a" / "b" / "set"
    LAYOUTS["folder"].write(source)
    rows = [f"p{i},../../../p{i}/x,/tmp/g{i}" for i in range(10)]
    table = "\n".join(["name,subject,group", *rows]) + "\n"
    (source / "subjects.csv").write_text(table)
    root = ["--root", str(tmp_path / "a" / "b" / "root")]
    assert main(["data", "import", "--source", str(source), "--name", "x", *root]) == 0
    assert main(["data", "describe", "x", *root]) == 0
    out = tmp_path / "a" / "b" / "out"
    assert main(["data", "export", "x", "--out", str(out), *root]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["b"]


def test_a_template_of_a_prepared_set_leads_nowhere_else(tmp_path, capsys):
    source = tmp_path / "set"
    LAYOUTS["tfds"].write(source)
    path = source / "dataset_info.json"
    content = json.loads(path.read_text())
    content["splits"][0]["filepathTemplate"] = "../outside/secret"
    path.write_text(json.dumps(content))
    assert str(path) in refused("tfds", source, tmp_path / "root", capsys)


# ------------------------------------------------------------------ more than they hold
def nifti_header(shape, kind=np.uint8, start=352):
    """A header of one NIfTI version that declares a shape."""
    version = nibabel.Nifti1Header
    if max(shape) > 32767:
        version = nibabel.Nifti2Header
    header = version()
    header.set_data_shape(shape)
    header.set_data_dtype(kind)
    header["magic"] = b"n+1" if version is nibabel.Nifti1Header else b"n+2"
    header["vox_offset"] = max(start, header.sizeof_hdr + 4)
    header.set_sform(np.eye(4), 1)
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
    monkeypatch.setattr("semiseg.data.limits.LARGEST", 1 << 26)
    source = tmp_path / "set"
    LAYOUTS["folder"].write(source)
    path = source / "images" / name
    path.write_bytes(BOMBS[name])
    assert str(path) in refused("folder", source, tmp_path / "root", capsys)


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
    np.save(file, np.array([Planted()], object), allow_pickle=True)
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
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("image.npy", content)
        if kind == "zeros":
            monkeypatch.setattr("semiseg.data.limits.LARGEST", 1 << 24)
            archive.writestr("label.npy", _npy((5000, 1000), bytes(20_000_000)))
    assert str(path) in refused("synapse", source, tmp_path / "root", capsys)
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
    with zipfile.ZipFile(source, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted((tmp_path / "extracted").rglob("*.png")):
            archive.write(path, path.relative_to(tmp_path / "extracted"))
        archive.write(path, "../../evil/images/evil.png")
        archive.write(path, "../../evil/masks/evil.png")
        archive.writestr("bomb/images/bomb.png", bytes(1 << 25))
        archive.writestr("bomb/masks/bomb.png", bytes(9))
    line = refused("dsb2018", source, tmp_path / "root", capsys)
    assert "bomb.png" in line and "declares" in line
    assert not (tmp_path.parent / "evil").exists() and not (tmp_path / "evil").exists()


def test_a_png_of_a_billion_pixels_is_one_line(tmp_path, capsys):
    source = tmp_path / "set"
    for i in range(4):
        write_png(source / "images" / f"p{i}.png", np.full((8, 8), 40 * i, np.uint8))
        write_png(source / "labels" / f"p{i}.png", np.eye(8, dtype=np.uint8))
    path = source / "images" / "p0.png"
    content = bytearray(path.read_bytes())
    content[16:24] = struct.pack(">II", 40_000, 40_000)
    path.write_bytes(bytes(content))
    assert str(path) in refused_with(source, tmp_path / "root", capsys)


def test_a_number_of_many_digits_is_one_line(tmp_path, capsys):
    source = tmp_path / "set"
    LAYOUTS["msd"].write(source)
    path = source / "dataset.json"
    path.write_text(path.read_text().replace('"numTraining": 10', '"numTraining": ' + "9" * 5000))
    assert str(path) in refused("msd", source, tmp_path / "root", capsys)


def test_a_folder_at_the_root_of_a_disk_is_read(monkeypatch):
    """Catches a look two folders up from /data, where a container has its volumes."""
    from semiseg.data.readers import nnunet

    assert nnunet._folds_path(Path("/proc"), "") is None
