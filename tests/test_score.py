"""`semiseg score`: masks of another program become a run; files that do not fit are named."""

import dataclasses
import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

import semiseg
from semiseg.analysis.load import load_runs
from semiseg.analysis.study import study
from semiseg.cli.main import main
from semiseg.data import importing, store
from semiseg.data.frame import Frame
from semiseg.errors import UserError
from semiseg.run_folder import RunFolder
from semiseg.runner.external import Masked, score_masks


@pytest.fixture(scope="module")
def trained(tiny, tmp_path_factory) -> Path:
    """A finished run on the pictures."""
    return semiseg.run(
        tiny,
        tmp_path_factory.mktemp("runs") / "own",
        progress=False,
    ).path


@pytest.fixture(scope="module")
def hearts(tmp_path_factory) -> tuple[Path, Path]:
    """Source folder and root of ten NIfTI volumes of two classes, cut along their second axis."""
    place = tmp_path_factory.mktemp("hearts")
    rng = np.random.default_rng(0)
    grid = np.mgrid[:24, :6, :20]
    for i in range(10):
        centre = rng.integers((9, 2, 7), (14, 4, 12))
        distance = ((grid - centre[:, None, None, None]) ** 2 * [[[[1]]], [[[4]]], [[[1]]]]).sum(0)
        label = (distance < 40).astype(np.uint8) + (distance < 12)
        image = np.clip(60 + 70 * label + rng.normal(0, 8, label.shape), 0, 255)
        affine = np.diag([1.5, 5.0, 1.2, 1.0])
        affine[:3, 3] = (10, 20, 30)
        split = ("train", "val", "test")[(i > 5) + (i > 7)]
        for kind, voxels in (("images", image), ("labels", label)):
            (place / split / kind).mkdir(parents=True, exist_ok=True)
            file = place / split / kind / f"h{i}.nii.gz"
            nibabel.save(nibabel.Nifti1Image(voxels.astype(np.uint8), affine), file)
    root = tmp_path_factory.mktemp("heart stores")
    importing.import_set(
        "folder", place, "hearts", root, progress=False, allow_near_duplicates=True
    )
    return place, root


def rows_of(run: Path, split="val"):
    """The rows of the last checkpoint without the run's name, as the file has them."""
    return [
        {key: value for key, value in row.items() if key != "run"}
        for row in RunFolder(run).read_scores()
        if (row["split"], row["checkpoint"]) == (split, "last")
    ]


def score(predictions, out, data="discs", root=None, **options):
    """`semiseg score` in Python."""
    masked = Masked(data, str(root), options.pop("method", "nnU-Net"), options.pop("labels", 4))
    return score_masks(masked, predictions, out, **options)


def masks_of(name, root, folder, split="val", change=None):
    """The truth of a split as NPY files, one a case."""
    folder.mkdir(parents=True, exist_ok=True)
    for case in store.read_split(name, split, root):
        mask = case.label
        if change is not None:
            mask = change(mask)
        np.save(folder / f"{case.name}.npy", mask)
    return folder


# ------------------------------------------------------------------ the same numbers
def test_the_masks_of_predict_give_the_runs_own_rows(trained, tiny_folder, root, tmp_path):
    """Catches other subjects, another grid, or another score for the same masks."""
    images = tiny_folder / "val" / "images"
    assert main(["predict", str(trained), f"--input={images}", f"--output={tmp_path / 'm'}"]) == 0
    argv = ["score", "--data=discs", f"--predictions={tmp_path / 'm'}", "--method=ours"]
    argv += ["--labels=4", f"--out={tmp_path / 'scored'}", f"--root={root}"]
    assert main(argv) == 0
    assert rows_of(tmp_path / "scored") == rows_of(trained)
    mine = json.loads((tmp_path / "scored" / "summary.json").read_text())
    theirs = json.loads((trained / "summary.json").read_text())
    for key in ("labelled_subjects", "subjects_labelled", "images_labelled", "subjects_val"):
        assert mine[key] == theirs[key]
    assert mine["last"]["val"] == theirs["last"]["val"]
    assert mine["provenance"] == "external"


@pytest.mark.parametrize("dims", [2, 3])
def test_volumes_give_the_runs_own_rows(dims, hearts, tiny, tmp_path):
    """Catches slices cut along another axis than predict's, in the wrong order, or of a part."""
    source, root = hearts
    net = dataclasses.replace(
        tiny.net,
        dims=dims,
    )
    trial = dataclasses.replace(
        tiny, data="hearts", root=str(root), net=net, steps=60, labels=4, depth=4, image_size=24
    )
    run = semiseg.run(
        trial,
        tmp_path / "own",
        progress=False,
    ).path
    flags = [f"--input={source / 'val' / 'images'}", f"--output={tmp_path / 'masks'}"]
    assert main(["predict", str(run), *flags]) == 0
    score(
        tmp_path / "masks",
        tmp_path / "scored",
        "hearts",
        root,
    )
    assert rows_of(tmp_path / "scored") == rows_of(run)


