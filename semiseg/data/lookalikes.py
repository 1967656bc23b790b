"""Which images must not stand on both sides of a split: tiles of one field of view, and images of
one well, slide or session.

Where a data set names no subjects, this is what keeps train and test apart. Images of one stain and
size are joined where the edge of one continues the other's (they were cut from one picture), and
where they look alike; whatever is joined, directly or through others, is one cluster.
"""

from __future__ import annotations

import numpy as np


def stain(rgb: np.ndarray) -> str:
    """Of an ``(H, W, 3)`` uint8 image: ``fluorescence`` (grey, dark ground), ``brightfield`` (grey,
    light) or ``histology`` (coloured).
    """
    if (rgb.max(-1).astype(int) - rgb.min(-1)).mean() > 3:
        return "histology"
    return "fluorescence" if rgb.mean() < 128 else "brightfield"


def appearance(rgb: np.ndarray) -> np.ndarray:
    """Eleven numbers that are near for images taken in the same way: colour of the ground and of
    the whole, range of greys, noise.

    In twelfths of a natural logarithm, so that a distance of 1 is 8 % in brightness, contrast or
    noise, on bright and on dark images.
    """
    x = rgb.astype(np.float32)
    grey = x.mean(-1)
    steps = np.abs(np.diff(grey, axis=0))
    noise = (
        np.median(steps) + steps.mean()
    )  # the sensor's noise and the compression, then the sharpness of edges
    levels = np.concatenate(
        [np.median(x, axis=(0, 1)), x.mean((0, 1)), np.percentile(grey, (1, 25, 90, 99)), [noise]]
    )
    return 12 * np.log1p(levels)


def edges(rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Grey levels along the left, right, top and bottom edge of an ``(H, W, 3)`` image."""
    left, right, top, bottom = (
        x.astype(np.float32).mean(-1) for x in (rgb[:, 0], rgb[:, -1], rgb[0], rgb[-1])
    )
    return left, right, top, bottom


def seams(edges_N: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]) -> np.ndarray:
    """``(N, N)`` bool: which images of one size were cut from one picture, side by side or one
    above the other.

    Neighbouring pixel columns of a picture are nearly equal. Two edges meet if they correlate by
    0.95 and differ by less than a quarter of their own standard deviation; edges of plain ground
    (deviation below 3 grey levels) tell nothing and meet none.
    """
    left, right, top, bottom = (np.stack(side) for side in zip(*edges_N))
    meet = np.zeros((len(edges_N),) * 2, bool)
    for first, second in ((right, left), (bottom, top)):
        spread = np.minimum.outer(first.std(1), second.std(1))
        centred = [x - x.mean(1, keepdims=True) for x in (first, second)]
        covariance = centred[0] @ centred[1].T / first.shape[1]
        difference = np.stack([np.abs(x - second).mean(1) for x in first])
        meet |= (
            (covariance > 0.95 * np.outer(first.std(1), second.std(1)))
            & (spread > 3)
            & (difference < spread / 4)
        )
    return meet | meet.T


def clusters(
    features: np.ndarray, threshold: float, joined: np.ndarray | None = None
) -> np.ndarray:
    """Cluster of each row of ``(N, F)``, numbered from 0 in order of appearance.

    Single linkage: no two clusters are nearer than ``threshold``, and no two images that are
    ``joined`` (``(N, N)`` bool) are apart.
    """
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial.distance import cdist

    link = cdist(features, features) <= threshold
    _, found = connected_components(link if joined is None else link | joined, directed=False)
    _, first, inverse = np.unique(found, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]
