"""Pseudo-labels compared with hidden labels: the figures by hand, and proof that training cannot
see them.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from semiseg import augment
from semiseg.config import Trial
from semiseg.data import pools as made
from semiseg.data import training_split
from semiseg.data.frame import Frame
from semiseg.data.pools import of_arrays
from semiseg.methods import MeanTeacher
from semiseg.nets import UNet
from semiseg.ragged import labels_of_dense, of_dense
from semiseg.runner.build import knobs_of
from semiseg.train import diagnostics, program
from semiseg.train.draw import Windows, draw
from semiseg.types import IGNORE, Batch, Model, Pseudo

N = 6
SIDE = 16


def test_figures_by_hand():
    """Four known pixels of one unknown; catches accuracy over rejected pixels, recall by the class
    given, ECE without its absolute value.
    """
    p = jnp.array([[[[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.4, 0.6], [0.0, 1.0]]]])
    truth = jnp.array([[[0, 1, 1, 1, IGNORE]]])
    accepted = jnp.array([[[True, True, True, False, True]]])
    student = jnp.array([[[[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]]])
    found = {
        k: float(v)
        for k, v in diagnostics.summary(
            diagnostics.count(Pseudo(p, accepted, student), truth)
        ).items()
    }
    wanted = {
        "pseudo_accepted": 3 / 4,
        "pseudo_accepted_0": 1,
        "pseudo_accepted_1": 1 / 2,
        "pseudo_accuracy": 2 / 3,
        "pseudo_accuracy_0": 1 / 2,
        "pseudo_accuracy_1": 1,
        "pseudo_recall": 2 / 4,
        "pseudo_recall_0": 1,
        "pseudo_recall_1": 1 / 3,
        "pseudo_ece": (0.1 + 0.8 + 0.3 + 0.4) / 4,
        "pseudo_ece_0": (0.1 + 0.8) / 2,
        "pseudo_ece_1": (0.3 + 0.4) / 2,
        "pseudo_gap": 2 / 4,
        "pseudo_gap_0": 1 / 2,
        "pseudo_gap_1": 1 / 2,
        "pseudo_lead": 0.0,
        "pseudo_lead_0": -1 / 2,
        "pseudo_lead_1": 1 / 2,
    }
    assert found.keys() == wanted.keys()
    np.testing.assert_allclose(
        [found[k] for k in wanted], list(wanted.values()), rtol=1e-5, atol=1e-6
    )


def test_nothing_known_counts_nothing():
    """Catches IGNORE counted as a class: shares are NaN, which a log line leaves out."""
    counts = diagnostics.count(
        Pseudo(
            jnp.full((1, 2, 2, 2), 0.5),
            jnp.ones((1, 2, 2), bool),
        ),
        jnp.full((1, 2, 2), IGNORE),
    )
    assert all(float(jnp.abs(c).sum()) == 0 for c in counts.values())
    assert all(np.isnan(v) for v in diagnostics.summary(counts).values())


def test_hidden_labels_follow_the_view():
    """A view one row down and two columns right of its pool image. Catches rows for columns, and a
    label from outside the frame.
    """
    hidden = jnp.arange(3 * 6 * 6).reshape(3, 6, 6) % 251
    grid = jnp.stack(
        jnp.meshgrid(
            jnp.arange(4.0) + 1,
            jnp.arange(4.0) + 2,
            indexing="ij",
        )
    )[None]
    none = jnp.zeros((1, 4, 4, 1))
    batch = Batch(
        none,
        none[..., 0],
        none,
        none,
        jnp.ones((1, 4, 4), bool).at[0, 3].set(False),
        jnp.array([1]),
        grid,
    )
    batch = batch._replace(layout=of_dense(hidden[..., None]).take(batch.place))
    found = diagnostics.hidden_labels(labels_of_dense(hidden), batch, 3)
    np.testing.assert_array_equal(found[0, :3], hidden[1, 1:4, 2:6])
    assert np.all(found[0, 3] == IGNORE)


@pytest.fixture(scope="module")
def train():
    """Train four steps on pools and give back the state and the metrics."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, (N, SIDE, SIDE)).astype(np.uint8)
    shown = np.arange(N) < 2
    given = np.where(shown[:, None, None], truth, np.uint8(IGNORE))
    image = rng.integers(0, 256, (N, SIDE, SIDE, 1)).astype(np.uint8)
    pools = of_arrays(image, given, shown)
    model = Model(
        UNet(widths=(4, 8), convs=1, norm="batch"),
        jax.ShapeDtypeStruct((1, SIDE, SIDE, 1), np.float32),
        3,
    )
    p = program.Program(model, SIDE, 4, "sgd", "poly")
    knobs = jax.tree.map(
        jnp.float32,
        knobs_of(Trial(method=MeanTeacher(ramp=1e-6), augment=augment.none(), steps=4)),
    )

    def run(hidden, labels=None):
        made = pools._replace(hidden=None if hidden is None else labels_of_dense(hidden))
        if labels is not None:
            made = made._replace(label=labels_of_dense(labels))
        return program.chunk(
            p, knobs, jnp.uint32(0), made, program.start(p, knobs, jnp.uint32(0)), jnp.int32(4)
        )

    return run, truth, given


