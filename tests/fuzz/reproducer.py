"""The smallest input that still fails in the same way, as a folder with the command for it."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from fuzz import engine
from fuzz.engine import Case, Tree, Verdict

TRIES = 60
"""Runs that a shrinking may take."""


def write(case: Case, verdict: Verdict, out: Path) -> Path:
    """Shrink a case that fails and write it to a folder of ``out``; returns it.

    The folder holds ``input/``, and ``failure.txt`` with the command, the group and the details.
    """
    digest = hashlib.sha256(verdict.group.encode()).hexdigest()[:6]
    words = re.sub(r"[^\w.]+", "-", verdict.group)[:80].strip("-")
    folder = out / f"{case.kind.name}-{words}-{digest}"
    try:
        folder.mkdir(parents=True)
    except FileExistsError:  # of an earlier run, or of the other worker
        return folder
    smaller = shrunk(case, verdict.group)
    engine.write_tree(folder / "input", smaller.tree)
    changed = [name for name in smaller.tree if smaller.tree[name] != _before(smaller).get(name)]
    lines = (
        f"python -m fuzz --seed {case.seed} --kind {case.kind.name} --case {case.number}",
        f"seed input: {case.name}; mutation: {case.words}; files that differ: {changed}",
        f"failure: {verdict.group}",
        verdict.detail,
    )
    (folder / "failure.txt").write_text("\n".join(lines) + "\n", errors="replace")
    return folder


def _before(case: Case) -> Tree:
    return engine.seeds_of(case.kind)[case.name]


def shrunk(case: Case, group: str) -> Case:
    """The case with as many files and bytes of its seed as still give the same failure."""
    tries = TRIES

    def fails(tree: Tree) -> bool:
        nonlocal tries
        tries -= 1
        return engine.run_case(case._replace(tree=tree)).verdict.group == group

    before = _before(case)
    tree = dict(case.tree)
    for name in sorted({*before, *tree}):
        if tries and tree.get(name) != before.get(name):
            smaller = {key: value for key, value in tree.items() if key != name}
            if name in before:
                smaller[name] = before[name]
            if fails(smaller):
                tree = smaller
    for name, content in list(tree.items()):
        old = before.get(name)
        if isinstance(content, bytes) and isinstance(old, bytes) and len(old) == len(content):
            tree = _with_bytes_of(old, name, tree, fails)
        if tries <= 0:
            break
    return case._replace(tree=tree)


def _with_bytes_of(old: bytes, name: str, tree: Tree, fails: object) -> Tree:
    """The tree with runs of a file's bytes as they were, longest runs first."""
    assert callable(fails)
    runs = _differing(old, bytes(tree[name]))  # type: ignore[arg-type]
    while runs:
        start, end = runs.pop(0)
        content = bytearray(tree[name])  # type: ignore[arg-type]
        content[start:end] = old[start:end]
        smaller = {**tree, name: bytes(content)}
        if len(runs) < TRIES and fails(smaller):
            tree = smaller
    return tree


def _differing(first: bytes, second: bytes) -> list[tuple[int, int]]:
    """Where two contents of one length differ: beginnings and ends of runs.

    >>> _differing(b"abcd", b"axxd")
    [(1, 3)]
    """
    runs: list[tuple[int, int]] = []
    for place, (one, other) in enumerate(zip(first, second, strict=True)):
        if one == other:
            continue
        if runs and runs[-1][1] == place:
            runs[-1] = (runs[-1][0], place + 1)
        else:
            runs.append((place, place + 1))
    return runs[:12]
