"""``semiseg gan fit | sample | card``: a generator, a synthetic set, its quality report."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from semiseg.cli.arguments import WIDTH, Command, Flag, Flags, nothing_left, parse
from semiseg.cli.explain import explain, flag_lines
from semiseg.errors import UserError
from semiseg.holding import holding

FIT = Command(
    "gan fit",
    """a generator of image-mask pairs, on the pairs of one label budget; run the same command
    again to resume an interrupted fit""",
    (
        Flag("out", "", ..., value="G"),
        Flag(
            "teacher",
            "a run of the same budget: --train.pseudo (e.g. 0.25) of the pairs are other images "
            "with its masks, each by its confidence",
        ),
        Flag("quiet", "no progress bar", False, default_text="False"),
        Flag(
            "track",
            "wandb or tensorboard mirrors losses, diversity and sample grids, none does not",
            default_text="none, or SEMISEG_TRACK",
        ),
    ),
)
SAMPLE = Command(
    "gan sample",
    """a synthetic set: images/, labels/, provenance.csv, which is imported by `semiseg data import
    --format folder --source S --name NAME`""",
    (
        Flag("n", "number of samples", 200, value="200"),
        Flag("out", "", ..., value="S"),
        Flag(
            "masks",
            "real, varied (bent, topology checked), vae, interpolated",
            "varied",
            value="varied",
        ),
        Flag("style", "real (near the budget's images) or prior", "real", value="real"),
        Flag("seed", "", 0, value="0"),
        Flag("format", "png or nifti", "png", value="png"),
        Flag(
            "keep",
            "write only the samples this file names, e.g. DIR/keep.txt of the quality report; says "
            "how many it dropped",
            value="FILE",
        ),
        Flag("root", "", value="R"),
    ),
    operands="G",
)
CARD = Command(
    "gan card",
    "the set's quality report: is it fit for use? exit code 1 if it is rejected",
    (
        Flag("data", "", ..., value="N"),
        Flag(
            "out",
            "folder for card.json, keep.txt and the page with the nearest neighbours",
            value="DIR",
        ),
        Flag("json", "also write the report to this file", value="FILE"),
        Flag(
            "labels",
            "the budget to judge with; default: the generator's, so that no judge learns from "
            "another label",
            at_least=0,
            value="K",
        ),
        Flag("label_subset", "the order of subjects of that budget", at_least=0, value="J"),
        Flag("root", "", value="R"),
        Flag("steps", "of the segmenters that judge", 300, at_least=1),
    ),
    operands="S",
)
FIT_USAGE = (
    "semiseg gan fit --data N --labels K --label-subset J --out G "
    "[--generator spade|pix2pix|joint] [--any.field=value …]"
)
"""Fields of a fit stand in its usage line beside flags of the command."""


def main(argv: Sequence[str]) -> int:
    """Run the command; UserError is the caller's to print."""
    positional, flags = parse(argv)
    if flags.pop("help", False) or not positional:
        print(help_text())
        if "fit" in positional:
            print(_explained_fields(flags))
        return 0
    name, *operands = positional
    if name not in COMMANDS:
        raise UserError(f"there is no command gan {name!r}: choose fit, sample or card")
    return COMMANDS[name](operands, flags)


def help_text() -> str:
    """Usage, purpose and flags of the three commands; of a flag without words only the usage."""
    usages = [FIT_USAGE, SAMPLE.usage, CARD.usage]
    lines = [f"usage: {usages[0]}", *(f"       {usage}" for usage in usages[1:]), ""]
    for command in (FIT, SAMPLE, CARD):
        name = command.name.removeprefix("gan ")
        words = textwrap.fill(
            " ".join(command.words.split()),
            WIDTH,
            initial_indent=f"{name:9}",
            subsequent_indent=" " * 9,
            break_on_hyphens=False,
        )
        lines.append(words)
    lines.append("")
    for command in (FIT, SAMPLE, CARD):
        name = command.name.removeprefix("gan ")
        for flag in command.flags:
            if flag.help:
                lines += flag_lines(f"{name} {flag.word}", flag.words)
    return "\n".join([*lines, ""])


def _explained_fields(flags: Flags) -> str:
    """The fields of a fit, with those of the chosen generator and discriminator."""
    from semiseg.generators.settings import CHOICES, Settings, override

    chosen = {name: value for name, value in flags.items() if name in CHOICES}
    return explain(override(Settings(), chosen))


def _fit(operands: list[str], flags: Flags) -> int:
    options = FIT.take(flags)
    nothing_left({}, operands, FIT.name)
    from semiseg.generators import fit
    from semiseg.generators.settings import Settings, override
    from semiseg.run_folder import SAMPLES
    from semiseg.track import mirror, wanted
    from semiseg.train.loop import Interrupted

    out = options["out"]
    kind = wanted(options["track"])  # before the fit, whose data may take minutes to read
    settings = override(Settings(), flags)
    try:
        with holding(out, "semiseg gan fit"), mirror(out, kind, job_type="generator"):
            last = fit.fit(settings, out, progress=not options["quiet"])
    except Interrupted as stopped:
        print(f"semiseg: {stopped}", file=sys.stderr)
        return 130
    print(f"{fit.line_in_words(last)}   {Path(out) / SAMPLES}")
    return 0


def _sample(operands: list[str], flags: Flags) -> int:
    options = SAMPLE.options(flags)
    folder = SAMPLE.one(operands, "one generator's folder")
    from semiseg.generators import sample

    with holding(options["out"], "semiseg gan sample"):
        counts = sample.sample_set(
            sample.load(folder, options["root"]),
            options["out"],
            options["n"],
            seed=options["seed"],
            source=options["masks"],
            style=options["style"],
            format=options["format"],
            keep=options["keep"],
        )
    print(f"{counts['written']} pairs written, {counts['dropped']} dropped   {options['out']}")
    return 0


def _card(operands: list[str], flags: Flags) -> int:
    options = CARD.options(flags)
    folder = CARD.one(operands, "one synthetic set's folder")
    from semiseg.generators.quality_page import write_report
    from semiseg.generators.quality_report import report_on

    with holding(options["out"], "semiseg gan card"):
        report = report_on(
            folder,
            options["data"],
            options["root"],
            labels=options["labels"],
            label_subset=options["label_subset"],
            steps=options["steps"],
            out=options["out"],
        )
    _print_report(report)
    if options["json"]:
        path = Path(options["json"])
        path.parent.mkdir(parents=True, exist_ok=True)
        write_report(path, report)
    return 0 if report["passed"] else 1


def _print_report(report: dict[str, Any]) -> None:
    width = max(len(check["check"]) for check in report["checks"])
    for check in report["checks"]:
        verdict = "pass" if check["passed"] else "FAIL"
        print(f"{check['check']:{width}}  {check['value']:8.4f}  {check['must']:>10}  {verdict}")
    counts = report["counts"]
    verdict = "passed" if report["passed"] else "REJECTED"
    print(f"{verdict}; the filter keeps {counts['kept']} of {counts['samples']}")


COMMANDS: dict[str, Callable[[list[str], Flags], int]] = {
    "fit": _fit,
    "sample": _sample,
    "card": _card,
}
