"""From a trial to what is trained: the model, and the static and traced parts of its program."""

from __future__ import annotations

import functools
from typing import Any

import jax
import numpy as np

from semiseg import config
from semiseg.config import Trial
from semiseg.data import expected, fold_splits, object_size
from semiseg.data.pools import Budget, Training
from semiseg.data.store import StoreInfo
from semiseg.fields import traced_values
from semiseg.train.program import Knobs, Program
from semiseg.types import Model, Params


def model_of(trial: Trial, info: StoreInfo) -> Model:
    """The trial's network bound to the data set's channels and classes."""
    return model_for(trial, info.channels, len(info.classes))


def model_for(trial: Trial, channels: int, classes: int) -> Model:
    """The trial's network bound to ``channels`` of an image and ``classes`` with the background."""
    shape = (1, *trial.frame.window, channels * trial.slices)
    return Model(trial.net, jax.ShapeDtypeStruct(shape, np.float32), classes)


def shapes_of(model: Model) -> Params:
    """Shapes and types of the network's variables, without making them."""

    def fresh() -> Params:
        return model.init(jax.random.key(0))

    return jax.eval_shape(fresh)


def program_of(trial: Trial, model: Model) -> Program:
    """The static part of a trial."""
    frame = trial.frame
    size: int | tuple[int, ...] = trial.image_size
    if frame.depth or frame.width:
        size = frame.window
    return Program(
        model,
        size,
        trial.batch,
        trial.optimiser,
        trial.schedule,
        trial.synthetic_as,
        trial.draw_by,
        frame.anywhere,
        trial.pseudo_batch if trial.pseudo is not None else 0,
        trial.average_last > 0,
    )


def knobs_of(trial: Trial) -> Knobs:
    """The traced part of a trial: the fields that it declares traced, by their names."""
    return Knobs(**traced_values(trial))


def header_of(trial: Trial, training: Training) -> dict[str, Any]:
    """What a weights file says of itself."""
    info = training.info
    named: dict[str, Any] = {}
    if info.channel_names:
        named["channel_names"] = list(info.channel_names)
    if info.regions:
        named["regions"] = {name: list(members) for name, members in info.regions.items()}
    return {
        "config": config.recorded(trial),
        "classes": list(info.classes),
        "channels": info.channels,
        "unit": info.unit,
        "fingerprint": info.fingerprint,
        "input": input_of(training),
        **named,
    }


def input_of(training: Training) -> dict[str, Any]:
    """What a network was trained to see: what was left open in the trial, as the data decided it,
    and what prediction warns of where a scan is unlike it.
    """
    frame = training.frame
    return {
        "spacing": frame.spacing,
        "intensity": frame.intensity,
        "stored": frame.stored,
        **_expected(training),
    }


@functools.lru_cache(5)  # over all scans: once for a fold, not in every trial of a sweep
def _expected(training: Training) -> dict[str, Any]:
    if training.expected is not None:
        return training.expected
    return expected.of_scans(training.scans, training.info.unit)


def notes_of(trial: Trial, training: Training, budget: Budget) -> tuple[str, ...]:
    """What is held out in a cross-validation, and what a semi-supervised run cannot do with its
    data: it leaves that out, or does without.
    """
    notes: tuple[str, ...] = ()
    if trial.folds:
        notes = (fold_splits.words(trial.fold, trial.folds, len(training.scored)),)
    seen = _window_note(training)
    if seen:
        notes += (seen,)
    return notes + _unlabelled_notes(trial, training, budget)


@functools.lru_cache(5)  # it reads masks: once for a fold, not in every trial of a sweep
def _window_note(training: Training) -> str | None:
    return object_size.note(training)


def _unlabelled_notes(trial: Trial, training: Training, budget: Budget) -> tuple[str, ...]:
    if not trial.method.uses_unlabelled or trial.synthetic_as == "unlabelled":
        return ()
    name = config.name_of("method", trial.method)
    if budget.images == len(training.cases):
        return (
            f"no training image is without its label: {name} takes the unlabelled part of a "
            f"batch from the labelled images and hides their labels",
        )
    if budget.images == training.annotated.sum():
        return (
            f"nobody knows the labels of the unlabelled images, so how well {name} guesses them "
            f"cannot be measured: metrics.jsonl has no pseudo_…",
        )
    return ()
