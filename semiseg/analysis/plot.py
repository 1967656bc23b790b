"""The figures: what a study and its runs look like. Each function returns a matplotlib Figure; :func:`save` writes it.

Colours are Okabe & Ito's (2008), told apart with every common colour vision deficiency; markers and direct labels repeat what they say.
"""

from __future__ import annotations

import io
import re
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from semiseg.analysis.compare import Study, study, title
from semiseg.analysis.records import Run, Runs

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#8C8C8C", "#A89A00")
"""Okabe–Ito, strongest first; its black is grey and its yellow darker here, so that they can be seen on dark and on white pages."""
MARKERS = "os^DvPX*"
INK, SOFT, GRID = "#1d1f23", "#5c626b", "#d9dce1"
FALSE_POSITIVE, FALSE_NEGATIVE, CONFUSED, TRUTH = (np.array(c) for c in ((213, 94, 0), (86, 180, 233), (204, 121, 167), (255, 255, 255)))
METRIC_NAMES = {
    "dice": "Dice",
    "iou": "IoU",
    "precision": "Precision",
    "sensitivity": "Sensitivity",
    "hd95": "HD95",
    "hd95_pooled": "HD95 (pooled)",
    "assd": "ASSD",
    "volume_error": "Volume error",
}
SPLITS = {"val": "validation", "test": "test"}
LOWER_IS_BETTER = {"hd95", "hd95_pooled", "assd"}
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


def metric_label(metric: str, unit: str = "") -> str:
    """``hd95`` → ``HD95 (mm)``."""
    name = METRIC_NAMES.get(metric, title(metric))
    return f"{name} ({unit})" if unit not in ("", "1") else name


