"""The frame: millimetres, aspect and grey values from a scan to the network, and back."""

import dataclasses

import numpy as np
import pytest

from semiseg import config
from semiseg.data import expected, grey_values
from semiseg.data.frame import Frame, PoolImage, median_spacing
from semiseg.errors import UserError
from semiseg.types import Case

RNG = np.random.default_rng(0)


def scan(image, spacing, label=None, name="p7"):
    return Case(name, name, image, label, spacing, name)


def sphere(spacing, radius=12.0, size_mm=(40.0, 48.0, 56.0)):
    """A bright ball on air, sampled at ``spacing``: image, and its diameters in voxels."""
    shape = [round(n / s) for n, s in zip(size_mm, spacing, strict=True)]
    axes = [(np.arange(n) + 0.5) * s - n * s / 2 for n, s in zip(shape, spacing, strict=True)]
    distance = np.sqrt(sum(np.square(a) for a in np.meshgrid(*axes, indexing="ij")))
    return (1000 * (distance < radius)).astype(np.int16)[..., None]


def extents(levels):
    """Pixels that a bright object measures along each axis."""
    bright = levels[..., 0] > levels.max() / 2
    return [int(np.ptp(np.flatnonzero(bright.any(tuple(set(range(bright.ndim)) - {a}))))) + 1
            for a in range(bright.ndim)]  # fmt: skip


@pytest.mark.parametrize(
    "spacing", [(1.0, 1.0, 1.0), (4.0, 0.7, 0.7), (2.0, 0.5, 1.0), (0.8, 1.6, 1.1)]
)
def test_a_ball_stays_a_ball_in_millimetres(spacing):
    """Whatever the voxels. Catches a plane that is stretched to a square, a spacing of another
    axis, and a target that is not reached.
    """
    ball = scan(sphere(spacing), spacing)
    frame = Frame(32, depth=16, spacing="1", intensity="zscore", stored="uint8")
    measured = extents(frame.to_pool(ball).levels)
    slack = [1 + round(side) for side in spacing]
    assert all(abs(n - 24) <= room for n, room in zip(measured, slack, strict=True)), measured
    plane = Frame(32, spacing="1", intensity="zscore", stored="uint8").to_pool(ball).levels
    middle = plane[len(plane) // 2]
    across = extents(middle)
    assert abs(across[0] - across[1]) <= 2, across


@pytest.mark.parametrize(
    "spacing",
    [
        (1.0, 1.0),
        (0.5, 0.5),
        (0.4, 0.8),
    ],
)
def test_without_millimetres_the_aspect_stays(spacing):
    """Catches a picture that is stretched, and a longest side of another size."""
    rows, columns = np.mgrid[:90, :60]
    inside = (
        np.hypot(
            (rows - 45) * spacing[0],
            (columns - 30) * spacing[1],
        )
        < 20 * spacing[0]
    )
    image = (200 * inside).astype(np.uint8)[..., None]
    pool = Frame(64, spacing="fit", intensity="none", stored="uint8").to_pool(scan(image, spacing))
    assert max(pool.levels.shape) == 64
    across = extents(pool.levels)
    assert abs(across[0] - across[1]) <= 2, across


def test_what_a_window_lacks_is_ignored():
    """Catches a narrow image that is stretched, repeated or taught as background."""
    import jax
    import jax.numpy as jnp

    from semiseg.augment import none
    from semiseg.data.pools import choice, flatten
    from semiseg.train.draw import Windows, draw
    from semiseg.types import IGNORE, Pools

    frame = Frame(16, spacing="fit", intensity="none", stored="uint8")
    image = RNG.integers(
        1,
        255,
        (32, 16, 1),
    ).astype(np.uint8)
    label = np.ones((32, 16), np.uint8)
    case = scan(image, (1.0, 1.0), label)
    pool = flatten(
        [frame.to_pool(case)],
        [frame.label_to_pool(label, case.spacing)],
        frame,
    )
    every = choice(np.ones(1, bool))
    pools = Pools(
        pool.on_device(),
        jnp.asarray(pool.labels),
        every,
        every,
        jnp.int32(0),
    )
    batch, _ = draw(
        pools, jax.random.key(0), none(), 0.0, labelled=1, unlabelled=1, windows=Windows(16)
    )
    wanted = np.full((16, 16), IGNORE)
    wanted[:, 4:12] = 1
    np.testing.assert_array_equal(batch.label[0], wanted)
    np.testing.assert_array_equal(batch.valid[0], wanted == 1)
    assert frame.windows((16, 8)) == [(0, -4)]


# ------------------------------------------------------------------ grey values
@pytest.mark.parametrize("rule", ["ct-soft", "percentile", "zscore", "window -100 300"])
@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.float64])
def test_the_numbers_alone_decide(rule, dtype):
    """Float, int16 and wider files of the same numbers. Catches a rule that asks for the type."""
    numbers = RNG.integers(-200, 400, (3, 20, 24, 1))
    frame = Frame(16, spacing="fit", intensity=rule, stored="uint8")
    a = frame.to_pool(
        scan(
            numbers.astype(np.int32),
            (1.0,) * 3,
        )
    )
    b = frame.to_pool(
        scan(
            numbers.astype(dtype),
            (1.0,) * 3,
        )
    )
    np.testing.assert_array_equal(a.levels, b.levels)
    np.testing.assert_array_equal(a.mean, b.mean)
    small = RNG.integers(0, 200, (20, 24, 1))
    a = frame.to_pool(
        scan(
            small.astype(np.uint8),
            (1.0,) * 2,
        )
    )
    b = frame.to_pool(
        scan(
            small.astype(dtype),
            (1.0,) * 2,
        )
    )
    np.testing.assert_array_equal(a.levels, b.levels)


