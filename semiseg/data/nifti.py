"""NIfTI files: what their headers say, checked, and their voxels.

The content decides whether a file is compressed, not its name. All of a compressed file is read,
so that its checksum is compared. The affine is the truth about space, as for viewers; sizes are in
millimetres, whatever unit the header names.
"""

from __future__ import annotations

import gzip
import io
import logging
import math
import zlib
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from semiseg.data import size_limits
from semiseg.data.orientation import Grid, code_of, sides_of
from semiseg.errors import UserError, damaged

SUFFIXES = (".nii.gz", ".nii")
_MILLIMETRES = {"micron": 1e-3, "meter": 1e3}
_MAGIC = (b"n+1\0", b"n+2\0")
AGREE = 1e-3
"""Two voxel sizes are equal if they differ by no more than this share."""
_AFTER = 1 << 26
"""Bytes after the voxels that are read for the checksum; more than that is no NIfTI file."""


class Header(NamedTuple):
    """What a file of a volume says of it.

    Attributes:
      grid: affine in mm, and shape.
      channels: numbers a voxel.
      notes: what was assumed, one line each.
    """

    grid: Grid
    channels: int = 1
    notes: tuple[str, ...] = ()


def read_header(path: Path) -> Header:
    """The grid of a file.

    Raises:
      UserError: it is no NIfTI file, or holds what is no scan.
    """
    with _open(path) as file:
        header = _header_of(file, path)
    return _described(header, path)


def read_voxels(path: Path) -> np.ndarray:
    """Voxels ``(X, Y, Z, C)`` in the file's own type; float32 where it scales them.

    Raises:
      UserError: it is no NIfTI file, ends early, or is damaged.
    """
    with _open(path) as file:
        header = _header_of(file, path)
        described = _described(header, path)
        dtype = header.get_data_dtype()
        shape = header.get_data_shape()
        number = math.prod(shape)
        start = _start(header, path)
        size_limits.check_declared(number * dtype.itemsize, path.stat().st_size, path)
        try:
            file.seek(0)
            content = file.read(start + number * dtype.itemsize)
            beyond = len(file.read(_AFTER + 1))
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise damaged(
                f"is damaged ({error}), perhaps cut short when it was copied", path
            ) from error
    if len(content) < start + number * dtype.itemsize or beyond > _AFTER:
        raise damaged(
            f"holds {len(content) - start + beyond} bytes of voxels instead of "
            f"{number * dtype.itemsize}",
            path,
        )
    voxels = np.frombuffer(content, dtype, number, start).reshape(shape, order="F")
    return _scaled(voxels, header).reshape(*described.grid.shape, described.channels, order="F")


def nibabel_image(path: Path) -> Any:
    """The file as a nibabel image without its voxels, for the header of a mask."""
    import nibabel

    with _open(path) as file:
        header = _header_of(file, path)
    kind: Any = nibabel.Nifti1Image
    if isinstance(header, nibabel.Nifti2Header):
        kind = nibabel.Nifti2Image
    shape = header.get_data_shape()
    blank = np.broadcast_to(np.zeros((), np.uint8), shape)
    return kind(blank, header.get_best_affine(), header)


def _start(header: Any, path: Path) -> int:
    """Where the voxels begin in the file.

    Raises:
      UserError: beyond any header's end.
    """
    offset = float(header["vox_offset"])
    if not 0 <= offset <= _AFTER:
        raise damaged(f"says that its voxels begin at byte {offset:g}", path)
    return int(offset)


# ------------------------------------------------------------------ header
def _open(path: Path) -> BinaryIO:
    """The file's content, uncompressed where it is compressed."""
    with path.open("rb") as file:
        start = file.read(2)
    if start == b"\x1f\x8b":
        return gzip.open(path)  # type: ignore[return-value]
    return path.open("rb")


