"""Focal loss: cross-entropy that easy pixels hardly count in."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from semiseg.losses.common import class_vector, pixels, weighted_mean
from semiseg.types import hyper


@hyper
class Focal:
    """``-(1 - p)^gamma log p`` of the true class (Lin et al., ICCV 2017, eq. 5), averaged as in
    :class:`CE`; gamma 0 is CE.
    """

    gamma: float = 2.0
    """Focusing exponent, ≥ 0."""
    class_weights: tuple[float, ...] = ()
    """The paper's alpha: one weight a class, background first; empty: all 1."""

    def __call__(
        self,
        logits: jax.Array,
        label: jax.Array,
    ) -> jax.Array:
        """``logits (B, *space, K)`` float, ``label (B, *space)`` int with IGNORE → scalar."""
        x = pixels(logits, label)
        log_p = jnp.sum(jax.nn.log_softmax(x.logits) * x.onehot, -1)
        # 1-p without cancellation; the floor: 0^gamma has no finite slope for gamma < 1
        missing = jnp.maximum(-jnp.expm1(log_p), 1e-7)
        loss = -(missing**self.gamma) * log_p
        weights = class_vector(self.class_weights, logits.shape[-1])
        return weighted_mean(loss, x.onehot @ weights)
