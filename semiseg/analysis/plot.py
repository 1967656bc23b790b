"""The figures: what a study and its runs look like. Each function returns a matplotlib Figure; :func:`save` writes it.

Colours are Okabe & Ito's (2008), told apart with every common colour vision deficiency; markers and direct labels repeat what they say.
"""

from __future__ import annotations

import io
import re
import sys
import textwrap
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from semiseg.analysis.compare import Study, find_arms, study
from semiseg.analysis.examples import FALSE_NEGATIVE, FALSE_POSITIVE, pick_examples
from semiseg.analysis.records import Run, Runs
from semiseg.analysis.words import LOWER_IS_BETTER, SPLITS, claim, metric_label, number, unit_of_annotation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#8C8C8C", "#A89A00")
"""Okabe–Ito, strongest first; its black is grey and its yellow darker here, so that they can be seen on dark and on white pages."""
MARKERS = "os^DvPX*"
INK, SOFT, GRID = "#1d1f23", "#5c626b", "#d9dce1"
_STYLE: Any = {
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


def label_efficiency(
    runs: Runs | Study,
    metric: str = "dice",
    split: str = "val",
    checkpoint: str = "last",
    ax: Axes | None = None,
    size: tuple[float, float] = (7.2, 4.3),
    headline: bool = True,
) -> Figure:
    """Score against annotated subjects: the mean of each arm with its 95 % band, and a dot for every run.

    Args:
      runs: runs of one data set, or a study made of them (then metric, split and checkpoint are the study's).
      metric: a metric of per_subject.csv, mean over classes.
      split: "val" or "test".
      checkpoint: "last" or "val_best".
      ax: draw here instead of in a new figure.
      size: of a new figure, in inches.
      headline: put what the figure shows above it; a page that says it already does without.

    Returns:
      The figure. Raises UserError where no run has these scores, or the runs are of several data sets.
    """
    import matplotlib as mpl

    s = runs if isinstance(runs, Study) else study(runs, metric, split, checkpoint)
    with mpl.rc_context(_STYLE):
        figure, ax = _canvas(size) if ax is None else (ax.get_figure(), ax)  # type: ignore[assignment]
        assert ax is not None
        rng = np.random.default_rng(0)
        ends = []
        alone = len(s.budgets) == 1  # then the means stand side by side as well, or they would hide one another
        for i, arm in enumerate(s.arms):
            colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
            cells = [s.cells[arm, n] for n in s.budgets if (arm, n) in s.cells]
            y = [c.interval.mean for c in cells]
            low, high = [c.interval.low for c in cells], [c.interval.high for c in cells]
            side = (i - (len(s.arms) - 1) / 2) * (
                0.25 if alone else 0.09
            )  # arms stand side by side at a budget, or their dots hide one another
            x = [c.labels * 2 ** (side * alone) for c in cells]
            dot_x = np.concatenate([c.labels * 2 ** (side + rng.uniform(-0.03, 0.03, len(c.mean_R))) for c in cells])
            ax.scatter(dot_x, np.concatenate([c.mean_R for c in cells]), s=11, color=colour, alpha=0.3, lw=0, marker=marker, zorder=2)
            if len(cells) > 1:
                ax.fill_between(x, low, high, color=colour, alpha=0.13, lw=0, zorder=1)
            else:
                ax.plot([x[0]] * 2, [low[0], high[0]], color=colour, lw=2, alpha=0.5, zorder=2)
            ax.plot(x, y, color=colour, lw=2, marker=marker, ms=5.5, mec="white", mew=0.6, zorder=3)
            ends.append((x[-1], y[-1], arm, colour))
        ax.set_xscale("log", base=2)
        ax.set_xticks(_thin(s.budgets), [str(n) for n in _thin(s.budgets)], minor=False)
        ax.minorticks_off()
        margin = 0.125 * len(s.arms) + 0.1 if alone else 0.25
        ax.set_xlim(s.budgets[0] * 2**-margin, s.budgets[-1] * 2**margin)
        ax.set_xlabel(f"annotated {unit_of_annotation(s.runs)} (log scale)")
        ax.set_ylabel("")
        narrow = size[0] < 5.5
        interval = ", band: 95 % interval" if any(c.interval.low < c.interval.high for c in s.cells.values()) else ""
        what = f"{metric_label(s.metric, s.unit)} on {s.data}, {SPLITS.get(s.split, s.split)} set" + (
            " (↓)" if s.metric in LOWER_IS_BETTER else ""
        )
        notes = f"{what}{chr(10) if narrow else '. '}Dot: a run, line: mean{interval}"
        if headline:
            ax.set_title(textwrap.fill(claim(s), 34 if narrow else 62), pad=33 if narrow else 22)
            note: Any = {"fontsize": 9, "color": SOFT, "va": "bottom", "in_layout": False}
            ax.annotate(notes, (0, 1), xycoords="axes fraction", xytext=(0, 6), textcoords="offset points", **note)
        else:
            ax.set_title(notes, fontsize=9, color=SOFT, fontweight="normal")
        _direct_labels(ax, ends, narrow)
    return figure  # type: ignore[return-value]


def training_curves(runs: Runs, ax: Any = None, columns: int = 4, lines: int = 60) -> Figure:
    """Loss (top) and validation Dice (bottom) against steps, a column a label budget; thin: runs, bold: the median of an arm.

    At most ``columns`` budgets, evenly spaced, and ``lines`` runs of an arm are drawn. ``ax`` is not used: the figure has its own grid.
    """
    import matplotlib as mpl

    arms = find_arms(runs)
    budgets = _thin(sorted({run.labels for run in runs}), columns)
    with mpl.rc_context(_STYLE):
        figure = _figure((2.3 * len(budgets) + 1.4, 4.4))
        axes = figure.subplots(2, len(budgets), sharex=True, sharey="row", squeeze=False)
        for row, (key, name) in enumerate((("loss", "Training loss"), ("val_dice", "Validation Dice"))):
            for column, labels in enumerate(budgets):
                panel = axes[row, column]
                for i, (arm, members) in enumerate(arms.items()):
                    curves = [_curve(run, key) for run in list(members.where(labels=labels))[:lines]]
                    curves = [c for c in curves if len(c[0])]
                    colour = COLOURS[i % len(COLOURS)]
                    for x, y in curves:
                        panel.plot(x, y, color=colour, lw=0.6, alpha=0.3)
                    if curves:
                        grid = max((x for x, _ in curves), key=len)
                        middle = np.median([np.interp(grid, x, y, left=np.nan, right=np.nan) for x, y in curves], axis=0)
                        panel.plot(grid, middle, color=colour, lw=1.8, label=arm)
                if row == 0:
                    panel.set_title(f"{labels} annotated", fontsize=10)
                    panel.set_yscale("log")
                    panel.minorticks_off()
                else:
                    panel.set_xlabel("step")
            axes[row, 0].set_ylabel(name)
        handles, names = axes[0, 0].get_legend_handles_labels()
        if len(names) > 1:
            figure.legend(handles, names, loc="outside lower center", ncols=min(len(names), 4), fontsize=9)
    return figure


def overlays(runs: Runs, labels: int | None = None, scale: int = 3) -> Figure:
    """Rows: arms. Columns: the image they find hardest, the median one, the easiest. Truth as a white line, errors filled.

    ``labels`` is the budget shown (the smallest that all arms share). Raises UserError where no run kept examples.
    """
    import matplotlib as mpl
    from matplotlib.patches import Patch

    rows = pick_examples(runs, labels, scale)
    with mpl.rc_context(_STYLE | {"axes.grid": False}):
        figure = _figure((8.4, 2.75 * len(rows) + 0.4))
        axes = figure.subplots(len(rows), len(rows[0][2]), squeeze=False)
        for panels, (arm, _, shown) in zip(axes, rows):
            for panel, (rank, subject, dice, rgb) in zip(panels, shown):
                panel.imshow(rgb)
                panel.set_xticks([]), panel.set_yticks([])
                panel.spines[:].set_visible(False)
                panel.set_title(f"{rank}: Dice {number(dice)}", fontsize=10, pad=4)
                panel.set_xlabel(subject, fontsize=8)
            panels[0].set_ylabel(arm, fontsize=10, color=INK)
        names = (("truth (outline)", "#ffffff"), ("false positive", FALSE_POSITIVE), ("false negative", FALSE_NEGATIVE))
        patches = [Patch(facecolor=c, edgecolor=SOFT, linewidth=0.6, label=n) for n, c in names]
        figure.legend(handles=patches, loc="outside lower center", ncols=3, fontsize=9)
    return figure


"""Rank in words, subject, Dice, RGB overlay."""


def save(figure: Figure, *files: Path) -> None:
    """Write a figure once for each file name; the suffix (.png, .pdf, .svg) decides. The same figure gives the same bytes."""
    import matplotlib as mpl

    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        dates: dict[str, Any] = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}.get(file.suffix, {})
        with mpl.rc_context(_STYLE):
            figure.savefig(file, dpi=200, facecolor="white", metadata=dates)


