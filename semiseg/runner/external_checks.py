"""What `semiseg score` refuses: a method of our own as the maker, and masks that are missing."""

from __future__ import annotations

from collections.abc import Sequence, Set
from pathlib import Path

from semiseg.data import mask_files
from semiseg.data.fingerprints import hashes_of
from semiseg.data.info import StoreInfo
from semiseg.data.mask_files import NO_MASK, Masks
from semiseg.errors import UserError
from semiseg.methods import METHODS
from semiseg.types import Case


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
    cases: Sequence[Case],
    predictions: Path,
    split: str,
    allow_missing: bool,
    every_name: Set[str],
) -> None:
    """Refuse masks that leave subjects out, and masks of which none has a scan.

    ``every_name`` holds the names of all scans of the set, as files may be called.
    """
    partial = any(lacks != NO_MASK for lacks in masks.lacking.values())
    if not masks.by_case and not partial:
        names = ", ".join(case.volume for case in cases[:3])
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


def names_of(info: StoreInfo, training: Sequence[Case]) -> set[str]:
    """Names of the scans of all splits; of a set without image hashes those of train alone."""
    names = {name for case in training for name in (case.name, case.volume)}
    table = hashes_of(info)
    if table is not None:
        names |= set(table.names.tolist()) | set(table.subjects.tolist())
    return names