@pytest.mark.parametrize("suffix", [".png", ".npy"])
def test_slices_and_pictures_are_read(suffix, hearts, tmp_path):
    """Catches masks by slice, 0 and 255, and NPY volumes that are not read as classes."""
    _, root = hearts
    folder = tmp_path / "masks"
    folder.mkdir()
    for case in Frame(8).scans(store.read_split("hearts", "val", root), "hearts"):
        if suffix == ".png":
            Image.fromarray(case.label).save(folder / f"{case.name}.png")
        else:
            np.save(folder / f"{case.name}.npy", case.label.astype(np.int64))
    rows = score(
        folder,
        tmp_path / "out",
        "hearts",
        root,
    ).rows
    assert {row.value for row in rows if row.metric == "dice"} == {1.0}


def test_white_masks_are_read_as_an_import_reads_them(root, tmp_path):
    """Catches a mask of 0 and 255 that is refused, or scored as IGNORE."""
    folder = masks_of(
        "discs",
        root,
        tmp_path / "m",
        change=lambda mask: mask * 255,
    )
    rows = score(
        folder,
        tmp_path / "out",
        root=root,
    ).rows
    assert {row.value for row in rows if row.metric == "dice"} == {1.0}


# ------------------------------------------------------------------ a run like any other
def test_it_stands_in_curve_and_report(trained, root, tmp_path):
    """Catches a folder that load_runs, study or the report cannot read, and budgets that differ."""
    good = masks_of(
        "discs",
        root,
        tmp_path / "good",
    )
    score(
        good,
        tmp_path / "runs" / "external",
        root=root,
    )
    own = tmp_path / "runs" / "own"
    own.symlink_to(trained)
    runs = load_runs([tmp_path / "runs" / "external", trained])
    external = runs.where(method="nnU-Net")[0]
    assert (external.labels, external.net, external.seed) == (4, "external", 0)
    assert external.annotated == runs.where(method="supervised")[0].annotated
    result = study(runs)
    assert {(name, 4) for name in ("nnU-Net", "supervised")} <= set(result.cells)
    out = tmp_path / "report"
    folders = [str(tmp_path / "runs" / "external"), str(trained)]
    assert main(["report", *folders, "--out", str(out)]) == 0
    page = (out / "report.html").read_text()
    assert "nnU-Net" in page
    assert "another program" in page


def test_test_masks_are_in_the_ledger(root, tiny_folder, tmp_path):
    """Catches a test evaluation that costs nothing because the network is another program's."""
    before = store.history("discs", root).evaluations
    masks = tiny_folder / "test" / "labels"
    score(masks, tmp_path / "run", root=root, split="test")
    assert store.history("discs", root).evaluations == before + 1
    assert store.ledger("discs", root)[-1]["reason"] == "semiseg score"


def _truth(tiny_folder: Path, place: Path) -> list[Path]:
    """Copies of the test masks."""
    place.mkdir()
    copies = []
    for file in sorted((tiny_folder / "test" / "labels").iterdir()):
        copies.append(place / file.name)
        copies[-1].write_bytes(file.read_bytes())
    return copies


def _renamed(files: list[Path]) -> None:
    for i, file in enumerate(files):
        file.rename(file.with_name(f"x{i}{file.suffix}"))


def _one_missing(files: list[Path]) -> None:
    files[0].unlink()


def _unreadable(files: list[Path]) -> None:
    files[-1].write_text("no picture")


def _no_class(files: list[Path]) -> None:
    pixels = np.asarray(Image.open(files[-1])).copy()
    pixels[0, 0] = 7
    Image.fromarray(pixels).save(files[-1])


@pytest.mark.parametrize(
    "spoil, message",
    [
        (_renamed, "no file has the name of a test scan"),
        (_one_missing, "masks of test subjects are missing"),
        (_unreadable, "cannot be read"),
        (_no_class, "holds 7"),
    ],
)
def test_files_that_cannot_be_scored_are_no_test_evaluation(
    root, tiny_folder, tmp_path, spoil, message
):
    """Catches a failed command that counts as a test evaluation, although its files alone tell that
    it fails.
    """
    files = _truth(tiny_folder, tmp_path / "m")
    spoil(files)
    before = store.history("discs", root).evaluations
    with pytest.raises(UserError, match=message):
        score(tmp_path / "m", tmp_path / "run", root=root, split="test")
    assert store.history("discs", root).evaluations == before


