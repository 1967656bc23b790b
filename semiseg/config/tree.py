"""A dataclass with dataclasses in it ↔ a nested dict ↔ flat dotted names, over any table of
choices.

Nothing here knows of trials: :mod:`semiseg.config.choices` does, and the settings of a generator
can use the same functions with their own table.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import yaml

from semiseg.errors import UnknownField, UserError, nearest
from semiseg.fields import flatten

T = TypeVar("T")


class Choices(Mapping[str, Mapping[str, type]]):
    """Fields that hold an instance of one of several classes, by the last part of a dotted name.

    Args:
      tables: field → name → class.
      readers: field → a function that makes an instance of a word that is no name of the table,
        or returns None.
      carried: field → fields of the old instance that a newly chosen one takes over.
      unnamed: field → the name that is not written, because the field had one class at first.

    >>> choices = Choices({"loss": {"complex": complex}})
    >>> choices.make("loss", "complex"), choices.name_of("loss", 1j)
    (0j, 'complex')
    """

    def __init__(
        self,
        tables: Mapping[str, Mapping[str, type]],
        *,
        readers: Mapping[str, Callable[[str], Any]] | None = None,
        carried: Mapping[str, Sequence[str]] | None = None,
        unnamed: Mapping[str, str] | None = None,
    ):
        self._tables = tables
        self._unnamed = unnamed or {}
        self._readers = readers or {}
        self._carried = carried or {}

    def __getitem__(self, field: str) -> Mapping[str, type]:
        return self._tables[field]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tables)

    def __len__(self) -> int:
        return len(self._tables)

    def name_of(self, field: str, value: Any) -> str:
        """The table's name of the class of ``value``.

        Raises:
          UserError: its class is not in the table.
        """
        for name, cls in self[field].items():
            if type(value) is cls:
                return name
        what = f"{type(value).__name__} is not in the table of {field}"
        raise UserError(what, remedy="add it there under a name", field=field)

    def label(self, field: str, value: Any) -> dict[str, str]:
        """What a dict of ``value`` says of its class: its ``name``, or nothing."""
        name = self.name_of(field, value)
        if self._unnamed.get(field) == name:
            return {}
        return {"name": name}

    def make(self, field: str, name: str) -> Any:
        """A default instance of the class called ``name`` in the table of ``field``.

        Raises:
          UserError: there is none.
        """
        table = self[field]
        if name in table:
            return table[name]()
        if field in self._readers:
            instance = self._readers[field](name)
            if instance is not None:
                return instance
        what = f"there is no {field} called {name!r}{nearest(name, table)}"
        raise UserError(what, field=field)

    def choose(self, field: str, old: Any, value: Any) -> Any:
        """What a field that held ``old`` holds when ``value``, a name or an instance, is given."""
        if dataclasses.is_dataclass(value):
            return value
        new = self.make(field, str(value))
        if type(new) is type(old) and str(value) in self[field]:
            return old
        carried = {name: getattr(old, name) for name in self._carried.get(field, ())}
        return dataclasses.replace(new, **carried)


# ------------------------------------------------------------------ to dicts
def to_dict(value: Any, choices: Choices, field: str = "") -> Any:
    """Nested plain dict of a dataclass, with ``name`` where a field has a choice of classes.

    Args:
      value: a dataclass instance, or what a field of one holds.
      choices: see :class:`Choices`.
      field: name of the field that holds ``value``.

    >>> @dataclasses.dataclass
    ... class Net:
    ...     widths: tuple[int, ...] = (8, 16)
    >>> to_dict(Net(), Choices({"net": {"unet": Net}}), "net")
    {'name': 'unet', 'widths': [8, 16]}
    """
    if is_instance(value):
        names = [f.name for f in dataclasses.fields(value)]
        inner = {name: to_dict(getattr(value, name), choices, name) for name in names}
        if field not in choices:
            return inner
        return {**choices.label(field, value), **inner}
    if isinstance(value, tuple | list):
        return [to_dict(item, choices) for item in value]
    return value


def is_instance(value: Any) -> bool:
    """Whether ``value`` is an instance of a dataclass, not the class."""
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


# ------------------------------------------------------------------ from flags
@dataclasses.dataclass(frozen=True)
class Change:
    """One new value.

    Attributes:
      key: the field's dotted name as the user wrote it.
      value: what it shall be.
    """

    key: str
    value: Any

    @property
    def path(self) -> tuple[str, ...]:
        """Names of the fields on the way to it."""
        return tuple(self.key.replace("-", "_").split("."))


Changes = Mapping[tuple[str, ...], Change]
"""Changes by their path from the node they are applied to."""


def override(instance: T, changes: Mapping[str, Any], choices: Choices, where: str = "") -> T:
    """``instance`` with fields replaced by their dotted names.

    A field with a choice of classes takes a name and starts from that class's defaults, whatever
    the order of ``changes``; a dotted name then sets a field of it. Strings are read as numbers
    where the field is one.

    Args:
      instance: a dataclass.
      changes: new values, nested or by dotted names; ``-`` may stand for ``_``.
      choices: the fields that hold one of several classes.
      where: what a message starts with, e.g. a file.

    Raises:
      UserError: an unknown field or a value of the wrong kind, naming ``where`` and the field.

    >>> @dataclasses.dataclass
    ... class Net:
    ...     widths: tuple[int, ...] = (8, 16)
    ...     dims: int = 2
    >>> override(Net(), {"dims": "3", "widths": "4,8"}, Choices({}))
    Net(widths=(4, 8), dims=3)
    """
    flat = {key.removesuffix(".name"): value for key, value in flatten(changes).items()}
    chosen = [key for key in flat if key.rpartition(".")[2] in choices]
    chosen.sort(key=lambda key: key.count("."))
    overriding = _Overriding(choices, where)
    for key in chosen:
        change = Change(key, flat[key])
        instance = overriding.node(instance, {change.path: change})
    rest = [Change(key, value) for key, value in flat.items() if key not in chosen]
    return overriding.node(instance, {change.path: change for change in rest})


@dataclasses.dataclass(frozen=True)
class _Overriding:
    choices: Choices
    where: str

    def node(self, node: Any, changes: Changes) -> Any:
        """``node`` with ``changes``; all fields of one object change at once, since what one may be
        can depend on another.
        """
        new = {}
        for name in dict.fromkeys(path[0] for path in changes):
            inside = {path[1:]: change for path, change in changes.items() if path[0] == name}
            new[name] = self.field(node, name, inside)
        try:
            return dataclasses.replace(node, **new)
        except (ValueError, TypeError) as error:
            raise self.unfit(changes, error) from None

    def field(self, node: Any, name: str, changes: Changes) -> Any:
        """The new value of a field: at the empty path its own, else with changes inside it."""
        change = next(iter(changes.values()))
        if name not in {f.name for f in dataclasses.fields(node)}:
            raise self.unknown(node, name, change)
        old = getattr(node, name)
        inside = {path: change for path, change in changes.items() if path}
        if inside:
            if not dataclasses.is_dataclass(old):
                change = next(iter(inside.values()))
                raise self.error(f"{change.key!r}: {name!r} has no fields", change)
            return self.node(old, inside)
        if name in self.choices:
            return self.choices.choose(name, old, change.value)
        if dataclasses.is_dataclass(old) and not dataclasses.is_dataclass(change.value):
            parts = ", ".join(f"{change.key}.{f.name}" for f in dataclasses.fields(old))
            raise self.error(f"{change.key!r} is a group: set one of {parts}", change)
        return self.value(type(node), name, change)

    def value(self, cls: type, name: str, change: Change) -> Any:
        """The value of a change as the type of its field."""
        import pydantic

        hint = _hints(cls)[name]
        value = change.value
        if isinstance(value, bool) and "bool" not in str(hint):
            raise self.error(f"{change.key} needs a value", change)
        try:
            value = _parsed(value, hint)
            return _adapter(cls, name).validate_python(value)
        except yaml.YAMLError:
            what = f"{change.key}: {value!r} is no list: write [8, 16] or 8,16"
            raise self.error(what, change) from None
        except pydantic.ValidationError as error:
            reason = error.errors()[0]["msg"].lower()
            raise self.error(f"{change.key}: {reason}, not {value!r}", change) from None

    def unfit(self, changes: Changes, error: Exception) -> UserError:
        """The error of a class that refuses its fields' values, with the names that were given."""
        given = [change for path, change in changes.items() if len(path) == 1]
        keys = ", ".join(change.key for change in given)
        field = None
        if isinstance(error, UserError) and error.field and given:
            field = ".".join((*given[0].path[:-1], error.field))
        elif len(given) == 1:
            field = ".".join(given[0].path)
        return UserError(f"{keys}: {error}", where=self.where, field=field)

    def unknown(self, node: Any, name: str, change: Change) -> UnknownField:
        """The error of a field that ``node`` does not have."""
        holder = change.key[: len(change.key) - len(name)].rstrip(".")
        group = holder.rpartition(".")[2]
        what = f"there is no field {change.key!r}"
        if group in self.choices:
            what = f"{what} ({holder} is {self.choices.name_of(group, node)})"
        hint = _hint(node, name, holder, self.choices)
        return UnknownField(what, hint=hint, where=self.where, field=".".join(change.path))

    def error(self, what: str, change: Change) -> UserError:
        """An error about one change."""
        return UserError(what, where=self.where, field=".".join(change.path))


