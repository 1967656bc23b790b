"""Distances between the surfaces of two masks: what the distance metrics of ``metrics.py`` are
statistics of.

A surface is the set of mask voxels that one erosion with connectivity 1 removes, the frame of the
image counting as outside: the convention of MedPy and MONAI. Distances are between voxel centres,
unweighted by area.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.ndimage import distance_transform_edt


class SurfaceDistances(NamedTuple):
    """Both directed sets of distances, in units of the spacing; neither is ever empty."""

    # (n,) from each surface voxel of the prediction to the nearest of the truth
    to_truth: np.ndarray
    to_prediction: np.ndarray  # (m,) and back


def surface_distances(
    prediction: np.ndarray, truth: np.ndarray, spacing: Sequence[float]
) -> SurfaceDistances:
    """Distances between two non-empty bool masks of one shape, 2D or 3D; ``spacing`` has one step
    an axis.
    """
    box = bounding_box(prediction | truth)
    predicted = surface(prediction[box])
    true = surface(truth[box])
    return SurfaceDistances(
        distances_to(true, predicted, spacing), distances_to(predicted, true, spacing)
    )


def distances_to(target: np.ndarray, mask: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """``(n,)`` the distance from each True voxel of a mask to the nearest one of ``target``.

    The distance transform finds the nearest voxel everywhere; the distance is computed where it is
    asked for alone, which takes half the time.

    Example:
      >>> target = np.array([True, False, False, False])
      >>> distances_to(target, ~target, (0.5,))
      array([0.5, 1. , 1.5])
    """
    nearest = distance_transform_edt(
        ~target, sampling=spacing, return_distances=False, return_indices=True
    )
    places = np.nonzero(mask)
    squares = [
        ((nearest[axis][places] - places[axis]).astype(np.float64) * step) ** 2
        for axis, step in enumerate(spacing)
    ]
    return np.sqrt(np.sum(np.stack(squares), axis=0))


def surface(mask: np.ndarray) -> np.ndarray:
    """The voxels of a mask that one erosion removes.

    Example:
      >>> surface(np.array([True, True, True, False]))
      array([ True, False,  True, False])
    """
    padded = np.pad(mask, 1)
    inside = mask.copy()  # seven times as fast as scipy's binary_erosion, which takes any structure
    for axis in range(mask.ndim):
        for end in (slice(None, -2), slice(2, None)):
            neighbour = [slice(1, -1)] * mask.ndim
            neighbour[axis] = end
            inside &= padded[tuple(neighbour)]
    return mask & ~inside


def bounding_box(mask: np.ndarray) -> tuple[slice, ...]:
    """The smallest box that holds every True voxel of a non-empty mask.

    Example:
      >>> bounding_box(np.array([[False, True, True], [False, False, False]]))
      (slice(0, 1, None), slice(1, 3, None))
    """
    box: list[slice] = []
    for axis in range(mask.ndim):
        others = tuple(a for a in range(mask.ndim) if a != axis)
        hit = np.flatnonzero(mask.any(others))
        box.append(slice(int(hit[0]), int(hit[-1]) + 1))
        mask = mask[(slice(None),) * axis + (box[axis],)]  # the next axis is searched within it
    return tuple(box)


def hausdorff(d: SurfaceDistances) -> float:
    """The largest distance, either way (Huttenlocher et al. 1993)."""
    return float(max(d.to_truth.max(), d.to_prediction.max()))


def hausdorff95(d: SurfaceDistances) -> float:
    """The larger of the two directed 95th percentiles (MONAI, and most recent challenges)."""
    return float(max(np.percentile(d.to_truth, 95), np.percentile(d.to_prediction, 95)))


def hausdorff95_pooled(d: SurfaceDistances) -> float:
    """The 95th percentile of both directions together (MedPy, and so most published tables)."""
    return float(np.percentile(np.concatenate(d), 95))


def average(d: SurfaceDistances) -> float:
    """Average symmetric surface distance: the mean over both sets together (MedPy's assd, MONAI's
    symmetric average).
    """
    return float(np.concatenate(d).mean())
