"""What several methods share: the supervised term, ramps and the exponential moving average."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from semiseg.types import Loss, Output, Params, PyTree


def supervised_loss(criterion: Loss, output: Output, label_BHW: jax.Array) -> jax.Array:
    """``criterion`` on the logits and, where a network gives them, on its deep-supervision outputs.

    The output at 1/2^i of the resolution weighs 2^-i and all weights sum to one (Isensee et al. 2021, nnU-Net, supplement).
    """
    deep = output.aux.get("deep", [])
    total, weights = criterion(output.logits, label_BHW), 1.0
    for i, logits in enumerate(deep, 1):
        step = tuple(a // b for a, b in zip(label_BHW.shape[1:], logits.shape[1:-1]))
        coarse = label_BHW[(slice(None), *(slice(None, n * s, s) for n, s in zip(logits.shape[1:-1], step)))]
        total, weights = total + 0.5**i * criterion(logits, coarse), weights + 0.5**i
    return total / weights


def gaussian_ramp(progress: jax.Array, end: jax.Array | float) -> jax.Array:
    """exp(-5 (1 - t)^2) with t rising from 0 to 1 at ``progress == end`` (Laine & Aila 2017, section 4)."""
    t = jnp.clip(progress / jnp.maximum(end, 1e-8), 0.0, 1.0)
    return jnp.exp(-5.0 * (1.0 - t) ** 2)


def ema(average: PyTree, new: PyTree, decay: jax.Array | float, step: jax.Array) -> PyTree:
    """``a · average + (1 - a) · new`` with a = min(1 - 1/(step+1), decay): a true mean at first (Tarvainen & Valpola 2017).

    ``step`` counts the updates before this one, so the first update copies ``new``.
    """
    a = jnp.minimum(1.0 - 1.0 / (step + 1.0), decay)
    return jax.tree.map(lambda x, y: (a * x + (1.0 - a) * y).astype(x.dtype), average, new)


def ema_params(average: Params, new: Params, decay: jax.Array | float, step: jax.Array, *, state: bool = True) -> Params:
    """EMA of weights and, unless ``state`` is False, of normalisation statistics.

    Without the statistics a teacher normalises by what its student saw at the first step: a silent error of published code.
    """
    weights = ema(average.weights, new.weights, decay, step)
    return Params(weights, ema(average.state, new.state, decay, step) if state else average.state)
