"""The training program: what it may see, one compilation, exact resumption, and stopping on NaN and
collapse.
"""

import dataclasses
import json
from types import SimpleNamespace

import gan_cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from semiseg.config import Trial
from semiseg.data import pools
from semiseg.errors import UserError
from semiseg.generators import fit, settings, teacher
from semiseg.generators.settings import Settings
from semiseg.types import IGNORE

PAIR = ("pair", "d_pair", "feature", "l1", "kl", "latent", "mode_seeking")


def same(a, b) -> bool:
    return all(
        np.array_equal(x, y, equal_nan=True) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b))
    )


def test_hidden_pairs_never_reach_the_pair_losses():
    """Catches a draw of pairs outside the budget, a label that leaks into the image branch, a style
    taken from an unlabelled image.

    Every hidden image and label is replaced. The pair losses of a step are bit-identical; so are
    all weights after three steps when the image branch has no weight. With it, the unlabelled
    images do something.
    """
    images, labels = gan_cases.pairs()
    hidden = np.arange(len(images)) >= gan_cases.SHOWN
    poisoned = (
        np.where(hidden[:, None, None, None], 255 - images // 2, images),
        np.where(hidden[:, None, None], 1 - labels, labels),
    )
    clean, other = gan_cases.data(images, labels), gan_cases.data(*poisoned)
    one, two = gan_cases.train("spade", clean)[1], gan_cases.train("spade", other)[1]
    assert all(float(one[k]) == float(two[k]) for k in PAIR)
    assert float(one["d_image"]) != float(two["d_image"]), (
        "the image branch must see the unlabelled images"
    )
    off = [gan_cases.train("spade", given, 3, unconditional=0.0)[0] for given in (clean, other)]
    assert same(off[0].g, off[1].g) and same(off[0].d, off[1].d) and not same(off[0].u, off[1].u)
    on = [gan_cases.train("spade", given, 3)[0] for given in (clean, other)]
    assert not same(on[0].g, on[1].g)
    peeked = gan_cases.data(*poisoned, shown=len(images))
    assert float(gan_cases.train("spade", peeked, 3)[1]["l1"]) != float(
        gan_cases.train("spade", clean, 3)[1]["l1"]
    ), "a wider budget must show"


def test_pairs_are_those_of_the_budgets_subjects(tiny):
    """What a fit hands to its program, from a store. Catches a hidden subject among the pairs, and
    one whose label is readable at all.
    """
    for given in (
        tiny,
        dataclasses.replace(tiny, labels=3, label_subset=1, regions=3),
        dataclasses.replace(tiny, unlabelled=False),
    ):
        budget = fit.read_budget(given)
        data = fit.data_of(budget)
        _, allowed, _ = pools.pools(
            "discs", tiny.root, tiny.frame, labels=given.labels, label_subset=given.label_subset
        )
        drawn = np.asarray(data.labelled_N)[: int(data.labelled_count)]
        assert (
            {budget.subjects[i] for i in drawn}
            == set(allowed.subjects)
            == {budget.subjects[i] for i in np.asarray(data.labelled_N)}
        )
        outside = np.array([s not in allowed.subjects for s in budget.subjects])
        assert (
            outside.any() == given.unlabelled
            and np.all(np.asarray(data.label_NHW)[outside] == IGNORE)
            and int(data.pseudo_count) == 0
        )


def test_pairs_of_a_teacher_count_by_their_weight():
    """Catches a confidence that is not multiplied in: at weight 0 the teacher's pairs teach
    nothing, whatever they show.
    """
    images, labels = gan_cases.pairs()
    base = gan_cases.data(images, labels)
    taught = base._replace(
        label_NHW=jnp.asarray(labels),
        pseudo_N=jnp.resize(jnp.arange(4, 8, dtype=jnp.int32), 8),
        pseudo_count=jnp.int32(4),
    )
    weightless = taught._replace(weight_N=jnp.asarray(np.repeat([1, 0], 4), jnp.float32))
    _, full = gan_cases.train("spade", taught, pseudo=1.0)
    _, none = gan_cases.train("spade", weightless, pseudo=1.0)
    assert float(none["l1"]) == 0 and float(none["pair"]) == 0 and float(full["l1"]) > 0


@pytest.fixture
def tiny(root) -> Settings:
    return settings.override(
        Settings(),
        {
            **gan_cases.TINY, "data": "discs", "root": root, "labels": 6, "steps": 8, "log_every": 2, "grid_every": 4, "checkpoint_seconds": 0,
        },
    )  # fmt: skip


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """The fit's own loop with the program compiled without optimisation."""
    monkeypatch.setattr(fit.programs, "chunk", gan_cases.chunk)


def test_resumed_fit_is_bit_identical(tiny, tmp_path, monkeypatch):
    """Catches state outside the checkpoint, a log with a step twice, and a program compiled again
    for another number of steps or another weight.
    """
    fit.fit(tiny, tmp_path / "whole", progress=False)
    real, calls = gan_cases.chunk, []

    def killed(*args):
        calls.append(0)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(fit.programs, "chunk", killed)
    with pytest.raises(KeyboardInterrupt):
        fit.fit(tiny, tmp_path / "cut", progress=False)
    assert not (tmp_path / "cut" / "weights.safetensors").exists()
    monkeypatch.setattr(fit.programs, "chunk", real)
    before = real._cache_size()
    fit.fit(tiny, tmp_path / "cut", progress=False)
    other = settings.override(
        tiny,
        {"train.diversity": "0.7", "steps": "2", "label_subset": "1", "labels": "5", "seed": "3"},
    )
    fit.fit(other, tmp_path / "other", progress=False)
    assert real._cache_size() == before, (
        "another weight, budget, subset, seed and number of steps are the same program"
    )
    whole, cut = ((tmp_path / n / "weights.safetensors").read_bytes() for n in ("whole", "cut"))
    assert whole == cut
    steps = [
        json.loads(line)["step"]
        for line in (tmp_path / "cut" / "metrics.jsonl").read_text().splitlines()
    ]
    assert (
        steps == [2, 4, 6, 8]
        and (tmp_path / "cut" / "grid.png").exists()
        and len(list((tmp_path / "cut" / "grids").iterdir())) == 2
    )
    with pytest.raises(UserError, match="holds a fit with steps = 8, not 9"):
        fit.fit(dataclasses.replace(tiny, steps=9), tmp_path / "cut", progress=False)


def line(**changes: float) -> dict[str, jax.Array]:
    values = {"diversity": 0.5, "d_real": 0.5, "d_fake": -0.5, "loss": 1.0} | changes
    return {k: jnp.float32(v) for k, v in values.items()}


BAD = [
    ({"loss": float("nan")}, "loss is nan at step 350"),
    ({"diversity": 0.001}, "collapsed, two styles"),
    ({"d_fake": -99.0}, "collapsed, the discr"),
]


@pytest.mark.parametrize("bad, said", BAD)
def test_nan_and_collapse_stop_with_the_last_good_checkpoint(
    tiny, tmp_path, monkeypatch, capsys, bad, said
):
    """Catches a silent bad set: the fit ends in one line that names the last good step, keeps that
    checkpoint and writes no weights.
    """
    tiny = dataclasses.replace(tiny, steps=600, grid_every=600, log_every=50)

    def pretend(program, knobs, seed, data, state, until):
        return state._replace(step=until), line(**(bad if int(until) > 300 else {}))

    monkeypatch.setattr(fit.programs, "chunk", pretend)
    with pytest.raises(UserError, match=said) as told:
        fit.fit(tiny, tmp_path / "g", progress=False)
    assert "the last good checkpoint is step 300" in str(told.value) and "\n" not in str(told.value)
    assert (tmp_path / "g" / "checkpoints" / "300").exists() and not (
        tmp_path / "g" / "weights.safetensors"
    ).exists()
    assert capsys.readouterr().err.count("warning") == (0 if "loss" in bad else 1)
    if (
        "diversity" in bad
    ):  # that the steps are over before patience is makes no good generator of it
        with pytest.raises(UserError, match=said):
            fit.fit(dataclasses.replace(tiny, steps=350), tmp_path / "short", progress=False)
        assert not (tmp_path / "short" / "weights.safetensors").exists()


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"labels": "1"}, "1 labelled image, a generator needs at least 2"),
        ({"batch": "6"}, "must be a multiple of 4"),
        ({"image_size": "20"}, "must be a multiple of 16"),
        ({"generator": "stylegan"}, "no generator called 'stylegan'"),
        ({"train.lrg": "1"}, "train.lrg: there is no such field: did you mean 'lr_g'"),
        ({"seed": "-1"}, "seed is -1"),
        (
            {"generator": "joint", "unconditional": "False"},
            "taught by the discriminator of images alone",
        ),
        ({"labels": "99"}, "99 labelled subjects asked for"),
    ],
)
def test_what_a_user_does_wrong_is_one_line(tiny, tmp_path, capsys, changes, said):
    """Catches a traceback, and a fit that starts on data it cannot learn from."""
    from semiseg.cli.main import main

    flags = {"data": "discs", "root": tiny.root, "image_size": "16", "steps": "1"} | changes
    assert (
        main(
            ["gan", "fit", "--out", str(tmp_path / "g"), *(f"--{k}={v}" for k, v in flags.items())]
        )
        == 2
    )
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1


