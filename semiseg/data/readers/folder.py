"""Your own files: ``images/`` and ``labels/`` with the same file names, as PNG, TIFF or NIfTI.

    SOURCE/images/p07.png   SOURCE/labels/p07.png
    SOURCE/subjects.csv     (columns name, subject, and group, split; optional where every image is
                            a subject of its own)
    SOURCE/train/images/…   SOURCE/val/images/…   SOURCE/test/images/…   (optional: split folders)

Splits come from the csv's column, else from the folders, else they are drawn at random: 70/10/20 %
of the subjects, groups kept together. An image without a label is unlabelled and belongs to train,
as does all of its group when splits are drawn. Names that seem to hold several images of one
subject are asked about, see :mod:`semiseg.data.subject_names`. A NIfTI volume becomes one record a
slice, cut along its coarsest axis, with the spacing of its header.
"""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Annotated

import numpy as np

from semiseg.data import label_values, subject_names, subjects_csv
from semiseg.data import splits as splitting
from semiseg.data.images import (
    is_image,
    is_volume,
    read_header,
    read_picture,
    read_volume,
    slice_of,
    stem_of,
)
from semiseg.data.label_values import LabelValues, read_label
from semiseg.data.problems import split_problems
from semiseg.data.source import SPLITS, CaseRef, Pixels, Reader, Source, first_line
from semiseg.errors import UserError

FRACTIONS = {"train": 0.7, "val": 0.1, "test": 0.2}
CHANNELS = ("auto", "grey", "rgb")


@dataclasses.dataclass(frozen=True)
class Entry:
    """An image file and what is known of it before it is opened.

    Attributes:
      image, label: the files; label is None where there is none.
      subject, group: as in :class:`semiseg.types.Case`.
      split: "" where nobody states it.
    """

    image: Path
    label: Path | None
    subject: str
    group: str = ""
    split: str = ""


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
    progress: bool = True,
) -> Source:
    """Pair images with labels, read through the labels once, and place every subject in a split.

    Without ``classes``, the largest value in the labels says how many there are.
    """
    if channels not in CHANNELS:
        raise UserError(f"must be one of {', '.join(CHANNELS)}", where=f"--channels {channels}")
    problems: list[str] = []
    folders = [split for split in SPLITS if (source / split / "images").is_dir()]
    files: list[Entry] = []
    for split in folders or [""]:
        files += _entries(source / split, split, problems)
    images = {stem_of(entry.image): entry.image for entry in files}
    rows = subjects_csv.read(source / subjects_csv.FILE, images, problems)
    suggested = {} if rows else subject_names.subjects_of(list(images))
    if suggested and not subjects_are_images:
        problems.append(subject_names.question(source, suggested))
    labels = [entry.label for entry in files if entry.label is not None]
    values = label_values.values_of(labels, progress)
    names = values.classes(classes)
    files = [_with_row(entry, rows.get(stem_of(entry.image))) for entry in files]
    listed = {stem: rows[stem] for stem in images if stem in rows}
    if any(row.split for row in listed.values()):
        problems += subjects_csv.split_problems(source / subjects_csv.FILE, listed)
        files = [_with_split(entry, listed) for entry in files]
    elif not folders:
        files = _draw(source, files, seed, problems)
    splits: dict[str, list[CaseRef]] = {split: [] for split in SPLITS}
    for entry in files:
        if entry.split in SPLITS:
            splits[entry.split] += _records(entry, channels, values, problems)
    if not splits["test"] and "test" not in folders:
        del splits["test"]
    units = {"mm" if is_volume(entry.image) else "pixel" for entry in files}
    if len(units) > 1:
        problems.append(
            f"{source}: mixes NIfTI and pictures, whose distances have different units; import "
            f"them as two sets"
        )
    allowed: dict[str, int] = {}
    if suggested and subjects_are_images:
        allowed["subjects_are_images"] = len(suggested)
    # a split may lack a case because its row is missing, which is a problem of its own
    whole = not rows or len(listed) == len(images)
    problems += [line for line in split_problems(splits) if whole or " has no case" not in line]
    return Source(
        classes=names,
        unit=min(units),
        license=license or "not stated",
        citation=citation or "not stated",
        splits=splits,
        problems=tuple(problems),
        notes=values.notes(source, classes),
        allowed=allowed,
        subjects=subjects_csv.columns_of(listed),
    )


def recognises(source: Path) -> str | None:
    """What tells the layout; None where nothing does."""
    for folder in ("images", *(f"{split}/images" for split in SPLITS)):
        paths = sorted((source / folder).glob("*"))
        image = next((path for path in paths if is_image(path)), None)
        if image is not None:
            return f"{folder}/{image.name}: images in a folder"
    return None


READER = Reader("folder", "images/ and labels/ with the same file names", read, recognises)


