"""The difference of every setting to the baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from semiseg.analysis.runs import Runs
from semiseg.analysis.study import Comparison, Study, study
from semiseg.errors import UserError
from semiseg.report.facts import gain_of
from semiseg.report.figures.canvas import NARROW, Size, empty_figure, styled, thinned, tip, wrapped
from semiseg.report.figures.figure import Figure, Material
from semiseg.report.figures.style import COLOURS, SOFT
from semiseg.report.format import interval_text, number, score_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MatplotlibFigure

_VERDICT_COLOURS = {1: COLOURS[2], 0: COLOURS[0], -1: COLOURS[1]}


def differences(runs: Runs | Study, size: Size = (7.2, 3.6)) -> MatplotlibFigure:
    """A row a setting, best first, a panel a budget (at most four), with 95 % intervals.

    Differences are paired by subject. A dot is filled where the difference is significant after
    correction, hollow where it is undecided. Rows follow the mean over the panels in which all are.
    Raises UserError where nothing is compared.
    """
    s = runs
    if not isinstance(s, Study):
        s = study(s)
    if not s.comparisons:
        raise UserError(
            "differences: there is no baseline to compare with; add runs of method=supervised"
        )
    compared = {(c.arm, c.labels): c for c in s.comparisons}
    most = 4
    if size[0] <= NARROW:
        most = 2
    budgets = thinned(sorted({n for _, n in compared}), most)
    arms = _best_first(s, compared, budgets)
    separator = " "
    if size[0] <= NARROW or len(budgets) > 3:
        separator = "\n"
    with styled({"axes.grid.axis": "x"}):
        figure = empty_figure((size[0], max(1.8, 1.0 + 0.24 * len(arms))))
        panels = figure.subplots(1, len(budgets), sharex=True, sharey=True, squeeze=False)[0]
        for panel, n in zip(panels, budgets, strict=True):
            _draw_panel(panel, s, n, arms, compared)
            baseline = s.cells[s.comparisons[0].baseline, n].interval.mean
            title = f"{n} annotated:{separator}0 is {number(baseline, s.metric)}"
            panel.set_title(title, fontsize=9, fontweight="normal")
        panels[0].set_yticks(range(len(arms)), wrapped(arms, size[0]))
        panels[0].set_ylim(len(arms) - 0.4, -0.6)
        figure.supxlabel(_axis_label(s), fontsize=9, color=SOFT)
    return figure


def _best_first(
    s: Study, compared: dict[tuple[str, int], Comparison], budgets: list[int]
) -> list[str]:
    arms = list(dict.fromkeys(arm for arm, n in compared if n in budgets))
    fair = [n for n in budgets if all((arm, n) in compared for arm in arms)] or budgets

    def mean_gain(arm: str) -> float:
        gains = [gain_of(s, compared[arm, n]) for n in fair if (arm, n) in compared]
        return float(np.mean(gains or [-np.inf]))

    return sorted(arms, key=mean_gain, reverse=True)


def _draw_panel(
    panel: Axes, s: Study, n: int, arms: list[str], compared: dict[tuple[str, int], Comparison]
) -> None:
    panel.axvline(0, color=SOFT, lw=1)
    for row, arm in enumerate(arms):
        if (arm, n) in compared:
            _draw_difference(panel, s, compared[arm, n], row)


def _draw_difference(panel: Axes, s: Study, c: Comparison, row: int) -> None:
    verdict = s.verdict(c)
    colour = _VERDICT_COLOURS[verdict]
    filling = "white"
    if verdict:
        filling = colour
    panel.hlines(row, c.difference.low, c.difference.high, color=colour, lw=1.6)
    panel.plot([c.difference.mean], [row], marker="o", ms=6, color=colour, mfc=filling, ls="")
    difference = interval_text(c.difference, s.metric, signed=True)
    tip(panel, c.difference.mean, row, colour, f"{c.arm}, {c.labels} annotated: {difference}")


def _axis_label(s: Study) -> str:
    better = "higher"
    if s.sign < 0:
        better = "lower"
    label = score_label(s.metric, s.unit)
    return f"{label} minus {s.comparisons[0].baseline}, {better} is better"


def _alt(material: Material) -> str:
    return (
        "Difference of each method to the baseline with its interval, best first; the table below "
        "has the same numbers."
    )


def _draw(material: Material, size: Size | None) -> MatplotlibFigure:
    return differences(material.study, size or (7.2, 3.6))


def _applies(material: Material) -> bool:
    return bool(material.study.comparisons)


FIGURE = Figure(
    name="differences",
    section="comparisons",
    title="Differences to the baseline",
    alt=_alt,
    draw=_draw,
    of_folds=True,
    wide=(7.2, 3.6),
    narrow=(4.2, 3.6),
    applies=_applies,
)
