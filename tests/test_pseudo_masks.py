"""Masks from elsewhere (``--pseudo``): they teach, lose their weight, cost no label, and are
refused where they are damaged or know too much.
"""

import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import nibabel
import numpy as np
import pytest
from PIL import Image

import semiseg
from semiseg.cli.main import main
from semiseg.config import Trial
from semiseg.data import importing, provenance, store
from semiseg.data.fingerprints import hashes_of
from semiseg.errors import UserError
from semiseg.methods import METHODS
from semiseg.nets import UNet
from semiseg.runner import pseudo_masks
from semiseg.runner.build import knobs_of, program_of
from semiseg.runner.job import prepare
from semiseg.runner.start import content
from semiseg.train import given
from semiseg.train import program as programs
from semiseg.train.checkpoint import load_weights
from semiseg.types import IGNORE, Case


@pytest.fixture
def masks(tiny_folder, tmp_path):
    """The true masks of all training images, as another program would have written them."""
    place = tmp_path / "masks"
    shutil.copytree(
        tiny_folder / "train" / "labels",
        place,
    )
    return place


@pytest.fixture
def few(tiny, masks) -> Trial:
    """A trial of one label and masks from elsewhere of the other seven, almost the true ones."""
    for path in masks.iterdir():
        rewrite(
            path,
            corner,
        )
    return dataclasses.replace(
        tiny,
        labels=1,
        steps=6,
        pseudo=str(masks),
    )


def corner(pixels: np.ndarray) -> np.ndarray:
    """A mask with a corner of the background in the class."""
    changed = pixels.copy()
    changed[:3, :3] = 1
    return changed


def rewrite(path, change) -> None:
    """Change the pixels of a mask."""
    pixels = np.asarray(Image.open(path))
    Image.fromarray(change(pixels)).save(path)


# ------------------------------------------------------------------ they teach
@pytest.fixture
def two_kinds(tmp_path) -> Trial:
    """A trial of one label on discs of which every second is dark on bright, and a folder with the
    true masks of the others.
    """
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:32, :32]
    for split, number in (("train", 8), ("val", 4)):
        for part in ("images", "labels"):
            (tmp_path / "own" / split / part).mkdir(parents=True)
        for i in range(number):
            centre = rng.integers(
                11,
                21,
                2,
            )
            disc = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < rng.integers(30, 70)
            bright = disc ^ (i % 2 == 1)
            image = np.clip(
                60 + 110 * bright + rng.normal(0, 12, disc.shape),
                0,
                255,
            )
            for part, pixels in (("images", image), ("labels", disc)):
                file = tmp_path / "own" / split / part / f"{split}{i}.png"
                Image.fromarray(pixels.astype(np.uint8)).save(file)
    importing.import_set(
        "folder",
        tmp_path / "own",
        "kinds",
        tmp_path / "root",
        progress=False,
    )
    return Trial(
        data="kinds",
        root=str(tmp_path / "root"),
        net=UNet(widths=(4, 8)),
        image_size=24,
        labels=1,
        steps=80,
        batch=4,
        lr=0.01,
        log_every=80,
        eval_every=80,
        pseudo=str(tmp_path / "own" / "train" / "labels"),
        pseudo_until=1.0,
    )


def test_good_masks_beat_few_labels(two_kinds):
    """Catches masks that are drawn with the wrong image, or whose loss reaches no weight."""
    scores = []
    for trial in (two_kinds, dataclasses.replace(two_kinds, pseudo=None, pseudo_until=0.5)):
        summary = semiseg.run(trial, progress=False).summary
        scores.append(summary["last"]["val"]["dice"])
    assert scores[0] > scores[1] + 0.15


def stepped(trial, step: int, **changes):
    """The job of a trial, and its state after one step that begins at ``step``."""
    job = prepare(dataclasses.replace(trial, **changes))
    program = program_of(
        job.trial,
        job.model,
    )
    knobs = jax.tree.map(
        jnp.float32,
        knobs_of(job.trial),
    )
    state = programs.start(program, knobs, jnp.uint32(0))._replace(step=jnp.int32(step))
    state, metrics = programs.chunk(
        program, knobs, jnp.uint32(0), job.pools, state, jnp.int32(step + 1)
    )
    return job, state, metrics


