"""What synthetic images add to real ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from semiseg.analysis.mixes import Mix, mixes
from semiseg.analysis.runs import Runs
from semiseg.analysis.statistics import Interval
from semiseg.analysis.study import Study, study
from semiseg.errors import UserError
from semiseg.report.figures.canvas import (
    NARROW,
    Size,
    empty_figure,
    hide_unused,
    shared_legend,
    styled,
    tip,
)
from semiseg.report.figures.figure import Figure, Material
from semiseg.report.figures.style import SOFT, look
from semiseg.report.format import MISSING, interval_text, number, score_label
from semiseg.report.tables import Table
from semiseg.synthetic_sources import CONTROLS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MatplotlibFigure


def ratio(runs: Runs | Study, size: Size = (7.2, 3.6)) -> MatplotlibFigure:
    """What synthetic images add to the runs, see :func:`gains`.

    Raises UserError where no mix stands beside the same method with real images alone.
    """
    s = runs
    if not isinstance(s, Study):
        s = study(s)
    return gains(mixes(s), s.metric, s.unit, size)


def gains(
    results: Sequence[Mix], metric: str = "dice", unit: str = "", size: Size = (7.2, 3.6)
) -> MatplotlibFigure:
    """Gain against synthetic images per real one: a panel a budget, a line a kind of images.

    A dot is the gain over the same method with real images alone, paired by subject (and label
    subset and seed), its bar a 95 % interval. Controls are dashed.
    """
    budgets = sorted({m.labels for m in results})
    columns = 1
    if size[0] > NARROW:
        columns = min(len(budgets), 3)
    rows = -(-len(budgets) // columns)
    with styled():
        figure = empty_figure((size[0], max(size[1], 2.5 * rows + 0.6)))
        panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
        hide_unused(panels[len(budgets) :])
        used = panels[: len(budgets)]
        for panel, labels in zip(used, budgets, strict=True):
            _draw_panel(panel, results, labels, metric)
        for panel in used[-columns:]:
            panel.set_xlabel("synthetic images per real image")
        panels[0].set_ylabel("gain")
        if rows == 1:
            panels[0].set_ylabel(f"gain in {score_label(metric, unit)}")
        shared_legend(figure, panels, 3)
    return figure


def _draw_panel(panel: Axes, results: Sequence[Mix], labels: int, metric: str) -> None:
    lines = list(dict.fromkeys(m.line for m in results))
    ratios = sorted({m.ratio for m in results})
    at_budget = [m for m in results if m.labels == labels]
    panel.axhline(0, color=SOFT, lw=1)
    for i, line in enumerate(lines):
        members = sorted((m for m in at_budget if m.line == line), key=lambda m: m.ratio)
        offset = 0.09 * (i - (len(lines) - 1) / 2)
        _draw_line(panel, members, [ratios.index(m.ratio) + offset for m in members], i, metric)
    panel.set_xticks(range(len(ratios)), [f"{r:g}" for r in ratios])
    panel.set_xlim(-0.5, len(ratios) - 0.5)
    alone = " and ".join(dict.fromkeys(number(m.alone.mean, metric) for m in at_budget))
    title = f"{labels} annotated: 0 is {alone}, real images alone"
    panel.set_title(title, fontsize=9, fontweight="normal")


def _draw_line(panel: Axes, members: list[Mix], x: list[float], i: int, metric: str) -> None:
    if not members:
        return
    style = look(i)
    line = members[0].line
    marks: Any = {"ls": "-", "mfc": style.colour, "label": line}
    if members[0].source in CONTROLS:
        marks = {"ls": (0, (3, 2)), "mfc": "white", "label": f"{line} (control)"}
    low = [m.gain.low for m in members]
    high = [m.gain.high for m in members]
    panel.vlines(x, low, high, color=style.colour, lw=1.6, alpha=0.75)
    panel.plot(
        x,
        [m.gain.mean for m in members],
        color=style.colour,
        lw=1.8,
        marker=style.marker,
        ms=6,
        mec=style.colour,
        **marks,
    )
    for m, at in zip(members, x, strict=True):
        text = (
            f"{line}, {m.ratio:g} per real image, {m.labels} annotated: "
            f"{interval_text(m.gain, metric, signed=True)}"
        )
        tip(panel, at, m.gain.mean, style.colour, text)


def ratio_table(s: Study) -> Table:
    """What the figure draws, and the difference from each control, header first."""
    results = mixes(s)
    controls = list(dict.fromkeys(name for m in results for name in m.beside))
    head = ["Images", "Annotated", "Per real image", score_label(s.metric, s.unit), "Real alone"]
    rows = []
    for m in results:
        row = [m.line, str(m.labels), f"{m.ratio:g}"]
        row += [number(m.score.mean, s.metric), number(m.alone.mean, s.metric)]
        row.append(_difference(m.gain, s.metric))
        row += [_difference(m.beside.get(name), s.metric) for name in controls]
        rows.append(row)
    return [[*head, "Gain", *(f"Beside {name}" for name in controls)], *rows]


def _difference(interval: Interval | None, metric: str) -> str:
    if interval is None:
        return MISSING
    return interval_text(interval, metric, signed=True)


def _alt(material: Material) -> str:
    return (
        "Gain compared with real images alone, against synthetic images per real image, beside "
        "the controls; the table below has the same numbers."
    )


def _draw(material: Material, size: Size | None) -> MatplotlibFigure:
    return ratio(material.with_mixes, size or (7.2, 3.6))


def _applies(material: Material) -> bool:
    try:
        return bool(mixes(material.with_mixes))
    except UserError:  # no mix stands beside real images alone
        return False


def _table(material: Material) -> Table:
    return ratio_table(material.with_mixes)


FIGURE = Figure(
    name="ratio",
    section="synthetic",
    title="Synthetic data",
    alt=_alt,
    draw=_draw,
    wide=(7.2, 3.6),
    narrow=(4.2, 3.6),
    applies=_applies,
    table=_table,
)
