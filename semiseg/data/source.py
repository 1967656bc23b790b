"""What a reader is, and what it returns: a data set as it lies on disk, before the import.

A reader names the files; they are opened when a case is loaded. So an import streams and shows its
progress.

A reader of a new format is one file in ``readers/`` and one line in its table. The file declares
everything that the rest of the package must know of the format:

>>> def read(source: Path, *, size: Annotated[int, "side of the images, pixels"] = 4,
...          progress: bool = True) -> Source:
...     def pixels() -> Pixels:
...         image = np.zeros((size, size, 1), np.uint8)
...         return Pixels(image, image[..., 0], (1.0, 1.0))
...
...     def case(subject: str) -> CaseRef:
...         path = f"{source}/{subject}.png"
...         return CaseRef(subject, subject, path, pixels, label_path=path)
...
...     splits = {"train": [case("p1"), case("p2")], "val": [case("p3")]}
...     return Source(("background", "cell"), "pixel", "CC0", "nobody", splits)
>>> reader = Reader("blank", "black squares", read)
>>> reader.options()
{'size': Option(kind=<class 'int'>, help='side of the images, pixels')}
>>> source = reader.read(Path("scans"), size=8)
>>> source.splits["val"][0].load().image.shape
(8, 8, 1)
"""

from __future__ import annotations

import dataclasses
import os
import typing
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple, TypeVar

import numpy as np

from semiseg.data.splits import STATED, Placement
from semiseg.errors import UserError

if TYPE_CHECKING:
    from semiseg.types import Case

T = TypeVar("T")
STORED = (np.dtype("uint8"), np.dtype("int16"), np.dtype("uint16"), np.dtype("float32"))
"""Types of the numbers that a store holds."""
SPLITS = ("train", "val", "test")


class Pixels(NamedTuple):
    """What a case's ``pixels`` returns; a tuple of the first three does as well.

    Attributes:
      image: ``(H, W, C)``, or ``(D, H, W, C)`` in the orientation of
        :mod:`semiseg.data.orientation`.
      label: ``(H, W)`` or ``(D, H, W)``; None where nobody annotated it.
      spacing: size of a voxel along each spatial axis.
      affine, orientation: as in :class:`semiseg.types.Case`.
    """

    image: np.ndarray
    label: np.ndarray | None
    spacing: tuple[float, ...]
    affine: np.ndarray | None = None
    orientation: str = ""


