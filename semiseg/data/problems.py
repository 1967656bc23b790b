"""What can be wrong with a data set: one line a problem, naming the file and the remedy.

:func:`split_problems` looks at the layout, :func:`case_problems` at the pixels of one case, and
:func:`collapsed` shortens a long list for reading. An import stops at the first problem; a check
lists all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from semiseg.data.images import not_finite

if TYPE_CHECKING:
    from semiseg.data.source import CaseRef
    from semiseg.types import Case


# ------------------------------------------------------------------ splits
def split_problems(splits: Mapping[str, Sequence[CaseRef]]) -> list[str]:
    """What is wrong with the splits of a source.

    Subjects or groups on both sides of a split, names used twice, val or test cases without a
    label, splits without a case.
    """
    problems: list[str] = []
    subjects = _Members("subject", "keep all its files in one split")
    groups = _Members("group", "keep it in one split, or leave the group out")
    paths: dict[str, str] = {}
    for split, refs in splits.items():
        if not refs and split in ("train", "val"):
            problems.append(
                f"split {split} has no case: add some, or let the splits be drawn at random by "
                f"giving none"
            )
        for ref in refs:
            problems += subjects.place(ref.subject, split, ref.path)
            if ref.group:
                problems += groups.place(ref.group, split, ref.path)
            if ref.name in paths:
                problems.append(
                    f"{ref.path}: the name {ref.name} is already taken by {paths[ref.name]}; "
                    f"rename one of them"
                )
            paths.setdefault(ref.name, ref.path)
            if split != "train" and not ref.label_path:
                problems.append(
                    f"{ref.path}: has no label file, but {split} needs one; annotate it or move "
                    f"it to train"
                )
    return problems


class _Members:
    """The split in which each subject, or each group, was met first."""

    def __init__(self, kind: str, remedy: str):
        self.kind = kind
        self.remedy = remedy
        self._first: dict[str, tuple[str, str]] = {}
        self._reported: set[tuple[str, str]] = set()

    def place(self, name: str, split: str, path: str) -> list[str]:
        """A line if ``name`` was in another split before; at most one for each split."""
        first_split, first_path = self._first.setdefault(name, (split, path))
        if first_split == split or (name, split) in self._reported:
            return []
        self._reported.add((name, split))
        return [
            f"{self.kind} {name}: is in {first_split} ({first_path}) and in {split} ({path}); "
            f"{self.remedy}"
        ]


# ------------------------------------------------------------------ classes
MOST_CLASSES = 255
"""A label is uint8, and its value 255 is IGNORE: the classes are 0 to 254."""


def class_problems(classes: Sequence[str], source: object) -> list[str]:
    """What is wrong with the classes of a source: there are more than a label has values for.

    >>> class_problems(["background", "cell"], "scans")
    []
    >>> class_problems([f"c{i}" for i in range(256)], "scans")  # doctest: +NORMALIZE_WHITESPACE
    ['scans: names 256 classes; a label holds the classes 0 to 254, and 255 stands for pixels that
    are ignored: unite classes, or divide the set']
    """
    if len(classes) <= MOST_CLASSES:
        return []
    return [
        f"{source}: names {len(classes)} classes; a label holds the classes 0 to "
        f"{MOST_CLASSES - 1}, and {MOST_CLASSES} stands for pixels that are ignored: unite "
        f"classes, or divide the set"
    ]


# ------------------------------------------------------------------ cases
def case_problems(
    case: Case, classes: tuple[str, ...], channels: int, path: str, label_path: str = ""
) -> list[str]:
    """What is wrong with one case of a set.

    Args:
      case: a picture or a volume.
      classes, channels: of the set.
      path, label_path: of the image and the label, for the lines.

    >>> from semiseg.types import Case
    >>> pixels = np.zeros((4, 4, 3), np.uint8)
    >>> case = Case("p7", "p7", pixels, None, (1.0, 1.0), "p7")
    >>> case_problems(case, ("background", "cell"), 1, "p7.png")
    ['p7.png: image has 3 channels but the set has 1; convert it or pass --channels grey']
    """
    image = case.image
    if image.ndim not in (3, 4) or not image.size:
        return [
            f"{path}: image has shape {image.shape}; expected a picture (H, W, C) or a volume "
            f"(D, H, W, C) that is not empty"
        ]
    problems: list[str] = []
    if image.shape[-1] != channels:
        problems.append(
            f"{path}: image has {image.shape[-1]} channels but the set has {channels}; convert "
            f"it or pass --channels grey"
        )
    words = not_finite(image)
    if words:
        problems.append(
            f"{path}: image {words}; replace them, take the file out of the set, or pass --nan "
            f"padding to ignore them"
        )
    if case.label is not None:
        problems += _label_problems(case, case.label, len(classes), path, label_path or path)
    return problems


def _label_problems(
    case: Case, label: np.ndarray, classes: int, image_path: str, path: str
) -> list[str]:
    from semiseg.types import IGNORE

    problems: list[str] = []
    if label.shape != case.image.shape[:-1]:
        problems.append(
            f"{path}: label has shape {label.shape} but its image {case.image.shape[:-1]} "
            f"({image_path}); save both at one size"
        )
    values = np.flatnonzero(value_counts(label)).tolist()
    beyond = [str(value) for value in values if classes <= value != IGNORE]
    if beyond:
        ellipsis = " …" if len(beyond) > 5 else ""
        problems.append(
            f"{path}: subject {case.subject}: label has value {', '.join(beyond[:5])}{ellipsis} "
            f"but the set declares classes 0–{classes - 1}; correct it or name more classes with "
            f"--classes"
        )
    return problems


def value_counts(label: np.ndarray) -> np.ndarray:
    """``(256,)``: how often each value occurs in a uint8 label ``(H, W)`` or ``(D, H, W)``.

    Counted plane by plane, because counting takes eight bytes a pixel.

    >>> value_counts(np.array([[[0, 2]], [[2, 2]]], np.uint8))[:4].tolist()
    [1, 0, 3, 0]
    """
    counts = np.zeros(256, np.int64)
    for plane in label.reshape(-1, *label.shape[-2:]):
        counts += np.bincount(plane.ravel(), minlength=256)
    return counts


# ------------------------------------------------------------------ for reading
_PATH = re.compile(r" \([^()/\\]*[/\\][^()]*\)")
"""A path beside a shape or a group."""
_NAME = re.compile(r"(?<!\S)[^\s\d/\\]*[\d/\\]\S*")
"""A word with a digit or a slash. Each part of both patterns ends where the next begins: a cell of
100,000 letters is looked through once.
"""


def collapsed(problems: Sequence[str], most: int = 3) -> list[str]:
    """Problems for reading: one line for what more than ``most`` files share.

    Two problems are of a kind if they differ in nothing but the file and the subject, or, within
    one table, in the names it lists. The line gives their number and the first of them.

    >>> collapsed([f"p{i}.png: has no label; annotate it" for i in range(9)])
    ['9 times: has no label; annotate it (p0.png, p1.png, p2.png and 6 more)']
    """
    kinds: dict[tuple[str, str], list[str]] = {}
    for line in problems:
        kinds.setdefault(_kind(line), []).append(line)
    lines: list[str] = []
    for (table, what), members in kinds.items():
        rest = len(members) - most
        if rest <= 0:
            lines += members
        elif table:
            lines += [*members[:most], f"{table}: … and {rest} more of this kind"]
        else:
            first = ", ".join(line.partition(": ")[0] for line in members[:most])
            lines.append(f"{len(members)} times: {what} ({first} and {rest} more)")
    return lines


def _kind(line: str) -> tuple[str, str]:
    """The table a problem is about ("" for any other file), and the problem without its names."""
    place, colon, what = line.partition(": ")
    if not colon:
        return "", line
    what = re.sub(r"^subject \S+: ", "", what)
    what = _PATH.sub("", what)
    if place.endswith(".csv"):
        return place, _NAME.sub("#", what)
    return "", what
