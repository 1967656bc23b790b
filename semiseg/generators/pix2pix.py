"""pix2pix: a U-Net from mask to image, the simple baseline."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from semiseg.fields import count
from semiseg.generators import style_encoder
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
    up_conv,
    up_conv_weights,
)
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

    widths: tuple[int, ...] = count((32, 64, 128), at_least=1)
    noise: int = count(8)
    style: int = count(16, at_least=1)

    joint: ClassVar[bool] = False
    paper: ClassVar[str] = "Isola et al., CVPR 2017"

    @property
    def block(self) -> int:
        """Image sizes must be multiples of this.

        >>> Pix2Pix(widths=(16, 32)).block
        4
        """
        return 2 ** len(self.widths)

    def init(
        self,
        key: jax.Array,
        channels: int,
        classes: int,
        size: int,
    ) -> Weights:
        """Weights for images of ``channels`` and masks of ``classes``."""
        return initialise(lambda normals: self.weights(normals, channels, classes), key)

    def weights(self, normals: Normals, channels: int, classes: int) -> Weights:
        """The same from given normal numbers."""
        weights: Weights = {
            "encoder": style_encoder.encoder_weights(normals, channels, classes, self.style)
        }
        before = classes + 1
        skips = [before, *self.widths]
        for i, width in enumerate(self.widths):
            weights[f"down{i}"] = conv_weights(normals, 4, before, width, bias=i == 0)
            before = width
        weights["bottom"] = conv_weights(normals, 3, before + self.noise, before)
        weights["style"] = dense_weights(normals, self.style, before)
        for i in reversed(range(len(self.widths))):
            width = self.widths[max(i - 1, 0)]
            weights[f"up{i}"] = up_conv_weights(normals, before, width)
            weights[f"join{i}"] = conv_weights(normals, 3, width + skips[i], width)
            before = width
        weights["last"] = conv_weights(normals, 3, before, channels, 0.5)
        return weights

    def noises(self, size: int) -> int:
        """How many normal numbers an image of ``size`` takes: a channel of its size, and a map at
        the bottleneck.

        >>> Pix2Pix(widths=(4, 8), noise=2).noises(4)
        18
        """
        return size**2 + (size // self.block) ** 2 * self.noise

    def encode(
        self, weights: Weights, image: jax.Array, mask: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Mean and log-variance of the style code of images ``(B, H, W, C)`` in [-1, 1] with
        one-hot masks.
        """
        return style_encoder.encode(weights["encoder"], image, mask)

    def apply(
        self,
        weights: Weights,
        mask: jax.Array,
        code: jax.Array,
        noise: jax.Array,
    ) -> tuple[jax.Array, jax.Array]:
        """Image in [-1, 1] and the given mask; see :meth:`semiseg.generators.spade.Spade.apply`."""
        size = mask.shape[1]
        maps = [
            (size, 1),
            (size // self.block, self.noise),
        ]
        fine, coarse = split_maps(noise, maps)
        skips = [jnp.concatenate([mask, fine], -1)]
        for i in range(len(self.widths)):
            x = conv(weights[f"down{i}"], skips[-1], 2)
            if i:
                x = instance_norm(x)
            skips.append(leaky(x))
        x = jnp.concatenate([skips.pop(), coarse], -1)
        x = conv(weights["bottom"], x)
        style = dense(weights["style"], code)
        x = x + everywhere(style)
        for i in reversed(range(len(self.widths))):
            x = up_conv(weights[f"up{i}"], leaky(x))
            x = jnp.concatenate([x, skips.pop()], -1)
            x = conv(weights[f"join{i}"], x)
            if i:  # the norm alone would take the style's grey level out again
                x = instance_norm(x) + everywhere(x.mean((1, 2)))
        x = conv(weights["last"], leaky(x))
        return jnp.tanh(x), mask
