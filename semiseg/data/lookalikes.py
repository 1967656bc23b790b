"""Which images look so alike that they must not stand on both sides of a split: tiles of one well, one slide, one microscope session.

Where a data set names no subjects, this is what keeps train and test apart. Images of one stain and size are clustered on simple
appearance features by single linkage, so that any two images nearer than the threshold are in one cluster, whatever else happens.
"""

from __future__ import annotations

import numpy as np


def stain(rgb: np.ndarray) -> str:
    """Of an ``(H, W, 3)`` uint8 image: ``fluorescence`` (grey, dark ground), ``brightfield`` (grey, light) or ``histology`` (coloured)."""
    if (rgb.max(-1).astype(int) - rgb.min(-1)).mean() > 3:
        return "histology"
    return "fluorescence" if rgb.mean() < 128 else "brightfield"


def appearance(rgb: np.ndarray) -> np.ndarray:
    """Eleven numbers that are near for images taken in the same way: colour of the ground and of the whole, range of greys, noise.

    In twelfths of a natural logarithm, so that a distance of 1 is 8 % in brightness, contrast or noise, on bright and on dark images.
    """
    x = rgb.astype(np.float32)
    grey = x.mean(-1)
    steps = np.abs(np.diff(grey, axis=0))
    noise = np.median(steps) + steps.mean()  # the sensor's noise and the compression, then the sharpness of edges
    levels = np.concatenate([np.median(x, axis=(0, 1)), x.mean((0, 1)), np.percentile(grey, (1, 25, 90, 99)), [noise]])
    return 12 * np.log1p(levels)


def clusters(features: np.ndarray, threshold: float) -> np.ndarray:
    """Cluster of each row of ``(N, F)``, numbered from 0 in order of appearance. No two clusters are nearer than ``threshold``."""
    from scipy.cluster.hierarchy import fcluster, linkage

    if len(features) < 2:
        return np.zeros(len(features), int)
    found = fcluster(linkage(features, "single"), threshold, "distance")
    _, first, inverse = np.unique(found, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]
