"""Your own files: ``images/`` and ``labels/`` with the same file names, as pictures or volumes.

    SOURCE/images/p07.png   SOURCE/labels/p07.png
    SOURCE/subjects.csv     (columns name, subject, and group, split; optional where every image is
                            a subject of its own)
    SOURCE/images/p07.png   SOURCE/masks/p07_mask.png   (or any other ending that all masks share)
    SOURCE/p07.png          SOURCE/p07_mask.png         (images and masks in one folder)
    SOURCE/train/images/…   SOURCE/val/images/…   SOURCE/test/images/…   (optional: split folders)

Splits come from the csv's column, else from the folders, else they are drawn at random: 70/10/20 %
of the subjects, groups kept together. An image without a label is unlabelled and belongs to train,
as does all of its group when splits are drawn. Names that seem to hold several images of one
subject are asked about, see :mod:`semiseg.data.subject_names`. Several channels of one image are
files ``p07_0000.nii.gz``, ``p07_0001.nii.gz`` …. A column ``spacing`` of subjects.csv gives the
size of a picture's pixels in mm (one number, or height×width), as does a table of filenames and
pixel sizes (``--pixel-sizes``). Volumes are brought to one
orientation, see :mod:`semiseg.data.orientation`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from semiseg.data import (
    folder_files,
    label_values,
    mask_names,
    scan_files,
    subject_names,
    subjects_csv,
)
from semiseg.data import pixel_sizes as size_table
from semiseg.data import splits as splitting
from semiseg.data.folder_files import Volumes, named_volumes
from semiseg.data.images import NAN, is_image, is_volume, read_pixels
from semiseg.data.label_values import LabelValues
from semiseg.data.problems import split_problems
from semiseg.data.source import SPLITS, CaseRef, Pixels, Reader, Source
from semiseg.data.splits import Placement
from semiseg.errors import UserError

FRACTIONS = {"train": 0.7, "val": 0.1, "test": 0.2}
CHANNELS = ("auto", "grey", "rgb")


@dataclasses.dataclass(frozen=True)
class Entry:
    """An image file and what is known of it before it is opened.

    Attributes:
      name: of the files, without suffix.
      images: one file, or one a channel.
      label: None where there is none.
      subject, group: as in :class:`semiseg.types.Case`.
      split: "" where nobody states it.
      spacing: mm of a picture's rows and columns; empty where nobody states it.
      placement: why it is in its split.
    """

    name: str
    images: tuple[Path, ...]
    label: Path | None
    subject: str
    group: str = ""
    split: str = ""
    spacing: tuple[float, ...] = ()
    placement: Placement = splitting.IN_FOLDER

    @property
    def image(self) -> Path:
        """The file, or that of the first channel."""
        return self.images[0]


def read(
    source: Path,
    *,
    classes: Annotated[str, "class names, background first, separated by commas"] = "",
    channels: Annotated[str, "grey or rgb: convert pictures; auto: keep what files hold"] = "auto",
    seed: Annotated[int, "of randomly drawn splits"] = 0,
    license: Annotated[str, "licence of the data, for reports"] = "",
    citation: Annotated[str, "what to cite, for reports"] = "",
    subjects_are_images: Annotated[
        bool, "every image shows another subject, whatever the names share"
    ] = False,
    nan: Annotated[
        str, "refuse, or padding: voxels of NaN or infinity are the darkest value, unlabelled"
    ] = "refuse",
    splits: Annotated[
        str, "train: every image is a training image; validation and test are in other sets"
    ] = "",
    pixel_sizes: Annotated[
        str, "CSV with the columns filename and pixel size(mm) of pictures"
    ] = "",
    subject_pattern: scan_files.SubjectPattern = "",
    subjects_file: scan_files.SubjectsFile = "",
    progress: bool = True,
) -> Source:
    """Pair images with labels, read through the labels once, and place every subject in a split.

    Without ``classes``, the largest value in the labels says how many there are.
    """
    _check_flags(channels, nan, splits)
    problems: list[str] = []
    remarks: list[str] = []
    folders = [split for split in SPLITS if (source / split / "images").is_dir()]
    entries: list[Entry] = []
    for split in folders or [""]:
        entries += _entries(source / split, split, problems, remarks)
    images = {entry.name: entry.image for entry in entries}
    table = subjects_csv.place(source, subjects_file)
    rows = subjects_csv.read(table, images, problems)
    suggested: dict[str, str] = {}
    if subject_pattern and not rows:
        subjects = scan_files.subjects_by_pattern(list(images), subject_pattern)
        entries = [dataclasses.replace(one, subject=subjects[one.name]) for one in entries]
    elif not rows:
        suggested = subject_names.subjects_of(list(images))
    if suggested and not subjects_are_images:
        problems.append(subject_names.question(source, suggested))
    labels = [entry.label for entry in entries if entry.label is not None]
    values = label_values.values_of(labels, progress)
    problems += values.problems(classes)
    names = values.classes(classes)
    entries = [_with_row(entry, rows.get(entry.name)) for entry in entries]
    entries = _with_sizes(source, entries, pixel_sizes, problems, remarks)
    listed = {name: rows[name] for name in images if name in rows}
    if splits:
        everything = splitting.ALL_TRAIN
        entries = [dataclasses.replace(one, split=splits, placement=everything) for one in entries]
    elif any(row.split for row in listed.values()):
        problems += subjects_csv.split_problems(table, listed)
        entries = [_with_split(entry, listed) for entry in entries]
    elif not folders:
        entries = _draw(source, entries, seed, problems)
    volumes = named_volumes([entry.images for entry in entries], problems)
    cases: dict[str, list[CaseRef]] = {split: [] for split in SPLITS}
    for entry in entries:
        if entry.split in SPLITS and entry.image not in volumes.unreadable:
            cases[entry.split].append(_case(entry, channels, nan, volumes.plane, values))
    if not cases["test"] and "test" not in folders:
        del cases["test"]
    problems += _unit_problems(source, entries)
    allowed: dict[str, int] = {}
    if suggested and subjects_are_images:
        allowed["subjects_are_images"] = len(suggested)
    # a split may lack a case because its row is missing, which is a problem of its own
    whole = not splits and (not rows or len(listed) == len(images))
    problems += [line for line in split_problems(cases) if whole or " has no case" not in line]
    return Source(
        classes=names,
        unit=min(_unit(entry) for entry in entries),
        license=license or "not stated",
        citation=citation or "not stated",
        splits=cases,
        problems=tuple(problems),
        notes=(*remarks, *_volume_notes(source, volumes, entries), *values.notes(source, classes)),
        allowed=allowed,
        subjects=subjects_csv.columns_of(listed),
    )


def _check_flags(channels: str, nan: str, splits: str) -> None:
    for flag, value, choices in (
        ("channels", channels, CHANNELS),
        ("nan", nan, NAN),
        ("splits", splits, ("", "train")),
    ):
        if value not in choices:
            raise UserError(
                f"must be one of {', '.join(filter(None, choices))}", where=f"--{flag} {value}"
            )


def _volume_notes(source: Path, volumes: Volumes, entries: Sequence[Entry]) -> list[str]:
    """What was assumed of the volumes, and labels that lie a little off their images."""
    notes = [f"{source}: {line}" for line in volumes.notes]
    pairs = [(entry.image, [entry.label]) for entry in entries if entry.label is not None]
    return notes + folder_files.off_grid(source, pairs)


def _unit(entry: Entry) -> str:
    if is_volume(entry.image) or entry.spacing:
        return "mm"
    return "pixel"


def _unit_problems(source: Path, entries: Sequence[Entry]) -> list[str]:
    """Pictures and volumes in one set, or pictures with and without a size."""
    kinds = {is_volume(entry.image) for entry in entries}
    if len(kinds) > 1:
        return [
            f"{source}: mixes volumes and pictures, whose distances have different units; import "
            f"them as two sets"
        ]
    table = source / subjects_csv.FILE
    if kinds == {True}:
        return [
            f"{table}: {entry.name} has a spacing, but a volume's header says its own; leave the "
            f"column out"
            for entry in entries
            if entry.spacing
        ]
    bare = [entry.name for entry in entries if not entry.spacing]
    if bare and len(bare) < len(entries):
        return [f"{table}: {name} has no spacing, others have one; fill it in" for name in bare]
    return []


def recognises(source: Path) -> str | None:
    """What tells the layout; None where nothing does."""
    if source.is_dir() and not (source / "images").is_dir():
        pairs = mask_names.of_one_folder(folder_files.named(source, []))
        if pairs.masks:
            first = next(iter(pairs.images.values()))
            mask = next(iter(pairs.masks.values()))
            return f"{mask.name} among images such as {first.name}: images and masks in a folder"
    for folder in ("images", *(f"{split}/images" for split in SPLITS)):
        paths = sorted((source / folder).glob("*"))
        image = next((path for path in paths if is_image(path)), None)
        if image is not None:
            return f"{folder}/{image.name}: images in a folder"
    return None


READER = Reader("folder", "images/ and labels/ with the same file names", read, recognises)


# ------------------------------------------------------------------ layout
def _entries(folder: Path, split: str, problems: list[str], remarks: list[str]) -> list[Entry]:
    """Images of a folder, each with its label; a subject an image until subjects.csv is read."""
    pairs = folder_files.pairs_of(folder, problems)
    if pairs.ending:
        remarks.append(f"{folder}: masks are named as their images with {pairs.ending} at the end")
    images = folder_files.with_channels(pairs.images, pairs.masks, problems)
    problems += [
        f"{path}: has no image of that name; rename or remove it"
        for name, path in pairs.masks.items()
        if name not in images
    ]
    return [
        Entry(name, paths, pairs.masks.get(name), subject=name, split=split)
        for name, paths in images.items()
    ]


def _with_sizes(
    source: Path,
    entries: list[Entry],
    given: str,
    problems: list[str],
    remarks: list[str],
) -> list[Entry]:
    """Pictures with the sizes of a table of pixel sizes: the one that is named, or that lies in the
    set and has a row for every picture.
    """
    pictures = [entry.name for entry in entries if not is_volume(entry.image)]
    path = folder_files.table_of(source, given)
    if path is None or not pictures:
        return entries
    sizes = size_table.read(path, pictures)
    lines = size_table.missing(path, sizes, pictures)
    if given:
        problems += lines
    elif lines or any(entry.spacing for entry in entries):
        return entries
    else:
        remarks.append(f"{path}: says the size of a pixel, in mm; read as --pixel-sizes")
    return [
        dataclasses.replace(entry, spacing=sizes.get(entry.name, entry.spacing))
        for entry in entries
    ]


def _with_row(entry: Entry, row: subjects_csv.Row | None) -> Entry:
    """``entry`` with the subject and the group that the table names."""
    if row is None:
        return entry
    return dataclasses.replace(
        entry, subject=row.subject or entry.subject, group=row.group, spacing=row.spacing
    )


def _with_split(entry: Entry, rows: dict[str, subjects_csv.Row]) -> Entry:
    """``entry`` in the split that the table names; an image without a row has none."""
    row = rows.get(entry.name)
    split = "" if row is None else row.split
    return dataclasses.replace(entry, split=split, placement=splitting.IN_TABLE)


def _draw(source: Path, files: list[Entry], seed: int, problems: list[str]) -> list[Entry]:
    """Random splits. Groups with an image that nobody annotated stay in train."""
    groups = {entry.subject: entry.group for entry in files}
    problems += [
        f"{source}/{subjects_csv.FILE}: subject {entry.subject} is in groups {entry.group!r} and "
        f"{groups[entry.subject]!r}; give it one"
        for entry in files
        if entry.group != groups[entry.subject]
    ]
    # what moves as a whole: a group, or a subject without one
    unit = {subject: group or f"\0{subject}" for subject, group in groups.items()}
    bare = {unit[entry.subject] for entry in files if entry.label is None}
    drawn = {subject: group for subject, group in groups.items() if unit[subject] not in bare}
    units = len({unit[subject] for subject in drawn})
    if not units:
        problems.append(
            f"{source / 'labels'}: no image has a mask there; name the masks as their images, or "
            f"pass --splits train if nothing is to be scored here"
        )
    elif units < len(FRACTIONS):
        problems.append(
            f"{source}: {units} annotated subjects or groups, train, val and test need one each; "
            f"annotate more or state splits"
        )
    split_of = dict.fromkeys(groups, "train") | splitting.assign(drawn, FRACTIONS, seed)
    placements = dict.fromkeys(groups, splitting.unannotated(FRACTIONS, seed))
    placements |= dict.fromkeys(drawn, splitting.drawn(FRACTIONS, seed))
    return [
        dataclasses.replace(
            entry, split=split_of[entry.subject], placement=placements[entry.subject]
        )
        for entry in files
    ]


# ------------------------------------------------------------------ cases
def _case(entry: Entry, channels: str, nan: str, plane: str, values: LabelValues) -> CaseRef:
    """A picture or a volume that is not read yet."""
    return CaseRef(
        entry.subject,
        entry.name,
        str(entry.image),
        functools.partial(_pixels, entry, channels, nan, plane, values),
        group=entry.group,
        label_path=str(entry.label or ""),
        placement=entry.placement,
    )


def _pixels(entry: Entry, channels: str, nan: str, plane: str, values: LabelValues) -> Pixels:
    pixels = read_pixels(
        entry.images, entry.label, plane=plane, channels=channels, nan=nan, values=values.indices
    )
    if entry.spacing:
        return pixels._replace(spacing=entry.spacing)
    return pixels
