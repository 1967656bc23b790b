"""Whether a report counts the runs that there are, and whether its means are theirs."""

from __future__ import annotations

import csv
import html
import io
import json
import math
import re
from pathlib import Path

from fuzz.engine import Outcome, Tree

Scores = dict[tuple[str, ...], list[float]]
"""Split, checkpoint, class and metric → the scores of the subjects."""
Rows = list[dict[str, str]]
NUMBERS = "numbers.json"
COLUMNS = ("data", "labels", "split", "checkpoint", "metric")
"""Of results.csv that say which cell a mean belongs to, beside the method."""


def wrong_numbers(tree: Tree, study: str, out: Path, outcome: Outcome) -> str:
    """What of a report is not what the runs of a study state; "" for nothing.

    Args:
      tree: holds the runs below ``study/``.
      out: folder of the report, with :data:`NUMBERS`.
      outcome: of the command.
    """
    with (out / "results.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    tables = _tables(tree, study)
    reported = {row["run"] for row in rows}
    # the line of two copies names the one that counts, too
    left_out = {run for run in tables if f"/{study}/{run}" in outcome.err} - reported
    least = len(tables) - len(left_out)
    if not least <= len(reported) <= len(tables):
        return f"runs: {sorted(reported)} of {sorted(tables)} without {sorted(left_out)}"
    stated: list[Scores] = []
    for run, table in tables.items():
        if run not in left_out:
            stated.append(_scores(table))
    return (
        _wrong_rows(rows, stated)
        or _wrong_cells(rows, out / NUMBERS)
        or _wrong_page(rows, out / "report.html")
    )


def _tables(tree: Tree, study: str) -> dict[str, str]:
    """Folder of each run → its per_subject.csv."""
    tables: dict[str, str] = {}
    for name, content in tree.items():
        top, _, below = name.partition("/")
        folder, _, last = below.partition("/")
        if top != study or not last:
            continue
        tables.setdefault(folder, "")
        if last == "per_subject.csv":
            assert isinstance(content, bytes)
            tables[folder] = content.decode(errors="replace")
    return tables


def _scores(table: str) -> Scores:
    scores: Scores = {}
    for row in csv.DictReader(io.StringIO(table, newline="")):
        values = scores.setdefault(_key(row), [])
        value = _number(row["value"])
        if not math.isnan(value):
            values.append(value)
    return scores


def _key(row: dict[str, str]) -> tuple[str, ...]:
    """What a score is of, by its letters alone, since a table may quote what is left."""
    names = (row["split"], row["checkpoint"], row["class"], row["metric"])
    return tuple(re.sub(r"\W", "", name) for name in names)


def _number(text: str) -> float:
    return float(text.strip() or "nan")


def _wrong_rows(rows: Rows, stated: list[Scores]) -> str:
    """Which mean or number of subjects in results.csv is that of no run."""
    for row in rows:
        if row["class"] == "mean":
            continue
        key = _key(row)
        if not any(_is_of(row, scores.get(key, [])) for scores in stated):
            return f"a row of no run: {row}"
    return ""


def _is_of(row: dict[str, str], values: list[float]) -> bool:
    if int(row["n_subjects"]) != len(values):
        return False
    mean = _number(row["mean"])
    if not values:
        return math.isnan(mean)
    return _close(mean, values)


def _wrong_cells(rows: Rows, numbers: Path) -> str:
    """Which number of runs or mean of ``--json`` is not that of results.csv."""
    text = numbers.read_text(encoding="utf-8")
    cells = json.loads(text)["cells"]
    number = len({row["run"] for row in rows})
    counted = sum(cell["n_runs"] for cell in cells)
    if counted != number:
        return f"number of runs: {counted} in cells, {number} in results.csv"
    for cell in cells:
        means = _means_of(cell, rows)
        if len(means) != cell["n_runs"] or cell["mean"] is None:
            continue
        if not _close(cell["mean"], means):
            return f"mean of a cell: {cell['mean']}, of the runs {means}"
    return ""


def _means_of(cell: dict[str, object], rows: Rows) -> list[float]:
    """The means of the runs of a cell; none where a subject is missing in one of them."""
    means: list[float] = []
    subjects: set[str] = set()
    for row in rows:
        if row["class"] != "mean":
            continue
        arm = row["method"].replace("_", " ")
        same = [row[column] == str(cell[column]) for column in COLUMNS]
        if arm == cell["arm"] and all(same):
            means.append(_number(row["mean"]))
            subjects.add(row["n_subjects"])
    if len(subjects) > 1:
        return []
    return means


def _close(mean: float, values: list[float]) -> bool:
    """Whether a number with six digits is the mean of others."""
    expected = sum(values) / len(values)
    return math.isclose(mean, expected, rel_tol=1e-4, abs_tol=1e-5)


def _wrong_page(rows: Rows, page: Path) -> str:
    """Whether the page counts other runs than there are; it counts those of each data set."""
    text = html.unescape(page.read_text(encoding="utf-8"))
    runs: dict[str, set[str]] = {}
    for row in rows:
        runs.setdefault(row["data"], set()).add(row["run"])
    numbers = [len(members) for members in runs.values()]
    for word in re.findall(r"\b(\d+) runs?: \d+ method", text):
        if int(word) not in numbers:
            return f"number of runs on the page: {word} for {numbers}"
    return ""
