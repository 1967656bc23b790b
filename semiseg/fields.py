"""Dataclass fields that know their own range and role: the value that a field may have is written
once, where the field is declared.

    @hyper
    class MeanTeacher:
        decay: float = number(0.99, within=(0, 1))
        batch: int = count(8, at_least=1)
        optimiser: str = choice("adamw", ("sgd", "adamw"))

The role of a field says what a new value costs:

- *traced*: the compiled program is handed the value, so a sweep over it compiles nothing;
- *static*: the value is compiled in, so a new one compiles anew;
- neither: the program never sees the value (a seed, a path, a number of steps between two reports).
  In a :func:`semiseg.types.hyper` class the type decides instead: a ``float`` is traced, all
  others are static.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from semiseg.errors import UserError


# ------------------------------------------------------------------ what a value may be
@dataclasses.dataclass(frozen=True)
class Range:
    """An interval of numbers; an infinite end is no limit. NaN and infinity are in no range.

    Attributes:
      low: the lower end.
      high: the upper end.
      low_open: whether the lower end itself is outside.
      high_open: whether the upper end itself is outside.
      apart: whether the two ends are two separate rules, so that a message names only the one
        that a value violates. :func:`number` sets it where ``at_least`` and ``at_most`` are given;
        ``within`` is one rule, and a message names both of its ends.

    >>> 0.5 in Range(0, 1), 1.5 in Range(0, 1), math.inf in Range(low=0)
    (True, False, False)
    >>> 0 in Range(low=0, low_open=True)
    False
    >>> print(Range(0, 1), "|", Range(low=2), "|", Range(0, 1, high_open=True))
    between 0 and 1 | at least 2 | from 0 to below 1
    """

    low: float = -math.inf
    high: float = math.inf
    low_open: bool = False
    high_open: bool = False
    apart: bool = False

    def __contains__(self, value: Any) -> bool:
        if not math.isfinite(value):
            return False
        if value < self.low or value > self.high:
            return False
        if self.low_open and value == self.low:
            return False
        return not (self.high_open and value == self.high)

    def __str__(self) -> str:
        if self.low > -math.inf and self.high < math.inf:
            return self._both_ends()
        if self.high < math.inf:
            word = "below" if self.high_open else "at most"
            return f"{word} {self.high}"
        if self.low > -math.inf:
            word = "above" if self.low_open else "at least"
            return f"{word} {self.low}"
        return "a finite number"

    def violated_part(self, value: float) -> Range:
        """The rule that ``value`` violates, for a message: the whole range, or one end of it if the
        ends are ``apart``.

        >>> print(Range(0, 1, apart=True).violated_part(1.5), "|", Range(0, 1).violated_part(1.5))
        at most 1 | between 0 and 1
        """
        if not self.apart:
            return self
        if value > self.high:
            return Range(high=self.high)
        return Range(low=self.low)

    def _both_ends(self) -> str:
        if not (self.low_open or self.high_open):
            return f"between {self.low} and {self.high}"
        start = "above" if self.low_open else "from"
        end = "below " if self.high_open else ""
        return f"{start} {self.low} to {end}{self.high}"


@dataclasses.dataclass(frozen=True)
class Options:
    """The values of a choice.

    >>> print(Options(("sgd", "adamw")))
    one of sgd, adamw
    """

    names: tuple[str, ...]

    def __contains__(self, value: Any) -> bool:
        return value in self.names

    def __str__(self) -> str:
        return f"one of {', '.join(self.names)}"


# ------------------------------------------------------------------ declarations
def number(
    default: Any,
    *,
    within: tuple[float, float] | None = None,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    traced: bool | None = None,
) -> Any:
    """A field that holds a finite number, a tuple of such numbers, or None.

    Args:
      default: the field's default.
      within: both ends of its range; both are allowed, and a message names both.
      at_least: the smallest value that is allowed.
      above: the largest value that is too small.
      at_most: the largest value that is allowed; beside ``at_least`` a message names the end that a
        value is beyond.
      below: the smallest value that is too large.
      traced: its role: True for traced, False for static, None for neither (in a hyper class: what
        the type says).

    >>> @dataclasses.dataclass
    ... class Example:
    ...     decay: float = number(0.99, within=(0, 1))
    >>> Example().decay
    0.99
    """
    low = -math.inf
    high = math.inf
    if within is not None:
        low, high = within
    if at_least is not None:
        low = at_least
    if above is not None:
        low = above
    if at_most is not None:
        high = at_most
    if below is not None:
        high = below
    allowed = Range(
        low,
        high,
        low_open=above is not None,
        high_open=below is not None,
        apart=at_least is not None and at_most is not None,
    )
    return dataclasses.field(default=default, metadata={"allowed": allowed, "traced": traced})


def count(
    default: Any,
    *,
    at_least: int = 0,
    at_most: int | None = None,
    traced: bool | None = None,
) -> Any:
    """A field that holds a whole number of things, or a tuple of them; see :func:`number`."""
    return number(default, at_least=at_least, at_most=at_most, traced=traced)


def choice(default: str, options: Sequence[str], *, traced: bool | None = None) -> Any:
    """A field that holds one of several words; a traced one is handed over as its index.

    >>> @dataclasses.dataclass
    ... class Example:
    ...     rule: str = choice("poly", ("poly", "cosine"))
    >>> allowed(dataclasses.fields(Example)[0])
    Options(names=('poly', 'cosine'))
    """
    metadata = {"allowed": Options(tuple(options)), "traced": traced}
    return dataclasses.field(default=default, metadata=metadata)


def static(*, default: Any) -> Any:
    """A field without a range whose value is compiled in."""
    return dataclasses.field(default=default, metadata={"traced": False})


def traced(*, default: Any) -> Any:
    """A field without a range whose value, a number or a hyper instance, is traced."""
    return dataclasses.field(default=default, metadata={"traced": True})


def subtree() -> Any:
    """A traced field that holds a hyper instance though its default does not say so."""
    return traced(default=None)


# ------------------------------------------------------------------ names of fields
def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dicts as one dict of dotted names.

    >>> flatten({"lr": 0.1, "method": {"decay": 0.9}})
    {'lr': 0.1, 'method.decay': 0.9}
    """
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


