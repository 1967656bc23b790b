"""``semiseg train``: one run."""

from __future__ import annotations

import dataclasses
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from semiseg.cli.arguments import (
    PLUGIN,
    Command,
    Flag,
    check_choice,
    did_you_mean,
    nothing_left,
)
from semiseg.cli.explain import explain, listed
from semiseg.config.presets import PRESETS, naming_preset
from semiseg.errors import UserError

COMMAND = Command(
    "train",
    """Train one network, evaluate it on the validation subjects and record everything in RUN. Run
    the same command again to resume an interrupted run.

    --synthetic make:spade fits a generator on the run's own budget and samples the set it needs;
    --gan.FIELD, --gan.samples and --gan.card say how.

    This is what matters first; --help all explains every option, --method.help (with --method M),
    --net.help and --augment.help those of a part.""",
    (
        Flag("out", "the run's folder (must be given, except under a W&B agent: runs/SWEEP/RUN)"),
        Flag("config", "a YAML file of fields, e.g. another run's config.yaml; flags win over it"),
        Flag(
            "preset",
            f"a published recipe: {', '.join(PRESETS)}; flags win; --help beside it shows it",
        ),
        Flag(
            "test",
            "also score the test subjects (written into the data set's ledger)",
            False,
        ),
        Flag("quiet", "no progress: neither a bar nor a line a minute", False),
        Flag(
            "track",
            "wandb or tensorboard mirrors the run, none does not",
            default_text="none, or SEMISEG_TRACK; wandb under a W&B agent",
        ),
        PLUGIN,
    ),
)
USAGE = "--data N --out RUN [--method M] [--net U] [--labels K] [--any.field=value …]"
"""The usage line: fields of a trial stand in it beside flags of the command."""
FIRST = (
    *("data", "labels", "label_subset", "seed", "method", "net", "steps", "batch", "lr"),
    *("image_size", "zoom", "eval_every", "init", "ratio", "synthetic"),
)
"""The fields of the first screen of help: what a study varies, and what a data set asks for."""
ANEW = (
    "compiles anew: a sweep over this option compiles a program for each of its values; over "
    "all others it needs one program.\n"
)
WITH_A_LIST = ("method", "net", "init")
"""Parts whose other choices are named where one of them is explained."""
GAN = "gan."


def main(argv: Sequence[str]) -> int:
    """Run the command; UserError is the caller's to print."""
    try:
        return _main(argv)
    except Exception as error:
        from semiseg.train import hosts

        if not hosts.several():
            raise
        if not isinstance(error, UserError):
            traceback.print_exc()
            hosts.leave(1)
        print(f"semiseg: error: {error}", file=sys.stderr)
        hosts.leave(2)


def _main(argv: Sequence[str]) -> int:
    operands, flags = COMMAND.parse(argv)
    if any(name.rpartition(".")[2] == "help" for name in flags):
        return _help(flags, operands)
    command = _command()
    fields = {name: flags.pop(name) for name in list(flags) if not _is_own(name)}
    options = command.take(flags)
    generator = {
        name.removeprefix(GAN): fields.pop(name) for name in list(fields) if name.startswith(GAN)
    }
    trial = trial_of(fields | _present(options, "config", "preset"))
    nothing_left({}, operands, "train")
    from semiseg.errors import writing
    from semiseg.holding import holding
    from semiseg.runner import run
    from semiseg.track import mirror, wanted
    from semiseg.train import hosts
    from semiseg.train.loop import Interrupted

    out = Path(options["out"])
    progress = not options["quiet"]
    hosts.connect()
    kind = "none"
    if hosts.is_first():
        kind = wanted(options["track"])  # refused before a generator is fitted for minutes
    try:
        if generator or (trial.synthetic or "").startswith("make:"):
            if hosts.several():
                what = "--synthetic make:… fits a generator, which takes one process"
                raise UserError(what, remedy="make the set first with `semiseg gan`")
            from semiseg.generators import ratio

            ratio.read_options(generator)
            trial = ratio.resolved(trial, generator, progress=progress)
        held = out if hosts.is_first() else None
        with writing(out), holding(held, "semiseg train"), mirror(out, kind):
            result = run(trial, out, progress=progress, test=options["test"])
    except Interrupted as stopped:
        print(f"semiseg: {stopped}", file=sys.stderr)
        return 130
    if hosts.is_first():
        for line in result_lines(result.summary, out):
            print(line)
    return 0


def _command() -> Command:
    """The command with the defaults of this environment: a W&B agent names the folder."""
    defaults: dict[str, Any] = {"out": ...}
    sweep = os.environ.get("WANDB_SWEEP_ID")
    if sweep:
        defaults["out"] = f"runs/{sweep}/{os.environ.get('WANDB_RUN_ID', 'run')}"
        defaults["track"] = "wandb"
    flags = [
        dataclasses.replace(flag, default=defaults.get(flag.name, flag.default))
        for flag in COMMAND.flags
    ]
    return dataclasses.replace(COMMAND, flags=tuple(flags))


def _is_own(name: str) -> bool:
    return name in {flag.name for flag in COMMAND.flags}


def _present(options: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: options[name] for name in names if options[name] is not None}


