"""Whether an image is a copy of another one, be it mirrored, turned, moved or bent a little."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

SIDE = 32
"""Images are compared at this many pixels a side, at most."""
BLOCK = 16
"""Side of a block, in these pixels."""
REACH = 2
"""How far a block may have moved, in these pixels: a sixteenth of the side."""
FLOOR = 0.02
"""A block with less than this share of its image's mean contrast tells little."""


def likeness(
    of: np.ndarray, among: np.ndarray, apart: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """How much each image is like the one of ``among`` that it is most like.

    Images are cut into blocks of half the side. Each block looks for the place
    within ``REACH`` where the other image correlates with it most (block matching, Jain and Jain,
    IEEE Trans. Communications 29, 1981); the likeness of two images is the mean of these
    correlations, weighted by the contrast of the blocks, in the best of eight orientations. A copy
    that was mirrored, turned by right angles, moved, rotated by some degrees or bent has nearly 1.

    Args:
      of: ``(N, S, S, C)`` uint8.
      among: ``(M, S, S, C)`` uint8.
      apart: ``(N, M)`` bool, which images are not compared; None for none.

    Returns:
      ``(N,)`` likeness, at most 1, and ``(N,)`` index of the most alike image.

    >>> images = np.random.default_rng(0).integers(0, 255, (3, 16, 16, 1), dtype=np.uint8)
    >>> value, index = likeness(images[:, ::-1], images)
    >>> (value > 0.9).all().item(), index.tolist()
    (True, [0, 1, 2])
    """
    oriented = _orientations(_small(of))
    score = _scores(oriented, _small(among), len(of))
    if apart is not None:
        score = np.where(apart, -np.inf, score)
    index = score.argmax(1)
    return score[np.arange(len(of)), index], index


def _orientations(images: np.ndarray) -> np.ndarray:
    """``(8 · N, s, s)``: images turned by right angles and mirrored, an orientation after another.

    >>> _orientations(np.zeros((2, 4, 4))).shape
    (16, 4, 4)
    """
    turned = [np.rot90(images, turn, (1, 2)) for turn in range(4)]
    return np.concatenate([*turned, *(x[:, :, ::-1] for x in turned)])


def _small(images: np.ndarray) -> np.ndarray:
    """Grey images ``(N, s, s)`` float32 of a mean of 0, averaged over cells; s divides by BLOCK."""
    n, side = images.shape[:2]
    wanted = min(SIDE, side // BLOCK * BLOCK)
    grey = images.mean(-1, dtype=np.float32)
    edges = np.arange(wanted + 1) * side // wanted
    starts = edges[:-1]
    sizes = np.diff(edges).astype(np.float32)
    rows = np.add.reduceat(grey, starts, 1)
    sums = np.add.reduceat(rows, starts, 2)
    area = sizes[:, None] * sizes
    small = sums / area
    return small - small.mean((1, 2), keepdims=True)


def _blocks(images: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Blocks ``(B, N, BLOCK²)`` of images ``(N, s, s)``, each without its mean; the floor ``(N,)``
    of a block's energy; and weights ``(B, N)`` of a sum of 1 over the blocks.
    """
    n, side, _ = images.shape
    count = side // BLOCK
    cut = images.reshape(n, count, BLOCK, count, BLOCK)
    cut = cut.transpose(1, 3, 0, 2, 4)
    blocks = cut.reshape(count * count, n, BLOCK * BLOCK)
    blocks = blocks - blocks.mean(-1, keepdims=True)
    energy = (blocks**2).sum(-1)
    floor = FLOOR * energy.mean(0) + 1e-6
    contrast = np.sqrt(energy)
    total = contrast.sum(0) + 1e-6
    return blocks, floor, contrast / total


def _scores(images: np.ndarray, others: np.ndarray, n: int) -> np.ndarray:
    """Likeness ``(N, M)`` in the best orientation, of images ``(8 · N, s, s)``."""
    blocks, floor, weight = _blocks(images)
    _, other_floor, _ = _blocks(others)
    margin = (REACH, REACH)
    padded = np.pad(others, ((0, 0), margin, margin), mode="edge")
    extent = BLOCK + 2 * REACH
    count = others.shape[1] // BLOCK
    score = np.zeros((len(images), len(others)), np.float32)
    for b in range(count * count):
        top = b // count * BLOCK
        left = b % count * BLOCK
        window = padded[:, top : top + extent, left : left + extent]
        patches = _patches(window, other_floor)
        energy = np.square(blocks[b]).sum(-1)
        scale = weight[b] / np.sqrt(energy + floor)
        scaled = blocks[b] * scale[:, None]
        best = np.full_like(score, -np.inf)
        for place in range(patches.shape[1]):
            correlation = scaled @ patches[:, place].T
            np.maximum(best, correlation, out=best)
        score += best
    of_orientations = score.reshape(8, n, len(others))
    return of_orientations.max(0)


def _patches(window: np.ndarray, floor: np.ndarray) -> np.ndarray:
    """Every block of ``window (M, w, w)``: ``(M, places, BLOCK²)`` of a mean of 0 and a length of
    nearly 1; ``floor (M,)`` is added to their energy.
    """
    views = sliding_window_view(window, (BLOCK, BLOCK), (1, 2))
    places = (2 * REACH + 1) ** 2
    patches = views.reshape(len(window), places, BLOCK * BLOCK)
    patches = patches - patches.mean(-1, keepdims=True)
    energy = np.square(patches).sum(-1)
    norm = np.sqrt(energy + floor[:, None])
    patches /= norm[..., None]
    return patches
