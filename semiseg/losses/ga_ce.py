"""Gradient-aware cross-entropy: the hardest pixels alone, and each class between its share of them
and an equal one.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from semiseg.fields import number
from semiseg.losses.common import TINY, class_vector, pixels
from semiseg.types import hyper


@hyper
class GACE:
    """``sum_c sum(l_c) / (N^gamma n_c^(1 - gamma))`` over the pixels with the largest cross-entropy
    ``l`` (Qi et al., ECCV 2024).

    ``N`` is the number of these pixels and ``n_c`` how many of them are of class c. With ``gamma``
    1 it is the mean over them, with 0 the sum of the classes' own means: a class has the share
    ``(n_c / N)^gamma`` of what it would have if all were equally frequent.

    One pixel of four is of class 1; the prediction knows nothing:

    >>> logits, label = jnp.zeros((1, 2, 2, 2)), jnp.array([[[0, 0], [0, 1]]])
    >>> f"{GACE(hardest=1.0)(logits, label):.3f} = ln 2 (3 / 12^½ + 1 / 4^½)"
    '0.947 = ln 2 (3 / 12^½ + 1 / 4^½)'
    """

    hardest: float = number(0.1, above=0)
    """Share of the valid pixels that teach, rounded up, and all that are as hard as the last of
    them. The paper: 0.1 for labels, 1 for pseudo-labels; from 1 on, every pixel.
    """
    gamma: float = number(0.5, within=(0, 1))
    """How much a class counts by its number of pixels."""
    class_weights: tuple[float, ...] = ()
    """Multiply the cross-entropy of their class: one a class, background first; empty: all 1."""

    def __call__(
        self,
        logits: jax.Array,
        label: jax.Array,
    ) -> jax.Array:
        """``logits (B, *space, K)`` float, ``label (B, *space)`` int with IGNORE → scalar."""
        x = pixels(logits, label)
        weights = class_vector(self.class_weights, logits.shape[-1])
        onehot = x.onehot.reshape(-1, logits.shape[-1])
        log_p = jax.nn.log_softmax(x.logits).reshape(onehot.shape)
        ce = -jnp.sum(log_p * onehot, -1) * (onehot @ weights)
        chosen = x.valid.ravel() & _hardest(ce, x.valid.ravel(), self.hardest)
        of_class = onehot * chosen[:, None]
        total = jnp.where(chosen[:, None], ce[:, None] * onehot, 0.0).sum(0)
        n = of_class.sum(0)
        share = jnp.maximum(n.sum(), 1.0) ** self.gamma * jnp.maximum(n, TINY) ** (1 - self.gamma)
        return jnp.sum(total / jnp.where(n > 0, share, 1.0))


def _hardest(ce: jax.Array, valid: jax.Array, share: jax.Array | float) -> jax.Array:
    """Which pixels ``(N,)`` are among the ``share`` of the valid ones with the largest ``ce``; a
    NaN counts as the largest.
    """
    ascending = jnp.sort(jax.lax.stop_gradient(jnp.where(valid, ce, -1.0)))
    # the small term keeps 0.1 · 30 from being more than 3
    number_of_them = jnp.clip(jnp.ceil(share * valid.sum() - 1e-3), 1, len(ce)).astype(jnp.int32)
    return ~(ce < ascending[len(ce) - number_of_them])
