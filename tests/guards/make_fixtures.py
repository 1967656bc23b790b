"""Makes the folders, masks and hashes that the guards compare with. Made by commit 53dd379.

To make them again, with a clone of that commit in CLONE::

    git -C CLONE checkout 53dd379
    PYTHONPATH=CLONE python tests/guards/make_fixtures.py

It refuses to run with any other code: a golden result from the code under test proves nothing.
It writes ``made_by_53dd379/`` and ``golden_weights.json``. It takes about a minute.

    discs_source/        pictures and masks, as a user has them
    stores/discs/        the data set that was imported from them
    finished/            runs: supervised, mean_teacher
    interrupted/         a run of mean_teacher, stopped by SIGTERM after 10 of 20 steps
    twin.safetensors     the last weights of the same run without the stop
    sweep/, sweep.yaml   2 methods x 2 label subsets; the last trial is stopped after 10 steps
    exported/            the finished supervised run, exported
    generator/           a fitted generator, and generator_interrupted/ after 10 of 20 steps
    generated/           a set that it sampled
    masks/               what the finished runs predict for pictures of discs_source/test/images
    results.csv          the table of `semiseg report finished sweep`
    made.json            the machine that made all this
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import guard_tools as tools
import numpy as np

COMMIT = "53dd379991bb604c836b55d8c85f8f0746ede28e"
METHODS = ("supervised", "mean_teacher", "bcp")
GRID = """method: grid
parameters:
  data: {value: discs}
  method: {values: [supervised, mean_teacher]}
  label_subset: {values: [0, 1]}
  net.widths: {value: [4, 8]}
  image_size: {value: 24}
  labels: {value: 4}
  steps: {value: 20}
  batch: {value: 4}
  lr: {value: 0.01}
  log_every: {value: 5}
  eval_every: {value: 10}
"""
STOP = """
import os, random, signal, sys
os.sched_setaffinity(0, {random.choice(sorted(os.sched_getaffinity(0)))})
from semiseg.cli.main import main
from semiseg.train import fit
import semiseg.generators.fit
wanted = int(sys.argv[1])
lines = 0
write = fit._Log.write
def counted(log, line):
    global lines
    write(log, line)
    lines += 1
    if lines == wanted:
        os.kill(os.getpid(), signal.SIGTERM)
