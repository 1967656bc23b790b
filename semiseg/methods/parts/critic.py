"""The critic of DAN and SASSNet: a discriminator that tells maps of labelled images from maps of
unlabelled ones.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from semiseg.methods.parts.heads import dims_of, run, stack
from semiseg.methods.parts.terms import frozen
from semiseg.types import Model, Params


class Adversarial(NamedTuple):
    """Both sides of the game.

    Attributes:
      fool: the segmenter's term, the critic's weights are constants; low where the critic takes
        unlabelled images for labelled ones.
      tell: the critic's term, the maps are constants; low where it tells them apart.
    """

    fool: jax.Array
    tell: jax.Array


def discriminator(
    model: Model,
    key: jax.Array,
    channels: int,
    width: int = 16,
) -> Params:
    """A discriminator of ``(B, *space, channels)``: three convolutions of stride 2, and a 1 × 1
    one. Read it with :func:`judge`.
    """
    widths = (channels, width, 2 * width, 4 * width, 1)
    return stack(key, widths, (3, 3, 3, 1), dims_of(model))


def judge(params: Params, x: jax.Array) -> jax.Array:
    """Logit ``(B,)`` of a discriminator: the mean over its last map."""
    return run(params, x, stride=2, slope=0.2).mean(tuple(range(1, x.ndim)))


def adversarial_terms(
    critic: Params,
    image: jax.Array,
    labelled_map: jax.Array,
    weak: jax.Array,
    unlabelled_map: jax.Array,
) -> Adversarial:
    """Terms of a critic that sees images ``(B, *space, C)`` beside their maps ``(B, *space, M)``.

    Labelled images are the truth 1, unlabelled ones the truth 0 (Zhang et al. 2017, equations 1-3).
    """
    fool = binary_cross_entropy(_judge_pair(frozen(critic), weak, unlabelled_map), 1)
    labelled_logit = _judge_pair(critic, image, jax.lax.stop_gradient(labelled_map))
    unlabelled_logit = _judge_pair(critic, weak, jax.lax.stop_gradient(unlabelled_map))
    tell = binary_cross_entropy(labelled_logit, 1) + binary_cross_entropy(unlabelled_logit, 0)
    return Adversarial(fool, tell)


def _judge_pair(
    critic: Params,
    image: jax.Array,
    map_: jax.Array,
) -> jax.Array:
    return judge(critic, jnp.concatenate([image, map_], -1))


def inside_frame(x: jax.Array, valid_BHW: jax.Array) -> jax.Array:
    """``x`` without gradient where ``valid_BHW`` is False: what lies outside the frame teaches
    nothing.
    """
    return jnp.where(valid_BHW[..., None], x, jax.lax.stop_gradient(x))


def binary_cross_entropy(logit: jax.Array, truth: int) -> jax.Array:
    """Mean -log of the probability that a discriminator gives to ``truth`` (1 or 0).

    >>> [round(float(binary_cross_entropy(jnp.array([0.0, 0.0]), truth)), 3) for truth in (0, 1)]
    [0.693, 0.693]
    """
    if truth:
        return jnp.mean(jax.nn.softplus(-logit))
    return jnp.mean(jax.nn.softplus(logit))