def test_missing_class_is_named():
    """Catches a generator that is asked to paint a class it has never seen."""
    with pytest.raises(UserError, match="no mask has class 'nucleus'"):
        fit.check_pairs(np.zeros((4, 8, 8), np.uint8), ("background", "nucleus"), "data set 'x'")


def test_preset_comes_with_its_generator_and_flags_win():
    """Catches pix2pix trained with SPADE's losses, and a recipe that overrules the user."""
    plain = settings.override(Settings(), {"generator": "pix2pix"})
    assert (
        plain.train.l1 == 100
        and plain.adversarial == "bce"
        and not plain.unconditional
        and plain.discriminator.scales == 1
    )
    assert settings.override(Settings(), {"train.l1": "7", "generator": "pix2pix"}).train.l1 == 7
    assert settings.from_dict(settings.to_dict(plain)) == plain


def test_a_teacher_is_of_the_same_budget_and_counts_where_it_is_sure(tiny, tmp_path, monkeypatch):
    """Catches labels that a teacher passes on from outside the budget, a share of its pairs without
    a teacher, and a confidence taken from the background.
    """
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "weights.safetensors").touch()
    given = settings.override(tiny, {"teacher": str(tmp_path / "run"), "train.pseudo": "0.5"})
    config = lambda **changes: Trial(data="discs", labels=6, image_size=16, **changes)
    probability = np.zeros((2, 16, 16, 2), np.float32)
    probability[..., 0], probability[0, :4, :, 0], probability[0, :4, :, 1] = 0.99, 0.3, 0.7
    monkeypatch.setattr(
        "semiseg.runner.predictor.Predictor.load",
        lambda run: SimpleNamespace(classes=("background", "disc"), model=None, params=None),
    )
    monkeypatch.setattr(
        "semiseg.evaluate.probabilities.probabilities", lambda *a: iter(probability)
    )
    monkeypatch.setattr("semiseg.config.load", lambda file: config())
    labels, weight = teacher.masks(
        given, np.zeros((2, 16, 16, 1), np.uint8), ("background", "disc")
    )
    assert labels.sum() == labels[0, :4].sum() == 64 and weight.tolist() == pytest.approx([0.7, 0])
    monkeypatch.setattr("semiseg.config.load", lambda file: config(label_subset=1))
    with pytest.raises(UserError, match="has label_subset = 1, the generator 0"):
        fit.fit(given, tmp_path / "g", progress=False)
    with pytest.raises(UserError, match="train.pseudo is 0.5, but there is no teacher"):
        fit.fit(dataclasses.replace(given, teacher=None), tmp_path / "g", progress=False)
