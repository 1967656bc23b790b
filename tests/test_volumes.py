"""3D networks: from slices to volumes, windows and back; a whole run on a folder of NIfTI."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import semiseg
from semiseg import config
from semiseg.cli.main import main
from semiseg.data import importing, store
from semiseg.data.frame import Frame, PoolImage
from semiseg.data.pools import pools, training
from semiseg.errors import UserError
from semiseg.evaluate import probabilities as predict
from semiseg.evaluate.metrics import score
from semiseg.methods import METHODS
from semiseg.nets import UNet
from semiseg.ragged import of_dense
from semiseg.run_folder import RunFolder
from semiseg.runner.build import model_of
from semiseg.train.draw import Windows, window_offsets
from semiseg.types import Aux, Batch, Model

ZOOMS = (1.0, 5.0, 1.5)  # the thick axis in the middle


def ball(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A bright ball in a volume (14, 5, 12), and its mask."""
    rng = np.random.default_rng(seed)
    place = np.indices((14, 5, 12)) - np.array([rng.integers(5, 9), 2, rng.integers(4, 8)]).reshape(
        3, 1, 1, 1
    )
    mask = (np.square(place) * np.array([1, 4, 1]).reshape(3, 1, 1, 1)).sum(0) < 14
    return np.clip(
        300 + 500 * mask + rng.normal(0, 40, mask.shape),
        0,
        None,
    ).astype(np.int16), mask.astype(np.uint8)


def coronal(voxels: np.ndarray) -> np.ndarray:
    """A file's axes x to the right, y to anterior, z to superior as a viewer shows coronal slices:
    to posterior, to inferior, to the left.
    """
    return voxels.transpose(1, 2, 0)[::-1, ::-1, ::-1]


def write_turned(folder, code):
    """4 + 1 + 1 volumes in splits, the fourth of them not annotated, in files whose axes have an
    order and directions, such as RAS: to the right, to anterior, to superior.
    """
    import nibabel

    way = nibabel.orientations.ornt_transform(
        nibabel.orientations.axcodes2ornt("RAS"), nibabel.orientations.axcodes2ornt(code)
    )
    for i, split in enumerate(["train"] * 4 + ["val", "test"]):
        for kind, voxels in zip(("images", "labels"), ball(i), strict=True):
            (folder / split / kind).mkdir(parents=True, exist_ok=True)
            if kind == "images" or i != 3:
                upright = nibabel.Nifti1Image(voxels, np.diag([*ZOOMS, 1.0]))
                nibabel.save(upright.as_reoriented(way), folder / split / kind / f"p{i}.nii.gz")


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """Folder and store root of 4 + 1 + 1 volumes in splits, the fourth of them not annotated."""
    place = tmp_path_factory.mktemp("scans")
    root = tmp_path_factory.mktemp("root")
    write_turned(place, "RAS")
    importing.import_set(
        "folder", place, "balls", root=root, progress=False, allow_near_duplicates=True
    )
    return place, str(root)


@pytest.fixture(scope="module")
def trial(scans):
    return config.override(
        config.Trial(data="balls", root=scans[1]),
        {
            "net.dims": 3,
            "net.widths": [2, 4],
            "net.convs": 1,
            "method": "mean_teacher",
            "labels": 2,
            "image_size": 8,
            "zoom": 1.5,
            "depth": 4,
            "depth_zoom": 1.5,
            "batch": 2,
            "steps": 40,
            "log_every": 10,
            "eval_every": 40,
            "lr": 0.03,
        },
    )


def test_a_run_on_volumes_scores_what_predict_writes(scans, trial, tmp_path):
    """Forty steps in 3D. The masks that `predict` writes are the evaluated ones, voxel for voxel,
    and score what the run's table says.

    Catches axes exchanged on the way to the network or back, scores by slice or with the spacing of
    other axes, subjects counted by slice.
    """
    import nibabel

    place, root = scans
    result = semiseg.run(trial, tmp_path / "run", progress=False, test=True)
    assert result.summary["images_train"] == 4
    assert result.summary["images_labelled"] == result.summary["subjects_labelled"] == 2
    assert (
        main(
            [
                "predict",
                str(tmp_path / "run"),
                f"--input={place / 'test' / 'images'}",
                f"--output={tmp_path / 'masks'}",
            ]
        )
        == 0
    )
    mask = np.asarray(nibabel.load(tmp_path / "masks" / "p5.nii.gz").dataobj)
    image, truth = ball(5)
    rows = score(mask, truth, ZOOMS, ("background", "class 1"))
    table = {
        r["metric"]: float(r["value"] or "nan")
        for r in RunFolder(tmp_path / "run").read_scores()
        if r["split"] == "test"
    }
    assert table == {r.metric: pytest.approx(r.value, rel=1e-5, nan_ok=True) for r in rows}
    assert 0 < mask.mean() < 1

    frame = training("balls", root, trial.frame).frame
    model = model_of(trial, store.info("balls", root))
    (known,) = predict.labels(model, frame, result.params, store.read_split("balls", "val", root))
    assert (
        main(
            [
                "predict",
                str(tmp_path / "run"),
                f"--input={place / 'val' / 'images'}",
                f"--output={tmp_path / 'masks'}",
            ]
        )
        == 0
    )
    np.testing.assert_array_equal(
        coronal(np.asarray(nibabel.load(tmp_path / "masks" / "p4.nii.gz").dataobj)), known
    )
    assert np.load(tmp_path / "run" / "examples.npz")["image"].shape[1:] == (15, 15)


