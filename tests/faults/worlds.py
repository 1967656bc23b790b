"""The folder that a command of the suite starts with: sources, stores, runs, generators, all tiny.

It is made once and copied to the same place for each case, so that paths in files are the same.
"""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Sequence
from pathlib import Path

import children
import numpy as np

TORCH = Path(__file__).parents[1] / "nets" / "torch_weights" / "milesial_unet.pth.gz"
SIZE = (28, 26)
MINUTES = 600.0
"""Seconds to wait for a part of the world, whose programs may not be compiled yet."""
SPLITS = {"train": 4, "val": 2, "test": 2}
NETWORK = (
    *("--net.widths=4,8", "--image-size=16", "--labels=2", "--steps=4", "--batch=2"),
    *("--log-every=2", "--eval-every=2", "--checkpoint-seconds=0", "--quiet"),
)
GENERATOR = (
    *("--data=discs", "--labels=4", "--steps=4", "--log-every=2", "--grid-every=2", "--batch=4"),
    *("--image-size=16", "--checkpoint-seconds=0", "--generator.widths=8,4"),
    *("--discriminator.widths=4,8", "--discriminator.scales=1", "--unconditional=false"),
)
SWEEP = """
method: grid
parameters:
  seed: {values: [0, 1]}
  data: {value: discs}
  labels: {value: 2}
  image_size: {value: 16}
  net.widths: {value: [4, 8]}
  batch: {value: 2}
  steps: {value: 2}
  eval_every: {value: 2}
  log_every: {value: 2}
  checkpoint_seconds: {value: 0}
"""
SEARCH = SWEEP.replace("method: grid", "method: bayes").replace(
    "seed: {values: [0, 1]}", "lr: {min: 0.001, max: 0.01}"
)
SEARCH += "metric: {name: val_dice, goal: maximize}\nrun_cap: 3\n"
GENERATED = """
  synthetic: {value: "make:spade"}
  ratio: {value: 0.5}
  gan.samples: {value: 4}
  gan.steps: {value: 2}
  gan.batch: {value: 4}
  gan.unconditional: {value: false}
  gan.generator.widths: {value: [8, 4]}
  gan.discriminator.widths: {value: [4, 8]}
  gan.discriminator.scales: {value: 1}
"""


def draw_pictures(place: Path, seed: int, extra: int = 0) -> None:
    """PNGs of a bright disc and their masks, splits by subdirectory; ``extra`` more to train."""
    from PIL import Image

    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    for split, number in SPLITS.items():
        for kind in ("images", "labels"):
            (place / split / kind).mkdir(parents=True)
        for i in range(number + extra * (split == "train")):
            centre = rng.integers(9, 17, 2)
            radius = rng.integers(20, 60)
            disc = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < radius
            grey = 60 + 110 * disc + rng.normal(0, 25, disc.shape)
            core = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < radius / 3
            pictures = {"images": np.clip(grey, 0, 255), "labels": 1 * disc + core}
            for kind, pixels in pictures.items():
                file = place / split / kind / f"{split}{i}.png"
                Image.fromarray(pixels.astype(np.uint8)).save(file)


def _files(words: Sequence[str]) -> int:
    """What no command makes: pictures, masks to score, PyTorch's weights, runs of a study."""
    from analysis.fake import write_grid

    draw_pictures(Path("pictures"), 0)
    draw_pictures(Path("more"), 0, extra=2)
    shutil.copytree("pictures/val/labels", "masks")
    shutil.copytree("pictures/test/images", "scans")
    Path("unet.pth").write_bytes(gzip.decompress(TORCH.read_bytes()))
    Path("sweep.yaml").write_text(SWEEP)
    Path("mixes.yaml").write_text(SWEEP + GENERATED)
    Path("search.yaml").write_text(SEARCH)
    Path("key.txt").write_text(f"{bytes(range(32)).hex()}\n")
    write_grid(Path("study"), budgets=(4,), subsets=2, seeds=1, classes=("a",), side=16, steps=50)
    return 0


STEPS: dict[str, tuple[str, ...]] = {
    "stores/discs": ("data", "import", "--format=folder", "--source=pictures", "--name=discs"),
    "runs/first": ("train", "--data=discs", "--out=runs/first", *NETWORK),
    "generators/g": ("gan", "fit", "--out=generators/g", *GENERATOR),
    "sets/s": ("gan", "sample", "generators/g", "--out=sets/s", "--n=4"),
    "folds/0": ("train", "--data=discs", "--out=folds/0", *NETWORK, "--folds=2", "--fold=0"),
    "folds/1": ("train", "--data=discs", "--out=folds/1", *NETWORK, "--folds=2", "--fold=1"),
    "sweeps/s": ("sweep", "sweep.yaml", "--out=sweeps/s"),
}
"""What commands need of the world, and the command that makes it."""


def needed(commands: Sequence[Sequence[str]]) -> list[str]:
    """What the words of some commands need of the world: parts, or the folders of parts."""
    words = {word for command in commands for word in command}
    parts = ["stores/discs"]
    parts += [part for part in STEPS if part in words or part.rpartition("/")[0] in words]
    if "sets/s" in parts:
        parts.append("generators/g")
    return [part for part in STEPS if part in parts]


def prepare(world: Path, parts: Sequence[str]) -> Path:
    """A world with at least some parts; returns a copy, from which :func:`renew` restores it.

    Raises:
      RuntimeError: a command that makes a part fails.
    """
    template = world.with_name(f"{world.name}.template")
    marker = world.with_name(f"{world.name}.parts")
    if marker.exists() and set(parts) <= set(marker.read_text().split()):
        return template
    for folder in (world, template):
        shutil.rmtree(folder, ignore_errors=True)
    world.mkdir(parents=True)
    endings = [children.Child((), world, call=_files).wait()]
    for part in parts:
        endings.append(children.Child(STEPS[part], world).wait(MINUTES))
    for ended in endings:
        if ended.code:
            raise RuntimeError(f"exit code {ended.code}\n{ended.stdout}\n{ended.stderr}")
    shutil.copytree(world, template, symlinks=True)
    marker.write_text(" ".join(parts))
    return template


def renew(template: Path, world: Path) -> None:
    """Put the world back to how it began."""
    shutil.rmtree(world, ignore_errors=True)
    shutil.copytree(template, world, symlinks=True, dirs_exist_ok=True)
