"""Regions of an RTSTRUCT on the grid of a series.

A region is a list of closed contours in planes of the slices. Coordinates decide where they lie:
the frames of reference and images that an RTSTRUCT names are wrong in many archives. Contours of
one slice are combined by the even-odd rule, so that a contour inside another one is a hole, whether
it stands alone or is tied to the outer one by a keyhole.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from semiseg.data.dicom_files import interpreting, read_header
from semiseg.data.dicom_geometry import Stack, to_index
from semiseg.data.dicom_series import LabelFile
from semiseg.errors import UserError

CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
OFF_PLANE = 0.25
"""A contour may lie off its slice by this share of the spacing between slices."""
MARGIN = 1.0
"""A contour may leave the image by so many pixels: it may run along the outer edge of a pixel."""


def read_contours(path: Path) -> dict[int, list[np.ndarray]]:
    """Number of a region → its closed contours, ``(N, 3)`` LPS mm each. Points and open lines are
    left out.

    Raises:
      UserError: the file cannot be read, or a contour's numbers are no points.
    """
    header = read_header(path, ("ROIContourSequence",))
    regions: dict[int, list[np.ndarray]] = {}
    with interpreting(path):
        for item in header.get("ROIContourSequence") or ():
            number = int(item.ReferencedROINumber)
            regions[number] = [
                _points(contour, path)
                for contour in item.get("ContourSequence") or ()
                if contour.get("ContourGeometricType") in CLOSED
            ]
    return regions


def _points(contour: Any, path: Path) -> np.ndarray:
    numbers = np.array(contour.get("ContourData") or (), np.float64)
    if len(numbers) % 3 or not np.isfinite(numbers).all():
        raise UserError(
            f"has a contour of {len(numbers)} numbers, which are no points",
            where=path,
            remedy="export the structures again",
        )
    return numbers.reshape(-1, 3)


def misfit(contours: Sequence[np.ndarray], stack: Stack) -> str:
    """Why the contours are not on the slices of a series; "" if they are."""
    outside = 0
    between = 0
    for points in contours:
        index = to_index(stack, points)
        low = index.min(axis=0)
        high = index.max(axis=0)
        if high[2] - low[2] > 2 * OFF_PLANE:
            return "its contours are not parallel to the slices"
        z = _slice_of(stack, points)
        off = np.abs(index[:, 2] - z).max()
        beyond = (low[:2] < -MARGIN).any() or (
            high[:2] > np.array(stack.shape[:2]) - 1 + MARGIN
        ).any()
        if beyond or not -OFF_PLANE < index[:, 2].mean() < stack.shape[2] - 1 + OFF_PLANE:
            outside += 1
        elif off > OFF_PLANE + _unevenness(stack, z):
            between += 1
    if outside:
        return f"{_of(outside, len(contours))} outside of the images"
    if between:
        return f"{_of(between, len(contours))} between the slices"
    return ""


def _of(number: int, contours: int) -> str:
    """How many contours of a structure lie somewhere.

    >>> _of(1, 1), _of(1, 9), _of(2, 9)
    ('its one contour lies', '1 of its 9 contours lies', '2 of its 9 contours lie')
    """
    if contours == 1:
        return "its one contour lies"
    return f"{number} of its {contours} contours {'lies' if number == 1 else 'lie'}"


def _slice_of(stack: Stack, points: np.ndarray) -> int:
    """The slice nearest to a contour."""
    depth = to_index(stack, points)[:, 2].mean()
    return int(np.clip(np.rint(depth), 0, stack.shape[2] - 1))


def _unevenness(stack: Stack, z: int) -> float:
    place = to_index(stack, np.array([stack.planes[z].position]))[0]
    return float(np.abs(place[2] - z))


def mask(contours: Sequence[np.ndarray], stack: Stack) -> np.ndarray:
    """A region as a mask ``(X, Y, Z)`` bool.

    A contour that stands twice in the file counts once.
    """
    columns, rows, _ = stack.shape
    mask_XYZ = np.zeros(stack.shape, bool)
    seen: set[bytes] = set()
    for points in contours:
        if points.tobytes() in seen or len(points) < 3:
            continue
        seen.add(points.tobytes())
        z = _slice_of(stack, points)
        polygon = to_index(stack, points)[:, :2]
        mask_XYZ[..., z] ^= inside(polygon, (rows, columns)).T
    return mask_XYZ


def inside(polygon: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Pixels whose centre is inside a polygon by the even-odd rule.

    A ray along each row of pixels changes sides wherever it crosses an edge (Shimrat, Algorithm
    112, Communications of the ACM 5, 1962). An edge that is walked both ways, as the bridge of a
    keyhole, changes nothing.

    Args:
      polygon: ``(N, 2)``, column and row of each corner; the centre of a pixel is a whole number.
      shape: rows and columns of the result.

    Returns:
      ``(rows, columns)`` bool.

    >>> square = np.array([[0.5, 0.5], [2.5, 0.5], [2.5, 2.5], [0.5, 2.5]])
    >>> inside(square, (4, 4)).astype(int)
    array([[0, 0, 0, 0],
           [0, 1, 1, 0],
           [0, 1, 1, 0],
           [0, 0, 0, 0]])
    """
    rows, columns = shape
    crossings = np.zeros((rows, columns + 1), np.int64)
    for start, end in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        low = start
        high = end
        if start[1] > end[1]:
            low = end
            high = start
        first = max(0, int(np.ceil(low[1])))
        last = min(rows, int(np.ceil(high[1])))
        if first >= last:  # between two rows, or level
            continue
        row = np.arange(first, last)
        share = (row - low[1]) / (high[1] - low[1])
        column = np.ceil(low[0] + share * (high[0] - low[0])).astype(int)
        crossings[row, np.clip(column, 0, columns)] += 1
    return crossings[:, :columns].cumsum(axis=1) % 2 == 1


def step_of(contours: Sequence[np.ndarray], stack: Stack) -> int:
    """On every how many-th slice a region is drawn: 1, or more where slices between have none.

    Fewer than three slices tell nothing.
    """
    slices = sorted({_slice_of(stack, points) for points in contours})
    gaps = set(np.diff(slices).tolist())
    if len(slices) < 3 or len(gaps) > 1:
        return 1
    return int(gaps.pop())


def regions_fit(label: LabelFile, numbers: Sequence[int], stack: Stack) -> str:
    """Why the chosen regions of a file are not on the slices of a series; "" if they are."""
    contours = read_contours(label.path)
    for number in numbers:
        reason = misfit(contours.get(number, []), stack)
        if reason:
            return f"{label.names[number]}: {reason}"
    return ""
