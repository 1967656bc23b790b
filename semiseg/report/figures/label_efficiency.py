"""Score against annotated subjects: the question that the report is made for."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from semiseg.analysis.runs import Runs
from semiseg.analysis.study import Cell, Study, study
from semiseg.report import summary
from semiseg.report.facts import scored_on, unit_of_annotation
from semiseg.report.figures.canvas import (
    NARROW,
    Size,
    canvas,
    figure_of,
    shared_legend,
    styled,
    thinned,
    tip,
    with_legend,
)
from semiseg.report.figures.figure import Figure, Material
from semiseg.report.figures.style import INK, SOFT, look
from semiseg.report.format import count, interval_text, score_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MatplotlibFigure


class _End(NamedTuple):
    """Where the line of an arm ends."""

    arm: str
    y: float


def label_efficiency(
    runs: Runs | Study,
    metric: str = "dice",
    split: str = "val",
    checkpoint: str = "last",
    ax: Axes | None = None,
    size: Size = (7.2, 4.3),
    headline: bool = True,
) -> MatplotlibFigure:
    """The mean of each setting with its 95 % interval, and a dot for every run.

    At a budget the settings stand side by side, so that their bars do not hide one another; a
    setting alone has a band.

    Args:
      runs: runs of one data set, or a study made of them (then metric, split and checkpoint are the
        study's).
      metric: a metric of per_subject.csv, mean over classes.
      split: "val" or "test".
      checkpoint: "last" or "val_best".
      ax: draw here instead of in a new figure.
      size: of a new figure, in inches.
      headline: put what the figure shows above it; a page that says it already does without.

    Returns:
      The figure. Raises UserError where no run has these scores, or the runs are of several data
      sets.
    """
    s = runs
    if not isinstance(s, Study):
        s = study(s, metric, split, checkpoint)
    narrow = size[0] < NARROW
    with styled():
        if ax is None:
            _, ax = canvas(_size(s, size))
        ends = _draw_arms(ax, s)
        _draw_axes(ax, s)
        _draw_title(ax, s, narrow, headline)
        _draw_names(ax, ends, narrow)
    return figure_of(ax)


def _step(s: Study) -> float:
    """Octaves from one arm to the next, at a budget."""
    if len(s.budgets) == 1:
        return min(0.25, 0.55 * 2.0 / len(s.arms))
    apart = float(np.min(np.diff(np.log2(s.budgets))))
    return min(0.1, 0.55 * apart / len(s.arms))


def _draw_arms(ax: Axes, s: Study) -> list[_End]:
    rng = np.random.default_rng(0)
    step = _step(s)
    ends = []
    for i, arm in enumerate(s.arms):
        style = look(i)
        cells = [s.cells[arm, n] for n in s.budgets if (arm, n) in s.cells]
        x = [c.labels * 2 ** (step * (i - (len(s.arms) - 1) / 2)) for c in cells]
        y = [c.interval.mean for c in cells]
        _draw_runs(ax, cells, x, step, rng, i)
        _draw_intervals(ax, cells, x, style.colour, band=_is_band(s))
        ax.plot(
            x,
            y,
            color=style.colour,
            lw=1.8,
            ls=style.line,
            marker=style.marker,
            ms=5.5,
            mec="white",
            mew=0.6,
            zorder=3,
        )
        for cell, at in zip(cells, x, strict=True):
            text = (
                f"{arm}, {cell.labels} annotated: {interval_text(cell.interval, s.metric)}, "
                f"{count(len(cell.mean_R), 'run')}"
            )
            tip(ax, at, cell.interval.mean, style.colour, text)
        ends.append(_End(arm, y[-1]))
    return ends


def _draw_runs(
    ax: Axes, cells: list[Cell], x: list[float], step: float, rng: np.random.Generator, i: int
) -> None:
    """A dot for each run, beside the mean of its cell."""
    style = look(i)
    places = []
    for at, cell in zip(x, cells, strict=True):
        places.append(at * 2 ** rng.uniform(-0.3 * step, 0.3 * step, len(cell.mean_R)))
    ax.scatter(
        np.concatenate(places),
        np.concatenate([c.mean_R for c in cells]),
        s=13,
        color=style.colour,
        alpha=0.55,
        lw=0,
        marker=style.marker,
        zorder=2,
    )


def _is_band(s: Study) -> bool:
    return len(s.arms) == 1 and len(s.budgets) > 1


def _draw_intervals(ax: Axes, cells: list[Cell], x: list[float], colour: str, band: bool) -> None:
    low = [c.interval.low for c in cells]
    high = [c.interval.high for c in cells]
    if band:
        ax.fill_between(x, low, high, color=colour, alpha=0.13, lw=0, zorder=1)
    else:
        ax.vlines(x, low, high, color=colour, lw=1.6, alpha=0.75, zorder=2)


def _draw_axes(ax: Axes, s: Study) -> None:
    ax.set_xscale("log", base=2)
    ticks = thinned(s.budgets)
    ax.set_xticks(ticks, [str(n) for n in ticks], minor=False)
    ax.minorticks_off()
    margin = _step(s) * len(s.arms) / 2 + 0.2
    if len(s.budgets) == 1:
        margin -= 0.1
    ax.set_xlim(s.budgets[0] * 2**-margin, s.budgets[-1] * 2**margin)
    ax.set_xlabel(f"annotated {unit_of_annotation(s.runs)} (log scale)")
    ax.set_ylabel("")


def _draw_title(ax: Axes, s: Study, narrow: bool, headline: bool) -> None:
    text = _legend_of_marks(s, narrow)
    if not headline:
        ax.set_title(text, fontsize=9, color=SOFT, fontweight="normal")
        return
    width = 62
    pad = 22
    if narrow:
        width = 34
        pad = 33
    ax.set_title(textwrap.fill(summary.claim(s), width), pad=pad)
    ax.annotate(
        text,
        (0, 1),
        xycoords="axes fraction",
        xytext=(0, 6),
        textcoords="offset points",
        fontsize=9,
        color=SOFT,
        va="bottom",
        in_layout=False,
    )


def _legend_of_marks(s: Study, narrow: bool) -> str:
    """What is drawn, and what a dot, a line and a bar are."""
    what = f"{score_label(s.metric, s.unit)} on {s.data}, {scored_on(s)}"
    if s.sign < 0:
        what += " (↓)"
    marks = "Dot: a run, line: mean"
    if any(c.interval.low < c.interval.high for c in s.cells.values()):
        shape = "bar"
        if _is_band(s):
            shape = "band"
        marks += f", {shape}: 95 % interval"
    if narrow:
        return f"{what}\n{marks}"
    return f"{what}. {marks}"


def _draw_names(ax: Axes, ends: Sequence[_End], narrow: bool) -> None:
    """Names at the lines' ends, pushed apart so that they can be read.

    A legend where there are too many, or they are too long.
    """
    if len(ends) == 1:
        return
    names = [end.arm for end in ends]
    if _needs_legend(names, narrow):
        for i, name in enumerate(names):
            style = look(i)
            marks: Any = {"ls": style.line, "marker": style.marker}
            ax.plot([], [], color=style.colour, lw=2, ms=5, label=name, **marks)
        shared_legend(figure_of(ax), [ax], 3)
        return
    order = sorted(range(len(ends)), key=lambda i: ends[i].y)
    low, high = ax.get_ylim()
    places = pushed_apart(np.array([ends[i].y for i in order]), 0.062 * (high - low))
    for i, y in zip(order, places, strict=True):
        _draw_name(ax, ends[i].arm, y, i)


def _needs_legend(names: Sequence[str], narrow: bool) -> bool:
    """Names at the lines' ends have no room."""
    return narrow or len(names) > 6 or max(map(len, names)) > 24


def _size(s: Study, size: Size) -> Size:
    if len(s.arms) > 1 and _needs_legend(list(s.arms), size[0] < NARROW):
        return with_legend(size, list(s.arms), 3)
    return size


def _draw_name(ax: Axes, arm: str, y: float, i: int) -> None:
    """A mark in the arm's colour and its name in ink: light letters are hard to read."""
    style = look(i)
    ax.scatter(
        [1.02],
        [y],
        s=36,
        color=style.colour,
        marker=style.marker,
        lw=0,
        transform=ax.get_yaxis_transform(),
        clip_on=False,
    )
    ax.annotate(
        arm,
        (1.02, y),
        xytext=(7, 0),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        va="center",
        annotation_clip=False,
        color=INK,
        fontsize=10,
        fontweight="bold",
    )


def pushed_apart(values: np.ndarray, gap: float) -> np.ndarray:
    """Ascending values, moved evenly until neighbours are ``gap`` apart.

    >>> pushed_apart(np.array([0.0, 0.0, 5.0]), 1.0).tolist()
    [-0.5, 0.5, 5.0]
    """
    places = values.copy()
    for _ in range(50):
        short = gap - np.diff(places)
        if (short <= 1e-9).all():
            break
        push = np.maximum(short, 0) / 2
        places[:-1] -= push
        places[1:] += push
    return places


def _alt(material: Material) -> str:
    s = material.study
    return (
        f"{summary.claim(s)}. {score_label(s.metric, s.unit)} against annotated "
        f"{unit_of_annotation(s.runs)}; the table under The numbers has the same numbers."
    )


def _draw(material: Material, size: Size | None) -> MatplotlibFigure:
    return label_efficiency(material.study, size=size or (7.2, 4.3), headline=False)


def _for_file(material: Material) -> MatplotlibFigure:
    return label_efficiency(material.study)


FIGURE = Figure(
    name="label_efficiency",
    section="headline",
    title="Label efficiency",
    alt=_alt,
    draw=_draw,
    of_folds=True,
    wide=(7.2, 4.3),
    narrow=(4.2, 4.2),
    for_file=_for_file,
)
