"""What help texts say of flags and fields: a line each, with the words of the declaration."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import shutil
import textwrap
from collections.abc import Sequence
from typing import Any

from semiseg.fields import role

COLUMN = 33
"""Where the words of a flag begin."""
WIDTHS = (40, 92)
"""The words' smallest and largest width."""


def explain(instance: Any, prefix: str = "", only: Sequence[str] = (), parts: bool = True) -> str:
    """A line for every field of a configuration: flag, value, and the words of its docstring.

    Args:
      instance: a dataclass.
      prefix: dotted name of the instance with its dot, e.g. ``method.``.
      only: the fields to explain, in this order; all by default.
      parts: also explain the fields of a field, e.g. those of the method; without it a choice of
        classes is named by the command that lists it.
    """
    lines: list[str] = []
    groups: list[tuple[str, Any]] = []
    fields = {field.name: field for field in dataclasses.fields(instance)}
    words = _words_of_fields(type(instance))
    for name in only or fields:
        value = getattr(instance, name)
        if dataclasses.is_dataclass(value):
            groups.append((name, value))
        line = _field_words(fields[name], value, words.get(name, ""), parts)
        if line:
            lines += flag_lines(f"--{prefix}{name.replace('_', '-')}", line)
    if parts:
        for name, value in groups:
            title = f"{prefix}{name}: {type(value).__name__}"
            lines += ["", title, explain(value, f"{prefix}{name}.")]
    return "\n".join(lines)


def listed(field: str, all_names: bool = False) -> str:
    """The names a choice of classes has, or the command that lists them."""
    from semiseg import config

    if field in ("method", "net") and not all_names:
        return f"`semiseg {field}s` lists them"
    return f"one of {', '.join(config.CHOICES[field])}"


def flag_lines(flag: str, words: str) -> list[str]:
    """A flag and its words, wrapped at the terminal's width.

    >>> flag_lines("--out", "the run's folder")
    ["  --out                          the run's folder"]
    """
    least, most = WIDTHS
    columns = shutil.get_terminal_size((COLUMN + most + 1, 24)).columns
    width = max(least, min(most, columns - COLUMN - 1))
    body = textwrap.wrap(plain(words), width, break_on_hyphens=False)
    indent = " " * COLUMN
    head = f"  {flag}"
    rest = [f"{indent}{line}" for line in body]
    if len(head) < COLUMN:
        return [f"{head:{COLUMN}}{body[0]}", *rest[1:]]
    return [head, *rest]


def summary_of(cls: type) -> str:
    """The first part of a class's docstring, without its fields."""
    return plain((cls.__doc__ or "").split("Attributes:")[0].strip())


def plain(text: str) -> str:
    """A docstring without the markup of reStructuredText, as a terminal prints it.

    >>> plain("of ``batch``, see :func:`semiseg.losses.dice`")
    'of batch, see semiseg.losses.dice'
    """
    return re.sub(r":\w+:`~?([^`]*)`", r"\1", text).replace("``", "")


# ------------------------------------------------------------------ fields
def _field_words(field: Any, value: Any, words: str, parts: bool) -> str:
    """The words of a field and its value; empty for a group of fields, which has no value."""
    from semiseg import config

    words = " ".join(words.split())
    if dataclasses.is_dataclass(value):
        if field.name not in config.CHOICES:
            return ""
        words = f"{words.rstrip('.')}: {listed(field.name, parts)}."
        value = config.name_of(field.name, value)
    note = ""
    if parts and role(field) is False:
        note = "; compiles anew"
    return f"{words} [{_value_text(value)}{note}]"


def _value_text(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value)) or "none"
    return str(value)


def _words_of_fields(cls: type) -> dict[str, str]:
    """Field → its explanation, in the class's docstring or below the field. Inherited fields are
    explained where they are defined.
    """
    import docstring_parser

    words: dict[str, str] = {}
    for base in reversed(cls.__mro__[:-1]):
        docstring = docstring_parser.parse(base.__dict__.get("__doc__") or "")
        words |= {param.arg_name: param.description or "" for param in docstring.params}
        words |= _strings_below_fields(base)
    return words


def _strings_below_fields(cls: type) -> dict[str, str]:
    """Strings that stand below the fields of a class in its source."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    except (OSError, TypeError, SyntaxError):
        return {}
    if not isinstance(tree, ast.ClassDef):
        return {}
    strings: dict[str, str] = {}
    for field, below in zip(tree.body[:-1], tree.body[1:], strict=True):
        if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
            continue
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            if isinstance(below.value.value, str):
                strings[field.target.id] = below.value.value
    return strings
