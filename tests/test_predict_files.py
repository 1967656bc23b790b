"""``semiseg predict``: every file accounted for, nothing overwritten, ensembles and what is written
beside the masks.
"""

import csv
import dataclasses
import shutil

import nibabel
import numpy as np
import pytest
from PIL import Image

import semiseg
from semiseg.cli.main import main
from semiseg.data import expected, prediction_inputs
from semiseg.errors import UserError
from semiseg.runner.ensemble import Ensemble
from semiseg.runner.predictor import Predictor
from semiseg.train.checkpoint import load_weights, save_weights
from semiseg.types import Case


@pytest.fixture(scope="module")
def run(tiny, tmp_path_factory):
    """A network of grey pictures that was trained a little."""
    return semiseg.run(tiny, tmp_path_factory.mktemp("files") / "run", progress=False).path


@pytest.fixture(scope="module")
def other(run, tmp_path_factory):
    """A network of other weights."""
    return changed(run, tmp_path_factory.mktemp("files") / "other", seed=1)


def changed(run, target, seed=None, **header):
    """A copy of a run with noise in its weights, or another header."""
    shutil.copytree(run, target)
    for path in target.glob("weights*.safetensors"):
        params, known = load_weights(path)
        if seed is not None:
            rng = np.random.default_rng(seed)
            params = {
                name: (array + rng.normal(0, 0.1, array.shape)).astype(array.dtype)
                for name, array in params.items()
            }
        save_weights(path, params, known | header)
    return target


