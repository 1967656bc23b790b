"""Data sets that leave the store: exported in nnU-Net's layout, and removed."""

import csv
import json

import nibabel
import numpy as np
import pytest
from data_samples import picture, write_png
from layouts import nifti, volume
from PIL import Image

from semiseg.cli.main import main
from semiseg.data import exporting, importing, store
from semiseg.errors import UserError

AXES = {
    "LAS": np.array([[-1.5, 0, 0, 40], [0, 1.25, 0, -20], [0, 0, 4, 7], [0, 0, 0, 1.0]]),
    "PIR": np.array([[0, 0, 1.5, 3], [-1.25, 0, 0, 8], [0, -4, 0, 7], [0, 0, 0, 1.0]]),
    "oblique": np.array(
        [[1.2, 0.3, 0.2, 1], [-0.2, 1.1, 0.5, 2], [-0.1, -0.4, 3.9, 3], [0, 0, 0, 1.0]]
    ),
}


@pytest.fixture
def root(tmp_path):
    return tmp_path / "root"


@pytest.fixture
def scans(tmp_path):
    """Twelve volumes in three orientations, two without a label, and who is where."""
    folder = tmp_path / "scans"
    lines = ["name,subject,group,split,site"]
    for i in range(12):
        voxels, label = volume(i)
        affine = AXES[list(AXES)[i % 3]]
        nifti(
            folder / "images" / f"p{i:02d}.nii.gz",
            voxels,
            affine,
        )
        if i not in (3, 4):
            label[0, 0, 0] = 255
            nifti(
                folder / "labels" / f"p{i:02d}.nii.gz",
                label,
                affine,
            )
        split = {8: "val", 9: "val", 10: "test", 11: "test"}.get(i, "train")
        lines.append(f"p{i:02d},person{i},g{i},{split},Graz")
    (folder / "subjects.csv").write_text("\n".join(lines) + "\n")
    return folder


def bring(format, folder, name, root, **options):
    return importing.import_set(format, folder, name, root, progress=False, **options)


def export(name, out, root, **options):
    lines = []
    counts = exporting.export_set(name, out, root, progress=False, say=lines.append, **options)
    return counts, lines


def same(first, second):
    """Whether two cases are one scan."""
    assert first.image.dtype == second.image.dtype
    assert np.array_equal(first.image, second.image)
    assert np.array_equal(first.label, second.label)
    assert np.allclose(first.spacing, second.spacing)
    assert first.subject == second.subject
    assert first.name == second.name
    assert first.group == second.group
    return True


# ------------------------------------------------------------------ export
def test_volumes_lie_where_their_files_lay(scans, root, tmp_path):
    """Catches an export in the orientation of the store, and an affine of other voxels."""
    bring("folder", scans, "own", root, classes="background,edema,core")
    counts, lines = export("own", tmp_path / "out", root)
    assert counts == {"train": 6, "val": 2, "test": 2, "unlabelled": 2}
    places = {
        "images_unlabelled": (3, 4),
        "imagesTr": (0, 5, 9),
        "imagesTs": (10, 11),
    }
    for folder, numbers in places.items():
        for i in numbers:
            first = nibabel.load(scans / "images" / f"p{i:02d}.nii.gz")
            second = nibabel.load(tmp_path / "out" / folder / f"p{i:02d}_0000.nii.gz")
            assert second.get_data_dtype() == first.get_data_dtype()
            assert np.array_equal(first.dataobj, second.dataobj), i
            assert np.allclose(first.affine, second.affine, atol=1e-5), i
            unit, _ = second.header.get_xyzt_units()
            assert unit == "mm"
    first = nibabel.load(scans / "labels" / "p11.nii.gz")
    second = nibabel.load(tmp_path / "out" / "labelsTs" / "p11.nii.gz")
    label = np.asarray(first.dataobj)
    wanted = np.where(label == 255, 3, label)
    assert np.array_equal(second.dataobj, wanted)
    assert any("images_unlabelled" in line and line.endswith("2") for line in lines)


