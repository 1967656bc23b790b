"""The figures: what a study and its runs look like. Each function returns a matplotlib Figure;
:func:`save` writes it.

Colours are Okabe & Ito's (2008), told apart with every common colour vision deficiency; markers and
direct labels repeat what they say.
"""

from __future__ import annotations

import io
import re
import textwrap
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from semiseg.analysis.mixes import Mix, mixes
from semiseg.analysis.runs import Runs
from semiseg.analysis.spread import subject_scores
from semiseg.analysis.study import CONTROLS, Study, find_arms, study
from semiseg.analysis.worth import worth
from semiseg.errors import UserError
from semiseg.report.pictures import FALSE_NEGATIVE, FALSE_POSITIVE, pick_examples
from semiseg.report.sentences import (
    SPLITS,
    claim,
    equivalence_text,
    interval_text,
    number,
    score_label,
    unit_of_annotation,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#8C8C8C", "#A89A00")
"""Okabe–Ito, strongest first; its black is grey and its yellow darker here, so that they can be
seen on dark and on white pages.
"""
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
    """Score against annotated subjects: the mean of each arm with its 95 % interval, and a dot for
    every run.

    At a budget the arms stand side by side, so that their bars do not hide one another; an arm
    alone has a band.

    Args:
      runs: runs of one data set, or a study made of them (then metric, split and checkpoint are the
        study's).
      metric: a metric of per_subject.csv, mean over classes.
      split: "val" or "test".
      checkpoint: "last" or "val_best".
      ax: draw here instead of in a new figure.
      size: of a new figure, in inches.
      headline: put what the figure shows above it; a page that says it already does without.

    Returns:
      The figure. Raises UserError where no run has these scores, or the runs are of several data
      sets.
    """
    import matplotlib as mpl

    s = runs if isinstance(runs, Study) else study(runs, metric, split, checkpoint)
    with mpl.rc_context(_STYLE):
        figure, ax = _canvas(size) if ax is None else (ax.get_figure(), ax)  # type: ignore[assignment]
        assert ax is not None
        rng = np.random.default_rng(0)
        ends = []
        apart = float(np.min(np.diff(np.log2(s.budgets)))) if len(s.budgets) > 1 else 2.0
        step = min(
            0.25 if len(s.budgets) == 1 else 0.1, 0.55 * apart / len(s.arms)
        )  # octaves from an arm to the next
        for i, arm in enumerate(s.arms):
            colour, marker, line = _look(i)
            cells = [s.cells[arm, n] for n in s.budgets if (arm, n) in s.cells]
            x = [c.labels * 2 ** (step * (i - (len(s.arms) - 1) / 2)) for c in cells]
            y, low, high = (
                [getattr(c.interval, end) for c in cells] for end in ("mean", "low", "high")
            )
            dot_x = np.concatenate(
                [
                    at * 2 ** rng.uniform(-0.3 * step, 0.3 * step, len(c.mean_R))
                    for at, c in zip(x, cells)
                ]
            )
            ax.scatter(
                dot_x,
                np.concatenate([c.mean_R for c in cells]),
                s=11,
                color=colour,
                alpha=0.35,
                lw=0,
                marker=marker,
                zorder=2,
            )
            if len(s.arms) == 1 and len(cells) > 1:
                ax.fill_between(x, low, high, color=colour, alpha=0.13, lw=0, zorder=1)
            else:
                ax.vlines(x, low, high, color=colour, lw=1.6, alpha=0.75, zorder=2)
            ax.plot(
                x,
                y,
                color=colour,
                lw=1.8,
                ls=line,
                marker=marker,
                ms=5.5,
                mec="white",
                mew=0.6,
                zorder=3,
            )
            for cell, at in zip(cells, x):  # what a page shows under the pointer
                told = (
                    f"{arm}, {cell.labels} annotated: "
                    f"{interval_text(cell.interval, s.metric)}, {len(cell.mean_R)} runs"
                )
                ax.scatter(
                    [at],
                    [cell.interval.mean],
                    s=110,
                    color=colour,
                    alpha=0.01,
                    lw=0,
                    zorder=4,
                    gid=f"tip:{told}",
                )
            ends.append((x[-1], y[-1], arm, colour))
        ax.set_xscale("log", base=2)
        ax.set_xticks(_thin(s.budgets), [str(n) for n in _thin(s.budgets)], minor=False)
        ax.minorticks_off()
        margin = step * len(s.arms) / 2 + (0.1 if len(s.budgets) == 1 else 0.2)
        ax.set_xlim(s.budgets[0] * 2**-margin, s.budgets[-1] * 2**margin)
        ax.set_xlabel(f"annotated {unit_of_annotation(s.runs)} (log scale)")
        ax.set_ylabel("")
        narrow = size[0] < 5.5
        shape = "band" if len(s.arms) == 1 and len(s.budgets) > 1 else "bar"
        interval = (
            f", {shape}: 95 % interval"
            if any(c.interval.low < c.interval.high for c in s.cells.values())
            else ""
        )
        what = (
            f"{score_label(s.metric, s.unit)} on {s.data}, {SPLITS.get(s.split, s.split)} set"
            + (" (↓)" if s.sign < 0 else "")
        )
        notes = f"{what}{chr(10) if narrow else '. '}Dot: a run, line: mean{interval}"
        if headline:
            ax.set_title(textwrap.fill(claim(s), 34 if narrow else 62), pad=33 if narrow else 22)
            note: Any = {"fontsize": 9, "color": SOFT, "va": "bottom", "in_layout": False}
            ax.annotate(
                notes,
                (0, 1),
                xycoords="axes fraction",
                xytext=(0, 6),
                textcoords="offset points",
                **note,
            )
        else:
            ax.set_title(notes, fontsize=9, color=SOFT, fontweight="normal")
        _direct_labels(ax, ends, narrow)
    return figure  # type: ignore[return-value]


def label_equivalence(runs: Runs | Study, size: tuple[float, float] = (7.2, 4.3)) -> Figure:
    """Annotated subjects that the baseline needs for the same score, against those the arm was
    given; on the diagonal nothing is saved.

    Bars are 95 % intervals, arrows where they leave the baseline's budgets. Raises UserError where
    there is nothing to compare.
    """
    import matplotlib as mpl

    s = runs if isinstance(runs, Study) else study(runs)
    found = worth(s)
    if not found:
        raise UserError(
            f"{s.data}: label equivalence needs supervised runs at two budgets, and another method"
        )
    low, high = found[0].equivalence.smallest, found[0].equivalence.largest
    inside = lambda v: float(np.clip(v, low, high))
    arms = [arm for arm in s.arms if any(w.arm == arm for w in found)]
    with mpl.rc_context(_STYLE):
        figure, ax = _canvas(size)
        ax.plot([low, high], [low, high], color=SOFT, lw=1, ls=(0, (4, 3)), zorder=1)
        note: Any = {
            "color": SOFT,
            "fontsize": 9,
            "ha": "right",
            "va": "top",
            "bbox": {"fc": "white", "ec": "none", "pad": 1},
        }
        ax.annotate(
            "nothing saved", (high, high), xytext=(-6, -13), textcoords="offset points", **note
        )
        for w in found:
            e = w.equivalence
            colour, marker, _ = _look(list(s.arms).index(w.arm))
            x = w.labels * 2 ** ((arms.index(w.arm) - (len(arms) - 1) / 2) * 0.12)
            ax.plot(
                [x, x],
                [inside(e.low), inside(e.high)],
                color=colour,
                lw=2,
                alpha=0.5,
                zorder=2,
                solid_capstyle="butt",
            )
            for end, open_, shape in ((low, e.low < low, "v"), (high, np.isinf(e.high), "^")):
                if open_:
                    ax.plot(
                        [x],
                        [end],
                        color=colour,
                        marker=shape,
                        ms=5,
                        alpha=0.7,
                        lw=0,
                        zorder=2,
                        clip_on=False,
                    )
            solid = low <= e.labels <= high
            ax.plot(
                [x],
                [inside(e.labels)],
                color=colour,
                marker=marker,
                ms=7,
                mfc=colour if solid else "white",
                mec=colour,
                lw=0,
                zorder=3,
                clip_on=False,
            )
            told = f"{w.arm}, {w.labels} annotated: {equivalence_text(w)}"
            ax.scatter(
                [x],
                [inside(e.labels)],
                s=110,
                color=colour,
                alpha=0.01,
                lw=0,
                zorder=4,
                gid=f"tip:{told}",
            )
        for i, arm in enumerate(s.arms):
            if arm in arms:
                colour, marker, line = _look(i)
                ax.plot([], [], color=colour, marker=marker, ls=line, lw=2, label=arm)
        for axis in (ax.xaxis, ax.yaxis):
            axis.axes.set_xscale("log", base=2) if axis is ax.xaxis else axis.axes.set_yscale(
                "log", base=2
            )
            axis.set_ticks(_thin(s.budgets), [str(n) for n in _thin(s.budgets)])
        ax.minorticks_off()
        unit = unit_of_annotation(s.runs)
        ax.set_xlabel(f"annotated {unit} the method was given")
        _headed(
            ax,
            f"annotated {unit} that {s.baseline} needs for the same {score_label(s.metric)}",
            size[0],
        )
        ax.legend(
            loc="upper center",
            bbox_to_anchor=(0.5, -0.14),
            ncols=_columns(arms, size[0], 3),
            fontsize=9,
        )
    return figure


def differences(runs: Runs | Study, size: tuple[float, float] = (7.2, 3.6)) -> Figure:
    """A row an arm, best first, a panel a budget (at most four): its difference to the baseline,
    paired by subject, with the 95 % interval.

    Filled where it is shown after correction, hollow where it is undecided. Rows follow the mean
    over the panels in which all are. Raises UserError where nothing is compared.
    """
    import matplotlib as mpl

    s = runs if isinstance(runs, Study) else study(runs)
    found = {(c.arm, c.labels): c for c in s.comparisons}
    if not found:
        raise UserError(
            "differences: there is no baseline to compare with; add runs of method=supervised"
        )
    narrow = size[0] <= 5.5
    budgets = _thin(sorted({n for _, n in found}), 2 if narrow else 4)
    arms = list(dict.fromkeys(arm for arm, n in found if n in budgets))
    fair = [n for n in budgets if all((arm, n) in found for arm in arms)] or budgets
    arms.sort(
        key=lambda arm: (
            -s.sign
            * float(
                np.mean(
                    [found[arm, n].difference.mean for n in fair if (arm, n) in found]
                    or [-s.sign * np.inf]
                )
            )
        )
    )
    with mpl.rc_context(_STYLE | {"axes.grid.axis": "x"}):
        figure = _figure((size[0], max(1.8, 1.0 + 0.24 * len(arms))))
        panels = figure.subplots(1, len(budgets), sharex=True, sharey=True, squeeze=False)[0]
        for panel, n in zip(panels, budgets):
            panel.axvline(0, color=SOFT, lw=1)
            for row, arm in enumerate(arms):
                if (c := found.get((arm, n))) is None:
                    continue
                verdict = s.verdict(c)
                colour = {1: COLOURS[2], 0: COLOURS[0], -1: COLOURS[1]}[verdict]
                panel.hlines(row, c.difference.low, c.difference.high, color=colour, lw=1.6)
                panel.plot(
                    [c.difference.mean],
                    [row],
                    marker="o",
                    ms=6,
                    color=colour,
                    mfc=colour if verdict else "white",
                    ls="",
                )
                told = f"{arm}, {n} annotated: {interval_text(c.difference, s.metric, signed=True)}"
                panel.scatter(
                    [c.difference.mean],
                    [row],
                    s=110,
                    color=colour,
                    alpha=0.01,
                    lw=0,
                    zorder=4,
                    gid=f"tip:{told}",
                )
            alone = s.cells[s.comparisons[0].baseline, n].interval.mean
            panel.set_title(
                f"{n} annotated: 0 is {number(alone, s.metric)}", fontsize=9, fontweight="normal"
            )
        panels[0].set_yticks(range(len(arms)), arms)
        panels[0].set_ylim(len(arms) - 0.4, -0.6)
        words = (
            f"{score_label(s.metric, s.unit)} minus {s.comparisons[0].baseline}, "
            f"{'lower' if s.sign < 0 else 'higher'} is better"
        )
        figure.supxlabel(words, fontsize=9, color=SOFT)
    return figure


def subjects(
    runs: Runs | Study, labels: int | None = None, size: tuple[float, float] = (7.2, 3.6)
) -> Figure:
    """A dot a subject (its score, averaged over runs) for each arm at one budget, with the median;
    hard subjects are seen, means hide them.
    """
    import matplotlib as mpl

    s = runs if isinstance(runs, Study) else study(runs)
    labels = min(s.shared_budgets or s.budgets) if labels is None else labels
    scores = subject_scores(s, labels)
    with mpl.rc_context(_STYLE | {"axes.grid.axis": "x"}):
        figure, ax = _canvas((size[0], max(1.6, 0.8 + 0.5 * len(scores))))
        rng = np.random.default_rng(0)
        for row, (arm, score_S) in enumerate(scores.items()):
            colour = COLOURS[list(s.arms).index(arm) % len(COLOURS)]
            ax.scatter(
                score_S,
                row + rng.uniform(-0.28, 0.28, score_S.size),
                s=10,
                color=colour,
                alpha=0.35,
                lw=0,
            )
            ax.plot([np.median(score_S)] * 2, [row - 0.38, row + 0.38], color=colour, lw=2.5)
        ax.set_yticks(range(len(scores)), list(scores))
        ax.set_ylim(len(scores) - 0.4, -0.6)
        room = size[0] - 0.09 * max(map(len, scores))  # beside the names
        ax.locator_params(axis="x", nbins=max(2, int(room / 0.6)))
        _headed(
            ax,
            (
                f"{score_label(s.metric, s.unit)} of each subject, {labels} annotated "
                f"{unit_of_annotation(s.runs)}; bar: median"
            ),
            room,
        )
    return figure


def ratio(runs: Runs | Study, size: tuple[float, float] = (7.2, 3.6)) -> Figure:
    """What synthetic images add to the runs, see :func:`gains`. Raises UserError where no mix
    stands beside the same method with real images alone.
    """
    s = runs if isinstance(runs, Study) else study(runs)
    return gains(mixes(s), s.metric, s.unit, size)


def gains(
    found: Sequence[Mix],
    metric: str = "dice",
    unit: str = "",
    size: tuple[float, float] = (7.2, 3.6),
) -> Figure:
    """What synthetic images add, against how many there are for each real one: a panel a budget, a
    line a kind of images, controls dashed.

    A dot is the gain over the same method with real images alone, paired by subject (and label
    subset and seed), its bar a 95 % interval.
    """
    import matplotlib as mpl

    budgets, lines = sorted({m.labels for m in found}), list(dict.fromkeys(m.line for m in found))
    ratios = sorted({m.ratio for m in found})
    columns = min(len(budgets), 3 if size[0] > 5.5 else 1)
    rows = -(-len(budgets) // columns)
    with mpl.rc_context(_STYLE):
        figure = _figure((size[0], max(size[1], 2.5 * rows + 0.6)))
        panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
        for panel in panels[len(budgets) :]:
            panel.set_axis_off()
        for panel, labels in zip(panels, budgets):
            here = [m for m in found if m.labels == labels]
            panel.axhline(0, color=SOFT, lw=1)
            for i, line in enumerate(lines):
                mine = sorted((m for m in here if m.line == line), key=lambda m: m.ratio)
                colour, marker, _ = _look(i)
                dashed = bool(mine) and mine[0].source in CONTROLS
                x = [ratios.index(m.ratio) + 0.09 * (i - (len(lines) - 1) / 2) for m in mine]
                panel.vlines(
                    x,
                    [m.gain.low for m in mine],
                    [m.gain.high for m in mine],
                    color=colour,
                    lw=1.6,
                    alpha=0.75,
                )
                panel.plot(
                    x, [m.gain.mean for m in mine], color=colour, lw=1.8, ls=(0, (3, 2)) if dashed else "-", marker=marker, ms=6, mec=colour,
                    mfc="white" if dashed else colour, label=line + (" (control)" if dashed else ""),
                )  # fmt: skip
                for m, at in zip(mine, x):
                    told = (
                        f"{line}, {m.ratio:g} per real image, {labels} annotated: "
                        f"{interval_text(m.gain, metric, signed=True)}"
                    )
                    panel.scatter(
                        [at],
                        [m.gain.mean],
                        s=110,
                        color=colour,
                        alpha=0.01,
                        lw=0,
                        zorder=4,
                        gid=f"tip:{told}",
                    )
            panel.set_xticks(range(len(ratios)), [f"{r:g}" for r in ratios])
            panel.set_xlim(-0.5, len(ratios) - 0.5)
            alone = " and ".join(dict.fromkeys(number(m.alone.mean, metric) for m in here))
            panel.set_title(
                f"{labels} annotated: 0 is {alone}, real images alone",
                fontsize=9,
                fontweight="normal",
            )
        for panel in panels[: len(budgets)][-columns:]:
            panel.set_xlabel("synthetic images per real one")
        words = f"gain in {score_label(metric, unit)} over real images alone"
        panels[0].set_ylabel(words if rows == 1 else "gain")
        legend = {
            name: handle
            for panel in panels
            for handle, name in zip(*panel.get_legend_handles_labels())
        }
        figure.legend(
            list(legend.values()),
            list(legend),
            loc="outside lower center",
            ncols=_columns(legend, size[0], 3),
            fontsize=9,
        )
    return figure


def diagnostic_keys(runs: Runs, most: int = 6, lines: int = 12) -> list[str]:
    """What the methods logged beside loss, Dice and pseudo-labels
    (:mod:`semiseg.analysis.pseudo_labels`), first what most of them log.
    """
    counts: dict[str, int] = {}
    for members in find_arms(runs).values():
        for key in {key for run in list(members)[:lines] for key in run.end()} - {
            "step",
            "loss",
            "lr",
            "seconds",
            "val_dice",
            "gradient_norm",
        }:
            if not key.startswith("pseudo_"):
                counts[key] = counts.get(key, 0) + 1
    return sorted(counts, key=lambda k: (-counts[k], k))[:most]


def diagnostics(runs: Runs, most: int = 6, lines: int = 12) -> Figure:
    """What the methods logged beside it (parts of the loss, their weights …): the median over runs,
    budgets together, a panel each.

    Raises UserError where nothing else was logged.
    """
    import matplotlib as mpl

    keys = diagnostic_keys(runs, most, lines)
    if not keys:
        raise UserError("the runs logged nothing beside loss and Dice")
    logs = {
        arm: [run.log() for run in list(members)[:lines]]
        for arm, members in find_arms(runs).items()
    }
    with mpl.rc_context(_STYLE):
        rows = -(-len(keys) // 3)
        figure = _figure((7.6, 2.2 * rows + 0.5))
        panels = figure.subplots(rows, min(3, len(keys)), squeeze=False)
        for panel in panels.ravel()[len(keys) :]:
            panel.set_axis_off()
        for panel, key in zip(panels.ravel(), keys):
            for i, (arm, arm_logs) in enumerate(logs.items()):
                curves = [
                    np.array(
                        [(ln["step"], ln[key]) for ln in log if ln.get(key) is not None], float
                    )
                    for log in arm_logs
                ]
                curves = [c for c in curves if len(c) > 1]
                if curves:
                    grid = max((c[:, 0] for c in curves), key=len)
                    middle = np.median([np.interp(grid, c[:, 0], c[:, 1]) for c in curves], axis=0)
                    colour, _, line = _look(i)
                    panel.plot(grid, middle, color=colour, ls=line, lw=1.8, label=arm)
            panel.set_title(key.replace("_", " "), fontsize=10)
        found = {
            name: handle
            for panel in panels.ravel()
            for handle, name in zip(*panel.get_legend_handles_labels())
        }
        figure.legend(
            list(found.values()),
            list(found),
            loc="outside lower center",
            ncols=_columns(found, 7.6),
            fontsize=9,
        )
    return figure


def calibration(s: Study, size: tuple[float, float] = (7.2, 3.0)) -> Figure:
    """Accuracy against confidence of the pixels around the objects, runs of a cell together; a
    panel a budget, at most four.

    On the dashed line a network is right as often as it is sure; below it, it is too sure. Raises
    UserError where no run recorded it.
    """
    import matplotlib as mpl

    found = {
        key: total
        for key, cell in s.cells.items()
        if (total := cell_calibration(cell.runs, s.split)) is not None
    }
    if not found:
        raise UserError("no run recorded its calibration")
    budgets = _thin(sorted({n for _, n in found}), 4)
    arms = [arm for arm in s.arms if any(a == arm for a, _ in found)]
    with mpl.rc_context(_STYLE):
        figure = _figure(size)
        panels = figure.subplots(1, len(budgets), sharex=True, sharey=True, squeeze=False)[0]
        for panel, n in zip(panels, budgets):
            panel.plot([0, 1], [0, 1], color="#8a929b", lw=1, ls="--")
            for i, arm in enumerate(arms):
                if (arm, n) in found:
                    pixels, sure, right = found[arm, n]
                    kept = pixels > 0.002 * pixels.sum()  # a handful of pixels says nothing
                    colour, mark, dash = _look(i)
                    panel.plot(
                        sure[kept] / pixels[kept],
                        right[kept] / pixels[kept],
                        color=colour,
                        marker=mark,
                        ls=dash,
                        ms=4,
                        lw=1.6,
                        label=arm,
                    )
            panel.set_title(f"{n} annotated", fontsize=10)
            panel.set_xlabel("confidence")
        panels[0].set_ylabel("right")
        handles = {
            name: handle
            for panel in panels
            for handle, name in zip(*panel.get_legend_handles_labels())
        }
        figure.legend(
            list(handles.values()),
            list(handles),
            loc="outside lower center",
            ncols=_columns(handles, size[0]),
            fontsize=9,
        )
    return figure


def cell_calibration(runs: Runs, split: str) -> np.ndarray | None:
    """Sums ``(3, bins)`` of :func:`semiseg.evaluate.calibration.count` over the runs that recorded
    them; None where none did.
    """
    told = [
        run.summary["calibration"][split]
        for run in runs
        if split in (run.summary.get("calibration") or {})
    ]
    return np.sum([[t["pixels"], t["confidence"], t["right"]] for t in told], 0) if told else None


def training_curves(runs: Runs, ax: Any = None, columns: int = 4, lines: int = 60) -> Figure:
    """Loss (top) and validation Dice (bottom) against steps, a column a label budget; thin: runs,
    bold: the median of an arm.

    At most ``columns`` budgets, evenly spaced, and ``lines`` runs of an arm are drawn. ``ax`` is
    not used: the figure has its own grid.
    """
    import matplotlib as mpl

    arms = find_arms(runs)
    budgets = _thin(sorted({run.labels for run in runs}), columns)
    with mpl.rc_context(_STYLE):
        figure = _figure((2.3 * len(budgets) + 1.4, 4.4))
        axes = figure.subplots(2, len(budgets), sharex=True, sharey="row", squeeze=False)
        shown = {
            (arm, n): list(members.where(labels=n))[:lines]
            for arm, members in arms.items()
            for n in budgets
        }
        logs = {key: [run.log() for run in members] for key, members in shown.items()}
        for row, (key, name) in enumerate(
            (("loss", "Training loss"), ("val_dice", "Validation Dice"))
        ):
            for column, labels in enumerate(budgets):
                panel = axes[row, column]
                for i, arm in enumerate(arms):
                    curves = [_curve(log, key) for log in logs[arm, labels]]
                    curves = [c for c in curves if len(c[0])]
                    colour, mark, dash = _look(i)
                    for x, y in curves:
                        panel.plot(
                            x,
                            y,
                            color=colour,
                            lw=0.6,
                            alpha=0.3,
                            marker="." if len(x) == 1 else None,
                        )
                    if curves:
                        grid = max((x for x, _ in curves), key=len)
                        middle = np.median(
                            [np.interp(grid, x, y, left=np.nan, right=np.nan) for x, y in curves],
                            axis=0,
                        )
                        panel.plot(
                            grid,
                            middle,
                            color=colour,
                            ls=dash,
                            lw=1.8,
                            label=arm,
                            marker=mark if len(grid) == 1 else None,
                        )
                if row == 0:
                    panel.set_title(f"{labels} annotated", fontsize=10)
                    panel.set_yscale("log")
                    panel.minorticks_off()
                else:
                    panel.set_xlabel("step")
            axes[row, 0].set_ylabel(name)
        handles, names = axes[0, 0].get_legend_handles_labels()
        if len(names) > 1:
            figure.legend(
                handles,
                names,
                loc="outside lower center",
                ncols=_columns(names, figure.get_figwidth()),
                fontsize=9,
            )
    return figure


def overlays(runs: Runs, labels: int | None = None, scale: int = 3) -> Figure:
    """Rows: arms. Columns: the image they find hardest, the median one, the easiest. Truth as a
    white line, errors filled.

    ``labels`` is the budget shown (the smallest that all arms share). Raises UserError where no run
    kept examples.
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
        names = (
            ("truth (outline)", "#ffffff"),
            ("false positive", FALSE_POSITIVE),
            ("false negative", FALSE_NEGATIVE),
        )
        patches = [Patch(facecolor=c, edgecolor=SOFT, linewidth=0.6, label=n) for n, c in names]
        figure.legend(handles=patches, loc="outside lower center", ncols=3, fontsize=9)
    return figure


def save(figure: Figure, *files: Path) -> None:
    """Write a figure once for each file name; the suffix (.png, .pdf, .svg) decides. The same
    figure gives the same bytes.
    """
    import matplotlib as mpl

    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        dates: dict[str, Any] = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}.get(
            file.suffix, {}
        )
        with mpl.rc_context(_STYLE):
            figure.savefig(file, dpi=200, facecolor="white", metadata=dates)
        figure.set_layout_engine("none")  # laid out once: that takes as long as drawing


def inline_svg(figure: Figure, label: str) -> str:
    """The figure as an ``<svg>`` element for a page: page's own text colours (light and dark), no
    background, no ids, no XML header.
    """
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context(_STYLE):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    svg = re.sub(r'<g id="tip:([^"]*)">', r"<g><title>\1</title>", svg)
    used, unique = (
        set(re.findall(r"#([\w-]+)", svg)),
        f"f{zlib.crc32(svg.encode() + label.encode()):08x}-",
    )  # an id is once on a page
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
def _look(i: int) -> tuple[str, str, Any]:
    """Colour, marker and line style of the i-th arm: 64 pairs of the first two, and lines that
    differ past the eighth.
    """
    again = i // len(COLOURS)
    return (
        COLOURS[i % len(COLOURS)],
        MARKERS[(i + again) % len(MARKERS)],
        ("-", (0, (4, 2)), (0, (1, 1.5)))[again % 3],
    )


def _figure(size: tuple[float, float]) -> Figure:
    """A figure that no global list keeps alive, and that shows itself as the last line of a
    notebook's cell.
    """
    from matplotlib.figure import Figure

    class Shown(Figure):
        def _repr_png_(self) -> bytes:
            buffer = io.BytesIO()
            self.savefig(buffer, format="png", dpi=110, facecolor="white")
            return buffer.getvalue()

    return Shown(figsize=size, layout="constrained")


def _canvas(size: tuple[float, float]) -> tuple[Figure, Axes]:
    figure = _figure(size)
    return figure, figure.subplots()


def _columns(names: Iterable[str], inches: float, most: int = 4) -> int:
    """Of a legend in letters of 9 points, so that the longest name is not cut."""
    kept = list(names)
    return max(1, min(most, len(kept), int(inches / (0.5 + 0.07 * max(map(len, kept), default=0)))))


def _headed(ax: Axes, text: str, inches: float) -> None:
    """What a figure shows, above it, in lines as long as it is wide."""
    ax.set_title(
        textwrap.fill(text, max(24, int(14 * inches))), fontsize=9, color=SOFT, fontweight="normal"
    )


def _direct_labels(ax: Axes, ends: Sequence[tuple[float, float, str, str]], narrow: bool) -> None:
    """Names at the lines' ends, pushed apart so that they can be read; a legend where there are too
    many or they are too long.
    """
    if len(ends) == 1:
        return
    longest = max(len(arm) for _, _, arm, _ in ends)
    if narrow or len(ends) > 6 or longest > 24:
        for i, (_, _, arm, colour) in enumerate(ends):
            _, marker, line = _look(i)
            ax.plot([], [], color=colour, lw=2, ls=line, marker=marker, ms=5, label=arm)
        ax.legend(
            loc="upper center",
            bbox_to_anchor=(0.5, -0.16),
            ncols=_columns([end[2] for end in ends], 4.2 if narrow else 7.2, 2),
            fontsize=9,
        )
        return
    low, high = ax.get_ylim()
    gap = 0.062 * (high - low)
    ordered = sorted(enumerate(ends), key=lambda e: e[1][1])
    y = np.array([end[1] for _, end in ordered])
    for _ in range(50):  # push neighbours apart evenly until all gaps hold
        short = gap - np.diff(y)
        if (short <= 1e-9).all():
            break
        push = np.maximum(short, 0) / 2
        y[:-1] -= push
        y[1:] += push
    beside: Any = {
        "xycoords": ("axes fraction", "data"),
        "textcoords": "offset points",
        "va": "center",
        "annotation_clip": False,
    }
    for (i, (_, _, arm, colour)), at in zip(
        ordered, y
    ):  # a light colour is a mark that can be seen, but no letter that can be read
        place = ax.get_yaxis_transform()
        ax.scatter(
            [1.02],
            [at],
            s=36,
            color=colour,
            marker=MARKERS[i % len(MARKERS)],
            lw=0,
            transform=place,
            clip_on=False,
        )
        ax.annotate(
            arm, (1.02, at), xytext=(7, 0), color=INK, fontsize=10, fontweight="bold", **beside
        )


def _curve(log: list[dict[str, Any]], key: str) -> tuple[np.ndarray, np.ndarray]:
    lines = [(line["step"], line[key]) for line in log if line.get(key) is not None]
    stride = max(1, len(lines) // 300)  # a screen has no more columns than that
    points = np.array(lines[::stride], dtype=float).reshape(-1, 2)
    return points[:, 0], points[:, 1]


def _thin(values: list[int], most: int = 10) -> list[int]:
    return (
        values
        if len(values) <= most
        else [
            values[i] for i in np.unique(np.linspace(0, len(values) - 1, most).round().astype(int))
        ]
    )
