"""Whether a TIFF is whole and says what its pixels are: Pillow guesses what is missing."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

from semiseg.errors import UserError, damaged

BITS = 258
COMPRESSION = 259
BLACK = 262
STRIPS = 273
SAMPLES_A_PIXEL = 277
STRIP_BYTES = 279
PLANAR = 284
PREDICTOR = 317
TILES = 324
SAMPLES = 339
_OF_PIXELS = {BITS, COMPRESSION, BLACK, SAMPLES_A_PIXEL, PLANAR, PREDICTOR, SAMPLES}
_JPEG = (6, 7)
"""Compressions whose colours every reader turns to RGB."""
_PREDICTORS = (1, 2, 3)
_YCBCR = 6
_LAB = (8, 9, 10)
_HEADER = 8
"""Bytes before the first tag or pixel."""


def check(picture: Any, path: Path) -> None:
    """Refuse a TIFF whose strips or tiles do not fill it: Pillow leaves the rest black; and one of
    which it reads other pixels than other readers.

    Args:
      picture: opened by Pillow.

    Raises:
      UserError: it lacks a part, or a tag that says what its pixels are.
    """
    if BLACK not in picture.tag_v2:  # Pillow takes white for 0, other readers black
        raise damaged("does not say whether 0 is black or white", path)
    colours = picture.tag_v2[BLACK]
    is_jpeg = picture.tag_v2.get(COMPRESSION) in _JPEG
    if colours in _LAB or (colours == _YCBCR and not is_jpeg):
        raise UserError(
            "holds CIE Lab or YCbCr numbers, not red, green and blue",
            where=path,
            remedy="save it as RGB",
        )
    width, height = picture.size
    stored = sum(picture.tag_v2.get(STRIP_BYTES, ()))
    if BITS not in picture.tag_v2 and stored not in (0, math.ceil(width / 8) * height):
        raise damaged("does not say how many bits a pixel has", path)
    area = 0
    for tile in picture.tile:
        left, top, right, bottom = tile[1]
        area += (right - left) * (bottom - top)
    parts = picture.tag_v2.get(STRIPS) or picture.tag_v2.get(TILES) or ()
    if min(parts, default=_HEADER) < _HEADER:
        raise damaged(f"has pixels at byte {min(parts)}, within its header", path)
    samples = int(picture.tag_v2.get(SAMPLES_A_PIXEL, 1))
    planar = picture.tag_v2.get(PLANAR, 1)
    if planar not in (1, 2) and samples > 1:
        raise damaged(f"has its colours in the order {planar}, which is none", path)
    is_apart = planar == 2 and samples > 1
    if area < width * height or (is_apart and len(parts) < samples):
        raise damaged(f"declares {height}×{width} pixels, and has less", path)
    if picture.tag_v2.get(PREDICTOR, 1) not in _PREDICTORS:
        raise damaged(f"has the predictor {picture.tag_v2[PREDICTOR]}, which is none", path)
    if not _declared(path) & _OF_PIXELS <= set(picture.tag_v2):  # Pillow skips tags without values
        raise damaged("has a damaged tag that says what its pixels are", path)


def _declared(path: Path) -> set[int]:
    """The tags that the file's first directory lists, whether they have values or not."""
    with path.open("rb") as file:
        head = file.read(16)
        order = "<" if head[:2] == b"II" else ">"
        is_big = struct.unpack(f"{order}H", head[2:4])[0] == 43  # BigTIFF
        first, count, entry = ("8xQ", "Q", 20) if is_big else ("4xI", "H", 12)
        file.seek(struct.unpack_from(order + first, head)[0])
        size = struct.calcsize(order + count)
        number = struct.unpack(order + count, file.read(size))[0]
        directory = file.read(min(number, 1 << 16) * entry)
    places = range(0, len(directory) - entry + 1, entry)
    return {struct.unpack_from(f"{order}H", directory, place)[0] for place in places}
