"""Your own files: ``images/`` and ``labels/`` with the same file names, as PNG, TIFF or NIfTI.

    SOURCE/images/p07.png   SOURCE/labels/p07.png   SOURCE/subjects.csv (optional: name, subject, and group, split)
    SOURCE/train/images/…   SOURCE/val/images/…     SOURCE/test/images/…   (optional: splits as folders)

Splits come from the csv's column, else from the folders, else they are drawn at random: 70/10/20 %
of the subjects, groups kept together. An image without a label is unlabelled and belongs to train,
as does all of its group when splits are drawn. A NIfTI volume becomes one record a slice, cut along
its coarsest axis, with the spacing of its header.
"""

from __future__ import annotations

import csv
import functools
from collections import Counter
from pathlib import Path

import numpy as np

from semiseg.data import splits as splitting
from semiseg.data.images import (
    check_one_page,
    is_image,
    is_volume,
    read_header,
    read_picture,
    read_volume,
    slice_of,
    stem_of,
)
from semiseg.data.source import SPLITS, CaseRef, Source, progress_bar, split_problems
from semiseg.errors import UserError
from semiseg.types import IGNORE

FRACTIONS = {"train": 0.7, "val": 0.1, "test": 0.2}
CHANNELS = ("auto", "grey", "rgb")


def read(
    source: Path,
    *,
    classes: str = "",
    channels: str = "auto",
    seed: int = 0,
    license: str = "",
    citation: str = "",
    progress: bool = True,
) -> Source:
    """Pair images with labels, look through the labels once, and place every subject in a split.

    Args:
      source: the folder.
      classes: names, background first, separated by commas; without it the labels' largest value
        says how many there are.
      channels: ``grey`` or ``rgb`` convert pictures; ``auto`` keeps what the files hold.
      seed: of randomly drawn splits.
      license, citation: of the data, for reports.

    Masks of 0 and 255 are read as 0 and 1 if no label of the set holds anything else; otherwise 255
    is what nobody scores (IGNORE).
    """
    if channels not in CHANNELS:
        raise UserError(f"--channels {channels}: must be one of {', '.join(CHANNELS)}")
    problems: list[str] = []
    folders = [name for name in SPLITS if (source / name / "images").is_dir()]
    files = [
        (split, *pair) for split in folders or [""] for pair in _pairs(source / split, problems)
    ]
    table = _table(
        source / "subjects.csv", {stem_of(image): image for _, image, _ in files}, problems
    )
    values = _values([label for _, _, label in files if label], problems, progress)
    mask = values <= {0, 255} and 255 in values
    names = _classes(classes, values, mask)
    rows = {image: table.get(stem_of(image), {}) for _, image, _ in files}
    subject = {image: row.get("subject") or stem_of(image) for image, row in rows.items()}
    if any(row.get("split") for row in rows.values()):
        home = {image: row.get("split", "") for image, row in rows.items()}
        where = f"{source}/subjects.csv"
        problems += [
            f"{where}: {stem_of(i)} has split {s!r}; write train, val or test"
            for i, s in home.items()
            if s not in SPLITS and rows[i]
        ]
    elif folders:
        home = {image: split for split, image, _ in files}
    else:
        home = _draw(
            source, files, subject, {i: r.get("group", "") for i, r in rows.items()}, seed, problems
        )
    found: dict[str, list[CaseRef]] = {split: [] for split in SPLITS}
    for _, image, label in files:
        if home.get(image) in SPLITS:
            found[home[image]] += _records(
                image, label, subject[image], rows[image].get("group", ""), channels, mask, problems
            )
    if not found["test"] and "test" not in folders:
        del found["test"]
    units = {"mm" if is_volume(image) else "pixel" for _, image, _ in files}
    if len(units) > 1:
        problems.append(
            f"{source}: mixes NIfTI and pictures, whose distances have different units; import "
            f"them as two sets"
        )
    whole = (
        all(rows.values()) or not table
    )  # a split may lack a case because its row is missing, which is said already
    problems += [
        problem for problem in split_problems(found) if whole or " has no case" not in problem
    ]
    notes = _notes(source, classes, names, values, mask)
    return Source(
        names,
        min(units),
        license or "not stated",
        citation or "not stated",
        found,
        (),
        tuple(problems),
        notes,
    )


