"""What is said of a run under way: its summary, and whether its processes do the same."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from semiseg.errors import UserError
from semiseg.evaluate.empty_policy import TRUTH_DECIDES
from semiseg.runner import leaks
from semiseg.runner.score_split import Scores, means
from semiseg.train import hosts
from semiseg.train.segmenter import Fitted

if TYPE_CHECKING:
    from semiseg.runner.job import Job


def check_processes(job: Job) -> None:
    """Refuse processes that would not take the same steps, and a batch they cannot divide.

    Raises:
      UserError: naming what differs, or what the batch must be.
    """
    if not hosts.several():
        return
    trial = dataclasses.replace(job.trial, root=None)
    masks = job.masks.fingerprint if job.masks else ""
    hosts.check_same(trial=trial, data=job.training.info.fingerprint, masks=masks)
    number = jax.process_count()
    labelled = trial.method.labelled(trial.batch)
    if labelled % number or trial.batch % number:
        raise UserError(
            f"batch is {trial.batch}, of which {labelled} images are labelled: {number} processes "
            f"need numbers that divide by {number}",
            field="batch",
        )


def summary_of(job: Job, fitted: Fitted, name: str, scores: Scores) -> dict[str, Any]:
    """The content of summary.json for the last checkpoint on the validation split."""
    assert job.validation is not None
    subjects = job.subjects
    weights = jax.tree.leaves(fitted.params.weights)
    images = len(job.training.cases)
    return {
        "run": name,
        "status": "finished",
        "last": {"val": means(scores.rows)},
        "val_best": {},
        "steps": job.trial.steps,
        "init": job.initial.name,
        "init_steps": job.initial.steps,
        "total_steps": job.total_steps,
        "seconds_init": job.initial.seconds,
        "subjects_labelled": len(subjects),
        "images_labelled": job.images_labelled,
        "images_train": images,
        "subjects_val": job.validation.subjects,
        "subjects_annotated": job.training.annotated_subjects,
        "look_alikes": job.validation.look_alikes,
        "images_unlabelled": images - job.budget.images,
        "notes": list(job.notes),
        "never_predicted": {"val": scores.never_predicted},
        "parameters": int(sum(np.size(leaf) for leaf in weights)),
        "empty_policy": dataclasses.asdict(TRUTH_DECIDES),
        "labelled_subjects": subjects,
        "seconds_train": round(fitted.seconds, 2),
        "calibration": {"val": scores.calibration},
        "provenance": leaks.status(job.provenance),
        "like_held_out": leaks.look_alikes_of(
            job.provenance, job.training.info, job.training.held_out
        ),
        **(job.masks.facts if job.masks else {}),
    }
