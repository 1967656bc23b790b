"""Examples for the report: a few images of a split, from the worst to the best prediction."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from semiseg.data.frame import PoolImage
from semiseg.data.scaling import as_uint8, nearest
from semiseg.evaluate.metrics import image_dice
from semiseg.types import IGNORE, Case

EXAMPLES = 6
"""Images that a run stores."""
RGB = 3
"""Channels of an image in colours."""


def choose_examples(
    cases: Sequence[Case], images: Sequence[PoolImage], predictions: Sequence[np.ndarray]
) -> dict[str, Any]:
    """Arrays of examples.npz: the worst to the best images, spread evenly over their ranks.

    Of a volume one slice is shown. All are scaled into squares of one size, in their own aspect;
    the label of the margin is IGNORE. Empty where no image has a Dice.

    Args:
      cases: annotated.
      images: the pool images of the cases.
      predictions: labels of each case at its own size.
    """
    if not cases:
        return {}
    levels = [image.levels for image in images]
    if levels[0].ndim == 4:
        cases, levels, predictions = fullest_slices(cases, levels, predictions)
    dice = [image_dice(p, _label(c)) for p, c in zip(predictions, cases, strict=True)]
    chosen = evenly_ranked(dice, EXAMPLES)
    if not chosen:
        return {}
    side = max(max(levels[i].shape[:2]) for i in chosen)
    pictures: dict[str, list[np.ndarray]] = {"image": [], "label": [], "prediction": []}
    for i in chosen:
        case = cases[i]
        sides = (case.image.shape[0] * case.spacing[-2], case.image.shape[1] * case.spacing[-1])
        image = _visible_channels(as_uint8(levels[i]), case.image.shape[-1])
        pictures["image"].append(in_own_aspect(image, side, sides, 0))
        pictures["label"].append(in_own_aspect(_label(case), side, sides, IGNORE))
        pictures["prediction"].append(in_own_aspect(predictions[i], side, sides, 0))
    return {name: np.stack(arrays) for name, arrays in pictures.items()} | {
        "subject": np.array([cases[i].name for i in chosen]),
        "dice": np.array([dice[i] for i in chosen]),
    }


def in_own_aspect(
    pixels: np.ndarray, side: int, extent: tuple[float, float], fill: int
) -> np.ndarray:
    """An image scaled to the aspect of its scan inside a square of ``fill``, nearest neighbour.

    Args:
      pixels: ``(H, W, ...)``.
      side: of the square.
      extent: height and width of the scan, in any unit.
      fill: of the margin below or to the right.

    Example:
      >>> in_own_aspect(np.arange(16).reshape(4, 4), 4, (1.0, 2.0), 255).tolist()
      [[4, 5, 6, 7], [12, 13, 14, 15], [255, 255, 255, 255], [255, 255, 255, 255]]
    """
    height = max(1, round(side * extent[0] / max(extent)))
    width = max(1, round(side * extent[1] / max(extent)))
    rows = nearest(pixels.shape[0], height)
    columns = nearest(pixels.shape[1], width)
    result = np.full((side, side, *pixels.shape[2:]), fill, pixels.dtype)
    result[:height, :width] = pixels[rows][:, columns]
    return result


def _visible_channels(image: np.ndarray, channels: int) -> np.ndarray:
    """What an eye sees of a pool image: its colours ``(H, W, 3)``, or one channel ``(H, W)``.

    Of adjacent slices the middle one. A case has ``channels``.
    """
    middle = image.shape[-1] // channels // 2 * channels
    if channels == RGB:
        return image[..., middle : middle + RGB]
    return image[..., middle]


def evenly_ranked(scores: Sequence[float], count: int) -> list[int]:
    """Indices of ``count`` scores spread evenly over their ranks, the worst first; NaN is left out.

    Example:
      >>> evenly_ranked([0.9, 0.1, float("nan"), 0.5, 0.7], 3)
      [1, 4, 0]
    """
    ranked = [int(i) for i in np.argsort(scores) if np.isfinite(scores[i])]
    if not ranked:
        return []
    places = np.linspace(0, len(ranked) - 1, min(count, len(ranked)))
    return [ranked[round(place)] for place in places]


def fullest_slices(
    cases: Sequence[Case], volumes: Sequence[np.ndarray], predictions: Sequence[np.ndarray]
) -> tuple[list[Case], list[np.ndarray], list[np.ndarray]]:
    """The slice of each annotated volume that shows most foreground.

    Args:
      cases: volumes.
      volumes: their pool images ``(D, H, W, C)``.
      predictions: labels of each at its own size.

    Returns:
      Cases, pool images ``(H, W, C)`` and predicted labels of these slices.
    """
    slices: list[Case] = []
    images: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    for case, volume, prediction in zip(cases, volumes, predictions, strict=True):
        truth = _label(case)
        foreground = (truth > 0) & (truth != IGNORE)
        z = int(np.argmax(np.sum(foreground, (1, 2))))
        slices.append(
            dataclasses.replace(
                case, name=f"{case.name}_slice_{z}", image=case.image[z], label=truth[z]
            )
        )
        images.append(volume[nearest(len(volume), len(case.image))[z]])
        labels.append(prediction[z])
    return slices, images, labels


def _label(case: Case) -> np.ndarray:
    if case.label is None:
        raise ValueError(f"{case.name} has no label")
    return case.label
