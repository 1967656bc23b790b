"""Draw + augment, first half: where each pixel of a training window comes from, and the one
resampling that fetches it.

Mirroring, quarter turns, the affine map and the elastic deformation are composed into ONE field of
coordinates, so that an image is interpolated once. The field is the transformation: :func:`warp`
takes an image, a label or another view's prediction through the same one. Everything acts on one
sample, of two or three spatial axes, with static shapes; the caller vmaps.

Three axes are ``D H W``: rotation, shear and quarter turns act in the plane of the last two (slices
are often thick), the rest on all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from semiseg import ragged
from semiseg.types import IGNORE, hyper


class Turn(NamedTuple):
    """What was drawn for one sample: mirror, quarter turn and affine map."""

    sign_A: jax.Array  # -1 along the axis that is mirrored
    cos90: jax.Array  # of the quarter turn
    sin90: jax.Array
    cos: jax.Array  # of the rotation
    sin: jax.Array
    zoom: jax.Array
    shear: jax.Array


@hyper
class Geometry:
    """Random geometric transformation. Every probability ``*_p`` is per sample; strengths are drawn
    uniformly.

    Attributes:
      flip: probability of mirroring along one of ``flip_axes``. Set 0 where left and right are
        different organs.
      flip_axes: spatial axes, counted from the last, one of which is drawn for the mirror.
      rot90: probability of a turn by 0, 90, 180 or 270 degrees, drawn evenly.
      rotate_p: probability of a rotation.
      rotate_degrees: largest angle; drawn from ± this.
      scale_p: probability of a zoom, the same along each axis.
      scale_low: smallest zoom; above 1 magnifies. Drawn log-uniformly up to ``scale_high``.
      scale_high: largest zoom.
      shear: largest shear of columns along rows (tangent of the angle); drawn from ± this.
      translate: largest shift as a fraction of the window's side; drawn from ± this along each
        axis.
      elastic_p: probability of an elastic deformation, a cubic B-spline of a coarse grid of random
        displacements.
      elastic_strength: largest displacement of a control point as a fraction of their distance, so
        that it means the same at any image size. Up to 0.48 in 2D and 0.40 in 3D the deformation
        cannot fold (Choi and Lee, Graphical Models 62, 2000).
      elastic_grid: control-point intervals along the longest side of the window.
      exclusive: flip and rot90 in half of the samples, everything else only in the other half (as
        SSL4MIS does).
    """

    flip: float = 0.5
    flip_axes: tuple[int, ...] = (-2, -1)
    rot90: float = 0.5
    rotate_p: float = 0.5
    rotate_degrees: float = 20.0
    scale_p: float = 0.5
    scale_low: float = 0.8
    scale_high: float = 1.25
    shear: float = 0.1
    translate: float = 0.05
    elastic_p: float = 0.3
    elastic_strength: float = 0.35
    elastic_grid: int = 5
    exclusive: bool = False

    def coordinates(
        self,
        key: jax.Array,
        frame: Sequence[int] | jax.Array,
        size: Sequence[int],
    ) -> jax.Array:
        """Where to look in an image of shape ``frame``, which may be traced, for each pixel of a
        window of shape ``size`` around its centre.

        Returns float32 ``(len(size), *size)``, in pixels of the image, for :func:`warp`. With every
        probability and range at zero these are exactly the integers of the centre crop.

        >>> off = dict.fromkeys(("flip", "rot90", "rotate_p", "scale_p", "elastic_p"), 0.0)
        >>> still = Geometry(shear=0.0, translate=0.0, **off)
        >>> still.coordinates(jax.random.key(0), frame=(6, 6), size=(2, 2)).tolist()
        [[[2.0, 2.0], [3.0, 3.0]], [[2.0, 3.0], [2.0, 3.0]]]
        """
        axes = len(size)
        knots = control_points(size, self.elastic_grid)
        # All numbers in one draw: each call of the generator costs XLA about half a second of
        # compiling.
        many = 11 + axes + math.prod(knots)
        drawn = jax.random.uniform(key, (many,))
        u, u_A, u_knots = jnp.split(drawn, (11, 11 + axes))
        may_turn: jax.Array | bool = True
        may_deform: jax.Array | bool = True
        if self.exclusive:
            may_turn = u[0] < 0.5
            may_deform = u[0] >= 0.5
        turn = self._turn(u, axes, may_turn, may_deform)
        shift_A = self.translate * (2 * u_A - 1)
        shift_A = jnp.where(may_deform, shift_A, 0.0)
        is_bent = may_deform & (u[10] < self.elastic_p)
        strength = jnp.where(is_bent, self.elastic_strength, 0.0)

        # From the centre of the window outwards: shift and bend, then the matrices. Sums are
        # written out, because a matrix product may run in reduced precision on an accelerator, and
        # a coordinate of 191.37 does not survive that.
        u_knots = u_knots.reshape(knots)
        bend = elastic(strength * (2 * u_knots - 1), size)
        p = []
        for a, (index, n) in enumerate(zip(_index_grid(size), size, strict=True)):
            from_centre = index - (n - 1) / 2
            p.append(from_centre - shift_A[a] * n + bend[a])
        *through, y, x = [q / turn.zoom for q in p]
        x = x + turn.shear * y
        y, x = _rotate(y, x, turn.cos, turn.sin)
        y, x = _rotate(y, x, turn.cos90, turn.sin90)
        p = [*through, y, x]
        sides: Any = zip(frame, size, strict=True)
        for a, (f, n) in enumerate(sides):
            in_window = turn.sign_A[a] * p[a] + (n - 1) / 2
            p[a] = in_window + _offset(f, n)
        return jnp.stack(p)

    def _turn(
        self,
        u: jax.Array,
        axes: int,
        may_turn: jax.Array | bool,
        may_deform: jax.Array | bool,
    ) -> Turn:
        """What the uniform numbers ``u`` say of mirror, quarter turn and affine map."""
        is_turned = may_turn & (u[1] < self.rot90)
        quarter = jnp.floor(4 * u[2]).astype(jnp.int32)
        quarter = jnp.where(is_turned, quarter, 0)
        chosen = jnp.floor(len(self.flip_axes) * u[4])
        chosen = chosen.astype(jnp.int32)
        mirrored_axis = jnp.array(self.flip_axes, jnp.int32)[chosen] % axes
        is_mirrored = may_turn & (u[3] < self.flip)
        is_mirrored_A = is_mirrored & (jnp.arange(axes) == mirrored_axis)

        is_rotated = may_deform & (u[5] < self.rotate_p)
        largest_angle = jnp.deg2rad(self.rotate_degrees)
        angle = largest_angle * (2 * u[6] - 1)
        angle = jnp.where(is_rotated, angle, 0.0)
        is_scaled = may_deform & (u[7] < self.scale_p)
        scale = self.scale_low * (self.scale_high / self.scale_low) ** u[8]
        return Turn(
            sign_A=jnp.where(is_mirrored_A, -1.0, 1.0),
            cos90=jnp.array([1.0, 0.0, -1.0, 0.0])[quarter],  # exact, unlike cos(pi / 2)
            sin90=jnp.array([0.0, 1.0, 0.0, -1.0])[quarter],
            cos=jnp.cos(angle),
            sin=jnp.sin(angle),
            zoom=jnp.where(is_scaled, scale, 1.0),
            shear=jnp.where(may_deform, self.shear * (2 * u[9] - 1), 0.0),
        )


def _rotate(
    y: jax.Array,
    x: jax.Array,
    cos: jax.Array,
    sin: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Sampling positions that turn the content counter-clockwise as displayed (``numpy.rot90``'s
    sense).
    """
    turned_y = cos * y + sin * x
    turned_x = cos * x - sin * y
    return turned_y, turned_x


