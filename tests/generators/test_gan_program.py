"""The training program: what it may see, one compilation, exact resumption, and stopping on NaN and
collapse.
"""

import dataclasses
import json
from types import SimpleNamespace

import gan_cases
import jax.numpy as jnp
import numpy as np
import pytest

from semiseg.cli.main import main
from semiseg.config import Trial
from semiseg.data import pools
from semiseg.data.frame import Frame
from semiseg.errors import UserError
from semiseg.generators import budget as budgets
from semiseg.generators import fit, settings, teacher
from semiseg.generators.settings import Settings
from semiseg.types import IGNORE

PAIR = ("pair", "d_pair", "feature", "l1", "kl", "latent", "mode_seeking")
same = gan_cases.same


# ------------------------------------------------------------------ what it may see
def held_back_replaced() -> tuple[np.ndarray, np.ndarray]:
    """The pairs of gan_cases, with other images and labels outside the budget."""
    images, labels = gan_cases.pairs()
    images = images.copy()
    labels = labels.copy()
    held_back = np.arange(len(images)) >= gan_cases.LABELLED
    images[held_back] = 255 - images[held_back] // 2
    labels[held_back] = 1 - labels[held_back]
    return images, labels


def test_held_back_pairs_never_reach_the_pair_losses():
    """Catches a draw of pairs outside the budget, and a style taken from an unlabelled image."""
    _, one = gan_cases.train("spade", gan_cases.data(*gan_cases.pairs()))
    _, two = gan_cases.train("spade", gan_cases.data(*held_back_replaced()))
    assert {name: float(one[name]) for name in PAIR} == {name: float(two[name]) for name in PAIR}
    assert float(one["d_image"]) != float(two["d_image"]), (
        "the image branch must see the unlabelled images"
    )


def test_held_back_pairs_never_reach_the_weights():
    """Catches a label that leaks into the image branch: without it, all weights are bit-identical
    after three steps; with it, the unlabelled images do something.
    """
    clean = gan_cases.data(*gan_cases.pairs())
    other = gan_cases.data(*held_back_replaced())
    one, _ = gan_cases.train("spade", clean, 3, unconditional=0.0)
    two, _ = gan_cases.train("spade", other, 3, unconditional=0.0)
    assert same(one.g, two.g)
    assert same(one.d, two.d)
    assert not same(one.u, two.u)
    one, _ = gan_cases.train("spade", clean, 3)
    two, _ = gan_cases.train("spade", other, 3)
    assert not same(one.g, two.g)


def test_a_wider_budget_shows():
    """Catches a budget that is not read: with more labelled pairs the losses differ."""
    images, labels = held_back_replaced()
    _, narrow = gan_cases.train(
        "spade",
        gan_cases.data(*gan_cases.pairs()),
        3,
    )
    wide_data = gan_cases.data(images, labels, labelled=len(images))
    _, wide = gan_cases.train("spade", wide_data, 3)
    assert float(wide["l1"]) != float(narrow["l1"])


@pytest.mark.parametrize(
    "changes",
    [{}, {"labels": 3, "label_subset": 1, "regions": 3}, {"unlabelled": False}],
    ids=["all", "subset", "without_unlabelled"],
)
def test_pairs_are_those_of_the_budgets_subjects(tiny, changes):
    """What a fit hands to its program, from a store. Catches a held-back subject among the pairs,
    and one whose label is readable at all.
    """
    given = dataclasses.replace(tiny, **changes)
    budget = budgets.read_budget(given)
    data = budgets.data_of(budget)
    _, allowed, _ = pools.pools(
        "discs", tiny.root, tiny.frame, labels=given.labels, label_subset=given.label_subset
    )
    index = np.asarray(data.labelled_N)
    subjects = np.array(budget.subjects)
    assert set(subjects[index[: int(data.labelled_count)]]) == set(allowed.subjects)
    assert set(subjects[index]) == set(allowed.subjects)
    outside = ~np.isin(subjects, allowed.subjects)
    assert outside.any() == given.unlabelled
    assert np.all(np.asarray(data.label_NHW)[outside] == IGNORE)
    assert int(data.pseudo_count) == 0


