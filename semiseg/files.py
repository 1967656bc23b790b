"""Files that several processes read and write: whole or not at all, one writer at a time, and a
clear error where one cannot be read.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import yaml

from semiseg import safe_yaml, shapes, unfinished
from semiseg.errors import UserError


# ------------------------------------------------------------------ writing
@contextlib.contextmanager
def replacing(path: Path, keep_suffix: bool = False) -> Iterator[Path]:
    """The file to write instead of ``path``; it takes its place when the block ends without an
    error.

    A reader sees the old content or the new one, never a part, also if the process is killed; of
    several processes that write it at once the last one wins. What killed ones left is deleted.

    Args:
      path: of the file.
      keep_suffix: for writers that choose the format by the end of the name.
    """
    unfinished.clear_once(str(path.parent.absolute()))
    partial = unfinished.partial_path(path, keep_suffix)
    try:
        yield partial
        partial.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise


@contextlib.contextmanager
def new_folder(place: Path) -> Iterator[Path]:
    """The folder to fill instead of ``place``, which is new or empty; it takes its place when the
    block ends without an error, and is gone otherwise.

    What a killed process has left of it is deleted: only who holds the place may ask for it.
    """
    place = place.resolve()
    folder = place.with_name(f".{place.name}.writing")
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir(parents=True)
        yield folder
        folder.rename(place)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, whole or not at all."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_bytes(path: Path, content: bytes) -> None:
    """Write a binary file, whole or not at all."""
    with replacing(path) as partial:
        partial.write_bytes(content)


# ------------------------------------------------------------------ reading
def read_json(
    path: Path, remedy: str | None = None, shape: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The mapping in a JSON file.

    Args:
      path: of the file.
      remedy: ends a message.
      shape: what values must be, see :mod:`semiseg.shapes`.

    Raises:
      UserError: the file is missing or damaged, or holds no mapping, or a value is of another kind.
    """
    try:
        content = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"cannot be read ({reason})", where=path, remedy=remedy) from None
    mapping = _mapping(content, path, remedy)
    check_shape(mapping, shape or {}, path, remedy)
    return mapping


def check_shape(
    content: Mapping[str, Any], shape: Mapping[str, Any], path: Path, remedy: str | None = None
) -> None:
    """Refuse the content of a file whose values are of other kinds than ``shape`` says.

    Raises:
      UserError: for the first of them.
    """
    words = shapes.problem(content, shape)
    if words:
        raise UserError(words, where=path, remedy=remedy)


def read_json_if_whole(path: Path, shape: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The mapping in a JSON file; empty where there is none, it is damaged or has another
    ``shape``.

    >>> read_json_if_whole(Path("no such file"))
    {}
    """
    try:
        return read_json(path, shape=shape)
    except UserError:
        return {}


LONGEST = 2**29
"""Bytes of a text: what is longer is none of ours, and a link to a device has no end."""


def read_text(path: Path) -> str:
    """A text in UTF-8, of a file or a pipe.

    Raises:
      OSError: it cannot be read.
      ValueError: it is no UTF-8, or longer than :data:`LONGEST`.
    """
    with path.open("rb") as file:
        content = file.read(LONGEST + 1)
    if len(content) > LONGEST:
        raise ValueError(f"longer than {LONGEST >> 20} MB")
    return content.decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")


def read_mapping(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file, or in a JSON file by its suffix.

    Raises:
      UserError: the file is missing or damaged, or holds no mapping.
    """
    try:
        content = _parsed(read_text(path), path.suffix)
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"cannot be read as YAML: {reason}", where=path) from None
    return _mapping(content, path)


def _parsed(text: str, suffix: str) -> Any:
    """The content of a text in YAML, or in JSON.

    Raises:
      ValueError: it is nested too deep, too long, or its aliases stand for too much.
      yaml.YAMLError: it is no YAML.
    """
    try:
        if suffix == ".json":
            return json.loads(text)
        return safe_yaml.content_of(text)
    except RecursionError:
        raise ValueError("brackets in brackets, too deep to read") from None


def _mapping(content: Any, path: Path, remedy: str | None = None) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise UserError("holds no mapping of names to values", where=path, remedy=remedy)
    return content


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal.

    Raises:
      OSError: it cannot be read, or is a device or a pipe, which may never end.
    """
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "is no regular file", str(path))
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# ------------------------------------------------------------------ one process at a time
PAUSES = (0.01, 0.02, 0.0)
"""Seconds after each try to take a lock: somebody may be looking (:meth:`Lock.is_taken`), which
takes microseconds.
"""


class NoLocks(UserError):
    """A file system on which no process can keep another one out."""


class Lock:
    """A file that one process at a time can hold, by flock: a process that is killed lets go.

    ``with Lock(path):`` waits for the lock.
    """

    def __init__(self, path: Path):
        self.path = path
        self._file: IO[str] | None = None

    def take(self, wait: bool = False) -> bool:
        """Whether the lock is ours now; it is not if another process holds it.

        Raises:
          NoLocks: the file system has none.
        """
        import fcntl

        self.path.parent.mkdir(parents=True, exist_ok=True)
        mode = fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB
        file = self.path.open("a")
        for pause in PAUSES:
            try:
                fcntl.flock(file, mode)
            except BlockingIOError:
                time.sleep(pause)
                continue
            except OSError as error:
                file.close()
                raise NoLocks(
                    f"cannot be locked ({error.strerror or error})",
                    where=self.path,
                    remedy="choose a folder on a file system with locks",
                ) from error
            self._file = file
            return True
        file.close()
        return False

    def drop(self) -> None:
        """Let go of the lock."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def is_taken(self) -> bool:
        """Whether somebody holds it, this process included."""
        import fcntl

        if self._file is not None:
            return True
        if not self.path.exists():
            return False
        # a shared lock: onlookers do not see each other, and may look at what they cannot write
        with self.path.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            except OSError:  # nobody can hold it
                return False
        return False

    def __enter__(self) -> Lock:
        self.take(wait=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.drop()
