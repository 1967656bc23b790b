"""Which kinds of picture a set holds: the share of the real images' cells that it reaches."""

from __future__ import annotations

import numpy as np

MOST_SPLITS = 5
"""Cells are at most ``2 ** MOST_SPLITS``."""
IN_A_CELL = 6
"""Images of the smaller set that a cell should hold."""
COMPONENTS = 16
"""Principal components that the cells are cut along."""
LEAST_SHARE = 0.25
"""A cell is reached if it holds this share of the images that would be its due."""


def principal(real: np.ndarray, *others: np.ndarray) -> list[np.ndarray]:
    """Each set of features ``(N, F)`` on the first principal components of the real ones,
    ``(N, COMPONENTS)`` at most.

    >>> points = np.random.default_rng(0).normal(size=(50, 20))
    >>> principal(points, points[:5])[1].shape
    (5, 16)
    """
    mean = real.mean(0)
    centred = real - mean
    covariance = np.cov(centred.T).reshape(real.shape[1], -1)
    _, vectors = np.linalg.eigh(covariance)
    largest_first = vectors[:, ::-1]
    axes = largest_first[:, :COMPONENTS]
    return [(x - mean) @ axes for x in (real, *others)]


def cells(real: np.ndarray, other: np.ndarray, splits: int) -> np.ndarray:
    """The cell of each row of ``other``; cells hold equally many rows of ``real``.

    The real rows are cut at the median of their first principal component, and each half again (a
    principal component tree, Verma, Kpotufe and Dasgupta, UAI 2009).

    Args:
      real: ``(N, F)`` features.
      other: ``(M, F)`` features.
      splits: cuts from the root to a cell.

    Returns:
      ``(M,)`` numbers below ``2 ** splits``.

    >>> points = np.arange(8.0)[:, None]
    >>> sorted(cells(points, points, 2).tolist())
    [0, 0, 1, 1, 2, 2, 3, 3]
    """
    number = np.zeros(len(other), int)
    if splits == 0 or len(real) < 2:
        return number
    mean = real.mean(0)
    centred = real - mean
    _, vectors = np.linalg.eigh(centred.T @ centred)
    component = vectors[:, -1]
    along = centred @ component
    other_along = (other - mean) @ component
    cut = np.median(along)
    low = along < cut
    other_low = other_along < cut
    half = 2 ** (splits - 1)
    lower = cells(real[low], other[other_low], splits - 1)
    upper = cells(real[~low], other[~other_low], splits - 1)
    number[other_low] = lower
    number[~other_low] = half + upper
    return number


def reached(real: np.ndarray, other: np.ndarray) -> float:
    """Share of the cells of the real images that a set reaches.

    Mode collapse, a set of a few kinds of picture, leaves most of them empty, while each of its
    images looks real.

    Args:
      real: ``(N, F)`` features.
      other: ``(M, F)`` features.

    >>> points = np.random.default_rng(0).normal(size=(200, 3))
    >>> reached(points, points[::2]), reached(points, np.repeat(points[:1], 200, 0))
    (1.0, 0.0625)
    """
    fewer = min(len(real) // 2, len(other))
    allowed = np.log2(max(fewer, 1) / IN_A_CELL)
    splits = int(np.clip(allowed, 0, MOST_SPLITS))
    number = 2**splits
    counts = np.bincount(cells(real, other, splits), minlength=number)
    due = len(other) / number
    least = max(1, LEAST_SHARE * due)
    return float((counts >= least).mean())