def test_pairs_of_a_teacher_count_by_their_weight():
    """Catches a confidence that is not multiplied in: at weight 0 the teacher's pairs teach
    nothing, whatever they show.
    """
    images, labels = gan_cases.pairs()
    taught = gan_cases.data(images, labels)._replace(
        label_NHW=jnp.asarray(labels),
        pseudo_N=jnp.resize(jnp.arange(4, 8, dtype=jnp.int32), 8),
        pseudo_count=jnp.int32(4),
    )
    weightless = taught._replace(weight_N=jnp.asarray(np.repeat([1, 0], 4), jnp.float32))
    _, full = gan_cases.train("spade", taught, pseudo=1.0)
    _, none = gan_cases.train("spade", weightless, pseudo=1.0)
    assert float(none["l1"]) == 0
    assert float(none["pair"]) == 0
    assert float(full["l1"]) > 0


# ------------------------------------------------------------------ the loop
FLAGS = {
    **gan_cases.TINY,
    "data": "discs",
    "labels": 6,
    "steps": 8,
    "log_every": 2,
    "grid_every": 4,
    "checkpoint_seconds": 0,
}


@pytest.fixture
def tiny(root) -> Settings:
    return settings.override(Settings(), {**FLAGS, "root": root})


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """The fit's own loop with the program compiled without optimisation."""
    monkeypatch.setattr(fit.programs, "chunk", gan_cases.chunk)


def cut_fit(given: Settings, folder, monkeypatch) -> None:
    """Kill a fit in its third chunk, then go on with it."""
    calls = []

    def killed(*args):
        calls.append(0)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return gan_cases.chunk(*args)

    monkeypatch.setattr(fit.programs, "chunk", killed)
    with pytest.raises(KeyboardInterrupt):
        fit.fit(given, folder, progress=False)
    assert not (folder / "weights.safetensors").exists()
    monkeypatch.setattr(fit.programs, "chunk", gan_cases.chunk)
    fit.fit(given, folder, progress=False)


def steps_logged(folder) -> list[int]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["step"] for line in lines]


def test_resumed_fit_is_bit_identical(tiny, tmp_path, monkeypatch):
    """Catches state outside the checkpoint, a log with a step twice, and a grid that is missing."""
    whole = tmp_path / "whole"
    cut = tmp_path / "cut"
    fit.fit(tiny, whole, progress=False)
    cut_fit(tiny, cut, monkeypatch)
    names = ("weights.safetensors", "grid.png")
    assert all((whole / name).read_bytes() == (cut / name).read_bytes() for name in names)
    assert steps_logged(cut) == [2, 4, 6, 8]
    grids = {path.name for path in (cut / "grids").iterdir()}
    assert grids == {"step_000004.png", "step_000008.png"}
    line = fit.fit(tiny, cut, progress=False)
    assert line["step"] == 8, "a whole fit returns its last line"


LOGS = {
    "whole": lambda lines: lines,
    "cut": lambda lines: [*lines[:-1], lines[-1][:9]],
    "without the last line": lambda lines: lines[:-1],
    "empty": lambda lines: [],
    "of text": lambda lines: ['{"step": 8, "diversity": "much", "seconds": null}'],
}


@pytest.mark.parametrize("state", ["trained", "without weights"])
@pytest.mark.parametrize("kind", LOGS)
def test_a_fit_goes_on_after_its_last_checkpoint(kind, state, tiny, tmp_path, capsys):
    """Catches an end that only a log explains: a kill between the last checkpoint and the weights,
    and a power cut that took lines which the checkpoint outlived.
    """
    folder = tmp_path / "g"
    flags = [f"--{key.replace('_', '-')}={value}" for key, value in FLAGS.items()]
    command = ["gan", "fit", *flags, "--root", tiny.root, "--out", str(folder), "--quiet"]
    assert main(command) == 0
    weights = (folder / "weights.safetensors").read_bytes()
    log = folder / "metrics.jsonl"
    lines = LOGS[kind](log.read_text().splitlines())
    log.write_text("\n".join(lines))
    if state == "without weights":
        (folder / "weights.safetensors").unlink()
    capsys.readouterr()
    assert main(command) == 0
    assert capsys.readouterr().out.startswith("step 8")
    assert (folder / "weights.safetensors").read_bytes() == weights


