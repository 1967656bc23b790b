"""Tversky: Dice with separate prices for false positives and false negatives."""

from __future__ import annotations

import jax

from semiseg.losses.common import TINY, Overlap, class_mean, class_vector, overlap
from semiseg.types import hyper


def tversky_index(
    o: Overlap,
    alpha: float,
    beta: float,
    smooth: float,
) -> jax.Array:
    """``(TP + s) / (TP + alpha*FP + beta*FN + s)`` per group and class ``(G, K)`` (Salehi et al.,
    MLMI 2017, eq. 4).

    >>> one_class = [jax.numpy.array([[x]]) for x in (2.0, 4.0, 3.0)]  # TP 2, FP 2, FN 1
    >>> overlap_sums = Overlap(*one_class, present=jax.numpy.array([True]))
    >>> float(tversky_index(overlap_sums, alpha=0.5, beta=1.0, smooth=0.0)[0, 0])
    0.5
    """
    false_positive = o.prediction - o.both
    false_negative = o.truth - o.both
    everything = o.both + alpha * false_positive + beta * false_negative
    return (o.both + smooth) / (everything + smooth + TINY)


@hyper
class Tversky:
    """One minus the Tversky index, mean over classes; alpha = beta = ½ is Dice (at half its
    ``smooth``).
    """

    alpha: float = 0.3
    """Price of a false positive."""
    beta: float = 0.7
    """Price of a false negative; above ``alpha`` it favours sensitivity, for small structures."""
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
        loss = 1 - tversky_index(o, self.alpha, self.beta, self.smooth)
        weights = class_vector(self.class_weights, logits.shape[-1], self.background)
        return class_mean(loss, weights, o.present)
