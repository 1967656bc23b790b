"""Annotated subjects that the baseline needs for the same score."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from semiseg.analysis.runs import Runs
from semiseg.analysis.study import Study, study
from semiseg.analysis.worth import Worth, worth
from semiseg.errors import UserError
from semiseg.report import summary
from semiseg.report.facts import unit_of_annotation
from semiseg.report.figures.canvas import (
    Size,
    canvas,
    heading,
    shared_legend,
    styled,
    thinned,
    tip,
    with_legend,
)
from semiseg.report.figures.figure import Figure, Material
from semiseg.report.figures.style import SOFT, look
from semiseg.report.format import score_label
from semiseg.report.sentences import equivalence_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MatplotlibFigure


def label_equivalence(runs: Runs | Study, size: Size = (7.2, 4.3)) -> MatplotlibFigure:
    """Annotated subjects that the baseline needs for the same score, against those that were given.

    On the diagonal nothing is saved. Bars are 95 % intervals, arrows where they leave the
    baseline's budgets. Raises UserError where there is nothing to compare.
    """
    s = runs
    if not isinstance(s, Study):
        s = study(s)
    results = worth(s)
    if not results:
        raise UserError(
            f"{s.data}: label equivalence needs supervised runs at two budgets, and another method"
        )
    compared = {w.arm for w in results}
    arms = [arm for arm in s.arms if arm in compared]
    apart = float(np.min(np.diff(np.log2(s.budgets))))
    step = min(0.12, 0.7 * apart / len(arms))
    with styled():
        figure, ax = canvas(with_legend(size, arms, 3))
        _draw_diagonal(ax, results[0].equivalence.smallest, results[0].equivalence.largest)
        for w in results:
            octaves = (arms.index(w.arm) - (len(arms) - 1) / 2) * step
            _draw_worth(ax, w, w.labels * 2**octaves, list(s.arms).index(w.arm))
        for i, arm in enumerate(s.arms):
            if arm in arms:
                style = look(i)
                ax.plot(
                    [], [], color=style.colour, marker=style.marker, ls=style.line, lw=2, label=arm
                )
        _draw_axes(ax, s)
        unit = unit_of_annotation(s.runs)
        score = score_label(s.metric)
        heading(ax, f"annotated {unit} that {s.baseline} needs for the same {score}", size[0])
        shared_legend(figure, [ax], 3)
    return figure


def _draw_diagonal(ax: Axes, low: float, high: float) -> None:
    ax.plot([low, high], [low, high], color=SOFT, lw=1, ls=(0, (4, 3)), zorder=1)
    ax.annotate(
        "no label saved",
        (high, high),
        xytext=(-6, -13),
        textcoords="offset points",
        color=SOFT,
        fontsize=9,
        ha="right",
        va="top",
        zorder=1,
    )


def _draw_worth(ax: Axes, w: Worth, x: float, i: int) -> None:
    e = w.equivalence
    style = look(i)
    bar = np.clip([e.low, e.high], e.smallest, e.largest)
    ax.plot([x, x], bar, color=style.colour, lw=2, alpha=0.5, zorder=2, solid_capstyle="butt")
    if e.low < e.smallest:
        _draw_arrow(ax, x, e.smallest, style.colour, "v")
    if np.isinf(e.high):
        _draw_arrow(ax, x, e.largest, style.colour, "^")
    filling = "white"
    if e.smallest <= e.labels <= e.largest:
        filling = style.colour
    y = float(np.clip(e.labels, e.smallest, e.largest))
    ax.plot(
        [x],
        [y],
        color=style.colour,
        marker=style.marker,
        ms=7,
        mfc=filling,
        mec=style.colour,
        lw=0,
        zorder=3,
        clip_on=False,
    )
    tip(ax, x, y, style.colour, f"{w.arm}, {w.labels} annotated: {equivalence_text(w)}")


def _draw_arrow(ax: Axes, x: float, y: float, colour: str, marker: str) -> None:
    """The interval goes on beyond the baseline's budgets."""
    ax.plot([x], [y], color=colour, marker=marker, ms=5, alpha=0.7, lw=0, zorder=2, clip_on=False)


def _draw_axes(ax: Axes, s: Study) -> None:
    ticks = thinned(s.budgets)
    ax.set_xscale("log", base=2)
    ax.set_yscale("log", base=2)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_ticks(ticks, [str(n) for n in ticks])
    ax.minorticks_off()
    low, high = ax.get_xlim()
    ax.set_xlim(low / 1.12, high * 1.12)  # no mark stands on the edge
    ax.set_xlabel(f"annotated {unit_of_annotation(s.runs)} the method was given")


def _alt(material: Material) -> str:
    return "Label equivalence; the table below has the same numbers."


def _draw(material: Material, size: Size | None) -> MatplotlibFigure:
    return label_equivalence(material.study, size or (7.2, 4.3))


def _applies(material: Material) -> bool:
    return summary.saves_labels(material.study)


FIGURE = Figure(
    name="label_equivalence",
    section="equivalence",
    title="Labels saved",
    alt=_alt,
    draw=_draw,
    wide=(7.2, 4.3),
    narrow=(4.2, 4.0),
    applies=_applies,
)
