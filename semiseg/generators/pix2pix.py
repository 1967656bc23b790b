"""pix2pix: a U-Net from mask to image, the simple baseline."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from semiseg.generators import style
from semiseg.generators.blocks import (
    Weights,
    conv,
    conv_weights,
    dense,
    dense_weights,
    everywhere,
    initialise,
    instance_norm,
    leaky,
    split_maps,
)
from semiseg.nets import layers
from semiseg.nets.layers import Normals


@dataclasses.dataclass(frozen=True)
class Pix2Pix:
    """Isola et al., CVPR 2017: 4×4 convolutions of stride 2 down, transposed ones up, skips
    between.

    Differences: noise is a channel beside the mask and at the bottleneck, not dropout; the
    bottleneck also takes the style code; instance norm; as many levels as ``widths``.

    Attributes:
      widths: channels of each level down, finest (half the image's size) first.
      noise: channels of noise at the bottleneck.
      style: numbers in the style code.
    """

    widths: tuple[int, ...] = (32, 64, 128)
    noise: int = 8
    style: int = 16

    joint: ClassVar[bool] = False
    paper: ClassVar[str] = "Isola et al., CVPR 2017"

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))

    @property
    def block(self) -> int:
        """Image sizes must be multiples of this."""
        return 2 ** len(self.widths)

    def init(self, key: jax.Array, channels: int, classes: int, size: int) -> Weights:
        """Weights for images of ``channels`` and masks of ``classes``."""
        return initialise(lambda normals: self.weights(normals, channels, classes), key)

    def weights(self, normals: Normals, channels: int, classes: int) -> Weights:
        found: Weights = {"encoder": style.encoder_weights(normals, channels, classes, self.style)}
        before = classes + 1
        for i, width in enumerate(self.widths):
            found[f"down{i}"] = conv_weights(normals, 4, before, width, bias=i == 0)
            before = width
        found["bottom"] = conv_weights(normals, 3, before + self.noise, before)
        found["style"] = dense_weights(normals, self.style, before)
        for i in reversed(range(len(self.widths))):
            width = self.widths[i - 1] if i else self.widths[0]
            found[f"up{i}"] = {
                "kernel": normals.he((2, 2, before, width), before),
                "bias": jnp.zeros(width),
            }
            found[f"join{i}"] = conv_weights(
                normals, 3, width + (self.widths[i - 1] if i else classes + 1), width
            )
            before = width
        found["last"] = conv_weights(normals, 3, before, channels, 0.5)
        return found

    def noises(self, size: int) -> int:
        """How many normal numbers an image takes: a channel of its size, and a map at the
        bottleneck.
        """
        return size**2 + (size // self.block) ** 2 * self.noise

    def encode(
        self, weights: Weights, image: jax.Array, mask: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Mean and log-variance of the style code of images ``(B, H, W, C)`` in [-1, 1] with
        one-hot masks.
        """
        return style.encode(weights["encoder"], image, mask)

    def apply(
        self, weights: Weights, mask: jax.Array, code: jax.Array, noise: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Image in [-1, 1] and the given mask; see :meth:`semiseg.generators.spade.Spade.apply`."""
        size = mask.shape[1]
        fine, coarse = split_maps(noise, [(size, 1), (size // self.block, self.noise)])
        skips = [jnp.concatenate([mask, fine], -1)]
        for i in range(len(self.widths)):
            x = conv(weights[f"down{i}"], skips[-1], 2)
            skips.append(leaky(instance_norm(x) if i else x))
        x = conv(weights["bottom"], jnp.concatenate([skips.pop(), coarse], -1)) + everywhere(
            dense(weights["style"], code)
        )
        for i in reversed(range(len(self.widths))):
            x = layers.up_conv(leaky(x), weights[f"up{i}"]["kernel"]) + weights[f"up{i}"]["bias"]
            x = conv(weights[f"join{i}"], jnp.concatenate([x, skips.pop()], -1))
            x = (
                instance_norm(x) + everywhere(x.mean((1, 2))) if i else x
            )  # the norm alone would take the style's grey level out again
        return jnp.tanh(conv(weights["last"], leaky(x))), mask
