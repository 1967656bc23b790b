"""From the scans of a layout to what an import takes: their grids compared, each a case to load."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from semiseg.data.folder_files import header_of, named_volumes, off_grid
from semiseg.data.images import NAN, is_volume, padded, read_image, read_label_of
from semiseg.data.problems import split_problems
from semiseg.data.scan_files import Identified, Labelling, ScanFiles, check_splits
from semiseg.data.source import SPLITS, CaseRef, Pixels, Source
from semiseg.errors import UserError


class Facts(NamedTuple):
    """What a layout states of a set beside its scans.

    Attributes:
      channel_names: in the order of the channels; empty where nobody names them.
      license, citation: for reports; "" where nobody states them.
      columns, allowed: as in :class:`semiseg.data.source.Source`.
      nan: what becomes of voxels that hold NaN, see :data:`semiseg.data.images.NAN`.
      all_train: validation and test scans are in other sets.
      regions: name → classes that it unites.
      folds: as in :class:`semiseg.data.source.Source`.
    """

    channel_names: tuple[str, ...] = ()
    license: str = ""
    citation: str = ""
    columns: Mapping[str, dict[str, str]] = {}
    allowed: Mapping[str, int] = {}
    nan: str = NAN[0]
    all_train: bool = False
    regions: Mapping[str, tuple[str, ...]] = {}
    folds: tuple[tuple[str, ...], ...] = ()


def description_facts(
    content: Mapping[str, Any],
    channel_names: tuple[str, ...],
    identified: Identified,
    *,
    license: str,
    citation: str,
    nan: str,
    splits: str,
) -> Facts:
    """The facts of a set that a ``dataset.json`` describes, the Decathlon's or nnU-Net's.

    Args:
      content: of the file.
      channel_names: that it names.
      identified: the scans with their subjects.
      license, citation: of the flags; "" takes those of the file.
      nan, splits: of the flags.
    """
    return Facts(
        channel_names=channel_names,
        license=license or str(content.get("licence") or content.get("license") or ""),
        citation=citation or str(content.get("reference") or ""),
        columns=identified.columns,
        allowed=identified.allowed,
        nan=nan,
        all_train=splits == "train",
    )


def source_of(
    source: Path,
    scans: Sequence[ScanFiles],
    labelling: Labelling,
    facts: Facts,
    problems: list[str],
    notes: list[str],
) -> Source:
    """The data set that scans make.

    Args:
      source: its folder.
      scans: each in a split.
      labelling: what the numbers in label files mean.
      facts: what else is known.
      problems, notes: of the layout so far.

    Raises:
      UserError: there is no scan, or ``facts.nan`` is unknown.
    """
    if facts.nan not in NAN:
        raise UserError(f"must be {' or '.join(NAN)}", where=f"--nan {facts.nan}")
    if not scans:
        raise UserError("holds no scan", where=source, remedy="name the folder of the data set")
    check_splits(source, scans, problems)
    present = [scan.images for scan in scans if scan.images[0].is_file()]
    volumes = named_volumes(present, problems)
    notes += [f"{source}: {note}" for note in volumes.notes]
    notes += off_grid(source, [(scan.images[0], scan.labels) for scan in scans])
    problems += _channel_problems(scans, facts.channel_names)
    splits: dict[str, list[CaseRef]] = {split: [] for split in SPLITS}
    for scan in scans:
        if scan.split in SPLITS and scan.images[0] not in volumes.unreadable:
            pixels = functools.partial(read_scan_files, scan, labelling, volumes.plane, facts.nan)
            splits[scan.split].append(_ref(scan, pixels))
    if not splits["test"]:
        del splits["test"]
    whole = not problems and not facts.all_train
    problems += [line for line in split_problems(splits) if whole or " has no case" not in line]
    return Source(
        classes=labelling.classes,
        unit=_unit(source, scans, problems),
        license=facts.license or "not stated",
        citation=facts.citation or "not stated",
        splits=splits,
        problems=tuple(dict.fromkeys(problems)),
        notes=tuple(notes),
        allowed=dict(facts.allowed),
        subjects=dict(facts.columns),
        channel_names=facts.channel_names,
        regions=dict(facts.regions),
        folds=facts.folds,
    )


def read_scan_files(scan: ScanFiles, labelling: Labelling, plane: str, nan: str) -> Pixels:
    """The pixels of a scan and its label, in the orientation of a plane.

    Raises:
      UserError: a file cannot be read, or does not lie on the grid of the first image.
    """
    pixels = read_image(scan.images, plane)
    if scan.labels:
        masks = [read_label_of(pixels, path, scan.images[0], plane) for path in scan.labels]
        pixels = pixels._replace(label=labelling.combine(masks, scan.labels))
    if nan == "padding":
        return padded(pixels)
    return pixels


def _ref(scan: ScanFiles, pixels: functools.partial[Pixels]) -> CaseRef:
    label_path = ""
    if scan.labels:
        label_path = str(scan.labels[0])
    return CaseRef(
        scan.subject,
        scan.name,
        str(scan.images[0]),
        pixels,
        group=scan.group,
        label_path=label_path,
        placement=scan.placement,
    )


def _unit(source: Path, scans: Iterable[ScanFiles], problems: list[str]) -> str:
    """``mm`` of volumes, ``pixel`` of pictures; a set of both is a problem."""
    units = {"mm" if is_volume(scan.images[0]) else "pixel" for scan in scans}
    if len(units) > 1:
        problems.append(
            f"{source}: mixes volumes and pictures, whose distances have different units; import "
            f"them as two sets"
        )
    return min(units)


# ------------------------------------------------------------------ headers
def _channel_problems(scans: Iterable[ScanFiles], names: Sequence[str]) -> list[str]:
    """Volumes whose channels are not those that the set names."""
    problems: list[str] = []
    for scan in scans:
        channels = len(scan.images)
        if channels == 1:
            header = header_of(scan.images[0])
            if header is None:
                continue
            channels = header.channels
        if names and channels != len(names):
            problems.append(
                f"{scan.images[0]}: has {channels} channels, and the set names {len(names)} "
                f"({', '.join(names)}); correct the file or the names"
            )
    return problems
