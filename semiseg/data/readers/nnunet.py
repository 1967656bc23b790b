"""nnU-Net's raw data sets (version 2): ``dataset.json`` with ``imagesTr``, ``labelsTr``,
``imagesTs``.

    SOURCE/dataset.json                 channel_names, labels, file_ending
    SOURCE/imagesTr/la_007_0000.nii.gz  one file a channel: _0000, _0001 …
    SOURCE/labelsTr/la_007.nii.gz
    SOURCE/imagesTs/…                   test images; SOURCE/labelsTs/ has their labels, if any
    SOURCE/splits_final.json            nnU-Net's folds; or beside the preprocessed data

A case is a scan. ``labels`` names the classes and their values; the label ``ignore`` becomes 255.
Where ``splits_final.json`` is, the validation cases of one fold become val, and a cross-validation
of as many folds holds out what they hold out. Labels that are lists
of several values are regions. A value without a name of its own is then ``class VALUE``, unless
``--classes`` names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from semiseg.data import label_table, layout_json, regions, scan_files, size_limits
from semiseg.data.images import stem_of
from semiseg.data.info import numbered
from semiseg.data.label_table import LabelTable
from semiseg.data.scan_files import ScanFiles
from semiseg.data.scan_sources import description_facts, source_of
from semiseg.data.source import Reader, Source
from semiseg.data.splits import IN_FOLDER, Placement
from semiseg.errors import UserError

DESCRIPTION = "dataset.json"
FOLDS = "splits_final.json"
FIRST_FOLD = 0


def read(
    source: Path,
    *,
    fold: Annotated[int, "whose validation cases are val, where splits_final.json is"] = FIRST_FOLD,
    splits_file: Annotated[str, "path of splits_final.json, where it lies elsewhere"] = "",
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
    """The cases of a raw data set; test images without labels are left out unless asked for.

    Raises:
      UserError: ``dataset.json`` is missing or broken.
    """
    path = source / DESCRIPTION
    content = layout_json.read_object(path)
    channels = tuple(map(str, layout_json.part(content, "channel_names", dict, path).values()))
    problems: list[str] = []
    notes: list[str] = []
    table, united = labels_of(content, path, classes, notes)
    scans = _training_scans(source, content, problems)
    if not scans:
        raise UserError(
            "holds no case", where=source / "imagesTr", remedy="put CASE_0000 files there"
        )
    scans = [_checked(scan, len(channels), problems) for scan in scans]
    scans = _in_fold(source, scans, _folds_path(source, splits_file), fold, notes, problems)
    scans += _test_scans(source, unlabelled_test, len(channels), notes, problems)
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
    folds = _all_folds(_folds_path(source, splits_file), scans)
    facts = facts._replace(folds=folds, regions=united)
    return source_of(source, scans, table, facts, problems, notes)


def recognises(source: Path) -> str | None:
    """What is nnU-Net's about a folder; None where nothing is."""
    content = layout_json.peek(source / DESCRIPTION)
    if "channel_names" in content:
        return f"{DESCRIPTION} with channel_names: a raw data set of nnU-Net"
    return None


READER = Reader(
    "nnunet",
    "raw data set of nnU-Net v2: dataset.json, imagesTr, labelsTr",
    read,
    recognises,
)


