"""The largest connected component of each class, inside jit: what BCP leaves of a pseudo-label."""

from __future__ import annotations

import itertools
import math

import jax
import jax.numpy as jnp


def components(label: jax.Array) -> jax.Array:
    """A number for each pixel ``(B, *space)`` that is the same within, and differs between, the
    regions of equal label.

    Neighbours touch by side or corner (8 in 2D, 26 in 3D). The number is the largest flat index of
    the region. Each pixel points to a pixel of its region; in a round what it points to is hooked
    to the largest that a neighbour of it points to, then pointers are followed twice (Shiloach and
    Vishkin, J. Algorithms 1982): the rounds grow as the logarithm of the region's longest path,
    whatever its shape.

    >>> components(jnp.array([[[1, 0, 1], [1, 0, 1]]])).tolist()
    [[[3, 4, 5], [3, 4, 5]]]
    """
    images, *space = label.shape
    pixels = math.prod(space)
    index = jnp.broadcast_to(jnp.arange(pixels, dtype=jnp.int32), (images, pixels))
    steps = [step for step in itertools.product((-1, 0, 1), repeat=len(space)) if any(step)]
    alike = [_shift(label, step) == label for step in steps]

    def hook(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        pointer, _ = state
        pointed = pointer.reshape(label.shape)
        best = pointed
        for step, same in zip(steps, alike, strict=True):
            best = jnp.where(same, jnp.maximum(best, _shift(pointed, step)), best)
        new = jax.vmap(_hook_one)(pointer, best.reshape(images, -1))
        for _ in range(2):
            new = jnp.take_along_axis(new, new, 1)
        return new, jnp.any(new != pointer)

    number, _ = jax.lax.while_loop(lambda state: state[1], hook, (index, jnp.bool_(True)))
    return number.reshape(label.shape)


def _hook_one(pointer: jax.Array, value: jax.Array) -> jax.Array:
    return pointer.at[pointer].max(value)


def _shift(x: jax.Array, step: tuple[int, ...]) -> jax.Array:
    """Each pixel's neighbour at ``step``; -1 outside the image."""
    margin = ((1, 1),) * len(step)
    padded = jnp.pad(x, ((0, 0), *margin), constant_values=-1)
    return jax.lax.dynamic_slice(padded, (0, *(1 + s for s in step)), x.shape)


def largest(label: jax.Array, classes: int) -> jax.Array:
    """``label (B, *space)`` with all but the largest component of each foreground class set to 0;
    equally large ones all stay.

    >>> largest(jnp.array([[[1, 1, 0, 1, 0, 2]]]), classes=3).tolist()
    [[[1, 1, 0, 0, 0, 2]]]
    """
    number = components(label).reshape(len(label), -1)
    count = jax.vmap(_occurrences)(number)
    size = jnp.take_along_axis(count, number, 1).reshape(label.shape)
    space = tuple(range(1, label.ndim))
    stays = jnp.zeros(label.shape, bool)
    for k in range(1, classes):
        region = label == k
        largest_size = jnp.where(region, size, 0).max(space, keepdims=True)
        stays |= region & (size == largest_size)
    return jnp.where(stays, label, 0)


def _occurrences(number: jax.Array) -> jax.Array:
    """How often each number from 0 to ``len(number) - 1`` occurs."""
    return jnp.zeros(number.shape, jnp.int32).at[number].add(1)
