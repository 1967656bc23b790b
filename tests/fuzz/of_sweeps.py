"""Sweep files, the folders of sweeps, and the journals of searches."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

import yaml
from guards.guard_tools import MADE

from fuzz import mutate_bytes, mutate_text
from fuzz.engine import (
    DIFFERENT,
    FAILURE,
    REFUSED,
    SAME,
    Kind,
    Place,
    Tree,
    Verdict,
    command,
    judged,
    read_tree,
    written,
)
from fuzz.of_runs import changed_values, mutate

SEARCH = {
    "method": "bayes",
    "run_cap": 5,
    "metric": {"name": "val_dice", "goal": "maximize"},
    "parameters": {
        "method": {"values": ["supervised", "bcp"]},
        "lr": {"min": 1e-4, "max": 1e-2, "distribution": "log_uniform_values"},
        "labels": {"values": [2, 4]},
        "seed": {"min": 0, "max": 4},
    },
}


# ------------------------------------------------------------------ sweep files
def sweep_files() -> dict[str, Tree]:
    """A grid, and a random search with every distribution."""
    axes = {
        "method": {"values": ["mean_teacher", "bcp"]},
        "lr": {"min": 1e-4, "max": 1e-2, "distribution": "log_uniform_values"},
        "labels": {"values": [2, 4], "probabilities": [0.3, 0.7]},
        "weight_decay": {"distribution": "normal", "mu": 0.01, "sigma": 0.001},
        "seed": {"min": 0, "max": 4},
    }
    drawn = {
        "method": "random",
        "run_cap": 4,
        "metric": {"name": "val_dice", "goal": "maximize"},
        "early_terminate": {"type": "hyperband", "max_iter": 27, "s": 2, "eta": 3},
        "parameters": axes,
    }
    return {
        "grid": {"sweep.yaml": (MADE / "sweep.yaml").read_bytes()},
        "random": {"sweep.yaml": yaml.safe_dump(drawn).encode()},
    }


def run_sweep(place: Place) -> Verdict:
    """Make every trial of the sweep, as the command does before it runs one; the values of each
    are those that the file allows, and ``sweep status`` counts the trials.
    """
    from semiseg.sweeps.spec import points, read

    out = place.work / "out"
    out.mkdir()
    path = out / "sweep.yaml"
    path.write_bytes((place.input / "sweep.yaml").read_bytes())
    outcome = command("sweep", "status", out)
    refused = judged(outcome)
    if refused is not None:
        return refused
    made = points(read(path))
    stated = yaml.safe_load(path.read_text(encoding="utf-8"))
    words = wrong_points(made, stated)
    if not words and f" of {len(made)} done" not in outcome.out:
        words = f"number: {outcome.out}"
    if words:
        return Verdict(FAILURE, f"silent sweep: {words.partition(':')[0]}", words)
    path.write_bytes(place.seed["sweep.yaml"])
    if points(read(path)) == made:
        return Verdict(SAME)
    return Verdict(DIFFERENT, detail="trials with the values that the file states")


def wrong_points(made: Mapping[str, Mapping[str, Any]], stated: Mapping[str, Any]) -> str:
    """What of the trials the file does not say; "" for nothing."""
    leaves = dict(_leaves(stated["parameters"]))
    for name, point in made.items():
        for key, value in point.items():
            leaf = leaves.get(key)
            if leaf is None:
                return f"a parameter that the file lacks: {key} of {name}"
            if not _allowed(value, leaf):
                return f"a value that the file does not allow: {key} {value} of {name}"
    if stated.get("method") == "grid":
        axes = [_values(leaf) for leaf in leaves.values()]
        number = len(list(itertools.product(*axes)))
        if stated.get("run_cap") is not None:
            number = min(number, stated["run_cap"])
        if len(made) != number:
            return f"number of trials: {len(made)}, of the file {number}"
    return ""


def _leaves(parameters: Mapping[str, Any], prefix: str = "") -> Any:
    for name, leaf in parameters.items():
        if "parameters" in leaf:
            yield from _leaves(leaf["parameters"], f"{prefix}{name}.")
        else:
            yield prefix + name, leaf


def _values(leaf: Mapping[str, Any]) -> list[Any]:
    """The values of an axis of a grid."""
    if "values" in leaf:
        return list(leaf["values"])
    if "value" in leaf:
        return [leaf["value"]]
    return list(range(int(leaf["min"]), int(leaf["max"]) + 1))


def _allowed(value: Any, leaf: Mapping[str, Any]) -> bool:
    """Whether a value may be drawn from an axis."""
    if "value" in leaf or "values" in leaf:
        return value in _values(leaf)
    kind = str(leaf.get("distribution", ""))
    if "normal" in kind or (not kind and "mu" in leaf):  # as W&B guesses
        return isinstance(value, float) and math.isfinite(value)
    low, high = leaf["min"], leaf["max"]
    if kind in ("log_uniform", "q_log_uniform"):
        low, high = math.exp(low), math.exp(high)
    step = float(leaf.get("q", 0))  # rounded to a multiple
    margin = step + 1e-5 * max(abs(low), abs(high))
    return bool(low - margin <= value <= high + margin)


# ------------------------------------------------------------------ folders of sweeps
def sweep_folders() -> dict[str, Tree]:
    """Finished and unfinished trials, one of them failed."""
    tree: Tree = {}
    for name, content in read_tree(MADE / "sweep").items():
        if not name.endswith(".safetensors") and "checkpoints" not in name:
            tree[name] = content
    tree["supervised-subset1/failed.json"] = json.dumps({"error": "a", "session": "b"}).encode()
    del tree["supervised-subset1/summary.json"]
    return {"sweep": tree}


def mutate_folder(tree: Tree, rng: Random) -> str:
    if rng.random() < 0.2:
        return mutate_text.folder(tree, rng)
    return mutate(tree, rng)


def run_status(place: Place) -> Verdict:
    """``sweep status`` of the folder: each trial in one state, with its own Dice."""
    before = _rows_of(place, place.seed, "seed")
    outcome = command("sweep", "status", place.input, "--json", place.work / "rows.json")
    refused = judged(outcome)
    if refused is not None:
        return refused
    rows = json.loads((place.work / "rows.json").read_text())
    by_name = {row["name"]: row for row in rows}
    changed = {
        name.partition("/")[0]
        for name in {*place.tree, *place.seed}
        if place.tree.get(name) != place.seed.get(name)
    }
    for row in before:
        if row["name"] not in changed and "sweep.yaml" not in changed:
            if by_name.get(row["name"]) != row:
                words = f"{row} became {by_name.get(row['name'])}"
                return Verdict(FAILURE, "silent status: an unchanged trial", words)
    for row in rows:
        dice = row["dice"]
        if dice is not None and not (isinstance(dice, int | float) and -1e9 < dice < 1e9):
            return Verdict(FAILURE, "silent status: Dice", str(row))
    if rows == before:
        return Verdict(SAME)
    return Verdict(DIFFERENT, detail="the state of the changed trial")


def _rows_of(place: Place, tree: Tree, name: str) -> list[dict[str, Any]]:
    """What ``sweep status`` says of a tree."""
    from fuzz.engine import write_tree

    folder = place.work / name
    folder.mkdir()
    write_tree(folder, tree)
    command("sweep", "status", folder, "--json", place.work / f"{name}.json")
    return json.loads((place.work / f"{name}.json").read_text())


# ------------------------------------------------------------------ journals
def journals() -> dict[str, Tree]:
    """A search of three trials, two of them with a result."""

    def write(folder: Path) -> None:
        from semiseg.sweeps.search import Search
        from semiseg.sweeps.spec import read

        (folder / "sweep.yaml").write_text(yaml.safe_dump(SEARCH))
        search = Search(read(folder / "sweep.yaml"), folder)
        names = [search.ask() for _ in range(3)]
        search.tell(names[0], 0.5)
        search.tell(names[1], None)

    return {"search": written(write)}


def mutate_journal(tree: Tree, rng: Random) -> str:
    """Change, remove, double or cut a line."""
    content = tree["journal.log"]
    assert isinstance(content, bytes)
    lines = content.splitlines(keepends=True)
    which = rng.randrange(len(lines))
    how = rng.choice(("value", "value", "value", "bytes", "removed", "doubled", "cut", "file"))
    words = ""
    if how == "value":
        line, words = changed_values(lines[which], rng, False)
        lines[which] = line + b"\n"
    elif how == "bytes":
        lines[which], words = mutate_bytes.any_bytes(lines[which], rng)
    elif how == "removed":
        del lines[which]
    elif how == "doubled":
        lines.insert(which, lines[which])
    elif how == "cut":
        lines[-1] = lines[-1][: rng.randrange(len(lines[-1]))]
    tree["journal.log"] = b"".join(lines)
    if how == "file":
        tree["journal.log"], words = mutate_bytes.any_bytes(content, rng)
    return f"line {which + 1} {how} {words}"


def search_on(place: Place) -> Verdict:
    """Go on with the search: every point is one that the sweep file allows."""
    from semiseg.errors import UserError
    from semiseg.sweeps.search import Search
    from semiseg.sweeps.spec import read

    try:
        search = Search(read(place.input / "sweep.yaml"), place.input)
        ended = search.names()
        made = {name: search.point(name) for name in ended if not ended[name]}
        new = search.ask()
        made[new] = search.point(new)
        search.tell(new, 0.25)
        finished = search.names()[new]
    except UserError as error:
        if "journal.log" not in str(error):
            return Verdict(FAILURE, "does not name the journal", str(error))
        return Verdict(REFUSED, detail=str(error))
    words = wrong_points(made, SEARCH)
    if words or not finished:
        return Verdict(FAILURE, f"silent journal: {words.partition(':')[0]}", words)
    if place.tree == place.seed:
        return Verdict(SAME)
    return Verdict(DIFFERENT, detail=f"{len(ended)} trials were recorded; folders keep theirs")


KINDS = (
    Kind("sweep file", sweep_files, mutate, run_sweep, 2.0, ("semiseg.sweeps.status",)),
    Kind(
        "sweep folder",
        sweep_folders,
        mutate_folder,
        run_status,
        1.0,
        ("semiseg.cli.sweep", "semiseg.sweeps.status"),
    ),
    Kind(
        "journal",
        journals,
        mutate_journal,
        search_on,
        1.0,
        (
            *("optuna", "optuna.storages.journal", "optuna.samplers", "scipy.ndimage"),
            *("scipy.special", "semiseg.evaluate.metrics", "semiseg.sweeps.search"),
        ),
        writes_beside=True,
    ),
)
