"""nnU-Net's and the Decathlon's layouts: folds, regions, ignored labels, test images, channels."""

import json

import nibabel
import numpy as np
import pytest
from layouts import LAYOUTS, SUBJECTS, nifti, volume

from semiseg.data import check, readers
from semiseg.errors import UserError
from semiseg.types import IGNORE


def read(source, name="nnunet", **options):
    return readers.read(name, source, progress=False, **options)


@pytest.fixture
def raw(tmp_path):
    """A tiny raw data set with labels of two classes, ignored voxels and two folds."""
    LAYOUTS["nnunet"].write(tmp_path)
    return tmp_path


def describe(source, **changes):
    """Change keys of dataset.json; None takes one out."""
    path = source / "dataset.json"
    content = json.loads(path.read_text()) | changes
    content = {key: value for key, value in content.items() if value is not None}
    path.write_text(json.dumps(content))


def names(result, split):
    return sorted(ref.name for ref in result.splits[split])


def test_folds_say_who_is_in_val(raw):
    """Catches folds that are not read, and --fold that is ignored."""
    result = read(raw)
    assert names(result, "val") == ["p6", "p7"]
    assert names(result, "test") == ["p8", "p9"]
    assert any("fold 0 are val" in note for note in result.notes)
    assert names(read(raw, fold=1), "val") == ["p0", "p1"]
    with pytest.raises(UserError, match=r"--fold 2: .*folds 0 to 1"):
        read(raw, fold=2)


def test_folds_beside_the_preprocessed_data_are_read(raw, tmp_path_factory):
    """Catches folds that are only looked for where nnU-Net does not write them."""
    base = tmp_path_factory.mktemp("nnunet")
    source = base / "nnUNet_raw" / "Dataset001_Cord"
    source.parent.mkdir()
    raw.rename(source)
    target = base / "nnUNet_preprocessed" / "Dataset001_Cord"
    target.mkdir(parents=True)
    (source / "splits_final.json").rename(target / "splits_final.json")
    assert names(read(source, fold=1), "val") == ["p0", "p1"]


def test_without_folds_splits_are_drawn(raw):
    """Catches test cases that are drawn away, and a fold that is asked for in vain."""
    (raw / "splits_final.json").unlink()
    result = read(raw)
    assert names(result, "test") == ["p8", "p9"]
    assert len(result.splits["val"]) == 1
    assert len(result.splits["train"]) == 7
    with pytest.raises(
        UserError,
        match="--fold 1: .*splits_final.json",
    ):
        read(raw, fold=1)


def test_a_case_of_no_fold_is_said_and_an_unknown_one_refused(raw):
    """Catches a case that vanishes without a word, and one that is named in vain."""
    folds = [{"train": SUBJECTS[:5], "val": ["p6", "ghost"]}]
    (raw / "splits_final.json").write_text(json.dumps(folds))
    result = read(raw)
    assert any("2 cases (p5 …)" in note for note in result.notes)
    assert any("ghost" in problem for problem in result.problems)


def test_the_label_ignore_becomes_255(raw):
    """Catches ignored voxels that are taught as a class."""
    ref = next(ref for ref in read(raw).splits["train"] if ref.name == "p0")
    label = ref.load().label
    stored = np.asarray(nibabel.load(raw / "labelsTr" / "p0.nii.gz").dataobj)
    assert (label == IGNORE).sum() == (stored == 2).sum() > 0
    assert (label == 1).sum() == (stored == 1).sum()


def test_channels_are_in_the_order_of_their_numbers(raw):
    """Catches channels that are swapped or dropped, and a missing one that is not named."""
    result = read(raw)
    assert result.channel_names == ("T1", "FLAIR")
    ref = next(ref for ref in result.splits["train"] if ref.name == "p0")
    image = ref.load().image
    for channel in range(2):
        path = raw / "imagesTr" / f"p0_{channel:04d}.nii.gz"
        stored = np.asarray(nibabel.load(path).dataobj)
        assert image[..., channel].sum() == stored.sum()
    (raw / "imagesTr" / "p3_0000.nii.gz").unlink()
    problems = check.check_source("nnunet", raw, progress=False)
    assert any("case p3 has 1 of 2 channels" in problem for problem in problems)


def test_test_images_without_labels_are_left_out_or_unlabelled(raw):
    """Catches test images that train without a word, and a flag that does nothing."""
    for name in ("p8", "p9"):
        (raw / "labelsTs" / f"{name}.nii.gz").unlink()
    result = read(raw)
    assert "test" not in result.splits
    assert any("2 test images without labels" in note for note in result.notes)
    bare = read(raw, unlabelled_test=True).splits["train"]
    assert [ref.name for ref in bare if not ref.label_path] == [
        "p8",
        "p9",
    ]


