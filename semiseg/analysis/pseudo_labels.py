"""Is a method taught its own mistakes? The pseudo-labels of a study against the held-back labels.

:mod:`semiseg.train.diagnostics` logs them to metrics.jsonl; a set without held-back labels has
none. Trends are means over foreground classes: background is most of an image, and nearly always
right, so that a mean over all pixels hides what happens to an organ.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from semiseg.analysis.runs import Runs
from semiseg.analysis.scores import nanmean
from semiseg.analysis.study import Study

MOST_RUNS = 30
"""Runs that are read for each mean: more change no line that an eye can see."""
_PREFIX = "pseudo_"
_LOGGED = "pseudo_accepted"


class Curves(NamedTuple):
    """One compared setting at one budget: means over its runs.

    NaN where nothing was logged (no pixel to divide by).

    Attributes:
      step: ``(T,)``.
      value_T: ``(T,)`` for each key of the log without ``pseudo_``: ``accuracy`` over all pixels,
        ``accuracy_1`` of class 1.
      classes: how many, background among them; 0 where classes were not logged.
      runs: how many were averaged.
    """

    step: np.ndarray
    value_T: dict[str, np.ndarray]
    classes: int
    runs: int

    def trend(self, measure: str) -> np.ndarray:
        """``(T,)`` mean over foreground classes, NaN if the measure was not logged.

        The lead is over all pixels: by class it counts a teacher's errors alone, never a student's.
        """
        keys = [f"{measure}_{k}" for k in range(1, self.classes)]
        classes = [self.value_T[key] for key in keys if key in self.value_T]
        if measure == "lead" or not classes:
            return self.value_T.get(measure, np.full(len(self.step), np.nan))
        return nanmean(np.array(classes), 0)

    def taught(self, measure: str) -> np.ndarray:
        """The trend from the step on at which a quarter of the final share is accepted, NaN before:
        of a handful of pixels, all may be right.
        """
        accepted_T = self.trend("accepted")
        enough_T = np.maximum.accumulate(accepted_T >= last_known(accepted_T) / 4)
        return np.where(enough_T, self.trend(measure), np.nan)


@functools.lru_cache(8)
def curves(s: Study) -> dict[tuple[str, int], Curves]:
    """The curves of each compared setting and budget that logged pseudo-labels, in the order of the
    settings; of at most :data:`MOST_RUNS` runs each.
    """
    results = {}
    for cell in s.ordered_cells:
        mean = _mean(cell.runs)
        if mean is not None:
            results[cell.arm, cell.labels] = mean
    return results


def confirmation(c: Curves) -> float:
    """How far accuracy fell below its best plus how far the ECE rose above its lowest, of what is
    :meth:`Curves.taught`: a network that reinforces its own mistakes does both.
    """
    total = 0.0
    for trend in (c.taught("accuracy"), -c.taught("ece")):
        if not np.isnan(last_known(trend)):
            total += largest(trend) - last_known(trend)
    return total


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
    """Whether accuracy fell since its best while the ECE rose.

    A fall counts where a reader of the curve sees it: it is larger than :data:`SMALLEST_FALL` and
    than the curve's usual step from one line of the log to the next. Of medians over a quarter of
    the log, three lines at least: a single line may be lucky. None if the log is too short to say.
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
    if fall > max(SMALLEST_FALL, _usual_step(c.taught("accuracy"))) and rise > 0:
        size = float(fall + rise)
    return Bias(
        size,
        float(c.step[best + width - 1]),
        (float(accuracy[best]), float(accuracy[-1])),
        (float(accepted[best]), float(accepted[-1])),
        (float(ece[best]), float(ece[-1])),
    )


def _usual_step(values: np.ndarray) -> float:
    """The median change of a curve from one line of the log to the next.

    >>> _usual_step(np.array([np.nan, 0.5, 0.7, 0.6, 0.9]))
    0.2
    """
    steps = np.abs(np.diff(values))
    return round(float(np.nanmedian(steps)), 12)


def _running_median(values: np.ndarray, width: int) -> np.ndarray:
    starts = range(len(values) - width + 1)
    return np.array([np.median(values[start : start + width]) for start in starts])


def class_names(s: Study, classes: int) -> list[str]:
    """Background and the classes that were scored.

    Numbers where these are not as many as were logged.
    """
    for run in s.runs:
        scored = run.scores.classes
        if len(scored) == classes - 1:
            return ["background", *scored]
    return [str(k) for k in range(classes)]


def last_known(values: np.ndarray) -> float:
    """The last value that is not NaN; NaN where there is none.

    >>> last_known(np.array([0.5, 0.75, np.nan]))
    0.75
    """
    known = values[~np.isnan(values)]
    return float(known[-1]) if len(known) else np.nan


def last_line(c: Curves, key: str) -> float:
    """The value of the last line of the log.

    It is NaN for a class that no pixel is given any more, whatever it had before.
    """
    return float(c.value_T[key][-1]) if key in c.value_T else np.nan


def largest(values: np.ndarray) -> float:
    """The largest value that is not NaN; NaN where there is none.

    >>> largest(np.array([np.nan, 0.5, 0.25]))
    0.5
    """
    return float(np.nanmax(values)) if (~np.isnan(values)).any() else np.nan


# ------------------------------------------------------------------ logs
Line = dict[str, Any]
"""A line of metrics.jsonl."""


def _mean(runs: Runs) -> Curves | None:
    """The mean curve of every key; None where no run logged pseudo-labels.

    Runs that logged at other steps are interpolated to those of the longest log.
    """
    if not any(_LOGGED in run.end() for run in runs[:3]):  # the end of a log is cheap to read
        return None
    logs = []
    for run in runs[:MOST_RUNS]:
        lines = [line for line in run.log() if _LOGGED in line]
        if lines:
            logs.append(lines)
    if not logs:
        return None
    step = np.array([line["step"] for line in max(logs, key=len)], float)
    value_T = {}
    for key in _logged_keys(logs):
        values_RT = np.array([_values_at(step, lines, key) for lines in logs])
        value_T[key.removeprefix(_PREFIX)] = nanmean(values_RT, 0)
    return Curves(step, value_T, _number_of_classes(value_T), len(logs))


def _logged_keys(logs: Sequence[list[Line]]) -> list[str]:
    keys: set[str] = set()
    for lines in logs:
        for line in lines:
            keys |= line.keys()
    return sorted(key for key in keys if key.startswith(_PREFIX))


def _number_of_classes(keys: Iterable[str]) -> int:
    """The classes whose accepted share was logged.

    >>> _number_of_classes(["accepted", "accepted_0", "accepted_1"])
    2
    """
    suffixes = [key.partition("accepted_")[2] for key in keys]
    return 1 + max((int(suffix) for suffix in suffixes if suffix.isdigit()), default=-1)


def _values_at(
    step_T: np.ndarray,
    lines: list[Line],
    key: str,
) -> np.ndarray:
    """The values of a log at these steps, NaN outside of it."""
    logged_T = np.array([line.get("step", np.nan) for line in lines], float)
    value_T = np.array([line.get(key, np.nan) for line in lines], float)
    if np.array_equal(logged_T, step_T):
        return value_T
    return np.interp(
        step_T,
        logged_T,
        value_T,
        left=np.nan,
        right=np.nan,
    )
