"""Which pseudo-labels are accepted: one fixed confidence, or thresholds that follow what the
network has learnt of each class.

The dense form of image-classification rules: a pixel is a sample, and a share of the unlabelled set
is a moving average over batches. Those rules compare classes that are equally frequent. Pixels are
not: most are background. So a class's share of the pixels is divided by its share of the labelled
pixels, which is 1 for a class that is found as often as it occurs.
"""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp

from semiseg.losses import masked_mean
from semiseg.types import IGNORE

Kind = Literal["fixed", "flexmatch", "freematch", "entropy"]


def initial_thresholds(classes: int) -> dict[str, jax.Array]:
    """What an adaptive threshold remembers: shares by class ``(K,)`` and the mean confidence, both
    1/K at the start (FreeMatch, section 4); and the shares of the labelled pixels, with the number
    of batches they are a mean of.

    >>> {name: x.tolist() for name, x in initial_thresholds(2).items() if name != "prior"}
    {'share': [0.5, 0.5], 'confidence': 0.5, 'learnt': [0.0, 0.0], 'batches': 0}
    """
    return {
        "share": jnp.full(classes, 1.0 / classes),
        "confidence": jnp.float32(1.0 / classes),
        "learnt": jnp.zeros(classes),
        "prior": jnp.full(classes, 1.0 / classes),
        "batches": jnp.int32(0),
    }


def confident(
    probability: jax.Array,
    threshold: jax.Array | float,
    valid: jax.Array,
) -> jax.Array:
    """The part of ``valid`` ``(B, H, W)`` where the most probable class of ``(B, H, W, K)`` has at
    least ``threshold`` (Sohn et al. 2020).

    >>> probability = jnp.array([[[[0.9, 0.1], [0.6, 0.4], [0.1, 0.9]]]])
    >>> confident(probability, 0.8, jnp.array([[[True, True, False]]])).tolist()
    [[[True, False, False]]]
    """
    return valid & (probability.max(-1) >= threshold)


