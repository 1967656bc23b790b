"""Random parts of a network's training pass: keys that may be absent, dropout, stochastic depth."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def subkey(key: jax.Array | None, index: int) -> jax.Array | None:
    """``key`` with ``index`` folded in; None for None, which means that nothing is random.

    >>> subkey(None, 3) is None
    True
    """
    if key is None:
        return None
    return jax.random.fold_in(key, index)


def subkeys(key: jax.Array | None, count: int) -> list[jax.Array | None]:
    """``key`` split into ``count`` keys; ``count`` times None for None.

    >>> subkeys(None, 2)
    [None, None]
    >>> len(subkeys(jax.random.key(0), 3))
    3
    """
    if key is None:
        return [None] * count
    return list(jax.random.split(key, count))


def dropout(x: jax.Array, rate: float, key: jax.Array | None, spatial: bool = False) -> jax.Array:
    """Zeroes elements with probability ``rate`` and scales the others (Srivastava et al., 2014).

    The probability is rounded to a multiple of 2⁻¹⁶, which takes half the random bits of a uniform
    draw. The scale is exact for the rounded probability.

    Args:
      x: ``(B, *space, C)``.
      rate: probability in [0, 1).
      key: nothing is dropped without one.
      spatial: drop whole channels of an image (Tompson et al., CVPR 2015) instead of elements.

    Example:
      >>> x = jnp.ones((1, 4, 4, 8))
      >>> bool((dropout(x, 0.5, None) == x).all())
      True
      >>> dropped = dropout(x, 0.5, jax.random.key(0), spatial=True)
      >>> sorted(set(dropped.ravel().tolist()))
      [0.0, 2.0]
      >>> bool((dropped == dropped[:, :1, :1]).all())
      True
    """
    if key is None or rate == 0:
        return x
    threshold = round(rate * 2**16)
    shape = x.shape
    if spatial:
        shape = (x.shape[0], *(1,) * (x.ndim - 2), x.shape[-1])
    keep = jax.random.bits(key, shape, jnp.uint16) >= threshold
    return jnp.where(keep, x * (2**16 / (2**16 - threshold)), jnp.zeros((), x.dtype))


def drop_path(x: jax.Array, rate: float, key: jax.Array | None) -> jax.Array:
    """Leaves out a residual branch for whole images (stochastic depth; Huang et al., ECCV 2016).

    Args:
      x: ``(B, ...)``, the branch.
      rate: probability in [0, 1) of leaving it out; an image that keeps it is scaled by
        ``1 / (1 - rate)``.
      key: nothing is left out without one.

    Example:
      >>> branch = drop_path(jnp.ones((8, 4)), 0.5, jax.random.key(0))
      >>> sorted(set(branch.ravel().tolist()))
      [0.0, 2.0]
    """
    if key is None or rate == 0:
        return x
    keep = jax.random.bernoulli(key, 1 - rate, (x.shape[0], *(1,) * (x.ndim - 1)))
    return jnp.where(keep, x / (1 - rate), jnp.zeros((), x.dtype)).astype(x.dtype)
