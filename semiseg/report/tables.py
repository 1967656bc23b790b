"""Studies as tables: Markdown and LaTeX (booktabs), from the same cells as the page."""

from __future__ import annotations

import numpy as np

from semiseg.analysis.study import Comparison, Study
from semiseg.analysis.worth import worth
from semiseg.escapes import latex as latex_text
from semiseg.escapes import markdown as markdown_text
from semiseg.report import advice
from semiseg.report.facts import correction_of, covered, scored_on, unit_of_annotation
from semiseg.report.format import (
    MISSING,
    interval_text,
    p_value,
    score_label,
    share,
    size,
)
from semiseg.report.sentences import equivalence_text

Table = list[list[str]]
"""Rows of text, header first."""

BOOKTABS = "% needs \\usepackage{booktabs}\n"


def efficiency_table(s: Study) -> Table:
    """Scores with their intervals: a row a compared setting, a column a budget."""
    table = [["", *map(str, s.budgets)]]
    for arm in s.arms:
        table.append([arm, *(_entry(s, arm, n) for n in s.budgets)])
    return table


def find(s: Study, arm: str, labels: int) -> Comparison | None:
    """The comparison of a setting with the baseline at a budget."""
    for c in s.comparisons:
        if (c.arm, c.labels) == (arm, labels):
            return c
    return None


def _entry(s: Study, arm: str, labels: int) -> str:
    if (arm, labels) not in s.cells:
        return MISSING
    text = interval_text(s.cells[arm, labels].interval, s.metric)
    comparison = find(s, arm, labels)
    if comparison and comparison.significant:
        return f"{text}*"
    return text


def markdown(studies: list[Study]) -> str:
    """The label-efficiency tables in Markdown, each below its caption."""
    parts = []
    for s in studies:
        table = as_markdown(efficiency_table(s), numbers=True)
        parts.append(f"{markdown_text(caption(s))}\n\n{table}")
    return "\n".join(parts)


def latex(studies: list[Study]) -> str:
    """The same tables for a paper; needs ``\\usepackage{booktabs}``."""
    parts = []
    for s in studies:
        columns = f"l{'r' * len(s.budgets)}"
        parts.append(captioned(efficiency_table(s), caption(s), columns))
    return BOOKTABS + "\n\n".join(parts) + "\n"


def captioned(rows: Table, text: str, columns: str = "") -> str:
    """A LaTeX table with its caption; without ``columns`` all are aligned left."""
    lines = [
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{latex_text(text)}}}",
        *_tabular(rows, columns or "l" * len(rows[0]), "  "),
        r"\end{table}",
    ]
    return "\n".join(lines)


def worth_table(studies: list[Study]) -> Table:
    """Label equivalence, header first; no rows where the study is too small to advise."""
    rows = []
    for s in studies:
        if advice.needs(s) is not None:
            continue
        for w in worth(s):
            rows.append([s.data, w.arm, str(w.labels), equivalence_text(w), w.verdict])
    return [["data", "method", "annotated", "worth, annotated", "verdict"], *rows]


def comparison_table(studies: list[Study]) -> Table:
    """Every paired comparison: test, effect size and what could have been found; header first."""
    head = [
        "data",
        "method",
        "annotated",
        "difference",
        "p (Holm)",
        "Wilcoxon p",
        "dz",
        "better in",
        "detectable",
    ]
    rows = []
    for s in studies:
        for c in s.comparisons:
            row = [s.data, c.arm, str(c.labels)]
            row.append(interval_text(c.difference, s.metric, signed=True))
            row += [p_value(c.p_holm), p_value(c.p_wilcoxon)]
            row += [_effect_text(c.effect.dz), share(c.effect.better)]
            row.append(size(c.detectable, s.metric))
            rows.append(row)
    return [head, *rows]


def _effect_text(dz: float) -> str:
    if np.isnan(dz):
        return MISSING
    return f"{dz:.2f}"


def as_markdown(rows: Table, numbers: bool = False) -> str:
    """Any table with a header; of ``numbers``, all columns but the first are aligned right."""
    rule = ["---"] * len(rows[0])
    if numbers:
        rule[1:] = ["---:"] * (len(rows[0]) - 1)
    lines = []
    for row in (rows[0], rule, *rows[1:]):
        cells = map(markdown_text, row)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def as_latex(rows: Table) -> str:
    """Any table with a header; needs booktabs."""
    lines = _tabular(rows, "l" * len(rows[0]), "")
    return BOOKTABS + "\n".join(lines) + "\n"


def _tabular(rows: Table, columns: str, indent: str) -> list[str]:
    body = [f"{indent}  {' & '.join(map(latex_text, row)).lstrip()} \\\\" for row in rows]
    return [
        rf"{indent}\begin{{tabular}}{{{columns}}}",
        rf"{indent}  \toprule",
        body[0],
        rf"{indent}  \midrule",
        *body[1:],
        rf"{indent}  \bottomrule",
        rf"{indent}\end{{tabular}}",
    ]


def caption(s: Study) -> str:
    """What the label-efficiency table shows."""
    what = f"{score_label(s.metric, s.unit)} on {s.data}"
    checkpoint = f"checkpoint {s.checkpoint}"
    if s.checkpoint == "last":
        checkpoint = "last checkpoint"
    where = f"{s.split} split"
    if s.folds:
        where = scored_on(s)
    star = ""
    if s.comparisons:
        star = f" *: differs from {s.baseline} ({_test_words(s)} < 0.05)."
    return (
        f"{what} ({where}, {checkpoint}) by number of annotated "
        f"{unit_of_annotation(s.runs)}, {_interval_words(s)}.{star}"
    )


def _test_words(s: Study) -> str:
    if correction_of(s, s.comparisons[0]) == "only one":
        return "paired test, p"
    return "paired tests, Holm-corrected p"


def _interval_words(s: Study) -> str:
    """What the intervals of a table cover."""
    intervals = [c.interval for c in s.cells.values()]
    if s.folds:
        return "with 95 % interval corrected for training sets that overlap"
    if not covered(s):
        if all(i.n_runs == 1 for i in intervals):
            return "one run each, no interval"
        return "all runs alike, no interval"
    if any(" and " in i.covers for i in intervals):
        return f"with 95 % interval over {covered(s)}"
    return f"with 95 % interval over {covered(s)} alone"