def _parsed(value: Any, hint: Any) -> Any:
    """What a word of a command line stands for, as far as the type of the field decides it.

    >>> _parsed("8,16", tuple[int, ...]), _parsed("[0.1]", tuple[float, ...])
    (['8', '16'], [0.1])
    >>> _parsed(1, tuple[int, ...]), _parsed("none", str | None), _parsed("3", int)
    ([1], None, '3')
    """
    if isinstance(value, str):
        if value.strip().startswith(("[", "(")):
            return yaml.safe_load(value.replace("(", "[").replace(")", "]"))
        if "tuple" in str(hint) and "," in value:
            return value.removesuffix(",").split(",")
    origin = typing.get_origin(hint)
    if isinstance(value, str | int | float) and origin is tuple:  # a list of one: --net.ups 1
        return [value]
    if isinstance(value, str) and value.lower() in ("none", "null"):
        return None
    if isinstance(value, str) and origin is typing.Literal:  # --net.dims 3 comes as a word
        return next((o for o in typing.get_args(hint) if str(o) == value), value)
    return value


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


@functools.cache
def _adapter(cls: type, field: str) -> Any:
    """Made once a field: it takes milliseconds, and a sweep sets hundreds."""
    import pydantic

    return pydantic.TypeAdapter(_hints(cls)[field])


