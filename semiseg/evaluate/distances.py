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
from scipy.ndimage import binary_erosion, distance_transform_edt


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
        distance_transform_edt(~true, sampling=spacing)[predicted],
        distance_transform_edt(~predicted, sampling=spacing)[true],
    )


def surface(mask: np.ndarray) -> np.ndarray:
    """The voxels of a mask that one erosion removes.

    Example:
      >>> surface(np.array([True, True, True, False]))
      array([ True, False,  True, False])
    """
    return mask & ~binary_erosion(mask, border_value=0)


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
