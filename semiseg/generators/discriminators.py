"""Discriminators: is this pair of mask and image real? And, with no mask given (zero classes), is
this image real?

A discriminator is a frozen dataclass: ``init`` gives its weights, ``apply`` logits and features of
a batch, ``discriminator_loss`` and ``generator_loss`` what the two sides minimise, ``score`` how
real an image is taken to be. Adding one is its class and a line in :data:`DISCRIMINATORS`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from semiseg.fields import count
from semiseg.generators import losses
from semiseg.generators.blocks import (
    Weights,
    conv,
    conv_weights,
    double,
    halve,
    initialise,
    instance_norm,
    leaky,
)
from semiseg.nets.layers import Normals
from semiseg.types import Params, PyTree

Logits = list[jax.Array]
"""Of each scale, ``(B, h, w, …)``."""


@dataclasses.dataclass(frozen=True)
class Patch:
    """PatchGAN at several scales (Isola et al. 2017; Wang et al., CVPR 2018): 4×4 convolutions of
    stride 2, a logit for every patch.

    All but the first convolution are followed by an instance norm, and the last layer has no
    spectral norm: with spectral norms alone the logits stayed within ±0.4 for 500 steps, far inside
    the hinge.

    Attributes:
      widths: channels of the convolutions.
      scales: how many copies judge, each an image of half the size of the one before.
      spectral: divide every kernel but the last by its largest singular value (Miyato et al., ICLR
        2018), by one power iteration a step.
    """

    widths: tuple[int, ...] = count((32, 64, 128), at_least=1)
    scales: int = count(2, at_least=1)
    spectral: bool = True

    def init(self, key: jax.Array, channels: int, classes: int) -> Params:
        """Weights for masks of ``classes`` (0: images alone) and images of ``channels``; the state
        is the power iteration's vectors.
        """

        def build(normals: Normals) -> Weights:
            weights: Weights = {}
            for s in range(self.scales):
                before = channels + classes
                for i, width in enumerate(self.widths):
                    name = f"scale{s}_conv{i}"
                    weights[name] = conv_weights(normals, 4, before, width, bias=i == 0)
                    before = width
                weights[f"scale{s}_last"] = conv_weights(normals, 3, before, 1)
            return weights

        return _with_vectors(build, key, self.spectral)

    def power(self, params: Params) -> Params:
        """One power iteration on every kernel."""
        return _power(params)

    def apply(
        self, params: Params, mask: jax.Array, image: jax.Array
    ) -> tuple[Logits, list[jax.Array]]:
        """Logits ``(B, h, w, 1)`` of each scale, and the features under them.

        Args:
          params: of :meth:`init`.
          mask: ``(B, H, W, K)`` one-hot.
          image: ``(B, H, W, C)`` in [-1, 1].
        """
        weights = normalised(params)
        scaled = jnp.concatenate([mask, image], -1)
        logits = []
        features = []
        for s in range(self.scales):
            if s:
                scaled = halve(scaled)
            x = scaled
            for i in range(len(self.widths)):
                x = conv(weights[f"scale{s}_conv{i}"], x, 2)
                if i:
                    x = instance_norm(x)
                x = leaky(x)
                features.append(x)
            logits.append(conv(weights[f"scale{s}_last"], x))
        return logits, features

    def discriminator_loss(
        self,
        kind: str,
        real: Logits,
        fake: Logits,
        real_mask: jax.Array,
        fake_mask: jax.Array,
    ) -> jax.Array:
        """The discriminator's loss of each image ``(B,)``, real and fake halves added."""
        each = []
        for r, f in zip(real, fake, strict=True):
            each.append(losses.adversary(kind, r, True) + losses.adversary(kind, f, False))
        return _average(each)

    def generator_loss(self, kind: str, fake: Logits, fake_mask: jax.Array) -> jax.Array:
        """The generator's loss of each image ``(B,)``."""
        return _average([losses.generator(kind, f) for f in fake])

    def score(self, logits: Logits) -> jax.Array:
        """How real each image is taken to be ``(B,)``: above 0 is real.

        >>> Patch().score([jnp.ones((1, 2, 2, 1)), jnp.zeros((1, 1, 1, 1))]).tolist()
        [0.5]
        """
        return _average([y.mean((1, 2, 3)) for y in logits])


