"""What synthetic images give a method beside real images alone, and beside the control images."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Hashable, Iterable

import numpy as np

from semiseg.analysis.arms import title
from semiseg.analysis.pairing import paired
from semiseg.analysis.runs import Runs
from semiseg.analysis.statistics import Interval, mean_interval
from semiseg.analysis.study import Study
from semiseg.errors import UserError
from semiseg.synthetic_sources import CONTROLS, source_title


@dataclasses.dataclass(frozen=True)
class Mix:
    """A method with synthetic images at one budget and ratio.

    Attributes:
      line: what it shares with the other ratios: the kind of images, and settings that differ.
      source: the arm that made the images, see :data:`semiseg.synthetic_sources.SOURCES`; "" for a
        set of one's own.
      score: of its runs.
      alone: of the same method with real images alone.
      gain: over that, paired; positive where it is better, for a distance as well.
      beside: the same over each control with as many images, by the control's line.
    """

    line: str
    source: str
    labels: int
    ratio: float
    score: Interval
    alone: Interval
    gain: Interval
    beside: dict[str, Interval]


@functools.lru_cache(8)
def mixes(s: Study) -> tuple[Mix, ...]:
    """All mixes that stand beside the same method without synthetic images, lines in the order of
    the arms; controls last.

    Raises UserError where there is none.
    """
    plain = [arm for arm, runs in s.arms.items() if not runs[0].ratio]
    arms = [arm for arm, runs in s.arms.items() if runs[0].ratio]
    methods = {s.arms[arm][0].method for arm in arms}
    found: list[Mix] = []
    for arm in sorted(arms, key=lambda arm: s.arms[arm][0].source in CONTROLS):
        first = s.arms[arm][0]
        details = [part for part in _details(arm) if not part.startswith("ratio ")]
        near = [other for other in plain if s.arms[other][0].method == first.method]
        base = max(near, key=lambda other: len(set(_details(other)) & set(details)), default=None)
        line = ", ".join([title(first.method)] * (len(methods) > 1) + details) or source_title(
            first.source
        )
        for labels in sorted(n for a, n in s.cells if a == arm and (base, n) in s.cells):
            score, alone = s.cells[arm, labels], s.cells[str(base), labels]
            gain = _beyond(s, score.runs, alone.runs)
            beside = _controls(s, arm, labels) if first.source not in CONTROLS else {}
            found.append(
                Mix(
                    line,
                    first.source,
                    labels,
                    first.ratio,
                    score.interval,
                    alone.interval,
                    gain,
                    beside,
                )
            )
    if not found:
        raise UserError(
            f"{s.data}: no run with synthetic images stands beside one of the same method without"
        )
    return tuple(found)


def table_mixes(rows: Iterable[tuple[str, str, int, Hashable, int, float, float]]) -> list[Mix]:
    """Mixes of a table with a mean per run: rows ``(line, arm, labels, label_subset, seed, ratio,
    score)``, ratio 0 with real images alone.

    Pairs are of one budget, label subset and seed; runs without such a partner are left out.
    Controls come last.
    """
    alone: dict[tuple[Hashable, ...], float] = {}
    cells: dict[tuple[str, str, int, float], dict[tuple[Hashable, ...], float]] = {}
    for line, arm, labels, subset, seed, ratio, score in rows:
        if ratio:
            cells.setdefault((line, arm, labels, ratio), {})[labels, subset, seed] = score
        else:
            alone[labels, subset, seed] = score
    found = []
    for (line, arm, labels, ratio), cell in sorted(
        cells.items(), key=lambda item: item[0][1] in CONTROLS
    ):
        shared = sorted(cell.keys() & alone.keys(), key=str)
        if shared:
            mine, theirs = (np.array([[scores[key]] for key in shared]) for scores in (cell, alone))
            score_, alone_, gain_ = (
                mean_interval(values, [key[1] for key in shared])
                for values in (mine, theirs, mine - theirs)
            )
            found.append(Mix(line, arm, labels, ratio, score_, alone_, gain_, {}))
    return found


def _controls(s: Study, arm: str, labels: int) -> dict[str, Interval]:
    """An arm's difference from the control arms that differ from it by the images alone: of its
    method, ratio, other settings and budget.
    """
    treatment = lambda arm, run: (
        run.method,
        run.ratio,
        set(_details(arm)) - {source_title(run.source)},
    )
    mine, found = s.cells[arm, labels].runs, {}
    for other, runs in s.arms.items():
        if (
            runs[0].source in CONTROLS
            and treatment(other, runs[0]) == treatment(arm, mine[0])
            and (other, labels) in s.cells
        ):
            found[source_title(runs[0].source)] = _beyond(s, mine, s.cells[other, labels].runs)
    return found


def _beyond(s: Study, runs: Runs, others: Runs) -> Interval:
    (mine, theirs), subset_R, _ = paired([runs, others], s.metric, s.split, s.checkpoint)
    return mean_interval(s.sign * (mine - theirs), subset_R)


def _details(arm: str) -> list[str]:
    """The settings in an arm's name: ``supervised (SPADE images, ratio 0.5)``."""
    return arm.partition(" (")[2].removesuffix(")").split(", ") if " (" in arm else []
