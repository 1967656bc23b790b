"""Exact Euclidean distance maps of masks, inside jit: what the boundary and Hausdorff losses weigh
pixels with.

The squared distance separates over axes: ``d²(i) = min_j f(j) + s²(i-j)²`` along one axis at a time
(Felzenszwalb & Huttenlocher 2012, §2). The minimum is gathered by a loop over j, each turn one
vectorised pass: n operations a pixel, static shapes, and on a CPU 10 to 30 times faster than the
broadcast minimum (64 maps of 128²: 18 ms against 524; 4 of 80×112×112: 53 against 482; two cores).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp


def distance_to(
    target: jax.Array,
    spacing: tuple[float, ...],
) -> jax.Array:
    """Distance of every pixel to the nearest True one, in units of ``spacing``; +inf everywhere
    where there is none.

    ``target (…, *space)`` bool; the last ``len(spacing)`` axes are space, the leading ones a batch.
    Equals ``scipy.ndimage.distance_transform_edt(~target, sampling=spacing)``. Exact in float32
    while squared distances in pixels stay below 2^24 (an axis of 2,896 pixels in 2D) and the
    spacing is 1.

    >>> distance_to(jnp.array([[True, False, False]]), (1.0,)).tolist()
    [[0.0, 1.0, 2.0]]
    """
    squared = jnp.where(target, 0.0, jnp.inf)
    for axis, step in enumerate(spacing, start=target.ndim - len(spacing)):
        squared = lower_envelope(squared, axis, step)
    return jnp.sqrt(squared)


def lower_envelope(
    f: jax.Array,
    axis: int,
    step: float,
) -> jax.Array:
    """``min_j f(j) + (step * (i - j))²`` along one axis, for every i.

    >>> lower_envelope(jnp.array([9.0, 0.0, 9.0, 9.0]), axis=0, step=1.0).tolist()
    [1.0, 0.0, 1.0, 4.0]
    """
    n = f.shape[axis]
    shape = [1] * f.ndim
    shape[axis] = n
    i = jax.lax.broadcasted_iota(jnp.float32, tuple(shape), axis)

    def body(
        j: jax.Array,
        least: jax.Array,
    ) -> jax.Array:
        f_j = jax.lax.dynamic_slice_in_dim(f, j, 1, axis)
        return jnp.minimum(least, f_j + jnp.square(step * (i - j)))

    return jax.lax.fori_loop(0, n, body, jnp.full_like(f, jnp.inf))


def signed_distance(
    inside: jax.Array,
    outside: jax.Array,
    spacing: tuple[float, ...],
) -> jax.Array:
    """Distance to ``inside``, minus distance to ``outside``: positive outside the mask, negative in
    it, never 0 but on undecided pixels.

    Args:
      inside: ``(…, *space)`` bool, the mask.
      outside: its complement, less the pixels that are neither (IGNORE), which then make no border
        of their own.
      spacing: one step a spatial axis.

    Returns:
      float32 ``(…, *space)``, without gradient; all 0 for a map in which one side is empty and no
      border exists.

    >>> mask = jnp.array([[False, False, True, True]])
    >>> signed_distance(mask, ~mask, (1.0,)).tolist()
    [[2.0, 1.0, -1.0, -2.0]]
    """
    axes = tuple(range(-len(spacing), 0))
    border = inside.any(axes, keepdims=True) & outside.any(axes, keepdims=True)
    difference = distance_to(inside, spacing) - distance_to(outside, spacing)
    return jax.lax.stop_gradient(jnp.where(border, difference, 0.0))
