"""The exhaustive changes: all are made, and what a reader does wrong is counted."""

import os

from fuzz import every_byte
from fuzz.engine import DIFFERENT, FAILURE, Kind, Verdict

SEED = {"one": {"p7.bin": b"abc"}}


def run_on(read):
    kind = Kind("scan.made", lambda: SEED, lambda tree, rng: "", read)
    return every_byte._all_of(kind, most=2, seconds=60)


def first_byte(place):
    return (place.input / "p7.bin").read_bytes()[0]


def test_every_wrong_verdict_is_counted(capsys):
    """Catches changes that are left out, made to another byte, or judged from an earlier file."""
    wrong = run_on(lambda place: Verdict(FAILURE if first_byte(place) == 9 else DIFFERENT, "nine"))
    assert wrong == 1
    files = 2 * len(every_byte.WAYS)
    output = capsys.readouterr().out
    assert f"{files:,} of {files:,} files, 1 failed" in output
    assert "way='set to 9'): nine" in output
    assert run_on(lambda place: Verdict(FAILURE if first_byte(place) != 97 else DIFFERENT)) > 20


def test_a_reader_that_ends_the_process_is_counted(capsys):
    """Catches files after it that nobody reads."""
    wrong = run_on(lambda place: os._exit(3) if first_byte(place) == 9 else Verdict(DIFFERENT))
    assert wrong == 1
    files = 2 * len(every_byte.WAYS)
    assert f"{files:,} of {files:,} files, 1 failed" in capsys.readouterr().out
