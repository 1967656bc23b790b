"""Do 95 % intervals hold the truth where scores are skewed, subjects fail or look alike, and label
subsets overlap?

Command: python experiments/simulate_coverage.py
(writes experiments/results/coverage.csv; 1280 s beside much other work; with --overlapping only the
rows of label subsets that share subjects)

Scores are made from a latent value with effects of label subset, seed, subject, subset × subject
and residual, in the proportions of the committed nuclei and ACDC runs, by the score's own scale:
Dice by a logistic, HD95 by an exponential function. Failing subjects (12 %, whole groups together
where there are groups) have a Dice below 0.3. Groups have the sizes of the 60 groups of 164 nuclei
images and a correlation of 0.9 within them. Label subsets are drawn without replacement from a
training pool whose subjects each have an effect. The truth is the mean over all pools, subsets,
seeds and subjects.

``rate`` is the coverage of the interval of the report, ``plain`` that of Student's interval, which
knows no groups, no overlap, no skewness and no bounds; ``width`` the median of their ratio in
width. A standard error of a coverage of 0.95 from 2000 tables is 0.005.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.special
import scipy.stats

from semiseg.analysis.cluster_variance import between_clusters
from semiseg.analysis.curves import curve_interval
from semiseg.analysis.statistics import UNBOUNDED, Spread, interval_of, spread_of_parts

HERE = Path(__file__).parent
COLUMNS = (
    "what", "scores", "groups", "labels", "pool", "subsets", "seeds", "subjects", "tables", "rate",
    "plain", "width",
)  # fmt: skip
RUNS = ((2, 3), (3, 1), (3, 3), (5, 1), (5, 3))
"""Label subsets and seeds."""
SUBJECTS = (10, 20, 60, 164)
POOLS = ((128, 394), (8, 16), (6, 8))
"""Annotated subjects of a label subset and of the training pool."""
GROUP_SIZES = np.repeat([12, 10, 9, 8, 7, 4, 3, 2, 1], [1, 2, 1, 2, 1, 11, 3, 8, 31])
"""Of the 60 groups of the 164 test images of nuclei."""
WITHIN = 0.9
FAILING = 0.12


class Effects(NamedTuple):
    """Standard deviations of the latent value."""

    subset: float
    seed: float
    subject: float
    interaction: float
    residual: float


DICE = Effects(
    subset=0.25,
    seed=0.1,
    subject=1.0,
    interaction=0.7,
    residual=0.3,
)
DISTANCE = Effects(
    subset=0.2,
    seed=0.1,
    subject=0.5,
    interaction=0.6,
    residual=0.3,
)


class Setting(NamedTuple):
    """One row of the study.

    Attributes:
      scores: a name of :data:`SCORES`.
      grouped: whether subjects come in groups.
      labels, pool: size of a label subset and of what it is drawn from; a pool of 0 is endless.
      subsets, seeds, subjects: of a table.
    """

    scores: str
    grouped: bool
    labels: int
    pool: int
    subsets: int
    seeds: int
    subjects: int

    @property
    def share(self) -> float:
        """Share of the pool in a label subset."""
        return self.labels / self.pool if self.pool else 0.0


# ------------------------------------------------------------------ latent values
def group_codes(subjects: int, grouped: bool) -> np.ndarray:
    """``(S,)`` group of each subject; sizes in the proportions of :data:`GROUP_SIZES`.

    >>> np.bincount(group_codes(164, True)).max(), group_codes(164, True).max() + 1
    (12, 60)
    """
    if not grouped:
        return np.arange(subjects)
    groups = max(4, round(subjects * 60 / 164))
    wanted = np.quantile(GROUP_SIZES, np.linspace(1, 0, groups))
    sizes = np.maximum(np.round(wanted * subjects / wanted.sum()), 1).astype(int)
    while sizes.sum() != subjects:
        sizes[np.argmax(sizes)] += np.sign(subjects - sizes.sum())
    return np.repeat(np.arange(groups), sizes)


class Latent(NamedTuple):
    """Latent values ``(T, J, N, S)``: what compared settings share, and a draw of the rest."""

    subject: np.ndarray
    failing: np.ndarray
    draw: Callable[[Effects], np.ndarray]


def latent(rng: np.random.Generator, count: int, setting: Setting) -> Latent:
    """The subjects of ``count`` tables, and a function that draws one compared setting on them."""
    code_S = group_codes(setting.subjects, setting.grouped)
    within = WITHIN if setting.grouped else 0.0
    shape = (count, setting.subsets, setting.seeds)

    def over_subjects(*leading: int) -> np.ndarray:
        group = rng.normal(size=(*leading, int(code_S.max()) + 1))[..., code_S]
        alone = rng.normal(size=(*leading, setting.subjects))
        return np.sqrt(within) * group + np.sqrt(1 - within) * alone

    def draw(effects: Effects) -> np.ndarray:
        by_subset = _of_subsets(rng, count, setting)
        own = np.sqrt(1 - setting.share) * over_subjects(count, setting.subsets)
        common = np.sqrt(setting.share) * over_subjects(count, 1)
        return (
            effects.subset * by_subset[:, :, None, None]
            + effects.seed * rng.normal(size=(*shape, 1))
            + effects.interaction * (own + common)[:, :, None]
            + effects.residual * over_subjects(*shape)
        )

    subject = over_subjects(count)[:, None, None]
    failing = over_subjects(count)[:, None, None] < scipy.stats.norm.ppf(FAILING)
    return Latent(subject, failing, draw)


def _of_subsets(rng: np.random.Generator, count: int, setting: Setting) -> np.ndarray:
    """``(T, J)`` effects of label subsets, of variance 1 over all pools."""
    if not setting.pool:
        return rng.normal(size=(count, setting.subsets))
    effect_TP = rng.normal(size=(count, setting.pool))
    order_TJP = np.argsort(rng.random((count, setting.subsets, setting.pool)), axis=-1)
    chosen = order_TJP[..., : setting.labels]
    picked = np.take_along_axis(
        effect_TP[:, None],
        chosen,
        axis=-1,
    )
    return picked.sum(-1) / np.sqrt(setting.labels)


# ------------------------------------------------------------------ scores
def expit(x: np.ndarray) -> np.ndarray:
    """The logistic function."""
    return 1 / (1 + np.exp(-x))


def dice(z: Latent) -> np.ndarray:
    """Dice near 0.85."""
    return expit(2 + DICE.subject * z.subject + z.draw(DICE))


def failing_dice(z: Latent) -> np.ndarray:
    """Dice near 0.85, below 0.3 for the failing subjects."""
    value = DICE.subject * z.subject + z.draw(DICE)
    return np.where(
        z.failing,
        0.3 * expit(value),
        expit(2 + value),
    )


def hd95(z: Latent) -> np.ndarray:
    """A distance with a heavy tail."""
    return np.exp(1.5 + DISTANCE.subject * z.subject + z.draw(DISTANCE))


def dice_difference(z: Latent) -> np.ndarray:
    """Two settings on the same subjects."""
    return dice(z) - dice(z)


def rescue(z: Latent) -> np.ndarray:
    """One setting fails on subjects on which the other does not."""
    return dice(z) - failing_dice(z)


def hd95_difference(z: Latent) -> np.ndarray:
    """Two settings on the same subjects, one with longer distances."""
    return 1.5 * hd95(z) - hd95(z)


SCORES: dict[str, Callable[[Latent], np.ndarray]] = {
    "Dice": dice,
    "failing Dice": failing_dice,
    "HD95": hd95,
    "difference in Dice": dice_difference,
    "difference in Dice, one fails": rescue,
    "difference in HD95": hd95_difference,
}


BOUNDS = {
    "Dice": (0.0, 1.0),
    "failing Dice": (0.0, 1.0),
    "HD95": (0.0, np.inf),
}
"""As the report knows them; a difference is taken to have none."""


def truth(scores: str) -> float:
    """The mean over everything, from two million scores."""
    one = Setting(scores, False, 0, 0, 1, 1, 1)
    return float(SCORES[scores](latent(np.random.default_rng(7), 2_000_000, one)).mean())


# ------------------------------------------------------------------ the study
def spreads(tables_TJNS: np.ndarray, code_S: np.ndarray, share: float) -> list[Spread]:
    """:func:`~semiseg.analysis.statistics.spread` of many tables without holes at once.

    Args:
      tables_TJNS: scores of table, subset, seed and subject.
      code_S: group of each subject.
      share: overlap of the label subsets.
    """
    _, subsets, seeds, subjects = tables_TJNS.shape
    groups = int(code_S.max()) + 1
    size = (subsets * seeds, subsets, subjects, groups if groups < subjects else 0)
    member_SG = np.eye(groups)[code_S]
    weight_G = member_SG.mean(0)
    factor_G = 1 / (1 - weight_G)
    score_TJS = tables_TJNS.mean(2)
    mean_TJ = score_TJS.mean(2)
    mean_T = mean_TJ.mean(1)
    u_TJ = (mean_TJ - mean_T[:, None]) / subsets
    u_TJG = (score_TJS - mean_TJ[..., None]) @ member_SG / (subsets * subjects)
    u_TG = u_TJG.sum(1)
    interaction_TJG = u_TJG - u_TG[:, None] / subsets
    v_x_T = (interaction_TJG**2 @ factor_G).sum(1) * subsets / (subsets - 1)
    weight_J = np.full(subsets, 1 / subsets)
    results = []
    for mean, u_J, u_G, v_x in zip(mean_T, u_TJ, u_TG, v_x_T, strict=True):
        by_run = between_clusters(u_J, weight_J)
        by_subject = between_clusters(u_G, weight_G)
        results.append(spread_of_parts(mean, size, by_run, by_subject, v_x, share))
    return results


def coverage(setting: Setting, true: float, count: int, seed: int = 0) -> dict[str, object]:
    """A row of coverage.csv."""
    rng = np.random.default_rng([seed, *map(int, setting[1:])])
    tables = SCORES[setting.scores](latent(rng, count, setting))
    tables_TJNS = tables.reshape(count, setting.subsets, setting.seeds, setting.subjects)
    code_S = group_codes(setting.subjects, setting.grouped)
    bounds = BOUNDS.get(setting.scores, UNBOUNDED)
    hits = []
    plain = []
    ratio = []
    known = spreads(tables_TJNS, code_S, setting.share)
    unknown = spreads(tables_TJNS, np.arange(setting.subjects), 0.0)
    for s, student in zip(known, unknown, strict=True):
        interval = interval_of(s, 0.95, bounds)
        half = scipy.special.stdtrit(student.df, 0.975) * student.error
        hits.append(interval.low <= true <= interval.high)
        plain.append(abs(student.mean - true) <= half)
        ratio.append((interval.high - interval.low) / (2 * half))
    groups = int(code_S.max()) + 1 if setting.grouped else 0
    return {
        "what": "interval of a mean",
        "scores": setting.scores,
        "groups": groups,
        "labels": setting.labels,
        "pool": setting.pool,
        "subsets": setting.subsets,
        "seeds": setting.seeds,
        "subjects": setting.subjects,
        "tables": count,
        "rate": round(float(np.mean(hits)), 4),
        "plain": round(float(np.mean(plain)), 4),
        "width": round(float(np.median(ratio)), 4),
    }


def settings() -> Iterator[Setting]:
    """All rows: endless pools with every number of subjects, small pools with 60 subjects."""
    for scores in SCORES:
        for grouped in (False, True):
            for subsets, seeds in RUNS:
                for subjects in SUBJECTS:
                    yield Setting(scores, grouped, 0, 0, subsets, seeds, subjects)
                for labels, pool in POOLS:
                    yield Setting(scores, grouped, labels, pool, subsets, seeds, 60)


# ------------------------------------------------------------------ beyond the budgets
DISTANCES = (0.75, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Multiples of the largest budget."""
LAWS = (
    (4, 8, 16),
    (4, 8, 16, 32),
    (4, 8, 16, 32, 64),
)


