"""Are the networks as often right as they are sure?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from semiseg.analysis.runs import Runs
from semiseg.analysis.study import Study
from semiseg.errors import UserError
from semiseg.evaluate import calibration as expected_calibration
from semiseg.report.figures.canvas import Size, empty_figure, shared_legend, styled, thinned
from semiseg.report.figures.figure import Figure, Material
from semiseg.report.figures.style import look
from semiseg.report.format import MISSING, number
from semiseg.report.tables import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MatplotlibFigure

SMALLEST_BIN = 0.002
"""Share of the pixels below which a bin says nothing."""


def reliability(s: Study, size: Size = (7.2, 3.0)) -> MatplotlibFigure:
    """Accuracy against confidence of the pixels around the objects, runs of a cell together.

    A panel a budget, at most four. On the dashed line a network is right as often as it is sure;
    below it, it is too sure. Raises UserError where no run recorded it.
    """
    counts = _counts(s)
    if not counts:
        raise UserError("no run recorded its calibration")
    budgets = thinned(sorted({n for _, n in counts}), 4)
    recorded = {arm for arm, _ in counts}
    arms = [arm for arm in s.arms if arm in recorded]
    with styled():
        figure = empty_figure(size)
        panels = figure.subplots(1, len(budgets), sharex=True, sharey=True, squeeze=False)[0]
        for panel, n in zip(panels, budgets, strict=True):
            panel.plot([0, 1], [0, 1], color="#8a929b", lw=1, ls="--")
            for i, arm in enumerate(arms):
                if (arm, n) in counts:
                    _draw_line(panel, counts[arm, n], arm, i)
            panel.set_title(f"{n} annotated", fontsize=10)
            panel.set_xlabel("confidence")
        panels[0].set_ylabel("accuracy")
        shared_legend(figure, panels)
    return figure


def _draw_line(panel: Axes, counts: np.ndarray, arm: str, i: int) -> None:
    pixels, confidence, right = counts
    filled = pixels > SMALLEST_BIN * pixels.sum()
    style = look(i)
    panel.plot(
        confidence[filled] / pixels[filled],
        right[filled] / pixels[filled],
        color=style.colour,
        marker=style.marker,
        ls=style.line,
        ms=4,
        lw=1.6,
        label=arm,
    )


def _counts(s: Study) -> dict[tuple[str, int], np.ndarray]:
    result = {}
    for key, cell in s.cells.items():
        counts = cell_counts(cell.runs, s.split)
        if counts is not None:
            result[key] = counts
    return result


def cell_counts(runs: Runs, split: str) -> np.ndarray | None:
    """Sums ``(3, bins)`` of :func:`semiseg.evaluate.calibration.count` over the runs that recorded
    them; None where none did.
    """
    recorded = []
    for run in runs:
        by_split = run.summary.get("calibration") or {}
        if split in by_split:
            bins = by_split[split]
            recorded.append([bins["pixels"], bins["confidence"], bins["right"]])
    if not recorded:
        return None
    return np.sum(recorded, 0)


def calibration_table(s: Study) -> Table:
    """Expected calibration error of each setting and budget, header first; – where no run recorded
    it.
    """
    counts = _counts(s)
    rows = []
    for arm in s.arms:
        row = [arm]
        for n in s.budgets:
            text = MISSING
            if (arm, n) in counts:
                text = number(expected_calibration.error(counts[arm, n]))
            row.append(text)
        rows.append(row)
    return [["Method", *(f"{n} annotated" for n in s.budgets)], *rows]


def _alt(material: Material) -> str:
    return (
        "Accuracy of pixels against the network's confidence in them; the table below has the "
        "errors."
    )


def _draw(material: Material, size: Size | None) -> MatplotlibFigure:
    return reliability(material.study, size or (7.2, 3.0))


def _applies(material: Material) -> bool:
    return bool(_counts(material.study))


def _table(material: Material) -> Table:
    return calibration_table(material.study)


def _note(material: Material) -> str:
    return (
        "Pixels in the box around all objects of an image. On the dashed line, the accuracy equals "
        "the confidence; below it, the network is overconfident. The table has the expected "
        "calibration error."
    )


FIGURE = Figure(
    name="calibration",
    section="measurement",
    title="Calibration",
    alt=_alt,
    draw=_draw,
    of_folds=True,
    wide=(7.2, 3.2),
    narrow=(4.2, 3.4),
    applies=_applies,
    table=_table,
    note=_note,
    folded=True,
)
