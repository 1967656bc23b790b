"""Coordinates and the one resampling, against transformations worked out by hand."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from semiseg.augment import Geometry, centre, warp
from semiseg.augment.geometry import control_points, elastic, offset
from semiseg.types import IGNORE

STILL = Geometry(
    flip=0.0, rot90=0.0, rotate_p=0.0, scale_p=0.0, shear=0.0, translate=0.0, elastic_p=0.0
)
FOUR = np.arange(16, dtype=np.float32).reshape(4, 4)


@functools.partial(jax.jit, static_argnames=("frame", "size"))
def draw(geometry, seed, frame, size):
    return geometry.coordinates(jax.random.key(seed), frame, size)


@jax.jit
def views_of(geometry, image):
    def one(seed):
        return warp(
            image[..., None],
            image.astype(jnp.int32),
            draw(geometry, seed, image.shape, image.shape),
        )

    return jax.vmap(one)(jnp.arange(64))


def apply(geometry, image):
    """The image (as image and as label) under ``geometry``, once for each of 64 seeds."""
    views, labels, valid = views_of(geometry, image)
    return np.asarray(views[..., 0]), np.asarray(labels), np.asarray(valid)


@pytest.mark.parametrize(
    "frame, size", [((9, 6), (4, 4)), ((4, 4), (4, 4)), ((5, 4, 6), (3, 4, 2))]
)
def test_nothing_drawn_is_the_centre_crop_exactly(frame, size):
    """Catches a half-pixel slip of the centre, or a matrix that is the identity only up to
    rounding.
    """
    expected = np.stack(
        np.meshgrid(
            *[np.arange(s) + (f - s) // 2 for f, s in zip(frame, size, strict=True)], indexing="ij"
        )
    )
    np.testing.assert_array_equal(draw(STILL, 3, frame, size), expected)


def test_quarter_turns_are_numpys():
    """Catches cos(pi/2) that is not 0, a turn that mirrors, a turn that is never drawn."""
    views, labels, valid = apply(dataclasses.replace(STILL, rot90=1.0), FOUR)
    turns = {np.rot90(FOUR, k).tobytes() for k in range(4)}
    assert {v.tobytes() for v in views} == turns
    assert valid.all()
    np.testing.assert_array_equal(labels, views)


def test_mirror_is_along_one_of_the_axes():
    """Catches mirroring the wrong axis, both at once, or with the wrong probability."""
    views, _, _ = apply(dataclasses.replace(STILL, flip=1.0), FOUR)
    assert {v.tobytes() for v in views} == {
        FOUR[::-1].tobytes(),
        FOUR[:, ::-1].tobytes(),
    }
    views, _, _ = apply(
        dataclasses.replace(STILL, flip=0.5, flip_axes=(-1,)),
        FOUR,
    )
    assert {v.tobytes() for v in views} == {
        FOUR.tobytes(),
        FOUR[:, ::-1].tobytes(),
    }
    assert 16 < sum(v[0, 0] == 3 for v in views) < 48


def test_translation_moves_by_what_was_drawn():
    """Catches axes swapped, or the fraction taken of something other than the window, and
    pixels moved in that are not 0 and IGNORE.
    """
    views, labels, valid = apply(
        dataclasses.replace(STILL, translate=0.5),
        1 + FOUR,
    )
    down, right = (
        draw(STILL, 0, (4, 4), (4, 4))[:, 0, 0]
        - draw(
            dataclasses.replace(STILL, translate=0.5),
            0,
            (4, 4),
            (4, 4),
        )[:, 0, 0]
    )
    assert abs(float(down)) <= 2
    assert abs(float(right)) <= 2
    assert float(down) != float(right)

    def exact(y, x):
        return (
            1 + 4 * np.clip(y, 0, 3) + np.clip(x, 0, 3)
        )  # a ramp is interpolated exactly, and continued at the border

    y, x = np.mgrid[:4, :4] - np.array([down, right])[:, None, None]
    inside = (y > -0.5) & (y < 3.5) & (x > -0.5) & (x < 3.5)
    assert 0 < inside.sum() < 16
    np.testing.assert_array_equal(valid[0], inside)
    np.testing.assert_allclose(
        views[0],
        np.where(inside, exact(y, x), 0),
        rtol=1e-5,
    )
    np.testing.assert_array_equal(
        labels[0],
        np.where(
            inside,
            exact(np.round(y), np.round(x)),
            IGNORE,
        ),
    )


def test_translation_reaches_its_fraction_of_each_side():
    """Catches a fraction of the longest side, half of the range, one shift for both axes."""
    geometry = dataclasses.replace(STILL, translate=0.25)
    shift = np.abs(
        [
            np.asarray(draw(geometry, s, (9, 17), (4, 16)) - draw(STILL, s, (9, 17), (4, 16)))[
                :, 0, 0
            ]
            for s in range(24)
        ]
    )
    assert 0.8 < shift[:, 0].max() <= 1
    assert 3.2 < shift[:, 1].max() <= 4


def test_warp_between_pixels():
    """Catches interpolating the label (class 1 between 0 and 2), or rounding the image."""
    image, label, _ = warp(
        FOUR[..., None],
        2 * FOUR.astype(np.uint8),
        jnp.mgrid[:4, :3] + jnp.array([0.0, 0.4])[:, None, None],
    )
    np.testing.assert_allclose(
        image[..., 0],
        FOUR[:, :3] + 0.4,
        rtol=1e-6,
    )
    np.testing.assert_array_equal(label, 2 * FOUR[:, :3])


def test_a_pixel_ends_half_way_to_the_next():
    """Catches a frame cut at the centres of its border pixels, half a pixel short all around."""
    x = jnp.array([[-0.6, -0.4, 3.4, 3.6]])
    image, label, valid = warp(
        FOUR[..., None], FOUR.astype(np.uint8), jnp.stack([jnp.zeros_like(x), x])
    )
    np.testing.assert_array_equal(image[0, :, 0], [0, 0, 3, 0])
    np.testing.assert_array_equal(label[0], [IGNORE, 0, 3, IGNORE])
    np.testing.assert_array_equal(valid[0], [False, True, True, False])


def test_rotation_keeps_distances_and_its_range():
    """Catches degrees taken for radians, a rotation that shears, one that goes one way only."""
    still, turned = (
        np.asarray(draw(g, 1, (9, 9), (5, 5)))
        for g in (STILL, dataclasses.replace(STILL, rotate_p=1.0, rotate_degrees=30.0))
    )
    y, x = (turned - 4)[:, 2, 4]  # where the pixel two columns right of the centre comes from
    angle = np.rad2deg(np.arctan2(y, x))
    assert 0 < abs(angle) < 30
    np.testing.assert_allclose(
        np.linalg.norm(turned - 4, axis=0), np.linalg.norm(still - 4, axis=0), atol=1e-5
    )
    wide = dataclasses.replace(STILL, rotate_p=1.0, rotate_degrees=90.0)
    angles = [
        np.rad2deg(np.arctan2(*(np.asarray(draw(wide, s, (9, 9), (5, 5))) - 4)[:, 2, 4]))
        for s in range(12)
    ]
    assert min(angles) < -45
    assert max(angles) > 45
    assert np.abs(angles).max() <= 90


def test_zoom_magnifies_by_its_range():
    """Catches the zoom's inverse, a range that is not kept, or one axis zoomed alone."""
    zoomed = dataclasses.replace(STILL, scale_p=1.0, scale_low=2.0, scale_high=4.0)
    for c in (np.asarray(draw(zoomed, s, (9, 9, 9), (5, 5, 5))) for s in range(8)):
        along = np.array(
            [
                c[0, 1, 0, 0] - c[0, 0, 0, 0],
                c[1, 0, 1, 0] - c[1, 0, 0, 0],
                c[2, 0, 0, 1] - c[2, 0, 0, 0],
            ]
        )
        assert 0.25 <= along[0] <= 0.5
        np.testing.assert_allclose(along, along[0], rtol=1e-5)


