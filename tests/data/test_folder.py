"""The folder reader, and every mistake in a user's files: named with its file and its remedy, all
of them at once.
"""

import itertools
import re

import nibabel
import numpy as np
import pytest
from data_samples import picture, write_png
from PIL import Image

from semiseg.data import check, importing, readers
from semiseg.errors import UserError


def read(folder, **options):
    return readers.read("folder", folder, progress=False, **options)


def problems(folder, **options):
    return check.check_source("folder", folder, progress=False, **options)


def nifti(path, voxels, zooms=(1.5, 1.25, 8.0)):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([*zooms, 1.0])), path)


@pytest.fixture
def volumes(tmp_path):
    folder = tmp_path / "volumes"
    rng = np.random.default_rng(0)
    for i in range(4):
        nifti(
            folder / "images" / f"v{i}.nii.gz",
            rng.normal(size=(6, 5, 3)).astype(np.float32),
        )
        nifti(
            folder / "labels" / f"v{i}.nii.gz",
            rng.integers(0, 3, (6, 5, 3)).astype(np.int16),
        )
    return folder


def test_good_folder(pictures):
    """Catches a problem where there is none, and default fractions that are not 70/10/20."""
    found = read(pictures)
    assert problems(pictures) == []
    assert {split: len(refs) for split, refs in found.splits.items()} == {
        "train": 7,
        "val": 1,
        "test": 2,
    }
    assert found.classes == ("background", "class 1", "class 2")
    assert found.unit == "pixel"
    assert read(pictures, classes="back,cell,debris").classes == ("back", "cell", "debris")


def test_masks_of_255_are_ones_only_if_the_whole_set_agrees(pictures):
    """Catches 255 read as IGNORE in a black-and-white set (nothing to learn), or as class 1 in a
    set that uses it as IGNORE.
    """
    _, label = picture(0)
    for i in range(10):
        write_png(
            pictures / "labels" / f"p{i}.png",
            np.where(label > 0, 255, 0).astype(np.uint8),
        )
    found = read(pictures)
    assert found.classes == ("background", "class 1")
    np.testing.assert_array_equal(
        found.splits["val"][0].load().label,
        label > 0,
    )
    write_png(
        pictures / "labels" / "p0.png",
        np.where(label > 1, 255, label).astype(np.uint8),
    )
    refs = itertools.chain(*read(pictures).splits.values())
    ref = next(r for r in refs if r.name == "p0")
    assert set(np.unique(ref.load().label)) == {0, 1, 255}


def test_a_volume_is_one_case_cut_along_its_coarsest_axis(tmp_path, volumes):
    """Catches the wrong axis, spacing in the wrong order, values of another type, and a volume that
    is turned otherwise than its label.
    """
    found = read(volumes)
    ref = found.splits["train"][0]
    voxels = np.asarray(nibabel.load(ref.path).dataobj)
    assert found.unit == "mm"
    case = ref.load()
    assert case.spacing == (8.0, 1.25, 1.5)
    assert case.image.shape == (3, 5, 6, 1)
    assert case.image.dtype == np.float32
    assert case.orientation == "RAS"
    # x runs to the right, y to anterior, z to superior; shown: to superior, posterior, left
    axial = voxels.transpose(2, 1, 0)[:, ::-1, ::-1]
    np.testing.assert_array_equal(case.image[..., 0], axial)
    label = np.asarray(nibabel.load(ref.label_path).dataobj)
    np.testing.assert_array_equal(case.label, label.transpose(2, 1, 0)[:, ::-1, ::-1])
    assert case.affine @ [1, 2, 3, 1] == pytest.approx([1.5 * 2, 1.25 * 2, 8.0, 1])
    for kind in ("images", "labels"):
        for i in range(3):
            nifti(
                tmp_path / "sagittal" / kind / f"v{i}.nii",
                np.zeros((3, 6, 5), np.int16),
                (8.0, 1.5, 1.25),
            )
    case = read(tmp_path / "sagittal").splits["val"][0].load()
    assert case.image.shape == (3, 5, 6, 1)
    assert case.image.dtype == np.int16
    assert case.spacing == (8.0, 1.25, 1.5)


def test_a_subjects_csv_of_some_images_is_one_line_each(pictures):
    """Catches a second complaint about the split of a row that is missing, and splits that seem
    empty for want of it.
    """
    (pictures / "subjects.csv").write_text("name,subject,split\np0,a,train\np1,b,train\n")
    problems = check.check_source("folder", pictures, progress=False)
    assert len(problems) == 8, problems
    assert all("has no row for" in problem for problem in problems), problems


