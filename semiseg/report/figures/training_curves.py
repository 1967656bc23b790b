"""Loss and validation Dice during training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from semiseg.analysis.arms import find_arms
from semiseg.analysis.runs import Runs
from semiseg.analysis.study import Study
from semiseg.report.facts import unit_of_annotation
from semiseg.report.figures.canvas import Size, empty_figure, shared_legend, styled, thinned
from semiseg.report.figures.figure import Figure, Material
from semiseg.report.figures.style import look
from semiseg.report.format import MISSING
from semiseg.report.tables import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MatplotlibFigure

ROWS = {"loss": "Training loss", "val_dice": "Validation Dice"}
MOST_POINTS = 300
"""Points of a curve: a screen has no more columns than that."""

Log = list[dict[str, Any]]
"""Lines of metrics.jsonl."""


def training_curves(
    runs: Runs, ax: Any = None, columns: int = 4, lines: int = 60
) -> MatplotlibFigure:
    """Loss (top) and validation Dice (bottom) against steps, a column a label budget.

    Thin: runs; bold: the median of a setting. At most ``columns`` budgets, evenly spaced, and
    ``lines`` runs of a setting are drawn. ``ax`` is not used: the figure has its own grid.
    """
    arms = find_arms(runs)
    budgets = thinned(sorted({run.labels for run in runs}), columns)
    with styled():
        figure = empty_figure((2.3 * len(budgets) + 1.4, 4.4))
        axes = figure.subplots(2, len(budgets), sharex=True, sharey="row", squeeze=False)
        for column, n in enumerate(budgets):
            for i, (arm, members) in enumerate(arms.items()):
                logs = [run.log() for run in list(members.where(labels=n))[:lines]]
                for panel, key in zip(axes[:, column], ROWS, strict=True):
                    draw_curves(panel, [curve(log, key) for log in logs], arm, i)
            _label_column(list(axes[:, column]), n)
        for panel, name in zip(axes[:, 0], ROWS.values(), strict=True):
            panel.set_ylabel(name)
        if len(arms) > 1:
            shared_legend(figure, axes[0, :1])
    return figure


def _label_column(panels: Sequence[Axes], labels: int) -> None:
    panels[0].set_title(f"{labels} annotated", fontsize=10)
    panels[0].set_yscale("log")
    panels[0].yaxis.set_major_formatter("{x:g}")
    panels[0].minorticks_off()
    panels[1].set_xlabel("step")


def curve(log: Log, key: str) -> np.ndarray:
    """Step and value ``(T, 2)`` of one key of a log."""
    points = [(line["step"], line[key]) for line in log if line.get(key) is not None]
    stride = max(1, len(points) // MOST_POINTS)
    return np.array(points[::stride], dtype=float).reshape(-1, 2)


def draw_curves(panel: Axes, curves: list[np.ndarray], arm: str, i: int) -> None:
    """Thin lines for runs, and a bold one for their median."""
    curves = [c for c in curves if len(c)]
    if not curves:
        return
    style = look(i)
    for points in curves:
        thin: Any = {"color": style.colour, "lw": 0.6, "alpha": 0.3}
        panel.plot(points[:, 0], points[:, 1], marker=_single(points, "."), **thin)
    steps = max((c[:, 0] for c in curves), key=len)
    values = [np.interp(steps, c[:, 0], c[:, 1], left=np.nan, right=np.nan) for c in curves]
    panel.plot(
        steps,
        np.median(values, axis=0),
        color=style.colour,
        ls=style.line,
        lw=1.8,
        label=arm,
        marker=_single(steps, style.marker),
    )


def _single(points: np.ndarray, marker: str) -> str | None:
    """A single point needs a mark to be seen; a line has none."""
    if len(points) == 1:
        return marker
    return None


def end_table(s: Study, keys: Sequence[str], names: Sequence[str]) -> Table:
    """Where the curves of metrics.jsonl end: the median over the runs of each setting and budget,
    header first.
    """
    order = list(s.arms)
    rows = []
    for arm, labels in sorted(s.cells, key=lambda key: (order.index(key[0]), key[1])):
        ends = [run.end() for run in s.cells[arm, labels].runs]
        values = [[end[key] for end in ends if key in end] for key in keys]
        if any(values):
            rows.append([arm, str(labels), *map(_median, values)])
    return [["Method", "Annotated", *names], *rows]


def _median(values: list[float]) -> str:
    if not values:
        return MISSING
    return f"{np.median(values):.3g}"


def _alt(material: Material) -> str:
    return (
        "Training loss and validation Dice against steps, a panel for each number of "
        f"annotated {unit_of_annotation(material.study.runs)}."
    )


def _draw(material: Material, size: Size | None) -> MatplotlibFigure:
    return training_curves(material.study.runs)


def _applies(material: Material) -> bool:
    return any(run.end() for run in material.study.runs[:3])


def _table(material: Material) -> Table:
    return end_table(material.study, list(ROWS), ["Last training loss", "Last validation Dice"])


def _note(material: Material) -> str:
    return "Thin lines are runs, bold lines their median."


FIGURE = Figure(
    name="training_curves",
    section="measurement",
    title="Training curves",
    alt=_alt,
    draw=_draw,
    of_folds=True,
    applies=_applies,
    table=_table,
    note=_note,
    folded=True,
    formats=(".png",),
)
