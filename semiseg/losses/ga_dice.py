"""Gradient-aware Dice: a class that the batch does not show is pushed down as far as it was
predicted, no farther.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from semiseg.losses.common import TINY, class_mean, class_vector, overlap
from semiseg.types import hyper


@hyper
class GADice:
    """``1 - 2 sum(p*y) / (sum p^2 + sum y^2)`` of a class that the truth shows, ``sum(b*p) / N`` of
    one that it does not; mean over classes (Qi et al., ECCV 2024).

    ``b`` is ``p`` without gradient and ``N`` the number of valid pixels, so that a pixel of an
    absent class has the gradient ``p / N``. That of Dice grows as the class vanishes, up to 1 /
    ``smooth``: over the batches without it, a rare class is driven to a probability from which no
    batch that shows it brings it back.

    Four pixels, all predicted as class 1 with probability 0.5, none of which are:

    >>> logits, label = jnp.zeros((1, 2, 2, 2)), jnp.zeros((1, 2, 2), int)
    >>> loss = GADice(background=False)
    >>> float(loss(logits, label))  # b * p
    0.25
    >>> jax.grad(loss)(logits, label)[0, 0, 0].tolist()  # p / N through the softmax
    [-0.03125, 0.03125]
    """

    batch: bool = True
    """Sums over the whole batch (the paper), or per image and then averaged."""
    background: bool = True
    """Whether class 0 counts as a class (the paper: yes)."""
    class_weights: tuple[float, ...] = ()
    """One weight a class, background first; empty: all 1."""

    def __call__(
        self,
        logits: jax.Array,
        label: jax.Array,
    ) -> jax.Array:
        """``logits (B, *space, K)`` float, ``label (B, *space)`` int with IGNORE → scalar."""
        o = overlap(logits, label, batch=self.batch, squared=True)
        shown = 1 - 2 * o.both / (o.prediction + o.truth + TINY)
        # sum(p^2) with half of its gradient is the sum of b * p
        squares = 0.5 * (o.prediction + jax.lax.stop_gradient(o.prediction))
        absent = squares / jnp.maximum(o.truth.sum(1, keepdims=True), 1.0)
        weights = class_vector(self.class_weights, logits.shape[-1], self.background)
        return class_mean(jnp.where(o.truth > 0, shown, absent), weights, o.present)
