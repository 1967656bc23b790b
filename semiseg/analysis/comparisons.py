"""Comparisons of a study: compared settings with the baseline, paired, corrected as a family."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import scipy.stats

from semiseg.analysis.cells import Cell, Scored
from semiseg.analysis.cross_validation import CrossValidated
from semiseg.analysis.declaration import Primary
from semiseg.analysis.families import Difference, Outcome, family_test
from semiseg.analysis.fold_design import has_folds
from semiseg.analysis.fold_statistics import FoldTable, corrected, fold_interval, fold_table
from semiseg.analysis.pairing import PAIRINGS, compared_scores, paired, runs_used
from semiseg.analysis.runs import Run
from semiseg.analysis.scores import MEAN_OF_ALL
from semiseg.analysis.statistics import (
    Interval,
    Spread,
    cluster_means,
    holm,
    mean_interval,
    mean_test,
    spread,
    subject_means,
)
from semiseg.analysis.subject_tests import Effect, effect_size, sign_flip_test, wilcoxon_test

LEVEL = 0.05
"""How often a family may hold a false verdict."""
POWER = 0.8
"""With which a difference is called detectable."""
FEW_SUBSETS = 3
"""Label subsets below which a comparison is also tested by permutation of subjects."""
FEW_SUBJECTS = 6
"""Scored subjects below which no method is recommended: with 5 the smallest two-sided p of a
sign-flip test is 2/2^5 = 0.06.
"""


FOLD = "fold"
"""What pairs the runs of a cross-validation beside the subject."""
COARSEST = list(PAIRINGS)[-1]
"""What pairs runs that share no label subset."""


def scores_by_subject(runs: Iterable[Run], scored: Scored) -> bool:
    """Whether the scores of single subjects are known, not only the means of a results.csv."""
    return all(
        run.table is None or MEAN_OF_ALL not in run.scores.per_subject(*scored) for run in runs
    )


class Evidence(NamedTuple):
    """What tells which difference would be significant.

    Attributes:
      outcome: of the family's test, of this comparison alone.
      error, df: standard error of the difference by itself, and its degrees of freedom.
      smallest_p: that the permutation of subjects can give; 0 where it is not used.
    """

    outcome: Outcome
    error: float
    df: float
    smallest_p: float

    def detectable(self, tests: int) -> float:
        """The difference that is significant with :data:`POWER`, the first of so many tests.

        It is t_level · error + t_power · error (Bloom 1995). t_level is that of Holm's first step,
        or of the interval if that is more; for a test by itself it is that of the interval. NaN
        where the permutation of subjects can never be significant.
        """
        if self.smallest_p * tests > LEVEL:
            return np.nan
        of_interval = float(scipy.stats.t.isf(LEVEL / 2, self.df)) * self.error
        if tests == 1:
            return of_interval + float(scipy.stats.t.isf(1 - POWER, self.df)) * self.error
        error = float(self.outcome.error[0])
        of_family = float(self.outcome.critical(LEVEL / 2 / tests)[0]) * error
        power = float(self.outcome.critical(1 - POWER)[0]) * error
        return max(of_interval, of_family) + power


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A compared setting minus the baseline at one label budget, paired by subject.

    Attributes:
      arm: name of the compared setting.
      baseline: name of the baseline.
      labels: annotated subjects of both.
      difference: mean difference with its interval.
      p: of this comparison by itself, for other label subsets, seeds and subjects
        (:func:`mean_test`): it goes with the interval. With fewer than three label subsets, where
        that test is less sure of itself (experiments/results/statistics.csv), the larger of it and
        of a permutation of subjects for the models at hand. That one needs no normal distribution,
        but with S subjects it is never below 2^(1-S): corrected for many methods, ten subjects show
        nothing.
      p_holm: corrected for the family, and never below ``p``: the source of the verdict. It is that
        of :func:`semiseg.analysis.families.family_test`, corrected by Holm's method over all
        comparisons of the study. ``p`` itself for a declared comparison and for one that is alone;
        the other comparisons of a declared study have at least the p of the declared one.
      paired_by: what pairs the runs beside the subject, see
        :data:`~semiseg.analysis.pairing.PAIRINGS`.
      p_wilcoxon: by subject, beside it.
      effect: how large the difference is, beside its own unit; NaN where the scores of single
        subjects are not known.
      detectable: the difference that a study with this spread would call significant with a power
        of 80 %, after the correction; NaN where no test can be significant.
      p_family: by the test of the family, before Holm's correction.
      runs: how many runs the difference uses, and how many both cells have.
      lost: subjects that one side has a score for and the other has not. They are not in the
        difference, so that it has no verdict.
      evidence: for the detectable difference after another correction; None in a made one.
      by_subject: whether the scores of single subjects are known, so that they pair the runs.
    """

    arm: str
    baseline: str
    labels: int
    difference: Interval
    p: float
    p_holm: float
    paired_by: str
    p_wilcoxon: float = np.nan
    effect: Effect = Effect(np.nan, np.nan)
    detectable: float = np.nan
    p_family: float = np.nan
    runs: tuple[int, int] = (0, 0)
    lost: int = 0
    evidence: Evidence | None = dataclasses.field(default=None, repr=False, compare=False)
    by_subject: bool = True

    @property
    def runs_paired(self) -> bool:
        """Whether runs of both sides have the same label subset, or seed as well."""
        return self.paired_by != COARSEST

    @property
    def single_runs(self) -> bool:
        """Whether one run is compared with one run: no interval or test covers their chance."""
        return self.difference.n_runs == 1 and self.runs[0] <= 2

    @property
    def subjects_alone(self) -> bool:
        """Whether the difference is one row of scores, so that its test is over subjects alone.

        So it is between two single runs, and where nothing but the subject pairs the runs: masks
        of another program, beside runs of other label subsets.
        """
        return self.difference.n_runs == 1

    @property
    def significant(self) -> bool:
        """Whether the test, corrected for the family, and the interval say so.

        Never where the difference has lost subjects, nor where it is over subjects alone: with
        other label subsets or seeds the runs differ as well, and a test over subjects takes that
        for an effect.
        """
        if self.lost or self.subjects_alone:
            return False
        apart = self.difference.low > 0 or self.difference.high < 0
        return self.p_holm < LEVEL and apart


