"""Compressed voxels of NRRD and MetaImage files, checked before ITK reads them.

ITK takes what it could decompress, and fills the rest with whatever its memory held before.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from pathlib import Path

from semiseg.data import size_limits
from semiseg.errors import UserError, damaged

_FIELD = re.compile(r"([\w\s]+)[:=](.*)", re.ASCII)  # ITK knows no other blanks
_LOCAL = re.compile(rb"^[ \t]*ElementDataFile[ \t]*[=:][ \t]*LOCAL[ \t]*\r?\n", re.I | re.M)
_BLANK = re.compile(rb"\r?\n\r?\n")
_TRUE = ("t", "y", "1")
_SKIPS = ("byte skip", "byteskip", "line skip", "lineskip", "headersize")
"""Fields by which a header says that voxels do not begin where their file does."""
_PART = 1 << 16


def check(path: Path, lines: Sequence[str], declared: int) -> None:
    """Refuse compressed voxels that end early or do not have their checksum.

    Args:
      path: of the file, or of the header.
      lines: of the header.
      declared: bytes of the voxels.

    Raises:
      UserError: they do, or they lie in several files.
    """
    fields: dict[str, str] = {}
    size = ""
    for line in lines:
        match = _FIELD.match(line)
        if match is not None:
            name = match[1].strip()
            fields[name.lower()] = match[2].strip()
            if name == "CompressedDataSize":  # ITK knows it written so alone
                size = match[2].strip()
    is_gzip = fields.get("encoding", "").lower() in ("gzip", "gz")
    if not is_gzip and fields.get("compresseddata", "").lower()[:1] not in _TRUE:
        return
    content = _compressed(path, fields)
    if size.isdigit():
        content = content[: int(size)]
    elif not is_gzip:  # ITK fills the voxels with stale memory
        raise damaged("does not say how many bytes its compressed voxels have", path)
    length = _unpacked(content, declared)
    if length < declared:
        raise damaged(
            "is damaged: its compressed voxels end early or do not have their checksum", path
        )


def _compressed(path: Path, fields: dict[str, str]) -> bytes:
    """The content of the file that the voxels are in, from where they begin."""
    name = fields.get("elementdatafile") or fields.get("data file") or fields.get("datafile")
    skips = any(fields.get(field, "0") not in ("0", "") for field in _SKIPS)
    if skips or (name and (name.upper().startswith("LIST") or "%" in name)):
        raise UserError(
            "has compressed voxels in several files, or not at the beginning of one",
            where=path,
            remedy="save it again as one file, or convert it to NIfTI",
        )
    if name and name.upper() != "LOCAL":
        return size_limits.inside(path.parent, name, path).read_bytes()
    content = path.read_bytes()
    end = _BLANK.search(content)
    if name:
        end = _LOCAL.search(content)
    if end is None:
        return b""
    return content[end.end() :]


def _unpacked(content: bytes, most: int) -> int:
    """Bytes of a zlib or gzip stream; 0 where it ends early, is damaged, or has many more than
    ``most``.
    """
    reader = zlib.decompressobj(zlib.MAX_WBITS + 32)
    length = 0
    try:
        while content and not reader.eof and length <= most + _PART:
            length += len(reader.decompress(content, _PART))
            content = reader.unconsumed_tail
    except zlib.error:
        return 0
    if not reader.eof:
        return 0
    return length
