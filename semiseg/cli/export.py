"""``semiseg export``: a run as a folder to publish."""

from __future__ import annotations

from collections.abc import Sequence

from semiseg.cli.arguments import (
    PLUGIN,
    Command,
    Flag,
    Flags,
)

COMMAND = Command(
    "export",
    """Write a folder to publish: weights (safetensors), configuration, scores, a model card
    (README.md) and the licence of the data it was trained on.""",
    (Flag("out", "the folder (must be given)", ..., value="DIR"), PLUGIN),
    operands="RUN",
)


def main(argv: Sequence[str]) -> int:
    """Run the command; UserError is the caller's to print."""
    return COMMAND.run(argv, _export)


def _export(operands: list[str], flags: Flags) -> int:
    options = COMMAND.options(flags)
    run = COMMAND.one(operands, "one run's folder")
    from semiseg.runner.export_run import export

    print(export(run, options["out"]))
    return 0
