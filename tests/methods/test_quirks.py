"""The named switches for what published code does otherwise: each does what its docstring says, and
nothing when it is off.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import get_opaque_trace_state
from method_cases import KEY, MODEL, NET, ROWS, equal, make_batch

from semiseg import methods as m
from semiseg.methods.parts.terms import entropy

BATCH = make_batch(7)


@dataclasses.dataclass(frozen=True, eq=False)
class Watched:
    """A network that notes what it is shown, whether it normalises by the batch, and whether it may
    drop; not inside a loop.
    """

    seen: list[Any] = dataclasses.field(default_factory=list)
    level: Any = dataclasses.field(default_factory=lambda: get_opaque_trace_state(convention="nnx"))
    linear_head = True

    def apply(self, params, x, *, train, key=None):
        if get_opaque_trace_state(convention="nnx") == self.level:
            self.seen.append((x, train, key is not None))
        return NET.apply(params, x, train=train, key=key)


def watch(method, progress=0.5, batch=BATCH, key=KEY):
    """The loss of one step, what came with it, and of each pass its pictures and its two flags."""
    flags: list[tuple[bool, bool]] = []

    @jax.jit
    def step(params, memory, batch, progress):
        net = Watched()
        value, aux = method.loss(
            MODEL._replace(net=net),
            params,
            memory,
            batch,
            key,
            progress,
        )
        flags[:] = [(train, drops) for _, train, drops in net.seen]
        return value, aux, [x for x, _, _ in net.seen]

    params, memory = method.init(MODEL, KEY)
    value, aux, pictures = step(
        params,
        memory,
        batch,
        jnp.float32(progress),
    )
    return value, aux, [np.asarray(p) for p in pictures], flags


def test_bcp_sums_after_its_pretraining_alone():
    """Catches a sum that also doubles the pre-training, and one that is a mean."""
    mean = ROWS["bcp"].method
    total = dataclasses.replace(ROWS["bcp"].method, total="sum")
    for progress, times in ((0.1, 1), (0.5, 2)):
        assert np.isclose(
            watch(total, progress)[0],
            times * watch(mean, progress)[0],
            rtol=1e-5,
        )


def test_bcp_halves_the_pairs():
    """Catches a half that is pasted both ways, or the wrong one: of the first pair's labelled image
    there is the box, of the second's the frame.
    """
    _, _, (_, outward, inward), _ = watch(
        dataclasses.replace(
            ROWS["bcp"].method,
            pairs="halves",
        )
    )
    image = np.asarray(BATCH.image)
    u = np.asarray(BATCH.weak)
    assert outward.shape == inward.shape == (1, *image.shape[1:])
    known_out = outward[0] == image[0]
    known_in = inward[0] == image[1]
    assert np.all(known_out | (outward[0] == u[0]))
    assert np.all(known_in | (inward[0] == u[1]))
    assert np.array_equal(known_out, ~known_in), "one box serves both"
    assert known_out.sum() == int(image.shape[1] * ROWS["bcp"].method.side) ** 2


@pytest.mark.parametrize("name", ["mean_teacher", "uamt"])
def test_the_teacher_sees_clipped_noise(name):
    """Catches noise on the student, none on the teacher, and noise without bounds."""
    for noise in (0.0, 0.5):
        _, _, pictures, flags = watch(
            dataclasses.replace(
                ROWS[name].method,
                noise=noise,
            )
        )
        shown = [p for p, (train, _) in zip(pictures, flags, strict=True) if not train][
            0
        ] - np.asarray(BATCH.weak)
        assert np.abs(shown).max() <= 2 * noise + 1e-6
        assert not noise or 0.8 * noise < shown.std() < noise
        assert any(np.array_equal(p, BATCH.strong) for p in pictures), (
            "the student sees its view as it is"
        )


@pytest.mark.parametrize("name", ["mean_teacher", "bcp"])
def test_a_teacher_in_training_mode(name):
    """Catches a teacher that keeps its statistics where published code normalises by the batch, or
    drops nothing there.
    """
    flags = {
        train: watch(dataclasses.replace(ROWS[name].method, teacher_train=train))[3]
        for train in (False, True)
    }
    assert flags[False].count((False, False)) == 1
    assert flags[True].count((False, False)) == 0
    assert all(f == (True, True) for f in flags[True])


@pytest.mark.parametrize("name", [n for n in ROWS if n not in ("supervised", "bcp", "sdcl")])
def test_statistics_follow_all_images_when_asked(name):
    """Catches statistics of the labelled images under "all", and a loss that depends on which."""
    method = ROWS[name].method
    values, states = zip(
        *(
            (
                value,
                aux.state["net"]
                if isinstance(aux.state, dict) and "net" in aux.state
                else aux.state,
            )
            for value, aux, *_ in (
                watch(dataclasses.replace(method, statistics=kind)) for kind in ("labelled", "all")
            )
        ),
        strict=True,
    )
    np.testing.assert_allclose(values[0], values[1], rtol=1e-5)
    means = [[x for x in jax.tree.leaves(state) if x.size] for state in states]
    assert any(not np.allclose(a, b, atol=1e-5) for a, b in zip(*means, strict=True))


def test_mean_teacher_starts_when_it_is_told():
    """Catches a term that acts before its start, and one that never does."""
    method = dataclasses.replace(ROWS["mean_teacher"].method, start=0.3)
    for progress in (0.2, 0.4):
        value, aux, *_ = watch(method, progress)
        assert (value == aux.metrics["supervised"]) == (progress < 0.3)


def test_uamt_rejects_more_by_the_entropy_of_two_classes():
    """Catches a bound of ln K under either name: a teacher that knows nothing of three classes is
    beyond ln 2.
    """
    certain = {
        kind: watch(m.UAMT(largest_entropy=kind), 0.999)[1].metrics["certain"]
        for kind in ("classes", "binary")
    }
    assert certain["binary"] < 0.5 < certain["classes"], certain


def test_uamt_rejects_a_pixel_torn_between_two_of_four_classes():
    """Catches a bound that is above ln 2 by default, and one that has risen before the training
    ends.
    """
    torn = jnp.array([0.5, 0.5, 0.0, 0.0])
    sure = jnp.array([0.9, 0.1, 0.0, 0.0])
    method = m.UAMT(ramp=1e-6)
    for progress in (0.0, 0.5, 0.99):
        bound = method.bound(4, jnp.float32(progress))
        assert entropy(sure) < bound < entropy(torn)
    assert method.bound(4, jnp.float32(0.5)) < 0.85 * np.log(2)


def test_unimatch_draws_both_views_from_the_weak_one():
    """Catches the trainer's strong view under the published code's switch, and one draw for both
    views.
    """
    still = dataclasses.replace(
        ROWS["unimatch"].method, student_view="jitter", cutmix=0.0, jitter=0.0, blur=0.0
    )
    _, _, (_, weak, one, two), _ = watch(still)
    assert np.array_equal(weak, BATCH.weak)
    assert np.array_equal(one, weak)
    assert np.array_equal(two, weak)
    _, _, (_, weak, one, two), _ = watch(dataclasses.replace(still, jitter=1.0))
    assert not any(
        np.array_equal(a, b)
        for a, b in ((one, weak), (two, weak), (one, two), (one, BATCH.strong), (two, BATCH.strong))
    )


def test_the_student_is_evaluated_when_asked():
    """Catches an average under the name of the last iterate."""
    for name in ("mean_teacher", "bcp", "cps"):
        for evaluate, which in (("teacher", 1), ("student", 0)):
            method = dataclasses.replace(ROWS[name].method, evaluate=evaluate)
            params, memory = method.init(MODEL, KEY)
            moved = jax.tree.map(lambda x: x + 1, params)
            net = moved["net"] if isinstance(moved, dict) else moved
            assert equal(
                method.final(moved, memory),
                (net, memory["teacher"])[which],
            )