def picture(seed=0, shape=(40, 36)):
    """Grey levels with a bright disc."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    disc = (rows - 18) ** 2 + (columns - 15) ** 2 < 60
    noise = np.random.default_rng(seed).normal(0, 12, shape)
    return np.clip(60 + 110 * disc + noise, 0, 255).astype(np.uint8)


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def save_volume(path, voxels, spacing=(1.0, 1.0, 4.0)):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([*spacing, 1.0])), path)


def predict(runs, source, target, *flags):
    words = ["predict", *map(str, runs), f"--input={source}", f"--output={target}", *flags]
    return main(words)


def files_of(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))


# ------------------------------------------------------------------ every file
def test_every_file_is_accounted_for(run, tmp_path, capsys):
    """Catches subfolders left out or flattened, hidden files predicted, other files unmentioned,
    and masks that are predicted as images the next time.
    """
    source = tmp_path / "in"
    save(source / "a.png", picture())
    save(source / "clinic" / "a.png", picture(1))
    save(source / "clinic" / "b.jpg", picture(2))
    save(source / "clinic" / "c.bmp", picture(2))
    save(source / "clinic" / "d.webp", picture(2))
    for name in ("._a.png", ".hidden.png", "notes.txt", "table.csv"):
        (source / name).write_text("no image")
    (source / "clinic" / "readme").write_text("no image")
    out = source / "masks"
    assert predict([run], source, out) == 0
    masks = ["a.png", "clinic/a.png", "clinic/b.png", "clinic/c.png", "clinic/d.png"]
    assert files_of(out) == masks
    for name in masks:
        assert np.asarray(Image.open(out / name)).max() <= 1
    notes = capsys.readouterr().err
    assert "3 files are no images: notes.txt, table.csv, clinic/readme" in notes
    assert "_a.png" not in notes
    assert predict([run], source, out, "--overwrite") == 0
    assert files_of(out) == masks


def test_nothing_is_overwritten(run, tmp_path, capsys):
    """Catches a mask, or a table, that replaces another without a word; and the rest being written
    before the refusal.
    """
    save(tmp_path / "in" / "a.png", picture())
    save(tmp_path / "in" / "b.png", picture())
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "b.png").write_bytes(b"mine")
    assert predict([run], tmp_path / "in", tmp_path / "out") == 2
    message = capsys.readouterr().err
    assert "b.png" in message
    assert "--overwrite" in message
    assert files_of(tmp_path / "out") == ["b.png"]
    assert predict([run], tmp_path / "in", tmp_path / "out", "--overwrite", "--statistics") == 0
    (tmp_path / "out" / "a.png").unlink()
    (tmp_path / "out" / "b.png").unlink()
    assert predict([run], tmp_path / "in", tmp_path / "out", "--statistics") == 2
    assert "statistics.csv" in capsys.readouterr().err


def test_two_images_with_one_mask_are_refused(run, tmp_path, capsys):
    """Catches the mask of one that replaces that of the other."""
    save(tmp_path / "in" / "x" / "a.png", picture())
    save(tmp_path / "in" / "x" / "a.jpg", picture(1))
    assert predict([run], tmp_path / "in", tmp_path / "out") == 2
    assert "both have the mask x/a.png" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_channels_in_files_of_their_own_are_one_scan(tmp_path):
    """Catches channels that are predicted one by one, and frames of a film taken for channels."""
    voxels = np.zeros((4, 4, 3), np.int16)
    for name in ("p1_0000", "p1_0001", "p2_0000"):
        save_volume(tmp_path / "in" / f"{name}.nii.gz", voxels)
    save(tmp_path / "in" / "film_0000.png", np.zeros((4, 4, 3), np.uint8))
    save(tmp_path / "in" / "film_0001.png", np.zeros((4, 4, 3), np.uint8))
    scans = prediction_inputs.find_inputs(tmp_path / "in", tmp_path / "out", 2).scans
    masks = {scan.mask.name: len(scan.files) for scan in scans}
    films = {"film_0000.png": 1, "film_0001.png": 1}
    assert masks == films | {"p1.nii.gz": 2, "p2_0000.nii.gz": 1}
    scans = prediction_inputs.find_inputs(tmp_path / "in", tmp_path / "out", 1).scans
    assert len(scans) == 5


def test_channels_are_read_in_their_order(tiny, tmp_path):
    """Catches channels exchanged, and a mask with the name of a channel."""
    trained = Predictor.load(semiseg.run(tiny, tmp_path / "run", progress=False).path)
    two = dataclasses.replace(trained, channels=2)
    volume = np.stack([picture(k) for k in range(3)], -1).astype(np.int16)
    for k in range(2):
        save_volume(tmp_path / "in" / f"p1_000{k}.nii.gz", volume + 100 * k)
    (scan,) = prediction_inputs.find_inputs(tmp_path / "in", tmp_path / "out", 2).scans
    read = Ensemble((two,))._read(scan.files)
    assert read.image.shape[-1] == 2
    assert (read.image[..., 1] - read.image[..., 0] == 100).all()
    assert scan.mask.name == "p1.nii.gz"


# ------------------------------------------------------------------ what training saw
def test_a_scan_unlike_training_is_warned_of(run, tmp_path, capsys):
    """Raw numbers into a network of pictures. Catches silence, and a warning of what is alike."""
    voxels = np.stack([picture(k) for k in range(3)], -1).astype(np.int16)
    save_volume(tmp_path / "in" / "raw.nii.gz", voxels * 20 - 2000)
    save_volume(tmp_path / "in" / "usual.nii.gz", voxels)
    assert predict([run], tmp_path / "in", tmp_path / "out") == 0
    warnings = [line for line in capsys.readouterr().err.splitlines() if "unlike" in line]
    assert len(warnings) == 1
    assert "raw.nii.gz" in warnings[0]
    assert "its numbers lie between" in warnings[0]


def test_spacing_is_compared_where_both_are_in_mm():
    """Catches a picture's two sides compared with a volume's three, and centimetres in silence."""
    image = np.zeros((2, 4, 4, 1), np.uint8)
    scan = Case("", "p", image, None, (4.0, 1.0, 1.0), "p")
    seen = expected.of_scans([scan], "mm")
    coarse = dataclasses.replace(scan, spacing=(4.0, 10.0, 10.0))
    assert expected.differences(seen, scan, "mm") == []
    (words,) = expected.differences(seen, coarse, "mm")
    assert "spacing is 4 × 10 × 10 mm" in words
    flat = dataclasses.replace(scan, image=image[0], spacing=(1.0, 1.0))
    assert expected.differences(seen, flat, "mm") == []


def test_pictures_for_a_network_of_millimetres_need_spacing(run, tmp_path, capsys):
    """Catches pixels taken for millimetres, and a line for each picture."""
    seen = {"spacing": "1 1", "intensity": "zscore", "stored": "uint8", "unit": "mm"}
    millimetres = changed(run, tmp_path / "mm", input=seen)
    save(tmp_path / "in" / "a.png", picture())
    save(tmp_path / "in" / "b.png", picture())
    assert predict([millimetres], tmp_path / "in", tmp_path / "out") == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "--spacing" in lines[0]
    assert not (tmp_path / "out").exists()
    flags = ("--spacing=0.5,2", "--statistics")
    assert predict([millimetres], tmp_path / "in", tmp_path / "out", *flags) == 0
    mask = np.asarray(Image.open(tmp_path / "out" / "a.png"))
    image = picture()[..., None]
    predictor = Predictor.load(millimetres)
    np.testing.assert_array_equal(mask, predictor.predict(image, (0.5, 2.0)))
    with (tmp_path / "out" / "statistics.csv").open() as file:
        row = next(csv.DictReader(file))
    assert float(row["mm2"]) == pytest.approx(np.count_nonzero(mask) * 1.0)
    assert predict([run], tmp_path / "in", tmp_path / "out", "--spacing=wide") == 2


def test_a_volume_is_cut_as_training_cut(run, tmp_path):
    """Catches slices of a coronal scan for a network of axial ones."""
    seen = {"spacing": "fit", "intensity": "zscore", "stored": "uint8", "plane": "axial"}
    axial = changed(run, tmp_path / "axial", input=seen)
    voxels = np.random.default_rng(0).integers(0, 255, (20, 6, 24)).astype(np.int16)
    save_volume(tmp_path / "a.nii.gz", voxels, spacing=(1.0, 5.0, 1.0))
    assert Ensemble.load([run])._read([tmp_path / "a.nii.gz"]).image.shape[0] == 6
    assert Ensemble.load([axial])._read([tmp_path / "a.nii.gz"]).image.shape[0] == 24


def test_training_states_the_plane():
    """Catches a plane by the file's axes in place of the store's."""
    affines = {
        "axial": [[0, 0, -1], [0, -1, 0], [1, 0, 0]],
        "coronal": [[0, 0, -1], [-1, 0, 0], [0, -1, 0]],
    }
    for plane, directions in affines.items():
        affine = np.eye(4)
        affine[:3, :3] = directions
        image = np.zeros((2, 4, 4, 1), np.uint8)
        scan = Case("", "p", image, None, (1.0, 1.0, 1.0), "p", affine=affine)
        assert expected.of_scans([scan], "mm")["plane"] == plane


# ------------------------------------------------------------------ several networks, mirrors
def test_an_ensemble_averages_probabilities(run, other, tmp_path):
    """Catches votes, the last run alone, and an average on another grid."""
    save(tmp_path / "in" / "a.png", picture())
    save_volume(tmp_path / "in" / "b.nii.gz", np.stack([picture(1), picture(2)], -1))
    assert predict([run, other], tmp_path / "in", tmp_path / "out", "--probabilities") == 0
    image = picture()[..., None]
    single = [Predictor.load(one).probabilities(image) for one in (run, other)]
    assert np.abs(single[0] - single[1]).max() > 0.01
    with np.load(tmp_path / "out" / "a_probabilities.npz") as stored:
        np.testing.assert_allclose(stored["probability"], (single[0] + single[1]) / 2, atol=1e-6)
        labels = stored["probability"].argmax(-1)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out" / "a.png")), labels)
    plain = tmp_path / "plain"
    assert predict([run, other], tmp_path / "in", plain) == 0
    for name in ("a.png", "b.nii.gz"):
        assert (plain / name).read_bytes() == (tmp_path / "out" / name).read_bytes()


def test_runs_that_do_not_fit_are_refused(run, tmp_path, capsys):
    """Catches an average over classes of different meaning."""
    stranger = changed(run, tmp_path / "stranger", classes=["background", "vessel"])
    save(tmp_path / "in" / "a.png", picture())
    assert predict([run, stranger], tmp_path / "in", tmp_path / "out") == 2
    message = capsys.readouterr().err
    assert "classes" in message
    assert "vessel" in message


def test_each_run_of_an_ensemble_is_written_down(run, other, tiny_folder, root, tmp_path):
    """Catches a test set that only the first run's guard sees."""
    from semiseg.data import store

    before = store.history("discs", root).predictions
    source = tiny_folder / "test" / "images"
    assert predict([run, other], source, tmp_path / "out") == 0
    assert store.history("discs", root).predictions == before + 2


