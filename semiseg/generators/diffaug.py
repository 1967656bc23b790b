"""DiffAugment (Zhao et al., NeurIPS 2020): what a discriminator sees of real and fake pairs alike,
differentiable in both.

Geometry moves image and mask together; grey values change in the image alone, since a brighter mask
channel would be a mask of nothing. "Colour" of the paper has no meaning for one channel and is left
out; brightness and contrast are used.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Draw(NamedTuple):
    """What is done to each image of a batch; drawn once and used for an image and its
    reconstruction, so that their features can be compared.

    Attributes:
      rows_BHH: new rows are this times the old ones.
      columns_BWW: new columns are this times the old ones.
      gain_B: contrast.
      offset_B: brightness, in units of [-1, 1].
    """

    rows_BHH: jax.Array
    columns_BWW: jax.Array
    gain_B: jax.Array
    offset_B: jax.Array


NUMBERS = 7
"""Uniform numbers an image takes."""


def draw(
    u: jax.Array,
    size: int,
    strength: jax.Array | float,
    intensity: jax.Array | float,
) -> Draw:
    """Mirror, zoom and shift along each axis; contrast and brightness.

    Args:
      u: ``(B, NUMBERS)``, uniform in [-1, 1].
      size: side of the images, pixels.
      strength: of the geometry: 1 is a shift by an eighth and a zoom by 1.15 either way, 0 leaves
        even the mirrors out.
      intensity: of the grey values: 1 is a contrast of 1.3 either way and a brightness of ± 0.2 of
        [-1, 1].

    >>> draw(jnp.zeros((1, NUMBERS)), 2, 1.0, 1.0).rows_BHH.tolist()
    [[[1.0, 0.0], [0.0, 1.0]]]
    """

    def along(flip: jax.Array, shift: jax.Array) -> jax.Array:
        is_mirrored = (flip < 0) & (strength > 0)
        mirror = jnp.where(is_mirrored, -1.0, 1.0)
        zoom = 1.15 ** (strength * u[:, 0])
        return _matrix(size, mirror * zoom, shift * strength / 8)

    rows = along(u[:, 1], u[:, 2])
    columns = along(u[:, 3], u[:, 4])
    gain = 1.3 ** (intensity * u[:, 5])
    offset = 0.2 * intensity * u[:, 6]
    return Draw(rows, columns, gain, offset)


def _matrix(n: int, zoom_B: jax.Array, shift_B: jax.Array) -> jax.Array:
    """``(B, n, n)`` linear interpolation at ``zoom · x + shift``, in units of the side, around the
    centre; outside repeats the border.
    """
    centre = (n - 1) / 2
    x = jnp.arange(n) - centre
    zoomed = zoom_B[:, None] * x
    moved = zoomed + shift_B[:, None] * n + centre
    at = jnp.clip(moved, 0, n - 1)
    distance = jnp.abs(at[..., None] - jnp.arange(n))
    return jnp.maximum(0.0, 1.0 - distance)


def apply(how: Draw, mask: jax.Array, image: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mask and image after the same geometry, the image also after its grey values.

    Args:
      how: see :func:`draw`.
      mask: ``(B, H, W, K)``.
      image: ``(B, H, W, C)`` in [-1, 1].

    Returns:
      Mask and image of the same shapes.

    >>> zeros = jnp.zeros((1, 4, 4, 1))
    >>> mask, image = apply(draw(jnp.zeros((1, NUMBERS)), 4, 1.0, 1.0), zeros, zeros)
    >>> mask.any().item(), image.any().item()
    (False, False)
    """
    k = mask.shape[-1]
    both = jnp.concatenate([mask, image], -1)
    moved = jnp.einsum("bij,bjwc->biwc", how.rows_BHH, both)
    moved = jnp.einsum("bkw,biwc->bikc", how.columns_BWW, moved)
    mask = moved[..., :k]
    image = moved[..., k:]
    mean = image.mean((1, 2), keepdims=True)
    gain = how.gain_B[:, None, None, None]
    offset = how.offset_B[:, None, None, None]
    contrast = (image - mean) * gain
    return mask, contrast + mean + offset
