"""How often does a whole family of comparisons hold a false verdict, and what does it find?

Command: python experiments/simulate_families.py
(writes experiments/results/families.csv; about 400 s of one core)

Each family is a study: methods × label budgets, each compared with one baseline, or all pairs of
settings at each budget; experiments/family_scores.py draws its scores. ``any_verdict`` is the share
of studies without a true difference that have a verdict, ``error`` its standard error, and
``beside_gains`` the share that has a false one beside a quarter of methods that gain 0.10.
``finds_…`` is the share of true differences that are found (for HD95, gains of 0.3, 0.5 and 1 mm);
of a declared comparison, how often that one is. It is tested as if it were alone, so that a study
of one comparison has its rates, from ten times as many studies. The rates of the rule in use are
those of the functions that make the report, on arrays; the first studies of each design are also
tested one by one, as the report does, and must have the same verdicts.

A design that the table holds already is not computed again, so that an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.special
from family_scores import LONGER, RESULTS, STUDIES, Design, scores

from semiseg.analysis import statistics
from semiseg.analysis.cluster_variance import Between, between_clusters, degrees_of_freedom
from semiseg.analysis.design import Design as RunDesign
from semiseg.analysis.families import (
    Difference,
    Family,
    Outcome,
    family_test,
    likeness,
    outcome_of,
)
from semiseg.analysis.satterthwaite import LOST, sum_of_variances
from semiseg.analysis.skewness import smaller

SEED = 20261127
"""Drawn once for all designs, after the designs were chosen and before any rate was seen."""
GAINS = (0.03, 0.05, 0.10)
LEVEL = 0.05
FEW = 0.25
"""Share of the methods that gain something, where power is measured."""
ALONE = 10
"""How many times as many studies are of one comparison: a declared one is tested so, whatever the
family."""
CHECKED = 3
"""Studies of a design that are also tested one by one."""
SCORES_AT_ONCE = 400_000
COLUMNS = (
    "scores", "compared", "methods", "budgets", "subsets", "seeds", "subjects", "rule", "families",
    "any_verdict", "error", "beside_gains", "finds_03", "finds_05", "finds_10",
)  # fmt: skip

REAL = (
    (3, 1, 10),
    (3, 3, 40),
    (3, 3, 164),
    (5, 1, 10),
    (5, 3, 164),
)
"""Label subsets, seeds and subjects."""
UNLIKE = (
    (3, 1, 10),
    (3, 3, 164),
    (5, 3, 40),
)
SKEWED = (
    (3, 1, 10),
    (3, 3, 40),
    (3, 3, 164),
    (5, 3, 40),
)
PAIRS = ((3, 1), (4, 3), (8, 3))
"""Methods and budgets of families of all pairs: 6, 30 and 108 comparisons."""


def designs() -> list[Design]:
    """All rows of the table, but for their rules."""
    families = [
        *_gaussian(),
        *_all_pairs(),
        *_skewed(),
        *_look_alikes_and_small_pools(),
    ]
    return [*families, *_declared(families), *_more_small_pools()]


def _declared(families: list[Design]) -> list[Design]:
    """The first comparison of each family by itself, where it is not among them."""
    one = {"compared": "one baseline", "methods": 1, "budgets": 1}
    alone = [d._replace(**one) for d in families]
    return [d for d in dict.fromkeys(alone) if d not in families]


def _gaussian() -> Iterator[Design]:
    for size in ((8, 3), (22, 2)):
        for study in STUDIES:
            for runs in REAL:
                yield Design(study, "one baseline", *size, *runs)
        for unlike, study in itertools.product(("baseline 2.5 ×", "one method 3 ×"), STUDIES):
            for runs in UNLIKE:
                yield Design(
                    f"{study}, {unlike}",
                    "one baseline",
                    *size,
                    *runs,
                )
    for size, study in itertools.product(((1, 1), (1, 3), (3, 3)), STUDIES):
        for runs in REAL:
            yield Design(study, "one baseline", *size, *runs)


def _all_pairs() -> Iterator[Design]:
    for size, study in itertools.product(PAIRS, STUDIES):
        for runs in UNLIKE:
            yield Design(study, "all pairs", *size, *runs)
    for unlike, study in itertools.product(("baseline 2.5 ×", "one method 3 ×"), STUDIES):
        for runs in UNLIKE[:2]:
            yield Design(f"{study}, {unlike}", "all pairs", 4, 3, *runs)


def _skewed() -> Iterator[Design]:
    failing = ("failing Dice", "failing Dice, the baseline fails more")
    for kind in (*failing, *LONGER):
        for runs in SKEWED:
            yield Design(kind, "one baseline", 8, 3, *runs)
        yield Design(kind, "one baseline", 1, 1, *SKEWED[1])
        yield Design(kind, "one baseline", 22, 2, *SKEWED[1])
        for runs in SKEWED[:2]:
            yield Design(kind, "all pairs", 4, 3, *runs)


def _look_alikes_and_small_pools() -> Iterator[Design]:
    for size in ((1, 1), (8, 3)):
        for study in STUDIES:
            yield Design(f"{study}, look-alikes", "one baseline", *size, 3, 3, 164)
        for pool in ("7 of 70", "8 of 16"):
            yield Design(f"ACDC, {pool}", "one baseline", *size, 3, 3, 40)
            yield Design(f"ACDC, {pool}", "one baseline", *size, 5, 3, 40)


def _more_small_pools() -> Iterator[Design]:
    """At the end, so that the numbers of the others stay."""
    small = Design("", "one baseline", 1, 1, 3, 3, 40)
    for kind in ("nuclei", "ACDC, one method 3 ×", "failing Dice", "HD95"):
        half_shared = small._replace(scores=f"{kind}, 8 of 16")
        yield half_shared
        yield half_shared._replace(subsets=5, subjects=164)
        yield half_shared._replace(methods=8, budgets=3)
        yield half_shared._replace(methods=8, budgets=3, subsets=5)
    for kind in ("nuclei, nested in 16", "ACDC, nested in 16", "ACDC, 6 of 8"):
        for subsets in (3, 5):
            yield small._replace(scores=kind, subsets=subsets)
            yield small._replace(scores=kind, methods=8, budgets=3, subsets=subsets)
    half_shared = small._replace(scores="ACDC, 8 of 16", compared="all pairs", methods=4, budgets=3)
    yield half_shared
    yield half_shared._replace(subsets=5)
    yield small._replace(scores="ACDC, 8 of 16", subjects=164)


# ------------------------------------------------------------------ parts of a family
class Alone(NamedTuple):
    """The test of each comparison by itself: ``(T, M)`` statistic and degrees of freedom."""

    statistic: np.ndarray
    df: np.ndarray

    @property
    def p(self) -> np.ndarray:
        """Two-sided."""
        return 2 * scipy.special.stdtr(self.df, -self.statistic)


def family_of(y: np.ndarray, design: Design) -> Family:
    """The sums of :func:`semiseg.analysis.statistics.spread`, of many tables at once."""
    families = len(y)
    subsets, subjects = y.shape[-2:]
    mean_J = y.mean(-1)
    mean = mean_J.mean(-1)
    of_row = mean_J - mean[..., None]
    by_run = _squares(of_row, design) / (subsets * (subsets - 1))

    size_G = np.bincount(design.group_S)
    weight_G = size_G / subjects
    u_JG = (y - mean_J[..., None]) / (subsets * subjects)
    if size_G.size < subjects:
        u_JG = np.add.reduceat(
            u_JG,
            np.cumsum(size_G) - size_G,
            axis=-1,
        )
    u_G = u_JG.sum(-2)
    factor_G = 1 / (1 - weight_G)
    by_subject = _squares(u_G * np.sqrt(factor_G), design)
    u_JG -= u_G[..., None, :] / subsets
    u_JG *= np.sqrt(factor_G)
    crossed = _squares(u_JG.reshape(*u_JG.shape[:-2], -1), design)
    interaction = crossed * subsets / (subsets - 1)
    first, second = np.array(design.couples).T
    apart_G = u_G[:, first] - u_G[:, second]
    third = apart_G * apart_G * apart_G @ factor_G**1.5 * _skewness_factor(weight_G)
    difference = mean[:, first] - mean[:, second]

    parts = (difference, by_run, by_subject, interaction, third)
    flat = [part.reshape(families, -1) for part in parts]
    of_all = np.ones(design.comparisons)
    budget_M = np.arange(design.comparisons) % design.budgets
    names = []
    for couple in _names(design):
        names += [couple] * design.budgets
    return Family(
        *flat,
        df_run=of_all * (subsets - 1),
        df_subject=of_all * degrees_of_freedom(weight_G),
        overlap=design.overlap_B[budget_M],
        pools=[np.flatnonzero(budget_M == budget) for budget in range(design.budgets)],
        alike=likeness(names),
    )


def _squares(u: np.ndarray, design: Design) -> np.ndarray:
    """``(T, couples, B)`` squared differences of ``(T, K + 1, B, X)``, summed over X.

    It is Σu² + Σv² - 2 Σuv, so that the table of all pairs is never made.
    """
    first, second = np.array(design.couples).T
    u = u.swapaxes(1, 2)
    products = np.moveaxis(u @ u.swapaxes(-1, -2), 1, -1)
    squares = products[:, first, first] + products[:, second, second]
    return squares - 2 * products[:, first, second]


def _skewness_factor(weight_G: np.ndarray) -> float:
    """What makes the sum of u³ the third cumulant, from the function of the report."""
    u_G = np.zeros(weight_G.size)
    u_G[0] = 1.0
    return between_clusters(u_G, weight_G).third * float((1 - weight_G[0]) ** 1.5)


def _names(design: Design) -> list[tuple[str, str]]:
    return [(f"setting {first}", f"setting {second}") for first, second in design.couples]


def alone(family: Family) -> Alone:
    """The test of each comparison by itself, with the function that ``mean_test`` uses."""
    shape = family.mean.shape
    variance = np.empty(shape)
    df = np.empty(shape)
    for t, m in np.ndindex(shape):
        by_run = Between(
            family.by_run[t, m],
            family.df_run[m],
            0.0,
        )
        by_subject = Between(
            family.by_subject[t, m],
            family.df_subject[m],
            0.0,
        )
        total = sum_of_variances(
            by_run,
            by_subject,
            family.interaction[t, m],
            family.overlap[m],
        )
        variance[t, m], df[t, m] = total
    skewness = family.third / np.maximum(variance, family.by_subject) ** 1.5
    return Alone(smaller(family.mean / np.sqrt(variance), skewness), df)


# ------------------------------------------------------------------ rules
def by_itself(family: Family, each: Alone) -> np.ndarray:
    """p of each comparison by itself, the test of its interval; the rule of earlier versions."""
    return each.p


def few_degrees(family: Family, each: Alone) -> np.ndarray:
    """p with as many degrees of freedom as label subsets less one."""
    return 2 * scipy.special.stdtr(family.df_run, -each.statistic)


def dunnett(family: Family, each: Alone) -> np.ndarray:
    """p with one variance between subsets for all methods of a budget (all of it lent)."""
    return _pooled(family, 1.0)


def moderated(family: Family, each: Alone) -> np.ndarray:
    """p with half of the variance lent, and Satterthwaite's degrees of freedom (Smyth 2004)."""
    return _pooled(family, 0.5)


