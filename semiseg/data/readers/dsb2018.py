"""Data Science Bowl 2018, stage 1 (BBBC038v1): nuclei of several stains and sizes, one PNG a
nucleus, in a zip or extracted.

The nuclei of an image are united to one mask. The set names no patients: an image is its own
subject, and its group (stain, size and cluster of look-alikes) keeps images of one field, slide or
well in one split. Many images are tiles of one picture, two by two. Splits are drawn by group, with
every stain in every split as far as the groups allow.
"""

from __future__ import annotations

import functools
import io
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np

from semiseg.data import lookalikes, size_limits, splits
from semiseg.data.problems import split_problems
from semiseg.data.source import (
    SPLITS,
    CaseRef,
    Pixels,
    Reader,
    Source,
    first_line,
    progress_bar,
)
from semiseg.errors import UserError

CLASSES = ("background", "nucleus")
CITATION = (
    "Caicedo et al., Nucleus segmentation across imaging experiments: the 2018 Data Science Bowl, "
    "Nature Methods 16, 2019 (BBBC038v1)"
)
LICENSE = "CC0 1.0"
EXCLUDED = ("7b38c917", "12aeefb1")
"""Beginnings of the IDs of two images whose annotation is known to be wrong."""
FRACTIONS = {"train": 0.60, "val": 0.15, "test": 0.25}
LOOK_ALIKE = 1.0
"""Distance up to which two images are look-alikes (:mod:`semiseg.data.lookalikes`): 8 % in
brightness, contrast or noise.
"""
ARCHIVE = "stage1_train.zip"
PICTURE = 1 << 28
"""Bytes of a PNG file, unpacked from the zip, that are read."""
MODES = {"grey": "L", "rgb": "RGB"}
"""``--channels`` → Pillow's mode."""


class Files(NamedTuple):
    """The files of a folder or a zip: their names, how to read one, and where they are."""

    names: list[str]
    read: Callable[[str], bytes]
    place: str = ""


class ImageFiles(NamedTuple):
    """The image and the masks of one ID."""

    image: str
    masks: tuple[str, ...]


class Appearance(NamedTuple):
    """What decides the group of an image, see :mod:`semiseg.data.lookalikes`."""

    stain: str
    shape: tuple[int, ...]
    features: np.ndarray
    edges: lookalikes.Edges


def read(
    source: Path,
    *,
    channels: Annotated[str, "grey or rgb: convert pictures"] = "grey",
    seed: Annotated[int, "of randomly drawn splits"] = 0,
    progress: bool = True,
) -> Source:
    """All images but EXCLUDED: luminance ``(H, W, 1)`` or colours ``(H, W, 3)``."""
    if channels not in MODES:
        raise UserError("must be grey or rgb", where=f"--channels {channels}")
    source = _archive_in(source) or source
    files = _archive(source) if source.is_file() else _tree(source)
    index = _index(files.names)
    if not index:
        raise UserError(
            "holds no ID/images/ID.png",
            where=source,
            remedy="give stage1_train.zip or the folder it was extracted to",
        )
    problems: list[str] = []
    appearances: dict[str, Appearance] = {}
    for ident, paths in progress_bar(index.items(), "look for look-alikes", show=progress):
        where = f"{source}/{paths.image}"
        if not paths.masks:
            problems.append(f"{where}: has no mask; restore {ident}/masks or take the image out")
        try:
            rgb = _picture(files.read(paths.image), "RGB")
        except UserError as error:
            problems.append(str(error))
            continue
        except Exception as error:  # Pillow and zipfile raise anything on a damaged file
            problems.append(
                f"{where}: cannot be read ({first_line(error)}); replace the file or take "
                f"it out of the set"
            )
            continue
        appearances[ident] = _appearance(rgb)
    groups = group(appearances)
    stains = {ident: appearance.stain for ident, appearance in appearances.items()}
    split_of = splits.assign(groups, FRACTIONS, seed, stains)
    cases: dict[str, list[CaseRef]] = {split: [] for split in SPLITS}
    for ident in appearances:
        ref = CaseRef(
            subject=ident,
            name=ident,
            path=f"{source}/{index[ident].image}",
            pixels=functools.partial(_pixels, files, index[ident], MODES[channels]),
            group=groups[ident],
            label_path=f"{source}/{ident}/masks",
            placement=splits.drawn(FRACTIONS, seed, stains[ident]),
        )
        cases[split_of[ident]].append(ref)
    problems += split_problems(cases)
    return Source(CLASSES, "pixel", LICENSE, CITATION, cases, problems=tuple(problems))


