"""What makes the supervised baseline of ACDC strong: one change after the other, each kept if it
earns its place on patients to tune on (experiments/acdc_tuning_set.py), never on validation or test
patients.

Command: python experiments/acdc_baseline.py --out runs/acdc_baseline --steps 1000
then     python experiments/acdc_baseline.py --out runs/acdc_baseline --steps 3000 --only NAME,NAME
(after `semiseg data import --format ssl4mis-acdc --source ACDC_TUNING --name acdc_tuning
--follow-links`)

Every change is trained with three choices of 3 patients. It is kept, and all later ones are tried
on top of it, if the mean Dice of the ten patients rises by :data:`GAIN`. Of every network is also
scored what costs no training: the largest part of each class and, if it was trained with mirrors,
the average over them.
Stopped, it goes on with the same command; changes that stand in the table are not trained again.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from semiseg import sweeps
from semiseg.analysis.statistics import Interval, mean_interval

HERE = Path(__file__).parent
TABLE = HERE / "results" / "acdc_baseline.csv"
GAIN = 0.005
SUBSETS = (0, 1, 2)
COMMON = {
    "data": "acdc_tuning",
    "method": "supervised",
    "labels": 3,
    "seed": 0,
    "image_size": 128,
    "zoom": 1.5,
    "view": "centre",
    "batch": 8,
    "lr": 0.0015,
    "augment.geometry.flip": 0.0,
    "augment.geometry.rot90": 0.0,
    "augment.geometry.rotate_p": 0.5,
    "augment.geometry.rotate_degrees": 20.0,
}
"""The baseline of the tables that were made before."""
CHANGES: dict[str, dict[str, Any]] = {
    "as before": {},
    "every rotation": {
        "augment.geometry.rotate_p": 0.8,
        "augment.geometry.rotate_degrees": 180.0,
    },
    "grey values": {
        "augment.weak_intensity.gamma_p": 0.5,
        "augment.weak_intensity.gamma": 1.8,
        "augment.weak_intensity.contrast_p": 0.5,
        "augment.weak_intensity.contrast": 1.6,
        "augment.weak_intensity.brightness_p": 0.5,
        "augment.weak_intensity.brightness": 0.5,
        "augment.weak_intensity.blur_p": 0.3,
        "augment.weak_intensity.noise_p": 0.3,
        "augment.weak_intensity.noise": 0.2,
    },
    "mirrors": {"augment.geometry.flip": 0.5},
    "zoom 0.7 to 1.5": {
        "augment.geometry.scale_p": 0.8,
        "augment.geometry.scale_low": 0.7,
        "augment.geometry.scale_high": 1.5,
    },
    "average of the last third": {"average_last": 0.33},
    "learning rate 0.003": {"lr": 0.003},
    "weight decay 0.1": {"weight_decay": 0.1},
}
COLUMNS = (
    "change",
    "on_top_of",
    "steps",
    "label_subset",
    "subject",
    "plain",
    "switched",
    "seconds_train",
)
Row = dict[str, str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/acdc_baseline"))
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--only", help="these changes by commas; all unless given")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument(
        "--root", help="where the stores are; default: SEMISEG_DATA, else the cache"
    )
    parser.add_argument("--csv", type=Path, default=TABLE)
    parser.add_argument("--report", action="store_true", help="train nothing, print the table")
    args = parser.parse_args()
    names = args.only.split(",") if args.only else list(CHANGES)
    kept: list[str] = []
    best: list[Row] = []
    for name in names:
        rows = measured(args.csv, name, kept, args.steps)
        if not rows and not args.report:
            rows = measure(name, kept, args)
            write(args.csv, rows)
        if not rows:
            continue
        is_kept = not best or gain(rows, best).mean >= GAIN
        print(line(name, rows, best, is_kept), flush=True)
        if is_kept:
            best = rows
            kept.append(name)
    print(f"kept: {', '.join(kept)}")


def measure(name: str, kept: list[str], args: argparse.Namespace) -> list[Row]:
    """Train a change on top of what is kept, once a label subset, and score it."""
    settings: dict[str, Any] = {**COMMON, "root": args.root}
    settings |= {"steps": args.steps, "eval_every": args.steps, "log_every": 50}
    for change in (*kept, name):
        settings |= CHANGES[change]
    grid = {
        "command": ["${env}", "semiseg", "train", "${args}"],
        "method": "grid",
        "parameters": {key: {"value": value} for key, value in settings.items()},
    }
    grid["parameters"]["label_subset"] = {"values": list(SUBSETS)}
    out = args.out / f"{args.steps}-{name.replace(' ', '_')}"
    rows: list[Row] = []
    for outcome in sweeps.sweep(grid, out, jobs=args.jobs, say=lambda words: None):
        run = outcome.path
        mirrors = ["--tta"] if settings["augment.geometry.flip"] else []
        plain, switched = scores(run, "--largest-component", *mirrors)
        for subject, value in plain.items():
            rows.append(
                {
                    "change": name,
                    "on_top_of": " + ".join(kept),
                    "steps": str(args.steps),
                    "label_subset": str(outcome.trial.label_subset),
                    "subject": subject,
                    "plain": value,
                    "switched": switched[subject],
                    "seconds_train": f"{outcome.summary['seconds_train']:.0f}",
                }
            )
    return rows


def scores(run: Path, *switches: str) -> tuple[dict[str, str], dict[str, str]]:
    """Mean Dice of each subject, plain and with the switches."""
    table = run / "switched.csv"
    semiseg = str(Path(sys.executable).with_name("semiseg"))
    command = [semiseg, "evaluate", str(run), *switches]
    subprocess.run([*command, f"--csv={table}"], check=True, stdout=subprocess.DEVNULL)
    found: dict[str, dict[str, list[float]]] = {"plain": {}, "switched": {}}
    with table.open(newline="") as file:
        for row in csv.DictReader(file):
            if row["metric"] == "dice" and row["class"] != "mean":
                found[row["way"]].setdefault(row["subject"], []).append(float(row["value"]))
    plain, switched = (
        {subject: f"{statistics.fmean(values):.4f}" for subject, values in by_subject.items()}
        for by_subject in found.values()
    )
    return plain, switched


# ------------------------------------------------------------------ the table
def measured(table: Path, name: str, kept: list[str], steps: int) -> list[Row]:
    """Rows of a change that stand in the table."""
    if not table.exists():
        return []
    with table.open(newline="") as file:
        wanted = (name, " + ".join(kept), str(steps))
        return [
            r for r in csv.DictReader(file) if (r["change"], r["on_top_of"], r["steps"]) == wanted
        ]


def write(table: Path, rows: list[Row]) -> None:
    """Append rows."""
    is_new = not table.exists()
    with table.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerows(rows)


def scores_of(rows: list[Row], column: str) -> np.ndarray:
    """``(3, 10)``: Dice by label subset and subject."""
    subjects = sorted({row["subject"] for row in rows})
    score = {(row["label_subset"], row["subject"]): float(row[column]) for row in rows}
    return np.array([[score[str(subset), subject] for subject in subjects] for subset in SUBSETS])


def gain(rows: list[Row], before: list[Row]) -> Interval:
    """By how much a change is better, with its interval over label subsets and subjects."""
    return mean_interval(scores_of(rows, "plain") - scores_of(before, "plain"), SUBSETS)


def line(name: str, rows: list[Row], best: list[Row], is_kept: bool) -> str:
    """A line of the Markdown table."""
    plain = scores_of(rows, "plain")
    subsets = ", ".join(f"{value:.3f}" for value in plain.mean(1))
    difference = ""
    if best:
        d = gain(rows, best)
        difference = f"{d.mean:+.3f} [{d.low:+.3f}, {d.high:+.3f}]"
    worst = sorted({row["subject"] for row in rows})[int(plain.mean(0).argmin())]
    cells = [name, f"{plain.mean():.3f}", subsets, difference]
    cells += [f"{scores_of(rows, 'switched').mean():.3f}"]
    cells += [f"{plain.mean(0).min():.3f} ({worst})", "yes" if is_kept else "no"]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
