"""The exhaustive changes: all are made, and what a reader does wrong is counted.

``python -m fuzz.test_every_byte READER`` runs one in a process that has no threads when it is
forked.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fuzz import every_byte
from fuzz.engine import DIFFERENT, FAILURE, Kind, Verdict

TESTS = Path(__file__).resolve().parents[1]
BYTES = 2
SEED = {"one": {"p7.bin": b"abc"}}


def first_byte(place):
    return (place.input / "p7.bin").read_bytes()[0]


def fails_at_nine(place):
    return Verdict(FAILURE if first_byte(place) == 9 else DIFFERENT, "nine")


def fails_without_a(place):
    return Verdict(DIFFERENT if first_byte(place) == ord("a") else FAILURE, "no a")


def ends_at_nine(place):
    return os._exit(3) if first_byte(place) == 9 else Verdict(DIFFERENT)


# of all ways to change the first byte one leaves it as it is: it is doubled
@pytest.mark.parametrize(
    "reader, failed, words",
    [
        (fails_at_nine, 1, "way='set to 9'): nine"),
        (fails_without_a, len(every_byte.WAYS) - 1, "no a"),
        (ends_at_nine, 1, "the process ended"),
    ],
)
def test_every_wrong_verdict_is_counted(reader, failed, words):
    """Catches changes that are left out, made to another byte or judged from an earlier file, and
    files that nobody reads after one at which the process ends.
    """
    argv = [sys.executable, "-m", "fuzz.test_every_byte", reader.__name__]
    finished = subprocess.run(argv, cwd=TESTS, capture_output=True, text=True)
    files = BYTES * len(every_byte.WAYS)
    assert f"scan.made: {files} of {files} files, {failed} failed" in finished.stdout
    assert words in finished.stdout


if __name__ == "__main__":
    made = Kind("scan.made", lambda: SEED, lambda tree, rng: "", globals()[sys.argv[1]])
    every_byte._all_of(made, BYTES, seconds=60)
