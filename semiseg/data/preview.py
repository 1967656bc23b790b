"""A picture of what a network will see of a set: a few training scans through the frame."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from semiseg.data.class_colours import class_colour
from semiseg.data.frame import Frame
from semiseg.data.frame_facts import spacing_words
from semiseg.data.info import StoreInfo
from semiseg.data.preview_panels import Panel, facts, panels, times
from semiseg.errors import UserError
from semiseg.files import replacing
from semiseg.types import IGNORE, Case

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MatplotlibFigure

WINDOW = "#FF3B30"
PADDING = "#C9D6DF"
IGNORED = "#8E44AD"
SUFFIXES = (".png", ".pdf", ".svg")


def preview(info: StoreInfo, scans: Sequence[Case], frame: Frame, file: Path) -> None:
    """Write a picture of the smallest, the middle and the largest scan through the frame.

    Args:
      info: of the set.
      scans: of its training split.
      frame: of a trial; what it leaves open is decided by the scans.
      file: PNG, PDF or SVG.

    Raises:
      UserError: another suffix, a file that cannot be written, or pictures for a 3D network.
    """
    if file.suffix not in SUFFIXES:
        raise UserError(
            f"is no {', '.join(SUFFIXES)}", where=f"--preview {file}", remedy="name another file"
        )
    frame = frame.resolved(scans, info.unit)
    frame.scans(scans[:1], f"data set {info.name!r}")
    figure = _figure(info, by_size(scans, frame), frame)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file, keep_suffix=True) as partial:
            figure.savefig(partial, dpi=110, facecolor="white")
    except OSError as error:
        raise UserError(
            f"cannot be written ({error.strerror})", where=file, remedy="choose another --preview"
        ) from error


def by_size(scans: Sequence[Case], frame: Frame) -> list[Case]:
    """The smallest, the middle and the largest scan in the frame, of those with a label if any.

    >>> frame = Frame(8, spacing="native")
    >>> label = np.zeros((4, 4), np.uint8)
    >>> sizes = {"a": 9, "b": 5, "c": 7, "d": 6}
    >>> images = {name: np.zeros((4, side, 1)) for name, side in sizes.items()}
    >>> scans = [Case(name, name, x, label, (1, 1), name) for name, x in images.items()]
    >>> [scan.name for scan in by_size(scans, frame)]
    ['b', 'c', 'a']
    """
    annotated = [scan for scan in scans if scan.label is not None]
    drawn = annotated or list(scans)
    seen = [np.prod(frame.shape(scan)) for scan in drawn]
    stored = [scan.image.size for scan in drawn]
    order = np.lexsort(np.array([stored, seen])).tolist()
    places = sorted({0, len(order) // 2, len(order) - 1})
    return [drawn[order[place]] for place in places]


# ------------------------------------------------------------------ drawing
def _figure(info: StoreInfo, scans: Sequence[Case], frame: Frame) -> MatplotlibFigure:
    import matplotlib as mpl
    from matplotlib.figure import Figure as MatplotlibFigure

    drawn: list[list[Panel]] = []
    texts: list[str] = []
    for scan in scans:
        of_scan, text = _seen(info, scan, frame)
        drawn.append(of_scan)
        texts.append(text)
    columns = len(drawn[0])
    # a row is as high as its highest panel, and as its text
    heights = []
    for row, text in zip(drawn, texts, strict=True):
        highest = min(1.3, max(panel.shape for panel in row))
        heights.append(max(0.65, highest, 0.07 * text.count("\n")))
    with mpl.rc_context({"font.size": 9, "text.parse_math": False, "hatch.linewidth": 0.6}):
        size = (3.1 * columns + 3.4, 3.1 * sum(heights) + 0.4 * len(scans) + 0.7)
        figure = MatplotlibFigure(size, layout="constrained")
        axes = figure.subplots(
            len(scans),
            columns + 1,
            squeeze=False,
            width_ratios=[1.0] * columns + [1.05],
            height_ratios=heights,
        )
        for row, scan, of_scan, text in zip(axes, scans, drawn, texts, strict=True):
            for axis, panel in zip(row[:-1], of_scan, strict=True):
                _draw(axis, panel)
            row[-1].axis("off")
            row[-1].set_title(_shortened(scan.name), loc="left", fontsize=10, fontweight="bold")
            row[-1].text(0.0, 0.98, text, va="top", transform=row[-1].transAxes, linespacing=1.4)
        figure.suptitle(_title(info, frame), x=0.01, ha="left", fontsize=11, fontweight="bold")
        _legend(figure, info, list(itertools.chain.from_iterable(drawn)))
    return figure


def _seen(info: StoreInfo, scan: Case, frame: Frame) -> tuple[list[Panel], str]:
    """A scan's panels, and the text beside them."""
    pool = frame.to_pool(scan)
    scale = 255 if pool.levels.dtype == np.uint8 else 1
    grey = pool.levels.astype(np.float32) / np.float32(scale)
    label = None
    if scan.label is not None:
        label = frame.label_to_pool(scan.label, scan.spacing)
    return panels(info, scan, grey, label, frame), facts(info, scan, label, grey.shape[:-1], frame)