def label_efficiency(
    runs: Runs | Study,
    metric: str = "dice",
    split: str = "val",
    checkpoint: str = "last",
    ax: Axes | None = None,
    size: tuple[float, float] = (7.2, 4.3),
) -> Figure:
    """Score against annotated subjects: the mean of each arm with its 95 % band, and a dot for every run.

    Args:
      runs: runs of one data set, or a study made of them (then metric, split and checkpoint are the study's).
      metric: a metric of per_subject.csv, mean over classes.
      split: "val" or "test".
      checkpoint: "last" or "val_best".
      ax: draw here instead of in a new figure.
      size: of a new figure, in inches.

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
        for i, arm in enumerate(s.arms):
            colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
            cells = [s.cells[arm, n] for n in s.budgets if (arm, n) in s.cells]
            x, y = [c.labels for c in cells], [c.interval.mean for c in cells]
            low, high = [c.interval.low for c in cells], [c.interval.high for c in cells]
            side = (i - (len(s.arms) - 1) / 2) * 0.09  # arms stand side by side at a budget, or their dots hide one another
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
        ax.set_xlim(s.budgets[0] * 2**-0.25, s.budgets[-1] * 2**0.25)
        ax.set_xlabel(f"annotated {unit_of_annotation(s.runs)} (log scale)")
        ax.set_ylabel("")
        narrow = size[0] < 5.5
        interval = ", band: 95 % interval" if any(c.interval.low < c.interval.high for c in s.cells.values()) else ""
        what = f"{metric_label(s.metric, s.unit)} on {s.data}, {SPLITS.get(s.split, s.split)} set" + (
            " (↓)" if s.metric in LOWER_IS_BETTER else ""
        )
        notes = f"{what}{chr(10) if narrow else '. '}Dot: a run, line: mean{interval}"
        ax.set_title(textwrap.fill(claim(s), 34 if narrow else 62), pad=33 if narrow else 22)
        text = ax.annotate(
            notes, (0, 1), xycoords="axes fraction", xytext=(0, 6), textcoords="offset points", fontsize=9, color=SOFT, va="bottom"
        )
        text.set_in_layout(False)
        _direct_labels(ax, ends, narrow)
    return figure  # type: ignore[return-value]


def claim(s: Study) -> str:
    """What a study shows, in one line: the arm that is significantly ahead of the baseline at most budgets, or that none is."""
    if not s.comparisons:
        arm, n = next(iter(s.cells))
        last = max(labels for a, labels in s.cells if a == arm)
        ends = " to ".join(number(s.cells[arm, labels].interval.mean, s.metric) for labels in sorted({n, last}))
        return f"{_capital(arm)}: {metric_label(s.metric, s.unit)} {ends} with {n}{f' to {last}' if last != n else ''} annotated"
    sign = -1 if s.metric in LOWER_IS_BETTER else 1
    wins = {arm: [c.labels for c in s.comparisons if c.arm == arm and c.significant and sign * c.difference.mean > 0] for arm in s.arms}
    best = max(wins, key=lambda arm: len(wins[arm]))
    tried = [c.labels for c in s.comparisons if c.arm == best]
    if not wins[best]:
        return f"No method is significantly better than {s.baseline}"
    if len(tried) == 1:
        return f"{_capital(best)} beats {s.baseline} with {tried[0]} annotated"
    return (
        f"{_capital(best)} beats {s.baseline} at {'all' if len(wins[best]) == len(tried) else f'{len(wins[best])} of'} {len(tried)} budgets"
    )


def training_curves(runs: Runs, ax: Any = None, columns: int = 4, lines: int = 60) -> Figure:
    """Loss (top) and validation Dice (bottom) against steps, a column a label budget; thin: runs, bold: the median of an arm.

    At most ``columns`` budgets, evenly spaced, and ``lines`` runs of an arm are drawn. ``ax`` is not used: the figure has its own grid.
    """
    import matplotlib as mpl

    from semiseg.analysis.compare import find_arms

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

    rows = pick_examples(runs, labels)
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
        names = (("truth (outline)", "#ffffff"), ("false positive", _hex(FALSE_POSITIVE)), ("false negative", _hex(FALSE_NEGATIVE)))
        patches = [mpl.patches.Patch(facecolor=c, edgecolor=SOFT, linewidth=0.6, label=n) for n, c in names]
        figure.legend(handles=patches, loc="outside lower center", ncols=3, fontsize=9)
    return figure


Example = tuple[str, str, float, np.ndarray]
"""Rank in words, subject, Dice, RGB overlay."""


def pick_examples(runs: Runs, labels: int | None = None, scale: int = 3) -> list[tuple[str, Run, list[Example]]]:
    """For each arm at one budget: its first run and that run's worst, median and best image.

    The rank of an image is by its Dice averaged over the arms shown, so that all arms show the same images; where they kept different
    ones, each is ranked by itself. Raises UserError where no run at this budget kept examples.
    """
    from semiseg.analysis.compare import find_arms
    from semiseg.errors import UserError

    arms = find_arms(runs)
    if labels is None:
        counts = {n: sum(any(run.labels == n for run in members) for members in arms.values()) for n in {run.labels for run in runs}}
        labels = min(counts, key=lambda n: (-counts[n], n))
    chosen: list[tuple[str, Run, dict[str, np.ndarray]]] = []
    for arm, members in arms.items():
        for run in members.where(labels=labels):
            kept = run.examples()
            if kept is not None and len(kept["dice"]):
                chosen.append((arm, run, kept))
                break
    if not chosen:
        raise UserError(
            f"{runs[0].path / 'examples.npz'}: no run with {labels} annotated subjects kept examples; evaluate a run again to have some"
        )
    names = [[(str(s), kept["label"][i].tobytes()) for i, s in enumerate(kept["subject"])] for _, _, kept in chosen]
    shared = all(set(n) == set(names[0]) and len(n) == len(set(n)) for n in names)
    rows = []
    for (arm, run, kept), mine in zip(chosen, names):
        dice = np.nan_to_num(np.asarray(kept["dice"], dtype=float), nan=-1.0)
        rank = dice
        if shared:
            rank = np.mean([[kept_b["dice"][theirs.index(key)] for key in mine] for (_, _, kept_b), theirs in zip(chosen, names)], axis=0)
        order = np.argsort(np.nan_to_num(rank, nan=-1.0), kind="stable")
        picks = {int(order[0]): "worst"} | ({int(order[len(order) // 2]): "median"} if len(order) > 2 else {})
        picks |= {int(order[-1]): "best"} if len(order) > 1 else {}
        shown = [
            (
                rank_name,
                str(kept["subject"][i]),
                float(kept["dice"][i]),
                overlay(kept["image"][i], kept["label"][i], kept["prediction"][i], scale),
            )
            for i, rank_name in picks.items()
        ]
        rows.append((arm, run, shown))
    return rows


def overlay(image: np.ndarray, label: np.ndarray, prediction: np.ndarray, scale: int = 3) -> np.ndarray:
    """``(H·scale, W·scale, 3)`` uint8: the image in grey, errors tinted, the truth's outline in white.

    Args:
      image: ``(H, W)`` uint8.
      label: ``(H, W)`` classes; 255 (IGNORE) is no error.
      prediction: ``(H, W)`` classes.
      scale: pixels drawn for each pixel, so that the outline is thinner than one.
    """
    up = lambda a: np.repeat(np.repeat(a, scale, 0), scale, 1)
    rgb = up(np.repeat(np.asarray(image, float)[..., None], 3, -1))
    seen = label != 255
    errors = (
        (FALSE_POSITIVE, seen & (label == 0) & (prediction > 0)),
        (FALSE_NEGATIVE, seen & (label > 0) & (prediction == 0)),
        (CONFUSED, seen & (label > 0) & (prediction > 0) & (label != prediction)),
    )
    for colour, where in errors:
        rgb = np.where(up(where)[..., None], 0.35 * rgb + 0.65 * colour, rgb)
    truth = up(np.where(seen, label, 0))
    padded = np.pad(truth, 1, mode="edge")
    inner = np.minimum.reduce(
        [padded[1:-1, :-2] == truth, padded[1:-1, 2:] == truth, padded[:-2, 1:-1] == truth, padded[2:, 1:-1] == truth]
    )
    rgb[(truth > 0) & ~inner] = TRUTH
    return rgb.round().astype(np.uint8)


def unit_of_annotation(runs: Runs) -> str:
    """ "images" where a subject is an image, else "subjects"."""
    same = [run.summary.get("images_labelled") == run.summary.get("subjects_labelled") is not None for run in runs]
    return "images" if same and all(same) else "subjects"


def number(value: float, metric: str = "dice", signed: bool = False) -> str:
    """A score as it is printed: two places after the point and no zero before it for shares (``.81``), two significant places for distances."""
    if not np.isfinite(value):
        return "–"
    text = f"{abs(value):.1f}" if metric in LOWER_IS_BETTER else f"{abs(value):.2f}".removeprefix("0")
    negative = value < 0 and float(text) != 0
    return ("−" if negative else "+" if signed else "") + text


def save(figure: Figure, *files: Path) -> None:
    """Write a figure once for each file name; the suffix (.png, .pdf, .svg) decides. The same figure gives the same bytes."""
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        dates: dict[str, Any] = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}.get(file.suffix, {})
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
    svg = re.sub(r'<g id="[^"]*">', "<g>", svg)
    svg = re.sub(r'\s(width|height)="[\d.]+pt"', "", svg, count=2)
    for colour, variable in ((INK, "--ink"), (SOFT, "--soft"), (GRID, "--line")):
        svg = svg.replace(colour, f"var({variable})")
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


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _direct_labels(ax: Axes, ends: list[tuple[float, float, str, str]], narrow: bool) -> None:
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


def _hex(colour: np.ndarray) -> str:
    return "#" + "".join(f"{c:02x}" for c in colour)
