"""DICOM files: their headers, and their pixels frame by frame.

Needs the extra ``dicom`` (pydicom; GDCM for JPEG, JPEG-LS and JPEG 2000). A file is untrusted: what
its header declares is compared with its length before memory is allocated.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from semiseg.data.size_limits import CODEC_RATIO, INFLATED, SMALL
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
CHUNK = 1 << 20


class BoundedFile(io.BufferedReader):
    """A file that nobody asks for more bytes than it has.

    Python allocates what is asked for before it reads, and DICOM's elements declare up to 4 GB.
    """

    def __init__(self, path: Path):
        super().__init__(io.FileIO(path))
        self.length = os.fstat(self.fileno()).st_size

    def read(self, size: int | None = -1, /) -> bytes:
        """As of any file.

        Raises:
          ValueError: there are not so many bytes.
        """
        if size is not None and size > CHUNK and size > self.length - self.tell():
            left = self.length - self.tell()
            raise ValueError(f"an element of {size:,} bytes is declared, and {left:,} are left")
        return super().read(size)


def require() -> Any:
    """The package pydicom.

    Raises:
      UserError: it is not installed.
    """
    try:
        with _without_module("dl"):
            import pydicom
    except ImportError as error:
        raise UserError(
            f"DICOM needs packages that are not installed ({first_line(error)})", remedy=EXTRA
        ) from error
    logging.getLogger("pydicom").setLevel(logging.ERROR)  # odd values are worth no line each
    return pydicom


@contextlib.contextmanager
def _without_module(name: str) -> Iterator[None]:
    """Let an import fail that is optional: GDCM tries ``import dl``, a module of Python 2, and
    breaks on a user's folder of that name.
    """
    absent = name not in sys.modules
    if absent:
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if absent:
            del sys.modules[name]


def files_under(folder: Path) -> Iterator[Path]:
    """The files of a folder tree in the order of their names.

    Hidden files, AppleDouble files (``._scan.dcm``) and linked folders are left out.

    Raises:
      UserError: a folder may not be read.
    """
    for place, folders, names in os.walk(folder, onerror=_refuse):
        folders[:] = sorted(name for name in folders if _is_visible(name))
        for name in sorted(names):
            if _is_visible(name) and name.upper() != "DICOMDIR":
                yield Path(place) / name


def _refuse(error: OSError) -> None:
    raise UserError(
        f"cannot be read ({error.strerror})",
        where=error.filename,
        remedy="allow it, or move it out of the folder",
    ) from error


def _is_visible(name: str) -> bool:
    """Whether a name is one of the user's.

    >>> _is_visible("._a.dcm"), _is_visible("__MACOSX"), _is_visible("IM0001")
    (False, False, True)
    """
    return not name.startswith(".") and name != "__MACOSX"


def is_dicom(path: Path) -> bool:
    """Whether the file has the mark of DICOM. One named .dcm without it is not read either.

    Raises:
      OSError: it may not be read.
    """
    if not path.is_file():  # a pipe would be waited for
        return False
    with path.open("rb") as file:
        return file.read(132)[128:] == MARK


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
    return _header_and_pixels(path, tags)[0]


def _header_and_pixels(path: Path, tags: Sequence[str] | None) -> tuple[Any, bytes]:
    """As :func:`read_header`, with the first 12 bytes of the element that holds the pixels."""
    pydicom = require()
    try:
        _check_deflated(path)
        with quiet(), BoundedFile(path) as file:
            header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=tags)
            return header, file.read(12)
    except UserError:
        raise
    except Exception as error:  # pydicom raises anything on a damaged file
        raise UserError(
            f"cannot be read as DICOM ({first_line(error)})",
            where=path,
            remedy="copy the file again, or take it out of the folder",
        ) from error


@contextlib.contextmanager
def interpreting(path: Path) -> Iterator[None]:
    """Turn what pydicom raises while the values of a header are used into one line.

    It converts an element when it is asked for it, so that a damaged file that could be opened may
    still raise anything, or warn.

    Raises:
      UserError: a value is not of the kind that its element has, or is missing.
    """
    try:
        with quiet():
            yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"has an element of the wrong kind ({type(error).__name__}: {first_line(error)})",
            where=path,
            remedy="copy the file again, or take it out of the folder",
        ) from error


def _check_deflated(path: Path) -> None:
    """Refuse a deflated file of more than INFLATED bytes: pydicom inflates it whole."""
    from pydicom.filereader import read_dataset, read_preamble

    with quiet(), BoundedFile(path) as file:
        read_preamble(file, force=False)
        meta = read_dataset(file, False, True, stop_when=_is_past_meta)
        syntax = meta.get("TransferSyntaxUID")
    if syntax != DEFLATED:
        return
    with path.open("rb") as file:
        file.seek(144 + int(meta.FileMetaInformationGroupLength))
        rest = file.read()
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    length = 0
    while rest and length <= INFLATED:
        length += len(inflater.decompress(rest, CHUNK))
        rest = inflater.unconsumed_tail
    if length > INFLATED:
        raise UserError(
            f"inflates to more than {INFLATED:,} bytes",
            where=path,
            remedy="take it out, or convert it to an explicit little-endian transfer syntax",
        )


def _is_past_meta(tag: Any, vr: str | None, length: int) -> bool:
    """Whether an element is behind those that describe the file."""
    return bool(tag.group != 2)


def frames_of(path: Path, indices: Sequence[int]) -> Iterator[np.ndarray]:
    """The stored values ``(rows, columns)`` of the frames of a file, in the order of ``indices``.

    One frame is in memory at a time.

    Raises:
      UserError: the file is shorter than its header declares, or its pixels cannot be decoded.
    """
    pydicom = require()
    header, head = _header_and_pixels(path, DECLARED)
    with interpreting(path):
        _checked_length(header, path, max(indices))
        _check_stored(header, head, path)
    try:
        with quiet(), BoundedFile(path) as file:
            source: Any = file
            if _syntax(header) == DEFLATED:  # inflated as a whole, or not at all
                source = pydicom.dcmread(file)
            for frame in pydicom.pixels.iter_pixels(source, indices=list(indices), raw=True):
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


def check_lengths(last: Mapping[Path, int]) -> None:
    """Compare what headers declare with the lengths of the files, one by one and in all.

    Args:
      last: file → the last of its frames that will be read.

    Raises:
      UserError: the files cannot hold what their headers declare.
    """
    declared = 0
    sizes = 0
    for path, frame in last.items():
        header = read_header(path, DECLARED)
        with interpreting(path):
            declared += _checked_length(header, path, frame)
        sizes += path.stat().st_size
    if declared > max(CODEC_RATIO * sizes, SMALL):
        raise UserError(
            f"its {len(last)} files declare {declared:,} bytes of pixels, and have {sizes:,}",
            where=next(iter(last)).parent,
            remedy="copy the files again",
        )


def _checked_length(header: Any, path: Path, last: int) -> int:
    """Bytes of the pixels that a header declares, after a comparison with the file's length."""
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
    allowed = max(CODEC_RATIO * size, SMALL)
    if _syntax(header) in NATIVE:
        declared = frame * frames
        allowed = size
        if _syntax(header) == DEFLATED:
            allowed = CODEC_RATIO * size
    is_empty = not rows * columns * bits
    if is_empty or declared > allowed:
        raise UserError(
            f"declares {frames} frames of {rows}×{columns} pixels, and has {size} bytes",
            where=path,
            remedy="copy the file again: it is cut off or damaged",
        )
    return frame * (last + 1)


