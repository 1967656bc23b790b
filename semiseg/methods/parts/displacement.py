"""Displacement of patches between two pictures, by how sure a network is of each: what ABD makes
its new pictures with.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from semiseg.methods.parts.terms import divergence


def grid_of(space: tuple[int, ...], most: int) -> tuple[int, ...]:
    """Patches along each axis: ``most``, or the largest smaller number that divides the axis.

    >>> grid_of((256, 250), most=4)
    (4, 2)
    """
    return tuple(max(n for n in range(1, most + 1) if size % n == 0) for size in space)


def to_patches(x: jax.Array, grid: tuple[int, ...]) -> jax.Array:
    """``x (B, *space, C)`` as ``(B, P, voxels of a patch, C)``, row by row.

    >>> to_patches(jnp.arange(8.0).reshape(1, 2, 4, 1), (1, 2))[0, :, :, 0].tolist()
    [[0.0, 1.0, 4.0, 5.0], [2.0, 3.0, 6.0, 7.0]]
    """
    dims = len(grid)
    sides = [size // n for size, n in zip(x.shape[1:-1], grid, strict=True)]
    pairs = [n for pair in zip(grid, sides, strict=True) for n in pair]
    split = x.reshape(len(x), *pairs, x.shape[-1])
    numbers = range(1, 2 * dims, 2)
    places = range(2, 2 * dims + 1, 2)
    ordered = split.transpose(0, *numbers, *places, 2 * dims + 1)
    return ordered.reshape(len(x), math.prod(grid), math.prod(sides), x.shape[-1])


def from_patches(patches: jax.Array, space: tuple[int, ...], grid: tuple[int, ...]) -> jax.Array:
    """The inverse of :func:`to_patches`: ``(B, *space, C)``.

    >>> x = jnp.arange(24.0).reshape(1, 4, 6, 1)
    >>> bool((from_patches(to_patches(x, (2, 3)), (4, 6), (2, 3)) == x).all())
    True
    """
    dims = len(grid)
    sides = [size // n for size, n in zip(space, grid, strict=True)]
    split = patches.reshape(len(patches), *grid, *sides, patches.shape[-1])
    axes = [axis for i in range(dims) for axis in (1 + i, 1 + dims + i)]
    ordered = split.transpose(0, *axes, 2 * dims + 1)
    return ordered.reshape(len(patches), *space, patches.shape[-1])


def displaced(
    image: jax.Array,
    other: jax.Array,
    logits: jax.Array,
    other_logits: jax.Array,
    nearest: jax.Array,
    *,
    most: int,
    candidates: int,
) -> jax.Array:
    """``image`` with its least confident patch overwritten by a confident one of ``other``.

    That is the most confident of all; where ``nearest``, the one of the most confident
    ``candidates`` whose class distribution is nearest to that of the overwritten patch (Chi et al.,
    CVPR 2024): the smallest KL of the softmax of both patches' mean logits. The confidence of a
    patch is the mean over its pixels of the largest probability.

    Args:
      image: ``(B, *space, C)``.
      other: as many other pictures of that shape.
      logits: of one network for ``image``, ``(B, *space, K)``.
      other_logits: of the other network for ``other``.
      nearest: ``(B,)`` bool.
      most: patches along an axis, fewer where they do not divide it.
      candidates: how many patches ``nearest`` chooses from.
    """
    space = image.shape[1:-1]
    grid = grid_of(space, most)
    own = to_patches(jax.lax.stop_gradient(logits), grid)
    theirs = to_patches(jax.lax.stop_gradient(other_logits), grid)
    worst = _confidence(own).argmin(1)
    confidence = _confidence(theirs)
    _, best = jax.lax.top_k(confidence, min(candidates, confidence.shape[1]))
    wanted = jax.nn.softmax(_take(own.mean(2), worst[:, None]))
    offered = jax.nn.softmax(_take(theirs.mean(2), best))
    closest = divergence(wanted, offered).argmin(1, keepdims=True)
    chosen = jnp.where(nearest[:, None], jnp.take_along_axis(best, closest, 1), best[:, :1])
    patch = _take(to_patches(other, grid), chosen)
    is_worst = jnp.arange(math.prod(grid)) == worst[:, None]
    patches = jnp.where(is_worst[..., None, None], patch, to_patches(image, grid))
    return from_patches(patches, space, grid)


def _confidence(logits_BPVK: jax.Array) -> jax.Array:
    return jax.nn.softmax(logits_BPVK).max(-1).mean(2)


def _take(x: jax.Array, index_BN: jax.Array) -> jax.Array:
    """``x (B, P, …)`` at N patches of each image."""
    return jax.vmap(jnp.take, (0, 0, None))(x, index_BN, 0)
