"""``semiseg export``: a run as a folder to publish."""

from __future__ import annotations

from collections.abc import Sequence

from semiseg.cli.arguments import nothing_left, parse, take
from semiseg.errors import UserError

USAGE = """usage: semiseg export RUN --out DIR

Write a folder to publish: weights (safetensors), configuration, scores, a model card (README.md) and the licence of the data it was trained on.

  --out                          the folder (must be given)
"""


def main(argv: Sequence[str]) -> int:
    """Run the command; UserError is the caller's to print."""
    positional, flags = parse(argv)
    if flags.pop("help", False):
        print(USAGE)
        return 0
    own = take(flags, "export", {"out": ...})
    nothing_left(flags, [], "export", own)
    if len(positional) != 1:
        raise UserError("semiseg export: name one run's folder")
    from semiseg.runner.export_run import export

    print(export(positional[0], own["out"]))
    return 0
