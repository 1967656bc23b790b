"""One command at a time writes to a folder: the second one says who holds it, and stops.

    .NAME.lock    beside the folder NAME, while a command writes there

The operating system lets go of the lock when the process ends, however it ends (flock). The file
says who took it; it is deleted with the lock, and one that a killed process left behind is taken
over.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from semiseg.errors import UserError
from semiseg.unfinished import clear_held

TRIES = 3
"""How often a command asks for the lock: the file may be deleted between its opening and this."""
TRIES_TO_SHARE = 60
"""Tries of who would share it: another may hold it alone for a moment, until it shares it."""
PAUSE = 0.01
"""Seconds between two tries."""
LONGEST = 4096
"""Bytes that are read of a lock file, which anybody may have written."""

_held: dict[tuple[str, int], Held] = {}


@contextlib.contextmanager
def holding(place: str | Path | None, command: str, *, shared: bool = False) -> Iterator[Held]:
    """Hold a folder, or a file that is written, while the block runs.

    A thread that holds it already goes on. Where the file system has no locks, a note says so.

    Args:
      place: what is written, which need not exist; None holds nothing.
      command: what the second command is told of this one, e.g. ``semiseg train``.
      shared: others that share it may hold it at the same time, once :meth:`Held.share` is called.

    Raises:
      UserError: another process holds it.
    """
    if place is None:
        yield Held(None, command)
        return
    path = lock_path(Path(place))
    key = (str(path), threading.get_ident())
    if key in _held:
        yield _held[key]
        return
    held = Held(path, command)
    made = _make_folder(path.parent)
    try:
        held.take(Path(place), shared)
        _held[key] = held
        yield held
    finally:
        _held.pop(key, None)
        held.drop()
        for folder in made:
            with contextlib.suppress(OSError):  # it is in use
                folder.rmdir()


def is_ours(place: Path) -> bool:
    """Whether this process holds a folder."""
    return any(path == str(lock_path(place)) for path, _ in _held)


def lock_path(place: Path) -> Path:
    """The lock file of a folder or file, which is the same by whatever name it is called.

    >>> lock_path(Path("/runs/a")).as_posix()
    '/runs/.a.lock'
    """
    real = place.expanduser().resolve()
    return real.with_name(f".{real.name}.lock") if real.name else real / ".lock"


class Held:
    """A lock on a folder.

    Attributes:
      path: of the lock file; None where nothing is held.
      command: that holds it.
      alone: whether no other process shares it.
    """

    def __init__(self, path: Path | None, command: str):
        self.path = path
        self._opened = path
        self.command = command
        self.alone = True
        self._file: int | None = None

    def take(self, place: Path, shared: bool) -> None:
        """Take the lock.

        Raises:
          UserError: another process holds it.
        """
        import fcntl

        for _ in range(TRIES_TO_SHARE if shared else TRIES):
            file = self._open(place)
            if file is None:
                return
            try:
                self.alone = _lock(file, fcntl.LOCK_EX)
                if not self.alone and not (shared and _lock(file, fcntl.LOCK_SH)):
                    time.sleep(PAUSE)
                elif self._is_current(file):
                    self._file = file
                    break
            except OSError as error:  # other than that somebody holds it
                os.close(file)
                _say_no_locks(str(place), error.strerror or str(error))
                return
            os.close(file)
        else:
            raise UserError(
                _owner(self.path), where=place, remedy="wait until it has ended, or stop it"
            )
        if self.alone:
            _sign(file, self.command)
            clear_held(place)

    def share(self) -> None:
        """Let others in that share the folder."""
        import fcntl

        if self._file is not None:
            with contextlib.suppress(OSError):
                fcntl.flock(self._file, fcntl.LOCK_SH)

    def drop(self) -> None:
        """Let go of the lock; the last one deletes its file."""
        import fcntl

        if self._file is None or self.path is None:
            return
        with contextlib.suppress(OSError):
            if _lock(self._file, fcntl.LOCK_EX) and self._opened == self.path:
                self.path.unlink()
        os.close(self._file)
        self._file = None

    def _open(self, place: Path) -> int | None:
        """The lock file, open; the folder itself where no file can be made beside it; None where
        neither can be: the command says why, if it matters.

        A link in the file's place, from a stranger, is not followed.
        """
        safe = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        ways = (
            (self.path, os.O_RDWR | os.O_CREAT | safe),
            (self.path, os.O_RDONLY | safe),  # of another user
            (place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC),
        )
        for path, flags in ways:
            with contextlib.suppress(OSError):
                file = os.open(str(path), flags, 0o666)
                self._opened = path
                return file
        return None

    def _is_current(self, file: int) -> bool:
        """Whether the file that is locked still has its name: who held it has deleted it if not."""
        try:
            return os.path.samestat(os.fstat(file), os.stat(str(self._opened)))
        except FileNotFoundError:
            return False


def _lock(file: int, kind: int) -> bool:
    """Whether the lock is ours now.

    Raises:
      OSError: the file system has no locks.
    """
    import fcntl

    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


# ------------------------------------------------------------------ who holds it
def _sign(file: int, command: str) -> None:
    now = datetime.datetime.now(datetime.UTC)
    owner = {
        "command": command,
        "host": socket.gethostname(),
        "process": os.getpid(),
        "since": now.strftime("%Y-%m-%d %H:%M:%S UTC"),
    }
    with contextlib.suppress(OSError):  # a full disk: the lock holds all the same
        os.ftruncate(file, 0)
        os.pwrite(file, json.dumps(owner).encode(), 0)


def _owner(path: Path | None) -> str:
    """Who holds a lock, as a sentence without its end."""
    try:
        with open(str(path), encoding="utf-8") as file:
            owner = json.loads(file.read(LONGEST))
        facts = {name: str(owner[name]) for name in ("command", "host", "process", "since")}
    except (OSError, ValueError, TypeError, KeyError):
        return "another process is writing to it"
    if not all(fact.isprintable() and len(fact) < 100 for fact in facts.values()):
        return "another process is writing to it"
    return "{command} is writing to it (process {process} on {host}, since {since})".format(**facts)


def _make_folder(folder: Path) -> list[Path]:
    """Make a folder; returns those that are new, the deepest first."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    with contextlib.suppress(OSError):  # the command itself says why it cannot write
        folder.mkdir(parents=True, exist_ok=True)
    return missing


@functools.cache  # once for each folder
def _say_no_locks(place: str, reason: str) -> None:
    print(
        f"note: {place}: the file system has no locks ({reason}), so nothing keeps two commands "
        f"apart that write to it at once",
        file=sys.stderr,
    )
