"""What the values in label files mean: classes, or the 0 and 255 of a mask.

A mask of 0 and 255 is read as 0 and 1, file by file, where the labels of the set hold nothing but
0, 1 and 255 and none of them holds both 1 and 255. In all other sets 255 is IGNORE: neither trained
on nor scored.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from semiseg.data.images import is_volume, read_voxels
from semiseg.data.picture_files import read_mask_picture
from semiseg.data.source import first_line, progress_bar
from semiseg.errors import UserError

WHITE = 255
"""A mask's foreground, and IGNORE in all other labels."""
MUCH_IGNORED = 0.5
"""Share of ignored pixels above which a file is named."""
BLURRED = 20
"""Grey levels around 0 and 255 that a mask has which went through JPEG."""
MOST_CLASSES = 20
"""Classes of which is said where they are in one file alone."""
MOST_FILES = 3
"""Files that a line names."""


class FileValues(NamedTuple):
    """The values of one label file.

    Attributes:
      path: of the file.
      values: that occur.
      white: share of the pixels that hold 255.
    """

    path: Path
    values: frozenset[int]
    white: float

    @property
    def is_mask(self) -> bool:
        """Whether 0 and 255 alone occur."""
        return self.values <= {0, WHITE} and WHITE in self.values


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
    files: tuple[FileValues, ...] = ()

    @property
    def is_mask(self) -> bool:
        """Whether 255 is the one foreground class."""
        return self.values <= {0, WHITE} and WHITE in self.values

    @functools.cached_property
    def masks(self) -> list[FileValues]:
        """Files of 0 and 255 alone."""
        return [file for file in self.files if file.is_mask]

    @functools.cached_property
    def by_file(self) -> bool:
        """Whether some files hold 0 and 1, others 0 and 255, and none both 1 and 255."""
        if self.is_mask or not self.values <= {0, 1, WHITE}:
            return False
        return bool(self.masks) and not self._ignores

    @functools.cached_property
    def _ignores(self) -> bool:
        """Whether a file holds 255 beside classes, so that 255 is known to be IGNORE."""
        return any(WHITE in file.values and not file.is_mask for file in self.files)

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
        if self.is_mask or (self.by_file and not (label == 1).any()):
            return (label == WHITE).astype(np.uint8)
        return label

    def problems(self, names: str) -> tuple[str, ...]:
        """Labels whose values cannot be meant, one line a file.

        Args:
          names: of the classes, as the user gives them.
        """
        if not self.is_mask and not self.by_file and not self._ignores:
            ambiguous = [
                f"{file.path}: holds 0 and 255 alone, other labels hold class numbers, and none "
                f"holds both: save 255 as the number of its class"
                for file in self.masks
            ]
            if ambiguous:
                return tuple(ambiguous)
        if names:
            return ()
        return tuple(
            f"{file.path}: holds {len(file.values)} grey levels around 0 and 255, as a mask does "
            f"that was saved as JPEG: set what is below 128 to 0 and the rest to 1, and save it "
            f"as PNG"
            for file in self.files
            if _is_blurred(file.values)
        )

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
        elif self.by_file:
            notes.append(
                f"{source}: {len(self.masks)} labels hold 0 and 255 alone, read as 0 and 1 "
                f"({_names(self.masks)})"
            )
        elif WHITE in self.values:
            notes.append(
                f"{source}: label value 255 marks pixels that are ignored: neither trained on nor "
                f"scored; if it is a class, give it another number"
            )
        return (*notes, *self._unusual(source))

    def _unusual(self, source: Path) -> list[str]:
        """Files that stand out: much ignored, nothing in them, a class that no other file has."""
        notes: list[str] = []
        much = [file for file in self.files if file.white > MUCH_IGNORED]
        if much and not self.is_mask and not self.by_file:
            notes.append(
                f"{source}: more than {MUCH_IGNORED:.0%} of the pixels are ignored (255) in "
                f"{len(much)} of {len(self.files)} labels ({_names(much)})"
            )
        empty = [file for file in self.files if file.values <= {0}]
        if empty:
            notes.append(
                f"{source}: {len(empty)} of {len(self.files)} labels are background alone "
                f"({_names(empty)})"
            )
        for value in sorted(self.values - {0, WHITE})[:MOST_CLASSES]:
            having = [file for file in self.files if value in file.values]
            if len(having) == 1 and len(self.files) > 2:
                notes.append(f"{source}: label value {value} is in {having[0].path.name} alone")
        return notes

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


def _is_blurred(values: frozenset[int]) -> bool:
    """Whether grey levels are those of a black-and-white mask with JPEG's noise.

    >>> _is_blurred(frozenset({0, 1, 2, 250, 254, 255})), _is_blurred(frozenset({0, 1, 2, 255}))
    (True, False)
    """
    low = {value for value in values if value <= BLURRED}
    high = {value for value in values if value >= WHITE - BLURRED}
    between = len(values) - len(low) - len(high)
    return len(high - {WHITE}) > 0 and len(low) > 1 and between <= len(low) + len(high)


def _names(files: Sequence[FileValues]) -> str:
    """The first of some files, by name."""
    return _beginning([file.path.name for file in files], MOST_FILES)


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
    files: list[FileValues] = []
    for path in progress_bar(labels, "look through labels", show=show):
        try:
            occurring, counts = np.unique(_label(path), return_counts=True)
            numbers = zip(occurring.tolist(), counts.tolist(), strict=True)
            whole = {int(value): count for value, count in numbers if value == int(value)}
        except Exception:  # loading the case names this file, with the reason
            continue
        share = whole.get(WHITE, 0) / max(1, int(counts.sum()))
        files.append(FileValues(path, frozenset(whole), share))
    values = frozenset().union(*(file.values for file in files))
    return LabelValues(values, tuple(files))


def read_label(path: Path) -> np.ndarray:
    """A label as stored: ``(H, W)`` of a picture, or ``(X, Y, Z)`` of a volume.

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
        return read_voxels(path)[..., 0]
    return read_mask_picture(path)