def test_padding_of_a_ct_changes_no_tissue():
    """Air of -1024 and padding of -3024 give tissue the same values at the network's input.

    Catches limits, means or deviations of a CT's own numbers.
    """
    tissue = RNG.integers(
        -100,
        200,
        (4, 12, 12, 1),
    ).astype(np.int16)
    seen = []
    for padding in (-1024, -3024):
        wide = np.full((4, 20, 20, 1), padding, np.int16)
        wide[:, 4:16, 4:16] = tissue
        frame = Frame(20, spacing="fit").resolved(
            [scan(wide, (1.0,) * 3)],
            "voxel",
        )
        assert frame.intensity == "ct"
        pool = frame.to_pool(scan(wide, (1.0,) * 3))
        levels = np.float32(pool.levels) / (255 if pool.levels.dtype == np.uint8 else 1)
        seen.append(((levels - pool.mean) / pool.deviation)[:, 4:16, 4:16])
    np.testing.assert_array_equal(*seen)


@pytest.mark.parametrize("rule", ["ct-soft", "percentile", "zscore"])
def test_a_slice_of_air_stays_dark(rule):
    """Catches a rule by slice, which blows noise up to full contrast."""
    volume = RNG.normal(
        -1000,
        5,
        (4, 16, 16, 1),
    ).astype(np.float32)
    volume[1:, 4:12, 4:12] = RNG.normal(
        100,
        20,
        (3, 8, 8, 1),
    )
    frame = Frame(16, spacing="fit", intensity=rule, stored="uint8")
    pool = frame.to_pool(scan(volume, (5.0, 1.0, 1.0)))
    assert pool.levels[0].max() < 0.1 * pool.levels[1:].max()
    by_slice = dataclasses.replace(frame, intensity=grey_values.OF_SLICE, spacing="stretch")
    assert by_slice.to_pool(scan(volume, (5.0, 1.0, 1.0))).levels[0].max() == 255


