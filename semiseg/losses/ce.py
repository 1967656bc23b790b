"""Cross-entropy over the pixels that have a label."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from semiseg.losses.common import class_vector, pixels, weighted_mean
from semiseg.types import hyper


@hyper
class CE:
    """``-log p`` of the true class: the mean over valid pixels, weighted by their class (``sum w*l
    / sum w``).

    >>> float(CE()(jnp.zeros((1, 2, 2, 4)), jnp.zeros((1, 2, 2), int)))  # ln 4
    1.3862943649291992
    """

    class_weights: tuple[float, ...] = ()
    """One weight a class, background first; empty: all 1."""

    def __call__(
        self,
        logits: jax.Array,
        label: jax.Array,
    ) -> jax.Array:
        """``logits (B, *space, K)`` float, ``label (B, *space)`` int with IGNORE → scalar."""
        x = pixels(logits, label)
        log_p = jnp.sum(jax.nn.log_softmax(x.logits) * x.onehot, -1)
        weights = class_vector(self.class_weights, logits.shape[-1])
        return weighted_mean(-log_p, x.onehot @ weights)
