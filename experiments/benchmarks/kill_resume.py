"""Kill -9 a run at random moments, restart it each time, and compare it with one that was never
disturbed.

Command: python experiments/benchmarks/kill_resume.py --kills 20
    --json experiments/results/kill_resume.json
(minutes; exit 1 if anything differs)
One kill in four falls uniformly into the start (imports, compilation, restoring); the others come a
random number of logged lines later, plus a random part of a second, so that training, validation
and saving are hit and the run does not end before its last kill.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

STEPS = 1200
LINE = 10


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as place:
        whole = Path(place) / "whole"
        cut = Path(place) / "cut"
        subprocess.run(command(whole), check=True, stdout=subprocess.DEVNULL)
        most = max(1, round(1.5 * STEPS / LINE / args.kills))
        moments: list[dict[str, float]] = []
        while len(moments) < args.kills and not (cut / "summary.json").exists():
            began = time.monotonic()
            before = last(cut)
            early = rng.random() < 0.25
            goal = before + LINE * rng.randint(1, most)
            process = subprocess.Popen(
                command(cut), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            if early:
                time.sleep(rng.uniform(0.0, 8.0))
            while not early and process.poll() is None and last(cut) < goal:
                time.sleep(0.01)
            time.sleep(rng.uniform(0.0, 0.3))
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                moments.append(
                    {
                        "after_s": round(time.monotonic() - began, 2),
                        "step": last(cut),
                    }
                )
                print(
                    f"kill {len(moments)}: after {moments[-1]['after_s']} s, "
                    f"{moments[-1]['step']} steps logged",
                    flush=True,
                )
            process.wait()
        subprocess.run(command(cut), check=True, stdout=subprocess.DEVNULL)
        steps = [
            json.loads(line)["step"] for line in (cut / "metrics.jsonl").read_text().splitlines()
        ]
        found = {
            "kills": len(moments),
            "moments": moments,
            "steps": STEPS,
            "weights_identical": (cut / "weights.safetensors").read_bytes()
            == (whole / "weights.safetensors").read_bytes(),
            "scores_identical": (cut / "per_subject.csv").read_text().replace("cut,", "")
            == (whole / "per_subject.csv").read_text().replace("whole,", ""),
            "each_step_once": steps == list(range(LINE, STEPS + 1, LINE)),
        }
    print(json.dumps({k: v for k, v in found.items() if k != "moments"}))
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")
    good = (
        found["weights_identical"]
        and found["scores_identical"]
        and found["each_step_once"]
        and found["kills"] >= args.kills
    )
    return int(not good)


def command(out: Path) -> list[str]:
    options = {
        "data": "nuclei",
        "method": "mean_teacher",
        "labels": 16,
        "steps": STEPS,
        "image-size": 64,
        "batch": 4,
        "log-every": LINE,
        "eval-every": 200,
        "checkpoint-seconds": 0.3,
        "net.widths": "8,16,32",
        "out": out,
    }
    return [
        sys.executable,
        "-m",
        "semiseg.cli.main",
        "train",
        *(f"--{k}={v}" for k, v in options.items()),
    ]


def last(folder: Path) -> int:
    """The last step that metrics.jsonl has whole."""
    metrics = folder / "metrics.jsonl"
    if not metrics.exists():
        return 0
    for line in reversed(metrics.read_text().splitlines()):
        try:
            return json.loads(line)["step"]
        except ValueError:
            continue
    return 0


if __name__ == "__main__":
    sys.exit(main())
