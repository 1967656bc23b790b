"""Which lesions of an annotation a prediction finds: detection, beside the overlap of voxels.

A lesion is a connected component of a class's mask; voxels that touch at a corner are connected (8
neighbours in 2D, 26 in 3D). A predicted lesion finds a true one if their intersection over union is
at least :data:`HIT`, as in nnDetection, which looks for coarse localisation. Each finds at most one
of the other: pairs are taken in the order of their intersection over union, the largest first
(greedy matching).

Sources: Maier-Hein et al., Nat. Methods 21, 2024 (Metrics Reloaded: localisation criterion,
assignment, F1 and false positives per image); Baumgartner et al., MICCAI 2021 (nnDetection, IoU
0.1); Carass et al., NeuroImage 148, 2017 (the ISBI lesion challenge: lesion-wise rates).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.ndimage import label

from semiseg.evaluate.distances import bounding_box

HIT = 0.1
"""Intersection over union from which a predicted lesion finds a true one."""


class Detection(NamedTuple):
    """Lesions of one class in one image or volume.

    Attributes:
      true: lesions of the truth.
      predicted: lesions of the prediction.
      found: pairs of one of each: true positives.
    """

    true: int
    predicted: int
    found: int


def detect(prediction: np.ndarray, truth: np.ndarray) -> Detection:
    """Match the lesions of two bool masks of one shape, 2D or 3D; either may be empty.

    Example: of two lesions one is found, and one of the predicted ones is nowhere near.
      >>> truth = np.array([[1, 1, 0, 0, 1, 0, 0, 0]], bool)
      >>> prediction = np.array([[1, 0, 0, 0, 0, 0, 0, 1]], bool)
      >>> detect(prediction, truth)
      Detection(true=2, predicted=2, found=1)
    """
    if not truth.any() and not prediction.any():
        return Detection(0, 0, 0)
    box = bounding_box(prediction | truth)
    truth = truth[box]
    prediction = prediction[box]
    true_lesions, true = _components(truth)
    predicted_lesions, predicted = _components(prediction)
    if not true or not predicted:
        return Detection(true, predicted, 0)
    both = true_lesions.astype(np.int64) * (predicted + 1) + predicted_lesions
    pairs, counts = _count(both.ravel(), (true + 1) * (predicted + 1))
    in_true = pairs // (predicted + 1)
    in_predicted = pairs % (predicted + 1)
    size_T = np.bincount(in_true, counts)
    size_P = np.bincount(in_predicted, counts)
    overlap = (in_true > 0) & (in_predicted > 0)  # 0 is the background
    t = in_true[overlap]
    p = in_predicted[overlap]
    iou = counts[overlap] / (size_T[t] + size_P[p] - counts[overlap])
    return Detection(true, predicted, _matches(iou, t, p))


def _components(mask: np.ndarray) -> tuple[np.ndarray, int]:
    components, number = label(mask, np.ones((3,) * mask.ndim, int))
    return components, int(number)


def _count(values: np.ndarray, end: int) -> tuple[np.ndarray, np.ndarray]:
    """The different values from 0 to ``end``, and how often each occurs."""
    if end > values.size:  # a table of all values would be larger than a sorted list
        return np.unique(values, return_counts=True)
    counts = np.bincount(values)
    present = np.flatnonzero(counts)
    return present, counts[present]


def _matches(iou: np.ndarray, t: np.ndarray, p: np.ndarray) -> int:
    """Pairs of the greedy matching with an intersection over union of at least HIT.

    Args:
      iou: of each pair of lesions that overlap.
      t, p: the true and the predicted lesion of the pair.
    """
    matched_true: set[int] = set()
    matched_predicted: set[int] = set()
    for i in np.lexsort((p, t, -iou)).tolist():
        if iou[i] < HIT:
            break
        if t[i] not in matched_true and p[i] not in matched_predicted:
            matched_true.add(int(t[i]))
            matched_predicted.add(int(p[i]))
    return len(matched_true)
