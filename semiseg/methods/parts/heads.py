"""Small extra networks of the methods: a second head on a network's last features, and a
discriminator of maps.

Published methods give a network whole extra decoders. Here an extra decoder is a head of two
convolutions on ``aux["features"]``, the activations under the last layer: every network has them,
and a head costs a few per cent of a step instead of half of one. A head has no normalisation, hence
no statistics. So every method runs with every network, but for those that drop features under the
network's own last layer, see :func:`last_layer`.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from semiseg.errors import UserError
from semiseg.nets.layers import modules as layers
from semiseg.types import Model, Params


def channels_of(model: Model) -> int:
    """Channels of ``aux["features"]``."""

    def features() -> jax.Array:
        return model.apply(
            model.init(jax.random.key(0)), jnp.zeros(model.sample.shape), train=False
        ).aux["features"]

    return jax.eval_shape(features).shape[-1]


def stack(key: jax.Array, widths: tuple[int, ...], sizes: tuple[int, ...], dims: int) -> Params:
    """Weights of convolutions ``widths[i] → widths[i + 1]`` of kernel ``sizes[i]``, He initialised,
    with biases.
    """
    weights = {}
    for i, (a, b, size) in enumerate(zip(widths, widths[1:], sizes)):
        shape = (*(size,) * dims, a, b)
        normal = jax.random.normal(jax.random.fold_in(key, i), shape)
        weights[f"conv{i}"] = {
            "kernel": normal * math.sqrt(2 / (a * size**dims)),
            "bias": jnp.zeros(b),
        }
    return Params(weights, {})


def run(params: Params, x: jax.Array, stride: int = 1, slope: float = 0.01) -> jax.Array:
    """The convolutions of :func:`stack` with leaky ReLUs between; all but the last have the
    ``stride``.
    """
    for i in range(len(params.weights)):
        w, last = params.weights[f"conv{i}"], i == len(params.weights) - 1
        x = layers.conv(x, w["kernel"].astype(x.dtype), 1 if last else stride) + w["bias"].astype(
            x.dtype
        )
        x = x if last else jax.nn.leaky_relu(x, slope)
    return x.astype(jnp.float32)


def head(model: Model, key: jax.Array, out: int, size: int = 3) -> Params:
    """A head of ``out`` channels: a ``size`` × ``size`` convolution, leaky ReLU, a 1 × 1
    convolution. Read it with :func:`run`.
    """
    c = channels_of(model)
    return stack(key, (c, c, out), (size, 1), len(model.sample.shape) - 2)


def added(params: Params, logits: jax.Array, features: jax.Array) -> jax.Array:
    """Logits of a head that learns from labels: the network's own, and what the head adds to them.

    So the network's last layer has a gradient of every such head too. Beside heads that stand alone
    it may starve, as they can fit the labels without it and draw the features their way: on ACDC a
    class was found by all heads and never by the network (experiments/README.md).
    """
    return logits + run(params, features)


def discriminator(model: Model, key: jax.Array, channels: int, width: int = 16) -> Params:
    """A discriminator of ``(B, *space, channels)``: three convolutions of stride 2, and a 1 × 1
    one. Read it with :func:`judge`.
    """
    return stack(
        key, (channels, width, 2 * width, 4 * width, 1), (3, 3, 3, 1), len(model.sample.shape) - 2
    )


def judge(params: Params, x: jax.Array) -> jax.Array:
    """Logit ``(B,)`` of a discriminator: the mean over its last map."""
    return run(params, x, stride=2, slope=0.2).mean(tuple(range(1, x.ndim)))


def last_layer(model: Model, params: Params, features: jax.Array) -> jax.Array:
    """Logits of changed ``aux["features"]``, by the network's own last layer.

    Raises:
      UserError: the network's logits are not one convolution of its last features (``linear_head``
        is False).
    """
    if not getattr(model.net, "linear_head", True):
        name = type(model.net).__name__
        raise UserError(
            f"{name}: unimatch and r_drop perturb the features under a last convolution, which "
            f"it does not have: choose another net or method"
        )
    w = params.weights["head"]
    kernel = w["kernel"]
    return (layers.conv(features.astype(jnp.float32), kernel, 1) + w["bias"]).astype(jnp.float32)


def drop_channels(key: jax.Array, features: jax.Array, rate: jax.Array | float) -> jax.Array:
    """Zeroes whole channels of each image with probability ``rate`` (which may be traced) and
    scales the rest.
    """
    shape = (features.shape[0], *(1,) * (features.ndim - 2), features.shape[-1])
    keep = jax.random.uniform(key, shape) >= rate
    return jnp.where(keep, features / (1.0 - rate), 0.0).astype(features.dtype)
