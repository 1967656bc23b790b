"""Regions: unions of classes, such as whole tumour = edema ∪ core, that are scored like classes.

A network is trained on the classes alone. Where its prediction is scored or measured, a region's
mask is the union of the masks of its classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from semiseg.errors import UserError

FLAG = "--region"
RESERVED = ("background", "mean", "0")
"""Names that tables of scores use for something else."""

Regions = dict[str, tuple[str, ...]]
"""Name → its classes, in the order of the data set."""


def with_typed(
    regions: Mapping[str, Sequence[str]], typed: Iterable[str], classes: Sequence[str]
) -> Regions:
    """Regions, and those that a user typed.

    Args:
      regions: that there are already.
      typed: of a region each, such as ``whole=edema,core``; numbers of classes do as well.
      classes: names, background first.

    Raises:
      UserError: a region that is none, see :func:`checked`.

    >>> classes = ("background", "edema", "core")
    >>> with_typed({}, ["whole=edema,core"], classes)
    {'whole': ('edema', 'core')}
    >>> with_typed({}, ["whole=1,2"], classes) == with_typed({}, ["whole=core,edema"], classes)
    True
    """
    every = dict(regions)
    for text in typed:
        where = f"{FLAG} {text}"
        name, equals, words = text.partition("=")
        name = name.strip()
        if not equals:
            raise UserError(
                "names no classes", where=where, remedy="give NAME=CLASS,CLASS, such as whole=1,2"
            )
        members = [_class_named(word.strip(), classes, where) for word in words.split(",")]
        typed_region = checked({name: members}, classes, where)
        # a command that was killed is given once more
        if name in every and regions.get(name) != typed_region[name]:
            raise UserError(
                f"there is a region {name} already", where=where, remedy="choose another name"
            )
        every |= typed_region
    return checked(every, classes, FLAG)


def checked(
    regions: Mapping[str, Sequence[str]], classes: Sequence[str], where: str | Path
) -> Regions:
    """Regions with their classes in the order of the data set.

    Args:
      regions: name → classes.
      classes: names, background first.
      where: for the message: a flag or a file.

    Raises:
      UserError: a name that is empty, a class's or reserved; fewer than two classes, a class twice,
        the background, or one that the set does not have.
    """
    result: Regions = {}
    for name, members in regions.items():
        _check_name(name, classes, where)
        for member in members:
            if member not in classes[1:]:
                raise UserError(
                    f"region {name} names the class {member!r}; there is {', '.join(classes[1:])}",
                    where=where,
                    remedy="correct it",
                )
        ordered = tuple(class_ for class_ in classes if class_ in members)
        if len(ordered) < len(members):
            raise UserError(
                f"region {name} names a class twice", where=where, remedy="name each class once"
            )
        if len(ordered) < 2:
            raise UserError(
                f"region {name} unites fewer than two classes",
                where=where,
                remedy="name two or more classes",
            )
        result[name] = ordered
    return result


def _check_name(name: str, classes: Sequence[str], where: str | Path) -> None:
    if not name or name != name.strip() or not name.isprintable():
        raise UserError(
            f"a region has the name {name!r}", where=where, remedy="give it a name of letters"
        )
    if name in classes or name in RESERVED:
        meaning = "a class of the set"
        if name not in classes:
            meaning = "a reserved name"
        raise UserError(
            f"a region has the name {name}, which is {meaning}",
            where=where,
            remedy="choose another name",
        )


def _class_named(word: str, classes: Sequence[str], where: str) -> str:
    """The class of a name, else of a number; what is neither is left for the check."""
    if word not in classes and word.isdecimal() and int(word) < len(classes):
        return classes[int(word)]
    if not word:
        raise UserError(
            "names an empty class", where=where, remedy="give NAME=CLASS,CLASS, such as whole=1,2"
        )
    return word


def numbers(
    regions: Mapping[str, Sequence[str]], classes: Sequence[str]
) -> dict[str, tuple[int, ...]]:
    """Region → the values that its classes have in a label.

    >>> numbers({"whole": ("edema", "core")}, ("background", "edema", "core"))
    {'whole': (1, 2)}
    """
    places = {name: value for value, name in enumerate(classes)}
    return {
        region: tuple(places[member] for member in members) for region, members in regions.items()
    }


def words(regions: Mapping[str, Sequence[str]]) -> list[str]:
    """What each region is.

    >>> words({"whole": ("edema", "core")})
    ['whole = edema ∪ core']
    """
    return [f"{name} = {' ∪ '.join(members)}" for name, members in regions.items()]