fit._Log.write = counted
sys.exit(main(sys.argv[2:]))
"""
"""A command that gets SIGTERM when it has logged so many lines."""


def draw_source(place: Path) -> None:
    """12 grey PNGs with a bright disc each, and its mask; splits by subdirectory."""
    from PIL import Image

    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:30, :28]
    for split, count in (("train", 8), ("val", 2), ("test", 2)):
        for kind in ("images", "labels"):
            (place / split / kind).mkdir(parents=True)
        for i in range(count):
            distance = (rows - rng.integers(10, 20)) ** 2 + (columns - rng.integers(10, 18)) ** 2
            disc = distance < rng.integers(25, 70)
            image = np.clip(
                60 + 110 * disc + rng.normal(0, 12, disc.shape),
                0,
                255,
            )
            name = f"{split}{i}.png"
            Image.fromarray(image.astype(np.uint8)).save(place / split / "images" / name)
            Image.fromarray(disc.astype(np.uint8)).save(place / split / "labels" / name)


def stopped(lines: int, argv: list[str], cwd: Path) -> None:
    """Run a command that is stopped after so many lines of its log."""
    child = subprocess.run(
        [sys.executable, "-c", STOP, str(lines), *argv],
        cwd=cwd,
        env=tools.environment(cwd / "stores"),
    )
    assert child.returncode == 130, child.returncode


def statistics(arrays: dict[str, np.ndarray]) -> dict:
    """Hash of all arrays; mean and mean square of each; the first values of three."""
    chosen = sorted(arrays)[:: max(1, len(arrays) // 3)][:3]
    leaves = {}
    for key, array in sorted(arrays.items()):
        leaves[key] = {
            "shape": list(array.shape),
            "mean": float(np.mean(array, dtype=np.float64)),
            "mean_square": float(np.mean(np.square(array, dtype=np.float64))),
        }
    return {
        "sha256": tools.digest(arrays),
        "leaves": leaves,
        "values": {key: list(map(float, arrays[key].ravel()[:8])) for key in chosen},
    }


def main() -> None:
    """Make everything in a temporary folder, then put it in place."""
    import semiseg

    clone = Path(semiseg.__file__).parents[1]
    head = ["git", "-C", str(clone), "rev-parse", "HEAD"]
    commit = subprocess.run(head, capture_output=True, text=True, check=True).stdout.strip()
    changed = ["git", "-C", str(clone), "status", "--porcelain", "--untracked-files=no"]
    status = subprocess.run(changed, capture_output=True, text=True, check=True).stdout
    if commit != COMMIT or status:
        sys.exit(f"{clone} is not commit {COMMIT} unchanged; set PYTHONPATH to a clone of it")
    with tempfile.TemporaryDirectory() as temporary:
        make(Path(temporary))


def make(cwd: Path) -> None:
    """Run the commands in ``cwd`` and copy what they leave."""
    draw_source(cwd / "discs_source")
    (cwd / "sweep.yaml").write_text(GRID)
    stores = cwd / "stores"
    card = ["card", "generated", "--data=discs", "--steps=2", "--out=judged"]
    run = [
        ["data", "import", "--format=folder", "--source=discs_source", "--name=discs"],
        ["train", "--out=finished/supervised", *tools.TRAIN],
        ["train", "--out=finished/mean_teacher", "--method=mean_teacher", *tools.TRAIN],
        ["train", "--out=golden/bcp", "--method=bcp", *tools.TRAIN],
        ["export", "finished/supervised", "--out=exported"],
        ["gan", "fit", "--out=generator", *tools.FIT],
        ["gan", "sample", "generator", "--n=4", "--out=generated"],
        ["gan", *card],
    ]
    for method in METHODS[:2]:
        source = "--input=discs_source/test/images"
        run.append(
            [
                "predict",
                f"finished/{method}",
                source,
                f"--output=masks/{method}",
            ]
        )
    for (code, _, err), argv in zip(
        tools.commands(run, cwd, stores),
        run,
        strict=True,
    ):
        assert code == 0 or argv[:2] == ["gan", "card"], (argv, err)
    stopped(2, ["train", "--out=interrupted", "--method=mean_teacher", *tools.TRAIN], cwd)
    stopped(14, ["sweep", "sweep.yaml", "--out=sweep"], cwd)
    stopped(2, ["gan", "fit", "--out=generator_interrupted", *tools.FIT], cwd)
    shutil.copy(cwd / "finished/mean_teacher/weights.safetensors", cwd / "twin.safetensors")
    report = [["report", "finished", "sweep", "--out=report"]]
    ((code, _, err),) = tools.commands(report, cwd, stores)
    assert code == 0, err
    shutil.copy(cwd / "report/results.csv", cwd / "results.csv")
    golden = {"made_on": tools.machine(), "commit": COMMIT, "weights": {}}
    places = {"supervised": "finished/supervised", "mean_teacher": "finished/mean_teacher"}
    for name, place in (places | {"bcp": "golden/bcp", "spade": "generator"}).items():
        golden["weights"][name] = statistics(tools.weights(cwd / place / "weights.safetensors"))
    (tools.HERE / "golden_weights.json").write_text(json.dumps(golden, indent=1) + "\n")
    (cwd / "made.json").write_text(json.dumps(tools.machine(), indent=1) + "\n")
    whole = [f.parent / "checkpoints" for f in cwd.rglob("summary.json")]
    for leftover in ("golden", "report", "judged", "generator/checkpoints", *whole):
        shutil.rmtree(cwd / leftover, ignore_errors=True)  # finished: no checkpoint is needed
    for file in cwd.rglob("commit_success.txt"):  # Orbax only looks whether it exists
        file.write_text(file.read_text().replace(str(cwd), "."))
    for file in cwd.rglob("*"):
        if file.is_file():
            assert str(cwd).encode() not in file.read_bytes(), f"{file} names a folder of here"
    shutil.rmtree(tools.MADE, ignore_errors=True)
    shutil.copytree(cwd, tools.MADE)


if __name__ == "__main__":
    os.chdir(tools.HERE)
    main()
