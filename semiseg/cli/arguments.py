"""Flags to fields: ``--lr=0.1``, ``--lr 0.1``, ``--amp=True``, ``--amp``, ``--method.decay=0.99``:
what people type and W&B agents pass.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from semiseg.errors import UserError
from semiseg.fields import role

TRUE, FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")


def parse(
    argv: Sequence[str], switches: Sequence[str] = ("test", "quiet", "overwrite")
) -> tuple[list[str], dict[str, str | bool]]:
    """Positional arguments, and flags by their dotted name with ``-`` as ``_``; a flag without a
    value is True, several numbers after a dotted one are a list.

    ``switches`` take a value only after ``=`` or if the next word is a truth value, so that ``sweep
    --test grid.yaml`` keeps its file.
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
            elif i < len(argv) and (
                argv[i].lower() in TRUE + FALSE
                if name in switches
                else not argv[i].startswith("-") or _number(argv[i])
            ):
                end = i + 1
                while (
                    "." in name and end < len(argv) and _number(argv[i]) and _number(argv[end])
                ):  # --net.widths 8 16 32 is 8,16,32
                    end += 1
                flags[name.replace("-", "_")], i = ",".join(argv[i:end]), end
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
    """Remove the command's own flags from ``flags``; a default of ``...`` marks one that must be
    given.
    """
    found = {}
    for name, default in wanted.items():
        found[name] = flags.pop(name, default)
        if found[name] is ...:
            raise UserError(
                f"semiseg {command}: --{name.replace('_', '-')} is missing; see `semiseg "
                f"{command} --help`"
            )
        if isinstance(default, bool) and isinstance(found[name], str):
            if found[name].lower() not in TRUE + FALSE:
                raise UserError(
                    f"semiseg {command}: --{name.replace('_', '-')} is {found[name]!r}: it is on "
                    f"when given, or =True or =False"
                )
            found[name] = found[name].lower() in TRUE
        elif found[name] is True and not isinstance(default, bool):
            raise UserError(f"semiseg {command}: --{name.replace('_', '-')} needs a value")
    return found


