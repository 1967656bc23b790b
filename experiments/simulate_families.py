"""How often does a whole family of comparisons hold a false verdict, and what does it find?

Command: python experiments/simulate_families.py
(writes experiments/results/families.csv; 612 s beside other work)
Each family is a study: methods × label budgets, each compared with one baseline. Scores have the
variance components of real studies, fitted by semiseg.analysis.variance to their committed results,
method by method, so that methods differ in them as they do there. Also families in which the
baseline varies 2.5 times as much as the methods, or one method 3 times. Effects of label subset and
subject at two budgets of one method are correlated by 0.5. The rates of the rule in use are those
of the function that makes the report, semiseg.analysis.families.family_test. A standard error of a
rate of .05 from 600 families is .009.
"""

from __future__ import annotations

import argparse
import csv
import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.stats

from semiseg.analysis.arms import find_arms
from semiseg.analysis.clusters import Between
from semiseg.analysis.families import Difference, family_test
from semiseg.analysis.load import load_runs
from semiseg.analysis.pairing import paired
from semiseg.analysis.statistics import Spread, holm
from semiseg.analysis.variance import variance_split

RESULTS = Path(__file__).parent / "results"
COLUMNS = (
    "variances",
    "methods",
    "budgets",
    "subsets",
    "seeds",
    "subjects",
    "rule",
    "families",
    "any_verdict",
    "finds_03",
    "finds_05",
    "finds_10",
)
GAINS = (0.03, 0.05, 0.10)
LEVEL = 0.05
CORRELATION = 0.5
"""Of a method's effect of a label subset, or of a subject, between two budgets."""
FEW = 0.25
"""Share of the methods that gain something, where power is measured."""


class Design(NamedTuple):
    """One kind of study: T families of K methods at B budgets, J subsets × N seeds, S subjects."""

    variances: str
    methods: int
    budgets: int
    subsets: int
    seeds: int
    subjects: int


STUDIES = {
    "nuclei": ("label_efficiency", "test", (4, 8, 16)),
    "ACDC": ("acdc_methods", "val", (3, 7)),
}
REAL = (
    (3, 1, 10),
    (3, 3, 40),
    (3, 3, 164),
    (5, 1, 10),
    (5, 3, 164),
)
UNLIKE = (
    (3, 1, 10),
    (3, 3, 164),
    (5, 3, 40),
)
FAMILIES = ((8, 3), (22, 2))


def designs() -> list[Design]:
    """All rows of the table, but for their rules."""
    result = []
    for methods, budgets in FAMILIES:
        for study in STUDIES:
            result += [Design(study, methods, budgets, *size) for size in REAL]
        for unlike in ("baseline 2.5 ×", "one method 3 ×"):
            for study in STUDIES:
                name = f"{study}, {unlike}"
                result += [Design(name, methods, budgets, *size) for size in UNLIKE]
    for methods, budgets in ((1, 3), (3, 3)):
        for study in STUDIES:
            result += [Design(study, methods, budgets, *size) for size in REAL]
    return result


# ------------------------------------------------------------------ variance components
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
    return np.nan_to_num(np.array(components))


def _baseline_first(arm: str) -> tuple[bool, str]:
    return (arm != "supervised", arm)


def components_of(design: Design) -> np.ndarray:
    """``(K + 1, B, 5)`` standard deviations, the baseline first.

    Methods of the real study are repeated where the family has more of them, budgets likewise.
    """
    study, _, unlike = design.variances.partition(", ")
    fitted_BA = fitted(study)
    budgets = np.arange(design.budgets) % len(fitted_BA)
    arms = fitted_BA.shape[1]
    if unlike:
        alike_B = np.sqrt((fitted_BA**2).mean(1))[budgets]
        components = np.repeat(alike_B[None], design.methods + 1, 0)
        if unlike.startswith("baseline"):
            components[0] *= 2.5
        else:
            components[1] *= 3
        return components
    methods = [0, *(1 + np.arange(design.methods) % (arms - 1))]
    return fitted_BA[budgets][:, methods].swapaxes(0, 1)


def scores(rng: np.random.Generator, design: Design, families: int) -> np.ndarray:
    """``(T, K + 1, B, J, S)`` scores averaged over seeds, no method better than another."""
    sd = components_of(design)[..., None, None]
    subset, seed, subject, crossed, residual = np.moveaxis(sd, 2, 0)
    shape = (families, *sd.shape[:2])
    of_subset = _correlated(rng, shape, (design.subsets, 1)) * subset
    of_seed = rng.normal(size=(*shape, design.subsets, 1)) * seed / np.sqrt(design.seeds)
    of_subject = _correlated(rng, shape, (1, design.subjects)) * subject
    both = np.sqrt(crossed**2 + residual**2 / design.seeds)
    rest = rng.normal(size=(*shape, design.subsets, design.subjects)) * both
    return of_subset + of_seed + of_subject + rest