def inline_svg(figure: Figure, label: str) -> str:
    """The figure as an ``<svg>`` element for a page: page's own text colours (light and dark), no background, no ids, no XML header."""
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context(_STYLE):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    used, unique = set(re.findall(r"#([\w-]+)", svg)), f"f{zlib.crc32(svg.encode() + label.encode()):08x}-"  # an id is once on a page
    svg = re.sub(r' id="([^"]*)"', lambda m: f' id="{unique}{m[1]}"' if m[1] in used else "", svg)
    svg = re.sub(r'((?:href="|url\()#)', rf"\1{unique}", svg)
    svg = re.sub(r'\s(width|height)="[\d.]+pt"', "", svg, count=2)
    for colour, variable in (
        (INK, "ink"),
        (SOFT, "soft"),
        (GRID, "line"),
        ("#ffffff", "paper"),
        *((c, f"c{i}") for i, c in enumerate(COLOURS)),
    ):
        svg = svg.replace(colour.lower(), f"var(--{variable})")
    quoted = label.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return svg.replace("<svg", f'<svg role="img" aria-label="{quoted}"', 1)


# ------------------------------------------------------------------ helpers
def _figure(size: tuple[float, float]) -> Figure:
    """A figure that no global list keeps alive; in a notebook, matplotlib's inline display is switched on by importing pyplot."""
    from matplotlib.figure import Figure

    if "IPython" in sys.modules:
        import matplotlib.pyplot  # noqa: F401
    return Figure(figsize=size, layout="constrained")


