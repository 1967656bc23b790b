"""A teacher's masks as further conditions: a segmenter of the same budget labels the images outside
it, and each pair counts by the segmenter's confidence.

semiseg train --data N --labels K … --out RUN        the teacher
semiseg gan fit --data N --labels K --teacher RUN --train.pseudo 0.25 --out G
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from semiseg import config
from semiseg.config import Trial
from semiseg.data import provenance, store
from semiseg.data.frame import Frame
from semiseg.data.info import numbered
from semiseg.data.pool_image import pool_images
from semiseg.data.provenance import Provenance
from semiseg.errors import UserError
from semiseg.evaluate import probabilities as predict
from semiseg.generators.masks import with_regions
from semiseg.generators.settings import Settings
from semiseg.run_folder import RunFolder
from semiseg.runner import leaks
from semiseg.runner.predictor import Predictor
from semiseg.train.checkpoint import load_weights

SHARED = ("data", "labels", "label_subset", "folds", "fold", "image_size", "zoom")
"""Fields in which a teacher and a fit must agree."""


def requested(settings: Settings) -> bool:
    """Whether a fit has a teacher.

    Raises:
      UserError: only a part of what a teacher needs is set.

    >>> requested(Settings())
    False
    """
    share = settings.train.pseudo
    if settings.teacher is None:
        if share > 0:
            what = f"train.pseudo is {share:g}, but there is no teacher: give --teacher RUN"
            raise UserError(f"{what}, a run of the same budget", field="teacher")
        return False
    if not share > 0 or not settings.unlabelled:
        what = (
            "its masks of unlabelled images are used by --train.pseudo, e.g. 0.25, and "
            "--unlabelled True"
        )
        raise UserError(what, where=f"--teacher {settings.teacher}", field="train.pseudo")
    return True


def pseudo_labels(
    settings: Settings, images: np.ndarray, classes: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """What the teacher predicts for ``images``, and how sure it is.

    Args:
      settings: of the fit; they name the teacher's run.
      images: ``(N, S, S, C)`` uint8.
      classes: names of the data set's classes.

    Returns:
      Masks ``(N, S, S)`` uint8 with the fit's regions, and the confidence ``(N,)`` float32, see
      :func:`confidence`.

    Raises:
      UserError: no finished run, or one of other data, another budget or another frame than the
        fit's.
    """
    run = RunFolder(Path(str(settings.teacher)))
    where = f"--teacher {run}"
    if not run.trained:
        what = (
            "holds no finished run; train one with `semiseg train` on the same --data, --labels "
            "and --label-subset"
        )
        raise UserError(what, where=where)
    trial = config.load(run.config)
    _check_budget(trial, settings, where)
    teacher = Predictor.load(run.path)
    if trial.frame.depth or trial.slices > 1 or teacher.classes != classes:
        what = f"must segment single images into {', '.join(classes)}"
        raise UserError(what, where=where, remedy="train a 2D network with --slices 1")
    frame = Frame(settings.image_size)
    pool = pool_images(images, teacher.frame.intensity)
    stream = predict.probabilities(teacher.model, frame, teacher.params, pool)
    probability = np.stack(list(stream))
    labels = probability.argmax(-1).astype(np.uint8)
    labels_with_regions = with_regions(images, labels, len(classes), settings.regions)
    return labels_with_regions, confidence(probability)


def origin(
    settings: Settings, subjects: Sequence[str], held_out: frozenset[str] | None = None
) -> Provenance:
    """What the teacher has learnt from, initial weights and synthetic images included.

    Args:
      settings: of the fit; they name the teacher's run.
      subjects: annotated subjects of the fit's budget.
      held_out: subjects of the fold that is held out; None without folds.

    Raises:
      UserError: it has seen labels outside the budget, or images of the validation or test split.
    """
    run = RunFolder(Path(str(settings.teacher)))
    where = f"--teacher {run}"
    remedy = "train one on the same budget, with no other initial weights or synthetic images"
    info = store.info(settings.data, settings.root)
    _, header = load_weights(run.weights)
    if header.get("fingerprint") != info.fingerprint:
        what = f"was not trained on this version of data set {info.name!r}"
        raise UserError(what, where=where, remedy="train it again")
    learnt_from = provenance.of_header(header, f"the teacher {run}")
    seen = leaks.checked(learnt_from, info, where, remedy, held_out).subjects
    outside = [subject for subject in seen if subject not in subjects]
    if outside:
        number = numbered(len(outside), "subject")
        what = f"has seen labels of {number} outside the budget ({outside[0]} …)"
        raise UserError(what, where=where, remedy=remedy)
    return learnt_from


def confidence(probability: np.ndarray) -> np.ndarray:
    """Mean probability of the predicted class over the predicted foreground; 0 for an image without
    one, since a network is sure of the background in any case.

    Args:
      probability: ``(N, H, W, K)``.

    Returns:
      ``(N,)`` float32 in [0, 1].

    >>> confidence(np.array([[[[0.25, 0.75], [0.5, 0.5], [1.0, 0.0]]]]))
    array([0.75], dtype=float32)
    """
    foreground = probability.argmax(-1) != 0
    total = (probability.max(-1) * foreground).sum((1, 2))
    mean = total / np.maximum(foreground.sum((1, 2)), 1)
    return mean.astype(np.float32)


def _check_budget(trial: Trial, settings: Settings, where: str) -> None:
    """Refuse a teacher that was trained on other labels than the fit's."""
    for field in SHARED:
        trained_on = getattr(trial, field)
        fitted_on = getattr(settings, field)
        if trained_on != fitted_on:
            what = f"has {field} = {trained_on}, the generator {fitted_on}"
            remedy = (
                "a teacher of another budget would pass on labels that the generator must not see"
            )
            raise UserError(what, where=where, remedy=remedy)
