"""Pre-training: each objective by hand, what reaches it, and one start for all the trials of a
sweep.
"""

import dataclasses
import functools
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import semiseg
from semiseg import config
from semiseg.data import pools as pool
from semiseg.errors import UserError
from semiseg.nets import UNet
from semiseg.pretrain import INITS, OBJECTIVES, DenseContrastive, MaskedImage, Weights
from semiseg.pretrain.dense_contrastive import info_nce
from semiseg.pretrain.masked_image import mask
from semiseg.runner import start as starts
from semiseg.runner.build import knobs_of, model_of, program_of
from semiseg.train import program
from semiseg.train.begin import begun, last_layers
from semiseg.train.checkpoint import flat_names, load_weights
from semiseg.train.segmenter import Fitted
from semiseg.types import Batch, Case, Model, Output, Params

KEY = jax.random.key(0)


@dataclasses.dataclass(frozen=True)
class Through:
    """A network whose features are the image."""

    def init(self, key, sample, classes):
        return Params({}, {})

    def apply(self, params, x, *, train, key=None):
        return Output(x, {"features": x}, {})


def images(weak, valid, strong) -> Batch:
    """A batch without anything labelled: what reads it fails."""
    return Batch(None, None, weak, strong, valid, None, None)  # type: ignore[arg-type]


def shapes(tree):
    return jax.tree.map(lambda x: (x.shape, x.dtype), tree)


# ------------------------------------------------------------------ objectives by hand
def test_masked_image_paints_hidden_pixels_from_what_is_left():
    """A network that passes the image through and a head that adds .5 paint .5 where it was blanked
    out. Catches a network that sees what it is to paint (then the loss is .25), a loss on visible
    pixels or outside the frame, and shares and patches that are not those asked for.
    """
    weak = jax.random.normal(KEY, (3, 16, 20, 1))
    valid = jnp.ones(weak.shape[:-1], bool).at[:, :3].set(False)
    objective = MaskedImage(share=0.5, patches=4)
    model = Model(
        Through(),
        jax.ShapeDtypeStruct((1, 16, 20, 1), np.float32),
        2,
    )
    params = {
        "net": Params({}, {}),
        "head": Params(
            {
                "conv0": {
                    "kernel": jnp.ones((1, 1, 1, 1)),
                    "bias": jnp.full(1, 0.5),
                }
            },
            {},
        ),
    }
    assert jax.tree.map(
        jnp.shape,
        objective.init(model, KEY)[0],
    ) == jax.tree.map(jnp.shape, params)
    loss, aux = jax.jit(
        lambda: objective.loss(model, params, {}, images(weak, valid, weak), KEY, jnp.float32(0))
    )()
    hidden = np.asarray(
        jax.jit(mask, static_argnums=(1, 2))(
            jax.random.split(KEY)[0],
            valid.shape,
            4,
            0.5,
        )
    )
    assert (hidden.sum((1, 2)) == 160).all()
    assert (hidden.reshape(3, 4, 4, 4, 5).std((2, 4)) == 0).all()
    assert not (hidden[0] == hidden[1]).all()
    looked = np.asarray(weak)[..., 0][hidden & np.asarray(valid)]
    np.testing.assert_allclose(
        loss,
        np.mean((looked - 0.5) ** 2),
        rtol=1e-5,
    )
    np.testing.assert_allclose(
        aux.metrics["explained"], 1 - np.mean((looked - 0.5) ** 2) / np.mean(looked**2), rtol=1e-4
    )


def test_dense_contrastive_pairs_the_pixels_that_show_the_same():
    """Features that say which image and where in it: every pixel finds its partner in a view that
    is turned, scaled and shifted. Catches axes or views exchanged, and a partner looked up at the
    pixel's own place; a strong view of another image finds none.
    """
    side = 32
    grid = np.linspace(0, 31, 8)
    at = np.mgrid[:side, :side]
    bumps = np.exp(
        -((at[0][..., None, None] - grid[:, None]) ** 2 + (at[1][..., None, None] - grid) ** 2) / 18
    ).reshape(side, side, 64)
    weak = jnp.asarray(
        np.stack(
            [
                bumps,
                bumps[..., ::-1] * np.where(np.arange(64) % 2, 1, 0.3),
            ]
        ),
        jnp.float32,
    )
    objective = DenseContrastive(channels=64, pixels=48)
    model = Model(
        Through(),
        jax.ShapeDtypeStruct((1, side, side, 64), np.float32),
        2,
    )
    one = {
        "kernel": jnp.eye(64)[None],
        "bias": jnp.zeros(64),
    }
    params = {
        "net": Params({}, {}),
        "head": Params({"conv0": one, "conv1": one}, {}),
    }
    valid = jnp.ones(weak.shape[:-1], bool)
    right = jax.jit(
        lambda strong, valid: (
            objective.loss(model, params, {}, images(weak, valid, strong), KEY, jnp.float32(0))[
                1
            ].metrics
        )
    )
    found = right(weak, valid)
    assert found["accuracy"] > 0.9
    assert found["chance"] < 0.02
    assert 0.3 < found["overlap"] < 1
    assert right(weak[::-1], valid)["accuracy"] < 0.1
    assert right(weak, valid & (at[0] < 16))["overlap"] < 0.65 * found["overlap"]


