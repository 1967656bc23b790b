"""Which test holds its level where label subsets have many subjects in common?

Command: python experiments/simulate_overlap.py
(writes experiments/results/overlap_rules.csv; about 60 s of one core)

Studies of one comparison, 3 or 5 label subsets, drawn by experiments/family_scores.py from small
training pools. ``error`` is the share of studies without a true difference that have p < 0.05, at
most and on average over the designs; ``finds_10`` the share of gains of 0.1 (of HD95: 1 mm) that
are found. V_A, V_C and V_X are the variances between subsets, between subjects and of both; a is
the number of subsets less one and r the share of its subjects that a subset has in common with
another one. Every rule but the last takes Nadeau and Bengio's (2003) squared error: r / (1 - r)
for each subset times V_A - V_X is added.
"""

from __future__ import annotations

import csv
import itertools
import time
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import scipy.special
from family_scores import LONGER, RESULTS, Design, scores
from simulate_families import family_of

from semiseg.analysis.satterthwaite import LEAST_HIDDEN, degrees_left, widened
from semiseg.analysis.skewness import smaller

SEED = 20261128
STUDIES = 10_000
LEVEL = 0.05
GAIN = 0.1
KINDS = ("nuclei", "ACDC", "ACDC, one method 3 ×", "failing Dice", *LONGER)
RUNS = (
    (3, 1, 10),
    (3, 3, 40),
    (3, 3, 164),
    (5, 1, 10),
    (5, 3, 40),
    (5, 3, 164),
)
POOLS = ("7 of 70", "8 of 16", "6 of 8")
REFUSED = "no verdict from a quarter of shared subjects on"
COLUMNS = ("pool", "rule", "designs", "studies", "highest_error", "mean_error", "finds_10")


class Parts(NamedTuple):
    """Variances of a difference in ``(T,)`` studies."""

    mean: np.ndarray
    v_a: np.ndarray
    v_c: np.ndarray
    v_x: np.ndarray
    third: np.ndarray
    a: float
    c: float
    overlap: float


def parts_of(rng: np.random.Generator, design: Design) -> Parts:
    """Of as many studies without a true difference."""
    arrays = []
    for _ in range(10):
        family = family_of(scores(rng, design, STUDIES // 10), design)
        arrays.append(np.stack(family[:5])[..., 0])
    both = family.df_run[0], family.df_subject[0], family.overlap[0]
    return Parts(*np.concatenate(arrays, 1), *map(float, both))


# ------------------------------------------------------------------ rules
def rejected(p: Parts, rule: str, gain: float) -> np.ndarray:
    """Which studies have p < 0.05 by a rule, were the true difference ``gain``."""
    odds = (p.a + 1) * p.overlap / (1 - p.overlap)
    hidden = np.maximum(p.v_a - p.v_x, LEAST_HIDDEN * p.v_a)
    if rule == "all of V_A hides as much":
        hidden = p.v_a
    v_a = p.v_a + odds * hidden
    variance = v_a + p.v_c - p.v_x
    smallest = variance <= p.v_x
    variance = np.maximum(variance, p.v_x)
    skewness = p.third / np.maximum(variance, p.v_c) ** 1.5
    statistic = smaller((p.mean + gain) / np.sqrt(variance), skewness)
    if rule == REFUSED and p.overlap >= 0.25:
        return np.zeros(p.mean.size, dtype=bool)
    if rule == "Cochran's critical value":
        of_subsets = v_a * scipy.special.stdtrit(p.a, 1 - LEVEL / 2)
        of_subjects = p.v_c * scipy.special.stdtrit(p.c, 1 - LEVEL / 2)
        return statistic > (of_subsets + of_subjects) / (v_a + p.v_c)
    a = degrees(p, rule)
    wide_a = widened(v_a, a)
    taken_off = p.v_x
    if rule == "Satterthwaite's of the difference V_A - V_X":
        wide_a = widened(p.v_a * (1 + odds), a)
        taken_off = p.v_x * (1 + odds)
    wide_c = widened(p.v_c, p.c)
    both = np.maximum(wide_a + wide_c - taken_off, p.v_x)
    squares = wide_a**2 / a + wide_c**2 / p.c + p.v_x**2 / (p.a * p.c)
    df = np.maximum(both**2 / squares, min(a, p.c))
    df = np.where(smallest, p.a * p.c, df)
    return statistic > scipy.special.stdtrit(df, 1 - LEVEL / 2)


def degrees(p: Parts, rule: str) -> float:
    """Degrees of freedom of V_A."""
    if rule == IN_USE:
        return float(degrees_left(p.a, p.overlap))
    if rule == "a (1 - r / 2) degrees of freedom":
        return p.a * (1 - p.overlap / 2)
    if rule == "effective number of subsets, less 1":
        effective = (p.a + 1) / (1 + p.a * p.overlap)
        return max(1.0, effective - 1)
    return p.a


IN_USE = "a (1 - r / 3) degrees of freedom (in use)"
RULES = (
    "a degrees of freedom (before)",
    "all of V_A hides as much",
    "Satterthwaite's of the difference V_A - V_X",
    "Cochran's critical value",
    "effective number of subsets, less 1",
    "a (1 - r / 2) degrees of freedom",
    IN_USE,
    REFUSED,
)


# ------------------------------------------------------------------ table
def rows() -> Iterator[dict[str, object]]:
    """A row of each pool and rule."""
    number = 0
    for pool in POOLS:
        rates: dict[str, list[tuple[float, float]]] = {rule: [] for rule in RULES}
        for kind, runs in itertools.product(KINDS, RUNS):
            design = Design(f"{kind}, {pool}", "one baseline", 1, 1, *runs)
            p = parts_of(np.random.default_rng([SEED, number]), design)
            number += 1
            gain = 10 * GAIN if kind in LONGER else GAIN
            for rule, of_rule in rates.items():
                error = rejected(p, rule, 0.0).mean()
                of_rule.append((float(error), float(rejected(p, rule, gain).mean())))
        for rule, of_rule in rates.items():
            errors, powers = np.array(of_rule).T
            figures = (errors.max(), errors.mean(), powers.mean())
            rounded = [round(float(figure), 4) for figure in figures]
            values = (pool, rule, len(of_rule), STUDIES, *rounded)
            yield dict(zip(COLUMNS, values, strict=True))


def main() -> None:
    start = time.process_time()
    table = list(rows())
    with (RESULTS / "overlap_rules.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)
    print(f"{time.process_time() - start:.0f} s of one core")


if __name__ == "__main__":
    main()
