"""Faults that a process meets at its k-th change of the file system, by an audit hook of Python.

A change is an opening for writing, a rename, or that a file, folder or link is made or removed.
"""

from __future__ import annotations

import dataclasses
import errno
import os
import resource
import shutil
import signal
import time
from pathlib import Path
from typing import Any

KINDS = ("kill", "cut", "full", "limit", "readonly", "vanish", "clock", "term", "int")
AT_A_SIZE = ("cut", "limit")
"""Faults at a size of a file instead of a change."""
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
MAKING = {"os.mkdir", "os.link", "os.symlink"}
RENAMING = {"os.rename", "os.link", "os.symlink"}
CHANGING = {*MAKING, *RENAMING, "os.remove", "os.rmdir", "os.truncate"}
A_DAY = 86400.0


@dataclasses.dataclass(frozen=True)
class Fault:
    """What happens, and when.

    Attributes:
      kind: kill: SIGKILL · cut: killed in the middle of a write, as a file grows beyond ``at``
        bytes · full: from then on nothing can be made (ENOSPC) · limit: no file grows beyond
        ``at`` bytes (EFBIG) · readonly: nothing can be changed (EROFS) · vanish: the folder is
        deleted · clock: the clock goes a day back · term, int: SIGTERM, Ctrl-C · "" none.
      at: number of the change, from 1, before which it happens; or bytes.
      folder: that vanishes.
    """

    kind: str = ""
    at: int = 0
    folder: str = ""


class Hook:
    """Counts the changes below a folder, and makes the fault happen."""

    def __init__(self, fault: Fault, world: Path, journal: int):
        self.fault = fault
        self.world = f"{world}{os.sep}"
        self.journal = journal
        self.count = 0
        self.busy = False

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        if self.busy or event != "open" and event not in CHANGING:
            return
        self.busy = True
        try:
            path = changed(event, args)
            if path is not None and path.startswith(self.world):
                self.count += 1
                name = path.removeprefix(self.world)
                os.write(self.journal, f"{event} {name}\n".encode("utf-8", "replace"))
                self._act(event, path, args)
        finally:
            self.busy = False

    def _act(self, event: str, path: str, args: tuple[Any, ...]) -> None:
        kind = self.fault.kind
        if kind in AT_A_SIZE or self.count < self.fault.at:
            return
        if kind == "full" and needs_space(event, path, args):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        if kind == "readonly":
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
        if self.count != self.fault.at:
            return
        if kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif kind == "vanish":
            shutil.rmtree(Path(self.world, self.fault.folder), ignore_errors=True)
        elif kind == "clock":
            set_back()
        elif kind in ("term", "int"):
            number = signal.SIGTERM if kind == "term" else signal.SIGINT
            os.kill(os.getpid(), number)


def limit_sizes(fault: Fault) -> None:
    """No file grows beyond a size: the process dies there, or is told so."""
    action = signal.SIG_DFL if fault.kind == "cut" else signal.SIG_IGN
    signal.signal(signal.SIGXFSZ, action)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (fault.at, hard))


def changed(event: str, args: tuple[Any, ...]) -> str | None:
    """The absolute path of what an event is about to change; None where it changes nothing.

    >>> changed("open", ("/a", "r", os.O_RDONLY)), changed("open", ("/a", "w", os.O_WRONLY))
    (None, '/a')
    """
    if event == "open" and not opens_for_writing(args):
        return None
    place = args[0]
    folder = -1
    if event in RENAMING:
        place = args[1]
        folder = args[-1]
    elif event in ("os.remove", "os.rmdir", "os.mkdir"):
        folder = args[-1]
    if isinstance(place, int):
        return None
    path = os.fsdecode(place)
    if not os.path.isabs(path):
        start = os.getcwd()
        if isinstance(folder, int) and folder >= 0:
            start = os.readlink(f"/proc/self/fd/{folder}")
        path = os.path.join(start, path)
    return os.path.normpath(path)


def opens_for_writing(args: tuple[Any, ...]) -> bool:
    """Whether an ``open`` event is of a file that is written."""
    mode = args[1]
    if isinstance(mode, str) and set(mode) & set("wax+"):
        return True
    return isinstance(args[2], int) and bool(args[2] & WRITING)


def needs_space(event: str, path: str, args: tuple[Any, ...]) -> bool:
    """Whether a full disk refuses it: a lock file that is there can be opened."""
    if event in MAKING:
        return True
    return event == "open" and not (os.path.exists(path) and "a" in str(args[1] or ""))


def set_back() -> None:
    """The clock of this process goes a day back."""
    true_time = time.time
    time.time = lambda: true_time() - A_DAY
