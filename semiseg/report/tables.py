"""Studies as tables: plain rows, Markdown and LaTeX (booktabs), all from the same cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from semiseg.analysis.mixes import mixes
from semiseg.analysis.spread import subject_scores
from semiseg.analysis.study import Comparison, Study
from semiseg.analysis.worth import worth
from semiseg.evaluate import calibration
from semiseg.report import plot
from semiseg.report.sentences import (
    covered,
    equivalence_text,
    interval_text,
    lacking,
    number,
    p_text,
    score_label,
    unit_of_annotation,
)


def cell_rows(s: Study) -> list[dict[str, Any]]:
    """One row per arm and budget, for JSON and for the page."""
    return [
        {
            "data": s.data,
            "arm": c.arm,
            "labels": c.labels,
            "metric": s.metric,
            "split": s.split,
            "checkpoint": s.checkpoint,
            "mean": c.interval.mean,
            "low": c.interval.low,
            "high": c.interval.high,
            "n_runs": c.interval.n_runs,
            "n_subsets": c.interval.n_subsets,
            "n_subjects": c.interval.n_subjects,
            "interval_covers": c.interval.covers,
        }
        for _, c in sorted(
            s.cells.items(), key=lambda item: (item[0][1], list(s.arms).index(item[0][0]))
        )
    ]


def comparison_rows(s: Study) -> list[dict[str, Any]]:
    """One row per paired comparison with the baseline."""
    return [
        {
            "data": s.data,
            "arm": c.arm,
            "baseline": c.baseline,
            "labels": c.labels,
            "metric": s.metric,
            "difference": c.difference.mean,
            "low": c.difference.low,
            "high": c.difference.high,
            "p": c.p,
            "p_holm": c.p_holm,
            "p_wilcoxon": c.p_wilcoxon,
            "effect_dz": c.effect.dz,
            "share_better": c.effect.better,
            "detectable": c.detectable,
            "significant": c.significant,
            "paired_by": c.paired_by,
            "n_subjects": c.difference.n_subjects,
        }
        for c in s.comparisons
    ]


def markdown(studies: list[Study]) -> str:
    """The label-efficiency table in Markdown: a row an arm, a column a budget."""
    parts = []
    for s in studies:
        rows = [["", *map(str, s.budgets)], ["---", *["---:"] * len(s.budgets)]]
        rows += [
            [arm.replace("|", "\\|"), *[_entry(s, arm, n) for n in s.budgets]] for arm in s.arms
        ]
        parts.append(f"{caption(s)}\n\n" + "\n".join(f"| {' | '.join(row)} |" for row in rows))
    return "\n\n".join(parts) + "\n"


def latex(studies: list[Study]) -> str:
    """The same table for a paper; needs ``\\usepackage{booktabs}``."""
    parts = []
    for s in studies:
        lines = [
            r"\begin{table}",
            r"  \centering",
            rf"  \caption{{{_tex(caption(s))}}}",
            rf"  \begin{{tabular}}{{l{'r' * len(s.budgets)}}}",
            r"    \toprule",
            f"    & {' & '.join(map(str, s.budgets))} \\\\",
            r"    \midrule",
        ]
        lines += [
            f"    {_tex(arm)} & {' & '.join(_tex(_entry(s, arm, n)) for n in s.budgets)} \\\\"
            for arm in s.arms
        ]
        parts.append("\n".join([*lines, r"    \bottomrule", r"  \end{tabular}", r"\end{table}"]))
    return "% needs \\usepackage{booktabs}\n" + "\n\n".join(parts) + "\n"


def worth_rows(s: Study) -> list[dict[str, Any]]:
    """One row per arm and budget: how many annotated subjects of the baseline it is worth; null is
    open (beyond the baseline's budgets).

    None where no advice can be given: the intervals would be of nothing that varies.
    """
    if lacking(s):
        return []
    bounded = lambda v: None if v == 0 or np.isinf(v) else float(v)
    return [
        {
            "data": s.data,
            "arm": w.arm,
            "labels": w.labels,
            "baseline": s.baseline,
            "worth": bounded(w.equivalence.labels),
            "low": bounded(w.equivalence.low),
            "high": bounded(w.equivalence.high),
            "text": equivalence_text(w),
            "saves": w.saves,
            "verdict": w.verdict,
        }
        for w in worth(s)
    ]


def worth_table(studies: list[Study]) -> list[list[str]]:
    """Label equivalence, header first."""
    head = ["data", "method", "annotated", "worth, annotated", "verdict"]
    rows = [
        [r["data"], r["arm"], str(r["labels"]), r["text"], r["verdict"]]
        for s in studies
        for r in worth_rows(s)
    ]
    return [head, *rows]


def comparison_table(studies: list[Study]) -> list[list[str]]:
    """Every paired comparison with its test, effect size and what could have been found, header
    first.
    """
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
    rows = [
        [
            s.data, c.arm, str(c.labels), interval_text(c.difference, s.metric, signed=True), p_text(c.p_holm).removeprefix("p ").removeprefix("= "),
            p_text(c.p_wilcoxon).removeprefix("p ").removeprefix("= "), f"{c.effect.dz:.2f}", f"{c.effect.better:.0%}",
            number(c.detectable, s.metric, signed=True).lstrip("+"),
        ]
        for s in studies for c in s.comparisons
    ]  # fmt: skip
    return [head, *rows]


def subject_table(s: Study) -> list[list[str]]:
    """The quartiles of the subjects' scores that :func:`semiseg.report.plot.subjects` draws,
    header first.
    """
    rows = [
        [arm, *(number(float(v), s.metric) for v in np.percentile(score_S, (0, 25, 50, 75, 100)))]
        for arm, score_S in subject_scores(s).items()
    ]
    return [["Method", "Lowest", "Lower quartile", "Median", "Upper quartile", "Highest"], *rows]


def ratio_table(s: Study) -> list[list[str]]:
    """What :func:`semiseg.report.plot.ratio` draws, and the difference from each control, header
    first.
    """
    found = mixes(s)
    controls = list(dict.fromkeys(name for m in found for name in m.beside))
    told = lambda interval: interval_text(interval, s.metric, signed=True) if interval else "–"
    head = [
        "Images",
        "Annotated",
        "Per real image",
        score_label(s.metric, s.unit),
        "Real alone",
        "Gain",
        *(f"Beside {name}" for name in controls),
    ]
    rows = [
        [
            m.line,
            str(m.labels),
            f"{m.ratio:g}",
            number(m.score.mean, s.metric),
            number(m.alone.mean, s.metric),
            told(m.gain),
        ]
        + [told(m.beside.get(name)) for name in controls]
        for m in found
    ]
    return [head, *rows]


def end_table(s: Study, keys: Sequence[str], names: Sequence[str]) -> list[list[str]]:
    """Where the curves of metrics.jsonl end: the median over the runs of each arm and budget,
    header first.
    """
    rows = []
    for (arm, labels), cell in sorted(
        s.cells.items(), key=lambda item: (list(s.arms).index(item[0][0]), item[0][1])
    ):
        ends = [run.end() for run in cell.runs]
        found = [[end[key] for end in ends if key in end] for key in keys]
        if any(found):
            rows.append(
                [
                    arm,
                    str(labels),
                    *(f"{np.median(values):.3g}" if values else "–" for values in found),
                ]
            )
    return [["Method", "Annotated", *names], *rows]


def calibration_table(s: Study) -> list[list[str]]:
    """Expected calibration error of each arm and budget, header first; – where no run recorded it."""
    found = {key: plot.cell_calibration(cell.runs, s.split) for key, cell in s.cells.items()}
    tell = lambda total: "–" if total is None else number(calibration.error(total))
    return [
        ["Method", *(f"{n} annotated" for n in s.budgets)],
        *([arm, *(tell(found.get((arm, n))) for n in s.budgets)] for arm in s.arms),
    ]


def as_markdown(rows: list[list[str]]) -> str:
    """Any table with a header."""
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return (
        "\n".join(
            f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in lines
        )
        + "\n"
    )


def as_latex(rows: list[list[str]]) -> str:
    """Any table with a header; needs booktabs."""
    body = [f"  {' & '.join(map(_tex, row))} \\\\" for row in rows]
    head = [
        "% needs \\usepackage{booktabs}",
        rf"\begin{{tabular}}{{{'l' * len(rows[0])}}}",
        r"  \toprule",
        body[0],
        r"  \midrule",
    ]
    return "\n".join([*head, *body[1:], r"  \bottomrule", r"\end{tabular}"]) + "\n"


def caption(s: Study) -> str:
    """What a table of the study shows."""
    alone = not any(" and " in c.interval.covers for c in s.cells.values())
    missing = (
        "one run each" if all(c.interval.n_runs == 1 for c in s.cells.values()) else "runs alike"
    )
    interval = (
        f"with 95 % interval over {covered(s)}{' alone' * alone}"
        if covered(s)
        else f"{missing}, no interval"
    )
    star = (
        f" *: differs from {s.baseline} (paired tests, Holm-corrected p < .05)."
        if s.comparisons
        else ""
    )
    checkpoint = "last checkpoint" if s.checkpoint == "last" else f"checkpoint {s.checkpoint}"
    return (
        f"{score_label(s.metric, s.unit)} on {s.data} ({s.split} split, {checkpoint}) by "
        f"number of annotated {unit_of_annotation(s.runs)}, {interval}.{star}"
    )


def find(s: Study, arm: str, labels: int) -> Comparison | None:
    """The comparison of an arm with the baseline at a budget."""
    return next((c for c in s.comparisons if (c.arm, c.labels) == (arm, labels)), None)


def _entry(s: Study, arm: str, labels: int) -> str:
    if (arm, labels) not in s.cells:
        return "–"
    comparison = find(s, arm, labels)
    return interval_text(s.cells[arm, labels].interval, s.metric) + (
        "*" if comparison and comparison.significant else ""
    )


def _tex(text: str) -> str:
    for a, b in (
        ("\\", r"\textbackslash{}"),
        ("%", r"\%"),
        ("_", r"\_"),
        ("&", r"\&"),
        ("#", r"\#"),
        ("−", "$-$"),
        ("–", "--"),
        ("<", "$<$"),
        (">", "$>$"),
    ):
        text = text.replace(a, b)
    return text
