"""A few mutated inputs of every kind, the same each time; ``make fuzz`` runs thousands."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fuzz.engine import FAILURE, REFUSED
from fuzz.registry import kinds
from fuzz.wrong_products import FAULTS
from fuzz.wrong_runs import WRONG

TESTS = Path(__file__).resolve().parents[1]
SEED = 19
INPUTS = 3
NAMES = [kind.name for kind in kinds()]


def run_alone(*words):
    """Run a module of the suite in a process that has no threads when it is forked."""
    argv = [sys.executable, "-m", *map(str, words)]
    finished = subprocess.run(argv, cwd=TESTS, capture_output=True)
    assert finished.returncode in (0, 1), finished.stderr.decode()
    return finished


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Kind → results of its inputs."""
    folder = tmp_path_factory.mktemp("fuzz")
    flags = ("--seed", SEED, "--each", INPUTS, "--jobs", 1, "--json", folder / "results.json")
    run_alone("fuzz", *flags, "--out", folder / "failures")
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
@pytest.fixture(scope="module")
def wrong(tmp_path_factory):
    """What came of runs that do what none may, and the folder of a reproducer."""
    folder = tmp_path_factory.mktemp("wrong")
    finished = run_alone("fuzz.wrong_runs", folder)
    assert finished.returncode == 0, finished.stderr.decode()
    return json.loads(finished.stdout.splitlines()[-1]), folder


@pytest.mark.parametrize("run", WRONG, ids=lambda run: run.__name__)
def test_the_engine_sees_what_is_wrong(run, wrong):
    """Catches a suite that cannot fail."""
    result, group = wrong[0][run.__name__]
    assert result == FAILURE and group.startswith(WRONG[run])


def test_a_refusal_is_no_failure(wrong):
    assert wrong[0]["refuses"][0] == REFUSED


def test_a_reproducer_holds_what_is_needed_alone(wrong):
    (folder,) = wrong[1].iterdir()
    assert [path.name for path in (folder / "input").iterdir()] == ["a.txt"]
    assert (folder / "input" / "a.txt").read_bytes() == b"gOod"
    assert "--seed 0" in (folder / "failure.txt").read_text()


# ------------------------------------------------------------------ oracles see what is wrong
@pytest.fixture(scope="module")
def noticed():
    """Fault of the product → what came of one input without it, and with it."""
    finished = run_alone("fuzz.wrong_products")
    assert finished.returncode == 0, finished.stderr.decode()
    return json.loads(finished.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", FAULTS)
def test_the_oracle_sees_a_fault_of_the_product(name, noticed):
    """Catches an oracle that passes whatever a report, an import or a generator says."""
    before, after = noticed[name]
    assert before[0] != FAILURE
    assert after[0] == FAILURE and after[1].startswith(FAULTS[name].group)