def power_laws(count: int, seed: int = 0) -> list[dict[str, object]]:
    """Rows on the power law: 3 subsets × 3 seeds × 20 subjects, the truth is a power law."""
    rng = np.random.default_rng(seed)
    effects = Effects(
        subset=0.03,
        seed=0.01,
        subject=0.12,
        interaction=0.06,
        residual=0.03,
    )
    setting = Setting("", False, 0, 0, 3, 3, 20)
    subset_R = np.repeat(np.arange(3), 3).tolist()
    rows = []
    for budgets in LAWS:
        hits = np.zeros(len(DISTANCES))
        at = [distance * budgets[-1] for distance in DISTANCES]
        for _ in range(count):
            z = latent(rng, 1, setting)
            hard = effects.subject * z.subject
            tables = [(law(n) + hard + z.draw(effects)).reshape(9, 20) for n in budgets]
            _, intervals = curve_interval(tables, subset_R, budgets, at, top=1.0, farthest=np.inf)
            for i, interval in enumerate(intervals):
                hits[i] += interval.low <= law(at[i]) <= interval.high
        for i, distance in enumerate(DISTANCES):
            what = f"power law through {len(budgets)} budgets at {distance:g} times the largest"
            rate = round(float(hits[i] / count), 4)
            rows.append(
                {
                    "what": what,
                    "scores": "Dice",
                    "groups": 0,
                    "labels": 0,
                    "pool": 0,
                    "subsets": 3,
                    "seeds": 3,
                    "subjects": 20,
                    "tables": count,
                    "rate": rate,
                    "plain": rate,
                    "width": 1.0,
                }
            )
    return rows