def test_info_nce_by_hand():
    """Two orthogonal pairs, τ = 1: ln(1 + 1/e). Catches a neighbour, or a pixel that one view does
    not show, among the negatives.
    """
    z = jnp.eye(2)
    all_ = jnp.ones(2, bool)
    none = jnp.zeros((2, 2), bool)
    np.testing.assert_allclose(
        info_nce(z, z, all_, none, 1.0), (np.log(1 + np.exp(-1)), 1, 2), rtol=1e-6
    )
    np.testing.assert_allclose(
        info_nce(z, z, all_, ~none, 1.0),
        (0, 1, 1),
        atol=1e-6,
    )
    np.testing.assert_allclose(
        info_nce(
            z,
            z[::-1],
            all_.at[1].set(False),
            none,
            1.0,
        ),
        (0, 1, 1),
        atol=1e-6,
    )
    assert all(np.isfinite(x) for x in info_nce(z, z, ~all_, none, 1.0))


@pytest.mark.parametrize("name", list(OBJECTIVES))
def test_objectives_trace_in_3d(name):
    """Catches axes written for images alone, and statistics that are not handed on."""
    of = jax.ShapeDtypeStruct
    side = (16,) * 3
    objective = OBJECTIVES[name]()
    model = Model(
        UNet(widths=(4, 8), convs=1, norm="batch", dims=3), of((1, *side, 1), np.float32), 3
    )
    params, _ = jax.eval_shape(functools.partial(objective.init, model), KEY)

    def step(p, weak, valid):
        return objective.loss(
            model,
            p,
            {},
            images(weak, valid, weak),
            KEY,
            jnp.float32(0),
        )

    loss, aux = jax.eval_shape(
        step,
        params,
        of((2, *side, 1), jnp.float32),
        of((2, *side), bool),
    )
    assert loss.shape == ()
    assert shapes(aux.state) == {k: shapes(p.state) for k, p in params.items()}


def test_dense_contrastive_fits_the_trainer():
    """Traces its program without compiling (masked images run below). Catches a state that changes
    its shape or type in a step.
    """
    of = jax.ShapeDtypeStruct
    objective = DenseContrastive()
    dense = np.zeros((5, 16, 16, 1), np.uint8)
    given = jax.eval_shape(lambda: pool.of_arrays(dense, dense[..., 0], np.ones(5, bool)))
    p = program.Program(
        Model(
            UNet(widths=(4, 8), convs=1),
            of((1, 16, 16, 1), np.float32),
            3,
            given.image.voxels,
        ),
        16,
        4,
        "adamw",
        "poly",
    )
    knobs = jax.tree.map(jnp.float32, knobs_of(config.Trial()).replace(method=objective))
    state = jax.eval_shape(
        functools.partial(program.start, p),
        knobs,
        jnp.uint32(0),
    )
    after, metrics = jax.eval_shape(
        functools.partial(program.chunk, p), knobs, jnp.uint32(0), given, state, jnp.int32(3)
    )
    assert shapes(after) == shapes(state)
    assert metrics.keys() >= {"loss", "accuracy", "chance"}


# ------------------------------------------------------------------ starts
@pytest.fixture(scope="module")
def first(tiny, tmp_path_factory):
    """A run that begins with a pre-training, the trial, and what the pre-training was given."""
    net = UNet(widths=(4, 8), convs=1)
    trial = dataclasses.replace(
        tiny,
        net=net,
        image_size=16,
        init=MaskedImage(patches=4),
        init_steps=6,
        steps=4,
        eval_every=4,
        labels=2,
    )
    given = []
    fit = starts.fit
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            starts,
            "fit",
            lambda *args, **more: given.append(args) or fit(*args, **more),
        )
        run = semiseg.run(
            trial,
            tmp_path_factory.mktemp("sweep") / "first",
            progress=False,
        )
    return trial, run, given


def parts(trial):
    """What ``start`` is called with."""
    made, _, training = pool.pools(
        trial.data, trial.root, trial.frame, labels=trial.labels, label_subset=trial.label_subset
    )
    return trial, model_of(trial, training.info), made, training


