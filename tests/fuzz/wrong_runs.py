"""Runs that do what none may, to see that the suite notices it.

``python -m fuzz.wrong_runs FOLDER`` prints what came of each as JSON. It is a process of its own:
one with threads, as pytest's workers are, should not be forked.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from fuzz import engine, reproducer
from fuzz.engine import FAILURE, REFUSED, Case, Kind, Place, Tree, Verdict


def refuses(place: Place) -> Verdict:
    return Verdict(REFUSED)


def raises(place: Place) -> Verdict:
    raise KeyError("a")


def ends(place: Place) -> Verdict:
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


def needs_the_last_defence(place: Place) -> Verdict:
    from semiseg.cli import main

    def unforeseen(argv: list[str]) -> int:
        raise ZeroDivisionError

    main._main_of = lambda name: unforeseen  # type: ignore[assignment]
    outcome = engine.command("report", "runs")
    return engine.judged(outcome) or Verdict(REFUSED)


def says_two_lines(place: Place) -> Verdict:
    outcome = engine.Outcome(2, "", "semiseg: error: a\nsemiseg: error: b\n")
    return engine.judged(outcome) or Verdict(REFUSED)


WRONG = {
    raises: "KeyError",
    ends: "exit",
    asks_for_memory: "MemoryError",
    writes_outside: "written outside",
    changes_its_input: "input changed",
    runs_code: "code ran",
    needs_the_last_defence: "ZeroDivisionError",
    says_two_lines: "not one line",
}
"""Run → how the group of its failure begins."""


def fails_for_one_byte(place: Place) -> Verdict:
    if (place.input / "a.txt").read_bytes()[1:2] == b"O":
        return Verdict(FAILURE, "one byte")
    return Verdict(REFUSED)


def case_of(run: object, tree: Tree | None = None) -> Case:
    """A case whose run is a function."""
    assert callable(run)
    tree = tree or {"a.txt": b"good"}
    name = f"test of {run.__name__}"  # type: ignore[attr-defined]
    kind = Kind(name, lambda: {"a": {"a.txt": b"good"}}, lambda tree, rng: "", run)
    return Case(kind, 0, 0, "a", tree, "")


def main(folder: Path) -> None:
    """Run all, and write the reproducer of one to a folder."""
    verdicts = {run.__name__: engine.run_case(case_of(run)).verdict for run in (*WRONG, refuses)}
    case = case_of(fails_for_one_byte, {"a.txt": b"gOoD", "b.txt": b"new"})
    reproducer.write(case, Verdict(FAILURE, "one byte"), folder)
    print(json.dumps({name: verdict[:2] for name, verdict in verdicts.items()}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
