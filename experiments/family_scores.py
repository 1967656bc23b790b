"""Scores of whole studies without a true difference, for experiments/simulate_families.py.

Gaussian scores have the variance components of real studies, fitted by semiseg.analysis.variance to
their committed results, method by method, so that methods differ in them as they do there. "one
method 3 ×" and "baseline 2.5 ×" give one setting larger standard deviations. "look-alikes" puts
subjects into groups of the sizes of the 60 groups of 164 nuclei images, correlated by 0.9. "7 of
70", "8 of 16" and "6 of 8" draw label subsets without replacement from so small a training pool;
"nested in 16" draws subsets of 8, of which those of 4 and 2 are parts.

"failing Dice" is a logistic function of a latent value, and 0 for the 12 % of subjects that fail;
half of the variance of failing is the subject's, 0.3 the setting's on that subject and 0.2 the
run's. "the baseline fails more" lets it fail on 20 % of subjects and the methods on 5 %. "HD95" is
an exponential function of a latent value, 6 mm in the mean; "the baseline's longer" multiplies its
distances by 1.5. In both, the mean of each setting is subtracted, so that no setting is better.

Effects of label subset and subject at two budgets of one setting are correlated by 0.5.
"""

from __future__ import annotations

import functools
from math import sqrt
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.special
import scipy.stats
from simulate_coverage import DICE, DISTANCE, WITHIN, Effects, group_codes

from semiseg.analysis.arms import find_arms
from semiseg.analysis.load import load_runs
from semiseg.analysis.pairing import paired
from semiseg.analysis.variance import variance_split

RESULTS = Path(__file__).parent / "results"
CORRELATION = 0.5
"""Of a setting's effect of a label subset, or of a subject, between two budgets."""
STUDIES = {
    "nuclei": ("label_efficiency_stretched", "test", (4, 8, 16)),
    "ACDC": ("acdc_methods", "val", (3, 7)),
}
POOLS = {
    "7 of 70": ((7,), 70),
    "8 of 16": ((8,), 16),
    "6 of 8": ((6,), 8),
    "nested in 16": ((2, 4, 8), 16),
}
"""Annotated subjects of the label subsets of each budget (of one for all), and of the training
pool.
"""
OF_SETTING = 0.5
"""Effect of a setting on a subject, as a share of the effect of the subject."""
FAILING = {"failing Dice": (0.12, 0.12), "failing Dice, the baseline fails more": (0.20, 0.05)}
"""Shares of subjects that fail: of the baseline, and of the methods."""
LONGER = {"HD95": 1.0, "HD95, the baseline's longer": 1.5}


class Design(NamedTuple):
    """One kind of study: K methods and a baseline at B budgets, J subsets × N seeds, S subjects.

    ``compared`` is "one baseline" or "all pairs".
    """

    scores: str
    compared: str
    methods: int
    budgets: int
    subsets: int
    seeds: int
    subjects: int

    @property
    def couples(self) -> list[tuple[int, int]]:
        """The settings of each comparison at a budget; 0 is the baseline."""
        couples = [(k, 0) for k in range(1, self.methods + 1)]
        if self.compared == "all pairs":
            for first in range(2, self.methods + 1):
                couples += [(first, second) for second in range(1, first)]
        return couples

    @property
    def comparisons(self) -> int:
        """How many a study has."""
        return len(self.couples) * self.budgets

    @property
    def group_S(self) -> np.ndarray:
        """``(S,)`` group of each subject."""
        return group_codes(self.subjects, "look-alikes" in self.scores)

    @property
    def kind(self) -> str:
        """The scores without the training pool."""
        for name in POOLS:
            if self.scores.endswith(f", {name}"):
                return self.scores.removesuffix(f", {name}")
        return self.scores

    @property
    def pool(self) -> int:
        """Annotated training subjects; 0 if there is no end of them."""
        return self._sizes()[1]

    @property
    def labels_B(self) -> np.ndarray:
        """``(B,)`` annotated subjects of a label subset; 0 if the pool is endless."""
        return np.resize(self._sizes()[0], self.budgets)

    @property
    def overlap_B(self) -> np.ndarray:
        """``(B,)`` share of a label subset that another one has as well."""
        return self.labels_B / max(self.pool, 1)

    @property
    def nested(self) -> bool:
        """Whether the label subset of a budget is part of that of a larger one."""
        return len(self._sizes()[0]) > 1

    def _sizes(self) -> tuple[tuple[int, ...], int]:
        return POOLS.get(self.scores.removeprefix(f"{self.kind}, "), ((0,), 0))


