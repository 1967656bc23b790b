"""From the slices of a DICOM series to one grid of voxels, or one line that says why there is none.

Positions and directions of DICOM are LPS: x to the patient's left, y to posterior, z to superior
(PS3.3 C.7.6.2.1.1). Affines here are RAS, as everywhere in the package. A file's array is
``(X, Y, Z)``: columns, rows, slices.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from semiseg.data.info import numbered
from semiseg.data.orientation import Grid, code_of
from semiseg.errors import UserError

Vector = tuple[float, ...]
MIN_SLICES = 3
"""A series of fewer is a localiser or a remainder, and no volume."""
UNEVEN = 0.1
"""A slice may lie off the even grid by this share of the spacing: positions are rounded to 0.1 mm
in some files."""
TILT = 0.5
"""In-plane shift, in pixels over the whole stack, up to which slices are one behind the other."""
TURNED = 1e-3
"""Difference of direction cosines up to which two slices have one orientation."""
SAME_PLACE = 0.01
"""Slices nearer than this, mm, are at one position."""
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


class Plane(NamedTuple):
    """A slice as its header describes it.

    Attributes:
      path: of the file.
      frame: place in a multi-frame file, from 0.
      instance: its SOP instance UID.
      position: of the centre of the first pixel, LPS mm.
      directions: of a row and of a column, three direction cosines each.
      spacing: between rows and between columns, mm.
      shape: rows, columns.
      rescale: slope and intercept from stored values to those of the modality (HU in CT).
      reference: UID of the frame of reference; "" where there is none.
      colours: samples a pixel.
    """

    path: Path
    frame: int
    instance: str
    position: Vector
    directions: Vector
    spacing: Vector
    shape: tuple[int, int]
    rescale: tuple[float, float] = (1.0, 0.0)
    reference: str = ""
    colours: int = 1


class Stack(NamedTuple):
    """Slices in their order, one behind the other at even distances, or skewed: sheared, or at
    uneven distances.

    Attributes:
      planes: sorted along the normal of the slices.
      affine: ``(4, 4)`` float64, index (x, y, z, 1) to RAS mm; of skewed slices with their mean gap
        and without their shear.
      depths: of skewed slices, mm along their normal; empty for even ones.
    """

    planes: tuple[Plane, ...]
    affine: np.ndarray
    depths: tuple[float, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(X, Y, Z)``."""
        rows, columns = self.planes[0].shape
        return columns, rows, len(self.planes)

    @property
    def grid(self) -> Grid:
        """For the choice of a set's plane of acquisition."""
        return Grid(self.affine, self.shape, slice_axis=2)


def stack_of(
    planes: Sequence[Plane], where: str, min_slices: int = MIN_SLICES, resample: bool = False
) -> Stack:
    """Sort slices along their normal.

    Args:
      planes: of one series.
      where: names the series in messages.
      min_slices: fewer are refused.
      resample: take skewed slices too, see :mod:`semiseg.data.dicom_resample`.

    Raises:
      UserError: the slices make no volume; in one line the reason and what to do.

    >>> axial = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    >>> planes = [Plane(Path(f"{z}.dcm"), 0, str(z), (0.0, 0.0, 2.5 * z), axial, (0.7, 0.7), (8, 9))
    ...           for z in (2, 0, 1)]
    >>> stack = stack_of(planes, "scan")
    >>> [plane.path.name for plane in stack.planes], stack.shape
    (['0.dcm', '1.dcm', '2.dcm'], (9, 8, 3))
    """
    _check_alike(planes, where)
    if len(planes) < min_slices:
        raise UserError(
            f"has too few slices: {len(planes)}, and a volume needs {min_slices}",
            where=where,
            remedy="copy the missing files, or move the series out of the folder",
        )
    directions = np.array(planes[0].directions)
    normal = np.cross(directions[:3], directions[3:])
    places = np.array([plane.position for plane in planes])
    order = np.argsort(places @ normal, kind="stable")
    depths = (places @ normal)[order]
    _check_places(depths, where)
    skewed: tuple[float, ...] = ()
    gap = 1.0
    if len(depths) > 1:
        gap = float(depths[-1] - depths[0]) / (len(depths) - 1)
    try:
        _check_even(depths, gap, where)
        _check_tilt(places[order], normal, planes[0].spacing, where)
    except UserError:
        if not resample:
            raise
        skewed = tuple(depths.tolist())
    row_gap, column_gap = planes[0].spacing
    affine = np.eye(4)
    affine[:3, 0] = directions[:3] * column_gap
    affine[:3, 1] = directions[3:] * row_gap
    affine[:3, 2] = normal * gap
    affine[:3, 3] = places[order[0]]
    affine = LPS_TO_RAS @ affine
    try:
        code_of(affine)
    except UserError as error:
        raise UserError(str(error), where=where) from error
    return Stack(tuple(planes[i] for i in order), affine, skewed)


