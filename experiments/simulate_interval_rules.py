"""Which rule makes an interval cover 0.95 at the least width?

Command: python experiments/simulate_interval_rules.py
(writes experiments/results/interval_rules.csv; 1032 s beside much other work)

The tables are those of simulate_coverage.py, 1000 a row of it, with three to five label subsets. A
row here is a rule on rows of one kind: lowest, mean and highest coverage, how many of them round to
0.93 to 0.97, and the mean width over that of the rule before. ``nuclei`` is the interval of
supervised training with 4 images in the committed study. The bootstrap takes 100 tables of a
row and one row in 24.

Rules: A is the skewness of the mean, q Student's quantile with Satterthwaite's degrees of freedom.
"before" is Hall's cubic transformation (J. R. Stat. Soc. B 54(1), 1992) with at least J - 1 degrees
of freedom. The others have the degrees of freedom and the variance in use, so that they differ in
the shape of the interval alone; "Cochran" and "each part by itself" (Zou & Donner, Stat. Med.
27(10), 2008) have a quantile for each variance.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.special
from simulate_coverage import BOUNDS, SCORES, Setting, group_codes, latent, settings, spreads, truth

from semiseg.analysis.groups import design_of
from semiseg.analysis.load import load_runs
from semiseg.analysis.pairing import compared_scores, replicates
from semiseg.analysis.satterthwaite import LEAST_HIDDEN, widened
from semiseg.analysis.skewness import FARTHEST, UNSEEN
from semiseg.analysis.statistics import Spread, spread
from semiseg.analysis.study import study

HERE = Path(__file__).parent
COLUMNS = ("rule", "rows", "count", "lowest", "mean", "highest", "within", "width", "nuclei")
DRAWS = 199
NORMAL = 1.96
LOG = "log scale (logit where there are two bounds)"


class Parts(NamedTuple):
    """Spreads as arrays, ``(T,)`` each but for the degrees of freedom and the overlap."""

    mean: np.ndarray
    v_a: np.ndarray
    v_c: np.ndarray
    v_x: np.ndarray
    third: np.ndarray
    a: float
    c: float
    odds: float
    bounds: tuple[float, float]


Sides = tuple[np.ndarray, np.ndarray]
"""How far an interval reaches below and above the mean."""


def parts_of(known: list[Spread], bounds: tuple[float, float]) -> Parts:
    """The spreads of tables of one design."""
    first = known[0]
    overlap = first.overlap
    return Parts(
        np.array([s.mean for s in known]),
        np.array([s.between_runs.variance for s in known]),
        np.array([s.between_subjects.variance for s in known]),
        np.array([s.interaction for s in known]),
        np.array([s.between_subjects.third for s in known]),
        first.between_runs.df,
        first.between_subjects.df,
        first.n_subsets * overlap / (1 - overlap),
        bounds,
    )


# ------------------------------------------------------------------ error and quantile
def students(df: float | np.ndarray) -> np.ndarray:
    """The quantile of Student's t at 0.975."""
    return scipy.special.stdtrit(df, 0.975)


def error_and_quantile(p: Parts, before: bool = False) -> Sides:
    """Standard error, and Student's quantile with Satterthwaite's degrees of freedom."""
    least = 0.0 if before else LEAST_HIDDEN
    v_a = p.v_a + p.odds * np.maximum(p.v_a - p.v_x, least * p.v_a)
    plain = v_a + p.v_c - p.v_x
    wide_a = widened(v_a, p.a)
    wide_c = p.v_c if before else widened(p.v_c, p.c)
    both = np.maximum(wide_a + wide_c - p.v_x, p.v_x)
    df = both**2 / (wide_a**2 / p.a + wide_c**2 / p.c + p.v_x**2 / (p.a * p.c))
    df = np.maximum(df, p.a if before else min(p.a, p.c))
    df = np.where(
        plain <= p.v_x,
        p.a * p.c,
        df,
    )
    return np.sqrt(np.maximum(plain, p.v_x)), students(df)


def skewness_of(p: Parts, error: np.ndarray) -> np.ndarray:
    return p.third / np.maximum(error**2, p.v_c) ** 1.5


def sides(error: np.ndarray, shorter: np.ndarray, longer: np.ndarray, skew: np.ndarray) -> Sides:
    """The longer side lies where the long tail is; no side is shorter than Student's."""
    longer = np.maximum(shorter, longer)
    below = np.where(skew < 0, longer, shorter)
    above = np.where(skew > 0, longer, shorter)
    return below * error, above * error


def cubic(q: np.ndarray | float, skew: np.ndarray) -> np.ndarray:
    """Hall's longer side, which ends where the cubic bends."""
    size = np.maximum(np.abs(skew), 1e-6)
    return np.minimum(3 * (1 - np.cbrt(1 - size * (q + size / 6))), 3.0) / size


