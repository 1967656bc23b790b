"""What the values in label files mean: classes, or the 0 and 255 of a mask.

Masks of 0 and 255 are read as 0 and 1 if no label of the set holds anything else. In all other sets
255 is IGNORE: neither trained on nor scored.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from semiseg.data.images import check_one_page, is_volume, read_volume
from semiseg.data.source import first_line, progress_bar
from semiseg.errors import UserError

WHITE = 255
"""A mask's foreground, and IGNORE in all other labels."""


@dataclasses.dataclass(frozen=True)
class LabelValues:
    """Every value that occurs in the labels of a set.

    >>> LabelValues(frozenset({0, 255})).classes()
    ('background', 'class 1')
    >>> LabelValues(frozenset({0, 1, 3, 255})).classes()
    ('background', 'class 1', 'class 2', 'class 3')
    >>> LabelValues(frozenset({0, 1})).classes("background, nucleus")
    ('background', 'nucleus')
    """

    values: frozenset[int]

    @property
    def is_mask(self) -> bool:
        """Whether 255 is the one foreground class."""
        return self.values <= {0, WHITE} and WHITE in self.values

    def classes(self, names: str = "") -> tuple[str, ...]:
        """Class names, background first.

        Args:
          names: as the user gives them, separated by commas; "" numbers the classes up to the
            largest value.
        """
        if names:
            return _split_names(names)
        top = 1
        if not self.is_mask:
            top = max((value for value in self.values if 0 < value < WHITE), default=1)
        return ("background", *(f"class {value}" for value in range(1, top + 1)))

    def indices(self, label: np.ndarray) -> np.ndarray:
        """A label as stored, with a mask's 255 as class 1.

        >>> LabelValues(frozenset({0, 255})).indices(np.array([[0, 255]]))
        array([[0, 1]], dtype=uint8)
        """
        if self.is_mask:
            return (label == WHITE).astype(np.uint8)
        return label

    def notes(self, source: Path, names: str) -> tuple[str, ...]:
        """What was assumed of the classes, and what becomes of 255: one line each.

        Args:
          source: the set's folder.
          names: of the classes, as the user gives them.
        """
        notes: list[str] = []
        if not names:
            notes.append(f"{source}: no --classes given: {self._assumed()}")
        if self.is_mask:
            notes.append(
                f"{source}: labels hold 0 and 255 alone, read as 0 and 1: nothing is ignored"
            )
        elif WHITE in self.values:
            notes.append(
                f"{source}: label value 255 marks pixels that are ignored: neither trained on nor "
                f"scored; if it is a class, give it another number"
            )
        return tuple(notes)

    def _assumed(self) -> str:
        classes = self.classes()
        numbers = [str(value) for value in sorted(self.values - {WHITE})]
        values = _beginning(numbers, 6) or "none"
        if self.is_mask:
            values = "0 and 255"
        gaps = ""
        if not self.is_mask and len(numbers) < len(classes):
            gaps = "; values in between never occur: renumber the labels if these are grey levels"
        return (
            f"{len(classes)} assumed ({_beginning(classes, 4)}) from the label values {values}"
            f"{gaps}; name them with --classes"
        )


def _split_names(names: str) -> tuple[str, ...]:
    listed = tuple(name.strip() for name in names.split(","))
    if len(listed) < 2 or "" in listed or len(set(listed)) < len(listed):
        raise UserError(
            "name at least two different classes, background first, separated by commas",
            where=f"--classes {names}",
        )
    return listed


def _beginning(words: Iterable[str], most: int) -> str:
    """The first words, and an ellipsis where there are more.

    >>> _beginning(["a", "b", "c"], 2), _beginning(["a", "b"], 2)
    ('a, b …', 'a, b')
    """
    words = list(words)
    ellipsis = " …" if len(words) > most else ""
    return ", ".join(words[:most]) + ellipsis


# ------------------------------------------------------------------ files
def values_of(labels: Iterable[Path], show: bool) -> LabelValues:
    """The whole numbers in label files; those that cannot be read are reported when loaded."""
    values: set[int] = set()
    for path in progress_bar(labels, "look through labels", show=show):
        try:
            occurring = np.unique(_label(path)).tolist()
            values |= {int(value) for value in occurring if value == int(value)}
        except Exception:  # loading the case names this file, with the reason
            continue
    return LabelValues(frozenset(values))


def read_label(path: Path) -> np.ndarray:
    """A label as stored: ``(H, W)`` of a picture, or the volume of a NIfTI.

    Raises:
      UserError: it cannot be read, or is no label.
    """
    try:
        return _label(path)
    except UserError:
        raise
    except Exception as error:  # image libraries raise anything on a damaged file
        raise UserError(
            f"label cannot be read ({first_line(error)})",
            where=path,
            remedy="replace the file or remove it",
        ) from error


def _label(path: Path) -> np.ndarray:
    if is_volume(path):
        return read_volume(path)[0]
    from PIL import Image

    with Image.open(path) as picture:
        check_one_page(picture, path)
        label = np.asarray(picture)
    if label.ndim == 3 and _is_grey(label):
        label = label[..., 0]
    if label.ndim != 2:
        raise UserError(
            "label is a colour picture",
            where=path,
            remedy="save one channel that holds class numbers",
        )
    if label.dtype == np.bool_:
        return label.astype(np.uint8)
    return label


def _is_grey(pixels: np.ndarray) -> bool:
    """Whether the colours ``(H, W, C)`` are equal; a fourth channel is transparency."""
    first = pixels[..., :1]
    return bool((pixels[..., 1:3] == first).all())
