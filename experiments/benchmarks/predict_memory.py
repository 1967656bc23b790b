"""Memory and time of `semiseg predict` on a CT of 512 × 512 × 600: networks of 2D and of 3D.

Command: python experiments/benchmarks/predict_memory.py
             --json experiments/results/predict_memory.json
(ten minutes on 2 cores; exit 1 above --goal)
The networks are tiny and trained for two steps: their size hardly counts beside that of the scan.
Each prediction runs in a process of its own, of which the peak is the largest resident memory.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from import_memory import resident

from semiseg.cli.main import main as semiseg

CT = (512, 512, 600)
SIDES = (0.75, 0.75, 1.0)
SMALL = (48, 48, 24)
TRAINING = ("--steps", "2", "--eval-every", "2", "--batch", "2", "--intensity", "ct-soft")
SOLID = ("--net.dims", "3", "--depth", "64", "--image-size", "64")
NETWORKS = {
    "2D": ("--image-size", "256", "--spacing", "0.75"),
    "3D, voxels of 1.5 mm": (*SOLID, "--spacing", "1.5"),
    "3D, voxels of the scan": (*SOLID, "--spacing", "1.0,0.75,0.75"),
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--slices", type=int, default=CT[2])
    parser.add_argument("--goal", type=float, default=4000, help="most MB of memory")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    report: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        write_set(place / "source")
        shape = (*CT[:2], args.slices)
        write_scan(place / "ct.nii", shape, SIDES)
        for name, flags in NETWORKS.items():
            context = multiprocessing.get_context("spawn")
            with context.Pool(1) as pool:
                pool.apply(train, (place, name, flags))
            with context.Pool(1) as pool:
                report[name] = pool.apply(predict, (place, name))
            print(name, report[name], flush=True)
    report["shape"] = shape
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n")
    highest = max(report[name]["peak_mb"] for name in NETWORKS)
    return int(highest > args.goal)


def train(
    place: Path,
    name: str,
    flags: tuple[str, ...],
) -> None:
    """A run of a few steps on the small scans, which are imported first."""
    root = ("--root", str(place / "stores"))
    if not (place / "stores").exists():
        source = str(place / "source")
        call("data", "import", "--source", source, "--name", "small", *root)
    out = str(place / name)
    widths = ("--net.widths", "4,8")
    call("train", "--data", "small", *root, *TRAINING, *widths, *flags, "--out", out)


def predict(place: Path, name: str) -> dict[str, Any]:
    """Segment the scan in this process; its peak, and seconds."""
    before = resident()
    began = time.perf_counter()
    scan = str(place / "ct.nii")
    masks = str(place / name / "masks")
    call("predict", str(place / name), "--input", scan, "--output", masks)
    seconds = time.perf_counter() - began
    return {
        "before_mb": before,
        "peak_mb": resident(),
        "seconds": round(seconds),
    }


def call(*words: str) -> None:
    """One command of the program, in this process."""
    if semiseg(list(words)):
        raise SystemExit(f"semiseg {' '.join(words)} failed")


def write_set(source: Path) -> None:
    """Six small scans with labels."""
    for kind in ("images", "labels"):
        (source / kind).mkdir(parents=True)
    for i in range(6):
        image = source / "images" / f"p{i}.nii"
        voxels = write_scan(image, SMALL, SIDES, seed=i)
        label = (voxels > 60).astype(np.uint8)
        affine = np.diag([*SIDES, 1.0])
        nibabel.save(nibabel.Nifti1Image(label, affine), source / "labels" / image.name)


def write_scan(
    path: Path,
    shape: tuple[int, int, int],
    sides: tuple[float, float, float],
    seed: int = 0,
) -> np.ndarray:
    """Noise of soft tissue as int16, and what was written."""
    rng = np.random.default_rng(seed)
    voxels = np.empty(shape, np.int16)
    for plane in voxels:
        plane[:] = rng.normal(40, 40, plane.shape)
    affine = np.diag([*sides, 1.0])
    nibabel.save(nibabel.Nifti1Image(voxels, affine), path)
    return voxels


if __name__ == "__main__":
    sys.exit(main())