# ------------------------------------------------------------------ layout
def _pairs(folder: Path, problems: list[str]) -> list[tuple[Path, Path | None]]:
    """Images of a folder, each with its label or None."""
    if not (folder / "images").is_dir():
        raise UserError(
            f"{folder}: has no folder images; put pictures in images/ and their masks, of the "
            f"same names, in labels/"
        )
    images, labels = (_files(folder / kind, problems) for kind in ("images", "labels"))
    if not images:
        raise UserError(f"{folder / 'images'}: is empty; put PNG, TIFF or NIfTI files there")
    problems += [
        f"{path}: has no image of that name; rename or remove it"
        for stem, path in labels.items()
        if stem not in images
    ]
    return [(path, labels.get(stem)) for stem, path in images.items()]


def _files(folder: Path, problems: list[str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.name.startswith("."):
            continue
        if not is_image(path):
            problems.append(
                f"{path}: unknown file type; convert it to PNG, TIFF or NIfTI, or remove it"
            )
        elif found.setdefault(stem_of(path), path) != path:
            problems.append(
                f"{path}: has the same name as {found[stem_of(path)]}; rename one of them"
            )
    return found


def _table(path: Path, images: dict[str, Path], problems: list[str]) -> dict[str, dict[str, str]]:
    """Image name → row of subjects.csv; empty where there is no such file."""
    if not path.exists():
        return {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows = [
                {str(k).strip(): (v or "").strip() for k, v in row.items() if k} for row in reader
            ]
            columns = {c.strip() for c in reader.fieldnames or ()}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            f"{path}: cannot be read ({error}); save it as UTF-8 text with commas"
        ) from error
    if not {"name", "subject"} <= columns:
        has = ", ".join(sorted(columns)) or "none"
        raise UserError(
            f"{path}: needs the columns name and subject (and may have group and split); it has "
            f"{has}"
        )
    names = [stem_of(Path(row["name"])) for row in rows]
    problems += [
        f"{path}: names {n} {c} times; keep one row an image"
        for n, c in Counter(names).items()
        if c > 1
    ]
    problems += [
        f"{path}: names {n}, which is not among the images; correct the name or remove the row"
        for n in names
        if n not in images
    ]
    problems += [
        f"{path}: has no row for {image}; add one"
        for name, image in images.items()
        if name not in set(names)
    ]
    problems += [
        f"{path}: {n} has no subject; fill it in"
        for n, row in zip(names, rows)
        if not row["subject"]
    ]
    return dict(zip(names, rows))


def _draw(
    source: Path,
    files,
    subject: dict[Path, str],
    group: dict[Path, str],
    seed: int,
    problems: list[str],
) -> dict[Path, str]:
    """Random splits: image → split. Groups with an image that nobody annotated stay in train."""
    of = {subject[image]: group[image] for image in subject}
    problems += [
        (
            f"{source}/subjects.csv: subject {subject[i]} is in groups {group[i]!r} and "
            f"{of[subject[i]]!r}; give it one"
        )
        for i in subject
        if group[i] != of[subject[i]]
    ]
    unit = {s: g or f"\0{s}" for s, g in of.items()}
    bare = {unit[subject[image]] for _, image, label in files if label is None}
    drawn = {s: of[s] for s in of if unit[s] not in bare}
    units = len({unit[s] for s in drawn})
    if units < len(FRACTIONS):
        problems.append(
            f"{source}: {units} annotated subjects or groups, train, val and test need one each; "
            f"annotate more or state splits"
        )
    home = dict.fromkeys(of, "train") | splitting.assign(drawn, FRACTIONS, seed)
    return {image: home[subject[image]] for image in subject}


# ------------------------------------------------------------------ labels
def _values(labels: list[Path], problems: list[str], show: bool) -> set[int]:
    """Every value that occurs in the labels; files that cannot be read are reported when they are
    loaded.
    """
    values: set[int] = set()
    for path in progress_bar(labels, "look through labels", show=show):
        try:
            found = np.unique(_label(path))
            values |= {int(v) for v in found if v == int(v)}
        except Exception:  # loading the case names this file, with the reason
            continue
    return values


def _classes(names: str, values: set[int], mask: bool) -> tuple[str, ...]:
    if names:
        listed = tuple(name.strip() for name in names.split(","))
        if len(listed) < 2 or "" in listed or len(set(listed)) < len(listed):
            raise UserError(
                f"--classes {names}: name at least two different classes, background first, "
                f"separated by commas"
            )
        return listed
    top = 1 if mask else max((v for v in values if 0 <= v < 255), default=1)
    return ("background", *(f"class {i}" for i in range(1, max(top, 1) + 1)))


def _notes(
    source: Path, given: str, names: tuple[str, ...], values: set[int], mask: bool
) -> tuple[str, ...]:
    """What was assumed of the classes, and what becomes of 255."""
    notes, classes = [], sorted(values - {IGNORE})
    if not given:
        shown = ", ".join(map(str, classes[:6])) + (" …" if len(classes) > 6 else "")
        gaps = (
            ""
            if mask or len(classes) >= len(names)
            else "; values in between never occur: renumber the labels if these are grey levels"
        )
        found = "0 and 255" if mask else shown or "none"
        listed = ", ".join(names[:4]) + (" …" if len(names) > 4 else "")
        notes.append(
            f"{source}: no --classes given: {len(names)} assumed ({listed}) from the label "
            f"values {found}{gaps}; name them with --classes"
        )
    if mask:
        notes.append(f"{source}: labels hold 0 and 255 alone, read as 0 and 1: nothing is ignored")
    elif IGNORE in values:
        notes.append(
            f"{source}: label value 255 marks pixels that are ignored: neither trained on nor "
            f"scored; if it is a class, give it another number"
        )
    return tuple(notes)


def _label(path: Path) -> np.ndarray:
    """A label as stored: ``(H, W)``, or the volume of a NIfTI."""
    if is_volume(path):
        return read_volume(path)[0]
    from PIL import Image

    with Image.open(path) as picture:
        check_one_page(picture, path)
        label = np.asarray(picture)
    if label.ndim == 3 and all(
        (label[..., 0] == label[..., c]).all() for c in range(1, min(3, label.shape[-1]))
    ):
        label = label[..., 0]
    if label.ndim != 2:
        raise UserError(
            f"{path}: label is a colour picture; save one channel that holds class numbers"
        )
    return label.astype(np.uint8) if label.dtype == np.bool_ else label


# ------------------------------------------------------------------ records
def _records(
    image: Path,
    label: Path | None,
    subject: str,
    group: str,
    channels: str,
    mask: bool,
    problems: list[str],
) -> list[CaseRef]:
    """One record for a picture, one a slice for a volume."""
    stem, where, label_where = stem_of(image), str(image), str(label or "")
    if not is_volume(image):
        pixels = functools.partial(_picture, image, label, channels, mask)
        return [CaseRef(subject, stem, where, pixels, group=group, label_path=label_where)]
    try:
        shape, axis, _ = read_header(image)
    except UserError as error:
        problems.append(str(error))
        return []
    except Exception as error:  # nibabel raises anything on a damaged file
        problems.append(
            f"{image}: cannot be read ({str(error).splitlines()[0][:80]}); replace the file or "
            f"take it out of the set"
        )
        return []
    digits = len(str(shape[axis] - 1))
    plane = functools.partial(_plane, image, label, mask)
    return [
        CaseRef(
            subject,
            f"{stem}_slice_{i:0{digits}d}",
            where,
            functools.partial(plane, i),
            stem,
            i,
            group,
            label_where,
        )
        for i in range(shape[axis])
    ]


def _picture(image: Path, label: Path | None, channels: str, mask: bool):
    pixels = read_picture(image, channels)
    truth = None
    if label is not None:
        truth = _as_mask(_read_label(label), mask)
    return pixels, truth, (1.0, 1.0)


def _plane(image: Path, label: Path | None, mask: bool, i: int):
    volume, affine = read_volume(image)
    _, axis, spacing = read_header(image)
    plane = None
    if label is not None:
        whole = _read_label(label)
        if whole.shape != volume.shape:
            raise UserError(
                f"{label}: label has shape {whole.shape} but its image {volume.shape} ({image}); "
                f"save both at one size"
            )
        other = read_volume(label)[1] if is_volume(label) else affine
        if not np.allclose(affine, other, atol=1e-2):
            raise UserError(
                f"{label}: lies elsewhere in space than its image ({image}: another affine); "
                f"resample the label to the image"
            )
        plane = _as_mask(slice_of(whole, i, axis), mask)
    return slice_of(volume, i, axis)[..., None], plane, spacing


def _read_label(path: Path) -> np.ndarray:
    try:
        return _label(path)
    except UserError:
        raise
    except Exception as error:  # image libraries raise anything on a damaged file
        raise UserError(
            f"{path}: label cannot be read ({str(error).splitlines()[0][:80]}); replace the file "
            f"or remove it"
        ) from error


def _as_mask(label: np.ndarray, mask: bool) -> np.ndarray:
    return (label == 255).astype(np.uint8) if mask else label
