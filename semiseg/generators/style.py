"""The style code: what the mask does not say (stain, gain, the thorax around a heart) in a few
numbers an image.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from semiseg.generators.blocks import Weights, conv, conv_weights, dense, dense_weights, leaky
from semiseg.nets.layers import Normals

WIDTHS = (16, 32, 48, 64)


def encoder_weights(normals: Normals, channels: int, classes: int, style: int) -> Weights:
    """Four convolutions of stride 2, then a dense layer to mean and log-variance."""
    widths = (channels, *WIDTHS)
    convs = {
        f"conv{i}": conv_weights(normals, 3, a, b)
        for i, (a, b) in enumerate(zip(widths, widths[1:]))
    }
    return {
        **convs,
        "code": dense_weights(normals, WIDTHS[-1] + 2 * channels * classes, 2 * style, 0.5),
    }


def encode(weights: Weights, image: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and log-variance ``(B, Z)`` of the code of ``(B, H, W, C)`` images in [-1, 1] with
    one-hot masks ``(B, H, W, K)``.

    No layer normalises, and each class's grey level (its root, which spreads the dark end) and
    deviation join the last features. They are most of what a code is for, and small objects vanish
    in a mean over the image: without them all fluorescent nuclei were painted equally bright.
    """
    x, space = image, (1, 2)
    for i in range(len(WIDTHS)):
        x = leaky(conv(weights[f"conv{i}"], x, 2))
    size = mask.sum(space)[..., None] + 1e-3
    mean = jnp.einsum("bhwk,bhwc->bkc", mask, image) / size
    square = jnp.einsum("bhwk,bhwc->bkc", mask, image**2) / size
    deviation = jnp.sqrt(jnp.maximum(square - mean**2, 0) + 1e-4)
    grey = jnp.sqrt(jnp.maximum(mean + 1, 0) + 1e-3)
    facts = jnp.concatenate([grey, 2 * deviation], -1).reshape(len(image), -1)
    mean, logvar = jnp.split(
        dense(weights["code"], jnp.concatenate([x.mean(space), facts], -1)), 2, -1
    )
    return mean, jnp.clip(logvar, -8.0, 4.0)