def result_lines(summary: Mapping[str, Any], out: Path) -> list[str]:
    """A line for each split: the metrics of the report that have a value.

    >>> summary = {"last": {"val": {"dice": 0.81, "hd95": None}}, "seconds_train": 3.2}
    >>> result_lines(summary, Path("runs/first"))
    ['val Dice 0.810   last checkpoint, trained in 3 s   runs/first']
    """
    from semiseg.evaluate.metrics import METRICS

    lines = []
    for split, scores in summary["last"].items():
        values = [
            f"{metric.title} {scores[name]:.{metric.places + 1}f}"
            for name, metric in METRICS.items()
            if metric.in_report and scores.get(name) is not None
        ]
        subjects = summary.get(f"subjects_{split}")
        unscored = "has no class to score" if subjects else "has no subjects to score"
        text = "   ".join(values) or unscored
        if subjects:
            text = f"{text}   ({subjects} subject{'s' * (subjects != 1)})"
        seconds = f"trained in {summary['seconds_train']:.0f} s"
        lines.append(f"{split} {text}   last checkpoint, {seconds}   {out}")
    for split, missed in summary.get("never_predicted", {}).items():
        if missed:
            lines.append(
                f"note: of {split} the network never predicts {', '.join(missed)}, which the "
                f"annotations show: train longer, or give rare classes more weight "
                f"(--method.criterion ga)"
            )
    return lines


def trial_of(flags: Mapping[str, Any]) -> Any:
    """The trial that ``--preset``, ``--config`` and the fields of ``flags`` name.

    Raises:
      UserError: an unknown field or name, or a wrong value.
    """
    from semiseg import config

    trial = _trial_unchecked(flags)
    config.check_volumes(trial)
    return trial


def _trial_unchecked(flags: Mapping[str, Any]) -> Any:
    """:func:`trial_of`, also of networks that do not fit the default size: their help asks for
    them.
    """
    from semiseg import config

    changes = dict(flags)
    sources = {name: changes.pop(name, None) for name in ("config", "preset")}
    for name, value in sources.items():
        if value is True:
            raise UserError(f"semiseg train: --{name} needs a value")
    fields: dict[str, Any] = {}
    if sources["config"]:
        fields = config.load_yaml(sources["config"])
    if sources["preset"]:
        fields = {**fields, "preset": sources["preset"]}
    if "preset" in fields and "method" in changes:
        fields = {**fields, "method": changes["method"]}
    for name, value in changes.items():
        check_choice(name, value)
    flat = config.flatten(fields)
    method = str(flat.get("method.name", fields.get("method", "supervised")))
    with naming_preset(fields.get("preset"), method, [*flat, *changes]):
        start = config.from_dict(fields, str(sources["config"] or ""))
        return config.override(start, changes)


# ------------------------------------------------------------------ help
def _help(flags: Mapping[str, Any], operands: Sequence[str]) -> int:
    """``--help`` the first screen, and the fields of a part that was chosen; ``--help all``
    everything; ``--method.help`` a part alone.
    """
    trial = _chosen_trial(flags)
    parts = {
        field.name: getattr(trial, field.name)
        for field in dataclasses.fields(trial)
        if dataclasses.is_dataclass(getattr(trial, field.name))
    }
    words = list(operands)
    if isinstance(flags.get("help"), str):
        words.append(str(flags["help"]))
    asked = [name.removesuffix(".help") for name in flags if name.endswith(".help")]
    if words and words[0] != "all":
        asked.append(words[0])
    for part in asked:
        if part not in parts:
            hint = did_you_mean(part, parts) or f": say {', '.join(parts)}"
            raise UserError(f"semiseg train: {part} is no part with options of its own{hint}")
        print(_part_help(part, parts[part]))
    if words == ["all"]:
        print(f"{_command_help()}\n{ANEW}\n{explain(trial)}")
    elif not asked:
        first = explain(trial, only=FIRST, parts=False)
        print(f"{_command_help()}\n{_methods_of(flags.get('preset'))}{first}")
        for part, value in parts.items():
            if part in flags:
                print(f"\n{_part_help(part, value)}")
    return 0


def _chosen_trial(flags: Mapping[str, Any]) -> Any:
    """The trial whose values the help shows; ``--method.help bcp`` is ``--method bcp
    --method.help``.
    """
    from semiseg import config

    chosen = (*config.CHOICES, "config", "preset")
    words = {
        name.removesuffix(".help"): value for name, value in flags.items() if isinstance(value, str)
    }
    return _trial_unchecked({k: v for k, v in words.items() if k.rpartition(".")[2] in chosen})


def _command_help() -> str:
    usage, _, rest = COMMAND.help().partition("\n")
    return f"{usage} {USAGE}\n{rest}"


def _methods_of(preset: Any) -> str:
    """The methods of a preset that was named; of all where ``--preset`` stands alone."""
    names = [name for name in PRESETS if preset in (name, True)]
    return "".join(f"methods of the preset {name}: {', '.join(PRESETS[name])}\n" for name in names)


def _part_help(part: str, value: Any) -> str:
    """What a part is, what else it could be, and its fields."""
    head = f"{part}: {type(value).__name__}"
    if part in WITH_A_LIST:
        head = f"{head}; {listed(part)}"
    return f"{head}\n{explain(value, f'{part}.')}"
