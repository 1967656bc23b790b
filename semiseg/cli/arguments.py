"""Flags to fields: ``--lr=0.1``, ``--lr 0.1``, ``--amp=True``, ``--amp``, ``--method.decay=0.99``: what people type and W&B agents pass."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from semiseg.errors import UserError

TRUE, FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")


def parse(argv: Sequence[str], switches: Sequence[str] = ("test", "quiet", "overwrite")) -> tuple[list[str], dict[str, str | bool]]:
    """Positional arguments, and flags by their dotted name with ``-`` as ``_``; a flag without a value is True.

    ``switches`` take a value only after ``=`` or if the next word is a truth value, so that ``sweep --test grid.yaml`` keeps its file.
    """
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
            elif i < len(argv) and (argv[i].lower() in TRUE + FALSE if name in switches else not argv[i].startswith("-") or _number(argv[i])):
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
            if found[name].lower() not in TRUE + FALSE:
                raise UserError(f"semiseg {command}: --{name.replace('_', '-')} is {found[name]!r}: it is on when given, or =True or =False")
            found[name] = found[name].lower() in TRUE
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

    said: dict[str, str | None] = {}
    for cls in reversed(type(instance).__mro__[:-1]):  # inherited fields are explained where they are defined, in the class's words or below the field
        said |= {p.arg_name: p.description for p in docstring_parser.parse(cls.__dict__.get("__doc__") or "").params}
        said |= _below(cls)
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


def _below(cls: type) -> dict[str, str]:
    """Strings that stand below the fields of a class in its source."""
    import ast
    import inspect
    import textwrap

    try:
        body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0].body  # type: ignore[attr-defined]
    except (OSError, TypeError, SyntaxError):
        return {}
    found = {}
    for field, words in zip(body, body[1:]):
        value = words.value.value if isinstance(words, ast.Expr) and isinstance(words.value, ast.Constant) else None
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(value, str):
            found[field.target.id] = value
    return found


def typed(kind: Any, argv: Sequence[str], prog: str, **options: Any) -> Any:
    """A dataclass from arguments by tyro, whose complaint becomes one line."""
    import contextlib
    import io

    import tyro

    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(kind, args=list(argv), prog=prog, **options)
    except SystemExit as stop:
        if not stop.code:
            raise
    words = []
    for line in (line.strip(" │╭╮╰╯─") for line in said.getvalue().splitlines()):
        if line.startswith(("For full helptext", "Perhaps you meant", "Available subcommands")):
            break
        if line and line not in ("Required options", "Unrecognized options", "Parsing error", "Invalid choice"):
            words.append(line)
    raise UserError(f"{prog}: {' '.join(words)[:200] or 'arguments are missing'}; see `{prog} --help`")


def _shown(value: Any) -> str:
    return (",".join(map(str, value)) or "none") if isinstance(value, tuple) else str(value)


def _wrapped(flag: str, words: str) -> list[str]:
    import textwrap

    body = textwrap.wrap(words, 92)
    first = f"  {flag:30} {body[0]}" if len(flag) <= 30 else f"  {flag}\n{'':33}{body[0]}"
    return [first, *(f"{'':33}{line}" for line in body[1:])]