def _check_alike(planes: Sequence[Plane], where: str) -> None:
    """Refuse slices that differ in what all slices of a volume share."""
    if max(plane.colours for plane in planes) > 1:
        raise UserError(
            "holds colour images (RGB), and a scan has one grey value a voxel",
            where=where,
            remedy="export the original grey images, or move the series out of the folder",
        )
    sizes = Counter(plane.shape for plane in planes)
    if len(sizes) > 1:
        words = ", ".join(f"{rows}×{columns} ({n})" for (rows, columns), n in sizes.items())
        raise UserError(
            f"holds slices of several sizes: {words}",
            where=where,
            remedy="split it into one folder a volume, each with its own series UID",
        )
    first = planes[0]
    directions = np.array([plane.directions for plane in planes])
    turned = np.abs(directions - directions[0]).max(axis=1) > TURNED
    if turned.any():
        raise UserError(
            f"holds slices of several orientations ({int(turned.sum())} of {len(planes)} are "
            f"turned against {first.path.name}), as localisers do",
            where=where,
            remedy="keep the slices of one orientation, or move the series out of the folder",
        )
    spacings = np.array([plane.spacing for plane in planes])
    if not np.allclose(spacings, spacings[0], rtol=1e-3):
        raise UserError(
            f"holds slices of several pixel sizes, {spacings.min():g} to {spacings.max():g} mm",
            where=where,
            remedy="split it into one folder a volume, each with its own series UID",
        )
    references = {plane.reference for plane in planes}
    if len(references) > 1:
        raise UserError(
            f"holds slices of {len(references)} frames of reference, so their positions cannot be "
            f"compared",
            where=where,
            remedy="split it into one folder an acquisition, each with its own series UID",
        )
    _check_directions(directions[0], first.spacing, where)


def _check_directions(directions: np.ndarray, spacing: Vector, where: str) -> None:
    """Rows and columns must be of length one, and at a right angle to each other."""
    pair = directions.reshape(2, 3)
    products = pair @ pair.T
    if not np.allclose(products, np.eye(2), atol=TURNED) or min(spacing) <= 0:
        raise UserError(
            "states directions of rows and columns that are no right angle, or pixels without size",
            where=where,
            remedy="export the series again",
        )


def _check_places(depths: np.ndarray, where: str) -> None:
    """Refuse several slices at one place.

    Args:
      depths: places along the normal, ascending.
      where: names the series.
    """
    doubled = int((np.diff(depths) < SAME_PLACE).sum())
    if doubled:
        raise UserError(
            f"holds {len(depths)} images at {numbered(len(depths) - doubled, 'position')}: "
            f"several time points, echoes or diffusion weights, or copies",
            where=where,
            remedy="keep one image a position, or split it into one series a volume",
        )


def _check_even(depths: np.ndarray, gap: float, where: str) -> None:
    """Refuse a slice that is off the even grid by more than UNEVEN.

    Args:
      depths: places along the normal, ascending.
      gap: their mean distance, mm.
      where: names the series.
    """
    off = np.abs(depths - depths[0] - gap * np.arange(len(depths)))
    if off.max() > UNEVEN * gap:
        gaps = np.diff(depths)
        widest = int(np.argmax(gaps))
        raise UserError(
            f"has gaps of {gaps.min():.4g} to {gaps.max():.4g} mm between its slices, so a slice "
            f"is missing or the spacing changes (after slice {widest + 1} of {len(depths)}; a "
            f"slice may lie off the even grid by {UNEVEN:.0%} of the spacing)",
            where=where,
            remedy="copy the missing files, or pass --resample to interpolate between the slices",
        )


def _check_tilt(places: np.ndarray, normal: np.ndarray, spacing: Vector, where: str) -> None:
    """Refuse slices that are sheared against each other, as with a tilted gantry."""
    step = places[-1] - places[0]
    along = float(step @ normal)
    shift = float(np.linalg.norm(step - along * normal))
    if shift > TILT * min(spacing):
        angle = float(np.degrees(np.arctan2(shift, along)))
        raise UserError(
            f"was taken with a tilted gantry: its slices are shifted by {shift:.4g} mm against "
            f"each other, {angle:.1f}° off their normal",
            where=where,
            remedy="correct the tilt with your viewer or dcm2niix, or pass --resample",
        )


def to_index(stack: Stack, points: np.ndarray) -> np.ndarray:
    """Indices ``(N, 3)`` float64 (x, y, z) of points ``(N, 3)`` in LPS mm."""
    if stack.depths:
        return _to_index_of_slices(stack, points)
    back = np.linalg.inv(stack.affine) @ LPS_TO_RAS
    return points @ back[:3, :3].T + back[:3, 3]


def _to_index_of_slices(stack: Stack, points: np.ndarray) -> np.ndarray:
    """:func:`to_index` of skewed slices: in the plane of the slice at a point's depth, and between
    the slices by their depths.
    """
    row, column = np.array(stack.planes[0].directions).reshape(2, 3)
    row_gap, column_gap = stack.planes[0].spacing
    depths = np.array(stack.depths)
    depth = points @ np.cross(row, column)
    z = np.interp(depth, depths, np.arange(len(depths)))
    z += np.minimum(depth - depths[0], 0) / (depths[1] - depths[0])
    z += np.maximum(depth - depths[-1], 0) / (depths[-1] - depths[-2])
    places = np.array([plane.position for plane in stack.planes])
    first = np.stack([np.interp(depth, depths, places[:, k]) for k in range(3)], axis=1)
    moved = points - first
    return np.stack([moved @ row / column_gap, moved @ column / row_gap, z], axis=1)
