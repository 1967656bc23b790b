"""Memory of the host while a set that is larger than --pool-memory trains: sets of three sizes.

Command: python experiments/benchmarks/host_memory.py --json experiments/results/host_memory.json
(seven minutes on 2 loaded cores, 1 GB of disk; exit 1 above --goal)
Each set trains --steps steps in a process of its own, with one memory. Anonymous memory is what
the process has made itself; the mapped pages of the set's files, which the system drops when it
needs room, stand beside it. Both are peaks of samples, 20 a second, after the program is compiled;
on a CPU the pool is part of them. The goal bounds the largest set's anonymous peak over the
smallest one's.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import pool_memory

from semiseg import Trial
from semiseg.config import make
from semiseg.data.importing import import_set
from semiseg.nets import UNet

SIZE = 768
VOXEL = 3
"""Bytes of a voxel in the pool: image, label, held-back label."""
FIELDS = {"anonymous_mb": "RssAnon", "mapped_mb": "RssFile"}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--memory", default="48MB")
    parser.add_argument("--pictures", default="54,108,216", help="of each set")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--goal", type=float, default=1.1, help="largest ratio")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for number in map(int, args.pictures.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            prepare(Path(folder), number)
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                peaks = pool.apply(trained, (folder, args.memory, args.steps))
        megabytes = round(VOXEL * number * SIZE**2 / 1e6)
        rows.append({"pictures": number, "set_mb": megabytes, **peaks})
        print(rows[-1], flush=True)
    ratio = rows[-1]["anonymous_mb"] / rows[0]["anonymous_mb"]
    report = {
        "pool_memory": args.memory,
        "steps": args.steps,
        "ratio": round(ratio, 3),
        "sets": rows,
    }
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n")
    return int(ratio > args.goal)


def prepare(place: Path, number: int) -> None:
    """A set of so many pictures."""
    pool_memory.write_pictures(place / "source", number, SIZE)
    import_set(
        "folder",
        place / "source",
        "noise",
        place / "stores",
        progress=False,
        allow_near_duplicates=True,
    )


def trained(folder: str, memory: str, steps: int) -> dict[str, float]:
    """Train in this process; the largest of each kind of memory, in MB."""
    trial = Trial(
        data="noise",
        root=str(Path(folder) / "stores"),
        method=make("method", "fixmatch"),
        net=UNet(widths=(4, 8)),
        labels=8,
        image_size=128,
        zoom=SIZE / 128,
        steps=100_000,
        pool_memory=memory,
    )
    run = pool_memory.Steps(trial)
    run.take(10)
    peaks = dict.fromkeys(FIELDS, 0.0)
    ended = threading.Event()
    watch = threading.Thread(target=sample, args=(peaks, ended))
    watch.start()
    run.take(steps)
    ended.set()
    watch.join()
    return peaks


def sample(peaks: dict[str, float], ended: threading.Event) -> None:
    """Keep the largest of each kind of memory until the end."""
    while not ended.wait(0.05):
        status = Path("/proc/self/status").read_text()
        lines = dict(line.split(":", 1) for line in status.splitlines())
        for name, field in FIELDS.items():
            kilobytes = int(lines[field].split()[0])
            peaks[name] = max(peaks[name], round(kilobytes * 1024 / 1e6))


if __name__ == "__main__":
    sys.exit(main())