def _header_of(file: BinaryIO, path: Path) -> Any:
    import nibabel

    try:
        content = file.read(540)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise damaged(f"cannot be read ({error})", path) from error
    if content[344:348] != _MAGIC[0] and content[4:8] != _MAGIC[1]:
        raise UserError(
            "cannot be read: it is no NIfTI file, whatever its name says",
            where=path,
            remedy="convert it to NIfTI, or take it out of the set",
        )
    logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)  # it also raises what it logs
    kind: Any = nibabel.Nifti1Header
    if content[4:8] == _MAGIC[1]:
        kind = nibabel.Nifti2Header
    return kind.from_fileobj(io.BytesIO(content))


def _described(header: Any, path: Path) -> Header:
    """The grid of a header; refuses kinds of voxels that are no numbers."""
    dtype = header.get_data_dtype()
    if dtype.names is not None:
        raise UserError(
            f"holds colours ({''.join(dtype.names)} voxels)",
            where=path,
            remedy="save one number a voxel, or one channel along the fourth axis",
        )
    if dtype.kind not in "iuf":
        raise UserError(
            f"holds {dtype.name} voxels", where=path, remedy="save magnitudes as float32"
        )
    shape, channels = _split_shape(header.get_data_shape(), path)
    affine = np.array(header.get_best_affine(), np.float64)
    if not np.isfinite(affine).all():
        raise UserError("has an affine with NaN", where=path, remedy="correct the file's header")
    unit = header.get_xyzt_units()[0]
    notes: list[str] = []
    if unit in _MILLIMETRES:
        affine[:3] *= _MILLIMETRES[unit]
        notes.append(f"{path}: sizes in {unit}, read as mm")
    try:
        code_of(affine)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    sides = np.array(sides_of(affine))
    stated = np.array(header.get_zooms()[:3], np.float64) * _MILLIMETRES.get(unit, 1.0)
    stated = np.resize(np.append(stated, sides[len(stated) :]), 3)
    if not np.allclose(stated, sides, rtol=AGREE):
        notes.append(
            f"{path}: names voxels of {_by(stated)} mm and an affine with {_by(sides)} mm; the "
            f"affine is used, as viewers do"
        )
    return Header(Grid(affine, shape, header.get_dim_info()[2]), channels, tuple(notes))


def _split_shape(shape: tuple[int, ...], path: Path) -> tuple[tuple[int, int, int], int]:
    """Spatial shape and number of channels.

    >>> _split_shape((5, 6), Path("a.nii")), _split_shape((5, 6, 7, 2), Path("a.nii"))
    (((5, 6, 1), 1), ((5, 6, 7), 2))
    >>> _split_shape((5, 6, 7, 1, 3), Path("a.nii"))
    ((5, 6, 7), 3)
    """
    if len(shape) == 5 and shape[3] == 1:
        shape = (*shape[:3], shape[4])
    if len(shape) == 4 and shape[0] == 1 < shape[3]:
        raise UserError(
            f"has shape {shape}: its first axis seems to be a channel",
            where=path,
            remedy="save the axes x, y, z, and channels last",
        )
    if len(shape) not in (2, 3, 4) or min(shape) < 1:
        raise UserError(
            f"has shape {shape}",
            where=path,
            remedy="save one three-dimensional volume a file, with channels along a fourth axis",
        )
    full = (*shape, 1, 1)[:4]
    if len(shape) == 4:
        full = shape
    return (full[0], full[1], full[2]), full[3]


def _scaled(voxels: np.ndarray, header: Any) -> np.ndarray:
    """Voxels times the slope plus the intercept of the header, where it has some."""
    slope, intercept = header.get_slope_inter()
    if slope is None or (slope == 1 and not intercept):
        return voxels
    scaled = np.empty(voxels.shape, np.float32, order="F")
    with np.errstate(over="ignore", invalid="ignore"):  # infinity is refused later
        for z in range(voxels.shape[-1]):  # in double precision, a part at a time
            scaled[..., z] = voxels[..., z] * float(slope) + float(intercept or 0)
    return scaled


def _by(sides: np.ndarray) -> str:
    return " × ".join(f"{side:g}" for side in sides)
