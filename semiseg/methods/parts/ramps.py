"""Weights that rise during training. ``progress`` is step / total steps, in [0, 1)."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def gaussian_ramp(progress: jax.Array | float, end: jax.Array | float) -> jax.Array:
    """exp(-5 (1 - t)^2) with t rising from 0 to 1 at ``progress == end``; 1 throughout if ``end``
    is 0 (Laine & Aila 2017, section 4).

    >>> [f"{gaussian_ramp(progress, end=0.4):.4f}" for progress in (0.0, 0.2, 0.4, 0.9)]
    ['0.0067', '0.2865', '1.0000', '1.0000']
    """
    return jnp.exp(-5.0 * (1.0 - linear_ramp(progress, end)) ** 2)


def linear_ramp(progress: jax.Array | float, end: jax.Array | float) -> jax.Array:
    """From 0 to 1 at ``progress == end``, then 1; 1 throughout if ``end`` is 0.

    >>> [float(linear_ramp(progress, end=0.5)) for progress in (0.0, 0.25, 0.5, 0.75)]
    [0.0, 0.5, 1.0, 1.0]
    """
    share = jnp.clip(progress / jnp.maximum(end, 1e-8), 0.0, 1.0)
    return jnp.where(jnp.asarray(end) > 0, share, 1.0)
