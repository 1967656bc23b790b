"""Data sets that a stranger packed: nothing outside of them is read or written, and one line says
why.
"""

import json
import os

import h5py
import numpy as np
import pytest
from layouts import LAYOUTS, nifti, volume
from refusals import refused, refused_with

from semiseg.cli.main import main
from semiseg.data.input_scan import read_scan
from semiseg.errors import UserError


@pytest.fixture
def outside(tmp_path):
    """A folder beside the set, whose files nobody may read."""
    folder = tmp_path / "outside"
    voxels, label = volume(3)
    nifti(folder / "secret.nii.gz", voxels)
    nifti(folder / "secret_label.nii.gz", label)
    with h5py.File(
        folder / "secret.h5",
        "w",
    ) as file:
        file["image"] = voxels.astype(np.float32)
        file["label"] = label
    (folder / "secret.raw").write_bytes(bytes(480))
    return folder


# ------------------------------------------------------------------ out of the folder
@pytest.mark.parametrize(
    "name",
    [name for name in LAYOUTS if name != "tfds"],
)
def test_a_link_out_of_the_folder_is_refused(name, tmp_path, outside, capsys):
    """Catches a file of this machine that becomes pixels of a set because a link leads there."""
    source = tmp_path / "set"
    LAYOUTS[name].write(source)
    path = source / LAYOUTS[name].image
    moved = outside / path.name
    path.rename(moved)
    path.symlink_to(moved)
    line = refused(
        name,
        source,
        tmp_path / "root",
        capsys,
    )
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
    assert "p99.nii.gz" in refused(
        "folder",
        source,
        tmp_path / "root",
        capsys,
    )


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
    line = refused_with(
        source,
        tmp_path / "root",
        capsys,
        "--unlabelled-test",
    )
    assert str(path) in line and name in line


def test_a_path_of_nnunets_dataset_leads_nowhere_else(tmp_path, outside, capsys):
    source = tmp_path / "set"
    LAYOUTS["nnunet"].write(source)
    path = source / "dataset.json"
    content = json.loads(path.read_text())
    content["dataset"] = {"p1": {"images": ["../outside/secret.nii.gz"], "label": "x.nii.gz"}}
    path.write_text(json.dumps(content))
    line = refused_with(
        source,
        tmp_path / "root",
        capsys,
    )
    assert str(path) in line and "secret.nii.gz" in line


LISTS = {"ssl4mis-la": "train.list", "ssl4mis-brats": "train.txt", "ssl4mis-acdc": "val.list"}
LISTS["synapse"] = "lists/lists_Synapse/train.txt"


@pytest.mark.parametrize("name", LISTS)
def test_a_name_of_a_list_leads_nowhere_else(name, tmp_path, outside, capsys):
    source = tmp_path / "set"
    LAYOUTS[name].write(source)
    path = source / LISTS[name]
    path.write_text(path.read_text() + "../../outside/secret\n")
    assert str(path) in refused(
        name,
        source,
        tmp_path / "root",
        capsys,
    )


def _linked(file, outside):
    file["image"] = h5py.ExternalLink(
        str(outside / "secret.h5"),
        "image",
    )


def _through_a_group(file, outside):
    file["other"] = h5py.ExternalLink(
        str(outside / "secret.h5"),
        "/",
    )
    file["image"] = h5py.SoftLink("/other/image")


def _stored_outside(file, outside):
    size = 480 * 4
    external = [(str(outside / "secret.raw"), 0, size)]
    file.create_dataset(
        "image",
        (12, 10, 4),
        np.float32,
        external=external,
    )


def _virtual(file, outside):
    layout = h5py.VirtualLayout(
        (12, 10, 4),
        np.float32,
    )
    layout[:] = h5py.VirtualSource(
        str(outside / "secret.h5"),
        "image",
        (12, 10, 4),
    )
    file.create_virtual_dataset("image", layout)


def _of_words(file, outside):
    file["image"] = np.array(
        ["no"] * 3,
        h5py.string_dtype(),
    )


def _never_written(file, outside):
    shape = (1 << 9, 1 << 10, 1 << 10)
    file.create_dataset("image", shape, np.float32, chunks=(1, 64, 64))
    if "label" in file:  # of another shape, it would be what is refused
        del file["label"]
        file.create_dataset("label", shape, np.uint8, chunks=(1, 64, 64))


HDF5 = [
    _linked,
    _through_a_group,
    _stored_outside,
    _virtual,
    _of_words,
    _never_written,
]


@pytest.mark.parametrize("name", ["ssl4mis-la", "ssl4mis-brats", "synapse", "ssl4mis-acdc"])
@pytest.mark.parametrize(
    "change",
    HDF5,
    ids=lambda change: change.__name__,
)
def test_an_hdf5_file_holds_its_own_numbers(name, change, tmp_path, outside, capsys):
    """Catches links, external storage and virtual datasets, through which HDF5 reads any file, and
    gigabytes that are declared and never written: so few that they would be read.
    """
    source = tmp_path / "set"
    LAYOUTS[name].write(source)
    path = source / LAYOUTS[name].image
    if name == "synapse":
        path = source / "test_vol_h5" / "t20.npy.h5"
    with h5py.File(path, "a") as file:
        del file["image"]
        change(file, outside)
    line = refused(
        name,
        source,
        tmp_path / "root",
        capsys,
    )
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
    assert str(path) in refused(
        "tfds",
        source,
        tmp_path / "root",
        capsys,
    )
