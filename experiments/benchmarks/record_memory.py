"""Memory and time of writing one scan of 2 GB as a record, as a multiple of the scan.

Command: python experiments/benchmarks/record_memory.py   (2 minutes on two shared cores, 2 GB of
disk, 5 GB of memory)

Result beside other work: 2.00 times a scan of 2 GB in float32; with --megabytes 300 1.99 times one
of float32 and 1.80 times one of int16, its label of uint8 not counted. With TFDS's own serialiser
it was 5.97 and 4.55 times.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from semiseg.data import array_records
from semiseg.types import Case

SIDE = 512
KINDS = ("float32", "int16")


def main() -> None:
    """Write a scan of each type of numbers in a process of its own; print the peak of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=2000)
    megabytes = parser.parse_args().megabytes
    for kind in KINDS:
        process = multiprocessing.get_context("spawn").Process(
            target=measure, args=(kind, megabytes)
        )
        process.start()
        process.join()


def measure(kind: str, megabytes: int) -> None:
    """Write a small scan and a large one; print what the large one took on top."""
    _write(kind, 2)
    before = _peak()
    slices = megabytes * 10**6 // (SIDE * SIDE * np.dtype(kind).itemsize)
    start = time.perf_counter()
    _write(kind, slices)
    seconds = time.perf_counter() - start
    size = slices * SIDE * SIDE * np.dtype(kind).itemsize
    print(
        f"{kind}: scan {size / 1e9:.2f} GB, peak {(_peak() - before) / size:.2f} times that, "
        f"{seconds:.0f} seconds"
    )


def _scan(kind: str, slices: int) -> Case:
    """Noise, which hardly compresses: the worst case."""
    rng = np.random.default_rng(0)
    image = np.zeros((slices, SIDE, SIDE, 1), kind)
    for plane in image:
        plane[:] = rng.normal(100, 30, plane.shape)
    label = np.zeros(image.shape[:-1], np.uint8)
    return Case("p1", "p1", image, label, (1.0, 1.0, 1.0), "p1")


def _write(kind: str, slices: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        array_records.write(Path(folder), {"train": map(_scan, [kind], [slices])})


def _peak() -> int:
    """Bytes at the peak of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
