"""A few mutated inputs of every kind, the same each time; ``make fuzz`` runs thousands."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fuzz import engine, reproducer
from fuzz.engine import FAILURE, REFUSED, Case, Kind, Place, Verdict
from fuzz.registry import kinds

TESTS = Path(__file__).resolve().parents[1]
SEED = 19
INPUTS = 4
NAMES = [kind.name for kind in kinds()]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Kind → results of its inputs, by a process that has no threads when it is forked."""
    folder = tmp_path_factory.mktemp("fuzz")
    flags = ("--seed", SEED, "--each", INPUTS, "--jobs", 1, "--json", folder / "results.json")
    words = [sys.executable, "-m", "fuzz", *flags, "--out", folder / "failures"]
    finished = subprocess.run([str(word) for word in words], cwd=TESTS, capture_output=True)
    assert finished.returncode in (0, 1), finished.stderr.decode()
    by_kind = {}
    for line in json.loads((folder / "results.json").read_text()):
        by_kind.setdefault(line["kind"], []).append(line)
    return by_kind


@pytest.mark.parametrize("name", NAMES)
def test_mutated_inputs(name, results):
    assert len(results[name]) == INPUTS
    failures = [line for line in results[name] if line["result"] == FAILURE]
    assert not failures, f"python -m fuzz --seed {SEED} --kind {name} --case NUMBER, in tests/"


# ------------------------------------------------------------------ the engine sees what is wrong
def case_of(run, tree=None) -> Case:
    """A case whose run is a function."""
    tree = tree or {"a.txt": b"good"}
    kind = Kind(f"test of {run.__name__}", lambda: {"a": {"a.txt": b"good"}}, None, run)
    return Case(kind, 0, 0, "a", tree, "")


def refuses(place: Place) -> Verdict:
    return Verdict(REFUSED)


def raises(place: Place) -> Verdict:
    raise KeyError("a")


def ends(place: Place) -> Verdict:
    import os

    os._exit(3)


def asks_for_memory(place: Place) -> Verdict:
    return Verdict(REFUSED, detail=str(len(bytes(5 << 30))))


def writes_outside(place: Place) -> Verdict:
    (place.work.parent / "evil").write_text("x")
    return Verdict(REFUSED)


def changes_its_input(place: Place) -> Verdict:
    (place.input / "a.txt").write_text("x")
    return Verdict(REFUSED)


def runs_code(place: Place) -> Verdict:
    subprocess.run(["true"], check=True)
    return Verdict(REFUSED)


WRONG = {
    raises: "KeyError",
    ends: "exit",
    asks_for_memory: "MemoryError",
    writes_outside: "written outside",
    changes_its_input: "input changed",
    runs_code: "code ran",
}


@pytest.mark.parametrize("run", WRONG, ids=lambda run: run.__name__)
def test_the_engine_sees_what_is_wrong(run):
    """Catches a suite that cannot fail."""
    verdict = engine.run_case(case_of(run)).verdict
    assert verdict.result == FAILURE and verdict.group.startswith(WRONG[run])


def test_a_refusal_is_no_failure():
    assert engine.run_case(case_of(refuses)).verdict.result == REFUSED


def fails_for_one_byte(place: Place) -> Verdict:
    if (place.input / "a.txt").read_bytes()[1:2] == b"O":
        return Verdict(FAILURE, "one byte")
    return Verdict(REFUSED)


def test_a_reproducer_holds_what_is_needed_alone(tmp_path):
    case = case_of(fails_for_one_byte, {"a.txt": b"gOoD", "b.txt": b"new"})
    folder = reproducer.write(case, Verdict(FAILURE, "one byte"), tmp_path)
    assert [path.name for path in (folder / "input").iterdir()] == ["a.txt"]
    assert (folder / "input" / "a.txt").read_bytes() == b"gOod"
    assert "--seed 0" in (folder / "failure.txt").read_text()
