"""``semiseg train``: one run."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from semiseg.cli.arguments import explain, nothing_left, parse, take

USAGE = """usage: semiseg train --data N --out RUN [--method M] [--net U] [--labels K] [--any.field=value …]

Train one network, evaluate it on the validation subjects and record everything in RUN. The same command goes on with an interrupted run.

  --out                          the run's folder (must be given)
  --config                       a YAML file of fields, e.g. another run's config.yaml; flags win over it
  --preset                       a published recipe, quirks included: ssl4mis; flags win over it
  --test                         also score the test subjects (written into the data set's ledger) [False]
  --quiet                        no progress bar [False]
"""


def main(argv: Sequence[str]) -> int:
    """Run the command; UserError is the caller's to print."""
    positional, flags = parse(argv)
    from semiseg import config

    if flags.pop("help", False):
        trial, _ = trial_of({k: v for k, v in flags.items() if k.rpartition(".")[2] in config.CHOICES})
        print(f"{USAGE}\n{explain(trial)}")
        return 0
    own = take(flags, "train", {"out": ..., "quiet": False, "test": False})
    trial, flags = trial_of(flags)
    nothing_left({}, positional, "train")
    from semiseg.runner import run
    from semiseg.train.fit import Interrupted

    out = Path(own["out"])
    try:
        result = run(trial, out, progress=not own["quiet"], test=own["test"])
    except Interrupted as stopped:
        print(f"semiseg: {stopped}", file=sys.stderr)
        return 130
    for split, found in result.summary["last"].items():
        distance = "" if found["hd95"] is None else f"   HD95 {found['hd95']:.2f}"
        print(f"{split} Dice {found['dice']:.4f}{distance}   last checkpoint, {result.summary['seconds_train']:.0f} s   {out}")
    return 0


def trial_of(flags: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The trial that ``--preset``, ``--config`` and the other flags name."""
    from semiseg import config

    own = take(flags, "train", {"config": None, "preset": None})
    trial = config.preset(own["preset"], str(flags.get("method", "supervised"))) if own["preset"] else config.Trial()
    if own["config"]:
        trial = config.load(own["config"])
    return config.override(trial, flags), {}
