"""The suite knows every command there is."""

import contextlib
import io
import re

from commands import COMMANDS

from semiseg.cli import main as door
from semiseg.methods import METHODS
from semiseg.nets import NETS

SUBCOMMANDS = re.compile(r"semiseg (?P<command>[a-z-]+)(?: (?P<word>[a-z]+)(?= ))?")
IN_BRACES = re.compile(r"usage: semiseg (?P<command>[a-z-]+) .*\{(?P<words>[a-z,]+)\}")


def help_of(command):
    """What a command prints for --help."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        door.main([command, "--help"])
    return out.getvalue()


def commands_in(text):
    """The commands that a help text begins with, a line each or in braces.

    >>> sorted(commands_in("usage: semiseg sweep FILE\\n       semiseg sweep status DIR\\n\\n…"))
    ['sweep', 'sweep status']
    """
    usage = text.split("\n\n")[0]
    braces = IN_BRACES.search(usage)
    if braces:
        return {f"{braces['command']} {word}" for word in braces["words"].split(",")}
    found = [SUBCOMMANDS.search(line) for line in usage.splitlines()]
    return {" ".join(filter(None, match.groups())) for match in found if match}


def test_the_suite_has_every_command():
    """Catches a new command, or a new subcommand, that meets no fault."""
    there = set()
    for name in door.COMMANDS:
        commands = commands_in(help_of(name))
        assert commands and all(command.split()[0] == name for command in commands), name
        there |= commands
    tested = {" ".join(command.words[:n]) for command in COMMANDS.values() for n in (1, 2)}
    assert there - tested == set()
    assert len(there) > 25


def test_what_the_suite_measures_is_there():
    """Catches a method or network that got another name: no case of its command would begin."""
    for name, known in (("bench methods", METHODS), ("bench nets", NETS)):
        (only,) = [word for word in COMMANDS[name].words if word.startswith("--only=")]
        for member in only.removeprefix("--only=").split(","):
            assert member in known, name