# ------------------------------------------------------------------ labels
def labels_of(
    content: Mapping[str, Any], path: Path, classes: str, notes: list[str]
) -> tuple[LabelTable, regions.Regions]:
    """The table of labels, and the regions that unite several of its values.

    Args:
      content, path: of dataset.json.
      classes: names that replace those of the file.
      notes: receives which values have no name.

    Raises:
      UserError: it is no such table, or a region is none.

    >>> labels = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": [3]}
    >>> table, united = labels_of({"labels": labels}, Path("dataset.json"), "", [])
    >>> table.classes
    ('background', 'class 1', 'class 2', 'enhancing')
    >>> united["core"]
    ('class 2', 'enhancing')
    """
    pairs = layout_json.part(dict(content), "labels", dict, path)
    unions = {
        name: value for name, value in pairs.items() if isinstance(value, list) and len(value) != 1
    }
    named = {name: _only(value) for name, value in pairs.items() if name not in unions}
    if not unions:
        table = label_table.from_pairs(named, path)
        return (table.renamed(classes) if classes else table), {}
    nameless: list[int] = []
    for name, values in unions.items():
        for value in values:
            number = label_table.whole_number(name, value, path)
            if number not in (0, *nameless, *named.values()):
                nameless.append(number)
    named |= {f"class {value}": value for value in sorted(nameless)}
    if 0 not in named.values():
        named["background"] = 0
    table = label_table.from_pairs(named, path)
    if nameless and not classes:
        values_text = ", ".join(str(value) for value in sorted(nameless))
        notes.append(
            f"{path}: the values {values_text} of the label files have no name of their own; name "
            f"all classes with --classes"
        )
    if classes:
        table = table.renamed(classes)
    name_of = dict(zip(table.values, table.classes, strict=True))
    united = {
        name: [name_of.get(int(value), str(value)) for value in values]
        for name, values in unions.items()
    }
    return table, regions.checked(united, table.classes, path)


def _only(value: Any) -> Any:
    """The value of a label, which may be the only one of a list."""
    if isinstance(value, list):
        return value[0]
    return value


# ------------------------------------------------------------------ cases
def cases_of(folder: Path) -> dict[str, tuple[Path, ...]]:
    """Case → its files in the order of their channels, of a folder such as ``imagesTr``."""
    channels: dict[str, dict[int, Path]] = {}
    for path in scan_files.image_files(folder):
        name = scan_files.stem_without_channel(path)
        if name is not None:
            channels.setdefault(name[0], {})[name[1]] = path
    return {
        case: tuple(files[number] for number in sorted(files)) for case, files in channels.items()
    }


def _training_scans(
    source: Path, content: Mapping[str, Any], problems: list[str]
) -> list[ScanFiles]:
    if "dataset" in content:
        return _listed_scans(source, content, problems)
    labels = {stem_of(path): path for path in scan_files.image_files(source / "labelsTr")}
    cases = cases_of(source / "imagesTr")
    if cases and not labels:
        problems.append(f"{source / 'labelsTr'}: holds no label; restore the labels of imagesTr")
    stated = content.get("numTraining", len(cases))
    if stated != len(cases):
        problems.append(
            f"{source / DESCRIPTION}: numTraining is {stated}, and imagesTr holds {len(cases)} "
            f"cases; correct one of them"
        )
    problems += [
        f"{path}: has no image {name}_0000 in imagesTr; restore it or remove the label"
        for name, path in labels.items()
        if name not in cases
    ]
    return [_scan(name, images, labels.get(name)) for name, images in cases.items()]


def _listed_scans(source: Path, content: Mapping[str, Any], problems: list[str]) -> list[ScanFiles]:
    """The cases that ``dataset.json`` lists itself, with paths relative to its folder."""
    path = source / DESCRIPTION
    scans: list[ScanFiles] = []
    for name, files in layout_json.part(dict(content), "dataset", dict, path).items():
        if not isinstance(files, dict):
            raise UserError(f"dataset names no files for {name}", where=path, remedy="correct it")
        listed = files.get("images", ())
        images = tuple(size_limits.inside(source, str(image), path) for image in listed)
        label = None
        if files.get("label"):
            label = size_limits.inside(source, str(files["label"]), path)
        if not images:
            raise UserError(f"dataset names no image for {name}", where=path, remedy="name one")
        scans.append(_scan(name, images, label))
        problems += scan_files.missing([*images, *scans[-1].labels], path)
    return scans


def _test_scans(
    source: Path, unlabelled: bool, channels: int, notes: list[str], problems: list[str]
) -> list[ScanFiles]:
    """Test cases with a label, and the others as unlabelled training cases where asked for."""
    labels = {stem_of(path): path for path in scan_files.image_files(source / "labelsTs")}
    scans: list[ScanFiles] = []
    bare: list[ScanFiles] = []
    for name, images in cases_of(source / "imagesTs").items():
        scan = _scan(name, images, labels.get(name))
        if scan.labels:
            scans.append(scan._replace(split="test", placement=IN_FOLDER))
        else:
            bare.append(scan._replace(split="train"))
    if bare and not unlabelled:
        notes.append(scan_files.left_out(source / "imagesTs", len(bare)))
    elif bare:
        scans += bare
    return [_checked(scan, channels, problems) for scan in scans]


