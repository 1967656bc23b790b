"""Masks that are named after their images with an ending, such as ``010_HC_Annotation.png``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple


class Paired(NamedTuple):
    """Images and masks by the name of the image.

    Attributes:
      images, masks: name of the image → file.
      ending: what the masks' names have more than their images'; "" for nothing.
    """

    images: dict[str, Path]
    masks: dict[str, Path]
    ending: str = ""


def with_endings(images: Mapping[str, Path], masks: Mapping[str, Path]) -> Paired:
    """Images and masks of two folders; an ending that all masks share is taken off.

    >>> images = {"010_HC": Path("010_HC.png"), "010_2HC": Path("010_2HC.png")}
    >>> masks = {f"{name}_Mask": Path(f"{name}_Mask.png") for name in images}
    >>> pair = with_endings(images, masks)
    >>> sorted(pair.masks), pair.ending
    (['010_2HC', '010_HC'], '_Mask')
    """
    if set(masks) & set(images):
        return Paired(dict(images), dict(masks))
    ending = _common_ending(images, masks)
    if not ending:
        return Paired(dict(images), dict(masks))
    renamed = {name.removesuffix(ending): path for name, path in masks.items()}
    return Paired(dict(images), renamed, ending)


def of_one_folder(files: Mapping[str, Path]) -> Paired:
    """Images and masks that lie in one folder; without an ending that pairs most of them, all are
    images.

    >>> names = ("010_HC", "010_HC_Annotation", "049_HC", "049_HC_Annotation", "093_HC")
    >>> pair = of_one_folder({name: Path(f"{name}.png") for name in names})
    >>> list(pair.images), list(pair.masks), pair.ending
    (['010_HC', '049_HC', '093_HC'], ['010_HC', '049_HC'], '_Annotation')
    """
    endings: Counter[str] = Counter()
    for name in files:
        endings.update(name[k:] for k in range(1, len(name)) if name[:k] in files)
    likely = [ending for ending, number in endings.most_common() if not ending[0].isalnum()]
    if not likely:
        return Paired(dict(files), {})
    ending = likely[0]
    masks = {
        name.removesuffix(ending): path
        for name, path in files.items()
        if name.endswith(ending) and name.removesuffix(ending) in files
    }
    images = {
        name: path
        for name, path in files.items()
        if not (name.endswith(ending) and name.removesuffix(ending) in masks)
    }
    return Paired(images, masks, ending)


def _common_ending(images: Mapping[str, Path], masks: Mapping[str, Path]) -> str:
    """What every mask's name has more than an image's; "" where they differ in that."""
    endings: Counter[str] = Counter()
    for name in masks:
        endings.update({name[k:] for k in range(1, len(name)) if name[:k] in images})
    shared = [ending for ending, number in endings.items() if number == len(masks)]
    return min(shared, key=len, default="")