def _pooled(family: Family, lent: float) -> np.ndarray:
    by_run = family.by_run.copy()
    df_run = family.df_run.copy()
    for pool in family.pools:
        mean = family.by_run[:, pool].mean(1, keepdims=True)
        by_run[:, pool] = lent * mean + (1 - lent) * family.by_run[:, pool]
        df_mean = df_run[pool] * len(pool) ** 2 / family.alike[np.ix_(pool, pool)].sum()
        of_mean = (lent**2 + 2 * lent * (1 - lent)) / df_mean
        df_run[pool] = 1 / (of_mean + (1 - lent) ** 2 / df_run[pool])
    df_run = (1 - LOST * family.overlap) * df_run
    hidden = (family.df_run + 1) * family.overlap / (1 - family.overlap)
    by_run += hidden * np.maximum(by_run - family.interaction, 0)
    least = np.maximum(by_run, family.by_subject)
    variance = np.maximum(by_run + family.by_subject - family.interaction, least)
    df = variance**2 / (by_run**2 / df_run + family.by_subject**2 / family.df_subject)
    return 2 * scipy.special.stdtr(df, -np.abs(family.mean) / np.sqrt(variance))


CANDIDATES: dict[str, Callable[[Family, Alone], np.ndarray]] = {
    "each by itself, Satterthwaite": by_itself,
    "df = subsets - 1": few_degrees,
    "one variance a budget (Dunnett)": dunnett,
    "half lent, Satterthwaite": moderated,
}
IN_USE = "half lent, Cochran (in use)"
DECLARED = "declared first (its power), others as in use"
RULES = (*CANDIDATES, IN_USE, DECLARED)


