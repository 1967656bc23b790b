"""What every loss starts from: valid pixels, one-hot labels, per-class sums; and the masked means
that the methods share.

Between ``net.apply`` and the scalar that is differentiated. All arithmetic is float32, whatever the
logits are; a pixel whose label is IGNORE is replaced before the softmax, so that its gradient is
exactly zero even where its logit is not finite.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from semiseg.errors import UserError
from semiseg.types import IGNORE, Loss

TINY = 1e-12
"""Keeps 0/0 at 0 in float32 without moving any ratio that means something."""


class Pixels(NamedTuple):
    """A batch with its ignored pixels neutralised: zero logits, a zero one-hot row, ``valid``
    False.
    """

    logits: jax.Array  # (B, *space, K) float32
    onehot: jax.Array  # (B, *space, K) float32
    valid: jax.Array  # (B, *space) bool


class Overlap(NamedTuple):
    """Sums over the valid pixels of a group (an image, or the whole batch): what every region loss
    is a ratio of.
    """

    both: jax.Array  # (G, K) sum of p*y
    prediction: jax.Array  # (G, K) sum of p, or of p^2
    truth: jax.Array  # (G, K) sum of y
    present: jax.Array  # (G,) bool: the group has a valid pixel


def pixels(
    logits: jax.Array,
    label: jax.Array,
) -> Pixels:
    """Neutralise IGNORE. ``logits (B, *space, K)`` float, ``label (B, *space)`` int.

    >>> pixels(jnp.ones((1, 2, 2)), jnp.array([[1, IGNORE]])).onehot.tolist()
    [[[0.0, 1.0], [0.0, 0.0]]]
    """
    valid = label != IGNORE
    clean = jnp.where(valid[..., None], logits.astype(jnp.float32), 0.0)
    known = jnp.where(valid, label.astype(jnp.int32), -1)
    onehot = jax.nn.one_hot(known, logits.shape[-1], dtype=jnp.float32)
    return Pixels(clean, onehot, valid)


def overlap(
    logits: jax.Array,
    label: jax.Array,
    *,
    batch: bool,
    squared: bool = False,
) -> Overlap:
    """Per-class sums of the softmax and the one-hot label, over the whole batch (``G = 1``) or
    image by image (``G = B``).
    """
    x = pixels(logits, label)
    p = jnp.where(x.valid[..., None], jax.nn.softmax(x.logits), 0.0)
    first_axis = 0 if batch else 1
    axes = tuple(range(first_axis, label.ndim))

    def total(a: jax.Array) -> jax.Array:
        return a.sum(axes).reshape(-1, logits.shape[-1])

    return Overlap(
        both=total(p * x.onehot),
        prediction=total(p * p if squared else p),
        truth=total(x.onehot),
        present=x.valid.any(axes).reshape(-1),
    )


def class_vector(
    class_weights: tuple[float, ...],
    classes: int,
    background: bool = True,
) -> jax.Array:
    """Weights ``(K,)``: ones unless given, zero for an excluded background.

    >>> class_vector((), 3, background=False).tolist()
    [0.0, 1.0, 1.0]

    Raises:
      UserError: the number of weights is not the number of classes.
    """
    if class_weights and len(class_weights) != classes:
        raise UserError(
            f"class_weights: {len(class_weights)} weights for {classes} classes; give one a "
            f"class, background first"
        )
    weights = jnp.asarray(class_weights or (1.0,) * classes, jnp.float32)
    return weights if background else weights.at[0].set(0.0)


def class_mean(
    loss_GxK: jax.Array,
    weights_K: jax.Array,
    present_G: jax.Array,
) -> jax.Array:
    """Weighted mean over classes, then mean over the groups that have a valid pixel; 0 where there
    is none.
    """
    per_group = loss_GxK @ weights_K / jnp.maximum(weights_K.sum(), TINY)
    return masked_mean(per_group, present_G)


def weighted_mean(
    x: jax.Array,
    weight: jax.Array,
) -> jax.Array:
    """``sum(weight * x) / sum(weight)`` of two arrays of one shape; 0 where all weights are 0.

    >>> float(weighted_mean(jnp.array([1.0, 4.0]), jnp.array([2.0, 1.0])))
    2.0
    """
    return jnp.sum(x * weight) / jnp.maximum(weight.sum(), TINY)


def masked_mean(
    x: jax.Array,
    mask: jax.Array,
) -> jax.Array:
    """Mean of ``x (B, …)`` over the entries where ``mask`` is not 0; 0, not NaN, where it is 0
    everywhere.

    Args:
      x: any shape.
      mask: bool, or non-negative weights; its shape is the leading part of ``x``'s, e.g. ``(B,
        *space)`` for an ``x (B, *space, K)``.

    >>> x = jnp.array([1.0, 3.0, jnp.nan])
    >>> float(masked_mean(x, jnp.array([True, True, False])))
    2.0
    """
    trailing = (1,) * (x.ndim - mask.ndim)
    mask = jnp.broadcast_to(mask.reshape(mask.shape + trailing), x.shape)
    chosen = jnp.where(mask != 0, x.astype(jnp.float32), 0.0)
    return weighted_mean(chosen, mask.astype(jnp.float32))


def softmax_mse(
    p: jax.Array,
    q: jax.Array,
    valid: jax.Array,
) -> jax.Array:
    """Mean squared difference of two probability maps ``(B, *space, K)`` over valid pixels ``(B,
    *space)`` and all classes.

    The consistency term of mean teacher (Tarvainen & Valpola 2017, eq. 1, on probabilities);
    gradients flow into both arguments, so stop them on the teacher's.

    >>> p, q = jnp.array([[[0.5, 0.5]]]), jnp.array([[[1.0, 0.0]]])
    >>> float(softmax_mse(p, q, jnp.array([[True]])))
    0.25
    """
    difference = p.astype(jnp.float32) - q.astype(jnp.float32)
    return masked_mean(jnp.square(difference), valid)


# ------------------------------------------------------------------ two terms
class WeightedTerms:
    """``ce_weight * ce + dice_weight * dice``: a loss of two terms declares them as its fields."""

    ce: Loss
    dice: Loss
    ce_weight: float
    dice_weight: float

    def __call__(
        self,
        logits: jax.Array,
        label: jax.Array,
    ) -> jax.Array:
        """``logits (B, *space, K)`` float, ``label (B, *space)`` int with IGNORE → scalar."""
        ce = self.ce_weight * self.ce(logits, label)
        return ce + self.dice_weight * self.dice(logits, label)
