"""Whether a PNG is whole: Pillow compares no checksums and looks no further than the last row."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path

from semiseg.data import size_limits
from semiseg.errors import damaged

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
            raise damaged("is damaged: its pixels do not have their checksum", path)
        if kind == b"IDAT":
            pixels.append(named[4:])
        place = end + 4
    if not _ends(pixels):
        raise damaged("is damaged: its compressed pixels do not end where they should", path)


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