def _correlated(
    rng: np.random.Generator, shape: tuple[int, int, int], size: tuple[int, int]
) -> np.ndarray:
    """Standard normal effects, correlated over the budgets of an arm."""
    families, arms, budgets = shape
    common = rng.normal(size=(families, arms, 1, *size))
    own = rng.normal(size=(families, arms, budgets, *size))
    return np.sqrt(CORRELATION) * common + np.sqrt(1 - CORRELATION) * own


# ------------------------------------------------------------------ rules
class Parts(NamedTuple):
    """Mean, V_A, V_C and V_X of every difference, ``(T, M)`` each, and degrees of freedom."""

    mean: np.ndarray
    by_run: np.ndarray
    by_subject: np.ndarray
    interaction: np.ndarray
    df_run: int
    df_subject: int


def parts_of(y: np.ndarray) -> Parts:
    """The mean squares of :func:`semiseg.analysis.statistics.spread`, of many tables at once."""
    difference = y[:, 1:] - y[:, :1]
    families = len(y)
    subsets, subjects = difference.shape[-2:]
    mean = difference.mean((-2, -1))
    mean_J = difference.mean(-1) - mean[..., None]
    mean_S = difference.mean(-2) - mean[..., None]
    rest = difference - mean[..., None, None] - mean_J[..., None] - mean_S[..., None, :]
    a = subsets - 1
    c = subjects - 1
    by_run = (mean_J**2).sum(-1) / (subsets * a)
    by_subject = (mean_S**2).sum(-1) / (subjects * c)
    interaction = (rest**2).sum((-2, -1)) / (subsets * subjects * a * c)
    flat = [part.reshape(families, -1) for part in (mean, by_run, by_subject, interaction)]
    return Parts(*flat, a, c)


def student(parts: Parts) -> tuple[np.ndarray, np.ndarray]:
    """t and Satterthwaite's degrees of freedom as ``mean_test`` has them."""
    a = parts.df_run
    c = parts.df_subject
    total = parts.by_run + parts.by_subject - parts.interaction
    wide = parts.by_run * (1 + 2 / a + 6 / a**3)
    sum_of_wide = np.maximum(wide + parts.by_subject - parts.interaction, parts.interaction)
    squares = wide**2 / a + parts.by_subject**2 / c + parts.interaction**2 / (a * c)
    df = np.maximum(a, sum_of_wide**2 / squares)
    df = np.where(total <= parts.interaction, a * c, df)
    error = np.sqrt(np.maximum(total, parts.interaction))
    return np.abs(parts.mean) / error, df


def by_itself(parts: Parts, design: Design) -> np.ndarray:
    """p of each comparison by itself, the test of its interval; the rule of earlier versions."""
    t, df = student(parts)
    return 2 * scipy.stats.t.sf(t, df)


def few_degrees(parts: Parts, design: Design) -> np.ndarray:
    """p with as many degrees of freedom as label subsets less one."""
    t, _ = student(parts)
    return 2 * scipy.stats.t.sf(t, parts.df_run)


def dunnett(parts: Parts, design: Design) -> np.ndarray:
    """p with one variance between subsets for all methods of a budget (all of it lent)."""
    return _pooled(parts, design, 1.0)


def moderated(parts: Parts, design: Design) -> np.ndarray:
    """p with half of the variance lent, and Satterthwaite's degrees of freedom (Smyth 2004)."""
    return _pooled(parts, design, 0.5)


def _pooled(parts: Parts, design: Design, lent: float) -> np.ndarray:
    own = parts.by_run.reshape(-1, design.methods, design.budgets)
    mean = own.mean(1, keepdims=True)
    df_mean = parts.df_run * 4 * design.methods / (design.methods + 3)
    by_run = (lent * mean + (1 - lent) * own).reshape(parts.by_run.shape)
    of_mean = (lent**2 + 2 * lent * (1 - lent)) / df_mean
    df_run = 1 / (of_mean + (1 - lent) ** 2 / parts.df_run)
    least = np.maximum(by_run, parts.by_subject)
    variance = np.maximum(by_run + parts.by_subject - parts.interaction, least)
    df = variance**2 / (by_run**2 / df_run + parts.by_subject**2 / parts.df_subject)
    return 2 * scipy.stats.t.sf(np.abs(parts.mean) / np.sqrt(variance), df)


def in_use(parts: Parts, design: Design) -> np.ndarray:
    """p of the report's own function."""
    return np.array([_family(parts, design, i) for i in range(len(parts.mean))])


