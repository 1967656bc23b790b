"""Tables of studies, declarations and configurations, as ``plan-study`` and ``train`` read them."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from random import Random
from typing import Any

import yaml

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
from fuzz.of_runs import changed_cell
from fuzz.of_runs import mutate as mutate_run

STUDY = {
    "question": "does it help?",
    "primary": {"method": "mean_teacher", "labels": 4},
    "baseline": "supervised",
    "metric": "dice",
    "margin": 0.02,
    "choose_on": "val",
    "quote_on": "val",
    "date": "2026-01-02",
}


def seeds() -> dict[str, Tree]:
    """A results.csv with the scores of its subjects, and the runs of a small study."""

    def runs(folder: Path) -> None:
        from analysis.fake import write_grid

        write_grid(
            folder / "runs",
            methods=("supervised", "mean_teacher"),
            budgets=(4,),
            subsets=2,
            seeds=1,
            subjects=4,
            examples=False,
            steps=50,
            metrics=("dice", "hd95"),
        )

    def tables(folder: Path) -> None:
        from semiseg.analysis import scores_csv
        from semiseg.analysis.load import load_runs

        runs(folder)
        loaded = load_runs(folder / "runs")
        loaded.write_csv(folder / "results.csv")
        scores_csv.write(loaded, folder / "results.csv", split="val")

    table = {name: content for name, content in written(tables).items() if "runs/" not in name}
    study = yaml.safe_dump(STUDY).encode()
    return {"tables": table, "runs": {**written(runs), "study.yaml": study}}


def mutate(tree: Tree, rng: Random) -> str:
    """Change a cell, a line or a file."""
    if "results.csv" not in tree:
        study = tree.pop("study.yaml")
        words = mutate_run(tree, rng)
        tree["study.yaml"] = study
        return words

    def change(content: bytes, rng: Random) -> tuple[bytes, str]:
        if rng.random() < 0.5:
            return changed_cell(content, rng)
        return mutate_text.text(content, rng)

    return mutate_bytes.mutate_one(tree, rng, change)


def plan(place: Place) -> Verdict:
    """Plan the next study; the plan says how many runs it needs, in finite numbers."""
    name = "results.csv" if place.name == "tables" else "runs"
    words = ("plan-study", place.input / name, "--json")
    outcome = command(*words, place.work / "plan.json")
    refused = judged(outcome)
    if refused is not None:
        return refused
    planned = json.loads((place.work / "plan.json").read_text())
    odd = [value for value in planned["sd"].values() if value is not None and not 0 <= value < 1e9]
    if odd:
        return Verdict(FAILURE, "silent plan: a spread", str(planned["sd"]))
    for row in planned["alternatives"]:
        if not (row["runs"] >= 1 and 0 <= row["power"] <= 1):
            return Verdict(FAILURE, "silent plan: an alternative", str(row))
    from fuzz.engine import write_tree

    write_tree(place.work / "before", place.seed)
    command("plan-study", place.work / "before" / name, "--json", place.work / "before.json")
    if json.loads((place.work / "before.json").read_text()) == planned:
        return Verdict(SAME)
    if place.name == "runs" and "left out" in outcome.err:
        return Verdict(DIFFERENT, detail=outcome.err)
    return _from_the_table(place, name)


def _from_the_table(place: Place, name: str) -> Verdict:
    """Whether the scores that were read are those of the table."""
    from semiseg.analysis.load import load_runs

    for run in load_runs(place.input / name):
        stated = _means(place.tree, run.name, name)
        for row in run.rows():
            mean = stated.get((*row[9:13],), row[13])
            both_lack_it = math.isnan(mean) and math.isnan(row[13])
            if not both_lack_it and not math.isclose(mean, row[13], rel_tol=1e-4, abs_tol=1e-5):
                return Verdict(FAILURE, "silent plan: a mean", f"{row} for {mean}")
    return Verdict(DIFFERENT, detail="the numbers that the tables state")


def _means(tree: Tree, run: str, name: str) -> dict[tuple[str, ...], float]:
    """Split, checkpoint, class and metric → mean of a run over its subjects."""
    scores: dict[tuple[str, ...], list[float]] = {}
    table = name if name == "results.csv" else f"runs/{run}/per_subject.csv"
    column = "mean" if name == "results.csv" else "value"
    content = tree.get(table, b"")
    assert isinstance(content, bytes)
    for row in csv.DictReader(io.StringIO(content.decode(), newline="")):
        if row.get("run") == run:
            key = (row["split"], row["checkpoint"], row["class"], row["metric"])
            scores.setdefault(key, []).append(float(row[column] or "nan"))
    means: dict[tuple[str, ...], float] = {}
    for key, values in scores.items():
        known = [value for value in values if not math.isnan(value)]
        means[key] = sum(known) / len(known) if known else math.nan
    return means


# ------------------------------------------------------------------ declarations, configurations
def yaml_seeds() -> dict[str, Tree]:
    """A study's declaration, a trial's configuration and that of a generator."""
    from guards.guard_tools import MADE

    return {
        "study": {"study.yaml": yaml.safe_dump(STUDY).encode()},
        "trial": {"config.yaml": read_tree(MADE / "finished" / "mean_teacher")["config.yaml"]},
        "generator": {"generator.yaml": read_tree(MADE / "generator")["config.yaml"]},
    }


def mutate_yaml(tree: Tree, rng: Random) -> str:
    """Change a value, write nonsense of YAML, or change any bytes."""
    name = next(iter(tree))
    content = tree[name]
    assert isinstance(content, bytes)
    if rng.random() < 0.15:
        odd = rng.choice(YAML)
        place = rng.choice([0, len(content), content.find(b"\n") + 1])
        tree[name] = content[:place] + odd + content[place:]
        return f"{odd[:30]!r} at {place}"
    return mutate_run(tree, rng)


YAML = (
    b"!!python/object/apply:os.system ['true']\n",
    b"a: &a [*a]\n",
    b"".join(b"x%d: &x%d [%s]\n" % (i, i, b",".join([b"*x%d" % (i - 1)] * 9)) for i in range(1, 9)),
    b"? {a: b}\n: c\n",
    b"<<: [1]\n",
    b"seed: 1\nseed: 2\n",
    b"---\na: 1\n",
    b"\xef\xbb\xbf",
    b"[" * 3000,
    b"date: 2026-99-99\n",
    b"steps: 0o777\n",
    b"steps: 1_000\n",
    b"labels: yes\n",
)


def read_yaml(place: Place) -> Verdict:
    """Read it as the commands do; what is read says what the text does."""
    from semiseg import config
    from semiseg.analysis.study_file import read_declaration
    from semiseg.cli.train import trial_of
    from semiseg.errors import UserError
    from semiseg.generators import settings

    path = place.input / next(iter(place.seed))
    try:
        if place.name == "study":
            result: Any = read_declaration(path)
        elif place.name == "trial":
            result = config.to_dict(trial_of({"config": str(path)}))
        else:
            result = settings.to_dict(settings.load(path))
    except UserError as error:
        return Verdict(REFUSED, detail=str(error))
    if place.name == "study":
        return Verdict(SAME if place.tree == place.seed else DIFFERENT)
    # a mark of the byte order after the last line says nothing, and PyYAML alone minds it
    text = path.read_text(encoding="utf-8").removesuffix("\ufeff")
    stated = config.flatten(yaml.safe_load(text))
    used = config.flatten(result)
    for key, value in stated.items():
        key = str(key).replace("-", "_")
        if isinstance(value, bool | int | float) and key in used and used[key] is not None:
            if not _same(used[key], value):
                words = f"{key}: {used[key]} for {value}"
                return Verdict(FAILURE, "silent YAML: another value", words)
    return Verdict(DIFFERENT, detail="the values that the text states")


def _same(used: Any, stated: Any) -> bool:
    """Whether a value is used as it is stated."""
    if isinstance(used, str):
        return str(stated) == used
    if isinstance(used, list | tuple):
        return list(used) == [stated]
    return bool(used == stated)


KINDS = (
    Kind(
        "study",
        seeds,
        mutate,
        plan,
        0.7,
        (
            *("semiseg.cli.plan_study", "semiseg.cli.plan_answers", "semiseg.analysis.pilot"),
            *("semiseg.analysis.load", "semiseg.analysis.planning", "semiseg.report.format"),
        ),
    ),
    Kind(
        "yaml",
        yaml_seeds,
        mutate_yaml,
        read_yaml,
        1.0,
        ("semiseg.cli.train", "semiseg.analysis.study_file", "semiseg.generators.settings"),
    ),
)
