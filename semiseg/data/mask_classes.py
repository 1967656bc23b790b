"""Classes made of masks: one file a class, and the order of the classes decides where they overlap.

Gray matter lies inside the spinal cord, so the mask of the cord comes first and that of the gray
matter wins where both are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from semiseg.data.label_values import read_label
from semiseg.data.source import progress_bar
from semiseg.errors import UserError

INSIDE = 0.99
"""A mask lies inside another if this share of its voxels does."""
APART = 0.01
"""Two masks are apart if at most this share of the smaller one lies in the other."""
MOST = 12
"""Scans of which the masks are compared to find their order."""


@dataclasses.dataclass(frozen=True)
class MaskClasses:
    """One class a mask.

    Attributes:
      classes: names, background first, then one a mask in the order in which the files come.

    >>> cord, gray = np.array([0, 1, 1]), np.array([0, 0, 255])
    >>> names = ("background", "cord", "gray matter")
    >>> MaskClasses(names).combine([cord, gray], ["cord.nii", "gray.nii"])
    array([0, 1, 2], dtype=uint8)
    """

    classes: tuple[str, ...]

    def combine(self, labels: Sequence[np.ndarray], paths: Sequence[str | Path]) -> np.ndarray:
        """Class of each voxel, uint8; a later mask wins over an earlier one.

        Args:
          labels: masks of one shape.
          paths: of the files, for messages.

        Raises:
          UserError: a file holds more than two values.
        """
        combined = np.zeros(labels[0].shape, np.uint8)
        for place, (label, path) in enumerate(zip(labels, paths, strict=True), 1):
            combined[_inside(label, path)] = place
        return combined


def _inside(label: np.ndarray, path: str | Path) -> np.ndarray:
    """Where a mask is not 0."""
    with np.errstate(invalid="ignore"):  # NaN is neither 0 nor the mask's value
        inside = label != 0
    values = np.unique(label[inside])
    if len(values) > 1 or not np.isfinite(values).all():
        words = ", ".join(f"{value:g}" for value in values[:3].tolist())
        raise UserError(
            f"holds the values {words}, and a mask of one class holds 0 and one other value",
            where=path,
            remedy="threshold it, or name this file alone if its values are classes",
        )
    return inside


def nesting(
    masks: Sequence[str], examples: Iterable[Sequence[Path]], progress: bool
) -> list[str] | str:
    """The order in which masks lie inside each other, or in words why there is none.

    Args:
      masks: their names.
      examples: one file a mask, of a few scans.
      progress: show a progress bar.

    Returns:
      The names, largest mask first, if of each two one lies inside the other, or both are apart.
    """
    sizes = np.zeros(len(masks))
    shared = np.zeros((len(masks), len(masks)))
    for paths in progress_bar(list(examples)[:MOST], "compare masks", show=progress):
        inside = [_inside(read_label(path), path) for path in paths]
        shapes = {mask.shape for mask in inside}
        if len(shapes) > 1:
            return f"{paths[1]} has another shape than {paths[0].name}"
        for i, mask in enumerate(inside):
            sizes[i] += mask.sum()
            for j in range(i):
                shared[i, j] += (mask & inside[j]).sum()
    for i in range(len(masks)):
        for j in range(i):
            share = shared[i, j] / max(1.0, min(sizes[i], sizes[j]))
            equal = shared[i, j] >= INSIDE * max(sizes[i], sizes[j])
            if APART < share < INSIDE or equal:
                return (
                    f"{masks[j]} and {masks[i]} share {share:.0%} of the smaller one: they may be "
                    f"two readings of one structure"
                )
    order = np.argsort(-sizes, kind="stable")
    return [masks[int(place)] for place in order]


def class_names(given: str, masks: Sequence[str]) -> tuple[str, ...]:
    """Names of background and masks: the user's, else those of the files.

    Raises:
      UserError: the user names another number of classes.

    >>> class_names("", ["seg-manual"]), class_names("background, cord", ["seg-manual"])
    (('background', 'seg-manual'), ('background', 'cord'))
    """
    if not given:
        return ("background", *masks)
    names = tuple(name.strip() for name in given.split(","))
    if len(names) != len(masks) + 1 or "" in names or len(set(names)) < len(names):
        raise UserError(
            f"{len(masks)} masks ({', '.join(masks)}) are {len(masks) + 1} classes",
            where=f"--classes {given}",
            remedy="name the background and one class a mask, in the order of --label",
        )
    return names
