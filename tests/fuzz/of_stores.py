"""Imported data sets and their ledgers, as ``semiseg data check``, ``list`` and training read them.

Ledgers name each other by path, so that a root is named relative to the working folder: its name
is the same in every case.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from guards.guard_tools import MADE

from fuzz import engine, mutate_arrays, mutate_bytes, mutate_text
from fuzz.engine import DIFFERENT, FAILURE, REFUSED, SAME, Kind, Place, Tree, Verdict, judged
from fuzz.of_sets import IMPORTS, command_of

ROOT = "../input/root"
STATE = "../input/state"
NAME = "x"
EVALUATIONS = 2
LEDGERS = ("ledger.jsonl", "seals.jsonl")


def seeds() -> dict[str, Tree]:
    """A set of pictures whose test split was read twice, and one of volumes without a ledger."""

    def pictures(folder: Path) -> None:
        from semiseg.data import importing, store, wall

        source = MADE / "discs_source"
        importing.import_set("folder", source, NAME, ROOT, progress=False, classes="a,b")
        for run in range(EVALUATIONS):
            wall.record_evaluation(store.info(NAME, ROOT), f"runs/{run}", "semiseg evaluate")

    def volumes(folder: Path) -> None:
        import layouts

        from semiseg.data import importing

        layouts.LAYOUTS["nnunet"].write(folder / "source")
        importing.import_set("nnunet", folder / "source", NAME, ROOT, progress=False)

    return {"pictures": _made(pictures), "volumes": _made(volumes)}


def _made(write: Callable[[Path], None]) -> Tree:
    """What is imported into :data:`ROOT`."""

    def inside(folder: Path) -> None:
        (folder / "work").mkdir()
        os.chdir(folder / "work")
        with _state():
            write(folder)

    tree = engine.written(inside)
    start = "input/"
    return {
        name.removeprefix(start): content
        for name, content in tree.items()
        if name.startswith(start) and not name.endswith(".lock")
    }


@contextlib.contextmanager
def _state() -> Iterator[None]:
    """With the user's ledgers in :data:`STATE`."""
    before = os.environ.get("XDG_STATE_HOME")
    os.environ["XDG_STATE_HOME"] = STATE
    try:
        yield
    finally:
        os.environ.pop("XDG_STATE_HOME")
        if before is not None:
            os.environ["XDG_STATE_HOME"] = before


# ------------------------------------------------------------------ mutations
def mutate(tree: Tree, rng: Random) -> str:
    """Change a file of the set by its format."""
    names = [name for name in sorted(tree) if name.startswith(f"root/{NAME}/")]
    names = [name for name in names if not _is_ledger(name)]
    if rng.random() < 0.08:
        inner = {name: tree.pop(name) for name in names}
        words = mutate_text.folder(inner, rng)
        tree.update(inner)
        return words
    name = rng.choice(names)
    if rng.random() < 0.35:
        name = f"root/{NAME}/semiseg.json"
    return mutate_bytes.mutate_one(tree, rng, _change_of(name), name.__eq__)


def _change_of(name: str) -> mutate_bytes.Change:
    if name.endswith(".npz"):
        return mutate_arrays.npz
    if name.endswith((".json", ".csv")):
        return mutate_text.text
    return mutate_bytes.any_bytes


def _is_ledger(name: str) -> bool:
    return name.endswith(".jsonl")


def mutate_ledger(tree: Tree, rng: Random) -> str:
    """Change, shorten, empty or remove one ledger, or change a line of it."""
    names = [name for name in sorted(tree) if _is_ledger(name)]
    if not names or "ledger" not in str(names):
        return "nothing"
    name = rng.choice(names)
    content = tree[name]
    assert isinstance(content, bytes)
    lines = content.splitlines(keepends=True)
    which = rng.randrange(len(lines))
    how = rng.choice(("value", "value", "bytes", "removed", "doubled", "moved", "cut", "gone"))
    words = ""
    if how == "value":
        line, words = mutate_text.of_json(lines[which], rng)
        lines[which] = line + b"\n"
    elif how == "bytes":
        tree[name], words = mutate_bytes.any_bytes(content, rng)
        return f"{name}: {words}"
    elif how == "removed":
        del lines[which]
    elif how == "doubled":
        lines.insert(which, lines[which])
    elif how == "moved":
        lines.append(lines.pop(which))
    elif how == "cut":
        lines[-1] = lines[-1][: rng.randrange(len(lines[-1]))]
    tree[name] = b"".join(lines)
    if how == "gone":
        del tree[name]
    return f"{name}: line {which + 1} {how} {words}"


