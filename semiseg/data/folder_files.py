"""The files of a folder by name: which are one image, and in which plane its volumes are cut."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from semiseg.data import mask_names, orientation, pixel_sizes
from semiseg.data.images import FAR, KINDS, is_image, is_volume, off_by, read_header, stem_of
from semiseg.data.mask_names import Paired
from semiseg.data.nifti import Header
from semiseg.data.orientation import Grid
from semiseg.errors import UserError

_CHANNEL = re.compile(r"(.+)_(\d{4})")
NEGLIGIBLE = 0.01
"""Share of a voxel that two grids may lie apart without a word."""
MOST_NOTES = 3
"""Files whose headers are remarked on one by one."""


def named(folder: Path, problems: list[str]) -> dict[str, Path]:
    """Name without suffix → image file, sorted; hidden files are left out.

    Args:
      folder: one that is not there has no files.
      problems: receives a line for each file that is no image, or has the name of another.
    """
    files: dict[str, Path] = {}
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    for path in paths:
        if path.name.startswith("."):
            continue
        name = plain_name(stem_of(path))
        if name is None:
            readable = os.fsencode(path).decode("utf-8", "backslashreplace")
            problems.append(f"{readable}: its name is no UTF-8 text; rename the file")
        elif not is_image(path):
            problems.append(f"{path}: unknown file type; convert it to {KINDS}, or remove it")
        elif name in files:
            problems.append(f"{path}: has the same name as {files[name]}; rename one of them")
        else:
            files[name] = path
    return files


def pairs_of(folder: Path, problems: list[str]) -> Paired:
    """Images and masks of a folder: in ``images/`` and ``labels/`` or ``masks/``, or side by side.

    Args:
      folder: the set's, or that of a split.
      problems: see :func:`named`.

    Raises:
      UserError: there is no image.
    """
    if not (folder / "images").is_dir():
        pairs = mask_names.of_one_folder(named(folder, []))
        if pairs.masks:
            return pairs
        raise UserError(
            "has no folder images",
            where=folder,
            remedy="put pictures in images/ and their masks, of the same names, in labels/",
        )
    images = named(folder / "images", problems)
    if not images and problems:
        raise UserError(problems[-1])  # every name there is unreadable
    if not images:
        raise UserError("is empty", where=folder / "images", remedy=f"put {KINDS} files there")
    labels = folder / "labels"
    if not labels.is_dir() and (folder / "masks").is_dir():
        labels = folder / "masks"
    return mask_names.with_endings(images, named(labels, problems))


def table_of(source: Path, given: str) -> Path | None:
    """A table of pixel sizes: at the path that is given, from here or from the set's folder, or
    the one that lies in the set; None where there is none.

    Raises:
      UserError: there is none at the path.
    """
    if not given:
        return pixel_sizes.find(source)
    for path in (Path(given).expanduser(), source / given):
        if path.is_file():
            return path
    raise UserError("not found", where=f"--pixel-sizes {given}", remedy="correct the path")


def plain_name(name: str) -> str | None:
    r"""A name in Unicode's composed form (NFC); None where its bytes are no UTF-8.

    macOS writes names in decomposed form, which look the same and are other text.

    >>> plain_name("Mu\u0308ller") == "M\u00fcller", plain_name("M\udcfcller")
    (True, None)
    """
    try:
        text = os.fsencode(name).decode("utf-8")
    except UnicodeError:
        return None
    return unicodedata.normalize("NFC", text)


def with_channels(
    files: Mapping[str, Path], labels: Mapping[str, Path], problems: list[str]
) -> dict[str, tuple[Path, ...]]:
    """Name of an image → its file, or its files ``NAME_0000``, ``NAME_0001`` … of a channel each.

    The files are channels if labels have the names without these endings.

    >>> files = {f"p{i}_000{c}": Path(f"p{i}_000{c}.nii") for i in (1, 2) for c in (0, 1)}
    >>> list(with_channels(files, {"p1": Path("p1.nii")}, []))
    ['p1', 'p2']
    >>> list(with_channels(files, {"p1_0000": Path("p1_0000.nii")}, []))
    ['p1_0000', 'p1_0001', 'p2_0000', 'p2_0001']
    """
    single: dict[str, tuple[Path, ...]] = {name: (path,) for name, path in files.items()}
    matches = {name: _CHANNEL.fullmatch(name) for name in files}
    bases = {match[1] for match in matches.values() if match}
    if not all(matches.values()) or not bases & set(labels) or set(labels) & set(files):
        return single
    groups: dict[str, list[str]] = {}
    for match in matches.values():
        if match:
            groups.setdefault(match[1], []).append(match[2])
    most = max(len(channels) for channels in groups.values())
    images: dict[str, tuple[Path, ...]] = {}
    for base, channels in groups.items():
        if channels != [f"{k:04d}" for k in range(most)]:
            problems.append(
                f"{files[f'{base}_{channels[0]}']}: {base} has the channels {', '.join(channels)}, "
                f"others {most} from 0000 on; restore the missing files"
            )
        images[base] = tuple(files[f"{base}_{channel}"] for channel in channels)
    return images


class Volumes(NamedTuple):
    """The volumes of a set.

    Attributes:
      plane: in which they are cut to slices, see :mod:`semiseg.data.orientation`.
      notes: what was assumed, one line each.
      unreadable: image files whose headers cannot be read.
    """

    plane: str = "axial"
    notes: tuple[str, ...] = ()
    unreadable: frozenset[Path] = frozenset()


def named_volumes(images: Sequence[Sequence[Path]], problems: list[str]) -> Volumes:
    """The plane of a set's volumes, by their headers.

    Args:
      images: the files of each image; pictures are left out.
      problems: receives a line for each file that cannot be read.
    """
    grids: list[Grid] = []
    remarks: list[str] = []
    unreadable: set[Path] = set()
    for paths in images:
        if not is_volume(paths[0]):
            continue
        try:
            header = read_header(paths[0])
        except UserError as error:
            problems.append(str(error))
            unreadable.add(paths[0])
            continue
        grids.append(header.grid)
        remarks += header.notes
    if not grids:
        return Volumes(unreadable=frozenset(unreadable))
    plane, reason = orientation.acquisition_plane(grids)
    notes = [f"volumes are cut in {plane} slices: {reason}"]
    codes = [orientation.code_of(grid.affine) for grid in grids]
    if len(set(codes)) > 1:
        notes.append(
            f"files are stored as {orientation.turned(codes)}, and all are brought to one "
            f"orientation"
        )
    notes += remarks[:MOST_NOTES]
    if len(remarks) > MOST_NOTES:
        notes.append(f"… and {len(remarks) - MOST_NOTES} more remarks on headers")
    return Volumes(plane, tuple(notes), frozenset(unreadable))


def off_grid(source: Path, pairs: Iterable[tuple[Path, Sequence[Path]]]) -> list[str]:
    """A note where labels lie a little off their images' grids, as rounded headers make them.

    Args:
      source: the set's folder.
      pairs: an image, and the labels on its grid.
    """
    off: list[tuple[float, str]] = []
    for image_path, labels in pairs:
        image = header_of(image_path)
        for path in labels:
            label = header_of(path)
            if image is None or label is None or image.grid.shape != label.grid.shape:
                continue
            distance = off_by(label.grid.affine, image.grid.affine, image.grid.shape)
            if NEGLIGIBLE < distance <= FAR:
                off.append((distance, path.name))
    if not off:
        return []
    largest, name = max(off)
    return [
        f"{source}: {len(off)} labels lie up to {largest:.2f} of a voxel off their images ({name}) "
        f"by their headers; they are taken voxel by voxel"
    ]


def header_of(path: Path) -> Header | None:
    """The header of a volume; None for a picture, and for a file that loading will report."""
    if not is_volume(path) or not path.is_file():
        return None
    try:
        return read_header(path)
    except UserError:
        return None
