"""Grey values change, places do not."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest
from scipy import ndimage

from semiseg.augment import Intensity
from semiseg.augment.intensity import blur, boxes

OFF = Intensity(
    gamma_p=0.0, contrast_p=0.0, brightness_p=0.0, blur_p=0.0, noise_p=0.0, cutout_p=0.0
)
IMAGE = np.random.default_rng(0).uniform(0.3, 0.7, (16, 16, 2)).astype(np.float32)


@jax.jit
def views_of(intensity, image):
    return jax.vmap(lambda k: intensity(k, image))(jax.random.split(jax.random.key(0), 64))


def apply(image=IMAGE, **change):
    """64 views of ``image`` with nothing but ``change`` turned on; one program for all tests."""
    return np.asarray(
        views_of(
            dataclasses.replace(OFF, **change),
            image.astype(np.float32),
        )
    )


def test_off_changes_no_bit():
    """Catches an operation applied with a neutral strength instead of not at all: x - m + m is
    not x.
    """
    np.testing.assert_array_equal(apply(), np.stack([IMAGE] * 64))


def test_probability_is_per_sample():
    """Catches a probability compared the wrong way round, or one draw for the batch."""
    changed = [not np.array_equal(v, IMAGE) for v in apply(brightness_p=0.25)]
    assert 4 < sum(changed) < 30


def test_gamma_exponents_are_in_range_and_keep_order():
    """Catches a gamma that is a factor, or a range that is not symmetric in the logarithm."""
    exponent = np.log(apply(gamma_p=1.0, gamma=2.0)) / np.log(IMAGE)
    np.testing.assert_allclose(
        exponent.min((1, 2, 3)),
        exponent.max((1, 2, 3)),
        rtol=1e-3,
    )
    e = exponent[:, 0, 0, 0]
    assert 0.5 <= e.min() < 0.6
    assert 1.7 < e.max() <= 2.001


def test_contrast_keeps_the_mean_and_brightness_the_differences():
    """Catches contrast about zero instead of the channel's mean; brightness that scales."""
    image = IMAGE + np.array([0.0, 0.2], np.float32)
    views = apply(image, contrast_p=1.0, contrast=1.5)
    np.testing.assert_allclose(
        views.mean((1, 2)), np.broadcast_to(image.mean((0, 1)), (64, 2)), rtol=1e-2
    )
    ratio = views[..., 0].std((1, 2)) / image[..., 0].std()
    assert 0.66 <= ratio.min() < 0.8
    assert 1.2 < ratio.max() <= 1.501
    shift = apply(brightness_p=1.0, brightness=1.0) - IMAGE
    np.testing.assert_allclose(
        shift.std((1, 2, 3)),
        0,
        atol=1e-6,
    )
    assert 0.5 * IMAGE.std() < np.abs(shift).max() <= 1.001 * IMAGE.std()


def test_noise_is_at_most_its_strength_and_independent():
    """Catches variance taken for the deviation, one noise image for all channels, one strength
    for all samples.
    """
    noise = apply(noise_p=1.0, noise=0.5) - IMAGE
    level = noise.std((1, 2, 3)) / IMAGE.std()
    assert level.max() < 0.55
    assert level.max() > 0.42
    assert level.min() < 0.15
    assert (
        abs(
            np.corrcoef(
                noise[..., 0].ravel(),
                noise[..., 1].ravel(),
            )[0, 1]
        )
        < 0.1
    )


@pytest.mark.parametrize("sigma", [0.5, 1.5])
def test_blur_agrees_with_scipy(sigma):
    """Catches sigma for its square, an axis forgotten, a kernel that does not sum to one."""
    expected = np.stack(
        [ndimage.gaussian_filter(IMAGE[..., c], sigma, truncate=6) for c in range(2)], -1
    )
    inside = (slice(6, -6), slice(6, -6))
    np.testing.assert_allclose(
        blur(IMAGE, sigma)[inside],
        expected[inside],
        atol=2e-4,
    )
    np.testing.assert_allclose(
        blur(np.ones((8, 8, 1), np.float32), sigma),
        1,
        rtol=1e-6,
    )
    np.testing.assert_array_equal(blur(IMAGE, 0.0), IMAGE)


def test_blur_leaves_slices_apart():
    """Catches a volume blurred across its slices."""
    volume = np.stack([IMAGE, np.zeros_like(IMAGE)])
    np.testing.assert_allclose(
        blur(volume, 1.0), np.stack([blur(IMAGE, 1.0), np.zeros_like(IMAGE)]), atol=1e-6
    )


def test_boxes_have_the_drawn_size():
    """Catches half sides for sides, more than one box, a box that leaves the image altogether."""
    masks = np.asarray(
        jax.vmap(lambda u: boxes(u, (20, 40), 0.5))(
            jax.random.uniform(jax.random.key(0), (64, 1, 2, 2))
        )
    )
    rows = masks.any(2).sum(1)
    columns = masks.any(1).sum(1)
    np.testing.assert_array_equal(masks.sum((1, 2)), rows * columns)
    assert rows.min() >= 2
    assert 8 <= rows.max() <= 11
    assert columns.min() >= 4
    assert 17 <= columns.max() <= 21
    assert 0.12 < masks.mean((1, 2)).max()
    assert len(np.unique(masks.argmax(2).max(1))) > 8


def test_cutout_fills_with_the_mean_and_touches_nothing_else():
    """Catches a cut-out filled with black, or pixels outside it changed."""
    view = apply(cutout_p=1.0)
    cut = (view != IMAGE).any(-1)
    assert (cut.mean((1, 2)) > 0.01).all()
    assert (cut.mean((1, 2)) < 0.2).all()
    np.testing.assert_allclose(
        view[cut],
        np.broadcast_to(
            IMAGE.mean((0, 1)),
            view[cut].shape,
        ),
        rtol=1e-5,
    )


def test_range_is_kept():
    """Catches an unclipped view: gamma of a negative number is NaN in the next view."""
    image = np.random.default_rng(1).choice([0.0, 0.5, 1.0], (16, 16, 2))
    strong = {f"{n}_p": 1.0 for n in ("gamma", "contrast", "brightness", "blur", "noise", "cutout")}
    views = apply(image, **strong, contrast=3.0, brightness=2.0, noise=2.0)
    assert np.isfinite(views).all()
    assert views.min() == 0
    assert views.max() == 1
    for flat in (0.0, 1.0):
        assert np.isfinite(apply(np.full((16, 16, 2), flat), **strong)).all()
