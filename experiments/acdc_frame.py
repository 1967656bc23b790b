"""Whether the frame that keeps aspect and grey values loses to the one that stretched slices: Dice
of the ACDC validation patients by frame, label subset and patient.

Command: semiseg sweep experiments/sweeps/acdc_frame_before.yaml --out runs/acdc_frame/before
         semiseg sweep experiments/sweeps/acdc_frame_centre.yaml --out runs/acdc_frame/centre
         semiseg sweep experiments/sweeps/acdc_frame.yaml --out runs/acdc_frame/whole
         python experiments/acdc_frame.py --runs runs/acdc_frame
(after `semiseg data import --format ssl4mis-acdc --source ACDC --name acdc`; writes
experiments/results/acdc_frame.csv and prints the mean of each frame and subset)
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np

from semiseg import load_runs

RESULT = Path(__file__).parent / "results" / "acdc_frame.csv"
FRAMES = ("before", "centre", "whole")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--runs", type=Path, default=Path("runs/acdc_frame"))
    args = parser.parse_args()
    rows = []
    for frame in FRAMES:
        runs = load_runs(args.runs / frame)
        subjects, dice_RS = runs.matrix("dice", "val")
        for run, dice_S in zip(runs, dice_RS, strict=True):
            print(f"{frame:8}subset {run.label_subset}  {np.mean(dice_S):.3f}")
            for subject, dice in zip(subjects, dice_S.tolist(), strict=True):
                rows.append((frame, run.label_subset, subject, round(dice, 4)))
    with RESULT.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("frame", "label_subset", "subject", "dice"))
        writer.writerows(rows)


if __name__ == "__main__":
    main()