def test_a_round_trip_keeps_the_set(scans, root, tmp_path):
    """Catches splits, subjects, groups, columns, names or classes that are lost on the way."""
    first = bring("folder", scans, "own", root, classes="background,edema,core")
    export("own", tmp_path / "out", root)
    second = bring("nnunet", tmp_path / "out", "back", root)
    assert second.classes == first.classes
    for split in ("train", "val"):
        before = [case for case in store.read_split("own", split, root) if case.label is not None]
        after = store.read_split("back", split, root)
        assert len(before) == len(after)
        assert all(map(same, before, after))
    columns = (root / "back" / "subjects.csv").read_text()
    assert "person11,Graz" in columns
    assert "person3," not in columns
    assert second.number("train", "subjects") == 6
    assert second.number("val", "subjects") == 2
    assert second.number("test", "subjects") == 2


def test_what_nnunet_reads(scans, root, tmp_path):
    """Catches a dataset.json without ignore, and folds that name files instead of cases."""
    bring("folder", scans, "own", root, classes="background,edema,core", citation="me, 2026")
    export("own", tmp_path / "out", root)
    description = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert description["labels"] == {"background": 0, "edema": 1, "core": 2, "ignore": 3}
    assert description["channel_names"] == {"0": "channel 0"}
    labels = list((tmp_path / "out" / "labelsTr").iterdir())
    assert len(labels) == 8
    assert description["numTraining"] == 8
    assert description["file_ending"] == ".nii.gz"
    assert description["reference"] == "me, 2026"
    (fold,) = json.loads((tmp_path / "out" / "splits_final.json").read_text())
    assert fold == {
        "train": ["p00", "p01", "p02", "p05", "p06", "p07"],
        "val": ["p08", "p09"],
    }


def test_test_labels_count_as_an_evaluation(scans, root, tmp_path):
    """Catches test labels that leave the store without a line."""
    bring("folder", scans, "own", root)
    counts, lines = export("own", tmp_path / "free", root, with_test=False)
    assert counts["test"] == 0
    assert store.history("own", root).evaluations == 0
    assert not (tmp_path / "free" / "labelsTs").exists()
    assert not (tmp_path / "free" / "imagesTs").exists()
    assert "person10" not in (tmp_path / "free" / "subjects.csv").read_text()
    assert any("left out" in line for line in lines)
    _, lines = export("own", tmp_path / "out", root)
    assert store.history("own", root).evaluations == 1
    (entry,) = store.ledger("own", root)
    assert entry["reason"] == "semiseg data export own"
    assert entry["run"] == str(tmp_path / "out")
    assert any("counts as a test evaluation" in line for line in lines)


