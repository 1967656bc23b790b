"""A run folder as TensorBoard reads it, in ``RUN/tensorboard``: scalars of training and validation,
hyperparameters, example images with truth and prediction, a generator's sample grids.

    semiseg train … --out runs/first --track tensorboard
    tensorboard --logdir runs

The run's own files are the record, and the events are written anew from them: a run that goes on
has one event file with every line, none of them twice. The writer is tensorboardX, which needs no
TensorFlow; it is used without its queue, so that an error of the disk is met here.
"""

from __future__ import annotations

import importlib.util
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from semiseg.config import flatten
from semiseg.errors import UserError
from semiseg.evaluate.metrics import default_names
from semiseg.files import read_json_if_whole, read_mapping
from semiseg.run_folder import TENSORBOARD, RunFolder
from semiseg.track.contents import (
    Example,
    examples,
    flat_summary,
    grid_at,
    grid_steps,
    new_lines,
)
from semiseg.types import IGNORE

VALIDATION = "val_"
"""Begins the names of validation scores in metrics.jsonl."""
COLOURS = ((240, 228, 66), (44, 194, 149), (155, 123, 255), (255, 95, 95), (86, 180, 233))
"""Of the foreground classes, repeated."""
GREY = (128, 128, 128)
"""Of pixels that nobody annotated."""
SHARE = 0.5
"""How much of a pixel is its class's colour."""


def check_installed() -> None:
    """Refuse, before anything is trained, where the writer is missing.

    Raises:
      UserError: with the command that installs it.
    """
    if importlib.util.find_spec("tensorboardX") is None:
        raise UserError(
            "--track tensorboard needs tensorboardX", remedy="pip install 'semiseg[tensorboard]'"
        )


class TensorBoard:
    """See :class:`semiseg.track.follower.Sink`."""

    name = "TensorBoard"
    package = "tensorboardX"
    remedy = "run the same command with --track tensorboard"

    def __init__(self, folder: Path):
        self.folder = RunFolder(folder)
        self._writer: Any = None
        self._step = 0
        self._grid = 0

    def open(self) -> None:
        """Begin a fresh event file with the hyperparameters."""
        from tensorboardX.event_file_writer import EventsWriter

        place = self.folder.path / TENSORBOARD
        place.mkdir(exist_ok=True)
        for old in place.glob("events.out.tfevents.*"):
            old.unlink()
        self._writer = EventsWriter(str(place / "events"))
        settings = hyperparameters(read_mapping(self.folder.config))
        metrics = dict.fromkeys(f"last/val_{name}" for name in default_names())
        for summary in _hparams(settings, metrics)[:-1]:
            self._add(summary, 0)
        self._writer.flush()

    def send(self) -> None:
        """Write the new lines of the log and the new sample grids."""
        from tensorboardX import summary

        for values in new_lines(self.folder, self._step):
            self._step = values.pop("step")
            for name, value in scalars(values).items():
                self._add(summary.scalar(name, value), self._step)
        for step in grid_steps(self.folder):
            if step > self._grid:
                self._grid = step
                self._picture("samples", _read_picture(grid_at(self.folder, step)), step)
        self._writer.flush()

    def close(self, failed: bool) -> None:
        """Write the final scores and the example images of a finished run."""
        from tensorboardX import summary

        finished = read_json_if_whole(self.folder.summary)
        for name, value in flat_summary(finished).items():
            if name.startswith("last/") and is_number(value):
                self._add(summary.scalar(name, value), self._step)
        for i, example in enumerate(examples(self.folder)):
            self._picture(f"examples/{i} {example.subject}", panels(example), self._step)
        if not failed:
            self._add(_hparams({}, {})[-1], self._step)
        self._writer.close()

    def _picture(self, tag: str, picture: np.ndarray, step: int) -> None:
        from tensorboardX import summary

        self._add(summary.image(tag, picture, dataformats="HWC"), step)

    def _add(self, summary: Any, step: int) -> None:
        from tensorboardX.proto.event_pb2 import Event

        self._writer.write_event(Event(wall_time=time.time(), step=step, summary=summary))


def scalars(values: Mapping[str, Any]) -> dict[str, float]:
    """A line of metrics.jsonl by the names of TensorBoard's groups.

    >>> scalars({"loss": 0.5, "val_dice": 0.8, "note": "none"})
    {'train/loss': 0.5, 'validation/dice': 0.8}
    """
    named: dict[str, float] = {}
    for name, value in values.items():
        if not is_number(value):
            continue
        if name.startswith(VALIDATION):
            named[f"validation/{name.removeprefix(VALIDATION)}"] = value
        else:
            named[f"train/{name}"] = value
    return named


def hyperparameters(tree: Mapping[str, Any]) -> dict[str, str | float | bool]:
    """A run's configuration by dotted names; lists and missing values as words.

    >>> hyperparameters({"lr": 0.1, "net": {"name": "unet", "widths": [4, 8]}, "root": None})
    {'lr': 0.1, 'net.name': 'unet', 'net.widths': '4,8', 'root': 'none'}
    """
    words: dict[str, str | float | bool] = {}
    for name, value in flatten(tree).items():
        if isinstance(value, list):
            words[name] = ",".join(map(str, value))
        elif value is None:
            words[name] = "none"
        else:
            words[name] = value
    return words


def is_number(value: Any) -> bool:
    """Whether TensorBoard can draw a value.

    >>> is_number(1), is_number(True), is_number(None), is_number(math.nan)
    (True, False, False, False)
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value)


def panels(example: Example) -> np.ndarray:
    """Image, truth and prediction side by side, ``(H, 3 W, 3)`` uint8."""
    picture = np.broadcast_to(example.image[..., -1:], (*example.label.shape, 3))
    if example.image.shape[-1] == 3:
        picture = example.image
    truth = _coloured(picture, example.label)
    prediction = _coloured(picture, example.prediction)
    return np.concatenate([picture, truth, prediction], axis=1).astype(np.uint8)


def _coloured(picture: np.ndarray, label: np.ndarray) -> np.ndarray:
    """A picture with the pixels of each foreground class tinted."""
    tinted = picture.astype(np.float32)
    for value in np.unique(label[label != 0]):
        colour = GREY if value == IGNORE else COLOURS[(value - 1) % len(COLOURS)]
        inside = label == value
        tinted[inside] = (1 - SHARE) * tinted[inside] + SHARE * np.asarray(colour)
    return tinted


def _hparams(settings: Mapping[str, Any], metrics: Mapping[str, Any]) -> tuple[Any, ...]:
    """Summaries of TensorBoard's plug-in: the experiment, the start of a session and its end."""
    from tensorboardX import summary

    parts: tuple[Any, ...] = summary.hparams(dict(settings), dict(metrics))
    return parts


def _read_picture(file: Path) -> np.ndarray:
    from PIL import Image

    with Image.open(file) as picture:
        return np.asarray(picture.convert("RGB"))