def test_other_values_are_the_same_program(tiny, tmp_path):
    """Catches a program compiled again for another weight, budget, subset, seed or number of
    steps.
    """
    fit.fit(tiny, tmp_path / "first", progress=False)
    programs = gan_cases.chunk._cache_size()
    changes = {"train.diversity": "0.7", "steps": "2", "label_subset": "1", "labels": "5"}
    other = settings.override(tiny, changes | {"seed": "3"})
    fit.fit(other, tmp_path / "other", progress=False)
    assert gan_cases.chunk._cache_size() == programs


def test_another_fit_is_not_gone_on_with(tiny, tmp_path):
    """Catches weights of two settings in one folder."""
    fit.fit(
        dataclasses.replace(tiny, steps=2),
        tmp_path / "g",
        progress=False,
    )
    with pytest.raises(UserError, match="holds a fit with steps = 2, not 9"):
        fit.fit(
            dataclasses.replace(tiny, steps=9),
            tmp_path / "g",
            progress=False,
        )


GOOD = {"diversity": 0.5, "d_real": 0.5, "d_fake": -0.5, "loss": 1.0}
BAD = {
    "nan": ({"loss": float("nan")}, "loss is nan at step 350"),
    "one image": ({"diversity": 0.001}, "collapsed, two styles"),
    "strong judge": ({"d_fake": -99.0}, "collapsed, the discr"),
}


def test_a_fit_begins_where_its_configuration_could_not_be_written(tiny, tmp_path, monkeypatch):
    """Catches a folder that a full disk left with half of its first files and that is refused."""
    write = fit.RunFolder.write_config

    def full(folder, text):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fit.RunFolder, "write_config", full)
    with pytest.raises(UserError, match="cannot be written"):
        fit.fit(tiny, tmp_path / "g", progress=False)
    assert (tmp_path / "g" / "env.json").exists()
    monkeypatch.setattr(fit.RunFolder, "write_config", write)
    fit.fit(tiny, tmp_path / "g", progress=False)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="is not empty and holds no fit"):
        fit.fit(tiny, tmp_path / "other", progress=False)


@pytest.fixture
def pretend(monkeypatch):
    """A function that replaces the program by one whose metrics are bad after step 300."""

    def replace(bad: dict[str, float]) -> None:
        def chunk(program, knobs, seed, data, state, until):
            values = GOOD if int(until) <= 300 else GOOD | bad
            metrics = {name: jnp.float32(value) for name, value in values.items()}
            return state._replace(step=until), metrics

        monkeypatch.setattr(fit.programs, "chunk", chunk)

    return replace


@pytest.mark.parametrize("name", BAD)
def test_nan_and_collapse_stop_with_the_last_good_checkpoint(tiny, tmp_path, pretend, capsys, name):
    """Catches a silent bad set: the fit ends in one line that names the last good step, keeps that
    checkpoint and writes no weights.
    """
    bad, message = BAD[name]
    pretend(bad)
    folder = tmp_path / "g"
    with pytest.raises(UserError, match=message) as error:
        fit.fit(dataclasses.replace(tiny, steps=600, grid_every=600, log_every=50), folder)
    assert "the last good checkpoint is step 300" in str(error.value)
    assert "\n" not in str(error.value)
    assert (folder / "checkpoints" / "300").exists()
    assert not (folder / "weights.safetensors").exists()
    warnings = capsys.readouterr().err.count("warning")
    assert warnings == (0 if name == "nan" else 1)


def test_a_fit_that_ends_in_a_collapse_has_no_weights(tiny, tmp_path, pretend):
    """Catches a generator of a bad set whose steps are over before patience is."""
    bad, message = BAD["one image"]
    pretend(bad)
    short = dataclasses.replace(tiny, steps=350, grid_every=600, log_every=50)
    with pytest.raises(UserError, match=message):
        fit.fit(short, tmp_path / "g", progress=False)
    assert not (tmp_path / "g" / "weights.safetensors").exists()