@dataclasses.dataclass(frozen=True)
class UNetPatch:
    """A U-Net that names every pixel's class, or "fake": N + 1 classes (OASIS, Schönfeld et al.,
    ICLR 2021, eq. 1 and 2).

    It must find the classes in the image alone, so a generator that ignores its mask learns where.
    Classes weigh inversely to their frequency in the batch. Of images without masks (zero classes)
    it says real or fake for every pixel.

    Attributes:
      widths: channels of each level, finest first.
      spectral: divide every kernel but the last by its largest singular value.
    """

    widths: tuple[int, ...] = count((24, 48, 96, 96), at_least=1)
    spectral: bool = True

    def init(self, key: jax.Array, channels: int, classes: int) -> Params:
        """Weights; ``classes`` 0 gives one class for everything real."""

        def build(normals: Normals) -> Weights:
            weights: Weights = {}
            before = channels
            for i, width in enumerate(self.widths):
                size = 4 if i else 3
                weights[f"down{i}"] = conv_weights(normals, size, before, width)
                before = width
            for i in reversed(range(len(self.widths) - 1)):
                width = self.widths[i]
                weights[f"up{i}"] = conv_weights(normals, 3, before + width, width)
                before = width
            weights["last"] = conv_weights(normals, 1, before, max(classes, 1) + 1)
            return weights

        return _with_vectors(build, key, self.spectral)

    def power(self, params: Params) -> Params:
        """One power iteration on every kernel."""
        return _power(params)

    def apply(
        self, params: Params, mask: jax.Array, image: jax.Array
    ) -> tuple[Logits, list[jax.Array]]:
        """Logits ``(B, H, W, K + 1)``, the last of them "fake", and the encoder's features.

        Args:
          params: of :meth:`init`.
          mask: not used.
          image: ``(B, H, W, C)`` in [-1, 1].
        """
        weights = normalised(params)
        x = image
        skips = []
        for i in range(len(self.widths)):
            stride = 2 if i else 1
            x = leaky(conv(weights[f"down{i}"], x, stride))
            skips.append(x)
        features = skips[1:]
        for i in reversed(range(len(self.widths) - 1)):
            x = leaky(conv(weights[f"up{i}"], jnp.concatenate([double(x), skips[i]], -1)))
        return [conv(weights["last"], x)], features

    def discriminator_loss(
        self,
        kind: str,
        real: Logits,
        fake: Logits,
        real_mask: jax.Array,
        fake_mask: jax.Array,
    ) -> jax.Array:
        """The discriminator's loss of each image ``(B,)``; it has one ``kind``."""
        of_real = _cross_entropy(real[0], real_mask)
        return of_real - jax.nn.log_softmax(fake[0])[..., -1].mean((1, 2))

    def generator_loss(self, kind: str, fake: Logits, fake_mask: jax.Array) -> jax.Array:
        """The generator's loss of each image ``(B,)``: every pixel should be taken for its mask's
        class.
        """
        return _cross_entropy(fake[0], fake_mask)

    def score(self, logits: Logits) -> jax.Array:
        """How real each image is taken to be ``(B,)``: log odds against "fake", above 0 is real.

        >>> UNetPatch().score([jnp.array([3.0, 1.0]).reshape(1, 1, 1, 2)]).tolist()
        [2.0]
        """
        y = logits[0]
        return (jax.nn.logsumexp(y[..., :-1], -1) - y[..., -1]).mean((1, 2))


DISCRIMINATORS: dict[str, type] = {"patch": Patch, "unet": UNetPatch}
"""Every discriminator by its name."""


def _average(values: list[jax.Array]) -> jax.Array:
    return jnp.stack(values).mean(0)


def _cross_entropy(logits: jax.Array, mask: jax.Array) -> jax.Array:
    """``(B,)``, with balanced classes; ``logits`` have one class more, "fake"."""
    log_probability = jax.nn.log_softmax(logits)[..., :-1]
    return -(balanced(mask) * log_probability).sum(-1).mean((1, 2))


def balanced(mask: jax.Array) -> jax.Array:
    """One-hot masks, each class times the inverse of its share; a mask of no classes counts as one
    class everywhere.

    Args:
      mask: ``(B, H, W, K)``.

    Returns:
      ``(B, H, W, K)``, or ``(B, H, W, 1)`` where K is 0; its mean over pixels is 1.

    >>> balanced(jnp.array([1.0, 1.0, 1.0, 0.0]).reshape(1, 2, 2, 1)).sum().round(3).item()
    4.0
    """
    if mask.shape[-1] == 0:
        return jnp.ones((*mask.shape[:-1], 1))
    share = mask.mean((0, 1, 2))
    present = jnp.maximum((share > 0).sum(), 1)
    return mask * jnp.where(share > 0, 1 / (present * jnp.maximum(share, 1e-3)), 0.0)


# ------------------------------------------------------------------ spectral norm
def _with_vectors(build: Callable[[Normals], Weights], key: jax.Array, spectral: bool) -> Params:
    """Weights of ``build``, and the vectors of the power iteration, all but "last" ones."""
    weights = initialise(build, key)
    vectors: PyTree = {}
    if spectral:
        for name, p in weights.items():
            if not name.endswith("last"):
                out = p["kernel"].shape[-1]
                vectors[name] = jnp.ones(out) / out**0.5
    params = Params(weights, vectors)
    for _ in range(5):
        params = _power(params)
    return params


def _matrix(kernel: jax.Array) -> jax.Array:
    """``(h w C, O)``."""
    return kernel.reshape(-1, kernel.shape[-1])


def _power(params: Params) -> Params:
    """One power iteration (Miyato et al., ICLR 2018, algorithm 1)."""
    vectors = {}
    for name, u in params.state.items():
        matrix = _matrix(params.weights[name]["kernel"])
        u = matrix.T @ (matrix @ u)
        vectors[name] = u / jnp.maximum(jnp.linalg.norm(u), 1e-12)
    return params._replace(state=vectors)


def normalised(params: Params) -> Weights:
    """Weights with kernels of spectral norm about 1. The vector is a constant, the singular value
    it gives is differentiated.

    Args:
      params: weights and the vectors of the power iteration; a kernel without one stays as it is.

    >>> kernel = jnp.array([[2.0, 0.0], [0.0, 1.0]])
    >>> params = Params({"conv": {"kernel": kernel}}, {"conv": jnp.array([1.0, 0.0])})
    >>> normalised(params)["conv"]["kernel"].tolist()
    [[1.0, 0.0], [0.0, 0.5]]
    """
    weights = dict(params.weights)
    for name, vector in params.state.items():
        kernel = weights[name]["kernel"]
        largest = jnp.linalg.norm(_matrix(kernel) @ jax.lax.stop_gradient(vector))
        weights[name] = {**weights[name], "kernel": kernel / jnp.maximum(largest, 1e-6)}
    return weights
