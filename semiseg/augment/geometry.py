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

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.ndimage import map_coordinates

from semiseg.types import IGNORE, hyper


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

    def coordinates(self, key: jax.Array, frame: Sequence[int], size: Sequence[int]) -> jax.Array:
        """Where to look in an image of shape ``frame`` for each pixel of a window of shape ``size``
        around its centre.

        Returns float32 ``(len(size), *size)``, in pixels of the image, for :func:`warp`. With every
        probability and range at zero these are exactly the integers of the centre crop.
        """
        axes = len(size)
        knots = control_points(size, self.elastic_grid)
        # All numbers in one draw: each call of the generator costs XLA about half a second of
        # compiling.
        u, u_A, u_knots = jnp.split(
            jax.random.uniform(key, (11 + axes + math.prod(knots),)), (11, 11 + axes)
        )
        turned = u[0] < 0.5 if self.exclusive else True
        free = u[0] >= 0.5 if self.exclusive else True

        quarter = jnp.where(turned & (u[1] < self.rot90), jnp.floor(4 * u[2]).astype(jnp.int32), 0)
        cos90, sin90 = (
            jnp.array([1.0, 0.0, -1.0, 0.0])[quarter],
            jnp.array([0.0, 1.0, 0.0, -1.0])[quarter],
        )  # exact, unlike cos(pi / 2)
        mirrored = (
            jnp.array(self.flip_axes, jnp.int32)[
                jnp.floor(len(self.flip_axes) * u[4]).astype(jnp.int32)
            ]
            % axes
        )
        sign_A = jnp.where(turned & (u[3] < self.flip) & (jnp.arange(axes) == mirrored), -1.0, 1.0)
        angle = jnp.where(
            free & (u[5] < self.rotate_p), jnp.deg2rad(self.rotate_degrees) * (2 * u[6] - 1), 0.0
        )
        zoom = jnp.where(
            free & (u[7] < self.scale_p),
            self.scale_low * (self.scale_high / self.scale_low) ** u[8],
            1.0,
        )
        shear = jnp.where(free, self.shear * (2 * u[9] - 1), 0.0)
        shift_A = jnp.where(free, self.translate * (2 * u_A - 1), 0.0)
        strength = jnp.where(free & (u[10] < self.elastic_p), self.elastic_strength, 0.0)

        # From the centre of the window outwards: shift and bend, then the matrices. Sums are
        # written out, because a matrix product may
        # run in reduced precision on an accelerator, and a coordinate of 191.37 does not survive
        # that.
        bend = elastic(strength * (2 * u_knots.reshape(knots) - 1), size)
        p = [
            g - (n - 1) / 2 - shift_A[a] * n + bend[a]
            for a, (g, n) in enumerate(zip(_index_grid(size), size))
        ]
        y, x = p[-2] / zoom, p[-1] / zoom
        x = x + shear * y
        y, x = _rotate(y, x, jnp.cos(angle), jnp.sin(angle))
        y, x = _rotate(y, x, cos90, sin90)
        p = [q / zoom for q in p[:-2]] + [y, x]
        return jnp.stack(
            [
                sign_A[a] * q + (n - 1) / 2 + offset(f, n)
                for a, (q, f, n) in enumerate(zip(p, frame, size))
            ]
        )


