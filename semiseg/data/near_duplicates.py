"""Images that look alike: recompressed, brightened, resized, mirrored or turned copies, and
neighbouring frames of one specimen.

An image is described by the detail of its grey levels on a grid of 16 × 16 cells. Two images look
alike if the descriptions correlate by :data:`THRESHOLD` in one of the eight ways to mirror and turn
a square. :mod:`semiseg.data.alike_search` finds them, 100,000 images in seconds, and no pixel is
read again.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from semiseg.data.alike_search import CELLS, best_matches

THRESHOLD = 0.85
"""Images that correlate by this look alike.

Measured (``experiments/results/near_duplicates.csv``): the highest correlation of images of two
subjects is 0.58 in ACDC, 0.72 in the MSD hippocampus, 0.56 in HC18 and 0.62 in the nuclei. Of
copies that were saved as JPEG of quality 30, brightened or darkened (gamma 0.6 and 1.6), blurred by
noise of 5 %, halved in size, mirrored or turned, at least 96 of 100 reach it; of copies that lost
2 % at each side, at least 73.
"""
FEWEST_CELLS = 3
"""An image whose detail lies in fewer cells than these (an empty slice with one bright spot) looks
like many others and is not compared."""


def description(image: np.ndarray) -> np.ndarray:
    """``(16, 16)`` int8: the detail of an image ``(H, W, C)`` at the scale of two cells; zeros for
    an image of one grey level.

    Detail is the mean grey level of each cell without the mean of its surroundings (a Gaussian of
    one cell). So brightness, contrast and slow shading do not count.

    >>> description(np.zeros((40, 36, 1))).any()
    np.False_
    >>> picture = np.random.default_rng(0).random((40, 36, 1))
    >>> np.array_equal(description(picture), description(50 + 7 * picture))
    True
    """
    from scipy import ndimage

    grey = image.astype(np.float32).mean(-1)
    if not np.isfinite(grey).all():  # a problem of its own
        return np.zeros((CELLS, CELLS), np.int8)
    cells = _cell_means(grey)
    detail = cells - ndimage.gaussian_filter(cells, 1, mode="nearest")
    largest = np.abs(detail).max()
    noise = 1e-5 * np.abs(cells).max()  # of the sums in double precision
    if largest <= noise:
        return np.zeros((CELLS, CELLS), np.int8)
    scaled: np.ndarray = np.round(127 * detail / largest).astype(np.int8)
    return scaled


def _cell_means(grey: np.ndarray) -> np.ndarray:
    """Mean of ``(H, W)`` over each cell of the grid; a cell may begin inside a pixel."""
    rows = _overlap(grey.shape[0])
    columns = _overlap(grey.shape[1])
    return rows @ grey.astype(np.float64) @ columns.T


def _overlap(length: int) -> np.ndarray:
    """``(16, length)``: the share of each pixel in each cell's mean."""
    edges = np.linspace(0, length, CELLS + 1)
    starts = np.arange(length)
    shared = np.minimum(edges[1:, None], starts + 1) - np.maximum(edges[:-1, None], starts)
    return np.clip(shared, 0, None) * (CELLS / length)


class Pair(NamedTuple):
    """Two images that look alike.

    Attributes:
      first, second: their indices.
      correlation: of their descriptions.
    """

    first: int
    second: int
    correlation: float


def pairs(first: np.ndarray, second: np.ndarray, threshold: float = THRESHOLD) -> list[Pair]:
    """Every image of ``first`` with the image of ``second`` that looks most like it, where the two
    look alike.

    Args:
      first: ``(N, 16, 16)`` int8 descriptions.
      second: ``(M, 16, 16)`` int8 descriptions, e.g. of another split.
      threshold: least correlation.

    >>> pictures = np.random.default_rng(0).random((3, 32, 32, 1))
    >>> some = np.stack([description(picture) for picture in pictures])
    >>> turned = np.stack([description(np.rot90(picture)) for picture in pictures[1:]])
    >>> [(pair.first, pair.second) for pair in pairs(some, turned)]
    [(1, 0), (2, 1)]
    """
    if not len(first) or not len(second):
        return []
    matches = best_matches(unit_vectors(first), unit_vectors(second), threshold)
    alike = np.flatnonzero(matches.correlation >= threshold).tolist()
    return [Pair(i, int(matches.partner[i]), float(matches.correlation[i])) for i in alike]


def across(descriptions: np.ndarray, side: np.ndarray, threshold: float = THRESHOLD) -> list[Pair]:
    """Every image with the image of another side that looks most like it, where the two look alike;
    a pair stands once.

    Args:
      descriptions: ``(N, 16, 16)`` int8.
      side: ``(N,)`` int, e.g. the fold that each image is in.
      threshold: least correlation.

    >>> picture = np.random.default_rng(0).random((32, 32, 1))
    >>> some = np.stack([description(picture), description(np.fliplr(picture))])
    >>> [pair[:2] for pair in across(some, np.array([0, 1]))], across(some, np.array([0, 0]))
    ([(1, 0)], [])
    """
    result: list[Pair] = []
    for value in np.unique(side)[1:].tolist():
        first = np.flatnonzero(side == value)
        second = np.flatnonzero(side < value)
        for pair in pairs(descriptions[first], descriptions[second], threshold):
            result.append(Pair(int(first[pair.first]), int(second[pair.second]), pair.correlation))
    return result


def turned(descriptions: np.ndarray) -> list[np.ndarray]:
    """The eight ways to mirror and turn a square."""
    ways: list[np.ndarray] = []
    for quarter_turns in range(4):
        turned = np.rot90(descriptions, quarter_turns, (1, 2))
        ways += [turned, turned[:, :, ::-1]]
    return ways


def unit_vectors(descriptions: np.ndarray) -> np.ndarray:
    """``(N, 256)`` float32 of mean 0 and norm 1; zeros where too few cells hold the detail."""
    vectors = descriptions.reshape(len(descriptions), -1).astype(np.float32)
    vectors -= vectors.mean(1, keepdims=True)
    norm = np.sqrt(np.square(vectors).sum(1, keepdims=True))
    vectors /= np.maximum(norm, 1e-6)
    # 1 / Σ v⁴ is the number of cells where all cells that hold detail hold the same
    squares = np.square(vectors)
    effective = 1 / np.maximum(np.square(squares).sum(1), 1e-6)
    empty = (norm[:, 0] < 1e-6) | (effective < FEWEST_CELLS)
    vectors[empty] = 0
    return vectors
