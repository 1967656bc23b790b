"""Slices of a scan, their neighbours, and the spacing that the scans of a set are brought to."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from semiseg.data import grey_values
from semiseg.errors import UserError

if TYPE_CHECKING:
    from semiseg.types import Case

ANISOTROPIC = 3.0
"""A set whose slices are so many times thicker than its pixels is anisotropic (Isensee et al. 2021,
nnU-Net).
"""
COARSE_PERCENTILE = 10
"""Of the slice distances of an anisotropic set, which becomes its target (nnU-Net)."""


def planes(case: Case) -> list[Case]:
    """The slices ``(H, W, C)`` of a volume ``(D, H, W, C)``; of a picture itself.

    A slice keeps the spacing and the affine of its scan. Its label is None where nobody annotated
    it: where the label of the scan is IGNORE throughout.

    >>> from semiseg.types import Case
    >>> volume = Case("p7", "p7", np.zeros((2, 4, 5, 1)), None, (8.0, 1.0, 1.0), "p7")
    >>> [(plane.name, plane.index, plane.image.shape) for plane in planes(volume)]
    [('p7_slice_0', 0, (4, 5, 1)), ('p7_slice_1', 1, (4, 5, 1))]
    """
    if case.image.ndim == 3:
        return [case]
    digits = len(str(len(case.image) - 1))
    labels: Sequence[np.ndarray | None] = [None] * len(case.image)
    if case.label is not None:
        labels = [_label_or_none(label) for label in case.label]
    return [
        dataclasses.replace(
            case, name=f"{case.name}_slice_{i:0{digits}d}", image=image, label=label, index=i
        )
        for i, (image, label) in enumerate(zip(case.image, labels, strict=True))
    ]


def _label_or_none(label: np.ndarray) -> np.ndarray | None:
    from semiseg.types import IGNORE

    if (label == IGNORE).all():
        return None
    return label


def neighbours(count: int, slices: int) -> np.ndarray:
    """For each of ``count`` slices the ``slices`` around it, itself in the middle; the ends are
    repeated.

    >>> neighbours(3, 3).tolist()
    [[0, 0, 1], [0, 1, 2], [1, 2, 2]]
    """
    offsets = np.arange(slices) - slices // 2
    return np.clip(np.arange(count)[:, None] + offsets, 0, count - 1)


def median_spacing(spacings: Sequence[Sequence[float]], dims: int) -> tuple[float, ...]:
    """The spacing a set is brought to: the median of each axis, of slices that are three times
    thicker than pixels the 10th percentile (nnU-Net); the same along both sides of a plane.

    >>> median_spacing([(1.0, 1.0), (3.0, 3.0), (2.0, 2.0)], 2)
    (2.0, 2.0)
    >>> median_spacing([(8.0, 1.0, 1.0), (10.0, 1.0, 1.0)], 3)
    (8.2, 1.0, 1.0)
    """
    sides = np.array([spacing[-2:] for spacing in spacings], float)
    pixel = float(np.median(np.sqrt(sides[:, 0] * sides[:, 1])))
    if dims == 2:
        return (pixel, pixel)
    between = np.array([spacing[0] for spacing in spacings], float)
    distance = float(np.median(between))
    if distance >= ANISOTROPIC * pixel:
        distance = float(np.percentile(between, COARSE_PERCENTILE))
    return (distance, pixel, pixel)


def check_volume(case: Case, where: str) -> None:
    if case.image.ndim == 3:
        raise UserError(
            f"{case.name} is a 2D image, and the network takes volumes: choose a 2D network "
            f"(--net.dims 2), or import volumes",
            where=where,
        )


def are_levels(rule: str, scans: Sequence[Case]) -> bool:
    """Whether the grey values of all scans are 256 levels already."""
    if rule not in ("zscore", "none"):
        return False
    for scan in scans:
        if np.min(scan.image) < 0 or np.max(scan.image) > 255:
            return False
        if not grey_values.are_whole(scan.image):
            return False
    return True
