"""One class as predicted and as annotated, and the formulas that need nothing but voxel counts."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence

import numpy as np

from semiseg.evaluate import distances, lesions


@dataclasses.dataclass(frozen=True)
class Masks:
    """One class as predicted and as annotated: what a metric is computed from.

    Attributes:
      prediction: ``(H, W)`` or ``(D, H, W)`` bool.
      truth: bool of the same shape.
      spacing: size of a voxel along each axis.
    """

    prediction: np.ndarray
    truth: np.ndarray
    spacing: Sequence[float]

    @functools.cached_property
    def both(self) -> int:
        """Voxels in both masks."""
        return int(np.count_nonzero(self.prediction & self.truth))

    @functools.cached_property
    def predicted(self) -> int:
        """Voxels of the prediction."""
        return int(np.count_nonzero(self.prediction))

    @functools.cached_property
    def true(self) -> int:
        """Voxels of the truth."""
        return int(np.count_nonzero(self.truth))

    @functools.cached_property
    def surface(self) -> distances.SurfaceDistances:
        """Distances between the surfaces; neither mask may be empty."""
        return distances.surface_distances(self.prediction, self.truth, self.spacing)

    @functools.cached_property
    def lesions(self) -> lesions.Detection:
        """Which lesions of the truth the prediction finds."""
        return lesions.detect(self.prediction, self.truth)

    @functools.cached_property
    def diagonal(self) -> float:
        """Length of the whole image from corner to corner."""
        sides = zip(self.truth.shape, self.spacing, strict=True)
        return math.hypot(*(n * step for n, step in sides))


def dice(m: Masks) -> float:
    """Dice 1945, Sørensen 1948: ``2 |P ∩ T| / (|P| + |T|)``.

    Example:
      >>> dice(Masks(np.array([True, True, False]), np.array([True, False, False]), (1.0,)))
      0.6666666666666666
    """
    return 2 * m.both / (m.predicted + m.true)


def iou(m: Masks) -> float:
    """Jaccard 1912: ``|P ∩ T| / |P ∪ T|``."""
    return m.both / (m.predicted + m.true - m.both)


def precision(m: Masks) -> float:
    """``|P ∩ T| / |P|``; 0 for an empty prediction."""
    if not m.predicted:
        return 0.0
    return m.both / m.predicted


def sensitivity(m: Masks) -> float:
    """``|P ∩ T| / |T|``."""
    return m.both / m.true


def volume_error(m: Masks) -> float:
    """``(|P| - |T|) / |T|``, signed."""
    return (m.predicted - m.true) / m.true


def absolute_volume_error(m: Masks) -> float:
    """``| |P| - |T| | / |T|``."""
    return abs(volume_error(m))


def false_positive(m: Masks) -> float:
    """1 if any voxel is predicted, else 0: of an empty truth, whether there is a false alarm.

    Example:
      >>> healthy = np.zeros(3, bool)
      >>> false_positive(Masks(np.array([True, False, False]), healthy, (1.0,)))
      1.0
    """
    return float(m.predicted > 0)


def false_positive_volume(m: Masks) -> float:
    """Volume of the prediction (area in 2D), in units of the spacing; of an empty truth all of it
    is false.

    Example:
      >>> healthy = np.zeros((2, 2), bool)
      >>> false_positive_volume(Masks(~healthy, healthy, (1.0, 0.5)))
      2.0
    """
    return m.predicted * math.prod(m.spacing)


def lesion_sensitivity(m: Masks) -> float:
    """Share of the lesions of the truth that are found: ``TP / (TP + FN)``."""
    return m.lesions.found / m.lesions.true


def lesion_f1(m: Masks) -> float:
    """F1 score of the lesions: ``2 TP / (2 TP + FP + FN)``."""
    return 2 * m.lesions.found / (m.lesions.true + m.lesions.predicted)


def false_positive_lesions(m: Masks) -> float:
    """Predicted lesions that match none of the truth."""
    return float(m.lesions.predicted - m.lesions.found)
