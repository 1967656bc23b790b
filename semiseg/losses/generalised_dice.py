"""Generalised Dice: one ratio over all classes, each weighted by its inverse squared size."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from semiseg.losses.common import TINY, class_vector, masked_mean, overlap
from semiseg.types import hyper


@hyper
class GeneralisedDice:
    """``1 - 2 sum_c w_c sum(p*y) / sum_c w_c sum(p + y)`` with ``w_c = 1 / (sum y)^2`` (Sudre et
    al., DLMIA 2017, eq. 1).

    The weights are divided by the largest, so ``smooth`` means the same at every image size. A
    class absent from the truth, whose weight would be infinite, gets the largest finite one.
    """

    batch: bool = False
    """Sums over the whole batch, or per image (the paper) and then averaged."""
    background: bool = True
    """Whether class 0 counts as a class (the paper: yes)."""
    smooth: float = 1e-5
    """Added to both sides of the ratio."""
    class_weights: tuple[float, ...] = ()
    """Multiply the weights of the paper: one a class, background first; empty: all 1."""

    def __call__(
        self,
        logits: jax.Array,
        label: jax.Array,
    ) -> jax.Array:
        """``logits (B, *space, K)`` float, ``label (B, *space)`` int with IGNORE → scalar."""
        o = overlap(logits, label, batch=self.batch)
        weights = class_vector(self.class_weights, logits.shape[-1], self.background)
        class_weight = jnp.broadcast_to(weights[None], o.truth.shape)
        inside = (o.truth > 0) & (class_weight > 0)
        # of the classes that are there; inf: none is
        smallest = jnp.min(o.truth, 1, keepdims=True, where=inside, initial=jnp.inf)
        inverse = jnp.square(smallest / jnp.maximum(o.truth, 1.0))
        weight = class_weight * jnp.where(inside & jnp.isfinite(smallest), inverse, 1.0)
        both = jnp.sum(weight * o.both, 1)
        either = jnp.sum(weight * (o.prediction + o.truth), 1)
        dice = (2 * both + self.smooth) / (either + self.smooth + TINY)
        return masked_mean(1 - dice, o.present)
