"""What `semiseg score` refuses: a method of our own as the maker, and masks that are missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from pathlib import Path

import numpy as np

from semiseg.data import mask_files
from semiseg.data.fingerprints import hashes_of
from semiseg.data.info import StoreInfo
from semiseg.data.mask_files import NO_MASK, Masks
from semiseg.errors import UserError
from semiseg.methods import METHODS
from semiseg.types import Case

NOT_READ = np.zeros((0, 0), np.uint8)
"""Stands for a mask that is asked for by its name alone."""


def check_method(name: str) -> None:
    """Refuse a name that says nothing, or that the report would take for a method of our own."""
    if not name.strip():
        raise UserError("must not be empty", where="--method", remedy="name who made the masks")
    if name.strip().lower().replace("-", "_").replace(" ", "_") in METHODS:
        raise UserError(
            f"{name!r} is a method of semiseg itself, which did not make these masks",
            where="--method",
            remedy="name the program that made them, e.g. --method nnU-Net",
        )


def check_missing(
    masks: Masks,
    volumes: Sequence[str],
    predictions: Path,
    split: str,
    allow_missing: bool,
    every_name: Set[str],
) -> None:
    """Refuse masks that leave subjects out, and masks of which none has a scan.

    ``volumes`` are the names of the split's scans, ``every_name`` holds those of all scans of the
    set, as files may be called.
    """
    partial = any(lacks != NO_MASK for lacks in masks.lacking.values())
    if not masks.by_case and not partial:
        names = ", ".join(volumes[:3])
        raise UserError(
            f"no file has the name of a {split} scan",
            where=predictions,
            remedy=f"name the files after the scans: {names} …",
        )
    if not masks.missing or (allow_missing and masks.by_case):
        return
    lacks = [f"{subject} {words}" for subject, words in list(masks.lacking.items())[:3]]
    if len(masks.missing) > 3:
        lacks.append(f"{len(masks.missing) - 3} more")
    unknown = [path for path in masks.unused if mask_files.stem(path) not in every_name]
    unused = ""
    if unknown:
        unused = f" (no scan is called {unknown[0].name})"
    remedy = "add them, or score without these subjects with --allow-missing, which the report says"
    if not masks.by_case:
        remedy = "add them: no subject has all of its masks"
    raise UserError(
        f"masks of {split} subjects are missing: {'; '.join(lacks)}{unused}",
        where=predictions,
        remedy=remedy,
    )


def check_files(
    predictions: Path, info: StoreInfo, split: str, allow_missing: bool, every_name: Set[str]
) -> None:
    """Refuse, before a scan of the split is read, files that cannot be scored.

    To read the test split is a test evaluation, even if the command fails after it. So what the
    files and the names of the set tell is asked first: whether the files are masks of the set's
    classes, and whether each annotated subject has one. A set without image hashes has no names to
    ask.

    Args:
      predictions: folder of the masks.
      info: of the data set.
      split: that shall be scored.
      allow_missing: whether subjects without a mask are left out.
      every_name: names of all scans of the set, as files may be called.

    Raises:
      UserError: a file cannot be read, holds what is no class, or is missing.
    """
    files = mask_files.files_of(predictions)
    table = hashes_of(info)
    if table is None:
        return
    rows = table.of(split) & table.labelled
    subject_of = dict(zip(table.names[rows].tolist(), table.subjects[rows].tolist(), strict=True))
    matched = {name: _file_of(name, subject, files) for name, subject in subject_of.items()}
    used = {file: files[file] for file in matched.values() if file is not None}
    mask_files.check_values(used, info.classes)
    with_mask = {subject_of[name] for name, file in matched.items() if file is not None}
    missing = sorted(set(subject_of.values()) - with_mask)
    masks = Masks(
        dict.fromkeys(used, NOT_READ),
        tuple(missing),
        tuple(path for name, path in files.items() if name not in used),
        dict.fromkeys(missing, NO_MASK),
    )
    check_missing(masks, list(subject_of), predictions, split, allow_missing, every_name)


def _file_of(name: str, subject: str, files: Mapping[str, Path]) -> str | None:
    """The file that may hold the mask of a slice or picture: of its own name, of its subject's, or
    of the volume whose name its own begins with.

    >>> _file_of("h0_slice_3", "h0", {"h0": Path("h0.npy")})
    'h0'
    """
    for candidate in (name, subject):
        if candidate in files:
            return candidate
    beginnings = [file for file in files if name.startswith(file)]
    return max(beginnings, key=len, default=None)


def names_of(info: StoreInfo, training: Sequence[Case]) -> set[str]:
    """Names of the scans of all splits; of a set without image hashes those of train alone."""
    names = {name for case in training for name in (case.name, case.volume)}
    table = hashes_of(info)
    if table is not None:
        names |= set(table.names.tolist()) | set(table.subjects.tolist())
    return names
