"""How sure are we: intervals and tests for scores of runs (rows) on subjects (columns). Pure numpy; knows nothing of files or figures.

A score varies because other patients could have been annotated (label subset), because training is random (seed within subset), and because
other patients could have been tested (subject). Runs are nested: seeds within label subsets. Subjects are crossed with runs: every run is
scored on the same ones. The bootstrap below resamples all three, a subject together with its scores in every run.

Sources: Davison & Hinkley, Bootstrap Methods and their Application, 1997, section 3.8 (hierarchical data) and 4.3 (permutation tests);
Saravanan, Berman & Sober, Neurons Behav. Data Anal. Theory 3(5), 2020 (with replacement at every level); Owen & Eckles, Ann. Appl.
Stat. 6(3), 2012 (crossed factors: the product of the factors' weights; errs on the wide side); Holm, Scand. J. Stat. 6(2), 1979.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

EXACT_UP_TO = 12
"""Subjects up to which the permutation test enumerates every sign pattern (2^12 = 4096)."""


class Interval(NamedTuple):
    """A mean with its bootstrap interval; ``low == high == mean`` where nothing could be resampled."""

    mean: float
    low: float
    high: float
    n_runs: int
    n_subsets: int
    n_subjects: int

    @property
    def covers(self) -> str:
        """What the interval takes into account, in words."""
        factors = [("label subsets", self.n_subsets > 1), ("seeds", self.n_runs > self.n_subsets), ("subjects", self.n_subjects > 1)]
        names = [name for name, varied in factors if varied]
        return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names) or "nothing"


def hierarchical_bootstrap(
    values_RS: np.ndarray, subset_R: Sequence[Any], *, draws: int = 2000, level: float = 0.95, seed: int = 0
) -> Interval:
    """Percentile interval of the mean score over label subsets, seeds and subjects.

    Each draw resamples, with replacement, (1) the label subsets, (2) the runs in each drawn subset, (3) the subjects, once for all runs.
    A run's score is the mean over its defined subjects; subsets weigh the same however many runs they have. A level with one member is
    not resampled, so the interval says nothing about it: see :attr:`Interval.covers`. A percentile interval over few subsets is narrow.
    Simulated coverage of the 95 % interval, 3 subsets × 3 seeds × 20 subjects: .92 where subjects vary most (the usual case), .84 where
    all factors vary alike, .73 where subsets vary most; with 5 subsets .92 where all vary alike.

    Args:
      values_RS: scores, NaN where undefined; a run or a subject without any defined score is left out.
      subset_R: the label subset of each run; runs of equal value are the seeds of one subset.
      draws: bootstrap draws.
      level: of the interval.
      seed: of the random numbers; the same call gives the same interval.

    Returns:
      The interval, all NaN where no score is defined.
    """
    values_RS = np.asarray(values_RS, dtype=float)
    kept = ~np.isnan(values_RS).all(1)
    values_RS, code_R = values_RS[kept], _codes([s for s, k in zip(subset_R, kept) if k])
    values_RS = values_RS[:, ~np.isnan(values_RS).all(0)]
    runs, subjects = values_RS.shape
    if not values_RS.size:
        return Interval(np.nan, np.nan, np.nan, 0, 0, 0)
    subsets = int(code_R.max()) + 1
    mean = _mean(values_RS, _even_weights(code_R)[None], np.ones((1, subjects)))[0]
    rng = np.random.default_rng(seed)
    weight_DR = _nested_weights(rng, code_R, draws)
    weight_DS = rng.multinomial(subjects, np.full(subjects, 1 / subjects), size=draws)
    tail = (1 - level) / 2
    low, high = np.nanquantile(_mean(values_RS, weight_DR, weight_DS), [tail, 1 - tail])
    return Interval(float(mean), float(low), float(high), runs, subsets, subjects)


def sign_flip_test(difference_S: np.ndarray, *, draws: int = 9999, seed: int = 0) -> float:
    """Two-sided paired permutation test by subject: under the null a subject's difference could as well have had the other sign.

    Exact (all 2^S sign patterns) up to :data:`EXACT_UP_TO` subjects, else ``(1 + #{|t*| ≥ |t|}) / (1 + draws)``, which never is 0. It
    speaks of the trained models at hand: other subjects, the same runs.

    Args:
      difference_S: difference of each subject, averaged over runs; NaN is left out.

    Returns:
      The p-value; NaN without subjects.
    """
    difference_S = np.asarray(difference_S, dtype=float)
    difference_S = difference_S[~np.isnan(difference_S)]
    subjects = difference_S.size
    if not subjects:
        return np.nan
    exact = subjects <= EXACT_UP_TO
    if exact:
        sign_DS = (np.arange(2**subjects)[:, None] >> np.arange(subjects) & 1) * 2 - 1
    else:
        sign_DS = np.random.default_rng(seed).integers(0, 2, (draws, subjects), dtype=np.int8) * 2 - 1
    total = difference_S.sum()
    extreme = np.abs(sign_DS @ difference_S) >= abs(total) - 1e-12 * np.abs(difference_S).sum()  # rounding must not break ties
    return float(extreme.mean()) if exact else float((1 + extreme.sum()) / (1 + draws))


def holm(p: Sequence[float]) -> np.ndarray:
    """Holm's step-down adjusted p-values, in the order given: the i-th smallest of m times (m - i + 1), monotone, at most 1.

    NaN (no test was possible) stays NaN and does not count into the family.
    """
    p_M = np.asarray(p, dtype=float)
    adjusted = np.full(p_M.shape, np.nan)
    tested = np.flatnonzero(~np.isnan(p_M))
    order = tested[np.argsort(p_M[tested], kind="stable")]
    adjusted[order] = np.minimum(np.maximum.accumulate(p_M[order] * np.arange(order.size, 0, -1)), 1)
    return adjusted


def subject_means(values_RS: np.ndarray, subset_R: Sequence[Any]) -> np.ndarray:
    """``(S,)`` mean over runs, label subsets weighing the same; NaN for a subject that no run defines."""
    values_RS = np.asarray(values_RS, dtype=float)
    weight_R = _even_weights(_codes(subset_R))
    defined = ~np.isnan(values_RS)
    total = weight_R @ defined
    return np.where(total > 0, weight_R @ np.where(defined, values_RS, 0) / np.where(total > 0, total, 1), np.nan)


# ------------------------------------------------------------------ weights
def _codes(subset_R: Sequence[Any]) -> np.ndarray:
    """0 … J-1 for the label subset of each run."""
    return np.unique([str(s) for s in subset_R], return_inverse=True)[1]


def _even_weights(subset_R: np.ndarray) -> np.ndarray:
    """``(R,)`` summing to 1: every subset the same share, split evenly between its runs."""
    count_J = np.bincount(subset_R)
    return 1 / (count_J.size * count_J[subset_R])


def _nested_weights(rng: np.random.Generator, subset_R: np.ndarray, draws: int) -> np.ndarray:
    """``(draws, R)`` weights of the runs when subsets, then runs within each drawn subset, are resampled; each row sums to 1."""
    count_J = np.bincount(subset_R)
    subsets, widest, runs = count_J.size, int(count_J.max()), subset_R.size
    member_JN = np.zeros((subsets, widest), dtype=int)
    for j in range(subsets):
        member_JN[j, : count_J[j]] = np.flatnonzero(subset_R == j)
    drawn_DJ = rng.integers(0, subsets, (draws, subsets))
    count_DJ1 = count_J[drawn_DJ][..., None]
    pick_DJN = (rng.random((draws, subsets, widest)) * count_DJ1).astype(int)
    weight_DJN = np.where(np.arange(widest) < count_DJ1, 1 / (subsets * count_DJ1), 0)
    run_DJN = member_JN[drawn_DJ[..., None], pick_DJN]
    flat = np.arange(draws)[:, None, None] * runs + run_DJN
    return np.bincount(flat.ravel(), weight_DJN.ravel(), draws * runs).reshape(draws, runs)


def _mean(values_RS: np.ndarray, weight_DR: np.ndarray, weight_DS: np.ndarray) -> np.ndarray:
    """``(D,)`` weighted mean over runs of each run's weighted mean over its defined subjects."""
    defined_RS = ~np.isnan(values_RS)
    total_DR = weight_DS @ defined_RS.T.astype(float)
    mean_DR = weight_DS @ np.where(defined_RS, values_RS, 0).T / np.where(total_DR > 0, total_DR, 1)
    usable_DR = weight_DR * (total_DR > 0)
    total_D = usable_DR.sum(1)
    return np.where(total_D > 0, (usable_DR * mean_DR).sum(1) / np.where(total_D > 0, total_D, 1), np.nan)
