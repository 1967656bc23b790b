"""Memory and time of imports: many volumes, a tenth of them, and one large scan.

Command: python experiments/benchmarks/import_memory.py
             --json experiments/results/import_memory.json
(two minutes on 2 loaded cores, 1 GB of disk; exit 1 above --goal)
Each import runs in a process of its own, of which the peak is the largest resident memory. The
volumes are 128×128×64 int16 with labels, the scan 512×512×250.
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

from semiseg.data import importing

SHAPE = (128, 128, 64)
SCAN = (512, 512, 250)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--volumes", type=int, default=300)
    parser.add_argument("--goal", type=float, default=1000, help="most MB of memory")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    report = {
        "volumes": imported(args.volumes, SHAPE),
        "tenth": imported(args.volumes // 10, SHAPE),
        "scan": imported(1, SCAN),
    }
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n")
    highest = max(facts["peak_mb"] for facts in report.values())
    return int(highest > args.goal)


def imported(
    number: int,
    shape: tuple[int, int, int],
) -> dict[str, Any]:
    """Write so many volumes, import them in a process of their own, print its peak."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / "source", number, shape)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            facts = pool.apply(measured, (folder,))
    facts["volumes"] = number
    facts["shape"] = shape
    facts["image_mb"] = round(number * np.prod(shape) * 2 / 1e6)
    print(facts, flush=True)
    return facts


def measured(folder: str) -> dict[str, Any]:
    """Import the volumes in this process; its peak, and seconds."""
    source = Path(folder) / "source"
    before = resident()
    began = time.perf_counter()
    importing.import_set(
        "folder",
        source,
        "large",
        Path(folder) / "root",
        progress=False,
        splits="train",
    )
    seconds = time.perf_counter() - began
    return {
        "before_mb": before,
        "peak_mb": resident(),
        "seconds": round(seconds),
    }


def resident() -> int:
    """MB of memory of this process at its peak.

    The peak that ``getrusage`` knows is handed on from the process that started this one.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            kilobytes = line.split()[1]
            return round(int(kilobytes) * 1024 / 1e6)
    raise OSError("/proc/self/status names no peak")


def write(
    source: Path,
    number: int,
    shape: tuple[int, int, int],
) -> None:
    """Noise, in which no two volumes look alike."""
    rng = np.random.default_rng(0)
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    for kind in ("images", "labels"):
        (source / kind).mkdir(parents=True)
    for i in range(number):
        noise = rng.standard_normal(shape, np.float32)
        image = (100 + 30 * noise).astype(np.int16)
        label = (noise > 1.3).astype(np.uint8)
        for kind, voxels in (("images", image), ("labels", label)):
            path = source / kind / f"v{i:03d}.nii"
            nibabel.save(nibabel.Nifti1Image(voxels, affine), path)


if __name__ == "__main__":
    sys.exit(main())
