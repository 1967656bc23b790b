import numpy as np
import pytest

from semiseg.analysis.bootstrap import hierarchical_bootstrap
from semiseg.analysis.statistics import Interval, holm, subject_means
from semiseg.analysis.subject_tests import sign_flip_test


def test_holm_by_hand():
    """Catches Bonferroni (all × 4), a missing running maximum, results in sorted order, and a NaN
    that counts as a test.
    """
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.04, np.nan, 0.6]), [0.08, np.nan, 0.6])
    np.testing.assert_allclose(holm([0.9, 0.8]), [1.0, 1.0])


def test_sign_flip_exact_by_hand():
    """Of 8 sign patterns of (1, 2, 3), only +++ and --- reach |6|: p = 2/8. Catches a one-sided
    test, > for ≥, and broken ties.
    """
    assert sign_flip_test(np.array([1.0, 2.0, 3.0])) == 0.25
    assert sign_flip_test(np.array([0.1, 0.2, -0.3])) == 1.0  # total 0 up to rounding
    assert sign_flip_test(np.array([1.0, np.nan, 1.0])) == 0.5
    assert np.isnan(sign_flip_test(np.array([np.nan])))


def test_sign_flip_sampled_agrees_with_exact_and_is_never_zero():
    """14 of 16 equal differences: a binomial tail. Catches p = 0 from a finite sample, and a
    sampled branch that tests something else.
    """
    signs = np.ones(16)
    signs[:2] = -1
    exact = 2 * sum(__import__("math").comb(16, k) for k in range(3)) / 2**16
    assert sign_flip_test(signs, draws=40_000) == pytest.approx(exact, abs=6e-4)
    assert sign_flip_test(np.ones(30), draws=99) == 1 / 100


def test_mean_weighs_subsets_evenly_and_leaves_out_undefined():
    """Subsets (0: .2, .4; 1: .9): (.3 + .9) / 2, not the mean of three. Catches pooled runs, NaN as
    0 and NaN that spreads.
    """
    values = np.array(
        [
            [0.2, 0.2],
            [0.4, np.nan],
            [0.9, 0.9],
        ]
    )
    interval = hierarchical_bootstrap(values, [0, 0, 1])
    assert interval.mean == pytest.approx(0.6)
    assert (interval.n_runs, interval.n_subsets, interval.n_subjects) == (3, 2, 2)
    np.testing.assert_allclose(subject_means(values, [0, 0, 1]), [0.6, (0.2 + 0.9 * 2) / 3])


@pytest.mark.parametrize(
    ("vary", "shape"), [("subset", (8, 1, 1)), ("seed", (1, 8, 1)), ("subject", (1, 1, 8))]
)
def test_each_factor_alone_has_the_bootstrap_standard_error(vary, shape):
    """With one factor varying the interval is that of a plain bootstrap: ±1.96·s·√((n-1)/n)/√n.
    Catches a factor that is not resampled.
    """
    subsets, seeds, subjects = shape
    x = np.random.default_rng(5).normal(size=8)
    values = np.broadcast_to(x.reshape(shape), shape).reshape(subsets * seeds, subjects)
    if subjects == 1:
        values = np.repeat(values, 3, axis=1)
        subset = np.repeat(np.arange(subsets), seeds)
    else:
        values = np.repeat(values, 3, axis=0)
        subset = np.arange(3)
    interval = hierarchical_bootstrap(values, subset, draws=20_000)
    assert interval.mean == pytest.approx(x.mean())
    assert (interval.high - interval.low) / 2 == pytest.approx(
        1.96 * x.std() / np.sqrt(8), rel=0.06
    )


def test_seeds_are_resampled_within_their_subset():
    """Two subsets far apart, seeds alike: only (both, first twice, second twice) can be drawn.
    Catches runs pooled across subsets.
    """
    values = np.array([[0.0], [0.0], [0.0], [1.0], [1.0], [1.0]])
    interval = hierarchical_bootstrap(values, [0, 0, 0, 1, 1, 1])
    assert interval[:3] == pytest.approx((0.5, 0.0, 1.0))
    assert hierarchical_bootstrap(values, [0] * 6)[1:3] == pytest.approx((1 / 6, 5 / 6))


def test_subjects_are_paired_across_runs():
    """Subjects differ by 1, runs not at all: a shared resample keeps the spread. Catches subjects
    drawn anew for each run (√R narrower).
    """
    values = np.repeat(
        np.arange(10.0)[None],
        9,
        axis=0,
    )
    interval = hierarchical_bootstrap(
        values,
        np.repeat([0, 1, 2], 3),
        draws=4000,
    )
    assert interval.high - interval.low == pytest.approx(
        2 * 1.96 * np.arange(10).std() / np.sqrt(10), rel=0.08
    )


def test_coverage_of_the_interval():
    """4 subsets × 3 seeds × 15 subjects, where subjects vary most, cover 95 % about that often.
    Catches a wrong tail or a lost level.
    """
    rng = np.random.default_rng(0)
    subset = np.repeat(np.arange(4), 3)
    hits = 0
    for trial in range(200):
        values = (
            0.3 * rng.normal(size=4)[subset, None]
            + 0.3 * rng.normal(size=(12, 1))
            + rng.normal(size=15)
            + 0.5 * rng.normal(size=(12, 15))
        )
        interval = hierarchical_bootstrap(values, subset, draws=400, seed=trial)
        hits += interval.low <= 0 <= interval.high
    assert 0.87 <= hits / 200 <= 0.985


def test_single_run_says_that_it_covers_subjects_only():
    """Catches an interval that claims to be over seeds where there was one."""
    interval = hierarchical_bootstrap(np.array([[0.1, 0.5, 0.9]]), [0])
    assert interval.covers == "subjects" and interval.low < interval.high
    assert hierarchical_bootstrap(np.array([[0.5]]), [0]) == Interval(0.5, 0.5, 0.5, 1, 1, 1)
    assert Interval(0, 0, 0, 9, 3, 20).covers == "label subsets, seeds and subjects"
    assert np.isnan(hierarchical_bootstrap(np.full((2, 3), np.nan), [0, 1]).mean)
