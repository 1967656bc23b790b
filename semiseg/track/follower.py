"""A thread that mirrors a run's folder elsewhere while the run trains.

It reads the same files that everyone else reads, so that a slow, absent or broken mirror costs the
training nothing: whatever goes wrong in it is one line of the log.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import threading
from pathlib import Path
from typing import Protocol

from semiseg.run_folder import RunFolder

log = logging.getLogger("semiseg")

WAIT = 120.0
"""Seconds that a finished run waits for its mirror at most."""
LOOK = 1.0
"""Seconds between two looks at the folder."""
EMPTY = 0.05
"""Seconds between two looks at a folder that no run has claimed yet."""


class Sink(Protocol):
    """Where a folder is mirrored.

    Attributes:
      name: for messages.
      remedy: the command that mirrors the folder later.
      package: what it imports.
    """

    name: str
    remedy: str
    package: str

    def open(self) -> None:
        """Begin; the folder holds a run's configuration now."""

    def send(self) -> None:
        """Send what is new."""

    def close(self, failed: bool) -> None:
        """Send what a finished folder holds, and end."""


class Mirror:
    """Follows one run's folder in a thread of its own.

    Attributes:
      problem: what went wrong; None where nothing did.
    """

    def __init__(self, folder: Path, sink: Sink):
        self.folder = RunFolder(folder)
        self.sink = sink
        self.problem: str | None = None
        self._done = threading.Event()
        self._failed = False
        name = f"{sink.name} {folder.name}"
        self._thread = threading.Thread(target=self._follow, name=name, daemon=True)

    def start(self) -> None:
        """Begin to follow."""
        # before the thread: Python 3.11 cannot parse code in two threads at once (gh-106905)
        with contextlib.suppress(Exception):  # the thread meets the error again, and says it
            importlib.import_module(self.sink.package)
        self._thread.start()

    def stop(self, failed: bool = False) -> None:
        """Send what is left; waits at most :data:`WAIT` seconds."""
        self._failed = failed
        self._done.set()
        self._thread.join(WAIT)
        if self._thread.is_alive():
            self.problem = f"{self.sink.name} did not answer for {WAIT:.0f} s"
        if self.problem:
            log.warning(
                "%s: not on %s (%s); the run folder is complete, send it later: %s",
                self.folder,
                self.sink.name,
                self.problem,
                self.sink.remedy,
            )

    def _follow(self) -> None:
        try:
            if not self._claimed():
                return
            self.sink.open()
            finishing = False
            while not finishing:
                finishing = self._done.wait(LOOK)
                self.sink.send()
            self.sink.close(self._failed)
        except BaseException as error:  # W&B raises its own, and SystemExit
            self.problem = " ".join(str(error).split())[:200] or type(error).__name__

    def _claimed(self) -> bool:
        """Wait until a run has claimed the folder: until then it must stay empty. False where the
        run ended before.
        """
        while not self.folder.config.exists():
            if self._done.wait(EMPTY):
                return self.folder.config.exists()
        return True