def same(one, other) -> bool:
    leaves = zip(
        jax.tree.leaves(one),
        jax.tree.leaves(other),
        strict=True,
    )
    return all(np.allclose(a, b, atol=1e-6) for a, b in leaves)


def test_their_weight_falls_to_no_effect(few):
    """Catches a weight that is not used, and one that leaves a part of it after the share of the
    training that was asked for.
    """
    alone = {"pseudo": None}
    for step, equal in ((1, False), (3, True), (5, True)):
        _, with_masks, metrics = stepped(
            few,
            step,
        )
        _, without, _ = stepped(
            few,
            step,
            **alone,
        )
        assert same(with_masks.params, without.params) == equal
        assert (float(metrics["masks_weight"]) == 0) == equal
        assert float(metrics["masks"]) > 0
    for name, values in (("linear", (1.0, 0.5)), ("cosine", (1.0, 0.5)), ("constant", (1.0, 1.0))):
        index = given.SCHEDULES.index(name)
        found = [float(given.weight(index, 2.0, 0.4, t)) / 2 for t in (0.0, 0.2, 0.4, 0.8)]
        assert found == pytest.approx([*values, 0.0, 0.0])


def test_every_method_takes_them(few):
    """Catches a method whose network they cannot find, or whose criterion they do not use."""
    job = prepare(few)
    knobs = knobs_of(few)
    windows = program_of(few, job.model).windows
    pool = jax.ShapeDtypeStruct(
        job.pools.image.voxels.shape,
        jnp.uint8,
    )
    for name, cls in METHODS.items():
        method = cls()
        model = job.model._replace(pool=pool)

        def masks(key, method=method, model=model):
            params, memory = method.init(
                model,
                key,
            )
            main = method.main(params)
            mine = knobs.replace(method=method)
            value = given.loss(
                model,
                mine,
                main,
                job.pools,
                key,
                2,
                windows,
            )
            return value, method.average(memory)

        value, _ = jax.eval_shape(
            masks,
            jax.eval_shape(jax.random.key, 0),
        )
        assert value.shape == (), name


def test_budgets_and_weights_share_a_program(few):
    """Catches shapes that follow the number of masks, and a weight that is compiled in."""
    one = prepare(few)
    other = prepare(dataclasses.replace(few, labels=5, pseudo_weight=3.0, pseudo_until=1.0))
    assert program_of(one.trial, one.model) == program_of(other.trial, other.model)
    assert jax.tree.structure(knobs_of(one.trial)) == jax.tree.structure(knobs_of(other.trial))
    shapes = [[leaf.shape for leaf in jax.tree.leaves(job.pools)] for job in (one, other)]
    assert shapes[0] == shapes[1]
    assert int(one.pools.pseudo.number) == 7
    assert int(other.pools.pseudo.number) == 3


def test_held_back_labels_stay_out(few):
    """Catches masks that are read from the held-back labels."""
    job, state, _ = stepped(
        few,
        1,
    )
    program = program_of(
        job.trial,
        job.model,
    )
    knobs = jax.tree.map(
        jnp.float32,
        knobs_of(job.trial),
    )
    pools = job.pools._replace(hidden=(job.pools.hidden + 1) % 2)
    start = programs.start(program, knobs, jnp.uint32(0))._replace(step=jnp.int32(1))
    other, _ = programs.chunk(
        program,
        knobs,
        jnp.uint32(0),
        pools,
        start,
        jnp.int32(2),
    )
    leaves = zip(
        jax.tree.leaves(state),
        jax.tree.leaves(other),
        strict=True,
    )
    assert all((np.asarray(a) == np.asarray(b)).all() for a, b in leaves)


