"""How many pseudo-labels are accepted, and how good they are, during training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from semiseg.analysis.pseudo_labels import Curves, confirmation, curves, largest, last_known
from semiseg.analysis.study import Study
from semiseg.errors import UserError
from semiseg.report.facts import unit_of_annotation
from semiseg.report.figures.canvas import (
    Size,
    empty_figure,
    shared_legend,
    styled,
    thinned,
    tip,
)
from semiseg.report.figures.figure import Figure, Material
from semiseg.report.figures.style import SOFT, look
from semiseg.report.format import number
from semiseg.report.pseudo_label_findings import pseudo_label_findings
from semiseg.report.tables import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MatplotlibFigure

MEASURES = {
    "accepted": "accepted\nshare",
    "accuracy": "accuracy\nof accepted",
    "ece": "calibration\nerror (ECE)",
    "gap": "teacher–student\ngap",
    "lead": "teacher's lead\nin accuracy",
}
"""Rows of panels, in order: key of the log without ``pseudo_``, and what it is called."""
MOST_COLOURED = 8
"""Methods that all have a colour."""
COLOURED = 6
"""Methods that have a colour where there are more than that."""

ByCell = Mapping[tuple[str, int], Curves]


def trends(s: Study, columns: int = 4) -> MatplotlibFigure:
    """A row a measure, a column a budget (at most four), a line a method: the mean over its runs
    and over foreground classes.

    A measure that no run logged has no row. Of many methods those with the largest
    :func:`~semiseg.analysis.pseudo_labels.confirmation` at these budgets have colours, the others
    are grey and named under the pointer. Raises UserError where no run logged pseudo-labels.
    """
    by_cell = curves(s)
    budgets = thinned(sorted({n for _, n in by_cell}), columns)
    measures = _measures(by_cell, budgets)
    if not measures:
        raise UserError(f"{s.data}: no run logged pseudo-labels beside held-back labels")
    coloured = coloured_arms(by_cell, budgets) | _named(s)
    with styled():
        figure = empty_figure((max(7.6, 2.0 * len(budgets) + 1.4), 1.3 * len(measures) + 1.0))
        axes = figure.subplots(
            len(measures), len(budgets), sharex="col", sharey="row", squeeze=False
        )
        for panels, measure in zip(axes, measures, strict=True):
            for panel, n in zip(panels, budgets, strict=True):
                _draw_panel(panel, s, by_cell, measure, n, coloured)
            panels[0].set_ylabel(MEASURES[measure], fontsize=9)
            if measure == "lead":
                _compress_lead(panels[0], by_cell, budgets)
        for top, bottom, n in zip(axes[0], axes[-1], budgets, strict=True):
            top.set_title(f"{n} annotated", fontsize=10)
            bottom.set_xlabel("step")
        shared_legend(figure, axes.ravel(), order=list(s.arms))
    return figure


def _named(s: Study) -> set[str]:
    """The method that the sentence beside the figure names."""
    fact = pseudo_label_findings(s)
    if fact is None or fact.most_biased is None:
        return set()
    return {fact.most_biased[0]}


def _measures(by_cell: ByCell, budgets: list[int]) -> list[str]:
    """Those that a run at these budgets logged."""
    at_budgets = [c for (_, n), c in by_cell.items() if n in budgets]
    return [m for m in MEASURES if any(np.isfinite(c.trend(m)).any() for c in at_budgets)]


def _draw_panel(
    panel: Axes, s: Study, by_cell: ByCell, measure: str, n: int, coloured: set[str]
) -> None:
    name = MEASURES[measure].replace("\n", " ")
    for (arm, labels), c in by_cell.items():
        y = c.trend(measure)
        known = ~np.isnan(y)
        if labels != n or not known.any():
            continue
        style = look(list(s.arms).index(arm))
        if arm in coloured:
            _draw_coloured(panel, c.step[known], y[known], arm, list(s.arms).index(arm))
        else:
            _draw_grey(panel, c.step[known], y[known])
        text = f"{name}, {arm}, {n} annotated: {y[known][-1]:.3g}"
        tip(panel, c.step[known][-1], y[known][-1], style.colour, text, area=60)


def _draw_coloured(panel: Axes, step: np.ndarray, y: np.ndarray, arm: str, i: int) -> None:
    style = look(i)
    panel.plot(
        step,
        y,
        color=style.colour,
        ls=style.line,
        lw=1.7,
        marker=style.marker,
        ms=4,
        markevery=[-1],
        label=arm,
        zorder=3,
    )


def _draw_grey(panel: Axes, step: np.ndarray, y: np.ndarray) -> None:
    panel.plot(step, y, color=SOFT, lw=0.7, alpha=0.45, label="other methods", zorder=1)


def _compress_lead(panel: Axes, by_cell: ByCell, budgets: list[int]) -> None:
    """A scale that is linear as far as the second half of training reaches, logarithmic beyond.

    The lead of a teacher that has not begun to teach is huge, and would flatten all others.
    """
    late = [0.0]
    for (_, n), c in by_cell.items():
        if n in budgets:
            values = c.trend("lead")[c.step > c.step[-1] / 2]
            late += np.abs(values[~np.isnan(values)]).tolist()
    panel.set_yscale("symlog", linthresh=max(0.01, 1.2 * max(late)), linscale=2)
    panel.yaxis.set_major_formatter("{x:g}")
    panel.minorticks_off()


def coloured_arms(by_cell: ByCell, budgets: list[int]) -> set[str]:
    """The methods that have a colour."""
    at_budgets = [(arm, c) for (arm, n), c in by_cell.items() if n in budgets]
    arms = sorted({arm for arm, _ in at_budgets})
    if len(arms) <= MOST_COLOURED:
        return set(arms)

    def most_confirmed(arm: str) -> float:
        return max(confirmation(c) for other, c in at_budgets if other == arm)

    return set(sorted(arms, key=most_confirmed, reverse=True)[:COLOURED])


def trend_table(s: Study) -> Table:
    """What is drawn at the last step, beside the best accuracy and the lowest ECE of what was
    taught, and both over all pixels; header first.
    """
    rows = []
    for (arm, n), c in curves(s).items():
        accuracy = c.taught("accuracy")
        ece = c.taught("ece")
        values = [
            last_known(c.trend("accepted")),
            largest(accuracy),
            last_known(accuracy),
            -largest(-ece),
            last_known(ece),
            last_known(c.trend("gap")),
        ]
        lead = number(last_known(c.trend("lead")), signed=True)
        all_pixels = [number(_all_pixels(c, key)) for key in ("accuracy", "ece")]
        rows.append([arm, str(n), *map(number, values), lead, *all_pixels, str(c.runs)])
    head = [
        "Accepted",
        "Accuracy, best",
        "Accuracy, last",
        "ECE, lowest",
        "ECE, last",
        "Gap",
        "Lead",
        "Accuracy, all pixels",
        "ECE, all pixels",
        "Runs",
    ]
    return [["Method", "Annotated", *head], *rows]


def _all_pixels(c: Curves, key: str) -> float:
    if key not in c.value_T:
        return float("nan")
    return last_known(c.value_T[key])


def _alt(material: Material) -> str:
    return (
        "Accepted share of the pseudo-labels, accuracy of the accepted, calibration error, "
        "gap between teacher and student and the teacher's lead, against steps, a column for each "
        f"number of annotated {unit_of_annotation(material.study.runs)}; the table below has their "
        f"last values."
    )


def _draw(material: Material, size: Size | None) -> MatplotlibFigure:
    return trends(material.study)


def _applies(material: Material) -> bool:
    by_cell = curves(material.study)
    budgets = thinned(sorted({n for _, n in by_cell}), 4)
    return bool(_measures(by_cell, budgets))


def _table(material: Material) -> Table:
    return trend_table(material.study)


def _note(material: Material) -> str:
    text = "Mean over the runs of a budget (at most 30)."
    if len(material.study.arms) <= MOST_COLOURED:
        return text
    return (
        f"{text} Coloured: the methods whose accuracy fell and whose ECE rose most since their "
        f"best. Grey: the other methods, which the table names."
    )


FIGURE = Figure(
    name="pseudo_labels",
    section="pseudo-labels",
    title="Pseudo-labels",
    alt=_alt,
    draw=_draw,
    applies=_applies,
    table=_table,
    note=_note,
)
