"""The mistakes of a first ten minutes with each format: one line names the file, the reason and the
remedy, the command ends with 2, and nothing is stored.
"""

import json
import os
import re
import shutil

import h5py
import nibabel
import numpy as np
import pytest
from layouts import LAYOUTS, nifti, write_json

from semiseg.cli.main import main
from semiseg.data import readers

WITH_FILES_OF_LABELS = ["folder", "nnunet", "msd", "bids", "patients"]
WITH_DESCRIPTIONS = ["nnunet", "msd"]
WITH_TABLES = ["folder", "nnunet", "msd"]
IN_A_LIST = ["synapse", "ssl4mis-la", "ssl4mis-brats", "ssl4mis-acdc", "msd"]
LABEL_FOLDERS = ("labels", "labelsTr", "derivatives", "*/masks", "*/*_seg.nii.gz")


# ------------------------------------------------------------------ mistakes, each with its answer
def nothing_there(source, layout):
    shutil.rmtree(source)
    source.mkdir()
    return str(source)


def a_file_in_place_of_the_folder(source, layout):
    shutil.rmtree(source)
    source.write_text("hello")
    return str(source)


def no_masks(source, layout):
    for pattern in LABEL_FOLDERS:
        for path in source.glob(pattern):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
    return r"no(?: image has a)? mask|holds no label|labelsTr/p\d.nii.gz: not found|--label"


def a_mask_is_missing(source, layout):
    (source / layout.label).unlink()
    return rf"{layout.label}: not found|{layout.image}: has no mask"


def a_file_was_cut_short(source, layout):
    path = source / layout.image
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return layout.image


def an_empty_file(source, layout):
    (source / layout.image).write_bytes(b"")
    return layout.image


def a_folder_in_place_of_a_file(source, layout):
    (source / layout.image).unlink()
    (source / layout.image).mkdir()
    return layout.image


def a_value_that_is_no_class(source, layout):
    path = source / layout.label
    if path.name.endswith(".nii.gz"):
        image = nibabel.load(path)
        values = np.asarray(image.dataobj).copy()
        values.flat[0] = 77
        nifti(
            path,
            values,
            image.affine,
        )
        return path.name
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            image = arrays["image"]
            values = arrays["label"].copy()
        values.flat[0] = 77
        np.savez(
            path,
            image=image,
            label=values,
        )
        return "train_npz/p1"
    with h5py.File(path, "a") as file:
        file["label"][(0,) * file["label"].ndim] = 77
    return path.parent.name + "/"


def a_file_that_may_not_be_read(source, layout):
    (source / layout.image).chmod(0)
    return f"{layout.image}.*ermission denied"


def a_wrong_count(source, layout):
    path = source / "dataset.json"
    content = json.loads(path.read_text())
    write_json(
        path,
        content | {"numTraining": 7},
    )
    return "dataset.json: numTraining is 7"


def an_unknown_column(source, layout):
    (source / "subjects.csv").write_text("name,subject,splitt\np1,a,train\n")
    return "subjects.csv: has a column 'splitt'"


def other_columns(source, layout):
    (source / "subjects.csv").write_text("image,patient\np1,a\n")
    return "subjects.csv: needs the columns name and subject"


HAVE_FILES = [name for name in LAYOUTS if name != "tfds"]  # whose records are no user's files
MISTAKES = {
    nothing_there: list(LAYOUTS),
    a_file_in_place_of_the_folder: list(LAYOUTS),
    no_masks: [*WITH_FILES_OF_LABELS, "dsb2018"],
    a_mask_is_missing: ["msd", "bids"],  # elsewhere the image is unlabelled
    a_file_was_cut_short: HAVE_FILES,
    an_empty_file: HAVE_FILES,
    a_folder_in_place_of_a_file: [
        *IN_A_LIST[:-1],
        "folder",
        "nnunet",
        "msd",
        "patients",
        "dsb2018",
    ],
    a_value_that_is_no_class: [name for name in HAVE_FILES if name != "dsb2018"],
    a_file_that_may_not_be_read: HAVE_FILES,
    a_wrong_count: WITH_DESCRIPTIONS,
    an_unknown_column: WITH_TABLES,
    other_columns: WITH_TABLES,
}
CASES = [(mistake, name) for mistake, names in MISTAKES.items() for name in names]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Format → a folder with its tiny set, to copy."""
    folders = {}
    for name, layout in LAYOUTS.items():
        folders[name] = tmp_path_factory.mktemp("written") / name
        layout.write(folders[name])
    return folders


def flags_of(name):
    options = LAYOUTS[name].options.items()
    return [f"--{option.replace('_', '-')}={value}" for option, value in options]


@pytest.mark.parametrize(
    "mistake, name", CASES, ids=[f"{mistake.__name__}-{name}" for mistake, name in CASES]
)
def test_a_mistake_is_answered(mistake, name, written, tmp_path, capsys):
    """Catches a traceback, a message without a file or a remedy, and half a set."""
    if mistake is a_file_that_may_not_be_read and os.geteuid() == 0:
        pytest.skip("root may read every file")
    source = tmp_path / name
    shutil.copytree(
        written[name],
        source,
    )
    expected = mistake(
        source,
        LAYOUTS[name],
    )
    root = tmp_path / "root"
    where = ["--format", name, "--source", str(source), *flags_of(name)]
    code = main(["data", "import", "--name", "x", "--root", str(root), *where])
    lines = capsys.readouterr().err.strip().splitlines()
    errors = [line for line in lines if line.startswith("semiseg: error: ")]
    assert code == 2
    assert len(errors) == 1 and errors[0] == lines[-1]
    assert re.search(
        expected,
        errors[0],
    ), errors[0]
    reason, _, remedy = errors[0].partition("; ")
    assert len(remedy) > 8
    assert "Errno" not in reason and "object at" not in reason
    assert not root.exists() or not list(root.iterdir())


@pytest.mark.parametrize("name", ["folder", "nnunet", "bids", "patients", "dsb2018"])
def test_capital_letters_of_a_suffix_change_nothing(name, written, tmp_path):
    """Catches a case that vanishes because its file is called P1.PNG."""
    source = tmp_path / name
    shutil.copytree(
        written[name],
        source,
    )
    options = LAYOUTS[name].options
    before = readers.read(
        name,
        source,
        progress=False,
        **options,
    )
    path = source / LAYOUTS[name].image
    stem, dot, suffix = path.name.partition(".")
    path.rename(path.with_name(stem + dot + suffix.upper()))
    after = readers.read(
        name,
        source,
        progress=False,
        **options,
    )
    assert after.problems == ()
    assert [ref.name for ref in _refs(after)] == [ref.name for ref in _refs(before)]


def _refs(source):
    for refs in source.splits.values():
        yield from refs


@pytest.mark.parametrize("name", ["bids", "patients", "ssl4mis-la", "dsb2018"])
def test_a_table_that_is_not_read_is_told(name, written, tmp_path):
    """Catches subjects that a user states in vain."""
    source = tmp_path / name
    shutil.copytree(
        written[name],
        source,
    )
    (source / "subjects.csv").write_text("name,subject\np1,a\n")
    notes = readers.read(
        name,
        source,
        progress=False,
        **LAYOUTS[name].options,
    ).notes
    assert f"{source}/subjects.csv: is not read in the format {name}" in " ".join(notes)
