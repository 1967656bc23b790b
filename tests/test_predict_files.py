"""``semiseg predict``: every file accounted for, nothing overwritten, ensembles and what is written
beside the masks.
"""

import csv
import dataclasses
import errno
import os
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


@pytest.fixture
def source(tmp_path):
    return tmp_path / "in"


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def changed(run, target, seed=None, **header):
    """A copy of a run with noise in its weights, or another header."""
    shutil.copytree(run, target)
    for path in target.glob("weights*.safetensors"):
        params, known = load_weights(path)
        if seed is not None:
            rng = np.random.default_rng(seed)
            for name, array in params.items():
                noisy = array + rng.normal(0, 0.1, array.shape)
                params[name] = noisy.astype(array.dtype)
        save_weights(path, params, known | header)
    return target


def picture(seed=0, shape=(40, 36)):
    """Grey levels with a bright disc."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    distance = np.hypot(rows - 18, columns - 15)
    disc = 110 * (distance < 60**0.5)
    noise = np.random.default_rng(seed).normal(60, 12, shape)
    levels = np.clip(disc + noise, 0, 255)
    return levels.astype(np.uint8)


def pictures(number):
    """A volume ``(X, Y, number)`` of pictures."""
    return np.stack([picture(k) for k in range(number)], -1)


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def save_volume(path, voxels, spacing=(1.0, 1.0, 4.0)):
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([*spacing, 1.0])
    image = nibabel.Nifti1Image(voxels, affine)
    nibabel.save(image, path)


def read(path):
    """The pixels of a picture."""
    with Image.open(path) as image:
        return np.asarray(image)


def table(path):
    """The rows of a CSV file."""
    with path.open() as file:
        return list(csv.DictReader(file))


def predict(runs, source, target, *flags):
    places = [f"--input={source}", f"--output={target}"]
    return main(["predict", *map(str, runs), *places, *flags])


def files_of(folder):
    """What is in a folder beside the record of what its masks were made from."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))
    return [name for name in names if name != ".origin.json"]


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
        assert read(out / name).max() <= 1
    notes = capsys.readouterr().err
    assert "3 files are no images: notes.txt, table.csv, clinic/readme" in notes
    assert "_a.png" not in notes
    assert predict([run], source, out, "--overwrite") == 0
    assert files_of(out) == masks


def test_nothing_is_overwritten(run, capsys, source, out):
    """Catches a mask, or a table, that replaces another without a word; and the rest being written
    before the refusal.
    """
    save(source / "a.png", picture())
    save(source / "b.png", picture())
    (out).mkdir()
    (out / "b.png").write_bytes(b"mine")
    assert predict([run], source, out) == 2
    message = capsys.readouterr().err
    assert "b.png" in message
    assert "--overwrite" in message
    assert files_of(out) == ["b.png"]
    assert predict([run], source, out, "--overwrite", "--statistics") == 0
    (out / "a.png").unlink()
    (out / "b.png").unlink()
    assert predict([run], source, out, "--statistics") == 2
    assert "statistics.csv" in capsys.readouterr().err