# ------------------------------------------------------------------ rules
def before(p: Parts) -> Sides:
    error, q = error_and_quantile(p, before=True)
    skew = skewness_of(p, error)
    longer = cubic(q, skew)
    return sides(error, q, longer, skew)


def hall(p: Parts, times: float = 1.0) -> Sides:
    error, q = error_and_quantile(p)
    skew = times * skewness_of(p, error)
    longer = cubic(q, skew)
    return sides(error, q, longer, skew)


def hall_with_normal_quantile(p: Parts) -> Sides:
    error, q = error_and_quantile(p)
    skew = skewness_of(p, error)
    longer = cubic(NORMAL, skew) * q / NORMAL
    return sides(error, q, longer, skew)


def half_of_hall(p: Parts) -> Sides:
    return hall(p, 0.5)


def student(p: Parts) -> Sides:
    error, q = error_and_quantile(p)
    half = q * error
    return half, half


def term_of(q: np.ndarray, skew: np.ndarray) -> np.ndarray:
    """The first term of the skewness."""
    steps = np.minimum(q, FARTHEST)
    return np.abs(skew) * (1 + 2 * steps**2) / 6


def first_term(p: Parts, times: float = 1.0) -> Sides:
    error, q = error_and_quantile(p)
    skew = skewness_of(p, error)
    longer = q + times * term_of(q, skew)
    return sides(error, q, longer, skew)


def one_and_a_half(p: Parts) -> Sides:
    return first_term(p, UNSEEN)


def log_scale(p: Parts) -> Sides:
    """Logit where there are two bounds, logarithm where there is one, else the first term."""
    low, high = p.bounds
    if not np.isfinite(low):
        return one_and_a_half(p)
    error, q = error_and_quantile(p)
    steps = np.minimum(q, FARTHEST)
    further = (q - steps) * error
    if np.isfinite(high):
        centre = scipy.special.logit(p.mean)
        stretched = steps * error / (p.mean * (1 - p.mean))
        below = p.mean - scipy.special.expit(centre - stretched)
        above = scipy.special.expit(centre + stretched) - p.mean
        return below + further, np.minimum(above + further, 1 - p.mean)
    ratio = np.exp(steps * error / p.mean)
    return p.mean * (1 - 1 / ratio) + further, p.mean * (ratio - 1) + further


def in_use(p: Parts) -> Sides:
    return log_scale(p) if np.isfinite(p.bounds).all() else one_and_a_half(p)


def cochran(p: Parts) -> Sides:
    """The mean of two quantiles, weighted by the variances; the skewness in use."""
    error, _ = error_and_quantile(p)
    v_a = np.maximum(p.v_a - p.v_x, LEAST_HIDDEN * p.v_a) * (1 + p.odds)
    q = (v_a * students(p.a) + p.v_c * students(p.c)) / (v_a + p.v_c)
    skew = skewness_of(p, error)
    longer = q + UNSEEN * term_of(q, skew)
    return sides(error, q, longer, skew)


def by_parts(p: Parts) -> Sides:
    """Squared sides of subsets and of subjects, the latter alone skewed, added up."""
    v_a = np.maximum(p.v_a - p.v_x, 0) * (1 + p.odds)
    skew = p.third / np.maximum(p.v_c, 1e-30) ** 1.5
    q = np.full(p.mean.shape, students(p.c))
    below, above = sides(
        np.sqrt(p.v_c),
        q,
        cubic(q, skew),
        skew,
    )
    of_subsets = students(p.a) ** 2 * v_a
    return np.sqrt(of_subsets + below**2), np.sqrt(of_subsets + above**2)


RULES: dict[str, Callable[[Parts], Sides]] = {
    "before: Hall, at least J - 1 degrees of freedom": before,
    "Student": student,
    "Hall": hall,
    "Hall, normal quantile inside, t outside": hall_with_normal_quantile,
    "Hall, half of the skewness": half_of_hall,
    "first term of the skewness": first_term,
    "1.5 times the first term": one_and_a_half,
    LOG: log_scale,
    "in use: logit with two bounds, else 1.5 times": in_use,
    "Cochran's quantile": cochran,
    "each part by itself, Hall on that of subjects": by_parts,
}


