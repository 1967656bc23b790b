"""A data set as found on disk, before import: what every reader returns, and what import, check and
describe consume.

Files are opened when a case is loaded, not when the source is read, so that an import streams and
shows its progress.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from semiseg.errors import UserError

if TYPE_CHECKING:
    from semiseg.types import Case

T = TypeVar("T")
SPLITS = ("train", "val", "test")
Pixels = tuple[np.ndarray, np.ndarray | None, tuple[float, ...]]
"""Image ``(H, W, C)``, label ``(H, W)`` or None, spacing: what a reader's ``pixels`` function
returns.
"""


@dataclasses.dataclass(frozen=True)
class CaseRef:
    """A case that is not loaded yet.

    ``path`` names the image file (and ``label_path`` the label's, "" where there is none) in error
    messages; ``pixels`` reads them.
    """

    subject: str
    name: str
    path: str
    pixels: Callable[[], Pixels]
    volume: str = ""
    index: int = 0
    group: str = ""
    label_path: str = ""

    def load(self) -> Case:
        """Read the files. Raises UserError naming the file that cannot be read."""
        from semiseg.types import Case

        try:
            image, label, spacing = self.pixels()
        except UserError:
            raise
        except (
            Exception
        ) as error:  # image libraries raise anything from OSError to zlib.error on a damaged file
            raise UserError(
                f"{self.path}: cannot be read ({_first_line(error)}); replace the file or take "
                f"it out of the set"
            ) from error
        image = np.ascontiguousarray(
            image, np.uint8 if image.dtype in (np.uint8, np.bool_) else np.float32
        )
        label = None if label is None else _as_classes(label, self.label_path or self.path)
        return Case(
            self.subject,
            self.name,
            image,
            label,
            spacing,
            self.volume or self.name,
            self.index,
            self.group,
        )


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set on disk.

    Attributes:
      classes: names, background first; a label's values are indices into it.
      unit: of spacings and therefore of distances: ``mm``, ``voxel`` or ``pixel``.
      license, citation: shown in reports.
      splits: split name → cases, in the order they are stored.
      official_order: subjects in the order published work labels them; empty where there is none.
      problems: what is wrong with the layout, one line each; import refuses, check lists all of
        them.
      notes: what the reader assumed where nobody said it, one line each; import and check say them
        and go on.
    """

    classes: tuple[str, ...]
    unit: str
    license: str
    citation: str
    splits: dict[str, list[CaseRef]]
    official_order: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def split_problems(splits: dict[str, list[CaseRef]]) -> list[str]:
    """Subjects on both sides of a split, names used twice, val or test cases nobody annotated,
    splits without a case.
    """
    problems: list[str] = []
    home: dict[str, tuple[str, str]] = {}
    groups: dict[str, tuple[str, str]] = {}
    names: dict[str, str] = {}
    reported: set[tuple[str, str]] = set()
    for split, refs in splits.items():
        if not refs and split in ("train", "val"):
            problems.append(
                f"split {split} has no case: add some, or let the splits be drawn at random by "
                f"giving none"
            )
        for ref in refs:
            first, path = home.setdefault(ref.subject, (split, ref.path))
            if first != split and (ref.subject, split) not in reported:
                reported.add((ref.subject, split))
                problems.append(
                    f"subject {ref.subject}: is in {first} ({path}) and in {split} ({ref.path}); "
                    f"keep all its files in one split"
                )
            first, path = groups.setdefault(ref.group, (split, ref.path))
            if ref.group and first != split and (f"group {ref.group}", split) not in reported:
                reported.add((f"group {ref.group}", split))
                problems.append(
                    f"group {ref.group}: is in {first} ({path}) and in {split} ({ref.path}); "
                    f"keep it in one split, or leave the group out"
                )
            if names.setdefault(ref.name, ref.path) is not ref.path:
                problems.append(
                    f"{ref.path}: the name {ref.name} is already taken by {names[ref.name]}; "
                    f"rename one of them"
                )
            if split != "train" and not ref.label_path:
                problems.append(
                    f"{ref.path}: has no label file, but {split} needs one; annotate it or move "
                    f"it to train"
                )
    return problems


def progress_bar(
    items: Iterable[T], what: str, total: int | None = None, show: bool = True
) -> Iterator[T]:
    """``items`` with a progress bar on stderr, silent where stderr is not a terminal."""
    from tqdm import tqdm

    return iter(
        tqdm(
            items, desc=what, total=total, disable=None if show else True, unit="case", leave=False
        )
    )


def existing(path: Path, what: str) -> Path:
    """``path``, or a UserError saying that ``what`` is not there."""
    if not path.exists():
        raise UserError(f"{path}: not found; {what}")
    return path


def _as_classes(label: np.ndarray, path: str) -> np.ndarray:
    """``label`` as uint8; its values must be whole numbers from 0 to 255, whatever type the file
    stores them in.
    """
    with np.errstate(invalid="ignore"):  # NaN is reported below
        small = np.ascontiguousarray(label, np.uint8)
    wrong = label[small != label]
    if wrong.size:
        raise UserError(
            f"{path}: label has value {wrong.flat[0]}, which is no class; save whole numbers "
            f"from 0 to 255"
        )
    return small


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0][:120] or type(error).__name__
