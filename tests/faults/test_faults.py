"""A seeded sample of the suite of faults; `make faults` runs all of it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from injection import Fault, changed, needs_space

SUITE = Path(__file__).with_name("suite.py")


def test_commands_go_on_after_a_fault(tmp_path):
    """Catches half a set, a run folder that the same command refuses, litter of a killed export."""
    words = [sys.executable, str(SUITE), f"--work={tmp_path}", "--most=1", "--seed=1"]
    words += ["--kinds", "kill", "cut", "full", "--commands", "data import", "data export", "score"]
    environment = os.environ | {"PYTHONPATH": str(SUITE.parents[2])}
    done = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=280)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "9 cases, 0 failed" in done.stdout


def test_the_suite_sees_a_command_that_does_not_go_on(tmp_path, monkeypatch):
    """Catches a suite that is blind: half a file under its last name, one that is not made anew."""
    from contents import differences, halves

    before = {"a": b"old"}
    after = {"a": b"new", "b": b"new"}
    assert list(halves({"a": b"ne"}, before, after)) == ["a is neither old nor new"]
    assert list(halves({"a": b"old", "b": b"new"}, before, after)) == []
    assert list(differences({"a": b"new"}, after)) == ["b is missing"]


@pytest.mark.parametrize(
    "event, args, path",
    [
        ("open", ("/a", "r", os.O_RDONLY), None),
        ("open", ("/a", "a", os.O_WRONLY), "/a"),
        ("os.rename", ("/a", "/b", -1, -1), "/b"),
        ("os.remove", ("/a/../b", -1), "/b"),
    ],
)
def test_changes_are_seen(event, args, path):
    """Catches a kind of change that no fault comes before."""
    assert changed(event, args) == path


def test_a_full_disk_lets_locks_be_opened(tmp_path):
    """Catches a fault that no real disk has."""
    lock = tmp_path / "lock"
    assert needs_space("open", str(lock), (str(lock), "a", os.O_APPEND))
    lock.touch()
    assert not needs_space("open", str(lock), (str(lock), "a", os.O_APPEND))
    assert Fault().kind == ""
