"""Which scans are on the device in a step, where not all fit.

The scans of a run stand in a circle, in an order drawn from its seed. Each takes an arc as long as
its share of the draws. A window goes round, by a small piece between two events; the scans that it
touches are on the device, and one is drawn with a probability that is proportional to the piece of
its arc in the window. Every point of the circle is in the window equally often, so that over a
round each scan has exactly its share, whatever the sizes. The window at an event follows from the
number of the event alone.

Positions and lengths are whole numbers: they are the same on every machine.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

ROUND = 2**40
"""Length of the circle."""
LEAST_MOVES = 4
"""Moves in which the whole window is exchanged, at least."""


class Place(NamedTuple):
    """A scan that the window touches.

    Attributes:
      turn: number of its arc, counted on from round to round.
      scan: its index.
      share: of the draws.
    """

    turn: int
    scan: int
    share: float


class Circle(NamedTuple):
    """Scans and the window that goes round.

    Attributes:
      order: ``(Q,)`` int64, indices of scans.
      edges: ``(Q + 1,)`` int64, where their arcs begin and end.
      window: its length.
      move: by how much it goes on between two events; the window is a multiple of it.
    """

    order: np.ndarray
    edges: np.ndarray
    window: int
    move: int

    def at(self, event: int) -> list[Place]:
        """The scans that the window touches at an event."""
        begin = event * self.move
        end = begin + self.window
        number = len(self.order)
        rounds, rest = divmod(begin, ROUND)
        turn = rounds * number + int(np.searchsorted(self.edges, rest, "right")) - 1
        places: list[Place] = []
        while self._begin(turn) < end:
            overlap = min(end, self._begin(turn + 1)) - max(begin, self._begin(turn))
            scan = int(self.order[turn % number])
            places.append(Place(turn, scan, overlap / self.window))
            turn += 1
        return places

    def fewest(self, count: np.ndarray) -> int:
        """The smallest sum of ``count (Q,)`` over the scans that are in the window at one time."""
        twice = np.concatenate([self.edges, self.edges[1:] + ROUND])
        before = np.concatenate([[0], np.cumsum(np.tile(count[self.order], 2))])
        first = np.arange(len(self.order))
        beyond = np.searchsorted(twice, self.edges[first] + self.window, "left")
        return int(np.min(before[beyond] - before[first]))

    def _begin(self, turn: int) -> int:
        rounds, place = divmod(turn, len(self.order))
        return rounds * ROUND + int(self.edges[place])


def circle(
    weight: np.ndarray, size: np.ndarray, room: int, events: float, seed: Sequence[int]
) -> Circle | None:
    """The scans in an order drawn from ``seed``, with the longest window whose scans always fit.

    Args:
      weight: ``(Q,)``, shares of the draws, in any unit.
      size: ``(Q,)``, what each scan takes of the room.
      room: how much there is.
      events: about how many a round takes; the window is exchanged in :data:`LEAST_MOVES` or more.
      seed: of the order.

    Returns:
      None where two neighbours do not fit together.

    >>> made = circle(np.ones(4), np.ones(4, int), room=3, events=8, seed=[0])
    >>> [round(place.share, 2) for place in made.at(0)], len(made.at(1))
    ([0.5, 0.5], 3)
    """
    number = len(weight)
    order = np.random.default_rng(seed).permutation(number)
    ends = np.cumsum(weight[order]) / weight.sum() * ROUND
    edges = np.concatenate([[0], ends.round().astype(np.int64)])
    edges[-1] = ROUND
    window = _longest(edges, size[order], room)
    if window is None:
        return None
    parts = max(LEAST_MOVES, round(events * window / ROUND))
    move = window // parts
    return Circle(order, edges, move * parts, move) if move else None


def _longest(edges: np.ndarray, size: np.ndarray, room: int) -> int | None:
    """The longest window whose scans always fit; None where it cannot pass from one scan to the
    next.
    """
    number = len(size)
    twice = np.concatenate([edges, edges[1:] + ROUND])
    taken = np.concatenate([[0], np.cumsum(np.concatenate([size, size]))])
    first = np.arange(number)
    beyond = np.searchsorted(taken, taken[first] + room, "right") - 1
    beyond = np.minimum(beyond, first + number)
    if np.min(beyond - first) < 2:
        return None
    # the window still touches an arc by its last point, and ends where the first that does not fit
    # begins
    return int(np.min(twice[beyond] - twice[first + 1])) + 1


class Segment(NamedTuple):
    """A run of blocks of the device's memory.

    Attributes:
      begin: first block.
      end: block after the last one.
    """

    begin: int
    end: int

    @property
    def size(self) -> int:
        """Number of blocks."""
        return self.end - self.begin


def usable(segments: Sequence[Segment], size: np.ndarray) -> int:
    """Blocks of a ring that scans of these sizes can take in any case: at the end of a segment up
    to a scan less one block may be left over.

    >>> usable([Segment(0, 10)], np.array([3, 3])), usable([Segment(0, 10)], np.array([3, 2]))
    (9, 8)
    """
    whole = sum(segment.size for segment in segments)
    largest = int(np.max(size))
    if int(np.min(size)) == largest:
        return whole - sum(segment.size % largest for segment in segments)
    return whole - len(segments) * (largest - 1)


class Ring:
    """Where scans lie that come and go in one order: one after the other, round and round."""

    def __init__(self, segments: Sequence[Segment]):
        self._segments = segments
        self._number = 0
        self._next = segments[0].begin
        self._there: deque[tuple[int, int]] = deque()

    @property
    def blocks(self) -> dict[int, int]:
        """Turn → first block of the scans that are there."""
        return dict(self._there)

    def move(self, places: Sequence[Place], size: np.ndarray) -> list[tuple[Place, int]]:
        """Let go of scans that are in no place, and take in new ones.

        Args:
          places: where the window is.
          size: of every scan, in blocks.

        Returns:
          The new ones with their first block.
        """
        first = places[0].turn
        while self._there and self._there[0][0] < first:
            self._there.popleft()
        last = self._there[-1][0] if self._there else first - 1
        added: list[tuple[Place, int]] = []
        for place in places:
            if place.turn > last:
                added.append((place, self._take(place.turn, int(size[place.scan]))))
        return added

    def _take(self, turn: int, size: int) -> int:
        if self._next + size > self._segments[self._number].end:
            self._number = (self._number + 1) % len(self._segments)
            self._next = self._segments[self._number].begin
        block = self._next
        self._next += size
        self._there.append((turn, block))
        return block
