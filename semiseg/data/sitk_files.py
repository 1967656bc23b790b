"""NRRD and MetaImage files (.nrrd, .nhdr, .mha, .mhd), read and written by SimpleITK."""

from __future__ import annotations

import math
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from semiseg.data import itk_compressed, size_limits
from semiseg.data.nifti import Header
from semiseg.data.orientation import Grid
from semiseg.errors import UserError, damaged

SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd")
_AXES = re.compile(r"\s*NDims\s*[=:](.*)", re.ASCII)
_LOCAL = re.compile(r"^[ \t]*ElementDataFile\s*[=:]\s*LOCAL\s*$", re.I | re.M | re.ASCII)
_AS_TEXT = re.compile(
    r"\s*(?:BinaryData\s*[=:]\s*F|encoding\s*:\s*(?:text|txt|ascii))", re.I | re.ASCII
)
_DATA_FILE = re.compile(r"\s*(?:ElementDataFile\s*[=:]|data ?file\s*:)\s*(.*)", re.I | re.ASCII)
"""The line by which a header of MetaImage or NRRD names the file of its voxels."""
_METAIMAGE = re.compile(r"[ \t]*\w+[ \t]*[=:]", re.ASCII)
"""How every line of a MetaImage begins, up to that of its voxels."""
_HEADER = 1 << 16
"""Bytes in which a header ends."""
_WIDEST = 8
"""Bytes of the widest number."""
_TO_RAS = np.diag([-1.0, -1.0, 1.0])
_TO_RAS_4 = np.diag([-1.0, -1.0, 1.0, 1.0])


def read_header(path: Path) -> Header:
    """The grid of a file, in RAS mm.

    Raises:
      UserError: SimpleITK is not installed, or the file holds no scan.
    """
    return _described(path)[0]


def _described(path: Path) -> tuple[Header, int]:
    """The grid of a file, and how many bytes its voxels have."""
    sitk = simple_itk(path)
    lines = _header_lines(path)
    _check_fields(path, lines)
    stored, listed = _stored(path, lines)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    number = reader.GetDimension()
    shape = tuple(reader.GetSize())
    channels = reader.GetNumberOfComponents()
    affine = _affine(reader, number)
    bytes_each = reader.GetNumberOfComponents() * _width(sitk, reader)
    declared = math.prod(shape) * bytes_each
    size_limits.check_declared(declared, stored, path)
    if listed is not None and listed < declared:  # ITK leaves the rest as it is in memory
        raise UserError(
            f"declares {declared:,} bytes of voxels, and the files that it lists have {listed:,}",
            where=path,
            remedy="list a file for each slice",
        )
    if number == 4:
        channels *= shape[3]
    if number not in (2, 3, 4):
        raise UserError(
            f"has {number} axes", where=path, remedy="save one three-dimensional volume a file"
        )
    return Header(Grid(affine, (*shape, 1)[:3]), channels), declared


def read_voxels(path: Path) -> np.ndarray:
    """Voxels ``(X, Y, Z, C)`` in the file's own type."""
    header, declared = _described(path)
    itk_compressed.check(path, _header_lines(path), declared)
    sitk = simple_itk(path)
    image = sitk.ReadImage(str(path))
    array = sitk.GetArrayFromImage(image)  # (…, z, y, x[, components])
    if array.dtype.kind not in "iuf":
        raise UserError(
            f"holds {array.dtype.name} voxels", where=path, remedy="save magnitudes as float32"
        )
    if image.GetNumberOfComponentsPerPixel() == 1:
        array = array[..., None]
    components = array.shape[-1]
    voxels = np.moveaxis(array.T.reshape(components, *header.grid.shape, -1), 0, -1)
    return voxels.reshape(*header.grid.shape, header.channels)


def _width(sitk: Any, reader: Any) -> int:
    """Bytes of a number, by the name of its type, such as ``vector of 16-bit signed integer``."""
    bits = re.search(r"(\d+)-bit", sitk.GetPixelIDValueAsString(reader.GetPixelID()))
    return int(bits[1]) // 8 if bits else _WIDEST


def _stored(path: Path, lines: Sequence[str]) -> tuple[int, int | None]:
    """Bytes of a file and of those in which its voxels are; and of those that it lists as they are
    in memory, None where it lists none or they are texts.

    Raises:
      UserError: they lie neither beside the header nor below.
    """
    total = path.stat().st_size
    listed: int | None = None
    for number, line in enumerate(lines):
        match = _DATA_FILE.match(line)
        if match is None or match[1].strip().upper() == "LOCAL":
            continue
        names = [match[1].strip()]
        is_list = names[0].upper().startswith("LIST")
        if is_list:
            names = [name.strip() for name in lines[number + 1 :] if name.strip()]
            if not names:
                raise damaged("lists no file of its voxels", path)
        for name in names:
            part = size_limits.inside(path.parent, name, path)
            if part.is_file():
                total += part.stat().st_size
                listed = (listed or 0) + part.stat().st_size if is_list else None
            elif is_list:  # ITK leaves the voxels of files that it does not find as they are
                raise UserError(
                    f"lists {name[:80]!r}, which is not there",
                    where=path,
                    remedy="copy the files of its voxels beside it",
                )
    if any(_AS_TEXT.match(line) for line in lines):
        listed = None
    return total, listed


