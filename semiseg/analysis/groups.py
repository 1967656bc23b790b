"""What runs and their data set say of a table's design: groups of look-alike subjects, and how much
label subsets overlap.

Groups come from ``look_alikes`` of summary.json, from ``data_sets.json`` beside a results.csv, or
from the set that comes with the package. Overlap is that of the annotated subjects' names, which
a run folder records, else n/N with the number of annotated training subjects.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from semiseg.analysis.design import Design
from semiseg.analysis.runs import Run
from semiseg.data import embedded
from semiseg.errors import UserError
from semiseg.files import read_json, write_text

DATA_SETS = "data_sets.json"
"""Beside a results.csv: data set → ``{"annotated": N, "groups": {subject: group}}``."""
ANNOTATED = "subjects_annotated"
GROUPS = "look_alikes"
"""Keys of summary.json: number of annotated training subjects, and lists of scored subjects that
are of one group.
"""


@dataclasses.dataclass(frozen=True)
class Facts:
    """What is known of a data set.

    Attributes:
      annotated: annotated training subjects, from which label subsets are drawn; 0 if unknown.
      groups: subject → group of look-alikes.
    """

    annotated: int = 0
    groups: Mapping[str, str] = dataclasses.field(default_factory=dict)


def design_of(runs: Sequence[Run], subset_R: Sequence[Any], subjects: Sequence[str]) -> Design:
    """The design of a table with these rows and columns.

    Args:
      runs: of which the table is.
      subset_R: the label subset of each row.
      subjects: name of each column.
    """
    return Design(tuple(subset_R), groups_of(runs, subjects), share_of(runs))


def groups_of(runs: Iterable[Run], subjects: Sequence[str]) -> tuple[str, ...] | None:
    """The group of each subject, itself where it has none; None where no two are of one group."""
    group: dict[str, str] = {}
    for run in runs:
        group |= facts_of(run).groups
    if not group:
        return None
    group_S = tuple(group.get(subject) or f"\0{subject}" for subject in subjects)
    return group_S if len(set(group_S)) < len(group_S) else None


def share_of(runs: Sequence[Run]) -> float:
    """The share of its annotated subjects that a label subset has in common with another one.

    It is the largest one over the budgets of the runs; 0 where it is not known, and where a subset
    is all there is.
    """
    by_budget: dict[int, list[Run]] = {}
    for run in runs:
        by_budget.setdefault(run.labels, []).append(run)
    return max((_share(labels, members) for labels, members in by_budget.items()), default=0.0)


def _share(labels: int, runs: Sequence[Run]) -> float:
    subsets = {run.annotated for run in runs}
    if None not in subsets and len(subsets) > 1:
        return overlap([subset for subset in subsets if subset])
    annotated = max(facts_of(run).annotated for run in runs)
    return labels / annotated if labels < annotated else 0.0


def overlap(subsets: Sequence[frozenset[str]]) -> float:
    """Mean number of subjects that two subsets share, over their mean size.

    >>> overlap([frozenset("abcd"), frozenset("cdef"), frozenset("abgh")])
    0.3333333333333333
    """
    shared = [len(one & other) for one, other in itertools.combinations(subsets, 2)]
    return float(np.mean(shared) / np.mean([len(subset) for subset in subsets]))


# ------------------------------------------------------------------ where facts are
def facts_of(run: Run) -> Facts:
    """What is known of the data set of a run, and of its subjects."""
    if GROUPS in run.summary or ANNOTATED in run.summary:
        return Facts(int(run.summary.get(ANNOTATED) or 0), run.look_alikes)
    beside = Facts()
    if run.table is not None:
        beside = read_facts(run.path.with_name(DATA_SETS)).get(run.data, beside)
    if beside == Facts() and run.data == embedded.NAME:
        return embedded_facts()
    return beside


@functools.cache
def embedded_facts() -> Facts:
    """Of the set that comes with the package; names and groups alone are read, no image."""
    annotated = embedded.info("").number("train", "annotated")
    return Facts(annotated, embedded.groups())


@functools.lru_cache(64)
def read_facts(file: Path) -> dict[str, Facts]:
    """Data set → its facts; empty where there is no such file.

    Raises:
      UserError: the file cannot be read.
    """
    if not file.exists():
        return {}
    remedy = "delete it, or write it again from the run folders"
    try:
        return {
            name: Facts(int(facts["annotated"]), dict(facts.get("groups", {})))
            for name, facts in read_json(file, remedy).items()
        }
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise UserError(f"cannot be read ({error!r})", where=file, remedy=remedy) from None


def write_facts(runs: Iterable[Run], results: Path) -> Path | None:
    """Write the facts of the runs' data sets beside a results.csv, together with those there.

    Returns:
      The file; None where nothing is known but of the set that comes with the package.
    """
    file = results.with_name(DATA_SETS)
    facts = dict(read_facts(file))
    for run in runs:
        known = facts_of(run)
        if known != Facts() and run.data != embedded.NAME:
            facts[run.data] = known
    if not facts:
        return None
    rows = {name: dataclasses.asdict(known) for name, known in sorted(facts.items())}
    write_text(file, json.dumps(rows, indent=1, sort_keys=True) + "\n")
    read_facts.cache_clear()
    return file