def test_the_order_of_a_files_axes_changes_no_weight_and_no_mask(trial, tmp_path):
    """The same volumes in four orders of axes train the same network, and each file's mask lies on
    that file's own grid, where the others have it.

    Catches axes that are turned on one of the ways (import, training, prediction, mask file) and
    not on another.
    """
    import nibabel

    weights = {}
    masks = {}
    for code in ("RAS", "LAS", "LPS", "PIR"):
        write_turned(tmp_path / code, code)
        importing.import_set(
            "folder",
            tmp_path / code,
            "balls",
            root=tmp_path / f"{code}.root",
            progress=False,
            allow_near_duplicates=True,
        )
        changed = dataclasses.replace(trial, root=str(tmp_path / f"{code}.root"))
        run = tmp_path / f"{code}.run"
        weights[code] = semiseg.run(changed, run, progress=False).params.weights
        images = tmp_path / code / "test" / "images"
        assert main(["predict", str(run), f"--input={images}", f"--output={run / 'masks'}"]) == 0
        file = nibabel.load(images / "p5.nii.gz")
        mask = nibabel.load(run / "masks" / "p5.nii.gz")
        assert nibabel.aff2axcodes(mask.affine) == tuple(code)
        assert mask.shape == file.shape
        np.testing.assert_allclose(mask.affine, file.affine)
        masks[code] = nibabel.as_closest_canonical(mask)
    upright = masks.pop("RAS")
    expected = np.asarray(upright.dataobj)
    assert 0 < expected.mean() < 1
    for code, mask in masks.items():
        jax.tree.map(np.testing.assert_array_equal, weights[code], weights["RAS"])
        np.testing.assert_array_equal(mask.dataobj, expected)
        np.testing.assert_allclose(mask.affine, upright.affine)


def test_pools_hold_volumes_and_hide_labels(scans, trial):
    """Catches slices in the wrong order or of another scan, a label beside its image, and one
    outside the budget that reaches the device.
    """
    made, budget, training = pools(
        "balls",
        scans[1],
        trial.frame,
        labels=2,
        label_subset=1,
    )
    assert made.image.number == 4
    assert made.image.voxels.dtype == jnp.uint8
    for case in training.cases:
        np.testing.assert_array_equal(
            case.image[..., 0],
            coronal(ball(int(case.subject[1]))[0]),
        )
        assert case.spacing == (5.0, 1.5, 1.0)
    shown = np.array([c.subject in budget.subjects for c in training.cases])
    assert shown.sum() == 2
    voxels = np.asarray(made.image.voxels)[..., 0]
    labels = np.asarray(made.label)
    for i, is_shown in enumerate(shown):
        where = training.flat.where(i)
        image = voxels[where].astype(int)
        label = labels[where]
        assert set(np.unique(label)) == ({0, 1} if is_shown else {255})
        if is_shown:
            assert image[label == 1].mean() > image[label == 0].mean() + 100


def test_windows_put_every_voxel_back_in_its_place(monkeypatch):
    """A network that says what it sees gives the volume back. Catches windows off their places,
    voxels no window covers, weights that do not sum to 1.
    """
    frame = Frame(8, depth=4)
    rng = np.random.default_rng(0)
    shapes = [(7, 21, 21), (3, 8, 5), (4, 30, 9)]
    volumes = [rng.integers(0, 256, (*shape, 1)).astype(np.uint8) for shape in shapes]

    def what_it_sees(model, params, x, mean, deviation):
        return np.concatenate([1 - x / 255, x / 255], -1)

    monkeypatch.setattr(predict, "_probabilities", what_it_sees)
    model = Model(UNet(), jnp.zeros(()), 2)
    images = [PoolImage(volume) for volume in volumes]
    found = predict.probabilities(model, frame, {}, images)
    for probability, volume in zip(found, volumes, strict=True):
        np.testing.assert_allclose(probability[..., 1:], volume / 255, atol=1e-6)


