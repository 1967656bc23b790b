"""Whether a PNG is whole: Pillow compares no checksums and looks no further than the last row."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path

from semiseg.data import size_limits
from semiseg.errors import UserError

_BITS = 24
"""Where the file says how many bits a number has."""
_PIECE = 1 << 20
"""Bytes that compressed pixels are unpacked by."""


def check(path: Path, size: tuple[int, int], channels: int) -> None:
    """Refuse a PNG that declares more pixels than it can hold, or whose pixels do not have their
    checksum or do not end.

    Args:
      path: a file that begins like a PNG.
      size: columns and rows.
      channels: numbers a pixel.

    Raises:
      UserError: it does, or its pixels or colours are damaged.
    """
    content = memoryview(path.read_bytes())
    width, height = size
    bits = content[_BITS] * channels
    size_limits.check_declared(height * (width * bits // 8), len(content), path)
    place = 8  # after the signature
    pixels: list[memoryview] = []
    while place + 12 <= len(content):
        end = place + 8 + int.from_bytes(content[place : place + 4], "big")
        named = content[place + 4 : end]
        kind = bytes(named[:4])
        if kind == b"IEND":
            break
        stored = int.from_bytes(content[end : end + 4], "big")
        if kind in (b"IDAT", b"PLTE") and zlib.crc32(named) != stored:
            raise _damaged(path, "its pixels do not have their checksum")
        if kind == b"IDAT":
            pixels.append(named[4:])
        place = end + 4
    if not _ends(pixels):
        raise _damaged(path, "its compressed pixels do not end where they should")


def _ends(pieces: Sequence[memoryview]) -> bool:
    """Whether compressed data are whole. Pillow looks no further than its last row, of which the
    end of damaged data may make something.
    """
    stream = zlib.decompressobj()
    try:
        for piece in pieces:
            rest: bytes | memoryview = piece
            while rest and not stream.eof:  # a stranger's file may unpack to gigabytes
                stream.decompress(rest, _PIECE)
                rest = stream.unconsumed_tail
        while not stream.eof and stream.decompress(b"", _PIECE):
            continue
    except zlib.error:
        return False
    return stream.eof


def _damaged(path: Path, how: str) -> UserError:
    return UserError(f"is damaged: {how}", where=path, remedy="copy or download it again")