# ------------------------------------------------------------------ comparisons
def compare(
    cells: dict[tuple[str, int], Cell],
    baseline: str,
    scored: Scored,
    primary: Primary | None = None,
) -> list[Comparison]:
    """Every compared setting against the baseline, at every budget that both have, as one family.

    Args:
      primary: the comparison that was declared before the runs.
    """
    couples = [
        (cell, cells[baseline, cell.labels])
        for cell in cells.values()
        if cell.arm != baseline and (baseline, cell.labels) in cells
    ]
    return compare_couples(couples, scored, primary)


def pairs(at_budget: list[Cell], scored: Scored) -> list[Comparison]:
    """Every cell against every earlier one, as one family."""
    couples = [(later, earlier) for earlier, later in itertools.combinations(at_budget, 2)]
    return compare_couples(couples, scored)


def compare_couples(
    couples: Iterable[tuple[Cell, Cell]],
    scored: Scored,
    primary: Primary | None = None,
    baseline: str | None = None,
) -> list[Comparison]:
    """The first cell of each couple against the second, all corrected as one family.

    Args:
      couples: cells of the same budget.
      scored: which scores.
      primary: the comparison that was declared before the runs.
      baseline: the setting that the declared one is compared with; by default any.
    """
    couples = list(couples)
    if any(has_folds(cell.runs) for cell, _ in couples):
        folds = [_compare_folds(cell, base, scored) for cell, base in couples]
        return correct(folds, primary, baseline)
    members = [_compare(cell, base, scored) for cell, base in couples]
    if not members:
        return []
    outcome = family_test(
        [
            Difference(m.spread, m.comparison.arm, m.comparison.baseline, m.comparison.labels)
            for m in members
        ]
    )
    comparisons = []
    for i, m in enumerate(members):
        p = float(np.fmax(outcome.p[i], m.p_permuted))
        evidence = Evidence(outcome.of(i), m.spread.error, m.spread.df, m.smallest_p)
        comparisons.append(dataclasses.replace(m.comparison, p_family=p, evidence=evidence))
    return correct(comparisons, primary, baseline)


def correct(
    comparisons: Sequence[Comparison],
    primary: Primary | None = None,
    baseline: str | None = None,
) -> list[Comparison]:
    """The comparisons with ``p_holm``, as one family.

    A declared one is tested first, at the full level. The others follow only where it is
    significant: theirs are at least its p (fixed sequence: Maurer, Hothorn & Lehmacher 1995). So
    without a true difference the family as a whole errs as often as this one test. Where the family
    holds comparisons with other settings as well, ``baseline`` says which one is declared.
    """
    declared = [
        Primary(c.arm, c.labels) == primary and baseline in (None, c.baseline) for c in comparisons
    ]
    others = [c for c, first in zip(comparisons, declared, strict=True) if not first]
    corrected = iter(_corrected(others))
    tests = max(1, sum(not np.isnan(c.p_family) for c in others))
    gate = 0.0
    if any(declared):
        gate = comparisons[declared.index(True)].p
    results = []
    for c, first in zip(comparisons, declared, strict=True):
        if first:
            results.append(_with_family(c, c.p, 1))
        else:
            results.append(_with_family(c, float(np.maximum(gate, next(corrected))), tests))
    return results