@pytest.mark.parametrize("kind", ["grey", "colours", "16 bits", "two channels"])
def test_pictures_keep_their_values(kind, root, tmp_path):
    """Catches a PNG of eight bits, and channels in another order."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "pictures"
    for i in range(10):
        grey, label = picture(i)
        write_png(folder / "labels" / f"p{i}.png", label)
        images = {
            "grey": {"": grey},
            "colours": {"": rng.integers(0, 256, (16, 16, 3), np.uint8)},
            "16 bits": {"": grey.astype(np.uint16) * 257},
            "two channels": {"_0000": grey, "_0001": grey[::-1]},
        }
        for ending, pixels in images[kind].items():
            image = np.ascontiguousarray(pixels)
            write_png(
                folder / "images" / f"p{i}{ending}.png",
                image,
            )
    bring("folder", folder, "own", root)
    export("own", tmp_path / "out", root, with_test=False)
    bring("nnunet", tmp_path / "out", "back", root)
    before = store.read_split("own", "train", root)
    after = store.read_split("back", "train", root)
    assert len(before) == 7
    assert len(after) == 7
    assert all(map(same, before, after))
    if kind == "16 bits":
        name = before[0].name
        path = tmp_path / "out" / "imagesTr" / f"{name}_0000.png"
        with Image.open(path) as image:
            assert image.mode.startswith("I;16")


def test_pixel_sizes_are_written_beside_pictures(pictures, root, tmp_path):
    """Catches millimetres that a PNG loses."""
    lines = ["name,subject,spacing"]
    lines += [f"p{i},p{i},0.5x0.25" for i in range(10)]
    table = "\n".join(lines) + "\n"
    (pictures / "subjects.csv").write_text(table)
    bring("folder", pictures, "own", root)
    _, notes = export("own", tmp_path / "out", root)
    with (tmp_path / "out" / "subjects.csv").open() as file:
        assert {row["spacing"] for row in csv.DictReader(file)} == {"0.5x0.25"}
    assert any("mm of pixels" in note for note in notes)


def test_volumes_without_an_affine(acdc_like, root, tmp_path):
    """Catches HDF5 stacks, whose slices would come back as rows."""
    bring("ssl4mis-acdc", acdc_like, "own", root)
    export("own", tmp_path / "out", root)
    bring("nnunet", tmp_path / "out", "back", root, subjects_are_images=True)
    for split in ("train", "val"):
        before = store.read_split("own", split, root)
        after = store.read_split("back", split, root)
        assert len(before) == len(after)
        for first, second in zip(before, after, strict=True):
            assert np.array_equal(first.image, second.image)
            assert np.array_equal(first.label, second.label)


def test_what_cannot_be_exported_is_one_line(pictures, root, tmp_path):
    """Catches a folder that is overwritten, and half of an export that stays."""
    bring("folder", pictures, "own", root)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="exists already.*--out"):
        export("own", tmp_path / "full", root)
    assert store.history("own", root).evaluations == 0
    (tmp_path / "empty").mkdir()
    export("own", tmp_path / "empty", root)
    for path in (pictures / "images").iterdir():
        with Image.open(path) as image:
            pixels = np.array(image, np.float32)
        Image.fromarray(pixels).save(path.with_suffix(".tif"))
        path.unlink()
    bring("folder", pictures, "floats", root)
    with pytest.raises(UserError, match="holds float32 numbers"):
        export("floats", tmp_path / "floats", root)
    assert not [path for path in tmp_path.iterdir() if "floats" in path.name]


def test_a_set_without_annotation_is_not_exported(root, tmp_path):
    """Catches an imagesTr without a label, on which nnU-Net stops."""
    for i in range(3):
        image, _ = picture(i)
        write_png(
            tmp_path / "bare" / "images" / f"p{i}.png",
            image,
        )
    bring("folder", tmp_path / "bare", "own", root, splits="train", classes="background,cell")
    with pytest.raises(UserError, match="no annotated training subject"):
        export("own", tmp_path / "out", root)


def test_the_commands(pictures, root, tmp_path, capsys):
    """Catches a command that does nothing, and a removal that nobody asked for."""
    bring("folder", pictures, "own", root)
    where = ["--root", str(root)]
    out = tmp_path / "Dataset007_own"
    assert main(["data", "export", "own", *where, "--out", str(out), "--without-test"]) == 0
    assert (out / "dataset.json").exists()
    captured = capsys.readouterr()
    assert "own: train 7, val 1\n" in captured.out
    assert "Dataset001" not in captured.err
    assert main(["data", "remove", "own", *where]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "--yes" in error
    assert "train 7, val 1, test 2" in error
    assert (root / "own" / "semiseg.json").exists()
    assert main(["data", "remove", "own", *where, "--yes"]) == 0
    assert not (root / "own").exists()
    assert main(["data", "remove", "own", *where, "--yes"]) == 2


# ------------------------------------------------------------------ removal
def test_the_ledger_outlives_its_set(pictures, root):
    """Catches a removal that washes a test set clean, and a history that then looks broken."""
    from semiseg.data import removing

    bring("folder", pictures, "own", root)
    store.read_test("own", root, reason="a test", run="runs/a")
    store.read_test("own", root, reason="a test", run="runs/b")
    removing.remove("own", root, sure=True)
    assert not [path for path in root.iterdir() if "own" in path.name]
    bring("folder", pictures, "own", root)
    history = store.history("own", root)
    assert history.evaluations == 2
    assert history.problems == ()
    store.read_test("own", root, reason="a test", run="runs/c")
    history = store.history("own", root)
    assert history.evaluations == 3
    assert history.problems == ()
    bring("folder", pictures, "other", root)
    assert store.history("other", root).evaluations == 3


def test_what_is_not_removed(pictures, root, tmp_path):
    """Catches the embedded set, a link, and a name that leads out of the root."""
    from semiseg.data import removing

    bring("folder", pictures, "own", root)
    (root / "link").symlink_to(root / "own")
    for name, words in (("nuclei", "comes with"), ("link", "is a link"), ("../own", "must be")):
        with pytest.raises(UserError, match=words):
            removing.remove(name, root, sure=True)
    assert (root / "own" / "semiseg.json").exists()