def test_mirrors_are_those_of_training(run, tmp_path):
    """The average is the same for a mirror image. Catches a mirror that is not turned back, an axis
    that training did not mirror, and mirrors without --tta.
    """
    image = picture()[..., None]
    plain = Predictor.load(run)
    assert plain.mirrors == (-2, -1)
    expectation = plain.probabilities(image)
    for axis in (0, 1):
        expectation = expectation + np.flip(plain.probabilities(np.flip(image, axis)), axis)
    averaged = Predictor.load(run, tta=True)
    np.testing.assert_allclose(averaged.probabilities(image), expectation / 3, atol=1e-5)
    save(tmp_path / "a.png", picture())
    assert predict([run], tmp_path / "a.png", tmp_path / "out", "--tta") == 0
    mask = np.asarray(Image.open(tmp_path / "out" / "a.png"))
    np.testing.assert_array_equal(mask, averaged.predict(image))


# ------------------------------------------------------------------ beside the masks
def test_one_part_of_each_class_and_its_size(run, tmp_path):
    """Catches parts counted slice by slice, a class dropped, ml by another spacing, and statistics
    of the mask before its small parts went.
    """
    from scipy import ndimage

    volume = np.stack([picture(k) for k in range(4)], -1)
    volume[2:6, 2:6] = 170
    save_volume(tmp_path / "in" / "b.nii.gz", volume, spacing=(0.5, 0.5, 4.0))
    flags = ("--statistics", "--overlays")
    assert predict([run], tmp_path / "in", tmp_path / "all", *flags) == 0
    assert predict([run], tmp_path / "in", tmp_path / "one", "--largest-component", *flags) == 0
    every = np.ones((3, 3, 3), int)
    masks = {
        name: np.asarray(nibabel.load(tmp_path / name / "b.nii.gz").dataobj)
        for name in ("all", "one")
    }
    parts, number = ndimage.label(masks["all"], every)
    assert number > 0
    largest = np.bincount(parts.ravel())[1:].argmax() + 1
    np.testing.assert_array_equal(masks["one"] == 1, parts == largest)
    for name, mask in masks.items():
        with (tmp_path / name / "statistics.csv").open() as file:
            (row,) = csv.DictReader(file)
        assert row["file"] == "b.nii.gz"
        assert row["class"] == "class 1"
        assert int(row["voxels"]) == mask.sum()
        assert float(row["ml"]) == pytest.approx(mask.sum() / 1000, rel=1e-5)
        assert row["mm2"] == ""
    overlay = np.asarray(Image.open(tmp_path / "all" / "b_overlay.png"))
    assert overlay.shape[-1] == 3
    assert (overlay == (255, 255, 255)).all(-1).any()  # the first class's outline


def test_overlays_show_the_fullest_slices():
    """Catches empty slices, neighbours that look alike, and slices out of order."""
    from semiseg.report.predicted import fullest, predicted_slices

    mask = np.zeros((48, 8, 8), np.uint8)
    for place, count in ((5, 9), (6, 8), (30, 20), (40, 10)):
        mask[place].flat[:count] = 1
    assert fullest(mask) == [5, 30, 40]
    assert fullest(np.zeros((3, 4, 4), np.uint8)) == [0]
    grey = np.zeros((48, 8, 8, 1), np.float32)
    rgb = predicted_slices(grey, mask)
    assert rgb.shape[1] == 3 * rgb.shape[0]


def test_a_folder_without_images_says_so(tmp_path):
    """Catches a traceback, and an output folder that is made for nothing."""
    (tmp_path / "in").mkdir()
    with pytest.raises(UserError, match="holds no PNG"):
        prediction_inputs.find_inputs(tmp_path / "in", tmp_path / "out", 1)