def test_a_pretraining_sees_the_training_images_and_no_label(first, tiny_folder):
    """The wall. Catches validation or test images, labels of the budget, and hidden ones in the
    arrays that the program is given.
    """
    from skimage import io

    trial, _, given = first
    _, _, _, pools, *_ = given[0]
    training = pool.training(trial.data, trial.root, trial.frame)
    files = sorted((tiny_folder / "train" / "images").iterdir())
    images = pools.image
    voxels = np.asarray(images.voxels)
    seen = {voxels[training.flat.where(i)].tobytes() for i in range(images.number)}
    frame = training.frame
    of_train = set()
    for file in files:
        pixels = np.asarray(io.imread(file))[..., None]
        scan = Case("", "", pixels, None, (1.0, 1.0), "")
        of_train.add(frame.to_pool(scan).levels.tobytes())
    assert seen == of_train
    assert images.number == len(files) == len(training.cases)
    assert (np.asarray(pools.label) == 255).all()
    assert pools.hidden is None
    assert sorted(np.asarray(pools.unlabelled.images)[: int(pools.unlabelled.number)]) == list(
        range(len(files))
    )
    assert int(pools.synthetic_count) == 0
    assert all(objective().labelled(8) == 0 for objective in OBJECTIVES.values())


def test_a_run_begins_with_what_was_pretrained_and_a_fresh_last_layer(first):
    """Catches weights that are pre-trained and not used, an average that begins elsewhere than its
    network, and layers that never learnt.
    """
    trial, run, _ = first
    init = next(
        p for p in (run.path.parent / ".init").iterdir() if p.name.startswith("masked_image")
    )
    kept, header = load_weights(init / "weights.safetensors")
    p = program_of(trial, parts(trial)[1])
    knobs = jax.tree.map(jnp.float32, knobs_of(trial))
    fresh = flat_names(program.start(p, knobs, jnp.uint32(trial.seed)).params)
    state = program.start(
        p, knobs, jnp.uint32(trial.seed), starts.start(*parts(trial), run.path.parent).params
    )
    begins = flat_names(state.params)
    for name, value in begins.items():
        assert np.array_equal(
            value,
            (fresh if ".head." in name else kept)[name],
        ), name
        assert ".head." in name or not np.array_equal(value, fresh[name]), name
    assert all(
        np.array_equal(x, y)
        for x, y in zip(
            jax.tree.leaves(state.memory["average"]), jax.tree.leaves(state.params), strict=True
        )
    )
    assert {k: run.summary[k] for k in ("init", "init_steps", "total_steps")} == {
        "init": "masked_image",
        "init_steps": 6,
        "total_steps": 10,
    }
    assert header["subjects"] == []
    assert run.summary["seconds_init"] == header["seconds"] > 0


def test_one_pretraining_serves_a_sweep_and_goes_on_when_it_was_cut(first, tmp_path, monkeypatch):
    """Catches a hash over what pre-training does not depend on (budget, method, learning rate), or
    not over what it does; a start that trains again what it has, and one that forgets its
    checkpoint.
    """
    trial, run, _ = first
    fingerprint = parts(trial)[3].info.fingerprint
    key = starts.content(trial, fingerprint)
    same: list[dict] = [
        {"labels": 5, "label_subset": 2},
        {"method": "mean_teacher"},
        {"lr": 0.1, "optimiser": "sgd"},
        {"steps": 9},
        {"ratio": 1.0},
    ]
    other: list[dict] = [
        {"seed": 1},
        {"init_steps": 7},
        {"init.share": 0.5},
        {"image_size": 32},
        {"net.widths": [4, 6]},
        {"init": "dense_contrastive"},
        {"zoom": 2},
    ]
    assert {starts.content(config.override(trial, change), fingerprint) for change in same} == {key}
    assert len(
        {
            key,
            starts.content(trial, "other"),
            *(starts.content(config.override(trial, change), fingerprint) for change in other),
        }
    ) == 2 + len(other)

    whole = starts.start(
        *parts(dataclasses.replace(trial, labels=5, lr=0.1)),
        run.path.parent,
    )
    assert whole.seconds == run.summary["seconds_init"], "it was trained again"

    chunk = program.chunk
    until = []

    def cut(*args):
        until.append(int(args[-1]))
        if until == [5, 6]:
            raise KeyboardInterrupt
        return chunk(*args)

    monkeypatch.setattr(program, "chunk", cut)
    often = parts(dataclasses.replace(trial, checkpoint_seconds=0.0))
    with pytest.raises(KeyboardInterrupt):
        starts.start(*often, tmp_path)
    again = starts.start(*often, tmp_path)
    assert until == [5, 6, 6]
    assert all(
        np.array_equal(a, b)
        for a, b in zip(jax.tree.leaves(whole.params), jax.tree.leaves(again.params), strict=True)
    )


