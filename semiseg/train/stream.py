"""Pools on the device whose scans are exchanged between chunks of steps."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from semiseg import devices
from semiseg.data.rotating import BLOCK, EVERY, Division, Rotating
from semiseg.data.rotating_content import Content, Contents, Run
from semiseg.types import Choice, Images, Pools

Voxels = tuple[jax.Array, jax.Array, jax.Array | None]
"""Grey values, labels that are shown, and labels that the diagnostics may read."""


class Stream:
    """Pools that a run draws from, from one event to the next.

    What is on the device at an event depends on the seed and the event alone. A thread reads the
    scans of the next event while the steps before it are taken; no more of them are in memory.
    """

    def __init__(self, pools: Rotating, division: Division, mesh: jax.sharding.Mesh):
        self._pools = pools
        self._division = division
        self._mesh = mesh
        self._contents = Contents(pools, division)
        self._thread = ThreadPoolExecutor(1, "semiseg-scans")
        self._ahead: Future[Content] | None = None
        self._there: Content | None = None
        self._voxels = self._empty()
        for run in self._contents.resident():
            self._write(run)
        self._made: Pools | None = None

    def until(self, step: int) -> int:
        """The step before which scans are exchanged next."""
        return (step // EVERY + 1) * EVERY

    def at(self, step: int) -> Pools:
        """The pools from ``step`` on."""
        event = step // EVERY if self._division.lanes else 0
        if self._there is None or self._made is None or self._there.event != event:
            self._there = self._content(event)
            for run in self._there.runs:
                self._write(run)
            self._made = self._assembled(self._there)
            if self._division.lanes:
                self._ahead = self._thread.submit(self._contents.at, event + 1)
        return self._made

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Of the arrays on the device, which the program is compiled for."""
        arrays = jax.tree.leaves((self._voxels, self._fixed))
        return tuple(array.shape for array in arrays)

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(cancel_futures=True)

    def _content(self, event: int) -> Content:
        if self._ahead is not None:
            content = self._ahead.result()
            if content.event == event:
                return content
            self._contents = Contents(self._pools, self._division)
        return self._contents.at(event)

    # -------------------------------------------------------------- the device's memory
    def _empty(self) -> Voxels:
        pages = self._division.pages
        size = self._division.size * BLOCK
        dtype = self._pools.flat.voxels.dtype
        known = self._pools.known is not None
        return _zeros((pages, size), self._pools.channels, dtype, known, self._mesh)

    def _write(self, run: Run) -> None:
        for begin, end in pieces(len(run.labels) // BLOCK):
            part = slice(begin * BLOCK, end * BLOCK)
            known = None if run.known is None else run.known[None, part]
            piece = (run.voxels[None, part], run.labels[None, part], known)
            place = np.array([run.page, run.first + begin * BLOCK], np.int32)
            self._voxels = _written(self._voxels, *devices.replicated((piece, place), self._mesh))

    def _assembled(self, content: Content) -> Pools:
        pools = self._pools
        tables: Any = (content.page, content.offset, content.chances)
        page, offset, chances = devices.replicated(tables, self._mesh)
        shape, mean, deviation, foreground, fakes = self._fixed
        voxels, labels, known = self._voxels
        return Pools(
            image=Images(voxels, page, offset, shape, mean, deviation),
            label=labels,
            labelled=_choice(chances["labelled"]),
            unlabelled=_choice(chances["unlabelled"]),
            synthetic_count=fakes,
            foreground=foreground if pools.foreground is not None else None,
            hidden=known,
        )

    @functools.cached_property
    def _fixed(self) -> Any:
        """What stays the same: shapes, statistics, foreground, the number of synthetic images."""
        pools = self._pools
        flats = [pools.flat] if pools.synthetic is None else [pools.flat, pools.synthetic]
        shape = np.concatenate([flat.shape for flat in flats])
        mean = _joined([flat.mean for flat in flats])
        deviation = _joined([flat.deviation for flat in flats])
        fixed = (shape, mean, deviation, pools.foreground, np.int32(pools.fakes))
        return devices.replicated(fixed, self._mesh)


def _joined(parts: list[np.ndarray | None]) -> np.ndarray | None:
    known = [part for part in parts if part is not None]
    return np.concatenate(known) if len(known) == len(parts) else None


def _choice(chances: Any) -> Choice:
    return Choice(*chances)


def pieces(blocks: int) -> Iterator[tuple[int, int]]:
    """A number of blocks as powers of two: a program is compiled for each power alone.

    >>> list(pieces(13))
    [(0, 8), (8, 12), (12, 13)]
    """
    begin = 0
    for power in reversed(range(blocks.bit_length())):
        if blocks >> power & 1:
            yield begin, begin + 2**power
            begin += 2**power


@functools.partial(jax.jit, donate_argnums=0)
def _written(
    voxels: Voxels, piece: tuple[jax.Array, jax.Array, jax.Array | None], place: jax.Array
) -> Voxels:
    """The memory with a piece written at a page and a voxel."""
    zero = jnp.zeros((), jnp.int32)
    new = [jax.lax.dynamic_update_slice(voxels[0], piece[0], (place[0], place[1], zero))]
    for old, labels in zip(voxels[1:], piece[1:], strict=True):
        if old is not None and labels is not None:
            new.append(jax.lax.dynamic_update_slice(old, labels, (place[0], place[1])))
    return new[0], new[1], new[2] if len(new) == 3 else None


def _zeros(
    size: tuple[int, int], channels: int, dtype: np.dtype, known: bool, mesh: jax.sharding.Mesh
) -> Voxels:
    def made() -> Voxels:
        grey = jnp.zeros((*size, channels), dtype)
        labels = jnp.zeros(size, jnp.uint8)
        return grey, labels, jnp.zeros(size, jnp.uint8) if known else None

    return jax.jit(made, out_shardings=devices.copied(mesh))()
