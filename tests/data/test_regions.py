"""Regions of a data set: named at import or later, read from and written to nnU-Net's layout."""

import json
from pathlib import Path

import numpy as np
import pytest
from layouts import nifti, volume

from semiseg.cli.main import main
from semiseg.data import exporting, importing, readers, regions, regions_later, store
from semiseg.data.readers.nnunet import labels_of
from semiseg.errors import UserError

CLASSES = "background,edema,core"


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Five volumes whose labels hold two classes: 46 and 4 voxels each."""
    folder = tmp_path_factory.mktemp("scans")
    for seed in range(5):
        voxels, label = volume(seed)
        nifti(folder / "images" / f"p{seed}.nii.gz", voxels)
        nifti(folder / "labels" / f"p{seed}.nii.gz", label)
    return folder


def bring(source, root, **options):
    lines = []
    options = {"classes": CLASSES, **options}
    info = importing.import_set(
        "folder", source, "own", root, progress=False, say=lines.append, **options
    )
    return info, lines


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (["whole"], "names no classes; give NAME=CLASS,CLASS"),
        (["whole="], "names an empty class"),
        (["=edema,core"], "has the name ''"),
        (["whole=edema"], "unites fewer than two classes"),
        (["whole=edema,oedema"], "names the class 'oedema'; there is edema, core"),
        (["whole=1,3"], "names the class '3'"),
        (["whole=0,1"], "names the class 'background'"),
        (["whole=edema,edema"], "names a class twice"),
        (["whole=1,2", "whole=2,1"], "there is a region whole already"),
        (["edema=edema,core"], "the name edema, which is a class of the set"),
        (["mean=edema,core"], "the name mean, which is a reserved name"),
    ],
)
def test_what_is_no_region_is_refused(typed, words):
    """Catches a traceback, and a region that nobody could tell from a class or a mean."""
    with pytest.raises(UserError) as error:
        regions.with_typed({}, typed, tuple(CLASSES.split(",")))
    assert words in str(error.value)
    assert str(error.value).startswith("--region ")
    assert "\n" not in str(error.value)


def test_a_region_is_stored_and_shown(source, tmp_path, capsys):
    """Four training and validation volumes of 50 voxels each.

    Catches regions that are lost at the import, and counts of one class or of test.
    """
    info, _ = bring(source, tmp_path, region=["whole=core,1"])
    assert info.regions == {"whole": ("edema", "core")}
    assert store.info("own", tmp_path).region_values == {"whole": (1, 2)}
    voxels = 50 * info.number("train")
    card = (info.folder / "card.md").read_text()
    assert f"| whole | edema ∪ core | {voxels} |" in card
    assert "--region whole=core,1" in card
    main(["data", "describe", "own", "--root", str(tmp_path)])
    assert f"whole 10.42% ({voxels} voxels), in 50% of slices" in capsys.readouterr().out
    main(["data", "check", "own", "--root", str(tmp_path)])
    assert "region whole = edema ∪ core: 200 voxels in train and val, in" in capsys.readouterr().err
    typed = ["--source", str(source), "--classes", CLASSES, "--region", "whole=1,2"]
    assert main(["data", "check", *typed]) == 0
    assert "region whole = edema ∪ core: 200 voxels" in capsys.readouterr().err


def test_regions_change_later_without_an_import(source, tmp_path, capsys):
    """Catches a change of the fingerprint, after which no run would fit, and an old card."""
    before, _ = bring(source, tmp_path)
    plain = (before.folder / "card.md").read_text()
    words = ["data", "regions", "own", "--root", str(tmp_path)]
    assert main([*words, "--region", "whole=1,2", "--region", "all=edema,core"]) == 0
    assert capsys.readouterr().out == "whole = edema ∪ core\nall = edema ∪ core\n"
    after = store.info("own", tmp_path)
    assert list(after.regions) == ["whole", "all"]
    assert after.fingerprint == before.fingerprint
    card = (after.folder / "card.md").read_text()
    assert f"| all | edema ∪ core | {50 * after.number('train')} |" in card
    regions_later.change("own", tmp_path, add=["tumour=1,2"], remove=["whole", "all"])
    assert list(store.info("own", tmp_path).regions) == ["tumour"]
    regions_later.change("own", tmp_path, remove=["tumour"])
    assert (after.folder / "card.md").read_text() == plain
    with pytest.raises(UserError, match="--remove tumour: own has no such region; there is none"):
        regions_later.change("own", tmp_path, remove=["tumour"])
    with pytest.raises(UserError, match="comes with the package"):
        regions_later.change("nuclei", tmp_path, add=["whole=1,2"])


def test_a_set_that_is_replaced_hands_its_regions_on(source, tmp_path):
    """Catches regions that vanish with new annotations, and such as no longer fit the classes."""
    bring(source, tmp_path, region=["whole=1,2"])
    info, lines = bring(source, tmp_path, overwrite=True)
    assert info.regions == {"whole": ("edema", "core")}
    assert "own: region whole = edema ∪ core, as before" in lines
    info, lines = bring(source, tmp_path, overwrite=True, classes="background,a,b")
    assert info.regions == {}
    assert any("names the class 'edema'" in line and "are left out" in line for line in lines)


# ------------------------------------------------------------------ nnU-Net
@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """nnU-Net's layout of one channel and four cases, whose labels are regions as in BraTS."""
    folder = tmp_path_factory.mktemp("raw")
    for seed in range(4):
        voxels, label = volume(seed)
        label[3, 4, 1] = 3
        nifti(folder / "imagesTr" / f"p{seed}_0000.nii.gz", voxels)
        nifti(folder / "labelsTr" / f"p{seed}.nii.gz", label)
    labels = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": [3]}
    description = {
        "channel_names": {"0": "FLAIR"},
        "labels": labels,
        "regions_class_order": [1, 2, 3],
        "numTraining": 4,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(description))
    return folder


