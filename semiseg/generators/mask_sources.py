"""The masks that a set is painted from: the budget's own, bent ones, and ones that a label-map VAE
draws.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from semiseg.errors import UserError
from semiseg.generators import masks, vae
from semiseg.types import IGNORE

MASK_SOURCES = ("real", "varied", "vae", "interpolated")
"""Masks of the budget, the same bent, new ones of a VAE, and ones between two of the budget's."""
VAE_STEPS = 600
"""Steps of the label-map VAE; it takes seconds, so it is fitted when it is needed."""
TRIES = 20
"""Draws in a row of which one must be usable."""


class DrawnMask(NamedTuple):
    """A mask to paint.

    Attributes:
      label: ``(H, W)`` uint8.
      real: index of the real mask it comes from; None for a new one.
      bent: whether its shape was changed.
    """

    label: np.ndarray
    real: int | None
    bent: bool


class MaskSource:
    """Draws masks, each from its own random numbers.

    Args:
      name: one of :data:`MASK_SOURCES`.
      pool: real masks ``(M, H, W)`` uint8, with regions of the background as classes.
      classes: of the data set.
      all_classes: of the masks, regions included.
      symmetric: whether bent masks may be mirrored.
      seed: of the VAE.
    """

    def __init__(
        self,
        name: str,
        pool: np.ndarray,
        *,
        classes: int,
        all_classes: int,
        symmetric: bool,
        seed: int,
    ):
        self.name = name
        self.pool = pool
        self.classes = classes
        self.symmetric = symmetric
        self._vae: _FittedVAE | None = None
        if name in ("vae", "interpolated"):
            self._vae = _FittedVAE.fit(pool, all_classes, seed)

    def draw(self, rng: np.random.Generator) -> DrawnMask:
        """One mask.

        Raises:
          UserError: the VAE gives no usable mask.
        """
        j = int(rng.integers(len(self.pool)))
        real = self.pool[j]
        if self._vae is not None:
            return self._draw_new(self._vae, rng, j)
        if self.name == "real":
            return DrawnMask(real, j, False)
        without = masks.without_regions(real, self.classes)
        varied = masks.vary(real, rng, masks.Vary(flip=self.symmetric), like=without)
        return DrawnMask(varied.label, j, varied.bent)

    def _draw_new(self, fitted: _FittedVAE, rng: np.random.Generator, j: int) -> DrawnMask:
        real = masks.without_regions(self.pool, self.classes)
        for _ in range(TRIES):
            if self.name == "vae":
                label = fitted.sample(rng)
            else:
                other = int(rng.integers(len(self.pool)))
                label = fitted.between(self.pool[[j]], self.pool[[other]], rng)
            if vae.usable(masks.without_regions(label, self.classes), real):
                return DrawnMask(label, None, True)
        what = f"masks {self.name!r}: twenty draws in a row gave no usable mask"
        raise UserError(what, remedy="use --masks varied, which works from a few masks on")


@dataclasses.dataclass(frozen=True)
class _FittedVAE:
    model: vae.LabelVAE
    weights: Any
    classes: int

    @classmethod
    def fit(cls, pool: np.ndarray, classes: int, seed: int) -> _FittedVAE:
        model = vae.LabelVAE()
        labels = jnp.asarray(np.where(pool == IGNORE, 0, pool))
        weights, _ = vae.fit(model, classes, labels, jnp.int32(VAE_STEPS), jnp.uint32(seed))
        return cls(model, weights, classes)

    def sample(self, rng: np.random.Generator) -> np.ndarray:
        noise = rng.normal(size=(1, self.model.latent)).astype(np.float32)
        return vae.sample(self.model, self.weights, noise)[0]

    def between(self, a: np.ndarray, b: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        share = rng.uniform(0.2, 0.8, 1).astype(np.float32)
        return vae.between(
            self.model,
            self.weights,
            a,
            b,
            share,
            self.classes,
        )[0]