# ------------------------------------------------------------------ what the metadata is read for
def allowed(field: dataclasses.Field[Any]) -> Range | Options | None:
    """What the value of a field may be; None where its declaration does not say."""
    return field.metadata.get("allowed")


def role(field: dataclasses.Field[Any]) -> bool | None:
    """True for a field that is declared traced, False for a static one, None for neither."""
    return field.metadata.get("traced")


def check_fields(instance: Any, prefix: str = "", where: str = "") -> None:
    """Refuse values outside the ranges that the fields of ``instance`` declare.

    Fields that hold a dataclass are checked inside, too.

    Args:
      instance: a dataclass instance.
      prefix: dotted name of the instance with its dot, e.g. ``method.``.
      where: what the message starts with, e.g. the file that the values come from.

    Raises:
      UserError: the first field outside its range, with its dotted name as ``field``.

    >>> @dataclasses.dataclass
    ... class Example:
    ...     decay: float = number(0.99, within=(0, 1))
    >>> check_fields(Example(2.0), "method.")
    Traceback (most recent call last):
    ...
    semiseg.errors.UserError: method.decay is 2.0: it must be between 0 and 1
    """
    for field in dataclasses.fields(instance):
        name = f"{prefix}{field.name}"
        value = getattr(instance, field.name)
        check_value(name, value, allowed(field), where)
        if dataclasses.is_dataclass(value):
            check_fields(value, f"{name}.", where)


def check_value(name: str, value: Any, range_: Range | Options | None, where: str = "") -> None:
    """Refuse a value outside ``range_``; of a tuple every number is checked.

    Raises:
      UserError: with ``name`` as its field.
    """
    if range_ is None or value is None:
        return
    if isinstance(range_, Options):
        if value not in range_:
            what = f"{name} is {value!r}: choose {range_}"
            raise UserError(what, where=where, field=name)
        return
    for item in _numbers(value):
        if item not in range_:
            what = f"{name} is {value}: it must be {range_.violated_part(item)}"
            raise UserError(what, where=where, field=name)


def traced_values(instance: Any) -> dict[str, Any]:
    """What the compiled program is handed of ``instance``: its fields that are declared traced.

    Returns:
      By field name: a number as a float, a choice as the index of its option, a hyper instance as
      it is.

    >>> @dataclasses.dataclass
    ... class Example:
    ...     lr: float = number(0.003, at_least=0, traced=True)
    ...     rule: str = choice("cosine", ("poly", "cosine"), traced=True)
    ...     seed: int = count(0)
    >>> traced_values(Example())
    {'lr': 0.003, 'rule': 1.0}
    """
    values: dict[str, Any] = {}
    for field in dataclasses.fields(instance):
        if role(field) is not True:
            continue
        value = getattr(instance, field.name)
        options = allowed(field)
        if isinstance(options, Options):
            value = options.names.index(value)
        if not dataclasses.is_dataclass(value):
            value = float(value)
        values[field.name] = value
    return values


def static_values(instance: Any) -> dict[str, Any]:
    """What is compiled in of ``instance``: its fields that are declared static, by name.

    >>> @dataclasses.dataclass
    ... class Example:
    ...     batch: int = count(8, at_least=1, traced=False)
    ...     seed: int = count(0)
    >>> static_values(Example())
    {'batch': 8}
    """
    fields = [field for field in dataclasses.fields(instance) if role(field) is False]
    return {field.name: getattr(instance, field.name) for field in fields}


def _numbers(value: Any) -> Iterator[float]:
    """The numbers of a value that is a number or a nested tuple of them; words are skipped."""
    if isinstance(value, tuple | list):
        for item in value:
            yield from _numbers(item)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value
