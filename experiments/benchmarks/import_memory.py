"""Memory and time of an import: 300 volumes of 128×128×64 int16 with labels.

Command: python experiments/benchmarks/import_memory.py   (4 minutes on two shared cores, 950 MB of
disk)

Result: 316 MB at the peak, 149 seconds, beside other work.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import nibabel
import numpy as np

from semiseg.data import importing

SHAPE = (128, 128, 64)


def main() -> None:
    """Write the volumes, import them, print the peak of the process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--volumes", type=int, default=300)
    number = parser.parse_args().volumes
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source"
        write(source, number)
        start = time.perf_counter()
        importing.import_set("folder", source, "large", Path(folder) / "root", progress=False)
        seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{number} volumes: {peak:.0f} MB at the peak, {seconds:.0f} seconds")


def write(source: Path, number: int) -> None:
    """Noise, in which no two volumes look alike."""
    rng = np.random.default_rng(0)
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    for kind in ("images", "labels"):
        (source / kind).mkdir(parents=True)
    for i in range(number):
        image = rng.normal(100, 30, SHAPE).astype(np.int16)
        label = (rng.random(SHAPE) < 0.1).astype(np.uint8)
        for kind, voxels in (("images", image), ("labels", label)):
            path = source / kind / f"v{i:03d}.nii"
            nibabel.save(nibabel.Nifti1Image(voxels, affine), path)


if __name__ == "__main__":
    main()