# ------------------------------------------------------------------ settings
@pytest.mark.parametrize(
    "changes, message",
    [
        ({"labels": "1"}, "1 labelled image, a generator needs at least 2"),
        ({"batch": "6"}, "must be a multiple of 4"),
        ({"image_size": "20"}, "must be a multiple of 16"),
        ({"generator": "stylegan"}, "no generator called 'stylegan'"),
        ({"train.lrg": "1"}, "no field 'train.lrg': did you mean 'train.lr_g'"),
        ({"train.flip": "2"}, "train.flip is 2.0: it must be between 0 and 1"),
        ({"generator": "joint", "generator.layout": "8,8"}, "layout has 2 scales, widths 4"),
        ({"adversarial": "wgan"}, "adversarial is 'wgan': choose one of hinge, bce"),
        ({"seed": "-1"}, "seed is -1"),
        (
            {"generator": "joint", "unconditional": "False"},
            "taught by the discriminator of images alone",
        ),
        ({"labels": "99"}, "99 labelled subjects asked for"),
    ],
)
def test_what_a_user_does_wrong_is_one_line(tiny, tmp_path, capsys, changes, message):
    """Catches a traceback, and a fit that starts on data it cannot learn from."""
    from semiseg.cli.main import main

    values = {"data": "discs", "root": tiny.root, "image_size": "16", "steps": "1"} | changes
    flags = [f"--{name}={value}" for name, value in values.items()]
    assert main(["gan", "fit", "--out", str(tmp_path / "g"), *flags]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_missing_class_is_named():
    """Catches a generator that is asked to paint a class it has never seen."""
    empty = np.zeros((4, 8, 8), np.uint8)
    with pytest.raises(UserError, match="no mask has class 'nucleus'"):
        budgets.check_pairs(empty, ("background", "nucleus"), "data set 'x'")


def test_preset_comes_with_its_generator_and_flags_win():
    """Catches pix2pix trained with SPADE's losses, and a recipe that overrules the user."""
    plain = settings.override(Settings(), {"generator": "pix2pix"})
    assert plain.train.l1 == 100
    assert plain.adversarial == "bce"
    assert not plain.unconditional
    assert plain.discriminator.scales == 1
    assert settings.override(Settings(), {"train.l1": "7", "generator": "pix2pix"}).train.l1 == 7
    assert settings.from_dict(settings.to_dict(plain)) == plain


# ------------------------------------------------------------------ teachers
@pytest.fixture
def with_teacher(tiny, tmp_path, monkeypatch) -> Settings:
    """A fit with a teacher of its budget, which sees a foreground in one of two images."""
    run = tmp_path / "run"
    run.mkdir()
    (run / "weights.safetensors").touch()
    probability = np.zeros((2, 16, 16, 2), np.float32)
    probability[..., 0] = 0.99
    probability[0, :4] = (0.3, 0.7)
    predictor = SimpleNamespace(
        classes=("background", "disc"), model=None, params=None, frame=Frame(16, intensity="zscore")
    )
    monkeypatch.setattr(teacher.Predictor, "load", lambda run: predictor)
    monkeypatch.setattr(teacher.predict, "probabilities", lambda *a: iter(probability))
    trial = Trial(data="discs", labels=6, image_size=16)
    monkeypatch.setattr(teacher.config, "load", lambda file: trial)
    return settings.override(tiny, {"teacher": str(run), "train.pseudo": "0.5"})


def test_a_teacher_counts_where_it_is_sure(with_teacher):
    """Catches a confidence taken from the background."""
    images = np.zeros((2, 16, 16, 1), np.uint8)
    labels, weight = teacher.pseudo_labels(with_teacher, images, ("background", "disc"))
    assert labels.sum() == labels[0, :4].sum() == 64
    assert weight.tolist() == pytest.approx([0.7, 0])


def test_a_teacher_is_of_the_same_budget(with_teacher, tmp_path, monkeypatch):
    """Catches labels that a teacher passes on from outside the budget."""
    trial = Trial(data="discs", labels=6, image_size=16, label_subset=1)
    monkeypatch.setattr(teacher.config, "load", lambda file: trial)
    with pytest.raises(UserError, match="has label_subset = 1, the generator 0"):
        fit.fit(with_teacher, tmp_path / "g", progress=False)


def test_a_share_of_a_teachers_pairs_needs_a_teacher(with_teacher, tmp_path):
    """Catches a share that is silently without effect."""
    alone = dataclasses.replace(with_teacher, teacher=None)
    with pytest.raises(UserError, match=r"train\.pseudo is 0\.5, but there is no teacher"):
        fit.fit(alone, tmp_path / "g", progress=False)
    unused = settings.override(with_teacher, {"train.pseudo": "0"})
    with pytest.raises(UserError, match=r"are used by --train\.pseudo"):
        fit.fit(unused, tmp_path / "g", progress=False)
