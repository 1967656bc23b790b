"""What is on the device at an event of a rotating pool: which scans are read, where each image is,
and what is drawn with which probability.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from semiseg.data.flat import Flat
from semiseg.data.rotating import (
    BLOCK,
    Division,
    Lane,
    Rotating,
    Scans,
    scans_of,
    weights,
)
from semiseg.data.rotation import Place, Ring
from semiseg.types import IGNORE


class Run(NamedTuple):
    """Voxels that are written to the device at once.

    Attributes:
      page, first: where, see :class:`semiseg.ragged.Images`.
      voxels: ``(V, C)``, V a multiple of BLOCK.
      labels: ``(V,)``, IGNORE outside the label budget.
      known: ``(V,)``, what the diagnostics may read; None for no diagnostics.
    """

    page: int
    first: int
    voxels: np.ndarray
    labels: np.ndarray
    known: np.ndarray | None


class Chances(NamedTuple):
    """What is drawn, the fields of :class:`semiseg.types.Choice`.

    Attributes:
      images: ``(N,)`` int32.
      number: int32 scalar.
      below: ``(N,)`` float32.
    """

    images: np.ndarray
    number: np.ndarray
    below: np.ndarray


class Content(NamedTuple):
    """The device's memory from an event on.

    Attributes:
      event: its number.
      runs: what is written.
      page: ``(N,)`` int32, of every image; of one that is not there anything.
      offset: ``(N, S)`` int32.
      chances: ``labelled`` and ``unlabelled`` → what is drawn.
    """

    event: int
    runs: list[Run]
    page: np.ndarray
    offset: np.ndarray
    chances: dict[str, Chances]


class Contents:
    """The content at one event after another, from any of them on."""

    def __init__(self, pools: Rotating, division: Division):
        self._pools = pools
        self._division = division
        self._scans = scans_of(pools.flat, pools.scan)
        self._rings = [Ring(lane.segments) for lane in division.lanes]
        self._shown = np.unique(pools.scan[pools.labelled])
        self._images_of: dict[int, np.ndarray] = {}
        order = np.argsort(pools.scan, kind="stable")
        for images in np.split(order, np.flatnonzero(np.diff(pools.scan[order])) + 1):
            self._images_of[int(pools.scan[images[0]])] = images
        self._stay = self._resident_chances()

    def at(self, event: int) -> Content:
        """The content at an event; of scans that were there at the one before nothing is read."""
        added: list[tuple[int, int]] = []
        blocks = dict(self._division.resident)
        chances = dict(self._stay)
        for lane, ring in zip(self._division.lanes, self._rings, strict=True):
            places = lane.circle.at(event)
            new = ring.move(places, self._scans.blocks[lane.scans])
            added += [(block, int(lane.scans[place.scan])) for place, block in new]
            for place in places:
                blocks[int(lane.scans[place.scan])] = ring.blocks[place.turn]
            of_lane = self._rotating_chances(lane, places)
            chances |= dict.fromkeys(lane.group.draws, of_lane)
        page, offset = self._tables(blocks)
        return Content(event, list(self._runs(added)), page, offset, chances)

    def resident(self) -> Iterator[Run]:
        """What stays: synthetic images, and scans."""
        fakes = self._pools.of_synthetic()
        if fakes is not None and self._pools.synthetic is not None:
            for scan, block in enumerate(self._division.synthetic):
                voxels, label = _pixels(self._pools.synthetic, fakes, scan)
                yield self._padded(block, [(voxels, label, label)])
        for scan, block in self._division.resident.items():
            yield self._padded(block, [self._read(scan)])

    # -------------------------------------------------------------- voxels
    def _runs(self, added: Sequence[tuple[int, int]]) -> Iterator[Run]:
        """New scans, those that lie one after the other together."""
        group: list[tuple[int, int]] = []
        for block, scan in added:
            if group and not self._follows(group[-1], block):
                yield self._padded(group[0][0], [self._read(s) for _, s in group])
                group = []
            group.append((block, scan))
        if group:
            yield self._padded(group[0][0], [self._read(s) for _, s in group])

    def _follows(self, before: tuple[int, int], block: int) -> bool:
        begin, scan = before
        end = begin + int(self._scans.blocks[scan])
        return block == end and block % self._division.size > 0

    def _read(self, scan: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Voxels of a scan with the labels that are shown and those that diagnostics may read."""
        voxels, label = _pixels(self._pools.flat, self._scans, scan)
        hidden = np.full_like(label, IGNORE)
        known = label if self._is_known(scan) else hidden
        return voxels, label if scan in self._shown else hidden, known

    def _is_known(self, scan: int) -> bool:
        known = self._pools.known
        return known is not None and bool(known[self._images_of[scan]].any())

    def _padded(self, block: int, parts: Sequence[tuple[np.ndarray, ...]]) -> Run:
        """Scans with what is missing to whole blocks."""
        page, first = self._division.where(block)
        sizes = [-(-len(voxels) // BLOCK) * BLOCK for voxels, _, _ in parts]
        total = sum(sizes)
        voxels = np.zeros((total, parts[0][0].shape[1]), parts[0][0].dtype)
        labels = np.full(total, IGNORE, np.uint8)
        known = np.full(total, IGNORE, np.uint8)
        for begin, part in zip(itertools.accumulate([0, *sizes[:-1]]), parts, strict=True):
            where = slice(begin, begin + len(part[0]))
            voxels[where] = part[0]
            labels[where] = part[1]
            known[where] = part[2]
        return Run(page, first, voxels, labels, None if self._pools.known is None else known)

    # -------------------------------------------------------------- tables
    def _tables(self, blocks: dict[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Page and offsets of every image, where its scan has these first blocks."""
        pools = self._pools
        number = len(pools.scan)
        page = np.zeros(pools.images, np.int32)
        offset = np.zeros((pools.images, pools.flat.offset.shape[1]), np.int32)
        for scan, block in blocks.items():
            images = self._images_of[scan]
            page[images], first = self._division.where(block)
            offset[images] = pools.flat.offset[images] - self._scans.first[scan] + first
        fakes = pools.of_synthetic()
        if fakes is not None and pools.synthetic is not None:
            where = [self._division.where(block) for block in self._division.synthetic]
            places = np.array(where)[pools.synthetic_scan]
            page[number:] = places[:, 0]
            begin = fakes.first[pools.synthetic_scan] - places[:, 1]
            offset[number:] = pools.synthetic.offset - begin[:, None]
        return page, offset

    # -------------------------------------------------------------- draws
    def _resident_chances(self) -> dict[str, Chances]:
        """Of what is drawn from scans that stay."""
        chances: dict[str, Chances] = {}
        for group in self._division.staying:
            members, weight, _ = weights(self._pools, group)
            share = dict(zip(members.tolist(), weight.tolist(), strict=True))
            chances |= dict.fromkeys(group.draws, self._chances(share, group.images))
        return chances

    def _rotating_chances(self, lane: Lane, places: Sequence[Place]) -> Chances:
        share: dict[int, float] = {}
        for place in places:
            scan = int(lane.scans[place.scan])
            share[scan] = share.get(scan, 0.0) + place.share
        return self._chances(share, lane.group.images)

    def _chances(self, share: dict[int, float], among: np.ndarray) -> Chances:
        """Scans with their shares, each divided evenly among those of its images that count."""
        chosen: list[np.ndarray] = []
        weight: list[np.ndarray] = []
        for scan, of_scan in share.items():
            images = self._images_of[scan]
            images = images[among[images]]
            chosen.append(images)
            weight.append(np.full(len(images), of_scan / len(images)))
        index = np.concatenate(chosen)
        total = np.cumsum(np.concatenate(weight))
        below = np.ones(len(self._pools.scan), np.float32)
        below[: len(index) - 1] = total[:-1] / total[-1]
        images = np.resize(index, len(self._pools.scan)).astype(np.int32)
        return Chances(images, np.array(len(index), np.int32), below)


def _pixels(flat: Flat, scans: Scans, scan: int) -> tuple[np.ndarray, np.ndarray]:
    """Voxels ``(V, C)`` and labels ``(V,)`` of a scan."""
    first = int(scans.first[scan])
    where = (int(scans.page[scan]), slice(first, first + int(scans.size[scan])))
    return flat.voxels[where], flat.labels[where]
