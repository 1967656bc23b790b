"""Medical Segmentation Decathlon: ``dataset.json`` that lists the files of training and test.

    SOURCE/dataset.json   modality, labels, training: [{image, label}, …], test: [image, …]
    SOURCE/imagesTr/la_007.nii.gz   channels in the fourth axis, or a file each (_0000, _0001 …)

The first version of nnU-Net writes the same file. A scan is a subject. Test images have no labels:
they are left out unless asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from semiseg.data import label_table, layout_json, scan_files, size_limits
from semiseg.data.images import is_image, stem_of
from semiseg.data.label_table import LabelTable
from semiseg.data.scan_files import ScanFiles
from semiseg.data.scan_sources import description_facts, source_of
from semiseg.data.source import Reader, Source
from semiseg.errors import UserError

DESCRIPTION = "dataset.json"


def read(
    source: Path,
    *,
    classes: scan_files.Classes = "",
    unlabelled_test: scan_files.UnlabelledTest = False,
    seed: scan_files.Seed = 0,
    license: scan_files.License = "",
    citation: scan_files.Citation = "",
    nan: scan_files.Nan = "refuse",
    splits: scan_files.Splits = "",
    subject_pattern: scan_files.SubjectPattern = "",
    subjects_are_images: scan_files.SubjectsAreImages = False,
    subjects_file: scan_files.SubjectsFile = "",
    progress: bool = True,
) -> Source:
    """The files that ``dataset.json`` lists.

    Raises:
      UserError: it is missing or broken.
    """
    path = source / DESCRIPTION
    content = layout_json.read_object(path)
    table = label_table_of(content, path)
    if classes:
        table = table.renamed(classes)
    modalities = layout_json.part(content, "modality", dict, path, needed=False)
    channels = tuple(str(name) for name in modalities.values())
    problems: list[str] = []
    notes: list[str] = []
    scans = _training_scans(source, content, len(channels), problems)
    scans += _test_scans(source, content, len(channels), unlabelled_test, notes, problems)
    identified = scan_files.with_subjects(
        source, scans, problems, subject_pattern, subjects_are_images, subjects_file
    )
    scans = scan_files.draw(source, identified.scans, seed, problems, splits)
    facts = description_facts(
        content,
        channels,
        identified,
        license=license,
        citation=citation,
        nan=nan,
        splits=splits,
    )
    return source_of(source, scans, table, facts, problems, notes)


def recognises(source: Path) -> str | None:
    """What is the Decathlon's about a folder; None where nothing is."""
    content = layout_json.peek(source / DESCRIPTION)
    if isinstance(content.get("training"), list) and "channel_names" not in content:
        return f"{DESCRIPTION} with a list training: a set of the Decathlon"
    return None


READER = Reader(
    "msd", "Medical Segmentation Decathlon: dataset.json, imagesTr, labelsTr", read, recognises
)


def label_table_of(content: Mapping[str, Any], path: Path) -> LabelTable:
    """The table of labels, whose keys are the values.

    Raises:
      UserError: it is no such table.
    """
    pairs: dict[str, Any] = {}
    for value, name in layout_json.part(dict(content), "labels", dict, path).items():
        if str(name) in pairs:
            raise UserError(
                f"labels names {name} twice", where=path, remedy="give each value its own name"
            )
        pairs[str(name)] = value
    return label_table.from_pairs(pairs, path)


def _training_scans(
    source: Path, content: Mapping[str, Any], channels: int, problems: list[str]
) -> list[ScanFiles]:
    path = source / DESCRIPTION
    scans: list[ScanFiles] = []
    listed = layout_json.part(dict(content), "training", list, path)
    for number, entry in enumerate(listed):
        if not isinstance(entry, dict) or not isinstance(entry.get("image"), str):
            raise UserError(
                f"entry {number} of training names no image", where=path, remedy="correct it"
            )
        images = _channels(size_limits.inside(source, entry["image"], path), channels)
        labels: tuple[Path, ...] = ()
        if entry.get("label"):
            labels = (size_limits.inside(source, str(entry["label"]), path),)
        scans.append(ScanFiles(_name(entry["image"]), images, labels))
        problems += scan_files.missing([*images, *labels], path)
    if not scans:
        raise UserError("training lists no image", where=path, remedy="list some")
    stated = content.get("numTraining", len(scans))
    if stated != len(scans):
        problems.append(
            f"{path}: numTraining is {stated}, and training lists {len(scans)} images; correct "
            f"one of them"
        )
    return scans


def _test_scans(
    source: Path,
    content: Mapping[str, Any],
    channels: int,
    unlabelled: bool,
    notes: list[str],
    problems: list[str],
) -> list[ScanFiles]:
    """Test images as unlabelled training images where asked for."""
    path = source / DESCRIPTION
    listed = layout_json.part(dict(content), "test", list, path, needed=False)
    names = [entry["image"] if isinstance(entry, dict) else str(entry) for entry in listed]
    if names and not unlabelled:
        notes.append(scan_files.left_out(source / "imagesTs", len(names)))
        return []
    scans: list[ScanFiles] = []
    for name in names:
        images = _channels(size_limits.inside(source, name, path), channels)
        scans.append(ScanFiles(_name(name), images, split="train"))
        problems += scan_files.missing(scans[-1].images, path)
    return scans


def _name(image: str) -> str:
    return stem_of(Path(image))


def _channels(image: Path, number: int) -> tuple[Path, ...]:
    """The listed file, or where it is not there the files of its channels."""
    if image.is_file() or not is_image(image):
        return (image,)
    stem = stem_of(image)
    suffix = image.name.removeprefix(stem)
    files = tuple(image.with_name(f"{stem}_{k:04d}{suffix}") for k in range(max(1, number)))
    return files if files[0].is_file() else (image,)
