"""Arguments as a dataclass, by tyro, whose complaint becomes one line."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

from semiseg.cli.arguments import PLUGIN, did_you_mean
from semiseg.errors import UserError

PARTS = {
    "Missing from": "missing",
    "Unrecognized options:": "unknown",
    "Perhaps you meant": "near",
    "Available subcommands": "near",
}
"""How tyro heads the parts of a complaint."""
HEADS = ("", "Required options", "Parsing error", "Invalid choice")
"""Lines of a complaint that say nothing by themselves."""
LONGEST = 200
"""Most characters of a complaint that is passed on as it is."""


def typed(kind: Any, argv: Sequence[str], prog: str, **options: Any) -> Any:
    """A dataclass from arguments.

    Raises:
      UserError: an argument that is missing, unknown or of the wrong kind.
      SystemExit: with code 0, after the help text.
    """
    import tyro

    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(kind, args=list(argv), prog=prog, **options)
    except SystemExit as stop:
        if not stop.code:
            print(*PLUGIN.lines(), sep="\n")  # main takes it before tyro sees the line
            raise
    raise _one_line(complaint.getvalue(), prog)


def _one_line(complaint: str, prog: str) -> UserError:
    """The error of a complaint of tyro, which is a box of several lines.

    >>> print(_one_line("Unrecognized options: --ouy", "semiseg report"))
    semiseg report: does not know --ouy; see `semiseg report --help`
    """
    words: list[str] = []
    flags: dict[str, list[str]] = {"missing": [], "unknown": [], "near": []}
    part = ""
    for line in (line.strip(" │╭╮╰╯─") for line in complaint.splitlines()):
        part = next((key for start, key in PARTS.items() if line.startswith(start)), part)
        if line.startswith("For full helptext"):
            break
        if line.startswith("Missing from"):
            prog = line.removeprefix("Missing from ").rstrip(":")
        elif part == "unknown":
            names = line.removeprefix("Unrecognized options:").replace(",", " ")
            flags[part] += names.split()
        elif part:
            flags[part] += [word.rstrip(",") for word in line.split() if word.startswith("--")]
        elif line not in HEADS:
            words.append(line)
    help_is_at = f"; see `{prog} --help`"
    if flags["unknown"]:
        word = flags["unknown"][0]
        hint = did_you_mean(word, [*flags["missing"], *flags["near"]]) or help_is_at
        return UserError(f"{prog}: does not know {word}{hint}")
    if flags["missing"]:
        return UserError(f"{prog}: {', '.join(flags['missing'])} must be given{help_is_at}")
    reason = " ".join(words)[:LONGEST] or "arguments are missing"
    return UserError(f"{prog}: {reason}{help_is_at}")
