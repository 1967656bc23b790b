"""Normalisation of activations: statistics in float32 whatever the dtype of the input."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from semiseg.nets.layers.linear import along_channels

NormKind = Literal["batch", "instance", "group", "none"]


def moments(x: jax.Array, kind: NormKind, groups: int = 1) -> tuple[jax.Array, jax.Array]:
    """Mean and biased variance of each channel.

    They are computed in one pass as E[x²] − E[x]². Rounding may make that negative where a channel
    is constant, hence the clamp.

    Args:
      x: ``(B, *space, C)``.
      kind: ``batch`` takes them over the batch, ``instance`` over each image, ``group`` over each
        image and group of channels.
      groups: number of groups of a group norm; it must divide the channels.

    Returns:
      Two float32 arrays: ``(C,)`` for batch norm, else ``(B, C)`` (equal within a group).

    Example:
      >>> mean, variance = moments(jnp.arange(8.0).reshape(1, 2, 2, 2), "instance")
      >>> mean.tolist(), variance.tolist()
      ([[3.0, 4.0]], [[5.0, 5.0]])
    """
    x = x.astype(jnp.float32)
    first_axis = 0 if kind == "batch" else 1
    axes = tuple(range(first_axis, x.ndim - 1))
    mean = jnp.mean(x, axes)
    square = jnp.mean(x * x, axes)
    if kind == "group":
        mean = _mean_of_groups(mean, groups)
        square = _mean_of_groups(square, groups)
    return mean, jnp.maximum(square - mean * mean, 0)


def _mean_of_groups(v: jax.Array, groups: int) -> jax.Array:
    """``(B, C)`` with every number replaced by the mean of its group."""
    b, c = v.shape
    return jnp.repeat(v.reshape(b, groups, c // groups).mean(-1), c // groups, 1)


def normalize(
    x: jax.Array,
    mean: jax.Array,
    var: jax.Array,
    scale: jax.Array,
    bias: jax.Array,
    eps: float,
) -> jax.Array:
    """``scale · (x − mean) / sqrt(var + eps) + bias`` as one multiply and add in float32.

    Args:
      x: ``(B, *space, C)``.
      mean, var: ``(C,)`` or ``(B, C)``, see :func:`moments`.
      scale, bias: ``(C,)``.
      eps: added to the variance.

    Returns:
      An array of the shape and dtype of ``x``.

    Example:
      >>> x = jnp.array([0.0, 2.0]).reshape(1, 2, 1)
      >>> normalize(x, *moments(x, "batch"), jnp.ones(1), jnp.zeros(1), eps=0.0).ravel().tolist()
      [-1.0, 1.0]
    """
    gain = lax.rsqrt(var + eps) * _like(scale, var)
    shift = _like(bias, var) - mean * gain
    y = x.astype(jnp.float32) * along_channels(gain, x.ndim) + along_channels(shift, x.ndim)
    return y.astype(x.dtype)


def _like(v: jax.Array, statistic: jax.Array) -> jax.Array:
    """``(C,)`` in the rank of a statistic ``(C,)`` or ``(B, C)``."""
    if statistic.ndim == 1:
        return v
    return v[None]


def layer_norm(
    x: jax.Array,
    scale: jax.Array | None = None,
    bias: jax.Array | None = None,
    eps: float = 1e-5,
) -> jax.Array:
    """Normalisation over the channels (Ba, Kiros & Hinton, arXiv 1607.06450), in float32.

    Args:
      x: ``(..., C)``.
      scale, bias: broadcast against ``x``; without both the result is only standardised.
      eps: added to the variance.

    Returns:
      An array of the shape and dtype of ``x``.

    Example:
      >>> layer_norm(jnp.array([[1.0, 3.0]]), eps=0.0).tolist()
      [[-1.0, 1.0]]
    """
    y = x.astype(jnp.float32)
    y = y - y.mean(-1, keepdims=True)
    y = y * lax.rsqrt((y * y).mean(-1, keepdims=True) + eps)
    if scale is not None and bias is not None:
        y = y * scale + bias
    return y.astype(x.dtype)


class Norm(nnx.Module):
    """Normalisation of ``(B, *space, C)``, called with ``(x, train)``.

    Kinds: ``batch`` (Ioffe & Szegedy, ICML 2015; running statistics, biased variance),
    ``instance`` (Ulyanov et al., arXiv 1607.08022), ``group`` (Wu & He, ECCV 2018; the largest
    number of groups that is at most ``groups`` and divides the channels).

    Variables: scale and bias ``(C,)``; for batch norm also mean and var ``(C,)``, replaced while
    training by ``momentum · old + (1 − momentum) · batch``.
    """

    def __init__(
        self,
        channels: int,
        kind: NormKind,
        *,
        groups: int = 8,
        momentum: float = 0.9,
        eps: float = 1e-5,
    ):
        self.kind = kind
        self.momentum = momentum
        self.eps = eps
        self.groups = max(g for g in range(1, min(groups, channels) + 1) if channels % g == 0)
        self.scale = nnx.Param(jnp.ones(channels))
        self.bias = nnx.Param(jnp.zeros(channels))
        if kind == "batch":
            self.mean = nnx.BatchStat(jnp.zeros(channels))
            self.var = nnx.BatchStat(jnp.ones(channels))

    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        if self.kind == "batch" and not train:
            mean = self.mean[...]
            var = self.var[...]
        else:
            mean, var = moments(x, self.kind, self.groups)
        if self.kind == "batch" and train:
            self._follow(self.mean, mean)
            self._follow(self.var, var)
        return normalize(x, mean, var, self.scale[...], self.bias[...], self.eps)

    def _follow(self, running: nnx.BatchStat, batch: jax.Array) -> None:
        """Moves a running statistic towards that of the batch."""
        # not `running[...] = `: that asks a traced array for its sharding, which walks the whole
        # program (80 % of the tracing time of ENet)
        running.set_value(
            self.momentum * running[...] + (1 - self.momentum) * lax.stop_gradient(batch)
        )


class NoNorm(nnx.Module):
    """The identity where a network has no norm; without variables."""

    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        return x


def make_norm(
    channels: int,
    kind: NormKind,
    *,
    groups: int = 8,
    momentum: float = 0.9,
    eps: float = 1e-5,
) -> Norm | NoNorm:
    """A :class:`Norm` of the given kind, or :class:`NoNorm` for ``none``.

    >>> make_norm(4, "none")(jnp.ones((1, 2, 2, 4)), train=True).shape
    (1, 2, 2, 4)
    """
    if kind == "none":
        return NoNorm()
    return Norm(channels, kind, groups=groups, momentum=momentum, eps=eps)


class LayerNorm(nnx.Module):
    """:func:`layer_norm` with variables scale and bias ``(C,)``."""

    def __init__(self, channels: int, eps: float = 1e-5):
        self.eps = eps
        self.scale = nnx.Param(jnp.ones(channels))
        self.bias = nnx.Param(jnp.zeros(channels))

    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (*(1,) * (x.ndim - 1), -1)
        scale = self.scale[...].reshape(shape)
        bias = self.bias[...].reshape(shape)
        return layer_norm(x, scale, bias, self.eps)
