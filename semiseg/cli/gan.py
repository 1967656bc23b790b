"""``semiseg gan fit | sample | card``: a generator, a synthetic set, and the set's quality report."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from semiseg.cli.arguments import nothing_left, parse, take
from semiseg.cli.explain import explain
from semiseg.errors import UserError

Flags = dict[str, Any]

USAGE = """\
usage: semiseg gan fit --data N --labels K --label-subset J --out G \
[--generator spade|pix2pix|joint] [--any.field=value …]
       semiseg gan sample G --n 200 --out S [--masks varied] [--style real] [--seed 0] \
[--format png] [--keep FILE] [--root R]
       semiseg gan card S --data N [--json FILE] [--out DIR] [--labels K] [--label-subset J] \
[--root R]

fit      a generator of image-mask pairs, on the pairs of one label budget; the same command goes
         on with an interrupted fit
sample   a synthetic set: images/, labels/, provenance.csv, which is imported by
         `semiseg data import --format folder --source S --name NAME`
card     the set's quality report: is it fit for use? exit code 1 if it is rejected

  fit --teacher                  a run of the same budget, whose masks of other images are, each
                                 by its confidence, --train.pseudo (e.g. 0.25) of the pairs
  fit --quiet                    no progress bar [False]
  fit --track                    wandb or tensorboard mirrors losses, diversity and sample grids, none
                                 does not [none, or SEMISEG_TRACK]
  sample --n                     number of samples [200]
  sample --masks                 real, varied (bent, topology checked), vae, interpolated [varied]
  sample --style                 real (near the budget's images) or prior [real]
  sample --format                png or nifti [png]
  sample --keep                  write only the samples this file names, e.g. DIR/keep.txt of the
                                 quality report; says how many it dropped
  card --out                     folder for card.json, keep.txt and the page with the nearest
                                 neighbours
  card --json                    also write the report to this file
  card --labels, --label-subset  the budget to judge with; default: the generator's, so that no
                                 judge learns from another label
  card --steps                   of the segmenters that judge [300]
"""


def main(argv: Sequence[str]) -> int:
    """Run the command; UserError is the caller's to print."""
    positional, flags = parse(argv)
    if flags.pop("help", False) or not positional:
        print(USAGE)
        if "fit" in positional:
            print(_explained_fields(flags))
        return 0
    command, *rest = positional
    if command not in COMMANDS:
        raise UserError(f"there is no command gan {command!r}: choose fit, sample or card")
    return COMMANDS[command](rest, flags)


def _explained_fields(flags: Flags) -> str:
    """The fields of a fit, with those of the chosen generator and discriminator."""
    from semiseg.generators.settings import CHOICES, Settings, override

    chosen = {name: value for name, value in flags.items() if name in CHOICES}
    return explain(override(Settings(), chosen))


def _fit(positional: list[str], flags: Flags) -> int:
    options = take(flags, "gan fit", {"out": ..., "quiet": False, "track": None})
    nothing_left({}, positional, "gan fit")
    from semiseg.generators import fit
    from semiseg.generators.settings import Settings, override
    from semiseg.run_folder import SAMPLES
    from semiseg.track import mirror, wanted
    from semiseg.train.loop import Interrupted

    out = options["out"]
    settings = override(Settings(), flags)
    try:
        with mirror(out, wanted(options["track"]), job_type="generator"):
            last = fit.fit(settings, out, progress=not options["quiet"])
    except Interrupted as stopped:
        print(f"semiseg: {stopped}", file=sys.stderr)
        return 130
    print(
        f"step {last['step']}, diversity {last['diversity']:.2f}, {last['seconds']:.0f} s   "
        f"{Path(out) / SAMPLES}"
    )
    return 0


def _sample(positional: list[str], flags: Flags) -> int:
    defaults = {
        "out": ...,
        "n": "200",
        "seed": "0",
        "masks": "varied",
        "style": "real",
        "format": "png",
        "keep": None,
        "root": None,
    }
    options = take(flags, "gan sample", defaults)
    if len(positional) != 1:
        raise UserError("semiseg gan sample: name one generator's folder")
    nothing_left(flags, [], "gan sample")
    from semiseg.generators import sample

    n = _whole(options["n"], "n")
    seed = _whole(options["seed"], "seed")
    counts = sample.sample_set(
        sample.load(positional[0], options["root"]),
        options["out"],
        n,
        seed=seed,
        source=options["masks"],
        style=options["style"],
        format=options["format"],
        keep=options["keep"],
    )
    print(f"{counts['written']} pairs written, {counts['dropped']} dropped   {options['out']}")
    return 0


def _card(positional: list[str], flags: Flags) -> int:
    defaults = {
        "data": ...,
        "json": None,
        "out": None,
        "labels": None,
        "label_subset": None,
        "root": None,
        "steps": "300",
    }
    options = take(flags, "gan card", defaults)
    if len(positional) != 1:
        raise UserError("semiseg gan card: name one synthetic set's folder")
    nothing_left(flags, [], "gan card")
    from semiseg.generators.quality_page import write_report
    from semiseg.generators.quality_report import report_on

    labels = _whole_or_none(options["labels"], "labels")
    label_subset = _whole_or_none(options["label_subset"], "label_subset")
    steps = _whole(options["steps"], "steps")
    if steps < 1:
        raise UserError(f"--steps {options['steps']}: the judges need at least 1")
    report = report_on(
        positional[0],
        options["data"],
        options["root"],
        labels=labels,
        label_subset=label_subset,
        steps=steps,
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


def _whole(text: str, name: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise UserError(f"--{name.replace('_', '-')} {text}: must be a whole number") from None


def _whole_or_none(text: str | None, name: str) -> int | None:
    return None if text is None else _whole(text, name)
