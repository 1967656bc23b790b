"""Where the masks of a label budget show each class: what windows are centred on.

The places of all annotated scans are collected once; a budget counts those of its own scans alone,
so that nothing of a held-back label is drawn from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from semiseg.types import IGNORE, Foreground

MOST = 512
"""Voxels of a class that are kept of a scan."""
LEAST = 8
ROOM = 2**22
"""Places that are kept in all."""


class Places(NamedTuple):
    """Voxels of every class but the background.

    Attributes:
      place: ``(Q, K - 1, M, 1 + A)`` int32, image and position.
      number: ``(Q, K - 1)`` int32, how many of them there are.
    """

    place: np.ndarray
    number: np.ndarray


def places(labels: Sequence[np.ndarray | None], scan: np.ndarray, classes: int) -> Places:
    """Up to M voxels of each class in each scan, spread evenly over all there are.

    Args:
      labels: of N images ``(*space)``; None where nobody annotated one.
      scan: ``(N,)``, the scan each image is of.
      classes: K.

    >>> label = np.array([[0, 1], [0, 0]], np.uint8)
    >>> known = places([label, None], np.array([0, 1]), classes=2)
    >>> known.number.tolist(), known.place[0, 0, 0].tolist()
    ([[1], [0]], [0, 0, 1])
    """
    scans = int(scan.max()) + 1
    foreground = max(classes - 1, 1)
    axes = next((label.ndim for label in labels if label is not None), 2)
    most = int(np.clip(ROOM // (scans * foreground), LEAST, MOST))
    place = np.zeros((scans, foreground, most, 1 + axes), np.int32)
    count = np.zeros((scans, foreground), np.int32)
    members: dict[int, list[int]] = {}
    for i, q in enumerate(scan.tolist()):
        members.setdefault(q, []).append(i)
    for q, images in members.items():
        for c, voxels in _voxels(labels, images).items():
            if not 0 < c < classes:
                continue
            chosen = voxels[_spread(len(voxels), most)]
            place[q, c - 1, : len(chosen)] = chosen
            count[q, c - 1] = len(chosen)
    return Places(place, count)


def _voxels(labels: Sequence[np.ndarray | None], images: Sequence[int]) -> dict[int, np.ndarray]:
    """Class → image and position ``(·, 1 + A)`` of its voxels in some images."""
    parts: dict[int, list[np.ndarray]] = {}
    for i in images:
        label = labels[i]
        if label is None:
            continue
        where = np.argwhere((label > 0) & (label != IGNORE))
        values = label[tuple(where.T)]
        for c in np.unique(values).tolist():
            of_class = where[values == c]
            number = np.full((len(of_class), 1), i)
            parts.setdefault(c, []).append(np.concatenate([number, of_class], 1))
    return {c: np.concatenate(arrays) for c, arrays in parts.items()}


def _spread(count: int, most: int) -> np.ndarray:
    """Indices of up to ``most`` of ``count``, evenly spread."""
    if count <= most:
        return np.arange(count)
    return np.linspace(0, count - 1, most).astype(int)


def of_budget(known: Places, scan: np.ndarray, chosen: np.ndarray) -> Foreground:
    """The places of a label budget.

    Args:
      known: of all annotated scans.
      scan: ``(N,)``, the scan each image is of.
      chosen: ``(N,)`` bool, the images whose labels the budget shows.
    """
    shown = np.zeros(len(known.number), bool)
    shown[scan[chosen]] = True
    count = np.where(shown[:, None], known.number, 0)
    place = np.where(shown[:, None, None, None], known.place, 0)
    return Foreground(
        jnp.asarray(scan.astype(np.int32)),
        jnp.asarray(place),
        jnp.asarray(count.astype(np.int32)),
    )