def _title(info: StoreInfo, frame: Frame) -> str:
    return (
        f"{info.name} as a {frame.dims}D network sees it: window {times(frame.window)}, spacing "
        f"{spacing_words(frame.spacing, info.unit)}, intensity {frame.intensity}"
    )


def _shortened(name: str, most: int = 34) -> str:
    """A name that fits its column."""
    if len(name) <= most:
        return name
    return f"{name[: most // 2 - 1]}…{name[-(most // 2) :]}"


def _draw(axis: Axes, panel: Panel) -> None:
    from matplotlib.patches import Rectangle

    first_row, first_column = panel.start
    height, width = panel.window
    padding = Rectangle(
        (first_column - 0.5, first_row - 0.5),
        width,
        height,
        facecolor=PADDING,
        edgecolor="white",
        hatch="////",
        linewidth=0,
    )
    axis.add_patch(padding)
    axis.imshow(panel.grey, cmap="gray", vmin=0, vmax=1, interpolation="nearest", zorder=2)
    if panel.label is not None:
        _outline(axis, panel.label)
    edge = Rectangle(
        (first_column - 0.5, first_row - 0.5),
        width,
        height,
        fill=False,
        edgecolor=WINDOW,
        linewidth=1.6,
        zorder=4,
    )
    axis.add_patch(edge)
    top, bottom = panel.rows
    left, right = panel.columns
    margin = 0.01 * max(bottom - top, right - left)
    axis.set_xlim(left - 0.5 - margin, right - 0.5 + margin)
    axis.set_ylim(bottom - 0.5 + margin, top - 0.5 - margin)
    if panel.upwards:
        axis.invert_yaxis()
    axis.set_aspect(panel.aspect, anchor="NW")
    axis.set_title(panel.title, loc="left", fontsize=9)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set_visible(False)


def _outline(axis: Axes, label: np.ndarray) -> None:
    """Outlines of the classes; what is ignored is hatched."""
    for value in np.unique(label).tolist():
        if value == 0:
            continue
        mask = np.pad(label == value, 1).astype(np.float32)
        span = [np.arange(-1, n + 1) for n in label.shape]
        if value == IGNORE:
            axis.contourf(
                span[1], span[0], mask, [0.5, 1.5], colors=[IGNORED], alpha=0.35, zorder=3
            )
        else:
            colour = class_colour(value)
            axis.contour(span[1], span[0], mask, [0.5], colors=[colour], linewidths=1.0, zorder=3)


def _legend(figure: MatplotlibFigure, info: StoreInfo, drawn: Sequence[Panel]) -> None:
    """What the colours mean that are in the picture."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [
        Line2D([], [], color=class_colour(value), linewidth=2, label=_shortened(name))
        for value, name in enumerate(info.classes)
        if value > 0
    ]
    edge = Patch(facecolor="none", edgecolor=WINDOW, linewidth=1.6, label="a network's window")
    handles.append(edge)
    if any(min(panel.start) < 0 for panel in drawn):
        padding = Patch(facecolor=PADDING, edgecolor="white", hatch="////", linewidth=0)
        padding.set_label("padding, ignored")
        handles.append(padding)
    if any(panel.label is not None and IGNORE in panel.label for panel in drawn):
        handles.append(Patch(facecolor=IGNORED, alpha=0.35, label=f"label {IGNORE}, ignored"))
    figure.legend(
        handles=handles, loc="outside lower left", ncols=min(len(handles), 5), frameon=False
    )
