"""The one exception a user can cause: a line that says what is wrong, where, and what to do."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path


class UserError(Exception):
    """Printed as a single line by the command line, which then exits with code 2."""


class DiskError(UserError):
    """Nothing can be written any more, whoever tries: a sweep stops at it instead of training what
    it cannot keep.
    """


@contextlib.contextmanager
def writing(place: str | Path) -> Iterator[None]:
    """Around what writes ``place``: a full or read-only file system becomes a :class:`DiskError`,
    whatever the library made of it.
    """
    try:
        yield
    except Exception as error:
        problem = disk_problem(error)
        if problem is None or isinstance(error, DiskError):
            raise
        named = (
            str(error)
            if isinstance(error, UserError)
            else (
                f"{place}: cannot be written ({problem}); free space, then the same command goes on"
            )
        )
        raise DiskError(named) from error


def disk_problem(error: BaseException | None) -> str | None:
    """What the operating system says of a file system that takes nothing more; None for any other
    error.

    Tensorstore raises errors of its own, which quote the system's words.
    """
    while error is not None:
        for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            if (isinstance(error, OSError) and error.errno == number) or os.strerror(number) in str(
                error
            ):
                return os.strerror(number)
        error = error.__cause__ or error.__context__
    return None
