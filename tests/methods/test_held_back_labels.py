"""Scrambling the held-back labels changes no bit of any method's training: they are read by the
diagnostics alone.

For every method, the step's own data flow is followed: no number of the state after a step is
computed from the held-back labels. For some, and for all with SEMISEG_ALL_RUNS=1 (minutes), it is
trained twice.
"""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.interpreters import partial_eval
from method_cases import MODEL, ROWS

from semiseg.augment import Augmentation
from semiseg.config import Trial
from semiseg.data.pools import of_arrays
from semiseg.methods import METHODS
from semiseg.ragged import labels_of_dense
from semiseg.runner.build import knobs_of
from semiseg.train import program
from semiseg.types import IGNORE

SIDE = MODEL.sample.shape[1]
IMAGES = 6
STEPS = 4
RUNS = ("fixmatch", "self_training", "bcp", "ad_mt")
"""Pseudo-labels, a fresh student, pasted labels, drawn turns."""


def set_up(name):
    """A program, its knobs, the state at the start, and pools with their true labels."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, (IMAGES, SIDE, SIDE)).astype(np.uint8)
    image = rng.integers(0, 256, (IMAGES, SIDE, SIDE, 1)).astype(np.uint8)
    shown = np.arange(IMAGES) < 2
    given = np.where(
        shown[:, None, None],
        truth,
        np.uint8(IGNORE),
    )
    pools = of_arrays(image, given, shown)
    voxels = pools.image.voxels
    model = MODEL._replace(
        pool=jax.ShapeDtypeStruct(
            voxels.shape,
            voxels.dtype,
        )
    )
    trial = Trial(
        method=ROWS[name].method,
        augment=Augmentation(),
        steps=STEPS,
    )
    knobs = jax.tree.map(jnp.float32, knobs_of(trial))
    return (
        program.Program(
            model,
            SIDE,
            4,
            "adamw",
            "poly",
        ),
        knobs,
        pools,
        truth,
    )


def depends_on_held_back_labels(compiled_in, knobs, pools, truth):
    """Whether any number of the state after a step is computed from the held-back labels."""
    hidden = labels_of_dense(truth)
    state = jax.eval_shape(
        lambda: program.start(
            compiled_in,
            knobs,
            jnp.uint32(0),
        )
    )

    def step(hidden, pools, state):
        made = pools._replace(hidden=hidden)
        return program.one_step(
            compiled_in,
            knobs,
            jax.random.key(0),
            made,
            state,
        )[0]

    traced = jax.make_jaxpr(step)(hidden, pools, state)
    _, used = partial_eval.dce_jaxpr(
        traced.jaxpr,
        [True] * len(traced.jaxpr.outvars),
    )
    assert any(used), "the state depends on nothing"
    return used[0]


@pytest.mark.parametrize("name", list(METHODS))
def test_no_number_of_the_state_is_made_of_held_back_labels(name):
    """Catches a method, or a diagnostic, that lets them into weights, memory or optimiser."""
    assert not depends_on_held_back_labels(*set_up(name))


def test_a_state_that_is_made_of_them_is_seen(monkeypatch):
    """The mutant of the test above: a batch whose labels are the held-back ones."""
    draw = program.draw

    def leaky(pools, *args, **kwargs):
        return draw(
            pools._replace(label=pools.hidden),
            *args,
            **kwargs,
        )

    monkeypatch.setattr(program, "draw", leaky)
    assert depends_on_held_back_labels(*set_up("supervised"))


@pytest.mark.parametrize(
    "name",
    list(METHODS) if os.environ.get("SEMISEG_ALL_RUNS") else RUNS,
)
def test_scrambled_held_back_labels_change_no_bit(name):
    """Two trainings, one with other held-back labels: the same state, bit for bit."""
    compiled_in, knobs, pools, truth = set_up(name)
    scrambled = (
        np.random.default_rng(1)
        .integers(
            0,
            3,
            truth.shape,
        )
        .astype(np.uint8)
    )
    states = []
    accuracies = []
    for labels in (truth, scrambled):
        made = pools._replace(hidden=labels_of_dense(labels))
        start = program.start(
            compiled_in,
            knobs,
            jnp.uint32(0),
        )
        state, metrics = program.chunk(
            compiled_in, knobs, jnp.uint32(0), made, start, jnp.int32(STEPS)
        )
        states.append([np.asarray(x) for x in jax.tree.leaves(state)])
        accuracies.append(float(metrics.get("pseudo_accuracy", jnp.nan)))
    assert all(np.array_equal(a, b) for a, b in zip(*states, strict=True))
    assert accuracies[0] != accuracies[1], "the diagnostics read nothing"
