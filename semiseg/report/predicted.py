"""Pictures of predicted masks: the slices that show most of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from semiseg.data.class_colours import class_colour
from semiseg.data.grey_values import Limits, grey
from semiseg.report.lettering import BACKGROUND, Entry, lettered
from semiseg.report.pictures import SIDE, edge_of, enlarged, rgb_of

SLICES = 4
"""Of a volume in a picture."""
BLACK = 12
"""Levels of 255 up to which a pixel is part of a margin."""
MARGIN = 8
"""Pixels around what is shown."""
APART = 12
"""Of so many slices of a volume, two of a picture are at least one apart."""
FINEST = 300
"""An outline is at least this share of the longer side wide, and at least :data:`LINE` pixels."""
LINE = 2
BORDER = 16
"""Level of the dark border of an outline, which is seen on white."""


class Slices(NamedTuple):
    """The slices of a scan that a picture shows.

    Attributes:
      places: of each in the volume, from 0; ``[0]`` of a picture.
      pictures: ``(H', W', 3)`` uint8 each, see :func:`outlined`.
      values: classes that they outline, in their order, without the background.
    """

    places: list[int]
    pictures: list[np.ndarray]
    values: list[int]


def predicted_picture(
    title: str, image: np.ndarray, mask: np.ndarray, limits: Limits, classes: Sequence[str]
) -> np.ndarray:
    """:func:`predicted_slices` side by side, with the title, the number of each slice, and the
    names of the outlined classes beside their colours.

    Args:
      title: what the scan is called.
      image, mask, limits: see :func:`predicted_slices`.
      classes: names, background first.

    Returns:
      ``(H', W', 3)`` uint8.
    """
    shown = predicted_slices(image, mask, limits)
    captions: list[str] = []
    if mask.ndim == 3:
        captions = [f"slice {place + 1} of {len(mask)}" for place in shown.places]
    legend = [Entry(class_rgb(value), _class_words(value, classes)) for value in shown.values]
    if not legend:
        legend = [Entry(BACKGROUND, "nothing but background")]
    return lettered(shown.pictures, title, captions, legend)


def _class_words(value: int, classes: Sequence[str]) -> str:
    """A class's value and name; the name alone where it is the value's.

    >>> _class_words(2, ("background", "anterior", "posterior")), _class_words(1, ("", "class 1"))
    ('2 posterior', 'class 1')
    """
    name = classes[value]
    if name == f"class {value}":
        return name
    return f"{value} {name}"


def predicted_slices(image: np.ndarray, mask: np.ndarray, limits: Limits) -> Slices:
    """The fullest slices of a scan, classes outlined in the colours of a preview.

    Args:
      image: ``(H, W, C)`` or ``(D, H, W, C)``; three channels are colours, of others the first is
        shown.
      mask: ``(H, W)`` or ``(D, H, W)`` classes.
      limits: the numbers that are black and white.
    """
    if mask.ndim == 2:
        image = image[None]
        mask = mask[None]
    places = fullest(mask)
    levels = (grey(image[places], limits) * 255).round().astype(np.uint8)
    if levels.shape[-1] != 3:
        levels = levels[..., 0]
    box = _shown(levels, mask[places])
    pictures = [
        outlined(plane[box], labels[box])
        for plane, labels in zip(levels, mask[places], strict=True)
    ]
    values = np.unique(mask[places])
    return Slices(places, pictures, values[values > 0].tolist())


def outlined(levels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """A picture with the outlines of its classes, each with a dark border.

    Args:
      levels: ``(H, W)`` grey or ``(H, W, 3)`` uint8.
      mask: ``(H, W)`` classes.

    Returns:
      ``(H·n, W·n, 3)`` uint8, n so large that the longer side has
      :data:`semiseg.report.pictures.SIDE` pixels.
    """
    scale = -(-SIDE // max(mask.shape))
    if levels.ndim == 2:
        levels = np.repeat(levels[..., None], 3, -1)
    rgb = enlarged(levels, scale)
    classes = enlarged(mask, scale)
    width = max(LINE, scale // 3, max(classes.shape) // FINEST)
    line = edge_of(classes, width)
    border = ndimage.binary_dilation(line, iterations=-(-width // 2)) & ~line
    rgb[border] = BORDER
    for value in np.unique(classes[line]).tolist():
        rgb[line & (classes == value)] = class_rgb(value)
    return rgb


def class_rgb(value: int) -> tuple[int, int, int]:
    """Red, green and blue of the outline of a class, 1 for the first after the background.

    >>> class_rgb(1)
    (255, 159, 28)
    """
    red, green, blue = rgb_of(class_colour(value))
    return int(red), int(green), int(blue)


def _shown(levels: np.ndarray, mask: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns of slices without their black margins.

    Args:
      levels: ``(S, H, W)`` or ``(S, H, W, 3)`` uint8.
      mask: ``(S, H, W)`` classes.

    >>> levels = np.zeros((1, 60, 60), np.uint8)
    >>> levels[0, 20:40, 30] = 90
    >>> _shown(levels, levels > 100)
    (slice(12, 48, None), slice(22, 39, None))
    """
    bright = levels.reshape(*mask.shape, -1).max(-1) > BLACK
    seen = (bright | (mask > 0)).any(0)
    box: list[slice] = []
    for axis in (1, 0):
        places = np.flatnonzero(seen.any(axis))
        if not len(places):
            return slice(None), slice(None)
        box.append(slice(max(0, int(places[0]) - MARGIN), int(places[-1]) + 1 + MARGIN))
    return box[0], box[1]


def fullest(mask: np.ndarray) -> list[int]:
    """Places of the slices ``(D, H, W)`` with most foreground, in their order; at least one.

    >>> fullest(np.array([[[1, 1]], [[0, 0]], [[0, 1]], [[1, 0]]], np.uint8))
    [0, 2, 3]
    """
    counts = np.count_nonzero(mask, axis=(1, 2))
    apart = len(mask) // APART
    chosen: list[int] = []
    for place in np.argsort(-counts, kind="stable").tolist():
        near = any(abs(place - other) <= apart for other in chosen if other != place)
        if len(chosen) == SLICES or (chosen and not counts[place]):
            break
        if not near or not apart:
            chosen.append(place)
    return sorted(chosen)
