"""Text around pictures: what they are of, and what their colours mean."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from semiseg.escapes import one_line

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

BACKGROUND = (16, 16, 16)
TEXT = (240, 240, 240)
SHARE = 44
"""The font's size is the width by this: text is read where the picture is shown 400 pixels wide."""
SMALLEST = 15
"""Pixels of the font's size, at least."""
NARROWEST = 320
"""Pixels of the width, at least: a title has room."""
LINE = 1.5
"""Height of a line of text, in sizes of the font."""


class Entry(NamedTuple):
    """What a colour means.

    Attributes:
      colour: red, green and blue, 0 to 255.
      words: e.g. the name of a class.
    """

    colour: tuple[int, int, int]
    words: str


def lettered(
    pictures: Sequence[np.ndarray],
    title: str,
    captions: Sequence[str],
    legend: Sequence[Entry],
) -> np.ndarray:
    """Pictures side by side with a title above them, a caption below each, and a legend.

    Args:
      pictures: ``(H, W, 3)`` uint8 each, of one height.
      title: shortened in its middle where it is too long.
      captions: one for each picture, or none; a wide one needs a wider column.
      legend: as many lines as the entries need.

    Returns:
      ``(H', W', 3)`` uint8.
    """
    from PIL import Image, ImageDraw

    size = max(SMALLEST, sum(picture.shape[1] for picture in pictures) // SHARE)
    font = _font(size)
    gap = size // 2
    line = round(LINE * size)
    columns = [picture.shape[1] for picture in pictures]
    if captions:
        lengths = [math.ceil(font.getlength(caption)) for caption in captions]
        columns = [max(pair) for pair in zip(columns, lengths, strict=True)]
    width = max(NARROWEST, sum(columns) + gap * (len(columns) + 1))
    rows = _rows(legend, font, size, width - 2 * gap)
    top = line + gap
    bottom = top + pictures[0].shape[0]
    height = bottom + line * (len(rows) + bool(captions)) + gap
    canvas = Image.new("RGB", (width, height), BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    _write(draw, (gap, top // 2), shortened(title, font, width - 2 * gap), font)
    left = gap
    for i, column in enumerate(columns):
        canvas.paste(Image.fromarray(pictures[i]), (left, top))
        if captions:
            _write(draw, (left, bottom + line // 2), captions[i], font)
        left += column + gap
    middle = bottom + line * bool(captions) + line // 2
    for row in rows:
        _write_row(draw, row, (gap, middle), font, size)
        middle += line
    return np.asarray(canvas)


def shortened(text: str, font: FreeTypeFont, width: float) -> str:
    """Text in one line that is not wider than ``width`` pixels, without its middle if need be."""
    text = one_line(text)
    if font.getlength(text) <= width:
        return text
    kept = len(text)
    short = text
    while kept > 1 and font.getlength(short) > width:
        kept -= 1
        short = f"{text[: kept - kept // 2]}…{text[len(text) - kept // 2 :]}"
    return short


def _rows(legend: Sequence[Entry], font: FreeTypeFont, size: int, width: int) -> list[list[Entry]]:
    """The legend's entries in lines that are not wider than ``width`` pixels."""
    rows: list[list[Entry]] = []
    taken = 0
    for entry in legend:
        short = entry._replace(words=shortened(entry.words, font, width - 3 * size))
        needed = _entry_width(short, font, size)
        if not rows or taken + needed > width:
            rows.append([])
            taken = 0
        rows[-1].append(short)
        taken += needed
    return rows


def _entry_width(entry: Entry, font: FreeTypeFont, size: int) -> int:
    """Pixels of an entry's square, its words and the gap after them."""
    return math.ceil(font.getlength(entry.words) + 2.5 * size)


def _write_row(
    draw: ImageDraw,
    row: Sequence[Entry],
    place: tuple[int, int],
    font: FreeTypeFont,
    size: int,
) -> None:
    left, middle = place
    half = size // 2
    for entry in row:
        square = (left, middle - half, left + size, middle + half)
        draw.rectangle(square, fill=entry.colour)
        _write(draw, (left + round(1.4 * size), middle), entry.words, font)
        left += _entry_width(entry, font, size)


def _write(draw: ImageDraw, place: tuple[int, int], text: str, font: FreeTypeFont) -> None:
    """Text that begins at a column and has its middle at a row."""
    draw.text(place, text, fill=TEXT, font=font, anchor="lm")


@functools.cache
def _font(size: int) -> FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib: Latin, Greek and Cyrillic letters."""
    import matplotlib as mpl
    from PIL import ImageFont

    file = Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(str(file), size)
