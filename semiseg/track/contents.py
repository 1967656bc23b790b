"""What a run's folder holds, as mirrors send it: lines of the log, sample grids, the summary with
flat names, example images.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from semiseg.evaluate.example_arrays import read_examples
from semiseg.run_folder import EXAMPLE_ARRAYS, SAMPLES_BY_STEP, RunFolder, whole_lines
from semiseg.types import IGNORE

SCORED = ("last", "val_best")
"""Keys of summary.json that hold a mean of each metric for each split."""
GRID_CAPTION = "real mask, its image, painted in its style, in two others', in two random ones"


class Example(NamedTuple):
    """One example image of a finished run.

    Attributes:
      image: ``(H, W, C)`` uint8.
      label: ``(H, W)`` uint8, IGNORE where nobody annotated it.
      prediction: ``(H, W)`` uint8.
      subject: its name.
      dice: mean over the classes that are there.
    """

    image: np.ndarray
    label: np.ndarray
    prediction: np.ndarray
    subject: str
    dice: float


def new_lines(folder: RunFolder, after: int) -> Iterator[dict[str, Any]]:
    """The whole lines of metrics.jsonl behind a step."""
    if not folder.log.exists():
        return
    for values in whole_lines(folder.log.read_text()):
        if values["step"] > after:
            yield values


def grid_at(folder: RunFolder, step: int) -> Path:
    """Where a generator's sample grid of a step lies, if there is one."""
    return folder.path / SAMPLES_BY_STEP / f"step_{step:06d}.png"


def grid_steps(folder: RunFolder) -> list[int]:
    """Steps that have a sample grid, in order."""
    files = (folder.path / SAMPLES_BY_STEP).glob("step_*.png")
    return sorted(int(file.stem.removeprefix("step_")) for file in files)


def flat_summary(summary: Mapping[str, Any]) -> dict[str, Any]:
    """summary.json with one name a value: ``last/val_dice``, ``val_best/val_dice``, and everything
    else under its own name.

    >>> flat_summary({"last": {"val": {"dice": 0.8}}, "val_best": {"step": 7}, "steps": 9})
    {'last/val_dice': 0.8, 'val_best': {'step': 7}, 'steps': 9}
    """
    flat: dict[str, Any] = {}
    for key, value in summary.items():
        if key in SCORED and any(isinstance(inner, dict) for inner in value.values()):
            flat |= _flat_scores(key, value)
        else:
            flat[key] = value
    return flat


def _flat_scores(key: str, content: Mapping[str, Any]) -> dict[str, Any]:
    scores: dict[str, Any] = {}
    others: dict[str, Any] = {}
    for name, value in content.items():
        if not isinstance(value, dict):
            others[f"{key}/{name}"] = value
            continue
        for metric, number in value.items():
            scores[f"{key}/{name}_{metric}"] = number
    return scores | others


def examples(folder: RunFolder) -> list[Example]:
    """The example images of a finished run; none where it stored none.

    Raises:
      UserError: examples.npz is damaged.
    """
    if not folder.examples.exists():
        return []
    stored = read_examples(folder.examples)
    arrays = [stored[name] for name in EXAMPLE_ARRAYS]
    return [Example(*values) for values in zip(*arrays, strict=True)]


def class_count(samples: list[Example]) -> int:
    """The largest class in the labels and predictions of examples."""
    largest = 0
    for example in samples:
        annotated = example.label[example.label != IGNORE]
        largest = max(largest, int(annotated.max(initial=0)), int(example.prediction.max()))
    return largest
