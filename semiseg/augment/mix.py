"""Mixing two images: boxes for CutMix and copy-paste, inside jit. A mask is True where the second
image goes.

    mask = box(key, (H, W), 1, (2 / 3, 2 / 3))   # (1, H, W): one box for a batch
    mixed = paste(mask, onto, patch)             # images (B, H, W, C), and labels (B, H, W) alike
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from semiseg.augment.intensity import blur


def box(
    key: jax.Array,
    shape: Sequence[int],
    count: int,
    side: Sequence[jax.Array | float],
) -> jax.Array:
    """Masks ``(count, *shape)``, each with a box of ``side`` (share of each axis) anywhere it fits.

    A side is rounded down to whole pixels, as BCP does (Bai et al. 2023): 2/3 of 128 is 85.
    ``side`` may be traced, and may be an array ``(count,)`` an axis.

    >>> mask = box(jax.random.key(0), (6, 8), 1, (1 / 2, 1 / 4))
    >>> mask.shape, int(mask.sum())
    ((1, 6, 8), 6)
    """
    u = jax.random.uniform(key, (len(shape), count))
    per_image = (-1, *(1,) * len(shape))
    mask = jnp.ones((count, *shape), bool)
    for axis, (n, share) in enumerate(zip(shape, side, strict=True)):
        share = jnp.asarray(share, jnp.float32)
        length = jnp.floor(share * n + 1e-4)
        first = jnp.floor(u[axis] * (n - length + 1))
        place = jax.lax.broadcasted_iota(jnp.float32, (count, *shape), axis + 1)
        low = first.reshape(per_image)
        high = low + length.reshape(per_image)
        mask &= (place >= low) & (place < high)
    return mask


def cutmix_box(
    key: jax.Array,
    shape: Sequence[int],
    count: int,
    p: jax.Array | float = 0.5,
    low: float = 0.02,
    high: float = 0.4,
) -> jax.Array:
    """CutMix masks ``(count, *shape)``: with probability ``p`` a box of ``low`` to ``high`` of the
    area and a ratio of sides of 0.3 to 1/0.3.

    Yun et al. 2019, with the ranges of UniMatch (Yang et al. 2023). A side that would leave the
    image is cut to it.

    >>> mask = cutmix_box(jax.random.key(0), (100, 100), count=50, p=1.0, low=0.1, high=0.1)
    >>> bool((mask.mean((1, 2)) < 0.1 + 1e-6).all())  # sides are rounded down
    True
    """
    k_box, k_size = jax.random.split(key)
    u = jax.random.uniform(k_size, (3, count))
    area = low + (high - low) * u[0]
    ratio = 0.3 * (1 / 0.3**2) ** u[1]
    height = jnp.minimum(jnp.sqrt(area * ratio), 1.0)
    width = jnp.minimum(jnp.sqrt(area / ratio), 1.0)
    depth = (jnp.ones(count),) * (len(shape) - 2)  # in 3D the box goes through all slices
    is_drawn = u[2] < p
    is_drawn = is_drawn.reshape(-1, *(1,) * len(shape))
    return box(k_box, shape, count, (*depth, height, width)) & is_drawn


def beta_box(
    key: jax.Array,
    shape: Sequence[int],
    count: int,
    p: jax.Array | float = 1.0,
) -> jax.Array:
    """CutMix masks ``(count, *shape)``: with probability ``p`` a box of 1 - λ of the area, λ drawn
    from Beta(4, 4) for each image, as in AD-MT (Zhao et al. 2024).

    Its centre lies anywhere but in the first eighth of an axis; what would leave the image is cut
    off. So a box covers 0.36 of the image on average. In 3D it goes through all slices.

    >>> mask = beta_box(jax.random.key(0), (64, 64), count=500)
    >>> bool(0.33 < mask.mean() < 0.39)
    True
    """
    k_share, k_centre, k_drawn = jax.random.split(key, 3)
    # the fourth smallest of seven uniform numbers has the distribution Beta(4, 4)
    share = jnp.sort(jax.random.uniform(k_share, (7, count)), 0)[3]
    centre = jax.random.uniform(k_centre, (2, count), minval=1 / 8)
    per_image = (-1, *(1,) * len(shape))
    is_drawn = jax.random.uniform(k_drawn, (count,)) < p
    mask = jnp.broadcast_to(is_drawn.reshape(per_image), (count, *shape))
    for i, axis in enumerate((len(shape) - 2, len(shape) - 1)):
        n = shape[axis]
        reach = 0.5 * n * jnp.sqrt(share).reshape(per_image)
        middle = n * centre[i].reshape(per_image)
        place = jax.lax.broadcasted_iota(jnp.float32, (count, *shape), axis + 1) + 0.5
        mask &= jnp.abs(place - middle) < reach
    return mask


def paste(
    mask: jax.Array,
    onto: jax.Array,
    patch: jax.Array,
) -> jax.Array:
    """``patch`` where ``mask (B or 1, *space)`` is True, ``onto`` elsewhere; both ``(B, *space)``
    or ``(B, *space, C)``.

    >>> mask = jnp.array([[True, False]])
    >>> paste(mask, onto=jnp.array([[1, 2]]), patch=jnp.array([[8, 9]])).tolist()
    [[8, 2]]
    """
    trailing = (1,) * (onto.ndim - mask.ndim)
    return jnp.where(mask.reshape(mask.shape + trailing), patch, onto)


def partner(x: jax.Array) -> jax.Array:
    """The batch moved on by one: the image each is mixed with.

    >>> partner(jnp.array([1, 2, 3])).tolist()
    [3, 1, 2]
    """
    return jnp.roll(x, 1, 0)


def jitter(
    key: jax.Array,
    image: jax.Array,
    p: jax.Array | float = 0.8,
    blur_p: jax.Array | float = 0.5,
    strength: float = 0.5,
) -> jax.Array:
    """A strong view made from standardised weak ones ``(B, *space, C)``: contrast, brightness and
    blur, each image for itself.

    With probability ``p`` the contrast is multiplied by up to ``1 + strength`` or its inverse and
    up to ``strength`` standard deviations are added; with ``blur_p`` a Gaussian of up to 1.5
    pixels. Colour jitter of the published methods, for one standardised channel.
    """

    def one(
        u: jax.Array,
        x: jax.Array,
    ) -> jax.Array:
        contrast = (1 + strength) ** (2 * u[1] - 1)
        brightness = strength * (2 * u[2] - 1)
        changed = x * contrast + brightness
        x = jnp.where(u[0] < p, changed, x)
        blurred = blur(x, 0.1 + 1.4 * u[4])
        return jnp.where(u[3] < blur_p, blurred, x)

    u_B5 = jax.random.uniform(key, (len(image), 5))
    return jax.vmap(one)(u_B5, image)
