"""Which images and windows a batch is made of."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from semiseg import ragged
from semiseg.augment import none
from semiseg.data import foreground
from semiseg.data.frame import Frame, PoolImage
from semiseg.data.pools import choice, flatten
from semiseg.train.draw import Windows, draw
from semiseg.types import Pools

SHAPES = [(40, 30), (24, 50), (16, 16)]
SQUARES = Windows(16)
FRAME = Frame(16, spacing="fit", intensity="none", stored="uint8")


def pools(labelled=(0, 1, 2)):
    """Images of three shapes, each of its own grey value, with one pixel of class 1 in two of them
    and a few of class 2 in the corner of image 1.
    """
    images = []
    for level, shape in zip((50, 100, 150), SHAPES, strict=True):
        image = np.full((*shape, 1), level, np.uint8)
        images.append(PoolImage(image))
    labels = [np.zeros(shape, np.uint8) for shape in SHAPES]
    labels[0][13, 17] = 1
    labels[1][20, 5] = 1
    labels[1][:3, 45:] = 2
    flat = flatten(images, labels, FRAME)
    shown = np.isin(np.arange(3), labelled)
    scan = np.arange(3)
    known = foreground.places(labels, scan, 3)
    return Pools(
        flat.on_device(),
        jnp.asarray(flat.masked(shown)),
        choice(shown),
        choice(np.ones(3, bool)),
        jnp.int32(0),
        foreground.of_budget(known, scan, shown),
    )


def drawn(made, share, windows=SQUARES, n=200):
    batch, _ = draw(
        made,
        jax.random.key(1),
        none(),
        0.0,
        labelled=n,
        unlabelled=n,
        windows=windows,
        foreground=share,
    )
    return batch


def test_windows_of_the_foreground_share_show_a_class():
    """Catches a centre in another image, rows for columns, a class drawn by its area, and a share
    that is not kept.
    """
    batch = drawn(pools(labelled=(0, 1)), 1.0)
    label = np.asarray(batch.label)
    pixels = [label == 1, label == 2]
    has = np.stack(pixels).any((2, 3))
    assert has.any(0).all()
    of_second = np.asarray(batch.layout.page) == 0  # the unlabelled ones are drawn anywhere
    assert of_second.all()
    both = has.sum(1) / has.shape[1]
    assert 0.6 < both[0] < 0.9  # half of image 1's, all of image 0's
    assert 0.15 < both[1] < 0.4
    few = drawn(pools(labelled=(0, 1)), 0.0)
    foreground_pixels = np.isin(few.label, (1, 2))
    some = foreground_pixels.any((1, 2)).mean()
    assert 0.05 < some < 0.7
    alone = has[0] & ~has[1]
    first = label[alone][0]
    places = np.argwhere(first == 1).tolist()
    assert places in ([[8, 8]], [[8, 5]], [[12, 5]])


def test_places_are_those_of_the_budget():
    """Catches a window that is centred on a label outside the budget."""
    without = pools(labelled=(2,))
    assert not np.asarray(without.foreground.number).any()
    assert not np.asarray(without.foreground.place).any()
    batch = drawn(without, 1.0)
    assert set(np.unique(batch.label)) == {0}
    first = pools(labelled=(0,)).foreground
    numbers = np.asarray(first.number)
    assert numbers.tolist() == [[1, 0], [0, 0], [0, 0]]
    places = np.asarray(first.place)
    assert not places[1:].any()


def test_windows_lie_anywhere_or_in_the_centre():
    """Catches windows that leave an image, and parts of it that are never seen."""
    batch = drawn(pools(), 0.0, n=400)
    assert np.asarray(batch.valid).all()
    place = np.asarray(batch.place)
    assert set(place.tolist()) == {0, 1, 2}
    first = np.asarray(batch.coordinates)[:, :, 0, 0]
    of_wide = first[place == 1]
    assert of_wide.min(0).tolist() == [0, 0]
    assert of_wide.max(0).tolist() == [8, 34]
    still = drawn(pools(), 0.0, Windows(16, anywhere=False))
    first = np.asarray(still.coordinates)[:, :, 0, 0]
    of_wide = first[np.asarray(still.place) == 1]
    assert np.unique(of_wide, axis=0).tolist() == [[4, 17]]


@pytest.mark.slow
@pytest.mark.parametrize("by", ["subjects", "images"])
def test_subjects_weigh_the_same_where_asked(by):
    """Catches a subject of many slices that fills the batches."""
    from semiseg.data.pools import _by_subject

    subjects = ["a"] * 9 + ["b"]
    scans = np.array([0] * 9 + [1])
    weights = _by_subject(subjects, scans)
    below = np.cumsum(weights) / weights.sum()
    made = pools()
    many = made.labelled._replace(
        images=jnp.array([0] * 9 + [1], jnp.int32),
        number=jnp.int32(10),
        below=jnp.asarray(below, jnp.float32),
    )
    made = made._replace(unlabelled=many)
    batch = drawn(made, 0.0, Windows(16, by), n=2000)
    of_second = np.asarray(batch.place) == 1
    wanted = {"subjects": 0.5, "images": 0.1}
    assert of_second.mean() == pytest.approx(wanted[by], abs=0.04)


def test_images_in_several_pages_are_those_of_one():
    """Catches an index that crosses a page."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4, 5, 4, 1), dtype=np.uint8)
    placed = ragged.layout([20] * 4, page_size=45)
    assert placed.page.tolist() == [0, 0, 1, 1]
    voxels = np.zeros((2, 40, 1), np.uint8)
    for image, page, offset in zip(images, placed.page, placed.offset, strict=True):
        end = offset + 20
        voxels[page, offset:end] = image.reshape(20, 1)
    places = rng.uniform(0, 4, (2, 7))
    points = jnp.asarray(places, jnp.float32)
    dense = ragged.of_dense(images)
    for i in range(4):
        paged = ragged.linear(
            jnp.asarray(voxels),
            jnp.int32(placed.page[i]),
            jnp.asarray(placed.offset[i : i + 1]),
            jnp.array([5, 4]),
            points,
        )
        one = dense.take(i)
        wanted = ragged.linear(one.voxels, one.page, one.offset, one.shape, points)
        np.testing.assert_allclose(paged, wanted, atol=1e-6)
