"""Every training method on ACDC at 128² with 3 and 7 patients: runs both grids, then writes two
CSVs and prints their tables: every method with one seed, and the six of acdc_leading.yaml with
three.

Command: python experiments/acdc_methods.py --out runs/acdc_methods --jobs 2 (after `semiseg data
import --format ssl4mis-acdc --source ACDC --name acdc`). An interrupted grid goes on with the same
command; `--report` only writes what is finished, so the table can grow over several evenings.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

from figures import compared

from semiseg import config, load_runs, sweeps
from semiseg.analysis import scores_csv as subject_scores
from semiseg.analysis.runs import Runs
from semiseg.report.tables import as_markdown

HERE = Path(__file__).parent
GRIDS = ("acdc_methods", "acdc_leading")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/acdc_methods"))
    parser.add_argument(
        "--root",
        default=None,
        help="where the stores are; default: SEMISEG_DATA, else the user's cache folder",
    )
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--methods", default="", help="only these, by commas")
    parser.add_argument("--steps", type=int, default=0, help="instead of the grids' 500")
    parser.add_argument("--report", action="store_true", help="run nothing")
    args = parser.parse_args()
    if not args.report:
        for name in GRIDS:
            grid = config.load_yaml(HERE / "sweeps" / f"{name}.yaml")
            axes = grid["parameters"]
            axes["root"] = {"value": args.root}
            if args.methods:
                axes["method"] = {
                    "values": [m for m in args.methods.split(",") if m in axes["method"]["values"]]
                }
            if args.steps:
                axes["steps"] = axes["eval_every"] = {"value": args.steps}
            if axes["method"]["values"]:
                sweeps.sweep(
                    grid, args.out / name, jobs=args.jobs, say=lambda line: print(line, flush=True)
                )
    runs = load_runs([args.out / name for name in GRIDS if (args.out / name).exists()])
    print(
        f"{sum(r.summary['seconds_train'] for r in runs):.0f} seconds of training in {len(runs)} "
        f"runs"
    )
    six = config.load_yaml(HERE / "sweeps" / "acdc_leading.yaml")["parameters"]["method"]["values"]
    tables = {
        "acdc_methods": [r for r in runs if r.seed == 0],
        "acdc_leading": [r for r in runs if r.method in six],
    }
    for name, members in tables.items():
        if not members:
            continue
        results = Runs(members, runs.problems).write_csv(HERE / "results" / f"{name}.csv")
        subject_scores.write(Runs(members), results, ("dice", "hd95", "assd"), "val")
        rows = compared(load_runs(results))
        for row in rows:
            seconds = [
                r.summary["seconds_train"]
                for r in members
                if (str(r.labels), r.method) == (row["patients"], row["method"])
            ]
            row["seconds a run"] = f"{statistics.median(seconds):.0f}"
        print(f"\n{name}\n\n{as_markdown([[*rows[0]], *([*row.values()] for row in rows)])}")


if __name__ == "__main__":
    main()
