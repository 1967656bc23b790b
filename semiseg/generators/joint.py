"""The joint generator: noise becomes a mask and its image, with no mask given."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from semiseg.errors import FieldError
from semiseg.fields import count
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

    layout: tuple[int, ...] = count((64, 48, 32, 16), at_least=1)
    layout_noise: int = count(16, at_least=1)

    joint: ClassVar[bool] = True
    paper: ClassVar[str] = "Li et al., CVPR 2021"

    def __post_init__(self) -> None:
        if len(self.layout) != len(self.widths):
            what = f"layout has {len(self.layout)} scales, widths {len(self.widths)}"
            raise FieldError(what, where="Joint", field="layout")

    def init(
        self,
        key: jax.Array,
        channels: int,
        classes: int,
        size: int,
    ) -> Weights:
        """Weights for images of ``channels`` and masks of ``classes``."""

        def build(normals: Normals) -> Weights:
            weights = self.weights(normals, channels, classes)
            before = self.layout_noise
            for i, width in enumerate(self.layout):
                weights[f"layout{i}"] = conv_weights(normals, 3, before, width, bias=False)
                before = width
            weights["classes"] = conv_weights(normals, 3, before, classes)
            return weights

        return initialise(build, key)

    def noises(self, size: int) -> int:
        """How many normal numbers an image of ``size`` takes: the layout's and SPADE's."""
        return self._layout_noises(size) + super().noises(size)

    def _layout_noises(self, size: int) -> int:
        return (size // self.block) ** 2 * self.layout_noise

    def apply(
        self,
        weights: Weights,
        mask: jax.Array,
        code: jax.Array,
        noise: jax.Array,
    ) -> tuple[jax.Array, jax.Array]:
        """Image in [-1, 1] and its own one-hot mask.

        Args:
          weights: of :meth:`init`.
          mask: ``(B, H, W, K)``, of which only the shape is used.
          code: ``(B, style)``.
          noise: normal ``(B, noises(H))``.
        """
        size = mask.shape[1]
        n = self._layout_noises(size)
        (x,) = split_maps(noise[:, :n], [(size // self.block, self.layout_noise)])
        for i in range(len(self.layout)):
            if i:
                x = double(x)
            x = leaky(instance_norm(conv(weights[f"layout{i}"], x)))
        probability = jax.nn.softmax(conv(weights["classes"], x))
        hard = (probability == probability.max(-1, keepdims=True)).astype(jnp.float32)
        layout = probability + jax.lax.stop_gradient(hard - probability)
        return super().apply(weights, layout, code, noise[:, n:])
