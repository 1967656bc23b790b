"""``semiseg demo``: the whole chain on the built-in nuclei set, in minutes on two cores."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from semiseg.cli.arguments import nothing_left, parse, take

USAGE = """usage: semiseg demo [--out DIR]

Train supervised, mean teacher and pseudo-label on the built-in nuclei set at three label budgets and three label subsets each, score the
test images and write the report. An interrupted demo goes on with the same command.

  --out                          where runs, figures and report.html go [demo]
  --steps                        optimiser steps of a run [160]
"""

GRID: dict[str, dict[str, Any]] = {
    "method": {"values": ["supervised", "mean_teacher", "pseudo_label"]},
    "labels": {"values": [4, 16, 64]},
    "label_subset": {"values": [0, 1, 2]},
    "data": {"value": "nuclei"},
    "image_size": {"value": 64},
    "zoom": {"value": 1.5},
    "net.widths": {"value": [8, 16, 32, 64]},
    "batch": {"value": 8},
    "log_every": {"value": 20},
    "checkpoint_seconds": {"value": 600},
}


def main(argv: Sequence[str]) -> int:
    """Run the command; UserError is the caller's to print."""
    positional, flags = parse(argv)
    if flags.pop("help", False):
        print(USAGE)
        return 0
    own = take(flags, "demo", {"out": "demo", "steps": "160"})
    nothing_left(flags, positional, "demo", own)
    began = time.monotonic()
    from semiseg.analysis.records import load_runs
    from semiseg.analysis.report import write_report
    from semiseg.sweeps import sweep
    from semiseg.train.fit import Interrupted

    out = Path(own["out"])
    values = {"root": {"value": str(out / "data")}, "steps": {"value": own["steps"]}, "eval_every": {"value": own["steps"]}}
    try:
        results = sweep({"method": "grid", "parameters": GRID | values}, out / "runs", test=True)
    except Interrupted as stopped:
        print(f"semiseg: {stopped}", file=sys.stderr)
        return 130
    missing = math.prod(len(axis["values"]) for axis in GRID.values() if "values" in axis) - len(results)
    if missing:
        print(f"semiseg: {missing} trials failed, see error.json in their folders under {out}; the same command tries them again", file=sys.stderr)
    said = write_report(load_runs(out / "runs"), out, "test")
    print(*said["answers"], sep="\n")
    print(f"{time.monotonic() - began:.0f} s   {out / 'report.html'}   {out / 'figures' / 'label_efficiency.png'}   {out / 'results.csv'}")
    return 1 if missing else 0
