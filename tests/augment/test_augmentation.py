"""Weak, strong and identity on batches, as a training program uses them: jit, vmap, scan."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from semiseg.augment import PRESETS, Augmentation, Geometry, none, standardise
from semiseg.types import IGNORE

SIZE = 16
RNG = np.random.default_rng(0)
BLOCKS = np.kron(RNG.integers(0, 3, (4, 6, 6)), np.ones((4, 4))).astype(
    np.uint8
)  # (4, 24, 24), classes 0 1 2
IMAGE = (BLOCKS * 100 + RNG.integers(0, 20, BLOCKS.shape)).astype(np.uint8)[..., None]


@pytest.fixture(scope="module")
def weak():
    return jax.jit(Augmentation.weak, static_argnames="size")


@pytest.fixture(scope="module")
def strong():
    return jax.jit(Augmentation.strong)


@pytest.mark.parametrize("name", PRESETS)
def test_contract(name, weak, strong):
    """Catches a type, shape or range that a network or a loss does not expect; labels beyond the
    classes; no difference between keys.
    """
    augmentation = PRESETS[name]()
    image, label, valid, _ = weak(
        augmentation,
        jax.random.key(0),
        IMAGE,
        BLOCKS,
        size=SIZE,
    )
    assert image.shape == (4, SIZE, SIZE, 1)
    assert image.dtype == jnp.float32
    assert 0 <= image.min()
    assert image.max() <= 1
    assert label.shape == (4, SIZE, SIZE)
    assert label.dtype == jnp.int32
    assert set(np.unique(label)) <= {0, 1, 2, IGNORE}
    assert valid.shape == label.shape
    assert valid.dtype == bool
    view = strong(augmentation, jax.random.key(1), image)
    assert view.shape == image.shape
    assert view.dtype == jnp.float32
    assert jnp.isfinite(view).all()
    again, other = (
        weak(augmentation, jax.random.key(k), IMAGE, BLOCKS, size=SIZE)[0] for k in (0, 7)
    )
    assert jnp.array_equal(again, image)
    assert jnp.array_equal(other, image) == (name == "none")


def test_nothing_drawn_is_identity_bit_for_bit(weak, strong):
    """Catches evaluation in another window than training, and a strength at probability 0."""
    label = np.where(BLOCKS == 2, IGNORE, BLOCKS).astype(np.uint8)
    for size in (SIZE, 23):
        drawn = weak(
            none(),
            jax.random.key(0),
            IMAGE,
            label,
            size=size,
        )[:3]
        crop = Augmentation.identity(IMAGE, label, size)
        jax.tree.map(np.testing.assert_array_equal, drawn, crop)
    image, label, valid = Augmentation.identity(IMAGE, BLOCKS, SIZE)
    np.testing.assert_array_equal(label, BLOCKS[:, 4:20, 4:20])
    np.testing.assert_allclose(
        image,
        IMAGE[:, 4:20, 4:20] / 255,
        rtol=1e-6,
    )
    np.testing.assert_array_equal(
        strong(none(), jax.random.key(0), image),
        image,
    )


def test_a_window_larger_than_the_image(weak):
    """Catches wrapping or repeating the border instead of IGNORE around it."""
    image, label, valid = views = Augmentation.identity(IMAGE, BLOCKS, 26)
    jax.tree.map(
        np.testing.assert_array_equal,
        weak(
            none(),
            jax.random.key(0),
            IMAGE,
            BLOCKS,
            size=26,
        )[:3],
        views,
    )
    inside = np.pad(np.ones((4, 24, 24), bool), ((0, 0), (1, 1), (1, 1)))
    np.testing.assert_array_equal(valid, inside)
    assert (np.asarray(label)[~inside] == IGNORE).all()
    assert (np.asarray(image)[~inside] == 0).all()
    np.testing.assert_array_equal(np.asarray(label)[inside], BLOCKS.ravel())


def test_image_and_label_stay_aligned(weak):
    """Catches two draws for one sample, axes swapped in one, an image half a pixel behind."""
    smooth = np.add.outer(np.arange(24), 2 * np.arange(24))[None].repeat(4, 0).astype(np.float32)
    augmentation = Augmentation(
        dataclasses.replace(Geometry(), elastic_p=1.0, rotate_p=1.0), none().weak_intensity
    )
    image, label, valid, _ = weak(
        augmentation, jax.random.key(2), smooth[..., None] / 100, smooth.astype(np.uint8), size=20
    )
    error = np.asarray(image[..., 0] * 100 - label)[np.asarray(valid)]
    assert len(np.unique(label)) > 30
    assert np.abs(error).max() <= 1.501
    assert abs(error.mean()) < 0.05  # half a pixel of each axis


def test_outside_is_black_and_ignored(weak):
    """Catches a grey value or a class invented where there is no image; brightness that lights
    it up.
    """
    wild = Augmentation(
        Geometry(rotate_p=1.0, rotate_degrees=45.0, translate=0.3),
        dataclasses.replace(Augmentation().weak_intensity, brightness_p=1.0, brightness=2.0),
    )
    image, label, valid, _ = map(
        np.asarray,
        weak(wild, jax.random.key(0), IMAGE, BLOCKS, size=24),
    )
    assert 0.02 < (~valid).mean() < 0.6
    assert (image[~valid] == 0).all()
    assert (label[~valid] == IGNORE).all()
    assert (label[valid] != IGNORE).all()


def test_unlabelled_images_are_valid(weak):
    """Catches ``valid`` taken from the label: every unlabelled pixel would be thrown away."""
    _, label, valid, _ = weak(
        none(), jax.random.key(0), IMAGE, np.full_like(BLOCKS, IGNORE), size=SIZE
    )
    assert valid.all()
    assert (label == IGNORE).all()


def test_strong_keeps_every_pixel_in_its_place(strong):
    """Catches a strong view with a geometry of its own: each pseudo-label would be wrong at the
    edges.
    """
    image = (jnp.asarray(BLOCKS, jnp.float32) / 4 + 0.25)[..., None]
    calm = dataclasses.replace(Augmentation().strong_intensity, blur_p=0.0, noise_p=0.0)
    views = np.asarray(
        strong(
            Augmentation(strong_intensity=calm),
            jax.random.key(0),
            image,
        )
    )[..., 0]
    for view, blocks in zip(views, BLOCKS, strict=True):
        values = [np.median(view[blocks == c]) for c in range(3)]
        assert values == sorted(values)
        moved = np.abs(view - np.array(values)[blocks]) > 1e-5
        assert moved.mean() < 0.25  # the cut-outs, nothing along the edges of the blocks


def test_one_program_for_all_strengths():
    """Catches a float field that is compiled in: a sweep over it would recompile for each value."""
    traces = []

    @jax.jit
    def view(augmentation, key):
        traces.append(1)
        return augmentation.strong(
            key,
            augmentation.weak(key, IMAGE, BLOCKS, SIZE)[0],
        )

    key = jax.random.key(0)
    outs = [view(a, key) for a in (PRESETS["default"](), PRESETS["oriented"](), none())]
    assert len(traces) == 1
    assert not jnp.array_equal(outs[0], outs[1])
    assert not jnp.array_equal(outs[1], outs[2])


def test_a_sample_does_not_depend_on_its_neighbours_and_scan_agrees(weak):
    """Catches randomness shared across the batch; another result inside a scan than outside it."""
    same = np.repeat(IMAGE[:1], 4, 0), np.repeat(BLOCKS[:1], 4, 0)
    image, *_ = weak(
        Augmentation(),
        jax.random.key(0),
        *same,
        size=SIZE,
    )
    assert len({np.asarray(v).tobytes() for v in image}) == 4
    keys = jax.random.split(jax.random.key(3), 2)
    scanned = jax.jit(
        lambda a: jax.lax.scan(lambda c, k: (c, a.weak(k, IMAGE, BLOCKS, SIZE)[0]), 0, keys)[1]
    )(Augmentation())
    np.testing.assert_allclose(
        scanned[1],
        weak(
            Augmentation(),
            keys[1],
            IMAGE,
            BLOCKS,
            size=SIZE,
        )[0],
        atol=1e-5,
    )


def test_volumes(weak):
    """Catches an axis taken for a channel: three spatial axes need no code of their own."""
    volume = np.stack([IMAGE] * 5, 1)
    label = np.stack([BLOCKS] * 5, 1)
    image, out, valid, _ = weak(
        Augmentation(), jax.random.key(0), volume, label, size=(4, SIZE, SIZE)
    )
    assert image.shape == (4, 4, SIZE, SIZE, 1)
    assert out.shape == valid.shape == (4, 4, SIZE, SIZE)
    assert jnp.isfinite(image).all()


def test_standardise():
    """Catches statistics over the batch or over channels together, a variance for a deviation,
    0/0 for a constant image.
    """
    image = (
        jnp.asarray(
            RNG.uniform(size=(3, 8, 8, 2)),
            jnp.float32,
        )
        * jnp.array([1.0, 5.0])
        + jnp.arange(3.0)[:, None, None, None]
    )
    out = standardise(image)
    np.testing.assert_allclose(
        out.mean((1, 2)),
        np.zeros((3, 2)),
        atol=1e-4,
    )
    np.testing.assert_allclose(
        out.std((1, 2)),
        np.ones((3, 2)),
        rtol=1e-3,
    )
    np.testing.assert_array_equal(
        standardise(jnp.full((1, 4, 4, 1), 0.5)),
        np.zeros((1, 4, 4, 1)),
    )
    brighter = standardise(
        image + 0.5 * image.std((1, 2), keepdims=True),
        like=image,
    )
    np.testing.assert_allclose(
        brighter - out,
        np.full_like(out, 0.5),
        rtol=1e-3,
    )


def test_a_nearly_constant_image_stays_so():
    """Grey values that differ by a thousandth, and by 0.1. Catches noise of the first that fills
    the range of the second.
    """
    pattern = jnp.asarray(RNG.choice([-1.0, 1.0], (1, 32, 32, 1)), jnp.float32)
    assert standardise(0.5 + 0.001 * pattern).std() < 0.06
    np.testing.assert_allclose(standardise(0.5 + 0.1 * pattern).std(), 1, rtol=1e-3)


def test_integers_that_are_not_uint8_are_refused():
    """Catches int16 Hounsfield units taken for [0, 1] and clipped to black and white."""
    with pytest.raises(TypeError, match="int32"):
        Augmentation.identity(IMAGE.astype(np.int32), BLOCKS, SIZE)
