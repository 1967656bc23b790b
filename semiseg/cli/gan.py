"""``semiseg gan fit | sample | card``: a generator, a synthetic set, and the set's card."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from semiseg.cli.arguments import explain, nothing_left, parse, take
from semiseg.errors import UserError

USAGE = """usage: semiseg gan fit --data N --labels K --label-subset J --out G [--generator spade|pix2pix|joint] [--any.field=value …]
       semiseg gan sample G --n 200 --out S [--masks varied] [--style real] [--seed 0] [--format png] [--keep FILE] [--root R]
       semiseg gan card S --data N [--json FILE] [--out DIR] [--labels K] [--label-subset J] [--root R]

fit      a generator of image-mask pairs, on the pairs of one label budget; the same command goes on with an interrupted fit
sample   a synthetic set: images/, labels/, provenance.csv; `semiseg data import --format folder --source S --name NAME` imports it
card     is it fit for use? exit code 1 if it is rejected

  fit --teacher                  a run of the same budget, whose masks of other images are --train.pseudo (e.g. 0.25) of the pairs, each by its confidence
  fit --quiet                    no progress bar [False]
  fit --track                    wandb mirrors losses, diversity and sample grids, none does not [none, or SEMISEG_TRACK]
  sample --n                     number of samples [200]
  sample --masks                 real, varied (bent, topology checked), vae, interpolated [varied]
  sample --style                 real (near the budget's images) or prior [real]
  sample --format                png or nifti [png]
  sample --keep                  write only the samples this file names, e.g. DIR/keep.txt of the card; says what it dropped
  card --out                     folder for card.json, keep.txt and the page with the nearest neighbours
  card --json                    also write the card to this file
  card --labels, --label-subset  the budget to judge with; default: the generator's, so that no judge learns from another label
  card --steps                   of the segmenters that judge [300]
"""


def main(argv: Sequence[str]) -> int:
    """Run the command; UserError is the caller's to print."""
    positional, flags = parse(argv)
    if flags.pop("help", False) or not positional:
        print(USAGE)
        if "fit" in positional:
            from semiseg.generators.settings import Settings, override

            print(
                explain(
                    override(
                        Settings(),
                        {k: v for k, v in flags.items() if k in ("generator", "discriminator")},
                    )
                )
            )
        return 0
    command, *rest = positional
    if command not in ("fit", "sample", "card"):
        raise UserError(f"there is no command gan {command!r}: choose fit, sample or card")
    return {"fit": _fit, "sample": _sample, "card": _card}[command](rest, flags)


def _fit(positional: list[str], flags: dict) -> int:
    own = take(flags, "gan fit", {"out": ..., "quiet": False, "track": None})
    nothing_left({}, positional, "gan fit")
    from semiseg.generators import fit
    from semiseg.generators.settings import Settings, override
    from semiseg.track import mirror, wanted
    from semiseg.train.loop import Interrupted

    settings = override(Settings(), flags)
    try:
        with mirror(own["out"], wanted(own["track"]), job_type="generator"):
            last = fit.fit(settings, own["out"], progress=not own["quiet"])
    except Interrupted as stopped:
        print(f"semiseg: {stopped}", file=sys.stderr)
        return 130
    print(
        f"step {last['step']}, diversity {last['diversity']:.2f}, {last['seconds']:.0f} s   "
        f"{Path(own['out']) / 'grid.png'}"
    )
    return 0


def _sample(positional: list[str], flags: dict) -> int:
    wanted = {
        "out": ...,
        "n": "200",
        "seed": "0",
        "masks": "varied",
        "style": "real",
        "format": "png",
        "keep": None,
        "root": None,
    }
    own = take(flags, "gan sample", wanted)
    if len(positional) != 1:
        raise UserError("semiseg gan sample: name one generator's folder")
    nothing_left(flags, [], "gan sample")
    from semiseg.generators import sample

    numbers = {name: _whole(own[name], name) for name in ("n", "seed")}
    fitted = sample.load(positional[0], own["root"])
    done = sample.sample_set(
        fitted,
        own["out"],
        numbers["n"],
        seed=numbers["seed"],
        source=own["masks"],
        style=own["style"],
        format=own["format"],
        keep=own["keep"],
    )
    print(f"{done['written']} pairs written, {done['dropped']} dropped   {own['out']}")
    return 0


def _card(positional: list[str], flags: dict) -> int:
    own = take(
        flags,
        "gan card",
        {
            "data": ...,
            "json": None,
            "out": None,
            "labels": None,
            "label_subset": None,
            "root": None,
            "steps": "300",
        },
    )
    if len(positional) != 1:
        raise UserError("semiseg gan card: name one synthetic set's folder")
    nothing_left(flags, [], "gan card")
    from semiseg.generators.quality_report import card

    numbers = {
        name: None if own[name] is None else _whole(own[name], name)
        for name in ("labels", "label_subset", "steps")
    }
    steps = numbers["steps"] or 0
    if steps < 1:
        raise UserError(f"--steps {own['steps']}: the judges need at least 1")
    found = card(
        positional[0],
        own["data"],
        own["root"],
        labels=numbers["labels"],
        label_subset=numbers["label_subset"],
        steps=steps,
        out=own["out"],
    )
    width = max(len(c["check"]) for c in found["checks"])
    for c in found["checks"]:
        print(
            f"{c['check']:{width}}  {c['value']:8.4f}  {c['must']:>10}  "
            f"{'pass' if c['passed'] else 'FAIL'}"
        )
    counts = found["counts"]
    print(
        f"{'passed' if found['passed'] else 'REJECTED'}; the filter keeps {counts['kept']} of "
        f"{counts['samples']}"
    )
    if own["json"]:
        Path(own["json"]).parent.mkdir(parents=True, exist_ok=True)
        Path(own["json"]).write_text(json.dumps(found, indent=1) + "\n")
    return 0 if found["passed"] else 1


def _whole(text: str, name: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise UserError(f"--{name.replace('_', '-')} {text}: must be a whole number") from None
