"""Flags: each is declared once, for the parser and for the help text.

``--lr=0.1``, ``--lr 0.1``, ``--amp=True``, ``--amp``, ``--method.decay=0.99``: what people type and
W&B agents pass.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from semiseg import files
from semiseg.cli.explain import flag_lines
from semiseg.errors import UserError

Flags = dict[str, str | bool]
"""Flags as they were typed, by their dotted name."""

TRUE = ("true", "1", "yes", "on")
FALSE = ("false", "0", "no", "off")
WIDTH = 100
"""Of the prose in a help text."""
SWITCHES = ("test", "quiet", "overwrite")
"""Flags that take a value only after ``=`` or if the next word is a truth value, so that ``sweep
--test grid.yaml`` keeps its file; those of a :class:`Command` are its own.
"""


# ------------------------------------------------------------------ declarations
@dataclasses.dataclass(frozen=True)
class Flag:
    """A flag of a command.

    Attributes:
      name: with ``_``, e.g. ``label_subset``.
      help: its words in the help text, without the default.
      default: what the command gets without the flag; ``...`` if it must be given; a bool makes it
        a switch, an int a whole number.
      choices: the words it can be.
      at_least: the smallest whole number it can be.
      default_text: the default in the help text, in place of ``default``; "" hides it.
      value: how the usage line writes its value, "" of a switch; None keeps the flag out of it.
    """

    name: str
    help: str
    default: Any = None
    choices: tuple[str, ...] = ()
    at_least: int | None = None
    default_text: str | None = None
    value: str | None = None

    @property
    def word(self) -> str:
        """As it is typed.

        >>> Flag("label_subset", "which subjects").word
        '--label-subset'
        """
        return f"--{self.name.replace('_', '-')}"

    @property
    def is_switch(self) -> bool:
        """Whether it is on when given."""
        return isinstance(self.default, bool)

    def lines(self) -> list[str]:
        """Its lines in the help text.

        >>> Flag("jobs", "workers", default=1).lines()
        ['  --jobs                         workers [1]']
        """
        return flag_lines(self.word, self.words)

    @property
    def words(self) -> str:
        """Its explanation, with the default.

        >>> Flag("jobs", "workers", default=1).words
        'workers [1]'
        """
        default = self.default_text
        if default is None and self.default not in (None, ...):
            default = str(self.default)
        if not default:
            return self.help
        return f"{self.help} [{default}]"

    @property
    def usage(self) -> str:
        """Its part of the usage line.

        >>> Flag("json", "", value="FILE").usage, Flag("out", "", default=..., value="DIR").usage
        ('[--json FILE]', '--out DIR')
        """
        text = self.word
        if not self.is_switch:
            text = f"{self.word} {self.value}"
        if self.default is ...:
            return text
        return f"[{text}]"

    def read(self, typed: str | bool, command: str) -> Any:
        """The value of what was typed.

        Raises:
          UserError: it is no value of this flag.
        """
        where = f"semiseg {command}"
        if self.is_switch:
            return self._switch(typed, where)
        if typed is True:
            raise UserError(f"{where}: {self.word} needs a value")
        if self.choices and typed not in self.choices:
            options = ", ".join(self.choices)
            raise UserError(f"{where}: {self.word} is {typed!r}: choose one of {options}")
        if self.at_least is None and not isinstance(self.default, int):
            return typed
        return self._whole(str(typed), where)

    def _switch(self, typed: str | bool, where: str) -> bool:
        if isinstance(typed, bool):
            return typed
        if typed.lower() not in TRUE + FALSE:
            raise UserError(
                f"{where}: {self.word} is {typed!r}: it is on when given, or =True or =False"
            )
        return typed.lower() in TRUE

    def _whole(self, typed: str, where: str) -> int:
        least = ""
        if self.at_least is not None:
            least = f", at least {self.at_least}"
        try:
            number = int(typed)
        except ValueError:
            number = None
        if number is None or (self.at_least is not None and number < self.at_least):
            what = f"{self.word} is {typed!r}: it must be a whole number{least}"
            raise UserError(f"{where}: {what}")
        return number


@dataclasses.dataclass(frozen=True)
class Command:
    """A command: its flags and its help text.

    Attributes:
      name: e.g. ``gan fit``.
      words: what it does, in paragraphs.
      flags: its flags, in the order of the help text.
      operands: what the usage line names before the flags.
      rest: what the usage line names after them.
      notes: what the help text says below the flags.
      body: what it does with its operands and flags, for a command of a plug-in.
    """

    name: str
    words: str
    flags: tuple[Flag, ...] = ()
    operands: str = ""
    rest: str = ""
    notes: str = ""
    body: Callable[[list[str], Flags], int] | None = None

    @property
    def usage(self) -> str:
        """The usage line, without the word.

        >>> Command("export", "", (Flag("out", "", ..., value="DIR"),), "RUN").usage
        'semiseg export RUN --out DIR'
        """
        flags = [flag.usage for flag in self.flags if flag.value is not None]
        parts = [f"semiseg {self.name}", self.operands, *flags, self.rest]
        return " ".join(part for part in parts if part)

    def help(self) -> str:
        """The whole help text."""
        below = self.flag_help() + self.notes
        return "\n".join([f"usage: {self.usage}", "", paragraphs(self.words), "", below])

    def flag_help(self) -> str:
        """The lines of its flags."""
        return "".join(f"{line}\n" for flag in self.flags for line in flag.lines())

    def run(
        self,
        argv: Sequence[str],
        body: Callable[[list[str], Flags], int],
        help_text: str | None = None,
    ) -> int:
        """Call ``body`` with the operands and flags of a command line; ``--help`` prints the help.

        Args:
          argv: the words after the command's name.
          body: what the command does; returns its exit code.
          help_text: in place of :meth:`help`.

        >>> Command("greet", "").run(["you"], lambda operands, flags: len(operands))
        1
        """
        operands, flags = self.parse(argv)
        if not flags.pop("help", False):
            return body(operands, flags)
        if help_text is None:
            help_text = self.help()
        print(help_text)
        return 0

    def main(self, argv: Sequence[str]) -> int:
        """Run :attr:`body`; returns the exit code."""
        if self.body is None:
            raise UserError(f"semiseg {self.name}: it has no body", remedy="give Command a body")
        return self.run(argv, self.body)

    def parse(self, argv: Sequence[str]) -> tuple[list[str], Flags]:
        """Operands and flags of a command line, see :func:`parse`."""
        return parse(argv, [flag.name for flag in self.flags if flag.is_switch])

    def take(self, flags: Flags) -> dict[str, Any]:
        """Remove the command's own flags from ``flags``; returns their values by name.

        Raises:
          UserError: one is missing, or has no value of its kind.
        """
        values: dict[str, Any] = {}
        for flag in self.flags:
            if flag.name in flags:
                values[flag.name] = flag.read(flags.pop(flag.name), self.name)
                continue
            if flag.default is ...:
                raise UserError(
                    f"semiseg {self.name}: {flag.word} is missing; see `semiseg {self.name} --help`"
                )
            values[flag.name] = flag.default
        return values

    def options(self, flags: Flags) -> dict[str, Any]:
        """:meth:`take`, and refuse what is left."""
        values = self.take(flags)
        nothing_left(flags, [], self.name, values)
        return values

    def one(self, operands: Sequence[str], what: str) -> str:
        """The one operand of a command.

        Raises:
          UserError: there is none, or several.
        """
        if len(operands) != 1:
            raise UserError(f"semiseg {self.name}: name {what}")
        return operands[0]


def paragraphs(text: str) -> str:
    """Prose wrapped for the terminal.

    >>> paragraphs("one line\\nmore of it\\n\\nanother")
    'one line more of it\\n\\nanother'
    """
    return "\n\n".join(
        textwrap.fill(" ".join(part.split()), WIDTH, break_on_hyphens=False)
        for part in text.split("\n\n")
    )


PLUGIN = Flag(
    "plugin",
    "a Python file that registers your own methods, losses, networks …, see semiseg.plugins; may "
    "be given several times",
    default_text="SEMISEG_PLUGINS",
)
"""Every command has it: :func:`semiseg.cli.main.main` takes it before the command sees its line."""
JSON = Flag("json", "also write the table to this file", value="FILE")


# ------------------------------------------------------------------ parsing
def parse(argv: Sequence[str], switches: Sequence[str] = SWITCHES) -> tuple[list[str], Flags]:
    """Operands, and flags by their dotted name with ``-`` as ``_``.

    A flag without a value is True; several numbers after a dotted one are a list.

    Args:
      argv: the words of the command line.
      switches: see :data:`SWITCHES`.

    >>> parse(["a.yaml", "--test", "b", "--net.widths", "8", "16", "--lr=0.1"])
    (['a.yaml', 'b'], {'test': True, 'net.widths': '8,16', 'lr': '0.1'})
    """
    operands: list[str] = []
    flags: Flags = {}
    words = list(argv)
    while words:
        word = words.pop(0)
        if word in ("-h", "--help"):
            flags["help"] = True
        elif word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            name = name.replace("-", "_")
            flags[name] = value if equals else _following(name, words, switches)
        else:
            operands.append(word)
    return operands, flags


def _following(name: str, words: list[str], switches: Sequence[str]) -> str | bool:
    """Take the value of a flag from the words that follow it; True where they are none of it."""
    if not words:
        return True
    if name in switches:
        if words[0].lower() in TRUE + FALSE:
            return words.pop(0)
        return True
    if words[0].startswith("-") and not _is_number(words[0]):
        return True
    values = [words.pop(0)]
    # --net.widths 8 16 32 is 8,16,32
    while "." in name and _is_number(values[-1]) and words and _is_number(words[0]):
        values.append(words.pop(0))
    return ",".join(values)


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def take(flags: Flags, command: str, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Remove flags that only have a name and a default from ``flags``, see :meth:`Command.take`."""
    declared = tuple(Flag(name, "", default) for name, default in wanted.items())
    return Command(command, "", declared).take(flags)