def test_both_splits_go_into_one_folder(root, tiny_folder, tmp_path):
    """Catches a second split that overwrites the first, and another program's run that is lost."""
    folder = tmp_path / "m"
    folder.mkdir()
    for split in ("val", "test"):
        for file in (tiny_folder / split / "labels").iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
    out = tmp_path / "run"
    for split in ("val", "test"):
        score(
            folder,
            out,
            root=root,
            split=split,
        )
    assert len(rows_of(out, "val")) == len(rows_of(out, "test")) > 0
    assert set(RunFolder(out).read_summary()["last"]) == {"val", "test"}
    with pytest.raises(UserError, match="holds another run"):
        score(
            folder,
            out,
            root=root,
            method="MONAI",
        )
    with pytest.raises(UserError, match="score them with `semiseg score`"):
        from semiseg.runner.rescore import evaluate

        evaluate(out)


# ------------------------------------------------------------------ what does not fit
def test_missing_subjects_are_named(root, tmp_path, capsys):
    """Catches a mean over the subjects that a program happened to segment."""
    folder = masks_of(
        "discs",
        root,
        tmp_path / "m",
    )
    (folder / "val1.npy").rename(folder / "val_1.npy")
    with pytest.raises(UserError, match=r"missing: val1 has no mask \(no scan is called val_1"):
        score(
            folder,
            tmp_path / "run",
            root=root,
        )
    assert not (tmp_path / "run").exists()
    outcome = score(
        folder,
        tmp_path / "run",
        root=root,
        allow_missing=True,
    )
    assert outcome.missing == ("val1",)
    assert {row.subject for row in outcome.rows} == {"val0", "val2"}
    (note,) = RunFolder(tmp_path / "run").read_summary()["notes"]
    assert "val1" in note
    report = ["report", str(tmp_path / "run"), "--out", str(tmp_path / "report")]
    assert main(report) == 0
    page = (tmp_path / "report" / "report.html").read_text()
    assert "1 subject with a missing mask is left out (val1)" in page


