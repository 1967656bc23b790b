"""Boundary loss: probability weighted by its signed distance from the true contour, beside a region
loss.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from semiseg.losses.ce_dice import CEDice
from semiseg.losses.common import class_mean, class_vector, pixels
from semiseg.losses.distance_transform import signed_distance
from semiseg.types import hyper


@hyper
class Boundary:
    """``region + weight * mean(phi * p)`` (Kervadec et al., MIDL 2019, eq. 5), phi the signed
    distance in pixels, negative in the mask.

    phi is 0 on the mask's outermost pixels, as in the paper. The term is negative where the
    prediction is good. A class with no contour in an image has phi 0 there: only ``region`` acts on
    it.
    """

    region: CEDice = CEDice()
    weight: float = 0.01
    """The paper starts at 0.01 and adds 0.01 an epoch."""
    background: bool = False
    """Whether class 0 has a contour of its own."""
    class_weights: tuple[float, ...] = ()
    """Of the boundary term: one weight a class, background first; empty: all 1."""

    def __call__(
        self,
        logits: jax.Array,
        label: jax.Array,
    ) -> jax.Array:
        """``logits (B, *space, K)`` float, ``label (B, *space)`` int with IGNORE → scalar."""
        return self.region(logits, label) + self.weight * self.boundary(logits, label)

    def boundary(
        self,
        logits: jax.Array,
        label: jax.Array,
    ) -> jax.Array:
        """The second term alone."""
        x = pixels(logits, label)
        first = 0 if self.background else 1
        mask = jnp.moveaxis(x.onehot[..., first:] > 0, -1, 1)
        outside = x.valid[:, None] & ~mask
        d = signed_distance(mask, outside, (1.0,) * (label.ndim - 1))
        phi = jnp.moveaxis(jnp.where(d < 0, d + 1, d), 1, -1)
        p = jax.nn.softmax(x.logits)[..., first:]
        weights = class_vector(self.class_weights, logits.shape[-1])
        return pixel_mean(phi * p, x.valid, weights[first:])


def pixel_mean(
    x: jax.Array,
    valid: jax.Array,
    weights_K: jax.Array,
) -> jax.Array:
    """Mean of ``x (B, *space, K)`` over valid pixels ``(B, *space)`` and, weighted, over classes; 0
    where nothing is valid.

    >>> x = jnp.array([[[1.0, 5.0], [3.0, 5.0]]])
    >>> float(pixel_mean(x, jnp.array([[True, True]]), jnp.array([1.0, 0.0])))
    2.0
    """
    flat = x.reshape(-1, x.shape[-1])
    return class_mean(flat, weights_K, valid.reshape(-1))
