"""Sets made for a trial's budget: from that budget alone, once, under a name that changes with whatever they are made from."""

import dataclasses

import gan_cases
import numpy as np
import pytest

from semiseg.data import pools, store
from semiseg.data.frame import Frame
from semiseg.errors import UserError
from semiseg.generators import fit, ratio, settings
from semiseg.generators.settings import Settings


@pytest.fixture
def given(root, monkeypatch) -> Settings:
    monkeypatch.setattr(fit.programs, "chunk", gan_cases.chunk)
    names = {**gan_cases.TINY, "data": "discs", "root": root, "labels": 4, "steps": 2, "log_every": 2}
    return settings.override(Settings(), names)


@pytest.mark.parametrize("kind", ratio.CONTROLS)
def test_controls_are_made_from_the_budget_alone(given, kind):
    """Catches a control that reads a hidden pair: with every pair outside the budget replaced it makes the same set, and another seed another one."""
    budget = fit.read_budget(given)
    hidden = np.setdiff1d(np.arange(len(budget.images)), budget.shown)
    images, labels = budget.images.copy(), budget.labels.copy()
    images[hidden], labels[hidden] = 7, 1
    poisoned = dataclasses.replace(budget, images=images, labels=labels)
    made = lambda b, seed=0: [(i.tobytes(), y.tobytes()) for i, y in ratio.control(kind, b, 12, seed)]
    assert len(hidden) == 4 and made(budget) == made(poisoned)
    own = {(budget.images[i].tobytes(), budget.labels[i].tobytes()) for i in budget.shown}
    if kind == "duplicated":
        assert set(made(budget)) == own and made(budget)[:4] == made(budget)[4:8]
    else:
        assert len(set(made(budget)) - own) >= 4 and made(budget, 1) != made(budget)


def test_set_is_made_once_for_what_it_is_made_from(given, monkeypatch):
    """Catches a set reused for another budget, subset, frame or fit, and one made again for the same."""
    name = ratio.resolve("make:augmented", given, samples=6)
    assert name is not None and store.info(name, given.root).counts["train"]["records"] == 5
    monkeypatch.setattr(store, "import_set", lambda *a, **k: pytest.fail("made again"))
    assert ratio.resolve("make:augmented", given, samples=6) == name
    assert ratio.resolve("make:augmented", dataclasses.replace(given, log_every=1, steps=9), samples=6) == name, "a control has no fit"
    changes: list[dict] = [{}, {"labels": 5}, {"label_subset": 1}, {"steps": 3}, {"seed": 1}]
    hashes = {ratio.content("spade", dataclasses.replace(given, **c), 6) for c in changes}
    assert len(hashes) == 5 and ratio.content("spade", dataclasses.replace(given, log_every=1), 6) in hashes
    assert ratio.resolve("my-own-set", given) == "my-own-set" and ratio.resolve(None, given) is None
    with pytest.raises(UserError, match="choose one of make:spade"):
        ratio.resolve("make:up", given)


def test_generated_set_fits_the_trials_frame(given):
    """Catches pairs that are stretched over the pool image: with a zoom they lie in its middle, and nothing around them is learnt from."""
    given = dataclasses.replace(given, zoom=1.5)
    name = ratio.resolve("make:spade_real_masks", given, samples=5)
    assert name is not None
    made, _, _ = pools.pools("discs", given.root, Frame(16, 1.5, "centre"), labels=4, label_subset=0, ratio=1.0, synthetic=name)
    label = np.asarray(made.synthetic_label_MHW)
    assert label.shape == (4, 24, 24) and (label[:, :4] == 255).all() and (label[:, :, 20:] == 255).all()
    budget = fit.read_budget(given)
    known = {y.tobytes() for y in budget.labels[budget.shown]}
    assert {y.tobytes() for y in label[:, 4:20, 4:20]} <= known
