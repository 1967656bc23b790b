"""The declaration of a study on the page: what was to be compared, and when that was written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from semiseg.analysis.arms import find_arms
from semiseg.analysis.declaration import Declaration, Primary, spelled
from semiseg.analysis.questions import as_good_as
from semiseg.analysis.runs import Runs
from semiseg.analysis.study import Comparison, Study, study
from semiseg.analysis.study_file import Declared
from semiseg.errors import UserError
from semiseg.report.format import (
    count,
    interval_text,
    number,
    p_text,
    p_value,
    score_label,
    size,
)
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
    baseline = d.baseline
    if baseline is not None:
        baseline = spelled(baseline, find_arms(runs))
    plain = study(runs, metric, split, baseline=baseline, family=d.family)
    if d.primary is None or not declared.holds or d.metric != plain.metric:
        return plain
    c = primary_comparison(plain, d)
    if c is None:
        return plain
    primary = Primary(c.arm, c.labels)
    return study(runs, metric, split, baseline=baseline, primary=primary, family=d.family)


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
    if declaration.primary is None:
        return None
    arm, labels = declaration.primary
    arm = spelled(arm, s.arms)
    for c in s.comparisons:
        if (c.arm, c.labels) == (arm, labels):
            return c
    return None


def is_primary(s: Study, c: Comparison) -> bool:
    """Whether a comparison is tested by itself."""
    return s.primary == (c.arm, c.labels) and c.baseline == s.baseline


def block(s: Study, declared: Declared | None) -> dict[str, Any] | None:
    """Heading, sentences and table of the declaration; None where the study has none.

    The table ``pairs`` is of the settings other than the baseline; empty where they are not
    compared.
    """
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
    if s.pairs:
        with_baseline = count(len(s.comparisons), "comparison")
        lines.append(
            f"All pairs of settings are one family: {with_baseline} with "
            f"{s.baseline or 'a baseline'} and {len(s.pairs)} of the other settings with each "
            f"other."
        )
    if d.quote_on != s.split:
        lines.append(
            f"It declares to quote the {SPLITS[d.quote_on]} set; this page shows the "
            f"{SPLITS[s.split]} set."
        )
    title = NOT_BEFORE
    if declared.holds:
        title = BEFORE
    return {"title": title, "lines": lines, "pairs": _pairs(s)}


def _pairs(s: Study) -> list[dict[str, str]]:
    """A row for each pair of settings without the baseline."""
    rows = []
    for c in s.pairs:
        rows.append(
            {
                "pair": f"{c.arm} minus {c.baseline}",
                "labels": str(c.labels),
                "difference": interval_text(c.difference, s.metric, signed=True),
                "holm": p_value(c.p_holm),
                "verdict": ("undecided", "better", "worse")[s.verdict(c)],
                "detectable": size(c.detectable, s.metric),
            }
        )
    return rows


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
    """Non-inferiority and equivalence: the one rule of the page and of ``as_good_as``."""
    amount = size(margin, s.metric)
    if c.lost:
        return (
            f"Whether it is as good within the margin of {amount} is undecided: "
            f"{count(c.lost, 'subject')} have a score on one side only."
        )
    if c.subjects_alone:
        return (
            f"Whether it is as good within the margin of {amount} is undecided: the difference is "
            f"over subjects alone."
        )
    test = as_good_as(s, c.arm, c.baseline, c.labels, margin)
    low = number(test.low, s.metric, signed=True)
    high = number(test.high, s.metric, signed=True)
    better = ""
    if s.sign < 0:
        better = ", where more is better"
    rule = f"one-sided tests at {test.level:g}: 90 % interval [{low}, {high}]{better}"
    return {
        "equivalent": f"It is equivalent within the margin of {amount} ({rule}).",
        "not worse": f"It is not inferior: a loss of more than {amount} is excluded ({rule}).",
        "worse": f"It is worse by more than the margin of {amount} ({rule}).",
        "undecided": f"Whether it is as good within the margin of {amount} is undecided ({rule}).",
    }[test.verdict]


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
