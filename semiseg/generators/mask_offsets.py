"""Where the edges of an image lie, beside the boundaries of its mask: what a shifted, a swollen or
a shrunken mask gives away.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from semiseg.types import IGNORE

MOVES = tuple(range(-2, 3))
"""Shifts that are tried along each axis, pixels."""
SIZES = tuple(range(-3, 4))
"""Growths that are tried, pixels: below 0 the foreground shrinks."""
BAND = 5
"""Pixels of an image this near to a boundary are looked at."""


class Offsets(NamedTuple):
    """How far the masks of a set lie from the edges of their images; NaN where an image has none.

    Attributes:
      move: ``(N, 2)`` pixels down and to the right that the mask would have to move.
      size: ``(N,)`` pixels by which its foreground would have to grow.
    """

    move: np.ndarray
    size: np.ndarray


def offsets(images: np.ndarray, labels: np.ndarray) -> Offsets:
    """The shift and the growth of each mask that explain its image best.

    A mask explains an image by the share of the grey levels' variance that lies between its classes
    (eta squared, Fisher 1925) among the pixels near its boundaries. So a class may be bright or
    dark. Near the best of the tried values a parabola through three values gives fractions of a
    pixel.

    Args:
      images: ``(N, H, W, C)``.
      labels: ``(N, H, W)``.

    >>> label = np.zeros((1, 24, 24), int)
    >>> label[:, 8:16, 8:16] = 1
    >>> image = np.roll(200 * label, 1, 2)[..., None]
    >>> moved = offsets(image, label)
    >>> moved.move.round(1).tolist()
    [[0.0, 1.0]]
    """
    moves = np.full((len(images), 2), np.nan)
    sizes = np.full(len(images), np.nan)
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        grey = image.mean(-1).astype(np.float32)
        depth = _depth(label)
        near = (np.abs(depth) < BAND) & (label != IGNORE)
        if near.sum() < 3 * BAND or grey[near].std() == 0:
            continue
        _, member = np.unique(label[near], return_inverse=True)
        for axis in range(2):
            moves[i, axis] = _move(grey, near, member, axis)
        sizes[i] = _growth(grey[near], depth[near])
    return Offsets(moves, sizes)


def _move(
    grey: np.ndarray,
    near: np.ndarray,
    member: np.ndarray,
    axis: int,
) -> float:
    """The shift of a mask along an axis that explains ``grey (H, W)`` best, pixels.

    Args:
      grey: ``(H, W)``.
      near: ``(H, W)`` bool, the pixels that are looked at.
      member: ``(P,)`` class of each of these.
      axis: 0 or 1.
    """
    explained = []
    for move in MOVES:
        moved = _shifted(grey, axis, move)
        explained.append(_explained(moved[near], member))
    return _peak(np.array(explained), MOVES)


def _growth(grey: np.ndarray, depth: np.ndarray) -> float:
    """The growth of a foreground that explains ``grey (P,)`` best, from ``depth (P,)``, pixels."""
    explained = []
    for size in SIZES:
        inside = depth > -size
        explained.append(_explained(grey, inside.astype(int)))
    return _peak(np.array(explained), SIZES)


def _depth(label: np.ndarray) -> np.ndarray:
    """Distance of each pixel ``(H, W)`` to the foreground's boundary, pixels: below 0 outside."""
    inside = (label != 0) & (label != IGNORE)
    if inside.all() or not inside.any():
        return np.full(label.shape, np.inf)
    within = ndimage.distance_transform_edt(inside)
    outside = ndimage.distance_transform_edt(~inside)
    return np.where(inside, within - 0.5, 0.5 - outside)


def _shifted(grey: np.ndarray, axis: int, move: int) -> np.ndarray:
    """``grey (H, W)`` read at a shift along an axis, its border repeated.

    >>> _shifted(np.array([[1, 2, 3]]), 1, 1).tolist()
    [[2, 3, 3]]
    """
    side = grey.shape[axis]
    places = np.arange(side) + move
    inside = np.clip(places, 0, side - 1)
    return np.take(grey, inside, axis)


def _explained(x: np.ndarray, member: np.ndarray) -> float:
    """Eta squared: the share of the variance of ``x (P,)`` between its classes ``member (P,)``.

    >>> _explained(np.array([1.0, 1.0, 5.0]), np.array([0, 0, 1]))
    1.0
    """
    counts = np.bincount(member)
    sums = np.bincount(member, x)
    centre = x.mean()
    squares = (x - centre) ** 2
    total = squares.sum()
    if total == 0:
        return 0.0
    means = sums / np.maximum(counts, 1)
    between = counts * (means - centre) ** 2
    return float(between.sum() / total)


def _peak(values: np.ndarray, places: tuple[int, ...]) -> float:
    """Where the largest of some values lies, by a parabola through it and its neighbours."""
    i = int(np.argmax(values))
    if i in (0, len(values) - 1):
        return float(places[i])
    before, top, after = values[i - 1 : i + 2]
    bend = before - 2 * top + after
    if bend == 0:
        return float(places[i])
    fraction = 0.5 * (before - after) / bend
    return float(places[i] + fraction)
