"""Example images of every setting, with their errors."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from semiseg.analysis.runs import Runs
from semiseg.report.figures.canvas import empty_figure, legend_columns, styled
from semiseg.report.figures.style import INK, SOFT
from semiseg.report.format import number
from semiseg.report.pictures import (
    CONFUSED,
    FALSE_NEGATIVE,
    FALSE_POSITIVE,
    Gallery,
    class_colour,
    pick_examples,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MatplotlibFigure


def overlays(runs: Runs, labels: int | None = None) -> MatplotlibFigure:
    """Rows: settings. Columns: the image they find hardest, the median one, the easiest.

    ``labels`` is the budget shown (the smallest that all settings share). Raises UserError where no
    run stored examples.
    """
    return draw_galleries(pick_examples(runs, labels))


def draw_galleries(galleries: Sequence[Gallery]) -> MatplotlibFigure:
    """The truth is outlined in the colours of its classes, errors are filled."""
    from matplotlib.patches import Patch

    columns = max(len(gallery.pictures) for gallery in galleries)
    with styled({"axes.grid": False}):
        figure = empty_figure((8.4, 2.75 * len(galleries) + 0.4))
        axes = figure.subplots(len(galleries), columns, squeeze=False)
        for panel in axes.ravel():
            panel.set_xticks([])
            panel.set_yticks([])
            panel.spines[:].set_visible(False)
        for panels, gallery in zip(axes, galleries, strict=True):
            for panel, picture in zip(panels, gallery.pictures, strict=False):  # some have fewer
                panel.imshow(picture.rgb)
                title = f"{picture.rank}: Dice {number(picture.dice)}"
                panel.set_title(title, fontsize=10, pad=4)
                panel.set_xlabel(picture.subject, fontsize=8)
            panels[0].set_ylabel(textwrap.fill(gallery.arm, 32), fontsize=10, color=INK)
        patches = [
            Patch(facecolor=colour, edgecolor=SOFT, linewidth=0.6, label=name)
            for name, colour in legend(galleries).items()
        ]
        figure.legend(
            handles=patches,
            loc="outside lower center",
            ncols=legend_columns([str(p.get_label()) for p in patches], 8.4),
            fontsize=9,
        )
    return figure


def legend(galleries: Sequence[Gallery]) -> dict[str, str]:
    """What each colour of the pictures means."""
    classes = galleries[0].run.scores.classes
    colours = {f"outline: true {name}": class_colour(i) for i, name in enumerate(classes)}
    colours["false positive: marked, but not there"] = FALSE_POSITIVE
    colours["false negative: there, but missed"] = FALSE_NEGATIVE
    if len(classes) > 1:
        colours["wrong class"] = CONFUSED
    return colours