def law(labels: float) -> float:
    """The true learning curve."""
    return float(0.9 - 0.8 * labels**-0.6)


def replaced(rows: list[dict[str, object]], file: Path) -> list[dict[str, object]]:
    """The rows of a file, with ``rows`` in the place of those about the same setting."""
    new = {setting_of(row): row for row in rows}
    with file.open(newline="") as lines:
        return [new.get(setting_of(row), row) for row in csv.DictReader(lines)]


def setting_of(row: Mapping[str, object]) -> tuple[str, ...]:
    """What a row is about: its columns before the number of tables."""
    return tuple(str(row[column]) for column in COLUMNS[: COLUMNS.index("tables")])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "coverage.csv")
    parser.add_argument(
        "--overlapping",
        action="store_true",
        help="only label subsets that share subjects; the other rows stay as they are",
    )
    args = parser.parse_args()
    began = time.monotonic()
    truths = {scores: truth(scores) for scores in SCORES}
    wanted = [setting for setting in settings() if setting.pool or not args.overlapping]
    rows = [coverage(setting, truths[setting.scores], args.tables) for setting in wanted]
    if args.overlapping:
        rows = replaced(rows, args.out)
    else:
        rows += power_laws(max(args.tables // 2, 10))
    with args.out.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(f"{len(rows)} rows in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
