"""The frame: millimetres, aspect and grey values from a scan to the network, and back."""

import dataclasses

import numpy as np
import pytest

from semiseg import config
from semiseg.data import expected, grey_values
from semiseg.data.frame import Frame, median_spacing
from semiseg.errors import UserError
from semiseg.types import Case

RNG = np.random.default_rng(0)
THICK = (3.0, 1.0, 1.0)
THICKER = (5.0, 1.0, 1.0)
THICKEST = (8.0, 1.0, 1.0)


def scan(image, spacing, label=None, name="p7"):
    return Case(name, name, image, label, spacing, name)


def sphere(spacing, radius=12.0, size_mm=(40.0, 48.0, 56.0)):
    """A bright ball on air, sampled at ``spacing``: image, and its diameters in voxels."""
    axes = []
    for length, step in zip(size_mm, spacing, strict=True):
        number = round(length / step)
        centres = step * (np.arange(number) + 0.5)
        axes.append(centres - number * step / 2)
    grid = np.stack(np.meshgrid(*axes, indexing="ij"))
    distance = np.linalg.norm(grid, axis=0)
    bright = 1000 * (distance < radius)
    return bright[..., None].astype(np.int16)


def uniform(low, high, shape, spacing):
    """A scan of random integers."""
    return scan(RNG.integers(low, high, shape), spacing)


def extents(levels):
    """Pixels that a bright object measures along each axis."""
    bright = levels[..., 0] > levels.max() / 2
    axes = range(bright.ndim)
    lengths = []
    for axis in axes:
        others = tuple(other for other in axes if other != axis)
        places = np.flatnonzero(bright.any(others))
        lengths.append(int(np.ptp(places)) + 1)
    return lengths


