"""Parts that several figures share: an empty figure, its heading, its legend and its tips."""

from __future__ import annotations

import contextlib
import io
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from semiseg.report.figures.style import SOFT, STYLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MatplotlibFigure

Size = tuple[float, float]
"""Width and height in inches."""
NARROW = 5.5
"""Inches below which a figure is drawn for a phone."""


@contextlib.contextmanager
def styled(changes: dict[str, Any] | None = None) -> Iterator[None]:
    """Matplotlib's settings of all figures, with changes."""
    import matplotlib as mpl

    with mpl.rc_context(STYLE | (changes or {})):
        yield


def empty_figure(size: Size) -> MatplotlibFigure:
    """A figure that no global list keeps alive, and that a notebook shows as a cell's last line."""
    from matplotlib.figure import Figure as MatplotlibFigure

    class Shown(MatplotlibFigure):
        def _repr_png_(self) -> bytes:
            buffer = io.BytesIO()
            self.savefig(buffer, format="png", dpi=110, facecolor="white")
            return buffer.getvalue()

    return Shown(figsize=size, layout="constrained")


def canvas(size: Size) -> tuple[MatplotlibFigure, Axes]:
    """A figure with one panel."""
    figure = empty_figure(size)
    return figure, figure.subplots()


def figure_of(ax: Axes) -> MatplotlibFigure:
    """The whole figure that a panel belongs to."""
    return ax.figure.figure  # type: ignore[return-value]


def heading(ax: Axes, text: str, inches: float) -> None:
    """What a figure shows, above it, in lines as long as it is wide."""
    lines = textwrap.fill(text, max(24, int(14 * inches)))
    ax.set_title(lines, fontsize=9, color=SOFT, fontweight="normal")


def wrapped(names: Iterable[str], inches: float) -> list[str]:
    """Names beside an axis, in lines of at most half of the figure's width.

    >>> wrapped(["supervised", "supervised (spacing fit, view centre)"], 4.2)
    ['supervised', 'supervised (spacing fit,\\nview centre)']
    """
    return [textwrap.fill(name, int(6 * inches)) for name in names]


def tip(ax: Axes, x: float, y: float, colour: str, text: str, area: float = 110) -> None:
    """An invisible mark whose text a page shows under the pointer, see :mod:`output`."""
    ax.scatter([x], [y], s=area, color=colour, alpha=0.01, lw=0, zorder=4, gid=f"tip:{text}")


def legend_columns(names: Iterable[str], inches: float, most: int = 4) -> int:
    """Of a legend in letters of 9 points, so that the longest name is not cut."""
    names = list(names)
    longest = max(map(len, names), default=0)
    return max(1, min(most, len(names), int(inches / (0.5 + 0.07 * longest))))


def shared_legend(
    figure: MatplotlibFigure,
    panels: Iterable[Axes],
    most: int = 4,
    order: Sequence[str] = (),
) -> None:
    """One legend of all panels below the figure, each name once; ``order`` sorts the names."""
    handles: dict[str, Any] = {}
    for panel in panels:
        for handle, name in zip(*panel.get_legend_handles_labels(), strict=True):
            handles[name] = handle
    if not handles:
        return
    names = list(handles)
    if order:
        rank = {name: i for i, name in enumerate(order)}
        names.sort(key=lambda name: rank.get(name, len(order)))
    figure.legend(
        [handles[name] for name in names],
        names,
        loc="outside lower center",
        ncols=legend_columns(names, figure.get_figwidth(), most),
        fontsize=9,
    )


def with_legend(size: Size, names: Sequence[str], most: int) -> Size:
    """The size of a figure whose legend leaves its panels as high as three rows of names would."""
    rows = -(-len(names) // legend_columns(names, size[0], most))
    return size[0], size[1] + 0.2 * max(0, rows - 3)


def thinned(values: list[int], most: int = 10) -> list[int]:
    """At most ``most`` members, evenly spaced, the first and the last among them.

    >>> thinned([2, 4, 8, 16, 32], 3)
    [2, 8, 32]
    """
    if len(values) <= most:
        return values
    places = np.unique(np.linspace(0, len(values) - 1, most).round().astype(int))
    return [values[i] for i in places]


def hide_unused(panels: Iterable[Axes]) -> None:
    """Panels of a grid that hold nothing."""
    for panel in panels:
        panel.set_axis_off()
