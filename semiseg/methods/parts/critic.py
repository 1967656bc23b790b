"""The critic of DAN and SASSNet: a discriminator that tells maps of labelled images from maps of
unlabelled ones.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from semiseg.methods.parts.heads import dims_of, drop_channels, stack
from semiseg.methods.parts.terms import frozen
from semiseg.nets import layers
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


LEVELS = 4
"""Strided convolutions of a discriminator: one of its last pixels sees 46 of the image's."""


def discriminator(
    model: Model,
    key: jax.Array,
    channels: int,
    width: int = 16,
) -> Params:
    """A discriminator of ``(B, *space, channels)``: four 4 × 4 convolutions of stride 2, a mean
    over each half of every axis, and a linear layer, so that it sees the whole image. Read it with
    :func:`judge`.
    """
    k_stack, k_linear = jax.random.split(key)
    widths = (channels, *(width * 2**i for i in range(LEVELS)))
    params = stack(k_stack, widths, (4,) * LEVELS, dims_of(model))
    cells = math.prod(min(2, math.ceil(n / 2**LEVELS)) for n in model.sample.shape[1:-1])
    inputs = cells * widths[-1]
    linear = {
        "kernel": jax.random.normal(k_linear, (inputs, 1)) / math.sqrt(inputs),
        "bias": jnp.zeros(1),
    }
    return Params({**params.weights, "linear": linear}, {})


def judge(
    params: Params,
    x: jax.Array,
    key: jax.Array | None = None,
    dropout: jax.Array | float = 0.0,
) -> jax.Array:
    """Logit ``(B,)`` of a discriminator. A ``key`` draws the channels that are dropped with
    probability ``dropout`` after each convolution but the last.
    """
    pads = ((1, 2),) * (x.ndim - 2)
    for i in range(LEVELS):
        layer = params.weights[f"conv{i}"]
        kernel = layer["kernel"].astype(x.dtype)
        x = jax.nn.leaky_relu(layers.conv(x, kernel, 2, pads=pads) + layer["bias"], 0.2)
        if key is not None and i < LEVELS - 1:
            x = drop_channels(jax.random.fold_in(key, i), x, dropout)
    for axis in range(1, x.ndim - 1):
        x = _halves(x, axis)
    linear = params.weights["linear"]
    return (x.reshape(len(x), -1) @ linear["kernel"] + linear["bias"])[:, 0]


def _halves(x: jax.Array, axis: int) -> jax.Array:
    """The means of both halves of an axis; an axis of one pixel stays."""
    if x.shape[axis] == 1:
        return x
    parts = jnp.split(x, [x.shape[axis] // 2], axis)
    return jnp.concatenate([part.mean(axis, keepdims=True) for part in parts], axis)


class Pair(NamedTuple):
    """What a critic is shown of one kind: images ``(B, *space, C)`` beside their maps
    ``(B, *space, M)``.
    """

    image: jax.Array
    map_: jax.Array


def adversarial_terms(
    critic: Params,
    labelled: Pair,
    unlabelled: Pair,
    key: jax.Array,
    dropout: jax.Array | float,
) -> Adversarial:
    """Terms of a critic, whose channels are dropped anew each time it looks.

    Labelled images are the truth 1, unlabelled ones the truth 0 (Zhang et al. 2017, equations 1-3).
    """
    keys = jax.random.split(key, 3)
    fool = binary_cross_entropy(_judge_pair(frozen(critic), unlabelled, keys[0], dropout), 1)
    logits = [
        _judge_pair(critic, frozen(pair), k, dropout)
        for pair, k in zip((labelled, unlabelled), keys[1:], strict=True)
    ]
    tell = binary_cross_entropy(logits[0], 1) + binary_cross_entropy(logits[1], 0)
    return Adversarial(fool, tell)


def _judge_pair(
    critic: Params, pair: Pair, key: jax.Array, dropout: jax.Array | float
) -> jax.Array:
    return judge(critic, jnp.concatenate([pair.image, pair.map_], -1), key, dropout)


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
