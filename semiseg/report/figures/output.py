"""Figures as files, and as SVG inside a page."""

from __future__ import annotations

import io
import re
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semiseg.files import replacing
from semiseg.report.figures.style import COLOURS, GRID, INK, SOFT, STYLE

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MatplotlibFigure

_NO_DATE: dict[str, Any] = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}


def save(figure: MatplotlibFigure, *files: Path) -> None:
    """Write a figure once for each file name; the suffix (.png, .pdf, .svg) decides.

    The same figure gives the same bytes.
    """
    import matplotlib as mpl

    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        metadata = _NO_DATE.get(file.suffix, {})
        with mpl.rc_context(STYLE):
            with replacing(file, keep_suffix=True) as partial:
                figure.savefig(partial, dpi=200, facecolor="white", metadata=metadata)
        figure.set_layout_engine("none")  # laid out once: that takes as long as drawing


def inline_svg(figure: MatplotlibFigure, label: str) -> str:
    """The figure as an ``<svg>`` element for a page, with the page's own colours (light and dark).

    It has no background and no XML header, and its ids are not those of another figure.
    """
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context(STYLE):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    svg = re.sub(r'<g id="tip:([^"]*)">', r"<g><title>\1</title>", svg)
    svg = _own_ids(svg, label)
    svg = re.sub(r'\s(width|height)="[\d.]+pt"', "", svg, count=2)
    svg = _page_colours(svg)
    quoted = label.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return svg.replace("<svg", f'<svg role="img" aria-label="{quoted}"', 1)


def _own_ids(svg: str, label: str) -> str:
    """An id is once on a page: those that are referred to get a prefix, the others go."""
    used = set(re.findall(r"#([\w-]+)", svg))
    prefix = f"f{zlib.crc32(svg.encode() + label.encode()):08x}-"

    def renamed(match: re.Match[str]) -> str:
        if match[1] in used:
            return f' id="{prefix}{match[1]}"'
        return ""

    svg = re.sub(r' id="([^"]*)"', renamed, svg)
    return re.sub(r'((?:href="|url\()#)', rf"\1{prefix}", svg)


def _page_colours(svg: str) -> str:
    variables = {INK: "ink", SOFT: "soft", GRID: "line", "#ffffff": "paper"}
    variables |= {colour: f"c{i}" for i, colour in enumerate(COLOURS)}
    for colour, variable in variables.items():
        svg = svg.replace(colour.lower(), f"var(--{variable})")
    return svg
