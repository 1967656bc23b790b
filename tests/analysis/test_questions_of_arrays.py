"""The statistics behind the questions of a study, on small tables with known answers."""

import math

import numpy as np
import pytest

from semiseg.analysis.areas import area_interval, budget_interaction, log_trend
from semiseg.analysis.cross_validation import corrected_mean, fold_means
from semiseg.analysis.data_sets import combine
from semiseg.analysis.design import Design
from semiseg.analysis.labels_needed import chance_to_reach, labels_needed
from semiseg.analysis.margins import margin_test
from semiseg.analysis.power_law import reach
from semiseg.analysis.prediction import next_study, probabilities, true_mean
from semiseg.analysis.statistics import mean_interval
from semiseg.analysis.surface import cheapest, fit_surface, monotone
from semiseg.analysis.variance import mean_squares
from semiseg.errors import UserError


def noise(seed: int = 0, runs: int = 3, subjects: int = 20, scale: float = 0.02) -> np.ndarray:
    """Scores around 0 whose mean is 0 to the last bit."""
    y_RS = np.random.default_rng(seed).normal(
        0,
        scale,
        (runs, subjects),
    )
    return y_RS - y_RS.mean()


# ------------------------------------------------------------------ margins
def test_a_margin_test_is_two_one_sided_tests():
    """Catches one 95 % interval, or the larger of both ends, instead of two one-sided limits."""
    y_RS = noise() + 0.01
    test = margin_test(
        y_RS,
        range(3),
        margin=0.03,
    )
    interval = mean_interval(
        y_RS,
        range(3),
        level=0.9,
    )
    assert test.low == pytest.approx(interval.low)
    assert test.high == pytest.approx(interval.high)
    edge = margin_test(
        y_RS,
        range(3),
        margin=float(-interval.low + 0.02),
    )
    assert edge.p_noninferior < 0.05
    assert margin_test(
        y_RS,
        range(3),
        margin=interval.high,
    ).p_equivalent == pytest.approx(0.05)


def test_no_difference_in_a_small_study_shows_nothing():
    """A study that finds no significant difference does not thereby find two settings alike."""
    wide_RS = noise(scale=0.3)
    assert (
        margin_test(
            wide_RS,
            range(3),
            margin=0.02,
        ).verdict
        == "undecided"
    )
    assert (
        margin_test(
            noise(),
            range(3),
            margin=0.02,
        ).verdict
        == "equivalent"
    )
    assert (
        margin_test(
            noise() - 0.1,
            range(3),
            margin=0.02,
        ).verdict
        == "worse"
    )
    assert (
        margin_test(
            noise() + 0.1,
            range(3),
            margin=0.02,
        ).verdict
        == "not worse"
    )


def test_a_margin_is_positive():
    with pytest.raises(UserError, match="a positive number"):
        margin_test(
            noise(),
            range(3),
            margin=-0.02,
        )


def test_nothing_varied_nothing_shown():
    alone = margin_test(
        np.array([[0.1]]),
        ["a"],
        margin=0.02,
    )
    assert math.isnan(alone.p_noninferior)
    assert alone.verdict == "undecided"


# ------------------------------------------------------------------ the next study
def test_a_new_run_varies_by_its_own_components():
    """The expectation of the squared error, by hand: mean squares 4, 2 × 2 × 2 without subjects."""
    subset_J = np.array([-1.0, 1.0])
    y_RS = np.repeat(subset_J, 2)[:, None] + np.zeros((4, 2))
    prediction = next_study(y_RS, ["a", "a", "b", "b"])
    assert prediction.error**2 == pytest.approx(2.0 * (1 + 1 / 2))
    assert prediction.df == 1


def test_one_new_patient_is_less_certain_than_many():
    y_RS = noise(scale=0.1)
    errors = [
        next_study(
            y_RS,
            range(3),
            subjects=m,
        ).error
        for m in (1, 20, math.inf)
    ]
    assert errors[0] > 2 * errors[1] > errors[2]
    assert errors[2] > true_mean(y_RS, range(3)).error


def test_the_next_study_needs_two_label_subsets():
    with pytest.raises(UserError, match="1 label subset"):
        next_study(noise(runs=2), ["a", "a"])