def _family(parts: Parts, design: Design, family: int) -> np.ndarray:
    size = (design.subsets * design.seeds, design.subsets, design.subjects)
    differences = []
    for k in range(parts.mean.shape[1]):
        arm, budget = divmod(k, design.budgets)
        between = (
            Between(float(parts.by_run[family, k]), float(parts.df_run), 0.0),
            Between(float(parts.by_subject[family, k]), float(parts.df_subject), 0.0),
            float(parts.interaction[family, k]),
        )
        spread = Spread(float(parts.mean[family, k]), 0.0, 0.0, *size, 0, 0.0, *between)
        differences.append(Difference(spread, f"method {arm}", "baseline", budget))
    return family_test(differences).p


RULES: dict[str, Callable[[Parts, Design], np.ndarray]] = {
    "each by itself, Satterthwaite": by_itself,
    "df = subsets - 1": few_degrees,
    "one variance a budget (Dunnett)": dunnett,
    "half lent, Satterthwaite": moderated,
    "half lent, Cochran (in use)": in_use,
}


def significant(p_TM: np.ndarray, alone_TM: np.ndarray) -> np.ndarray:
    """``(T, M)`` verdicts after Holm's correction; p is never below that of the comparison."""
    corrected = np.array([holm(p_M) for p_M in p_TM])
    return np.maximum(corrected, alone_TM) < LEVEL


def declared(p_TM: np.ndarray, alone_TM: np.ndarray) -> np.ndarray:
    """``(T, M)`` verdicts where the first comparison is declared, and the gate of all others."""
    others = significant(p_TM[:, 1:], alone_TM[:, 1:])
    first = alone_TM[:, :1] < LEVEL
    return np.concatenate([first, others & first], axis=1)


# ------------------------------------------------------------------ rows
def simulate(design: Design, families: int, seed: int = 0) -> list[dict[str, object]]:
    """A row of families.csv for each rule, and one for a declared comparison."""
    rng = np.random.default_rng(seed)
    better = max(1, round(FEW * design.methods))
    by_rule: dict[str, list[float]] = {name: [] for name in (*RULES, DECLARED)}
    for gain in (0.0, *GAINS):
        hits: dict[str, list[float]] = {name: [] for name in by_rule}
        for _ in range(_chunks(families, gain)):
            y = scores(rng, design, CHUNK)
            y[:, 1 : 1 + better] += gain
            for name, verdict_TM in verdicts_of(y, design).items():
                hits[name].append(_rate(verdict_TM, design, name, better, gain))
        for name, rates in hits.items():
            by_rule[name].append(round(float(np.mean(rates)), 4))
    return [
        dict(zip(COLUMNS, (*design, name, families, *rates), strict=True))
        for name, rates in by_rule.items()
    ]


def verdicts_of(y: np.ndarray, design: Design) -> dict[str, np.ndarray]:
    """``(T, M)`` verdicts by each rule."""
    parts = parts_of(y)
    alone_TM = by_itself(parts, design)
    p = {name: rule(parts, design) for name, rule in RULES.items()}
    verdicts = {name: significant(p_TM, alone_TM) for name, p_TM in p.items()}
    return verdicts | {DECLARED: declared(p[IN_USE], alone_TM)}


def _chunks(families: int, gain: float) -> int:
    """Power needs a quarter of the families that a rate of .05 does."""
    if gain:
        families //= 4
    return max(1, families // CHUNK)


def _rate(verdict_TM: np.ndarray, design: Design, rule: str, better: int, gain: float) -> float:
    """Families with any verdict, or without the null the share of true gains that are found."""
    if not gain:
        return float(verdict_TM.any(1).mean())
    if rule == DECLARED:
        return float(verdict_TM[:, 0].mean())
    return float(verdict_TM[:, : better * design.budgets].mean())


IN_USE = "half lent, Cochran (in use)"
CHUNK = 50
DECLARED = "declared first (its power), others as in use"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--families", type=int, default=600)
    parser.add_argument("--out", type=Path, default=RESULTS / "families.csv")
    args = parser.parse_args()
    start = time.monotonic()
    rows = []
    for number, design in enumerate(designs()):
        rows += simulate(design, args.families, number)
    with args.out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    for rule in (*RULES, DECLARED):
        of_rule = [row for row in rows if row["rule"] == rule]
        worst = max(float(str(row["any_verdict"])) for row in of_rule)
        found = np.mean([float(str(row["finds_10"])) for row in of_rule])
        print(f"{rule:46} at most {worst:.3f} false, finds {found:.2f} of gains of 0.1")
    print(f"{time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
