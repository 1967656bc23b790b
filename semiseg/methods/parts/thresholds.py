"""Which pseudo-labels are accepted: one fixed confidence, or thresholds that follow what the
network has learnt of each class.

The dense form of image-classification rules: a pixel is a sample, and a share of the unlabelled set
is a moving average over batches.
"""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp

from semiseg.losses import masked_mean

Kind = Literal["fixed", "flexmatch", "freematch"]


def initial_thresholds(classes: int) -> dict[str, jax.Array]:
    """What an adaptive threshold remembers: shares by class ``(K,)`` and the mean confidence, both
    1/K at the start (FreeMatch, section 4).

    >>> {name: x.tolist() for name, x in initial_thresholds(2).items()}
    {'share': [0.5, 0.5], 'confidence': 0.5, 'learnt': [0.0, 0.0]}
    """
    return {
        "share": jnp.full(classes, 1.0 / classes),
        "confidence": jnp.float32(1.0 / classes),
        "learnt": jnp.zeros(classes),
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
    decay: jax.Array | float = 0.999,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Which pixels are accepted.

    Args:
      kind: the rule. ``fixed``: :func:`confident`. ``flexmatch``: threshold · M(β_c), β_c the share
        of pixels that are confident and of class c, over the largest such share or the share not
        learnt yet; M(x) = x / (2 - x) (Zhang et al. 2021, equations 6, 7, 11). ``freematch``: the
        mean confidence, times each class's mean probability over the largest one (Wang et al. 2023,
        equations 5, 6, 8).
      threshold: the fixed one, and FlexMatch's upper bound; FreeMatch does not use it.
      memory: see :func:`initial_thresholds`.
      probability: ``(B, H, W, K)``.
      valid: ``(B, H, W)`` bool.
      decay: of the moving averages.

    Returns:
      accepted pixels ``(B, H, W)``, a part of ``valid``; and the memory with this batch in it.
    """
    if kind == "fixed":
        return confident(probability, threshold, valid), memory
    confidence = probability.max(-1)
    label = probability.argmax(-1)
    if kind == "flexmatch":
        classes = probability.shape[-1]
        sure = jax.nn.one_hot(label, classes) * (confidence >= threshold)[..., None]
        learnt = _average(memory["learnt"], _class_mean(sure, valid), decay)
        beta = learnt / jnp.maximum(jnp.maximum(learnt.max(), 1.0 - learnt.sum()), 1e-8)
        limit = threshold * (beta / (2.0 - beta))[label]
        return valid & (confidence >= limit), {**memory, "learnt": learnt}
    overall = _average(memory["confidence"], masked_mean(confidence, valid), decay)
    share = _average(memory["share"], _class_mean(probability, valid), decay)
    limit = (share / share.max() * overall)[label]
    return valid & (confidence >= limit), {**memory, "confidence": overall, "share": share}


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
