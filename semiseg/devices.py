"""One batch over several devices: the batch axis is cut, everything else is copied (data
parallelism, by sharding annotations alone).

This is also how a CPU is filled: XLA runs many of its fast convolutions in one thread, so the cores
are made devices of their own (:func:`semiseg.environment.prepare`) and each trains its part of the
batch (a U-Net step of .16 instead of .22 s on two cores).
"""

from __future__ import annotations

import functools
import gc
from pathlib import Path
from typing import TypeVar

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

Tree = TypeVar("Tree")


def mesh(*sizes: int) -> Mesh:
    """The first devices, as many as divide every one of the batch ``sizes`` (zeros do not count)."""
    count = max(
        n for n in range(1, jax.local_device_count() + 1) if all(size % n == 0 for size in sizes)
    )
    return _mesh(count)


@functools.cache
def _mesh(count: int) -> Mesh:
    return jax.make_mesh(
        (count,), ("data",), axis_types=(AxisType.Auto,), devices=jax.local_devices()[:count]
    )


def copied(mesh: Mesh) -> NamedSharding:
    """A full copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def cut(tree: Tree, mesh: Mesh) -> Tree:
    """Inside jit: the leading axis of every array cut over the devices."""
    return jax.lax.with_sharding_constraint(tree, NamedSharding(mesh, PartitionSpec("data")))


def copy(tree: Tree, mesh: Mesh) -> Tree:
    """Inside jit: a full copy of every array on every device."""
    return jax.lax.with_sharding_constraint(tree, copied(mesh))


def make_room(limit: int | None = None) -> bool:
    """Lets go of all compiled programs where this process has more than half of the memory maps
    that Linux gives one; true if it did.

    On a CPU a training program takes two thousand of the 65530: after thirty methods or networks in
    one process XLA would crash. A program that is needed again is compiled again, or read from the
    cache of programs.

    Args:
      limit: maps a process may have; by default what the kernel says, nothing elsewhere.
    """
    mine, most = Path("/proc/self/maps"), Path("/proc/sys/vm/max_map_count")
    if not mine.exists() or not (limit or most.exists()):
        return False
    with mine.open("rb") as lines:
        crowded = 2 * sum(1 for _ in lines) > (limit or int(most.read_text()))
    if crowded:
        jax.clear_caches()
        gc.collect()
    return crowded
