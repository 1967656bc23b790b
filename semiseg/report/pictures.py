"""Example images: which are shown, and how errors are marked on them."""

from __future__ import annotations

import base64
import dataclasses
import io
from collections.abc import Sequence

import numpy as np

from semiseg.analysis.arms import find_arms
from semiseg.analysis.runs import Run, Runs
from semiseg.data.info import numbered
from semiseg.errors import UserError
from semiseg.run_folder import EXAMPLES
from semiseg.types import IGNORE

FALSE_POSITIVE, FALSE_NEGATIVE, CONFUSED = "#d55e00", "#56b4e9", "#cc79a7"
CLASS_COLOURS = ("#ffffff", "#f0e442", "#2cc295", "#9b7bff", "#ff5f5f", "#c0c0c0")
"""Outlines of the true classes, in the order of the data; none is a colour of an error."""
SIDE = 384
"""Pixels of a picture's longer side, at least: it can be seen without a magnifying glass."""

Arrays = dict[str, np.ndarray]
"""examples.npz of a run."""


@dataclasses.dataclass(frozen=True)
class Picture:
    """One example image of a run.

    Attributes:
      rank: "worst", "median" or "best".
      rgb: ``(H, W, 3)`` uint8, see :func:`overlay`.
    """

    rank: str
    subject: str
    dice: float
    rgb: np.ndarray


@dataclasses.dataclass(frozen=True)
class Gallery:
    """The example images of one compared setting, of its first run."""

    arm: str
    run: Run
    pictures: tuple[Picture, ...]


def class_colour(index: int) -> str:
    """Of the outline of a foreground class, counted from 0."""
    return CLASS_COLOURS[index % len(CLASS_COLOURS)]


def pick_examples(runs: Runs, labels: int | None = None) -> list[Gallery]:
    """For each setting at one budget: its first run, and that run's worst, median and best image.

    The rank of an image is by its Dice averaged over the settings, so that all show the same
    images; where they stored different ones, each is ranked by itself. An image without any object
    is no worst image: its Dice is 0 for a single false pixel. Raises UserError where no run at this
    budget stored examples.
    """
    arms = find_arms(runs)
    if labels is None:
        labels = _most_common_budget(arms)
    stored: list[tuple[str, Run, Arrays]] = []
    for arm, members in arms.items():
        first = _first_with_examples(members.where(labels=labels))
        if first is not None:
            stored.append((arm, *first))
    if not stored:
        raise UserError(
            f"{runs[0].path / EXAMPLES}: no run with {numbered(labels, 'annotated subject')} "
            f"stored examples; evaluate a run again to have some"
        )
    ranks = _ranks([arrays for _, _, arrays in stored])
    return [
        Gallery(arm, run, _pictures(arrays, rank))
        for (arm, run, arrays), rank in zip(stored, ranks, strict=True)
    ]


def _most_common_budget(arms: dict[str, Runs]) -> int:
    """The budget at which most settings have runs; of several the smallest."""
    counts: dict[int, int] = {}
    for members in arms.values():
        for labels in {run.labels for run in members}:
            counts[labels] = counts.get(labels, 0) + 1
    return min(counts, key=lambda labels: (-counts[labels], labels))


def _first_with_examples(runs: Runs) -> tuple[Run, Arrays] | None:
    for run in runs:
        arrays = run.examples()
        if arrays is not None and np.isfinite(arrays["dice"]).any():
            return run, arrays
    return None


def _ranks(stored: Sequence[Arrays]) -> list[np.ndarray]:
    """What the images of each run are ranked by: their own Dice, or its mean over the runs."""
    names = [_names(arrays) for arrays in stored]
    dice_by_run = [np.asarray(arrays["dice"], dtype=float) for arrays in stored]
    first = set(names[0])
    if any(set(n) != first or len(n) != len(first) for n in names):
        return dice_by_run
    ranks = []
    for n, dice in zip(names, dice_by_run, strict=True):
        of_all = []
        for other, scores in zip(names, dice_by_run, strict=True):
            of_all.append([scores[other.index(name)] for name in n])
        mean = np.mean(of_all, axis=0)
        if not np.isfinite(mean).any():
            mean = dice
        ranks.append(mean)
    return ranks


