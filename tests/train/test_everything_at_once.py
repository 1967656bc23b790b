"""Folds, a synthetic set, initial weights and a pool that rotates, in one run."""

import dataclasses
import re
import shutil

import jax
import numpy as np
import pytest
from PIL import Image

import semiseg
from semiseg.data import importing, provenance
from semiseg.data import pools as pool
from semiseg.errors import UserError
from semiseg.pretrain import Weights


@pytest.fixture(scope="module")
def trial(tiny, tmp_path_factory):
    """A fold with all of them: its set was made from the other folds, as its weights were."""
    place = tmp_path_factory.mktemp("all")
    root = place / "stores"
    shutil.copytree(tiny.root, root)
    split = pool.training("discs", root, tiny.frame, folds=3, fold=1)
    subjects = sorted({case.subject for case in split.cases})
    origin = provenance.of_training(split.info, subjects, held_out=split.held_out)
    generate(place / "made", origin)
    importing.import_set("folder", place / "made", "made", root, False, splits="train")
    trial = dataclasses.replace(
        tiny,
        root=str(root),
        folds=3,
        fold=1,
        labels=2,
        steps=12,
        log_every=12,
        synthetic="made",
        ratio=1.0,
    )
    semiseg.run(trial, place / "first", progress=False)
    return dataclasses.replace(trial, init=Weights(str(place / "first")))


def generate(folder, origin):
    """Two pairs, and what they were made from."""
    rng = np.random.default_rng(3)
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
    for i in range(2):
        label = (rng.random((40, 36)) < 0.2).astype(np.uint8)
        image = (rng.integers(0, 99, label.shape) + 100 * label).astype(np.uint8)
        for kind, pixels in (("images", image), ("labels", label)):
            Image.fromarray(pixels).save(folder / kind / f"made{i}.png")
    provenance.write(folder / provenance.ORIGIN, origin)


def trained(trial, memory):
    return semiseg.run(dataclasses.replace(trial, pool_memory=memory), progress=False)


def test_all_at_once_trains_as_it_does_on_a_resident_pool(trial):
    """Catches a part of a run that is left out or drawn otherwise where the unlabelled scans
    rotate and the label budget and the synthetic set stay.
    """
    plain = trained(trial, None)
    with pytest.raises(UserError, match="set .*KB or more") as refused:
        trained(trial, "2KB")
    least = re.search(r"set ([\d.]+KB) or more", str(refused.value))[1]
    rotating = trained(trial, least)
    assert is_equal(rotating.params, plain.params)
    for key in ("labelled_subjects", "provenance", "init"):
        assert rotating.summary[key] == plain.summary[key]
    assert plain.summary["provenance"] == "recorded"
    without = trained(dataclasses.replace(trial, ratio=0.0), least)
    assert not is_equal(without.params, plain.params)


def is_equal(these, others):
    pairs = zip(jax.tree.leaves(these), jax.tree.leaves(others), strict=True)
    return all(np.array_equal(one, other) for one, other in pairs)
