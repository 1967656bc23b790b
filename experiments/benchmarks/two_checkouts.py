"""Whether a change made training slower: a step and a short sweep in two checkouts, interleaved.

Command: git clone . ../base && git -C ../base checkout COMMIT
         python experiments/benchmarks/two_checkouts.py --base ../base
             --json experiments/results/two_checkouts.json
(ten minutes on 2 quiet cores; exit 1 above --goal)
Each round runs every command once in each checkout, in turn first; a ratio is the median over
rounds of this checkout's seconds over the base's in the same round. Both sides find their compiled
programs in a warm cache of their own. The sweep's seconds are those of the whole process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import checkouts

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


def main() -> int:
    args = checkouts.parser(__doc__, rounds=5, goal=1.03).parse_args()
    pair = checkouts.pair(args.base)
    seconds: dict[str, dict[str, list[float]]] = {name: {} for name in pair}
    with tempfile.TemporaryDirectory() as place:
        for checkout, root in pair.items():  # fill the caches
            measure(root, Path(place) / checkout, "warm")
        for i, checkout, root in checkouts.in_turn(pair, args.rounds):
            times = measure(root, Path(place) / checkout, str(i))
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


def measure(root: Path, place: Path, name: str) -> dict[str, float]:
    """Seconds of a step, three ways, and of a sweep of 12 trials."""
    place.mkdir(exist_ok=True)
    steps = place / "steps.json"
    semiseg(root, place, "bench", "step", "--norm", "instance", "--json", str(steps))
    record: dict[str, Any] = json.loads(steps.read_text())
    times = {what: record[what] for what in STEPS}
    spec = place / "sweep.yaml"
    spec.write_text(json.dumps(SWEEP))
    began = time.perf_counter()
    semiseg(root, place, "sweep", str(spec), "--out", str(place / name))
    return {**times, "sweep_s": time.perf_counter() - began}


def semiseg(root: Path, place: Path, *words: str) -> None:
    """One command of the checkout in ``root``, in a process of its own."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(root),
        "JAX_COMPILATION_CACHE_DIR": str(place / "programs"),
    }
    command = [sys.executable, "-P", "-c", RUN, *words]
    subprocess.run(command, check=True, env=environment, cwd=place, stdout=subprocess.DEVNULL)


def commit(root: Path) -> str:
    """The commit that is checked out in ``root``."""
    command = ["git", "-C", str(root), "rev-parse", "HEAD"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
