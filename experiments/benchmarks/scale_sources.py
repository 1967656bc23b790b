"""Files of any size for scale.py: many small images, a large volume, many runs, classes, channels.

Command: python experiments/benchmarks/scale_sources.py CASE SIZE FOLDER
"""

from __future__ import annotations

import csv
import itertools
import json
import sys
from pathlib import Path

import numpy as np

SIDE = 32
"""Pixels along a side of a small image."""
PLANE = (512, 512)
"""Pixels of a slice of a large volume."""
SCANS = 12
"""Scans of a set of many classes or channels."""
PREDICTED = 1000
"""Images of the folder that is predicted."""
METHODS = ("supervised", "pseudo_label", "mean_teacher", "fixmatch")
LABELS = (2, 4, 8, 16, 32)
SUBSETS = 5
SUBJECTS = 24
METRICS = ("dice", "iou", "hd95", "volume_error")
STEPS = 600


def main() -> None:
    """Write what a case needs."""
    case, size, folder = sys.argv[1:]
    makers = {
        "images": write_images,
        "volume": write_volume,
        "runs": write_runs,
        "trials": write_trials,
        "classes": write_classes,
        "channels": write_channels,
    }
    makers[case](int(size), Path(folder))


def disc(rng: np.random.Generator, side: int) -> np.ndarray:
    """A mask ``(side, side)`` with a disc somewhere."""
    rows, columns = np.mgrid[:side, :side] / side
    y, x = rng.uniform(
        0.25,
        0.75,
        2,
    )
    radius = rng.uniform(
        0.1,
        0.25,
    )
    return (np.hypot(rows - y, columns - x) < radius).astype(np.uint8)


# ------------------------------------------------------------------ many small images
def write_images(number: int, folder: Path) -> None:
    """Grey pictures with a disc, every one of another subject; and some for a prediction."""
    from PIL import Image

    for part in ("images", "labels"):
        (folder / "source" / part).mkdir(parents=True)
    (folder / "new").mkdir()
    rng = np.random.default_rng(0)
    for i in range(number + PREDICTED):
        mask = disc(rng, SIDE)
        levels = (
            rng.normal(
                60,
                20,
                mask.shape,
            )
            + 120 * mask
            + 40 * disc(rng, SIDE)
        )
        picture = Image.fromarray(
            np.clip(
                levels,
                0,
                255,
            ).astype(np.uint8)
        )
        if i >= number:
            picture.save(folder / "new" / f"n{i}.png")
            continue
        picture.save(folder / "source" / "images" / f"p{i}.png")
        Image.fromarray(mask).save(folder / "source" / "labels" / f"p{i}.png")


# ------------------------------------------------------------------ a large volume
def write_volume(slices: int, folder: Path) -> None:
    """One int16 scan of so many slices with its mask, plain and compressed; and a set to train on,
    of six small scans.
    """
    for name, ending in (("plain", "nii"), ("packed", "nii.gz")):
        write_scans(
            folder / name,
            [slices],
            PLANE,
            ending,
        )
    write_scans(
        folder / "small",
        [16, 17, 18, 19, 20, 21],
        (128, 128),
        "nii",
    )
    for name in ("plain", "packed"):
        (folder / f"new_{name}").mkdir()
        for file in (folder / name / "images").iterdir():
            (folder / f"new_{name}" / file.name).symlink_to(file)


