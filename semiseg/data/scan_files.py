"""The scans of a layout before they are opened: whose they are, and which split they are in.

What the readers of layouts with a file or more a scan have in common. A reader lists
:class:`ScanFiles`; :func:`with_subjects` says who is in them, :func:`draw` puts those that no file
of the layout places into splits.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple, Protocol

import numpy as np

from semiseg.data import splits as splitting
from semiseg.data import subject_names, subjects_csv
from semiseg.data.images import is_image, stem_of
from semiseg.data.info import numbered
from semiseg.data.source import SPLITS
from semiseg.data.splits import ALL_TRAIN, IN_TABLE, STATED, Placement
from semiseg.errors import UserError

FRACTIONS = {"train": 0.7, "val": 0.1, "test": 0.2}
"""Shares of the annotated subjects that are drawn into each split."""

Classes = Annotated[str, "class names, background first, separated by commas"]
Seed = Annotated[int, "of randomly drawn splits"]
License = Annotated[str, "licence of the data, for reports"]
Citation = Annotated[str, "what to cite, for reports"]
SubjectsAreImages = Annotated[bool, "every image shows another subject, whatever the names share"]
SubjectPattern = Annotated[
    str, "regular expression whose group is the subject in a file's name, such as '^(\\d+)_'"
]
SubjectsFile = Annotated[str, "path of subjects.csv, where it lies elsewhere"]
Nan = Annotated[str, "voxels of NaN or infinity: refuse the file, or padding: ignore them"]
Splits = Annotated[
    str, "train: every image is a training image; validation and test are in other sets"
]
UnlabelledTest = Annotated[
    bool, "take test images that nobody annotated into train, as unlabelled images"
]


class ScanFiles(NamedTuple):
    """The files of a scan, and what is known of it before they are opened.

    Attributes:
      name: unique in the set.
      images: one file, or one a channel.
      labels: one file, or one a class; empty where nobody annotated the scan.
      subject, group: as in :class:`semiseg.types.Case`.
      split: "" where the layout does not state it.
      placement: why it is in its split.
    """

    name: str
    images: tuple[Path, ...]
    labels: tuple[Path, ...] = ()
    subject: str = ""
    group: str = ""
    split: str = ""
    placement: Placement = STATED


class Labelling(Protocol):
    """What the numbers in label files mean: :class:`semiseg.data.label_table.LabelTable` or
    :class:`semiseg.data.mask_classes.MaskClasses`.
    """

    @property
    def classes(self) -> tuple[str, ...]:
        """Names, background first."""
        ...

    def combine(self, labels: Sequence[np.ndarray], paths: Sequence[Path]) -> np.ndarray:
        """Class of each pixel, uint8, from the label files of a scan."""
        ...


class Identified(NamedTuple):
    """Scans with their subjects.

    Attributes:
      scans: each with a subject.
      columns: what a subjects.csv says of the subjects beside that.
      allowed: see :attr:`semiseg.data.source.Source.allowed`.
    """

    scans: list[ScanFiles]
    columns: subjects_csv.Columns
    allowed: dict[str, int]


# ------------------------------------------------------------------ files
def image_files(folder: Path) -> list[Path]:
    """The image files of a folder, sorted; hidden files are left out, and a folder that is not
    there has none.
    """
    if not folder.is_dir():
        return []
    return sorted(
        path for path in folder.iterdir() if is_image(path) and not path.name.startswith(".")
    )


def missing(paths: Iterable[Path], named_by: Path) -> list[str]:
    """A problem for each file that is not there.

    Args:
      paths: that ought to be there.
      named_by: the file that names them.
    """
    return [
        f"{path}: not found, but {named_by.name} names it; restore the file or correct {named_by}"
        for path in paths
        if not path.is_file()
    ]


def left_out(folder: Path, number: int) -> str:
    """A note on test images that nobody annotated."""
    return (
        f"{folder}: left out {numbered(number, 'test image')} without labels; to train on them as "
        f"unlabelled images, pass --unlabelled-test"
    )


# ------------------------------------------------------------------ subjects
def with_subjects(
    source: Path,
    scans: Sequence[ScanFiles],
    problems: list[str],
    pattern: str = "",
    subjects_are_images: bool = False,
    subjects_file: str = "",
) -> Identified:
    """Say whose each scan is: by ``subjects.csv``, else by a pattern, else each its own.

    Args:
      source: the set's folder, in which a ``subjects.csv`` may lie.
      scans: those without a subject get one.
      problems: receives the question about names that share beginnings, and errors of the table.
      pattern: of the flag ``--subject-pattern``; "" is none.
      subjects_are_images: do not ask.
      subjects_file: the table's path; "" for ``subjects.csv`` in the folder.

    Raises:
      UserError: the pattern is none, or a name does not match it.
    """
    names = {scan.name: scan.images[0] for scan in scans}
    rows = subjects_csv.read(subjects_csv.place(source, subjects_file), names, problems)
    listed = {name: rows[name] for name in names if name in rows}
    if rows:
        with_rows = [_with_row(scan, listed.get(scan.name)) for scan in scans]
        return Identified(with_rows, subjects_csv.columns_of(listed), {})
    if pattern:
        subjects = subjects_by_pattern(list(names), pattern)
        return Identified(_with_subject(scans, subjects), {}, {})
    suggested = subject_names.subjects_of(list(names))
    allowed: dict[str, int] = {}
    if suggested and subjects_are_images:
        allowed["subjects_are_images"] = len(suggested)
    elif suggested:
        problems.append(subject_names.question(source, suggested))
    return Identified(_with_subject(scans, {}), {}, allowed)


def subjects_by_pattern(names: Sequence[str], pattern: str) -> dict[str, str]:
    """Name → what the group of a regular expression finds in it.

    Raises:
      UserError: it is no regular expression of one group, or a name does not match.

    >>> subjects_by_pattern(["010_HC", "010_2HC"], r"(\\d+)_")
    {'010_HC': '010', '010_2HC': '010'}
    """
    where = f"--subject-pattern {pattern}"
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise UserError(
            f"is no regular expression ({error})", where=where, remedy="correct it"
        ) from error
    if expression.groups != 1:
        raise UserError(
            f"has {expression.groups} groups",
            where=where,
            remedy="put parentheses around the part of the name that is the subject",
        )
    subjects: dict[str, str] = {}
    for name in names:
        match = expression.search(name)
        if match is None or not match[1]:
            raise UserError(
                f"finds no subject in the name {name}", where=where, remedy="correct the pattern"
            )
        subjects[name] = match[1]
    return subjects


def _with_subject(scans: Iterable[ScanFiles], subjects: dict[str, str]) -> list[ScanFiles]:
    """Scans with the subject that is stated, named here, or the scan itself."""
    return [
        scan._replace(subject=scan.subject or subjects.get(scan.name, scan.name)) for scan in scans
    ]


def _with_row(scan: ScanFiles, row: subjects_csv.Row | None) -> ScanFiles:
    """A scan with what the table says of it."""
    if row is None:
        return scan._replace(subject=scan.name)
    scan = scan._replace(subject=row.subject or scan.name, group=row.group or scan.group)
    if row.split:
        return scan._replace(split=row.split, placement=IN_TABLE)
    return scan


# ------------------------------------------------------------------ splits
def draw(
    source: Path,
    scans: Sequence[ScanFiles],
    seed: int,
    problems: list[str],
    splits: str = "",
) -> list[ScanFiles]:
    """Put scans without a split into one at random, subject by subject and groups as a whole.

    A split that other scans state already is not drawn. Subjects and groups with a scan that nobody
    annotated go to train.

    Args:
      source: the set's folder, for messages.
      scans: with subjects.
      seed: of the draw.
      problems: receives a line where there are fewer subjects than splits.
      splits: ``train`` puts all into train.

    Raises:
      UserError: ``splits`` is something else.
    """
    if splits not in ("", "train"):
        raise UserError("must be train, or left out", where=f"--splits {splits}")
    if splits:
        return [scan._replace(split=splits, placement=ALL_TRAIN) for scan in scans]
    stated = {scan.split for scan in scans}
    fractions = {split: share for split, share in FRACTIONS.items() if split not in stated}
    undecided = [scan for scan in scans if not scan.split]
    if not undecided:
        return list(scans)
    fractions.setdefault("train", FRACTIONS["train"])
    groups = {scan.subject: scan.group for scan in undecided}
    unit = {subject: group or f"\0{subject}" for subject, group in groups.items()}
    bare = {unit[scan.subject] for scan in undecided if not scan.labels}
    drawn = {subject: group for subject, group in groups.items() if unit[subject] not in bare}
    units = len({unit[subject] for subject in drawn})
    if not units:
        problems.append(
            f"{source}: no image has a mask; name the masks as their images, or pass --splits "
            f"train if nothing is to be scored here"
        )
        return [scan._replace(split=scan.split or "train") for scan in scans]
    if units < len(fractions):
        words = ", ".join(split for split in SPLITS if split in fractions)
        problems.append(
            f"{source}: {units} annotated subjects or groups, and {words} need one each; annotate "
            f"more, or pass --splits train: it trains, and nothing is scored here"
        )
        return [scan._replace(split=scan.split or "train") for scan in scans]
    split_of = dict.fromkeys(groups, "train") | splitting.assign(drawn, fractions, seed)
    placements = dict.fromkeys(groups, splitting.unannotated(fractions, seed))
    placements |= dict.fromkeys(drawn, splitting.drawn(fractions, seed))
    placed: list[ScanFiles] = []
    for scan in scans:
        if not scan.split:
            split = split_of[scan.subject]
            scan = scan._replace(split=split, placement=placements[scan.subject])
        placed.append(scan)
    return placed


def check_splits(source: Path, scans: Iterable[ScanFiles], problems: list[str]) -> None:
    """Report scans whose table names a split that is none."""
    for scan in scans:
        if scan.split and scan.split not in SPLITS:
            problems.append(
                f"{source / subjects_csv.FILE}: {scan.name} has split {scan.split!r}; write train, "
                f"val or test"
            )


def stem_without_channel(path: Path) -> tuple[str, int] | None:
    """Name and channel of a file such as ``case_0001.nii.gz``; None without such an ending.

    >>> stem_without_channel(Path("la_007_0001.nii.gz")), stem_without_channel(Path("la_07.nii"))
    (('la_007', 1), None)
    """
    match = re.fullmatch(r"(.+)_(\d{4})", stem_of(path))
    if match is None:
        return None
    return match[1], int(match[2])
