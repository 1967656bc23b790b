"""Example images of every setting, with their errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from semiseg.analysis.runs import Runs
from semiseg.report.figures.canvas import empty_figure, styled
from semiseg.report.figures.style import INK, SOFT
from semiseg.report.format import number
from semiseg.report.pictures import FALSE_NEGATIVE, FALSE_POSITIVE, pick_examples

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MatplotlibFigure

COLOURS = {
    "truth (outline)": "#ffffff",
    "false positive": FALSE_POSITIVE,
    "false negative": FALSE_NEGATIVE,
}


def overlays(runs: Runs, labels: int | None = None, scale: int = 3) -> MatplotlibFigure:
    """Rows: settings. Columns: the image they find hardest, the median one, the easiest.

    The truth is a white line, errors are filled. ``labels`` is the budget shown (the smallest that
    all settings share). Raises UserError where no run stored examples.
    """
    from matplotlib.patches import Patch

    rows = pick_examples(runs, labels, scale)
    with styled({"axes.grid": False}):
        figure = empty_figure((8.4, 2.75 * len(rows) + 0.4))
        axes = figure.subplots(len(rows), len(rows[0][2]), squeeze=False)
        for panels, (arm, _, shown) in zip(axes, rows, strict=True):
            for panel, (rank, subject, dice, rgb) in zip(panels, shown, strict=False):
                panel.imshow(rgb)
                panel.set_xticks([])
                panel.set_yticks([])
                panel.spines[:].set_visible(False)
                panel.set_title(f"{rank}: Dice {number(dice)}", fontsize=10, pad=4)
                panel.set_xlabel(subject, fontsize=8)
            panels[0].set_ylabel(arm, fontsize=10, color=INK)
        patches = [
            Patch(facecolor=colour, edgecolor=SOFT, linewidth=0.6, label=name)
            for name, colour in COLOURS.items()
        ]
        figure.legend(handles=patches, loc="outside lower center", ncols=3, fontsize=9)
    return figure
