"""Discriminators: is this pair of mask and image real? And, with no mask given (zero classes), is
this image real?
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp

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

Adversarial = Literal["hinge", "bce"]


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

    widths: tuple[int, ...] = (32, 64, 128)
    scales: int = 2
    spectral: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))

    def init(self, key: jax.Array, channels: int, classes: int) -> Params:
        """Weights for masks of ``classes`` (0: images alone) and images of ``channels``; the state
        is the power iteration's vectors.
        """

        def build(normals: Normals) -> Weights:
            found: Weights = {}
            for s in range(self.scales):
                before = channels + classes
                for i, width in enumerate(self.widths):
                    found[f"scale{s}_conv{i}"] = conv_weights(
                        normals, 4, before, width, bias=i == 0
                    )
                    before = width
                found[f"scale{s}_last"] = conv_weights(normals, 3, before, 1)
            return found

        return _with_vectors(build, key, self.spectral)

    def power(self, params: Params) -> Params:
        """One power iteration on every kernel."""
        return _power(params)

    def apply(
        self, params: Params, mask: jax.Array, image: jax.Array
    ) -> tuple[list[jax.Array], list[jax.Array]]:
        """Logits ``(B, h, w, 1)`` of each scale, and the features under them, for one-hot masks and
        images in [-1, 1].
        """
        weights = _normalised(params)
        x_s = jnp.concatenate([mask, image], -1)
        logits, features = [], []
        for s in range(self.scales):
            x = x_s = halve(x_s) if s else x_s
            for i in range(len(self.widths)):
                x = conv(weights[f"scale{s}_conv{i}"], x, 2)
                x = leaky(instance_norm(x) if i else x)
                features.append(x)
            logits.append(conv(weights[f"scale{s}_last"], x))
        return logits, features

    def told(
        self,
        kind: Adversarial,
        real: list[jax.Array],
        fake: list[jax.Array],
        real_mask: jax.Array,
        fake_mask: jax.Array,
    ) -> jax.Array:
        """The discriminator's loss of each image ``(B,)``, real and fake halves added."""
        return _average(
            [
                losses.adversary(kind, r, True) + losses.adversary(kind, f, False)
                for r, f in zip(real, fake)
            ]
        )

    def fooled(self, kind: Adversarial, fake: list[jax.Array], fake_mask: jax.Array) -> jax.Array:
        """The generator's loss of each image ``(B,)``."""
        return _average([losses.generator(kind, f) for f in fake])

    def score(self, logits: list[jax.Array]) -> jax.Array:
        """How real each image is taken to be ``(B,)``: above 0 is real."""
        return _average([y.mean((1, 2, 3)) for y in logits])