def test_workers_wait_for_one_another(first, tmp_path, monkeypatch):
    """Four at once. Catches a pre-training that each worker does, and a folder two of them write
    to.
    """
    trial, run, _ = first
    given = parts(trial)
    calls = []

    def slow(*args, **more):
        calls.append(args)
        time.sleep(0.2)
        return Fitted(run.params, {}, 1.0)

    monkeypatch.setattr(starts, "fit", slow)
    found: list = []
    workers = [
        threading.Thread(target=lambda: found.append(starts.start(*given, tmp_path)))
        for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(calls) == 1
    assert [s.steps for s in found] == [6] * 4


def test_weights_of_another_run_are_checked_and_their_annotations_counted(first, tmp_path):
    """Catches a layer that is left out silently, data imported anew, and annotated subjects that
    come in unpaid with the weights.
    """
    trial, run, _ = first
    from_run = dataclasses.replace(
        trial,
        init=config.make("init", str(run.path)),
        label_subset=3,
    )
    begin = starts.start(*parts(from_run), None)
    assert begin.steps == 10
    assert list(begin.subjects) == run.summary["labelled_subjects"]
    assert begin.name == str(run.path)
    wide = config.override(from_run, {"net.widths": [4, 6]})
    with pytest.raises(
        UserError,
        match=r"weights.safetensors: weights.down1.conv0.kernel is \(3, 3, 4, 8\) in the file "
        r"and \(3, 3, 4, 6\)",
    ):
        starts.start(*parts(wide), None)
    trial_, model, made, training = parts(from_run)
    info = dataclasses.replace(training.info, fingerprint="other")
    other = dataclasses.replace(training, info=info)
    with pytest.raises(UserError, match="imported again"):
        starts.start(trial_, model, made, other, None)
    with pytest.raises(UserError, match="there is no"):
        starts.start(
            dataclasses.replace(from_run, init=Weights(str(tmp_path / "none"))),
            model,
            made,
            training,
            None,
        )
    second = semiseg.run(from_run, progress=False).summary
    assert (
        second["subjects_labelled"]
        == len({*run.summary["labelled_subjects"], *second["labelled_subjects"]})
        > 2
    )
    assert second["total_steps"] == 14


def test_last_layers_are_those_that_follow_the_classes():
    """Catches a deep supervision head that keeps another set's classes, and two networks of one
    method that begin as twins.
    """
    net = UNet(widths=(4, 8, 8), deep_supervision=True)
    sample = jax.ShapeDtypeStruct((1, 16, 16, 1), np.float32)
    last = {
        jax.tree_util.keystr(path)
        for path, yes in jax.tree.leaves_with_path(last_layers(net, sample, 3))
        if yes
    }
    assert last == {
        ".weights['head']['kernel']",
        ".weights['head']['bias']",
        ".weights['head1']['kernel']",
        ".weights['head1']['bias']",
    }
    model = Model(net, sample, 3)
    model = begun(model, model.init(KEY))
    one, two = (model.init(jax.random.key(i)).weights for i in (1, 2))
    assert np.array_equal(
        one["up0"]["conv0"]["kernel"],
        two["up0"]["conv0"]["kernel"],
    )
    assert not np.array_equal(one["head"]["kernel"], two["head"]["kernel"])


# ------------------------------------------------------------------ configuration
def test_init_in_a_configuration(tmp_path):
    """Catches an init that YAML does not bring back, a second path that is ignored, and a typo
    taken for a path.
    """
    for name in INITS:
        trial = config.override(
            config.Trial(),
            {
                "init": name,
                **({"init.path": "x"} if name == "weights" else {}),
            },
        )
        assert config.from_dict(config.to_dict(trial)) == trial
        assert config.name_of("init", trial.init) == name
    one = config.override(config.Trial(), {"init": "runs/a"})
    assert config.override(one, {"init": "runs/b"}).init == Weights("runs/b")
    assert config.override(one, {"init": "weights"}).init == Weights("runs/a")
    assert (
        config.override(
            config.override(config.Trial(), {"init": "masked_image", "init.share": 0.5}),
            {"init": "masked_image"},
        ).init.share
        == 0.5
    )
    for change, words in (
        ({"init": "masked"}, "did you mean 'masked_image'"),
        ({"init": "weights"}, "init.path is empty"),
        ({"init_steps": 0}, "init_steps"),
    ):
        with pytest.raises(UserError, match=words):
            config.override(config.Trial(), change)