def _names(arrays: Arrays) -> list[tuple[str, bytes]]:
    """What tells an image: its subject and its truth."""
    subjects = [str(subject) for subject in arrays["subject"]]
    return [(s, label.tobytes()) for s, label in zip(subjects, arrays["label"], strict=True)]


def _pictures(arrays: Arrays, rank: np.ndarray) -> tuple[Picture, ...]:
    candidates = np.flatnonzero(np.isfinite(rank) & _has_object(arrays["label"]))
    if not len(candidates):
        candidates = np.flatnonzero(np.isfinite(rank))
    order = candidates[np.argsort(rank[candidates], kind="stable")]
    chosen = {int(order[0]): "worst"}
    if len(order) > 2:
        chosen[int(order[len(order) // 2])] = "median"
    if len(order) > 1:
        chosen[int(order[-1])] = "best"
    return tuple(_picture(arrays, i, name) for i, name in chosen.items())


def _has_object(label_NHW: np.ndarray) -> np.ndarray:
    """``(N,)``: whether the truth shows anything."""
    return ((label_NHW > 0) & (label_NHW != IGNORE)).any((1, 2))


def _picture(arrays: Arrays, i: int, rank: str) -> Picture:
    rgb = overlay(arrays["image"][i], arrays["label"][i], arrays["prediction"][i])
    return Picture(rank, str(arrays["subject"][i]), float(arrays["dice"][i]), rgb)


def overlay(
    image: np.ndarray, label: np.ndarray, prediction: np.ndarray, scale: int | None = None
) -> np.ndarray:
    """An image with its errors tinted and the truth outlined in the colours of its classes.

    What the frame of the network put around the image is cut off.

    Args:
      image: ``(H, W)`` grey or ``(H, W, 3)`` uint8.
      label: ``(H, W)`` classes; 255 (IGNORE) is no error.
      prediction: ``(H, W)`` classes.
      scale: pixels drawn for each pixel, so that the outline is thinner than one; by default so
        many that the longer side has :data:`SIDE`.

    Returns:
      ``(H·scale, W·scale, 3)`` uint8.
    """
    box = _inside(label)
    image = np.asarray(image[box], float)
    label = label[box]
    prediction = prediction[box]
    if image.ndim == 2:
        image = np.repeat(image[..., None], 3, -1)
    if scale is None:
        scale = -(-SIDE // max(label.shape))
    rgb = enlarged(image, scale)
    known = label != IGNORE
    errors = {
        FALSE_POSITIVE: known & (label == 0) & (prediction > 0),
        FALSE_NEGATIVE: known & (label > 0) & (prediction == 0),
        CONFUSED: known & (label > 0) & (prediction > 0) & (label != prediction),
    }
    for colour, where in errors.items():
        tinted = 0.35 * rgb + 0.65 * rgb_of(colour)
        rgb = np.where(enlarged(where, scale)[..., None], tinted, rgb)
    truth = enlarged(np.where(known, label, 0), scale)
    edge = edge_of(truth, max(1, scale // 3))
    for k in np.unique(truth[edge]):
        rgb[edge & (truth == k)] = rgb_of(class_colour(int(k) - 1))
    return rgb.round().astype(np.uint8)


def _inside(label: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns that are not IGNORE from end to end."""
    known = label != IGNORE
    rows = np.flatnonzero(known.any(1))
    columns = np.flatnonzero(known.any(0))
    if not len(rows):
        return slice(None), slice(None)
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def enlarged(array: np.ndarray, scale: int) -> np.ndarray:
    """Rows and columns repeated ``scale`` times."""
    return np.repeat(np.repeat(array, scale, 0), scale, 1)


def edge_of(truth: np.ndarray, width: int) -> np.ndarray:
    """Pixels of an object within ``width`` of another class."""
    inner = np.ones(truth.shape, bool)
    for shift in range(1, width + 1):
        padded = np.pad(truth, shift, mode="edge")
        inner &= padded[shift:-shift, : -2 * shift] == truth
        inner &= padded[shift:-shift, 2 * shift :] == truth
        inner &= padded[: -2 * shift, shift:-shift] == truth
        inner &= padded[2 * shift :, shift:-shift] == truth
    return (truth > 0) & ~inner


def rgb_of(colour: str) -> np.ndarray:
    """``(3,)`` of a colour such as ``#ffffff``."""
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)], dtype=float)


def data_uri(rgb: np.ndarray) -> str:
    """A picture ``(H, W, 3)`` as PNG inside the page."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
