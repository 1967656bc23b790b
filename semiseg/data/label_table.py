"""The classes that a data set's own table of labels names, and the values that files hold for them.

``dataset.json`` of nnU-Net maps names to values, that of the Decathlon values to names. Values need
not be consecutive: a stored label holds the place of its class in the table.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from semiseg.data.label_values import LabelValues
from semiseg.errors import UserError

IGNORE = 255
IGNORED_NAMES = ("ignore", "void")
"""Names of pixels that are neither trained on nor scored."""


@dataclasses.dataclass(frozen=True)
class LabelTable:
    """Classes, and the value of each in a file.

    Attributes:
      classes: names, background first.
      values: value of each class in a file, in the same order.
      ignored: values that become IGNORE.

    >>> table = LabelTable(("background", "liver"), (0, 6), (9,))
    >>> table.indices(np.array([0, 6, 9]), "p07.nii.gz").tolist()
    [0, 1, 255]
    """

    classes: tuple[str, ...]
    values: tuple[int, ...]
    ignored: tuple[int, ...] = ()

    def indices(self, label: np.ndarray, path: str | Path) -> np.ndarray:
        """A label with places in the table instead of values, uint8.

        Args:
          label: as the file holds it, of any shape.
          path: of the file, for the message.

        Raises:
          UserError: it holds a value that the table does not have.
        """
        occurring = np.unique(label)
        index = {float(value): place for place, value in enumerate(self.values)}
        index |= {float(value): IGNORE for value in self.ignored}
        unknown = [value for value in occurring.tolist() if float(value) not in index]
        if unknown:
            known = ", ".join(str(value) for value in sorted({*self.values, *self.ignored}))
            raise UserError(
                f"label has value {unknown[0]:g}, and the table of labels has {known}",
                where=path,
                remedy="correct the label or add the value to the table",
            )
        places = np.zeros(label.shape, np.uint8)
        for value in occurring.tolist():  # value by value: an inverse takes 16 bytes a voxel
            places[label == value] = index[float(value)]
        return places

    def combine(self, labels: Sequence[np.ndarray], paths: Sequence[str | Path]) -> np.ndarray:
        """:meth:`indices` of the one label file of a scan."""
        return self.indices(labels[0], paths[0])

    def renamed(self, names: str) -> LabelTable:
        """The table with other names, given in the order of the values and separated by commas.

        Raises:
          UserError: there are more or fewer names than values.
        """
        listed = tuple(name.strip() for name in names.split(","))
        if len(listed) != len(self.values):
            raise UserError(
                f"names {len(listed)} classes, the table of labels has {len(self.values)}",
                where=f"--classes {names}",
                remedy="name each value once, background first",
            )
        return dataclasses.replace(self, classes=listed)


def from_pairs(pairs: Mapping[str, Any], path: Path) -> LabelTable:
    """The table of name → value.

    Args:
      pairs: as the file states them.
      path: of that file.

    Raises:
      UserError: a value is no whole number from 0 to 255, or no class has the value 0.
    """
    values: dict[str, int] = {}
    for name, value in pairs.items():
        values[name] = whole_number(name, value, path)
    ignored = tuple(value for name, value in values.items() if name.lower() in IGNORED_NAMES)
    classes = [name for name, value in values.items() if value not in ignored]
    classes.sort(key=values.__getitem__)
    ordered = tuple(values[name] for name in classes)
    if len(classes) < 2 or ordered[0] != 0 or len(set(ordered)) < len(ordered):
        raise UserError(
            f"labels are {dict(values)}; two or more classes with a value each are needed, and "
            f"0 is the background",
            where=path,
            remedy="correct labels",
        )
    return LabelTable(tuple(classes), ordered, ignored)


def whole_number(name: str, value: Any, path: Path) -> int:
    """The value of a label.

    Raises:
      UserError: it is no whole number from 0 to 255.

    >>> whole_number("cup", float("inf"), Path("x"))
    Traceback (most recent call last):
        ...
    semiseg.errors.UserError: x: label cup has the value inf; give it a whole number from 0 to 255
    """
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        number = -1
    if isinstance(value, bool) or not 0 <= number <= IGNORE:
        raise UserError(
            f"label {name} has the value {value!r}",
            where=path,
            remedy="give it a whole number from 0 to 255",
        )
    return number


@dataclasses.dataclass(frozen=True)
class ValueClasses:
    """The classes of a set that names none: one a value that occurs in its labels.

    Attributes:
      values: that occur, file by file.
      table: of these values.
    """

    values: LabelValues
    table: LabelTable

    @property
    def classes(self) -> tuple[str, ...]:
        """Names, background first."""
        return self.table.classes

    def combine(self, labels: Sequence[np.ndarray], paths: Sequence[str | Path]) -> np.ndarray:
        """Class of each pixel, uint8, of the one label file of a scan."""
        return self.table.indices(self.values.indices(labels[0]), paths[0])


def _in_one_file(values: LabelValues) -> str:
    """The values that one file alone holds, in words; "" where there is none, or one file.

    >>> from semiseg.data.label_values import FileValues
    >>> files = [FileValues(Path(f"p{i}.png"), frozenset({0, 1, 7 * i}), 0.0) for i in (0, 1)]
    >>> _in_one_file(LabelValues(frozenset({0, 1, 7}), tuple(files)))
    ' (7 is in p1.png alone)'
    """
    phrases: list[str] = []
    for value in sorted(values.values):
        having = [file.path.name for file in values.files if value in file.values]
        if len(having) == 1 < len(values.files):
            phrases.append(f"{value} is in {having[0]} alone")
    if not phrases:
        return ""
    return f" ({'; '.join(phrases[:3])})"


def classes_of_values(
    values: LabelValues, names: str, source: Path, problems: list[str], notes: list[str]
) -> ValueClasses:
    """What the values of a set's labels mean, where no table says so.

    Args:
      values: that occur, file by file.
      names: of the classes, separated by commas; "" numbers them by their values.
      source: the set's folder.
      problems: receives labels that cannot be meant.
      notes: receives what was assumed.

    >>> values = LabelValues(frozenset({0, 1, 4}))
    >>> meant = classes_of_values(values, "", Path("scans"), [], [])
    >>> meant.classes, meant.combine([np.array([0, 4])], ["p1.nii"]).tolist()
    (('background', 'class 1', 'class 4'), [0, 2])
    """
    occurring = {0, *values.values}
    ignored: tuple[int, ...] = ()
    if values.is_mask or values.by_file:
        occurring = {0, 1}
    elif IGNORE in occurring:
        occurring.remove(IGNORE)
        ignored = (IGNORE,)
    if len(occurring) < 2:
        occurring.add(1)
    if not values.values:  # nothing is annotated, which is said elsewhere
        occurring = set(range(max(2, len(names.split(",")))))
    listed = tuple(sorted(occurring))
    classes = ("background", *(f"class {value}" for value in listed[1:]))
    table = LabelTable(classes, listed, ignored)
    problems += values.problems(names)
    notes += values.notes(source, names or ",".join(classes))
    if names:
        try:
            return ValueClasses(values, table.renamed(names))
        except UserError as error:
            raise UserError(f"{error}{_in_one_file(values)}") from error
    words = ", ".join(map(str, listed))
    notes.append(
        f"{source}: masks hold the values {words}, read as {len(listed)} classes; name them with "
        f"--classes"
    )
    return ValueClasses(values, table)
