"""SPADE, reduced: a mask, a style code and noise become an image. The mask enters at every scale,
by the normalisation.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from semiseg.generators import style
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
)  # fmt: skip
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

    widths: tuple[int, ...] = (128, 64, 32, 16)
    hidden: int = 16
    noise: int = 8
    style: int = 16

    joint: ClassVar[bool] = False
    paper: ClassVar[str] = "Park et al., CVPR 2019"

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))

    @property
    def block(self) -> int:
        """Image sizes must be multiples of this."""
        return 2 ** (len(self.widths) - 1)

    def init(self, key: jax.Array, channels: int, classes: int, size: int) -> Weights:
        """Weights for images of ``channels`` and masks of ``classes``."""
        return initialise(lambda normals: self.weights(normals, channels, classes), key)

    def weights(self, normals: Normals, channels: int, classes: int) -> Weights:
        found: Weights = {"encoder": style.encoder_weights(normals, channels, classes, self.style)}
        found["first"] = conv_weights(normals, 3, classes + self.noise, self.widths[0])
        found["first_style"] = dense_weights(normals, self.style, self.widths[0])
        before = self.widths[0]
        for i, width in enumerate(self.widths):
            found[f"block{i}"] = {
                "mask": conv_weights(normals, 3, classes, self.hidden),
                "style": dense_weights(normals, self.style, self.hidden),
                "norm0": conv_weights(normals, 3, self.hidden, 2 * before, 0.5),
                "conv0": conv_weights(normals, 3, before, width, bias=False),
                "strength": normals.normal((width,), 0.1),
                "norm1": conv_weights(normals, 3, self.hidden, 2 * width, 0.5),
                "conv1": conv_weights(normals, 3, width, width),
                "skip": conv_weights(normals, 1, before, width, bias=False),
            }
            before = width
        found["last"] = conv_weights(normals, 3, before, channels, 0.5)
        return found

    def noises(self, size: int) -> int:
        """How many normal numbers an image takes."""
        return (size // self.block) ** 2 * self.noise + sum(
            (size >> i) ** 2 for i in range(len(self.widths))
        )

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
        """Image ``(B, H, W, C)`` in [-1, 1], and the mask it belongs to, which is the one given.

        Args:
          mask: one-hot ``(B, H, W, K)``.
          code: ``(B, style)``.
          noise: normal ``(B, noises(H))``.
        """
        coarse = mask.shape[1] // self.block
        first, *fresh = split_maps(
            noise, [(coarse, self.noise), *((coarse << i, 1) for i in range(len(self.widths)))]
        )
        x = conv(
            weights["first"], jnp.concatenate([halve(mask, self.block), first], -1)
        ) + everywhere(dense(weights["first_style"], code))
        for i in range(len(self.widths)):
            x = _block(
                weights[f"block{i}"],
                double(x) if i else x,
                halve(mask, self.block >> i),
                code,
                fresh[i],
            )
        return jnp.tanh(conv(weights["last"], leaky(x))), mask


def _block(
    p: dict[str, Any], x: jax.Array, mask: jax.Array, code: jax.Array, noise: jax.Array
) -> jax.Array:
    features = leaky(conv(p["mask"], mask) + everywhere(dense(p["style"], code)))

    def spade(name: str, x: jax.Array) -> jax.Array:
        gamma, beta = jnp.split(conv(p[name], features), 2, -1)
        return instance_norm(x) * (1 + gamma) + beta

    y = conv(p["conv0"], leaky(spade("norm0", x))) + p["strength"] * noise
    return conv(p["skip"], x) + conv(p["conv1"], leaky(spade("norm1", y)))
