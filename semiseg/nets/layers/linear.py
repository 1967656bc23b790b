"""The matrix product along the channels, and what broadcasts along them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from semiseg.nets.layers.normals import Normals


def along_channels(v: jax.Array, ndim: int) -> jax.Array:
    """``(C,)`` or ``(B, C)`` shaped to broadcast against ``(B, *space, C)`` of rank ``ndim``.

    >>> along_channels(jnp.ones(5), 4).shape
    (1, 1, 1, 5)
    >>> along_channels(jnp.ones((2, 5)), 4).shape
    (2, 1, 1, 5)
    """
    batch = v.shape[0] if v.ndim == 2 else 1
    return v.reshape(batch, *(1,) * (ndim - 2), v.shape[-1])


def add_bias(x: jax.Array, bias: nnx.Param | None) -> jax.Array:
    """``x (B, *space, C)`` plus ``bias (C,)``, in the dtype of ``x``; ``x`` itself without one."""
    if bias is None:
        return x
    return x + along_channels(bias[...].astype(x.dtype), x.ndim)


def zero_bias(channels: int, bias: bool) -> nnx.Param | None:
    """The variable of a bias ``(channels,)``, zero at first; None where ``bias`` is False."""
    if not bias:
        return None
    return nnx.Param(jnp.zeros(channels))


class Linear(nnx.Module):
    """Matrix product along the channels: ``(..., C)`` to ``(..., O)``.

    Variables: kernel ``(C, O)``, normal with variance 2 / (C + O) (Glorot & Bengio, AISTATS 2010);
    bias ``(O,)``.
    """

    def __init__(self, channels: int, out: int, *, bias: bool = True, normals: Normals):
        self.kernel = nnx.Param(normals.he((channels, out), channels + out))
        self.bias = zero_bias(out, bias)

    def __call__(self, x: jax.Array) -> jax.Array:
        return add_bias(x @ self.kernel[...].astype(x.dtype), self.bias)