# ------------------------------------------------------------------ which masks
def test_masks_lie_where_the_labels_would(few, masks):
    """Catches a mask in the place of another image, or in another grid than its image; a mask that
    replaces a label of the budget; and files of other splits that are opened.
    """
    alone = prepare(dataclasses.replace(few, pseudo=None))
    (labelled,) = alone.budget.subjects
    rewrite(
        masks / f"{labelled}.png",
        np.zeros_like,
    )
    (masks / "val0.png").write_bytes(b"not read")
    (masks / "test1.png").write_bytes(b"not read")
    (masks / "train7.png" if labelled != "train7" else masks / "train6.png").unlink()
    job = prepare(few)
    drawn = set(np.asarray(job.pools.pseudo.images).tolist())
    assert len(drawn) == 6
    flat = job.training.flat
    for i, case in enumerate(job.training.cases):
        page, where = flat.where(i)
        label = np.asarray(job.pools.label)[page, where]
        if i in drawn:
            given_mask = job.training.frame.label_to_pool(
                corner(case.label),
                case.spacing,
            )
            assert (label == given_mask.reshape(-1)).all()
        elif case.subject == labelled:
            assert (label == np.asarray(job.pools.hidden)[page, where]).all()
        else:
            assert (label == IGNORE).all()
    assert not {case.subject for i, case in enumerate(job.training.cases) if i in drawn} & {
        labelled
    }
    assert any(note.startswith("6 of 7 unlabelled subjects have a mask in ") for note in job.notes)
    assert job.subjects == [labelled]


@pytest.mark.parametrize("depth", [0, 4])
def test_masks_of_volumes_are_turned_into_their_scans(depth, tmp_path):
    """Catches slices of a mask that go to another slice, and a volume that is left out."""
    for split, numbers in (("train", range(3)), ("val", [3])):
        for i in numbers:
            rng = np.random.default_rng(i)
            voxels = rng.integers(0, 900, (12, 10, 5)).astype(np.int16)
            mask = (rng.random((12, 10, 5)) < 0.4).astype(np.uint8)
            for part, content_ in (("images", voxels), ("labels", mask)):
                place = tmp_path / "own" / split / part
                place.mkdir(
                    parents=True,
                    exist_ok=True,
                )
                image = nibabel.Nifti1Image(
                    content_,
                    np.diag([1.0, 1.0, 3.0, 1.0]),
                )
                nibabel.save(
                    image,
                    place / f"p{i}.nii.gz",
                )
    importing.import_set(
        "folder",
        tmp_path / "own",
        "own",
        tmp_path / "root",
        progress=False,
    )
    trial = Trial(
        data="own",
        root=str(tmp_path / "root"),
        net=UNet(widths=(4, 8), dims=3 if depth else 2),
        depth=depth or 16,
        image_size=8,
        labels=1,
        pseudo=str(tmp_path / "own" / "train" / "labels"),
    )
    job = prepare(trial)
    drawn = set(np.asarray(job.pools.pseudo.images).tolist())
    assert len(drawn) == (2 if depth else 10)
    for i in drawn:
        page, where = job.training.flat.where(i)
        label = np.asarray(job.pools.label)[page, where]
        assert (label == np.asarray(job.pools.hidden)[page, where]).all()
        assert 0 < label.mean() < 1


# ------------------------------------------------------------------ what is refused
def spoil_shape(place):
    rewrite(
        place / "train3.png",
        lambda pixels: pixels[:-1],
    )


def spoil_class(place):
    rewrite(
        place / "train3.png",
        lambda pixels: pixels * 4,
    )


def spoil_name(place):
    (place / "train3.png").rename(place / "tr3.png")


def spoil_file(place):
    (place / "train3.png").write_bytes(b"damaged")


def spoil_all(place):
    for path in place.iterdir():
        path.unlink()


def spoil_folder(place):
    spoil_all(place)
    place.rmdir()


def spoil_others(place):
    for path in place.glob("train*"):
        if path.stem in ("train0", "train1", "train2"):
            shutil.copy(
                path,
                path.with_name(path.name.replace("train", "val")),
            )
        path.unlink()