WRONG = {
    "transposed": (
        lambda mask: mask.T,
        "36×40, its scan 40×36: its axes are transposed",
    ),
    "another size": (
        lambda mask: mask[1:],
        "39×36, its scan 40×36",
    ),
    "class": (
        lambda mask: mask * 7,
        "holds 7; the classes are 0 background, 1 class 1",
    ),
    "text": (
        lambda mask: mask.astype(str),
        "and no class numbers",
    ),
    "no class": (
        lambda mask: mask * 0.5,
        "holds the value 0.5, which is no class",
    ),
    "shifted": (
        lambda mask: np.roll(mask, 7, axis=1),
        "shifted by 7 columns",
    ),
    "mirrored": (
        lambda mask: mask[::-1],
        "upside down",
    ),
    "probabilities": (
        lambda mask: np.stack([mask, mask, mask, mask])[None],
        "has shape",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_masks_that_do_not_fit_are_named(kind, root, tmp_path):
    """Catches a file format that is taken for a bad method."""
    change, message = WRONG[kind]
    folder = masks_of(
        "discs",
        root,
        tmp_path / "m",
        change=change,
    )
    with pytest.raises(UserError, match=message):
        score(
            folder,
            tmp_path / "run",
            root=root,
        )
    assert not (tmp_path / "run").exists()


def test_a_shift_can_be_scored_as_it_is(root, tmp_path):
    """Catches a check that a true result cannot pass."""
    folder = masks_of("discs", root, tmp_path / "m", change=lambda mask: np.roll(mask, 7, axis=1))
    score(
        folder,
        tmp_path / "run",
        root=root,
        as_is=True,
    )
    (note,) = RunFolder(tmp_path / "run").read_summary()["notes"]
    assert "shifted by 7 columns" in note


def test_poor_masks_are_scored(root, tmp_path):
    """Catches a check that takes a bad method for a wrong file."""
    rng = np.random.default_rng(0)
    noise = masks_of("discs", root, tmp_path / "n", change=lambda m: rng.integers(0, 2, m.shape))
    score(
        noise,
        tmp_path / "noise",
        root=root,
    )
    centre = np.zeros((40, 36), int)
    centre[10:30, 10:26] = 1
    constant = masks_of(
        "discs",
        root,
        tmp_path / "c",
        change=lambda mask: centre,
    )
    score(
        constant,
        tmp_path / "constant",
        root=root,
    )
    empty = masks_of(
        "discs",
        root,
        tmp_path / "e",
        change=lambda mask: mask * 0,
    )
    score(
        empty,
        tmp_path / "empty",
        root=root,
    )


def _save(file, voxels, affine):
    nibabel.save(nibabel.Nifti1Image(voxels, affine), file)


VOLUMES = {
    "origin": (
        lambda voxels, affine: (voxels, affine + np.array([[0, 0, 0, 9]] + [[0] * 4] * 3)),
        "its origin is shifted by",
    ),
    "spacing": (
        lambda voxels, affine: (voxels, np.diag([3.0, 10.0, 2.4, 1.0])),
        "has voxels of 10 × 2.4 × 3 mm, its scan of 5 × 1.2 × 1.5",
    ),
    "axes": (
        lambda voxels, affine: (voxels.transpose(2, 1, 0), np.diag([1.2, 5.0, 1.5, 1.0])),
        "its axes are transposed",
    ),
    "classes": (
        lambda voxels, affine: ((3 - voxels) * (voxels > 0), affine),
        "value 2 covers class 1 and value 1 covers class 2",
    ),
    "shift": (
        lambda voxels, affine: (np.roll(voxels, 5, axis=2), affine),
        "shifted by -5 rows",
    ),
}


@pytest.mark.parametrize("kind", VOLUMES)
def test_volumes_that_do_not_fit_are_named(kind, hearts, tmp_path):
    """Catches another affine, transposed axes, and class numbers of another convention."""
    source, root = hearts
    change, message = VOLUMES[kind]
    for file in (source / "val" / "labels").iterdir():
        image = nibabel.load(file)
        voxels, affine = change(np.asarray(image.dataobj), image.affine)
        _save(tmp_path / file.name, voxels.astype(np.uint8), affine)
    with pytest.raises(UserError, match=message):
        score(
            tmp_path,
            tmp_path / "run",
            "hearts",
            root,
        )


def test_the_report_says_how_to_score_again(root, tmp_path):
    """Catches a command that would train another program's run, and its zero steps as a fact."""
    score(
        masks_of("discs", root, tmp_path / "m"),
        tmp_path / "run",
        root=root,
    )
    assert main(["report", str(tmp_path / "run"), "--out", str(tmp_path / "report")]) == 0
    page = (tmp_path / "report" / "report.html").read_text()
    assert f"semiseg score --data discs --predictions {tmp_path / 'm'} --split val" in page
    assert "semiseg train --config" not in page
    assert "all masks were made by another program" in page


# ------------------------------------------------------------------ maker, gaps, small shifts
@pytest.mark.parametrize("name", ["supervised", "Supervised", "mean-teacher"])
def test_a_method_of_our_own_is_refused(name, root, tmp_path):
    """Catches another program's masks whose page describes our baseline."""
    masks = masks_of("discs", root, tmp_path / "m")
    before = store.history("discs", root).evaluations
    with pytest.raises(UserError, match="is a method of semiseg itself.*name the program"):
        score(masks, tmp_path / "run", root=root, method=name, split="test")
    assert store.history("discs", root).evaluations == before
    assert not (tmp_path / "run").exists()


def test_a_missing_slice_is_named(hearts, tmp_path, capsys):
    """Catches a subject of which one slice is missing that is said to have no mask at all."""
    _, root = hearts
    masks = tmp_path / "m"
    masks.mkdir()
    (training, *_) = store.read_split("hearts", "train", root)
    for case in Frame(8).scans([training, *store.read_split("hearts", "val", root)], "hearts"):
        if case.subject != training.subject or case.index == 0:
            np.save(masks / f"{case.name}.npy", case.label)
    lost = sorted(masks.glob("h6*.npy"))[2]
    lost.unlink()
    message = f"subjects are missing: h6 lacks 1 of 6 masks: {lost.stem}"
    with pytest.raises(UserError, match=message) as error:
        score(masks, tmp_path / "run", "hearts", root)
    assert "no scan is called" not in str(error.value)
    argv = ["score", "--data=hearts", f"--predictions={masks}", "--method=x", "--labels=4"]
    argv += [f"--out={tmp_path / 'run'}", f"--root={root}", "--allow-missing"]
    assert main(argv) == 0
    assert f"scored without h6 lacks 1 of 6 masks: {lost.stem}" in capsys.readouterr().err
    (note,) = RunFolder(tmp_path / "run").read_summary()["notes"]
    assert note == f"val scored without 1 subject: h6 lacks 1 of 6 masks: {lost.stem}"
    sorted(masks.glob("h7*.npy"))[0].unlink()
    with pytest.raises(UserError, match="h6 lacks 1 of 6.*h7 lacks 1 of 6.*no subject has all"):
        score(masks, tmp_path / "other", "hearts", root, allow_missing=True)


def test_a_small_common_shift_is_a_note(root, tmp_path):
    """Catches masks that lie one pixel off in every scan, which cost Dice without a word."""
    folder = masks_of("discs", root, tmp_path / "m", change=lambda mask: np.roll(mask, 1, axis=0))
    outcome = score(folder, tmp_path / "run", root=root)
    assert "shifted by 1 row (3 of 3 scans" in outcome.slight_shift
    assert RunFolder(tmp_path / "run").read_summary()["notes"] == [f"val: {outcome.slight_shift}"]
    right = score(masks_of("discs", root, tmp_path / "r"), tmp_path / "right", root=root)
    assert right.slight_shift == ""
