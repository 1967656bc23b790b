"""Faults put into semiseg, to see that the oracles of reports, pseudonyms and generators notice
them.

``python -m fuzz.wrong_products`` prints what came of each as JSON, in a process of its own as
:mod:`fuzz.wrong_runs`. A patch stands while a case is forked.
"""

from __future__ import annotations

import dataclasses
import json
import math
import struct
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, NamedTuple
from unittest import mock

import numpy as np

from fuzz import engine
from fuzz.engine import Case, Tree
from fuzz.registry import kinds

TABLE = "runs/supervised-n4-j0-s0/per_subject.csv"
WEIGHTS = "generator/weights.safetensors"
Patch = AbstractContextManager[Any]


# ------------------------------------------------------------------ damage to inputs
def nothing(tree: Tree) -> None:
    """The good input."""


def cut_table(tree: Tree) -> None:
    """A run whose scores end in the middle of a row."""
    tree[TABLE] = bytes(tree[TABLE])[:-12]  # type: ignore[arg-type]


def flat_tensor(tree: Tree) -> None:
    """Weights of which one tensor has as many numbers in another shape."""
    content = bytes(tree[WEIGHTS])  # type: ignore[arg-type]
    length = struct.unpack_from("<Q", content)[0]
    header = json.loads(content[8 : 8 + length])
    name = next(name for name in sorted(header) if len(header[name].get("shape", ())) > 1)
    header[name]["shape"] = [math.prod(header[name]["shape"])]
    text = json.dumps(header).encode()
    tree[WEIGHTS] = struct.pack("<Q", len(text)) + text + content[8 + length :]


# ------------------------------------------------------------------ faults of the product
def says_no_problem() -> Patch:
    """Runs that cannot be read are left out without a word."""
    from semiseg.analysis import load

    read = load._read_folders
    return mock.patch.object(load, "_read_folders", lambda folders: (read(folders)[0], []))


def skips_the_first_run() -> Patch:
    from semiseg.analysis import load

    read = load._read_folders
    return mock.patch.object(load, "_read_folders", lambda folders: read(folders[1:]))


def raises_for_a_bad_table() -> Patch:
    from semiseg.analysis import load

    return mock.patch.object(load, "read_scores", mock.Mock(side_effect=KeyError("value")))


def changes_cells(key: str, by: float) -> Callable[[], Patch]:
    """A number of each cell of ``--json`` is another."""

    def patch() -> Patch:
        from semiseg.report import json_rows

        rows = json_rows.cell_rows

        def wrong(study: Any) -> list[dict[str, Any]]:
            return [row | {key: row[key] + by} for row in rows(study)]

        return mock.patch.object(json_rows, "cell_rows", wrong)

    return patch


def miscounts_on_the_page() -> Patch:
    from semiseg.report import page

    render = page._render

    def wrong(*parts: Any) -> str:
        return render(*parts).replace("4 runs: ", "5 runs: ")

    return mock.patch.object(page, "_render", wrong)


def adds_to_rows() -> Patch:
    """results.csv counts a subject more than there is."""
    from semiseg.analysis.runs import Run

    rows = Run.rows

    def wrong(run: Run) -> Iterator[tuple[Any, ...]]:
        for row in rows(run):
            yield (*row[:-1], row[-1] + 1)

    return mock.patch.object(Run, "rows", wrong)


def takes_half_the_key() -> Patch:
    from semiseg.data.pseudonyms import Pseudonyms

    hashed = Pseudonyms._hash

    def wrong(self: Pseudonyms, what: str, text: str) -> str:
        return hashed(Pseudonyms(self.key[:16]), what, text)

    return mock.patch.object(Pseudonyms, "_hash", wrong)


def stores_names() -> Patch:
    from semiseg.data.pseudonyms import Pseudonyms

    replaced = Pseudonyms._ref

    def wrong(self: Pseudonyms, ref: Any, names: dict[str, str]) -> Any:
        return dataclasses.replace(replaced(self, ref, names), name=ref.name)

    return mock.patch.object(Pseudonyms, "_ref", wrong)


def loads_zeros() -> Patch:
    """The first tensor of the generator is not that of its file."""
    import jax

    from semiseg.generators import sample

    load = sample.load_weights

    def wrong(path: Any, like: Any) -> tuple[Any, dict[str, Any]]:
        weights, header = load(path, like)
        first, *others = jax.tree.leaves(weights)
        leaves = [np.zeros_like(first), *others]
        return jax.tree.unflatten(jax.tree.structure(weights), leaves), header

    return mock.patch.object(sample, "load_weights", wrong)


def takes_any_shape() -> Patch:
    from semiseg.train import checkpoint

    return mock.patch.object(checkpoint, "_fits", lambda array, wanted: array is not None)


class Fault(NamedTuple):
    """A fault of the product, in front of which input, and how its failure begins."""

    kind: str
    patch: Callable[[], Patch]
    damage: Callable[[Tree], None]
    group: str


REPORT = "report of damaged runs"
FAULTS = {
    "no word": Fault(REPORT, says_no_problem, cut_table, "silent report: runs"),
    "no run": Fault(REPORT, skips_the_first_run, nothing, "silent report: runs"),
    "raises": Fault(REPORT, raises_for_a_bad_table, cut_table, "KeyError"),
    "runs": Fault(REPORT, changes_cells("n_runs", 1), nothing, "silent report: number of runs"),
    "mean": Fault(REPORT, changes_cells("mean", 0.01), nothing, "silent report: mean of a cell"),
    "page": Fault(REPORT, miscounts_on_the_page, nothing, "silent report: number of runs on the"),
    "rows": Fault(REPORT, adds_to_rows, nothing, "silent report: a row of no run"),
    "names of runs": Fault("report", skips_the_first_run, nothing, "silent report: runs"),
    "key": Fault("pseudonyms", takes_half_the_key, nothing, "pseudonyms: another key"),
    "names": Fault("pseudonyms", stores_names, nothing, "pseudonyms: a name"),
    "numbers": Fault("generator", loads_zeros, nothing, "silent generator: other numbers"),
    "shape": Fault("generator", takes_any_shape, flat_tensor, "silent generator: another shape"),
}
"""What is wrong → the fault."""


def main() -> None:
    """Run one case before each fault."""
    chosen = {kind.name: kind for kind in kinds(("report", "pseudonyms", "generator"))}
    engine.warm(chosen.values())
    groups = {}
    for name, fault in FAULTS.items():
        kind = chosen[fault.kind]
        ((seed, tree),) = engine.seeds_of(kind).items()
        damaged = dict(tree)
        fault.damage(damaged)
        case = Case(kind, 0, 0, seed, damaged, "")
        before = engine.run_case(case).verdict
        with fault.patch():
            after = engine.run_case(case).verdict
        groups[name] = (before[:2], after[:2])
    print(json.dumps(groups))


if __name__ == "__main__":
    main()