def _canvas(size: tuple[float, float]) -> tuple[Figure, Axes]:
    figure = _figure(size)
    return figure, figure.subplots()


def _direct_labels(ax: Axes, ends: Sequence[tuple[float, float, str, str]], narrow: bool) -> None:
    """Names at the lines' ends, pushed apart so that they can be read; a legend where there are too many or they are too long."""
    if len(ends) == 1:
        return
    longest = max(len(arm) for _, _, arm, _ in ends)
    if narrow or len(ends) > 6 or longest > 24:
        for i, (_, _, arm, colour) in enumerate(ends):
            ax.plot([], [], color=colour, lw=2, marker=MARKERS[i % len(MARKERS)], ms=5, label=arm)
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2 if longest < 34 else 1, fontsize=9)
        return
    low, high = ax.get_ylim()
    gap = 0.062 * (high - low)
    ordered = sorted(ends, key=lambda e: e[1])
    y = np.array([e[1] for e in ordered])
    for _ in range(50):  # push neighbours apart evenly until all gaps hold
        short = gap - np.diff(y)
        if (short <= 1e-9).all():
            break
        push = np.maximum(short, 0) / 2
        y[:-1] -= push
        y[1:] += push
    for (_, _, arm, colour), at in zip(ordered, y):
        ax.annotate(
            arm,
            (1, at),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            color=colour,
            va="center",
            fontsize=10,
            fontweight="bold",
            annotation_clip=False,
        )


def _curve(run: Run, key: str) -> tuple[np.ndarray, np.ndarray]:
    lines = [(line["step"], line[key]) for line in run.log() if line.get(key) is not None]
    stride = max(1, len(lines) // 300)  # a screen has no more columns than that
    points = np.array(lines[::stride], dtype=float).reshape(-1, 2)
    return points[:, 0], points[:, 1]


def _thin(values: list[int], most: int = 10) -> list[int]:
    return values if len(values) <= most else [values[i] for i in np.unique(np.linspace(0, len(values) - 1, most).round().astype(int))]
