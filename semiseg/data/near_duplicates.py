"""Images that look alike: recompressed, brightened, resized, mirrored or turned copies, and
neighbouring frames of one specimen.

An image is described by the detail of its grey levels on a grid of 16 × 16 cells. Two images look
alike if the descriptions correlate by :data:`THRESHOLD` in one of the eight ways to mirror and turn
a square. So 20,000 images are searched in seconds, 100,000 in one or two minutes, and no pixel
is read again.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

CELLS = 16
"""Cells along each side of the grid."""
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
_BLOCK = 512
"""Images a side that are compared at once: their products stay in the processor's cache."""
_ROUNDING = 1e-4
"""Of a correlation, more than single precision loses."""


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
    parts = _parts(unit_vectors(second))
    result: list[Pair] = []
    for start in range(0, len(first), _BLOCK):
        block = first[start : start + _BLOCK]
        highest = _highest(_parts(unit_vectors(block)), parts)
        candidates = np.flatnonzero(highest >= threshold - _ROUNDING)
        for pair in _pairs_of_few(block[candidates], second, threshold):
            result.append(pair._replace(first=start + int(candidates[pair.first])))
    return result


def _pairs_of_few(first: np.ndarray, second: np.ndarray, threshold: float) -> list[Pair]:
    """:func:`pairs`, one of the eight ways after the other."""
    if not len(first):
        return []
    vectors = unit_vectors(first)
    best = np.full(len(first), -1.0, np.float32)
    where = np.zeros(len(first), int)
    for start in range(0, len(second), _BLOCK):
        block = second[start : start + _BLOCK]
        for others in turned(block):
            correlation = vectors @ unit_vectors(others).T
            highest = correlation.max(1)
            better = np.flatnonzero(highest > best)
            where[better] = start + correlation[better].argmax(1)
            best[better] = highest[better]
    alike = np.flatnonzero(best >= threshold)
    return [Pair(int(i), int(where[i]), float(best[i])) for i in alike]


def _parts(vectors: np.ndarray) -> np.ndarray:
    """``(4, N, 8, 8)``: vectors ``(N, 256)`` as parts that are even or odd along rows and along
    columns (even-even, even-odd, odd-even, odd-odd), in an orthonormal basis.

    A mirrored image has the same parts with other signs, and a transposed image has them
    transposed, with the two in the middle exchanged. So the parts say of all eight ways at once
    what each of them would say, in a quarter of the products.
    """
    cells = vectors.reshape(-1, CELLS, CELLS)
    half = CELLS // 2
    upper = cells[:, :half]
    lower = cells[:, : half - 1 : -1]
    parts: list[np.ndarray] = []
    for rows in (upper + lower, upper - lower):
        left = rows[..., :half]
        right = rows[..., : half - 1 : -1]
        parts += [left + right, left - right]
    return np.stack(parts) / 2


def _highest(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """``(N,)``: the highest correlation of each image with any of the second ones in any of the
    eight ways.

    Args:
      first, second: :func:`_parts`, ``(4, N, 8, 8)`` and ``(4, M, 8, 8)``.
    """
    rows = first.reshape(4, first.shape[1], -1)
    highest = np.full(rows.shape[1], -1.0, np.float32)
    space = np.empty((6, rows.shape[1], _BLOCK), np.float32)
    for start in range(0, second.shape[1], _BLOCK):
        block = second[:, start : start + _BLOCK]
        upright = block.reshape(4, block.shape[1], -1)
        # transposed: odd rows of the one are odd columns of the other
        lying = block.swapaxes(2, 3)[[0, 2, 1, 3]].reshape(upright.shape)
        for columns in (upright, lying):
            products = space[..., : columns.shape[1]]
            best = _best_of_four(rows, columns, products)
            np.maximum(highest, best.max(1), out=highest)
    return highest


def _best_of_four(rows: np.ndarray, columns: np.ndarray, space: np.ndarray) -> np.ndarray:
    """``(N, M)``: the highest correlation over the four ways to mirror, in ``space`` ``(6, N, M)``,
    where nothing is allocated anew.
    """
    even, across_rows, along_rows, odd, plus, minus = space
    np.matmul(rows, columns.swapaxes(1, 2), out=space[:4])
    np.abs(np.add(across_rows, along_rows, out=plus), out=plus)
    np.abs(np.subtract(across_rows, along_rows, out=minus), out=minus)
    np.add(plus, odd, out=plus)
    np.subtract(minus, odd, out=minus)
    np.maximum(plus, minus, out=plus)
    return np.add(even, plus, out=plus)


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
    effective = 1 / np.maximum((vectors**4).sum(1), 1e-6)
    empty = (norm[:, 0] < 1e-6) | (effective < FEWEST_CELLS)
    vectors[empty] = 0
    return vectors