def holm_rejects(p_TM: np.ndarray) -> np.ndarray:
    """``(T, M)`` what Holm's method rejects."""
    order = np.argsort(p_TM, axis=1)
    ordered = np.take_along_axis(p_TM, order, 1)
    steps = np.arange(p_TM.shape[1], 0, -1)
    rejected = np.logical_and.accumulate(ordered * steps < LEVEL, axis=1)
    result = np.zeros(p_TM.shape, dtype=bool)
    np.put_along_axis(result, order, rejected, 1)
    return result


def holm_by_critical_value(outcome: Outcome, members: slice) -> np.ndarray:
    """``(T, M)`` what Holm's method rejects of some members of families, without their p-values.

    It rejects all that exceed the critical value of so many tests as remain, until none is added.
    """
    statistic = outcome.statistic[:, members]
    families, tests = statistic.shape
    rejected = np.zeros((families, tests), dtype=bool)
    active = np.arange(families)
    while active.size:
        before = rejected[active].sum(1)
        for remaining in np.unique(tests - before):
            at = active[tests - before == remaining]
            critical = _rows(outcome, at).critical(LEVEL / 2 / max(remaining, 1))[:, members]
            rejected[at] = statistic[at] > critical
        active = active[rejected[active].sum(1) > before]
    return rejected


