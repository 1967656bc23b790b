"""The layouts of published code: order of slices, axes, label budgets, sets of TensorFlow Datasets;
and folders of patients.
"""

import json

import h5py
import numpy as np
import pytest
from layouts import LAYOUTS, SUBJECTS, nifti, volume

from semiseg.data import check, readers
from semiseg.errors import UserError


def read(name, source, **options):
    return readers.read(name, source, progress=False, **options)


@pytest.fixture
def write(tmp_path):
    """Writes the tiny set of a format; returns its folder."""

    def written(name):
        LAYOUTS[name].write(tmp_path)
        return tmp_path

    return written


def ref_of(result, name):
    return next(ref for refs in result.splits.values() for ref in refs if ref.name == name)


# ------------------------------------------------------------------ Synapse
def test_slices_of_a_case_are_its_volume(write):
    """Catches slices as subjects of their own, in the order of the list, or of another case."""
    source = write("synapse")
    names = (source / "lists" / "lists_Synapse" / "train.txt").read_text().split()
    shuffled = "\n".join(reversed(names))
    (source / "lists" / "lists_Synapse" / "train.txt").write_text(shuffled)
    result = read("synapse", source)
    assert sorted(ref.subject for ref in result.splits["test"]) == [
        "t20",
        "t21",
    ]
    assert len(result.splits["train"]) + len(result.splits["val"]) == 10
    voxels, label = volume(3)
    case = ref_of(result, "p3").load()
    np.testing.assert_array_equal(
        case.image[..., 0],
        voxels.transpose(2, 0, 1),
    )
    np.testing.assert_array_equal(case.label, label.transpose(2, 0, 1))


def test_without_lists_all_files_are_read(write):
    """Catches lists that are needed though the files say all."""
    source = write("synapse")
    for path in (source / "lists" / "lists_Synapse").iterdir():
        path.unlink()
    result = read("synapse", source)
    assert sum(map(len, result.splits.values())) == 12


def test_slices_of_two_sizes_are_refused(write):
    """Catches slices that are stretched to fit."""
    source = write("synapse")
    path = source / "train_npz" / "p3_slice001.npz"
    np.savez(
        path,
        image=np.zeros((5, 5), np.float32),
        label=np.zeros((5, 5), np.uint8),
    )
    problems = check.check_source("synapse", source, progress=False)
    assert any(f"{path}: has an image of shape (5, 5)" in problem for problem in problems)


# ------------------------------------------------------------------ left atrium, BraTS
def test_the_left_atrium_lies_as_other_scans(write):
    """Catches axial slices that are cut across, and a voxel of 1 mm."""
    result = read("ssl4mis-la", write("ssl4mis-la"))
    case = ref_of(result, "p0").load()
    voxels, _ = volume(0)
    np.testing.assert_array_equal(
        case.image[..., 0],
        voxels.transpose(2, 1, 0),
    )
    assert case.spacing == (0.625, 0.625, 0.625)
    assert result.unit == "mm"


def test_published_label_budgets_stay_in_train(write):
    """Catches a validation set drawn from the first names of the list, which are the budgets."""
    result = read("ssl4mis-la", write("ssl4mis-la"))
    assert [ref.name for ref in result.splits["train"]] == SUBJECTS[:7]
    assert [ref.name for ref in result.splits["val"]] == SUBJECTS[7:8]
    assert [ref.name for ref in result.splits["test"]] == SUBJECTS[8:]
    assert result.official_order == tuple(SUBJECTS[:7])
    assert any("last 1 names are val" in note for note in result.notes)


def test_brats_takes_its_lists(write):
    """Catches lists that are mixed up, and val that is drawn though a list states it."""
    source = write("ssl4mis-brats")
    (source / "train.txt").write_text("\n".join(f"{name},x" for name in SUBJECTS[5::-1]))
    result = read("ssl4mis-brats", source)
    assert result.official_order == tuple(SUBJECTS[5::-1])
    assert [ref.name for ref in result.splits["val"]] == SUBJECTS[6:8]
    (source / "val.txt").unlink()
    result = read("ssl4mis-brats", source)
    assert [ref.name for ref in result.splits["val"]] == ["p0"]
    assert any("no val.txt" in note for note in result.notes)


@pytest.mark.parametrize("name", ["ssl4mis-la", "ssl4mis-brats"])
def test_a_test_file_without_label_is_named(write, name):
    """Catches a test subject that nobody can score."""
    source = write(name)
    path = next(
        source.glob("**/p9.h5"),
        source / "2018LA_Seg_Training Set" / "p9" / "mri_norm2.h5",
    )
    with h5py.File(path, "r+") as file:
        del file["label"]
    problems = check.check_source(name, source, progress=False)
    assert any(f"{path}: has no dataset label" in problem for problem in problems)


# ------------------------------------------------------------------ TensorFlow Datasets
def test_a_prepared_set_keeps_its_test_split_and_its_subjects(write):
    """Catches test examples that are drawn away, and two images of a patient in two splits."""
    result = read("tfds", write("tfds"), subject_key="who.patient")
    assert len(result.splits["test"]) == 4
    assert sum(map(len, result.splits.values())) == 20
    assert {ref.subject for ref in result.splits["test"]} == {"p8", "p9"}


