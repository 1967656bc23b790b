"""``semiseg sweep``: every trial of a grid file."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from semiseg.cli.arguments import nothing_left, parse, take
from semiseg.errors import UserError

USAGE = """usage: semiseg sweep FILE.yaml --out DIR [--test]

Run every trial of a grid (W&B's sweep schema: `method: grid` and `parameters:` with dotted names) one after the other in one process.
Finished runs are not run again; an interrupted sweep goes on with the same command.

  --out                          where the run folders go (must be given)
  --test                         also score the test subjects; each look is written into the data set's ledger [False]
"""


def main(argv: Sequence[str]) -> int:
    """Run the command; UserError is the caller's to print."""
    positional, flags = parse(argv)
    if flags.pop("help", False):
        print(USAGE)
        return 0
    own = take(flags, "sweep", {"out": ..., "test": False})
    if len(positional) != 1:
        raise UserError("semiseg sweep: name one grid file")
    nothing_left(flags, [], "sweep")
    from semiseg import sweeps
    from semiseg.train.fit import Interrupted

    plan = sweeps.trials(positional[0])
    try:
        results = sweeps.sweep(positional[0], own["out"], test=own["test"], progress=True)
    except Interrupted as stopped:
        print(f"semiseg: {stopped}", file=sys.stderr)
        return 130
    print(f"{len(results)} of {len(plan)} trials finished; see `semiseg report {own['out']} --out report`")
    return 0 if len(results) == len(plan) else 1