def scores(rng: np.random.Generator, design: Design, families: int) -> np.ndarray:
    """``(T, K + 1, B, J, S)`` scores averaged over seeds, no setting better than another."""
    if design.kind in FAILING:
        result = _failing_dice(rng, design, families)
    elif design.kind in LONGER:
        result = _distances(rng, design, families)
    else:
        result = _gaussian(rng, design, families)
    return result.astype(float)


# ------------------------------------------------------------------ effects
def _draw(rng: np.random.Generator, size: tuple[int, ...]) -> np.ndarray:
    """Standard normal numbers; in single precision they take half the time."""
    return rng.standard_normal(size, dtype=np.float32)


def _normal(rng: np.random.Generator, design: Design, *leading: int) -> np.ndarray:
    """``(*leading, S)`` standard normal effects, correlated within groups of look-alikes."""
    code_S = design.group_S
    groups = int(code_S.max()) + 1
    alone = _draw(rng, (*leading, design.subjects))
    if groups == design.subjects:
        return alone
    group = _draw(rng, (*leading, groups))[..., code_S]
    return sqrt(WITHIN) * group + sqrt(1 - WITHIN) * alone


def _of_subjects(rng: np.random.Generator, design: Design, families: int) -> np.ndarray:
    """``(T, K + 1, B, 1, S)`` effects of a setting on a subject, correlated over budgets."""
    common = _normal(rng, design, families, design.methods + 1, 1, 1)
    alone = _normal(rng, design, families, design.methods + 1, design.budgets, 1)
    return sqrt(CORRELATION) * common + sqrt(1 - CORRELATION) * alone


def _of_subsets(rng: np.random.Generator, design: Design, families: int) -> np.ndarray:
    """``(T, K + 1, B, J, 1)`` effects of label subsets, of variance 1 over all pools.

    In a small pool each annotated subject has an effect; all settings have the same subsets.
    """
    settings = (families, design.methods + 1)
    if not design.pool:
        common = _draw(rng, (*settings, 1, design.subsets, 1))
        alone = _draw(rng, (*settings, design.budgets, design.subsets, 1))
        return sqrt(CORRELATION) * common + sqrt(1 - CORRELATION) * alone
    draws = design.budgets
    if design.nested:
        draws = 1
    place = np.argsort(rng.random((families, draws, design.subsets, design.pool)), axis=-1)
    labels_B11 = design.labels_B[:, None, None]
    is_chosen = (place < labels_B11).astype(float)
    common = _draw(rng, (*settings, 1, design.pool))
    alone = _draw(rng, (*settings, design.budgets, design.pool))
    effect = sqrt(CORRELATION) * common + sqrt(1 - CORRELATION) * alone
    picked = np.einsum("tbjp,tkbp->tkbj", is_chosen, effect)
    return picked[..., None] / np.sqrt(labels_B11)


def _of_both(rng: np.random.Generator, design: Design, families: int) -> np.ndarray:
    """``(T, K + 1, B, J, S)`` effects of a label subset on a subject."""
    shape = (families, design.methods + 1, design.budgets)
    alone = _normal(rng, design, *shape, design.subsets)
    if not design.pool:
        return alone
    common = _normal(rng, design, *shape, 1)
    overlap_B11 = design.overlap_B[:, None, None]
    return np.sqrt(overlap_B11) * common + np.sqrt(1 - overlap_B11) * alone


# ------------------------------------------------------------------ Gaussian scores
@functools.cache
def fitted(study: str) -> np.ndarray:
    """``(budgets, arms, 5)`` components of each arm's own effects, the baseline first.

    They are fitted to what an arm differs from the mean of all arms, which differs less than the
    arm does from the truth by (arms - 1) / arms.
    """
    name, split, budgets = STUDIES[study]
    arms = find_arms(load_runs(RESULTS / f"{name}.csv"))
    names = sorted(arms, key=_baseline_first)
    components = []
    for labels in budgets:
        groups = [arms[arm].where(labels=labels) for arm in names]
        tables, design, _ = paired(groups, "dice", split, "last")
        tables_ARS = np.array(tables)
        own_ARS = (tables_ARS - tables_ARS.mean(0)) * np.sqrt(len(names) / (len(names) - 1))
        components.append([variance_split(own_RS, list(design)) for own_RS in own_ARS])
    return np.nan_to_num(np.array(components)).astype(np.float32)


def _baseline_first(arm: str) -> tuple[bool, str]:
    return (arm != "supervised", arm)


