"""The even average of the last iterates: which they are, and that nothing else changes."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from semiseg.methods import METHODS, Supervised
from semiseg.runner import run
from semiseg.runner.build import knobs_of, program_of
from semiseg.runner.job import prepare
from semiseg.train import late, segmenter
from semiseg.train import program as programs
from semiseg.types import Params


def leaves(params):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(params)]


@pytest.fixture(scope="module")
def trial(tiny):
    """Evaluated after each of its eight steps, by the last iterate itself."""
    method = Supervised(decay=0.0)
    return dataclasses.replace(tiny, method=method, steps=8, eval_every=1, log_every=4)


def evaluated(trial, monkeypatch, **changes):
    """What a run evaluates after each step, and what it ends with."""
    seen = []
    final = segmenter.programs.final

    def kept(*arguments):
        seen.append(leaves(final(*arguments)))
        return final(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(segmenter.programs, "final", kept)
        ended = run(dataclasses.replace(trial, **changes), progress=False)
    return seen[: trial.steps], leaves(ended.params)


def test_a_share_of_the_training_is_averaged_evenly():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(9, 4)).astype(np.float32)
    average = late.nothing(Params(jnp.zeros(4), jnp.ones(4)))
    for i, value in enumerate(values):
        params = Params(jnp.asarray(value), jnp.asarray(-value))
        average = late.grown(average, params, jnp.float32((i + 1) / 9), 1 / 3)
    np.testing.assert_allclose(average.average.weights, values[6:].mean(0), rtol=1e-6)
    np.testing.assert_allclose(average.average.state, -values[6:].mean(0), rtol=1e-6)


def test_before_the_last_share_the_method_decides():
    average = late.nothing(Params(jnp.zeros(2), ()))
    average = late.grown(average, Params(jnp.ones(2), ()), jnp.float32(0.5), 0.5)
    other = Params(jnp.full(2, 7.0), ())
    np.testing.assert_array_equal(late.chosen(average, other).weights, 7.0)


def test_a_fresh_network_begins_a_fresh_average():
    average = late.nothing(Params(jnp.zeros(2), ()))
    for value, anew in ((1.0, False), (3.0, False), (10.0, True), (20.0, False)):
        params = Params(jnp.full(2, value), ())
        average = late.grown(average, params, jnp.float32(0.9), 0.5, jnp.bool_(anew))
    np.testing.assert_allclose(average.average.weights, 15.0)


# ------------------------------------------------------------------ a training
def test_a_run_ends_with_the_mean_of_its_last_iterates(trial, monkeypatch):
    plain, last = evaluated(trial, monkeypatch)
    averaged, ended = evaluated(trial, monkeypatch, average_last=0.5)
    for one, other in zip(plain[3], averaged[3], strict=True):  # nothing is averaged yet
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)
    for i, found in enumerate(ended):
        mean = np.mean([params[i] for params in plain[4:]], 0)
        np.testing.assert_allclose(found, mean, rtol=1e-3, atol=1e-4)
    assert any(np.abs(a - b).max() > 1e-3 for a, b in zip(last, ended, strict=True))


def test_all_shares_have_one_program(trial):
    """Catches a sweep over shares that compiles each anew."""
    job = prepare(trial)
    shares = (0.0, 0.2, 0.5)
    none, *some = (
        program_of(dataclasses.replace(trial, average_last=share), job.model) for share in shares
    )
    assert some[0] == some[1] != none


@pytest.mark.slow
def test_a_resumed_run_averages_as_if_never_cut(trial, tmp_path):
    trial = dataclasses.replace(trial, average_last=0.5, eval_every=6, checkpoint_seconds=0)
    through = run(trial, tmp_path / "through", progress=False)

    def stop(dice):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(trial, tmp_path / "cut", progress=False, watch=stop)
    resumed = run(trial, tmp_path / "cut", progress=False)
    for one, other in zip(leaves(through.params), leaves(resumed.params), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_a_network_to_average(name, tiny):
    """Catches a method whose networks the average does not fit."""
    trial = dataclasses.replace(tiny, method=METHODS[name](), average_last=0.5)
    job = prepare(trial)
    pool = jax.ShapeDtypeStruct(job.pools.image.voxels.shape, jnp.uint8)
    program = program_of(trial, job.model._replace(pool=pool))
    knobs = jax.tree.map(jnp.float32, knobs_of(trial))

    def ended(seed):
        state = programs.start(program, knobs, seed)
        return programs.final(program, knobs, state), state.late.average

    final, average = jax.eval_shape(ended, jnp.uint32(0))
    assert jax.tree.map(jnp.shape, final) == jax.tree.map(jnp.shape, average)