def test_a_set_decides_what_is_left_open():
    """Catches a rule that looks at one scan, millimetres where nobody knows them, and levels that
    are coarser than the noise.
    """
    noisy = [
        scan(
            RNG.normal(
                500,
                60,
                (3, 32, 32, 1),
            ),
            (8.0, 1.0, 1.0),
        )
        for _ in range(3)
    ]
    frame = Frame(32).resolved(noisy, "mm")
    assert (frame.spacing, frame.intensity, frame.stored) == ("1 1", "percentile", "uint8")
    assert Frame(32).resolved(noisy, "voxel").spacing == "fit"
    smooth = np.linspace(0, 1, 64)[:, None] * np.linspace(0, 1, 64) * 30000
    fine = [
        scan(
            smooth[None, ..., None].astype(np.float32),
            (8.0, 1.0, 1.0),
        )
    ]
    assert Frame(32).resolved(fine, "mm").stored == "float16"
    picture = [
        scan(
            np.zeros((8, 8, 3), np.uint8),
            (1.0, 1.0),
        )
    ]
    assert Frame(32).resolved(picture, "pixel").intensity == "zscore"
    with pytest.raises(UserError, match="nobody knows its millimetres"):
        Frame(32, spacing="0.5").resolved(picture, "pixel")
    for wrong, where in (("soft", "intensity"), ("window 300 100", "intensity")):
        with pytest.raises(UserError, match=where):
            Frame(32, intensity=wrong).resolved(picture, "pixel")
    with pytest.raises(UserError, match="one number or 2"):
        Frame(32, spacing="1 2 3").resolved(noisy, "mm")
    assert median_spacing(
        [(9.0, 1.0, 1.0), (5.0, 1.0, 1.0)],
        3,
    ) == (5.4, 1.0, 1.0)


def test_a_prediction_finds_its_way_back():
    """A probability that is linear in space comes back linear. Catches a shift by half a pixel,
    rows for columns, and slices in another order.
    """
    frame = Frame(16, depth=8, spacing="2", intensity="zscore", stored="uint8")
    case = scan(
        np.zeros((9, 30, 20, 1), np.uint8),
        (4.0, 1.0, 1.0),
    )
    shape = frame.shape(case)
    assert shape == (18, 15, 10)
    axes = [(np.arange(n) + 0.5) / n for n in shape]
    ramps = np.stack(
        np.meshgrid(*axes, indexing="ij"),
        -1,
    ).astype(np.float32)
    back = frame.to_scan(ramps, (9, 30, 20))
    for a, n in enumerate((9, 30, 20)):
        line = np.moveaxis(back[..., a], a, 0).reshape(n, -1).mean(1)
        inner = slice(2, -2)
        np.testing.assert_allclose(
            line[inner],
            ((np.arange(n) + 0.5) / n)[inner],
            atol=0.01,
        )


# ------------------------------------------------------------------ old runs, and expectations
def test_a_run_from_before_there_was_a_choice_keeps_its_frame():
    """Catches a recorded configuration that is read with another frame than it was trained in."""
    recorded = config.to_dict(config.Trial(labels=4))
    for field in ("spacing", "intensity", "draw_by", "foreground", "width"):
        del recorded[field]
    old = config.from_dict(recorded)
    assert (old.spacing, old.intensity, old.draw_by, old.foreground) == (
        "stretch",
        "slice",
        "images",
        0.0,
    )
    assert config.network_from_dict(recorded).frame.is_stretched
    assert config.from_dict({"labels": 4, "image_size": 64}).spacing == "auto"


def test_a_scan_unlike_training_is_described():
    """Catches Hounsfield units for windowed pictures, a tenth of the contrast, another spacing."""
    train = [
        scan(
            RNG.integers(
                0,
                255,
                (4, 16, 16, 1),
            ),
            (3.0, 1.0, 1.0),
        )
        for _ in range(3)
    ]
    seen = expected.of_scans(train, "mm")
    assert expected.differences(seen, train[0], "mm") == []
    hu = scan(
        RNG.integers(
            -1000,
            1500,
            (4, 16, 16, 1),
        ),
        (3.0, 1.0, 1.0),
    )
    (phrase,) = expected.differences(seen, hu, "mm")
    assert "those of training between" in phrase
    faint = scan(train[0].image // 20, (3.0, 1.0, 1.0))
    assert len(expected.differences(seen, faint, "mm")) == 1
    coarse = dataclasses.replace(train[0], spacing=(3.0, 2.5, 2.5))
    (phrase,) = expected.differences(seen, coarse, "mm")
    assert "its spacing is 3 × 2.5 × 2.5 mm" in phrase


def test_neighbouring_windows_cover_an_image():
    """Catches a border that no window sees."""
    frame = Frame(16)
    for shape in ((16, 16), (40, 17), (9, 33)):
        covered = np.zeros(shape, bool)
        for start in frame.windows(shape):
            box = tuple(
                slice(
                    max(a, 0),
                    a + 16,
                )
                for a in start
            )
            covered[box] = True
        assert covered.all()
    assert PoolImage(np.zeros((4, 4, 1), np.uint8)).mean is None