def test_shear_slides_rows():
    """Catches a shear that also changes the area."""
    c = np.asarray(
        draw(
            dataclasses.replace(STILL, shear=0.5),
            0,
            (9, 9),
            (5, 5),
        )
    )
    np.testing.assert_array_equal(
        c[0],
        draw(STILL, 0, (9, 9), (5, 5))[0],
    )
    assert 0 < abs(c[1, 3, 2] - 4) <= 0.5
    assert abs(c[1, 3, 2] - 4) == pytest.approx(abs(c[1, 1, 2] - 4))


def test_elastic_is_smooth_bounded_and_does_not_fold():
    """Catches weights whose sum is not 1, a displacement in a wrong unit, and tears."""
    points = jax.random.uniform(
        jax.random.key(0), (16, *control_points((32, 16), 4)), minval=-0.48, maxval=0.48
    )
    bend = np.asarray(jax.vmap(lambda p: elastic(p, (32, 16)))(points))
    assert 0.3 * 0.48 * 8 < np.abs(bend).max() <= 0.48 * 8  # control points 8 pixels apart
    y, x = np.moveaxis(bend, 1, 0) + np.mgrid[:32, :16][:, None].astype(np.float32)
    dy, dx = (np.gradient(a, axis=(1, 2)) for a in (y, x))
    assert (dy[0] * dx[1] - dy[1] * dx[0]).min() > 0
    np.testing.assert_allclose(
        elastic(
            jnp.full((2, 7, 5), 0.25),
            (32, 16),
        ),
        np.full((2, 32, 16), 2.0),
        rtol=1e-5,
    )
    nowhere = dataclasses.replace(STILL, elastic_p=1.0, elastic_strength=0.0)
    np.testing.assert_array_equal(
        draw(nowhere, 0, (9, 9), (5, 5)),
        draw(STILL, 0, (9, 9), (5, 5)),
    )
    assert not jnp.array_equal(
        draw(
            dataclasses.replace(STILL, elastic_p=1.0),
            0,
            (9, 9),
            (5, 5),
        ),
        draw(STILL, 0, (9, 9), (5, 5)),
    )