def _index_grid(size: Sequence[int]) -> list[jax.Array]:
    """Index of each pixel along each axis, float32, broadcastable to ``size``."""
    shape = tuple(size)
    return [jax.lax.broadcasted_iota(jnp.float32, shape, a) for a in range(len(size))]


def control_points(
    size: Sequence[int],
    grid: int,
) -> tuple[int, ...]:
    """Shape ``(axes, …)`` of the control points that :func:`elastic` needs for ``grid`` intervals
    along the longest side of ``size``.

    >>> control_points((64, 128), grid=4)
    (2, 5, 7)
    """
    longest = max(size)
    cells = [max(1, round(grid * n / longest)) for n in size]
    return (len(size), *(c + 3 for c in cells))


def elastic(
    points: jax.Array,
    size: Sequence[int],
) -> jax.Array:
    """Free-form deformation: displacements in pixels ``(axes, *size)``, the uniform cubic B-spline
    of displaced control points.

    Rueckert et al., IEEE TMI 18 (1999), eq. 1. ``points`` are displacements in units of the
    distance between control points, shaped as :func:`control_points` says; the outermost two of
    each axis lie outside the window.

    >>> points = jnp.full(control_points((4, 8), grid=2), 0.5)  # all by half of 4 pixels
    >>> field = elastic(points, (4, 8))
    >>> field.shape, f"{field.min():.3f} to {field.max():.3f}"
    ((2, 4, 8), '2.000 to 2.000')
    """
    axes = len(size)
    cells = [c - 3 for c in points.shape[1:]]
    spacing_A = [n / c for n, c in zip(size, cells, strict=True)]
    per_axis = (axes,) + (1,) * axes
    field = points * jnp.array(spacing_A).reshape(per_axis)
    for axis, (n, c) in enumerate(zip(size, cells, strict=True), 1):
        basis = jnp.asarray(_spline_basis(n, c))
        field = jnp.tensordot(field, basis, (axis, 1), precision="highest")
        field = jnp.moveaxis(field, -1, axis)
    return field


