"""2.5D: adjacent slices of a scan as channels."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

import semiseg
from semiseg import config, ragged
from semiseg.data.frame import Frame, neighbours
from semiseg.data.info import StoreInfo
from semiseg.data.pixel_counts import PixelCounts
from semiseg.data.pools import flatten
from semiseg.errors import UserError
from semiseg.evaluate.subject_scores import score_subjects
from semiseg.run_folder import RunFolder
from semiseg.runner.build import model_of
from semiseg.runner.score_split import split_of, write_examples
from semiseg.types import Case

FRAME = {"spacing": "fit", "intensity": "none", "stored": "uint8"}


def scan(places, channels=1):
    """A scan whose slices have the grey values 10 · place (+ channel)."""
    image = np.zeros((len(places), 4, 4, channels), np.uint8)
    for number, place in enumerate(places):
        image[number] = 10 * place
    image += np.arange(channels, dtype=np.uint8)
    label = np.zeros(image.shape[:3], np.uint8)
    return Case("s", "v", image, label, (8.0, 1.0, 1.0), "v")


def test_neighbours_are_those_of_the_scan():
    """Catches neighbours around the ends."""
    assert neighbours(4, 3).tolist() == [
        [0, 0, 1],
        [0, 1, 2],
        [1, 2, 3],
        [2, 3, 3],
    ]
    assert neighbours(2, 5).tolist() == [
        [0, 0, 0, 1, 1],
        [0, 0, 1, 1, 1],
    ]


def test_channels_are_slices_in_order_with_the_image_in_the_middle():
    """Catches channels and slices interleaved the wrong way, an image that moved out of the middle,
    a neighbour of another scan, and prediction that sees other channels than training.
    """
    frame = Frame(4, slices=3, **FRAME)
    wanted = [
        [10, 11, 10, 11, 20, 21],
        [10, 11, 20, 21, 30, 31],
        [20, 21, 30, 31, 30, 31],
    ]
    three = scan([1, 2, 3], channels=2)
    alone = scan([9], channels=2)
    scans = [three, alone]
    pools = frame.to_pools(scans)
    assert len(pools) == 4
    assert {pool.levels.shape for pool in pools} == {(4, 4, 6)}
    corners = [pool.levels[0, 0].tolist() for pool in pools]
    assert corners[:3] == wanted
    assert corners[3] == [90, 91, 90, 91, 90, 91]
    images = [frame.to_pool(case) for case in scans]
    labels = [case.label for case in scans]
    flat = flatten(images, labels, frame).on_device()
    side = jnp.arange(4.0)
    still = jnp.stack(jnp.meshgrid(side, side, indexing="ij"))
    for i, pool in enumerate(pools):
        one = flat.take(i)
        seen = ragged.linear(one.voxels, one.page, one.offset, one.shape, still)
        np.testing.assert_allclose(seen * 255, pool.levels, atol=1e-4)


def test_a_slice_without_a_label_is_still_a_neighbour():
    """Catches neighbours looked for among the annotated slices alone."""
    case = scan([0, 1, 2])
    case.label[1] = 255
    frame = Frame(4, slices=3, **FRAME)
    split = split_of("val", [case], frame, "own")
    assert [case.index for case in split.cases] == [0, 2]
    shown = [image.levels[0, 0].tolist() for image in split.images]
    assert shown == [[0, 0, 10], [10, 20, 20]]


def test_the_network_gets_as_many_channels():
    """Catches a network made for one slice."""
    info = StoreInfo("x", "", ("a", "b"), "mm", 2, "uint8", "", "", (), {}, "", "", "")
    trial = config.Trial(slices=5, image_size=16)
    model = model_of(trial, info)
    assert model.sample.shape == (1, 16, 16, 10)


def test_examples_show_the_middle_slice(tmp_path):
    """Catches a report that shows each slice's neighbour."""
    case = scan([0, 1, 2])
    case.label[:] = 1
    frame = Frame(4, slices=3, **FRAME)
    split = split_of("val", [case], frame, "own")
    masks = [case.label for case in split.cases]
    write_examples(RunFolder(tmp_path), split, masks)
    shown = np.load(tmp_path / "examples.npz")["image"]
    corners = shown[:, 0, 0].tolist()
    assert sorted(corners) == [0, 10, 20]


@pytest.mark.parametrize("slices", [0, 2])
def test_an_even_number_of_slices_has_no_middle(slices):
    """Catches a network that segments a place between two slices."""
    with pytest.raises(UserError, match="slices is"):
        config.override(config.Trial(), {"slices": slices})


def test_a_run_on_three_slices(tiny):
    """Catches a part of a run that still thinks in one slice."""
    trial = dataclasses.replace(tiny, slices=3, steps=2, eval_every=2)
    result = semiseg.run(trial, None, progress=False)
    val = result.summary["last"]["val"]
    assert np.isfinite(val["dice"])


def volume(labelled):
    """A stored scan of three slices, of which ``labelled`` are annotated."""
    numbers = np.arange(60, dtype=np.int16)
    image = numbers.reshape(3, 4, 5, 1)
    label = np.full((3, 4, 5), 255, np.uint8)
    label[labelled] = 1
    return Case(
        subject="s",
        name="v",
        image=image,
        label=label,
        spacing=(8.0, 1.0, 2.0),
        volume="v",
        affine=np.eye(4),
        orientation="LAS",
    )


def test_a_2d_network_takes_the_slices_of_a_stored_scan():
    """Catches a volume that reaches a 2D network whole, slices without their place or their scan,
    and a slice nobody annotated that counts as annotated.
    """
    scans = Frame(4).scans([volume([0, 2])], "own")
    assert [case.name for case in scans] == ["v_slice_0", "v_slice_1", "v_slice_2"]
    assert [case.index for case in scans] == [0, 1, 2]
    assert {case.volume for case in scans} == {"v"}
    assert [case.label is not None for case in scans] == [True, False, True]
    assert scans[1].image.shape == (4, 5, 1)
    assert scans[1].spacing == (8.0, 1.0, 2.0)
    case = volume([0, 2])
    np.testing.assert_array_equal(scans[1].image, case.image[1])
    (whole,) = Frame(4, depth=2).scans([case], "own")
    assert whole.image.shape == (3, 4, 5, 1)


def test_a_split_of_scans_is_scored_as_one_of_slices():
    """Catches scores by slice, and a slice nobody annotated that is scored."""
    case = volume([0, 2])
    split = split_of("val", [case], Frame(4), "own")
    assert [c.index for c in split.cases] == [0, 2]
    masks = [c.label for c in split.cases]
    rows = score_subjects(split.cases, masks, ("background", "organ"), "mm")
    assert {row.value for row in rows if row.metric == "dice"} == {1.0}


def test_counts_of_a_scan_are_those_of_its_slices():
    """Catches a class that is counted once a volume, and slices nobody annotated among them."""
    counts = PixelCounts()
    counts.add(volume([0, 2]))
    assert counts.annotated == 2
    assert counts.images[1] == 2
    assert counts.sizes == {(3, 4, 5)}
