"""The voxels of a DICOM series: decoded, rescaled and brought to one orientation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from semiseg.data.dicom_files import check_lengths, frames_of
from semiseg.data.dicom_geometry import MIN_SLICES, Stack
from semiseg.data.dicom_resample import EvenGrid, even_grid, on_slices, resampled, resampled_label
from semiseg.data.dicom_series import Series
from semiseg.data.orientation import Grid, Orientation, orientation_of, sides_of
from semiseg.errors import UserError


class DicomScan(NamedTuple):
    """A series as a scan.

    Attributes:
      series: as its headers describe it.
      stack: its slices in their order.
      image: ``(D, H, W, 1)`` int16, or float32 where the values need it: rescaled, HU in CT.
      turn: from the grid's ``(X, Y, Z)`` to ``(D, H, W)`` and back.
      even: the grid that skewed slices were resampled to; None for even slices.
    """

    series: Series
    stack: Stack
    image: np.ndarray
    turn: Orientation
    even: EvenGrid | None = None

    @property
    def grid(self) -> Grid:
        """Of the image's voxels: that of the slices, or the one they were resampled to."""
        return self.stack.grid if self.even is None else self.even.grid

    def label(self, label_XYZ: np.ndarray) -> np.ndarray:
        """``(D, H, W)`` of a label on the series' own slices."""
        if self.even is not None:
            label_XYZ = resampled_label(label_XYZ, self.even)
        return self.turn.to_scan(label_XYZ)

    def on_slices(self, mask_XYZ: np.ndarray) -> np.ndarray:
        """A mask of the grid on the series' own slices, ``(X, Y, slices)``."""
        if self.even is None:
            return mask_XYZ
        return on_slices(mask_XYZ, self.stack, self.even)

    @property
    def affine(self) -> np.ndarray:
        """``(4, 4)``: index (d, h, w, 1) to RAS mm."""
        return self.turn.scan_affine(self.grid.affine, self.grid.shape)

    @property
    def spacing(self) -> tuple[float, ...]:
        """Of D, H and W, mm."""
        return sides_of(self.affine)


def read_scan(
    series: Series, plane: str = "axial", min_slices: int = MIN_SLICES, resample: bool = False
) -> DicomScan:
    """Read the voxels of a series, in the orientation of a plane of acquisition.

    Args:
      series: of :func:`find_series`.
      plane: see :data:`semiseg.data.orientation.PLANES`.
      min_slices: fewer are refused.
      resample: skewed slices to an even grid; else they are refused.

    Raises:
      UserError: its slices make no volume, or a file's pixels cannot be read.
    """
    stack = series.stack(min_slices, resample)
    turn = orientation_of(stack.affine, plane)
    voxels = read_voxels(stack)
    even: EvenGrid | None = None
    if stack.depths:
        even = even_grid(stack)
        voxels = resampled(voxels, even, float(voxels.min()))
    return DicomScan(series, stack, turn.to_scan(voxels)[..., None], turn, even)


def read_voxels(stack: Stack) -> np.ndarray:
    """Voxels ``(X, Y, Z)``, rescaled: int16 where all values are whole numbers that fit, else
    float32.

    Raises:
      UserError: a file is shorter than its header declares, or its pixels cannot be decoded.
    """
    last: dict[Path, int] = {}
    for plane in stack.planes:
        last[plane.path] = max(plane.frame, last.get(plane.path, 0))
    check_lengths(last)
    rows, columns = stack.planes[0].shape
    whole = all(_is_whole(plane.rescale) for plane in stack.planes)
    kind: np.dtype = np.dtype(np.float32)
    if whole:
        kind = np.dtype(np.int16)
    volume_ZYX = np.empty((len(stack.planes), rows, columns), kind)
    for z, frame in _frames(stack):
        if frame.shape != (rows, columns):
            raise UserError(
                f"has {frame.shape} pixels, and its header declares {(rows, columns)}",
                where=stack.planes[z].path,
                remedy="copy the file again",
            )
        values = _rescaled(frame, stack.planes[z].rescale)
        if volume_ZYX.dtype == np.int16 and not _fits(values):
            volume_ZYX = volume_ZYX.astype(np.float32)
        volume_ZYX[z] = values
    return volume_ZYX.transpose(2, 1, 0)


def _frames(stack: Stack) -> Iterator[tuple[int, np.ndarray]]:
    """Place in the stack and stored values of each slice; a multi-frame file is opened once."""
    places: dict[Path, list[int]] = {}
    for z, plane in enumerate(stack.planes):
        places.setdefault(plane.path, []).append(z)
    for path, slices in places.items():
        numbers = [stack.planes[z].frame for z in slices]
        yield from zip(slices, frames_of(path, numbers), strict=True)


def _is_whole(rescale: tuple[float, float]) -> bool:
    slope, intercept = rescale
    return slope.is_integer() and intercept.is_integer()


def _rescaled(stored: np.ndarray, rescale: tuple[float, float]) -> np.ndarray:
    """Values of the modality from stored values.

    >>> _rescaled(np.array([24], np.uint16), (1.0, -1024.0))
    array([-1000])
    """
    slope, intercept = rescale
    if _is_whole(rescale) and stored.dtype.kind in "iu":
        return stored.astype(np.int64) * int(slope) + int(intercept)
    return stored.astype(np.float64) * slope + intercept


def _fits(values: np.ndarray) -> bool:
    """Whether whole numbers fit into int16."""
    limits = np.iinfo(np.int16)
    is_whole = values.dtype.kind in "iu"
    return is_whole and limits.min <= values.min() and values.max() <= limits.max