def accept(
    kind: Kind,
    threshold: jax.Array | float,
    memory: dict[str, jax.Array],
    probability: jax.Array,
    valid: jax.Array,
    label: jax.Array,
    decay: jax.Array | float,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Which pixels are accepted.

    Args:
      kind: the rule; for ``entropy`` see :func:`unsure_images`. ``fixed``: :func:`confident`.
        ``flexmatch``: threshold · M(β_c); r_c is the share of pixels that are confident and of
        class c over the prior of c, at most 1, β_c = r_c over the largest r or the share not learnt
        yet; M(x) = x / (2 - x) (Zhang et al. 2021, equations 6, 7, 11). ``freematch``: the mean
        confidence, times r_c over the largest r, r_c being each class's mean probability over its
        prior, at most 1 (Wang et al. 2023, equations 5, 6, 8).
      threshold: the fixed one, and FlexMatch's upper bound; FreeMatch does not use it.
      memory: see :func:`initial_thresholds`.
      probability: ``(B, H, W, K)``.
      valid: ``(B, H, W)`` bool.
      label: ``(L, H, W)`` of the labelled images, with IGNORE; the prior is their mean so far.
      decay: of the moving averages, in this step.

    Returns:
      accepted pixels ``(B, H, W)``, a part of ``valid``; and the memory with this batch in it.
    """
    if kind == "fixed":
        return confident(probability, threshold, valid), memory
    memory = with_labels(memory, label)
    confidence = probability.max(-1)
    decided = probability.argmax(-1)
    if kind == "flexmatch":
        classes = probability.shape[-1]
        sure = jax.nn.one_hot(decided, classes) * (confidence >= threshold)[..., None]
        learnt = _average(memory["learnt"], _class_mean(sure, valid), decay)
        found = of_prior(learnt, memory["prior"])
        beta = found / jnp.maximum(jnp.maximum(found.max(), 1.0 - learnt.sum()), 1e-8)
        limit = threshold * (beta / (2.0 - beta))[decided]
        return valid & (confidence >= limit), {**memory, "learnt": learnt}
    overall = _average(memory["confidence"], masked_mean(confidence, valid), decay)
    share = _average(memory["share"], _class_mean(probability, valid), decay)
    found = of_prior(share, memory["prior"])
    limit = (found / found.max() * overall)[decided]
    return valid & (confidence >= limit), {**memory, "confidence": overall, "share": share}


def with_labels(memory: dict[str, jax.Array], label: jax.Array) -> dict[str, jax.Array]:
    """``memory`` with the shares of the classes in ``label (L, H, W)`` averaged into its prior, the
    mean over all batches with a known label.
    """
    known = label != IGNORE
    classes = len(memory["prior"])
    shares = _class_mean(jax.nn.one_hot(jnp.where(known, label, -1), classes), known)
    batches = memory["batches"] + known.any()
    new = (shares - memory["prior"]) / jnp.maximum(batches, 1)
    return {
        **memory,
        "prior": memory["prior"] + jnp.where(known.any(), new, 0.0),
        "batches": batches,
    }


def of_prior(share: jax.Array, prior: jax.Array) -> jax.Array:
    """``share / prior`` of each class ``(K,)``, at most 1; 1 for a class that no label shows.

    >>> of_prior(jnp.array([0.9, 0.05, 0.05]), jnp.array([0.9, 0.1, 0.0])).tolist()
    [1.0, 0.5, 1.0]
    """
    return jnp.where(prior > 0, jnp.minimum(share / jnp.maximum(prior, 1e-8), 1.0), 1.0)


BINS = 100
"""Of confidence, equally wide, for the quantile of a class."""


def initial_histogram(classes: int) -> jax.Array:
    """What :func:`of_quantile` reads: an average count of pixels ``(K, BINS)``, none at first."""
    return jnp.zeros((classes, BINS))


def with_confidences(
    histogram: jax.Array,
    probability: jax.Array,
    valid: jax.Array,
    decay: jax.Array | float,
) -> jax.Array:
    """The moving average ``(K, BINS)`` with the confidences of a batch in it, each pixel in the
    class that ``probability (B, *space, K)`` decides for, if it is ``valid (B, *space)``.
    """
    bins = jnp.minimum((probability.max(-1) * BINS).astype(jnp.int32), BINS - 1)
    at = probability.argmax(-1) * BINS + bins
    count = jnp.zeros(histogram.size).at[at.ravel()].add(valid.ravel())
    return _average(histogram, count.reshape(histogram.shape), decay)


def of_quantile(
    histogram: jax.Array,
    quantile: jax.Array | float,
    threshold: jax.Array | float,
) -> jax.Array:
    """The threshold of each class ``(K,)``: the confidence that the share ``quantile`` of its
    pixels does not have, to a hundredth, and at most ``threshold``. ``threshold`` itself for a
    class without pixels, and for a quantile of 1.

    >>> histogram = with_confidences(
    ...     initial_histogram(2),
    ...     jnp.array([[[0.605, 0.395], [0.705, 0.295], [0.805, 0.195], [0.905, 0.095]]]),
    ...     jnp.ones((1, 4), bool),
    ...     decay=0.5,
    ... )
    >>> [f"{x:.2f}" for x in of_quantile(histogram, 0.5, threshold=0.95)]
    ['0.80', '0.95']
    """
    total = histogram.sum(1)
    below = jnp.cumsum(histogram, 1) <= quantile * total[:, None] * (1 + 1e-5)
    limit = jnp.minimum(below.sum(1) / BINS, threshold)
    return jnp.where((total > 0) & (jnp.asarray(quantile) < 1), limit, threshold)


FINE = 1000
"""Bins of an image's mean entropy, equally wide."""


def initial_entropies() -> jax.Array:
    """What :func:`unsure_images` reads: an average count of images ``(FINE,)``, none at first."""
    return jnp.zeros(FINE)


def unsure_images(
    histogram: jax.Array,
    probability: jax.Array,
    valid: jax.Array,
    decay: jax.Array | float,
    drop: jax.Array | float,
) -> tuple[jax.Array, jax.Array]:
    """The pixels ``valid (B, *space)`` of the images that a network is not among the surest of, by
    the mean entropy of ``probability (B, *space, K)``; and the moving average of the images'
    entropies, a thousandth of log K a bin, with this batch in it.

    The share ``drop`` of the images, by that average, is left out; at 0 none is.

    >>> probability = jnp.array([[[0.5, 0.5]], [[0.9, 0.1]], [[1.0, 0.0]]])
    >>> valid = jnp.ones((3, 1), bool)
    >>> unsure_images(initial_entropies(), probability, valid, 0.9, drop=0.4)[0].ravel().tolist()
    [True, True, False]
    """
    p = jnp.maximum(probability, 1e-8)
    entropy = -jnp.sum(probability * jnp.log(p), -1) / jnp.log(probability.shape[-1])
    space = tuple(range(1, valid.ndim))
    mean = jnp.where(valid, entropy, 0.0).sum(space) / jnp.maximum(valid.sum(space), 1)
    bins = jnp.clip((mean * FINE).astype(jnp.int32), 0, FINE - 1)
    count = jnp.zeros(FINE).at[bins].add(valid.any(space))
    histogram = _average(histogram, count, decay)
    lowest = (jnp.cumsum(histogram) <= drop * histogram.sum() * (1 + 1e-5)).sum()
    lowest = jnp.where(jnp.asarray(drop) > 0, lowest, 0)
    is_taught = (bins >= lowest).reshape(-1, *(1,) * len(space))
    return valid & is_taught, histogram


def _average(
    old: jax.Array,
    new: jax.Array,
    decay: jax.Array | float,
) -> jax.Array:
    return decay * old + (1 - decay) * new


def _class_mean(x_BHWK: jax.Array, valid_BHW: jax.Array) -> jax.Array:
    """Mean over valid pixels, by class ``(K,)``."""
    total = jnp.sum(x_BHWK * valid_BHW[..., None], tuple(range(valid_BHW.ndim)))
    return total / jnp.maximum(valid_BHW.sum(), 1)
