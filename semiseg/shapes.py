"""What a file of names and values must look like, checked once where it is read.

Code that uses the content need not ask again whether a number is one. A shape is a :class:`Leaf`, a
mapping of keys to shapes (a key may be missing; others are not looked at), :class:`Each` or
:class:`ByName`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

LONGEST = 4096
"""Letters of a text: names, notes and titles are shorter."""
LARGEST = 2**53
"""Every whole number up to this is a float."""


class Leaf(NamedTuple):
    """A value without parts.

    Attributes:
      words: what it should be, for a message.
      fits: whether a value is one.
    """

    words: str
    fits: Callable[[Any], bool]


class Each(NamedTuple):
    """A list of values of one shape; of at least ``least``."""

    shape: Any
    least: int = 0


class ByName(NamedTuple):
    """A mapping of any names to values of one shape."""

    shape: Any


def _is_text(value: Any) -> bool:
    if not isinstance(value, str) or len(value) > LONGEST:
        return False
    return value.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in value)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= LARGEST


def _is_number(value: Any) -> bool:
    if type(value) is float:
        return not math.isinf(value) and not abs(value) > LARGEST**2
    return type(value) is int and abs(value) <= LARGEST


def _is_amount(value: Any) -> bool:
    return _is_number(value) and value >= 0


def _is_logged(value: Any) -> bool:
    return type(value) is float or value is None or _is_number(value)


TEXT = Leaf("a text", _is_text)
PATH = Leaf("a path", lambda value: isinstance(value, str) and len(value) <= LONGEST)
"""Unlike a text it may hold bytes that the locale does not know, as Python stands for them."""
NAME = Leaf(f"a name of 1 to {LONGEST} letters", lambda value: _is_text(value) and bool(value))
COUNT = Leaf("a whole number, 0 or more", _is_count)
NUMBER = Leaf("a finite number", _is_number)
AMOUNT = Leaf("a finite number, 0 or more", _is_amount)
LOGGED = Leaf("a number", _is_logged)
"""Of a training that diverged, a loss may be infinite."""


def optional(leaf: Leaf) -> Leaf:
    """A leaf that may be null.

    >>> problem({"dice": None}, {"dice": optional(NUMBER)})
    ''
    """
    return Leaf(f"{leaf.words}, or null", lambda value: value is None or leaf.fits(value))


def problem(value: Any, shape: Any, path: str = "") -> str:
    """What is wrong with a value, "" where it has the shape.

    >>> problem({"steps": -1}, {"steps": COUNT})
    'steps is -1: it should be a whole number, 0 or more'
    >>> problem({"last": {"val": {"dice": "x"}}}, {"last": ByName(ByName(NUMBER))})
    "last.val.dice is 'x': it should be a finite number"
    """
    if isinstance(shape, Leaf):
        if shape.fits(value):
            return ""
        return _wrong(value, shape.words, path)
    if isinstance(shape, Each):
        if not isinstance(value, list) or len(value) < shape.least:
            return _wrong(value, "a list", path)
        parts = {str(i): part for i, part in enumerate(value)}
        return _first(parts, dict.fromkeys(parts, shape.shape), path)
    if not isinstance(value, Mapping):
        return _wrong(value, "names with values", path)
    if isinstance(shape, ByName):
        odd = next((name for name in value if not _is_text(name)), None)
        if odd is not None:
            return _wrong(odd, "a name", f"{path or 'a key'} of it")
        shape = dict.fromkeys(value, shape.shape)
    return _first(value, shape, path)


def _first(parts: Mapping[str, Any], shapes: Mapping[str, Any], path: str) -> str:
    """The first problem of the parts that have a shape."""
    for name, shape in shapes.items():
        if name in parts:
            inner = f"{path}.{name}" if path else name
            words = problem(parts[name], shape, inner)
            if words:
                return words
    return ""


def _wrong(value: Any, words: str, path: str) -> str:
    text = repr(value)
    if len(text) > 60:
        text = f"{text[:60]} …"
    return f"{path or 'it'} is {text}: it should be {words}"
