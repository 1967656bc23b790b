"""Colours, markers and matplotlib's settings of all figures.

Colours are Okabe & Ito's (2008), told apart with every common colour vision deficiency; markers and
direct labels repeat what they say.
"""

from __future__ import annotations

from typing import Any, NamedTuple

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#8C8C8C", "#A89A00")
"""Okabe–Ito, strongest first; its black is grey and its yellow darker here, so that they can be
seen on dark and on white pages.
"""
MARKERS = "os^DvPX*"
INK, SOFT, GRID = "#1d1f23", "#5c626b", "#d9dce1"
STYLE: Any = {
    "text.parse_math": False,  # a $ in a name is a $
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": SOFT,
    "axes.edgecolor": GRID,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": SOFT,
    "ytick.labelcolor": SOFT,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "semiseg",
}
_DASHES: tuple[Any, ...] = ("-", (0, (4, 2)), (0, (1, 1.5)))


class Look(NamedTuple):
    """How one compared setting is drawn, in every figure."""

    colour: str
    marker: str
    line: Any


def look(i: int) -> Look:
    """Of the i-th setting: 64 pairs of colour and marker, and lines that differ past the eighth."""
    cycle = i // len(COLOURS)
    return Look(
        COLOURS[i % len(COLOURS)],
        MARKERS[(i + cycle) % len(MARKERS)],
        _DASHES[cycle % len(_DASHES)],
    )