@dataclasses.dataclass(frozen=True)
class CaseRef:
    """A case that is not loaded yet.

    Attributes:
      subject, name, volume, index, group: as in :class:`semiseg.types.Case`; ``volume`` is "" for
        the name.
      path: of the image file, for messages.
      pixels: reads the files.
      label_path: of the label file, for messages; "" where there is none.
      placement: why it is in its split.
    """

    subject: str
    name: str
    path: str
    pixels: Callable[[], Pixels]
    volume: str = ""
    index: int = 0
    group: str = ""
    label_path: str = ""
    placement: Placement = STATED

    def load(self) -> Case:
        """Read the files.

        Raises:
          UserError: a file cannot be read; it names the file.
        """
        from semiseg.types import Case

        try:
            pixels = Pixels(*self.pixels())
        except UserError:
            raise
        # image libraries raise anything from OSError to zlib.error on a damaged file
        except Exception as error:
            raise UserError(
                f"cannot be read ({first_line(error, 120)})",
                where=self.path,
                remedy="replace the file or take it out of the set",
            ) from error
        label = pixels.label
        if label is not None:
            label = _as_classes(label, self.label_path or self.path)
        return Case(
            self.subject,
            self.name,
            stored_numbers(pixels.image),
            label,
            pixels.spacing,
            self.volume or self.name,
            self.index,
            self.group,
            pixels.affine,
            pixels.orientation,
        )


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set on disk.

    Attributes:
      classes: names, background first; a label's values are indices into it.
      unit: of spacings and therefore of distances: ``mm``, ``voxel`` or ``pixel``.
      license, citation: for reports.
      splits: split name → cases, in the order they are stored.
      official_order: subjects in the order in which published work labels them; empty where there
        is none.
      problems: what is wrong with the layout, one line each; import refuses, check lists all.
      notes: what the reader assumed because nobody said it, one line each; import and check print
        them and go on.
      allowed: what is no problem because the user said so, see
        :attr:`semiseg.data.info.StoreInfo.allowed`.
      subjects: subject → column → value: what is known of them beside images and groups (site,
        scanner …); scores are shown by it.
      channel_names: of the images, where the layout names them.
      spare: cases without a label of subjects in val or test, which no split has.
      folds: subjects that each fold of a cross-validation holds out, where the layout states them.
      regions: name → classes that it unites, where the layout states some.
      people: subject → who it is, where that is not its name: the patient ID of DICOM. It is never
        stored; pseudonyms are made of it.
    """

    classes: tuple[str, ...]
    unit: str
    license: str
    citation: str
    splits: dict[str, list[CaseRef]]
    official_order: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    allowed: dict[str, int] = dataclasses.field(default_factory=dict)
    subjects: dict[str, dict[str, str]] = dataclasses.field(default_factory=dict)
    channel_names: tuple[str, ...] = ()
    spare: tuple[CaseRef, ...] = ()
    folds: tuple[tuple[str, ...], ...] = ()
    regions: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    people: dict[str, str] = dataclasses.field(default_factory=dict)


class Option(NamedTuple):
    """An option of a reader, which the command line offers as a flag."""

    kind: type
    help: str


@dataclasses.dataclass(frozen=True)
class Reader:
    """A file format, as its own file declares it.

    Attributes:
      format: its name, for ``--format``.
      layout: how the files lie, in a few words.
      read: ``read(source, *, progress, **options)`` returns a :class:`Source`. Each option is
        annotated with its type and the help text of its flag.
      recognises: what in a folder or file tells that it is of this format, in words; None where
        nothing does. It looks at names, and at no image. Without it the format must be named.
    """

    format: str
    layout: str
    read: Callable[..., Source]
    recognises: Callable[[Path], str | None] | None = None

    def options(self) -> dict[str, Option]:
        """The options of the format: the annotated parameters of ``read``."""
        options: dict[str, Option] = {}
        for name, hint in typing.get_type_hints(self.read, include_extras=True).items():
            if typing.get_origin(hint) is Annotated:
                kind, text = typing.get_args(hint)
                options[name] = Option(kind, text)
        return options


# ------------------------------------------------------------------ for readers
def progress_bar(
    items: Iterable[T], what: str, total: int | None = None, show: bool = True
) -> Iterator[T]:
    """``items`` with a progress bar on stderr, silent where stderr is not a terminal."""
    from tqdm import tqdm

    disable = None if show else True  # None: tqdm asks whether stderr is a terminal
    return iter(tqdm(items, desc=what, total=total, disable=disable, unit="case", leave=False))


def existing(path: Path, remedy: str) -> Path:
    """``path``, or a UserError that says that it is not there and what to do."""
    if not path.exists():
        raise UserError("not found", where=path, remedy=remedy)
    return path


def stored_numbers(image: np.ndarray) -> np.ndarray:
    """``image`` in C order and in the smallest type of a store that holds its numbers.

    uint8, int16, uint16 and float32 stay. Other whole numbers become one of the first three if
    their values fit, and float32 otherwise, as does float64.

    >>> stored_numbers(np.array([-1024, 3071])).dtype.name, stored_numbers(np.ones(2)).dtype.name
    ('int16', 'float32')
    """
    if image.dtype.newbyteorder("=") in STORED:
        return np.ascontiguousarray(image, image.dtype.newbyteorder("="))
    if image.dtype == np.bool_:
        return np.ascontiguousarray(image, np.uint8)
    if image.dtype.kind in "iu" and image.size:
        for kind in STORED[:3]:
            limits = np.iinfo(kind)
            if limits.min <= image.min() and image.max() <= limits.max:
                return np.ascontiguousarray(image, kind)
    with np.errstate(over="ignore"):  # infinity is refused where it is met
        return np.ascontiguousarray(image, np.float32)


def first_line(error: BaseException, most: int = 80) -> str:
    """The first line of an error's message, at most ``most`` characters; its type where empty.

    >>> first_line(OSError("truncated file\\nmore")), first_line(KeyError())
    ('truncated file', 'KeyError')
    >>> first_line(PermissionError(13, "Permission denied", "p7.nii"))
    'Permission denied'
    """
    lines = str(error).splitlines() or [""]
    if isinstance(error, OSError) and error.errno:  # libraries add numbers, and the path again
        lines = [os.strerror(error.errno)]
    return lines[0][:most] or type(error).__name__


def _as_classes(label: np.ndarray, path: str) -> np.ndarray:
    """``label`` as uint8, from whatever type the file stores.

    Raises:
      UserError: a value is no whole number from 0 to 255.
    """
    with np.errstate(invalid="ignore"):  # NaN is reported below
        small = np.ascontiguousarray(label, np.uint8)
    wrong = label[small != label]
    if wrong.size:
        raise UserError(
            f"label has value {wrong.flat[0]}, which is no class",
            where=path,
            remedy="save whole numbers from 0 to 255",
        )
    return small