REFUSED = {
    "another shape": (spoil_shape, {}, "train3.png: has shape 39×36, its scan 40×36"),
    "no class": (spoil_class, {}, "train3.png: holds 4; the classes are 0 background"),
    "no scan": (spoil_name, {}, "tr3.png: no scan of data set 'discs' is called tr3"),
    "damaged": (spoil_file, {}, "train3.png"),
    "no masks": (spoil_all, {}, "masks: holds no"),
    "no folder": (spoil_folder, {}, "masks: no such folder"),
    "other splits": (spoil_others, {}, "no file has the name of an unlabelled training scan"),
    "all labelled": (None, {"labels": 0}, "leaves no subject unlabelled"),
    "pool memory": (None, {"pool_memory": "4GB"}, "leave --pool-memory out"),
    "no share": (None, {"pseudo_until": 0.0}, "pseudo_until is 0.0: it must be"),
    "without masks": (None, {"pseudo": None, "pseudo_weight": 2.0}, "give --pseudo DIR"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_masks_are_one_line(case, few, masks):
    """Catches a mask that is left out, cut or renumbered without a word."""
    spoil, changes, words = REFUSED[case]
    if spoil:
        spoil(masks)
    with pytest.raises(UserError) as error:
        prepare(dataclasses.replace(few, **changes))
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_the_command_says_so_and_leaves_nothing(few, masks, tmp_path, capsys):
    """Catches a folder of a run that was never begun, and another exit code."""
    spoil_name(masks)
    flags = [f"--data={few.data}", f"--root={few.root}", "--labels=1", f"--pseudo={masks}"]
    assert main(["train", *flags, f"--out={tmp_path / 'run'}", "--quiet"]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "is called tr3" in message
    assert not (tmp_path / "run").exists()


def test_other_masks_do_not_go_on(few, masks, tmp_path):
    """Catches a run that is half of one set of masks and half of another."""
    semiseg.run(
        few,
        tmp_path / "run",
        progress=False,
    )
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    environment = json.loads((tmp_path / "run" / "env.json").read_text())
    facts = summary["pseudo_masks"]
    assert (facts["subjects"], facts["images"]) == (7, 7)
    assert facts["fingerprint"] == environment["pseudo_masks"]
    assert summary["provenance"] == "unknown"
    assert any("the masks in" in note for note in summary["notes"])
    (tmp_path / "run" / "summary.json").unlink()
    semiseg.run(
        few,
        tmp_path / "run",
        progress=False,
    )
    (tmp_path / "run" / "summary.json").unlink()
    labelled = set(summary["labelled_subjects"])
    changed = next(path for path in sorted(masks.iterdir()) if path.stem not in labelled)
    rewrite(
        changed,
        lambda pixels: 1 - pixels,
    )
    with pytest.raises(UserError, match="are not those that this run began with"):
        semiseg.run(
            few,
            tmp_path / "run",
            progress=False,
        )


def test_a_pre_training_does_not_depend_on_them(few):
    """Catches a pre-training that is done again for each folder of masks."""
    other = dataclasses.replace(
        few,
        pseudo=None,
    )
    assert content(few, "x") == content(other, "x")


# ------------------------------------------------------------------ where they are from
def origin_of(few, masks, split: str, labelled: bool) -> None:
    """Masks whose networks have seen the images (and labels) of a split."""
    info = store.info(
        few.data,
        few.root,
    )
    table = hashes_of(info)
    seen = np.unique(table.hashes[table.of(split)])
    part = provenance.Seen(
        "elsewhere",
        "0",
        images=seen,
        labelled=seen if labelled else seen[:0],
    )
    provenance.write(
        masks / provenance.PREDICTED,
        provenance.Provenance((part,)),
    )


@pytest.mark.parametrize("split", ["val", "test"])
def test_masks_that_know_held_out_images_are_refused(split, few, masks):
    """Catches what networks learnt from the validation or test subjects, coming in as masks."""
    origin_of(
        few,
        masks,
        split,
        labelled=False,
    )
    with pytest.raises(UserError, match=f"the masks in .*: has seen 3 {split} images"):
        prepare(few)


def test_labels_behind_the_masks_count(few, masks):
    """Catches masks of a network that was trained on all labels, in a run of one."""
    origin_of(
        few,
        masks,
        "train",
        labelled=True,
    )
    job = prepare(few)
    assert len(job.subjects) == 8
    assert any("7 annotated subjects outside the label budget" in note for note in job.notes)
    assert job.provenance.unknown == ()


def test_annotations_as_masks_count(few, masks, tiny_folder):
    """Catches held-back labels themselves that come in unpaid as masks from elsewhere."""
    assert len(prepare(few).subjects) == 1
    for name in ("train2.png", "train5.png", "train6.png"):
        shutil.copy(
            tiny_folder / "train" / "labels" / name,
            masks,
        )
    job = prepare(few)
    paid = {"train2", "train5", "train6"} | set(job.budget.subjects)
    assert set(job.subjects) == paid
    assert any("are, or were made from, the masks of" in note for note in job.notes)


def test_one_copied_scan_of_two_counts():
    """Catches a copy that is free because another scan of the subject, or a pixel that nobody
    annotated, differs.
    """
    label = np.zeros((4, 4), np.uint8)
    label[1:3, 1:3] = 1
    unsure = label.copy()
    unsure[0] = IGNORE
    image = np.zeros((4, 4, 1), np.uint8)
    scans = [Case("p", name, image, unsure, (1.0, 1.0), name) for name in ("a", "b")]
    other = label.copy()
    other[3, 3] = 1
    assert pseudo_masks._annotations(scans, {"a": label, "b": other}) == {"p"}
    assert pseudo_masks._annotations(scans, {"a": other, "b": other}) == set()
    empty = [dataclasses.replace(scans[0], label=np.zeros((4, 4), np.uint8))]
    assert pseudo_masks._annotations(empty, {"a": np.zeros((4, 4), np.uint8)}) == set()


def test_a_folder_of_others_masks_stays_of_unknown_origin(tmp_path):
    """Catches predictions beside another program's masks that lend them a record, and folders
    that are named in it.
    """
    (tmp_path / "theirs.png").write_bytes(b"")
    seen = provenance.Seen("own", "ab12", frozenset({"p1"}))
    origin = provenance.Provenance((seen,), ("weights /data/Smith/w.safetensors",))
    provenance.add_to(tmp_path, origin)
    text = (tmp_path / provenance.PREDICTED).read_text()
    assert "Smith" not in text and "p1" not in text
    written = provenance.from_dict(json.loads(text), "x").unknown
    assert "files that were there before" in written
    assert "labels of own without hashes" in written
    provenance.add_to(tmp_path, origin)
    again = (tmp_path / provenance.PREDICTED).read_text()
    assert json.loads(again)["unknown"] == json.loads(text)["unknown"]


def test_predictions_say_where_they_are_from(few, tiny_folder, tmp_path):
    """Catches a folder of predictions without a record, one with names of subjects in it, and one
    whose network paid for its labels being charged again.
    """
    first = dataclasses.replace(
        few,
        pseudo=None,
        steps=2,
    )
    semiseg.run(
        first,
        tmp_path / "first",
        progress=False,
    )
    images = tiny_folder / "train" / "images"
    out = tmp_path / "predicted"
    assert main(["predict", str(tmp_path / "first"), f"--input={images}", f"--output={out}"]) == 0
    text = (out / ".origin.json").read_text()
    assert "train0" not in text
    second = dataclasses.replace(
        few,
        pseudo=str(out),
        steps=2,
    )
    job = prepare(second)
    assert job.masks.source.provenance.unknown == ()
    assert len(job.subjects) == 1
    assert not any("provenance unknown" in note for note in job.notes)
    _, header = load_weights(tmp_path / "first" / "weights.safetensors")
    recorded = provenance.of_header(
        header,
        "",
    )
    assert (job.masks.source.provenance.images == recorded.images).all()
