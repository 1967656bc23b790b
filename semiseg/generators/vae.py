"""A variational autoencoder of label maps: masks nobody drew, by sampling its prior or by walking
between two real ones.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from semiseg.generators.blocks import (
    Weights,
    conv,
    conv_weights,
    dense,
    dense_weights,
    initialise,
    leaky,
    one_hot,
    up_conv,
    up_conv_weights,
)
from semiseg.generators.losses import kl
from semiseg.nets.layers import Normals
from semiseg.types import IGNORE


@dataclasses.dataclass(frozen=True)
class LabelVAE:
    """Kingma & Welling 2014 on one-hot label maps: convolutions of stride 2 down, transposed ones
    up, softmax out.

    Attributes:
      widths: channels of each level, finest (half the size) first.
      latent: numbers in the code.
      beta: weight of the KL per pixel.
      lr: Adam's learning rate.
    """

    widths: tuple[int, ...] = (16, 32, 64)
    latent: int = 24
    beta: float = 1.0
    lr: float = 2e-3

    def init(self, key: jax.Array, classes: int, size: int) -> Weights:
        """Weights for maps of ``size``, a multiple of 2^levels."""
        coarse = size // 2 ** len(self.widths)

        def build(normals: Normals) -> Weights:
            weights: Weights = {}
            before = classes
            for i, width in enumerate(self.widths):
                weights[f"down{i}"] = conv_weights(normals, 3, before, width)
                before = width
            weights["code"] = dense_weights(normals, before * coarse**2, 2 * self.latent, 0.3)
            weights["first"] = dense_weights(normals, self.latent, before * coarse**2)
            for i in reversed(range(len(self.widths))):
                width = self.widths[max(i - 1, 0)]
                weights[f"up{i}"] = up_conv_weights(normals, before, width)
                before = width
            weights["last"] = conv_weights(normals, 3, before, classes, 0.5)
            return weights

        return initialise(build, key)

    def encode(self, weights: Weights, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Mean and log-variance ``(B, latent)`` of one-hot maps ``(B, H, W, K)``."""
        x = mask
        for i in range(len(self.widths)):
            x = leaky(conv(weights[f"down{i}"], x, 2))
        flat = x.reshape(len(x), -1)
        code = dense(weights["code"], flat)
        mean, logvar = jnp.split(code, 2, -1)
        return mean, jnp.clip(logvar, -8.0, 4.0)

    def decode(self, weights: Weights, code: jax.Array) -> jax.Array:
        """Logits ``(B, H, W, K)`` of codes ``(B, latent)``."""
        x = dense(weights["first"], code)
        width = self.widths[-1]
        coarse = int((x.shape[1] // width) ** 0.5)
        x = x.reshape(-1, coarse, coarse, width)
        for i in reversed(range(len(self.widths))):
            x = up_conv(weights[f"up{i}"], leaky(x))
        return conv(weights["last"], leaky(x))

    def loss(self, weights: Weights, mask: jax.Array, noise: jax.Array) -> jax.Array:
        """Cross-entropy per pixel + β KL per pixel (the negative evidence bound, eq. 10); pixels of
        IGNORE (all-zero one-hot) cost nothing.

        Args:
          weights: of :meth:`init`.
          mask: ``(B, H, W, K)`` one-hot.
          noise: ``(B, latent)`` normal.
        """
        mean, logvar = self.encode(weights, mask)
        code = mean + jnp.exp(0.5 * logvar) * noise
        logits = self.decode(weights, code)
        pixels = mask.shape[1] * mask.shape[2]
        log_probability = jax.nn.log_softmax(logits)
        of_maps = (mask * log_probability).sum((1, 2, 3))
        cross_entropy = -of_maps.mean() / pixels
        divergence = kl(mean, logvar).mean()
        return cross_entropy + self.beta * divergence / pixels


@functools.partial(jax.jit, static_argnums=(0, 1))
def fit(
    vae: LabelVAE,
    classes: int,
    labels: jax.Array,
    steps: jax.Array,
    seed: jax.Array,
) -> tuple[Weights, jax.Array]:
    """Train on label maps, 16 a step, mirrored at random.

    Args:
      vae: the network and its learning rate.
      classes: of the maps.
      labels: ``(N, H, W)`` uint8.
      steps: int32 scalar, traced.
      seed: uint32 scalar.

    Returns:
      Weights, and the mean loss of the second half of the steps.
    """
    key = jax.random.key(seed)
    weights = vae.init(key, classes, labels.shape[1])
    adam = optax.adam(vae.lr)

    def body(i: jax.Array, carry: Any) -> Any:
        weights, opt, total = carry
        k_i = jax.random.fold_in(key, i)
        k_u, k_noise = jax.random.split(k_i)
        u = jax.random.uniform(k_u, (16, 3))
        drawn = jnp.floor(u[:, 0] * len(labels))
        label = labels[drawn.astype(jnp.int32)]
        for axis in (1, 2):
            is_mirrored = u[:, axis, None, None] < 0.5
            mirrored = jnp.flip(label, axis)
            label = jnp.where(is_mirrored, mirrored, label)
        noise = jax.random.normal(k_noise, (16, vae.latent))
        mask = one_hot(label, classes)
        loss_and_gradient = jax.value_and_grad(vae.loss)
        value, gradient = loss_and_gradient(weights, mask, noise)
        step, opt = adam.update(gradient, opt, weights)
        total = total + jnp.where(2 * i >= steps, value, 0)
        weights = optax.apply_updates(weights, step)
        return weights, opt, total

    initial = (weights, adam.init(weights), jnp.float32(0))
    weights, _, total = jax.lax.fori_loop(0, steps, body, initial)
    counted = steps - (steps + 1) // 2
    return weights, total / jnp.maximum(counted, 1)


@functools.partial(jax.jit, static_argnums=0)
def _decoded(vae: LabelVAE, weights: Weights, code: jax.Array) -> jax.Array:
    return vae.decode(weights, code).argmax(-1).astype(jnp.uint8)


def sample(vae: LabelVAE, weights: Weights, noise: np.ndarray) -> np.ndarray:
    """Maps ``(B, H, W)`` uint8 of codes ``(B, latent)`` drawn from the prior, N(0, 1)."""
    return np.asarray(_decoded(vae, weights, noise))


def between(
    vae: LabelVAE,
    weights: Weights,
    a: np.ndarray,
    b: np.ndarray,
    share: np.ndarray,
    classes: int,
) -> np.ndarray:
    """Maps ``(B, H, W)`` on the way from ``a`` to ``b`` at ``share`` ``(B,)`` in [0, 1]: codes are
    joined by a line.
    """
    code_a, _ = vae.encode(weights, one_hot(jnp.asarray(a), classes))
    code_b, _ = vae.encode(weights, one_hot(jnp.asarray(b), classes))
    share = share[:, None]
    code = code_a * (1 - share) + code_b * share
    return np.asarray(_decoded(vae, weights, code))


def usable(label: np.ndarray, real: np.ndarray) -> bool:
    """Whether a map has the classes of some real map, and a foreground within the real ones' range
    (half the least to 1.5 times the largest).

    Args:
      label: ``(H, W)``.
      real: ``(N, H, W)``.

    >>> real = np.array([[[0, 0], [0, 1]]])
    >>> usable(real[0], real), usable(np.ones((2, 2)), real)
    (True, False)
    """
    foreground = (real != 0).mean((1, 2), where=real != IGNORE)
    share = (label != 0).mean()
    known_classes = {tuple(np.setdiff1d(np.unique(r), [IGNORE])) for r in real}
    if tuple(np.unique(label)) not in known_classes:
        return False
    return bool(0.5 * foreground.min() <= share <= 1.5 * foreground.max())
