"""Regions of RTSTRUCTs as masks."""

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom", reason="needs the extra dicom")

from dicom_samples import (  # noqa: E402
    box,
    mask_of,
    only_scan,
    read_set,
    write_study,
)

from semiseg.data import dicom_contours  # noqa: E402
from semiseg.data.dicom_series import find_series  # noqa: E402

KEYHOLE = [
    (1.5, 1.5, 1),
    (10.5, 1.5, 1),
    (10.5, 10.5, 1),
    (1.5, 10.5, 1),
    (1.5, 5.2, 1),
    (4.5, 5.2, 1),
    (4.5, 7.5, 1),
    (7.5, 7.5, 1),
    (7.5, 4.5, 1),
    (4.5, 4.5, 1),
    (4.5, 5.2, 1),
    (1.5, 5.2, 1),
]
CONTOURS = {
    "two on one slice": (
        [box(1, 1, 4, 5, 1), box(8, 9, 9, 9, 1)],
        [(1, 1, 4, 5, 1), (8, 9, 9, 9, 1)],
    ),
    "a hole": ([box(1, 1, 9, 9, 2), box(3, 3, 5, 6, 2)], [(1, 1, 9, 9, 2), (3, 3, 5, 6, 2)]),
    "a keyhole": ([KEYHOLE], [(2, 2, 10, 10, 1), (5, 5, 7, 7, 1)]),
    "a copy": ([box(1, 1, 4, 5, 0), box(1, 1, 4, 5, 0)], [(1, 1, 4, 5, 0)]),
    "to the edge": ([box(0, 0, 23, 19, 3)], [(0, 0, 23, 19, 3)]),
    "between the centres": ([box(1, 1, 1, 1, 0)], [(1, 1, 1, 1, 0)]),
}


@pytest.mark.parametrize("case", CONTOURS)
def test_contours_fill_the_pixels_inside(tmp_path, case):
    """Catches swapped rows and columns, filled holes, contours that cancel each other or replace
    each other, a bridge that leaves a line.
    """
    contours, boxes = CONTOURS[case]
    folder = write_study(tmp_path / "s", {"GTV-1": contours})
    scan = only_scan(folder)
    label = find_series(folder).labels[0]
    regions = dicom_contours.read_contours(label.path)
    assert not dicom_contours.misfit(regions[1], scan.stack)
    mask = scan.turn.to_scan(dicom_contours.mask(regions[1], scan.stack))
    assert (mask == mask_of(*boxes)).all()


def test_a_contour_is_even_odd_for_any_polygon():
    """Catches a rule that fails at vertices and level edges: compared with matplotlib's."""
    from matplotlib.path import Path as Outline

    rng = np.random.default_rng(3)
    grid = np.stack(np.meshgrid(np.arange(30), np.arange(20)), axis=-1).reshape(-1, 2)
    for corners in (3, 5, 8):
        polygon = rng.uniform(-2, 22, (corners, 2))
        hull = polygon[np.argsort(np.arctan2(*(polygon - polygon.mean(axis=0)).T))]
        outline = Outline(np.vstack([hull, hull[:1]]))
        expected = outline.contains_points(grid).reshape(20, 30)
        assert (dicom_contours.inside(hull, (20, 30)) == expected).all()


MISFITS = {
    "between slices": ([box(1, 1, 4, 5, 1.5)], "its one contour lies between the slices"),
    "above": ([box(1, 1, 4, 5, 1), box(1, 1, 4, 5, 9)], "1 of its 2 contours lies outside"),
    "beside": ([box(20, 1, 40, 5, 1)], "its one contour lies outside of the images"),
    "not parallel": ([[(1, 1, 0), (5, 1, 2), (5, 5, 2)]], "not parallel"),
}


@pytest.mark.parametrize("case", MISFITS)
def test_contours_that_fit_no_series_are_a_problem(tmp_path, case):
    """Catches structures that lose a part, or land on slices they were not drawn on."""
    contours, message = MISFITS[case]
    folder = write_study(tmp_path / "s", {"GTV-1": contours})
    source = read_set(tmp_path)
    assert any(
        line.startswith(f"{folder}/rs.dcm: cannot be matched") and message in line
        for line in source.problems
    )