def test_exclusive_draws_one_or_the_other():
    """SSL4MIS turns and mirrors, or rotates; a sample that does both (or a mirror without the
    quarter turn's partner) is another recipe.
    """
    geometry = Geometry(
        **vars(STILL) | {"flip": 1.0, "rot90": 1.0, "rotate_p": 1.0, "exclusive": True}
    )
    linear = []
    for s in range(24):
        c = np.asarray(draw(geometry, s, (9, 9), (5, 5)))
        linear.append(
            np.stack(
                [
                    c[:, 1, 0] - c[:, 0, 0],
                    c[:, 0, 1] - c[:, 0, 0],
                ],
                1,
            )
        )
    whole = np.array([np.array_equal(m, np.round(m)) for m in linear])
    assert 4 < whole.sum() < 20
    np.testing.assert_allclose(
        [np.linalg.det(m) for m in linear], np.where(whole, -1, 1), atol=1e-4
    )


def test_three_axes_turn_in_plane():
    """Catches rotating a volume through its slices."""
    volume = np.arange(2 * 4 * 4, dtype=np.float32).reshape(2, 4, 4)
    views, _, _ = apply(dataclasses.replace(STILL, rot90=1.0), volume)
    assert {v.tobytes() for v in views} == {np.rot90(volume, k, (1, 2)).tobytes() for k in range(4)}


@pytest.mark.parametrize("frame, size", [(9, 4), (8, 4), (5, 4)])
def test_centre_pads_back_what_it_cropped(frame, size):
    """Catches an odd margin put on the other side: predictions shifted by one pixel."""
    x = jnp.arange(1, frame + 1)[None]
    back = centre(
        centre(x, (size,)),
        (frame,),
        fill=-1,
    )
    start = (frame - size) // 2
    np.testing.assert_array_equal(
        back[0], [v if start < v <= start + size else -1 for v in range(1, frame + 1)]
    )
    assert offset(size, frame) == -start
