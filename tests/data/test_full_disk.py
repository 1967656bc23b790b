"""A disk that fills in the middle of an import."""

import errno
import os
from pathlib import Path

import pytest

from semiseg.cli.main import main
from semiseg.data import array_records, data_card


def full_of_records(*_):
    """The error of the records' own writer."""
    raise RuntimeError(f"write() failed: {os.strerror(errno.ENOSPC)}; writing records; at byte 1")


def full_of_files(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    "module, name, full",
    [(array_records, "_check_size", full_of_records), (data_card, "card", full_of_files)],
)
def test_a_full_disk_leaves_no_set(module, name, full, pictures, tmp_path, monkeypatch, capsys):
    """Catches a traceback, half a set, and a folder that is left behind."""
    root = tmp_path / "root"
    words = ["data", "import", "--format=folder", f"--source={pictures}", "--name=own"]
    words += [f"--root={root}", "--subjects-are-images"]
    with monkeypatch.context() as patch:
        patch.setattr(module, name, full)
        assert main(words) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    expected = f"semiseg: error: {root}: cannot be written (No space left on device); free some"
    assert last.startswith(expected)
    assert list(root.glob("*own*")) == []
    assert main(words) == 0
    assert Path(root, "own", data_card.FILE).exists()
