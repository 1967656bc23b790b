"""Do the 95 % intervals hold the truth 95 times in 100, and do the tests cry wolf 5 times in 100?
On simulated scores whose truth is known.

Command: python experiments/simulate_statistics.py
(writes experiments/results/statistics.csv; 471 s beside much other work)
The same functions that make the report are called, on tables runs × subjects with normal effects of
label subset, seed, subject, subset × subject and residual. A standard error of a coverage of .95
from 4000 tables is .0034.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from semiseg.analysis.bootstrap import hierarchical_bootstrap
from semiseg.analysis.curves import curve_interval, label_equivalence
from semiseg.analysis.statistics import mean_interval, mean_test, subject_means
from semiseg.analysis.subject_tests import sign_flip_test, wilcoxon_test

HERE = Path(__file__).parent
COLUMNS = ("what", "varies_most", "subsets", "seeds", "subjects", "tables", "rate", "nominal")
# standard deviations: subset, seed, subject, subset × subject, residual
EFFECTS = {
    "subjects": (0.3, 0.3, 1.0, 0.3, 0.5),
    "all alike": (0.5, 0.5, 0.5, 0.5, 0.5),
    "subsets": (1.0, 0.3, 0.3, 0.3, 0.3),
    "seeds": (0.0, 1.0, 0.3, 0.2, 0.3),
    "subjects only": (0.0, 0.0, 1.0, 0.0, 0.5),
}
DESIGNS = ((3, 3, 20), (3, 3, 100), (5, 3, 20), (3, 1, 20), (3, 1, 10), (1, 3, 20), (2, 3, 20))
BUDGETS = (4, 8, 16, 32, 64)
CURVE = np.array([0.50, 0.62, 0.70, 0.75, 0.78])


def tables(
    rng: np.random.Generator,
    count: int,
    effects: tuple[float, ...],
    subsets: int,
    seeds: int,
    subjects: int,
) -> Iterator[np.ndarray]:
    """``count`` tables ``(R, S)`` of mean 0."""
    subset, seed, subject, crossed, residual = effects
    for _ in range(count):
        y_JNS = (
            subset * rng.normal(size=(subsets, 1, 1))
            + seed * rng.normal(size=(subsets, seeds, 1))
            + subject * rng.normal(size=subjects)
            + crossed * rng.normal(size=(subsets, 1, subjects))
            + residual * rng.normal(size=(subsets, seeds, subjects))
        )
        yield y_JNS.reshape(subsets * seeds, subjects)


def simulate(
    count: int, seed: int = 0, designs: tuple[tuple[int, int, int], ...] = DESIGNS
) -> list[dict[str, object]]:
    """Rows of statistics.csv."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, object]] = []

    def add(
        what: str, most: str, design: tuple[int, int, int], hits: list[bool], nominal: float
    ) -> None:
        rows.append(
            dict(
                zip(
                    COLUMNS,
                    (
                        what,
                        most,
                        *design,
                        len(hits),
                        round(float(np.mean(hits)), 4),
                        nominal,
                    ),
                    strict=True,
                )
            )
        )

    for j, n, s in designs:
        subset = np.repeat(np.arange(j), n)
        for most, effects in EFFECTS.items():
            if j == 1:
                effects = (
                    0.0,
                    effects[1],
                    effects[2],
                    0.0,
                    effects[4],
                )  # one subset: the truth is that of this subset
            made = list(tables(rng, count, effects, j, n, s))
            found = [mean_interval(y, subset) for y in made]
            add(
                "interval of a mean, covers",
                most,
                (j, n, s),
                [i.low <= 0 <= i.high for i in found],
                0.95,
            )
            p = [mean_test(y, subset) for y in made]
            add(
                "paired test, false positives",
                most,
                (j, n, s),
                [x < 0.05 for x in p],
                0.05,
            )
            add(
                "paired test, false positives at .001",
                most,
                (j, n, s),
                [x < 0.001 for x in p],
                0.001,
            )
            if (j, n, s) == designs[0]:
                boot = [
                    hierarchical_bootstrap(y, subset, draws=400, seed=i)
                    for i, y in enumerate(made[: count // 4])
                ]
                add(
                    "percentile bootstrap, covers (for comparison)",
                    most,
                    (j, n, s),
                    [i.low <= 0 <= i.high for i in boot],
                    0.95,
                )
    j, n, s = designs[0]
    subset = np.repeat(np.arange(j), n)
    # tests by subject speak of the trained models at hand: under their null these do not differ,
    # whatever subsets and seeds do elsewhere
    mine = [subject_means(y, subset) for y in tables(rng, count, EFFECTS["subjects only"], j, n, s)]
    flips = [sign_flip_test(d, draws=999, seed=i) < 0.05 for i, d in enumerate(mine)]
    add("sign-flip test by subject, false positives", "subjects only", (j, n, s), flips, 0.05)
    add(
        "Wilcoxon test by subject, false positives",
        "subjects only",
        (j, n, s),
        [wilcoxon_test(d) < 0.05 for d in mine],
        0.05,
    )
    for most in ("subjects", "all alike"):
        curve, equal = _curves(
            rng, max(50, count // 5), tuple(0.03 * e for e in EFFECTS[most]), j, n, s
        )
        add("labels a result is worth, covers", most, (j, n, s), equal, 0.95)
        add("power-law curve at 24 labels, covers", most, (j, n, s), curve, 0.95)
    return rows


def _curves(
    rng: np.random.Generator, count: int, effects: tuple[float, ...], j: int, n: int, s: int
) -> tuple[list[bool], list[bool]]:
    """A subject's difficulty is shared by all budgets and arms, the rest is drawn anew for each."""
    subset = np.repeat(np.arange(j), n)
    curve = []
    equal = []
    law = 0.9 - 0.8 * np.array(BUDGETS) ** -0.6
    truth = float(np.exp(np.interp(0.66, CURVE, np.log(BUDGETS))))
    without = (*effects[:2], 0.0, *effects[3:])
    for _ in range(count):
        hard = effects[2] * rng.normal(size=s)
        noise = [y + hard for y in tables(rng, len(BUDGETS) + 1, without, j, n, s)]
        *baseline, compared = noise
        points = [y + m for y, m in zip(baseline, CURVE, strict=True)]
        result = label_equivalence(compared + 0.66, points, subset, BUDGETS)
        equal.append(result.low <= truth <= result.high)
        law_points = [y + m for y, m in zip(baseline, law, strict=True)]
        _, (at,) = curve_interval(law_points, subset, BUDGETS, [24])
        curve.append(at.low <= 0.9 - 0.8 * 24**-0.6 <= at.high)
    return curve, equal


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=int, default=4000)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "statistics.csv")
    args = parser.parse_args()
    began = time.monotonic()
    rows = simulate(args.tables)
    with args.out.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    for row in rows:
        print(
            f"{row['what']:48} {row['varies_most']:14} {row['subsets']} × {row['seeds']} × "
            f"{row['subjects']:<4} {row['rate']:.3f}"
        )
    print(f"{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
