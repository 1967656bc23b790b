"""Run folders with plausible numbers, written the way the trainer writes them."""

import csv
import json
from pathlib import Path

import numpy as np
import yaml

METRICS = {
    "dice": "1",
    "iou": "1",
    "precision": "1",
    "sensitivity": "1",
    "hd95": "voxel",
    "hd95_pooled": "voxel",
    "assd": "voxel",
    "volume_error": "1",
}
GAIN = {"supervised": 0.0, "mean_teacher": 0.035, "pseudo_label": 0.015}
HEADER = ["run", "split", "checkpoint", "subject", "class", "metric", "value", "unit"]


def write_run(
    folder: Path,
    *,
    method="supervised",
    labels=8,
    subset=0,
    seed=0,
    subjects=12,
    classes=("nucleus",),
    splits=("val",),
    steps=300,
    examples=True,
    data="nuclei",
    ratio=0.0,
    side=32,
    config=None,
    name=None,
    metrics=tuple(METRICS),
    folds=0,
    fold=0,
):
    """One run; the score depends on method, budget, subset, seed and subject alone.

    One of several folds has the rows of every ``folds``-th subject.
    """
    if name is None:
        name = f"{method}-n{labels}-j{subset}-s{seed}"
        if ratio:
            name += f"-r{ratio}"
        if folds:
            name += f"-f{fold}"
    run = folder / name
    run.mkdir(parents=True)
    tree = {
        "data": data,
        "labels": labels,
        "label_subset": subset,
        "seed": seed,
        "steps": steps,
        "ratio": ratio,
        "image_size": side,
        "batch": 16,
        "method": {"name": method, "decay": 0.99},
        "net": {"name": "unet", "width": 16},
        "optimiser": {"lr": 0.01},
    } | (config or {})
    held_out = range(subjects)
    if folds:
        tree |= {"folds": folds, "fold": fold}
        held_out = range(fold, subjects, folds)
    (run / "config.yaml").write_text(yaml.safe_dump(tree))
    hard = np.random.default_rng(7).normal(0, 0.05, subjects)
    rng = np.random.default_rng([labels, subset, seed, len(method), *[fold] * bool(folds)])
    level = (
        0.55
        + 0.065 * np.log2(labels)
        + GAIN.get(method, 0.0) / (1 + labels / 40)
        + 0.02 * np.sin(7 * subset) / np.log2(labels + 1)
    )
    rows = []
    dice = {}
    for split in splits:
        for checkpoint in ("last", "val_best"):
            for s in held_out:
                subject = f"{split}{s:03d}"
                for k, class_ in enumerate(classes):
                    d = float(
                        np.clip(
                            level
                            - 0.05 * k
                            + hard[s]
                            + rng.normal(0, 0.015)
                            + 0.004 * (checkpoint == "val_best"),
                            0.02,
                            0.98,
                        )
                    )
                    dice.setdefault(split, []).append(d)
                    value = {
                        "dice": d,
                        "iou": d / (2 - d),
                        "precision": d,
                        "sensitivity": d,
                        "hd95": 20 * (1 - d),
                        "hd95_pooled": 18 * (1 - d),
                        "assd": 5 * (1 - d),
                        "volume_error": d - 0.9,
                    }
                    rows += [
                        [name, split, checkpoint, subject, class_, m, f"{value[m]:.6f}", METRICS[m]]
                        for m in metrics
                    ]
    write_rows(run, rows)
    with (run / "metrics.jsonl").open("w") as out:
        for step in range(10, steps + 1, 10):
            line = {
                "step": step,
                "loss": 1.2 * np.exp(-step / 80) + 0.1 + rng.normal(0, 0.01),
                "lr": 0.01,
                "seconds": step * 0.05,
            }
            if step % 50 == 0:
                line["val_dice"] = level - 0.3 * np.exp(-step / 60)
            out.write(json.dumps(line) + "\n")
    summary = {
        "run": name,
        "status": "finished",
        "last": {s: {"dice": float(np.mean(v))} for s, v in dice.items()},
        "seconds_train": 20.0 + seed,
        "parameters": 118_000,
        "empty_policy": {"both_empty": "undefined"},
        "images_labelled": labels,
        "subjects_labelled": labels,
    }
    if folds:
        summary |= {"subjects_val": len(held_out), "subjects_annotated": subjects - len(held_out)}
    (run / "summary.json").write_text(json.dumps(summary))
    (run / "env.json").write_text(
        json.dumps({"python": "3.12.1", "jax": "0.10.2", "device": "cpu", "git": "abc1234"})
    )
    if examples:
        write_examples(run, rng, level, len(classes), side)
    return run


def write_rows(run: Path, rows: list[list]) -> None:
    """per_subject.csv of a run folder."""
    with (run / "per_subject.csv").open("w", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(HEADER)
        writer.writerows(rows)


def write_examples(
    run: Path, rng: np.random.Generator, level: float, classes: int, side: int
) -> None:
    """Discs on noise; the prediction is the disc moved, grown, or with an island."""
    y, x = np.mgrid[:side, :side] / side
    image = []
    label = []
    prediction = []
    scores = []
    for i in range(6):
        scene = np.random.default_rng(i)
        truth = np.zeros((side, side), np.uint8)
        guess = np.zeros((side, side), np.uint8)
        for k in range(3):
            cy, cx = scene.uniform(0.2, 0.8, 2)
            r = scene.uniform(0.08, 0.2)
            truth[(y - cy) ** 2 + (x - cx) ** 2 < r**2] = k % classes + 1
            my, mx = rng.normal(
                0,
                (1 - level) * r,
                2,
            )
            guess[(y - cy - my) ** 2 + (x - cx - mx) ** 2 < (r * rng.uniform(0.85, 1.15)) ** 2] = (
                k % classes + 1
            )
        tissue = 60 + 120 * (truth > 0) + 25 * np.sin(9 * x + i) + scene.normal(0, 14, (side, side))
        image.append(np.clip(tissue, 0, 255).astype(np.uint8))
        label.append(truth)
        prediction.append(guess)
        scores.append(
            2 * ((truth > 0) & (guess > 0)).sum() / ((truth > 0).sum() + (guess > 0).sum())
        )
    np.savez(
        run / "examples.npz",
        image=np.array(image),
        label=np.array(label),
        prediction=np.array(prediction),
        subject=np.array([f"val{i:03d}" for i in range(6)]),
        dice=np.array(scores),
    )


def write_grid(
    folder: Path,
    methods=("supervised", "mean_teacher", "pseudo_label"),
    budgets=(4, 8, 16),
    subsets=3,
    seeds=3,
    **kwargs,
) -> Path:
    """A full factorial of runs."""
    for method in methods:
        for labels in budgets:
            for subset in range(subsets):
                for seed in range(seeds):
                    write_run(
                        folder, method=method, labels=labels, subset=subset, seed=seed, **kwargs
                    )
    return folder


def write_folds(folder: Path, methods=("supervised", "mean_teacher"), folds=5, **kwargs) -> Path:
    """Every fold of a cross-validation of some methods."""
    for method in methods:
        for fold in range(folds):
            write_run(folder, method=method, folds=folds, fold=fold, examples=False, **kwargs)
    return folder
