"""What killed processes left under names of files that were not whole yet."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from semiseg import unfinished
from semiseg.files import write_text
from semiseg.holding import holding


@pytest.fixture
def dead():
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def leave(folder, dead):
    """Partial files: of a dead process and of this one, here and on another machine."""
    here = unfinished.host()
    names = {
        "dead": f"a.json.{here}-{dead}.tmp",
        "dead, old name": f"a.json.{dead}.tmp",
        "dead, with suffix": f".0123abcd.{here}-{dead}.tmp.nii.gz",
        "alive": f"b.json.{here}-{os.getpid()}.tmp",
        "elsewhere": f"c.json.000000-{dead}.tmp",
        "somebody's": "notes.tmp",
    }
    for name in names.values():
        (folder / name).write_text("half")
    return names


def test_writing_deletes_what_a_dead_writer_left(tmp_path, dead):
    """Catches litter for ever beside a file that is written without a lock, and a file taken away
    from somebody who writes it: this process, or one of another machine with the same number.
    """
    names = leave(tmp_path, dead)
    write_text(tmp_path / "a.json", "whole")
    left = {path.name for path in tmp_path.iterdir()}
    stays = {names[what] for what in ("alive", "elsewhere", "somebody's")}
    assert left == {"a.json", *stays}


def test_a_day_later_who_holds_the_folder_deletes_those_of_other_machines(tmp_path, dead):
    """Catches litter of machines that never come back, and haste."""
    names = leave(tmp_path, dead)
    with holding(tmp_path, "semiseg report"):
        assert (tmp_path / names["elsewhere"]).exists()
        assert not (tmp_path / names["dead"]).exists()
    os.utime(tmp_path / names["elsewhere"], (0, 0))
    with holding(tmp_path, "semiseg report"):
        assert not (tmp_path / names["elsewhere"]).exists()
        assert (tmp_path / names["alive"]).exists()
