"""``semiseg evaluate``: score a finished run."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from semiseg.cli.arguments import (
    JSON,
    PLUGIN,
    Command,
    Flag,
    Flags,
    write_json,
)
from semiseg.run_folder import region_label

COMMAND = Command(
    "evaluate",
    """Score the last checkpoint of a run on its data set's validation or test subjects: the table
    is printed and joins RUN/per_subject.csv. Every test evaluation is appended to the data set's
    ledger.jsonl.""",
    (
        Flag("split", "val or test", "val", value="val|test"),
        Flag("root", "where the stores are, if not where the run found them", value="R"),
        JSON,
        PLUGIN,
    ),
    operands="RUN",
)


def main(argv: Sequence[str]) -> int:
    """Run the command; UserError is the caller's to print."""
    return COMMAND.run(argv, _evaluate)


def _evaluate(operands: list[str], flags: Flags) -> int:
    options = COMMAND.options(flags)
    run = COMMAND.one(operands, "one run's folder")
    from semiseg.runner.rescore import evaluate, ledger_problems

    split = options["split"]
    rows = evaluate(Path(run), split, options["root"])
    table = class_means(rows)
    print(as_text(table))
    subjects = len({row.subject for row in rows})
    plural = "s" * (subjects != 1)
    print(f"means over {subjects} {split} subject{plural}; – where none of them can be scored")
    for problem in ledger_problems(Path(run), options["root"]):
        print(f"note: the ledger of the test set is not whole: {problem}", file=sys.stderr)
    write_json(options["json"], {"run": run, "split": split, "table": table})
    return 0


def class_means(rows: Sequence[Any]) -> list[dict[str, Any]]:
    """A row a class, then a row a region: its name, its number of subjects, and the mean of each
    metric over the subjects that can be scored; None where none can.
    """
    metrics = dict.fromkeys(row.metric for row in rows)
    table: list[dict[str, Any]] = []
    for class_ in dict.fromkeys(row.class_ for row in rows):
        of_class = [row for row in rows if row.class_ == class_]
        line: dict[str, Any] = {
            "class": class_,
            "subjects": len({row.subject for row in of_class}),
        }
        if of_class[0].is_region:
            line["region"] = True
        for metric in metrics:
            values = [row.value for row in of_class if row.metric == metric]
            line[metric] = _mean(values)
        table.append(line)
    return table


def as_text(table: Sequence[dict[str, Any]]) -> str:
    """The means as aligned columns.

    >>> print(as_text([{"class": "disc", "subjects": 3, "dice": 0.5, "hd95": None}]))
    class          dice          hd95
    disc         0.5000             –
    """
    metrics = [key for key in table[0] if key not in ("class", "subjects")]
    names = [region_label(line["class"]) if "region" in line else line["class"] for line in table]
    width = max(len(name) for name in [*names, "class"])
    rows = [f"{'class':{width}}  " + "  ".join(f"{metric:>12}" for metric in metrics)]
    for name, line in zip(names, table, strict=True):
        values = "  ".join(f"{_number(line[metric]):>12}" for metric in metrics)
        rows.append(f"{name:{width}}  {values}")
    return "\n".join(rows)


def _mean(values: Sequence[float]) -> float | None:
    finite = [value for value in values if np.isfinite(value)]
    if not finite:
        return None
    return float(np.mean(finite))


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.4f}"
