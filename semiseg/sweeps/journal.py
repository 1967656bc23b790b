"""The journal of a search: a line a record, which any number of processes append to."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from semiseg.errors import UserError
from semiseg.files import Lock

NAME = "journal.log"
REMEDY = "choose another --out; the finished trials stay where they are"


def open_journal(out: Path) -> Any:
    """Optuna's storage on the journal of a sweep's folder.

    Its lock is a flock, which a killed process lets go of. A last line that a kill cut short is
    taken away: the trial that it tells of was not begun.
    """
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    path = out.absolute() / NAME
    lock: Any = _JournalLock(path)  # Optuna asks for a subclass, and calls two methods
    lock.acquire()
    try:
        _mend(path)
    finally:
        lock.release()
    backend = JournalFileBackend(str(path), lock_obj=lock)
    with readable(out):
        return JournalStorage(backend)


@contextlib.contextmanager
def readable(out: Path) -> Iterator[None]:
    """Turn what Optuna makes of a damaged journal into one line.

    Raises:
      UserError: a record is damaged.
    """
    try:
        yield
    except (UserError, OSError):
        raise
    except Exception as error:  # of Optuna, which believes its records
        words = " ".join(f"{type(error).__name__}: {error}".split())[:120]
        raise UserError(f"is damaged ({words})", where=out / NAME, remedy=REMEDY) from None


class _JournalLock:
    """Optuna's interface of a lock, on :class:`semiseg.files.Lock`."""

    def __init__(self, path: Path):
        self._lock = Lock(path.with_name(f"{path.name}.flock"))

    def acquire(self) -> bool:
        return self._lock.take(wait=True)

    def release(self) -> None:
        self._lock.drop()


def _mend(path: Path) -> None:
    """Take away a last line without an end."""
    if not path.exists():
        return
    content = path.read_bytes()
    whole, end, last = content.rpartition(b"\n")
    if not last:
        return
    try:
        json.loads(last)
    except ValueError:
        os.truncate(path, len(whole + end))  # not written anew: a kill would lose the search
    else:
        with path.open("ab") as file:
            file.write(b"\n")
