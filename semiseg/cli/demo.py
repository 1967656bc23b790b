"""``semiseg demo``: the whole chain on the built-in nuclei set, in minutes on two cores."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from semiseg.cli.arguments import (
    Command,
    Flag,
    Flags,
    nothing_left,
)
from semiseg.holding import holding

COMMAND = Command(
    "demo",
    """Train supervised, mean teacher and pseudo-label on the built-in nuclei set at three label
    budgets and three label subsets each. Then fit a small generator of image-mask pairs on 16
    annotated images, judge what it paints, and train with half and as many synthetic images as real
    ones, beside duplicated real ones as a control. All is scored on the test images and written
    into the report. Run the same command again to resume an
    interrupted demo.""",
    (
        Flag("out", "where runs, figures and report.html go", "demo", value="DIR"),
        Flag(
            "steps",
            "optimiser steps of a run; a generator has 1.6 times as many",
            140,
            at_least=1,
        ),
    ),
)

SETUP: dict[str, dict[str, Any]] = {
    "data": {"value": "nuclei"},
    "image_size": {"value": 64},
    "zoom": {"value": 1.5},
    "net.widths": {"value": [8, 16, 32, 64]},
    "batch": {"value": 8},
    "log_every": {"value": 20},
    "checkpoint_seconds": {"value": 600},
}
GRID: dict[str, dict[str, Any]] = {
    "method": {"values": ["supervised", "mean_teacher", "pseudo_label"]},
    "labels": {"values": [4, 16, 64]},
    "label_subset": {"values": [0, 1, 2]},
}
MIXES: dict[str, dict[str, Any]] = {
    "label_subset": {"values": [0, 1]},
    "labels": {"value": 16},
    "synthetic": {"values": ["make:spade", "make:duplicated"]},
    "ratio": {"values": [0.5, 1.0]},
    # seconds instead of the default's 8 minutes: the card rejects what this paints, which is what a
    # card is for
    "gan.samples": {"value": 96},
    "gan.batch": {"value": 4},
    "gan.unconditional": {"value": False},
    "gan.generator.widths": {"value": [64, 32, 16]},
    "gan.discriminator.widths": {"value": [16, 32, 64]},
    "gan.discriminator.scales": {"value": 1},
}
"""Ratio 0 is in the grid: the supervised runs with as many labels, of the same label subsets and
seed.
"""


def main(argv: Sequence[str]) -> int:
    """Run the command; UserError is the caller's to print."""
    return COMMAND.run(argv, _demo)


def _demo(operands: list[str], flags: Flags) -> int:
    options = COMMAND.take(flags)
    nothing_left(flags, operands, "demo", options)
    with holding(options["out"], "semiseg demo"):
        return _run_all(options)


def _run_all(options: dict[str, Any]) -> int:
    """The sweeps and their report; returns the exit code."""
    began = time.monotonic()
    from semiseg.analysis.load import load_runs
    from semiseg.report.page import write_report
    from semiseg.train.loop import Interrupted

    out = Path(options["out"])
    sweeps = plans(out, options["steps"])
    try:
        missing = _run(sweeps, out)
    except Interrupted as stopped:
        print(f"semiseg: {stopped}", file=sys.stderr)
        return 130
    if missing:
        message = f"{missing} trials failed, see error.json in their folders under {out}"
        print(f"semiseg: {message}; run the same command again to retry them", file=sys.stderr)
    page = write_report(load_runs([out / name for name in sweeps]), out, "test")
    print(*page["answers"], *page["synthetic"], sep="\n")
    print(
        f"{time.monotonic() - began:.0f} s   {out / 'report.html'}   "
        f"{out / 'figures' / 'label_efficiency.png'}   {out / 'results.csv'}"
    )
    return int(missing > 0)


def _run(specs: dict[str, dict[str, Any]], out: Path) -> int:
    """Run the sweeps; returns how many trials failed."""
    from semiseg.sweeps import sweep, trials

    missing = 0
    for name, spec in specs.items():
        if name == "mixes":
            print(
                "synthetic data: a generator is fitted on 16 annotated images of each of two label "
                "subsets, its samples are judged and mixed in"
            )
        missing += len(trials(spec)) - len(sweep(spec, out / name, test=True))
    return missing


def plans(out: Path, steps: int) -> dict[str, dict[str, Any]]:
    """The sweeps of the demo by the name of their folder, ``steps`` optimiser steps a run.

    >>> list(plans(Path("demo"), 140))
    ['runs', 'mixes']
    """
    setup = SETUP | {
        "root": {"value": str(out / "data")},
        "steps": {"value": steps},
        "eval_every": {"value": steps},
    }
    gan = {
        "gan.steps": {"value": max(1, steps * 25 // 16)},
        "gan.card": {"value": (steps + 2) // 3},
        "gan.log_every": {"value": 50},
    }
    return {
        "runs": {"method": "grid", "parameters": GRID | setup},
        "mixes": {"method": "grid", "parameters": MIXES | setup | gan},
    }
