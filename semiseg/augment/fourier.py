"""Draw + augment: an image with the low-frequency amplitudes of another one. These hold its overall
look (brightness, contrast, the field of a coil); shapes are in the phase, which stays.
"""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp

from semiseg.fields import number
from semiseg.types import hyper


@hyper
class Fourier:
    """Swap of low-frequency amplitudes between labelled and unlabelled images of a batch (FDA, Yang
    & Soatto, CVPR 2020, equation 3; between the networks of beta-FFT, Hu et al., CVPR 2025).

    A labelled image takes those of an unlabelled one, so that what is annotated is seen in the
    looks of what is not, and the strong view of an unlabelled image those of a labelled one. Where
    a method sees no unlabelled images, labelled ones take them from each other.

    Differences from beta-FFT's published code: it exchanges the low-frequency parts of two pictures
    as they are, phases included, which moves shapes as well (:func:`with_low_frequencies`; the
    method ``beta_fft`` has it).

    Attributes:
      views: which images: "neither", "labelled", "strong" (views of unlabelled images), or "both".
      p: probability of a swap, per image.
      share: how many frequencies: those of at most this share of the shorter side, in periods an
        image, along both axes; FDA's β. 0 changes nothing.
      strength: share of the amplitude that is the other image's; 1 is a swap.
    """

    views: Literal["neither", "labelled", "strong", "both"] = "neither"
    p: float = number(0.5, within=(0, 1))
    share: float = number(0.05, within=(0, 0.5))
    strength: float = number(1.0, within=(0, 1))

    def changes(self, view: Literal["labelled", "strong"]) -> bool:
        """Whether these images take part."""
        return self.views in (view, "both")

    def __call__(
        self, key: jax.Array, image: jax.Array, other: jax.Array, valid: jax.Array
    ) -> jax.Array:
        """Images ``(B, *space, C)`` in [0, 1] with amplitudes of ``other (M, *space, C)``, which
        are taken in turn; 0 where ``valid (B, *space)`` is False.
        """
        turn = jnp.arange(len(image)) % len(other)
        swapped = jax.vmap(with_amplitude, (0, 0, None, None))(
            image, other[turn], self.share, self.strength
        )
        chosen = jax.random.uniform(key, (len(image),)) < self.p
        chosen &= jnp.asarray(self.share) > 0
        new = jnp.where(valid[..., None], jnp.clip(swapped, 0.0, 1.0), 0.0)
        return jnp.where(chosen.reshape(-1, *(1,) * (image.ndim - 1)), new, image)


def with_amplitude(
    image: jax.Array,
    other: jax.Array,
    share: jax.Array | float,
    strength: jax.Array | float = 1.0,
) -> jax.Array:
    """``image (*space, C)`` with the low-frequency amplitudes of ``other``, its own phase and its
    own higher frequencies; slices of a volume and channels each for themselves.

    Low are frequencies of at most floor(``share`` · shorter side) periods along each of the last
    two axes, the mean among them. The result may leave the range of both images.

    >>> image = jnp.array([[[0.2], [0.4]], [[0.2], [0.4]]])
    >>> [round(float(x), 2) for x in with_amplitude(image, image + 0.3, share=0.0).ravel()]
    [0.5, 0.7, 0.5, 0.7]
    """
    axes = (image.ndim - 3, image.ndim - 2)
    mine = jnp.fft.fft2(image, axes=axes)
    theirs = jnp.fft.fft2(other, axes=axes)
    amplitude = jnp.abs(mine)
    mixed = (1 - strength) * amplitude + strength * jnp.abs(theirs)
    rows, columns = (image.shape[axis] for axis in axes)
    low = _low(rows, columns, share).reshape((1,) * axes[0] + (rows, columns, 1))
    # the ratio keeps the phase; where there is no amplitude there is no phase, and 1 stands for it
    unit = jnp.where(amplitude > 0, mine / jnp.where(amplitude > 0, amplitude, 1.0), 1.0)
    return jnp.fft.ifft2(jnp.where(low, mixed * unit, mine), axes=axes).real


def with_low_frequencies(image: jax.Array, other: jax.Array, share: jax.Array | float) -> jax.Array:
    """``image (*space, C)`` with the low-frequency part of ``other`` in place of its own, amplitude
    and phase; slices of a volume and channels each for themselves. What is low, see
    :func:`with_amplitude`.

    >>> image = jnp.array([[[0.2], [0.4]], [[0.2], [0.4]]])
    >>> [round(float(x), 2) for x in with_low_frequencies(image, image[::-1] + 0.3, 0.0).ravel()]
    [0.5, 0.7, 0.5, 0.7]
    """
    axes = (image.ndim - 3, image.ndim - 2)
    rows, columns = (image.shape[axis] for axis in axes)
    low = _low(rows, columns, share).reshape((1,) * axes[0] + (rows, columns, 1))
    difference = jnp.fft.fft2(other - image, axes=axes)
    return image + jnp.fft.ifft2(jnp.where(low, difference, 0), axes=axes).real


def _low(rows: int, columns: int, share: jax.Array | float) -> jax.Array:
    """``(rows, columns)`` bool: the low frequencies of a transform."""
    most = jnp.floor(share * min(rows, columns) + 1e-4)
    down = jnp.abs(jnp.fft.fftfreq(rows, 1 / rows)) <= most + 0.5
    across = jnp.abs(jnp.fft.fftfreq(columns, 1 / columns)) <= most + 0.5
    return down[:, None] & across[None]
