"""Folders of runs that a report reads."""

from __future__ import annotations

import collections
import csv
import io
import json
import math
from random import Random
from typing import Any

import yaml
from guards.guard_tools import MADE

from fuzz import mutate_arrays
from fuzz.engine import DIFFERENT, FAILURE, REFUSED, SAME, Kind, Place, Tree, Verdict, read_tree
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
    elif name.endswith(".npz"):
        tree[name], words = mutate_arrays.npz(content, rng)
    else:
        tree[name], words = any_bytes(content, rng)
    return f"{name}: {words}"


# ------------------------------------------------------------------ run folders
def run_folders() -> dict[str, Tree]:
    """A finished run, without its weights and checkpoints."""
    tree = {}
    for name, content in read_tree(MADE / "finished" / "mean_teacher").items():
        if not name.endswith(".safetensors"):
            tree[f"run/{name}"] = content
    return {"run": tree}


def run_analysis(place: Place) -> Verdict:
    """Read the run as a report does: its numbers, its log and its pictures; what is read is what
    the files say.
    """
    from semiseg.analysis.load import load_runs
    from semiseg.errors import UserError

    try:
        for run in load_runs(place.input):
            rows = list(run.rows())
            log = run.log()
            examples = run.examples()
            run.end()
    except UserError as error:
        return Verdict(REFUSED, detail=str(error))
    words = _wrong_rows(place.tree, rows) or _wrong_log(place.tree, log)
    if examples is not None:
        lengths = {len(array) for array in examples.values()}
        if len(lengths) > 1:
            words = words or f"examples: of lengths {lengths}"
    if words:
        return Verdict(FAILURE, f"silent run: {words.partition(':')[0]}", words)
    if place.tree == place.seed:
        return Verdict(SAME)
    return Verdict(DIFFERENT, detail="the numbers that the files state")


def _text(tree: Tree, name: str) -> str:
    content = tree.get(f"run/{name}", b"")
    assert isinstance(content, bytes)
    return content.decode("utf-8")


def _wrong_rows(tree: Tree, rows: list[tuple[Any, ...]]) -> str:
    """Which mean or number of subjects is not that of the table, and which setting not that of the
    configuration; "" for none.
    """
    scores: dict[tuple[str, ...], list[float]] = collections.defaultdict(list)
    for row in csv.DictReader(io.StringIO(_text(tree, "per_subject.csv"), newline="")):
        place = (row["split"], row["checkpoint"], row["class"], row["metric"])
        scores[place].append(float(row["value"] or "nan"))
    settings = yaml.safe_load(_text(tree, "config.yaml"))
    for row in rows:
        split, checkpoint, class_, metric, mean, number = row[9:]
        if class_ != "mean":
            values = [v for v in scores[split, checkpoint, class_, metric] if not math.isnan(v)]
            if len(values) != number:
                return f"subjects: {number} for {len(values)} of {row}"
            if values and not math.isclose(mean, sum(values) / number, rel_tol=1e-6, abs_tol=1e-9):
                return f"mean: {mean} for {sum(values) / number} of {row}"
        for column, key in ((4, "labels"), (6, "seed"), (8, "steps")):
            if row[column] != int(settings[key]):
                return f"setting: {key} {row[column]} for {settings[key]}"
    return ""


def _wrong_log(tree: Tree, log: list[dict[str, Any]]) -> str:
    """Which line of the log nobody wrote; "" for none."""
    written = []
    for line in _text(tree, "metrics.jsonl").splitlines():
        try:
            written.append(repr(json.loads(line)))
        except ValueError:  # a kill cut it
            continue
    foreign = [line for line in log if repr(line) not in written]
    return f"log: {foreign[0]}" if foreign else ""


KINDS = (
    Kind(
        "run folder",
        run_folders,
        mutate,
        run_analysis,
        2.0,
        ("semiseg.analysis.load", "yaml"),
    ),
)
