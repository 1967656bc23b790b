"""``semiseg sweep``: every trial of a sweep file, and where a sweep stands."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from semiseg.cli.arguments import check_choice, did_you_mean, nothing_left, parse, take
from semiseg.errors import UserError

USAGE = """usage: semiseg sweep FILE.yaml --out DIR [--jobs J] [--backend local|slurm|ray]
       semiseg sweep status DIR [--watch] [--json FILE]

Run every trial of a sweep file (W&B's schema: method grid, random or bayes; dotted names; early_terminate hyperband). Trials that share
their static part run through one compiled program. Finished trials are never run again; a killed sweep goes on with the same command; a
trial that fails is recorded in its folder and stops no other. `synthetic: make:spade` (or make:duplicated …) fits, samples and imports the set that
each trial's own budget needs; gan.steps, gan.samples, gan.card and other gan.FIELD with one `value:` say how.

  --out                          the sweep's folder, a run folder a trial (must be given)
  --jobs                         worker processes (tasks on a cluster) that share the trials [1]
  --backend                      local, slurm (submitit) or ray [local]
  --slurm.KEY                    an option of submitit's executor, as --slurm.slurm_partition=gpu --slurm.timeout_min=600
  --count                        trials of a random or bayes sweep, instead of the file's run_cap
  --test                         also score the test subjects; each look is written into the data set's ledger [False]
  --track                        wandb mirrors every run, none does not [none]
  --json                         also write the state of every trial to this file (after a sweep, or of status)
  --watch                        status: show it again every two seconds until it is done [False]
"""


def main(argv: Sequence[str]) -> int:
    """Run the command; UserError is the caller's to print."""
    positional, flags = parse(argv)
    if flags.pop("help", False):
        print(USAGE)
        return 0
    if positional[:1] == ["status"]:
        return _status(positional[1:], flags)
    cluster: dict[str, Any] = {
        k.removeprefix("slurm."): _value(flags.pop(k))
        for k in [k for k in flags if k.startswith("slurm.")]
    }
    wanted = {
        "out": ...,
        "test": False,
        "jobs": "1",
        "backend": "local",
        "count": None,
        "track": None,
        "json": None,
    }
    own = take(flags, "sweep", wanted)
    if len(positional) != 1:
        raise UserError("semiseg sweep: name one sweep file, or `status` and a sweep's folder")
    nothing_left(flags, [], "sweep", wanted)
    jobs, count = (
        _whole(own["jobs"], "jobs"),
        None if own["count"] is None else _whole(own["count"], "count"),
    )
    _look_ahead(Path(positional[0]), count, own["backend"])
    from semiseg import sweeps
    from semiseg.sweeps.status import status
    from semiseg.track import wanted as tracking
    from semiseg.train.loop import Interrupted

    began = time.monotonic()
    try:
        results = sweeps.sweep(
            positional[0], own["out"], test=own["test"], progress=True, jobs=jobs, backend=own["backend"], count=count,
            track=tracking(own["track"]), cluster=cluster,
        )  # fmt: skip
    except Interrupted as stopped:
        print(f"semiseg: {stopped}", file=sys.stderr)
        return 130
    rows = status(own["out"], own["test"])
    if own["json"]:
        Path(own["json"]).write_text(json.dumps(rows, indent=1) + "\n")
    if own["backend"] == "slurm" and cluster.get("cluster", "slurm") == "slurm":
        return 0  # submitted
    early = sum(r["state"] == "stopped" for r in rows)
    words = f"{len(results)} of {len(rows)} trials finished" + (
        f", {early} stopped early" if early else ""
    )
    print(
        f"{words} in {time.monotonic() - began:.0f} s; see `semiseg report {own['out']} --out "
        f"report`"
    )
    return int(any(r["state"] in ("failed", "unfinished", "waiting") for r in rows))


def _status(positional: Sequence[str], flags: dict[str, Any]) -> int:
    own = take(flags, "sweep status", {"json": None, "watch": False, "test": False})
    if len(positional) != 1:
        raise UserError("semiseg sweep status: name one sweep's folder")
    nothing_left(flags, [], "sweep status", own)
    from semiseg.sweeps.status import status, table

    while True:
        rows = status(positional[0], own["test"])
        print(table(rows, positional[0]))
        if not own["watch"] or all(r["state"] in ("done", "stopped", "failed") for r in rows):
            break
        time.sleep(2)
    if own["json"]:
        Path(own["json"]).write_text(json.dumps(rows, indent=1) + "\n")
    return 0


def _look_ahead(file: Path, count: int | None, backend: str) -> None:
    """What would go wrong only hours later, before the first run: no such file, method, network or
    data set; more labels than there are.

    :func:`semiseg.sweeps.sweep` makes every trial of a grid before it runs one, which finds wrong
    fields and values.
    """
    from semiseg.data import store
    from semiseg.sweeps import spec as plan

    if not file.is_file():
        near = did_you_mean(
            file.name,
            [p.name for p in file.parent.glob("*.y*ml") if did_you_mean(file.stem, [p.stem])],
        )
        raise UserError(
            f"{file}: no such sweep "
            f"file{near or '; name a YAML file in the schema of W&B sweeps, see `semiseg sweep --help`'}"
        )
    spec = plan.read(file, count)
    for name, leaf in spec.parameters.items():
        for value in (
            leaf["values"] if isinstance(leaf.get("values"), list) else [leaf.get("value")]
        ):
            check_choice(name, value, f"{file}: ")
    points = list(plan.points(spec).values()) or [plan.draw(spec, 0)]
    spec.trial(points[0])  # a search's first draw knows whether its fields exist
    if backend != "local":  # the stores may be on the machines that run the trials
        return
    for data, root in dict.fromkeys((str(p.get("data", "nuclei")), p.get("root")) for p in points):
        most = store.info(data, root).counts.get("train", {}).get("annotated", 0)
        asked = {
            p.get("labels", 0)
            for p in points
            if (str(p.get("data", "nuclei")), p.get("root")) == (data, root)
        }
        above = sorted(n for n in asked if isinstance(n, int) and n > most)
        if above:
            trials = f"trials with labels {', '.join(map(str, above))} will fail, the others run"
            print(
                f"semiseg: {data} has {most} annotated training subjects: {trials}", file=sys.stderr
            )
        subsets = {
            p.get("label_subset", 0)
            for p in points
            if p.get("labels", 0) in (0, most)
            and (str(p.get("data", "nuclei")), p.get("root")) == (data, root)
        }
        if len(subsets) > 1:
            budgets = " and ".join(f"labels {n}" for n in sorted(asked & {0, most}))
            same = (
                f"the {len(subsets)} label subsets of {budgets} are the same patients (all "
                f"{most} annotated ones of {data})"
            )
            print(
                f"semiseg: {same}: they count as one subset, and only seeds tell their runs apart",
                file=sys.stderr,
            )


def _whole(text: str, name: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise UserError(f"semiseg sweep: --{name} is {text!r}: it must be a whole number") from None


def _value(text: Any) -> Any:
    import yaml

    return yaml.safe_load(text) if isinstance(text, str) else text
