"""Everything that is wrong with a set, before or after its import: one line a problem, naming the
file and the remedy.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from semiseg.data.source import SPLITS, progress_bar
from semiseg.errors import UserError
from semiseg.types import IGNORE, Case


def case_problems(
    case: Case, classes: tuple[str, ...], channels: int, dtype: str, path: str, label_path: str = ""
) -> list[str]:
    """What is wrong with one case of a set of ``classes``, ``channels`` and image ``dtype``."""
    problems, image, label = [], case.image, case.label
    if image.ndim != 3 or not image.size:
        return [f"{path}: image has shape {image.shape}; expected a non-empty (H, W, C)"]
    if image.shape[-1] != channels:
        problems.append(
            f"{path}: image has {image.shape[-1]} channels but the set has {channels}; convert "
            f"it or pass --channels grey"
        )
    if image.dtype.name != dtype:
        problems.append(
            f"{path}: image is {image.dtype.name} but the set is {dtype}; save all images with "
            f"the same bit depth"
        )
    if image.dtype != np.uint8 and not np.isfinite(image).all():
        problems.append(
            f"{path}: image holds NaN or infinity; replace those pixels or take the file out of "
            f"the set"
        )
    if label is None:
        return problems
    where = label_path or path
    if label.shape != image.shape[:-1]:
        problems.append(
            f"{where}: label has shape {label.shape} but its image {image.shape[:-1]} ({path}); "
            f"save both at one size"
        )
    beyond = [
        int(v)
        for v in np.flatnonzero(np.bincount(label.ravel(), minlength=256))
        if len(classes) <= v != IGNORE
    ]
    if beyond:
        values = ", ".join(map(str, beyond[:5])) + (" …" if len(beyond) > 5 else "")
        problems.append(
            f"{where}: subject {case.subject}: label has value {values} but the set declares "
            f"classes 0–{len(classes) - 1}; "
            "correct it or name more classes with --classes"
        )
    return problems


def check_source(
    format: str,
    source: str | Path,
    progress: bool = True,
    say: Callable[[str], None] = lambda line: None,
    **options: Any,
) -> list[str]:
    """All problems of files that are not imported yet; empty where an import will succeed. ``say``
    is told what was assumed.
    """
    from semiseg.data import readers

    try:
        found = readers.read(format, source, progress=progress, **options)
    except UserError as error:
        return [str(error)]
    for note in found.notes:
        say(note)
    problems, like = list(found.problems), None
    refs = [ref for split in SPLITS for ref in found.splits.get(split, [])]
    for ref in progress_bar(refs, "check", show=progress):
        try:
            case = ref.load()
        except UserError as error:
            problems.append(str(error))
            continue
        like = like or (case.image.shape[-1], case.image.dtype.name)
        problems += case_problems(case, found.classes, *like, ref.path, ref.label_path)
    return list(dict.fromkeys(problems))  # the slices of one broken volume fail alike


def check_store(name: str, root: str | Path | None = None) -> list[str]:
    """All problems of an imported set: files that changed since, and cases of train and val that
    break the contract.

    The test split is checked by its files' hashes alone: its cases were checked when they were
    imported, and nobody looks at them here.
    """
    from semiseg.data import store

    info = store.info(name, root)
    problems = [
        f"{path}: damaged or missing; import {name} again with --overwrite"
        for path in store.damaged_files(info)
    ]
    home: dict[str, str] = {}
    for split in ("train", "val"):
        try:
            cases = store.read_split(name, split, root)
        except UserError as error:
            problems.append(str(error))
            continue
        for case in cases:
            where = f"{name}/{split}/{case.name}"
            problems += case_problems(case, info.classes, info.channels, info.dtype, where)
            if home.setdefault(case.subject, split) != split:
                problems.append(
                    f"{where}: subject {case.subject} is in train too; correct the splits and "
                    f"import again"
                )
            if split == "val" and case.label is None:
                problems.append(
                    f"{where}: has no label; annotate it or move it to train, and import again"
                )
    return list(dict.fromkeys(problems))


def collapsed(problems: Sequence[str], most: int = 3) -> list[str]:
    """Problems for reading: what more than ``most`` files share is one line with their number and
    the first of them.

    Two problems are of a kind where they differ in nothing but the file and the subject, or, within
    one file, in the names it lists.
    """
    kinds: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for line in problems:
        where, colon, what = line.partition(": ")
        what = re.sub(r"^subject \S+: ", "", what)
        same = re.sub(r" \([^()]*[/\\][^()]*\)", "", what)  # a path beside a shape or a group
        table = where.endswith(".csv")
        kinds.setdefault(
            (where, re.sub(r"\S*[\d/\\]\S*", "#", same))
            if table
            else ("", same if colon else line),
            [],
        ).append((where, line))
    lines = []
    for (table_file, what), members in kinds.items():
        first = [where for where, _ in members[:most]]
        if len(members) <= most:
            lines += [line for _, line in members]
        elif table_file:
            lines += [
                *(line for _, line in members[:most]),
                f"{table_file}: … and {len(members) - most} more of this kind",
            ]
        else:
            lines.append(
                f"{len(members)} times: {what} ({', '.join(first)} and {len(members) - most} more)"
            )
    return lines
