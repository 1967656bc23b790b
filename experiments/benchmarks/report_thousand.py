"""How long `semiseg report` takes over 1,000 run folders, in a process of its own.

Command: python experiments/benchmarks/report_thousand.py
    --json experiments/results/report_thousand.json
(a minute; exit 1 above --goal)
One tiny run is trained on the built-in nuclei set and scored on validation and test images, then
copied: each copy is another cell of 5 methods × 8 budgets × 5 label subsets × 5 seeds, with its own
configuration, the annotated subjects of its label subset, a log of 600 steps, and its own scores,
all of them moved by what its cell is worth.
The files are as large as those of the label-efficiency experiment, and so is the work.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import math
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml

METHODS = {
    "supervised": 0.0,
    "pseudo_label": 0.01,
    "mean_teacher": 0.03,
    "fixmatch": 0.02,
    "bcp": 0.025,
}
BUDGETS = (2, 4, 8, 16, 32, 64, 128, 256)
SUBSETS = range(5)
SEEDS = range(5)
STEPS = 600
LINE = 10
FRACTIONS = ("dice", "iou", "precision", "sensitivity")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--goal", type=float, default=20.0, help="most seconds the report may take")
    parser.add_argument("--keep", type=Path, help="leave the runs and their report in this folder")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    from semiseg.runner.versions import environment

    with tempfile.TemporaryDirectory() as place:
        folder = args.keep or Path(place)
        runs = folder / "runs"
        out = folder / "report"
        copies(train(folder / "tiny"), runs, args.runs)
        command = [
            sys.executable,
            "-m",
            "semiseg.cli.main",
            "report",
            str(runs),
            "--out",
            str(out),
        ]
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - began

        def kib(files):
            return round(sum(file.stat().st_size for file in files) / 1024)

        found = {
            "command": f"python experiments/benchmarks/report_thousand.py --runs {args.runs}",
            "runs": args.runs,
            "report_s": round(seconds, 2),
            "goal_s": args.goal,
            "scores": sum(
                file.read_bytes().count(b"\n") - 1 for file in runs.glob("*/per_subject.csv")
            ),
            "runs_kib": kib(file for file in runs.rglob("*") if file.is_file()),
            "report_html_kib": kib([out / "report.html"]),
            "environment": environment(),
        }
    print(
        json.dumps(
            {k: v for k, v in found.items() if k != "environment"},
            indent=1,
        )
    )
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")
    return int(seconds > args.goal)


def train(folder: Path) -> Path:
    """The run that is copied; its look at the test images stands in a ledger of its own."""
    import semiseg
    from semiseg import config

    fields = {
        "image_size": 32,
        "net.widths": [4, 8],
        "steps": 4,
        "labels": 8,
        "batch": 4,
        "root": str(folder.parent / "data"),
    }
    semiseg.run(
        config.override(config.Trial(), fields),
        folder,
        progress=False,
        test=True,
    )
    return folder


def copies(source: Path, out: Path, count: int) -> None:
    """``count`` run folders, as the trainer writes them."""
    from semiseg import config
    from semiseg.data import splits, store

    tree = yaml.safe_load((source / "config.yaml").read_text())
    summary = json.loads((source / "summary.json").read_text())
    info = store.info("nuclei", tree["root"])
    training = store.read_split("nuclei", "train", tree["root"])
    annotated = {}
    for place in itertools.product(BUDGETS, SUBSETS):
        annotated[place] = splits.labelled_subjects(info, training, *place)
    with (source / "per_subject.csv").open(newline="") as file:
        head, *rows = csv.reader(file)
    of = {
        method: config.to_dict(config.override(config.Trial(), {"method": method}))["method"]
        for method in METHODS
    }
    value_of_row = np.array([float(row[6] or "nan") for row in rows])
    bounded = np.array([row[5] in FRACTIONS for row in rows])
    cells: Iterator[Any] = itertools.product(
        SEEDS, SUBSETS, BUDGETS, METHODS
    )  # the first n are as balanced as n allows
    for seed, subset, labels, method in itertools.islice(cells, count):
        rng = np.random.default_rng([seed, subset, labels, len(method)])
        folder = out / f"{method}-labels{labels}-subset{subset}-seed{seed}"
        folder.mkdir(parents=True)
        worth = 0.06 * math.log2(labels) + METHODS[method] / (1 + labels / 40) + rng.normal(0, 0.01)
        values = value_of_row + worth + rng.normal(0, 0.02, len(rows))
        values = np.where(
            bounded,
            np.clip(values, 0, 1),
            np.abs(value_of_row * (1 - worth)),
        )
        with (folder / "per_subject.csv").open("w", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(head)
            for row, value in zip(rows, values, strict=True):
                text = "" if np.isnan(value) else f"{value:.6g}"
                table.writerow([folder.name, *row[1:6], text, row[7]])
        changed = {
            "method": of[method],
            "labels": labels,
            "label_subset": subset,
            "seed": seed,
            "steps": STEPS,
            "data": "nuclei",
        }
        (folder / "config.yaml").write_text(yaml.safe_dump(tree | changed, sort_keys=False))
        named = {
            "run": folder.name,
            "subjects_labelled": labels,
            "labelled_subjects": annotated[labels, subset],
            "images_labelled": labels,
            "steps": STEPS,
            "seconds_train": 20.0 + rng.random(),
        }
        (folder / "summary.json").write_text(json.dumps(summary | named, indent=1))
        with (folder / "metrics.jsonl").open("w") as file:
            for step in range(LINE, STEPS + 1, LINE):
                line = {
                    "step": step,
                    "loss": 0.1 + math.exp(-step / 80) + rng.normal(0, 0.01),
                    "lr": 0.003,
                    "seconds": step / 30,
                }
                if step % 120 == 0:
                    line["val_dice"] = worth - math.exp(-step / 60)
                file.write(json.dumps(line) + "\n")
        for name in ("env.json", "examples.npz", "weights.safetensors"):
            shutil.copy(source / name, folder / name)


if __name__ == "__main__":
    sys.exit(main())