@functools.cache
def components_of(design: Design) -> np.ndarray:
    """``(K + 1, B, 5)`` standard deviations, the baseline first.

    Methods of the real study are repeated where the family has more of them, budgets likewise.
    """
    study, _, unlike = design.scores.partition(", ")
    fitted_BA = fitted(study)
    budgets = np.arange(design.budgets) % len(fitted_BA)
    arms = fitted_BA.shape[1]
    if "×" in unlike:
        alike_B = np.sqrt((fitted_BA**2).mean(1))[budgets]
        components = np.repeat(
            alike_B[None],
            design.methods + 1,
            0,
        )
        if unlike.startswith("baseline"):
            components[0] *= 2.5
        else:
            components[1] *= 3
        return components
    methods = [0, *(1 + np.arange(design.methods) % (arms - 1))]
    return fitted_BA[budgets][:, methods].swapaxes(0, 1)


def _gaussian(rng: np.random.Generator, design: Design, families: int) -> np.ndarray:
    sd = components_of(design)[..., None, None]
    subset, seed, subject, crossed, residual = np.moveaxis(sd, 2, 0)
    shape = (families, *sd.shape[:2], design.subsets, 1)
    of_seed = _draw(rng, shape)
    of_seed = of_seed / sqrt(design.seeds)
    result = _of_subsets(rng, design, families) * subset + of_seed * seed
    result = result + _of_subjects(rng, design, families) * subject
    if not design.pool:
        both = np.sqrt(crossed**2 + residual**2 / design.seeds)
        return result + _of_both(rng, design, families) * both
    rest = _normal(
        rng,
        design,
        families,
        *sd.shape[:2],
        design.subsets,
    )
    crossed_part = _of_both(rng, design, families) * crossed
    return result + crossed_part + rest * residual / sqrt(design.seeds)


# ------------------------------------------------------------------ skewed scores
def _latent(
    rng: np.random.Generator, design: Design, families: int, effects: Effects
) -> np.ndarray:
    """``(T, K + 1, B, J, N, S)`` latent values; all settings share the effects of subjects."""
    shape = (families, design.methods + 1, design.budgets, design.subsets)
    of_subject = _normal(rng, design, families, 1, 1, 1)
    of_setting = OF_SETTING * _of_subjects(rng, design, families)
    by_subset = effects.subset * _of_subsets(rng, design, families)
    by_subset = by_subset + effects.subject * (of_subject + of_setting)
    by_subset = by_subset + effects.interaction * _of_both(rng, design, families)
    result = effects.residual * _normal(rng, design, *shape, design.seeds)
    result += by_subset[..., None, :]
    result += effects.seed * _draw(rng, (*shape, design.seeds, 1))
    return result


def _variance(effects: Effects) -> float:
    """Of a latent value."""
    return float(np.sum(np.square(effects)) + (OF_SETTING * effects.subject) ** 2)


def _of_baseline_first(design: Design, baseline: float, methods: float) -> np.ndarray:
    """``(K + 1, 1, 1, 1, 1)`` a value of each setting."""
    values = np.full(
        design.methods + 1,
        methods,
        dtype=np.float32,
    )
    values[0] = baseline
    return values[:, None, None, None, None]


def _failing_dice(rng: np.random.Generator, design: Design, families: int) -> np.ndarray:
    rate = _of_baseline_first(design, *FAILING[design.kind])
    latent = _latent(rng, design, families, DICE)
    alone = _draw(rng, latent.shape)
    of_subject = _normal(rng, design, families, 1, 1, 1, 1)
    of_setting = _of_subjects(rng, design, families)[..., None, :]
    failing = sqrt(0.5) * of_subject + sqrt(0.3) * of_setting + sqrt(0.2) * alone
    dice = np.where(
        failing < scipy.stats.norm.ppf(rate).astype(np.float32), 0, scipy.special.expit(2 + latent)
    )
    true = (1 - rate) * _mean_of_logistic()
    return (dice - true).mean(-2)


@functools.cache
def _mean_of_logistic() -> float:
    """Of the Dice of subjects that do not fail, by Gauss-Hermite quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(99)
    values = scipy.special.expit(2 + np.sqrt(_variance(DICE)) * nodes)
    return float(weights @ values / weights.sum())


def _distances(rng: np.random.Generator, design: Design, families: int) -> np.ndarray:
    factor = _of_baseline_first(design, LONGER[design.kind], 1.0)
    distance = np.exp(1.5 + _latent(rng, design, families, DISTANCE))
    true = np.exp(1.5 + _variance(DISTANCE) / 2)
    return (factor * (distance - true)).mean(-2)
