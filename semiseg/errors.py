"""The one exception a user can cause: a line that says what is wrong, where, and what to do."""

from __future__ import annotations

import contextlib
import difflib
import errno
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)
"""What the operating system says where nothing more can be written; the last one of a limit on the
length of files (``ulimit -f``).
"""


class UserError(Exception):
    """A mistake of the user: the command line prints it as a single line and exits with code 2.

    Attributes:
      what: what is wrong; a whole sentence may be given here alone.
      where: the file or the part of it that is wrong; it comes first.
      remedy: what to do; it comes last.
      field: dotted name of the configuration field that is wrong, for code that acts on it; the
        message does not repeat it.

    >>> print(UserError("depth is 10", where="sweep.yaml", remedy="set a multiple of 16"))
    sweep.yaml: depth is 10; set a multiple of 16
    >>> print(UserError("there is no data set 'x'"))
    there is no data set 'x'
    """

    def __init__(
        self,
        what: str = "",
        *,
        where: str | Path | None = None,
        remedy: str | None = None,
        field: str | None = None,
    ):
        self.what = what
        self.where = where
        self.remedy = remedy
        self.field = field
        message = what
        if where:
            message = f"{where}: {message}"
        if remedy:
            message = f"{message}; {remedy}"
        super().__init__(message)


def damaged(what: str, path: str | Path) -> UserError:
    """The error of a file that is not as it was written.

    >>> print(damaged("has no end", "p7.png"))
    p7.png: has no end; copy or download it again
    """
    return UserError(what, where=path, remedy="copy or download it again")


class FieldError(UserError, ValueError):
    """Values of a configuration that do not fit together, raised where an instance is made.

    Its ``field`` is the field's name in its own class.
    """


class UnknownField(UserError):
    """A dotted name that a configuration does not have.

    Attributes:
      hint: where the field may be instead; the message ends with it.
    """

    def __init__(
        self,
        what: str = "",
        *,
        hint: str = "",
        where: str | Path | None = None,
        field: str | None = None,
    ):
        message = what
        if hint:
            message = f"{what}: {hint}"
        super().__init__(message, where=where, field=field)
        self.what = what
        self.hint = hint


class DiskError(UserError):
    """Nothing can be written any more, whoever tries: a sweep stops at it instead of training what
    it cannot store.
    """


def nearest(name: str, names: Iterable[str]) -> str:
    """What ends the message about a name that there is not.

    >>> nearest("adam_w", ["sgd", "adamw"]), nearest("lion", ["sgd", "adamw"])
    ("; did you mean 'adamw'?", ': choose one of sgd, adamw')
    """
    names = list(names)
    near = difflib.get_close_matches(name, names, 1)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f": choose one of {', '.join(names)}"


@contextlib.contextmanager
def writing(place: str | Path) -> Iterator[None]:
    """Turn a full or read-only file system into a :class:`DiskError`, whatever the library that
    writes ``place`` makes of it.
    """
    try:
        yield
    except Exception as error:
        problem = disk_problem(error)
        if problem is None or isinstance(error, DiskError):
            raise
        if isinstance(error, UserError):
            raise DiskError(str(error)) from error
        raise DiskError(
            f"cannot be written ({problem})",
            where=place,
            remedy="free space, then run the same command again to resume",
        ) from error


def disk_problem(error: BaseException | None) -> str | None:
    """The operating system's words for a file system that takes nothing more; None for any other
    error.

    Tensorstore raises errors of its own, which quote the system's words.

    >>> disk_problem(OSError(errno.ENOSPC, "no room"))
    'No space left on device'
    >>> disk_problem(ValueError("a wrong value")) is None
    True
    """
    while error is not None:
        for number in FULL:
            by_number = isinstance(error, OSError) and error.errno == number
            if by_number or os.strerror(number) in str(error):
                return os.strerror(number)
        error = error.__cause__ or error.__context__
    return None