def test_subjects_csv(pictures):
    """Catches images of one subject drawn into two splits, a group that parts, and a split column
    that is ignored.
    """
    table = pictures / "subjects.csv"
    table.write_text(
        "name,subject,group\n" + "".join(f"p{i}.png,s{i // 2},g{i // 4}\n" for i in range(10))
    )
    found = read(pictures)
    home = {}
    for split, refs in found.splits.items():
        home |= {ref.name: split for ref in refs}
    assert found.problems == ()
    assert all(home[f"p{i}"] == home[f"p{i + 1}"] for i in (0, 2, 4, 6, 8))
    assert home["p0"] == home["p3"]
    assert home["p4"] == home["p7"]
    table.write_text(
        "name,subject,split\n"
        + "".join(f"p{i},s{i},{'val' if i < 4 else 'train'}\n" for i in range(10))
    )
    assert {split: len(refs) for split, refs in read(pictures).splits.items()} == {
        "train": 6,
        "val": 4,
    }


def names_of(refs):
    return [ref.name for ref in refs]


def test_split_folders(pictures, tmp_path):
    """Catches split folders that are drawn anew, and a picture that stands in two of them."""
    for split, numbers in (("train", (0, 1, 2)), ("val", (3,)), ("test", (4, 5))):
        for i in numbers:
            for kind in ("images", "labels"):
                target = tmp_path / "three" / split / kind / f"p{i}.png"
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes((pictures / kind / f"p{i}.png").read_bytes())
    found = read(tmp_path / "three")
    assert {split: names_of(refs) for split, refs in found.splits.items()} == {
        "train": ["p0", "p1", "p2"],
        "val": ["p3"],
        "test": ["p4", "p5"],
    }
    (tmp_path / "three" / "test" / "images" / "p0.png").write_bytes(
        (pictures / "images" / "p0.png").read_bytes()
    )
    (tmp_path / "three" / "test" / "labels" / "p0.png").write_bytes(
        (pictures / "labels" / "p0.png").read_bytes()
    )
    assert any("subject p0: is in train" in line for line in problems(tmp_path / "three"))


def test_unlabelled_images_go_to_train(pictures):
    """Catches an unlabelled image drawn into val or test, for any seed."""
    for i in (0, 1, 2):
        (pictures / "labels" / f"p{i}.png").unlink()
    for seed in range(5):
        found = read(pictures, seed=seed)
        assert found.problems == ()
        assert {"p0", "p1", "p2"} <= {ref.name for ref in found.splits["train"]}


BREAKS = {
    "label beyond the classes": (
        "p1.png.*value 7.*classes 0–2",
        lambda f: write_png(f / "labels/p1.png", np.full((16, 16), 7, np.uint8)),
    ),
    "shapes that differ": (
        r"p1.png.*\(8, 8\).*\(16, 16\)",
        lambda f: write_png(f / "labels/p1.png", np.zeros((8, 8), np.uint8)),
    ),
    "unreadable image": (
        "images/p1.png.*cannot be read",
        lambda f: (f / "images/p1.png").write_bytes(b"\x89PNG nonsense"),
    ),
    "unreadable label": (
        "labels/p1.png.*cannot be read",
        lambda f: (f / "labels/p1.png").write_bytes(b""),
    ),
    "colour label": (
        "labels/p1.png.*colour",
        lambda f: write_png(
            f / "labels/p1.png", np.random.default_rng(0).integers(0, 3, (16, 16, 3), np.uint8)
        ),
    ),
    "colour image": (
        "images/p1.png.*3 channels.*set has 1",
        lambda f: write_png(f / "images/p1.png", np.zeros((16, 16, 3), np.uint8)),
    ),
    "label without image": (
        "labels/x.png.*no image",
        lambda f: write_png(f / "labels/x.png", np.zeros((16, 16), np.uint8)),
    ),
    "unknown type": (
        "notes.txt.*file type",
        lambda f: (f / "images/notes.txt").write_text("hello"),
    ),
    "one name twice": (
        "p1.tif.*same name",
        lambda f: Image.fromarray(np.zeros((16, 16), np.uint8)).save(f / "images/p1.tif"),
    ),
    "csv without row": (
        "subjects.csv.*no row for.*p0",
        lambda f: (f / "subjects.csv").write_text("name,subject\np1,a\n"),
    ),
    "csv columns": (
        "subjects.csv.*columns name and subject",
        lambda f: (f / "subjects.csv").write_text("image,patient\np1,a\n"),
    ),
    "csv of strangers": (
        "subjects.csv: names ghost",
        lambda f: (f / "subjects.csv").write_text("name,subject\nghost,a\n"),
    ),
    "csv split": (
        "p0 has split 'training'",
        lambda f: (f / "subjects.csv").write_text(
            "name,subject,split\n" + "".join(f"p{i},s,training\n" for i in range(10))
        ),
    ),
    "subject in two splits": (
        "subject same: is in train .* and in val",
        lambda f: (f / "subjects.csv").write_text(
            "name,subject,split\n"
            + "".join(f"p{i},same,{'val' if i else 'train'}\n" for i in range(10))
        ),
    ),
    "no label in val": (
        "p0.png: has no label file, but val needs one",
        lambda f: [
            (f / "subjects.csv").write_text(
                "name,subject,split\n"
                + "".join(f"p{i},s{i},{'train' if i else 'val'}\n" for i in range(10))
            ),
            (f / "labels/p0.png").unlink(),
        ],
    ),
}


