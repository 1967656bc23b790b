"""Intervals and tests of a mean against textbook formulas, SciPy, statsmodels and simulations."""

import csv
import importlib.util
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from semiseg.analysis.statistics import mean_interval, mean_test, minimum_detectable, spread
from semiseg.analysis.subject_tests import effect_size, wilcoxon_test

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("shape", "subset"), [((1, 12), [0]), ((12, 1), range(12))])
def test_one_factor_alone_is_students_interval(shape, subset):
    """Catches wrong degrees of freedom, a population variance, and a factor that is left out."""
    half = np.random.default_rng(1).normal(0, 1, 6)
    x = 0.3 + np.concatenate([half, -half])  # not skewed, see skewness.limits
    interval = mean_interval(x.reshape(shape), list(subset))
    half = scipy.stats.t.ppf(0.975, 11) * x.std(ddof=1) / np.sqrt(12)
    assert interval[:3] == pytest.approx(
        (
            x.mean(),
            x.mean() - half,
            x.mean() + half,
        )
    )
    assert mean_test(x.reshape(shape), list(subset)) == pytest.approx(
        scipy.stats.ttest_1samp(x, 0).pvalue
    )


def test_error_of_a_balanced_table_is_the_two_way_analysis_of_variance():
    """(MS_subset + MS_subject - MS_interaction) / (J S), by statsmodels where it is installed.
    Catches a sign, a divisor, pooled seeds.
    """
    rng = np.random.default_rng(2)
    z = 3 * rng.normal(size=(4, 1)) + 2 * rng.normal(size=7) + rng.normal(size=(4, 7))
    rows = z.mean(1) - z.mean()
    cols = z.mean(0) - z.mean()
    rest = z - z.mean(1, keepdims=True) - z.mean(0) + z.mean()
    ms = [
        7 * (rows**2).sum() / 3,
        4 * (cols**2).sum() / 6,
        (rest**2).sum() / 18,
    ]
    found = spread(
        np.repeat(z, 3, axis=0) + np.tile([-0.1, 0.0, 0.1], 4)[:, None], np.repeat(range(4), 3)
    )  # seeds that cancel within a subset
    assert found.error**2 == pytest.approx((ms[0] + ms[1] - ms[2]) / 28)
    anova = pytest.importorskip("statsmodels.stats.anova")
    formula = pytest.importorskip("statsmodels.formula.api")
    pandas = pytest.importorskip("pandas")
    j, s = np.indices(z.shape)
    frame = pandas.DataFrame(
        {
            "y": z.ravel(),
            "j": j.ravel(),
            "s": s.ravel(),
        }
    )
    table = anova.anova_lm(formula.ols("y ~ C(j) + C(s)", frame).fit())
    assert table["mean_sq"].to_numpy() == pytest.approx(ms)


def test_subjects_are_paired_across_runs_and_undefined_ones_left_out():
    """Runs alike, subjects apart: the error is the subjects'. Catches √R too narrow, NaN as 0, NaN
    that spreads.
    """
    x = np.arange(10.0)
    table = np.repeat(x[None], 9, axis=0)
    assert spread(table, np.repeat([0, 1, 2], 3)).error == pytest.approx(
        x.std(ddof=1) / np.sqrt(10)
    )
    holes = np.full((10, 12), np.nan)
    holes[:9, :10] = table
    assert spread(holes, [*np.repeat([0, 1, 2], 3), 3]) == spread(table, np.repeat([0, 1, 2], 3))
    assert np.isnan(mean_interval(np.full((2, 3), np.nan), [0, 1]).mean)
    assert mean_interval(np.array([[0.5]]), [0])[:3] == (0.5, 0.5, 0.5) and np.isnan(
        mean_test(np.array([[0.5]]), [0])
    )


def test_a_hole_moves_the_error_a_little():
    """One missing score of 180. Catches an influence that divides by the wrong count: the error
    would jump.
    """
    rng = np.random.default_rng(3)
    table = rng.normal(size=(9, 1)) + rng.normal(size=20) + 0.3 * rng.normal(size=(9, 20))
    full = spread(table, np.repeat([0, 1, 2], 3))
    table[4, 5] = np.nan
    assert spread(table, np.repeat([0, 1, 2], 3)).error == pytest.approx(full.error, rel=0.05)


def test_wilcoxon_by_hand_and_effect_size():
    """All of five positive: p = 2 / 2^5. Catches a one-sided test and dropped zeros' mistakes; dz
    against Hedges' correction by hand.
    """
    assert wilcoxon_test(np.array([1, 2, 3, 4, 5.0, np.nan])) == pytest.approx(2 / 32)
    assert wilcoxon_test(np.zeros(4)) == 1.0 and np.isnan(wilcoxon_test(np.array([np.nan])))
    effect = effect_size(np.array([0.0, 1.0, 2.0, np.nan]))
    assert effect.dz == pytest.approx(1.0 * (1 - 3 / 7)) and effect.better == pytest.approx(5 / 6)


def test_minimum_detectable_difference_has_its_power():
    """Simulated: a true mean of that size is found about 80 times in 100. Catches z for t, and a
    forgotten power term (50 times).
    """
    rng = np.random.default_rng(4)
    hits = []
    for _ in range(400):
        pilot = rng.normal(size=(1, 25))
        mdd = 1.0 / np.sqrt(25) * (scipy.stats.t.ppf(0.975, 24) + scipy.stats.t.ppf(0.8, 24))
        assert minimum_detectable(pilot, [0]) == pytest.approx(mdd * pilot.std(ddof=1))
        hits.append(mean_test(mdd + rng.normal(size=(1, 25)), [0]) < 0.05)
    assert 0.74 < np.mean(hits) < 0.86


def _simulation():
    spec = importlib.util.spec_from_file_location(
        "simulate_statistics", ROOT / "experiments" / "simulate_statistics.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_small_simulation_holds_the_truth():
    """150 tables a cell: pooled coverage near .95, and above the percentile bootstrap's. Catches a
    lost level, a tail, degrees of freedom.
    """
    rows = _simulation().simulate(
        150,
        seed=1,
        designs=((3, 3, 20),),
    )

    def of(what):
        return [row["rate"] for row in rows if row["what"] == what]

    mean = of("interval of a mean, covers")
    boot = of("percentile bootstrap, covers (for comparison)")
    assert len(mean) == 5 and 0.92 <= np.mean(mean) <= 0.98 and np.mean(boot) < np.mean(mean)
    for what in ("labels a result is worth, covers", "power-law curve at 24 labels, covers"):
        assert 0.87 <= np.mean(of(what)) <= 1.0


def test_committed_simulation_is_within_bounds():
    """The record behind the report's words: with three subsets or more, coverage .93–.97 and false
    positives .03–.07; at .001, where a correction for many comparisons looks, no more than .009.
    """
    rows = list(csv.DictReader((ROOT / "experiments" / "results" / "statistics.csv").open()))
    main = [r for r in rows if int(r["subsets"]) >= 3]
    for r in main:
        if r["what"] == "interval of a mean, covers":
            assert 0.93 <= float(r["rate"]) <= 0.97, r
        if r["nominal"] == "0.001":
            assert float(r["rate"]) <= 0.009, r
        elif "false positives" in r["what"]:
            assert 0.03 <= float(r["rate"]) <= 0.07, r
    assert all(int(r["tables"]) >= 1000 for r in main if r["what"].startswith("interval"))
