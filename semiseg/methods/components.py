"""The largest connected component of each class, inside jit: what BCP keeps of a pseudo-label."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def components(label: jax.Array) -> jax.Array:
    """A number for each pixel ``(B, H, W)`` that is the same within, and differs between, the 8-connected regions of equal label.

    The largest pixel number of a region spreads to all of it: along whole runs of rows and columns by a cumulative maximum, which starts
    again where the label changes, and over corners by one step. Repeated until nothing changes: a disc takes two rounds, a spiral one a turn.
    """
    h, w = label.shape[1:]
    index = jnp.broadcast_to(jnp.arange(h * w, dtype=jnp.int32).reshape(h, w), label.shape)

    def spread(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        number, _ = state
        new = number
        for axis in (1, 2):
            for reverse in (False, True):
                new = _along_runs(new, label, axis, reverse)
        for dy in (-1, 1):
            for dx in (-1, 1):
                neighbour, other = _shift(new, dy, dx), _shift(label, dy, dx)
                new = jnp.where(other == label, jnp.maximum(new, neighbour), new)
        return new, jnp.any(new != number)

    return jax.lax.while_loop(lambda state: state[1], spread, (index, jnp.bool_(True)))[0]


def _along_runs(number: jax.Array, label: jax.Array, axis: int, reverse: bool) -> jax.Array:
    """The maximum so far within each run of equal labels: the run's number stands in the high bits and grows, so a new run wins."""
    flip = lambda x: jnp.flip(x, axis) if reverse else x
    number, label = flip(number), flip(label)
    base = number.shape[1] * number.shape[2]
    before = jnp.concatenate([jax.lax.slice_in_dim(label, 0, 1, axis=axis), jax.lax.slice_in_dim(label, 0, label.shape[axis] - 1, axis=axis)], axis)
    run = jnp.cumsum((label != before).astype(jnp.int32), axis)
    return flip(jax.lax.cummax(run * base + number, axis) - run * base)


def _shift(x: jax.Array, dy: int, dx: int) -> jax.Array:
    """Each pixel's neighbour at (dy, dx); -1 outside the image."""
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1)), constant_values=-1)
    return jax.lax.dynamic_slice(padded, (0, 1 + dy, 1 + dx), x.shape)


def largest(label: jax.Array, classes: int) -> jax.Array:
    """``label (B, H, W)`` with all but the largest 8-connected component of each foreground class set to 0; equally large ones all stay."""
    number = components(label)
    b, h, w = label.shape
    flat = number.reshape(b, -1) + h * w * jnp.arange(b, dtype=number.dtype)[:, None]
    count = jnp.zeros(b * h * w, jnp.int32).at[flat.reshape(-1)].add(1)
    size = count[flat].reshape(label.shape)
    keep = jnp.zeros(label.shape, bool)
    for k in range(1, classes):
        mine = label == k
        keep |= mine & (size == jnp.where(mine, size, 0).max((1, 2), keepdims=True))
    return jnp.where(keep, label, 0)
