"""The interval of a worst tenth holds where label subsets decide, and stays within its bounds."""

import numpy as np
import pytest

from semiseg.analysis.design import Design
from semiseg.analysis.tails import worst_decile

SUBSETS = np.repeat(np.arange(3), 3)
UNIT = (0.0, 1.0)


def scores(rng, subjects=20):
    """``(9, S)`` Dice-like scores of three label subsets, which vary most."""
    subset_J = rng.normal(size=(3, 1, 1))
    others = 0.3 * (rng.normal(size=(3, 3, 1)) + rng.normal(size=(3, 3, subjects)))
    y_RS = (subset_J + others + 0.3 * rng.normal(size=subjects)).reshape(9, subjects)
    return 1 / (1 + np.exp(-1.8 - y_RS))


def test_the_worst_tenth_is_covered_where_label_subsets_decide():
    """Catches percentiles of a bootstrap over three label subsets: they cover 0.75."""
    rng = np.random.default_rng(0)
    worst = []
    for _ in range(2000):
        score_RS = np.sort(scores(rng), axis=1)
        worst.append(score_RS[:, :2].mean())
    truth = np.mean(worst)
    hits = []
    for _ in range(200):
        interval = worst_decile(scores(rng), SUBSETS, bounds=UNIT, draws=100)
        hits.append(interval.low <= truth <= interval.high)
    assert np.mean(hits) > 0.87


def test_an_interval_stays_within_bounds():
    """Catches a logit that explodes at a mean near zero: [0.00, 1.00] of scores that are all 0."""
    rng = np.random.default_rng(0)
    low = worst_decile(
        0.01 * rng.random((9, 20)) ** 4,
        SUBSETS,
        bounds=UNIT,
    )
    assert 0 <= low.low <= low.mean <= low.high < 0.05
    far = worst_decile(
        40 * rng.random((9, 20)),
        SUBSETS,
        sign=-1,
        bounds=(0.0, np.inf),
    )
    assert far.low > 0
    assert far.high - far.mean > far.mean - far.low
    alone = worst_decile(
        np.array([[0.7]]),
        ["a"],
        bounds=UNIT,
    )
    assert alone.low == alone.mean == alone.high


@pytest.mark.parametrize("change", ["overlap", "groups"])
def test_overlap_and_look_alikes_widen_it(change):
    """Catches an interval of the worst tenth that takes every design for independent."""
    score_RS = scores(np.random.default_rng(1))
    plain = worst_decile(score_RS, SUBSETS, bounds=UNIT)
    design = Design(SUBSETS, share=0.6)
    if change == "groups":
        score_RS = np.repeat(
            np.random.default_rng(1).random((9, 5)),
            4,
            axis=1,
        )
        plain = worst_decile(score_RS, SUBSETS, bounds=UNIT)
        design = Design(SUBSETS, group_S=tuple(f"{s // 4}" for s in range(20)))
    wide = worst_decile(score_RS, design, bounds=UNIT)
    assert wide.high - wide.low > plain.high - plain.low
