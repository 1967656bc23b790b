"""The style code: what the mask does not say (stain, gain, the thorax around a heart) in a few
numbers an image.
"""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp

from semiseg.generators.blocks import Weights, conv, conv_weights, dense, dense_weights, leaky
from semiseg.nets.layers import Normals

WIDTHS = (16, 32, 48, 64)
"""Channels of the convolutions."""


def encoder_weights(
    normals: Normals,
    channels: int,
    classes: int,
    style: int,
) -> Weights:
    """Four convolutions of stride 2, then a dense layer to mean and log-variance.

    Args:
      normals: where the weights are drawn from.
      channels: of the images.
      classes: of the masks.
      style: numbers in the code.
    """
    weights: Weights = {}
    for i, (before, width) in enumerate(itertools.pairwise((channels, *WIDTHS))):
        weights[f"conv{i}"] = conv_weights(normals, 3, before, width)
    features = WIDTHS[-1] + 2 * channels * classes
    weights["code"] = dense_weights(normals, features, 2 * style, 0.5)
    return weights


def encode(weights: Weights, image: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and log-variance of the style code (Kingma & Welling 2014).

    No layer normalises, and each class's grey level (its root, which spreads the dark end) and
    deviation join the last features. They are most of what a code is for, and small objects vanish
    in a mean over the image: without them all fluorescent nuclei were painted equally bright.

    Args:
      weights: of :func:`encoder_weights`.
      image: ``(B, H, W, C)`` in [-1, 1].
      mask: ``(B, H, W, K)`` one-hot.

    Returns:
      Mean and log-variance, ``(B, Z)`` each.
    """
    x = image
    for i in range(len(WIDTHS)):
        x = leaky(conv(weights[f"conv{i}"], x, 2))
    grey_levels = class_grey_levels(image, mask)
    features = jnp.concatenate([x.mean((1, 2)), grey_levels], -1)
    code = dense(weights["code"], features)
    mean, logvar = jnp.split(code, 2, -1)
    return mean, jnp.clip(logvar, -8.0, 4.0)


def class_grey_levels(image: jax.Array, mask: jax.Array) -> jax.Array:
    """Root of the mean grey level and twice the deviation, of each class and channel.

    Args:
      image: ``(B, H, W, C)`` in [-1, 1].
      mask: ``(B, H, W, K)`` one-hot.

    Returns:
      ``(B, 2 K C)``.

    >>> white = jnp.ones((1, 2, 2, 1))
    >>> class_grey_levels(white, white).round(1).tolist()
    [[1.399999976158142, 0.0]]
    """
    size = mask.sum((1, 2))[..., None] + 1e-3
    total = jnp.einsum("bhwk,bhwc->bkc", mask, image)
    mean = total / size
    total_square = jnp.einsum("bhwk,bhwc->bkc", mask, image**2)
    square = total_square / size
    variance = jnp.maximum(square - mean**2, 0)
    deviation = jnp.sqrt(variance + 1e-4)
    level = jnp.maximum(mean + 1, 0)
    grey = jnp.sqrt(level + 1e-3)
    both = jnp.concatenate([grey, 2 * deviation], -1)
    return both.reshape(len(image), -1)
