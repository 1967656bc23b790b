"""What a careful reader would hold against the numbers of a study: facts.

:mod:`semiseg.report.cautions` says them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from semiseg.analysis.arms import FACTORS
from semiseg.analysis.pairing import same_subsets
from semiseg.analysis.runs import BOOKKEEPING, Run, Runs
from semiseg.analysis.scores import MEAN_OF_ALL
from semiseg.analysis.study import FEW_SUBJECTS, Cell, Study
from semiseg.evaluate.metrics import METRICS
from semiseg.report.design_limits import DesignLimit, design_limits
from semiseg.report.facts import unit_of_annotation
from semiseg.report.origins import OriginLimit, origin_limits
from semiseg.report.score_limits import ScoreLimit, score_limits


@dataclasses.dataclass(frozen=True)
class UnlikeSettings:
    """Settings of the training that one method had and another did not.

    Attributes:
      settings: the first three, each with its values.
      more: how many others there are.
    """

    settings: tuple[tuple[str, tuple[str, ...]], ...]
    more: int


@dataclasses.dataclass(frozen=True)
class SingleRuns:
    """Results of one run; ``one_subject`` where each has a single subject, too."""

    results: int
    all: int
    one_subject: bool
    unit: str


@dataclasses.dataclass(frozen=True)
class FewReplicates:
    """Results with several runs that are still few.

    ``kind`` is "one subset", "two subsets" or "few seeds".
    """

    kind: str
    results: int
    all: int
    unit: str


@dataclasses.dataclass(frozen=True)
class EqualSubsets:
    """Label subsets of two numbers that annotate the same subjects."""

    labels: int
    subsets: tuple[str, ...]
    unit: str


@dataclasses.dataclass(frozen=True)
class NoSubjectScores:
    """Runs of a results.csv without their subjects' scores."""

    runs: int
    all: int


@dataclasses.dataclass(frozen=True)
class SignedMeans:
    """A results.csv has means of signed errors, and absolute values are compared."""

    metric: str


@dataclasses.dataclass(frozen=True)
class TooFewSubjects:
    """So few subjects that no paired test can be significant."""

    subjects: int


@dataclasses.dataclass(frozen=True)
class CoarsePairs:
    """Not all runs have a partner with the same label subset and seed."""


@dataclasses.dataclass(frozen=True)
class SubjectsAlone:
    """Comparisons of several runs that share neither label subset nor seed: they have no verdict.

    Attributes:
      comparisons, all: how many of all.
      external: whether one side is masks that another program made.
    """

    comparisons: int
    all: int
    external: bool


@dataclasses.dataclass(frozen=True)
class PartOfRuns:
    """Comparisons that leave runs out, because the other side has none of their label subset.

    Attributes:
      fewest: runs that the one with the fewest uses, and runs that both sides have.
    """

    comparisons: int
    all: int
    fewest: tuple[int, int]


@dataclasses.dataclass(frozen=True)
class RunsDiffer:
    """Runs differ in something that is not what is compared: ``what`` with its values."""

    what: str
    values: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class ValidationScores:
    """The scores are of the validation set."""


@dataclasses.dataclass(frozen=True)
class UnequalBudgets:
    """Not every setting was run at every budget."""


Limit = (
    UnlikeSettings
    | SingleRuns
    | FewReplicates
    | EqualSubsets
    | NoSubjectScores
    | SignedMeans
    | TooFewSubjects
    | CoarsePairs
    | SubjectsAlone
    | PartOfRuns
    | RunsDiffer
    | ValidationScores
    | UnequalBudgets
    | DesignLimit
    | ScoreLimit
    | OriginLimit
)


def limits(s: Study) -> list[Limit]:
    """All that limits the numbers of a study, in the order of the page.

    What is of replicates is not asked of folds; :mod:`semiseg.report.fold_findings` has the rest.
    """
    if s.folds:
        return [
            *unlike_settings(s.runs),
            *_tables(s),
            *score_limits(s),
            *origin_limits(s),
            *_differing(s),
            *_budgets(s),
        ]
    return [
        *unlike_settings(s.runs),
        *_replicates(s),
        *_equal_subsets(s),
        *_tables(s),
        *_subjects(s),
        *design_limits(s),
        *score_limits(s),
        *origin_limits(s),
        *_pairs(s),
        *_differing(s),
        *_split(s),
        *_budgets(s),
    ]


def _replicates(s: Study) -> Iterable[Limit]:
    cells = list(s.cells.values())
    unit = unit_of_annotation(s.runs)
    single = [c for c in cells if c.interval.n_runs == 1]
    if single:
        one_subject = all(c.interval.n_subjects == 1 for c in single)
        yield SingleRuns(len(single), len(cells), one_subject, unit)
    for kind, condition in _FEW.items():
        few = [c for c in cells if c.interval.n_runs > 1 and condition(c)]
        if few:
            yield FewReplicates(kind, len(few), len(cells), unit)


def _one_subset(c: Cell) -> bool:
    return c.interval.n_subsets == 1


def _two_subsets(c: Cell) -> bool:
    return c.interval.n_subsets == 2


def _few_seeds(c: Cell) -> bool:
    return c.interval.n_runs < 3 * c.interval.n_subsets


_FEW = {"one subset": _one_subset, "two subsets": _two_subsets, "few seeds": _few_seeds}


