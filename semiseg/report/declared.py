"""The declaration of a study on the page: what was to be compared, and when that was written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from semiseg.analysis.declaration import Declaration
from semiseg.analysis.runs import Runs
from semiseg.analysis.study import Comparison, Study, study
from semiseg.analysis.study_file import Declared
from semiseg.errors import UserError
from semiseg.report.format import interval_text, p_text, score_label, size
from semiseg.report.sentences import SPLITS

BEFORE = "Declared before the runs"
NOT_BEFORE = "Declared, but not before all runs"


def study_of(runs: Runs, metric: str, split: str, declared: Declared | None) -> Study:
    """The study of runs as their declaration says.

    The declared comparison is tested by itself if every run began after the declaration, and the
    page is of its metric; else it is one of the exploratory ones.
    """
    if declared is None:
        return study(runs, metric, split)
    d = declared.declaration
    plain = study(runs, metric, split, baseline=d.baseline)
    if d.primary is None or not declared.holds or d.metric != plain.metric:
        return plain
    if primary_comparison(plain, d) is None:
        return plain
    return study(runs, metric, split, baseline=d.baseline, primary=d.primary)


def metric_and_split(
    declared: Sequence[Declared], metric: str | None, split: str | None, common: str
) -> tuple[str, str]:
    """What the page is of: what was asked for, else what was declared, else Dice and ``common``.

    Test scores that were declared and are not there are not quoted: then ``common`` is taken.
    """
    first = next((d.declaration for d in declared), None)
    if metric is None:
        metric = "dice" if first is None else first.metric
    if split is None:
        split = common
        if first is not None and first.quote_on == "val":
            split = "val"
    return metric, split


def primary_comparison(s: Study, declaration: Declaration) -> Comparison | None:
    """The declared comparison in a study; None where its runs are missing."""
    for c in s.comparisons:
        if declaration.primary == (c.arm, c.labels):
            return c
    return None


def is_primary(s: Study, c: Comparison) -> bool:
    """Whether a comparison is tested by itself."""
    return s.primary is not None and s.primary == (c.arm, c.labels)


def block(s: Study, declared: Declared | None) -> dict[str, Any] | None:
    """Heading and sentences of the declaration; None where the study has none."""
    if declared is None:
        return None
    d = declared.declaration
    lines = []
    if d.question:
        lines.append(d.question)
    if d.primary is not None:
        lines += _primary(s, d)
    lines.append(_written(declared))
    if s.primary is not None:
        lines.append(
            "The declared comparison is tested by itself, at 0.05. All other comparisons on this "
            "page are exploratory."
        )
    else:
        lines.append("All comparisons on this page are exploratory.")
    if d.quote_on != s.split:
        lines.append(
            f"It declares to quote the {SPLITS[d.quote_on]} set; this page shows the "
            f"{SPLITS[s.split]} set."
        )
    return {"title": BEFORE if declared.holds else NOT_BEFORE, "lines": lines}


def _primary(s: Study, d: Declaration) -> list[str]:
    assert d.primary is not None
    baseline = d.baseline or s.baseline or "the baseline"
    what = (
        f"Primary comparison: {d.primary.arm} minus {baseline} with {d.primary.labels} "
        f"annotations, {score_label(d.metric)}"
    )
    if d.metric != s.metric:
        return [f"{what}. This page is of {score_label(s.metric)}: see --metric {d.metric}."]
    c = primary_comparison(s, d)
    if c is None:
        return [f"{what}: it has not been run yet."]
    verdict = ("undecided", "significantly better", "significantly worse")[s.verdict(c)]
    difference = interval_text(c.difference, s.metric, signed=True)
    lines = [f"{what}: {difference}, {p_text(c.p_holm)}, {verdict}."]
    if d.margin is not None:
        lines.append(_margin(s, c, d.margin))
    return lines


def _margin(s: Study, c: Comparison, margin: float) -> str:
    """Non-inferiority by the interval's end: a one-sided test at 0.025."""
    end = c.difference.low if s.sign > 0 else -c.difference.high
    amount = size(margin, s.metric)
    if end > -margin:
        return f"It is not inferior: the interval excludes a loss of more than {amount}."
    return f"Whether it is as good within the margin of {amount} is undecided."


def _written(declared: Declared) -> str:
    date = ""
    if declared.declaration.date is not None:
        date = f" It is dated {declared.declaration.date}."
    if declared.holds:
        return f"The declaration lay beside the runs, unchanged, when each of them began.{date}"
    none = declared.runs - declared.before - declared.changed
    return (
        f"Of {declared.runs} runs, {declared.before} began with this declaration beside them, "
        f"{declared.changed} with another one, and {none} without any.{date}"
    )


def check_splits(declared: Sequence[Declared]) -> None:
    """Refuse data sets of one page whose declarations ask for unlike metrics or splits."""
    asked = {(d.declaration.metric, d.declaration.quote_on) for d in declared}
    if len(asked) > 1:
        raise UserError(
            "the studies declare different metrics or splits",
            where=declared[0].file,
            remedy="report each data set by itself, or give --metric and --split",
        )
