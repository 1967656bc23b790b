"""BIDS: ``sub-*/[ses-*/]anat/*_SUFFIX.nii.gz``, masks in ``derivatives/``, ``participants.tsv``.

    SOURCE/sub-01/ses-1/anat/sub-01_ses-1_T2w.nii.gz
    SOURCE/derivatives/labels/sub-01/ses-1/anat/sub-01_ses-1_T2w_seg-manual.nii.gz

A mask belongs to the image whose entities (sub, ses, run …) it repeats; ``--label`` names how the
masks' names end, and several masks become classes in the order given. A person is a subject with
all sessions, whether they are folders (``ses-1``) or stand in the name (``sub-01Ses1``). The
columns of ``participants.tsv`` become those of the subjects.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

from semiseg.data import bids_people, label_values, layout_json, mask_classes, scan_files
from semiseg.data.images import is_image, stem_of
from semiseg.data.label_table import classes_of_values
from semiseg.data.mask_classes import MaskClasses
from semiseg.data.scan_files import ScanFiles
from semiseg.data.scan_sources import Facts, source_of
from semiseg.data.source import Reader, Source
from semiseg.errors import UserError

DERIVED = ("label", "desc", "space", "res", "atlas", "hemi", "seg", "den")
"""Entities of a derivative that its image does not have."""
ENTITIES = frozenset(
    "sub ses sample task acq ce trc stain rec dir run mod echo flip inv mt part proc chunk".split()
)
"""Entities that a mask repeats of its image."""
NO_MASKS = ("probseg",)
"""Suffixes of derivatives that are no masks."""


class Name(NamedTuple):
    """A BIDS file name taken apart: ``sub-01_run-2_T2w_seg-manual``.

    Attributes:
      entities: key → value, such as ``sub`` → ``01``, without those of derivatives.
      words: the parts that are no entity, the image's suffix among them.
    """

    entities: tuple[tuple[str, str], ...]
    words: tuple[str, ...]


def read(
    source: Path,
    *,
    label: Annotated[str, "ends of the masks' names, separated by commas, outer ones first"] = "",
    suffix: Annotated[str, "BIDS suffix of the images, such as T2w; several are channels"] = "",
    classes: scan_files.Classes = "",
    folders_are_subjects: Annotated[
        bool, "sub-01Ses1 and sub-01Ses2 are two people, not two sessions of one"
    ] = False,
    seed: scan_files.Seed = 0,
    license: scan_files.License = "",
    citation: scan_files.Citation = "",
    nan: scan_files.Nan = "refuse",
    splits: scan_files.Splits = "",
    progress: bool = True,
) -> Source:
    """The images of one suffix with their masks; people are drawn into splits.

    Raises:
      UserError: there is no image, or it is not clear which images or masks are meant.
    """
    problems: list[str] = []
    notes: list[str] = []
    files, derived = _files(source, label)
    suffixes = {_suffix_of(path) for path in files}
    derived = [path for path in derived if _suffix_of(path) not in suffixes]
    wanted = _suffixes(source, files, derived, suffix, notes)
    images = _channels(files, wanted, problems)
    wholes = _mask_ends(source, derived, label, suffixes)
    masks = _masks(derived, wholes, images, wanted, problems)
    if not label and len(wholes) > 1:
        wholes = _ordered(source, wholes, masks, progress, notes)
    people = bids_people.people_of(
        [name.entities[0][1] for name in images], folders_are_subjects, notes, source
    )
    scans: list[ScanFiles] = []
    for name, paths in images.items():
        labels = [masks[name][end] for end in wholes if end in masks[name]]
        person = people[name.entities[0][1]]
        if 0 < len(labels) < len(wholes):
            absent = ", ".join(end for end in wholes if end not in masks[name])
            problems.append(
                f"{paths[0]}: has no mask {absent}, but others do; add it (empty where there is "
                f"none) or take the image's other masks away"
            )
        scans.append(ScanFiles(stem_of(paths[0]), paths, tuple(labels), person))
    columns = bids_people.columns_of(source, people, notes)
    scans = bids_people.in_stated_splits(scans, columns)
    scans = scan_files.draw(source, scans, seed, problems, splits)
    description = layout_json.peek(source / "dataset_description.json")
    labelling = _labelling(source, wholes, classes, scans, problems, notes, progress)
    facts = Facts(
        channel_names=wanted,
        license=license or str(description.get("License") or ""),
        citation=citation or str(description.get("HowToAcknowledge") or ""),
        columns=columns,
        nan=nan,
        all_train=splits == "train",
    )
    return source_of(source, scans, labelling, facts, problems, notes)


def recognises(source: Path) -> str | None:
    """What is BIDS about a folder; None where nothing is."""
    anatomical = sorted(source.glob("sub-*/anat")) + sorted(source.glob("sub-*/ses-*/anat"))
    if anatomical:
        return f"{anatomical[0].relative_to(source)}: BIDS"
    return None


READER = Reader(
    "bids", "BIDS: sub-*/anat, masks in derivatives/, participants.tsv", read, recognises
)


# ------------------------------------------------------------------ names
def parse(stem: str) -> Name:
    """A file's name taken apart.

    >>> parse("sub-01_run-2_T2w").entities, parse("sub-01_run-2_T2w_gmseg").words
    ((('sub', '01'), ('run', '2')), ('T2w', 'gmseg'))
    """
    entities: list[tuple[str, str]] = []
    words: list[str] = []
    for part in stem.split("_"):
        key, dash, value = part.partition("-")
        if not dash:
            words.append(part)
        elif key not in DERIVED:
            entities.append((key, value))
    return Name(tuple(entities), tuple(words))


def _files(source: Path, label: str) -> tuple[list[Path], list[Path]]:
    """Images below the ``sub-*`` folders, and what may be masks: derivatives, and files beside the
    images that end as ``label`` says.

    Raises:
      UserError: there is no image.
    """
    ends = tuple(f"_{end}" for end in _words(label) if end)
    files: list[Path] = []
    derived = [path for path in sorted(source.glob("derivatives/**/*")) if _is_scan(path)]
    for path in sorted(source.glob("sub-*/**/*")):
        if not _is_scan(path):
            continue
        if ends and stem_of(path).endswith(ends):
            derived.append(path)
        else:
            files.append(path)
    if not files:
        raise UserError(
            "holds no sub-*/anat/*.nii.gz",
            where=source,
            remedy="name the folder that holds the sub- folders",
        )
    return files, derived


def _is_scan(path: Path) -> bool:
    return path.name.startswith("sub-") and is_image(path) and path.is_file()


def _suffix_of(path: Path) -> str:
    """The last word of a name: ``T2w`` of ``sub-01_T2w``."""
    return stem_of(path).rpartition("_")[2]


def _suffixes(
    source: Path, files: Sequence[Path], derived: Sequence[Path], given: str, notes: list[str]
) -> tuple[str, ...]:
    """The suffixes of the images that are read: one, or one a channel."""
    counts = Counter(_suffix_of(path) for path in files)
    listed = ", ".join(f"{suffix}: {number}" for suffix, number in sorted(counts.items()))
    if given:
        wanted = tuple(_whole_suffix(word, counts) for word in _words(given))
        unknown = [word for word in wanted if word not in counts]
        if unknown:
            raise UserError(
                f"no image has the suffix {unknown[0]}; there is {listed}",
                where=f"--suffix {given}",
                remedy="name one of these",
            )
        return wanted
    if len(counts) == 1:
        return tuple(counts)
    words: set[str] = set()
    for path in derived:
        words |= set(parse(stem_of(path)).words)
    annotated = [suffix for suffix in counts if suffix in words]
    if len(annotated) == 1:
        notes.append(f"{source}: no --suffix given: {annotated[0]}, the only one with masks")
        return (annotated[0],)
    raise UserError(
        f"images have several suffixes ({listed})",
        where=source,
        remedy="choose with --suffix; several, separated by commas, become channels",
    )


def _whole_suffix(word: str, known: Container[str]) -> str:
    """A suffix, with the ``w`` (weighted) that a user may have left out.

    >>> _whole_suffix("T2star", {"T2starw"}), _whole_suffix("FLAIR", {"FLAIR"})
    ('T2starw', 'FLAIR')
    """
    if word not in known and f"{word}w" in known:
        return f"{word}w"
    return word


def _channels(
    files: Sequence[Path], wanted: Sequence[str], problems: list[str]
) -> dict[Name, tuple[Path, ...]]:
    """Name → its files in the order of the suffixes; a name holds the entities alone."""
    by_name: dict[Name, dict[str, Path]] = {}
    for path in files:
        suffix = _suffix_of(path)
        if suffix in wanted:
            name = Name(parse(stem_of(path)).entities, ())
            by_name.setdefault(name, {})[suffix] = path
    images: dict[Name, tuple[Path, ...]] = {}
    for name, channels in by_name.items():
        absent = [suffix for suffix in wanted if suffix not in channels]
        if absent:
            problems.append(
                f"{next(iter(channels.values()))}: has no channel {', '.join(absent)} beside it; "
                f"restore it or name fewer with --suffix"
            )
            continue
        images[name] = tuple(channels[suffix] for suffix in wanted)
    return images


# ------------------------------------------------------------------ masks
def mask_end(stem: str, suffixes: Container[str]) -> str:
    """How the name of a mask goes on after what it repeats of its image.

    Args:
      stem: the mask's name.
      suffixes: of the images.

    >>> mask_end("sub-01_run-2_T2w_seg-manual", {"T2w"}), mask_end("sub-01_label-GM_mask", {"T2w"})
    ('seg-manual', 'label-GM_mask')
    """
    parts = stem.split("_")
    for place, part in enumerate(parts):
        key, dash, _ = part.partition("-")
        repeated = key in ENTITIES if dash else part in suffixes
        if not repeated:
            return "_".join(parts[place:])
    return ""


def _mask_ends(
    source: Path, derived: Sequence[Path], given: str, known: Container[str]
) -> list[str]:
    """How the names of the masks end, from the flag or from what derivatives hold.

    Args:
      source: the set's folder.
      derived: files that may be masks.
      given: the flag.
      known: suffixes of images.
    """
    counts: Counter[str] = Counter()
    for path in derived:
        end = mask_end(stem_of(path), known)
        if end and _suffix_of(path) not in NO_MASKS:
            counts[end] += 1
    listed = ", ".join(f"{end}: {number}" for end, number in sorted(counts.items())) or "none"
    if not given and not counts:
        raise UserError(
            "holds no masks of these images",
            where=source / "derivatives",
            remedy="put them there, or name how they end with --label",
        )
    if not given:
        return sorted(counts)
    wanted = _words(given)
    for end in wanted:
        if not any(stem_of(path).endswith(f"_{end}") for path in derived):
            raise UserError(
                f"no mask ends with _{end}; there is {listed}",
                where=f"--label {given}",
                remedy="name one of these",
            )
    return wanted


def _words(given: str) -> list[str]:
    """The words of a flag, separated by commas."""
    return [word.strip() for word in given.split(",")]


def _masks(
    derived: Sequence[Path],
    ends: Sequence[str],
    images: dict[Name, tuple[Path, ...]],
    suffixes: Sequence[str],
    problems: list[str],
) -> dict[Name, dict[str, Path]]:
    """Name of an image → end → its mask.

    Raises:
      UserError: two files are the same mask of one image.
    """
    masks: dict[Name, dict[str, Path]] = {name: {} for name in images}
    for path in derived:
        stem = stem_of(path)
        end = next((end for end in ends if stem.endswith(f"_{end}")), None)
        if end is None:
            continue
        parsed = parse(stem.removesuffix(f"_{end}"))
        name = Name(parsed.entities, ())
        other_suffix = parsed.words and not set(parsed.words) & set(suffixes)
        if other_suffix:
            continue
        if name not in masks:
            problems.append(
                f"{path}: has no image {'_'.join('-'.join(pair) for pair in parsed.entities)}_"
                f"{suffixes[0]}; restore it or remove the mask"
            )
            continue
        if end in masks[name]:
            raise UserError(
                f"is the mask {end} of an image that {masks[name][end]} is too",
                where=path,
                remedy="remove one of them",
            )
        masks[name][end] = path
    return masks


def _ordered(
    source: Path,
    ends: Sequence[str],
    masks: dict[Name, dict[str, Path]],
    progress: bool,
    notes: list[str],
) -> list[str]:
    """Masks that nobody chose, the outer ones first.

    Raises:
      UserError: they do not lie inside each other.
    """
    whole = [[files[end] for end in ends] for files in masks.values() if len(files) == len(ends)]
    order: list[str] | str = "no image has all of them"
    if whole:
        order = mask_classes.nesting(ends, whole, progress)
    if isinstance(order, str):
        raise UserError(
            f"derivatives hold the masks {', '.join(ends)}, and {order}",
            where=source,
            remedy="choose with --label, outer ones first, separated by commas",
        )
    notes.append(
        f"{source}: no --label given: --label {','.join(order)} (outer masks first, as they lie "
        f"inside each other)"
    )
    return order


def _labelling(
    source: Path,
    ends: Sequence[str],
    classes: str,
    scans: Iterable[ScanFiles],
    problems: list[str],
    notes: list[str],
    progress: bool,
) -> scan_files.Labelling:
    """What the masks mean: one class a file, or a single file of classes."""
    if len(ends) > 1:
        return MaskClasses(mask_classes.class_names(classes, ends))
    labels = [path for scan in scans for path in scan.labels]
    values = label_values.values_of(labels, progress)
    if values.values <= {0, 1} or values.is_mask or values.by_file:
        return MaskClasses(mask_classes.class_names(classes, ends))
    return classes_of_values(values, classes, source, problems, notes)
