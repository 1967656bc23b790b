"""Hausdorff loss by distance transforms: errors cost more the farther they lie from the contours,
beside a region loss.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from semiseg.losses.boundary import pixel_mean
from semiseg.losses.ce_dice import CEDice
from semiseg.losses.common import class_vector, pixels
from semiseg.losses.distance_transform import signed_distance
from semiseg.types import hyper


@hyper
class HausdorffDT:
    """``region + weight * mean((p - y)^2 (d_p^alpha + d_y^alpha))`` (Karimi & Salcudean, IEEE TMI
    2020, eq. 8).

    ``d`` is the distance in pixels to the contour of the truth and of the prediction (p > ½), on
    both sides of it and without gradient. Where a mask has no contour its d is 0.
    """

    region: CEDice = CEDice()
    weight: float = 0.01
    """Of the distance term. The paper re-weighs it every epoch until both terms are equal; squared
    pixels grow with the image.
    """
    alpha: float = 2.0
    """Exponent of the distances (the paper: 2)."""
    background: bool = False
    """Whether class 0 counts as a class."""
    class_weights: tuple[float, ...] = ()
    """Of the distance term: one weight a class, background first; empty: all 1."""

    def __call__(
        self,
        logits: jax.Array,
        label: jax.Array,
    ) -> jax.Array:
        """``logits (B, *space, K)`` float, ``label (B, *space)`` int with IGNORE → scalar."""
        return self.region(logits, label) + self.weight * self.hausdorff(logits, label)

    def hausdorff(
        self,
        logits: jax.Array,
        label: jax.Array,
    ) -> jax.Array:
        """The second term alone."""
        x = pixels(logits, label)
        first = 0 if self.background else 1
        p = jax.nn.softmax(x.logits)[..., first:]
        y = x.onehot[..., first:]
        valid = x.valid[:, None]
        masks = jnp.stack([p > 0.5, y > 0])
        masks = jnp.moveaxis(masks, -1, 2) & valid[None]  # (2, B, K, *space)
        d = jnp.abs(signed_distance(masks, valid[None] & ~masks, (1.0,) * (label.ndim - 1)))
        far = jnp.moveaxis(jnp.sum(d**self.alpha, 0), 1, -1)
        weights = class_vector(self.class_weights, logits.shape[-1])
        return pixel_mean(jnp.square(p - y) * far, x.valid, weights[first:])
