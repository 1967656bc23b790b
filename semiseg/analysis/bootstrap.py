"""The hierarchical bootstrap: an interval for what has no formula.

A percentile interval over few subsets is narrow (3 subsets × 3 seeds × 20 subjects cover 0.92 where
subjects vary most, 0.73 where subsets do; experiments/results/statistics.csv), so means use
:func:`semiseg.analysis.statistics.mean_interval`.

Sources: Davison & Hinkley, Bootstrap Methods and their Application, 1997, section 3.8 (hierarchical
data); Saravanan, Berman & Sober, Neurons Behav. Data Anal. Theory 3(5), 2020; Owen & Eckles, Ann.
Appl. Stat. 6(3), 2012 (crossed factors: the product of the factors' weights).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from semiseg.analysis.design import Design
from semiseg.analysis.statistics import Interval, codes, defined_part, even_weights


def hierarchical_bootstrap(
    values_RS: np.ndarray,
    subset_R: Sequence[Any],
    *,
    draws: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Percentile interval of the mean score over label subsets, seeds and subjects.

    Each draw resamples, with replacement, (1) the label subsets, (2) the runs in each drawn subset,
    (3) the subjects, or their groups where a design has groups, once for all runs. A run's score is
    the mean over its defined subjects; subsets weigh the same however many runs they have. A factor
    with one member is not resampled, so the interval says nothing about it: see
    :attr:`Interval.covers`.

    Args:
      values_RS: scores, NaN where undefined; a run or a subject without any defined score is left
        out.
      subset_R: the label subset of each run, or a :class:`~semiseg.analysis.design.Design`; runs of
        equal value are the seeds of one subset.
      draws: bootstrap draws.
      level: of the interval.
      seed: of the random numbers; the same call gives the same interval.

    Returns:
      The interval, all NaN where no score is defined.

    >>> interval = hierarchical_bootstrap(np.array([[0.7, 0.8, 0.9]]), ["a"])
    >>> f"{interval.mean:.2f} [{interval.low:.2f}, {interval.high:.2f}]"
    '0.80 [0.70, 0.90]'
    """
    values_RS, design = defined_part(values_RS, subset_R)
    if not values_RS.size:
        return Interval(np.nan, np.nan, np.nan, 0, 0, 0)
    code_R = codes(design.subset_R)
    runs, subjects = values_RS.shape
    subsets = int(code_R.max()) + 1
    mean = _mean(values_RS, even_weights(code_R)[None], np.ones((1, subjects)))[0]
    weight_DR, weight_DS = resampled_weights(design, subjects, draws, seed=seed)
    mean_D = _mean(values_RS, weight_DR, weight_DS)
    tail = (1 - level) / 2
    low, high = np.nanquantile(mean_D, [tail, 1 - tail])
    return Interval(
        float(mean),
        float(low),
        float(high),
        runs,
        subsets,
        subjects,
        design.clusters or 0,
    )


def resampled_weights(
    design: Design, subjects: int, draws: int, *, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """``(draws, R)`` weights of the runs, each row of which sums to 1, and ``(draws, S)`` how often
    each subject is drawn: once for all runs, together with the others of its group.

    >>> runs, columns = resampled_weights(Design(["a", "a", "b"]), 4, 2, seed=0)
    >>> runs.shape, runs.sum(1), columns.sum(1)
    ((2, 3), array([1., 1.]), array([4, 4]))
    """
    rng = np.random.default_rng(seed)
    weight_DR = _nested_weights(rng, codes(design.subset_R), draws)
    code_S = np.arange(subjects) if design.group_S is None else codes(design.group_S)
    groups = int(np.max(code_S)) + 1
    weight_DG = rng.multinomial(groups, np.full(groups, 1 / groups), size=draws)
    return weight_DR, weight_DG[:, code_S]


def _nested_weights(
    rng: np.random.Generator,
    code_R: np.ndarray,
    draws: int,
) -> np.ndarray:
    """``(draws, R)`` weights of the runs when subsets, then runs within each drawn subset, are
    resampled; each row sums to 1.
    """
    count_J = np.bincount(code_R)
    subsets = count_J.size
    widest = int(np.max(count_J))
    runs = code_R.size
    member_JN = np.zeros((subsets, widest), dtype=int)
    for j in range(subsets):
        member_JN[j, : count_J[j]] = np.flatnonzero(code_R == j)
    drawn_DJ = rng.integers(0, subsets, (draws, subsets))
    count_DJ1 = count_J[drawn_DJ][..., None]
    pick_DJN = (rng.random((draws, subsets, widest)) * count_DJ1).astype(int)
    weight_DJN = np.where(
        np.arange(widest) < count_DJ1,
        1 / (subsets * count_DJ1),
        0,
    )
    run_DJN = member_JN[drawn_DJ[..., None], pick_DJN]
    flat = np.arange(draws)[:, None, None] * runs + run_DJN
    weight = np.bincount(
        flat.ravel(),
        weight_DJN.ravel(),
        draws * runs,
    )
    return weight.reshape(draws, runs)


def _mean(
    values_RS: np.ndarray,
    weight_DR: np.ndarray,
    weight_DS: np.ndarray,
) -> np.ndarray:
    """``(D,)`` weighted mean over runs of each run's weighted mean over its defined subjects."""
    defined_RS = ~np.isnan(values_RS)
    total_DR = weight_DS @ defined_RS.T.astype(float)
    sum_DR = weight_DS @ np.where(defined_RS, values_RS, 0).T
    mean_DR = sum_DR / np.where(total_DR > 0, total_DR, 1)
    usable_DR = weight_DR * (total_DR > 0)
    total_D = usable_DR.sum(1)
    sum_D = (usable_DR * mean_DR).sum(1)
    return np.where(
        total_D > 0,
        sum_D / np.where(total_D > 0, total_D, 1),
        np.nan,
    )
