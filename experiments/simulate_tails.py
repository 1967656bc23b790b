"""Do the intervals of a worst tenth, of a share of failures and of a subgroup's gain hold?

Command: python experiments/simulate_tails.py
(writes experiments/results/tails.csv; 361 s beside other work)
Dice-like scores are the logistic function of tables runs × subjects as in simulate_questions.py, so
that about 7 of 100 are below 0.50. A standard error of a rate of 0.95 from 1000 tables is 0.007.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from simulate_questions import COLUMNS, EFFECTS, SIZES, Effects, Row, named, rate, subsets, table

from semiseg.analysis.planning import Size
from semiseg.analysis.statistics import mean_interval
from semiseg.analysis.tails import FAILURE, TAIL, failure_rate, worst_decile

HERE = Path(__file__).parent
LEVEL = 1.8
"""Of a subject's score, before the logistic function."""
SUBGROUPS = (3, 5, 10)
"""Subjects of a subgroup."""


def scores(rng: np.random.Generator, effects: Effects, size: Size) -> np.ndarray:
    """``(R, S)`` Dice-like scores."""
    return 1 / (1 + np.exp(-LEVEL - table(rng, effects, size)))


def truths(rng: np.random.Generator, effects: Effects, subjects: int) -> tuple[float, float]:
    """The expected mean of the worst tenth of a run's subjects, and the probability of a failure.

    The runs are independent: each has its own label subset and subjects.
    """
    worst = []
    failures = []
    for _ in range(20_000 // subjects + 2_000):
        score_S = np.sort(scores(rng, effects, Size(1, 1, subjects))[0])
        worst.append(score_S[: int(np.ceil(TAIL * subjects))].mean())
        failures.append((score_S < FAILURE).mean())
    return float(np.mean(worst)), float(np.mean(failures))


def tails(rng: np.random.Generator, count: int) -> Iterator[Row]:
    """The worst tenth and the share of failures."""
    for size in SIZES:
        for most, effects in EFFECTS.items():
            worst, failures = truths(rng, effects, size.subjects)
            in_tail = []
            in_share = []
            for _ in range(count):
                score_RS = scores(rng, effects, size)
                tail = worst_decile(score_RS, subsets(size), bounds=(0.0, 1.0))
                in_tail.append(tail.low <= worst <= tail.high)
                share = failure_rate(score_RS, subsets(size))
                in_share.append(share.low <= failures <= share.high)
            place = named(size, most)
            yield Row(
                "worst tenth",
                "interval covers",
                place,
                count,
                rate(in_tail),
                0.95,
            )
            yield Row(
                "failures",
                "interval covers",
                place,
                count,
                rate(in_share),
                0.95,
            )


def subgroups(rng: np.random.Generator, count: int) -> Iterator[Row]:
    """The gain in a subgroup: a mean over few subjects."""
    for subjects in SUBGROUPS:
        size = Size(3, 3, subjects)
        for most, effects in EFFECTS.items():
            covered = []
            for _ in range(count):
                gain = mean_interval(table(rng, effects, size), subsets(size))
                covered.append(gain.low <= 0 <= gain.high)
            place = named(size, most)
            yield Row(
                "gain of a subgroup",
                "interval covers",
                place,
                count,
                rate(covered),
                0.95,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "tails.csv")
    args = parser.parse_args()
    began = time.perf_counter()
    rng = np.random.default_rng(0)
    rows = [*tails(rng, args.tables), *subgroups(rng, args.tables)]
    with args.out.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(rows)
    print(f"{len(rows)} rows in {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
