"""How an import of a hostile set ends: in one line, with little memory, and with nothing stored."""

import resource
from contextlib import contextmanager

from layouts import LAYOUTS

from semiseg.cli.main import main

MOST = 1 << 30
"""Bytes by which a refusal may grow."""


@contextmanager
def little_memory():
    """Catches an allocation that a header asked for."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown * 1024 < MOST


def refused(name, source, root, capsys):
    """The one line that refuses a set; nothing is stored."""
    flags = []
    for option, value in LAYOUTS[name].options.items():
        flags.append(f"--{option.replace('_', '-')}={value}")
    where = ["--source", str(source), "--format", name, *flags]
    capsys.readouterr()
    with little_memory():
        code = main(["data", "import", "--name", "x", "--root", str(root), *where])
    error = capsys.readouterr().err.strip().splitlines()
    assert code == 2
    assert len([line for line in error if line.startswith("semiseg: error")]) == 1
    assert not root.exists() or list(root.iterdir()) == []
    return error[-1]


def refused_with(source, root, capsys, *flags):
    """The last line of an import that is refused."""
    capsys.readouterr()
    where = ["--source", str(source), "--name", "x", "--root", str(root), *flags]
    assert main(["data", "import", *where]) == 2
    return capsys.readouterr().err.strip().splitlines()[-1]
