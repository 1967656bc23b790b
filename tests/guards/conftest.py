"""Two child processes serve all guards: one on the folders of 53dd379, one that makes new ones."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

import guard_tools as tools
import pytest


class Done(NamedTuple):
    """Commands that ran in a folder.

    Attributes:
      folder: the working directory; the stores are in ``folder / "stores"``.
      results: exit code, output and error output by the name of the command.
    """

    folder: Path
    results: dict[str, tuple[int, str, str]]


def run(folder: Path, named: dict[str, list[str]]) -> Done:
    """Run commands in one child process."""
    results = tools.commands(
        list(named.values()),
        folder,
        folder / "stores",
    )
    return Done(folder, dict(zip(named, results, strict=True)))


@pytest.fixture(scope="session")
def old(tmp_path_factory) -> Done:
    """The folders of 53dd379, copied, after commands that read them and go on with them."""
    folder = tmp_path_factory.mktemp("old") / "copy"
    shutil.copytree(tools.MADE, folder)
    mean_teacher = ["--method=mean_teacher", *tools.TRAIN]
    pictures = "--input=discs_source/test/images"
    named = {
        "layout 1": ["data", "describe", "discs"],
        "import anew": [
            "data",
            "import",
            "--format=folder",
            "--source=discs_source",
            "--name=discs",
            "--overwrite",
        ],
        "check": ["data", "check", "discs"],
        "import": [
            "data",
            "import",
            "--format=folder",
            "--source=discs_source",
            "--name=anew",
            "--json=import.json",
        ],
        "status": ["sweep", "status", "sweep", "--json=status.json"],
        "report": ["report", "finished", "sweep", "--out=report", "--json=report.json"],
        "evaluate": ["evaluate", "finished/mean_teacher", "--json=evaluate.json"],
        "predict supervised": [
            "predict",
            "finished/supervised",
            pictures,
            "--output=new/supervised",
        ],
        "predict mean_teacher": [
            "predict",
            "finished/mean_teacher",
            pictures,
            "--output=new/mean_teacher",
        ],
        "predict exported": ["predict", "exported", pictures, "--output=new/exported"],
        "read": ["train", "--out=finished/supervised", *tools.TRAIN],
        "resume": ["train", "--out=interrupted", *mean_teacher],
        "sweep": ["sweep", "sweep.yaml", "--out=sweep", "--json=swept.json"],
        "export": ["export", "interrupted", "--out=new/exported_again"],
        "sample": ["gan", "sample", "generator", "--n=4", "--out=new/generated"],
        "resume generator": ["gan", "fit", "--out=generator_interrupted", *tools.FIT],
        "card": [
            "gan",
            "card",
            "generated",
            "--data=discs",
            "--steps=2",
            "--out=judged",
            "--json=card.json",
        ],
    }
    return run(folder, named)


@pytest.fixture(scope="session")
def new(tmp_path_factory) -> Done:
    """Folders that the code under test makes of the same pictures, with the flags of 53dd379."""
    folder = tmp_path_factory.mktemp("new")
    for part in ("discs_source", "sweep.yaml"):
        copy = shutil.copytree if (tools.MADE / part).is_dir() else shutil.copy
        copy(tools.MADE / part, folder / part)
    small = ["--batch=1", "--size=16", "--repeats=1"]
    named = {
        "import": [
            "data",
            "import",
            "--format=folder",
            "--source=discs_source",
            "--name=discs",
            "--json=json/data import.json",
        ],
        "list": ["data", "list", "--json=json/data list.json"],
        "check": ["data", "check", "discs", "--json=json/data check.json"],
        "describe": [
            "data",
            "describe",
            "discs",
            "--json=json/data describe.json",
            "--plan=plan.yaml",
        ],
        "supervised": ["train", "--out=made/supervised", "--test", *tools.TRAIN],
        "mean_teacher": ["train", "--out=made/mean_teacher", "--method=mean_teacher", *tools.TRAIN],
        "bcp": ["train", "--out=made/bcp", "--method=bcp", *tools.TRAIN],
        "sweep": ["sweep", "random.yaml", "--out=sweep", "--json=json/sweep.json"],
        "status": ["sweep", "status", "sweep", "--json=json/sweep status.json"],
        "evaluate": ["evaluate", "made/bcp", "--split=test", "--json=json/evaluate.json"],
        "export": ["export", "made/supervised", "--out=exported"],
        "report": ["report", "made", "--out=report", "--json=json/report.json"],
        "spade": ["gan", "fit", "--out=made/spade", *tools.FIT],
        "sample": ["gan", "sample", "made/spade", "--n=4", "--out=generated"],
        "card": [
            "gan",
            "card",
            "generated",
            "--data=discs",
            "--steps=2",
            "--out=judged",
            "--json=json/gan card.json",
        ],
        "methods": ["methods", "--json=json/methods.json"],
        "nets": ["nets", "unet", "--size=16", "--json=json/nets.json"],
        "doctor": ["doctor", "--json=json/doctor.json"],
        "bench step": [
            "bench",
            "step",
            "--width=4",
            "--inner=1",
            *small,
            "--json=json/bench step.json",
        ],
        "bench methods": [
            "bench",
            "methods",
            "--only=mean_teacher",
            "--widths=4,8",
            "--inner=1",
            *small,
            "--json=json/bench methods.json",
        ],
        "bench nets": ["bench", "nets", "--only=unet", *small, "--json=json/bench nets.json"],
    }
    (folder / "json").mkdir()
    (folder / "random.yaml").write_text(RANDOM)
    return run(folder, named)


RANDOM = """method: bayes
metric: {name: val_dice, goal: maximize}
run_cap: 2
parameters:
  data: {value: discs}
  lr: {min: 0.001, max: 0.01}
  net.widths: {value: [4, 8]}
  image_size: {value: 24}
  labels: {value: 4}
  steps: {value: 2}
  batch: {value: 4}
"""
