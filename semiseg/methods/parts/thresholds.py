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


def start(classes: int) -> dict[str, jax.Array]:
    """What an adaptive threshold remembers: shares by class ``(K,)`` and the mean confidence,
    FreeMatch's start 1/K (its section 4).
    """
    return {
        "share": jnp.full(classes, 1.0 / classes),
        "confidence": jnp.float32(1.0 / classes),
        "learnt": jnp.zeros(classes),
    }


def confident(probability: jax.Array, threshold: jax.Array | float, valid: jax.Array) -> jax.Array:
    """The part of ``valid`` ``(B, H, W)`` where the most probable class of ``(B, H, W, K)`` has at
    least ``threshold`` (Sohn et al. 2020).
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
    """Accepted pixels ``(B, H, W)``, a part of ``valid``, of a map ``(B, H, W, K)``; and the memory
    with this batch in it.

    ``fixed``: :func:`confident`. ``flexmatch``: threshold · M(β_c), β_c the share of pixels that
    are confident and of class c, over the largest such share or the share not learnt yet; M(x) = x
    / (2 - x) (Zhang et al. 2021, equations 6, 7, 11). ``freematch``: the mean confidence, times
    each class's mean probability over the largest one (Wang et al. 2023, equations 5, 6, 8).
    """
    confidence, label = probability.max(-1), probability.argmax(-1)
    classes = probability.shape[-1]
    if kind == "fixed":
        return confident(probability, threshold, valid), memory
    average = lambda old, new: decay * old + (1 - decay) * new
    if kind == "flexmatch":
        sure = jax.nn.one_hot(label, classes) * (confidence >= threshold)[..., None]
        learnt = average(memory["learnt"], _mean(sure, valid))
        beta = learnt / jnp.maximum(jnp.maximum(learnt.max(), 1.0 - learnt.sum()), 1e-8)
        return valid & (confidence >= threshold * (beta / (2.0 - beta))[label]), {
            **memory,
            "learnt": learnt,
        }
    overall = average(memory["confidence"], masked_mean(confidence, valid))
    share = average(memory["share"], _mean(probability, valid))
    return valid & (confidence >= (share / share.max() * overall)[label]), {
        **memory,
        "confidence": overall,
        "share": share,
    }


def _mean(x_BHWK: jax.Array, valid_BHW: jax.Array) -> jax.Array:
    """Mean over valid pixels, by class ``(K,)``."""
    return jnp.sum(x_BHWK * valid_BHW[..., None], tuple(range(valid_BHW.ndim))) / jnp.maximum(
        valid_BHW.sum(), 1
    )
