"""The largest connected component of each class, inside jit: what BCP keeps of a pseudo-label."""

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
    """
    b, *space = label.shape
    index = jnp.broadcast_to(jnp.arange(math.prod(space), dtype=jnp.int32), (b, math.prod(space)))
    steps = [step for step in itertools.product((-1, 0, 1), repeat=len(space)) if any(step)]
    alike = [_shift(label, step) == label for step in steps]

    def hook(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        old, _ = state
        here = old.reshape(label.shape)
        best = here
        for step, same in zip(steps, alike):
            best = jnp.where(same, jnp.maximum(best, _shift(here, step)), best)
        new = jax.vmap(lambda pointer, value: pointer.at[pointer].max(value))(
            old, best.reshape(b, -1)
        )
        for _ in range(2):
            new = jnp.take_along_axis(new, new, 1)
        return new, jnp.any(new != old)

    return jax.lax.while_loop(lambda state: state[1], hook, (index, jnp.bool_(True)))[0].reshape(
        label.shape
    )


def _shift(x: jax.Array, step: tuple[int, ...]) -> jax.Array:
    """Each pixel's neighbour at ``step``; -1 outside the image."""
    padded = jnp.pad(x, ((0, 0), *((1, 1),) * len(step)), constant_values=-1)
    return jax.lax.dynamic_slice(padded, (0, *(1 + s for s in step)), x.shape)


def largest(label: jax.Array, classes: int) -> jax.Array:
    """``label (B, *space)`` with all but the largest component of each foreground class set to 0;
    equally large ones all stay.
    """
    number = components(label).reshape(len(label), -1)
    count = jax.vmap(lambda n: jnp.zeros(n.shape, jnp.int32).at[n].add(1))(number)
    size = jnp.take_along_axis(count, number, 1).reshape(label.shape)
    keep, space = jnp.zeros(label.shape, bool), tuple(range(1, label.ndim))
    for k in range(1, classes):
        mine = label == k
        keep |= mine & (size == jnp.where(mine, size, 0).max(space, keepdims=True))
    return jnp.where(keep, label, 0)