def test_a_feature_that_is_not_there_is_named(write):
    """Catches a KeyError."""
    source = write("tfds")
    with pytest.raises(
        UserError,
        match="no feature scan; there is image, segmentation_mask, who",
    ):
        read("tfds", source, image_key="scan")
    with pytest.raises(UserError, match="no feature who.name"):
        read("tfds", source, subject_key="who.name")


def strange(content):
    inner = content["featuresDict"]["features"]["who"]["featuresDict"]["features"]
    inner["age"] = {
        "pythonClassName": "stranger.Feature",
        "tensor": {},
    }


def older_form(content):
    image = content["featuresDict"]["features"]["image"]
    image["type"] = "stranger.Feature"


def another_key(content):
    image = content["featuresDict"]["features"]["image"]
    image["pythonObject"] = {}


@pytest.mark.parametrize("change", [strange, older_form, another_key])
def test_no_code_of_a_stranger_runs(write, change, tmp_path, monkeypatch):
    """Catches features.json that names a module, which would be imported."""
    source = write("tfds")
    (tmp_path / "stranger.py").write_text("raise SystemExit('the code of a stranger ran')")
    monkeypatch.syspath_prepend(str(tmp_path))
    path = source / "features.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="names the feature class"):
        read("tfds", source)


def test_files_that_need_tensorflow_are_refused(write):
    """Catches an ImportError of a package that nobody needs."""
    source = write("tfds")
    path = source / "dataset_info.json"
    path.write_text(
        path.read_text().replace(
            "array_record",
            "tfrecord",
            1,
        )
    )
    with pytest.raises(
        UserError,
        match="its files are tfrecord; prepare .*array_record",
    ):
        read("tfds", source)


# ------------------------------------------------------------------ folders of patients
def test_channels_and_mask_by_a_word(write):
    """Catches channels in the order of the alphabet, and a mask with a gap that shifts classes."""
    source = write("patients")
    result = read(
        "patients",
        source,
        channel_files="t1ce,flair",
        label="seg",
    )
    assert result.channel_names == ("t1ce", "flair")
    assert result.classes == ("background", "class 2", "class 4")
    case = ref_of(result, "p3").load()
    voxels, label = volume(3, 2)
    assert case.image[..., 0].sum() == voxels[..., 1].sum()
    assert (case.label == 2).sum() == (label == 2).sum()


def test_words_that_all_folders_share_are_taken(write):
    """Catches a choice that nobody is told of."""
    result = read("patients", write("patients"))
    assert result.channel_names == ("flair", "t1ce")
    assert any("--channel-files flair,t1ce --label seg" in note for note in result.notes)
    assert result.problems == ()


def test_files_of_unclear_meaning_are_asked_about(write):
    """Catches a brain mask that is taken for a channel."""
    source = write("patients")
    for name in SUBJECTS:
        (source / name / f"{name}_seg.nii.gz").rename(source / name / f"{name}_tumour.nii.gz")
        nifti(source / name / f"{name}_brainmask.nii.gz", volume(0)[1])
    with pytest.raises(
        UserError,
        match=r"files named brainmask, flair, t1ce, tumour; say which",
    ):
        read("patients", source)
    result = read(
        "patients",
        source,
        channel_files="flair",
        label="tumour",
    )
    assert result.problems == ()


def test_a_word_that_two_files_have_is_asked_about(write):
    """Catches the first of two files."""
    source = write("patients")
    nifti(source / "p2" / "p2_flair_old.nii.gz", volume(0)[0])
    problems = read(
        "patients",
        source,
        channel_files="flair",
        label="seg",
    ).problems
    assert any("several files have the word flair" in problem for problem in problems)


def test_visits_are_scans_of_one_patient(write):
    """Catches two visits of a patient in two splits."""
    source = write("patients")
    for visit in ("first", "second"):
        for word in ("flair", "t1ce", "seg"):
            target = source / "p0" / visit / f"{word}.nii.gz"
            seed = 30 + len(visit)
            voxels, label = volume(seed, 2)
            content = {
                "flair": voxels[..., 0],
                "t1ce": voxels[..., 1],
                "seg": label,
            }
            nifti(target, content[word])
    for path in (source / "p0").glob("*.nii.gz"):
        path.unlink()
    result = read(
        "patients",
        source,
        channel_files="flair,t1ce",
        label="seg",
    )
    visits = [ref for refs in result.splits.values() for ref in refs if ref.subject == "p0"]
    assert sorted(ref.name for ref in visits) == [
        "p0_first",
        "p0_second",
    ]


def test_one_patient_is_too_few_unless_all_train(write):
    """Catches a split without a subject, and two lines for one problem."""
    source = write("patients")
    for name in SUBJECTS[1:]:
        for path in (source / name).iterdir():
            path.unlink()
        (source / name).rmdir()
    problems = read("patients", source).problems
    assert len(problems) == 1
    assert "1 annotated subjects or groups, and train, val, test need one each" in problems[0]
    result = read("patients", source, splits="train")
    assert result.problems == ()
    assert [ref.name for ref in result.splits["train"]] == ["p0"]
