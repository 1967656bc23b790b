"""SPADE, reduced: a mask, a style code and noise become an image. The mask enters at every scale,
by the normalisation.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

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
    double,
    everywhere,
    halve,
    initialise,
    instance_norm,
    leaky,
    split_maps,
)
from semiseg.nets.layers import Normals


@dataclasses.dataclass(frozen=True)
class Spade:
    """Spatially-adaptive normalisation, Park et al., CVPR 2019 (eq. 1), small enough for a few
    dozen images on a CPU.

    Every block normalises without parameters and then multiplies by 1 + γ and adds β, both
    convolutions of features of the mask. Differences: the mask's features also see the style code,
    so that a class can look different from image to image; fresh noise is added at every scale
    (Karras et al., CVPR 2019), its strength learnt for each channel; instance instead of batch
    norm.

    Attributes:
      widths: channels of each scale, coarsest first; the coarsest is 2^(scales - 1) times smaller
        than the image.
      hidden: features of the mask at each scale.
      noise: channels of noise that enter at the coarsest scale.
      style: numbers in the style code.
    """

    widths: tuple[int, ...] = count((128, 64, 32, 16), at_least=1)
    hidden: int = count(16, at_least=1)
    noise: int = count(8)
    style: int = count(16, at_least=1)

    joint: ClassVar[bool] = False
    paper: ClassVar[str] = "Park et al., CVPR 2019"

    @property
    def block(self) -> int:
        """Image sizes must be multiples of this.

        >>> Spade(widths=(64, 32, 16)).block
        4
        """
        return 2 ** (len(self.widths) - 1)

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
        width = self.widths[0]
        weights: Weights = {
            "encoder": style_encoder.encoder_weights(normals, channels, classes, self.style)
        }
        weights["first"] = conv_weights(normals, 3, classes + self.noise, width)
        weights["first_style"] = dense_weights(normals, self.style, width)
        before = width
        for i, width in enumerate(self.widths):
            weights[f"block{i}"] = self._block_weights(normals, classes, before, width)
            before = width
        weights["last"] = conv_weights(normals, 3, before, channels, 0.5)
        return weights

    def _block_weights(
        self,
        normals: Normals,
        classes: int,
        before: int,
        width: int,
    ) -> Weights:
        """Of the scale that turns ``before`` channels into ``width``."""
        return {
            "mask": conv_weights(normals, 3, classes, self.hidden),
            "style": dense_weights(normals, self.style, self.hidden),
            "norm0": conv_weights(normals, 3, self.hidden, 2 * before, 0.5),
            "conv0": conv_weights(normals, 3, before, width, bias=False),
            "strength": normals.normal((width,), 0.1),
            "norm1": conv_weights(normals, 3, self.hidden, 2 * width, 0.5),
            "conv1": conv_weights(normals, 3, width, width),
            "skip": conv_weights(normals, 1, before, width, bias=False),
        }

    def noises(self, size: int) -> int:
        """How many normal numbers an image of ``size`` takes: maps at the coarsest scale, and one
        map at every scale.

        >>> Spade(widths=(8, 8), noise=2).noises(4)
        28
        """
        coarsest = (size // self.block) ** 2 * self.noise
        return coarsest + sum((size >> i) ** 2 for i in range(len(self.widths)))

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
        """Image ``(B, H, W, C)`` in [-1, 1], and the mask it belongs to, which is the one given.

        Args:
          weights: of :meth:`init`.
          mask: one-hot ``(B, H, W, K)``.
          code: ``(B, style)``.
          noise: normal ``(B, noises(H))``.
        """
        coarse = mask.shape[1] // self.block
        scales = range(len(self.widths))
        first, *fresh = split_maps(
            noise, [(coarse, self.noise), *((coarse << i, 1) for i in scales)]
        )
        x = conv(weights["first"], jnp.concatenate([halve(mask, self.block), first], -1))
        x = x + everywhere(dense(weights["first_style"], code))
        for i in scales:
            if i:
                x = double(x)
            scaled_mask = halve(mask, self.block >> i)
            x = _block(weights[f"block{i}"], x, scaled_mask, code, fresh[i])
        return jnp.tanh(conv(weights["last"], leaky(x))), mask


def _block(
    p: dict[str, Any],
    x: jax.Array,
    mask: jax.Array,
    code: jax.Array,
    noise: jax.Array,
) -> jax.Array:
    """One scale: two convolutions behind a SPADE norm each, and a skip.

    Args:
      p: weights of the block.
      x: ``(B, h, w, C)``.
      mask: ``(B, h, w, K)``.
      code: ``(B, Z)``.
      noise: ``(B, h, w, 1)``.
    """
    features = leaky(conv(p["mask"], mask) + everywhere(dense(p["style"], code)))

    def spade(name: str, x: jax.Array) -> jax.Array:
        gamma, beta = jnp.split(conv(p[name], features), 2, -1)
        return instance_norm(x) * (1 + gamma) + beta

    y = conv(p["conv0"], leaky(spade("norm0", x))) + p["strength"] * noise
    return conv(p["skip"], x) + conv(p["conv1"], leaky(spade("norm1", y)))