def _rows(outcome: Outcome, at: np.ndarray) -> Outcome:
    per_family = {name: getattr(outcome, name)[at] for name in outcome._fields[:5]}
    return outcome._replace(**per_family)


def verdicts_of(y: np.ndarray, design: Design) -> dict[str, np.ndarray]:
    """``(T, M)`` verdicts by each rule."""
    family = family_of(y, design)
    each = alone(family)
    apart = each.p < LEVEL
    if design.comparisons == 1:
        return dict.fromkeys((IN_USE,), apart)
    verdicts = {}
    for name, rule in CANDIDATES.items():
        verdicts[name] = holm_rejects(rule(family, each)) & apart
    outcome = outcome_of(family)
    verdicts[IN_USE] = holm_by_critical_value(outcome, slice(None)) & apart
    others = holm_by_critical_value(outcome, slice(1, None)) & apart[:, 1:] & apart[:, :1]
    verdicts[DECLARED] = np.concatenate([apart[:, :1], others], axis=1)
    return verdicts


def check(y: np.ndarray, design: Design, in_use_TM: np.ndarray) -> None:
    """Raise if the functions of the report have other verdicts than the arrays."""
    groups = None
    if "look-alikes" in design.scores:
        groups = tuple(map(str, design.group_S))
    subset_R = [str(j) for j in range(design.subsets)]
    for tables, in_use_M in zip(y, in_use_TM, strict=True):
        differences = []
        p = []
        for first, second in design.couples:
            for budget, overlap in enumerate(design.overlap_B.tolist()):
                runs = RunDesign(subset_R, groups, overlap)
                values_RS = tables[first, budget] - tables[second, budget]
                spread = statistics.spread(values_RS, runs)
                differences.append(Difference(spread, str(first), str(second), budget))
                p.append(statistics.mean_test(values_RS, runs))
        corrected = statistics.holm(family_test(differences).p)
        if len(p) == 1:
            corrected = np.array(p)
        if ((np.maximum(corrected, p) < LEVEL) != in_use_M).any():
            raise RuntimeError(f"the report has other verdicts: {design}")


# ------------------------------------------------------------------ rows
def studies(design: Design, families: int) -> int:
    """How many studies of a design are simulated."""
    if design.comparisons == 1:
        return ALONE * families
    return families


