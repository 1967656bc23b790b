"""What files of strangers may not do: lead out of their folder, or declare more than they hold.

Nothing is allocated before what a header declares is compared with the file's length: an archive of
kilobytes can declare terabytes, and unpack to gigabytes of zeros.
"""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from semiseg.errors import UserError, damaged

LARGEST = 1 << 32
"""Bytes of one array that are read: a CT of 1,600 slices of 1,024² pixels has 3.4 GB."""
RATIO = 1100
"""Deflate shrinks nothing more than 1,032 times, so a header that declares more is damaged …"""
SMALL = 1 << 24
"""… but 16 MB may be declared by any file."""
CODEC_RATIO = 2000
"""The codecs of DICOM shrink a picture by no more than this …"""
INFLATED = 1 << 30
"""… and a deflated DICOM file, which is inflated as a whole, may have so many bytes."""
LARGEST_SIDE = 1 << 15
"""Pixels or slices along a side of a network's input; more of them is a typing error."""
FOLLOW = "follow_links"
"""The option, of every format, by which a user allows links out of the source."""


def stated() -> list[str]:
    """The limits in words, for ``semiseg doctor``.

    >>> stated()[0]
    'one array: 4.3 GB'
    """
    return [
        f"one array: {LARGEST / 1e9:.1f} GB",
        f"a header declares at most {RATIO:,} times its file's bytes ({CODEC_RATIO:,} times in "
        f"DICOM), or {SMALL / 1e6:.0f} MB",
        f"a deflated DICOM file: {INFLATED / 1e9:.1f} GB",
        f"a side of a network's input: {LARGEST_SIDE:,} pixels",
    ]


# ------------------------------------------------------------------ out of the folder
def check_tree(source: Path) -> None:
    """Refuse a folder with links that lead out of it, or files that are no files.

    A link in an archive that a stranger packed may lead to any file of this machine. Hidden folders
    are not looked at; no reader does.

    Raises:
      UserError: for the first of them.
    """
    if not source.is_dir():
        return
    home = source.resolve()
    for entry in _entries(source):
        path = Path(entry.path)
        if entry.is_symlink():
            if not path.resolve().is_relative_to(home):
                raise UserError(
                    f"is a link to {path.resolve()}, out of {source}",
                    where=path,
                    remedy="copy the file there, or pass --follow-links if you made the link",
                )
        elif not entry.is_file() and not entry.is_dir():
            raise UserError(
                "is neither a file nor a folder, but a pipe or a device",
                where=path,
                remedy="take it out of the folder",
            )


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    """What is in a folder tree; a folder that may not be read holds nothing."""
    try:
        with os.scandir(folder) as found:
            entries = [entry for entry in found if not entry.name.startswith(".")]
    except OSError:  # the reader says so
        return
    for entry in entries:
        yield entry
        if entry.is_dir(follow_symlinks=False):
            yield from _entries(Path(entry.path))


def inside(folder: Path, name: str, named_by: Path) -> Path:
    """``folder / name``, which must lie in the folder.

    Args:
      folder: of the set.
      name: a relative path that a file of the set states.
      named_by: that file.

    Raises:
      UserError: it leads out of the folder.

    >>> inside(Path("set"), "./imagesTr/p7.nii.gz", Path("set/dataset.json")).as_posix()
    'set/imagesTr/p7.nii.gz'
    """
    path = folder / name
    normal = os.path.normpath(path.absolute())
    if not Path(normal).is_relative_to(os.path.normpath(folder.absolute())):
        raise UserError(
            f"names {name}, which is out of {folder}",
            where=named_by,
            remedy="put the file into the folder and correct the path",
        )
    return path


# ------------------------------------------------------------------ more than they hold
def check_declared(declared: int, stored: int, path: Path, most: int = 0) -> None:
    """Refuse an array before it is allocated.

    Args:
      declared: bytes that its header declares.
      stored: bytes of the file or files that hold it, compressed or not.
      path: for the message.
      most: bytes that are read; 0 for LARGEST.

    Raises:
      UserError: there is more than ``most``, or more than the file can hold.

    >>> check_declared(1 << 20, 900, Path("p7.nii.gz"))
    """
    if declared > max(RATIO * stored, SMALL):
        raise damaged(
            f"declares {declared:,} bytes of numbers, which a file of {stored:,} bytes does not "
            f"hold",
            path,
        )
    most = most or LARGEST
    if declared > most:
        raise UserError(
            f"declares {declared:,} bytes of numbers, and {most:,} is the most that is read",
            where=path,
            remedy="crop the scan, or resample it",
        )


def check_npz(path: Path) -> None:
    """Refuse a ``.npz`` whose arrays declare more than their members hold, or which holds members
    that are no arrays, for which :func:`numpy.load` gives bytes.

    Raises:
      UserError: it does; also from :func:`check_declared`.
    """
    stored = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        check_declared(sum(member.file_size for member in members), stored, path)
        for member in members:
            prefix = np.lib.format.MAGIC_PREFIX
            with archive.open(member) as file:
                if file.read(len(prefix)) != prefix:
                    raise UserError(
                        f"its member {member.filename} is no array",
                        where=path,
                        remedy="write the file again",
                    )
            with archive.open(member) as file:
                if declared_by(file) > member.file_size:
                    raise UserError(
                        f"its array {member.filename} declares more numbers than it has",
                        where=path,
                        remedy="write the file again",
                    )


def check_npy(path: Path) -> None:
    """Refuse a ``.npy`` that declares more than it holds.

    Raises:
      UserError: it does.
    """
    with path.open("rb") as file:
        declared = declared_by(file)
    size = path.stat().st_size
    if declared > size:
        raise UserError(
            f"declares {declared:,} bytes of numbers, and has {size:,}",
            where=path,
            remedy="write it again",
        )


def declared_by(file: IO[bytes]) -> int:
    """Bytes of numbers that the header of a ``.npy`` declares; 0 where it is none.

    Raises:
      ValueError: the header is damaged.
    """
    start = file.read(len(np.lib.format.MAGIC_PREFIX) + 2)
    if start[:-2] != np.lib.format.MAGIC_PREFIX:
        return 0
    read = np.lib.format.read_array_header_1_0
    if start[-2] > 1:
        read = np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    return math.prod(shape) * dtype.itemsize
