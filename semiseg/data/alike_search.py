"""The search of :mod:`semiseg.data.near_duplicates`: which of many images looks most like another,
in the best of the eight ways to mirror and turn a square. It is exact: what a bound excludes cannot
reach the threshold, and the rest is computed.

An image is a unit vector of 16 × 16 cells. In the basis of :func:`_parts` a turned image has the
same numbers in other places and with other signs. Let φ(u) hold

    36 numbers that no turn changes,
    92 absolute values of numbers of which a turn changes the sign at most,
    64 lengths of the pairs of numbers that a turn mixes.

By the inequality of Cauchy and Schwarz, φ(u)·φ(v) is at least the correlation of u and v in each of
the eight ways. A rotation of φ puts most of it into :data:`AXES` numbers, and the rest is bounded
by its length. So two images cost one product of 113 numbers in place of eight of 256. Of a thousand
pairs, about one has to be computed in full (``experiments/results/alike_search.csv``).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

CELLS = 16
"""Cells along each side of an image."""
AXES = 112
"""Axes of the rotated φ that are multiplied. With 80, 7 pairs of 1000 (discs) or 23 (noise) have to
be computed; with 112 one or none, and more axes take longer than they save."""
ROUNDING = 1e-4
"""Of a correlation, more than single precision loses."""
_BLOCK = 512
"""Images a side that are compared at once: their products stay in the processor's cache."""
_DENSE = 1 / 32
"""Share of pairs that remain above which a product of matrices is faster than pair by pair."""
_FOR_AXES = 4096
"""Images by which the axes are chosen."""


class Matches(NamedTuple):
    """The image of another side that looks most like each image.

    Attributes:
      correlation: ``(N,)`` float32; below the threshold where no image reaches it.
      partner: ``(N,)`` int, index of the other image; the first one where several are equal.
    """

    correlation: np.ndarray
    partner: np.ndarray


class _Side(NamedTuple):
    """Images that are compared.

    Attributes:
      parts: ``(N, 4, 8, 8)``, see :func:`_parts`.
      bounding: ``(N, 113)``, whose products are at least the correlations.
    """

    parts: np.ndarray
    bounding: np.ndarray

    def some(self, which: slice) -> _Side:
        return _Side(self.parts[which], self.bounding[which])


def best_matches(first: np.ndarray, second: np.ndarray, threshold: float) -> Matches:
    """For each image of ``first`` the image of ``second`` that looks most like it.

    Args:
      first: ``(N, 256)`` float32, of norm 1 or 0.
      second: ``(M, 256)`` float32.
      threshold: least correlation that is of interest.

    >>> cells = np.eye(256, dtype=np.float32)
    >>> best_matches(cells[:2], cells[[5, 14, 255]], 0.85).partner.tolist()  # 1 is mirrored to 14
    [2, 1]
    """
    axes = _axes(first, second)
    rows = _side(first, axes)
    columns = _side(second, axes)
    best = np.full(len(first), -2, np.float32)
    partner = np.zeros(len(first), int)
    for start in range(0, len(first), _BLOCK):
        block = slice(start, start + _BLOCK)
        best[block], partner[block] = _of_block(rows.some(block), columns, threshold)
    return Matches(best, partner)


def _of_block(rows: _Side, columns: _Side, threshold: float) -> Matches:
    """:func:`best_matches` of a few images."""
    best = np.full(len(rows.parts), -2, np.float32)
    partner = np.zeros(len(best), int)
    for start in range(0, len(columns.parts), _BLOCK):
        block = columns.some(slice(start, start + _BLOCK))
        least = np.maximum(best, threshold) - ROUNDING
        possible = rows.bounding @ block.bounding.T >= least[:, None]
        i, j = np.divmod(np.flatnonzero(possible), possible.shape[1])
        if len(i):
            i, j, correlation = _best_of_pairs(rows.parts, block.parts, i, j)
            better = correlation > best[i]
            best[i[better]] = correlation[better]
            partner[i[better]] = start + j[better]
    return Matches(best, partner)


