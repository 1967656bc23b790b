"""Which images must not stand on both sides of a split: tiles of one field of view, and images of
one well, slide or session.

Where a data set names no subjects, this is what keeps train and test apart. Images of one stain and
size are joined where the edge of one continues the other's (they were cut from one picture), and
where they look alike. Whatever is joined, directly or through others, is one cluster.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

CORRELATION = 0.95
"""Two edges that meet correlate by more than this."""
PLAIN = 3.0
"""An edge whose grey levels deviate by less than this is plain ground, and meets none."""


def stain(rgb: np.ndarray) -> str:
    """The kind of microscopy of an ``(H, W, 3)`` uint8 image.

    ``fluorescence`` is grey on dark ground, ``brightfield`` grey on light ground, ``histology``
    coloured.

    >>> stain(np.full((4, 4, 3), 20, np.uint8)), stain(np.full((4, 4, 3), 220, np.uint8))
    ('fluorescence', 'brightfield')
    """
    if (rgb.max(-1).astype(int) - rgb.min(-1)).mean() > 3:
        return "histology"
    return "fluorescence" if rgb.mean() < 128 else "brightfield"


def appearance(rgb: np.ndarray) -> np.ndarray:
    """``(11,)`` numbers that are near for images taken in the same way.

    They are the colour of the ground and of the whole, the range of greys, and the noise, in
    twelfths of a natural logarithm. So a distance of 1 is 8 % in brightness, contrast or noise, on
    bright and on dark images.

    >>> image = np.full((4, 4, 3), 100, np.uint8)
    >>> appearance(image).round(1).tolist()
    [55.4, 55.4, 55.4, 55.4, 55.4, 55.4, 55.4, 55.4, 55.4, 55.4, 0.0]
    """
    pixels = rgb.astype(np.float32)
    grey = pixels.mean(-1)
    steps = np.abs(np.diff(grey, axis=0))
    if not steps.size:  # an image of one row
        steps = np.zeros(1, np.float32)
    # the sensor's noise and the compression, then the sharpness of edges
    noise = np.median(steps) + steps.mean()
    ground = np.median(pixels, axis=(0, 1))
    levels = np.concatenate(
        [ground, pixels.mean((0, 1)), np.percentile(grey, (1, 25, 90, 99)), [noise]]
    )
    return 12 * np.log1p(levels)


class Edges(NamedTuple):
    """Grey levels along the edges of an image, each ``(H,)`` or ``(W,)`` float32."""

    left: np.ndarray
    right: np.ndarray
    top: np.ndarray
    bottom: np.ndarray


def edges(rgb: np.ndarray) -> Edges:
    """Grey levels along the edges of an ``(H, W, 3)`` image.

    >>> edges(np.arange(12).reshape(2, 2, 3)).bottom.tolist()
    [7.0, 10.0]
    """
    sides = (rgb[:, 0], rgb[:, -1], rgb[0], rgb[-1])
    return Edges(*(side.astype(np.float32).mean(-1) for side in sides))


def seams(edges_N: Sequence[Edges]) -> np.ndarray:
    """``(N, N)`` bool: which images of one size were cut from one picture, side by side or one
    above the other.

    Neighbouring pixel columns of a picture are nearly equal. Two edges meet if they correlate by
    0.95 and differ by less than a quarter of their own standard deviation; edges of plain ground
    (deviation below 3 grey levels) tell nothing and meet none.

    >>> rng = np.random.default_rng(0)
    >>> picture = rng.integers(0, 255, (8, 9, 3)).repeat(4, axis=1)
    >>> halves = [edges(picture[:, 2:18]), edges(picture[:, 18:34])]
    >>> seams(halves).tolist()
    [[False, True], [True, False]]
    """
    left, right, top, bottom = (np.stack(side) for side in zip(*edges_N, strict=True))
    meet = _meet(right, left) | _meet(bottom, top)
    return meet | meet.T


def _meet(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """``(N, N)`` bool: whether edge i of ``first (N, L)`` continues in edge j of ``second``."""
    deviation = first.std(1)
    other_deviation = second.std(1)
    spread = np.minimum.outer(deviation, other_deviation)
    centred = first - first.mean(1, keepdims=True)
    other_centred = second - second.mean(1, keepdims=True)
    covariance = centred @ other_centred.T / first.shape[1]
    difference = np.stack([np.abs(edge - second).mean(1) for edge in first])
    correlated = covariance > CORRELATION * np.outer(deviation, other_deviation)
    return correlated & (spread > PLAIN) & (difference < spread / 4)


def clusters(
    features: np.ndarray, threshold: float, joined: np.ndarray | None = None
) -> np.ndarray:
    """Cluster of each row of ``(N, F)``, numbered from 0 in order of appearance.

    Single linkage: no two clusters are nearer than ``threshold``, and no two images that are
    ``joined`` (``(N, N)`` bool) are apart.

    >>> clusters(np.array([[5.0], [0.0], [1.0], [6.0]]), threshold=1.5).tolist()
    [0, 1, 1, 0]
    """
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial.distance import cdist

    link = cdist(features, features) <= threshold
    if joined is not None:
        link |= joined
    _, components = connected_components(link, directed=False)
    _, first, inverse = np.unique(components, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]
