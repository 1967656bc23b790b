"""Is a method taught its own mistakes? The pseudo-labels of a study against the labels hidden from
training, as figures, tables and a sentence.

What :mod:`semiseg.train.diagnostics` logs, read from metrics.jsonl; a set without hidden labels has
nothing to show. The mean of the foreground classes is drawn: background is most of an image, and
nearly always right, so that a figure over all pixels hides what happens to an organ.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from semiseg.analysis.runs import Runs, nanmean
from semiseg.analysis.study import Study
from semiseg.errors import UserError
from semiseg.report.plot import _STYLE, INK, SOFT, _columns, _figure, _look, _thin
from semiseg.report.sentences import capitalise, number, unit_of_annotation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TRENDS = {
    "accepted": "accepted\nshare",
    "accuracy": "accuracy\nof accepted",
    "ece": "calibration\nerror (ECE)",
    "gap": "teacher–student\ngap",
    "lead": "teacher's lead\nin accuracy",
}
"""Panels of :func:`trends`, in order: key of the log less ``pseudo_``, and what it is called."""
CLASSES = {
    "accepted": "accepted",
    "accuracy": "accuracy of accepted",
    "recall": "recall: accepted and right",
}
"""Panels of :func:`by_class`."""
SHOWN = 6
"""Methods that have a colour where there are more than 8."""
SEEN = 0.02
"""A fall of accuracy below this is the wobble of a curve."""
LITTLE = 0.1
"""Share of the foreground below which a method accepts next to nothing."""
_RUNS = 30  # read for each mean: more change no line that an eye can see
_PAPER, _LOW, _SHARE, _DIGIT = (
    "#fdfdfd",
    "#ef8a4e",
    "#7db8e4",
    "#17181a",
)  # no colours of a theme: digits are read on them in the dark, too


class Curves(NamedTuple):
    """One arm at one budget: means over its runs, NaN where nothing was logged (no pixel to divide
    by).

    Attributes:
      step: ``(T,)``.
      value_T: ``(T,)`` for each key of the log, less ``pseudo_``: ``accuracy`` over all pixels,
        ``accuracy_1`` of class 1.
      classes: how many, background among them; 0 where classes were not logged.
      runs: averaged.
    """

    step: np.ndarray
    value_T: dict[str, np.ndarray]
    classes: int
    runs: int

    def trend(self, measure: str) -> np.ndarray:
        """``(T,)`` mean over foreground classes. The lead is over all pixels: by class it counts a
        teacher's errors alone, never a student's.
        """
        classes = [
            self.value_T[key]
            for k in range(1, self.classes)
            if (key := f"{measure}_{k}") in self.value_T
        ]
        if measure == "lead" or not classes:
            return self.value_T.get(measure, np.full(len(self.step), np.nan))
        return nanmean(np.array(classes), 0)

    def taught(self, measure: str) -> np.ndarray:
        """The trend from the step on at which a quarter of the final share is accepted, NaN before:
        of a handful of pixels, all may be right.
        """
        accepted_T = self.trend("accepted")
        begun = np.maximum.accumulate(accepted_T >= _last(accepted_T) / 4)
        return np.where(begun, self.trend(measure), np.nan)


@functools.lru_cache(8)
def curves(s: Study) -> dict[tuple[str, int], Curves]:
    """By arm and budget, where a run logged pseudo-labels, with at most 30 runs each."""
    found = {key: _mean(cell.runs) for key, cell in s.cells.items()}
    order = list(s.arms)
    return dict(
        sorted(
            ((key, c) for key, c in found.items() if c),
            key=lambda item: (order.index(item[0][0]), item[0][1]),
        )
    )


def confirmation(c: Curves) -> float:
    """How far accuracy fell below its best plus how far the ECE rose above its lowest, of what is
    :meth:`Curves.taught`: one's own mistakes do both.
    """
    return sum(
        _max(v) - _last(v)
        for v in (c.taught("accuracy"), -c.taught("ece"))
        if not np.isnan(_last(v))
    )


def trends(s: Study, columns: int = 4) -> Figure:
    """A row a measure of :data:`TRENDS`, a column a budget (at most four, evenly spaced), a line a
    method: the mean over its runs and over foreground classes.

    A measure that no run logged has no row: the gap and the lead, where no student was compared
    with its teacher. Past 8 methods the 6 with the largest :func:`confirmation` at these budgets
    have colours, the rest are grey and named under the pointer. Raises UserError where no run
    logged pseudo-labels.
    """
    import matplotlib as mpl

    found = _found(s)
    budgets = _thin(sorted({n for _, n in found}), columns)
    shown = _shown(found, budgets)
    drawn = {
        m: name
        for m, name in TRENDS.items()
        if any(n in budgets and np.isfinite(c.trend(m)).any() for (_, n), c in found.items())
    }
    if not drawn:
        raise UserError(f"{s.data}: no run logged pseudo-labels beside hidden labels")
    with mpl.rc_context(_STYLE):
        figure = _figure((max(7.6, 2.0 * len(budgets) + 1.4), 1.3 * len(drawn) + 1.0))
        axes = figure.subplots(len(drawn), len(budgets), sharex="col", sharey="row", squeeze=False)
        for panels, (measure, name) in zip(axes, drawn.items()):
            for panel, n in zip(panels, budgets):
                for (arm, labels), c in found.items():
                    if labels == n:
                        _line(
                            panel,
                            s,
                            arm,
                            c.step,
                            c.trend(measure),
                            f"{name.replace(chr(10), ' ')}, {arm}, {n} annotated",
                            arm in shown,
                        )
            panels[0].set_ylabel(name, fontsize=9)
            if (
                measure == "lead"
            ):  # in a method that has not begun to teach it is huge, and would flatten all others
                late = [
                    v
                    for (_, n), c in found.items()
                    if n in budgets
                    for v in c.trend(measure)[c.step > c.step[-1] / 2]
                    if not np.isnan(v)
                ]
                room = max(0.01, 1.2 * max(map(abs, late), default=0))
                panels[0].set_ylim(-room, room)
        for top, bottom, n in zip(axes[0], axes[-1], budgets):
            top.set_title(f"{n} annotated", fontsize=10)
            bottom.set_xlabel("step")
        legend = {
            name: handle
            for panel in axes.ravel()
            for handle, name in zip(*panel.get_legend_handles_labels())
        }
        ordered = sorted(
            legend, key=lambda arm: list(s.arms).index(arm) if arm in s.arms else len(s.arms)
        )
        figure.legend(
            [legend[arm] for arm in ordered],
            ordered,
            loc="outside lower center",
            ncols=_columns(ordered, figure.get_figwidth()),
            fontsize=9,
        )
    return figure


def by_class(s: Study) -> Figure:
    """At the last logged step, per class and in per cent: a panel a measure of :data:`CLASSES`, a
    row of panels a budget.

    The smallest and the largest budget are shown, of more than 8 methods the smallest alone. Empty
    where the class was given to no pixel, and of accuracy to no accepted one. Raises UserError
    where no run logged classes.
    """
    import matplotlib as mpl
    from matplotlib.colors import LinearSegmentedColormap

    found = {key: c for key, c in _found(s).items() if c.classes}
    if not found:
        raise UserError("no run logged its pseudo-labels by class")
    budgets = _thin(sorted({n for _, n in found}), 2 if len({arm for arm, _ in found}) <= 8 else 1)
    arms = {n: [arm for arm, labels in found if labels == n] for n in budgets}
    classes = max(c.classes for c in found.values())
    names = class_names(s, classes)
    upright = classes > 5 or max(map(len, names)) > 5
    shades = {
        m: LinearSegmentedColormap.from_list(
            m, (_PAPER, _SHARE) if m == "accepted" else (_LOW, _PAPER)
        )
        for m in CLASSES
    }
    with mpl.rc_context(_STYLE | {"axes.grid": False}):
        heights = [len(arms[n]) + (5 if upright else 3) for n in budgets]
        figure = _figure((7.6, 0.21 * sum(heights)))
        axes = figure.subplots(
            len(budgets), len(CLASSES), squeeze=False, sharey="row", height_ratios=heights
        )
        for panels, n in zip(axes, budgets):
            for panel, (measure, name) in zip(panels, CLASSES.items()):
                share_RK = np.array(
                    [
                        [_last_line(found[arm, n], f"{measure}_{k}") for k in range(classes)]
                        for arm in arms[n]
                    ]
                )
                panel.pcolormesh(
                    np.ma.masked_invalid(share_RK),
                    cmap=shades[measure],
                    vmin=0,
                    vmax=1,
                    edgecolors="white",
                    linewidth=0.5,
                )
                for (row, k), share in np.ndenumerate(share_RK):
                    if classes <= 16:
                        told = "–" if np.isnan(share) else f"{100 * share:.0f}"
                        colour = SOFT if np.isnan(share) else _DIGIT
                        panel.text(
                            k + 0.5,
                            row + 0.5,
                            told,
                            ha="center",
                            va="center",
                            fontsize=7.5 if classes <= 8 else 6,
                            color=colour,
                        )
                panel.set_xticks(
                    np.arange(classes) + 0.5, names, rotation=90 if upright else 0, fontsize=8
                )
                panel.set_ylim(len(arms[n]), 0)
                panel.xaxis.set_ticks_position("top")
                panel.tick_params(length=0)
                panel.spines[:].set_visible(False)
                panel.set_title(
                    name + (f", {n} annotated" if measure == "accepted" else ""),
                    fontsize=9,
                    color=INK,
                )
            panels[0].set_yticks(np.arange(len(arms[n])) + 0.5, arms[n], fontsize=8)
    return figure


def trend_table(s: Study) -> list[list[str]]:
    """What :func:`trends` draws at the last step, beside the best accuracy and the lowest ECE of
    what was taught, and both over all pixels; header first.
    """
    rows = []
    for (arm, n), c in curves(s).items():
        accuracy, ece = c.taught("accuracy"), c.taught("ece")
        whole = [
            _last(c.value_T[key]) if key in c.value_T else np.nan for key in ("accuracy", "ece")
        ]
        told = [
            _last(c.trend("accepted")),
            _max(accuracy),
            _last(accuracy),
            -_max(-ece),
            _last(ece),
            _last(c.trend("gap")),
        ]
        cells = [
            *map(number, told),
            number(_last(c.trend("lead")), signed=True),
            *map(number, whole),
        ]
        rows.append([arm, str(n), *cells, str(c.runs)])
    head = [
        "Accepted",
        "Accuracy, best",
        "Accuracy, last",
        "ECE, lowest",
        "ECE, last",
        "Gap",
        "Lead",
        "Accuracy, all pixels",
        "ECE, all pixels",
        "Runs",
    ]
    return [["Method", "Annotated", *head], *rows]


def class_table(s: Study) -> list[list[str]]:
    """What :func:`by_class` draws, at every budget, header first; – where a class was given to no
    (accepted) pixel.
    """
    found = {key: c for key, c in curves(s).items() if c.classes}
    names = class_names(s, max(c.classes for c in found.values()))
    head = [f"{capitalise(m)}, {name}" for m in CLASSES for name in names]
    return [["Method", "Annotated", *head]] + [
        [
            arm,
            str(n),
            *(number(_last_line(c, f"{m}_{k}")) for m in CLASSES for k in range(len(names))),
        ]
        for (arm, n), c in found.items()
    ]


def sentences(s: Study) -> list[str]:
    """At the smallest budget: where confirmation bias shows most, or that it does not; who accepts
    next to nothing; classes all but lost.
    """
    found = curves(s)
    if not found:
        return []
    n = min(labels for _, labels in found)
    here = {arm: c for (arm, labels), c in found.items() if labels == n}
    start = f"With {n} annotated {unit_of_annotation(s.runs)} "
    idle = [arm for arm, c in here.items() if not _last(c.trend("accepted")) >= LITTLE]
    judged = {arm: bias for arm, c in here.items() if arm not in idle and (bias := _bias(c))}
    told = []
    if judged:
        arm = max(judged, key=lambda a: judged[a][0])
        no = (
            "no method shows"
            if len(judged) + len(idle) == len(here)
            else f"none of {', '.join(judged)} shows"
        )
        less = (
            f"{start}{no} confirmation bias: none lost more than {number(SEEN)} of its "
            f"accuracy while its ECE rose."
        )
        told.append(
            f"{start}confirmation bias shows most in {arm}: {judged[arm][1]}"
            if judged[arm][0]
            else less
        )
    if idle:
        told.append(
            f"{start}{', '.join(idle)} accepted less than {number(LITTLE)} of the foreground at "
            f"the end: next to nothing was taught."
        )
    lost: dict[str, list[str]] = {}
    for arm, c in here.items():
        for k, name in enumerate(class_names(s, c.classes)):
            if arm not in idle and _last_line(c, f"recall_{k}") < 0.1:
                lost.setdefault(name, []).append(arm)
    return told + [
        f"Class {name} is all but lost (recall below .1) with {', '.join(arms)}."
        for name, arms in lost.items()
    ]


def _bias(c: Curves) -> tuple[float, str] | None:
    """How much, and in words, accuracy fell by more than :data:`SEEN` since its best while the ECE
    rose; 0 if it did not, None if a log cannot tell.

    Of medians over a quarter of the log, three lines at least: a single line may be lucky.
    """
    width = max(3, len(c.step) // 4)
    smooth = lambda v: np.array([np.median(v[t : t + width]) for t in range(len(v) - width + 1)])
    accuracy, ece, accepted = (smooth(c.taught(m)) for m in ("accuracy", "ece", "accepted"))
    if len(c.step) < 2 * width or not np.isfinite([accuracy[-1], ece[-1]]).all():
        return None
    best = int(np.nanargmax(accuracy))
    fall, rise = accuracy[best] - accuracy[-1], ece[-1] - ece[best]
    if not (fall > SEEN and rise > 0):
        return 0.0, ""
    return fall + rise, (
        f"from step {c.step[best + width - 1]:.0f} on, the accuracy of accepted pixels went from "
        f"{number(accuracy[best])} to {number(accuracy[-1])} while "
        f"their share went from {number(accepted[best])} to {number(accepted[-1])} and the ECE "
        f"from {number(ece[best])} to {number(ece[-1])}."
    )


def class_names(s: Study, classes: int) -> list[str]:
    """Background and the classes that were scored; numbers where these are not as many as were
    logged.
    """
    scored = next(
        (list(run.scores.axes[3]) for run in s.runs if len(run.scores.axes[3]) == classes - 1), None
    )
    return ["background", *scored] if scored else [str(k) for k in range(classes)]


# ------------------------------------------------------------------ helpers
def _found(s: Study) -> dict[tuple[str, int], Curves]:
    if not (found := curves(s)):
        raise UserError(f"{s.data}: no run logged pseudo-labels beside hidden labels")
    return found


def _mean(runs: Runs) -> Curves | None:
    """The mean curve of every key; runs that logged at other steps are interpolated to those of the
    longest log.
    """
    if not any("pseudo_accepted" in run.end() for run in runs[:3]):  # a look at the end is cheap
        return None
    logs = [[line for line in run.log() if "pseudo_accepted" in line] for run in runs[:_RUNS]]
    logs = [log for log in logs if log]
    if not logs:
        return None
    step = np.array([line["step"] for line in max(logs, key=len)], float)
    keys = sorted(
        {
            key.removeprefix("pseudo_")
            for log in logs
            for line in log
            for key in line
            if key.startswith("pseudo_")
        }
    )
    value_T = {
        key: nanmean(np.array([_at(step, log, f"pseudo_{key}") for log in logs]), 0) for key in keys
    }
    classes = 1 + max(
        (int(tail) for key in keys if (tail := key.partition("accepted_")[2]).isdigit()), default=-1
    )
    return Curves(step, value_T, classes, len(logs))


def _at(step: np.ndarray, log: list[dict[str, Any]], key: str) -> np.ndarray:
    x, y = (np.array([line.get(k, np.nan) for line in log], float) for k in ("step", key))
    return y if np.array_equal(x, step) else np.interp(step, x, y, left=np.nan, right=np.nan)


def _line(
    panel: Axes, s: Study, arm: str, step: np.ndarray, y: np.ndarray, told: str, coloured: bool
) -> None:
    known = ~np.isnan(y)
    if not known.any():
        return
    colour, marker, dash = _look(list(s.arms).index(arm))
    if coloured:
        panel.plot(
            step[known],
            y[known],
            color=colour,
            ls=dash,
            lw=1.7,
            marker=marker,
            ms=4,
            markevery=[-1],
            label=arm,
            zorder=3,
        )
    else:
        panel.plot(
            step[known], y[known], color=SOFT, lw=0.7, alpha=0.45, label="other methods", zorder=1
        )
    panel.scatter(
        step[known][-1:],
        y[known][-1:],
        s=60,
        color=colour,
        alpha=0.01,
        lw=0,
        zorder=4,
        gid=f"tip:{told}: {y[known][-1]:.3g}",
    )


def _shown(found: dict[tuple[str, int], Curves], budgets: list[int]) -> set[str]:
    """The arms that have a colour."""
    arms = {arm for arm, n in found if n in budgets}
    worst = lambda arm: max(
        confirmation(c) for (a, n), c in found.items() if a == arm and n in budgets
    )
    return arms if len(arms) <= 8 else set(sorted(sorted(arms), key=worst, reverse=True)[:SHOWN])


def _last(values: np.ndarray) -> float:
    """The last that is known."""
    known = values[~np.isnan(values)]
    return float(known[-1]) if len(known) else float("nan")


def _last_line(c: Curves, key: str) -> float:
    """The last line's: a class that no pixel was given any more has none, whatever it had before."""
    return float(c.value_T[key][-1]) if key in c.value_T else float("nan")


def _max(values: np.ndarray) -> float:
    return float(np.nanmax(values)) if (~np.isnan(values)).any() else float("nan")
