"""``semiseg evaluate``: score a finished run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from semiseg.cli.arguments import nothing_left, parse, take
from semiseg.errors import UserError

USAGE = """usage: semiseg evaluate RUN [--split val|test] [--root R] [--json FILE]

Score the last checkpoint of a run on its data set's validation or test subjects: the table is printed and joins RUN/per_subject.csv.
Every look at test is appended to the data set's ledger.jsonl.

  --split                        val or test [val]
  --root                         where the stores are, if not where the run found them
  --json                         also write the table to this file
"""


def main(argv: Sequence[str]) -> int:
    """Run the command; UserError is the caller's to print."""
    positional, flags = parse(argv)
    if flags.pop("help", False):
        print(USAGE)
        return 0
    own = take(flags, "evaluate", {"split": "val", "root": None, "json": None})
    if len(positional) != 1:
        raise UserError("semiseg evaluate: name one run's folder")
    nothing_left(flags, [], "evaluate", own)
    from semiseg.runner.rescore import evaluate

    rows = evaluate(Path(positional[0]), own["split"], own["root"])
    metrics = list(dict.fromkeys(r.metric for r in rows))
    classes = list(dict.fromkeys(r.class_ for r in rows))
    import numpy as np

    table = []
    for c in classes:
        values = {
            m: [r.value for r in rows if r.class_ == c and r.metric == m and np.isfinite(r.value)]
            for m in metrics
        }
        table.append(
            {
                "class": c,
                "subjects": len({r.subject for r in rows}),
                **{m: float(np.mean(v)) if v else None for m, v in values.items()},
            }
        )
    width = max(map(len, [*classes, "class"]))
    print(f"{'class':{width}}  " + "  ".join(f"{m:>12}" for m in metrics))
    for line in table:
        print(
            f"{line['class']:{width}}  "
            + "  ".join(
                f"{'–' if line[m] is None else format(line[m], '.4f'):>12}" for m in metrics
            )
        )
    n = len({r.subject for r in rows})
    print(
        f"means over {n} {own['split']} subject{'s' * (n != 1)}; – where none of them can be scored"
    )
    if own["json"]:
        Path(own["json"]).write_text(
            json.dumps({"run": positional[0], "split": own["split"], "table": table}, indent=1)
            + "\n"
        )
    return 0
