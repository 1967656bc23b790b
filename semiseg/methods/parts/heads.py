"""Small extra heads of the methods, on a network's last features.

Published methods give a network whole extra decoders. Here an extra decoder is a head of two
convolutions on ``aux["features"]``, the activations under the last layer: every network has them,
and a head costs a few per cent of a step instead of half of one. A head has no normalisation, hence
no statistics. So every method runs with every network, except those that drop features under the
network's own last layer, see :func:`last_layer`.
"""

from __future__ import annotations

import itertools
import math

import jax
import jax.numpy as jnp

from semiseg.errors import UserError
from semiseg.nets import layers
from semiseg.types import Model, Params


def channels_of(model: Model) -> int:
    """Channels of ``aux["features"]``."""

    def features() -> jax.Array:
        params = model.init(jax.random.key(0))
        output = model.apply(params, jnp.zeros(model.sample.shape), train=False)
        return output.aux["features"]

    return jax.eval_shape(features).shape[-1]


def dims_of(model: Model) -> int:
    """Spatial axes of the model's images: 2 or 3."""
    return len(model.sample.shape) - 2


def stack(
    key: jax.Array,
    widths: tuple[int, ...],
    sizes: tuple[int, ...],
    dims: int,
) -> Params:
    """Weights of convolutions ``widths[i] → widths[i + 1]`` of kernel ``sizes[i]``, He initialised,
    with biases.

    >>> params = stack(jax.random.key(0), (4, 8, 2), (3, 1), dims=2)
    >>> {name: w["kernel"].shape for name, w in params.weights.items()}
    {'conv0': (3, 3, 4, 8), 'conv1': (1, 1, 8, 2)}
    """
    weights = {}
    layer_shapes = zip(itertools.pairwise(widths), sizes, strict=True)
    for i, ((channels, features), size) in enumerate(layer_shapes):
        window = (size,) * dims
        normal = jax.random.normal(jax.random.fold_in(key, i), (*window, channels, features))
        weights[f"conv{i}"] = {
            "kernel": normal * math.sqrt(2 / (channels * size**dims)),
            "bias": jnp.zeros(features),
        }
    return Params(weights, {})


def run(
    params: Params,
    x: jax.Array,
    stride: int = 1,
    slope: float = 0.01,
) -> jax.Array:
    """The convolutions of :func:`stack` with leaky ReLUs between; all but the last have the
    ``stride``.

    >>> params = stack(jax.random.key(0), (4, 8, 2), (3, 1), dims=2)
    >>> run(params, jnp.zeros((1, 6, 6, 4)), stride=2).shape
    (1, 3, 3, 2)
    """
    last = len(params.weights) - 1
    for i in range(last):
        x = jax.nn.leaky_relu(_convolve(params, i, x, stride), slope)
    return _convolve(params, last, x, 1).astype(jnp.float32)


def _convolve(
    params: Params,
    i: int,
    x: jax.Array,
    stride: int,
) -> jax.Array:
    layer = params.weights[f"conv{i}"]
    y = layers.conv(x, layer["kernel"].astype(x.dtype), stride)
    return y + layer["bias"].astype(x.dtype)


def head(
    model: Model,
    key: jax.Array,
    out: int,
    size: int = 3,
) -> Params:
    """A head of ``out`` channels: a ``size`` × ``size`` convolution, leaky ReLU, a 1 × 1
    convolution. Read it with :func:`run`.
    """
    channels = channels_of(model)
    return stack(key, (channels, channels, out), (size, 1), dims_of(model))


def added(
    params: Params,
    logits: jax.Array,
    features: jax.Array,
) -> jax.Array:
    """Logits of a head that learns from labels: the network's own, and what the head adds to them.

    So the network's last layer has a gradient of every such head too. Beside heads that stand alone
    it may starve, as they can fit the labels without it and draw the features their way: on ACDC a
    class was found by all heads and never by the network (docs/results/acdc-methods.md).
    """
    return logits + run(params, features)


def last_layer(
    model: Model,
    params: Params,
    features: jax.Array,
) -> jax.Array:
    """Logits of changed ``aux["features"]``, by the network's own last layer.

    Raises:
      UserError: the network's logits are not one convolution of its last features (``linear_head``
        is False).
    """
    if not model.net.linear_head:
        name = type(model.net).__name__
        raise UserError(
            f"{name}: unimatch, unimatch_v2 and r_drop perturb the features under a last "
            f"convolution, which it does not have: choose another net or method"
        )
    layer = params.weights["head"]
    logits = layers.conv(features.astype(jnp.float32), layer["kernel"], 1) + layer["bias"]
    return logits.astype(jnp.float32)


def drop_channels(
    key: jax.Array,
    features: jax.Array,
    rate: jax.Array | float,
) -> jax.Array:
    """Zeroes whole channels of each image with probability ``rate`` (which may be traced) and
    scales the rest.

    >>> drop_channels(jax.random.key(0), jnp.ones((1, 2, 4)), rate=0.5).tolist()
    [[[2.0, 2.0, 0.0, 0.0], [2.0, 2.0, 0.0, 0.0]]]
    """
    shape = (features.shape[0], *(1,) * (features.ndim - 2), features.shape[-1])
    stays = jax.random.uniform(key, shape) >= rate
    return jnp.where(stays, features / (1.0 - rate), 0.0).astype(features.dtype)


def complementary_channels(
    key: jax.Array,
    shape: tuple[int, ...],
    share: jax.Array | float,
) -> tuple[jax.Array, jax.Array]:
    """What the features of two views of each image are multiplied by: 2 in a random half of the
    channels and 0 in the others, and the other way round; 1 in both for the images beyond the
    ``share`` (Yang et al. 2025, complementary dropout).

    Args:
      key: draws the channels, each for itself, and the images.
      shape: of the features ``(B, *space, C)``.
      share: of the images whose channels are divided, rounded up.

    >>> first, second = complementary_channels(jax.random.key(0), (2, 8, 8, 6), share=0.5)
    >>> (first + second).ravel().tolist() == [2.0] * 12
    True
    """
    k_channels, k_images = jax.random.split(key)
    images = shape[0]
    each = (images, *(1,) * (len(shape) - 2), shape[-1])
    first = 2.0 * jax.random.bernoulli(k_channels, 0.5, each)
    place = jax.random.permutation(k_images, images).reshape(-1, *(1,) * (len(shape) - 1))
    divided = place < jnp.ceil(share * images - 1e-4)
    first = jnp.where(divided, first, 1.0)
    return first, 2.0 - first