def nothing_left(
    flags: Mapping[str, Any], operands: Sequence[str], command: str, known: Iterable[str] = ()
) -> None:
    """Refuse what the command does not know; ``known`` are the flags it has, for a hint."""
    if not flags and not operands:
        return
    unknown = [*map(_word, flags), *operands]
    hint = did_you_mean(unknown[0], map(_word, known)) or f"; see `semiseg {command} --help`"
    raise UserError(f"semiseg {command}: does not know {' '.join(unknown)}{hint}")


def _word(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a message about a word that there is not; empty where no name is near.

    >>> did_you_mean("tarin", ["train", "sweep"]), did_you_mean("x", ["train"])
    ("; did you mean 'train'?", '')
    """
    near = difflib.get_close_matches(word, list(known), 1)
    if not near:
        return ""
    return f"; did you mean {near[0]!r}?"


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


# ------------------------------------------------------------------ output
def write_json(path: str | Path | None, content: Any) -> None:
    """Write the result of a command, where ``--json`` asks for it."""
    if path is not None:
        write_output(path, json.dumps(content, indent=1) + "\n")


def write_output(path: str | Path, text: str) -> None:
    """Write a file that the user named: whole or not at all, but for a link or a device, as
    ``/dev/stdout`` is one, which nothing can replace.
    """
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.is_symlink() or (file.exists() and not file.is_file()):
        file.write_text(text, encoding="utf-8")
    else:
        files.write_text(file, text)