# ------------------------------------------------------------------ layout
def _entries(folder: Path, split: str, problems: list[str]) -> list[Entry]:
    """Images of a folder, each with its label; a subject an image until subjects.csv is read."""
    if not (folder / "images").is_dir():
        raise UserError(
            "has no folder images",
            where=folder,
            remedy="put pictures in images/ and their masks, of the same names, in labels/",
        )
    images = _files(folder / "images", problems)
    labels = _files(folder / "labels", problems)
    if not images:
        raise UserError(
            "is empty", where=folder / "images", remedy="put PNG, TIFF or NIfTI files there"
        )
    problems += [
        f"{path}: has no image of that name; rename or remove it"
        for stem, path in labels.items()
        if stem not in images
    ]
    return [
        Entry(path, labels.get(stem), subject=stem, split=split) for stem, path in images.items()
    ]


def _files(folder: Path, problems: list[str]) -> dict[str, Path]:
    """Name without suffix → image file, sorted; hidden files are left out."""
    files: dict[str, Path] = {}
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    for path in paths:
        if path.name.startswith("."):
            continue
        if not is_image(path):
            problems.append(
                f"{path}: unknown file type; convert it to PNG, TIFF or NIfTI, or remove it"
            )
        elif stem_of(path) in files:
            problems.append(
                f"{path}: has the same name as {files[stem_of(path)]}; rename one of them"
            )
        else:
            files[stem_of(path)] = path
    return files


def _with_row(entry: Entry, row: subjects_csv.Row | None) -> Entry:
    """``entry`` with the subject and the group that the table names."""
    if row is None:
        return entry
    return dataclasses.replace(entry, subject=row.subject or entry.subject, group=row.group)


def _with_split(entry: Entry, rows: dict[str, subjects_csv.Row]) -> Entry:
    """``entry`` in the split that the table names; an image without a row has none."""
    row = rows.get(stem_of(entry.image))
    return dataclasses.replace(entry, split="" if row is None else row.split)


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
    if units < len(FRACTIONS):
        problems.append(
            f"{source}: {units} annotated subjects or groups, train, val and test need one each; "
            f"annotate more or state splits"
        )
    split_of = dict.fromkeys(groups, "train") | splitting.assign(drawn, FRACTIONS, seed)
    return [dataclasses.replace(entry, split=split_of[entry.subject]) for entry in files]


# ------------------------------------------------------------------ records
def _records(
    entry: Entry, channels: str, values: LabelValues, problems: list[str]
) -> list[CaseRef]:
    """One record for a picture, one a slice for a volume."""
    stem = stem_of(entry.image)
    ref = CaseRef(
        entry.subject,
        stem,
        str(entry.image),
        functools.partial(_picture, entry, channels, values),
        group=entry.group,
        label_path=str(entry.label or ""),
    )
    if not is_volume(entry.image):
        return [ref]
    try:
        header = read_header(entry.image)
    except UserError as error:
        problems.append(str(error))
        return []
    except Exception as error:  # nibabel raises anything on a damaged file
        problems.append(
            f"{entry.image}: cannot be read ({first_line(error)}); replace the file or take it "
            f"out of the set"
        )
        return []
    slices = header.shape[header.axis]
    digits = len(str(slices - 1))
    return [
        dataclasses.replace(
            ref,
            name=f"{stem}_slice_{i:0{digits}d}",
            pixels=functools.partial(_plane, entry, values, i),
            volume=stem,
            index=i,
        )
        for i in range(slices)
    ]


def _picture(entry: Entry, channels: str, values: LabelValues) -> Pixels:
    pixels = read_picture(entry.image, channels)
    label = None
    if entry.label is not None:
        label = values.indices(read_label(entry.label))
    return Pixels(pixels, label, (1.0, 1.0))


def _plane(entry: Entry, values: LabelValues, i: int) -> Pixels:
    volume, affine = read_volume(entry.image)
    header = read_header(entry.image)
    plane = None
    if entry.label is not None:
        label = _volume_label(entry.label, entry.image, volume.shape, affine)
        plane = values.indices(slice_of(label, i, header.axis))
    return Pixels(slice_of(volume, i, header.axis)[..., None], plane, header.spacing)


def _volume_label(
    path: Path, image: Path, shape: tuple[int, ...], affine: np.ndarray
) -> np.ndarray:
    """The label of a volume; it must have the image's shape and affine."""
    label = read_label(path)
    if label.shape != shape:
        raise UserError(
            f"label has shape {label.shape} but its image {shape} ({image})",
            where=path,
            remedy="save both at one size",
        )
    if is_volume(path) and not np.allclose(affine, read_volume(path)[1], atol=1e-2):
        raise UserError(
            f"lies elsewhere in space than its image ({image}: another affine)",
            where=path,
            remedy="resample the label to the image",
        )
    return label
