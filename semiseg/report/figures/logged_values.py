"""What the methods logged beside loss, Dice and pseudo-labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from semiseg.analysis.arms import find_arms
from semiseg.analysis.runs import Runs
from semiseg.errors import UserError
from semiseg.report.figures.canvas import (
    Size,
    empty_figure,
    hide_unused,
    shared_legend,
    styled,
)
from semiseg.report.figures.figure import Figure, Material
from semiseg.report.figures.style import look
from semiseg.report.figures.training_curves import Log, end_table
from semiseg.report.tables import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MatplotlibFigure

_SHOWN_ELSEWHERE = {"step", "loss", "lr", "seconds", "val_dice", "gradient_norm"}
MOST_KEYS = 6
MOST_RUNS = 12
"""Runs of a setting that are read."""


def logged_keys(runs: Runs) -> list[str]:
    """Keys of metrics.jsonl that have no figure of their own, first what most settings log."""
    counts: dict[str, int] = {}
    for members in find_arms(runs).values():
        keys: set[str] = set()
        for run in list(members)[:MOST_RUNS]:
            keys |= set(run.end())
        for key in keys - _SHOWN_ELSEWHERE:
            if not key.startswith("pseudo_"):
                counts[key] = counts.get(key, 0) + 1
    return sorted(counts, key=lambda key: (-counts[key], key))[:MOST_KEYS]


def logged_values(runs: Runs) -> MatplotlibFigure:
    """Parts of the loss, their weights …: the median over runs, budgets together, a panel each.

    Raises UserError where nothing else was logged.
    """
    keys = logged_keys(runs)
    if not keys:
        raise UserError("the runs logged nothing beside loss and Dice")
    arms = find_arms(runs)
    with styled():
        rows = -(-len(keys) // 3)
        figure = empty_figure((7.6, 2.2 * rows + 0.5))
        panels = figure.subplots(rows, min(3, len(keys)), squeeze=False).ravel()
        hide_unused(panels[len(keys) :])
        for i, (arm, members) in enumerate(arms.items()):
            logs = [run.log() for run in list(members)[:MOST_RUNS]]
            for panel, key in zip(panels, keys, strict=False):  # the last panels may be unused
                _draw_median(panel, logs, key, arm, i)
        for panel, key in zip(panels, keys, strict=False):
            panel.set_title(key.replace("_", " "), fontsize=10)
        shared_legend(figure, panels)
    return figure


def _draw_median(panel: Axes, logs: list[Log], key: str, arm: str, i: int) -> None:
    curves = []
    for log in logs:
        points = [(line["step"], line[key]) for line in log if line.get(key) is not None]
        if len(points) > 1:
            curves.append(np.array(points, float))
    if not curves:
        return
    steps = max((c[:, 0] for c in curves), key=len)
    median = np.median([np.interp(steps, c[:, 0], c[:, 1]) for c in curves], axis=0)
    style = look(i)
    panel.plot(steps, median, color=style.colour, ls=style.line, lw=1.8, label=arm)


def _alt(material: Material) -> str:
    return "What the methods logged beside loss and Dice, against steps."


def _draw(material: Material, size: Size | None) -> MatplotlibFigure:
    return logged_values(material.study.runs)


def _applies(material: Material) -> bool:
    return bool(logged_keys(material.study.runs))


def _table(material: Material) -> Table:
    keys = logged_keys(material.study.runs)
    return end_table(material.study, keys, [f"Last {key.replace('_', ' ')}" for key in keys])


FIGURE = Figure(
    name="diagnostics",
    section="measurement",
    title="What was logged",
    alt=_alt,
    draw=_draw,
    of_folds=True,
    applies=_applies,
    table=_table,
    folded=True,
)
