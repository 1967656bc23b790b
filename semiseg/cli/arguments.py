"""Flags to fields: ``--lr=0.1``, ``--lr 0.1``, ``--amp=True``, ``--amp``, ``--method.decay=0.99``: what people type and W&B agents pass."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from semiseg.errors import UserError


def parse(argv: Sequence[str]) -> tuple[list[str], dict[str, str | bool]]:
    """Positional arguments, and flags by their dotted name with ``-`` as ``_``; a flag without a value is True."""
    positional: list[str] = []
    flags: dict[str, str | bool] = {}
    i = 0
    while i < len(argv):
        word, i = argv[i], i + 1
        if word in ("-h", "--help"):
            flags["help"] = True
        elif word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            if equals:
                flags[name.replace("-", "_")] = value
            elif i < len(argv) and (not argv[i].startswith("-") or _number(argv[i])):
                flags[name.replace("-", "_")], i = argv[i], i + 1
            else:
                flags[name.replace("-", "_")] = True
        else:
            positional.append(word)
    return positional, flags


def _number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def take(flags: dict[str, str | bool], command: str, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Remove the command's own flags from ``flags``; a default of ``...`` marks one that must be given."""
    found = {}
    for name, default in wanted.items():
        found[name] = flags.pop(name, default)
        if found[name] is ...:
            raise UserError(f"semiseg {command}: --{name.replace('_', '-')} is missing; see `semiseg {command} --help`")
        if isinstance(default, bool) and isinstance(found[name], str):
            found[name] = found[name].lower() in ("true", "1", "yes")
        elif found[name] is True and not isinstance(default, bool):
            raise UserError(f"semiseg {command}: --{name.replace('_', '-')} needs a value")
    return found


def nothing_left(flags: Mapping[str, Any], positional: Sequence[str], command: str) -> None:
    """Refuse what the command does not know."""
    if flags or positional:
        unknown = [f"--{name}" for name in flags] + list(positional)
        raise UserError(f"semiseg {command}: does not know {' '.join(unknown)}; see `semiseg {command} --help`")


def explain(instance: Any, prefix: str = "") -> str:
    """A line for every field of a configuration: flag, value, and the words of its docstring."""
    import docstring_parser

    said = {p.arg_name: p.description for p in docstring_parser.parse(type(instance).__doc__ or "").params}
    lines, groups = [], []
    for field in dataclasses.fields(instance):
        value = getattr(instance, field.name)
        words = " ".join((said.get(field.name) or "").split())
        if dataclasses.is_dataclass(value):
            groups.append((field.name, value))
            from semiseg import config

            if field.name not in config.CHOICES:
                continue
            words = f"{words} One of {', '.join(config.CHOICES[field.name])}."
            value = config.name_of(field.name, value)
        lines += _wrapped(f"--{prefix}{field.name.replace('_', '-')}", f"{words} [{_shown(value)}]")
    for name, value in groups:
        lines += ["", f"{prefix}{name}: {type(value).__name__}", explain(value, f"{prefix}{name}.")]
    return "\n".join(lines)


def _shown(value: Any) -> str:
    return (",".join(map(str, value)) or "none") if isinstance(value, tuple) else str(value)


def _wrapped(flag: str, words: str) -> list[str]:
    import textwrap

    body = textwrap.wrap(words, 92)
    first = f"  {flag:30} {body[0]}" if len(flag) <= 30 else f"  {flag}\n{'':33}{body[0]}"
    return [first, *(f"{'':33}{line}" for line in body[1:])]
