"""What is to be predicted: every file of a folder tree is a scan, a channel of one, a slice of a
DICOM series, or named as what it is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from semiseg.data.dicom_files import files_under, is_dicom
from semiseg.data.dicom_input import inputs_of, is_series, mask_name
from semiseg.data.images import KINDS, is_image, is_volume, read_header, stem_of
from semiseg.data.picture_files import mask_path
from semiseg.data.scan_files import stem_without_channel
from semiseg.errors import UserError

NAMED = 5
"""Files that are no images are named up to this number."""
RAW = (".raw", ".zraw", ".gz", ".img")
"""Suffixes of the voxels that a header in a file of its own (.mhd, .nhdr) names."""
HEADERS = (".mhd", ".nhdr")


class Input(NamedTuple):
    """A scan that is to be predicted.

    Attributes:
      files: one image file, or one a channel; or the folder or file of a DICOM series.
      mask: where its mask goes, below the output folder.
    """

    files: tuple[Path, ...]
    mask: Path

    @property
    def path(self) -> Path:
        """The file, or that of the first channel."""
        return self.files[0]


class Inputs(NamedTuple):
    """What a folder holds.

    Attributes:
      scans: in the order of their files.
      notes: what is left out, one line each.
    """

    scans: tuple[Input, ...]
    notes: tuple[str, ...]


def find_inputs(source: Path, output: Path, channels: int) -> Inputs:
    """The scans in a folder tree, or the one that ``source`` is.

    Hidden files, AppleDouble files (``._p7.png``) and what lies in ``output`` are left out.

    Args:
      source: a folder or a file.
      output: where the masks go.
      channels: of the network; with more than one, files ``NAME_0000``, ``NAME_0001`` … of a
        channel each are one scan.

    Raises:
      UserError: there is none, or two would have one mask.
    """
    if not source.exists():
        raise UserError(f"{source}: not found; give a folder of images, or one image, with --input")
    if source.is_file():
        name = mask_path(Path(source.name))
        if is_series(source):
            name = Path(mask_name(source, source))
        return Inputs((Input((source,), name),), ())
    images: list[Path] = []
    others: list[Path] = []
    has_dicom = False
    for path in _outside(files_under(source), output):
        if is_image(path) and path.is_file():
            images.append(path)
        elif is_dicom(path):
            has_dicom = True
        elif not _is_voxels(path):
            others.append(path)
    scans = _grouped(images, source, channels)
    notes: list[str] = []
    if has_dicom:
        series = inputs_of(source)
        notes += series.notes
        for folder in _outside(series.folders, output):
            scans.append(Input((folder,), Path(mask_name(folder, source))))
    if not scans:
        raise UserError(f"{source}: holds no {KINDS} file, and no DICOM series")
    if others:
        notes.append(_named(others, source))
    _check_masks(scans)
    return Inputs(tuple(scans), tuple(notes))


def _outside(paths: Iterable[Path], folder: Path) -> Iterator[Path]:
    """The paths that do not lie in a folder."""
    away = folder.resolve()
    for path in paths:
        if not path.resolve().is_relative_to(away):
            yield path


def _is_voxels(path: Path) -> bool:
    """Whether a file holds the voxels of a header beside it."""
    if path.suffix.lower() not in RAW:
        return False
    stem = path.name.removesuffix(".gz").removesuffix(path.suffix).removesuffix(".raw")
    return any(path.with_name(stem + suffix).exists() for suffix in HEADERS)


def _named(paths: Sequence[Path], source: Path) -> str:
    """A line on files that are no images."""
    names = [path.relative_to(source).as_posix() for path in paths[:NAMED]]
    if len(paths) > NAMED:
        names.append(f"and {len(paths) - NAMED} more")
    what = "files are no images"
    if len(paths) == 1:
        what = "file is no image"
    return f"{len(paths)} {what}: {', '.join(names)}"


def _check_masks(scans: Iterable[Input]) -> None:
    """Refuse two scans whose masks would be one file."""
    first: dict[Path, Path] = {}
    for scan in scans:
        other = first.setdefault(scan.mask, scan.path)
        if other != scan.path:
            raise UserError(
                f"and {other} would both have the mask {scan.mask.as_posix()}",
                where=scan.path,
                remedy="rename one of them",
            )


# ------------------------------------------------------------------ channels in files of their own
def _grouped(images: Sequence[Path], source: Path, channels: int) -> list[Input]:
    """Images, those of one scan together."""
    groups = _channel_groups(images, channels)
    grouped = {path for files in groups.values() for path in files}
    scans: list[Input] = []
    for mask, files in groups.items():
        scans.append(Input(tuple(files), mask_path(mask.relative_to(source))))
    for path in images:
        if path not in grouped:
            scans.append(Input((path,), mask_path(path.relative_to(source))))
    return sorted(scans, key=_path_of)


def _path_of(scan: Input) -> str:
    return str(scan.path)


def _channel_groups(images: Sequence[Path], channels: int) -> dict[Path, list[Path]]:
    """The scan's name → its files, where each file holds one channel."""
    if channels == 1:
        return {}
    groups: dict[Path, list[Path]] = {}
    numbers: dict[Path, list[int]] = {}
    for path in images:
        split = stem_without_channel(path)
        if split is None:
            continue
        base = path.with_name(split[0] + path.name[len(stem_of(path)) :])
        groups.setdefault(base, []).append(path)
        numbers.setdefault(base, []).append(split[1])
    complete: dict[Path, list[Path]] = {}
    for base, files in groups.items():
        if numbers[base] == list(range(channels)) and _has_one_channel(files[0]):
            complete[base] = files
    return complete


def _has_one_channel(path: Path) -> bool:
    """Whether a file holds one number a pixel; one that cannot be read is said to do so."""
    try:
        if is_volume(path):
            return read_header(path).channels == 1
        from PIL import Image

        with Image.open(path) as picture:
            return len(picture.getbands()) == 1 and picture.mode != "P"
    except (OSError, UserError):
        return True