def simulate(design: Design, families: int, seed: int) -> list[dict[str, object]]:
    """A row of families.csv for each rule."""
    rng = np.random.default_rng([SEED, seed])
    families = studies(design, families)
    better = max(1, round(FEW * design.methods))
    false, _ = _rates(rng, design, families, 0.0, better)
    beside: dict[str, float] = {}
    found = []
    for gain in GAINS:
        of_power = families // 10
        if gain == GAINS[-1]:
            of_power = families // 2
        beside, power = _rates(rng, design, of_power, gain, better)
        found.append(power)
    rows = []
    for rule in false:
        rate = false[rule]
        error = np.sqrt(max(rate, 1 / families) * (1 - rate) / families)
        powers = [round(power[rule], 4) for power in found]
        measured = (
            round(rate, 4),
            round(float(error), 4),
            round(beside[rule], 4),
            *powers,
        )
        values = (*design, rule, families, *measured)
        row = dict(zip(COLUMNS, values, strict=True))
        rows.append(row)
    return rows


def _rates(
    rng: np.random.Generator, design: Design, families: int, gain: float, better: int
) -> tuple[dict[str, float], dict[str, float]]:
    """By rule: families with a false verdict, and the share of true differences that are found."""
    if design.kind in LONGER:
        gain = 10 * gain
    first, second = np.array(design.couples).T
    gains = np.zeros(design.methods + 1)
    gains[1 : 1 + better] = gain
    is_true_M = np.repeat(gains[first] != gains[second], design.budgets)
    one = (design.methods + 1) * design.budgets * design.subsets * design.subjects
    if design.kind in LONGER or "failing" in design.scores:
        one *= design.seeds
    at_once = int(np.clip(SCORES_AT_ONCE // one, 10, families))
    false: dict[str, float] = {}
    found: dict[str, float] = {}
    for start in range(0, families, at_once):
        y = scores(rng, design, min(at_once, families - start))
        y += gains[:, None, None, None]
        verdicts = verdicts_of(y, design)
        if start == 0:
            check(
                y[:CHECKED],
                design,
                verdicts[IN_USE][:CHECKED],
            )
        for rule, verdict_TM in verdicts.items():
            true_TM = verdict_TM[:, is_true_M]
            if rule == DECLARED:
                true_TM = true_TM[:, :1]
            false[rule] = false.get(rule, 0) + verdict_TM[:, ~is_true_M].any(1).sum() / families
            if gain:
                found[rule] = found.get(rule, 0) + true_TM.mean(1).sum() / families
    return false, found


def write(path: Path, rows: list[dict[str, object]]) -> None:
    """Write the table."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def stored(path: Path, families: int) -> dict[Design, list[dict[str, object]]]:
    """The rows of a table that an earlier run has computed from as many studies, by design."""
    rows: dict[Design, list[dict[str, object]]] = {}
    if not path.exists():
        return rows
    with path.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            values = [row.get(name, "") for name in Design._fields]
            design = Design(
                values[0],
                values[1],
                *[int(value) for value in values[2:]],
            )
            if int(row["families"]) == studies(design, families):
                rows.setdefault(design, []).append(dict(row))
    return rows


def in_order(by_design: dict[Design, list[dict[str, object]]]) -> list[dict[str, object]]:
    """The rows that there are, in the order of the designs."""
    rows = []
    for design in designs():
        rows += by_design.get(design, [])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--families", type=int, default=4000)
    parser.add_argument("--out", type=Path, default=RESULTS / "families.csv")
    args = parser.parse_args()
    start = time.monotonic()
    by_design = stored(args.out, args.families)
    for number, design in enumerate(designs()):
        if design in by_design:
            continue
        by_design[design] = simulate(design, args.families, number)
        write(args.out, in_order(by_design))
    rows = in_order(by_design)
    for rule in RULES:
        of_rule = [row for row in rows if row["rule"] == rule]
        worst = max(float(str(row["any_verdict"])) for row in of_rule)
        found = np.mean([float(str(row["finds_10"])) for row in of_rule])
        print(f"{rule:46} at most {worst:.4f} false, finds {found:.2f} of gains of 0.1")
    print(f"{time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
