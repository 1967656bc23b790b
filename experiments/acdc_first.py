"""Supervised against mean teacher on ACDC at 128², official 3- and 7-patient subsets: runs the
grid, then writes its CSV and table.

Command: python experiments/acdc_first.py --out runs/acdc_first
(after `semiseg data import --format ssl4mis-acdc --source ACDC --name acdc`)
Time and result: see experiments/README.md. An interrupted grid goes on with the same command.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from semiseg import config, load_runs, sweeps

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/acdc_first"))
    parser.add_argument(
        "--root",
        default=None,
        help="where the stores are; default: SEMISEG_DATA, else the user's cache folder",
    )
    args = parser.parse_args()
    grid = config.load_yaml(HERE / "sweeps" / "acdc_first.yaml")
    grid["parameters"]["root"] = {"value": args.root}
    sweeps.sweep(
        grid,
        args.out,
        say=lambda line: print(line, flush=True),
    )
    runs = load_runs(args.out)
    runs.write_csv(HERE / "results" / "acdc_first.csv")
    frame = runs.to_pandas()
    frame = frame[
        (frame.checkpoint == "last")
        & (frame["class"] == "mean")
        & frame.metric.isin(["dice", "hd95", "assd"])
    ]
    print(
        frame.groupby(["labels", "method", "metric"])["mean"]
        .agg(["mean", "min", "max", "count"])
        .round(3)
        .to_string()
    )
    print(
        f"{sum(r.summary['seconds_train'] for r in runs):.0f} seconds of training in {len(runs)} "
        f"runs"
    )


if __name__ == "__main__":
    main()
