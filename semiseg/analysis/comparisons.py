"""Comparisons of a study: compared settings with the baseline, paired, corrected as a family."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np

from semiseg.analysis.cells import Cell, Scored
from semiseg.analysis.declaration import Primary
from semiseg.analysis.pairing import paired
from semiseg.analysis.statistics import (
    Interval,
    holm,
    mean_interval,
    mean_test,
    minimum_detectable,
    subject_means,
)
from semiseg.analysis.subject_tests import Effect, effect_size, sign_flip_test, wilcoxon_test

FEW_SUBSETS = 3
"""Label subsets below which a comparison is also tested by permutation of subjects."""
FEW_SUBJECTS = 6
"""Scored subjects below which no method is recommended: with 5 the smallest two-sided p of a
sign-flip test is 2/2^5 = 0.06.
"""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A compared setting minus the baseline at one label budget, paired by subject.

    Attributes:
      arm: name of the compared setting.
      baseline: name of the baseline.
      labels: annotated subjects of both.
      difference: mean difference with its interval.
      p: for other label subsets, seeds and subjects (:func:`mean_test`). With fewer than three
        label subsets, where that test is less sure of itself (experiments/results/statistics.csv),
        the larger of it and of a permutation of subjects for the models at hand. That one needs no
        normal distribution, but with S subjects it is never below 2^(1-S): corrected for many
        methods, ten subjects show nothing.
      p_holm: ``p`` corrected for all comparisons of the study.
      paired_by: what pairs the runs beside the subject, see
        :data:`~semiseg.analysis.pairing.PAIRINGS`.
      p_wilcoxon: by subject, beside it.
      effect: how large the difference is, beside its own unit.
      detectable: the difference that a study with this spread would find with a power of 80 %; NaN
        where no test can be significant.
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

    @property
    def significant(self) -> bool:
        """Whether the test, corrected for the number of comparisons, and the interval say so."""
        apart = self.difference.low > 0 or self.difference.high < 0
        return self.p_holm < 0.05 and apart


def compare(
    cells: dict[tuple[str, int], Cell],
    baseline: str,
    scored: Scored,
    primary: Primary | None = None,
) -> list[Comparison]:
    """Every compared setting against the baseline, at every budget that both have.

    Together they are one family for Holm's correction.
    """
    comparisons = [
        _compare(cell, cells[baseline, cell.labels], scored)
        for cell in cells.values()
        if cell.arm != baseline and (baseline, cell.labels) in cells
    ]
    return _corrected(comparisons, primary)


def pairs(at_budget: list[Cell], scored: Scored) -> list[Comparison]:
    """Every cell against every earlier one, corrected as one family."""
    comparisons = [
        _compare(later, earlier, scored) for earlier, later in itertools.combinations(at_budget, 2)
    ]
    return _corrected(comparisons, None)


def _corrected(comparisons: list[Comparison], primary: Primary | None) -> list[Comparison]:
    """The comparisons with their corrected p-values.

    A declared one is tested first, at the full level. The others follow only where it is
    significant: theirs are at least its p (fixed sequence: Maurer, Hothorn & Lehmacher 1995).
    """
    declared = [Primary(c.arm, c.labels) == primary for c in comparisons]
    others = [c.p for c, first in zip(comparisons, declared, strict=True) if not first]
    corrected = iter(holm(others).tolist())
    gate = 0.0
    if any(declared):
        gate = comparisons[declared.index(True)].p
    results = []
    for c, first in zip(comparisons, declared, strict=True):
        p = gate
        if not first:
            p = max(gate, next(corrected))
        results.append(dataclasses.replace(c, p_holm=p))
    return results


def _compare(
    cell: Cell,
    base: Cell,
    scored: Scored,
) -> Comparison:
    """A comparison whose ``p_holm`` is not known yet."""
    (target, reference), subset_R, paired_by = paired([cell.runs, base.runs], *scored)
    values_RS = target - reference
    difference_S = subject_means(values_RS, subset_R)
    p = mean_test(values_RS, subset_R)
    p_wilcoxon = np.nan
    detectable = minimum_detectable(values_RS, subset_R)
    from_folders = all(run.table is None for run in (*cell.runs, *base.runs))
    if difference_S.size > 1 or from_folders:
        p_wilcoxon = wilcoxon_test(difference_S)
        if len(set(subset_R)) < FEW_SUBSETS:
            p = float(np.fmax(p, sign_flip_test(difference_S)))
            if np.count_nonzero(~np.isnan(difference_S)) < FEW_SUBJECTS:
                detectable = np.nan
    return Comparison(
        cell.arm,
        base.arm,
        cell.labels,
        mean_interval(values_RS, subset_R),
        p,
        np.nan,
        paired_by,
        p_wilcoxon,
        effect_size(difference_S),
        detectable,
    )
