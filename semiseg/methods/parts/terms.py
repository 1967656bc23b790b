"""What several methods share: the supervised term, ramps, the exponential moving average, and terms
on unlabelled pixels.

Maps of probabilities are ``(B, H, W, K)``, masks ``(B, H, W)``.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from semiseg.types import Loss, Output, Params, PyTree


def supervised_loss(
    criterion: Loss, output: Output, label_BHW: jax.Array, weight_B: jax.Array | None = None
) -> jax.Array:
    """``criterion`` on the logits and, where a network gives them, on its deep-supervision outputs;
    plus the network's own terms.

    The i-th coarser output weighs 2^-i and all weights sum to one (Isensee et al. 2021, nnU-Net,
    supplement). A network's own terms, e.g. that of an autoencoder branch, are in
    ``aux["losses"]``; no label enters them, and no ``weight_B``, see :func:`weighed`.
    """
    deep = output.aux.get("deep", [])
    total, weights = criterion(weighed(output.logits, weight_B), label_BHW), 1.0
    for i, logits in enumerate(deep, 1):
        step = tuple(
            2 ** round(math.log2(a / b)) for a, b in zip(label_BHW.shape[1:], logits.shape[1:-1])
        )  # a level has ceil(n / step) pixels
        coarse = label_BHW[
            (slice(None), *(slice(None, n * s, s) for n, s in zip(logits.shape[1:-1], step)))
        ]
        total, weights = (
            total + 0.5**i * criterion(weighed(logits, weight_B), coarse),
            weights + 0.5**i,
        )
    return total / weights + sum(output.aux.get("losses", {}).values())


def weighed(x: jax.Array, weight_B: jax.Array | None) -> jax.Array:
    """``x (B, …)`` as it is; the gradient that comes back to each image is multiplied by its
    weight. None: by 1.

    So an image weighs ``weight_B`` in any criterion, also in one that is no sum over images: a Dice
    over the batch still has its pixels and mask in the sums that all images share. The value of the
    loss is that of weights 1.
    """
    return x if weight_B is None else _weighed(x, weight_B)


@jax.custom_vjp
def _weighed(x: jax.Array, weight_B: jax.Array) -> jax.Array:
    return x


def _weigh(weight_B: jax.Array, g: jax.Array) -> tuple[jax.Array, jax.Array]:
    return g * weight_B.reshape(-1, *(1,) * (g.ndim - 1)), jnp.zeros_like(weight_B)


_weighed.defvjp(lambda x, weight_B: (x, weight_B), _weigh)


def gaussian_ramp(progress: jax.Array, end: jax.Array | float) -> jax.Array:
    """exp(-5 (1 - t)^2) with t rising from 0 to 1 at ``progress == end`` (Laine & Aila 2017,
    section 4); 1 throughout if ``end`` is 0.
    """
    return jnp.exp(-5.0 * (1.0 - linear_ramp(progress, end)) ** 2)


def linear_ramp(progress: jax.Array, end: jax.Array | float) -> jax.Array:
    """From 0 to 1 at ``progress == end``, then 1; 1 throughout if ``end`` is 0."""
    return jnp.where(
        jnp.asarray(end) > 0, jnp.clip(progress / jnp.maximum(end, 1e-8), 0.0, 1.0), 1.0
    )


def ema(average: PyTree, new: PyTree, decay: jax.Array | float, step: jax.Array) -> PyTree:
    """``a · average + (1 - a) · new`` with a = min(1 - 1/(step+1), decay): a true mean at first
    (Tarvainen & Valpola 2017).

    ``step`` counts the updates before this one, so the first update copies ``new``.
    """
    a = jnp.minimum(1.0 - 1.0 / (step + 1.0), decay)
    return jax.tree.map(lambda x, y: (a * x + (1.0 - a) * y).astype(x.dtype), average, new)


def ema_params(
    average: Params, new: Params, decay: jax.Array | float, step: jax.Array, *, state: bool = True
) -> Params:
    """EMA of weights and, unless ``state`` is False, of normalisation statistics.

    Without the statistics a teacher normalises by what its student saw at the first step: a silent
    error of published code.
    """
    weights = ema(average.weights, new.weights, decay, step)
    return Params(weights, ema(average.state, new.state, decay, step) if state else average.state)


def entropy(p_BHWK: jax.Array) -> jax.Array:
    """-Σ p log p of each pixel, in nats; finite at p = 0, with a finite gradient."""
    return -jnp.sum(p_BHWK * jnp.log(jnp.maximum(p_BHWK, 1e-8)), -1)


def divergence(p_BHWK: jax.Array, q_BHWK: jax.Array) -> jax.Array:
    """Kullback-Leibler divergence KL(p || q) = Σ p log(p / q) of each pixel, in nats."""
    log = lambda x: jnp.log(jnp.maximum(x, 1e-8))
    return jnp.sum(p_BHWK * (log(p_BHWK) - log(q_BHWK)), -1)


def sharpen(p_BHWK: jax.Array, temperature: jax.Array | float) -> jax.Array:
    """p^(1/T) / Σ p^(1/T) (Berthelot et al. 2019, MixMatch, equation 7): towards one-hot as T falls
    to 0.
    """
    return jax.nn.softmax(jnp.log(jnp.maximum(p_BHWK, 1e-8)) / temperature)


def hard_cross_entropy(
    logits_BHWK: jax.Array, label_BHW: jax.Array, accepted_BHW: jax.Array, valid_BHW: jax.Array
) -> jax.Array:
    """1/|valid| Σ over accepted pixels of -log p(label) (Sohn et al. 2020, equation 4: all pixels
    count in the mean).

    A rejected pixel's label is replaced before it is looked up and its loss after, so that its
    gradient is exactly zero.
    """
    log_p = jax.nn.log_softmax(logits_BHWK)
    ce = -jnp.take_along_axis(log_p, jnp.where(accepted_BHW, label_BHW, 0)[..., None], -1)[..., 0]
    return jnp.where(accepted_BHW, ce, 0.0).sum() / jnp.maximum(valid_BHW.sum(), 1)


def binary_cross_entropy(logit: jax.Array, truth: float) -> jax.Array:
    """Mean -log of the probability that a discriminator gives to ``truth`` (1 or 0)."""
    return jnp.mean(jax.nn.softplus(-logit) if truth else jax.nn.softplus(logit))


def frozen(tree: PyTree) -> PyTree:
    """``tree`` as a constant: no gradient reaches it."""
    return jax.tree.map(jax.lax.stop_gradient, tree)