# ------------------------------------------------------------------ runs
def check(place: Place) -> Verdict:
    """Check the set, list it and read it: what differs from the import is said by the check."""
    os.environ["XDG_STATE_HOME"] = STATE
    outcome = command_of("check", {"name": NAME, "root": Path(ROOT)})
    refused = judged(outcome, (0, 1))
    if refused is not None and refused.result == FAILURE:
        return refused
    other = _others(place, refused is not None)
    if other is not None:
        return other
    if refused is not None:
        return refused
    if outcome.code == 1:
        if "problems found" in outcome.out:
            return Verdict(FAILURE, "exit 1 without a problem", outcome.out)
        return Verdict(DIFFERENT, detail=outcome.out)
    return _compared(place)


def _others(place: Place, damaged: bool) -> Verdict | None:
    """Run other commands on the set; None where they do what they should.

    Args:
      place: of the case.
      damaged: the description was refused.
    """
    draw = place.rng.random()
    if draw < 0.3:
        outcome = command_of("list", {"root": Path(ROOT)})
        wrong = judged(outcome, (0, 1))
        if wrong is None and (place.input / "root" / NAME / "semiseg.json").is_file():
            named = [line for line in outcome.out.splitlines() if line.startswith(f"{NAME} ")]
            if len(named) != 1:
                return Verdict(FAILURE, "list hides the set", outcome.out + outcome.err)
        return wrong
    if draw < 0.5:
        wrong = judged(command_of("describe", {"name": NAME, "root": Path(ROOT)}))
    elif draw < 0.6:
        fields = {"name": NAME, "out": place.work / "out", "root": Path(ROOT)}
        wrong = judged(command_of("export", {**fields, "without_test": True}))
    else:
        wrong = None
    return wrong if wrong is not None and wrong.result == FAILURE else None


def _compared(place: Place) -> Verdict:
    """Whether a set that the check calls whole is the one that was imported."""
    from semiseg.data import store
    from semiseg.errors import UserError

    try:
        facts = _facts(ROOT)
        facts["evaluations"] = store.history(NAME, ROOT).evaluations
    except UserError as error:
        return Verdict(REFUSED, detail=str(error))
    with tempfile.TemporaryDirectory(dir=place.work) as folder:
        engine.write_tree(Path(folder), place.seed)
        before = _facts(f"{folder}/root")
    before["evaluations"] = EVALUATIONS * (place.name == "pictures")
    for key, value in before.items():
        if facts[key] != value:
            words = f"{key}: {facts[key]} for {value}"
            return Verdict(FAILURE, f"silent store: {key}", words)
    return Verdict(SAME)


def _facts(root: str) -> dict[str, Any]:
    """All that is known of the set, and hashes of its cases."""
    from semiseg.data import splits_csv, store

    known = store.info(NAME, root)
    facts = {key: value for key, value in dataclasses.asdict(known).items() if key != "root"}
    for split in ("train", "val"):
        if known.number(split):
            facts[split] = [_hash(case) for case in store.open_split(NAME, split, root)]
    facts["rows"] = splits_csv.read(known.folder)
    return facts


def _hash(case: Any) -> str:
    parts = [repr((case.subject, case.name, case.volume, case.index, case.group, case.spacing))]
    for array in (case.image, case.label):
        parts.append(
            hashlib.sha256(np.ascontiguousarray(array)).hexdigest() if array is not None else ""
        )
    return " ".join(parts)


KINDS = (
    Kind("store", seeds, mutate, check, 1.0, (*IMPORTS, "semiseg.data.describe"), True),
    Kind("ledger", seeds, mutate_ledger, check, 0.7, IMPORTS, True),
)
