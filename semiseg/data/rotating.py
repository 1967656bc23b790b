"""Pools of which only a part is on the device, see :mod:`semiseg.data.rotation`.

The arrays on the device have the size that ``pool_memory`` states, whatever the label budget, so
that a sweep still compiles one program. The scans of a small label budget stay there; unlabelled
ones rotate. A scan is written where another one was; the tables say where each image is, and the
images that are drawn from are those that are there.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from semiseg.data.flat import Flat
from semiseg.data.rotation import Circle, Segment, circle, usable
from semiseg.errors import UserError
from semiseg.ragged import PAGE
from semiseg.types import Foreground

BLOCK = 256
"""Voxels; every scan begins at a multiple of it."""
EVERY = 10
"""Steps between two events, at which scans are exchanged."""
SEEN = 2.0
"""Voxels that batches look at for each voxel that is read."""
SHARE = 0.5
"""Largest share of the memory that a label budget takes for good."""
UNITS = {"KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}
BINARY = {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}


def bytes_of(stated: str, where: str = "") -> int:
    """A size of memory in bytes.

    Raises:
      UserError: it is none.

    >>> bytes_of("4GB"), bytes_of("1.5 MiB")
    (4000000000, 1572864)
    """
    match = re.fullmatch(r"(\d+(?:\.\d*)?)\s*([KMGT]I?B)", stated.strip().upper())
    if match is None or float(match[1]) == 0:
        what = f"pool_memory is {stated!r}: it must be a size such as 4GB or 500MB"
        raise UserError(what, where=where, field="pool_memory")
    return int(float(match[1]) * (UNITS | BINARY)[match[2]])


def words(size: int) -> str:
    """A size of memory, rounded up to three digits.

    >>> words(4_000_000_000), words(1_234_567), words(999)
    ('4GB', '1.24MB', '1KB')
    """
    unit = next((name for name in ("GB", "MB") if size >= UNITS[name]), "KB")
    number = size / UNITS[unit]
    digit = 10 ** (math.floor(math.log10(max(number, 1))) - 2)
    return f"{round(math.ceil(number / digit - 1e-9) * digit, 3):g}{unit}"


class Draws(NamedTuple):
    """What a step draws.

    Attributes:
      labelled, unlabelled: number of images.
      pixels: of a window.
    """

    labelled: int
    unlabelled: int
    pixels: int


@dataclasses.dataclass(frozen=True, eq=False)
class Rotating:
    """Pools of a trial before they are on the device.

    Attributes:
      stated: the memory for scans, as the trial states it.
      flat: N real images.
      scan: ``(N,)``, number of the scan that each is of.
      subjects: of each image.
      labelled: ``(N,)`` bool, images whose labels are shown.
      unlabelled: ``(N,)`` bool.
      known: ``(N,)`` bool, images whose labels the diagnostics may read; None for no diagnostics.
      by: one of :data:`semiseg.train.draw.DRAWS`.
      foreground: where the budget's masks show each class.
      synthetic: synthetic images.
      synthetic_scan: number of the scan that each of these is of.
    """

    stated: str
    flat: Flat
    scan: np.ndarray
    subjects: Sequence[str]
    labelled: np.ndarray
    unlabelled: np.ndarray
    known: np.ndarray | None
    by: str
    foreground: Foreground | None = None
    synthetic: Flat | None = None
    synthetic_scan: np.ndarray | None = None

    @property
    def channels(self) -> int:
        """Of a voxel."""
        return self.flat.voxels.shape[-1]

    @property
    def bytes_per_block(self) -> int:
        """What a block takes on the device, with its labels."""
        label_arrays = 1 if self.known is None else 2
        voxel = self.channels * self.flat.voxels.dtype.itemsize + label_arrays
        return BLOCK * voxel

    @property
    def images(self) -> int:
        """Number of images, the synthetic ones included."""
        return len(self.scan) + self.fakes

    @property
    def fakes(self) -> int:
        """Number of synthetic images."""
        return 0 if self.synthetic is None else len(self.synthetic.page)

    def of_synthetic(self) -> Scans | None:
        """The synthetic scans."""
        if self.synthetic is None or self.synthetic_scan is None:
            return None
        return scans_of(self.synthetic, self.synthetic_scan)

    def images_alone(self) -> Rotating:
        """All real images, all of them unlabelled, without a label."""
        every = np.ones(len(self.scan), bool) if self.known is None else self.known
        return dataclasses.replace(
            self,
            labelled=np.zeros(len(self.scan), bool),
            unlabelled=every,
            known=None,
            foreground=None,
            synthetic=None,
            synthetic_scan=None,
        )


# ------------------------------------------------------------------ how the memory is divided
class Scans(NamedTuple):
    """Where the scans lie in the files.

    Attributes:
      page: ``(Q,)``.
      first: ``(Q,)``, first voxel.
      size: ``(Q,)``, voxels.
      blocks: ``(Q,)``, what each takes on the device.
    """

    page: np.ndarray
    first: np.ndarray
    size: np.ndarray
    blocks: np.ndarray


def scans_of(flat: Flat, scan: np.ndarray) -> Scans:
    """The scans whose images are ``flat``'s, one after the other."""
    number = int(scan.max()) + 1
    page = np.zeros(number, np.int64)
    page[scan] = flat.page
    first = np.full(number, np.iinfo(np.int64).max)
    np.minimum.at(first, scan, flat.offset[:, flat.offset.shape[1] // 2])
    size = np.bincount(scan, flat.size, number).astype(np.int64)
    return Scans(page, first, size, -(-size // BLOCK))


class Group(NamedTuple):
    """Images that are drawn from.

    Attributes:
      draws: ``labelled``, ``unlabelled`` or both.
      images: ``(N,)`` bool.
    """

    draws: tuple[str, ...]
    images: np.ndarray


class Lane(NamedTuple):
    """Scans that rotate through a part of the memory.

    Attributes:
      scans: ``(Q,)``, their numbers.
      circle: over their indices.
      segments: of the memory.
      group: whose scans they are.
    """

    scans: np.ndarray
    circle: Circle
    segments: Sequence[Segment]
    group: Group


class Division(NamedTuple):
    """How the memory is divided.

    Attributes:
      pages: their number.
      size: blocks of a page.
      synthetic: first block of each synthetic scan.
      resident: scan → its first block, for those that stay.
      staying: groups whose scans all stay.
      lanes: what rotates.
    """

    pages: int
    size: int
    synthetic: list[int]
    resident: dict[int, int]
    staying: tuple[Group, ...]
    lanes: tuple[Lane, ...]

    def where(self, block: int) -> tuple[int, int]:
        """Page and first voxel of a block."""
        page, rest = divmod(block, self.size)
        return page, rest * BLOCK


def divided(pools: Rotating, draws: Draws, seed: int, page: int = PAGE) -> Division:
    """Divide the memory that the trial states.

    Args:
      pools: of the trial.
      draws: of a step.
      seed: of the order in which scans come.
      page: most voxels of a page.

    Raises:
      UserError: it is too small, with the smallest that works.
    """
    blocks = bytes_of(pools.stated) // pools.bytes_per_block
    division = _divided(pools, draws, seed, blocks, page)
    if division is not None:
        return division
    low = blocks
    high = max(2 * low, 1)
    while _divided(pools, draws, seed, high, page) is None:
        low = high
        high *= 2
    while high - low > max(1, high // 1000):
        middle = (low + high) // 2
        if _divided(pools, draws, seed, middle, page) is None:
            low = middle
        else:
            high = middle
    raise UserError(
        f"pool_memory is {pools.stated}, which does not hold the scans of a batch and those that "
        f"take their place",
        remedy=f"set {words(high * pools.bytes_per_block)} or more, or leave it out",
        field="pool_memory",
    )


def _divided(pools: Rotating, draws: Draws, seed: int, blocks: int, most: int) -> Division | None:
    """None where the memory is too small."""
    scans = scans_of(pools.flat, pools.scan)
    pages = max(1, -(-blocks * BLOCK // most))
    size = blocks // pages
    fakes = np.zeros(0, np.int64)
    synthetic = pools.of_synthetic()
    if synthetic is not None:
        fakes = synthetic.blocks
    groups = _groups(pools, draws)
    stays, moving = _staying(pools, groups, scans, pages * size - int(fakes.sum()))
    staying = tuple(group for group in groups if not any(group is other for other in moving))
    room = _Room([Segment(i * size, (i + 1) * size) for i in range(pages)])
    first = [room.take(int(needed)) for needed in [*fakes, *scans.blocks[stays]]]
    if None in first:
        return None
    placed = [block for block in first if block is not None]
    resident = dict(zip(stays.tolist(), placed[len(fakes) :], strict=True))
    lanes: list[Lane] = []
    for number, group in enumerate(moving):
        segments = room.part(room.size // (len(moving) - number))
        lane = _lane(pools, group, segments, draws, [seed, number])
        if lane is None:
            return None
        lanes.append(lane)
    return Division(pages, size, placed[: len(fakes)], resident, staying, tuple(lanes))


BOTH = ("labelled", "unlabelled")


def _groups(pools: Rotating, draws: Draws) -> list[Group]:
    """The labelled and the unlabelled images, where these differ and both are drawn."""
    if not draws.unlabelled:
        return [Group(BOTH, pools.labelled)]
    if not draws.labelled or not pools.labelled.any():
        return [Group(BOTH, pools.unlabelled)]
    if np.array_equal(pools.labelled, pools.unlabelled):
        return [Group(BOTH, pools.labelled)]
    return [Group(("labelled",), pools.labelled), Group(("unlabelled",), pools.unlabelled)]


def _staying(
    pools: Rotating, groups: Sequence[Group], scans: Scans, room: int
) -> tuple[np.ndarray, list[Group]]:
    """Scans that stay on the device, and groups that rotate."""
    of_group = [np.unique(pools.scan[group.images]) for group in groups]
    every = np.unique(np.concatenate(of_group))
    if scans.blocks[every].sum() <= room:
        return every, []
    for i, members in enumerate(of_group):
        if len(groups) > 1 and scans.blocks[members].sum() <= SHARE * room:
            return members, [group for k, group in enumerate(groups) if k != i]
    return np.zeros(0, np.int64), list(groups)


class _Room:
    """Blocks that nothing lies in yet."""

    def __init__(self, segments: list[Segment]):
        self._segments = segments

    @property
    def size(self) -> int:
        """Number of blocks."""
        return sum(segment.size for segment in self._segments)

    def take(self, size: int) -> int | None:
        """The first of ``size`` blocks; None where there are not so many together."""
        for i, (begin, end) in enumerate(self._segments):
            if end - begin >= size:
                self._segments[i] = Segment(begin + size, end)
                return begin
        return None

    def part(self, size: int) -> list[Segment]:
        """So many blocks, in segments."""
        parts: list[Segment] = []
        for i, (begin, end) in enumerate(self._segments):
            count = min(size, end - begin)
            if count > 0:
                parts.append(Segment(begin, begin + count))
                self._segments[i] = Segment(begin + count, end)
                size -= count
        return parts


def _lane(
    pools: Rotating,
    group: Group,
    segments: Sequence[Segment],
    draws: Draws,
    seed: Sequence[int],
) -> Lane | None:
    """None where there is too little room: a batch may hold as many images as it draws."""
    every = scans_of(pools.flat, pools.scan)
    members, weight, images = weights(pools, group)
    blocks = every.blocks[members]
    if not segments or max(segment.size for segment in segments) < blocks.max():
        return None
    large = [segment for segment in segments if segment.size >= blocks.max()]
    drawn = sum(getattr(draws, name) for name in group.draws)
    seen = max(drawn, 1) * draws.pixels * EVERY
    events = SEEN * float(every.size[members].sum()) / seen
    made = circle(weight, blocks, usable(large, blocks), events, seed)
    if made is None:
        return None
    most = max(getattr(draws, name) for name in group.draws)
    if made.fewest(images) < min(most, images.sum() // 2):
        return None
    return Lane(members, made, large, group)


def weights(pools: Rotating, group: Group) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scans of a group, the weight of each in draws, and its number of images.

    Subjects weigh the same, and so do the scans of each; or all images weigh the same.
    """
    members, images = np.unique(pools.scan[group.images], return_counts=True)
    if pools.by != "subjects":
        return members, images.astype(np.float64), images
    subject_of = dict(zip(pools.scan.tolist(), pools.subjects, strict=True))
    subjects = [subject_of[scan] for scan in members.tolist()]
    number = Counter(subjects)
    return members, np.array([1 / number[subject] for subject in subjects]), images