@dataclasses.dataclass(frozen=True)
class UNetPatch:
    """A U-Net that names every pixel's class, or "fake": N + 1 classes (OASIS, Schönfeld et al.,
    ICLR 2021).

    It must find the classes in the image alone, so a generator that ignores its mask is told where.
    Classes weigh inversely to their frequency in the batch. Of images without masks (zero classes)
    it says real or fake for every pixel.

    Attributes:
      widths: channels of each level, finest first.
      spectral: divide every kernel but the last by its largest singular value.
    """

    widths: tuple[int, ...] = (24, 48, 96, 96)
    spectral: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))

    def init(self, key: jax.Array, channels: int, classes: int) -> Params:
        """Weights; ``classes`` 0 gives one class for everything real."""

        def build(normals: Normals) -> Weights:
            found: Weights = {}
            before = channels
            for i, width in enumerate(self.widths):
                found[f"down{i}"] = conv_weights(normals, 3 if i == 0 else 4, before, width)
                before = width
            for i in reversed(range(len(self.widths) - 1)):
                found[f"up{i}"] = conv_weights(normals, 3, before + self.widths[i], self.widths[i])
                before = self.widths[i]
            found["last"] = conv_weights(normals, 1, before, max(classes, 1) + 1)
            return found

        return _with_vectors(build, key, self.spectral)

    def power(self, params: Params) -> Params:
        """One power iteration on every kernel."""
        return _power(params)

    def apply(
        self, params: Params, mask: jax.Array, image: jax.Array
    ) -> tuple[list[jax.Array], list[jax.Array]]:
        """Logits ``(B, H, W, K + 1)``, the last of them "fake", and the encoder's features. The
        mask is not looked at.
        """
        weights = _normalised(params)
        x, skips = image, []
        for i in range(len(self.widths)):
            x = leaky(conv(weights[f"down{i}"], x, 2 if i else 1))
            skips.append(x)
        features = skips[1:]
        for i in reversed(range(len(self.widths) - 1)):
            x = leaky(conv(weights[f"up{i}"], jnp.concatenate([double(x), skips[i]], -1)))
        return [conv(weights["last"], x)], features

    def told(
        self,
        kind: Adversarial,
        real: list[jax.Array],
        fake: list[jax.Array],
        real_mask: jax.Array,
        fake_mask: jax.Array,
    ) -> jax.Array:
        """The discriminator's loss of each image ``(B,)``."""
        found = -(_balanced(real_mask) * jax.nn.log_softmax(real[0])[..., :-1]).sum(-1).mean((1, 2))
        return found - jax.nn.log_softmax(fake[0])[..., -1].mean((1, 2))

    def fooled(self, kind: Adversarial, fake: list[jax.Array], fake_mask: jax.Array) -> jax.Array:
        """The generator's loss of each image ``(B,)``: every pixel should be taken for its mask's
        class.
        """
        return -(_balanced(fake_mask) * jax.nn.log_softmax(fake[0])[..., :-1]).sum(-1).mean((1, 2))

    def score(self, logits: list[jax.Array]) -> jax.Array:
        """How real each image is taken to be ``(B,)``: log odds against "fake", above 0 is real."""
        y = logits[0]
        return (jax.nn.logsumexp(y[..., :-1], -1) - y[..., -1]).mean((1, 2))


DISCRIMINATORS: dict[str, type] = {"patch": Patch, "unet": UNetPatch}


def _average(values: list[jax.Array]) -> jax.Array:
    return jnp.stack(values).mean(0)


def _balanced(mask: jax.Array) -> jax.Array:
    """One-hot masks, each class times its share's inverse; a mask of no classes counts as one class
    everywhere.
    """
    if mask.shape[-1] == 0:
        return jnp.ones((*mask.shape[:-1], 1))
    share = mask.mean((0, 1, 2))
    present = jnp.maximum((share > 0).sum(), 1)
    return mask * jnp.where(share > 0, 1 / (present * jnp.maximum(share, 1e-3)), 0.0)


# ------------------------------------------------------------------ spectral norm
def _with_vectors(build, key: jax.Array, spectral: bool) -> Params:
    weights = initialise(build, key)
    vectors: PyTree = {}
    if spectral:
        vectors = {
            name: jnp.ones(p["kernel"].shape[-1]) / p["kernel"].shape[-1] ** 0.5
            for name, p in weights.items()
            if not name.endswith("last")
        }
    params = Params(weights, vectors)
    for _ in range(5):
        params = _power(params)
    return params


def _matrix(kernel: jax.Array) -> jax.Array:
    return kernel.reshape(-1, kernel.shape[-1])


def _power(params: Params) -> Params:
    def one(u: jax.Array, kernel: jax.Array) -> jax.Array:
        u = _matrix(kernel).T @ (_matrix(kernel) @ u)
        return u / jnp.maximum(jnp.linalg.norm(u), 1e-12)

    return params._replace(
        state={name: one(u, params.weights[name]["kernel"]) for name, u in params.state.items()}
    )


def _normalised(params: Params) -> Weights:
    """Weights with kernels of spectral norm about 1. The vector is a constant, the singular value
    it gives is differentiated.
    """

    def one(p: Weights, u: jax.Array | None) -> Weights:
        if u is None:
            return p
        return {
            **p,
            "kernel": p["kernel"]
            / jnp.maximum(jnp.linalg.norm(_matrix(p["kernel"]) @ jax.lax.stop_gradient(u)), 1e-6),
        }

    return {name: one(p, params.state.get(name)) for name, p in params.weights.items()}