def _equal_subsets(s: Study) -> Iterable[Limit]:
    for labels in s.budgets:
        groups: dict[str, list[str]] = {}
        for subset, first in same_subsets(s.runs.where(labels=labels)).items():
            groups.setdefault(first, []).append(subset)
        for subsets in groups.values():
            if len(subsets) > 1:
                yield EqualSubsets(labels, tuple(subsets), unit_of_annotation(s.runs))


def _tables(s: Study) -> Iterable[Limit]:
    """What the numbers lack because runs were read from a results.csv."""
    from_tables = [run for run in s.runs if run.table is not None]
    means_alone = [run for run in from_tables if _mean_alone(run, s)]
    if means_alone:
        yield NoSubjectScores(len(means_alone), len(s.runs))
    if from_tables and METRICS[s.metric].absolute:
        yield SignedMeans(s.metric)


def _mean_alone(run: Run, s: Study) -> bool:
    """Whether the mean of a run is all that is known of the study's scores."""
    return MEAN_OF_ALL in run.scores.per_subject(s.metric, s.split, s.checkpoint)


def _subjects(s: Study) -> Iterable[Limit]:
    subjects = max(c.interval.n_subjects for c in s.cells.values())
    if subjects >= FEW_SUBJECTS or not s.comparisons:
        return
    if any(_mean_alone(run, s) for run in s.runs):
        return
    if all(np.isnan(c.detectable) for c in s.comparisons):
        yield TooFewSubjects(subjects)


def _pairs(s: Study) -> Iterable[Limit]:
    if any(c.paired_by != "label subset and seed" for c in s.comparisons):
        yield CoarsePairs()
    alone = [c for c in s.comparisons if c.subjects_alone and not c.single_runs]
    if alone:
        settings = {name for c in alone for name in (c.arm, c.baseline)}
        external = any(run.is_external for name in settings for run in s.arms[name])
        yield SubjectsAlone(len(alone), len(s.comparisons), external)
    parts = [c.runs for c in s.comparisons if c.runs[0] < c.runs[1]]
    if parts:
        fewest = min(parts, key=_share)
        yield PartOfRuns(len(parts), len(s.comparisons), fewest)


def _share(runs: tuple[int, int]) -> float:
    used, of_all = runs
    return used / of_all


def _differing(s: Study) -> Iterable[Limit]:
    trained = [run for run in s.runs if not run.is_external]
    steps = {run.steps for run in trained}
    total_steps = {run.total_steps for run in trained}
    nets = {run.net for run in trained}
    if len(steps) > 1:
        yield RunsDiffer("steps", _sorted_text(steps))
    elif len(total_steps) > 1:
        yield RunsDiffer("steps with those of a pre-training", _sorted_text(total_steps))
    if len(nets) > 1:
        yield RunsDiffer("network", _sorted_text(nets))


def _sorted_text(values: set[int] | set[str]) -> tuple[str, ...]:
    return tuple(map(str, sorted(values)))


def _split(s: Study) -> Iterable[Limit]:
    if s.split == "val":
        yield ValidationScores()


def _budgets(s: Study) -> Iterable[Limit]:
    if len(s.budgets) > 1 and len(s.shared_budgets) < len(s.budgets):
        yield UnequalBudgets()


# ------------------------------------------------------------------ unlike settings
_COMPARED = BOOKKEEPING | FACTORS | {"ratio", "steps", "eval_every", "init_steps"}
_COMPARED_PREFIXES = ("method.", "init", "synthetic")
_SHARED_PREFIXES = ("method.criterion", "method.decay")  # of every method, and not what it is


def unlike_settings(runs: Runs, most: int = 3) -> list[UnlikeSettings]:
    """Settings in which methods differ, as one fact; empty where they do not.

    What looks like the method may be its network or its rate. A method's own fields, and what is
    compared (start, synthetic images, steps, network), are not such settings.
    """
    methods = {run.method for run in runs}
    differing: dict[str, tuple[str, ...]] = {}
    for key in _training_settings(runs):
        by_method = {m: _values(runs.where(method=m), key) for m in methods}
        if len(set(by_method.values())) > 1:
            differing[key] = tuple(sorted(frozenset().union(*by_method.values())))
    if not differing:
        return []
    ordered = sorted(differing.items(), key=lambda item: not item[0].startswith("net."))
    return [UnlikeSettings(tuple(ordered[:most]), max(0, len(ordered) - most))]


def _training_settings(runs: Runs) -> list[str]:
    """Names of settings that all runs have (older folders lack later ones), less the compared."""
    prefixes: tuple[str, ...] = _COMPARED_PREFIXES
    if len({run.net for run in runs}) > 1:
        prefixes = (*prefixes, "net.")
    keys = set.intersection(*(set(run.settings) for run in runs)) - _COMPARED
    return [
        key
        for key in sorted(keys)
        if key.startswith(_SHARED_PREFIXES) or not key.startswith(prefixes)
    ]


def _values(runs: Sequence[Run], key: str) -> frozenset[str]:
    return frozenset(_setting_text(run.settings[key]) for run in runs)


def _setting_text(value: object) -> str:
    """1 and 1.0 are one value."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{float(value)}".removesuffix(".0")
    return f"{value}".removesuffix(".0")
