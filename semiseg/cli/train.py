"""``semiseg train``: one run."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from semiseg.cli.arguments import explain, nothing_left, parse, take

USAGE = """usage: semiseg train --data N --out RUN [--method M] [--net U] [--labels K] [--any.field=value …]

Train one network, evaluate it on the validation subjects and record everything in RUN. The same command goes on with an interrupted run.

  --out                          the run's folder (must be given, except under a W&B agent: runs/SWEEP/RUN)
  --config                       a YAML file of fields, e.g. another run's config.yaml; flags win over it
  --preset                       a published recipe, quirks included: ssl4mis; flags win over it
  --test                         also score the test subjects (written into the data set's ledger) [False]
  --quiet                        no progress bar [False]
  --track                        wandb mirrors the run, none does not [none, or SEMISEG_TRACK; wandb under a W&B agent]
"""


def main(argv: Sequence[str]) -> int:
    """Run the command; UserError is the caller's to print."""
    positional, flags = parse(argv)
    from semiseg import config

    if flags.pop("help", False):
        trial, _ = trial_of({k: v for k, v in flags.items() if k.rpartition(".")[2] in config.CHOICES})
        print(f"{USAGE}\n{explain(trial)}")
        return 0
    sweep = os.environ.get("WANDB_SWEEP_ID")
    place = f"runs/{sweep}/{os.environ.get('WANDB_RUN_ID', 'run')}" if sweep else ...
    own = take(flags, "train", {"out": place, "quiet": False, "test": False, "track": "wandb" if sweep else None})
    trial, flags = trial_of(flags)
    nothing_left({}, positional, "train")
    from semiseg.runner import run
    from semiseg.track import mirror, wanted
    from semiseg.train.fit import Interrupted

    out = Path(own["out"])
    try:
        with mirror(out, wanted(own["track"])):
            result = run(trial, out, progress=not own["quiet"], test=own["test"])
    except Interrupted as stopped:
        print(f"semiseg: {stopped}", file=sys.stderr)
        return 130
    for split, found in result.summary["last"].items():
        shown = "   ".join(f"{words} {found[m]:.{d}f}" for words, m, d in (("Dice", "dice", 4), ("HD95", "hd95", 2)) if found[m] is not None)
        print(f"{split} {shown or 'has no class to score'}   last checkpoint, {result.summary['seconds_train']:.0f} s   {out}")
    return 0


def trial_of(flags: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The trial that ``--preset``, ``--config`` and the other flags name."""
    from semiseg import config

    own = take(flags, "train", {"config": None, "preset": None})
    fields = config.load_yaml(own["config"]) if own["config"] else {}
    if own["preset"]:
        fields = {**fields, "preset": own["preset"]}
    if "preset" in fields and "method" in flags:
        fields = {**fields, "method": flags["method"]}
    return config.override(config.from_dict(fields, str(own["config"] or "")), flags), {}
