"""What is to be predicted: every file of a folder tree is a scan, a channel of one, a slice of a
DICOM series, or named as what it is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from semiseg.data import channel_files
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
MASKS = {
    "images": ("labels", "masks"),
    "imagesTr": ("labelsTr",),
    "imagesTs": ("labelsTs",),
}
"""Folder of images → the folders beside it that hold their masks."""


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

    @property
    def name(self) -> str:
        """What the scan is called: its file's name after the folders below ``--input``; of several
        files that of the mask without suffix.

        >>> Input((Path("new/a/p7.jpg"),), Path("a/p7.png")).name
        'a/p7.jpg'
        >>> Input((Path("new/p7/t1.nii"), Path("new/p7/t2.nii")), Path("p7.nii")).name
        'p7'
        """
        name = self.path.name
        if len(self.files) > 1:
            name = stem_of(self.mask)
        return (self.mask.parent / name).as_posix()


class Inputs(NamedTuple):
    """What a folder holds.

    Attributes:
      scans: in the order of their files.
      notes: what is left out, one line each.
    """

    scans: tuple[Input, ...]
    notes: tuple[str, ...]


def find_inputs(
    source: Path,
    output: Path,
    channels: int,
    words: Sequence[str] = (),
    names: Sequence[str] = (),
) -> Inputs:
    """The scans in a folder tree, or the one that ``source`` is.

    Hidden files, AppleDouble files (``._p7.png``), masks in the folder beside that of their images
    and what lies in ``output`` are left out.

    Args:
      source: a folder or a file.
      output: where the masks go.
      channels: of the network; with more than one, files ``NAME_0000``, ``NAME_0001`` … of a
        channel each are one scan.
      words: of ``--channel-files``: every folder with image files is a scan.
      names: of the network's channels, where they are known: a folder in which each is in the name
        of one file is a scan.

    Raises:
      UserError: there is none, two would have one mask, or a word of ``words`` is in no file of a
        folder, or in several.
    """
    if not source.exists():
        raise UserError(f"{source}: not found; give a folder of images, or one image, with --input")
    if source.is_file() and words:
        raise UserError(
            "is one file, and --channel-files names several in a folder",
            where=source,
            remedy="give their folder with --input",
        )
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
    images, notes = _without_masks(images, source)
    by_folder = _by_words(images, source, words, names if channels > 1 else ())
    in_folders = {scan.path.parent for scan in by_folder}
    rest = [path for path in images if path.parent not in in_folders]
    scans = sorted([*by_folder, *_grouped(rest, source, channels)], key=_path_of)
    notes += _of_other_words(images, by_folder, source)
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


def _named(paths: Sequence[Path], source: Path, no: str = "") -> str:
    """A line on files that are no images, or what else they are not."""
    names = [path.relative_to(source).as_posix() for path in paths[:NAMED]]
    if len(paths) > NAMED:
        names.append(f"and {len(paths) - NAMED} more")
    what = f"files are {no or 'no images'}"
    if len(paths) == 1:
        what = f"file is {no or 'no image'}"
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


def _without_masks(images: Sequence[Path], source: Path) -> tuple[list[Path], list[str]]:
    """The images that are no masks of others, and a note for each folder that is left out."""
    folders = {parent for path in images for parent in path.relative_to(source).parents}
    masks = {
        folder.with_name(name): folder
        for folder in sorted(folders)
        for name in MASKS.get(folder.name, ())
        if folder.with_name(name) in folders
    }
    kept: list[Path] = []
    numbers = dict.fromkeys(masks, 0)
    for path in images:
        within = [parent for parent in path.relative_to(source).parents if parent in masks]
        if within:
            numbers[within[0]] += 1
        else:
            kept.append(path)
    notes = [
        f"{source / folder} was left out ({number} {'file' if number == 1 else 'files'}): it "
        f"holds the masks of {source / masks[folder]}"
        for folder, number in numbers.items()
    ]
    return kept, notes


# ------------------------------------------------------------------ channels in files of their own
def _by_words(
    images: Sequence[Path], source: Path, words: Sequence[str], names: Sequence[str]
) -> list[Input]:
    """The scans of folders with a file a channel, each word in the name of one file."""
    folders: dict[Path, list[Path]] = {}
    for path in images:
        folders.setdefault(path.parent, []).append(path)
    scans: list[Input] = []
    for folder, files in folders.items():
        try:
            chosen = channel_files.of_folder(folder, files, words or names)
        except UserError:
            if words:
                raise
            continue  # its files are scans of all channels, or nothing says what they are
        is_of_channels = len(set(chosen)) > 1 and _has_one_channel(chosen[0])
        if words or is_of_channels:
            scans.append(Input(chosen, _mask_of_folder(folder, chosen[0], source)))
    return scans


def _mask_of_folder(folder: Path, image: Path, source: Path) -> Path:
    """Where the mask of a scan goes that is a folder: it has the folder's name.

    >>> source = Path("new")
    >>> _mask_of_folder(source / "site" / "p1", source / "site" / "p1" / "flair.nii.gz", source)
    PosixPath('site/p1.nii.gz')
    """
    name = folder.resolve().name + image.name[len(stem_of(image)) :]
    if folder == source:
        return mask_path(Path(name))
    return mask_path(folder.relative_to(source).with_name(name))


def _of_other_words(images: Sequence[Path], scans: Sequence[Input], source: Path) -> list[str]:
    """Notes on the scans that are folders, and on the files in them that are no channel."""
    if not scans:
        return []
    folders = {scan.path.parent for scan in scans}
    taken = {path for scan in scans for path in scan.files}
    left = [path for path in images if path.parent in folders and path not in taken]
    channels = ", ".join(path.name for path in scans[0].files)
    notes = [f"a folder a scan: {len(scans)}; the channels of the first are {channels}"]
    if left:
        notes.append(_named(left, source, "no channel"))
    return notes


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
