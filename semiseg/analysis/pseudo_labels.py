"""Is a method taught its own mistakes? The pseudo-labels of a study against the held-back labels.

:mod:`semiseg.train.diagnostics` logs them to metrics.jsonl; a set without held-back labels has
none. Trends are means over foreground classes: background is most of an image, and nearly always
right, so that a mean over all pixels hides what happens to an organ.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np

from semiseg.analysis.runs import Runs
from semiseg.analysis.scores import nanmean
from semiseg.analysis.study import Study

_RUNS = 30  # read for each mean: more change no line that an eye can see


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
        begun = np.maximum.accumulate(accepted_T >= last_known(accepted_T) / 4)
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
        largest(v) - last_known(v)
        for v in (c.taught("accuracy"), -c.taught("ece"))
        if not np.isnan(last_known(v))
    )


SMALLEST_FALL = 0.02
"""A fall of accuracy below this is the wobble of a curve."""


class Bias(NamedTuple):
    """Confirmation bias of one arm: what it accepted at its best, and at the end.

    Attributes:
      size: fall of the accuracy plus rise of the calibration error; 0 where there is no bias.
      step: from which the accuracy fell.
      accuracy: of accepted pixels, at its best and at the end.
      accepted: share of the pixels, at the same steps.
      ece: expected calibration error, at the same steps.
    """

    size: float
    step: float
    accuracy: tuple[float, float]
    accepted: tuple[float, float]
    ece: tuple[float, float]


def confirmation_bias(c: Curves) -> Bias | None:
    """Whether accuracy fell by more than :data:`SMALLEST_FALL` since its best while the ECE rose.

    Of medians over a quarter of the log, three lines at least: a single line may be lucky. None if
    the log is too short to say.
    """
    width = max(3, len(c.step) // 4)
    accuracy = _running_median(c.taught("accuracy"), width)
    ece = _running_median(c.taught("ece"), width)
    accepted = _running_median(c.taught("accepted"), width)
    if len(c.step) < 2 * width or not np.isfinite([accuracy[-1], ece[-1]]).all():
        return None
    best = int(np.nanargmax(accuracy))
    fall = accuracy[best] - accuracy[-1]
    rise = ece[-1] - ece[best]
    size = 0.0
    if fall > SMALLEST_FALL and rise > 0:
        size = float(fall + rise)
    return Bias(
        size,
        float(c.step[best + width - 1]),
        (float(accuracy[best]), float(accuracy[-1])),
        (float(accepted[best]), float(accepted[-1])),
        (float(ece[best]), float(ece[-1])),
    )


def _running_median(values: np.ndarray, width: int) -> np.ndarray:
    starts = range(len(values) - width + 1)
    return np.array([np.median(values[start : start + width]) for start in starts])


def class_names(s: Study, classes: int) -> list[str]:
    """Background and the classes that were scored.

    Numbers where these are not as many as were logged.
    """
    for run in s.runs:
        scored = list(run.scores.axes[3])
        if len(scored) == classes - 1:
            return ["background", *scored]
    return [str(k) for k in range(classes)]


# ------------------------------------------------------------------ helpers


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


def last_known(values: np.ndarray) -> float:
    """The last value that is not NaN; NaN where there is none."""
    known = values[~np.isnan(values)]
    return float(known[-1]) if len(known) else float("nan")


def last_line(c: Curves, key: str) -> float:
    """The last line's: a class that no pixel was given any more has none, whatever it had before."""
    return float(c.value_T[key][-1]) if key in c.value_T else float("nan")


def largest(values: np.ndarray) -> float:
    """The largest value that is not NaN; NaN where there is none."""
    return float(np.nanmax(values)) if (~np.isnan(values)).any() else float("nan")
