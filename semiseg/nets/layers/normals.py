"""The random numbers that a network's initial weights are made of: one draw for all layers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx


class Normals:
    """Hands a network's layers consecutive pieces of one normal draw.

    One draw for each layer would take seconds to compile. Without a source it hands out zeros and
    counts in ``used`` how long the draw must be. Layers of Flax, which draw for themselves, take
    :meth:`rngs`.

    Args:
      source: ``(used,)`` standard normal numbers, or None to count.
      key: the key that :meth:`rngs` derives its streams from.

    Example:
      >>> count = Normals()
      >>> count.he((3, 3, 1, 8), fan_in=9).shape
      (3, 3, 1, 8)
      >>> count.used
      72
    """

    def __init__(self, source: jax.Array | None = None, key: jax.Array | None = None):
        self.source = source
        self.key = key
        self.used = 0
        self.calls = 0

    def rngs(self) -> nnx.Rngs:
        """A stream of keys for a layer of Flax: ``nnx.Conv(..., rngs=normals.rngs())``.

        The stream follows the seed. Every call gives a new one, so that no two layers start with
        the same weights.
        """
        key = self.key
        if key is None:
            key = jax.random.key(0)
        self.calls += 1
        return nnx.Rngs(jax.random.fold_in(key, self.calls))

    def he(self, shape: Sequence[int], fan_in: float) -> jax.Array:
        """Normal with variance ``2 / fan_in`` (He et al., ICCV 2015, eq. 10)."""
        return self.normal(shape, math.sqrt(2 / fan_in))

    def normal(self, shape: Sequence[int], std: float) -> jax.Array:
        """Normal with standard deviation ``std``."""
        start = self.used
        self.used += math.prod(shape)
        if self.source is None:
            return jnp.zeros(tuple(shape))
        return self.source[start : self.used].reshape(tuple(shape)) * std
