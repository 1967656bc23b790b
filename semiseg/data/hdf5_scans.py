"""Scans in the HDF5 files of published code: datasets ``image`` and ``label``, lists of names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from semiseg.data.source import first_line
from semiseg.errors import UserError


def names_in(path: Path) -> list[str]:
    """The names of a list file, one a line; what follows a comma is left out.

    Raises:
      UserError: it is missing, empty, or no text.
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
            shape = file["image"].shape
            if len(shape) != dimensions:
                return [f"{path}: image has shape {shape}; save {dimensions} dimensions"]
            if "label" in file and file["label"].shape != shape:
                return [
                    f"{path}: label has shape {file['label'].shape} but the image {shape}; save "
                    f"both at one size"
                ]
            if labelled and "label" not in file:
                return [f"{path}: has no dataset label; validation and test need one"]
    except Exception as error:  # h5py raises OSError, KeyError or RuntimeError on a damaged file
        return [f"{path}: cannot be read ({first_line(error)}); replace the file"]
    return []


def read(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """The datasets ``image`` and ``label`` of a file; None where it has no label."""
    import h5py

    with h5py.File(path) as file:
        label = None
        if "label" in file:
            label = file["label"][()]
        return file["image"][()], label


def last_part(names: Sequence[str], share: float) -> tuple[list[str], list[str]]:
    """A list in two: its beginning, and its last part, of at least one name.

    >>> last_part(["a", "b", "c"], 0.1)
    (['a', 'b'], ['c'])
    """
    number = max(1, round(share * len(names)))
    return list(names[:-number]), list(names[-number:])
