"""Where the spread of a study's scores comes from, and whether the ranking of methods is stable."""

from __future__ import annotations

import numpy as np

from semiseg.analysis.pairing import compared_scores, paired, replicates
from semiseg.analysis.statistics import subject_means
from semiseg.analysis.study import Study
from semiseg.analysis.variance import RankStability, Split, rank_stability, variance_split


def splits(s: Study) -> dict[int, Split]:
    """Variance components at each budget: of the baseline, else of the first arm there."""
    found = {}
    for n in s.budgets:
        arm = next(
            a
            for a in ([s.baseline] if (s.baseline, n) in s.cells else []) + list(s.arms)
            if (a, n) in s.cells
        )
        runs = s.cells[str(arm), n].runs
        rows, subset_R = replicates(runs)
        _, values_RS = compared_scores(runs, s.metric, s.split, s.checkpoint)
        found[n] = variance_split(values_RS[rows], subset_R)
    return found


def ranking(s: Study, labels: int) -> RankStability | None:
    """How stable the order of the arms is across label subsets at one budget; None where fewer than
    two arms share two subsets.
    """
    arms = [arm for arm in s.arms if (arm, labels) in s.cells]
    tables, subset_R, _ = paired(
        [s.cells[arm, labels].runs for arm in arms], s.metric, s.split, s.checkpoint
    )
    subsets = list(dict.fromkeys(subset_R))
    if len(arms) < 2 or len(subsets) < 2:
        return None
    rows = [[i for i, other in enumerate(subset_R) if other == subset] for subset in subsets]
    return rank_stability(
        np.array([[s.sign * np.nanmean(table[members]) for table in tables] for members in rows])
    )


def subject_scores(s: Study, labels: int | None = None) -> dict[str, np.ndarray]:
    """Arm → score of each subject, averaged over its runs at one budget (the smallest that all
    share).
    """
    labels = min(s.shared_budgets or s.budgets) if labels is None else labels
    found = {}
    for arm in s.arms:
        if (arm, labels) in s.cells:
            members = s.cells[arm, labels].runs
            rows, subset_R = replicates(members)
            _, values_RS = compared_scores(members, s.metric, s.split, s.checkpoint)
            score_S = subject_means(values_RS[rows], subset_R)
            found[arm] = score_S[~np.isnan(score_S)]
    return found
