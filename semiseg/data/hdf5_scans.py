"""Scans in the HDF5 files of published code: datasets ``image`` and ``label``, lists of names."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from semiseg.data import size_limits
from semiseg.data.source import first_line
from semiseg.errors import UserError


def names_in(path: Path) -> list[str]:
    """The names of a list file, one a line; what follows a comma is left out.

    Raises:
      UserError: it is missing, empty, or no text, or a name leads out of the folder or stands
        there twice.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"cannot be read ({first_line(error)})", where=path, remedy="restore the list"
        ) from error
    names = [line.partition(",")[0].strip() for line in lines]
    names = [name for name in names if name]
    if not names:
        raise UserError("is empty", where=path, remedy="name one file a line")
    repeated = [name for name, number in Counter(names).items() if number > 1]
    if repeated:
        raise UserError(
            f"names {repeated[0][:80]!r} more than once", where=path, remedy="remove the others"
        )
    for name in names:
        if re.search(r"[/\\\0]", name) or name in (".", ".."):
            raise UserError(
                f"names {name[:80]!r}, and a name has no folder in it",
                where=path,
                remedy="write the files' names alone",
            )
    return names


def problems_of(path: Path, dimensions: int, labelled: bool, named_by: Path) -> list[str]:
    """What is wrong with a file before its numbers are read; empty where nothing is.

    Args:
      path: of the file.
      dimensions: that its datasets should have.
      labelled: whether it needs a label.
      named_by: the list that names it.
    """
    import h5py

    if not path.is_file():
        return [f"{path}: not found, but {named_by.name} names it; restore it or correct the list"]
    try:
        with h5py.File(path) as file:
            if "image" not in file:
                return [f"{path}: has no dataset image; write the file again"]
            shape = dataset(file, "image", path).shape
            if len(shape) != dimensions:
                return [f"{path}: image has shape {shape}; save {dimensions} dimensions"]
            if "label" in file and dataset(file, "label", path).shape != shape:
                return [
                    f"{path}: label has shape {file['label'].shape} but the image {shape}; save "
                    f"both at one size"
                ]
            if labelled and "label" not in file:
                return [f"{path}: has no dataset label; validation and test need one"]
    except UserError as error:
        return [str(error)]
    except Exception as error:  # h5py raises OSError, KeyError or RuntimeError on a damaged file
        return [f"{path}: cannot be read ({first_line(error)}); replace the file"]
    return []


def read(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """The datasets ``image`` and ``label`` of a file; None where it has no label.

    Raises:
      UserError: see :func:`dataset`.
    """
    import h5py

    with h5py.File(path) as file:
        label = None
        if "label" in file:
            label = dataset(file, "label", path)[()]
        return dataset(file, "image", path)[()], label


def dataset(file: Any, name: str, path: Path) -> Any:
    """A dataset of numbers that the file itself holds.

    HDF5 has links into other files, datasets whose numbers are in other files of any kind, and
    chunks that nobody wrote.

    Args:
      file: open, of h5py.
      name: of the dataset.
      path: of the file, for the message.

    Raises:
      UserError: it is none, leads out of the file, or declares more than the file holds.
    """
    import h5py

    link = file.get(name, getlink=True)
    if not isinstance(link, h5py.HardLink):
        raise UserError(
            f"its {name} is a link to another place", where=path, remedy="copy the numbers there"
        )
    found = file[name]
    if not isinstance(found, h5py.Dataset) or found.shape is None or found.dtype.kind not in "iufb":
        raise UserError(
            f"its {name} is no array of numbers", where=path, remedy="write the file again"
        )
    if found.external or found.is_virtual:
        raise UserError(
            f"its {name} takes its numbers from other files",
            where=path,
            remedy="copy the numbers there",
        )
    size_limits.check_declared(
        math.prod(found.shape) * found.dtype.itemsize, path.stat().st_size, path
    )
    return found


def last_part(names: Sequence[str], share: float) -> tuple[list[str], list[str]]:
    """A list in two: its beginning, and its last part, of at least one name.

    >>> last_part(["a", "b", "c"], 0.1)
    (['a', 'b'], ['c'])
    """
    number = max(1, round(share * len(names)))
    return list(names[:-number]), list(names[-number:])