def test_a_full_disk_or_a_deleted_folder_is_no_fault_of_a_scan(
    run, capsys, source, out, monkeypatch
):
    """Catches a prediction that skips the scan under which the disk filled up and ends as if it
    were done: the same command then refused to write the mask that is missing.
    """
    save(source / "a.png", picture())

    def fill(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as disk:
        disk.setattr(Ensemble, "_predict_files", fill)
        assert predict([run], source, out) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and "free space" in message

    def vanish(*_):
        shutil.rmtree(out)
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

    with monkeypatch.context() as disk:
        disk.setattr(Ensemble, "_predict_files", vanish)
        assert predict([run], source, out, "--statistics") == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and "deleted meanwhile" in message
    assert predict([run], source, out) == 0
    assert files_of(out) == ["a.png"]


def test_two_images_with_one_mask_are_refused(run, capsys, source, out):
    """Catches the mask of one that replaces that of the other."""
    save(source / "x" / "a.png", picture())
    save(source / "x" / "a.jpg", picture(1))
    assert predict([run], source, out) == 2
    assert "both have the mask x/a.png" in capsys.readouterr().err
    assert not (out).exists()


def test_channels_in_files_of_their_own_are_one_scan(source, out):
    """Catches channels that are predicted one by one, and frames of a film taken for channels."""
    voxels = np.zeros((4, 4, 3), np.int16)
    for name in ("p1_0000", "p1_0001", "p2_0000"):
        save_volume(source / f"{name}.nii.gz", voxels)
    save(source / "film_0000.png", np.zeros((4, 4, 3), np.uint8))
    save(source / "film_0001.png", np.zeros((4, 4, 3), np.uint8))
    scans = prediction_inputs.find_inputs(source, out, 2).scans
    masks = {scan.mask.name: len(scan.files) for scan in scans}
    films = {"film_0000.png": 1, "film_0001.png": 1}
    assert masks == films | {"p1.nii.gz": 2, "p2_0000.nii.gz": 1}
    scans = prediction_inputs.find_inputs(source, out, 1).scans
    assert len(scans) == 5


def test_the_names_of_channels_travel_with_the_weights(run, tmp_path):
    """Catches names that only the data set knows."""
    assert Predictor.load(run).channel_names == ()
    named = changed(run, tmp_path / "named", channel_names=["flair"])
    assert Ensemble.load([named]).channel_names == ("flair",)


def test_channels_are_read_in_their_order(tiny, tmp_path, source, out):
    """Catches channels exchanged, and a mask with the name of a channel."""
    result = semiseg.run(tiny, tmp_path / "run", progress=False)
    trained = Predictor.load(result.path)
    two = dataclasses.replace(trained, channels=2)
    volume = pictures(3).astype(np.int16)
    for k in range(2):
        save_volume(source / f"p1_000{k}.nii.gz", volume + 100 * k)
    (scan,) = prediction_inputs.find_inputs(source, out, 2).scans
    image = Ensemble((two,))._read(scan.files).image
    first, second = np.moveaxis(image, -1, 0)
    assert (second - first == 100).all()
    assert scan.mask.name == "p1.nii.gz"


# ------------------------------------------------------------------ what training saw
def test_a_scan_unlike_training_is_warned_of(run, capsys, source, out):
    """Raw numbers into a network of pictures. Catches silence, and a warning of what is alike."""
    voxels = pictures(3).astype(np.int16)
    save_volume(source / "raw.nii.gz", voxels * 20 - 2000)
    save_volume(source / "usual.nii.gz", voxels)
    assert predict([run], source, out) == 0
    lines = capsys.readouterr().err.splitlines()
    (warning,) = [line for line in lines if "unlike" in line]
    assert "raw.nii.gz" in warning
    assert "its numbers lie between" in warning


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


def test_channels_in_another_order_are_noticed():
    """Catches a comparison of all numbers together."""
    rng = np.random.default_rng(0)
    image = rng.uniform(0, 1, (8, 8, 2)) * (1.0, 1000.0)
    scan = Case("", "p", image.astype(np.float32), None, (1.0, 1.0), "p")
    seen = expected.of_scans([scan], "pixel")
    assert expected.differences(seen, scan, "pixel") == []
    exchanged = dataclasses.replace(scan, image=scan.image[..., ::-1])
    (words,) = expected.differences(seen, exchanged, "pixel")
    assert words.startswith("the numbers of its channel 0 lie between")


def test_pictures_for_a_network_of_millimetres_need_spacing(run, tmp_path, capsys, source, out):
    """Catches pixels taken for millimetres, and a line for each picture."""
    seen = {"spacing": "1 1", "intensity": "zscore", "stored": "uint8", "unit": "mm"}
    millimetres = changed(run, tmp_path / "mm", input=seen)
    save(source / "a.png", picture())
    save(source / "b.png", picture())
    assert predict([millimetres], source, out) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--spacing" in line
    assert not (out).exists()
    flags = ("--spacing=0.5,2", "--statistics")
    assert predict([millimetres], source, out, *flags) == 0
    mask = read(out / "a.png")
    image = picture()[..., None]
    predictor = Predictor.load(millimetres)
    np.testing.assert_array_equal(mask, predictor.predict(image, (0.5, 2.0)))
    row = table(out / "statistics.csv")[0]
    area = np.count_nonzero(mask)  # a pixel has 0.5 · 2 mm²
    assert float(row["mm2"]) == pytest.approx(area)
    assert predict([run], source, out, "--spacing=wide") == 2


def test_a_volume_is_cut_as_training_cut(run, tmp_path):
    """Catches slices of a coronal scan for a network of axial ones."""
    seen = {"spacing": "fit", "intensity": "zscore", "stored": "uint8", "plane": "axial"}
    axial = changed(run, tmp_path / "axial", input=seen)
    rng = np.random.default_rng(0)
    voxels = rng.integers(0, 255, (20, 6, 24)).astype(np.int16)
    path = tmp_path / "a.nii.gz"
    save_volume(path, voxels, spacing=(1.0, 5.0, 1.0))
    coronal_slices = Ensemble.load([run])._read([path]).image
    axial_slices = Ensemble.load([axial])._read([path]).image
    assert len(coronal_slices) == 6
    assert len(axial_slices) == 24


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
def test_an_ensemble_averages_probabilities(run, other, tmp_path, source, out):
    """Catches votes, the last run alone, and an average on another grid."""
    save(source / "a.png", picture())
    save_volume(source / "b.nii.gz", pictures(2))
    assert predict([run, other], source, out, "--probabilities") == 0
    image = picture()[..., None]
    first = Predictor.load(run).probabilities(image)
    second = Predictor.load(other).probabilities(image)
    assert np.abs(first - second).max() > 0.01
    with np.load(out / "a_probabilities.npz") as stored:
        probability = stored["probability"]
    np.testing.assert_allclose(probability, (first + second) / 2, atol=1e-6)
    labels = probability.argmax(-1)
    np.testing.assert_array_equal(read(out / "a.png"), labels)
    plain = tmp_path / "plain"
    assert predict([run, other], source, plain) == 0
    for name in ("a.png", "b.nii.gz"):
        assert (plain / name).read_bytes() == (out / name).read_bytes()


def test_runs_that_do_not_fit_are_refused(run, tmp_path, capsys, source, out):
    """Catches an average over classes of different meaning."""
    stranger = changed(run, tmp_path / "stranger", classes=["background", "vessel"])
    save(source / "a.png", picture())
    assert predict([run, stranger], source, out) == 2
    message = capsys.readouterr().err
    assert "classes" in message
    assert "vessel" in message


def test_each_run_of_an_ensemble_is_written_down(run, other, tiny_folder, root, out):
    """Catches a test set that only the first run's guard sees."""
    from semiseg.data import store

    before = store.history("discs", root).predictions
    source = tiny_folder / "test" / "images"
    assert predict([run, other], source, out) == 0
    assert store.history("discs", root).predictions == before + 2


def test_mirrors_are_those_of_training(run, tmp_path, out):
    """The average is the same for a mirror image. Catches a mirror that is not turned back, an axis
    that training did not mirror, and mirrors without --tta.
    """
    image = picture()[..., None]
    plain = Predictor.load(run)
    assert plain.mirrors == (-2, -1)
    views = [plain.probabilities(image)]
    for axis in (0, 1):
        mirrored = plain.probabilities(np.flip(image, axis))
        views.append(np.flip(mirrored, axis))
    averaged = Predictor.load(run, tta=True)
    wanted = np.mean(views, 0)
    np.testing.assert_allclose(averaged.probabilities(image), wanted, atol=1e-5)
    save(tmp_path / "a.png", picture())
    assert predict([run], tmp_path / "a.png", out, "--tta") == 0
    mask = read(out / "a.png")
    np.testing.assert_array_equal(mask, averaged.predict(image))


# ------------------------------------------------------------------ beside the masks
def test_one_part_of_each_class_and_its_size(run, tmp_path, source):
    """Catches parts counted slice by slice, a class dropped, ml by another spacing, and statistics
    of the mask before its small parts went.
    """
    from scipy import ndimage

    volume = pictures(4)
    volume[2:6, 2:6] = 170
    save_volume(source / "b.nii.gz", volume, spacing=(0.5, 0.5, 4.0))
    flags = ("--statistics", "--overlays")
    assert predict([run], source, tmp_path / "all", *flags) == 0
    assert predict([run], source, tmp_path / "one", "--largest-component", *flags) == 0
    every = np.ones((3, 3, 3), int)
    masks = {}
    for name in ("all", "one"):
        file = nibabel.load(tmp_path / name / "b.nii.gz")
        masks[name] = np.asarray(file.dataobj)
    parts, number = ndimage.label(masks["all"], every)
    assert number > 0
    sizes = np.bincount(parts.ravel())
    largest = 1 + sizes[1:].argmax()
    np.testing.assert_array_equal(masks["one"] == 1, parts == largest)
    for name, mask in masks.items():
        (row,) = table(tmp_path / name / "statistics.csv")
        assert row["file"] == "b.nii.gz"
        assert row["class"] == "class 1"
        assert int(row["voxels"]) == mask.sum()
        millilitres = mask.sum() / 1000
        assert float(row["ml"]) == pytest.approx(millilitres, rel=1e-5)
        assert row["mm2"] == ""
    overlay = read(tmp_path / "all" / "b_overlay.png")
    assert overlay.shape[-1] == 3
    orange = (overlay == (0xFF, 0x9F, 0x1C)).all(-1)
    assert orange.any()  # the first class's outline, as in a preview


def test_a_folder_without_images_says_so(source, out):
    """Catches a traceback, and an output folder that is made for nothing."""
    (source).mkdir()
    with pytest.raises(UserError, match="holds no PNG"):
        prediction_inputs.find_inputs(source, out, 1)


@pytest.mark.parametrize("link", ["hard link", "link", "folder"])
def test_an_image_is_never_replaced_by_its_mask(run, source, out, link, capsys):
    """Catches masks written into their images, by a link to a file or to a folder."""
    save(source / "sub" / "a.png", picture())
    before = (source / "sub" / "a.png").read_bytes()
    out.mkdir()
    if link == "folder":
        (out / "sub").symlink_to(source / "sub")
    else:
        (out / "sub").mkdir()
        make = "hardlink_to" if link == "hard link" else "symlink_to"
        getattr(out / "sub" / "a.png", make)(source / "sub" / "a.png")
    words = ["predict", str(run), "--input", str(source), "--output", str(out), "--overwrite"]
    code = main(words)
    assert (source / "sub" / "a.png").read_bytes() == before
    assert code == (2 if link == "folder" else 0), capsys.readouterr().err