def _best_of_pairs(
    rows: np.ndarray, columns: np.ndarray, i: np.ndarray, j: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of pairs ``i, j`` the one of the highest correlation for each ``i``, and its correlation."""
    rows_left = np.unique(i)
    columns_left = np.unique(j)
    if len(i) > _DENSE * len(rows_left) * len(columns_left):
        correlations = _matrix(rows[rows_left], columns[columns_left])
        highest = correlations.argmax(1)
        values = correlations[np.arange(len(rows_left)), highest]
        return rows_left, columns_left[highest], values
    correlations = _pair_by_pair(rows[i], columns[j])
    order = np.lexsort((j, -correlations, i))
    firsts = order[np.unique(i[order], return_index=True)[1]]
    return i[firsts], j[firsts], correlations[firsts]


# ------------------------------------------------------------------ correlations
def _parts(vectors: np.ndarray) -> np.ndarray:
    """``(N, 4, 8, 8)``: vectors ``(N, 256)`` as parts that are even or odd along rows and along
    columns (even-even, even-odd, odd-even, odd-odd), in an orthonormal basis.

    A mirrored image has the same parts with other signs, and a transposed image has them
    transposed, with the two in the middle exchanged. So the parts say of all eight ways at once
    what each of them would say, in a quarter of the products.
    """
    cells = vectors.reshape(-1, CELLS, CELLS)
    half = CELLS // 2
    upper = cells[:, :half]
    lower = cells[:, : half - 1 : -1]
    parts = np.empty((len(cells), 4, half, half), np.float32)
    for i, rows in enumerate((upper + lower, upper - lower)):
        left = rows[..., :half] / 2
        right = rows[..., : half - 1 : -1] / 2
        parts[:, 2 * i] = left + right
        parts[:, 2 * i + 1] = left - right
    return parts


def _transposed(parts: np.ndarray) -> np.ndarray:
    """The parts of transposed images: odd rows of the one are odd columns of the other."""
    return parts[:, [0, 2, 1, 3]].swapaxes(2, 3)


def _matrix(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """``(N, M)``: the highest correlations in the eight ways, of parts ``(N, 4, 8, 8)`` and
    ``(M, 4, 8, 8)``.
    """
    rows = first.reshape(len(first), 4, -1).swapaxes(0, 1)
    of_ways: list[np.ndarray] = []
    for ways in (second, _transposed(second)):
        columns = ways.reshape(len(second), 4, -1).transpose(1, 2, 0)
        of_ways.append(_best_of_mirrors(rows @ columns))
    return np.maximum(*of_ways)


def _pair_by_pair(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """``(N,)``: the highest correlation in the eight ways of each image with the other one of its
    pair, of parts ``(N, 4, 8, 8)``.
    """
    upright = np.einsum("npij,npij->pn", first, second)
    lying = np.einsum("npij,npij->pn", first, _transposed(second))
    return np.maximum(_best_of_mirrors(upright), _best_of_mirrors(lying))


def _best_of_mirrors(products: np.ndarray) -> np.ndarray:
    """The highest correlation over the four ways to mirror, of the products ``(4, …)`` of each
    part, which are overwritten.
    """
    even, across_rows, along_rows, odd = products
    difference = np.abs(across_rows - along_rows)
    total = np.abs(np.add(across_rows, along_rows, out=across_rows), out=across_rows)
    np.add(total, odd, out=total)
    np.subtract(difference, odd, out=difference)
    np.maximum(total, difference, out=total)
    return np.add(even, total, out=even)


# ------------------------------------------------------------------ the bound
def _side(vectors: np.ndarray, axes: np.ndarray) -> _Side:
    """What is compared of vectors ``(N, 256)``."""
    parts = _parts(vectors)
    bounding = np.empty((len(parts), AXES + 1), np.float32)
    for start in range(0, len(parts), _BLOCK):
        block = slice(start, start + _BLOCK)
        rotated = _without_turns(parts[block]) @ axes
        bounding[block, :AXES] = rotated[:, :AXES]
        bounding[block, AXES] = np.sqrt(np.square(rotated[:, AXES:]).sum(1))
    return _Side(parts, bounding)


def _without_turns(parts: np.ndarray) -> np.ndarray:
    """``(N, 192)``: φ of parts ``(N, 4, 8, 8)``, the same in each of the eight ways."""
    even, across_rows, along_rows, odd = parts.swapaxes(0, 1)
    symmetric_even, antisymmetric_even = _by_symmetry(even)
    pairs = np.hypot(across_rows, along_rows.swapaxes(1, 2)).reshape(len(parts), -1)
    signed = [antisymmetric_even, *_by_symmetry(odd)]
    return np.concatenate([symmetric_even, np.abs(np.concatenate(signed, 1)), pairs], 1)


def _by_symmetry(part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A part ``(N, 8, 8)`` as ``(N, 36)`` numbers that stay where it is transposed and ``(N, 28)``
    that change their sign, in an orthonormal basis.
    """
    rows, columns = np.triu_indices(part.shape[1], 1)
    upper = part[:, rows, columns] * np.float32(np.sqrt(0.5))
    lower = part[:, columns, rows] * np.float32(np.sqrt(0.5))
    diagonal = np.diagonal(part, axis1=1, axis2=2)
    return np.concatenate([diagonal, upper + lower], 1), upper - lower


def _axes(*sides: np.ndarray) -> np.ndarray:
    """``(192, 192)``: axes of φ, those that hold most of it first."""
    second_moments = np.zeros((192, 192), np.float32)
    for vectors in sides:
        chosen = vectors[:: len(vectors) // _FOR_AXES + 1]
        values = _without_turns(_parts(chosen))
        second_moments = second_moments + values.T @ values
    axes: np.ndarray = np.linalg.eigh(second_moments)[1][:, ::-1]
    return axes