@pytest.mark.parametrize("space", [(7, 12, 9), (4, 8, 8)])
def test_drawn_windows_lie_anywhere_inside(space):
    """Catches windows that leave the volume, and ends of it that are never trained on."""
    from semiseg.augment.geometry import offset

    shape = jnp.broadcast_to(jnp.array(space), (300, 3))
    windows = Windows((4, 8, 8))
    places = jax.jit(lambda key: window_offsets(key, 7, shape, windows))(jax.random.key(0))
    first = np.asarray(places) + [offset(n, w) for n, w in zip(space, (4, 8, 8), strict=True)]
    assert first.min(0).tolist() == [0, 0, 0]
    assert first.max(0).tolist() == [n - w for n, w in zip(space, (4, 8, 8), strict=True)]


@pytest.mark.parametrize("name", METHODS)
def test_every_method_takes_volumes(name):
    """Traced, not run. Catches a method that counts two spatial axes."""
    changes = (
        {"method.other": "unet", "method.other.dims": 3, "method.other.widths": [2, 4]}
        if name in ("cross_teaching", "sdcl")
        else {}
    )
    method = config.override(config.Trial(), {"method": name, **changes}).method
    space = (4, 8, 8)
    net = UNet(widths=(2, 4), dims=3)
    model = Model(
        net,
        jax.ShapeDtypeStruct((1, *space, 1), jnp.float32),
        3,
        jax.ShapeDtypeStruct((1, 5 * 6 * 12 * 12, 1), jnp.uint8),
    )
    image = jax.ShapeDtypeStruct((2, *space, 1), jnp.float32)

    def number(*shape):
        return jax.ShapeDtypeStruct(shape, jnp.int32)

    valid = jax.ShapeDtypeStruct((2, *space), bool)
    batch = Batch(
        image,
        number(2, *space),
        image,
        image,
        valid,
        number(2),
        jax.ShapeDtypeStruct((2, 3, *space), jnp.float32),
        layout=jax.eval_shape(lambda: of_dense(jnp.zeros((2, 6, 12, 12, 1), jnp.uint8))),
    )
    key = jax.eval_shape(jax.random.key, 0)
    params, memory = jax.eval_shape(functools.partial(method.init, model), key)
    loss: jax.Array
    loss, aux = jax.eval_shape(
        functools.partial(method.loss, model),
        params,
        memory,
        batch,
        key,
        jax.ShapeDtypeStruct((), jnp.float32),
    )
    assert loss.shape == ()
    assert isinstance(aux, Aux)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data": "discs"}, "is a 2D image, and the network takes volumes"),
        ({"depth": 5}, "depth is 5: unet takes multiples of 2"),
        ({"image_size": 9}, "image_size is 9"),
        ({"depth_zoom": 0.5}, "depth_zoom is 0.5"),
        ({"slices": 3}, "slices is 3"),
        ({"method": "cross_teaching"}, "--method.other.dims 3"),
    ],
)
def test_what_a_3d_network_cannot_see_is_one_line(changes, words, trial, root):
    """Catches a shape error from deep inside."""
    with pytest.raises(UserError, match=words) as said:
        semiseg.run(
            config.override(dataclasses.replace(trial, root=root), changes),
            progress=False,
        )
    assert "\n" not in str(said.value)


def test_a_plan_for_volumes_fits_a_trial(scans, tmp_path, capsys):
    """Catches a plan of the slices where volumes were asked for, and one that the pools or training
    refuse.
    """
    file = str(tmp_path / "plan.yaml")
    assert (
        main(
            [
                "data",
                "describe",
                "balls",
                "--root",
                scans[1],
                "--plan",
                file,
                "--dims",
                "3",
                "--width",
                "2",
                "--memory",
                "0.5",
            ]
        )
        == 0
    )
    assert "5 slices a volume" in capsys.readouterr().out
    trial = config.load(file)
    config.check_volumes(trial)
    made, _, training = pools(
        "balls",
        scans[1],
        trial.frame,
        labels=2,
        label_subset=0,
    )
    model = model_of(trial, training.info)
    assert trial.net.dims == 3
    assert made.image.shape.tolist() == [[5, 15, 11]] * 4
    assert model.sample.shape[1:] == (5, 16, 12, 1)
