"""Sets made for a trial's budget: from that budget alone, once, under a name that changes with
whatever they are made from.
"""

import dataclasses
import json
from types import SimpleNamespace

import gan_cases
import numpy as np
import pytest

from semiseg import sweeps
from semiseg.cli import demo
from semiseg.data import importing, pools, store
from semiseg.data.frame import Frame
from semiseg.errors import UserError
from semiseg.generators import fit, ratio, settings
from semiseg.generators.settings import Settings


@pytest.fixture
def given(root, monkeypatch) -> Settings:
    monkeypatch.setattr(fit.programs, "chunk", gan_cases.chunk)
    names = {
        **gan_cases.TINY,
        "data": "discs",
        "root": root,
        "labels": 4,
        "steps": 2,
        "log_every": 2,
    }
    return settings.override(Settings(), names)


@pytest.mark.parametrize("kind", ratio.CONTROLS)
def test_controls_are_made_from_the_budget_alone(given, kind):
    """Catches a control that reads a hidden pair: with every pair outside the budget replaced it
    makes the same set, and another seed another one.
    """
    budget = fit.read_budget(given)
    hidden = np.setdiff1d(np.arange(len(budget.images)), budget.shown)
    images, labels = budget.images.copy(), budget.labels.copy()
    images[hidden], labels[hidden] = 7, 1
    poisoned = dataclasses.replace(budget, images=images, labels=labels)
    made = lambda b, seed=0: [
        (i.tobytes(), y.tobytes()) for i, y in ratio.control(kind, b, 12, seed)
    ]
    assert len(hidden) == 4 and made(budget) == made(poisoned)
    own = {(budget.images[i].tobytes(), budget.labels[i].tobytes()) for i in budget.shown}
    if kind == "duplicated":
        assert set(made(budget)) == own and made(budget)[:4] == made(budget)[4:8]
    else:
        assert len(set(made(budget)) - own) >= 4 and made(budget, 1) != made(budget)


def test_set_is_made_once_for_what_it_is_made_from(given, monkeypatch):
    """Catches a set reused for another budget, subset, frame or fit, and one made again for the
    same.
    """
    name = ratio.resolve("make:augmented", given, samples=6)
    assert name is not None and store.info(name, given.root).counts["train"]["records"] == 5
    monkeypatch.setattr(importing, "import_set", lambda *a, **k: pytest.fail("made again"))
    assert ratio.resolve("make:augmented", given, samples=6) == name
    assert (
        ratio.resolve("make:augmented", dataclasses.replace(given, log_every=1, steps=9), samples=6)
        == name
    ), "a control has no fit"
    changes: list[dict] = [{}, {"labels": 5}, {"label_subset": 1}, {"steps": 3}, {"seed": 1}]
    upright = settings.override(given, {"train.turn": "0"})
    assert ratio.content("augmented", upright, 6) != ratio.content("augmented", given, 6), (
        "where the generator's masks are not turned, its control's are not"
    )
    assert ratio.content("duplicated", upright, 6) == ratio.content("duplicated", given, 6)
    hashes = {ratio.content("spade", dataclasses.replace(given, **c), 6) for c in changes}
    assert (
        len(hashes) == 5
        and ratio.content("spade", dataclasses.replace(given, log_every=1), 6) in hashes
    )
    assert ratio.resolve("my-own-set", given) == "my-own-set" and ratio.resolve(None, given) is None
    with pytest.raises(UserError, match="choose one of make:spade"):
        ratio.resolve("make:up", given)


