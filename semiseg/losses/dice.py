"""Soft Dice: one minus the overlap of the softmax with the label, class by class."""

from __future__ import annotations

import jax

from semiseg.losses.common import TINY, class_mean, class_vector, overlap
from semiseg.types import hyper


@hyper
class Dice:
    """``1 - (2 sum(p*y) + s) / (sum p + sum y + s)``, mean over classes.

    Milletari et al. (3DV 2016, eq. 1) with ``squared``, Drozdzal et al. (2016) without. A class
    absent from the truth keeps its term: it costs up to 1 and pushes its probability down. An image
    with no valid pixel is left out.

    Four pixels, all predicted as class 1, two of which are: 2 · 2 / (4 + 2) of the overlap.

    >>> logits = jax.numpy.array([[[[-99.0, 99.0]] * 4]])
    >>> label = jax.numpy.array([[[0, 0, 1, 1]]])
    >>> f"{1 - Dice()(logits, label):.3f}"
    '0.667'
    """

    squared: bool = False
    """``sum p^2`` in the denominator instead of ``sum p``."""
    batch: bool = True
    """Sums over the whole batch (steadier where a class is in few slices), or per image and then
    averaged.
    """
    background: bool = False
    """Whether class 0 counts as a class."""
    smooth: float = 1e-5
    """Added to both sides of the ratio: an absent and unpredicted class scores 1."""
    class_weights: tuple[float, ...] = ()
    """One weight a class, background first; empty: all 1."""

    def __call__(
        self,
        logits: jax.Array,
        label: jax.Array,
    ) -> jax.Array:
        """``logits (B, *space, K)`` float, ``label (B, *space)`` int with IGNORE → scalar."""
        o = overlap(logits, label, batch=self.batch, squared=self.squared)
        dice = (2 * o.both + self.smooth) / (o.prediction + o.truth + self.smooth + TINY)
        weights = class_vector(self.class_weights, logits.shape[-1], self.background)
        return class_mean(1 - dice, weights, o.present)
