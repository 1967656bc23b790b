"""What a run's files say of a trial and of the plug-ins it needs, and what they cannot say."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import yaml

from semiseg import plugins
from semiseg.config.changes import override
from semiseg.config.choices import CHOICES, KIND_OF, name_of, to_dict
from semiseg.config.tree import is_instance
from semiseg.config.trial import Trial
from semiseg.errors import UserError

PLUGINS = "plugins"
"""Key of a run's config.yaml that is no field of the trial; only runs with a plug-in have it."""


class Part(NamedTuple):
    """A field of a trial that holds one of several classes.

    Attributes:
      path: its dotted name.
      value: the instance.
    """

    path: str
    value: Any

    @property
    def field(self) -> str:
        """The last part of its dotted name."""
        return self.path.rpartition(".")[2]


def recorded(trial: Trial) -> dict[str, Any]:
    """The nested dict of a trial for a run's files, with the plug-ins that it needs.

    >>> recorded(Trial()) == to_dict(Trial())
    True
    """
    used = [(KIND_OF[p.field], name_of(p.field, p.value)) for p in parts(trial)]
    records = plugins.records(used)
    tree: dict[str, Any] = to_dict(trial)
    if records:
        tree[PLUGINS] = records
    return tree


def check_recordable(trial: Trial) -> None:
    """Refuse a trial that cannot be read back from its own config.yaml.

    Raises:
      UserError: naming the part that is not registered, or the field that would be lost.

    >>> check_recordable(Trial(seed=3))
    """
    for part in parts(trial):
        _check_registered(part)
    try:
        tree = yaml.safe_load(yaml.safe_dump(to_dict(trial), sort_keys=False))
    except yaml.YAMLError as error:
        what = f"a field is no plain number, word or tuple of them ({_first_line(error)})"
        raise UserError(what, where="config.yaml cannot hold this trial") from None
    again = override(Trial(), tree)
    if again == trial:
        return
    path, value = next(_differences("", trial, again))
    raise UserError(
        f"{path} is {value!r}, which config.yaml cannot say: the run could not be read again",
        remedy="register a class that has it, see semiseg.register",
        field=path,
    )


def parts(instance: Any, prefix: str = "") -> Iterator[Part]:
    """The fields that hold one of several classes, however deep.

    >>> [part.path for part in parts(Trial())]
    ['method', 'method.criterion', 'net', 'augment', 'init']
    """
    for field in dataclasses.fields(instance):
        value = getattr(instance, field.name)
        path = f"{prefix}{field.name}"
        if field.name in CHOICES:
            yield Part(path, value)
        if is_instance(value):
            yield from parts(value, f"{path}.")


def _check_registered(part: Part) -> None:
    cls = type(part.value)
    if cls in CHOICES[part.field].values():
        return
    name = "".join(f"_{c.lower()}" if c.isupper() else c for c in cls.__name__).strip("_")
    raise UserError(
        f"{part.path} is a {cls.__name__}, which has no name: the run could not be read again",
        remedy=plugins.remedy_for(KIND_OF[part.field], name, cls),
        field=part.path,
    )


def _differences(prefix: str, one: Any, other: Any) -> Iterator[tuple[str, Any]]:
    """Dotted name and value of the innermost fields of ``one`` that ``other`` has otherwise."""
    if type(one) is not type(other) or not is_instance(one):
        yield prefix.rstrip("."), one
        return
    for field in dataclasses.fields(one):
        values = [getattr(instance, field.name) for instance in (one, other)]
        if values[0] != values[1]:
            yield from _differences(f"{prefix}{field.name}.", *values)


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:120]