@pytest.mark.parametrize(
    "spacing",
    [
        (1.0, 1.0, 1.0),
        (4.0, 0.7, 0.7),
        (2.0, 0.5, 1.0),
        (0.8, 1.6, 1.1),
    ],
)
def test_a_ball_stays_a_ball_in_millimetres(spacing):
    """Whatever the voxels. Catches a plane that is stretched to a square, a spacing of another
    axis, and a target that is not reached.
    """
    ball = scan(sphere(spacing), spacing)
    flat = Frame(32, spacing="1", intensity="zscore", stored="uint8")
    deep = dataclasses.replace(flat, depth=16)
    measured = extents(deep.to_pool(ball).levels)
    for pixels, side in zip(measured, spacing, strict=True):
        assert abs(pixels - 24) <= 1 + round(side), measured
    levels = flat.to_pool(ball).levels
    middle = levels[len(levels) // 2]
    across = extents(middle)
    assert abs(across[0] - across[1]) <= 2, across


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.5, 0.5), (0.4, 0.8)])
def test_without_millimetres_the_aspect_stays(spacing):
    """Catches a picture that is stretched, and a longest side of another size."""
    rows, columns = np.mgrid[:90, :60]
    down = spacing[0] * (rows - 45)
    across = spacing[1] * (columns - 30)
    inside = np.hypot(down, across) < 20 * spacing[0]
    levels = 200 * inside.astype(np.uint8)
    frame = Frame(64, spacing="fit", intensity="none", stored="uint8")
    pool = frame.to_pool(scan(levels[..., None], spacing))
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
    image = RNG.integers(1, 255, (32, 16, 1)).astype(np.uint8)
    label = np.ones((32, 16), np.uint8)
    case = scan(image, (1.0, 1.0), label)
    image_pool = frame.to_pool(case)
    label_pool = frame.label_to_pool(label, case.spacing)
    pool = flatten([image_pool], [label_pool], frame)
    every = choice(np.ones(1, bool))
    pools = Pools(
        image=pool.on_device(),
        label=jnp.asarray(pool.labels),
        labelled=every,
        unlabelled=every,
        synthetic_count=jnp.int32(0),
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
    cube = (1.0, 1.0, 1.0)
    a = frame.to_pool(scan(numbers.astype(np.int32), cube))
    b = frame.to_pool(scan(numbers.astype(dtype), cube))
    np.testing.assert_array_equal(a.levels, b.levels)
    np.testing.assert_array_equal(a.mean, b.mean)
    small = RNG.integers(0, 200, (20, 24, 1))
    square = (1.0, 1.0)
    a = frame.to_pool(scan(small.astype(np.uint8), square))
    b = frame.to_pool(scan(small.astype(dtype), square))
    np.testing.assert_array_equal(a.levels, b.levels)


def test_padding_of_a_ct_changes_no_tissue():
    """Air of -1024 and padding of -3024 give tissue the same values at the network's input.

    Catches limits, means or deviations of a CT's own numbers.
    """
    tissue = RNG.integers(-100, 200, (4, 12, 12, 1)).astype(np.int16)
    inputs = []
    for padding in (-1024, -3024):
        wide = np.full((4, 20, 20, 1), padding, np.int16)
        wide[:, 4:16, 4:16] = tissue
        case = scan(wide, (1.0, 1.0, 1.0))
        frame = Frame(20, spacing="fit").resolved([case], "voxel")
        assert frame.intensity == "ct"
        pool = frame.to_pool(case)
        levels = np.float32(pool.levels)
        if pool.levels.dtype == np.uint8:
            levels /= 255
        standard = (levels - pool.mean) / pool.deviation
        inputs.append(standard[:, 4:16, 4:16])
    np.testing.assert_array_equal(*inputs)


@pytest.mark.parametrize("rule", ["ct-soft", "percentile", "zscore"])
def test_a_slice_of_air_stays_dark(rule):
    """Catches a rule by slice, which blows noise up to full contrast."""
    volume = RNG.normal(-1000, 5, (4, 16, 16, 1)).astype(np.float32)
    volume[1:, 4:12, 4:12] = RNG.normal(100, 20, (3, 8, 8, 1))
    frame = Frame(16, spacing="fit", intensity=rule, stored="uint8")
    case = scan(volume, THICKER)
    levels = frame.to_pool(case).levels
    brightest = levels[1:].max()
    assert levels[0].max() < 0.1 * brightest
    by_slice = dataclasses.replace(
        frame,
        intensity=grey_values.OF_SLICE,
        spacing="stretch",
    )
    air = by_slice.to_pool(case).levels[0]
    assert air.max() == 255


def test_a_set_decides_what_is_left_open():
    """Catches a rule that looks at one scan, millimetres where nobody knows them, and levels that
    are coarser than the noise.
    """
    noisy = []
    for _ in range(3):
        image = RNG.normal(500, 60, (3, 32, 32, 1))
        noisy.append(scan(image, THICKEST))
    frame = Frame(32).resolved(noisy, "mm")
    assert frame.spacing == "1 1"
    assert frame.intensity == "percentile"
    assert frame.stored == "uint8"
    assert Frame(32).resolved(noisy, "voxel").spacing == "fit"
    ramp = np.linspace(0, 1, 64, dtype=np.float32)
    smooth = 30000 * np.outer(ramp, ramp)
    fine = [scan(smooth[None, ..., None], THICKEST)]
    assert Frame(32).resolved(fine, "mm").stored == "float16"
    picture = [scan(np.zeros((8, 8, 3), np.uint8), (1.0, 1.0))]
    assert Frame(32).resolved(picture, "pixel").intensity == "zscore"
    with pytest.raises(UserError, match="nobody knows its millimetres"):
        Frame(32, spacing="0.5").resolved(picture, "pixel")
    for wrong, where in (("soft", "intensity"), ("window 300 100", "intensity")):
        with pytest.raises(UserError, match=where):
            Frame(32, intensity=wrong).resolved(picture, "pixel")
    with pytest.raises(UserError, match="one number or 2"):
        Frame(32, spacing="1 2 3").resolved(noisy, "mm")
    spacings = [(9.0, 1.0, 1.0), (5.0, 1.0, 1.0)]
    assert median_spacing(spacings, 3) == (5.4, 1.0, 1.0)


def ramp(number):
    """The centres of ``number`` pixels between 0 and 1."""
    return (np.arange(number) + 0.5) / number


def test_a_prediction_finds_its_way_back():
    """A probability that is linear in space comes back linear. Catches a shift by half a pixel,
    rows for columns, and slices in another order.
    """
    frame = Frame(16, depth=8, spacing="2", intensity="zscore", stored="uint8")
    voxels = (9, 30, 20)
    case = scan(np.zeros((*voxels, 1), np.uint8), (4.0, 1.0, 1.0))
    shape = frame.shape(case)
    assert shape == (18, 15, 10)
    axes = [ramp(pixels) for pixels in shape]
    grid = np.meshgrid(*axes, indexing="ij")
    ramps = np.stack(grid, -1).astype(np.float32)
    back = frame.to_scan(ramps, voxels)
    inner = slice(2, -2)
    for axis, number in enumerate(voxels):
        others = tuple({0, 1, 2} - {axis})
        line = back[..., axis].mean(others)
        wanted = ramp(number)
        np.testing.assert_allclose(line[inner], wanted[inner], atol=0.01)


# ------------------------------------------------------------------ old runs, and expectations
def test_a_run_from_before_there_was_a_choice_keeps_its_frame():
    """Catches a recorded configuration that is read with another frame than it was trained in."""
    recorded = config.to_dict(config.Trial(labels=4))
    for field in ("spacing", "intensity", "draw_by", "foreground", "width"):
        del recorded[field]
    old = config.from_dict(recorded)
    assert old.spacing == "stretch"
    assert old.intensity == "slice"
    assert old.draw_by == "images"
    assert old.foreground == 0.0
    assert config.network_from_dict(recorded).frame.is_stretched
    assert config.from_dict({"labels": 4, "image_size": 64}).spacing == "auto"


def test_a_scan_unlike_training_is_described():
    """Catches Hounsfield units for windowed pictures, a tenth of the contrast, another spacing."""
    train = [uniform(0, 255, (4, 16, 16, 1), THICK) for _ in range(3)]
    seen = expected.of_scans(train, "mm")
    assert expected.differences(seen, train[0], "mm") == []
    hu = uniform(-1000, 1500, (4, 16, 16, 1), THICK)
    (phrase,) = expected.differences(seen, hu, "mm")
    assert "those of training between" in phrase
    faint = scan(train[0].image // 20, THICK)
    assert len(expected.differences(seen, faint, "mm")) == 1
    coarse = dataclasses.replace(train[0], spacing=(3.0, 2.5, 2.5))
    (phrase,) = expected.differences(seen, coarse, "mm")
    assert "its spacing is 3 × 2.5 × 2.5 mm" in phrase


def test_windows_cover_an_image():
    """Catches a border that no window sees, and a program for each size of image."""
    flat = Frame(16)
    deep = Frame(16, depth=4)
    shapes = [(16, 16), (40, 17), (9, 33), (2100, 20)]
    cases = [(flat, shape) for shape in shapes]
    cases += [(deep, (7, *shape)) for shape in shapes[:3]]
    for frame, shape in cases:
        covered = np.zeros(shape, bool)
        size = frame.view_shape(shape)
        for start in frame.windows(shape):
            sides = zip(start, size, strict=True)
            covered[tuple(slice(max(a, 0), a + w) for a, w in sides)] = True
        assert covered.all()
    assert [flat.view_shape(shape) for shape in shapes] == [
        (16, 16),
        (64, 32),
        (16, 64),
        (1024, 32),
    ]
    assert deep.view_shape((7, 40, 17)) == (4, 16, 16)
    assert Frame(16, view="centre").view_shape((40, 40)) == (16, 16)
