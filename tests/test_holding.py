"""Two commands at once: one writes to a folder, the other one says who does."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys
import threading

import pytest

from semiseg.cli.main import main
from semiseg.errors import UserError
from semiseg.files import Lock, NoLocks
from semiseg.holding import holding, lock_path

OWNER = {
    "command": "semiseg train",
    "host": "gpu3",
    "process": 4711,
    "since": "2026-11-28 03:52:10 UTC",
}
WORDS = "semiseg train is writing to it (process 4711 on gpu3, since 2026-11-28 03:52:10 UTC)"


@pytest.fixture
def held(tmp_path):
    """A folder that another process holds; this one holds it as that would."""
    place = tmp_path / "place"
    path = lock_path(place)
    lock = Lock(path)
    assert lock.take()
    path.write_text(json.dumps(OWNER))
    yield place
    lock.drop()


def refusal(words, capsys):
    """The one line of a command that stops with exit code 2."""
    capsys.readouterr()
    assert main([str(word) for word in words]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    return lines[0]


# ------------------------------------------------------------------ every command
COMMANDS = {
    "data import": "data import --source {source} --format folder --name place --root {root}",
    "data export": "data export nuclei --out {place}",
    "train": "train --data nuclei --out {place}",
    "evaluate": "evaluate {place}",
    "score": "score --data nuclei --predictions {source} --method x --labels 4 --out {place}",
    "gan fit": "gan fit --data nuclei --labels 4 --out {place}",
    "gan sample": "gan sample {source} --out {place}",
    "gan card": "gan card {source} --data nuclei --out {place}",
    "sweep": "sweep {source}/sweep.yaml --out {place}",
    "predict": "predict {source} --input {source} --output {place}",
    "export": "export {source} --out {place}",
    "export of several": "export {source} {source} --out {place}",
    "report": "report {source} --out {place}",
    "plan-study": "plan-study --subset-sd 0.02 --subjects 20 --json {place}",
    "import-weights": "import-weights {source} --out {place}.safetensors",
    "demo": "demo --out {place}",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_second_of_two_commands_on_one_folder_says_so(command, held, tmp_path, capsys):
    """Catches two imports of one name or two runs in one folder that both say they are done."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "sweep.yaml").write_text("method: grid\nparameters: {labels: {values: [4]}}\n")
    place = held
    if command == "import-weights":
        place = held.with_name("place.safetensors")
        lock_path(held).rename(lock_path(place))
    words = COMMANDS[command].format(source=source, root=tmp_path, place=held)
    line = refusal(words.split(), capsys)
    assert line == f"semiseg: error: {place}: {WORDS}; wait until it has ended, or stop it"
    assert {path.name for path in tmp_path.iterdir()} == {"source", lock_path(place).name}


# ------------------------------------------------------------------ the lock
def test_a_folder_that_is_held_is_let_go_and_nothing_stays(tmp_path):
    """Catches lock files and empty folders that every command leaves behind."""
    place = tmp_path / "new" / "deep" / "run"
    with holding(place, "semiseg train"), holding(place, "semiseg evaluate"):
        assert json.loads(lock_path(place).read_text())["process"] == os.getpid()
    assert not list(tmp_path.iterdir())


def test_threads_of_one_process_are_two_commands(tmp_path):
    """Catches two runs in one folder that a notebook starts in threads."""
    messages = []

    def second():
        try:
            with holding(tmp_path / "a", "semiseg train"):
                messages.append("both")
        except UserError as error:
            messages.append(str(error))

    with holding(tmp_path / "a", "semiseg train"):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert messages[0].startswith(f"{tmp_path / 'a'}: semiseg train is writing to it (process ")


HOLD = """
import sys, time
from semiseg.holding import holding
with holding(sys.argv[1], "semiseg train"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_death_frees_a_folder(tmp_path):
    """Catches a folder that stays blocked after a process was killed."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "a")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(UserError, match=f"process {process.pid} on "):
            with holding(tmp_path / "a", "semiseg train"):
                raise AssertionError("both hold it")
    finally:
        process.kill()
        process.wait()
    assert lock_path(tmp_path / "a").exists()
    with holding(tmp_path / "a", "semiseg evaluate"):
        assert "semiseg evaluate" in lock_path(tmp_path / "a").read_text()


def test_a_link_in_place_of_the_lock_is_not_followed(tmp_path):
    """Catches a received folder whose lock file leads to a file of the user's, which is emptied."""
    target = tmp_path / "mine.txt"
    target.write_text("mine")
    (tmp_path / "a").mkdir()
    lock_path(tmp_path / "a").symlink_to(target)
    with holding(tmp_path / "a", "semiseg train"):
        other = os.open(tmp_path / "a", os.O_RDONLY)
        with pytest.raises(BlockingIOError):  # the folder itself is locked instead
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(other)
    assert target.read_text() == "mine"


@pytest.mark.parametrize("owner", ["", "[]", '{"command": "\\u001b[2J"}', "\x00" * 9000])
def test_an_odd_lock_file_is_not_repeated(owner, held):
    """Catches a traceback, or a terminal's escapes, from what a stranger wrote into a lock file."""
    lock_path(held).write_text(owner)
    with pytest.raises(UserError, match="another process is writing to it"):
        with holding(held, "semiseg train"):
            raise AssertionError("both hold it")


def test_sweeps_share_their_folder_and_nothing_else_gets_in(tmp_path):
    """Catches workers of one sweep that keep each other out, and an export into their folder."""
    files = []
    place = tmp_path / "sweep"
    with holding(place, "semiseg sweep", shared=True) as first:
        assert first.alone
        first.share()
        files.append(os.open(lock_path(place), os.O_RDWR))
        fcntl.flock(files[0], fcntl.LOCK_SH | fcntl.LOCK_NB)  # a second sweep
        with pytest.raises(BlockingIOError):
            fcntl.flock(os.open(lock_path(place), os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB)
    with holding(place, "semiseg sweep", shared=True) as third:
        assert not third.alone
    with pytest.raises(UserError, match="semiseg sweep is writing to it"):
        with holding(place, "semiseg export"):
            raise AssertionError("both hold it")


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch, capsys):
    """Catches a sweep that skips every trial where flock fails, and a train that says nothing."""

    def flock(file, kind):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", flock)
    with holding(tmp_path / "a", "semiseg train"):
        note = capsys.readouterr().err
    assert note.startswith(f"note: {tmp_path / 'a'}: the file system has no locks (Function not")
    with pytest.raises(NoLocks, match="choose a folder on a file system with locks"):
        Lock(tmp_path / "b.lock").take()
    assert not Lock(tmp_path / "b.lock").is_taken()


STAYS = """
import threading, time
from semiseg import environment
environment.PATIENCE = 0.1
threading.Thread(target=time.sleep, args=(60,)).start()
print("before", end="")
raise SystemExit(environment.ended(2))
"""


def test_no_process_outlives_its_error():
    """Catches a train that has printed its error and stays, with threads of Orbax that wait for
    each other.
    """
    command = [sys.executable, "-c", STAYS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stdout) == (2, "before")