def test_a_list_of_cases_in_the_description_is_read(raw):
    """Catches dataset.json's own list, with files anywhere."""
    nifti(raw / "elsewhere" / "scan.nii.gz", volume(5)[0])
    nifti(
        raw / "elsewhere" / "mask.nii.gz",
        np.minimum(volume(5)[1], 1),
    )
    files = {
        "images": ["elsewhere/scan.nii.gz"],
        "label": "elsewhere/mask.nii.gz",
    }
    cases = {f"c{i}": files for i in range(3)}
    describe(raw, channel_names={"0": "CT"}, dataset=cases)
    (raw / "splits_final.json").unlink()
    for kind in ("images", "labels"):
        for path in (raw / f"{kind}Ts").iterdir():
            path.unlink()
    result = read(raw)
    assert sorted(ref.name for refs in result.splits.values() for ref in refs) == [
        "c0",
        "c1",
        "c2",
    ]
    files["label"] = "elsewhere/gone.nii.gz"
    describe(raw, dataset=cases)
    assert any("gone.nii.gz: not found" in problem for problem in read(raw).problems)


def test_a_value_that_the_table_does_not_have_is_refused(raw):
    """Catches a label value that silently becomes another class."""
    label = volume(0)[1]
    label[0, 0, 0] = 7
    nifti(raw / "labelsTr" / "p0.nii.gz", label)
    problems = check.check_source("nnunet", raw, progress=False)
    assert any("p0.nii.gz: label has value 7" in problem for problem in problems)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (None, "labels is missing"),
        (
            {
                "background": 0,
                "edema": "one",
            },
            "label edema has the value 'one'",
        ),
        ({"organ": 1, "lesion": 2}, "0 is the background"),
        ({"background": 0, "a": 1, "b": 1}, "0 is the background"),
        ([], "labels is no table"),
    ],
)
def test_a_table_of_labels_that_is_none_is_refused(raw, labels, words):
    """Catches a traceback, and classes that share a value."""
    describe(raw, labels=labels)
    with pytest.raises(UserError, match=words) as error:
        read(raw)
    assert str(error.value).startswith(str(raw / "dataset.json"))


# ------------------------------------------------------------------ the Decathlon
@pytest.fixture
def decathlon(tmp_path):
    """A tiny set of the Decathlon with two channels in the fourth axis."""
    LAYOUTS["msd"].write(tmp_path)
    return tmp_path


def test_four_axes_are_channels(decathlon):
    """Catches a fourth axis that is refused or cut, and its names that are lost."""
    result = read(decathlon, "msd")
    assert result.channel_names == ("T1", "FLAIR")
    assert result.license == "CC-BY-SA 4.0"
    assert result.splits["train"][0].load().image.shape == (4, 10, 12, 2)
    describe(decathlon, modality={"0": "MRI"})
    problems = read(decathlon, "msd").problems
    assert any("has 2 channels, and the set names 1" in problem for problem in problems)


def test_test_images_of_the_decathlon(decathlon):
    """Catches unlabelled test images that train without a word."""
    assert any(
        "1 test image without labels" in note
        for note in read(
            decathlon,
            "msd",
        ).notes
    )
    bare = read(decathlon, "msd", unlabelled_test=True).splits["train"]
    assert [ref.name for ref in bare if not ref.label_path] == ["t0"]


def test_numbers_that_disagree_are_named(decathlon):
    """Catches a list that was cut."""
    describe(decathlon, numTraining=12)
    assert any(
        "numTraining is 12" in problem
        for problem in read(
            decathlon,
            "msd",
        ).problems
    )


def test_channels_in_files_of_the_first_nnunet(decathlon):
    """Catches the list of nnU-Net's first version, which names no channel."""
    for path in sorted((decathlon / "imagesTr").iterdir()):
        voxels = np.asarray(nibabel.load(path).dataobj)
        for channel in range(2):
            name = path.name.replace(
                ".nii.gz",
                f"_{channel:04d}.nii.gz",
            )
            nifti(path.with_name(name), voxels[..., channel])
        path.unlink()
    result = read(decathlon, "msd")
    assert result.problems == ()
    assert result.splits["train"][0].load().image.shape == (4, 10, 12, 2)


# ------------------------------------------------------------------ who is in a scan
def test_a_pattern_names_the_subjects(decathlon, monkeypatch):
    """Catches two scans of one patient in two splits."""
    monkeypatch.chdir(decathlon)
    description = json.loads((decathlon / "dataset.json").read_text())
    for kind in ("images", "labels"):
        for i, name in enumerate(SUBJECTS):
            path = decathlon / f"{kind}Tr" / f"{name}.nii.gz"
            path.rename(path.with_name(f"pat{i // 2}_visit{i % 2}.nii.gz"))
    for i, entry in enumerate(description["training"]):
        for kind in ("image", "label"):
            entry[kind] = f"./{kind}sTr/pat{i // 2}_visit{i % 2}.nii.gz"
    describe(decathlon, training=description["training"])
    result = read(decathlon, "msd")
    assert any("names of images share beginnings" in problem for problem in result.problems)
    result = read(decathlon, "msd", subject_pattern=r"(pat\d+)_")
    assert result.problems == ()
    assert {ref.subject for refs in result.splits.values() for ref in refs} == {
        f"pat{i}" for i in range(5)
    }
    with pytest.raises(
        UserError,
        match=r"--subject-pattern .*no subject in the name pat0_visit0",
    ):
        read(decathlon, "msd", subject_pattern=r"(x\d+)_")
    with pytest.raises(UserError, match="has 0 groups"):
        read(decathlon, "msd", subject_pattern=r"pat")
    with pytest.raises(UserError, match="no regular expression"):
        read(decathlon, "msd", subject_pattern=r"(pat")
