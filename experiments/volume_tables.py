"""The cells of docs/results/hippocampus.md that committed results carry."""

from __future__ import annotations

import csv
from collections.abc import Iterator

from study_tables import RESULTS, Cells, Table, dice, interval, read, studied

from semiseg.analysis.study import study
from semiseg.report.format import interval_text, p_value
from semiseg.report.tables import find

PAGE = "docs/results/hippocampus.md"
CLASSES = ("anterior", "posterior")


def tables() -> Iterator[Table]:
    """What the results say of 3D networks."""
    yield budget_table()
    yield fold_table()
    yield convolution_table()


def budget_table() -> Table:
    """Each method at each budget, on the validation subjects."""
    s = studied("hippocampus", "val")
    hd95 = study(s.runs, "hd95", "val", tests=False)
    cells: Cells = {}
    for (arm, labels), cell in s.cells.items():
        row = {
            "Dice": interval(s, arm, labels),
            "HD95, mm": interval_text(hd95.cells[arm, labels].interval, "hd95"),
            "against supervised": "",
            "p (Holm)": "",
        }
        comparison = find(s, arm, labels)
        if comparison is not None:
            row["against supervised"] = interval_text(comparison.difference, signed=True)
            row["p (Holm)"] = p_value(comparison.p_holm)
        names = [run.name for run in cell.runs]
        for name in CLASSES:
            row[name] = dice(class_mean("hippocampus", name, names))
        cells[str(labels), arm] = row
    return Table(PAGE, "# ", "annotated subjects", cells, keys=2)


def fold_table() -> Table:
    """The mean over all subjects, each scored once as held out, and over those of each fold."""
    name = "hippocampus_folds"
    s = studied(name, "val")
    ((arm, labels),) = s.cells
    names = {"all": [run.name for run in s.runs]}
    names |= {str(run.fold): [run.name] for run in s.runs}
    cells: Cells = {}
    for fold, runs in names.items():
        row = {c: dice(class_mean(name, c, runs), 3) for c in CLASSES}
        row["Dice"] = dice(class_mean(name, "mean", runs), 3)
        cells[(fold,)] = row
    cells[("all",)]["Dice"] = interval(s, arm, labels)
    return Table(PAGE, "## Five folds", "fold", cells)


def class_mean(name: str, label: str, runs: list[str]) -> float:
    """Mean Dice of a class over the subjects of runs; the class "mean" is that of all classes."""
    total = 0.0
    subjects = 0
    with (RESULTS / f"{name}.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            of_runs = row["run"] in runs
            last = (row["split"], row["checkpoint"]) == ("val", "last")
            if of_runs and last and (row["class"], row["metric"]) == (label, "dice"):
                subjects += int(row["n_subjects"])
                total += int(row["n_subjects"]) * float(row["mean"])
    return total / subjects


def convolution_table() -> Table:
    """Milliseconds of convolutions and training steps before and after."""
    cells: Cells = {}
    for name, timed in read("volume_step.json").items():
        cells[(name,)] = {
            "along three axes, ms": f"{timed['ms']['base']:.0f}",
            "by planes, ms": f"{timed['ms']['this']:.0f}",
            "ratio": f"{timed['ratio']:.2f}",
        }
    return Table(PAGE, "## Convolutions", "one core", cells)
