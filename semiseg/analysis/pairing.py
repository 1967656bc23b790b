"""Tables runs × subjects of groups of runs, with rows and columns that fit each other.

Two groups are compared by their difference in each row (label subset and seed, where both groups
have the same ones) and each column (subject).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from semiseg.analysis.design import Design
from semiseg.analysis.fold_design import refuse_folds
from semiseg.analysis.groups import design_of
from semiseg.analysis.runs import Run, Runs, matrix
from semiseg.analysis.statistics import subject_means
from semiseg.evaluate.metrics import METRICS

RowKey = tuple[str, ...]
"""What runs of one row have in common; the label subset comes first, if it does at all."""


def _subset_and_seed(subset: str, seed: int) -> RowKey:
    return (subset, str(seed))


def _subset(subset: str, seed: int) -> RowKey:
    return (subset,)


def _nothing(subset: str, seed: int) -> RowKey:
    return ("",)


PAIRINGS: dict[str, Callable[[str, int], RowKey]] = {
    "label subset and seed": _subset_and_seed,
    "label subset": _subset,
    "nothing but the subject": _nothing,
}
"""What pairs the runs of two groups beside the subject, the finest first."""


def compared_scores(
    runs: Sequence[Run], metric: str, split: str, checkpoint: str
) -> tuple[list[str], np.ndarray]:
    """``(subjects, values_RS)`` as they are compared.

    If the metric is best at zero these are absolute values, of each class before their mean, so
    that errors of opposite sign do not cancel.
    """
    return matrix(runs, metric, split, checkpoint, absolute=METRICS[metric].absolute)


def same_subsets(runs: Iterable[Run]) -> dict[str, str]:
    """Label subset → the first one that annotates the same subjects at every budget of these runs.

    Two numbers of one choice of subjects are one choice.
    """
    chosen: dict[str, dict[int, Any]] = {}
    for run in runs:
        subset = str(run.label_subset)
        chosen.setdefault(subset, {}).setdefault(run.labels, run.annotated or subset)
    first: dict[frozenset[tuple[int, Any]], str] = {}
    return {
        subset: first.setdefault(frozenset(by_budget.items()), subset)
        for subset, by_budget in sorted(chosen.items())
    }


def replicates(runs: Runs) -> tuple[list[int], list[str]]:
    """The runs of a compared setting and budget that repeat no other.

    Runs repeat each other if the same subjects are annotated, with the same seed and synthetic set.

    Returns:
      Indices of the runs, and the label subset of each.
    """
    refuse_folds(runs)
    subset = same_subsets(runs)
    rows: dict[tuple[str, int, str], int] = {}
    for r, run in enumerate(runs):
        key = (subset[str(run.label_subset)], run.seed, str(run.config.get("synthetic")))
        rows.setdefault(key, r)
    return list(rows.values()), [key[0] for key in rows]


def paired(
    groups: Sequence[Runs], metric: str, split: str, checkpoint: str
) -> tuple[list[np.ndarray], Design, str]:
    """Tables of several groups with the same rows and columns.

    Rows are as fine as all groups allow, see :data:`PAIRINGS`. Runs that share a row are averaged.
    Runs that annotate everybody have one choice of subjects, which is the end of every other one:
    they are dealt over the rows of the other groups.

    Returns:
      A table ``(rows, S)`` for each group; the design of all, with the label subset of each row;
      and what pairs the runs.
    """
    every: list[Run] = []
    for runs in groups:
        every += runs
    refuse_folds(every)
    subjects, values_RS = compared_scores(every, metric, split, checkpoint)
    ends = np.cumsum([len(runs) for runs in groups])[:-1]
    values = np.split(values_RS, ends)
    subset = same_subsets(every)
    everybody = _everybody(groups, subset)
    chosen = [i for i in range(len(groups)) if i not in everybody]
    paired_by, keys, shared = _finest_pairing([groups[i] for i in chosen], subset)
    table_of = {i: _rows(values[i], of, shared) for i, of in zip(chosen, keys, strict=True)}
    for i in everybody:
        table_of[i] = _dealt(values[i], len(shared))
    tables = [table_of[i] for i in range(len(groups))]
    return tables, design_of(every, [key[0] for key in shared], subjects), paired_by


def runs_used(groups: Sequence[Runs]) -> tuple[int, int]:
    """How many runs of the groups their paired tables use, and how many the groups have."""
    every: list[Run] = []
    for runs in groups:
        every += runs
    subset = same_subsets(every)
    everybody = _everybody(groups, subset)
    chosen = [runs for i, runs in enumerate(groups) if i not in everybody]
    _, keys, shared = _finest_pairing(chosen, subset)
    dealt = sum(len(groups[i]) for i in everybody)
    return dealt + _in_rows(keys, shared), len(every)


def _everybody(groups: Sequence[Runs], subset: dict[str, str]) -> set[int]:
    """The groups with one choice of subjects that holds every choice of those with several."""
    choices = [len({subset[str(run.label_subset)] for run in runs}) for runs in groups]
    several: list[Run] = []
    for runs, number in zip(groups, choices, strict=True):
        if number > 1:
            several += runs
    return {
        i
        for i, runs in enumerate(groups)
        if several and choices[i] == 1 and all(_holds(run, several) for run in runs)
    }


def _holds(run: Run, others: Sequence[Run]) -> bool:
    """Whether a run annotates all whom the others annotate, and more.

    A table of means does not say who: there, more subjects are all of them.
    """
    return all(
        run.annotated > other.annotated
        if run.annotated is not None and other.annotated is not None
        else run.labels > other.labels
        for other in others
    )


def _dealt(values_RS: np.ndarray, rows: int) -> np.ndarray:
    """``(rows, S)``: the runs dealt over the rows, one after the other; again from the first where
    there are fewer runs than rows.

    >>> _dealt(np.array([[1.0], [2.0], [5.0]]), 2).tolist()
    [[3.0], [2.0]]
    """
    number = len(values_RS)
    dealt = []
    for row in range(rows):
        members = np.arange(row, number, rows) if row < number else np.array([row % number])
        same_RS = values_RS[members]
        dealt.append(
            subject_means(same_RS, [""] * len(same_RS)) if len(members) > 1 else same_RS[0]
        )
    return np.array(dealt)


def _in_rows(keys: list[list[RowKey]], shared: Sequence[RowKey]) -> int:
    """How many runs have a key that all groups have."""
    rows = set(shared)
    return sum(key in rows for of_group in keys for key in of_group)


def _finest_pairing(
    groups: Sequence[Runs], subset: dict[str, str]
) -> tuple[str, list[list[RowKey]], list[RowKey]]:
    """What pairs the runs, the key of each run, and the keys that all groups have.

    Of the pairings by label subset it is the one that uses most runs, the finer one of equals: one
    seed of three that both groups have must not stand for all three. Runs of other subsets do
    not count for it, so that subsets are never mixed where the groups share one.
    """
    best: tuple[str, list[list[RowKey]], list[RowKey]] | None = None
    most = 0
    for paired_by, key_of in PAIRINGS.items():
        keys = [_keys(runs, subset, key_of) for runs in groups]
        shared = sorted(set(keys[0]).intersection(*keys[1:]))
        used = _in_rows(keys, shared)
        if key_of is _nothing and best is not None:
            break
        if used > most:
            best = (paired_by, keys, shared)
            most = used
    assert best is not None, "the coarsest pairing has one key for all runs"
    return best


def _keys(
    runs: Runs,
    subset: dict[str, str],
    key_of: Callable[[str, int], RowKey],
) -> list[RowKey]:
    return [key_of(subset[str(run.label_subset)], run.seed) for run in runs]


def _rows(
    values_RS: np.ndarray,
    key_R: list[RowKey],
    shared: list[RowKey],
) -> np.ndarray:
    """A row for each shared key: the mean of the runs that have it."""
    members: dict[RowKey, list[int]] = {}
    for r, key in enumerate(key_R):
        members.setdefault(key, []).append(r)
    rows = []
    for key in shared:
        same_RS = values_RS[members[key]]
        if len(same_RS) == 1:
            rows.append(same_RS[0])
        else:
            rows.append(subject_means(same_RS, [""] * len(same_RS)))
    return np.array(rows)
