"""Every problem of a data set, before or after its import: one line each."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from semiseg.data import fingerprints, provenance, readers, regions, seal, store, subject_names
from semiseg.data.info import StoreInfo, numbered
from semiseg.data.pixel_counts import PixelCounts
from semiseg.data.problems import case_problems, class_problems
from semiseg.data.recount import Recount
from semiseg.data.source import SPLITS, CaseRef, Source, progress_bar
from semiseg.errors import UserError
from semiseg.types import Case

WITHOUT_VAL = (
    "{} has no val split: cross-validate with --folds, or evaluate on a test set from elsewhere"
)

RESTORE_LEDGER = "restore it from a backup, or say so where you quote scores of test"


def check_source(
    format: str,
    source: str | Path,
    progress: bool = True,
    say: Callable[[str], None] | None = None,
    allow_near_duplicates: bool = False,
    region: Sequence[str] = (),
    **options: Any,
) -> list[str]:
    """All problems of files that are not imported yet; empty where an import will succeed.

    Args:
      format: of the files, see :data:`semiseg.data.readers.READERS`.
      source: folder or file that holds them.
      progress: show a progress bar.
      say: receives one line for each thing that the reader assumed, and what there is.
      allow_near_duplicates, region: as for the import.
      **options: of the reader.
    """
    try:
        files = readers.read(format, source, progress=progress, **options)
        united = regions.with_typed(files.regions, region, files.classes)
        files = dataclasses.replace(files, regions=united)
    except UserError as error:
        return [str(error)]
    for note in files.notes:
        if say is not None:
            say(note)
    too_many = class_problems(files.classes, source)
    if too_many:
        return [*files.problems, *too_many]
    seen = fingerprints.Collector()
    problems = [*files.problems, *_pixel_problems(files, seen, progress, say)]
    if provenance.of_pairs(Path(source).expanduser()) is None:
        problems += seen.copies()
        if not allow_near_duplicates:
            problems += seen.look_alikes()
    return list(dict.fromkeys(problems))  # the slices of one broken volume fail alike


def _pixel_problems(
    files: Source,
    seen: fingerprints.Collector,
    progress: bool,
    say: Callable[[str], None] | None,
) -> list[str]:
    """Problems of the cases, which are added to ``seen``; the first that can be read sets the
    number of channels for all.
    """
    problems: list[str] = []
    subjects = {ref.subject for references in files.splits.values() for ref in references}
    nouns: set[str] = set()
    masks = 0
    channels = 0
    counts = PixelCounts(regions=regions.numbers(files.regions, files.classes))
    refs: list[tuple[str, CaseRef]] = []
    for split in SPLITS:
        refs += [(split, ref) for ref in files.splits.get(split, ())]
    for split, ref in progress_bar(refs, "check", show=progress):
        try:
            case = ref.load()
        except UserError as error:
            problems.append(str(error))
            continue
        channels = channels or case.image.shape[-1]
        wrong = case_problems(case, files.classes, channels, ref.path, ref.label_path)
        problems += wrong
        if case.image.ndim in (3, 4) and case.image.size:
            seen.add(split, case, ref.path)
        nouns.add(_noun(case))
        masks += case.label is not None
        if files.regions and split != "test" and not wrong:
            counts.add(case)
    if say is not None:
        noun = nouns.pop() if len(nouns) == 1 else "image"
        images = f"{numbered(len(refs), noun)} of {numbered(len(subjects), 'subject')}"
        if any(subject_names.ASKS in problem for problem in files.problems):
            images = f"{numbered(len(refs), noun)} of subjects that are not known yet"
        say(f"{images}, {masks} with a mask")
        there = [split for split in ("train", "val") if files.splits.get(split)]
        for note in (*_region_notes(files.regions, counts, there), *seen.twins()):
            say(note)
    return problems


def check_store(
    name: str, root: str | Path | None = None, say: Callable[[str], None] | None = None
) -> list[str]:
    """All problems of an imported set: files that changed since, cases that break the contract, and
    images that are in two splits.

    The test split is checked by its files' hashes and the set's fingerprint alone: its cases were
    checked when they were imported, and nobody looks at them here. Copies and look-alikes of its
    images are found by what the import wrote down of them.

    Args:
      name, root: the set.
      say: receives one line for each thing that the import was told to accept.
    """
    info = store.info(name, root)
    problems = [
        f"{path}: damaged or missing; import {name} again with --overwrite"
        for path in store.damaged_files(info)
    ]
    first_split: dict[str, str] = {}
    counts = PixelCounts(regions=info.region_values)
    recount = Recount(info)
    for split in ("train", "val"):
        if split == "val" and not info.number("val"):
            _tell(say, [WITHOUT_VAL.format(name)])
            continue
        try:
            cases = store.open_split(name, split, root)
        except UserError as error:
            problems.append(str(error))
            continue
        for case in cases:
            where = f"{name}/{split}/{case.name}"
            wrong = case_problems(case, info.classes, info.channels, where)
            problems += wrong
            if not wrong:
                recount.add(split, case)
            if info.regions and not wrong:
                counts.add(case)
            if first_split.setdefault(case.subject, split) != split:
                problems.append(
                    f"{where}: subject {case.subject} is in train too; correct the splits and "
                    f"import again"
                )
            if split == "val" and case.label is None:
                problems.append(
                    f"{where}: has no label; annotate it or move it to train, and import again"
                )
    there = [split for split in ("train", "val") if info.number(split)]
    _tell(say, _region_notes(info.regions, counts, there))
    whole = not problems
    if whole:
        problems += recount.problems(fingerprints.hashes_of(info))
        _tell(say, recount.notes())
    problems += seal.problems(info, lambda note: _tell(say, [note]))
    if whole:  # with damaged records nobody knows which test set it is
        lines = store.history(name, root).problems
        problems += [f"{line}; {RESTORE_LEDGER}" for line in lines]
    problems += _shared_images(info, say)
    return list(dict.fromkeys(problems))


def _noun(case: Case) -> str:
    """What a case is: a volume, a slice of one, or an image."""
    if case.image.ndim == 4:
        return "volume"
    return "slice" if len(case.spacing) == 3 else "image"


def _region_notes(named: regions.Regions, counts: PixelCounts, splits: Sequence[str]) -> list[str]:
    """How large each region is in ``splits``; test is not looked at."""
    pixel, image = counts.nouns
    sizes = counts.of_regions(len(counts.pixels))
    notes: list[str] = []
    for size, words in zip(sizes.values(), regions.words(named), strict=True):
        notes.append(
            f"region {words}: {numbered(size.pixels, pixel)} in {' and '.join(splits)}, in "
            f"{size.presence:.0%} of the annotated {image}s"
        )
    return notes


def _shared_images(info: StoreInfo, say: Callable[[str], None] | None) -> list[str]:
    """Images in two splits, by hash and by look; what the import was told to accept is a note."""
    table = fingerprints.hashes_of(info)
    descriptions = fingerprints.descriptions_of(info)
    if table is None or descriptions is None:
        remedy = f"import {info.name} again with --overwrite to compare them"
        _tell(say, [f"{info.name}: its splits were never searched for equal images; {remedy}"])
        return []
    if "generated" in info.allowed:
        return []
    pairs = zip(table.splits, table.names, strict=True)
    paths = [f"{info.name}/{split}/{name}" for split, name in pairs]
    problems = fingerprints.copies(table, paths)
    alike = fingerprints.look_alikes(table, descriptions, paths)
    notes = fingerprints.twins(table)
    if "near_duplicates" in info.allowed:
        known = [line.partition("; ")[0] for line in alike]
        notes += [f"known when the set was imported: {line}" for line in known]
    else:
        problems += alike
    _tell(say, notes)
    return problems


def _tell(say: Callable[[str], None] | None, notes: list[str]) -> None:
    for note in notes:
        if say is not None:
            say(note)
