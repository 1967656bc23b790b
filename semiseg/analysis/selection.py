"""Choosing a setting on one split and quoting it on another.

The best of several settings looks better than it is on the scores that chose it: of eight equal
ones with a true gain of 0.010, the best is quoted with 0.029. On other subjects it is not.
"""

from __future__ import annotations

import functools
from typing import Literal

import numpy as np

from semiseg.analysis.pairing import paired
from semiseg.analysis.runs import Runs
from semiseg.analysis.study import Comparison, Study

Choice = Literal["declared", "the only one", "validation", "same scores"]
"""How a recommended comparison was chosen."""


@functools.lru_cache(8)
def validation_gains(s: Study) -> dict[tuple[str, int], float]:
    """What each comparison of a study of test scores gains on the validation set.

    Returns:
      (setting, annotated subjects) → mean paired difference, positive where it is better. Empty if
      the study is of validation scores itself, or if some run has none.
    """
    if s.split == "val":
        return {}
    gains = {}
    for c in s.comparisons:
        groups = [s.cells[arm, c.labels].runs for arm in (c.arm, c.baseline)]
        scored = [_validated(s, runs) for runs in groups]
        if not all(scored):
            return {}
        (target_RS, reference_RS), _, _ = paired(groups, s.metric, "val", s.checkpoint)
        difference_RS = target_RS - reference_RS
        if np.isnan(difference_RS).all():
            return {}
        gains[c.arm, c.labels] = s.sign * float(np.nanmean(difference_RS))
    return gains


def _validated(s: Study, runs: Runs) -> bool:
    """Whether every run has validation scores."""
    rows = [run.scores.row(s.metric, "val", s.checkpoint) for run in runs]
    return all(row is not None for row in rows)


def choose(s: Study, candidates: list[Comparison]) -> Comparison:
    """The candidate with the largest gain on the validation set, or on the study's own scores where
    it has no others.
    """
    gains = validation_gains(s)

    def gain(c: Comparison) -> float:
        return gains.get((c.arm, c.labels), s.sign * c.difference.mean)

    return max(candidates, key=gain)


def best_comparison(s: Study) -> Comparison | None:
    """The significant gain over the baseline that a study recommends; None where there is none.

    The declared comparison, if it is one. Else at the smallest budget that all settings share, or
    at the smallest where one is better: a fixed rule, not the most flattering budget. There it is
    the setting that the validation set chooses, if it is better; else the best of those that are.
    """
    better = [c for c in s.comparisons if s.verdict(c) > 0]
    if not better:
        return None
    for c in better:
        if _is_declared(s, c):
            return c
    labels = min(c.labels for c in better)
    smallest = min(s.shared_budgets or s.budgets)
    if any(c.labels == smallest for c in better):
        labels = smallest
    chosen = choose(s, [c for c in s.comparisons if c.labels == labels])
    if chosen in better:
        return chosen
    return choose(s, [c for c in better if c.labels == labels])


def _is_declared(s: Study, c: Comparison) -> bool:
    return s.primary is not None and s.primary == (c.arm, c.labels)


def choice(s: Study, best: Comparison) -> Choice:
    """How the recommended comparison was chosen.

    "validation": on other subjects than it is quoted on. "same scores": on those that it is quoted
    on, so that it looks better than it is.
    """
    if _is_declared(s, best):
        return "declared"
    rivals = [c for c in s.comparisons if c.labels == best.labels]
    if len(rivals) == 1:
        return "the only one"
    if validation_gains(s) and choose(s, rivals) == best:
        return "validation"
    return "same scores"