@pytest.mark.parametrize("what", BREAKS)
def test_each_mistake_is_one_line_that_names_the_file(what, pictures, tmp_path):
    """Catches a mistake that passes, a traceback, an error of several lines, and an import that
    goes ahead all the same.
    """
    pattern, spoil = BREAKS[what]
    spoil(pictures)
    options = {"classes": "background,a,b"} if "beyond" in what else {}
    lines = problems(pictures, **options)
    assert any(re.search(pattern, line) for line in lines), lines
    assert all("\n" not in line for line in lines)
    with pytest.raises(UserError) as error:
        importing.import_set(
            "folder", pictures, "own", tmp_path / "root", progress=False, **options
        )
    assert "\n" not in str(error.value)
    assert not (tmp_path / "root" / "own").exists()


def test_check_lists_all_problems(pictures):
    """Catches a check that stops at the first problem."""
    for what in ("shapes that differ", "unknown type", "label without image"):
        BREAKS[what][1](pictures)
    (pictures / "images/p2.png").write_bytes(b"")
    found = "\n".join(problems(pictures))
    for word in ("labels/p1.png", "notes.txt", "labels/x.png", "images/p2.png"):
        assert word in found


@pytest.mark.parametrize(
    "make",
    [
        lambda f: None,
        lambda f: (f / "images").mkdir(),
        lambda f: (f / "labels").mkdir(),
    ],
)
def test_empty_folder(make, tmp_path):
    """Catches an empty set that imports, or that ends in an IndexError."""
    make(tmp_path)
    (line,) = problems(tmp_path)
    assert "images" in line
    assert str(tmp_path) in line


def test_volume_mistakes(volumes):
    """Catches NaN, non-whole and missing label values, misplaced labels and flat files among
    volumes.
    """
    bad = np.zeros((6, 5, 3), np.float32)
    bad[0, 0, 0] = np.nan
    nifti(volumes / "images" / "v0.nii.gz", bad)
    nifti(
        volumes / "labels" / "v1.nii.gz",
        np.full((6, 5, 3), 0.5, np.float32),
    )
    nifti(
        volumes / "labels" / "v2.nii.gz",
        np.zeros((6, 5, 3), np.uint8),
        (3.0, 3.0, 3.0),
    )
    (volumes / "images" / "v3.nii.gz").write_bytes(b"\x1f\x8b nonsense")
    found = problems(volumes)
    for word in (
        "v0.nii.gz: image holds NaN or infinity in 1 of 90 voxels, the first at slice 0, row 4, "
        "column 5",
        "labels/v1.nii.gz: label has value 0.5",
        "labels/v2.nii.gz: lies elsewhere",
        "images/v3.nii.gz: cannot",
    ):
        assert sum(word in line for line in found) == 1, (word, found)


def test_unknown_format_option_and_path(pictures, tmp_path):
    """Catches options and paths that are silently ignored."""
    for format, source, options, word in (
        ("nonsense", pictures, {}, "folder"),
        ("ssl4mis-acdc", pictures, {"classes": "a,b"}, "--classes"),
        ("folder", tmp_path / "nowhere", {}, "nowhere"),
        ("folder", pictures, {"channels": "blue"}, "grey"),
        ("folder", pictures, {"classes": "one"}, "--classes"),
    ):
        with pytest.raises(UserError, match=word):
            readers.read(format, source, progress=False, **options)