def bootstrap_t(tables_TJS: np.ndarray, code_S: np.ndarray, share: float, seed: int) -> Sides:
    """Ends of the studentised bootstrap over subjects or groups, ``(T,)`` below and above."""
    rng = np.random.default_rng(seed)
    ends = []
    groups = int(code_S.max()) + 1
    for table_JS in tables_TJS:
        estimate = spreads(
            table_JS[None, :, None],
            code_S,
            share,
        )[0]
        drawn_DG = rng.integers(0, groups, (DRAWS, groups))
        t = []
        for drawn_G in drawn_DG:
            columns = [np.flatnonzero(code_S == g) for g in drawn_G]
            code = np.repeat(np.arange(groups), [len(members) for members in columns])
            draw = spreads(
                table_JS[None, :, None, np.concatenate(columns)],
                code,
                share,
            )[0]
            if draw.error > 0:
                t.append((draw.mean - estimate.mean) / draw.error)
        low, high = np.quantile(t, [0.025, 0.975])
        ends.append((high * estimate.error, -low * estimate.error))
    below, above = np.transpose(ends)
    return below, above


# ------------------------------------------------------------------ the study
class Outcome(NamedTuple):
    """What a rule gives in a setting: its coverage, and its width over that of "before"."""

    rate: float
    width: float


def outcome(p: Parts, true: float, ends: Sides, base: Sides) -> Outcome:
    below, above = ends
    low = p.mean - below
    high = p.mean + above
    hit = (low <= true) & (true <= high)
    width = (below + above).mean()
    of_base = (base[0] + base[1]).mean()
    return Outcome(float(hit.mean()), float(width / of_base))


def kind(setting: Setting) -> str:
    """What the rows of this kind have in common."""
    if setting.pool:
        what = "of a difference" if "difference" in setting.scores else "of a score"
        return f"overlapping subsets, {what}"
    if setting.subjects <= 20:
        clusters = int(group_codes(setting.subjects, setting.grouped).max()) + 1
        return f"{clusters} {'groups' if setting.grouped else 'subjects'}"
    return "60 and 164 subjects"


def outcomes(count: int) -> Iterator[tuple[str, str, Outcome]]:
    """Rule, kind and outcome of every setting."""
    truths = {scores: truth(scores) for scores in SCORES}
    chosen = [setting for setting in settings() if setting.subsets > 2]
    for i, setting in enumerate(chosen):
        rng = np.random.default_rng([0, *map(int, setting[1:])])
        shape = (count, setting.subsets, setting.seeds, setting.subjects)
        tables = SCORES[setting.scores](latent(rng, count, setting)).reshape(shape)
        code_S = group_codes(setting.subjects, setting.grouped)
        bounds = BOUNDS.get(setting.scores, (-np.inf, np.inf))
        p = parts_of(spreads(tables, code_S, setting.share), bounds)
        true = truths[setting.scores]
        base = before(p)
        for name, rule in RULES.items():
            yield name, kind(setting), outcome(p, true, rule(p), base)
        if i % 24 == 0:
            few = tables[: count // 10].mean(2)
            p = parts_of(
                spreads(
                    few[:, :, None],
                    code_S,
                    setting.share,
                ),
                bounds,
            )
            ends = bootstrap_t(few, code_S, setting.share, seed=i)
            yield "bootstrap-t", kind(setting), outcome(p, true, ends, before(p))


def nuclei() -> Parts:
    """Supervised training with 4 images, on the test set."""
    s = study(load_runs(HERE / "results" / "label_efficiency_stretched.csv"), split="test")
    runs = s.cells["supervised", 4].runs
    subjects, values_RS = compared_scores(runs, *s.scored)
    rows, subset_R = replicates(runs)
    known = spread(values_RS[rows], design_of(runs, subset_R, subjects))
    return parts_of([known], (0.0, 1.0))


def rows(count: int) -> Iterator[dict[str, object]]:
    """The rows of interval_rules.csv."""
    results: dict[tuple[str, str], list[Outcome]] = {}
    for rule, of_kind, result in outcomes(count):
        for name in (of_kind, "all"):
            results.setdefault((rule, name), []).append(result)
    cell = nuclei()
    for (rule, name), members in sorted(results.items()):
        rates = np.array([member.rate for member in members])
        interval = ""
        if rule in RULES:
            below, above = RULES[rule](cell)
            low = float(cell.mean[0] - below[0])
            high = float(cell.mean[0] + above[0])
            interval = f"[{low:.2f}, {min(1.0, high):.2f}]"
        yield {
            "rule": rule,
            "rows": name,
            "count": rates.size,
            "lowest": round(float(rates.min()), 4),
            "mean": round(float(rates.mean()), 4),
            "highest": round(float(rates.max()), 4),
            "within": int(np.count_nonzero((rates >= 0.925) & (rates < 0.975))),
            "width": round(float(np.mean([member.width for member in members])), 4),
            "nuclei": interval,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=int, default=1000)
    parser.add_argument(
        "--out",
        type=Path,
        default=HERE / "results" / "interval_rules.csv",
    )
    args = parser.parse_args()
    began = time.monotonic()
    with args.out.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows(args.tables))
    print(f"{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