def test_generated_set_fits_the_trials_frame(given):
    """Catches pairs that are stretched over the pool image: with a zoom they lie in its middle, and
    nothing around them is learnt from.
    """
    given = dataclasses.replace(given, zoom=1.5)
    name = ratio.resolve("make:spade_real_masks", given, samples=5)
    assert name is not None
    made, _, _ = pools.pools(
        "discs",
        given.root,
        Frame(16, 1.5, "centre"),
        labels=4,
        label_subset=0,
        ratio=1.0,
        synthetic=name,
    )
    label = np.asarray(made.synthetic_label_MHW)
    assert (
        label.shape == (4, 24, 24)
        and (label[:, :4] == 255).all()
        and (label[:, :, 20:] == 255).all()
    )
    budget = fit.read_budget(given)
    known = {y.tobytes() for y in budget.labels[budget.shown]}
    assert {y.tobytes() for y in label[:, 4:20, 4:20]} <= known


def test_a_sweep_makes_the_set_of_each_trials_own_budget(given, tmp_path, monkeypatch):
    """Catches a set of one budget that another learns from, ratio 0 run once for every arm, options
    of the fit that are not passed on, a control with a card, and a second start that makes sets
    again.
    """
    asked = []

    def run(trial, folder, **_):
        asked.append(trial)
        folder.mkdir(parents=True)
        (folder / "summary.json").write_text(
            json.dumps({"status": "finished", "last": {"val": {"dice": 0.5}}})
        )
        return SimpleNamespace(summary={"last": {"val": {"dice": 0.5}}})

    monkeypatch.setattr("semiseg.runner.run", run)
    monkeypatch.setattr(
        ratio.cards, "card", lambda folder, data, root, *, steps: {"passed": False, "steps": steps}
    )
    fixed = {
        "data": "discs",
        "root": given.root,
        "image_size": 16,
        "gan.samples": 6,
        "gan.card": 5,
        "gan.steps": 2,
    }
    fixed |= {f"gan.{k}": v for k, v in gan_cases.TINY.items() if k != "image_size"}
    varied = {"labels": [4, 5], "synthetic": ["make:duplicated", "make:spade"], "ratio": [0.0, 1.0]}
    spec = {
        "parameters": {k: {"value": v} for k, v in fixed.items()}
        | {k: {"values": v} for k, v in varied.items()}
    }
    assert len(sweeps.sweep(spec, tmp_path, say=print)) == 6
    assert [(t.labels, t.ratio) for t in asked] == [(n, r) for n in (4, 5) for r in (0.0, 1.0, 1.0)]
    made = [
        ratio.resolve(arm, dataclasses.replace(given, labels=n), samples=6)
        for n in (4, 5)
        for arm in ("make:duplicated", "make:duplicated", "make:spade")
    ]
    assert [t.synthetic for t in asked] == made and len(set(made)) == 4
    cards = {name: store.info(name, given.root).folder / "card.json" for name in made}
    assert {name: file.exists() for name, file in cards.items()} == {
        name: "spade" in name for name in made
    }
    assert json.loads(cards[made[2]].read_text()) == {"passed": False, "steps": 5, "set": made[2]}
    monkeypatch.setattr(ratio.sample, "sample_set", lambda *a, **k: pytest.fail("made again"))
    assert len(sweeps.sweep(spec, tmp_path, say=print)) == 6 and len(asked) == 6
    with pytest.raises(
        UserError, match="sweep: gan.labels: a set is made for the trial's own labels"
    ):
        sweeps.trials({"parameters": spec["parameters"] | {"gan.labels": {"value": 3}}})


def test_the_demos_mixes_differ_from_its_grid_in_what_is_mixed_in_alone(tmp_path):
    """So that they are paired with the grid's supervised runs. Catches a setting changed for one of
    the two, and a subset that the grid has not.
    """
    runs, mixes = (sweeps.trials(spec).values() for spec in demo.plans(tmp_path, 160).values())
    assert {dataclasses.replace(t, ratio=0.0, synthetic=None) for t in mixes} <= set(runs)
    assert {(t.synthetic, t.ratio) for t in mixes} == {
        (arm, r) for arm in ("make:spade", "make:duplicated") for r in (0.5, 1.0)
    }
    assert {t.labels for t in runs} == {4, 16, 64} and len(runs) == 27