def test_overlapping_subsets_and_lookalike_subjects_make_it_less_certain():
    y_RS = noise() + np.array([[-0.05], [0.0], [0.05]])
    plain = next_study(y_RS, range(3))
    overlapping = next_study(y_RS, Design(range(3), share=0.5))
    assert overlapping.error > 1.5 * plain.error
    twins_RS = np.repeat(
        y_RS,
        2,
        axis=1,
    )
    groups = tuple(str(s // 2) for s in range(40))
    squares = mean_squares(twins_RS, Design(range(3), group_S=groups))
    assert list(squares) == pytest.approx(list(mean_squares(y_RS, range(3))), nan_ok=True)


def test_probabilities_of_a_difference_around_zero():
    result = probabilities(true_mean(noise(), range(3)), relevant=0.05)
    assert result.alike > 0.95
    assert result.better == pytest.approx(result.worse)
    assert sum(result) == pytest.approx(1)


# ------------------------------------------------------------------ curves
def curve_tables(budgets: tuple[int, ...], scale: float = 0.01) -> list[np.ndarray]:
    return [0.9 - 0.8 * n**-0.5 + noise(n, scale=scale) for n in budgets]


def test_labels_for_a_score_by_hand():
    """0.7 is the mean with 16 labels; a distance gives the same answer."""
    budgets = (4, 8, 16, 32)
    needed = labels_needed(
        curve_tables(budgets),
        range(3),
        budgets,
        0.7,
    )
    assert needed.labels == pytest.approx(16, rel=0.03)
    assert needed.low < 16 < needed.high
    distances = [20 * (1 - table) for table in curve_tables(budgets)]
    mirrored = labels_needed(
        distances,
        range(3),
        budgets,
        6.0,
        rising=False,
    )
    assert mirrored[:3] == pytest.approx(needed[:3], rel=1e-3)


def test_a_curve_is_followed_so_far_and_no_further():
    budgets = (4, 8, 16, 32)
    beyond = labels_needed(
        curve_tables(budgets, 1e-4),
        range(3),
        budgets,
        0.8,
        top=1.0,
    )
    assert beyond.labels == pytest.approx(64, rel=0.05)
    assert beyond.reach == pytest.approx(reach(budgets))
    assert (
        labels_needed(
            curve_tables(budgets),
            range(3),
            budgets,
            0.89,
        ).labels
        == math.inf
    )
    two = labels_needed(
        curve_tables(budgets[:2], 1e-4),
        range(3),
        budgets[:2],
        0.8,
    )
    assert (two.labels, two.reach) == (math.inf, pytest.approx(8))
    assert (
        labels_needed(
            curve_tables(budgets),
            range(3),
            budgets,
            0.1,
        ).high
        == 0
    )


def test_the_chance_to_reach_a_score_has_no_step_where_the_law_begins():
    budgets = (4, 8, 16, 32)
    chance = chance_to_reach(
        curve_tables(budgets),
        range(3),
        budgets,
        0.78,
        top=1.0,
    )
    steps = np.abs(np.diff(chance.mean_N))
    assert steps.max() < 3 * np.median(steps)
    assert (np.diff(chance.labels_N) > 0).all()


def test_the_area_of_a_straight_line_is_its_middle():
    tables = [0.5 + 0.1 * k + noise(k) for k in range(3)]
    area, _ = area_interval(
        tables,
        range(3),
        [4, 8, 16],
    )
    assert area.mean == pytest.approx(0.6)
    later, _ = area_interval(
        tables,
        range(3),
        [4, 8, 64],
    )
    assert later.mean == pytest.approx((1 * 0.55 + 3 * 0.65) / 4)


def test_an_interaction_is_found_where_the_gain_shrinks():
    constant = [0.05 + noise(k) for k in range(3)]
    shrinking = [0.08 / 2**k + noise(k) for k in range(3)]
    assert (
        budget_interaction(
            constant,
            range(3),
            [4, 8, 16],
        ).p
        > 0.05
    )
    result = budget_interaction(
        shrinking,
        range(3),
        [4, 8, 16],
    )
    assert result.p < 0.05
    assert result.slope.mean == pytest.approx(-0.03)
    bump = [gain + noise(k) for k, gain in enumerate((0.0, 0.1, 0.0))]
    result = budget_interaction(
        bump,
        range(3),
        [4, 8, 16],
    )
    assert result.p < 0.05 < result.p_slope


def test_a_trend_is_one_test():
    """One test over four doses has the power of a contrast, not of the best of four."""
    tables = [0.01 * k + noise(k) for k in range(4)]
    trend = log_trend(
        tables,
        range(3),
        [0.25, 0.5, 1, 2],
    )
    assert trend.slope.mean == pytest.approx(0.01)
    assert trend.p < 0.05


# ------------------------------------------------------------------ folds and data sets
def test_folds_that_share_training_subjects_are_no_independent_runs():
    """Nadeau & Bengio, equation 15, by hand; ten repeats must not shrink the error to nothing."""
    means = np.array([0.01, 0.03, 0.02, 0.02, 0.02])
    result = corrected_mean(
        means,
        test=20,
        train=80,
    )
    assert result.error**2 == pytest.approx((1 / 5 + 1 / 4) * means.var(ddof=1))
    repeated = corrected_mean(
        np.tile(means, 10),
        test=20,
        train=80,
    )
    assert repeated.error > 0.6 * result.error > 2 * repeated.naive


def test_every_fold_has_scores():
    assert fold_means(np.array([0.8, np.nan, 0.6]), [0, 0, 1]).tolist() == [0.8, 0.6]
    with pytest.raises(UserError, match="fold 1 has no defined score"):
        fold_means(np.array([0.8, np.nan]), [0, 1])


def test_data_sets_by_hand():
    """Equal errors: the mean is the plain one and its error that of the sets' spread."""
    result = combine([0.0, 0.04, 0.02, 0.06], [0.005] * 4)
    spread = np.std([0.0, 0.04, 0.02, 0.06], ddof=1)
    assert result.mean == pytest.approx(0.03)
    assert result.between**2 == pytest.approx(spread**2 - 0.005**2, rel=1e-6)
    assert result.high - result.mean == pytest.approx(3.182446 * spread / 2, rel=1e-5)
    assert result.new_high > result.high
    assert result.p_same < 0.01


def test_data_sets_that_agree_are_no_surer_than_their_errors():
    """Catches the interval of length 0 that the uncorrected variance gives equal results."""
    result = combine([0.02, 0.02, 0.02], [0.01] * 3)
    assert result.between == 0
    assert result.high - result.mean == pytest.approx(4.302653 * 0.01 / 3**0.5, rel=1e-5)
    assert math.isnan(combine([0.02, 0.03], [0.01, 0.01]).new_low)


# ------------------------------------------------------------------ labels against compute
def grid(means: np.ndarray, scale: float = 0.0) -> list[list[np.ndarray]]:
    seeds = np.arange(means.size).reshape(means.shape)
    rows = []
    for row, row_seeds in zip(
        means,
        seeds,
        strict=True,
    ):
        cells = zip(
            row,
            row_seeds,
            strict=True,
        )
        rows.append([mean + noise(int(seed), scale=scale) for mean, seed in cells])
    return rows


def test_a_surface_is_monotone_and_closest():
    """Closest in squares: no surface that rises both ways is nearer than the fitted one."""
    mean_BT = np.array([[0.5, 0.7, 0.6], [0.45, 0.65, 0.8]])
    fitted_BT = monotone(mean_BT)
    assert (np.diff(fitted_BT, axis=0) >= -1e-8).all()
    assert (np.diff(fitted_BT, axis=1) >= -1e-8).all()
    rng = np.random.default_rng(0)
    nearest = ((fitted_BT - mean_BT) ** 2).sum()
    for _ in range(200):
        other_BT = monotone(
            mean_BT
            + rng.normal(
                0,
                0.1,
                mean_BT.shape,
            )
        )
        assert ((other_BT - mean_BT) ** 2).sum() >= nearest - 1e-8
    assert np.allclose(monotone(-mean_BT, rising=False), -fitted_BT)


def test_between_cells_the_surface_is_bilinear_in_logs():
    surface = fit_surface(
        grid(np.array([[0.4, 0.5], [0.6, 0.9]])),
        range(3),
        [4, 16],
        [100, 400],
    )
    assert surface.at(np.array([8.0]), np.array([200.0])).item() == pytest.approx(0.6)


def test_the_cheapest_way_follows_the_prices():
    means = np.array([[0.5, 0.6], [0.6, 0.7]])
    arguments = (
        grid(means, 0.01),
        range(3),
        [4, 16],
        [100, 400],
        0.6,
    )
    labels_dear = cheapest(
        *arguments,
        label_cost=10.0,
        step_cost=0.001,
    )
    steps_dear = cheapest(
        *arguments,
        label_cost=0.01,
        step_cost=1.0,
    )
    assert (labels_dear.labels, labels_dear.steps) == pytest.approx((4, 400))
    assert (steps_dear.labels, steps_dear.steps) == pytest.approx((16, 100))
    assert labels_dear.low <= labels_dear.cost < labels_dear.high
    never = cheapest(
        *arguments[:-1],
        0.95,
        label_cost=1.0,
        step_cost=0.001,
    )
    assert never.cost == math.inf
    assert never.reached == 0
