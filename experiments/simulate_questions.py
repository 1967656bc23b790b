"""Do the answers to the questions of a study hold? Coverage, error rates and power on simulated
scores whose truth is known.

Command: python experiments/simulate_questions.py
(writes experiments/results/questions.csv; 966 s beside other work; --only "report of folds"
--tables 1000 another 75 s)
Tables runs × subjects have normal effects of label subset, seed, subject, subset × subject and
residual, as in simulate_statistics.py. Scores of a whole curve have subset effects at each budget
that shrink with it. A standard error of a rate of .95 from 1500 tables is .006.
"""

from __future__ import annotations

import argparse
import csv
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from semiseg.analysis.areas import area_interval, budget_interaction, log_trend
from semiseg.analysis.cross_validation import corrected_mean, fold_means
from semiseg.analysis.data_sets import combine
from semiseg.analysis.families import Difference, family_test
from semiseg.analysis.labels_needed import labels_needed
from semiseg.analysis.margins import margin_test
from semiseg.analysis.planning import Goal, Size, power_of
from semiseg.analysis.prediction import next_study, true_mean
from semiseg.analysis.runs import Run, Runs
from semiseg.analysis.scores import Scores
from semiseg.analysis.statistics import holm, mean_test, spread
from semiseg.analysis.study import study
from semiseg.analysis.surface import cheapest
from semiseg.analysis.variance import Split

HERE = Path(__file__).parent
COLUMNS = ("question", "what", "design", "tables", "rate", "nominal")
MARGIN = 1.0


class Effects(NamedTuple):
    """Standard deviations of a score."""

    subset: float
    seed: float
    subject: float
    crossed: float
    residual: float


EFFECTS = {
    "subjects": Effects(
        0.3,
        0.3,
        1.0,
        0.3,
        0.5,
    ),
    "all alike": Effects(
        0.5,
        0.5,
        0.5,
        0.5,
        0.5,
    ),
    "subsets": Effects(
        1.0,
        0.3,
        0.3,
        0.3,
        0.3,
    ),
    "seeds": Effects(
        0.0,
        1.0,
        0.3,
        0.2,
        0.3,
    ),
}
SIZES = (
    Size(3, 3, 20),
    Size(3, 1, 20),
    Size(5, 1, 20),
    Size(5, 3, 10),
    Size(3, 3, 164),
)
BUDGETS = (4, 8, 16, 32)


class Row(NamedTuple):
    """One line of questions.csv."""

    question: str
    what: str
    design: str
    tables: int
    rate: float
    nominal: float | str


def table(rng: np.random.Generator, effects: Effects, size: Size) -> np.ndarray:
    """``(R, S)`` scores of mean 0."""
    j, n, s, _ = size
    y_JNS = (
        effects.subset * rng.normal(size=(j, 1, 1))
        + effects.seed * rng.normal(size=(j, n, 1))
        + effects.subject * rng.normal(size=s)
        + effects.crossed * rng.normal(size=(j, 1, s))
        + effects.residual * rng.normal(size=(j, n, s))
    )
    return y_JNS.reshape(j * n, s)


def subsets(size: Size) -> np.ndarray:
    """The label subset of each row."""
    return np.repeat(np.arange(size.subsets), size.seeds)


def named(size: Size, most: str = "") -> str:
    """A design in a line of the table."""
    text = f"{size.subsets} x {size.seeds} x {size.subjects}"
    return f"{text}, {most} vary most" if most else text


def rate(hits: list[bool]) -> float:
    """Share of the tables."""
    return round(float(np.mean(hits)), 4)


# ------------------------------------------------------------------ one budget
def margins(rng: np.random.Generator, count: int) -> Iterator[Row]:
    """A loss of just the margin must not pass; a difference of 0 should."""
    for size in SIZES:
        for most, effects in EFFECTS.items():
            worse = []
            alike = []
            power = []
            for _ in range(count):
                y_RS = table(rng, effects, size)
                at_margin = margin_test(y_RS - MARGIN, subsets(size), MARGIN)
                worse.append(at_margin.noninferior)
                alike.append(at_margin.equivalent)
                power.append(margin_test(y_RS, subsets(size), MARGIN).noninferior)
            place = named(size, most)
            yield Row(
                "non-inferiority",
                "claimed at a loss of the margin",
                place,
                count,
                rate(worse),
                0.05,
            )
            yield Row(
                "equivalence",
                "claimed at a loss of the margin",
                place,
                count,
                rate(alike),
                0.05,
            )
            yield Row(
                "non-inferiority",
                "claimed where both are alike (power)",
                place,
                count,
                rate(power),
                "",
            )


