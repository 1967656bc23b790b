"""``semiseg evaluate``: score a finished run."""

from __future__ import annotations

import csv
import io
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from semiseg.cli.arguments import (
    JSON,
    PLUGIN,
    Command,
    Flag,
    Flags,
    write_json,
    write_output,
)
from semiseg.cli.run_operands import LARGEST_COMPONENT, TTA
from semiseg.data.info import numbered
from semiseg.errors import UserError
from semiseg.escapes import csv_cell
from semiseg.evaluate.class_thresholds import typed_thresholds
from semiseg.run_folder import region_label

if TYPE_CHECKING:
    from semiseg.analysis.statistics import Interval
    from semiseg.runner.test_time import Comparison, Switches

COMMAND = Command(
    "evaluate",
    """Score the last checkpoint of a run on its data set's validation or test subjects: the table
    is printed and joins RUN/per_subject.csv. Every test evaluation is appended to the data set's
    ledger.jsonl. With --tta, --largest-component or thresholds, or with several runs, whose
    probabilities are then averaged, the scores of both ways are printed beside each other, and no
    run's folder changes.""",
    (
        Flag("split", "val or test", "val", value="val|test"),
        TTA,
        LARGEST_COMPONENT,
        Flag(
            "thresholds",
            "probabilities above which classes are predicted, e.g. disc=0.4,cup=0.35; 0.5 where "
            "none is given",
            value="CLASS=T,…",
        ),
        Flag(
            "fit_thresholds",
            "choose the thresholds by the Dice of the validation subjects; with --split val each "
            "subject gets those that are chosen on the others",
            False,
            value="",
        ),
        Flag("csv", "also write the scores by subject of both ways to this file", value="FILE"),
        Flag("root", "where the stores are, if not where the run found them", value="R"),
        JSON,
        PLUGIN,
    ),
    operands="RUN [RUN …]",
)


def main(argv: Sequence[str]) -> int:
    """Run the command; UserError is the caller's to print."""
    return COMMAND.run(argv, _evaluate)


def _evaluate(operands: list[str], flags: Flags) -> int:
    options = COMMAND.options(flags)
    switches = _switches(options)
    if len(operands) > 1 or any(switches):
        return _compare(operands, options, switches)
    run = COMMAND.one(operands, "one run's folder")
    if options["csv"]:
        raise UserError("--csv is of two ways to score: add a switch, or read RUN/per_subject.csv")
    from semiseg.runner.rescore import evaluate, ledger_problems

    split = options["split"]
    rows = evaluate(Path(run), split, options["root"])
    table = class_means(rows)
    print(as_text(table))
    subjects = numbered(len({row.subject for row in rows}), f"{split} subject")
    print(f"means over {subjects}; – where none of them can be scored")
    for problem in ledger_problems(Path(run), options["root"]):
        print(f"note: the ledger of the test set is not whole: {problem}", file=sys.stderr)
    write_json(options["json"], {"run": run, "split": split, "table": table})
    return 0


# ------------------------------------------------------------------ with switches
def _switches(options: Mapping[str, Any]) -> Switches:
    from semiseg.runner.test_time import Switches

    return Switches(
        options["tta"],
        options["largest_component"],
        typed_thresholds(options["thresholds"]),
        options["fit_thresholds"],
    )


def _compare(runs: Sequence[str], options: Mapping[str, Any], switches: Switches) -> int:
    """Print both tables and the difference of their Dice; returns the exit code."""
    from semiseg.report.format import interval_text
    from semiseg.runner.rescore import ledger_problems
    from semiseg.runner.test_time import compare

    split = options["split"]
    paths = [Path(run) for run in runs]
    result = compare(paths, split, switches, options["root"])
    plain, switched = class_means(result.plain), class_means(result.switched)
    print("plain" if len(runs) == 1 else f"plain, the mean of {len(runs)} networks' scores")
    print(as_text(plain))
    print(f"\n{_words(switches, len(runs))}")
    print(as_text(switched))
    difference = _gain(result)
    subjects = numbered(difference.n_subjects, f"{split} subject")
    print(f"\nmeans over {subjects}; – where none of them can be scored")
    words = f"Dice, mean of the classes: {interval_text(difference, signed=True)} by the switches"
    if difference.n_subjects > 1:
        words += f", 95 % interval over {difference.covers} for these networks"
    print(words)
    if result.thresholds:
        chosen = ", ".join(f"{name} {value:g}" for name, value in result.thresholds.items())
        print(f"thresholds: {chosen}")
    for problem in ledger_problems(paths[0], options["root"]):
        print(f"note: the ledger of the test set is not whole: {problem}", file=sys.stderr)
    _write_csv(options["csv"], split, result)
    report = {
        "runs": list(runs),
        "split": split,
        "switches": switches._asdict(),
        "plain": plain,
        "switched": switched,
        "dice_gain": _finite(difference._asdict()),
        "thresholds": result.thresholds,
    }
    write_json(options["json"], report)
    return 0


def _finite(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Facts for JSON, with None in the place of numbers that there are not."""
    return {name: value if np.isfinite(value) else None for name, value in facts.items()}


def _words(switches: Switches, runs: int) -> str:
    """What the second table is of."""
    words = [f"{runs} networks together"] if runs > 1 else []
    if switches.tta:
        words.append("mirrors")
    if switches.thresholds or switches.fit_thresholds:
        words.append("thresholds")
    if switches.largest_component:
        words.append("the largest part of each class")
    return f"with {', '.join(words)}"


def _write_csv(path: str | None, split: str, result: Comparison) -> None:
    """Scores by subject of both ways; nothing without a path."""
    if path is None:
        return
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("way", "split", "subject", "class", "metric", "value", "unit"))
    for way, rows in (("plain", result.plain), ("switched", result.switched)):
        for row in rows:
            value = "" if np.isnan(row.value) else f"{row.value:.6g}"
            names = (row.subject, row.class_, row.metric)
            table.writerow((way, split, *map(csv_cell, names), value, row.unit))
    write_output(path, text.getvalue())


def _gain(result: Comparison) -> Interval:
    """How much higher the mean Dice over the classes is by the switches: a difference for each
    subject, and its interval over subjects. It says nothing of other networks.
    """
    from semiseg.analysis.statistics import mean_interval

    plain, switched = _dice(result.plain), _dice(result.switched)
    difference = np.array([switched[subject] - plain[subject] for subject in plain])
    return mean_interval(difference[None, np.isfinite(difference)], ["these networks"])


def _dice(rows: Sequence[Any]) -> dict[str, float]:
    """Subject → its mean over the classes; NaN where none of them can be scored."""
    by_subject: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        if row.metric == "dice" and not row.is_region:
            by_subject[row.subject].append(row.value)
    return {
        subject: float(np.nanmean(values)) if np.isfinite(values).any() else np.nan
        for subject, values in by_subject.items()
    }


# ------------------------------------------------------------------ tables
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