def nothing_left(
    flags: Mapping[str, Any], positional: Sequence[str], command: str, known: Iterable[str] = ()
) -> None:
    """Refuse what the command does not know; ``known`` are the flags it has, for a hint."""
    if flags or positional:
        unknown = [f"--{name.replace('_', '-')}" for name in flags] + list(positional)
        hint = did_you_mean(unknown[0], [f"--{name.replace('_', '-')}" for name in known])
        raise UserError(
            f"semiseg {command}: does not know "
            f"{' '.join(unknown)}{hint or f'; see `semiseg {command} --help`'}"
        )


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``; did you mean 'train'?``, or nothing where no name is near."""
    import difflib

    near = difflib.get_close_matches(word, list(known), 1)
    return f"; did you mean {near[0]!r}?" if near else ""


def check_choice(field: str, name: Any, where: str = "") -> None:
    """Refuse a method, network or loss that there is not, with the name that is nearest."""
    from semiseg import config

    key = field.removesuffix(".name").rpartition(".")[2].replace("-", "_")
    if key not in config.CHOICES or not isinstance(name, str):
        return
    try:
        config.make(key, name)
    except UserError as error:
        raise UserError(f"{where}{error}") from None


def explain(instance: Any, prefix: str = "", only: Sequence[str] = (), parts: bool = True) -> str:
    """A line for every field of a configuration: flag, value, and the words of its docstring.

    Args:
      only: the fields to explain, in this order; all by default.
      parts: also explain the fields of a field, e.g. those of the method; without it a choice of
        classes is named by the command that lists it.
    """
    import docstring_parser

    said: dict[str, str | None] = {}
    # inherited fields are explained where they are defined, in the class's words or below the field
    for cls in reversed(type(instance).__mro__[:-1]):
        said |= {
            p.arg_name: p.description
            for p in docstring_parser.parse(cls.__dict__.get("__doc__") or "").params
        }
        said |= _below(cls)
    lines, groups = [], []
    fields_by_name = {field.name: field for field in dataclasses.fields(instance)}
    for name in only or fields_by_name:
        value = getattr(instance, name)
        words = " ".join((said.get(name) or "").split())
        again = role(fields_by_name[name]) is False and parts
        if dataclasses.is_dataclass(value):
            groups.append((name, value))
            from semiseg import config

            if name not in config.CHOICES:
                continue
            words = f"{words.rstrip('.')}: {listed(name, parts)}."
            value = config.name_of(name, value)
        lines += _wrapped(
            f"--{prefix}{name.replace('_', '-')}",
            f"{words} [{_shown(value)}{'; compiles anew' * again}]",
        )
    for name, value in groups if parts else []:
        lines += ["", f"{prefix}{name}: {type(value).__name__}", explain(value, f"{prefix}{name}.")]
    return "\n".join(lines)


def listed(field: str, all_names: bool = False) -> str:
    """The names a choice of classes has, or the command that lists them."""
    from semiseg import config

    short = field in ("method", "net") and not all_names
    return (
        f"`semiseg {field}s` lists them" if short else f"one of {', '.join(config.CHOICES[field])}"
    )


def _below(cls: type) -> dict[str, str]:
    """Strings that stand below the fields of a class in its source."""
    import ast
    import inspect
    import textwrap

    try:
        source = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    except (OSError, TypeError, SyntaxError):
        return {}
    body = source.body if isinstance(source, ast.ClassDef) else []
    found = {}
    for field, words in zip(body, body[1:]):
        value = (
            words.value.value
            if isinstance(words, ast.Expr) and isinstance(words.value, ast.Constant)
            else None
        )
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(value, str)
        ):
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
    words: list[str] = []
    named: dict[str, list[str]] = {"missing": [], "unknown": [], "near": []}
    part = ""
    for line in (line.strip(" │╭╮╰╯─") for line in said.getvalue().splitlines()):
        part = next((key for start, key in _PARTS.items() if line.startswith(start)), part)
        if line.startswith("For full helptext"):
            break
        if line.startswith("Missing from"):
            prog = line.removeprefix("Missing from ").rstrip(":")
        elif part == "unknown":
            named[part] += line.removeprefix("Unrecognized options:").replace(",", " ").split()
        elif part:
            named[part] += [word.rstrip(",") for word in line.split() if word.startswith("--")]
        elif line and line not in ("Required options", "Parsing error", "Invalid choice"):
            words.append(line)
    if named["unknown"]:
        word = named["unknown"][0]
        raise UserError(
            f"{prog}: does not know "
            f"{word}{did_you_mean(word, [*named['missing'], *named['near']]) or f'; see `{prog} --help`'}"
        )
    if named["missing"]:
        raise UserError(f"{prog}: {', '.join(named['missing'])} must be given; see `{prog} --help`")
    raise UserError(
        f"{prog}: {' '.join(words)[:200] or 'arguments are missing'}; see `{prog} --help`"
    )


_PARTS = {
    "Missing from": "missing",
    "Unrecognized options:": "unknown",
    "Perhaps you meant": "near",
    "Available subcommands": "near",
}
"""How tyro heads the parts of a complaint."""


def _shown(value: Any) -> str:
    return (",".join(map(str, value)) or "none") if isinstance(value, tuple) else str(value)


def _wrapped(flag: str, words: str) -> list[str]:
    import shutil
    import textwrap

    body = textwrap.wrap(words, max(40, min(92, shutil.get_terminal_size((126, 24)).columns - 34)))
    first = f"  {flag:30} {body[0]}" if len(flag) <= 30 else f"  {flag}\n{'':33}{body[0]}"
    return [first, *(f"{'':33}{line}" for line in body[1:])]
