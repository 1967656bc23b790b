"""Segments of a DICOM SEG on the grid of a series.

BINARY, FRACTIONAL (at 0.5) and LABELMAP objects are read. Where a frame lies follows from its
position and directions, never from the images that it names. A frame may be turned against the
slices by quarter turns, but its pixels must be those of the series.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from semiseg.data.dicom_files import frames_of, interpreting, read_header
from semiseg.data.dicom_geometry import Plane, Stack, to_index
from semiseg.data.dicom_series import lookup, planes_of
from semiseg.errors import UserError

HALF = 0.5
"""A pixel of a FRACTIONAL segment belongs to it from this share or probability on."""
OFF_GRID = 0.01
"""A pixel of a segment may lie this share of a voxel off the voxel that it is of."""


class Frames(NamedTuple):
    """What the header of a SEG says of its frames.

    Attributes:
      path: of the file.
      kind: BINARY, FRACTIONAL or LABELMAP.
      planes: where each frame lies.
      segments: number of the segment of each frame; 0 in a LABELMAP, which holds all.
      full: stored value that means 1 in a FRACTIONAL object.
      padding: stored value of a LABELMAP that means that nobody looked; None where there is none.
    """

    path: Path
    kind: str
    planes: tuple[Plane, ...]
    segments: tuple[int, ...]
    full: int = 1
    padding: int | None = None


def read_frames(path: Path) -> Frames:
    """Read the header of a SEG.

    Raises:
      UserError: it cannot be read, or its frames have no position.
    """
    header = read_header(path)
    with interpreting(path):
        return _frames_of(path, header)


def _frames_of(path: Path, header: Any) -> Frames:
    kind = str(header.get("SegmentationType") or "")
    if kind not in ("BINARY", "FRACTIONAL", "LABELMAP"):
        raise UserError(
            f"is a segmentation of the unknown type {kind!r}",
            where=path,
            remedy="export it as BINARY, FRACTIONAL or LABELMAP",
        )
    planes = planes_of(path, header)
    if not planes:
        raise UserError(
            "states no positions of its frames", where=path, remedy="export the segmentation again"
        )
    segments = [0] * len(planes)
    if kind != "LABELMAP":
        segments = _segment_numbers(header)
    padding = header.get("PixelPaddingValue")
    if kind != "LABELMAP" or padding in (None, 0):
        padding = None
    full = int(header.get("MaximumFractionalValue") or 1)
    return Frames(path, kind, tuple(planes), tuple(segments), full, padding)


def _segment_numbers(header: Any) -> list[int]:
    shared = (header.get("SharedFunctionalGroupsSequence") or [None])[0]
    numbers: list[int] = []
    for frame in header.PerFrameFunctionalGroupsSequence:
        groups = [group for group in (frame, shared) if group is not None]
        number = lookup(groups, "SegmentIdentificationSequence", "ReferencedSegmentNumber")
        numbers.append(int(number or 0))
    return numbers


# ------------------------------------------------------------------ geometry
def misfit(frames: Frames, stack: Stack) -> str:
    """Why the frames are not on the grid of a series; "" if they are."""
    for number, plane in enumerate(frames.planes):
        corners = _corners(plane, stack)
        if corners is None:
            return "its pixels are not those of the images (another size, place or direction)"
        if corners.min() < 0 or (corners.max(axis=0) >= stack.shape).any():
            return f"its frame {number + 1} lies outside of the images"
    return ""


def _corners(plane: Plane, stack: Stack) -> np.ndarray | None:
    """Voxels ``(4, 3)`` int of a frame's corners: first pixel, end of the first row, end of the
    first column, last pixel. None where its pixels are not the series' own.
    """
    rows, columns = plane.shape
    directions = np.array(plane.directions).reshape(2, 3)
    row_gap, column_gap = plane.spacing
    along_row = directions[0] * column_gap * (columns - 1)
    along_column = directions[1] * row_gap * (rows - 1)
    first = np.array(plane.position)
    points = np.array(
        [first, first + along_row, first + along_column, first + along_row + along_column]
    )
    exact = to_index(stack, points)
    exact -= _drift(stack, float(exact[0, 2]))
    corners = np.rint(exact).astype(int)
    if np.abs(corners - exact).max() > OFF_GRID:
        return None
    lengths = np.abs(corners[1:3] - corners[0])
    if sorted(lengths[0].tolist()) != [0, 0, columns - 1]:
        return None
    if sorted(lengths[1].tolist()) != [0, 0, rows - 1]:
        return None
    return corners


def _drift(stack: Stack, z: float) -> np.ndarray:
    """How far the slice at ``z`` lies off the even grid, ``(3,)`` voxels."""
    nearest = int(np.clip(np.rint(z), 0, len(stack.planes) - 1))
    place = to_index(stack, np.array([stack.planes[nearest].position]))[0]
    return place - (0, 0, nearest)


def _voxels(plane: Plane, stack: Stack) -> tuple[np.ndarray, ...]:
    """Indices x, y and z, ``(rows, columns)`` each, of the pixels of a frame that fits."""
    corners = _corners(plane, stack)
    if corners is None:
        raise UserError("lies on another grid than the images", where=plane.path)
    rows, columns = plane.shape
    along_row = np.sign(corners[1] - corners[0])
    along_column = np.sign(corners[2] - corners[0])
    r = np.arange(rows)[:, None]
    c = np.arange(columns)
    return tuple(corners[0, k] + r * along_column[k] + c * along_row[k] for k in range(3))


# ------------------------------------------------------------------ pixels
def masks(frames: Frames, stack: Stack, numbers: Sequence[int]) -> Iterator[np.ndarray]:
    """A mask ``(X, Y, Z)`` bool for each segment, in the order of ``numbers``.

    Raises:
      UserError: pixels cannot be read.
    """
    for number in numbers:
        mask_XYZ = np.zeros(stack.shape, bool)
        threshold = number
        places = list(range(len(frames.planes)))
        if frames.kind != "LABELMAP":
            places = [i for i in places if frames.segments[i] == number]
            threshold = max(1, int(np.ceil(frames.full * HALF)))
        for i, pixels in _pixels(frames, places):
            inside = pixels >= threshold
            if frames.kind == "LABELMAP":
                inside = pixels == number
            mask_XYZ[_voxels(frames.planes[i], stack)] |= inside
        yield mask_XYZ


def unseen(frames: Frames, stack: Stack) -> np.ndarray | None:
    """Voxels ``(X, Y, Z)`` bool at which nobody looked: the padding of a LABELMAP, and slices that
    it lacks; None where it has no padding.
    """
    if frames.padding is None:
        return None
    unseen_XYZ = np.ones(stack.shape, bool)
    for i, pixels in _pixels(frames, range(len(frames.planes))):
        unseen_XYZ[_voxels(frames.planes[i], stack)] = pixels == frames.padding
    return unseen_XYZ


def _pixels(frames: Frames, places: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
    if places:
        numbers = [frames.planes[i].frame for i in places]
        yield from zip(places, frames_of(frames.path, numbers), strict=True)
