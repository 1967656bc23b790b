"""How real and generated data should be divided: runs the grid of sweeps/synthetic_ratio.yaml, then
writes its CSV, figure and table.

Command: python experiments/synthetic_ratio.py --paired --gan-steps 1500 --out runs/synthetic_ratio
         python experiments/synthetic_ratio.py --grid experiments/sweeps/synthetic_ratio_acdc.yaml
         --name synthetic_ratio_acdc --out runs/ratio_acdc
         python experiments/synthetic_ratio.py --grid experiments/sweeps/synthetic_mixing.yaml
         --name synthetic_mixing --out runs/mixing --paired
         python experiments/synthetic_ratio.py --redraw     (figure and lines of the CSV alone)
An interrupted grid goes on with the same command; --subsets runs a part of it, so that several
processes share one. Time and result: see experiments/README.md. The
generator of a budget is fitted on that budget's pairs alone; every arm's set has as many samples,
so all runs of one synthetic_as share one compiled program. Of the fields that say how a set is
mixed, the CSV has those that vary in the grid. The primary figure is the last checkpoint's
validation Dice; differences are paired by subset and seed.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
from pathlib import Path

from study_tables import annotated_of
from synthetic_set import FITS

from semiseg import sweeps
from semiseg.config import Trial
from semiseg.generators import ratio, settings
from semiseg.runner import run

HERE = Path(__file__).parent
MIX = ("synthetic_schedule", "synthetic_as", "synthetic_weight", "synthetic_softness")
"""How a set is mixed, beside the ratio."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--grid", type=Path, default=HERE / "sweeps" / "synthetic_ratio.yaml")
    parser.add_argument("--out", type=Path, default=Path("runs/synthetic_ratio"))
    parser.add_argument(
        "--root",
        default=None,
        help=(
            "where the stores are, and where made sets are kept; default: SEMISEG_DATA, else "
            "the user's cache folder"
        ),
    )
    parser.add_argument(
        "--paired",
        action="store_true",
        help=(
            "of each label subset the seed of the same number alone: replicates that differ in both"
        ),
    )
    parser.add_argument(
        "--gan-steps",
        type=int,
        default=0,
        help="of each generator, instead of those of synthetic_set.py",
    )
    parser.add_argument(
        "--subsets",
        default=None,
        help="label subsets of this part, e.g. 0,2; the whole grid then writes the table",
    )
    parser.add_argument("--samples", type=int, default=ratio.SAMPLES)
    parser.add_argument("--name", default="synthetic_ratio", help="of the files under results/")
    parser.add_argument(
        "--redraw",
        action="store_true",
        help="run nothing: figure and lines from the CSV that is there",
    )
    args = parser.parse_args()
    path = HERE / "results" / f"{args.name}.csv"
    if args.redraw:
        report(path)
        return
    rows = []
    plan = {
        k: t
        for k, t in sweeps.trials(args.grid).items()
        if not args.paired or t.seed == t.label_subset
    }
    if args.subsets is not None:
        part = [int(subset) for subset in args.subsets.split(",")]
        plan = {k: t for k, t in plan.items() if t.label_subset in part}

    def varies(field: str) -> bool:
        return len({getattr(trial, field) for trial in plan.values()}) > 1

    varied = [field for field in MIX if varies(field)]
    done: list[Trial] = []
    for i, (name, trial) in enumerate(plan.items()):
        arm = (trial.synthetic or "").removeprefix(ratio.PREFIX)
        idle = _idle(trial)
        trial = dataclasses.replace(
            trial,
            **{field: getattr(Trial(), field) for field in idle},
        )
        same = trial
        if not trial.ratio:  # the same run for every setting
            same = dataclasses.replace(trial, synthetic=None)
        if same in done:
            continue
        done.append(same)
        if trial.ratio == 0:
            arm = "real"
            name = f"real-labels{trial.labels}-subset{trial.label_subset}-seed{trial.seed}"
        overrides = {
            **FITS[trial.data],
            "data": trial.data,
            "labels": trial.labels,
            "label_subset": trial.label_subset,
            "image_size": trial.image_size,
            "zoom": trial.zoom,
        }
        if args.gan_steps:
            overrides["steps"] = args.gan_steps
        given = settings.override(settings.Settings(root=args.root), overrides)
        made = ratio.resolve(trial.synthetic, given, samples=args.samples)
        result = run(
            dataclasses.replace(trial, root=args.root, synthetic=made),
            args.out / name,
            progress=False,
        )
        mix = ["" if field in idle else getattr(trial, field) for field in varied]
        dice = result.summary["last"]["val"]["dice"]
        rows.append((arm, trial.labels, trial.label_subset, trial.seed, trial.ratio, *mix, dice))
        print(
            f"{i + 1:4}/{len(plan)}  {name}  val Dice {dice:.4f}",
            flush=True,
        )
    if args.subsets is not None:
        return
    with path.open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        mixed = [field.removeprefix("synthetic_") for field in varied]
        table.writerows(
            [("arm", "labels", "label_subset", "seed", "ratio", *mixed, "val_dice"), *rows]
        )
    report(path)
    print(path)


def _idle(trial: Trial) -> tuple[str, ...]:
    """Fields of the mix that change nothing in a trial."""
    if trial.ratio == 0:
        return MIX
    return {
        "labelled": MIX[3:],
        "soft": (),
        "unlabelled": MIX[2:],
    }[trial.synthetic_as]


def report(path: Path) -> None:
    """Figure and lines of a CSV: gains over real data alone, paired by subset and seed, with 95 %
    intervals over these replicates, and p corrected for all lines.
    """
    from semiseg.analysis.mixes import table_mixes
    from semiseg.report.figures.output import save
    from semiseg.report.figures.synthetic_gain import gains
    from semiseg.report.format import interval_text, p_text
    from semiseg.synthetic_sources import source_title

    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    mixed = [name for name in rows[0] if f"synthetic_{name}" in MIX]

    def line(row):
        return ", ".join(
            [
                source_title(row["arm"]),
                *(f"{name} {row[name]}" for name in mixed if row[name]),
            ]
        )

    def of(row):
        return (
            line(row),
            row["arm"],
            int(row["labels"]),
            int(row["label_subset"]),
            int(row["seed"]),
            float(row["ratio"]),
            float(row["val_dice"]),
        )

    mixes = table_mixes(map(of, rows), annotated_of(path.stem))
    for m in mixes:
        g = m.gain
        print(
            f"{m.labels:4} labels  {m.line:32} {m.ratio:5g}: "
            f"{interval_text(g, signed=True)} over {g.n_runs} runs ({g.covers}), {p_text(m.p_holm)}"
        )
    save(gains(mixes, size=(10.5, 4.4)), path.with_suffix(".png"))


if __name__ == "__main__":
    main()