def _with_family(c: Comparison, p_holm: float, tests: int) -> Comparison:
    if c.evidence is None or c.subjects_alone:
        return dataclasses.replace(c, p_holm=p_holm)
    return dataclasses.replace(c, p_holm=p_holm, detectable=c.evidence.detectable(tests))


def _corrected(comparisons: Sequence[Comparison]) -> list[float]:
    """Holm's p-values; of a comparison that is alone its own."""
    if len(comparisons) == 1:
        return [comparisons[0].p]
    corrected = holm([c.p_family for c in comparisons])
    return np.maximum(corrected, [c.p for c in comparisons]).tolist()


class _Member(NamedTuple):
    """A comparison that knows nothing of its family yet.

    Attributes:
      spread: of the difference.
      p_permuted: of the test by permutation of subjects; NaN where it is not used.
    """

    comparison: Comparison
    spread: Spread
    p_permuted: float

    @property
    def smallest_p(self) -> float:
        """That the permutation of subjects can give; 0 where it is not used."""
        if np.isnan(self.p_permuted):
            return 0.0
        return 2.0 ** (1 - (self.spread.n_groups or self.spread.n_subjects))


def _compare(cell: Cell, base: Cell, scored: Scored) -> _Member:
    groups = [cell.runs, base.runs]
    (target_RS, reference_RS), design, paired_by = paired(groups, *scored)
    values_RS = target_RS - reference_RS
    difference_S = subject_means(values_RS, design)
    p_permuted = np.nan
    p_wilcoxon = np.nan
    from_folders = all(run.table is None for run in (*cell.runs, *base.runs))
    if difference_S.size > 1 or from_folders:
        difference_G = cluster_means(values_RS, design)
        p_wilcoxon = wilcoxon_test(difference_G)
        if len(set(design)) < FEW_SUBSETS:
            p_permuted = sign_flip_test(difference_G)
    effect = Effect(np.nan, np.nan)
    by_subject = scores_by_subject((*cell.runs, *base.runs), scored)
    if by_subject:
        effect = effect_size(difference_S)
    comparison = Comparison(
        cell.arm,
        base.arm,
        cell.labels,
        mean_interval(values_RS, design),
        float(np.fmax(mean_test(values_RS, design), p_permuted)),
        np.nan,
        paired_by,
        p_wilcoxon,
        effect,
        runs=runs_used(groups),
        lost=lost_subjects(target_RS, reference_RS),
        by_subject=by_subject,
    )
    return _Member(comparison, spread(values_RS, design), p_permuted)


def _compare_folds(cell: Cell, base: Cell, scored: Scored) -> Comparison:
    """Two settings that were run in the same folds, paired by fold and subject.

    The test is that of :func:`semiseg.analysis.cross_validation.corrected_mean`. There is none
    where a fold of either is missing.
    """
    shared, lost = fold_differences(cell, base, scored)
    p = np.nan
    evidence = None
    if shared.is_complete:
        result = corrected(shared.score_FS)
        p = result.p
        evidence = _evidence(result)
    return Comparison(
        cell.arm,
        base.arm,
        cell.labels,
        fold_interval(shared),
        p,
        np.nan,
        FOLD,
        effect=effect_size(shared.score_S),
        p_family=p,
        runs=(shared.runs, shared.runs),
        lost=lost,
        evidence=evidence,
    )


def fold_differences(cell: Cell, base: Cell, scored: Scored) -> tuple[FoldTable, int]:
    """Differences in the folds that both settings were run in, and how many subjects have a score
    on one side only; 0 where a fold is missing.
    """
    every = [*cell.runs, *base.runs]
    subjects, values_RS = compared_scores(every, *scored)
    parts = np.split(values_RS, [len(cell.runs)])
    target = fold_table(cell.runs, parts[0], subjects)
    reference = fold_table(base.runs, parts[1], subjects)
    lost = 0
    if target.is_complete and reference.is_complete:
        lost = lost_subjects(target.score_FS, reference.score_FS)
    return FoldTable(target.score_FS - reference.score_FS, len(every), target.subsets), lost


def _evidence(result: CrossValidated) -> Evidence:
    """What tells which difference between folds would be significant: Student's t with the
    corrected error.
    """
    df = result.folds - 1
    none = np.zeros(1)
    statistic = np.full(1, np.nan)
    error = np.full(1, result.error)
    outcome = Outcome(statistic, statistic, error, error**2, none, none + df, none)
    return Evidence(outcome, result.error, df, 0.0)


def lost_subjects(target_RS: np.ndarray, reference_RS: np.ndarray) -> int:
    """Subjects that a row of one side has a score for, and the same row of the other has not."""
    return int((np.isnan(target_RS) != np.isnan(reference_RS)).any(0).sum())
