"""The published ACDC recipes at full length, unattended, on a GPU: supervised, mean teacher, BCP
and UniMatch with 3 and 7 patients.

Command: python experiments/acdc_published.py --out runs/acdc_published
(`--plan` only says what it would run)
(after `semiseg data import --format ssl4mis-acdc --source ACDC --name acdc`). 256², batch 24,
30,000 steps (BCP 40,000, UniMatch 30,900), each in float32 and bfloat16: the presets ssl4mis,
bcp-acdc and unimatch-acdc as they are. A killed script goes on with the same command; a recipe that
fails has its error in the table and the rest goes on. results/acdc_published.csv has a row a run,
also of earlier calls: Dice, HD95 and ASSD on the 10 validation patients, last checkpoint, seconds,
device, error. `--steps` shortens all of them in proportion, for a check on a CPU.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import sys
from pathlib import Path

import jax

import semiseg
from semiseg import config
from semiseg.config import Trial
from semiseg.train.loop import Interrupted

HERE = Path(__file__).parent
RECIPES = {
    "supervised": "ssl4mis",
    "mean_teacher": "ssl4mis",
    "bcp": "bcp-acdc",
    "unimatch": "unimatch-acdc",
}
COLUMNS = (
    "method",
    "preset",
    "labels",
    "seed",
    "dtype",
    "steps",
    "image_size",
    "batch",
    "dice",
    "hd95",
    "assd",
    "seconds_train",
    "device",
    "error",
    "run",
)


def plan(args: argparse.Namespace) -> dict[str, Trial]:
    """Every run by its name, those a reader waits for first."""
    found = {}
    for seed in range(args.seeds):
        for dtype in args.dtypes.split(","):
            for labels in (7, 3):
                for method in args.methods.split(","):
                    trial = config.preset(RECIPES[method], method)
                    steps = trial.steps
                    small = {}
                    if args.steps:
                        steps = max(
                            2,
                            round(trial.steps * (args.steps / 30_000)),
                        )
                        small = {"image_size": args.image_size, "batch": args.batch}
                    trial = dataclasses.replace(
                        trial,
                        data="acdc",
                        root=args.root,
                        labels=labels,
                        seed=seed,
                        steps=steps,
                        eval_every=steps,
                        log_every=max(1, steps // 300),
                        net=dataclasses.replace(trial.net, dtype=dtype),
                        **small,  # type: ignore[type-var]
                    )
                    found[f"{method}-labels{labels}-{dtype}-seed{seed}"] = trial
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/acdc_published"))
    parser.add_argument(
        "--root",
        default=None,
        help="where the stores are; default: SEMISEG_DATA, else the user's cache folder",
    )
    parser.add_argument("--methods", default=",".join(RECIPES))
    parser.add_argument("--dtypes", default="bfloat16,float32")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument(
        "--steps",
        type=int,
        default=0,
        help="stands for the published 30,000; 0 for the published length",
    )
    parser.add_argument("--image-size", type=int, default=256, help="with --steps")
    parser.add_argument("--batch", type=int, default=24, help="with --steps")
    parser.add_argument("--csv", type=Path, default=HERE / "results" / "acdc_published.csv")
    parser.add_argument("--plan", action="store_true", help="say what would run, and run nothing")
    args = parser.parse_args()
    runs = plan(args)
    device = jax.devices()[0]
    print(f"{len(runs)} runs on {device.platform}: {device.device_kind}")
    for name, trial in runs.items():
        print(
            f"  {name:38} {trial.steps} steps, batch {trial.batch}, {trial.image_size}², "
            f"{trial.optimiser} {trial.lr:g}",
            flush=True,
        )
    if args.plan:
        return
    rows: dict[str, dict[str, object]] = {}
    if args.csv.exists():
        with args.csv.open(newline="") as file:
            rows = {row["run"]: dict(row) for row in csv.DictReader(file)}
    failed = 0
    for i, (name, trial) in enumerate(runs.items(), 1):
        method = name.split("-")[0]
        dtype = trial.net.dtype  # type: ignore[attr-defined]
        setting = (
            method,
            RECIPES[method],
            trial.labels,
            trial.seed,
            dtype,
            trial.steps,
            trial.image_size,
            trial.batch,
        )
        found: tuple[object, ...]
        try:
            result = semiseg.run(trial, args.out / name)
        except Interrupted as stopped:
            sys.exit(f"semiseg: {stopped}")
        except Exception as error:  # one recipe must not cost the night of the others
            failed += 1
            found = (
                "",
                "",
                "",
                "",
                device.device_kind,
                next(iter(str(error).splitlines()), type(error).__name__),
                name,
            )
            print(
                f"semiseg: {name}: {error}",
                file=sys.stderr,
                flush=True,
            )
        else:
            score = result.summary["last"]["val"]
            seconds = result.summary["seconds_train"]
            found = (
                *(round(score[m], 4) for m in ("dice", "hd95", "assd")),
                round(seconds, 1),
                device.device_kind,
                "",
                name,
            )
            print(
                f"{i:3}/{len(runs)}  {name:38} Dice {score['dice']:.3f}  {seconds:.0f} s",
                flush=True,
            )
        rows[name] = dict(zip(COLUMNS, (*setting, *found), strict=True))
        args.csv.parent.mkdir(parents=True, exist_ok=True)
        with args.csv.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n", extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows.values())
    sys.exit(int(failed > 0))


if __name__ == "__main__":
    main()
