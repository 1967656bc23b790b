"""Surface distances and counts against MedPy and MONAI, and against what can be said by hand."""

import numpy as np
import pytest
from golden_values import CASES, ball, box

from semiseg.evaluate import mask_metrics
from semiseg.evaluate.distances import bounding_box, surface_distances

NAMES = (
    "dice",
    "iou",
    "precision",
    "sensitivity",
    "volume_error",
    "hd",
    "hd95",
    "hd95_pooled",
    "assd",
)

# Printed by golden_values.py with MedPy 0.5.2 and MONAI 1.6.1. Dice, IoU, precision, sensitivity,
# volume error, pooled HD95: MedPy;
# HD95: MONAI; HD and ASSD: both, equal.
GOLDEN = {
    "spheres of radius 6 and 8": (
        0.590674,
        0.419118,
        1.000000,
        0.419118,
        -0.580882,
        2.449490,
        2.449490,
        2.449490,
        1.928930,
    ),
    "spheres of radius 20 and 22": (
        0.857822,
        0.751040,
        1.000000,
        0.751040,
        -0.248960,
        2.449490,
        2.236068,
        2.236068,
        1.925844,
    ),
    "box shifted by (1, 2, 3), anisotropic": (
        0.390625,
        0.242718,
        0.390625,
        0.390625,
        0.000000,
        4.387482,
        3.605551,
        3.605551,
        2.116051,
    ),
    "L against its long arm, anisotropic": (
        0.756757,
        0.608696,
        0.608696,
        1.000000,
        0.642857,
        9.000000,
        9.000000,
        8.000000,
        1.272551,
    ),
    "a voxel and a far voxel": (
        0.000000,
        0.000000,
        0.000000,
        0.000000,
        0.000000,
        30.740852,
        30.740852,
        30.740852,
        30.740852,
    ),
    "a voxel inside a ball": (
        0.003876,
        0.001942,
        1.000000,
        0.001942,
        -0.998058,
        5.000000,
        5.000000,
        5.000000,
        4.560336,
    ),
    "box at the image's edge": (
        0.753589,
        0.604607,
        0.900000,
        0.648148,
        -0.279835,
        4.000000,
        4.000000,
        2.000000,
        0.632160,
    ),
    "discs of radius 5 and 7, apart": (
        0.426087,
        0.270718,
        0.604938,
        0.328859,
        -0.456376,
        7.280110,
        7.123328,
        6.708204,
        3.218359,
    ),
    "disc with a speck, anisotropic": (
        0.995595,
        0.991228,
        0.991228,
        1.000000,
        0.008850,
        12.798828,
        0.000000,
        0.000000,
        0.196905,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_golden_values(name):
    """Catches another surface (connectivity, no border at the frame), another percentile or
    average, and a spacing dropped or permuted.
    """
    prediction, truth, spacing = CASES[name]
    found = mask_metrics(prediction, truth, spacing, NAMES)
    np.testing.assert_allclose(
        [found[m] for m in NAMES],
        GOLDEN[name],
        atol=2e-6,
    )


def test_golden_table_is_complete():
    """Catches a case without a value, which the test above would not run."""
    assert list(CASES) == list(GOLDEN)


def test_published_spheres():
    """Concentric spheres 2 voxels apart: HD 2.449, HD95 2.236, ASSD 1.926. Catches a golden table
    made with a changed tool.
    """
    found = mask_metrics(*CASES["spheres of radius 20 and 22"], ("hd", "hd95", "assd"))
    assert [round(v, 3) for v in found.values()] == [2.449, 2.236, 1.926]


def test_directions_by_hand():
    """A row of 3 against its first pixel. Catches the two directions being swapped or one being
    computed twice.
    """
    row = box((3, 5), (1, 2), (1, 4))
    pixel = box((3, 5), (1, 2), (1, 2))
    d = surface_distances(row, pixel, (1.0, 2.0))
    assert sorted(d.to_truth) == [0.0, 2.0, 4.0]
    assert list(d.to_prediction) == [0.0]


def test_hd95_modes_by_hand():
    """To the truth 0, 2, 4 (95 %: 3.8), back 0: max 3.8, pooled 0, 0, 2, 4 -> 3.7. Catches the
    modes being swapped.
    """
    row = box((3, 5), (1, 2), (1, 4))
    pixel = box((3, 5), (1, 2), (1, 2))
    found = mask_metrics(row, pixel, (1.0, 2.0), ("hd", "hd95", "hd95_pooled", "assd"))
    np.testing.assert_allclose(
        list(found.values()),
        [4.0, 3.8, 3.7, 1.5],
        rtol=1e-12,
    )
    assert found == mask_metrics(pixel, row, (1.0, 2.0), tuple(found))


@pytest.mark.parametrize("name", CASES)
def test_distances_are_symmetric(name):
    """Swapping prediction and truth leaves every distance. Catches the maximum or the pool being
    taken over one direction only.
    """
    prediction, truth, spacing = CASES[name]
    names = ("hd", "hd95", "hd95_pooled", "assd")
    there = mask_metrics(prediction, truth, spacing, names)
    back = mask_metrics(truth, prediction, spacing, names)
    np.testing.assert_allclose(
        list(there.values()),
        list(back.values()),
        rtol=1e-12,
    )


@pytest.mark.parametrize("shape", [(12, 9), (7, 12, 9)])
def test_place_and_scale(shape):
    """A shift of both masks, to the very corner, changes nothing and the spacing scales. Catches a
    crop that cuts or pads wrongly.
    """
    space = (1.0, 2.0, 0.5)[: len(shape)]
    a = ball(shape, (3,) * len(shape), 2)
    b = ball(shape, (3.5,) * len(shape), 1.8)
    shift = tuple(-1 for _ in shape)
    plain = surface_distances(a, b, space)
    moved = surface_distances(
        np.roll(a, shift, range(len(shape))), np.roll(b, shift, range(len(shape))), space
    )
    scaled = surface_distances(a, b, [3 * s for s in space])
    for p, m, s in zip(plain, moved, scaled, strict=True):
        np.testing.assert_array_equal(p, m)
        np.testing.assert_allclose(3 * p, s, rtol=1e-12)


@pytest.mark.parametrize(
    "sides", [((2, 5), (7, 8)), ((0, 6), (3, 9), (1, 2)), ((5, 6), (8, 9), (6, 7))]
)
def test_bounding_box(sides):
    """Catches an axis searched in a crop of the wrong axis, and an end that is off by one."""
    shape = (6, 9, 7)[: len(sides)]
    assert bounding_box(box(shape, *sides)) == tuple(slice(*side) for side in sides)
