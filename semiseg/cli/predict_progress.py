"""How far ``semiseg predict`` is, on standard error: the scan, and the windows of it that the
networks have seen.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from semiseg.escapes import one_line
from semiseg.train.log import LINE_EVERY, duration


class PredictProgress:
    """Says nothing; the base of what does."""

    def scan(self, number: int, name: str) -> None:
        """The scan of a number, from 0, is the next."""

    def windows(self, done: int, total: int) -> None:
        """The networks have seen so many windows of the scan."""

    @contextlib.contextmanager
    def apart(self) -> Iterator[None]:
        """Meanwhile lines of other kinds are printed."""
        yield

    def close(self) -> None:
        """All scans are predicted."""


def progress_of(scans: int, show: bool) -> PredictProgress:
    """A bar on a terminal, a line a minute elsewhere, nothing where ``show`` is False."""
    if not show:
        return PredictProgress()
    if sys.stderr.isatty():
        return Bar(scans)
    return Lines(scans)


class _Counting(PredictProgress):
    """Knows the share of the command that is done, if a scan takes as long as another."""

    def __init__(self, scans: int):
        self.scans = scans
        self.number = 0
        self.words = ""

    def scan(self, number: int, name: str) -> None:
        self.number = number
        self.words = one_line(name)
        if self.scans > 1:
            self.words = f"scan {number + 1} of {self.scans}, {self.words}"

    def scans_done(self, done: int, total: int) -> float:
        return self.number + done / max(total, 1)


class Bar(_Counting):
    """A bar over all scans, which disappears at the end."""

    def __init__(self, scans: int):
        from tqdm import tqdm

        super().__init__(scans)
        self._bar = tqdm(
            total=scans,
            leave=False,
            dynamic_ncols=True,
            miniters=0,
            bar_format="{desc}{percentage:3.0f}%|{bar}| {elapsed}<{remaining}",
        )

    def scan(self, number: int, name: str) -> None:
        super().scan(number, name)
        self._bar.set_description(self.words, refresh=False)
        self._bar.update(number - self._bar.n)

    def windows(self, done: int, total: int) -> None:
        self._bar.set_description(f"{self.words}: window {done} of {total}", refresh=False)
        self._bar.update(self.scans_done(done, total) - self._bar.n)
        if not done:  # the first window is the slowest: its program is compiled
            self._bar.refresh()

    @contextlib.contextmanager
    def apart(self) -> Iterator[None]:
        self._bar.clear()
        yield
        self._bar.refresh()

    def close(self) -> None:
        self._bar.close()


class Lines(_Counting):
    """A line a minute.

    The time left counts from the first window, so that compilation does not slow it.
    """

    def __init__(
        self,
        scans: int,
        clock: Callable[[], float] = time.monotonic,
        say: Callable[[str], None] | None = None,
    ):
        super().__init__(scans)
        self._clock = clock
        self._say = say or _to_stderr
        self._last_line = clock()
        self._began: tuple[float, float] | None = None

    def windows(self, done: int, total: int) -> None:
        now = self._clock()
        scans_done = self.scans_done(done, total)
        if self._began is None and done:
            self._began = (scans_done, now)
        if now - self._last_line < LINE_EVERY:
            return
        self._last_line = now
        left = self._left(scans_done, now)
        self._say(f"{self.words}: window {done} of {total}   {left}")

    def _left(self, scans_done: float, now: float) -> str:
        first, began = self._began or (scans_done, now)
        if scans_done == first:
            return "time left unknown"
        seconds = (now - began) / (scans_done - first) * (self.scans - scans_done)
        return f"about {duration(seconds)} left"


def _to_stderr(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