def predictions(rng: np.random.Generator, count: int) -> Iterator[Row]:
    """Does the next study lie in its interval; is a probability of .9 right nine times in ten?"""
    for size in SIZES:
        for most, effects in EFFECTS.items():
            for subjects in (1, 20, math.inf):
                hits = []
                for _ in range(count // 2):
                    y_RS = table(rng, effects, size)
                    low, high = next_study(y_RS, subsets(size), subjects=subjects).interval()
                    hits.append(low <= next_score(rng, effects, subjects) <= high)
                yield Row(
                    "next study",
                    f"interval covers, {subjects:g} subjects",
                    named(size, most),
                    len(hits),
                    rate(hits),
                    0.95,
                )


def next_score(rng: np.random.Generator, effects: Effects, subjects: float) -> float:
    """The mean of one new run on new subjects."""
    run = effects.subset * rng.normal() + effects.seed * rng.normal()
    one = effects.subject**2 + effects.crossed**2 + effects.residual**2
    return float(run + math.sqrt(one / subjects) * rng.normal())


def calibration(rng: np.random.Generator, count: int) -> Iterator[Row]:
    """Of the studies that say about .9, how many are right? The truth varies as the prior says."""
    for size in SIZES[:3]:
        for what in ("true mean", "next study"):
            bins: dict[str, list[bool]] = {".5-.8": [], ".8-.95": [], ".95-1": []}
            said: dict[str, list[float]] = {name: [] for name in bins}
            for _ in range(4 * count):
                effects = EFFECTS["all alike"]
                truth = rng.uniform(-4, 4)
                y_RS = truth + table(rng, effects, size)
                if what == "true mean":
                    probability = true_mean(y_RS, subsets(size)).above(0.0)
                    right = truth > 0
                else:
                    probability = next_study(y_RS, subsets(size), subjects=20).above(0.0)
                    right = truth + next_score(rng, effects, 20) > 0
                if probability < 0.5:
                    probability = 1 - probability
                    right = not right
                name = bin_of(probability)
                bins[name].append(right)
                said[name].append(probability)
            for name, hits in bins.items():
                yield Row(
                    "P(A > B)",
                    f"{what}: right when it says {name}",
                    named(size),
                    len(hits),
                    rate(hits),
                    round(float(np.mean(said[name])), 3),
                )


def bin_of(probability: float) -> str:
    """Where a probability above one half is counted."""
    if probability < 0.8:
        return ".5-.8"
    return ".8-.95" if probability < 0.95 else ".95-1"


# ------------------------------------------------------------------ curves
def curve(n: np.ndarray | float) -> np.ndarray:
    """The true mean at a label budget."""
    return 0.9 - 0.8 * np.asarray(n, dtype=float) ** -0.5


def scale(n: np.ndarray | float) -> np.ndarray:
    """How much label subsets vary at a budget."""
    return 0.06 * np.asarray(n, dtype=float) ** -0.25


def curve_tables(
    rng: np.random.Generator,
    size: Size,
    budgets: tuple[int, ...] = BUDGETS,
) -> list[np.ndarray]:
    """Tables of one method at all budgets: subjects are the same, subset effects differ."""
    hard_S = 0.08 * rng.normal(size=size.subjects)
    tables = []
    for n in budgets:
        effects = Effects(
            float(scale(n)),
            0.01,
            0.0,
            0.02,
            0.03,
        )
        tables.append(curve(n) + hard_S + table(rng, effects, size))
    return tables


def needed(rng: np.random.Generator, count: int) -> Iterator[Row]:
    """Does a new study need as many labels as its interval says?"""
    for size in (Size(3, 3, 20), Size(3, 1, 20), Size(5, 1, 20)):
        for where, budgets, score in (
            ("inside the budgets", BUDGETS, 0.7),
            ("beyond, 4 budgets", BUDGETS, 0.785),
            ("beyond, 5 budgets", (2, *BUDGETS), 0.785),
        ):
            hits = []
            bounded = []
            for _ in range(count // 4):
                result = labels_needed(
                    curve_tables(rng, size, budgets),
                    subsets(size),
                    budgets,
                    score,
                    top=1.0,
                )
                hits.append(result.low <= new_need(rng, score, result.smallest) <= result.high)
                bounded.append(math.isfinite(result.high))
            yield Row(
                "labels for a score",
                f"interval covers, {where}",
                named(size),
                len(hits),
                rate(hits),
                0.95,
            )
            yield Row(
                "labels for a score",
                f"upper end is finite, {where}",
                named(size),
                len(hits),
                rate(bounded),
                "",
            )


def new_need(rng: np.random.Generator, score: float, smallest: float) -> float:
    """With how many labels a new study reaches a score on average over all subjects: its subset is
    as good or bad, for its size, at every budget. 0 with the smallest budget or fewer.
    """
    luck = math.hypot(1.0, 0.01 / 0.035) * rng.normal()
    n_N = np.geomspace(1, 4096, 4001)
    reached_N = curve(n_N) + luck * scale(n_N) >= score
    if not reached_N.any():
        return math.inf
    first = float(n_N[int(np.argmax(reached_N))])
    return first if first > smallest else 0.0


def curves(rng: np.random.Generator, count: int) -> Iterator[Row]:
    """Areas, interactions and dose–response of differences that are the same at every budget."""
    for size in SIZES[:4]:
        for most in ("subjects", "subsets"):
            effects = EFFECTS[most]
            covered = []
            any_pattern = []
            slope = []
            trend = []
            for _ in range(count // 2):
                common_RS = table(rng, effects, size)
                tables = [common_RS + table(rng, effects, size) for _ in BUDGETS]
                area, _ = area_interval(tables, subsets(size), BUDGETS)
                covered.append(area.low <= 0 <= area.high)
                result = budget_interaction(tables, subsets(size), BUDGETS)
                any_pattern.append(result.p < 0.05)
                slope.append(result.p_slope < 0.05)
                ratios = (0.25, 0.5, 1.0, 2.0)
                trend.append(log_trend(tables, subsets(size), ratios).p < 0.05)
            place = named(size, most)
            n = len(covered)
            yield Row(
                "area under the curve",
                "interval covers",
                place,
                n,
                rate(covered),
                0.95,
            )
            yield Row(
                "interaction",
                "any pattern, false positives",
                place,
                n,
                rate(any_pattern),
                0.05,
            )
            yield Row(
                "interaction",
                "slope, false positives",
                place,
                n,
                rate(slope),
                0.05,
            )
            yield Row(
                "dose-response",
                "trend, false positives",
                place,
                n,
                rate(trend),
                0.05,
            )


# ------------------------------------------------------------------ folds, sets, compute, planning
def folds(rng: np.random.Generator, count: int) -> Iterator[Row]:
    """Cross-validation: what a training subject teaches is in every fold that trains on it."""
    for subjects, number, repeats in ((100, 5, 1), (100, 10, 1), (100, 5, 10), (40, 5, 1)):
        for teaches in (0.3, 1.0, 3.0):
            corrected = []
            naive = []
            by_subject = []
            for _ in range(count):
                means, score_S = cross_validation(
                    rng,
                    subjects,
                    number,
                    repeats,
                    teaches,
                )
                test = subjects / number
                result = corrected_mean(means, test=test, train=subjects - test)
                corrected.append(result.p < 0.05)
                naive.append(corrected_mean(means, test=0, train=1).p < 0.05)
                by_subject.append(mean_test(score_S[None], [""]) < 0.05)
            place = f"{subjects} subjects, {number} folds x {repeats}, training x {teaches}"
            for what, hits in (
                ("corrected variance, false positives", corrected),
                ("folds as if independent, false positives (for comparison)", naive),
                ("subjects as if independent, false positives (for comparison)", by_subject),
            ):
                yield Row(
                    "cross-validation",
                    what,
                    place,
                    count,
                    rate(hits),
                    0.05,
                )


def report_of_folds(rng: np.random.Generator, count: int) -> Iterator[Row]:
    """The report's own verdicts and intervals on folds of a baseline and three equal settings."""
    for subjects, number in ((20, 5), (40, 5), (100, 5), (100, 10)):
        for teaches in (0.3, 1.0, 3.0):
            wrong = []
            covers = []
            for _ in range(count):
                s = study(study_of_folds(rng, subjects, number, teaches))
                wrong.append(any(s.verdict(c) for c in s.comparisons))
                interval = s.cells["supervised", 8].interval
                covers.append(interval.low < TRUE_DICE < interval.high)
            place = f"{subjects} subjects, {number} folds, 3 comparisons, training x {teaches}"
            question = "report of folds"
            if teaches > 1:
                question = "report of folds (training decides)"
            yield Row(question, "any false verdict", place, count, rate(wrong), 0.05)
            yield Row(question, "interval of the mean covers", place, count, rate(covers), 0.95)


TRUE_DICE = 0.8
FOLD_METHODS = ("supervised", "mean_teacher", "fixmatch", "cps")


def study_of_folds(rng: np.random.Generator, subjects: int, number: int, teaches: float) -> Runs:
    """Runs of every fold of four settings; a standard deviation of a subject is 0.04 of Dice.

    As in :func:`cross_validation`, of the difference of two settings: what a subject is to the one
    and not to the other has variance 1, and ``teaches`` is the part of its training subjects.
    """
    hard_S = rng.normal(size=subjects)
    fold_S = rng.permutation(subjects) % number
    axes = ({"val": 0}, {"last": 0}, {"dice": 0}, {"organ": 0})
    names = {f"p{s:03d}": s for s in range(subjects)}
    runs = []
    for method in FOLD_METHODS:
        teaches_S = teaches * rng.normal(size=subjects)
        own_S = rng.normal(size=subjects)
        for fold in range(number):
            quality = teaches_S[fold_S != fold].mean() + 0.1 * rng.normal()
            noise_S = 0.3 * rng.normal(size=subjects)
            score_S = hard_S + 0.5**0.5 * (quality + own_S + noise_S)
            score_S[fold_S != fold] = np.nan
            value = (TRUE_DICE + 0.04 * score_S).reshape(1, 1, 1, 1, -1)
            scores = Scores((*axes, names), {"dice": "1"}, value, np.ones((1, 1, 1, 1), bool))
            config = {"data": "simulated", "labels": 8, "folds": number, "fold": fold}
            config |= {"method": {"name": method}, "net": {"name": "unet"}}
            name = f"{method}-{fold}"
            runs.append(Run(Path(name), name, config, {}, {}, scores))
    return Runs(runs)


def cross_validation(
    rng: np.random.Generator, subjects: int, number: int, repeats: int, teaches: float
) -> tuple[np.ndarray, np.ndarray]:
    """Means of all folds, and each subject's score of the last repeat. The true mean is 0."""
    teaches_S = teaches * rng.normal(size=subjects)
    hard_S = rng.normal(size=subjects)
    means = []
    score_S = np.zeros(subjects)
    for _ in range(repeats):
        fold_S = rng.permutation(subjects) % number
        for fold in range(number):
            quality = teaches_S[fold_S != fold].mean() + 0.1 * rng.normal()
            held_out_S = fold_S == fold
            noise_S = 0.3 * rng.normal(size=int(held_out_S.sum()))
            score_S[held_out_S] = quality + hard_S[held_out_S] + noise_S
        means.append(fold_means(score_S, fold_S.tolist()))
    return np.concatenate(means), score_S


def sets(rng: np.random.Generator, count: int) -> Iterator[Row]:
    """Several data sets: the mean over sets, and another set."""
    size = Size(3, 3, 20)
    effects = EFFECTS["all alike"]
    for number in (2, 3, 5, 8):
        for between in (0.0, 0.5):
            covered = []
            new = []
            for _ in range(count // 2):
                truth_K = between * rng.normal(size=number)
                spreads = [spread(m + table(rng, effects, size), subsets(size)) for m in truth_K]
                result = combine([s.mean for s in spreads], [s.error for s in spreads])
                covered.append(result.low <= 0 <= result.high)
                new.append(result.new_low <= between * rng.normal() <= result.new_high)
            place = f"{number} data sets of {named(size)}, between sets {between}"
            n = len(covered)
            yield Row(
                "several data sets",
                "interval covers",
                place,
                n,
                rate(covered),
                0.95,
            )
            if number > 2:
                yield Row(
                    "several data sets",
                    "prediction interval covers",
                    place,
                    n,
                    rate(new),
                    0.95,
                )


def compute(rng: np.random.Generator, count: int) -> Iterator[Row]:
    """Labels against compute: does the interval hold the cheapest true cost?"""
    steps = (250, 500, 1000)
    budgets = (4, 8, 16)
    for size in (Size(3, 1, 20), Size(5, 1, 20), Size(3, 3, 20)):
        for most, effects in (
            (
                "subsets",
                Effects(
                    0.03,
                    0.01,
                    0.03,
                    0.02,
                    0.03,
                ),
            ),
            (
                "subjects",
                Effects(
                    0.01,
                    0.01,
                    0.1,
                    0.02,
                    0.03,
                ),
            ),
        ):
            score = 0.62
            prices = {"label_cost": 1.0, "step_cost": 0.01}
            true_BT = np.array([[level(n, t) for t in steps] for n in budgets])
            no_error = [[np.full((1, 1), cell) for cell in row] for row in true_BT]
            truth = cheapest(
                no_error,
                [0],
                budgets,
                steps,
                score,
                draws=1,
                **prices,
            ).cost
            hits = []
            for i in range(count // 10):
                common_S = effects.subject * rng.normal(size=size.subjects)
                apart = effects._replace(subject=0.0)
                grid = [[m + common_S + table(rng, apart, size) for m in row] for row in true_BT]
                result = cheapest(
                    grid, subsets(size), budgets, steps, score, draws=200, seed=i, **prices
                )
                hits.append(result.low <= truth * 1.001 and truth * 0.999 <= result.high)
            yield Row(
                "labels against compute",
                "interval of the cheapest cost covers",
                named(size, most),
                len(hits),
                rate(hits),
                0.95,
            )


def level(n: float, steps: float) -> float:
    """The true mean with so many labels and steps."""
    return float(0.9 - 0.6 * n**-0.5 - 0.6 * (steps / 50) ** -0.6)


def planning(rng: np.random.Generator, count: int) -> Iterator[Row]:
    """Is the power of a plan what the report's test has, alone and in a family of four?"""
    for most in ("subjects", "all alike", "subsets"):
        effects = EFFECTS[most]
        for size in (Size(3, 3, 20), Size(5, 1, 20), Size(8, 1, 20), Size(12, 1, 40)):
            components = Split(*effects)
            gain = 3 * math.sqrt(effects.subset**2 / size.subsets + effects.subject**2 / 20)
            hits = []
            for _ in range(count):
                y_RS = gain + table(rng, effects, size)
                hits.append(mean_test(y_RS, subsets(size)) < 0.05)
            planned = round(power_of(components, size, Goal(gain)), 3)
            yield Row(
                "planning",
                "power of a declared comparison; nominal: the plan's",
                named(size, most),
                count,
                rate(hits),
                planned,
            )
            yield Row(
                "planning",
                "power in a family of four; nominal: the plan's",
                named(size, most),
                count // 4,
                *family_power(
                    rng,
                    count // 4,
                    effects,
                    size,
                    gain,
                ),
            )


def family_power(
    rng: np.random.Generator, count: int, effects: Effects, size: Size, gain: float
) -> tuple[float, float]:
    """How often the verdict finds one setting of four that gains, and how often the plan says."""
    hits = []
    for _ in range(count):
        base_RS = table(rng, effects, size)
        members = []
        for k in range(4):
            difference_RS = table(rng, effects, size) - base_RS + 2**0.5 * gain * (k == 0)
            members.append(
                Difference(
                    spread(difference_RS, subsets(size)),
                    f"{k}",
                    "base",
                    8,
                )
            )
        hits.append(bool(holm(family_test(members).p)[0] < 0.05))
    components = Split(*(2**0.5 * deviation for deviation in effects))
    goal = Goal(2**0.5 * gain, comparisons=4, together=4)
    return rate(hits), round(power_of(components, size, goal), 3)


QUESTIONS: dict[str, Callable[[np.random.Generator, int], Iterator[Row]]] = {
    "margins": margins,
    "predictions": predictions,
    "calibration": calibration,
    "needed": needed,
    "curves": curves,
    "folds": folds,
    "report of folds": report_of_folds,
    "sets": sets,
    "compute": compute,
    "planning": planning,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=int, default=1500)
    parser.add_argument("--only", choices=tuple(QUESTIONS), action="append")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "questions.csv")
    args = parser.parse_args()
    began = time.monotonic()
    rows = []
    for name in args.only or QUESTIONS:
        for row in QUESTIONS[name](np.random.default_rng(0), args.tables):
            rows.append(row)
            print(f"{row.question:24} {row.what:60} {row.design:44} {row.rate:.3f} {row.nominal}")
    with args.out.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(rows)
    print(f"{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
