"""``semiseg track``: send finished run folders to Weights & Biases."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from semiseg.cli.arguments import nothing_left, parse, take
from semiseg.errors import UserError
from semiseg.run_folder import SAMPLES_BY_STEP, RunFolder

USAGE = """usage: semiseg track upload RUNS… [--group G] [--again]

Send finished runs and fits of generators (folders of them, however deep) to W&B: those that were trained without it, or lost it on the way.
What is there already is not sent twice. Without a key the copies are written offline into each run's folder, for `wandb sync`.

  --group                        W&B group [data set and method]
  --again                        send as new W&B runs even what was sent before [False]
"""


def main(argv: Sequence[str]) -> int:
    """Run the command; UserError is the caller's to print."""
    positional, flags = parse(argv)
    if flags.pop("help", False):
        print(USAGE)
        return 0
    own = take(flags, "track", {"group": None, "again": False})
    nothing_left(flags, [], "track", own)
    if positional[:1] != ["upload"] or len(positional) < 2:
        raise UserError("semiseg track: say `semiseg track upload RUNS…`")
    from semiseg.analysis.load import load_runs
    from semiseg.track.weights_and_biases import mode, upload

    bad, fits = 0, _fits(positional[1:])
    try:
        folders = [run.path for run in load_runs(positional[1:])]
    except UserError:
        if not fits:
            raise
        folders = []
    for folder in folders + fits:
        try:
            said = upload(folder, group=own["group"], again=own["again"])
        except Exception as error:  # W&B has many kinds; one run's trouble is not the next one's
            said, bad = f"failed: {' '.join(str(error).split())[:160]}", bad + 1
        print(f"{folder}: {said}")
    if mode() == "offline":
        print(
            "no W&B key was found, so copies were written offline: `wandb login`, then `wandb "
            "sync RUN/wandb/offline-run-*`"
        )
    return 1 if bad else 0


def _fits(places: Sequence[str]) -> list[Path]:
    """Folders of finished fits of generators."""
    return sorted(
        {
            grids.parent
            for place in places
            for grids in Path(place).rglob(SAMPLES_BY_STEP)
            if RunFolder(grids.parent).trained
        }
    )
