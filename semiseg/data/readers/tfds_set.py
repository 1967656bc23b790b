"""A data set that TensorFlow Datasets has prepared: its folder NAME/VERSION, read without
TensorFlow.

    SOURCE/features.json, SOURCE/dataset_info.json, SOURCE/NAME-train.array_record-00000-of-00001

SOURCE may also be the folder NAME above. ``--image-key`` and ``--mask-key`` name the features (a
dot enters a nested one), ``--subject-key`` the one that says who is in an image. Only array_record
files can be read in any order, and only plain features are accepted: TensorFlow Datasets imports
the module of every class that ``features.json`` names, which would run the code of a stranger.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from semiseg.data import layout_json, scan_files, size_limits
from semiseg.data import splits as splitting
from semiseg.data.label_table import ValueClasses, classes_of_values
from semiseg.data.label_values import LabelValues
from semiseg.data.problems import split_problems
from semiseg.data.source import (
    CaseRef,
    Pixels,
    Reader,
    Source,
    first_line,
    progress_bar,
)
from semiseg.errors import UserError

FEATURES = "features.json"
DESCRIPTION = "dataset_info.json"
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "validation": "val",
    "val": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
"""Name of a split of TensorFlow Datasets → split."""
_CORE = "tensorflow_datasets.core.features"
_KINDS = {
    f"{_CORE}.features_dict.FeaturesDict": "featuresDict",
    f"{_CORE}.image_feature.Image": "image",
    f"{_CORE}.labeled_image.LabeledImage": "image",
    f"{_CORE}.tensor_feature.Tensor": "tensor",
    f"{_CORE}.scalar.Scalar": "tensor",
    f"{_CORE}.text_feature.Text": "text",
    f"{_CORE}.class_label_feature.ClassLabel": "classLabel",
    f"{_CORE}.bounding_boxes.BBoxFeature": "boundingBox",
}
"""Class of a plain feature → the key under which it describes itself."""


def read(
    source: Path,
    *,
    image_key: Annotated[str, "feature that holds the image"] = "image",
    mask_key: Annotated[str, "feature that holds the mask"] = "segmentation_mask",
    subject_key: Annotated[str, "feature that names the subject; without it, each image"] = "",
    classes: scan_files.Classes = "",
    seed: scan_files.Seed = 0,
    license: scan_files.License = "",
    citation: scan_files.Citation = "",
    progress: bool = True,
) -> Source:
    """The examples of every split; a split that the set does not have is drawn from train.

    Raises:
      UserError: it is no such set, names a class that is not plain, or lacks a feature.
    """
    folder = _builder_folder(source)
    check_features(folder / FEATURES)
    description = layout_json.read_object(folder / DESCRIPTION)
    file_format = description.get("fileFormat")
    if file_format != "array_record":
        raise UserError(
            f"its files are {file_format or 'tfrecord'}",
            where=folder / DESCRIPTION,
            remedy="prepare the set with file_format='array_record'",
        )
    records = _records(folder, description)
    notes: list[str] = []
    values: set[int] = set()
    subjects: dict[str, str] = {}
    places: dict[str, tuple[Any, int]] = {}
    split_of: dict[str, str] = {}
    for split, rows in records.items():
        for i in progress_bar(range(len(rows)), f"look through {split}", show=progress):
            name = f"{split}_{i:06d}"
            row = _example(rows, i, folder)
            _part(row, image_key, folder, "--image-key")
            mask = _part(row, mask_key, folder, "--mask-key")
            values |= {int(value) for value in np.unique(mask) if value == int(value)}
            subjects[name] = name
            if subject_key:
                subjects[name] = _text(_part(row, subject_key, folder, "--subject-key"))
            places[name] = (rows, i)
            split_of[name] = SPLIT_NAMES[split]
    placements = dict.fromkeys(split_of, splitting.STATED)
    if "val" not in split_of.values():  # a set that has its own val has what it wants
        fractions = _fractions(split_of)
        in_train = [name for name, split in split_of.items() if split == "train"]
        placements |= dict.fromkeys(in_train, splitting.drawn(fractions, seed))
        split_of = _drawn(split_of, subjects, fractions, seed)
    problems: list[str] = []
    labelling = classes_of_values(LabelValues(frozenset(values)), classes, source, problems, notes)
    splits: dict[str, list[CaseRef]] = {"train": [], "val": [], "test": []}
    for name, (rows, i) in places.items():
        pixels = functools.partial(_pixels, rows, i, (image_key, mask_key), labelling, folder)
        path = f"{folder}/{name}"
        subject = subjects[name]
        placement = placements[name]
        case = CaseRef(subject, name, path, pixels, label_path=path, placement=placement)
        splits[split_of[name]].append(case)
    if not splits["test"]:
        del splits["test"]
    return Source(
        labelling.classes,
        "pixel",
        license or "not stated",
        citation or str(description.get("citation") or "not stated"),
        splits,
        problems=(*problems, *split_problems(splits)),
        notes=tuple(notes),
    )


def recognises(source: Path) -> str | None:
    """What tells a prepared set; None where nothing does."""
    folders = [folder for folder in (source, *source.glob("*")) if (folder / FEATURES).is_file()]
    if folders:
        return f"{FEATURES}: a set that TensorFlow Datasets prepared"
    return None


READER = Reader(
    "tfds", "set prepared by TensorFlow Datasets as array_record: NAME/VERSION", read, recognises
)


# ------------------------------------------------------------------ files
def _builder_folder(source: Path) -> Path:
    """The folder of a version: ``source``, or the one below it.

    Raises:
      UserError: there is none, or several.
    """
    if (source / FEATURES).is_file():
        return source
    versions = sorted(path.parent for path in source.glob(f"*/{FEATURES}"))
    if len(versions) == 1:
        return versions[0]
    if versions:
        names = ", ".join(path.name for path in versions)
        raise UserError(f"holds the versions {names}", where=source, remedy="name one of them")
    raise UserError(
        f"holds no {FEATURES}", where=source, remedy="name the folder NAME/VERSION of the set"
    )


def check_features(path: Path) -> None:
    """Refuse a ``features.json`` that names any class but the plain ones in their own form.

    Raises:
      UserError: it does.
    """
    content = layout_json.read_object(path)
    wrong = _first_strange(content)
    if wrong is not None:
        raise UserError(
            f"names the feature class {wrong}, and reading it could run its module",
            where=path,
            remedy=f"prepare the set with plain features ({', '.join(_plain_names())})",
        )


def _plain_names() -> list[str]:
    return [name.rpartition(".")[2] for name in _KINDS]


def _first_strange(feature: Any) -> str | None:
    """The first class of a feature, or of those inside it, that is not plain; None if all are."""
    if not isinstance(feature, dict):
        return repr(feature)[:60]
    name = feature.get("pythonClassName")
    if not isinstance(name, str) or name not in _KINDS:
        return repr(name)[:80]
    key = _KINDS[name]
    if feature.keys() != {"pythonClassName", key}:
        return f"{name} in another form"
    if key != "featuresDict":
        return None
    inner = feature[key].get("features") if isinstance(feature[key], dict) else None
    if not isinstance(inner, dict) or feature[key].keys() != {"features"}:
        return f"{name} in another form"
    for part in inner.values():
        wrong = _first_strange(part)
        if wrong is not None:
            return wrong
    return None


def _records(folder: Path, description: Mapping[str, Any]) -> dict[str, Sequence[Any]]:
    """Split → its examples, of the splits whose names are known.

    Raises:
      UserError: there is no training split, or the files cannot be opened.
    """
    import tensorflow_datasets as tfds

    logging.getLogger("absl").setLevel(logging.ERROR)  # which packages would be faster

    listed = layout_json.part(dict(description), "splits", list, folder / DESCRIPTION)
    names = [str(split.get("name")) for split in listed]
    for split in listed:
        for key in ("name", "filepathTemplate"):
            size_limits.inside(folder, str(split.get(key) or ""), folder / DESCRIPTION)
    known = [name for name in names if name in SPLIT_NAMES]
    if "train" not in (SPLIT_NAMES[name] for name in known):
        raise UserError(
            f"has the splits {', '.join(names) or 'none'}, and none is train",
            where=folder / DESCRIPTION,
            remedy="prepare the set with a split train",
        )
    try:
        builder = tfds.builder_from_directory(str(folder))
        records = {name: builder.as_data_source(name) for name in known}
        for rows in records.values():
            len(rows)  # opens the files
    except Exception as error:  # TFDS raises anything on files that are missing or damaged
        raise _unreadable(folder, error) from error
    return records


# ------------------------------------------------------------------ examples
def _example(rows: Sequence[Any], i: int, folder: Path) -> Any:
    """Example ``i`` of a split.

    Raises:
      UserError: its file is missing or damaged.
    """
    try:
        return rows[i]
    except Exception as error:  # array_record and the decoders raise anything
        raise _unreadable(folder, error) from error


def _unreadable(folder: Path, error: Exception) -> UserError:
    return UserError(
        f"its records cannot be read ({first_line(error, 160)})",
        where=folder,
        remedy="prepare the set again",
    )


def _part(row: Mapping[str, Any], key: str, folder: Path, flag: str) -> Any:
    """A feature of an example; a dot enters a nested one.

    Raises:
      UserError: there is none of that name.
    """
    value: Any = row
    for name in key.split("."):
        if not isinstance(value, Mapping) or name not in value:
            raise UserError(
                f"has no feature {key}; there is {', '.join(sorted(row))}",
                where=folder,
                remedy=f"name one with {flag}",
            )
        value = value[name]
    return value


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value)


def _fractions(split_of: Mapping[str, str]) -> dict[str, float]:
    """Shares of train and of the splits that the set does not have."""
    return {
        split: share
        for split, share in scan_files.FRACTIONS.items()
        if split == "train" or split not in split_of.values()
    }


def _drawn(
    split_of: Mapping[str, str],
    subjects: Mapping[str, str],
    fractions: Mapping[str, float],
    seed: int,
) -> dict[str, str]:
    """Name → split, where val and test that the set does not have are drawn from train."""
    undecided = {subjects[name]: "" for name, split in split_of.items() if split == "train"}
    drawn = splitting.assign(undecided, fractions, seed)
    return {
        name: drawn[subjects[name]] if split == "train" else split
        for name, split in split_of.items()
    }


def _pixels(
    rows: Any, i: int, keys: tuple[str, str], labelling: ValueClasses, folder: Path
) -> Pixels:
    row = _example(rows, i, folder)
    image = np.asarray(_part(row, keys[0], folder, "--image-key"))
    mask = np.asarray(_part(row, keys[1], folder, "--mask-key"))
    if mask.ndim == image.ndim and mask.shape[-1] == 1:
        mask = mask[..., 0]
    if image.ndim == mask.ndim:
        image = image[..., None]
    label = labelling.combine([mask], [f"{folder}: example {i}"])
    return Pixels(image, label, (1.0,) * (image.ndim - 1))
