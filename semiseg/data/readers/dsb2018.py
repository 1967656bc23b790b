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
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from semiseg.data import lookalikes, splits
from semiseg.data.source import SPLITS, CaseRef, Source, progress_bar, split_problems
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

Open = Callable[[str], bytes]


class Look(NamedTuple):
    """What is kept of an image to group it."""

    stain: str
    shape: tuple[int, ...]
    appearance: np.ndarray
    edges: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def read(source: Path, *, channels: str = "grey", seed: int = 0, progress: bool = True) -> Source:
    """All images but EXCLUDED. ``channels`` is ``grey`` (luminance, ``(H, W, 1)``) or ``rgb``;
    ``seed`` moves groups between splits.
    """
    if channels not in ("grey", "rgb"):
        raise UserError(f"--channels {channels}: must be grey or rgb")
    names, open_file = _archive(source) if source.is_file() else _tree(source)
    images, masks = _index(names)
    if not images:
        raise UserError(
            f"{source}: holds no ID/images/ID.png; give stage1_train.zip or the folder it was "
            f"extracted to"
        )
    problems: list[str] = []
    looks: dict[str, Look] = {}
    for ident, name in progress_bar(sorted(images.items()), "look for look-alikes", show=progress):
        if not masks[ident]:
            problems.append(
                f"{source}/{name}: has no mask; restore {ident}/masks or take the image out"
            )
        try:
            rgb = _picture(open_file(name), "RGB")
        except Exception as error:  # Pillow and zipfile raise anything on a damaged file
            problems.append(
                f"{source}/{name}: cannot be read ({str(error)[:80]}); replace the file or take "
                f"it out of the set"
            )
            continue
        looks[ident] = Look(
            lookalikes.stain(rgb), rgb.shape, lookalikes.appearance(rgb), lookalikes.edges(rgb)
        )
    groups = group(looks)
    home = splits.assign(
        groups, FRACTIONS, seed, {ident: look.stain for ident, look in looks.items()}
    )
    found: dict[str, list[CaseRef]] = {split: [] for split in SPLITS}
    for ident in looks:
        pixels = functools.partial(
            _pixels,
            open_file,
            images[ident],
            tuple(masks[ident]),
            "L" if channels == "grey" else "RGB",
        )
        path = f"{source}/{images[ident]}"
        found[home[ident]].append(
            CaseRef(
                ident,
                ident,
                path,
                pixels,
                group=groups[ident],
                label_path=f"{source}/{ident}/masks",
            )
        )
    return Source(
        CLASSES, "pixel", LICENSE, CITATION, found, (), (*problems, *split_problems(found))
    )


def group(looks: dict[str, Look]) -> dict[str, str]:
    """Image → group, such as ``fluorescence-256x256-03``, from its stain, shape and appearance."""
    kinds = defaultdict(list)
    for ident, look in looks.items():
        kinds[f"{look.stain}-{look.shape[0]}x{look.shape[1]}"].append(ident)
    groups: dict[str, str] = {}
    for kind, members in kinds.items():
        joined = lookalikes.seams([looks[m].edges for m in members])
        found = lookalikes.clusters(
            np.stack([looks[m].appearance for m in members]), LOOK_ALIKE, joined
        )
        groups |= {member: f"{kind}-{cluster:02d}" for member, cluster in zip(members, found)}
    return groups


def _archive(path: Path) -> tuple[list[str], Open]:
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise UserError(f"{path}: is not a readable zip ({error}); download it again") from error
    return archive.namelist(), archive.read


def _tree(path: Path) -> tuple[list[str], Open]:
    return [p.relative_to(path).as_posix() for p in path.rglob("*.png")], lambda name: (
        path / name
    ).read_bytes()


def _index(names: list[str]) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Image ID → its file, image ID → its masks' files, wherever in the tree ``ID/images`` stands."""
    images, masks = {}, defaultdict(list)
    for name in sorted(names):
        parts = name.split("/")
        if len(parts) < 3 or not name.endswith(".png") or parts[-3].startswith(EXCLUDED):
            continue
        if parts[-2] == "images":
            images[parts[-3]] = name
        elif parts[-2] == "masks":
            masks[parts[-3]].append(name)
    return images, masks


def _pixels(open_file: Open, image: str, masks: tuple[str, ...], mode: str):
    picture = _picture(open_file(image), mode)
    label = np.zeros(picture.shape[:2], np.uint8)
    for name in masks:
        try:
            label |= _picture(open_file(name), "L") > 0
        except Exception as error:
            raise UserError(
                f"{name}: mask cannot be united with its image ({str(error)[:80]}); replace the "
                f"file"
            ) from error
    return picture.reshape(*label.shape, -1), label, (1.0, 1.0)


def _picture(data: bytes, mode: str) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(data)).convert(mode))
