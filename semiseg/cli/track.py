"""``semiseg track``: send finished run folders to Weights & Biases."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from semiseg.cli.arguments import (
    Command,
    Flag,
    Flags,
)
from semiseg.errors import DiskError, UserError, writing
from semiseg.holding import holding
from semiseg.run_folder import SAMPLES_BY_STEP, RunFolder

COMMAND = Command(
    "track upload",
    """Send finished runs and fits of generators (folders of them, however deep) to W&B: those that
    were trained without it, or lost it on the way. What is there already is not sent twice. Without
    a key the copies are written offline into each run's folder, for `wandb sync`.""",
    (
        Flag("group", "W&B group", default_text="data set and method", value="G"),
        Flag("again", "send as new W&B runs even what was sent before", False, value=""),
    ),
    operands="RUNS…",
)


def main(argv: Sequence[str]) -> int:
    """Run the command; UserError is the caller's to print."""
    return COMMAND.run(argv, _upload)


def _upload(operands: list[str], flags: Flags) -> int:
    options = COMMAND.options(flags)
    if operands[:1] != ["upload"] or len(operands) < 2:
        raise UserError("semiseg track: say `semiseg track upload RUNS…`")
    from semiseg.track.weights_and_biases import mode, upload

    failed = 0
    for folder in _folders(operands[1:]):
        try:
            with writing(folder), holding(folder, "semiseg track upload"):
                message = upload(folder, group=options["group"], again=options["again"])
        except DiskError:
            raise
        except Exception as error:  # W&B has many kinds; one run's trouble is not the next one's
            message = f"failed: {' '.join(str(error).split())[:160]}"
            failed += 1
        print(f"{folder}: {message}")
    if mode() == "offline":
        print(
            "no W&B key was found, so copies were written offline: `wandb login`, then `wandb "
            "sync RUN/wandb/offline-run-*`"
        )
    return int(failed > 0)


def _folders(places: Sequence[str]) -> list[Path]:
    """Folders of finished runs, then of finished fits of generators.

    Raises:
      UserError: there is neither.
    """
    from semiseg.analysis.load import load_runs

    fits = _fits(places)
    try:
        runs = [run.path for run in load_runs(places)]
    except UserError:
        if not fits:
            raise
        runs = []
    return runs + fits


def _fits(places: Sequence[str]) -> list[Path]:
    """Folders of finished fits of generators."""
    fits = set()
    for place in places:
        for grids in Path(place).rglob(SAMPLES_BY_STEP):
            if RunFolder(grids.parent).trained:
                fits.add(grids.parent)
    return sorted(fits)