def write_scans(folder: Path, slices: list[int], plane: tuple[int, int], ending: str) -> None:
    """Scans ``(X, Y, Z)`` with a bright tube, one slice's noise shifted along Z."""
    import nibabel

    affine = np.diag([1.0, 1.0, 1.5, 1.0])
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    for number, depth in enumerate(slices):
        rng = np.random.default_rng(number)
        noise = rng.normal(
            100,
            30,
            plane,
        ).astype(np.int16)
        mask = disc(rng, plane[0])
        image = np.empty((*plane, depth), np.int16, "F")
        label = np.empty(image.shape, np.uint8, "F")
        for z in range(depth):
            label[..., z] = np.roll(mask, z // 4, 0)
            image[..., z] = np.roll(noise, 7 * z, 1) + 200 * label[..., z].astype(np.int16)
        for part, voxels in (("images", image), ("labels", label)):
            path = folder / part / f"s{number}.{ending}"
            nibabel.save(
                nibabel.Nifti1Image(
                    voxels,
                    affine,
                ),
                path,
            )


# ------------------------------------------------------------------ many runs
def write_runs(number: int, folder: Path) -> None:
    """Finished run folders as the trainer writes them, balanced over methods, budgets, subsets."""
    import yaml

    from semiseg import config

    seeds = range(-(-number // (len(METHODS) * len(LABELS) * SUBSETS)))
    cells = itertools.product(
        seeds,
        range(SUBSETS),
        LABELS,
        METHODS,
    )
    tree_of = {}
    for method in METHODS:
        trial = config.override(
            config.Trial(),
            {"method": method, "steps": STEPS},
        )
        tree_of[method] = config.to_dict(trial)
    for seed, subset, labels, method in itertools.islice(
        cells,
        number,
    ):
        run = folder / "runs" / f"{method}-labels{labels}-subset{subset}-seed{seed}"
        run.mkdir(parents=True)
        varied = {"labels": labels, "label_subset": subset, "seed": seed}
        text = yaml.safe_dump(
            tree_of[method] | varied,
            sort_keys=False,
        )
        (run / "config.yaml").write_text(text)
        rng = np.random.default_rng([seed, subset, labels, len(method)])
        write_result(run, rng, 0.5 + 0.06 * np.log2(labels), labels)


def write_result(run: Path, rng: np.random.Generator, level: float, labels: int) -> None:
    """Scores, log, summary and environment of a run."""
    hard = np.random.default_rng(7).normal(
        0,
        0.05,
        SUBJECTS,
    )
    scores = np.clip(
        level
        + hard
        + rng.normal(
            0,
            0.02,
            SUBJECTS,
        ),
        0.02,
        0.98,
    )
    with (run / "per_subject.csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow("run,split,checkpoint,subject,class,metric,value,unit".split(","))
        for checkpoint in ("last", "val_best"):
            for subject, dice in enumerate(scores):
                values = (dice, dice / (2 - dice), 20 * (1 - dice), dice - 0.9)
                for metric, value in zip(METRICS, values, strict=True):
                    row = [run.name, "val", checkpoint, f"v{subject:03d}", "nucleus", metric]
                    unit = "voxel" if metric == "hd95" else "1"
                    table.writerow([*row, f"{value:.6f}", unit])
    with (run / "metrics.jsonl").open("w") as file:
        for step in range(10, STEPS + 1, 10):
            line = {"step": step, "loss": 1.2 * np.exp(-step / 80) + 0.1, "lr": 0.01}
            line |= {"seconds": 0.05 * step}
            if step % 120 == 0:
                line["val_dice"] = level - 0.3 * np.exp(-step / 60)
            file.write(json.dumps(line) + "\n")
    summary = {
        "run": run.name,
        "status": "finished",
        "steps": STEPS,
        "last": {"val": {"dice": float(scores.mean())}},
        "seconds_train": 20.0,
        "parameters": 118_000,
        "images_labelled": labels,
        "subjects_labelled": labels,
    }
    (run / "summary.json").write_text(json.dumps(summary))
    (run / "env.json").write_text(json.dumps({"python": "3.12.1", "device": "cpu"}))


def write_trials(number: int, folder: Path) -> None:
    """A sweep file of so many trials, and its folder, in which all of them are finished."""
    import yaml

    from semiseg import config
    from semiseg.sweeps import spec

    seeds = -(-number // 100)
    axes = {"seed": list(range(seeds)), "label_subset": list(range(100))}
    parameters = {"steps": {"value": STEPS}} | {k: {"values": v} for k, v in axes.items()}
    content = {"method": "grid", "run_cap": number, "parameters": parameters}
    (folder / "sweep").mkdir(parents=True)
    file = folder / "sweep.yaml"
    file.write_text(yaml.safe_dump(content))
    for name, trial in spec.trials(spec.read(file)).items():
        run = folder / "sweep" / name
        run.mkdir()
        (run / "config.yaml").write_text(
            yaml.safe_dump(
                config.to_dict(trial),
                sort_keys=False,
            )
        )
        rng = np.random.default_rng([trial.seed, trial.label_subset])
        write_result(run, rng, 0.7, 8)


# ------------------------------------------------------------------ many classes, many channels
def write_classes(number: int, folder: Path) -> None:
    """Scans of 64×64×4 whose voxels are classes in blocks, so many of them."""
    names = ",".join(["background", *(f"c{k}" for k in range(1, number))])
    write_blocks(folder, number, 1)
    (folder / "classes.txt").write_text(names)


def write_channels(number: int, folder: Path) -> None:
    """Scans of 64×64×4 with so many channels as their fourth axis."""
    write_blocks(folder, 2, number)


def write_blocks(folder: Path, classes: int, channels: int) -> None:
    """Scans of noise on blocks of 4×4 voxels of a class each."""
    import nibabel

    affine = np.diag([1.0, 1.0, 3.0, 1.0])
    for part in ("source/images", "source/labels", "new"):
        (folder / part).mkdir(parents=True)
    for number in range(SCANS):
        rng = np.random.default_rng(number)
        blocks = rng.permutation(np.arange(16 * 16 * 4) % classes).reshape(16, 16, 4)
        label = blocks.repeat(4, 0).repeat(4, 1).astype(np.uint8)
        shape = (*label.shape, channels)
        image = (
            rng.normal(
                100,
                10,
                shape,
            )
            + label[..., None]
        ).astype(np.int16)
        if channels == 1:
            image = image[..., 0]
        name = f"s{number}.nii.gz"
        nibabel.save(
            nibabel.Nifti1Image(
                image,
                affine,
            ),
            folder / "source" / "images" / name,
        )
        nibabel.save(
            nibabel.Nifti1Image(
                label,
                affine,
            ),
            folder / "source" / "labels" / name,
        )
        if number < 3:
            nibabel.save(
                nibabel.Nifti1Image(
                    image,
                    affine,
                ),
                folder / "new" / name,
            )


if __name__ == "__main__":
    main()
