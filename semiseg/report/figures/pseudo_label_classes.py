"""How good the last pseudo-labels are in each class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from semiseg.analysis.pseudo_labels import Curves, class_names, curves, last_line
from semiseg.analysis.study import Study
from semiseg.errors import UserError
from semiseg.report.figures.canvas import Size, empty_figure, styled, thinned
from semiseg.report.figures.figure import Figure, Material
from semiseg.report.figures.style import INK, SOFT
from semiseg.report.format import MISSING, capitalise, number
from semiseg.report.tables import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MatplotlibFigure

MEASURES = {
    "accepted": "accepted",
    "accuracy": "accuracy of accepted",
    "recall": "recall: accepted and right",
}
"""Panels: key of the log without ``pseudo_``, and what it is called."""
_SHADES = {
    "accepted": ("#fdfdfd", "#7db8e4"),
    "accuracy": ("#ef8a4e", "#fdfdfd"),
    "recall": ("#ef8a4e", "#fdfdfd"),
}  # no colours of a theme: digits are read on them in the dark, too
_DIGIT = "#17181a"
MOST_DIGITS = 16
"""Classes whose cells have room for a number."""


def by_class(s: Study) -> MatplotlibFigure:
    """At the last logged step, per class and in per cent: a panel a measure, a row a budget.

    The smallest and the largest budget are shown, of more than 8 methods the smallest alone. Empty
    where the class was given to no pixel, and of accuracy to no accepted one. Raises UserError
    where no run logged classes.
    """
    by_cell = _with_classes(s)
    if not by_cell:
        raise UserError("no run logged its pseudo-labels by class")
    budgets = sorted({n for _, n in by_cell})
    if len({arm for arm, _ in by_cell}) <= 8:
        budgets = thinned(budgets, 2)
    else:
        budgets = thinned(budgets, 1)
    names = class_names(s, max(c.classes for c in by_cell.values()))
    upright = len(names) > 5 or max(map(len, names)) > 5
    room = 3
    if upright:
        room = 5
    heights = [sum(n == labels for _, labels in by_cell) + room for n in budgets]
    with styled({"axes.grid": False}):
        figure = empty_figure((7.6, 0.21 * sum(heights)))
        axes = figure.subplots(
            len(budgets), len(MEASURES), squeeze=False, sharey="row", height_ratios=heights
        )
        for panels, n in zip(axes, budgets, strict=True):
            rows = {arm: c for (arm, labels), c in by_cell.items() if labels == n}
            for panel, measure in zip(panels, MEASURES, strict=True):
                _draw_panel(panel, rows, measure, names, upright)
            panels[0].set_title(f"{MEASURES['accepted']}, {n} annotated", fontsize=9, color=INK)
            panels[0].set_yticks(np.arange(len(rows)) + 0.5, list(rows), fontsize=8)
    return figure


def _with_classes(s: Study) -> dict[tuple[str, int], Curves]:
    return {key: c for key, c in curves(s).items() if c.classes}


def _draw_panel(
    panel: Axes, rows: dict[str, Curves], measure: str, names: list[str], upright: bool
) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    share_RK = np.array([_shares(c, measure, len(names)) for c in rows.values()])
    panel.pcolormesh(
        np.ma.masked_invalid(share_RK),
        cmap=LinearSegmentedColormap.from_list(measure, _SHADES[measure]),
        vmin=0,
        vmax=1,
        edgecolors="white",
        linewidth=0.5,
    )
    if len(names) <= MOST_DIGITS:
        _draw_digits(panel, share_RK)
    rotation = 0
    if upright:
        rotation = 90
    panel.set_xticks(np.arange(len(names)) + 0.5, names, rotation=rotation, fontsize=8)
    panel.set_ylim(len(rows), 0)
    panel.xaxis.set_ticks_position("top")
    panel.tick_params(length=0)
    panel.spines[:].set_visible(False)
    panel.set_title(MEASURES[measure], fontsize=9, color=INK)


def _shares(c: Curves, measure: str, classes: int) -> list[float]:
    return [last_line(c, f"{measure}_{k}") for k in range(classes)]


def _draw_digits(panel: Axes, share_RK: np.ndarray) -> None:
    style: Any = {"ha": "center", "va": "center", "fontsize": 7.5}
    if share_RK.shape[1] > 8:
        style["fontsize"] = 6
    for (row, k), share in np.ndenumerate(share_RK):
        if np.isnan(share):
            panel.text(k + 0.5, row + 0.5, MISSING, color=SOFT, **style)
        else:
            panel.text(k + 0.5, row + 0.5, f"{100 * share:.0f}", color=_DIGIT, **style)


def class_table(s: Study) -> Table:
    """What is drawn, at every budget, header first; – where a class was given to no (accepted)
    pixel.
    """
    by_cell = _with_classes(s)
    names = class_names(s, max(c.classes for c in by_cell.values()))
    head = ["Method", "Annotated"]
    for measure in MEASURES:
        head += [f"{capitalise(measure)}, {name}" for name in names]
    rows = []
    for (arm, n), c in by_cell.items():
        row = [arm, str(n)]
        for measure in MEASURES:
            row += [number(share) for share in _shares(c, measure, len(names))]
        rows.append(row)
    return [head, *rows]


def _alt(material: Material) -> str:
    return (
        "Accepted share, accuracy and recall of the last pseudo-labels by method and class; the "
        "table below has the same numbers."
    )


def _draw(material: Material, size: Size | None) -> MatplotlibFigure:
    return by_class(material.study)


def _applies(material: Material) -> bool:
    return bool(_with_classes(material.study))


def _table(material: Material) -> Table:
    return class_table(material.study)


def _note(material: Material) -> str:
    return (
        "In per cent, at the end of training. Of a class with a low recall, few pixels get a "
        "correct pseudo-label. –: no pixel got this class."
    )


FIGURE = Figure(
    name="pseudo_classes",
    section="pseudo-labels",
    title="Pseudo-labels by class",
    heading="Class by class",
    alt=_alt,
    draw=_draw,
    applies=_applies,
    table=_table,
    note=_note,
)
