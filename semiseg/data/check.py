"""Every problem of a data set, before or after its import: one line each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from semiseg.data import readers, store
from semiseg.data.problems import case_problems
from semiseg.data.source import SPLITS, Source, progress_bar
from semiseg.errors import UserError


def check_source(
    format: str,
    source: str | Path,
    progress: bool = True,
    say: Callable[[str], None] | None = None,
    **options: Any,
) -> list[str]:
    """All problems of files that are not imported yet; empty where an import will succeed.

    Args:
      format: of the files, see :data:`semiseg.data.readers.READERS`.
      source: folder or file that holds them.
      progress: show a progress bar.
      say: receives one line for each thing that the reader assumed, and what there is.
      **options: of the reader.
    """
    try:
        files = readers.read(format, source, progress=progress, **options)
    except UserError as error:
        return [str(error)]
    for note in files.notes:
        if say is not None:
            say(note)
    problems = [*files.problems, *_pixel_problems(files, progress, say)]
    return list(dict.fromkeys(problems))  # the slices of one broken volume fail alike


def _pixel_problems(files: Source, progress: bool, say: Callable[[str], None] | None) -> list[str]:
    """Problems of the cases; the first that can be read sets channels and dtype for all."""
    problems: list[str] = []
    subjects: set[str] = set()
    masks = 0
    expected: tuple[int, str] | None = None
    refs = [ref for split in SPLITS if split in files.splits for ref in files.splits[split]]
    for ref in progress_bar(refs, "check", show=progress):
        try:
            case = ref.load()
        except UserError as error:
            problems.append(str(error))
            continue
        if expected is None:
            expected = (case.image.shape[-1], case.image.dtype.name)
        problems += case_problems(case, files.classes, *expected, ref.path, ref.label_path)
        subjects.add(case.subject)
        masks += case.label is not None
    if say is not None:
        say(f"{len(refs)} images of {len(subjects)} subjects, {masks} with a mask")
    return problems


def check_store(name: str, root: str | Path | None = None) -> list[str]:
    """All problems of an imported set: files that changed since, and cases that break the contract.

    The test split is checked by its files' hashes alone: its cases were checked when they were
    imported, and nobody looks at them here.
    """
    info = store.info(name, root)
    problems = [
        f"{path}: damaged or missing; import {name} again with --overwrite"
        for path in store.damaged_files(info)
    ]
    first_split: dict[str, str] = {}
    for split in ("train", "val"):
        try:
            cases = store.read_split(name, split, root)
        except UserError as error:
            problems.append(str(error))
            continue
        for case in cases:
            where = f"{name}/{split}/{case.name}"
            problems += case_problems(case, info.classes, info.channels, info.dtype, where)
            if first_split.setdefault(case.subject, split) != split:
                problems.append(
                    f"{where}: subject {case.subject} is in train too; correct the splits and "
                    f"import again"
                )
            if split == "val" and case.label is None:
                problems.append(
                    f"{where}: has no label; annotate it or move it to train, and import again"
                )
    if not problems:  # with damaged records nobody knows which test set it is
        problems += store.history(name, root).problems
    return list(dict.fromkeys(problems))