def _check_fields(path: Path, lines: Sequence[str]) -> None:
    """Refuse a MetaImage with a number of axes that is none, at which ITK ends the process, or with
    a line that is no field: ITK takes what follows for its value, and voxels from stale memory.
    """
    if path.suffix.lower() not in (".mha", ".mhd"):
        return
    for line in lines:
        match = _AXES.match(line)
        if match is not None and not re.fullmatch(r"[1-9]", match[1].strip()):
            raise damaged(f"declares {match[1].strip()[:20]!r} axes", path)
        if line.strip() and not _METAIMAGE.match(line):
            raise damaged(f"has a line that is no field in its header: {line[:40]!r}", path)
        if _DATA_FILE.match(line):
            return


def _header_lines(path: Path) -> list[str]:
    """The lines of a header.

    Raises:
      UserError: it does not end soon.
    """
    with path.open("rb") as file:
        content = file.read(_HEADER).decode("latin-1")
    end: re.Match[str] | None = None
    if path.suffix.lower() in (".nrrd", ".nhdr"):
        end = re.search(r"\r?\n\r?\n", content)
    else:
        end = _LOCAL.search(content)
    if end is None and len(content) == _HEADER:
        raise UserError(
            f"its header does not end within {_HEADER:,} bytes",
            where=path,
            remedy="convert it to NIfTI",
        )
    if end is not None:
        content = content[: end.end()]
    lines = content.removesuffix("\n").split("\n")  # ITK ends lines at nothing else
    return [line.rstrip("\r") for line in lines]


def _affine(reader: Any, number: int) -> np.ndarray:
    """``(4, 4)`` of a reader; ITK's world is LPS."""
    space = min(number, 3)
    directions = np.eye(3)
    whole = np.array(reader.GetDirection()).reshape(number, number)
    directions[:space, :space] = whole[:space, :space]
    sides = np.ones(3)
    sides[:space] = reader.GetSpacing()[:space]
    origin = np.zeros(3)
    origin[:space] = reader.GetOrigin()[:space]
    affine = np.eye(4)
    affine[:3, :3] = _TO_RAS @ directions @ np.diag(sides)
    affine[:3, 3] = _TO_RAS @ origin
    return affine


class Geometry(NamedTuple):
    """Where the voxels of a file lie, as ITK says it (LPS)."""

    origin: tuple[float, ...]
    spacing: tuple[float, ...]
    direction: tuple[float, ...]


def geometry(path: Path) -> Geometry:
    """What a mask's file takes over from that of its scan; of four axes the first three."""
    affine = _TO_RAS_4 @ read_header(path).grid.affine
    sides = np.linalg.norm(affine[:3, :3], axis=0)
    direction = affine[:3, :3] / sides
    return Geometry(tuple(affine[:3, 3]), tuple(sides), tuple(direction.ravel()))


def write(voxels: np.ndarray, like: Geometry, target: Path) -> None:
    """Write voxels ``(X, Y, Z)``, or ``(X, Y, Z, K)`` as vectors."""
    sitk = simple_itk(target)
    axes = (2, 1, 0, *range(3, voxels.ndim))
    array = np.ascontiguousarray(voxels.transpose(axes))
    image = sitk.GetImageFromArray(array, isVector=voxels.ndim == 4)
    image.SetOrigin(like.origin)
    image.SetSpacing(like.spacing)
    image.SetDirection(like.direction)
    # a header in a file of its own names that of its voxels: both are written beside, the header
    # takes its place last
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".") as folder:
        sitk.WriteImage(image, str(Path(folder, target.name)), True)
        files = sorted(Path(folder).iterdir(), key=lambda file: file.name == target.name)
        for file in files:
            file.replace(target.parent / file.name)


def simple_itk(path: Path) -> Any:
    """SimpleITK, or one line that says how to install it."""
    try:
        import SimpleITK
    except ImportError as error:
        raise UserError(
            "is read by SimpleITK, which is not installed",
            where=path,
            remedy="pip install 'semiseg[dicom]', or convert the file to NIfTI",
        ) from error
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    return SimpleITK
