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
    values = 10 * np.array(places, np.uint8)[:, None, None, None]
    image = (
        np.zeros(
            (len(places), 4, 4, channels),
            np.uint8,
        )
        + values
    )
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
    pools = frame.to_pools(
        [
            scan([1, 2, 3], channels=2),
            scan([9], channels=2),
        ]
    )
    assert [pool.levels.shape for pool in pools] == [(4, 4, 6)] * 4
    assert [pool.levels[0, 0].tolist() for pool in pools[:3]] == wanted
    assert pools[3].levels[0, 0].tolist() == [90, 91] * 3
    scans = [
        scan([1, 2, 3], channels=2),
        scan([9], channels=2),
    ]
    labels = [case.label for case in scans]
    flat = flatten(
        [frame.to_pool(case) for case in scans],
        labels,
        frame,
    ).on_device()
    for i, pool in enumerate(pools):
        one = flat.take(i)
        still = jnp.stack(
            jnp.meshgrid(
                *map(jnp.arange, (4.0, 4.0)),
                indexing="ij",
            )
        )
        seen = ragged.linear(one.voxels, one.page, one.offset, one.shape, still)
        np.testing.assert_allclose(seen * 255, pool.levels, atol=1e-4)


def test_a_slice_without_a_label_is_still_a_neighbour():
    """Catches neighbours looked for among the annotated slices alone."""
    case = scan([0, 1, 2])
    case.label[1] = 255
    split = split_of(
        "val",
        [case],
        Frame(4, slices=3, **FRAME),
        "own",
    )
    assert [c.index for c in split.cases] == [0, 2]
    shown = [image.levels[0, 0].tolist() for image in split.images]
    assert shown == [[0, 0, 10], [10, 20, 20]]


def test_the_network_gets_as_many_channels():
    """Catches a network made for one slice."""
    info = StoreInfo("x", "", ("a", "b"), "mm", 2, "uint8", "", "", (), {}, "", "", "")
    assert model_of(
        dataclasses.replace(config.Trial(), slices=5, image_size=16), info
    ).sample.shape == (1, 16, 16, 10)


def test_examples_show_the_middle_slice(tmp_path):
    """Catches a report that shows each slice's neighbour."""
    case = scan([0, 1, 2])
    case.label[:] = 1
    split = split_of(
        "val",
        [case],
        Frame(4, slices=3, **FRAME),
        "own",
    )
    write_examples(RunFolder(tmp_path), split, [c.label for c in split.cases])
    shown = np.load(tmp_path / "examples.npz")
    assert sorted(shown["image"][:, 0, 0].tolist()) == [0, 10, 20]


@pytest.mark.parametrize("slices", [0, 2])
def test_an_even_number_of_slices_has_no_middle(slices):
    """Catches a network that segments a place between two slices."""
    with pytest.raises(UserError, match="slices is"):
        config.override(config.Trial(), {"slices": slices})


def test_a_run_on_three_slices(tiny):
    """Catches a part of a run that still thinks in one slice."""
    result = semiseg.run(
        dataclasses.replace(tiny, slices=3, steps=2, eval_every=2), None, progress=False
    )
    assert np.isfinite(result.summary["last"]["val"]["dice"])


def volume(labelled):
    """A stored scan of three slices, of which ``labelled`` are annotated."""
    image = np.arange(
        3 * 4 * 5,
        dtype=np.int16,
    ).reshape(3, 4, 5, 1)
    label = np.full((3, 4, 5), 255, np.uint8)
    label[labelled] = 1
    return Case("s", "v", image, label, (8.0, 1.0, 2.0), "v", affine=np.eye(4), orientation="LAS")


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
    np.testing.assert_array_equal(
        scans[1].image,
        volume([0]).image[1],
    )
    (whole,) = Frame(4, depth=2).scans(
        [volume([0, 2])],
        "own",
    )
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
