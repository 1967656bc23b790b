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


def initialise(build: Callable[[Normals], PyTree], key: jax.Array) -> PyTree:
    """Weights of ``build``, all of them from one normal draw: a draw a layer takes seconds to
    compile.
    """
    count = Normals()
    jax.eval_shape(lambda: build(count))
    return build(Normals(jax.random.normal(key, (count.used,))))


def conv_weights(
    normals: Normals, size: int, channels: int, out: int, gain: float = 1.0, bias: bool = True
) -> Weights:
    """Kernel ``(size, size, channels, out)`` of He variance times ``gain``², and a zero bias unless
    a norm would take it out again.
    """
    kernel = normals.he((size, size, channels, out), channels * size**2) * gain
    return {"kernel": kernel, "bias": jnp.zeros(out)} if bias else {"kernel": kernel}


def dense_weights(normals: Normals, channels: int, out: int, gain: float = 1.0) -> Weights:
    """Kernel ``(channels, out)`` of variance gain² / channels, and a zero bias."""
    return {
        "kernel": normals.normal((channels, out), gain * channels**-0.5),
        "bias": jnp.zeros(out),
    }


def conv(p: Weights, x: jax.Array, stride: int = 1) -> jax.Array:
    """Convolution ``(B, H, W, C)`` → ``(B, H / stride, W / stride, O)``; an even kernel is padded
    by half its size less one on both sides.
    """
    k = p["kernel"].shape[0]
    pads = None if k % 2 else (((k - 1) // 2,) * 2,) * 2
    y = layers.conv(x, p["kernel"], stride, pads=pads)
    return y + p["bias"] if "bias" in p else y


def dense(p: Weights, x: jax.Array) -> jax.Array:
    """``(B, C)`` → ``(B, O)``."""
    return x @ p["kernel"] + p["bias"]


def everywhere(v: jax.Array) -> jax.Array:
    """``(B, C)`` shaped to broadcast over the pixels of ``(B, H, W, C)``."""
    return v[:, None, None, :]


def leaky(x: jax.Array) -> jax.Array:
    """Leaky ReLU of slope 0.2."""
    return jnp.where(x > 0, x, 0.2 * x)


def instance_norm(x: jax.Array) -> jax.Array:
    """Zero mean and unit variance of each image's channel, without parameters."""
    mean, var = layers.moments(x, "instance")
    return (x - everywhere(mean)) * everywhere(jax.lax.rsqrt(var + 1e-5))


def double(x: jax.Array) -> jax.Array:
    """Twice the size by linear interpolation, the border repeated. Repeated pixels left squares in
    samples that hundreds of steps did not wash out.
    """
    for axis in (1, 2):
        n = x.shape[axis]
        at = lambda lo, hi, x=x, axis=axis: jax.lax.slice_in_dim(x, lo, hi, axis=axis)
        before = jnp.concatenate([at(0, 1), at(0, n - 1)], axis)
        after = jnp.concatenate([at(1, n), at(n - 1, n)], axis)
        both = jnp.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after], axis + 1)
        x = both.reshape(*x.shape[:axis], 2 * n, *x.shape[axis + 1 :])
    return x


def halve(x: jax.Array, factor: int = 2) -> jax.Array:
    """``1 / factor`` of the size, the mean of each block."""
    b, h, w, c = x.shape
    return (
        x.reshape(b, h // factor, factor, w // factor, factor, c).mean((2, 4)) if factor > 1 else x
    )


def one_hot(label: jax.Array, classes: int) -> jax.Array:
    """``(B, H, W)`` classes → ``(B, H, W, K)`` float32; IGNORE is zero in every channel."""
    return (label[..., None] == jnp.arange(classes)).astype(jnp.float32)


def split_maps(flat: jax.Array, shapes: Sequence[tuple[int, int]]) -> list[jax.Array]:
    """``(B, n)`` cut into maps ``(B, side, side, channels)`` for ``(side, channels)`` in
    ``shapes``: one draw of noise for all scales.
    """
    maps, start = [], 0
    for side, channels in shapes:
        n = side * side * channels
        maps.append(flat[:, start : start + n].reshape(-1, side, side, channels))
        start += n
    return maps
