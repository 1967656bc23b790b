"""Parts of generators and discriminators: weights from one draw, convolutions of any kernel,
changes of scale. Variables are nested dicts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from semiseg.nets import layers
from semiseg.nets.layers import Normals
from semiseg.types import PyTree

Weights = dict[str, Any]
"""Variables by name, nested."""


# ------------------------------------------------------------------ weights
def initialise(build: Callable[[Normals], PyTree], key: jax.Array) -> PyTree:
    """Weights of ``build``, all of them from one normal draw: a draw a layer takes seconds to
    compile.
    """
    count = Normals()
    jax.eval_shape(lambda: build(count))
    return build(Normals(jax.random.normal(key, (count.used,))))


def conv_weights(
    normals: Normals,
    size: int,
    channels: int,
    out: int,
    gain: float = 1.0,
    bias: bool = True,
) -> Weights:
    """Kernel ``(size, size, channels, out)`` of He variance times ``gain``², and a zero bias unless
    a norm would take it out again.
    """
    kernel = normals.he((size, size, channels, out), channels * size**2) * gain
    if not bias:
        return {"kernel": kernel}
    return {"kernel": kernel, "bias": jnp.zeros(out)}


def up_conv_weights(normals: Normals, channels: int, out: int) -> Weights:
    """Of :func:`up_conv`: kernel ``(2, 2, channels, out)`` of He variance, and a zero bias."""
    return {"kernel": normals.he((2, 2, channels, out), channels), "bias": jnp.zeros(out)}


def dense_weights(
    normals: Normals,
    channels: int,
    out: int,
    gain: float = 1.0,
) -> Weights:
    """Kernel ``(channels, out)`` of variance gain² / channels, and a zero bias."""
    kernel = normals.normal((channels, out), gain * channels**-0.5)
    return {"kernel": kernel, "bias": jnp.zeros(out)}


# ------------------------------------------------------------------ layers
def conv(p: Weights, x: jax.Array, stride: int = 1) -> jax.Array:
    """Convolution ``(B, H, W, C)`` → ``(B, H / stride, W / stride, O)``; an even kernel is padded
    by half its size less one on both sides.

    >>> mean = {"kernel": jnp.full((2, 2, 1, 1), 0.25)}
    >>> conv(mean, jnp.ones((1, 4, 4, 1)), stride=2)[0, ..., 0].tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """
    size = p["kernel"].shape[0]
    pads = None
    if size % 2 == 0:
        pads = (((size - 1) // 2,) * 2,) * 2
    y = layers.conv(x, p["kernel"], stride, pads=pads)
    if "bias" in p:
        y = y + p["bias"]
    return y


def up_conv(p: Weights, x: jax.Array) -> jax.Array:
    """Transposed convolution of stride 2, ``(B, H, W, C)`` → ``(B, 2 H, 2 W, O)``."""
    return layers.up_conv(x, p["kernel"]) + p["bias"]


def dense(p: Weights, x: jax.Array) -> jax.Array:
    """``(B, C)`` → ``(B, O)``."""
    return x @ p["kernel"] + p["bias"]


def everywhere(v: jax.Array) -> jax.Array:
    """``(B, C)`` shaped to broadcast over the pixels of ``(B, H, W, C)``."""
    return v[:, None, None, :]


def leaky(x: jax.Array) -> jax.Array:
    """Leaky ReLU of slope 0.2.

    >>> leaky(jnp.array([-1.0, 2.0])).round(1).tolist()
    [-0.20000000298023224, 2.0]
    """
    return jnp.where(x > 0, x, 0.2 * x)


def instance_norm(x: jax.Array) -> jax.Array:
    """Zero mean and unit variance of each channel of each image, without parameters (Ulyanov et
    al. 2016).
    """
    mean, var = layers.moments(x, "instance")
    return (x - everywhere(mean)) * everywhere(jax.lax.rsqrt(var + 1e-5))


# ------------------------------------------------------------------ changes of scale
def double(x: jax.Array) -> jax.Array:
    """``(B, H, W, C)`` → ``(B, 2 H, 2 W, C)`` by linear interpolation, the border repeated.

    Repeated pixels left squares in samples that hundreds of steps did not wash out.

    >>> double(jnp.array([0.0, 4.0]).reshape(1, 1, 2, 1))[0, 0, :, 0].tolist()
    [0.0, 1.0, 3.0, 4.0]
    """
    for axis in (1, 2):
        n = x.shape[axis]
        first = jax.lax.slice_in_dim(x, 0, 1, axis=axis)
        all_but_last = jax.lax.slice_in_dim(x, 0, n - 1, axis=axis)
        all_but_first = jax.lax.slice_in_dim(x, 1, n, axis=axis)
        last = jax.lax.slice_in_dim(x, n - 1, n, axis=axis)
        before = jnp.concatenate([first, all_but_last], axis)
        after = jnp.concatenate([all_but_first, last], axis)
        lower = 0.75 * x + 0.25 * before
        upper = 0.75 * x + 0.25 * after
        both = jnp.stack([lower, upper], axis + 1)
        shape = list(x.shape)
        shape[axis] = 2 * n
        x = both.reshape(shape)
    return x


def halve(x: jax.Array, factor: int = 2) -> jax.Array:
    """``(B, H, W, C)`` → ``(B, H / factor, W / factor, C)``, the mean of each block.

    >>> halve(jnp.arange(4.0).reshape(1, 2, 2, 1)).item()
    1.5
    """
    if factor == 1:
        return x
    b, h, w, c = x.shape
    return x.reshape(
        b,
        h // factor,
        factor,
        w // factor,
        factor,
        c,
    ).mean((2, 4))


# ------------------------------------------------------------------ arrays
def one_hot(label: jax.Array, classes: int) -> jax.Array:
    """``(B, H, W)`` classes → ``(B, H, W, K)`` float32; IGNORE is zero in every channel.

    >>> one_hot(jnp.array([[[1, 255]]]), 2).tolist()
    [[[[0.0, 1.0], [0.0, 0.0]]]]
    """
    return (label[..., None] == jnp.arange(classes)).astype(jnp.float32)


def split_maps(flat: jax.Array, shapes: Sequence[tuple[int, int]]) -> list[jax.Array]:
    """One draw of noise cut into maps for all scales.

    Args:
      flat: ``(B, n)``.
      shapes: ``(side, channels)`` of each map.

    Returns:
      Maps ``(B, side, side, channels)``.

    >>> [m.shape for m in split_maps(jnp.zeros((3, 8)), [(2, 1), (1, 4)])]
    [(3, 2, 2, 1), (3, 1, 1, 4)]
    """
    maps = []
    start = 0
    for side, channels in shapes:
        n = side * side * channels
        maps.append(flat[:, start : start + n].reshape(-1, side, side, channels))
        start += n
    return maps
