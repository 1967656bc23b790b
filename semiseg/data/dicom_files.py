"""DICOM files: their headers, and their pixels frame by frame.

Needs the extra ``dicom`` (pydicom; GDCM for JPEG, JPEG-LS and JPEG 2000). A file is untrusted: what
its header declares is compared with its length before memory is allocated.
"""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from semiseg.data.source import first_line
from semiseg.errors import UserError

EXTRA = "pip install 'semiseg[dicom]'"
MARK = b"DICM"
"""Follows the preamble of 128 bytes."""
SUFFIXES = (".dcm", ".dicom", ".ima")
"""Names that claim to be DICOM; most files have none."""
DIRECTORY = "1.2.840.10008.1.3.10"
"""SOP class of a DICOMDIR, an index of files: it is not followed."""
DEFLATED = "1.2.840.10008.1.2.1.99"
NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", DEFLATED)
"""Transfer syntaxes without compressed pixels."""
RATIO = 2000
"""No codec shrinks a picture more than this; a header that declares more than so many times the
file's length is damaged, or a bomb …"""
SMALL = 1 << 24
"""… but a frame of 16 MB may be declared by any file: a black one compresses to nothing."""


def require() -> Any:
    """The package pydicom.

    Raises:
      UserError: it is not installed.
    """
    try:
        import pydicom
    except ImportError as error:
        raise UserError(
            f"DICOM needs packages that are not installed ({first_line(error)})", remedy=EXTRA
        ) from error
    logging.getLogger("pydicom").setLevel(logging.ERROR)  # odd values are worth no line each
    return pydicom


def files_under(folder: Path) -> Iterator[Path]:
    """The files of a folder tree in the order of their names.

    Hidden files, AppleDouble files (``._scan.dcm``) and linked folders are left out.
    """
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if _is_visible(name))
        for name in sorted(names):
            if _is_visible(name) and name.upper() != "DICOMDIR":
                yield Path(place) / name


def _is_visible(name: str) -> bool:
    """Whether a name is one of the user's.

    >>> _is_visible("._a.dcm"), _is_visible("__MACOSX"), _is_visible("IM0001")
    (False, False, True)
    """
    return not name.startswith(".") and name != "__MACOSX"


def is_dicom(path: Path) -> bool:
    """Whether the file has the mark of DICOM. One named .dcm without it is not read either."""
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == MARK
    except OSError:
        return False


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without pydicom's warnings of values that break the standard in ways that do not matter."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def read_header(path: Path, tags: Sequence[str] | None = None) -> Any:
    """The pydicom data set of a file without its pixels.

    Args:
      path: of the file.
      tags: keywords of what to read; all where None.

    Raises:
      UserError: it cannot be read.
    """
    pydicom = require()
    try:
        _check_deflated(path)
        with quiet():
            return pydicom.dcmread(path, stop_before_pixels=True, specific_tags=tags)
    except UserError:
        raise
    except Exception as error:  # pydicom raises anything on a damaged file
        raise UserError(
            f"cannot be read as DICOM ({first_line(error)})",
            where=path,
            remedy="copy the file again, or take it out of the folder",
        ) from error


def _check_deflated(path: Path) -> None:
    """Refuse a deflated file that inflates to more than RATIO times its length, or 1 GB."""
    from pydicom.filereader import read_file_meta_info

    meta = read_file_meta_info(path)
    if meta.get("TransferSyntaxUID") != DEFLATED:
        return
    with path.open("rb") as file:
        file.seek(144 + int(meta.FileMetaInformationGroupLength))
        packed = file.read()
    limit = min(RATIO * len(packed), 1 << 30)
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflater.decompress(packed, limit)
    if inflater.unconsumed_tail:
        raise UserError(
            f"inflates to more than {limit // 1000} kB", where=path, remedy="take it out"
        )


def frames_of(path: Path, indices: Sequence[int]) -> Iterator[np.ndarray]:
    """The stored values ``(rows, columns)`` of the frames of a file, in the order of ``indices``.

    One frame is in memory at a time.

    Raises:
      UserError: the file is shorter than its header declares, or its pixels cannot be decoded.
    """
    pydicom = require()
    header = read_header(path, DECLARED)
    _check_length(header, path, max(indices))
    try:
        with quiet():
            for frame in pydicom.pixels.iter_pixels(path, indices=list(indices), raw=True):
                yield _used_bits(frame, header)
    except Exception as error:  # codecs raise anything on damaged pixels
        raise UserError(
            f"its pixels cannot be read ({first_line(error, 120)})",
            where=path,
            remedy="copy the file again, or convert it to an uncompressed transfer syntax",
        ) from error


DECLARED = (
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "NumberOfFrames",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
)


def _check_length(header: Any, path: Path, last: int) -> None:
    """Compare what the header declares with the length of the file."""
    rows = int(header.get("Rows") or 0)
    columns = int(header.get("Columns") or 0)
    frames = int(header.get("NumberOfFrames") or 1)
    bits = int(header.get("BitsAllocated") or 0) * int(header.get("SamplesPerPixel") or 1)
    size = path.stat().st_size
    frame = rows * columns * bits // 8
    if not 0 <= last < frames:
        raise UserError(
            f"declares {frames} frames, and frame {last + 1} is described",
            where=path,
            remedy="copy the file again",
        )
    declared = frame
    allowed = max(RATIO * size, SMALL)
    if _syntax(header) in NATIVE:
        declared = frame * frames
        allowed = size
        if _syntax(header) == DEFLATED:
            allowed = RATIO * size
    if declared > allowed or not frame and bits != 1:
        raise UserError(
            f"declares {frames} frames of {rows}×{columns} pixels, and has {size} bytes",
            where=path,
            remedy="copy the file again: it is cut off or damaged",
        )


def _syntax(header: Any) -> str:
    return str(header.file_meta.get("TransferSyntaxUID", NATIVE[0]))


def _used_bits(frame: np.ndarray, header: Any) -> np.ndarray:
    """Stored values without overlays or rests in the bits above those in use."""
    allocated = frame.dtype.itemsize * 8
    stored = int(header.get("BitsStored") or allocated)
    if frame.dtype.kind not in "iu" or stored >= allocated or stored == 1:
        return frame
    if _syntax(header) not in NATIVE:
        return frame
    above = allocated - 1 - int(header.get("HighBit", stored - 1))
    return (frame << above) >> (allocated - stored)