def check_unreadable(run, truth, given, leak=False):
    """Poisoned hidden labels change the diagnostics and not one bit of the training; ``leak`` hands
    them to the labelled pool.
    """
    poison = np.where(given == IGNORE, np.uint8(1), truth)
    a, metrics = run(truth, truth if leak else None)
    b, other = run(poison, poison if leak else None)
    assert metrics["pseudo_accuracy"] != other["pseudo_accuracy"]
    assert all(
        np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


def test_hidden_labels_cannot_be_read(train):
    """Catches a batch, a loss or a pool that holds a label outside the budget; the mutant draws its
    labelled images from everywhere.
    """
    run, truth, given = train
    check_unreadable(run, truth, given)


def test_a_leak_would_be_seen(train):
    """The mutant of the test above: labels that depend on the hidden ones, on images that are drawn
    as labelled.
    """
    run, truth, given = train
    with pytest.raises(AssertionError):
        check_unreadable(
            run,
            np.roll(truth, 1, 0),
            np.full_like(given, IGNORE),
            leak=True,
        )


def check_pools(tiny, monkeypatch, labels):
    """Every array that a batch is drawn from, but for the diagnostics' own, is the same where other
    labels of the store are written over.
    """
    clean = made.pools(
        "discs",
        tiny.root,
        Frame(16),
        labels=labels,
        label_subset=0,
    )
    shown = set(clean[1].subjects)
    training = training_split._training

    def poisoned(*args):
        data = training(*args)
        labels = data.flat.labels.copy()
        for i, case in enumerate(data.cases):
            if case.subject not in shown:
                labels[data.flat.where(i)] = 1 - labels[data.flat.where(i)]
        return dataclasses.replace(data, flat=dataclasses.replace(data.flat, labels=labels))

    monkeypatch.setattr(training_split, "_training", poisoned)
    monkeypatch.setattr(made, "_with_synthetic", made._with_synthetic.__wrapped__)
    dirty = made.pools(
        "discs",
        tiny.root,
        Frame(16),
        labels=labels,
        label_subset=0,
    )[0]
    assert not np.array_equal(clean[0].hidden, dirty.hidden), "nothing was written over"
    drawn = [pools._replace(hidden=None) for pools in (clean[0], dirty)]
    leaves = zip(*map(jax.tree.leaves, drawn), strict=True)
    assert all(np.array_equal(x, y) for x, y in leaves)


def test_no_batch_of_any_method_holds_a_label_outside_the_budget(tiny, monkeypatch):
    """For every method at once, since all it is handed is a batch: (1) poisoned labels outside the
    budget change none of the arrays a batch is drawn from, (2) the draw does not touch the hidden
    ones, here an object that is no array. Catches a pool that keeps labels beyond its budget.
    """
    check_pools(tiny, monkeypatch, labels=3)
    clean, _, _ = made.pools("discs", tiny.root, Frame(16), labels=3, label_subset=0)
    pools = jax.eval_shape(lambda: clean._replace(hidden=None))

    def look(hidden):
        return lambda pools, key: draw(
            pools._replace(hidden=hidden),
            key,
            augment.none(),
            0.5,
            labelled=2,
            unlabelled=2,
            windows=Windows(SIDE),
        )

    batch, _ = jax.eval_shape(
        look(object()),
        pools,
        jax.random.key(0),
    )
    assert set(Batch._fields) == {
        "image",
        "label",
        "weak",
        "strong",
        "valid",
        "place",
        "coordinates",
        "weight",
        "layout",
        "hidden",
    }
    assert batch.label.shape[0] == 2


def test_a_pool_beyond_its_budget_would_be_seen(tiny, monkeypatch):
    """The mutant of the test above: pools that hide no label."""
    everything = made.Pools
    monkeypatch.setattr(
        made, "Pools", lambda **arrays: everything(**{**arrays, "label": arrays["hidden"]})
    )
    with pytest.raises(AssertionError):
        check_pools(tiny, monkeypatch, labels=3)


def test_diagnostics_change_no_bit_of_training(train):
    """Catches a diagnostic that takes part in the gradient, or that makes XLA round otherwise."""
    run, truth, _ = train
    with_, metrics = run(truth)
    without, bare = run(None)
    assert all(
        np.array_equal(x, y)
        for x, y in zip(jax.tree.leaves(with_), jax.tree.leaves(without), strict=True)
    )
    assert not any(k.startswith("pseudo_") for k in bare)
    assert {k for k in metrics if not k.startswith("pseudo_")} == set(bare)
    assert all(np.array_equal(metrics[k], bare[k]) for k in bare)
