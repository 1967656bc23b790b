"""One batch over several devices: the batch axis is cut, everything else is copied (data parallelism, by sharding annotations alone).

This is also how a CPU is filled: XLA runs many of its fast convolutions in one thread, so the cores are made devices of their own
(:func:`semiseg.environment.prepare`) and each trains its part of the batch (a U-Net step of .16 instead of .22 s on two cores).
"""

from __future__ import annotations

import functools
from typing import TypeVar

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

Tree = TypeVar("Tree")


def mesh(*sizes: int) -> Mesh:
    """The first devices, as many as divide every one of the batch ``sizes`` (zeros do not count)."""
    count = max(n for n in range(1, jax.local_device_count() + 1) if all(size % n == 0 for size in sizes))
    return _mesh(count)


@functools.cache
def _mesh(count: int) -> Mesh:
    return jax.make_mesh((count,), ("data",), axis_types=(AxisType.Auto,), devices=jax.local_devices()[:count])


def copied(mesh: Mesh) -> NamedSharding:
    """A full copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def cut(tree: Tree, mesh: Mesh) -> Tree:
    """Inside jit: the leading axis of every array cut over the devices."""
    return jax.lax.with_sharding_constraint(tree, NamedSharding(mesh, PartitionSpec("data")))


def copy(tree: Tree, mesh: Mesh) -> Tree:
    """Inside jit: a full copy of every array on every device."""
    return jax.lax.with_sharding_constraint(tree, copied(mesh))
