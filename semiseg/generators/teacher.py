"""A teacher's masks as further conditions: a segmenter of the same budget labels the images outside
it, and each pair counts by how sure it is.

semiseg train --data N --labels K … --out RUN        the teacher
semiseg gan fit --data N --labels K --teacher RUN --train.pseudo 0.25 --out G
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from semiseg.data.frame import Frame
from semiseg.errors import UserError
from semiseg.generators.masks import with_regions
from semiseg.generators.settings import Settings


def masks(
    settings: Settings, images: np.ndarray, classes: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """The teacher's masks ``(N, S, S)`` uint8 of all ``images`` ``(N, S, S, C)``, with the fit's
    regions, and its confidence ``(N,)`` in [0, 1].

    That is its mean probability of what it predicts over the foreground; 0 where it sees none,
    since background is what it is sure of anyway.

    Raises:
      UserError: no finished run, or one of other data, another budget or another frame than the
        fit's.
    """
    from semiseg import config
    from semiseg.evaluate import probabilities as predict
    from semiseg.runner.predictor import Predictor

    run = Path(str(settings.teacher))
    if not (run / "weights.safetensors").exists():
        raise UserError(
            f"--teacher {run}: holds no finished run; train one with `semiseg train` on the same "
            f"--data, --labels and --label-subset"
        )
    trial = config.load(run / "config.yaml")
    for field in ("data", "labels", "label_subset", "image_size", "zoom"):
        if getattr(trial, field) != getattr(settings, field):
            wanted = f"{field} = {getattr(trial, field)}, the generator {getattr(settings, field)}"
            raise UserError(
                f"--teacher {run}: has {wanted}; a teacher of another budget would pass on "
                f"labels that the generator must not see"
            )
    teacher = Predictor.load(run)
    if trial.frame.depth or trial.slices > 1 or teacher.classes != classes:
        raise UserError(
            f"--teacher {run}: must segment single images into {', '.join(classes)}; train a 2D "
            f"network with --slices 1"
        )
    found = list(
        predict.probabilities(teacher.model, Frame(settings.image_size), teacher.params, images)
    )
    labels = np.stack([p.argmax(-1).astype(np.uint8) for p in found])
    front = labels != 0
    sure = np.stack([p.max(-1) for p in found])
    weight = (sure * front).sum((1, 2)) / np.maximum(front.sum((1, 2)), 1)
    return with_regions(images, labels, len(classes), settings.regions), weight.astype(np.float32)
