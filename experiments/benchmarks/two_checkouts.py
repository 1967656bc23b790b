"""Whether a change made the product slower: a training step, a short sweep, an import of pictures
and of volumes and their prediction in two checkouts, interleaved.

Command: git clone . ../base && git -C ../base checkout COMMIT
         python experiments/benchmarks/two_checkouts.py --base ../base
             --json experiments/results/two_checkouts.json
         … --cases sweep files --goal 1.05 --json experiments/results/two_checkouts_files.json
(ten minutes on 2 quiet cores; exit 1 above --goal)
Each round runs every command once in each checkout, in turn first; a ratio is the median over
rounds of this checkout's seconds over the base's in the same round. Both sides find their compiled
programs in a warm cache of their own. A step is timed by ``semiseg bench step``; of the other
commands the processor time of the whole process counts, which other work on the machine moves less
than the time on the clock.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import checkouts
import nibabel
import numpy as np
from PIL import Image

RUN = "import sys; from semiseg.cli.main import main; sys.exit(main(sys.argv[1:]))"
STEPS = ("single_step_s", "scan_step_s", "loop_step_s")
SWEEP = {
    "method": "grid",
    "parameters": {
        "data": {"value": "nuclei"},
        "method": {"values": ["supervised", "mean_teacher"]},
        "labels": {"values": [8, 32]},
        "seed": {"values": [0, 1, 2]},
        "image_size": {"value": 64},
        "net.widths": {"value": [8, 16, 32, 64]},
        "steps": {"value": 100},
        "eval_every": {"value": 100},
    },
}


CASES = ("step", "sweep", "files")
PICTURES, VOLUMES = 400, 8


def main() -> int:
    flags = checkouts.parser(__doc__, rounds=5, goal=1.03)
    flags.add_argument("--cases", nargs="+", default=["step", "sweep"], choices=CASES)
    args = flags.parse_args()
    pair = checkouts.pair(args.base)
    seconds: dict[str, dict[str, list[float]]] = {name: {} for name in pair}
    with tempfile.TemporaryDirectory() as place:
        make_files(Path(place))
        for checkout, root in pair.items():  # fill the caches
            measure(args.cases, root, Path(place) / checkout, "warm")
        for i, checkout, root in checkouts.in_turn(pair, args.rounds):
            times = measure(args.cases, root, Path(place) / checkout, str(i))
            print(i, checkout, times, flush=True)
            for what, value in times.items():
                seconds[checkout].setdefault(what, []).append(value)
    ratios = {
        what: checkouts.ratio(seconds["this"][what], seconds["base"][what])
        for what in seconds["base"]
    }
    record = {
        "ratios": ratios,
        "seconds": seconds,
        "base": commit(args.base),
        "this": commit(checkouts.HERE),
        "rounds": args.rounds,
        "sweep": SWEEP,
    }
    print(json.dumps(ratios, indent=1))
    if args.json:
        args.json.write_text(json.dumps(record, indent=1) + "\n")
    return int(max(ratios.values()) > args.goal)


def measure(cases: list[str], root: Path, place: Path, name: str) -> dict[str, float]:
    """Seconds of the commands of ``cases``; ``name`` is of their folders."""
    place.mkdir(exist_ok=True)
    times: dict[str, float] = {}
    if "step" in cases:
        steps = place / "steps.json"
        semiseg(root, place, "bench", "step", "--norm", "instance", "--json", str(steps))
        record: dict[str, Any] = json.loads(steps.read_text())
        times |= {what: record[what] for what in STEPS}
    if "sweep" in cases:
        spec = place / "sweep.yaml"
        spec.write_text(json.dumps(SWEEP))
        times["sweep_s"] = semiseg(root, place, "sweep", str(spec), "--out", str(place / name))
    if "files" in cases:
        for kind, shape in FILES.items():
            times |= files(root, place, name, kind, shape)
    return times


FILES = {"pictures": ("--image-size", "64"), "volumes": ("--image-size", "64", "--depth", "16")}
"""Sets of files, and the windows of the networks that predict them."""


def files(
    root: Path, place: Path, name: str, kind: str, window: tuple[str, ...]
) -> dict[str, float]:
    """Seconds of an import of a set of files and of the prediction of all its images."""
    source, stores = place.parent / kind, ("--root", str(place / "stores"))
    imported = ("data", "import", "--format", "folder", "--source", str(source), *stores)
    run = place / f"network_of_{kind}"
    seconds = semiseg(root, place, *imported, "--name", f"{kind}_{name}")
    if not run.exists():
        network = ("--net", "unet", "--net.widths", "8", "16", "--steps", "2", "--batch", "2")
        trial = ("--data", f"{kind}_{name}", *stores, *window, *network)
        semiseg(root, place, "train", "--out", str(run), "--labels", "2", *trial)
    images = (
        "--input",
        str(source / "train" / "images"),
        "--output",
        str(place / f"{kind}_{name}"),
    )
    predicted = semiseg(root, place, "predict", str(run), *images)
    return {f"import_{kind}_s": seconds, f"predict_{kind}_s": predicted}


def make_files(place: Path) -> None:
    """Pictures of 256² and volumes of 128 × 128 × 60 with a bright disc each, and their masks."""
    rng = np.random.default_rng(0)
    for kind, count, shape in (
        ("pictures", PICTURES, (256, 256)),
        ("volumes", VOLUMES, (128, 128, 60)),
    ):
        for i in range(count):
            folder = place / kind / ("train" if i < count - 2 else ("val", "test")[i - count + 2])
            rows, columns = np.mgrid[: shape[0], : shape[1]]
            disc = (rows - 60 - i % 9) ** 2 + (columns - 64) ** 2 < 900
            mask = (
                disc.astype(np.uint8)
                if len(shape) == 2
                else np.repeat(disc[..., None], shape[2], 2)
            )
            # squares of random grey: no two images look alike
            squares = np.kron(rng.integers(0, 120, (8, 8)), np.ones([n // 8 for n in shape[:2]]))
            noise = rng.integers(0, 20, shape)
            image = noise + 100 * mask + (squares if len(shape) == 2 else squares[..., None])
            image = image.astype(np.uint8)
            for part, array in (("images", image), ("labels", mask.astype(np.uint8))):
                (folder / part).mkdir(parents=True, exist_ok=True)
                if len(shape) == 2:
                    Image.fromarray(array).save(folder / part / f"p{i}.png")
                else:
                    scan = nibabel.Nifti1Image(array, np.diag([1.0, 1.0, 2.0, 1.0]))
                    nibabel.save(scan, folder / part / f"p{i}.nii.gz")


def semiseg(root: Path, place: Path, *words: str) -> float:
    """Processor seconds of one command of the checkout in ``root``, in a process of its own."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(root),
        "SEMISEG_TRACK": "none",
        "XDG_STATE_HOME": str(place / "state"),
        "JAX_COMPILATION_CACHE_DIR": str(place / "programs"),
    }
    command = [sys.executable, "-P", "-c", RUN, *words]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, env=environment, cwd=place, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{words}: {done.stderr[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def commit(root: Path) -> str:
    """The commit that is checked out in ``root``."""
    command = ["git", "-C", str(root), "rev-parse", "HEAD"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
