"""``semiseg export``: a run, or several that are averaged, as a folder to publish."""

from __future__ import annotations

from collections.abc import Sequence

from semiseg.cli.arguments import (
    PLUGIN,
    Command,
    Flag,
    Flags,
)
from semiseg.cli.run_operands import MISSING_FOLDS, WHERE, run_paths
from semiseg.errors import UserError
from semiseg.holding import holding

COMMAND = Command(
    "export",
    """Write a folder to publish: weights (safetensors), configuration, scores, a model card
    (README.md) and the licence of the data it was trained on.

    Of several runs, or of a folder that holds the folds of one setting, one weights file holds all
    networks; their probabilities are averaged.""",
    (Flag("out", "the folder (must be given)", ..., value="DIR"), WHERE, MISSING_FOLDS, PLUGIN),
    operands="RUN [RUN …]",
)


def main(argv: Sequence[str]) -> int:
    """Run the command; UserError is the caller's to print."""
    return COMMAND.run(argv, _export)


def _export(operands: list[str], flags: Flags) -> int:
    options = COMMAND.options(flags)
    if not operands:
        raise UserError("semiseg export: name one run's folder, or several")
    with holding(options["out"], "semiseg export"):
        runs = run_paths(operands, options["where"], options["missing_folds"])
        if len(runs) == 1:
            from semiseg.runner.export_run import export

            print(export(runs[0], options["out"]))
            return 0
        from semiseg.runner.export_ensemble import export_ensemble

        print(export_ensemble(runs, options["out"]))
        return 0