# ------------------------------------------------------------------ where a field may be
def _hint(node: Any, name: str, holder: str, choices: Choices) -> str:
    """Where a field that ``node`` has not got may be: under a name that is near, in a class that
    could be chosen instead, or further inside.

    Args:
      node: the object that lacks it.
      name: the field's name.
      holder: dotted name of ``node``; empty for the whole.
      choices: the fields that hold one of several classes.
    """
    table = choices.get(holder.rpartition(".")[2], {})
    fields = [f.name for f in dataclasses.fields(node)]
    owners = [choice for choice, cls in table.items() if name in _field_names(cls)]
    if owners and not difflib.get_close_matches(name, fields, 1):
        first = " or ".join(owners[:3])
        more = " …" if len(owners) > 3 else ""
        return f"choose --{holder} {first}{more} first"
    paths = _paths(node, choices)
    near = difflib.get_close_matches(name, paths, 1, 0.75)
    near = near or difflib.get_close_matches(name, fields, 1)
    if near:
        path = paths[near[0]]
        if holder:
            path = f"{holder}.{path}"
        return f"did you mean {path!r}?"
    return f"it has {', '.join(fields) or 'no fields'}"


def _paths(node: Any, choices: Choices) -> dict[str, str]:
    """Dotted names of all fields in ``node`` and in the classes that could be chosen in it, by
    their last part; of two with the same last part the outermost.
    """
    fields = [f.name for f in dataclasses.fields(node)]
    paths = [path.removesuffix(".name") for path in flatten(to_dict(node, choices))]
    for field in fields:
        for cls in choices.get(field, {}).values():
            paths += [f"{field}.{name}" for name in _field_names(cls)]
    paths = sorted([*paths, *fields], key=lambda path: -path.count("."))
    return {path.rpartition(".")[2]: path for path in paths}


def _field_names(cls: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(cls)]
