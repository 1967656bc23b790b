"""``semiseg report``: run folders in; report.html, figures, results.csv and tables out."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from semiseg.cli.arguments import write_output
from semiseg.cli.typed import typed
from semiseg.holding import holding

if TYPE_CHECKING:
    from semiseg.analysis.runs import Runs


@dataclasses.dataclass(frozen=True)
class Report:
    """Answer, from finished runs, which method needs how many annotations: one page, its figures
    and its tables.

    Attributes:
      runs: run folders, or folders of them, however deep.
      out: where report.html, figures/, tables/ and results.csv go.
      split: the split to report; by default test where every run was scored on it, else val.
      metric: the primary metric (a metric of per_subject.csv); by default the declared one, else
        dice.
      study: the declaration of the study; by default the study.yaml beside the run folders, if
        there is one.
      json: also write the numbers of the page to this file.
    """

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    out: Path = Path("report")
    split: Literal["val", "test"] | None = None
    metric: str | None = None
    study: Path | None = None
    json: Path | None = None


def main(argv: Sequence[str]) -> int:
    """Run the command; UserError is the caller's to print."""
    args = typed(Report, argv, "semiseg report")
    from semiseg.analysis.load import load_runs
    from semiseg.errors import UserError
    from semiseg.report.page import write_report

    if not args.runs:
        raise UserError(
            "semiseg report: no run folder given; name one, as in `semiseg report runs --out "
            "report`"
        )
    with holding(args.out, "semiseg report"):
        runs = load_runs(args.runs)
        _say_left_out(runs)
        summary = write_report(runs, args.out, args.split, args.metric, args.study)
    if args.json:
        text = json.dumps(_without_nan(summary), indent=1, ensure_ascii=False)
        write_output(args.json, f"{text}\n")
    print(*summary["answers"], sep="\n")
    print(args.out / "report.html")
    return 0


def _say_left_out(runs: Runs) -> None:
    """A line on stderr for metrics that the runs were scored with and nothing here defines."""
    from semiseg.evaluate.metrics import METRICS

    scored: set[str] = set()
    for run in runs:
        scored.update(run.scores.axes[2])
    unknown = sorted(scored - set(METRICS))
    if unknown:
        print(
            f"left out, since nothing defines them: {', '.join(unknown)}; give the file that "
            f"registers them with --plugin",
            file=sys.stderr,
        )


def _without_nan(value: Any) -> Any:
    """JSON has no NaN: an undefined number is null."""
    if isinstance(value, dict):
        return {key: _without_nan(member) for key, member in value.items()}
    if isinstance(value, list):
        return [_without_nan(member) for member in value]
    if isinstance(value, float) and math.isnan(value):
        return None
    return value