def recognises(source: Path) -> str | None:
    """What tells the layout; None where nothing does."""
    names: Iterable[str] = []
    source = _archive_in(source) or source
    if zipfile.is_zipfile(source):
        names = _archive(source).names
    elif source.is_dir():
        names = [path.relative_to(source).as_posix() for path in source.glob("*/masks/*.png")]
        names += [path.relative_to(source).as_posix() for path in source.glob("*/images/*.png")]
    index = _index(names)
    ident = next((ident for ident, files in index.items() if files.masks), None)
    if ident is None or f"{ident}.png" != Path(index[ident].image).name:
        return None
    return f"{index[ident].image} and a PNG a nucleus beside it: Data Science Bowl 2018"


READER = Reader(
    "dsb2018", "stage1_train.zip of the Data Science Bowl 2018, or extracted", read, recognises
)


# ------------------------------------------------------------------ groups
def group(appearances: dict[str, Appearance]) -> dict[str, str]:
    """Image → group, such as ``fluorescence-256x256-03``.

    Images of one stain and shape are in one group where they are parts of one picture, or look
    alike.
    """
    kinds: dict[str, list[str]] = defaultdict(list)
    for ident, appearance in appearances.items():
        height, width = appearance.shape[:2]
        kinds[f"{appearance.stain}-{height}x{width}"].append(ident)
    groups: dict[str, str] = {}
    for kind, members in kinds.items():
        joined = lookalikes.seams([appearances[member].edges for member in members])
        features = np.stack([appearances[member].features for member in members])
        clusters = lookalikes.clusters(features, LOOK_ALIKE, joined)
        for member, cluster in zip(members, clusters, strict=True):
            groups[member] = f"{kind}-{cluster:02d}"
    return groups


def _appearance(rgb: np.ndarray) -> Appearance:
    return Appearance(
        lookalikes.stain(rgb), rgb.shape, lookalikes.appearance(rgb), lookalikes.edges(rgb)
    )


# ------------------------------------------------------------------ files
def _archive(path: Path) -> Files:
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise UserError(
            f"is not a readable zip ({error})", where=path, remedy="download it again"
        ) from error

    def read_bytes(name: str) -> bytes:
        member = archive.getinfo(name)
        size_limits.check_declared(member.file_size, member.compress_size, path / name, PICTURE)
        return archive.read(member)

    return Files(archive.namelist(), read_bytes, str(path))


def _archive_in(folder: Path) -> Path | None:
    """The archive that was downloaded into a folder; None where there is none."""
    path = folder / ARCHIVE
    return path if path.is_file() else None


def _tree(folder: Path) -> Files:
    def read_bytes(name: str) -> bytes:
        return (folder / name).read_bytes()

    paths = folder.rglob("*.[pP][nN][gG]")
    names = [path.relative_to(folder).as_posix() for path in paths]
    return Files(names, read_bytes, str(folder))


def _index(names: Iterable[str]) -> dict[str, ImageFiles]:
    """Image ID → its files, sorted by ID, wherever in the tree ``ID/images`` stands.

    >>> _index(["s/a1/images/a1.png", "s/a1/masks/m.png", "s/notes.txt"])
    {'a1': ImageFiles(image='s/a1/images/a1.png', masks=('s/a1/masks/m.png',))}
    """
    images: dict[str, str] = {}
    masks: dict[str, list[str]] = defaultdict(list)
    for name in sorted(names):
        parts = name.split("/")
        if len(parts) < 3 or not name.lower().endswith(".png") or parts[-3].startswith(EXCLUDED):
            continue
        ident = parts[-3]
        if parts[-2] == "images":
            images[ident] = name
        elif parts[-2] == "masks":
            masks[ident].append(name)
    return {ident: ImageFiles(images[ident], tuple(masks[ident])) for ident in sorted(images)}


def _pixels(files: Files, paths: ImageFiles, mode: str) -> Pixels:
    picture = _picture(files.read(paths.image), mode)
    label = np.zeros(picture.shape[:2], np.uint8)
    for name in paths.masks:
        where = f"{files.place}/{name}"
        try:
            mask = _picture(files.read(name), "L") > 0
        except UserError:
            raise
        except Exception as error:  # Pillow and zipfile raise anything on a damaged file
            raise UserError(
                f"cannot be read ({first_line(error)})", where=where, remedy="replace the file"
            ) from error
        if mask.shape != label.shape:
            raise UserError(
                f"mask has shape {mask.shape} but its image {label.shape}",
                where=where,
                remedy="replace the file",
            )
        label |= mask
    return Pixels(picture.reshape(*label.shape, -1), label, (1.0, 1.0))


def _picture(data: bytes, mode: str) -> np.ndarray:
    from PIL import Image, UnidentifiedImageError

    try:
        return np.asarray(Image.open(io.BytesIO(data)).convert(mode))
    except UnidentifiedImageError as error:
        raise ValueError("it is no picture") from error
