"""``semiseg train``: one run."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from semiseg.cli.arguments import (
    check_choice,
    did_you_mean,
    explain,
    listed,
    nothing_left,
    parse,
    take,
)
from semiseg.config.presets import PRESETS, naming_preset
from semiseg.errors import UserError

USAGE = f"""usage: semiseg train --data N --out RUN [--method M] [--net U] [--labels K] [--any.field=value …]

Train one network, evaluate it on the validation subjects and record everything in RUN. The same command goes on with an interrupted run.

--synthetic make:spade fits a generator on the run's own budget and samples the set it needs; --gan.FIELD, --gan.samples and --gan.card say how.

This is what matters first; --help all explains every option, --method.help (with --method M), --net.help and --augment.help those of a part.

  --out                          the run's folder (must be given, except under a W&B agent: runs/SWEEP/RUN)
  --config                       a YAML file of fields, e.g. another run's config.yaml; flags win over it
  --preset                       a published recipe: {", ".join(PRESETS)}; flags win; --help beside it shows it
  --test                         also score the test subjects (written into the data set's ledger) [False]
  --quiet                        no progress: neither a bar nor a line a minute [False]
  --track                        wandb mirrors the run, none does not [none, or SEMISEG_TRACK; wandb under a W&B agent]
"""
FIRST = ("data", "labels", "label_subset", "seed", "method", "net", "steps", "batch", "lr", "image_size", "zoom", "eval_every", "init",
         "ratio", "synthetic")  # fmt: skip
"""The fields of the first screen of help: what a study varies, and what a data set asks for."""
ANEW = (
    "compiles anew: a sweep over this option compiles a program for each of its values; over "
    "all others it needs one program.\n"
)


def main(argv: Sequence[str]) -> int:
    """Run the command; UserError is the caller's to print."""
    positional, flags = parse(argv)
    if any(name.rpartition(".")[2] == "help" for name in flags):
        return _help(flags, positional)
    sweep = os.environ.get("WANDB_SWEEP_ID")
    place = f"runs/{sweep}/{os.environ.get('WANDB_RUN_ID', 'run')}" if sweep else ...
    own = take(
        flags,
        "train",
        {"out": place, "quiet": False, "test": False, "track": "wandb" if sweep else None},
    )
    gan = {
        name.removeprefix("gan."): flags.pop(name)
        for name in list(flags)
        if name.startswith("gan.")
    }
    trial, flags = trial_of(flags)
    nothing_left({}, positional, "train")
    from semiseg.errors import writing
    from semiseg.runner import run
    from semiseg.track import mirror, wanted
    from semiseg.train.loop import Interrupted

    out = Path(own["out"])
    try:
        if gan or (trial.synthetic or "").startswith("make:"):
            from semiseg.generators import ratio

            ratio.understood(gan)
            trial = ratio.resolved(trial, gan, progress=not own["quiet"])
        with writing(out), mirror(out, wanted(own["track"])):
            result = run(trial, out, progress=not own["quiet"], test=own["test"])
    except Interrupted as stopped:
        print(f"semiseg: {stopped}", file=sys.stderr)
        return 130
    for split, found in result.summary["last"].items():
        shown = "   ".join(
            f"{words} {found[m]:.{d}f}"
            for words, m, d in (("Dice", "dice", 4), ("HD95", "hd95", 2))
            if found[m] is not None
        )
        n = result.summary.get(f"subjects_{split}")
        scored = f"   ({n} subject{'s' * (n != 1)})" if n else ""
        print(
            f"{split} {shown or 'has no class to score'}{scored}   last checkpoint, "
            f"{result.summary['seconds_train']:.0f} s   {out}"
        )
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
    for name, value in flags.items():
        check_choice(name, value)
    method = config.flatten(fields).get("method.name", fields.get("method", "supervised"))
    with naming_preset(fields.get("preset"), str(method), [*config.flatten(fields), *flags]):
        trial = config.override(config.from_dict(fields, str(own["config"] or "")), flags)
        config.check_volumes(trial)
    return trial, {}


def _help(flags: dict[str, Any], positional: Sequence[str]) -> int:
    """``--help`` the first screen, and the fields of a part that was chosen; ``--help all``
    everything; ``--method.help`` a part alone.
    """
    from semiseg import config

    chosen = {
        k.removesuffix(".help"): v for k, v in flags.items() if isinstance(v, str)
    }  # --method.help bcp is --method bcp --method.help
    trial, _ = trial_of(
        {
            k: v
            for k, v in chosen.items()
            if k.rpartition(".")[2] in (*config.CHOICES, "config", "preset")
        }
    )
    parts = {
        f.name: getattr(trial, f.name)
        for f in dataclasses.fields(trial)
        if dataclasses.is_dataclass(getattr(trial, f.name))
    }
    asked = [name.removesuffix(".help") for name in flags if name.endswith(".help")]
    words = [*positional, *(str(v) for k, v in flags.items() if k == "help" and v is not True)]
    if words and words[0] != "all":
        asked.append(words[0])
    for part in asked:
        if part not in parts:
            raise UserError(
                f"semiseg train: {part} is no part with options of its "
                f"own{did_you_mean(part, parts) or ': say ' + ', '.join(parts)}"
            )
        print(f"{_head(part, parts[part])}\n{explain(parts[part], f'{part}.')}")
    if words == ["all"]:
        print(f"{USAGE}\n{ANEW}\n{explain(trial)}")
    elif not asked:
        methods = "".join(
            f"methods of the preset {name}: {', '.join(PRESETS[name])}\n"
            for name in PRESETS
            if flags.get("preset") in (name, True)
        )
        print(f"{USAGE}\n{methods}{explain(trial, only=FIRST, parts=False)}")
        for part in (name for name in parts if name in flags):
            print(f"\n{_head(part, parts[part])}\n{explain(parts[part], f'{part}.')}")
    return 0


def _head(part: str, value: Any) -> str:
    """What a part is, and what else it could be."""
    return f"{part}: {type(value).__name__}" + (
        f"; {listed(part)}" if part in ("method", "net", "init") else ""
    )