def test_regions_of_nnunet_are_read(raw):
    """Catches unions that are refused or taken for classes, and values that change."""
    found = readers.read("nnunet", raw, progress=False)
    assert found.classes == ("background", "class 1", "class 2", "enhancing")
    assert found.regions == {
        "whole": ("class 1", "class 2", "enhancing"),
        "core": ("class 2", "enhancing"),
    }
    assert any("the values 1, 2 of the label files have no name" in note for note in found.notes)
    label = found.splits["train"][0].load().label
    assert np.bincount(label.ravel()).tolist() == [430, 46, 3, 1]
    named = readers.read("nnunet", raw, progress=False, classes="background,edema,necrosis,ring")
    assert named.regions["core"] == ("necrosis", "ring")
    assert not any("no name" in note for note in named.notes)


def test_regions_survive_the_way_to_nnunet_and_back(raw, tmp_path):
    """Catches classes whose names or values the export loses, and an order that paints regions
    over their own classes.
    """
    first = importing.import_set("nnunet", raw, "first", tmp_path, progress=False, splits="train")
    lines = []
    out = tmp_path / "Dataset001_first"
    exporting.export_set("first", out, tmp_path, progress=False, say=lines.append)
    content = json.loads((out / "dataset.json").read_text())
    assert list(content["labels"].items()) == [
        ("background", 0),
        ("whole", [1, 2, 3]),
        ("core", [2, 3]),
        ("class 1", 1),
        ("class 2", 2),
        ("enhancing", 3),
    ]
    assert content["regions_class_order"] == [1, 2, 1, 2, 3]
    assert any("regions (2) and classes (3)" in line for line in lines)
    back = readers.read("nnunet", out, progress=False, splits="train")
    assert back.classes == first.classes
    assert back.regions == first.regions
    regions_later.change("first", tmp_path, remove=["whole", "core"])
    exporting.export_set("first", tmp_path / "bare", tmp_path, progress=False)
    content = json.loads((tmp_path / "bare" / "dataset.json").read_text())
    assert "regions_class_order" not in content
    assert content["labels"] == {"background": 0, "class 1": 1, "class 2": 2, "enhancing": 3}


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ({"background": 0, "whole": [0, 1, 2]}, "names the class 'background'"),
        ({"background": 0, "whole": [1, "x"]}, "label whole has the value 'x'"),
        ({"background": 0, "whole": [], "a": 1}, "unites fewer than two classes"),
        ({"background": 0, "whole": [1, 1], "a": 1}, "names a class twice"),
        ({"background": 0, "mean": [1, 2]}, "the name mean, which is a reserved name"),
    ],
)
def test_a_region_of_nnunet_that_is_none_is_refused(labels, words):
    """Catches a traceback, and an error that does not name the file."""
    with pytest.raises(UserError, match=words) as error:
        labels_of({"labels": labels}, Path("dataset.json"), "", [])
    assert str(error.value).startswith("dataset.json")
