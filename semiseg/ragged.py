"""Images of different shapes as one flat array on the device, and how a pixel is looked up in it.

All voxels stand one after the other, in pages, so that an index within a page fits 32 bits however
many voxels there are. An image lies in one page. Looking up gathers straight from the flat array:
nothing is copied or padded to a common shape, and the shapes of the arrays depend on the data set
alone.

Axes: ``P`` pages, ``V`` voxels of a page, ``C`` channels, ``N`` images, ``S`` planes that are the
channels of one image (2.5D), ``A`` spatial axes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

PAGE = 2**31 - 1
"""Most voxels of a page."""


class Images(NamedTuple):
    """N images of different shapes.

    Attributes:
      voxels: ``(P, V, C)`` uint8, or floats in [0, 1].
      page: ``(N,)`` int32, the page of each image.
      offset: ``(N, S)`` int32, first voxel of each of its planes; one plane, but for 2.5D.
      shape: ``(N, A)`` int32, its spatial shape.
      mean: ``(N, S · C)`` float32, what is taken from the grey values in [0, 1] before a network
        sees them; None where every window is standardised by itself.
      deviation: ``(N, S · C)`` float32, what they are divided by then.
    """

    voxels: jax.Array
    page: jax.Array
    offset: jax.Array
    shape: jax.Array
    mean: jax.Array | None = None
    deviation: jax.Array | None = None

    @property
    def number(self) -> int:
        """N."""
        return len(self.page)

    @property
    def axes(self) -> int:
        """A, the number of spatial axes."""
        return self.shape.shape[-1]

    @property
    def channels(self) -> int:
        """S · C, as a network sees them."""
        return self.offset.shape[-1] * self.voxels.shape[-1]

    @property
    def middle(self) -> jax.Array:
        """``(N,)``: first voxel of the image itself, between its neighbours in 2.5D."""
        return self.offset[:, self.offset.shape[1] // 2]

    @property
    def without_voxels(self) -> Images:
        """The tables alone."""
        return self._replace(voxels=jnp.zeros((0, 0, 0), self.voxels.dtype))

    def take(self, index: jax.Array | int) -> Images:
        """The images ``index (B,)``, or one of them; their voxels stay where they are."""
        mean = None if self.mean is None else self.mean[index]
        deviation = None if self.deviation is None else self.deviation[index]
        return self._replace(
            page=self.page[index],
            offset=self.offset[index],
            shape=self.shape[index],
            mean=mean,
            deviation=deviation,
        )


def of_dense(image: jax.Array) -> Images:
    """Images of one shape ``(N, *space, C)``.

    >>> images = of_dense(jnp.zeros((2, 3, 4, 1), jnp.uint8))
    >>> images.voxels.shape, images.offset.tolist(), images.shape.tolist()
    ((1, 24, 1), [[0], [12]], [[3, 4], [3, 4]])
    """
    image = jnp.asarray(image)
    number = len(image)
    space = image.shape[1:-1]
    size = math.prod(space)
    return Images(
        voxels=image.reshape(1, number * size, image.shape[-1]),
        page=jnp.zeros(number, jnp.int32),
        offset=(jnp.arange(number, dtype=jnp.int32) * size)[:, None],
        shape=jnp.broadcast_to(jnp.array(space, jnp.int32), (number, len(space))),
    )


def labels_of_dense(label: jax.Array) -> jax.Array:
    """Labels of one shape ``(N, *space)`` as the voxels ``(1, V)`` beside :func:`of_dense`."""
    return jnp.asarray(label).reshape(1, -1)


class Layout(NamedTuple):
    """Where images lie in the flat array.

    Attributes:
      pages: their number.
      size: voxels of a page.
      page: ``(N,)`` int32.
      offset: ``(N,)`` int32.
    """

    pages: int
    size: int
    page: np.ndarray
    offset: np.ndarray


def layout(voxels: Sequence[int], page_size: int = PAGE) -> Layout:
    """Place images of so many ``voxels``, one after the other, in pages of up to ``page_size``.

    Raises:
      ValueError: an image is larger than a page.

    >>> placed = layout([3, 4, 2], page_size=7)
    >>> placed.pages, placed.size, placed.page.tolist(), placed.offset.tolist()
    (2, 7, [0, 0, 1], [0, 3, 0])
    """
    page = np.zeros(len(voxels), np.int32)
    offset = np.zeros(len(voxels), np.int32)
    number = 0
    filled = 0
    largest = 0
    for i, count in enumerate(voxels):
        if count > page_size:
            raise ValueError(f"an image has {count} voxels; a page holds {page_size}")
        if filled + count > page_size:
            number += 1
            filled = 0
        page[i] = number
        offset[i] = filled
        filled += count
        largest = max(largest, filled)
    return Layout(number + 1, largest, page, offset)


# ------------------------------------------------------------------ looking up
def linear(
    voxels: jax.Array,
    page: jax.Array,
    offset: jax.Array,
    shape: jax.Array,
    coordinates: jax.Array,
) -> jax.Array:
    """Values of one image between its pixels, interpolated linearly; beyond the outermost pixels
    theirs are repeated.

    Args:
      voxels: ``(P, V, C)``; uint8 becomes floats in [0, 1].
      page: of the image, a scalar.
      offset: ``(S,)``, first voxel of each of its planes.
      shape: ``(A,)``.
      coordinates: ``(A, *size)`` in pixels.

    Returns:
      ``(*size, S · C)`` float32, the planes one after the other.

    >>> image = of_dense(jnp.array([[[[0.0], [1.0]]]]))
    >>> points = jnp.array([[[0.0, 0.0]], [[0.75, 2.0]]])
    >>> one = image.take(0)
    >>> linear(one.voxels, one.page, one.offset, one.shape, points)[0, :, 0].tolist()
    [0.75, 1.0]
    """
    per_axis = []
    for c, n in zip(coordinates, shape, strict=True):
        lower = jnp.floor(c)
        upper_weight = c - lower
        lower_weight = 1 - upper_weight
        index = lower.astype(jnp.int32)
        per_axis.append(
            [
                (jnp.clip(index, 0, n - 1), lower_weight),
                (jnp.clip(index + 1, 0, n - 1), upper_weight),
            ]
        )
    planes = []
    for first in offset:
        corners = []
        for corner in itertools.product(*per_axis):
            weight: Any = math.prod(w for _, w in corner)
            value = _at(voxels, page, first + _flat([index for index, _ in corner], shape))
            corners.append(weight[..., None] * unit_range(value))
        planes.append(sum(corners[1:], corners[0]))
    return jnp.concatenate(planes, -1)


def nearest(
    voxels: jax.Array,
    page: jax.Array,
    offset: jax.Array,
    shape: jax.Array,
    coordinates: jax.Array,
) -> jax.Array:
    """Values ``(*size)`` of the nearest pixels of one image; arguments as of :func:`linear`, with
    ``voxels (P, V)`` and a scalar ``offset``.
    """
    return _at(voxels, page, index_of_nearest(offset, shape, coordinates))


def index_of_nearest(offset: jax.Array, shape: jax.Array, coordinates: jax.Array) -> jax.Array:
    """``(*size)`` int32: where in its page the pixel of an image that is nearest to each place
    stands.
    """
    indices = []
    for c, n in zip(coordinates, shape, strict=True):
        rounded = jax.lax.round(c, jax.lax.RoundingMethod.AWAY_FROM_ZERO)
        indices.append(jnp.clip(rounded.astype(jnp.int32), 0, n - 1))
    return offset + _flat(indices, shape)


def inside(shape: jax.Array, coordinates: jax.Array) -> jax.Array:
    """``(*size)`` bool: whether the nearest pixel of each place belongs to the image."""
    within = []
    for c, n in zip(coordinates, shape, strict=True):
        within.append((c > -0.5) & (c < n - 0.5))
    return jnp.stack(within).all(0)


def unit_range(image: jax.Array) -> jax.Array:
    """uint8 as float32 in [0, 1]; floats as float32.

    Raises:
      TypeError: any other type.
    """
    if image.dtype == jnp.uint8:
        # XLA makes a product of a quotient: the same bits inside and outside jit
        return image.astype(jnp.float32) * np.float32(1 / 255)
    if jnp.issubdtype(image.dtype, jnp.floating):
        return image.astype(jnp.float32)
    raise TypeError(f"images are uint8, or float in [0, 1]; got {image.dtype}")


def _flat(indices: Sequence[jax.Array], shape: jax.Array) -> jax.Array:
    """Index of a voxel within its image."""
    index = indices[0]
    for i, n in zip(indices[1:], shape[1:], strict=True):
        index = index * n + i
    return index


def _at(voxels: jax.Array, page: jax.Array, index: jax.Array) -> jax.Array:
    if voxels.shape[0] == 1:
        return voxels[0][index]
    return voxels[page, index]
