"""The signed distance head of DTC and SASSNet: what it is taught, and how a distance is read as a
probability.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from semiseg.losses.common import masked_mean
from semiseg.losses.distance_transform import signed_distance
from semiseg.types import IGNORE


def distance_map(label: jax.Array, classes: int) -> jax.Array:
    """Signed distance of each foreground class ``(B, *space, K - 1)`` in [-1, 1], negative inside.

    Each side is divided by its own largest distance in the image (Xue et al., AAAI 2020; Luo et
    al., AAAI 2021, equation 1). A class that the image does not show is 1 everywhere, one that
    fills it -1: public code has 0 there, which :func:`as_probability` reads as one half. ``label
    (B, *space)``; IGNORE makes no border and is 0 where a class has none.

    >>> distance_map(jnp.array([[0, 0, 1, 1, 1]]), classes=2)[0, :, 0].tolist()
    [1.0, 0.5, -0.3333333432674408, -0.6666666865348816, -1.0]
    """
    space = tuple(range(-(label.ndim - 1), 0))
    mask = jnp.stack([label == k for k in range(1, classes)], 1)
    other = (label != IGNORE)[:, None] & ~mask
    d = signed_distance(mask, other, (1.0,) * (label.ndim - 1))
    both = mask.any(space, keepdims=True) & other.any(space, keepdims=True)
    d = jnp.where(both, d, other.astype(d.dtype) - mask)
    deepest = jnp.maximum(-d, 0).max(space, keepdims=True)
    farthest = jnp.maximum(d, 0).max(space, keepdims=True)
    scaled = jnp.where(d < 0, d / jnp.maximum(deepest, 1.0), d / jnp.maximum(farthest, 1.0))
    return jnp.moveaxis(scaled, 1, -1)


def distance_loss(
    predicted: jax.Array,
    label: jax.Array,
    classes: int,
) -> jax.Array:
    """Mean squared error of the predicted maps over labelled pixels and foreground classes."""
    error = jnp.square(predicted - distance_map(label, classes))
    return masked_mean(error, label != IGNORE)


def decision(distance: jax.Array) -> jax.Array:
    """The classes ``(B, *space, K)`` that signed distances decide for, one-hot: the foreground
    class that is deepest inside, else background.

    >>> decision(jnp.array([[0.5, -0.2], [0.1, 0.3]])).tolist()
    [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """
    inside = jnp.minimum(distance, 0)
    is_foreground = (inside < 0).any(-1)
    label = jnp.where(is_foreground, 1 + inside.argmin(-1), 0)
    return jax.nn.one_hot(label, distance.shape[-1] + 1)


def as_probability(distance: jax.Array, steepness: jax.Array | float) -> jax.Array:
    """sigmoid(-k z): the smooth inverse of the distance transform (Luo et al. 2021, equation 2), 1
    inside, 0 outside.

    >>> as_probability(jnp.array([-1.0, 0.0, 1.0]), steepness=1500.0).tolist()
    [1.0, 0.5, 0.0]
    """
    return jax.nn.sigmoid(-steepness * distance)
