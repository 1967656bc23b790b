"""Draw + augment, second half: what changes the grey values of a view and leaves every pixel in its
place.

Functions act on one sample ``(*space, C)`` float32 in [0, 1], with two or three spatial axes; the
caller vmaps. Noise is drawn by JAX's default generator: 0.5 ms for 8 × 128² on one CPU core, where
the hardware generator (``rbg``) takes 3 ms.

An image that is standardised afterwards by its own mean and deviation loses its brightness and
contrast again; see :func:`semiseg.augment.standardise` for how a strong view keeps them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from semiseg.types import hyper


@hyper
class Intensity:
    """Random grey-value changes, applied in this order. Every probability ``*_p`` is per sample.

    Attributes:
      gamma_p: probability of ``image ** g``.
      gamma: largest ``g``; drawn log-uniformly from ``[1 / gamma, gamma]``.
      contrast_p: probability of scaling the distance to the image's mean, each channel for itself.
      contrast: largest factor; drawn log-uniformly from ``[1 / contrast, contrast]``.
      brightness_p: probability of adding a constant.
      brightness: largest constant in units of the image's standard deviation (dark scans stay
        recognisable); drawn from ± this.
      blur_p: probability of a Gaussian blur.
      blur: largest sigma in pixels; drawn from 0 to this.
      noise_p: probability of additive Gaussian noise, independent in each pixel and channel.
      noise: largest standard deviation in units of the image's own; drawn from 0 to this.
      cutout_p: probability of filling boxes with the image's mean (DeVries and Taylor,
        arXiv:1708.04552).
      cutout: largest side of a box as a fraction of the image's; drawn from half of this.
      cutout_holes: boxes per sample.
    """

    gamma_p: float = 0.3
    gamma: float = 1.5
    contrast_p: float = 0.2
    contrast: float = 1.3
    brightness_p: float = 0.2
    brightness: float = 0.3
    blur_p: float = 0.1
    blur: float = 1.0
    noise_p: float = 0.15
    noise: float = 0.1
    cutout_p: float = 0.0
    cutout: float = 0.3
    cutout_holes: int = 2

    def __call__(
        self,
        key: jax.Array,
        image: jax.Array,
    ) -> jax.Array:
        """One sample ``(*space, C)`` in [0, 1] to the same shape and range; unchanged, bit for bit,
        when all probabilities are 0.
        """
        return self.changed(key, image)[0]

    def changed(
        self,
        key: jax.Array,
        image: jax.Array,
    ) -> tuple[jax.Array, jax.Array]:
        """What a call gives, and which of its pixels ``(*space)`` bool are cut out."""
        space = tuple(range(image.ndim - 1))
        axes = len(space)
        # All numbers in one draw: each call of the generator costs XLA about half a second of
        # compiling.
        first_noise = 11 + self.cutout_holes * 2 * axes
        drawn = jax.random.uniform(key, (first_noise + image.size,), minval=1e-7)
        u, u_boxes, u_noise = jnp.split(drawn, (11, first_noise))
        u_noise = u_noise.reshape(image.shape)
        # finite, because u is neither 0 nor 1
        normal = math.sqrt(2) * jax.lax.erf_inv(2 * u_noise - 1)
        unit = image.std()

        has_gamma = u[0] < self.gamma_p
        power = self.gamma ** (2 * u[1] - 1)
        out = jnp.where(has_gamma, image**power, image)

        has_contrast = u[2] < self.contrast_p
        mean = out.mean(space)
        factor = self.contrast ** (2 * u[3] - 1)
        out = jnp.where(has_contrast, (out - mean) * factor + mean, out)

        has_brightness = u[4] < self.brightness_p
        constant = unit * self.brightness * (2 * u[5] - 1)
        out = jnp.where(has_brightness, out + constant, out)

        has_blur = u[6] < self.blur_p
        blurred = blur(out, self.blur * u[7])
        out = jnp.where(has_blur, blurred, out)

        has_noise = u[8] < self.noise_p
        noise = unit * self.noise * u[9] * normal
        out = jnp.where(has_noise, out + noise, out)

        has_cutout = u[10] < self.cutout_p
        u_boxes = u_boxes.reshape(self.cutout_holes, 2, -1)
        holes = boxes(u_boxes, image.shape[:-1], self.cutout)
        is_cut = has_cutout & holes
        out = jnp.where(is_cut[..., None], out.mean(space), out)
        return jnp.clip(out, 0.0, 1.0), is_cut


def blur(
    image: jax.Array,
    sigma: jax.Array | float,
) -> jax.Array:
    """Gaussian blur of ``(*space, C)`` along its last two spatial axes, sigma in pixels; at the
    border the kernel is cut and rescaled.

    Each axis is one matrix product: 0.5 ms for 8 × 128² on one CPU core, where a sum over shifted
    images takes 3 ms.

    >>> point = jnp.zeros((5, 5, 1)).at[2, 2].set(1.0)
    >>> [f"{x:.2f}" for x in blur(point, sigma=1.0)[2, :, 0]]
    ['0.03', '0.10', '0.16', '0.10', '0.03']
    """
    for axis in (image.ndim - 3, image.ndim - 2):
        i = jnp.arange(image.shape[axis])
        distance = (i[:, None] - i) / jnp.maximum(sigma, 1e-3)
        weight = jnp.exp(-0.5 * distance**2)
        weight = weight / weight.sum(1, keepdims=True)
        image = jnp.tensordot(weight, image, (1, axis), precision="highest")
        image = jnp.moveaxis(image, 0, axis)
    return image


def boxes(
    u: jax.Array,
    shape: Sequence[int],
    side: jax.Array | float,
) -> jax.Array:
    """Bool mask ``shape``, True inside random boxes with their centres in the image, from uniform
    numbers ``u`` ``(holes, 2, axes)``.

    Each side lies in ``[side / 2, side]`` as a fraction of the axis. Apply it to a label too, with
    IGNORE, where a cut-out region should not be learnt from.

    >>> u = jnp.array([[[1.0, 1.0], [0.5, 0.5]]])  # one box: the whole side, in the middle
    >>> boxes(u, (4, 4), side=0.5).astype(int).tolist()
    [[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    """
    mask = jnp.zeros(tuple(shape), bool)
    for u_size, u_centre in u:
        inside = jnp.ones(tuple(shape), bool)
        for axis, n in enumerate(shape):
            reach = n * side * (1 + u_size[axis]) / 4
            pixel = jax.lax.broadcasted_iota(jnp.float32, tuple(shape), axis)
            distance = jnp.abs(pixel + 0.5 - n * u_centre[axis])
            inside &= distance < reach
        mask |= inside
    return mask
