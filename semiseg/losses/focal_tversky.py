"""Focal Tversky: badly segmented classes count more."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from semiseg.losses.common import class_mean, class_vector, overlap
from semiseg.losses.tversky import tversky_index
from semiseg.types import hyper


@hyper
class FocalTversky:
    """``(1 - TI)^(1/gamma)``, mean over classes (Abraham & Khan, ISBI 2019, eq. 4); gamma 1 is
    :class:`Tversky`.

    The paper writes alpha for false negatives (0.7) and beta for false positives (0.3); here they
    have the names of :class:`Tversky`.
    """

    alpha: float = 0.3
    """Price of a false positive."""
    beta: float = 0.7
    """Price of a false negative."""
    gamma: float = 4 / 3
    """Focusing exponent, ≥ 1."""
    batch: bool = True
    """Sums over the whole batch, or per image and then averaged."""
    background: bool = False
    """Whether class 0 counts as a class."""
    smooth: float = 1e-5
    """Added to both sides of the ratio."""
    class_weights: tuple[float, ...] = ()
    """One weight a class, background first; empty: all 1."""

    def __call__(
        self,
        logits: jax.Array,
        label: jax.Array,
    ) -> jax.Array:
        """``logits (B, *space, K)`` float, ``label (B, *space)`` int with IGNORE → scalar."""
        o = overlap(logits, label, batch=self.batch)
        miss = 1 - tversky_index(o, self.alpha, self.beta, self.smooth)
        # The power's slope is infinite at a perfect overlap: below the resolution of float32 the
        # loss is flat.
        loss = jnp.where(miss <= 1e-6, 0.0, jnp.maximum(miss, 1e-6) ** (1 / self.gamma))
        weights = class_vector(self.class_weights, logits.shape[-1], self.background)
        return class_mean(loss, weights, o.present)
