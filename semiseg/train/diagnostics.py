"""Pseudo-labels against the truth: what the unlabelled batch was taught with, compared with labels
that no method can read.

The trainer, not the method, does this, after the loss: the hidden labels (``Pools.hidden``) go
nowhere else, and with or without them training is the same bit for bit. Where a label is unknown
(IGNORE), or outside the frame, nothing is counted. Counts are summed over the logged steps and
divided once, so that a class that few slices show is not averaged as a mean of ratios.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from semiseg import ragged
from semiseg.types import IGNORE, Batch, Pseudo

BINS = 15
"""Of confidence, equally wide, for the calibration error (Guo et al. 2017, equation 3)."""

Counts = dict[str, jax.Array]


def hidden_labels(hidden: jax.Array, batch: Batch, real: int) -> jax.Array:
    """True label ``(U, H, W)`` of every pixel of the unlabelled views.

    IGNORE where it is unknown or outside the frame, and in synthetic images.

    Args:
      hidden: ``(P, V)``, of the pool's voxels.
      batch: the batch.
      real: number of real images in the pool.
    """
    images = batch.layout
    assert images is not None

    def at(page: jax.Array, offset: jax.Array, shape: jax.Array, points: jax.Array) -> jax.Array:
        return ragged.nearest(hidden, page, offset, shape, points)

    labels = jax.vmap(at)(images.page, images.middle, images.shape, batch.coordinates)
    is_real = (batch.place < real).reshape(-1, *(1,) * (batch.valid.ndim - 1))
    return jnp.where(batch.valid & is_real, labels.astype(jnp.int32), IGNORE)


def count(pseudo: Pseudo, truth: jax.Array) -> Counts:
    """Sums of one step over the pixels whose truth is known.

    Args:
      pseudo: what the unlabelled batch was taught with.
      truth: ``(U, H, W)`` with IGNORE.

    Returns:
      ``(K,)`` by the class that a pixel is given; ``of_class`` and ``recalled`` by its true class;
      ``confidence_minus_right`` ``(K, BINS)``.
    """
    pseudo = jax.lax.stop_gradient(pseudo)
    classes = pseudo.probability.shape[-1]
    known = truth != IGNORE
    given = pseudo.probability.argmax(-1)
    confidence = pseudo.probability.max(-1)
    given_K = jax.nn.one_hot(given, classes) * known[..., None]
    right = given == truth
    indicators = {
        "pixels": jnp.ones_like(right),
        "accepted": pseudo.accepted,
        "accepted_right": pseudo.accepted & right,
        "right": right,
    }
    if pseudo.student is not None:
        student = pseudo.student.argmax(-1)
        indicators["differs"] = student != given
        indicators["student_right"] = student == truth
    values = jnp.stack([v.astype(jnp.float32) for v in indicators.values()], -1)
    sums = jnp.einsum("...k,...v->vk", given_K, values)
    truth_K = jax.nn.one_hot(jnp.where(known, truth, -1), classes)
    recalled = (pseudo.accepted & right).astype(jnp.float32)
    of_class = jnp.stack([jnp.ones_like(confidence), recalled], -1)
    recall = jnp.einsum("...k,...v->vk", truth_K, of_class)
    bins = jnp.minimum((confidence * BINS).astype(jnp.int32), BINS - 1)
    bin_B = jax.nn.one_hot(bins, BINS)
    calibration = jnp.einsum("...k,...b->kb", given_K * (confidence - right)[..., None], bin_B)
    return {
        **dict(zip(indicators, sums, strict=True)),
        "of_class": recall[0],
        "recalled": recall[1],
        "confidence_minus_right": calibration,
    }


def summary(total: Counts) -> dict[str, jax.Array]:
    """Shares of the logged steps, overall and by class (``_0`` is the background); NaN where there
    was nothing to divide by.

    ``pseudo_accepted``: pixels that teach. ``pseudo_accuracy``: of those, the right ones, by the
    class given. ``pseudo_recall``: pixels of a true class that are accepted and right.
    ``pseudo_ece``: expected calibration error of all pixels. ``pseudo_gap``: pixels where the
    student decides otherwise. ``pseudo_lead``: accuracy of the pseudo-labels less that of the
    student, on all pixels.
    """
    pixels = total["pixels"]
    errors = total["confidence_minus_right"]
    shares = {
        "accepted": (total["accepted"], pixels),
        "accuracy": (total["accepted_right"], total["accepted"]),
        "recall": (total["recalled"], total["of_class"]),
        "ece": (jnp.abs(errors).sum(-1), pixels),
    }
    if "differs" in total:
        shares["gap"] = (total["differs"], pixels)
        shares["lead"] = (total["right"] - total["student_right"], pixels)
    metrics: dict[str, jax.Array] = {}
    for name, (part, whole) in shares.items():
        above = part.sum()
        if name == "ece":  # errors of two classes in one bin cancel
            above = jnp.abs(errors.sum(0)).sum()
        metrics[f"pseudo_{name}"] = above / whole.sum()
        for k in range(len(part)):
            metrics[f"pseudo_{name}_{k}"] = part[k] / whole[k]
    return metrics
