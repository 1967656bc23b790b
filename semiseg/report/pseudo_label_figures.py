"""TODO."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from semiseg.analysis.pseudo_labels import (
    Curves,
    class_names,
    confirmation,
    curves,
    last_line,
)
from semiseg.analysis.study import Study
from semiseg.errors import UserError
from semiseg.report.plot import _STYLE, INK, SOFT, _columns, _figure, _look, _thin

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TRENDS = {
    "accepted": "accepted\nshare",
    "accuracy": "accuracy\nof accepted",
    "ece": "calibration\nerror (ECE)",
    "gap": "teacher–student\ngap",
    "lead": "teacher's lead\nin accuracy",
}
"""Panels of :func:`trends`, in order: key of the log less ``pseudo_``, and what it is called."""


CLASSES = {
    "accepted": "accepted",
    "accuracy": "accuracy of accepted",
    "recall": "recall: accepted and right",
}
"""Panels of :func:`by_class`."""


SHOWN = 6
"""Methods that have a colour where there are more than 8."""


_PAPER, _LOW, _SHARE, _DIGIT = (
    "#fdfdfd",
    "#ef8a4e",
    "#7db8e4",
    "#17181a",
)  # no colours of a theme: digits are read on them in the dark, too


def trends(s: Study, columns: int = 4) -> Figure:
    """A row a measure of :data:`TRENDS`, a column a budget (at most four, evenly spaced), a line a
    method: the mean over its runs and over foreground classes.

    A measure that no run logged has no row: the gap and the lead, where no student was compared
    with its teacher. Past 8 methods the 6 with the largest :func:`confirmation` at these budgets
    have colours, the rest are grey and named under the pointer. Raises UserError where no run
    logged pseudo-labels.
    """
    import matplotlib as mpl

    found = _found(s)
    budgets = _thin(sorted({n for _, n in found}), columns)
    shown = _shown(found, budgets)
    drawn = {
        m: name
        for m, name in TRENDS.items()
        if any(n in budgets and np.isfinite(c.trend(m)).any() for (_, n), c in found.items())
    }
    if not drawn:
        raise UserError(f"{s.data}: no run logged pseudo-labels beside hidden labels")
    with mpl.rc_context(_STYLE):
        figure = _figure((max(7.6, 2.0 * len(budgets) + 1.4), 1.3 * len(drawn) + 1.0))
        axes = figure.subplots(len(drawn), len(budgets), sharex="col", sharey="row", squeeze=False)
        for panels, (measure, name) in zip(axes, drawn.items()):
            for panel, n in zip(panels, budgets):
                for (arm, labels), c in found.items():
                    if labels == n:
                        _line(
                            panel,
                            s,
                            arm,
                            c.step,
                            c.trend(measure),
                            f"{name.replace(chr(10), ' ')}, {arm}, {n} annotated",
                            arm in shown,
                        )
            panels[0].set_ylabel(name, fontsize=9)
            if (
                measure == "lead"
            ):  # in a method that has not begun to teach it is huge, and would flatten all others
                late = [
                    v
                    for (_, n), c in found.items()
                    if n in budgets
                    for v in c.trend(measure)[c.step > c.step[-1] / 2]
                    if not np.isnan(v)
                ]
                room = max(0.01, 1.2 * max(map(abs, late), default=0))
                panels[0].set_ylim(-room, room)
        for top, bottom, n in zip(axes[0], axes[-1], budgets):
            top.set_title(f"{n} annotated", fontsize=10)
            bottom.set_xlabel("step")
        legend = {
            name: handle
            for panel in axes.ravel()
            for handle, name in zip(*panel.get_legend_handles_labels())
        }
        ordered = sorted(
            legend, key=lambda arm: list(s.arms).index(arm) if arm in s.arms else len(s.arms)
        )
        figure.legend(
            [legend[arm] for arm in ordered],
            ordered,
            loc="outside lower center",
            ncols=_columns(ordered, figure.get_figwidth()),
            fontsize=9,
        )
    return figure


def by_class(s: Study) -> Figure:
    """At the last logged step, per class and in per cent: a panel a measure of :data:`CLASSES`, a
    row of panels a budget.

    The smallest and the largest budget are shown, of more than 8 methods the smallest alone. Empty
    where the class was given to no pixel, and of accuracy to no accepted one. Raises UserError
    where no run logged classes.
    """
    import matplotlib as mpl
    from matplotlib.colors import LinearSegmentedColormap

    found = {key: c for key, c in _found(s).items() if c.classes}
    if not found:
        raise UserError("no run logged its pseudo-labels by class")
    budgets = _thin(sorted({n for _, n in found}), 2 if len({arm for arm, _ in found}) <= 8 else 1)
    arms = {n: [arm for arm, labels in found if labels == n] for n in budgets}
    classes = max(c.classes for c in found.values())
    names = class_names(s, classes)
    upright = classes > 5 or max(map(len, names)) > 5
    shades = {
        m: LinearSegmentedColormap.from_list(
            m, (_PAPER, _SHARE) if m == "accepted" else (_LOW, _PAPER)
        )
        for m in CLASSES
    }
    with mpl.rc_context(_STYLE | {"axes.grid": False}):
        heights = [len(arms[n]) + (5 if upright else 3) for n in budgets]
        figure = _figure((7.6, 0.21 * sum(heights)))
        axes = figure.subplots(
            len(budgets), len(CLASSES), squeeze=False, sharey="row", height_ratios=heights
        )
        for panels, n in zip(axes, budgets):
            for panel, (measure, name) in zip(panels, CLASSES.items()):
                share_RK = np.array(
                    [
                        [last_line(found[arm, n], f"{measure}_{k}") for k in range(classes)]
                        for arm in arms[n]
                    ]
                )
                panel.pcolormesh(
                    np.ma.masked_invalid(share_RK),
                    cmap=shades[measure],
                    vmin=0,
                    vmax=1,
                    edgecolors="white",
                    linewidth=0.5,
                )
                for (row, k), share in np.ndenumerate(share_RK):
                    if classes <= 16:
                        told = "–" if np.isnan(share) else f"{100 * share:.0f}"
                        colour = SOFT if np.isnan(share) else _DIGIT
                        panel.text(
                            k + 0.5,
                            row + 0.5,
                            told,
                            ha="center",
                            va="center",
                            fontsize=7.5 if classes <= 8 else 6,
                            color=colour,
                        )
                panel.set_xticks(
                    np.arange(classes) + 0.5, names, rotation=90 if upright else 0, fontsize=8
                )
                panel.set_ylim(len(arms[n]), 0)
                panel.xaxis.set_ticks_position("top")
                panel.tick_params(length=0)
                panel.spines[:].set_visible(False)
                panel.set_title(
                    name + (f", {n} annotated" if measure == "accepted" else ""),
                    fontsize=9,
                    color=INK,
                )
            panels[0].set_yticks(np.arange(len(arms[n])) + 0.5, arms[n], fontsize=8)
    return figure


def _found(s: Study) -> dict[tuple[str, int], Curves]:
    if not (found := curves(s)):
        raise UserError(f"{s.data}: no run logged pseudo-labels beside hidden labels")
    return found


def _line(
    panel: Axes, s: Study, arm: str, step: np.ndarray, y: np.ndarray, told: str, coloured: bool
) -> None:
    known = ~np.isnan(y)
    if not known.any():
        return
    colour, marker, dash = _look(list(s.arms).index(arm))
    if coloured:
        panel.plot(
            step[known],
            y[known],
            color=colour,
            ls=dash,
            lw=1.7,
            marker=marker,
            ms=4,
            markevery=[-1],
            label=arm,
            zorder=3,
        )
    else:
        panel.plot(
            step[known], y[known], color=SOFT, lw=0.7, alpha=0.45, label="other methods", zorder=1
        )
    panel.scatter(
        step[known][-1:],
        y[known][-1:],
        s=60,
        color=colour,
        alpha=0.01,
        lw=0,
        zorder=4,
        gid=f"tip:{told}: {y[known][-1]:.3g}",
    )


def _shown(found: dict[tuple[str, int], Curves], budgets: list[int]) -> set[str]:
    """The arms that have a colour."""
    arms = {arm for arm, n in found if n in budgets}
    worst = lambda arm: max(
        confirmation(c) for (a, n), c in found.items() if a == arm and n in budgets
    )
    return arms if len(arms) <= 8 else set(sorted(sorted(arms), key=worst, reverse=True)[:SHOWN])
