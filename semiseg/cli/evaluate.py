"""``semiseg evaluate``: score a finished run."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semiseg.cli.arguments import nothing_left, parse, take
from semiseg.errors import UserError

if TYPE_CHECKING:
    from semiseg.evaluate.subjects import SubjectRow

USAGE = """usage: semiseg evaluate RUN [--split val|test] [--root R] [--json FILE]

Score the last checkpoint of a run on its data set's validation or test subjects: the table is
printed and joins RUN/per_subject.csv. Every test evaluation is appended to the data set's
ledger.jsonl.

  --split                        val or test [val]
  --root                         where the stores are, if not where the run found them
  --json                         also write the table to this file
"""


def main(argv: Sequence[str]) -> int:
    """Run the command; UserError is the caller's to print."""
    positional, flags = parse(argv)
    if flags.pop("help", False):
        print(USAGE)
        return 0
    options = take(flags, "evaluate", {"split": "val", "root": None, "json": None})
    if len(positional) != 1:
        raise UserError("semiseg evaluate: name one run's folder")
    nothing_left(flags, [], "evaluate", options)
    from semiseg.runner.rescore import evaluate

    rows = evaluate(Path(positional[0]), options["split"], options["root"])
    metrics = list(dict.fromkeys(row.metric for row in rows))
    table = [_line(rows, name, metrics) for name in dict.fromkeys(row.class_ for row in rows)]
    _print_table(table, metrics)
    count = len({row.subject for row in rows})
    print(
        f"means over {count} {options['split']} subject{'s' * (count != 1)}; – where none of them "
        f"can be scored"
    )
    if options["json"]:
        content = {"run": positional[0], "split": options["split"], "table": table}
        Path(options["json"]).write_text(json.dumps(content, indent=1) + "\n")
    return 0


def _line(rows: Sequence[SubjectRow], class_: str, metrics: Sequence[str]) -> dict[str, Any]:
    """Means of a class over the subjects that have a score; None where none has one."""
    of_class = [row for row in rows if row.class_ == class_]
    line: dict[str, Any] = {"class": class_, "subjects": len({row.subject for row in of_class})}
    for metric in metrics:
        values = [row.value for row in of_class if row.metric == metric]
        defined = [value for value in values if math.isfinite(value)]
        line[metric] = _mean(defined)
    return line


def _mean(values: Sequence[float]) -> float | None:
    import numpy as np

    return float(np.mean(values)) if values else None


def _print_table(table: Sequence[dict[str, Any]], metrics: Sequence[str]) -> None:
    width = max(len(name) for name in ("class", *(line["class"] for line in table)))
    print(f"{'class':{width}}  " + "  ".join(f"{metric:>12}" for metric in metrics))
    for line in table:
        cells = [_cell(line[metric]) for metric in metrics]
        print(f"{line['class']:{width}}  " + "  ".join(f"{cell:>12}" for cell in cells))


def _cell(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
