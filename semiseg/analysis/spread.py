"""Where the spread of a study's scores comes from, and whether the ranking of methods is stable."""

from __future__ import annotations

import numpy as np

from semiseg.analysis.design import Design
from semiseg.analysis.fold_statistics import fold_table
from semiseg.analysis.groups import design_of
from semiseg.analysis.pairing import compared_scores, paired, replicates
from semiseg.analysis.statistics import subject_means
from semiseg.analysis.study import Cell, Study
from semiseg.analysis.variance import RankStability, Split, rank_stability, variance_split


def splits(s: Study) -> dict[int, Split]:
    """Variance components at each budget: of the baseline, else of the first setting there; none
    of folds.
    """
    results: dict[int, Split] = {}
    if s.folds:
        return results
    for n in s.budgets:
        arms = [arm for arm in s.arms if (arm, n) in s.cells]
        arm = s.baseline if s.baseline in arms else arms[0]
        results[n] = variance_split(*_replicate_scores(s, s.cells[str(arm), n]))
    return results


def ranking(s: Study, labels: int) -> RankStability | None:
    """How stable the order of the compared settings is across label subsets at one budget.

    None where fewer than two settings share two subsets.
    """
    arms = [arm for arm in s.arms if (arm, labels) in s.cells]
    tables, subset_R, _ = paired([s.cells[arm, labels].runs for arm in arms], *s.scored)
    subsets = list(dict.fromkeys(subset_R))
    if len(arms) < 2 or len(subsets) < 2:
        return None
    score_JA = np.empty((len(subsets), len(arms)))
    for j, subset in enumerate(subsets):
        rows = [r for r, other in enumerate(subset_R) if other == subset]
        for a, table in enumerate(tables):
            score_JA[j, a] = s.sign * np.nanmean(table[rows])
    return rank_stability(score_JA)


def subject_scores(
    s: Study,
    labels: int | None = None,
) -> dict[str, np.ndarray]:
    """The score of each subject, averaged over the runs of a compared setting at one budget.

    Args:
      labels: the budget; by default the smallest that all settings share.

    Returns:
      Name of the setting → ``(S,)`` defined scores.
    """
    if labels is None:
        labels = min(s.shared_budgets or s.budgets)
    results = {}
    for arm in s.arms:
        if (arm, labels) in s.cells:
            score_S = _subject_means(s, s.cells[arm, labels])
            results[arm] = score_S[~np.isnan(score_S)]
    return results


def _subject_means(s: Study, cell: Cell) -> np.ndarray:
    if not s.folds:
        return subject_means(*_replicate_scores(s, cell))
    subjects, values_RS = compared_scores(cell.runs, *s.scored)
    return fold_table(cell.runs, values_RS, subjects).score_S


def _replicate_scores(
    s: Study,
    cell: Cell,
) -> tuple[np.ndarray, Design]:
    """The scores of the runs that repeat no other, and their design."""
    rows, subset_R = replicates(cell.runs)
    subjects, values_RS = compared_scores(cell.runs, *s.scored)
    return values_RS[rows], design_of(cell.runs, subset_R, subjects)
