"""Names of files that are not whole yet, and what killed processes have left under such names.

NAME.HOST-PROCESS.tmp              beside the file NAME while it is written
.RANDOM.HOST-PROCESS.tmp.png       the same, for writers that go by the end of a name
"""

from __future__ import annotations

import contextlib
import functools
import glob
import hashlib
import os
import re
import socket
import time
import uuid
from collections.abc import Iterable
from pathlib import Path

PARTIAL = re.compile(
    r"(.+|\.[0-9a-f]{8})\.((?P<host>[0-9a-f]{6})-)?(?P<process>\d{1,10})\.tmp(\..+)?"
)
"""Names of files that are being written, with who writes them; older ones lack the host."""
A_DAY = 24 * 3600.0
"""Seconds after which nobody still writes a file on another machine."""


def partial_path(path: Path, keep_suffix: bool = False) -> Path:
    """Where a file is written before it gets its own name, see the top of this module."""
    writer = f"{host()}-{os.getpid()}"
    if keep_suffix:
        ending = "".join(path.suffixes[-2:])
        return path.with_name(f".{uuid.uuid4().hex[:8]}.{writer}.tmp{ending}")
    return path.with_name(f"{path.name}.{writer}.tmp")


@functools.cache
def host() -> str:
    """This machine, or this container on it, whose numbers of processes are its own.

    >>> len(host())
    6
    """
    words = [socket.gethostname()]
    with contextlib.suppress(OSError):  # Linux alone has it
        words.append(str(os.stat("/proc/self/ns/pid").st_ino))
    return hashlib.sha256(" ".join(words).encode()).hexdigest()[:6]


@functools.lru_cache(1000)  # once a process: a folder may have very many files
def clear_once(folder: str) -> None:
    """Delete what dead processes of this machine have left in a folder, not in those below it."""
    with contextlib.suppress(OSError):
        _delete(Path(folder).iterdir(), 0.0)


def clear_held(place: Path) -> None:
    """Delete what dead processes have left in a folder and the folders in it, or beside a file.

    Only who holds the place may ask for it: of other machines all is deleted that is a day old.
    """
    if place.is_dir() and not place.is_symlink():
        patterns = ("*.tmp", ".*.tmp.*", "*/*.tmp", "*/.*.tmp.*")
        found = [path for pattern in patterns for path in place.glob(pattern)]
    else:
        found = list(place.parent.glob(f"{glob.escape(place.name)}.*.tmp"))
    _delete(found, A_DAY)


def _delete(paths: Iterable[Path], age: float) -> None:
    """Delete partial files of dead processes.

    Args:
      paths: any paths.
      age: seconds after which those of other machines are deleted; 0: never.
    """
    for path in paths:
        match = PARTIAL.fullmatch(path.name)
        if match is None:
            continue
        with contextlib.suppress(OSError):
            if match["host"] in (None, host()):
                is_dead = not is_alive(int(match["process"]))
            else:
                is_dead = age > 0 and time.time() - path.stat().st_mtime > age
            if is_dead:
                path.unlink()


def is_alive(process: int) -> bool:
    """Whether a process of this machine runs."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # it runs, and belongs to somebody else
        return True
    return True