def _spline_basis(
    n: int,
    cells: int,
) -> np.ndarray:
    """Weights ``(n, cells + 3)`` of the control points at ``n`` pixel centres that span ``cells``
    intervals.
    """
    t = (np.arange(n) + 0.5) * cells / n
    knots = np.arange(cells + 3) - 1
    d = np.abs(t[:, None] - knots)
    near = 2 / 3 - d**2 + d**3 / 2
    far = np.where(d < 2, (2 - d) ** 3 / 6, 0)
    return np.where(d < 1, near, far).astype(np.float32)


def offset(
    frame: int,
    size: int,
) -> int:
    """First index of a centred window; negative where the window is larger. Rounded towards zero,
    so that padding undoes cropping.

    >>> offset(9, 4), offset(4, 9)
    (2, -2)
    """
    return int((frame - size) / 2)


def _offset(
    frame: int | jax.Array,
    size: int,
) -> int | jax.Array:
    """:func:`offset` of a frame whose side may be traced."""
    if isinstance(frame, jax.Array):
        return jnp.trunc((frame - size) / 2)
    return offset(frame, size)


def warp(
    image: jax.Array,
    label: jax.Array,
    coordinates: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Sample one image (order 1) and its label (order 0) at ``coordinates``, as
    :meth:`Geometry.coordinates` makes them.

    Args:
      image: ``(*frame, C)`` float; also an encoding of something else, e.g. another view's
        probabilities.
      label: ``(*frame)`` integer.
      coordinates: ``(axes, *size)`` in pixels.

    Returns:
      See :func:`sample`.

    >>> image, label = jnp.array([[[0.0], [1.0]]]), jnp.array([[0, 1]])
    >>> coordinates = jnp.array([[[0.0, 0.0]], [[0.75, 2.0]]])
    >>> image, label, valid = warp(image, label, coordinates)
    >>> image[0, :, 0].tolist(), label[0].tolist(), valid[0].tolist()
    ([0.75, 0.0], [1, 255], [True, False])
    """
    images = ragged.of_dense(image[None])
    labels = ragged.labels_of_dense(label[None])
    return sample(images.take(0), labels, coordinates)


def sample(
    image: ragged.Images,
    labels: jax.Array,
    coordinates: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Sample one image of a flat pool (order 1) and its label (order 0) at ``coordinates``.

    Args:
      image: one image, i.e. without the axis N.
      labels: ``(P, V)`` integer, beside the voxels of the pool.
      coordinates: ``(axes, *size)`` in pixels.

    Returns:
      image ``(*size, C)`` float32, 0 outside the frame; label ``(*size)`` int32, IGNORE there;
      valid ``(*size)`` bool, False there. A pixel is outside when its nearest pixel is; up to the
      outer edge of the last pixel the image is continued by that pixel's value.
    """
    valid = ragged.inside(image.shape, coordinates)
    place = (image.page, image.offset, image.shape, coordinates)
    sampled = ragged.linear(image.voxels, *place)
    middle = image.offset[image.offset.shape[0] // 2]
    near = ragged.nearest(labels, image.page, middle, image.shape, coordinates)
    pixels = jnp.where(valid[..., None], sampled, 0)
    label = jnp.where(valid, near.astype(jnp.int32), IGNORE)
    return pixels, label, valid


def centre(
    x: jax.Array,
    size: Sequence[int],
    axis: int = 1,
    fill: float = 0,
) -> jax.Array:
    """Crop, or pad with ``fill``, the axes ``axis, axis + 1, …`` of ``x`` to ``size`` around the
    centre.

    Cropping a frame and padding the crop back puts each pixel where it was, e.g. for predictions
    made on the centre of a slice.

    >>> centre(jnp.arange(6)[None], (2,)).tolist(), centre(jnp.array([[5, 6]]), (4,)).tolist()
    ([[2, 3]], [[0, 5, 6, 0]])
    """
    pads = [(0, 0)] * x.ndim
    window = [slice(None)] * x.ndim
    for a, s in enumerate(size, axis):
        n = x.shape[a]
        start = offset(n, s)
        first = max(start, 0)
        missing = s - n + start
        pads[a] = (max(-start, 0), max(missing, 0))
        window[a] = slice(first, first + s)
    if any(map(any, pads)):
        x = jnp.pad(x, pads, constant_values=fill)
    return x[tuple(window)]
