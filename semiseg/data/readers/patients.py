"""One folder a patient, with a file a channel and the mask beside them, as BraTS has it.

    SOURCE/BraTS20_001/BraTS20_001_flair.nii.gz   BraTS20_001_t1ce.nii.gz   BraTS20_001_seg.nii.gz
    SOURCE/pat0006/Flair_normalised.nii.gz        T1c_normalised.nii.gz     OTMultiClass.nii.gz

``--channel-files flair,t1ce`` and ``--label seg`` name the files by a word in their names. Folders
below that of a patient (visits) are further scans of the same patient.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from semiseg.data import label_values, mask_classes, scan_files
from semiseg.data.channel_files import has_word, listed
from semiseg.data.images import is_image, stem_of
from semiseg.data.label_table import classes_of_values
from semiseg.data.mask_classes import MaskClasses
from semiseg.data.scan_files import ScanFiles
from semiseg.data.scan_sources import Facts, source_of
from semiseg.data.source import Reader, Source
from semiseg.errors import UserError

LABEL_WORDS = ("seg", "mask", "label", "labels", "gt", "annotation", "groundtruth", "manual")
"""Words by which a mask is known among the files of a patient."""
OTHER_LAYOUTS = frozenset(
    "images labels masks imagesTr labelsTr imagesTs labelsTs derivatives train val test anat func "
    "dwi fmap perf".split()
)
"""Folders that are not those of patients."""
MOST_FOLDERS = 20
"""Folders that are looked at to recognise the layout."""


def read(
    source: Path,
    *,
    channel_files: Annotated[
        str, "a word in the file name of each channel, separated by commas, such as flair,t1ce"
    ] = "",
    label: Annotated[
        str, "a word in the name of the mask; several masks become classes, outer ones first"
    ] = "",
    classes: scan_files.Classes = "",
    seed: scan_files.Seed = 0,
    license: scan_files.License = "",
    citation: scan_files.Citation = "",
    nan: scan_files.Nan = "refuse",
    splits: scan_files.Splits = "",
    progress: bool = True,
) -> Source:
    """Every folder that holds image files is a scan.

    Raises:
      UserError: there is none, or it is not clear which files are channels and which the mask.
    """
    folders = scan_folders(source)
    if not folders:
        raise UserError(
            "holds no PATIENT/IMAGE.nii.gz",
            where=source,
            remedy="name the folder that holds the patients' folders",
        )
    problems: list[str] = []
    notes: list[str] = []
    channels = listed(channel_files)
    masks = listed(label)
    if not channels:
        channels, masks = _chosen(source, folders, masks, notes)
    scans: list[ScanFiles] = []
    for folder in folders:
        scans += _scan(source, folder, channels, masks, problems)
    if not scans:
        raise UserError(problems[0])
    scans = scan_files.draw(source, scans, seed, problems, splits)
    labels = [path for scan in scans for path in scan.labels]
    labelling: scan_files.Labelling
    if len(masks) > 1:
        labelling = MaskClasses(mask_classes.class_names(classes, masks))
    else:
        values = label_values.values_of(labels, progress)
        labelling = classes_of_values(values, classes, source, problems, notes)
    facts = Facts(
        channel_names=tuple(channels),
        license=license,
        citation=citation,
        nan=nan,
        all_train=splits == "train",
    )
    return source_of(source, scans, labelling, facts, problems, notes)


def recognises(source: Path) -> str | None:
    """What tells a folder of patients' folders; None where nothing does."""
    if not source.is_dir():
        return None
    folders = [path for path in sorted(source.iterdir()) if _may_be_patient(path)]
    with_images = [path for path in folders[:MOST_FOLDERS] if scan_files.image_files(path)]
    if with_images and len(with_images) == len(folders[:MOST_FOLDERS]):
        return f"{with_images[0].name}/ with image files: a folder a patient"
    return None


READER = Reader(
    "patients", "a folder a patient, with a file a channel and a mask", read, recognises
)


# ------------------------------------------------------------------ files
def scan_folders(source: Path) -> list[Path]:
    """Folders below ``source``, at any depth, that hold image files."""
    if not source.is_dir():
        return []
    below = [path for path in sorted(source.glob("**/*")) if path.is_dir()]
    return [path for path in below if scan_files.image_files(path)]


def _may_be_patient(path: Path) -> bool:
    hidden = path.name.startswith(".")
    return path.is_dir() and not hidden and path.name not in OTHER_LAYOUTS


def _scan(
    source: Path,
    folder: Path,
    channels: Sequence[str],
    masks: Sequence[str],
    problems: list[str],
) -> list[ScanFiles]:
    """The scan of a folder; none, and a problem, where a channel is missing."""
    files = [path for path in folder.iterdir() if is_image(path)]
    images = [_file(folder, files, word, problems) for word in channels]
    labels = [_file(folder, files, word, problems) for word in masks]
    absent = [word for word, path in zip(channels, images, strict=True) if path is None]
    if absent:
        there = ", ".join(sorted(path.name for path in files))
        problems.append(
            f"{folder}: has no file with the word {absent[0]} ({there}); restore it, or correct "
            f"--channel-files"
        )
        return []
    present = tuple(path for path in labels if path is not None)
    if 0 < len(present) < len(masks):
        problems.append(
            f"{folder}: has {len(present)} of {len(masks)} masks ({', '.join(masks)}); add the "
            f"others, empty where there is nothing"
        )
    relative = folder.relative_to(source)
    paths = tuple(path for path in images if path is not None)
    return [ScanFiles("_".join(relative.parts), paths, present, relative.parts[0])]


def _file(folder: Path, files: Sequence[Path], word: str, problems: list[str]) -> Path | None:
    """The file with a word in its name; None where there is none."""
    matching = [path for path in files if has_word(stem_of(path), word)]
    if len(matching) > 1:
        names = ", ".join(sorted(path.name for path in matching))
        problems.append(
            f"{folder}: several files have the word {word} ({names}); name a longer part of the "
            f"one that is meant"
        )
    return matching[0] if matching else None


# ------------------------------------------------------------------ where no flag says
def words_of(folder: Path) -> set[str]:
    """What the names of a folder's files add to its own name.

    ``flair`` and ``seg`` of ``p1/p1_flair.nii`` and ``p1/p1_seg.nii``.
    """
    words: set[str] = set()
    for path in scan_files.image_files(folder):
        word = stem_of(path).removeprefix(folder.name).strip("_- .")
        words.add(word or "image")
    return words


def _chosen(
    source: Path, folders: Sequence[Path], masks: list[str], notes: list[str]
) -> tuple[list[str], list[str]]:
    """Channels and mask by the names that all folders share.

    Raises:
      UserError: no name or several names are those of masks.
    """
    shared = set.union(*(words_of(folder) for folder in folders))
    if not masks:
        masks = [word for word in sorted(shared) if word.lower() in LABEL_WORDS]
    channels = sorted(word for word in shared if word not in masks)
    everywhere = all(set(channels) <= words_of(folder) for folder in folders)
    if len(masks) != 1 or not channels or not everywhere:
        words = sorted(shared)
        listed = ", ".join(words[:8]) + " …" * (len(words) > 8)
        raise UserError(
            f"holds a folder a patient, with files named {listed}",
            where=source,
            remedy="say which are channels (--channel-files flair,t1ce) and which is the mask "
            "(--label seg)",
        )
    notes.append(
        f"{source}: no --channel-files given: --channel-files {','.join(channels)} --label "
        f"{masks[0]}"
    )
    return channels, masks
