"""The exponential moving average of a network: the teacher, and what is evaluated."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from semiseg.types import Params, PyTree


def ema(
    average: PyTree,
    new: PyTree,
    decay: jax.Array | float,
    step: jax.Array | int,
) -> PyTree:
    """``a · average + (1 - a) · new`` with a = min(1 - 1/(step+1), decay): a true mean at first
    (Tarvainen & Valpola 2017).

    ``step`` counts the updates before this one, so the first update copies ``new``.

    >>> average = jnp.float32(100.0)
    >>> for step, new in enumerate((1.0, 2.0, 6.0)):
    ...     average = ema(average, jnp.float32(new), 0.99, step)
    >>> float(average)
    3.0
    """
    a = jnp.minimum(1.0 - 1.0 / (step + 1.0), decay)
    return jax.tree.map(lambda x, y: (a * x + (1.0 - a) * y).astype(x.dtype), average, new)


def ema_params(
    average: Params,
    new: Params,
    decay: jax.Array | float,
    step: jax.Array,
    *,
    state: bool = True,
) -> Params:
    """EMA of weights and, unless ``state`` is False, of normalisation statistics.

    Without the statistics a teacher normalises by what its student saw at the first step: a silent
    error of published code.
    """
    weights = ema(average.weights, new.weights, decay, step)
    if not state:
        return Params(weights, average.state)
    return Params(weights, ema(average.state, new.state, decay, step))