def _check_stored(header: Any, head: bytes, path: Path) -> None:
    """Refuse pixels that are not stored as the header says.

    pydicom takes compressed pixels for grey levels where the header calls them uncompressed, and
    begins two of them too early where it calls explicit elements implicit.

    Args:
      header: of the file.
      head: first bytes of the element that holds the pixels.
      path: of the file.
    """
    syntax = _syntax(header)
    if syntax not in NATIVE or syntax == DEFLATED:
        return
    is_explicit = head[4:6] in (b"OB", b"OW", b"UN")  # as lengths they were odd, and none is
    length = head[8:12] if is_explicit else head[4:8]
    what = ""
    if length == UNDEFINED:
        what = "says that its pixels are not compressed, and stores them in fragments"
    elif is_explicit == (syntax == IMPLICIT):
        what = "says that its elements have no types, and they have; or the other way round"
    else:
        order: Any = "big" if syntax == BIG_ENDIAN else "little"
        size = int.from_bytes(length, order)
        frames = int(header.get("NumberOfFrames") or 1)
        if not frames * _frame_bytes(header) <= size <= path.stat().st_size:
            what = f"declares {size:,} bytes of pixels for its {frames} frames"
    if what:
        raise UserError(
            what, where=path, remedy="copy the file again: its header does not fit its pixels"
        )


def _frame_bytes(header: Any) -> int:
    """Bytes of a frame, uncompressed."""
    bits = int(header.get("BitsAllocated") or 0) * int(header.get("SamplesPerPixel") or 1)
    return int(header.get("Rows") or 0) * int(header.get("Columns") or 0) * bits // 8


IMPLICIT = "1.2.840.10008.1.2"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
UNDEFINED = b"\xff" * 4
"""Length of an element that holds fragments, as only compressed pixels do."""


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
