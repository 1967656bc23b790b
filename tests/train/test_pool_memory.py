"""A set that is larger than the memory it is trained from."""

import dataclasses

import jax
import numpy as np
import pytest

from semiseg import devices, run
from semiseg.data.pools import pools
from semiseg.data.rotating import BLOCK, Draws, bytes_of, divided
from semiseg.data.rotation import ROUND, Ring, Segment, circle, usable
from semiseg.errors import UserError
from semiseg.methods import MeanTeacher, Supervised, TemporalEnsembling
from semiseg.ragged import PAGE
from semiseg.train.stream import Stream
from semiseg.types import IGNORE

DRAWS = Draws(labelled=2, unlabelled=2, pixels=24 * 24)


@pytest.fixture(scope="module")
def trial(tiny):
    return dataclasses.replace(
        tiny, method=MeanTeacher(), labels=1, pool_memory="12KB", checkpoint_seconds=0.0
    )


def rotating(trial, **changes):
    trial = dataclasses.replace(trial, **changes)
    made, _, training = pools(
        trial.data,
        trial.root,
        trial.frame,
        labels=trial.labels,
        label_subset=trial.label_subset,
        memory=trial.pool_memory,
        by=trial.draw_by,
    )
    return made, training


# ------------------------------------------------------------------ the schedule
@pytest.mark.parametrize("seed", range(6))
def test_every_scan_has_its_share_and_its_place(seed):
    """Catches a window whose speed or length favours large scans, and two scans in one place."""
    rng = np.random.default_rng(seed)
    number = int(rng.integers(12, 30))
    size = rng.integers(1, 20, number) if seed % 2 else np.full(number, 7)
    weight = rng.random(number) + 0.2
    room = int(size.sum() // 2)
    segments = [Segment(3, 3 + room // 2), Segment(1000, 1000 + room - room // 2)]
    made = circle(weight, size, usable(segments, size), 40, [seed])
    ring = Ring(segments)
    share = np.zeros(number)
    for event in range(round(20 * ROUND / made.move)):
        places = made.at(event)
        ring.move(places, size)
        taken = []
        for place in places:
            share[place.scan] += place.share
            begin = ring.blocks[place.turn]
            end = begin + int(size[place.scan])
            assert any(s.begin <= begin and end <= s.end for s in segments)
            taken += range(begin, end)
        assert len(taken) == len(set(taken))
    np.testing.assert_allclose(share / share.sum(), weight / weight.sum(), rtol=0.03)


def test_units_are_read_and_nonsense_is_refused():
    assert bytes_of("4GB") == 4_000_000_000
    assert bytes_of("0.5 mib") == 2**19
    for stated in ("4", "0GB", "-1GB", "four GB", "GB", "4 GB more"):
        with pytest.raises(UserError, match="such as 4GB or 500MB"):
            bytes_of(stated)


# ------------------------------------------------------------------ what is on the device
@pytest.mark.parametrize("page", [PAGE, 12 * BLOCK])
def test_what_can_be_drawn_is_there_with_its_own_labels(trial, page):
    """Catches a table that is not moved with its scan, and labels outside the budget."""
    made, training = rotating(trial)
    mesh = devices.mesh(2, 2)
    stream = Stream(made, divided(made, DRAWS, 0, page), mesh)
    seen = set()
    for step in (0, 10, 20, 30, 200, 90):
        there = stream.at(step)
        for choice in (there.labelled, there.unlabelled):
            for i in np.asarray(choice.images)[: int(choice.number)].tolist():
                seen.add(i)
                place = int(there.image.page[i]), int(there.image.offset[i, 0])
                number = int(made.flat.size[i])
                where = place[0], slice(place[1], place[1] + number)
                assert np.array_equal(
                    np.asarray(there.image.voxels)[where].reshape(-1),
                    training.flat.image(i).reshape(-1),
                )
                label = training.flat.label(i).reshape(-1)
                assert np.array_equal(np.asarray(there.hidden)[where], label)
                shown = label if made.labelled[i] else np.full(number, IGNORE)
                assert np.array_equal(np.asarray(there.label)[where], shown)
    stream.close()
    assert int(there.image.voxels.size) <= bytes_of(trial.pool_memory) / 3
    assert len(seen) == len(training.cases)


def test_all_budgets_have_one_shape_and_a_small_one_stays(trial):
    shapes = set()
    for labels, memory in ((1, "15KB"), (4, "15KB"), (0, "15KB")):
        made, _ = rotating(trial, labels=labels, pool_memory=memory)
        division = divided(made, DRAWS, 0)
        stream = Stream(made, division, devices.mesh(2, 2))
        shapes.add(tuple(leaf.shape for leaf in jax.tree.leaves(stream.at(0))))
        stream.close()
        assert bool(division.resident) == (labels == 1)
    assert len(shapes) == 1


def test_too_small_a_memory_is_refused_with_one_that_works(trial):
    made, _ = rotating(trial, pool_memory="3KB")
    with pytest.raises(UserError, match="set .*KB or more") as refused:
        divided(made, DRAWS, 0)
    enough = str(refused.value).split("set ")[1].split(" ")[0]
    assert divided(dataclasses.replace(made, stated=enough), DRAWS, 0).lanes
    with pytest.raises(UserError, match="leave out --pool-memory"):
        run(dataclasses.replace(trial, method=TemporalEnsembling()), progress=False)


# ------------------------------------------------------------------ training
def test_a_memory_that_holds_everything_trains_as_without(trial):
    trial = dataclasses.replace(trial, method=Supervised(), steps=5)
    whole = run(dataclasses.replace(trial, pool_memory="1MB"), progress=False)
    plain = run(dataclasses.replace(trial, pool_memory=None), progress=False)
    for one, other in zip(
        jax.tree.leaves(whole.params), jax.tree.leaves(plain.params), strict=True
    ):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_a_resumed_run_is_bit_identical(trial, tmp_path):
    """The second part begins between two exchanges of scans."""
    trial = dataclasses.replace(trial, steps=30, eval_every=15, log_every=15)

    def stop(dice):
        raise KeyboardInterrupt

    through = run(trial, tmp_path / "through", progress=False)
    with pytest.raises(KeyboardInterrupt):
        run(dataclasses.replace(trial, log_every=3), tmp_path / "cut", progress=False, watch=stop)
    resumed = run(trial, tmp_path / "cut", progress=False)
    assert (tmp_path / "cut" / "metrics.jsonl").read_text().count("\n") > 2
    for one, other in zip(
        jax.tree.leaves(through.params), jax.tree.leaves(resumed.params), strict=True
    ):
        np.testing.assert_array_equal(one, other)