def _scan(name: str, images: tuple[Path, ...], label: Path | None) -> ScanFiles:
    labels: tuple[Path, ...] = ()
    if label is not None:
        labels = (label,)
    return ScanFiles(name, images, labels)


def _checked(scan: ScanFiles, channels: int, problems: list[str]) -> ScanFiles:
    """The scan; a line where it lacks the file of a channel (three may be colours of one file)."""
    files = len(scan.images)
    if files != channels and not (files == 1 and scan.images[0].suffix == ".png"):
        problems.append(
            f"{scan.images[0]}: case {scan.name} has {files} of {channels} channels of "
            f"{DESCRIPTION}; restore the files {scan.name}_0000 … _{channels - 1:04d}"
        )
    return scan


# ------------------------------------------------------------------ folds
def _folds_path(source: Path, given: str) -> Path | None:
    """``splits_final.json``: where it is said to be, in the set, or where nnU-Net puts it."""
    if given:
        return Path(given).expanduser()
    home = source.resolve()
    preprocessed = home.parent.parent / "nnUNet_preprocessed" / home.name
    for folder in (source, preprocessed):
        if (folder / FOLDS).is_file():
            return folder / FOLDS
    return None


def _in_fold(
    source: Path,
    scans: list[ScanFiles],
    path: Path | None,
    fold: int,
    notes: list[str],
    problems: list[str],
) -> list[ScanFiles]:
    """The cases of a fold; all of them, without a split, where there are no folds."""
    if path is None:
        if fold != FIRST_FOLD:
            raise UserError(
                f"asks for a fold, and there is no {FOLDS}",
                where=f"--fold {fold}",
                remedy="give its path with --splits-file, or leave --fold out",
            )
        return scans
    splits = _splits_of(path, fold)
    in_fold = Placement(f"stated in {FOLDS}, fold {fold}")
    by_name = {scan.name: scan for scan in scans}
    problems += [
        f"{path}: fold {fold} names {name}, which imagesTr does not have; restore it or correct "
        f"the fold"
        for name in splits
        if name not in by_name
    ]
    notes.append(f"{path}: the validation cases of fold {fold} are val")
    rest = [name for name in by_name if name not in splits]
    if rest:
        notes.append(
            f"{path}: no part of fold {fold} has {numbered(len(rest), 'case')} ({rest[0]} …): "
            f"left out"
        )
    return [
        by_name[name]._replace(split=split, placement=in_fold)
        for name, split in splits.items()
        if name in by_name
    ]


def _all_folds(path: Path | None, scans: list[ScanFiles]) -> tuple[tuple[str, ...], ...]:
    """The subjects that each of several folds holds out; empty where there is one, or none."""
    if path is None:
        return ()
    number = len(layout_json.read_list(path))
    if number < 2:
        return ()
    subject_of = {scan.name: scan.subject for scan in scans}
    folds: list[tuple[str, ...]] = []
    for fold in range(number):
        splits = _splits_of(path, fold)
        held_out = [name for name, split in splits.items() if split == "val"]
        subjects = [subject_of[name] for name in held_out if name in subject_of]
        folds.append(tuple(dict.fromkeys(subjects)))
    return tuple(folds)


def _splits_of(path: Path, fold: int) -> dict[str, str]:
    """Case → ``train`` or ``val`` in a fold."""
    folds = layout_json.read_list(path)
    if not 0 <= fold < len(folds):
        raise UserError(
            f"{path} has folds 0 to {len(folds) - 1}", where=f"--fold {fold}", remedy="name one"
        )
    splits: dict[str, str] = {}
    for split in ("train", "val"):
        content = folds[fold]
        if not isinstance(content, dict) or not isinstance(content.get(split), list):
            raise UserError(
                f"fold {fold} has no list {split}", where=path, remedy="write the file again"
            )
        splits |= dict.fromkeys(map(str, content[split]), split)
    return splits
