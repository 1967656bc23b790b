"""The commands that scale.py measures, a list of steps for each case."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

TINY = (
    "--net.widths=[4,8]",
    "--batch=2",
    "--image-size=32",
    "--labels=2",
    "--quiet",
)
FEW_STEPS = ("--steps=2", "--eval-every=2")


class Step(NamedTuple):
    """One command.

    Attributes:
      name: in the table.
      words: of the command line, after ``semiseg``.
      makes: the folder whose size is written down.
      until: a file with whose first line the measured part ends.
    """

    name: str
    words: Sequence[str]
    makes: Path | None = None
    until: Path | None = None


def of_images(folder: Path) -> list[Step]:
    source = str(folder / "source")
    reader = ("--format=folder", "--subjects-are-images=True")
    run = folder / "run"
    train = (
        "train",
        "--data=s",
        f"--out={run}",
        *TINY,
        *FEW_STEPS,
        "--log-every=1",
    )
    return [
        Step(
            "check_files",
            (
                "data",
                "check",
                f"--source={source}",
                *reader,
            ),
        ),
        Step(
            "import",
            data_import(source, *reader),
            folder / "root",
        ),
        Step(
            "check",
            ("data", "check", "s"),
        ),
        Step(
            "list",
            ("data", "list"),
        ),
        Step(
            "describe",
            ("data", "describe", "s"),
        ),
        Step("first_step", train, None, run / "metrics.jsonl"),
        Step(
            "predict",
            prediction(run, folder / "new", folder / "masks"),
            folder / "masks",
        ),
    ]


def of_volume(folder: Path) -> list[Step]:
    run = folder / "run"
    volumes = (
        "--net.dims=3",
        "--depth=16",
        "--image-size=64",
        *TINY[:2],
        *TINY[3:],
    )
    steps = []
    for name in ("plain", "packed"):
        source = str(folder / name)
        words = ("--format=folder", "--splits=train")
        steps += [
            Step(
                f"check_files_{name}",
                (
                    "data",
                    "check",
                    f"--source={source}",
                    *words,
                ),
            ),
            Step(
                f"import_{name}",
                data_import(source, *words, name=name),
                folder / "root" / name,
            ),
            Step(
                f"check_{name}",
                ("data", "check", name),
            ),
            Step(
                f"describe_{name}",
                ("data", "describe", name),
            ),
        ]
    train = ("train", "--data=small", *FEW_STEPS)
    steps += [
        Step(
            "import_small",
            data_import(
                str(folder / "small"),
                "--format=folder",
                name="small",
            ),
        ),
        Step(
            "train_2d",
            (
                *train,
                f"--out={run}2",
                *TINY,
            ),
        ),
        Step(
            "train_3d",
            (
                *train,
                f"--out={run}3",
                *volumes,
            ),
        ),
    ]
    for name in ("plain", "packed"):
        new = folder / f"new_{name}"
        masks = folder / f"masks_{name}"
        steps.append(
            Step(
                f"predict_{name}",
                prediction(
                    Path(f"{run}2"),
                    new,
                    masks,
                ),
                masks,
            )
        )
    tiles = prediction(
        Path(f"{run}3"),
        folder / "new_plain",
        folder / "tiles",
    )
    return [
        *steps,
        Step("predict_tiles", tiles, folder / "tiles"),
    ]


def of_runs(folder: Path) -> list[Step]:
    report = folder / "report"
    again = folder / "again"
    table = str(report / "results.csv")
    return [
        Step(
            "report",
            (
                "report",
                str(folder / "runs"),
                f"--out={report}",
            ),
            report,
        ),
        Step(
            "report_csv",
            (
                "report",
                table,
                f"--out={again}",
            ),
            again,
        ),
    ]


def of_trials(folder: Path) -> list[Step]:
    sweep = folder / "sweep"
    return [
        Step(
            "resume",
            (
                "sweep",
                str(folder / "sweep.yaml"),
                f"--out={sweep}",
            ),
            sweep,
        ),
        Step(
            "resume_jobs",
            (
                "sweep",
                str(folder / "sweep.yaml"),
                f"--out={sweep}",
                "--jobs=2",
            ),
        ),
        Step(
            "status",
            (
                "sweep",
                "status",
                str(sweep),
            ),
        ),
    ]


def of_classes(folder: Path) -> list[Step]:
    run = folder / "run"
    return [
        Step(
            "import",
            data_import(
                str(folder / "source"),
                "--format=folder",
            ),
            folder / "root",
        ),
        Step(
            "train",
            (
                "train",
                "--data=s",
                f"--out={run}",
                *TINY,
                *FEW_STEPS,
            ),
            run,
        ),
        Step(
            "evaluate",
            (
                "evaluate",
                str(run),
                "--split=val",
            ),
        ),
        Step(
            "report",
            (
                "report",
                str(run),
                f"--out={folder / 'report'}",
            ),
            folder / "report",
        ),
        Step(
            "predict",
            prediction(run, folder / "new", folder / "masks"),
            folder / "masks",
        ),
    ]


def of_channels(folder: Path) -> list[Step]:
    return [step for step in of_classes(folder) if step.name not in ("evaluate", "report")]


STEPS_OF = {
    "images": of_images,
    "volume": of_volume,
    "runs": of_runs,
    "trials": of_trials,
    "classes": of_classes,
    "channels": of_channels,
}


def data_import(source: str, *words: str, name: str = "s") -> list[str]:
    return ["data", "import", f"--source={source}", f"--name={name}", *words]


def prediction(run: Path, source: Path, target: Path) -> list[str]:
    return ["predict", str(run), f"--input={source}", f"--output={target}"]