def _rotate(
    y: jax.Array, x: jax.Array, cos: jax.Array, sin: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Sampling positions that turn the content counter-clockwise as displayed (``numpy.rot90``'s
    sense).
    """
    return cos * y + sin * x, cos * x - sin * y


def _index_grid(size: Sequence[int]) -> list[jax.Array]:
    """Index of each pixel along each axis, float32, broadcastable to ``size``."""
    return [jax.lax.broadcasted_iota(jnp.float32, tuple(size), a) for a in range(len(size))]


def control_points(size: Sequence[int], grid: int) -> tuple[int, ...]:
    """Shape ``(axes, …)`` of the control points that :func:`elastic` needs for ``grid`` intervals
    along the longest side of ``size``.
    """
    return len(size), *(max(1, round(grid * n / max(size))) + 3 for n in size)


def elastic(points: jax.Array, size: Sequence[int]) -> jax.Array:
    """Free-form deformation: displacements in pixels ``(axes, *size)``, the uniform cubic B-spline
    of displaced control points.

    Rueckert et al., IEEE TMI 18 (1999), eq. 1. ``points`` are displacements in units of the
    distance between control points, shaped as :func:`control_points` says; the outermost two of
    each axis lie outside the window.
    """
    axes = len(size)
    spacing_A = [n / (c - 3) for n, c in zip(size, points.shape[1:])]
    field = points * jnp.array(spacing_A).reshape((axes,) + (1,) * axes)
    for a, (n, c) in enumerate(zip(size, points.shape[1:])):
        field = jnp.moveaxis(
            jnp.tensordot(
                field, jnp.asarray(_spline_basis(n, c - 3)), (1 + a, 1), precision="highest"
            ),
            -1,
            1 + a,
        )
    return field


def _spline_basis(n: int, cells: int) -> np.ndarray:
    """Weights ``(n, cells + 3)`` of the control points at ``n`` pixel centres that span ``cells``
    intervals.
    """
    t = (np.arange(n) + 0.5) * cells / n
    d = np.abs(t[:, None] - (np.arange(cells + 3) - 1))
    return np.where(d < 1, 2 / 3 - d**2 + d**3 / 2, np.where(d < 2, (2 - d) ** 3 / 6, 0)).astype(
        np.float32
    )


def offset(frame: int, size: int) -> int:
    """First index of a centred window; negative where the window is larger. Rounded towards zero,
    so that padding undoes cropping.
    """
    return int((frame - size) / 2)


def warp(
    image: jax.Array, label: jax.Array, coordinates: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Sample one image (order 1) and its label (order 0) at ``coordinates``, as
    :meth:`Geometry.coordinates` makes them.

    Args:
      image: ``(*frame, C)`` float; also an encoding of something else, e.g. another view's
        probabilities.
      label: ``(*frame)`` integer.
      coordinates: ``(axes, *size)`` in pixels.

    Returns:
      image ``(*size, C)``, 0 outside the frame; label ``(*size)`` int32, IGNORE there; valid
      ``(*size)`` bool, False there. A pixel is outside when its nearest pixel is; up to the outer
      edge of the last pixel the image is continued by that pixel's value.
    """
    points = list(coordinates)
    valid = jnp.stack([(c > -0.5) & (c < n - 0.5) for c, n in zip(points, label.shape)]).all(0)
    sampled = jax.vmap(lambda channel: map_coordinates(channel, points, 1, mode="nearest"), -1, -1)(
        image
    )
    nearest = map_coordinates(label.astype(jnp.int32), points, 0, mode="nearest")
    return jnp.where(valid[..., None], sampled, 0), jnp.where(valid, nearest, IGNORE), valid


def centre(x: jax.Array, size: Sequence[int], axis: int = 1, fill: float = 0) -> jax.Array:
    """Crop, or pad with ``fill``, the axes ``axis, axis + 1, …`` of ``x`` to ``size`` around the
    centre.

    Cropping a frame and padding the crop back puts each pixel where it was, e.g. for predictions
    made on the centre of a slice.
    """
    starts = [offset(n, s) for n, s in zip(x.shape[axis:], size)]
    pads = [(max(-o, 0), max(s - n + o, 0)) for o, n, s in zip(starts, x.shape[axis:], size)]
    around = [(0, 0)] * axis, [(0, 0)] * (x.ndim - axis - len(size))
    if any(map(any, pads)):
        x = jnp.pad(x, around[0] + pads + around[1], constant_values=fill)
    window = tuple(slice(max(o, 0), max(o, 0) + s) for o, s in zip(starts, size))
    return x[(slice(None),) * axis + window]
