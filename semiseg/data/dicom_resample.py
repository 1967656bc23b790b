"""Slices that are sheared against each other, or lie at uneven distances, on an even grid, and
back.

Values between slices are interpolated linearly along their normal; a slice is shifted in its plane
by linear interpolation, too. Where no slice reaches there is padding: the darkest value, and no
class.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from semiseg.data.dicom_geometry import LPS_TO_RAS, Stack
from semiseg.data.orientation import Grid

UNSEEN = 255
"""Label of a voxel at which nobody looked, see :data:`semiseg.types.IGNORE`."""
NEGLIGIBLE = 0.25
"""Shift of a slice, pixels, for which no row or column is added."""
ON_SLICE = 1e-6
"""Share of a gap within which a depth is that of a slice."""


class EvenGrid(NamedTuple):
    """An even grid around skewed slices.

    Attributes:
      grid: affine to RAS mm, and shape ``(X, Y, Z)``.
      places: of its slices in units of the stack's, ``(Z,)``.
      offsets: first pixel of each of the stack's slices on the grid, ``(slices, 2)`` columns and
        rows.
    """

    grid: Grid
    places: np.ndarray
    offsets: np.ndarray


def notes(source: Path, stacks: Iterable[Stack]) -> list[str]:
    """A line on the series of a set that are resampled."""
    folders = [stack.planes[0].path.parent.name for stack in stacks if stack.depths]
    if not folders:
        return []
    return [
        f"{source}: series of tilted or uneven slices, resampled to an even grid: {len(folders)} "
        f"({', '.join(folders[:3])})"
    ]


def even_grid(stack: Stack) -> EvenGrid:
    """The grid of a skewed stack's own directions and pixel size, with its median gap, that holds
    all of its slices.
    """
    depths = np.array(stack.depths)
    gaps = np.diff(depths)
    number = 1 + round(float(np.ptp(depths) / np.median(gaps)))
    along = np.linspace(depths[0], depths[-1], number)
    places = np.interp(along, depths, np.arange(len(depths)))
    first = stack.planes[0]
    row, column = np.array(first.directions).reshape(2, 3)
    row_gap, column_gap = first.spacing
    moved = np.array([plane.position for plane in stack.planes]) - first.position
    shifts = np.stack([moved @ row / column_gap, moved @ column / row_gap], axis=1)
    low = np.floor(shifts.min(axis=0) + NEGLIGIBLE)
    high = np.ceil(shifts.max(axis=0) - NEGLIGIBLE)
    columns, rows, _ = stack.shape
    extra = (high - low).astype(int)
    affine = np.eye(4)
    affine[:3, 0] = row * column_gap
    affine[:3, 1] = column * row_gap
    affine[:3, 2] = np.cross(row, column) * (along[-1] - along[0]) / (number - 1)
    affine[:3, 3] = first.position + low[0] * affine[:3, 0] + low[1] * affine[:3, 1]
    shape = (columns + int(extra[0]), rows + int(extra[1]), number)
    return EvenGrid(Grid(LPS_TO_RAS @ affine, shape, slice_axis=2), places, shifts - low)


def resampled(slices_XYZ: np.ndarray, even: EvenGrid, fill: float) -> np.ndarray:
    """The values of a stack's slices on an even grid, in their own type; ``fill`` where none is."""
    columns, rows, number = even.grid.shape
    voxels = np.empty((number, rows, columns), slices_XYZ.dtype).transpose(2, 1, 0)
    for k, place in enumerate(even.places):
        below = int(place + ON_SLICE)
        share = place - below
        plane = _shifted(slices_XYZ, below, even, fill)
        if share > ON_SLICE:
            plane = (1 - share) * plane + share * _shifted(slices_XYZ, below + 1, even, fill)
        if voxels.dtype.kind in "iu":
            plane = np.rint(plane)
        voxels[..., k] = plane
    return voxels


def _shifted(slices_XYZ: np.ndarray, z: int, even: EvenGrid, fill: float) -> np.ndarray:
    """A slice where it lies in the planes of the grid, float32."""
    from scipy import ndimage

    plane = slices_XYZ[..., z].astype(np.float32)
    offset = -even.offsets[z]
    shape = even.grid.shape[:2]
    return ndimage.affine_transform(
        plane, np.ones(2), offset, shape, order=1, mode="constant", cval=fill
    )


def resampled_label(label_XYZ: np.ndarray, even: EvenGrid) -> np.ndarray:
    """The class with the largest share of each voxel; UNSEEN where no slice reaches."""
    label = np.full(even.grid.shape, UNSEEN, np.uint8)
    largest = resampled((label_XYZ == UNSEEN).astype(np.float32), even, 1.0)
    for value in np.unique(label_XYZ).tolist():
        if value == UNSEEN:
            continue
        share = resampled((label_XYZ == value).astype(np.float32), even, 0.0)
        label[share > largest] = value
        largest = np.maximum(share, largest)
    return label


def on_slices(mask_XYZ: np.ndarray, stack: Stack, even: EvenGrid) -> np.ndarray:
    """A mask of the even grid on the stack's own slices ``(X, Y, slices)``: the nearest voxels."""
    columns, rows, number = stack.shape
    mask = np.empty(stack.shape, mask_XYZ.dtype)
    for z in range(number):
        k = int(np.argmin(np.abs(even.places - z)))
        x, y = np.rint(even.offsets[z]).astype(int)
        mask[..., z] = mask_XYZ[x : x + columns, y : y + rows, k]
    return mask
