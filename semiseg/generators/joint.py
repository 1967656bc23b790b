"""The joint generator: noise becomes a mask and the image that belongs to it, with no mask given."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from semiseg.generators.blocks import (
    Weights,
    conv,
    conv_weights,
    double,
    initialise,
    instance_norm,
    leaky,
    split_maps,
)
from semiseg.generators.spade import Spade
from semiseg.nets.layers import Normals


@dataclasses.dataclass(frozen=True)
class Joint(Spade):
    """Image and mask from one draw, after semanticGAN (Li et al., CVPR 2021): the pair
    discriminator's gradient stops at the image.

    A layout network paints class probabilities from noise; their largest class, with the
    probabilities' gradient (straight through), is the mask that SPADE paints. So labelled pairs
    teach which masks there are and what follows them, and all images teach what an image looks
    like.

    Attributes:
      layout: channels of the layout network at each scale, coarsest first; as many scales as
        ``widths``.
      layout_noise: channels of its noise.
    """

    layout: tuple[int, ...] = (64, 48, 32, 16)
    layout_noise: int = 16

    joint: ClassVar[bool] = True
    paper: ClassVar[str] = "Li et al., CVPR 2021"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "layout", tuple(self.layout))
        if len(self.layout) != len(self.widths):
            raise ValueError(
                f"Joint: layout has {len(self.layout)} scales, widths {len(self.widths)}"
            )

    def init(self, key: jax.Array, channels: int, classes: int, size: int) -> Weights:
        """Weights for images of ``channels`` and masks of ``classes``."""

        def build(normals: Normals) -> Weights:
            found = self.weights(normals, channels, classes)
            before = self.layout_noise
            for i, width in enumerate(self.layout):
                found[f"layout{i}"] = conv_weights(normals, 3, before, width, bias=False)
                before = width
            found["classes"] = conv_weights(normals, 3, before, classes)
            return found

        return initialise(build, key)

    def noises(self, size: int) -> int:
        """How many normal numbers an image takes: the layout's and SPADE's."""
        return (size // self.block) ** 2 * self.layout_noise + super().noises(size)

    def apply(
        self, weights: Weights, mask: jax.Array, code: jax.Array, noise: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Image in [-1, 1] and its own one-hot mask; of the given ``mask`` only the shape is used."""
        coarse = mask.shape[1] // self.block
        n = coarse**2 * self.layout_noise
        (x,) = split_maps(noise[:, :n], [(coarse, self.layout_noise)])
        for i in range(len(self.layout)):
            x = leaky(instance_norm(conv(weights[f"layout{i}"], double(x) if i else x)))
        probability = jax.nn.softmax(conv(weights["classes"], x))
        hard = (probability == probability.max(-1, keepdims=True)).astype(jnp.float32)
        made = probability + jax.lax.stop_gradient(hard - probability)
        return super().apply(weights, made, code, noise[:, n:])
