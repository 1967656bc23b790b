"""Kinds: sweep files, and folders of runs that a report and an export read."""

from __future__ import annotations

import csv
import io
import json
import math
from random import Random
from typing import Any

import yaml
from guards.guard_tools import MADE

from fuzz.engine import DIFFERENT, REFUSED, Kind, Place, Tree, Verdict, command, judged, read_tree
from fuzz.mutate_bytes import any_bytes

ODD = (
    None,
    True,
    0,
    -1,
    2**70,
    1e308,
    math.nan,
    math.inf,
    "",
    "x" * 300,
    "$x_{",
    "\x1b[31m",
    "../x",
    "1e-5",
    "=1+1",
    [],
    {},
    [None],
    {"a": {}},
)
"""Values that a key may have by mistake."""


def changed_values(content: bytes, rng: Random, yaml_text: bool) -> tuple[bytes, str]:
    """Change a value of a tree of names and values, or remove it."""
    tree = yaml.safe_load(content) if yaml_text else json.loads(content)
    node: Any = tree
    path: list[Any] = []
    while isinstance(node, dict | list) and node:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        holder = node
        path.append(rng.choice(keys))
        node = holder[path[-1]]
        if rng.random() < 0.3:
            break
    if not path:
        return content, "nothing"
    if rng.random() < 0.2:
        del holder[path[-1]]
    else:
        holder[path[-1]] = rng.choice(ODD)
    text = yaml.safe_dump(tree, sort_keys=False) if yaml_text else json.dumps(tree)
    return text.encode(), f"a value at {path}"


def changed_cell(content: bytes, rng: Random) -> tuple[bytes, str]:
    """Change a cell of a table."""
    rows = list(csv.reader(io.StringIO(content.decode())))
    row = rng.choice(rows)
    if row:
        row[rng.randrange(len(row))] = str(rng.choice(ODD))
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode(), "a cell"


def mutate(tree: Tree, rng: Random) -> str:
    """Change one file, by its format or by its bytes."""
    name = rng.choice(sorted(tree))
    content = tree[name]
    assert isinstance(content, bytes)
    if rng.random() < 0.3:
        tree[name], words = any_bytes(content, rng)
    elif name.endswith((".json", ".yaml")):
        tree[name], words = changed_values(content, rng, name.endswith(".yaml"))
    elif name.endswith(".csv"):
        tree[name], words = changed_cell(content, rng)
    elif name.endswith(".jsonl"):
        lines = content.splitlines()
        number = rng.randrange(len(lines))
        lines[number], words = changed_values(lines[number], rng, False)
        tree[name] = b"\n".join(lines) + b"\n"
    else:
        tree[name], words = any_bytes(content, rng)
    return f"{name}: {words}"


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
    random = {
        "method": "random",
        "run_cap": 4,
        "metric": {"name": "val_dice", "goal": "maximize"},
        "early_terminate": {"type": "hyperband", "max_iter": 27, "s": 2, "eta": 3},
        "parameters": axes,
    }
    return {
        "grid": {"sweep.yaml": (MADE / "sweep.yaml").read_bytes()},
        "random": {"sweep.yaml": yaml.safe_dump(random).encode()},
    }


def run_sweep(place: Place) -> Verdict:
    """Make every trial of the sweep, as the command does before it runs one."""
    out = place.work / "out"
    out.mkdir()
    (out / "sweep.yaml").write_bytes((place.input / "sweep.yaml").read_bytes())
    outcome = command("sweep", "status", out)
    return judged(outcome) or Verdict(DIFFERENT, detail="another sweep")


# ------------------------------------------------------------------ run folders
def run_folders() -> dict[str, Tree]:
    """A finished run, without its weights and checkpoints."""
    tree = {}
    for name, content in read_tree(MADE / "finished" / "mean_teacher").items():
        if not name.endswith(".safetensors"):
            tree[f"run/{name}"] = content
    return {"run": tree}


def run_analysis(place: Place) -> Verdict:
    """Read the run as a report does: its numbers, its log and its pictures."""
    from semiseg.analysis.load import load_runs
    from semiseg.errors import UserError

    try:
        for run in load_runs(place.input):
            list(run.rows())
            run.log()
            run.examples()
            run.end()
    except UserError as error:
        return Verdict(REFUSED, detail=str(error))
    return Verdict(DIFFERENT, detail="other numbers")


KINDS = (
    Kind("sweep file", sweep_files, mutate, run_sweep, 2.0, ("semiseg.sweeps.status",)),
    Kind(
        "run folder",
        run_folders,
        mutate,
        run_analysis,
        2.0,
        ("semiseg.analysis.load",),
    ),
)
