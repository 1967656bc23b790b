"""Terms of a loss: the supervised one, and what is asked of unlabelled pixels.

Maps of probabilities are ``(B, H, W, K)``, masks ``(B, H, W)``; a further spatial axis is welcome.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from semiseg.losses.common import overlap
from semiseg.types import Loss, Output, PyTree


# ------------------------------------------------------------------ labelled pixels
def supervised_loss(
    criterion: Loss,
    output: Output,
    label_BHW: jax.Array,
    weight_B: jax.Array | None = None,
) -> jax.Array:
    """``criterion`` on the logits and, where a network gives them, on its deep-supervision outputs;
    plus the network's own terms.

    The i-th coarser output weighs 2^-i and all weights sum to one (Isensee et al. 2021, nnU-Net,
    supplement). A network's own terms, e.g. that of an autoencoder branch, are in
    ``aux["losses"]``; no label enters them, and no ``weight_B``, see :func:`weighed`.
    """
    total = criterion(weighed(output.logits, weight_B), label_BHW)
    weights = 1.0
    for i, logits in enumerate(output.aux.get("deep", []), 1):
        coarse = _coarser(label_BHW, logits.shape[1:-1])
        total = total + 0.5**i * criterion(weighed(logits, weight_B), coarse)
        weights += 0.5**i
    return total / weights + sum(output.aux.get("losses", {}).values())


def _coarser(label_BHW: jax.Array, size: Sequence[int]) -> jax.Array:
    """Every 2^n-th pixel of a label, for logits of ``size``; a level has ceil(n / step) pixels."""
    window = [slice(None)]
    for fine, coarse in zip(label_BHW.shape[1:], size, strict=True):
        step = 2 ** round(math.log2(fine / coarse))
        window.append(slice(None, coarse * step, step))
    return label_BHW[tuple(window)]


def weighed(x: jax.Array, weight_B: jax.Array | None) -> jax.Array:
    """``x (B, …)`` as it is; the gradient that comes back to each image is multiplied by its
    weight. None: by 1.

    So an image weighs ``weight_B`` in any criterion, also in one that is no sum over images: a Dice
    over the batch still has its pixels and mask in the sums that all images share. The value of the
    loss is that of weights 1.

    >>> x, weight = jnp.ones((2, 3)), jnp.array([1.0, 0.5])
    >>> jax.grad(lambda x: weighed(x, weight).sum())(x).tolist()
    [[1.0, 1.0, 1.0], [0.5, 0.5, 0.5]]
    """
    if weight_B is None:
        return x
    return _weighed(x, weight_B)


@jax.custom_vjp
def _weighed(x: jax.Array, weight_B: jax.Array) -> jax.Array:
    return x


def _forward(x: jax.Array, weight_B: jax.Array) -> tuple[jax.Array, jax.Array]:
    return x, weight_B


def _backward(weight_B: jax.Array, g: jax.Array) -> tuple[jax.Array, jax.Array]:
    scaled = g * weight_B.reshape(-1, *(1,) * (g.ndim - 1))
    return scaled, jnp.zeros_like(weight_B)


_weighed.defvjp(_forward, _backward)


# ------------------------------------------------------------------ unlabelled pixels
def entropy(p_BHWK: jax.Array) -> jax.Array:
    """-Σ p log p of each pixel, in nats; finite at p = 0, with a finite gradient.

    >>> [round(float(x), 3) for x in entropy(jnp.array([[0.5, 0.5], [1.0, 0.0]]))]
    [0.693, -0.0]
    """
    return -jnp.sum(p_BHWK * jnp.log(jnp.maximum(p_BHWK, 1e-8)), -1)


def divergence(p_BHWK: jax.Array, q_BHWK: jax.Array) -> jax.Array:
    """Kullback-Leibler divergence KL(p || q) = Σ p log(p / q) of each pixel, in nats.

    >>> round(float(divergence(jnp.array([1.0, 0.0]), jnp.array([0.5, 0.5]))), 3)
    0.693
    """
    log_p = jnp.log(jnp.maximum(p_BHWK, 1e-8))
    log_q = jnp.log(jnp.maximum(q_BHWK, 1e-8))
    return jnp.sum(p_BHWK * (log_p - log_q), -1)


def sharpen(p_BHWK: jax.Array, temperature: jax.Array | float) -> jax.Array:
    """p^(1/T) / Σ p^(1/T) (Berthelot et al. 2019, MixMatch, equation 7): towards one-hot as T falls
    to 0.

    >>> [round(float(x), 3) for x in sharpen(jnp.array([0.75, 0.25]), temperature=0.5)]
    [0.9, 0.1]
    """
    return jax.nn.softmax(jnp.log(jnp.maximum(p_BHWK, 1e-8)) / temperature)


def hard_cross_entropy(
    logits_BHWK: jax.Array,
    label_BHW: jax.Array,
    accepted_BHW: jax.Array,
    valid_BHW: jax.Array,
) -> jax.Array:
    """Sum of -log p(label) over accepted pixels, divided by the number of valid pixels (Sohn et al.
    2020, equation 4).

    A rejected pixel's label is replaced before it is looked up and its loss after, so that its
    gradient is exactly zero.

    >>> logits, label = jnp.zeros((1, 2, 2, 2)), jnp.zeros((1, 2, 2), int)
    >>> accepted = jnp.array([[[True, False], [False, False]]])
    >>> value = hard_cross_entropy(logits, label, accepted, jnp.ones_like(accepted))
    >>> f"{value:.3f} = ln 2 / 4"
    '0.173 = ln 2 / 4'
    """
    log_p = jax.nn.log_softmax(logits_BHWK)
    known = jnp.where(accepted_BHW, label_BHW, 0)
    ce = -jnp.take_along_axis(log_p, known[..., None], -1)[..., 0]
    return jnp.where(accepted_BHW, ce, 0.0).sum() / jnp.maximum(valid_BHW.sum(), 1)


def dice_of_accepted(
    logits_BHWK: jax.Array,
    label_BHW: jax.Array,
    least: jax.Array | float,
) -> tuple[jax.Array, jax.Array]:
    """Dice loss of the softmax with pseudo-labels, IGNORE where they are rejected: squared
    denominators over the batch, the sum over classes over their number.

    A class with fewer than ``least`` accepted pixels is left out: its whole term, of the same size
    as the others', would hang on these few.

    Returns:
      The loss, and how many classes were left out.

    >>> label = jnp.array([[[1, 1, 1, 0]]])
    >>> found = dice_of_accepted(99 * jax.nn.one_hot(1 - label, 2), label, least=2)
    >>> [round(float(x), 3) for x in found]
    [0.5, 1.0]
    """
    sums = overlap(logits_BHWK, label_BHW, batch=True, squared=True)
    both, prediction, truth = sums.both[0], sums.prediction[0], sums.truth[0]
    distance = 1 - (2 * both + 1e-5) / (prediction + truth + 1e-5)
    taught = (truth >= least) & sums.present[0]
    return jnp.where(taught, distance, 0.0).mean(), (~taught).sum().astype(jnp.float32)


def share_of_valid(mask_BHW: jax.Array, valid_BHW: jax.Array) -> jax.Array:
    """Share of the valid pixels that are in ``mask_BHW``, which is a part of them; 0 where there is
    none.

    >>> float(share_of_valid(jnp.array([True, False, False]), jnp.array([True, True, False])))
    0.5
    """
    return mask_BHW.sum() / jnp.maximum(valid_BHW.sum(), 1)


def clipped_noise(
    key: jax.Array,
    shape: Sequence[int],
    deviation: jax.Array | float,
) -> jax.Array:
    """Gaussian noise of standard ``deviation``, clipped at twice that (Yu et al. 2019)."""
    noise = deviation * jax.random.normal(key, shape)
    return jnp.clip(noise, -2 * deviation, 2 * deviation)


def frozen(tree: PyTree) -> PyTree:
    """``tree`` as a constant: no gradient reaches it."""
    return jax.tree.map(jax.lax.stop_gradient, tree)
