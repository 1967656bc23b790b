"""Power laws, label equivalence, variance components and rankings against known answers."""

import numpy as np
import pytest

from semiseg.analysis.curves import (
    curve_interval,
    label_equivalence,
    pooling,
)
from semiseg.analysis.load import load_runs
from semiseg.analysis.power_law import PowerLaw, fit_power_law
from semiseg.analysis.spread import ranking, splits
from semiseg.analysis.statistics import mean_interval
from semiseg.analysis.study import study
from semiseg.analysis.variance import rank_stability, variance_split
from semiseg.analysis.worth import Worth, gain, learning_curve, plateaus, worth
from semiseg.report import facts
from semiseg.report.sentences import equivalence_text
from semiseg.report.summary import equivalence_sentences

from .fake import write_rows, write_run

BUDGETS = (4, 8, 16, 32)


@pytest.mark.parametrize(
    "law", [PowerLaw(0.9, 0.8, 0.5), PowerLaw(0.8, 0.5, 1.7), PowerLaw(3.0, -20.0, 0.4)]
)
def test_power_law_is_found_again(law):
    """Exact points give their own curve, rising (Dice) and falling (a distance). Catches a wrong
    sign and a search that stops early.
    """
    found = fit_power_law(BUDGETS, law(BUDGETS), rising=law.b > 0)
    np.testing.assert_allclose(
        found(np.array([4, 12, 64])),
        law(np.array([4, 12, 64])),
        atol=2e-4,
    )
    assert found.c == pytest.approx(law.c, rel=0.01)


def test_power_law_is_monotone_and_bounded():
    """Catches a curve that falls because the data did, and one above a Dice of 1."""
    assert fit_power_law(BUDGETS, [0.8, 0.7, 0.6, 0.5]).b == 0.0
    steep = fit_power_law(BUDGETS, [0.5, 0.65, 0.8, 0.95], top=1.0)
    assert steep.a <= 1.0 and steep.b > 0
    with pytest.raises(ValueError, match="three budgets"):
        fit_power_law((4, 8), (0.5, 0.6))


def test_curve_interval_at_a_budget_is_near_the_cells_own():
    """With as many budgets as parameters the curve goes through them: interval as of the cell
    alone. Catches a wrong Jacobian.
    """
    rng = np.random.default_rng(0)
    law = PowerLaw(0.9, 0.8, 0.5)
    tables = [
        law(n) + 0.01 * rng.normal(size=(4, 1)) + 0.02 * rng.normal(size=(4, 15))
        for n in (4, 8, 32)
    ]
    _, (at,) = curve_interval(
        tables,
        range(4),
        (4, 8, 32),
        [8],
    )
    np.testing.assert_allclose(
        at[:3],
        mean_interval(tables[1], range(4))[:3],
        atol=1e-4,
    )


def test_pooling_by_hand():
    """0.5 0.7 0.6 0.8: the middle two become 0.65. Catches a running maximum, which would make them
    0.7.
    """
    np.testing.assert_allclose(
        pooling(np.array([0.5, 0.7, 0.6, 0.8])) @ [0.5, 0.7, 0.6, 0.8], [0.5, 0.65, 0.65, 0.8]
    )
    np.testing.assert_allclose(pooling(np.array([3.0, 2.0, 1.0])) @ [3, 2, 1], [2, 2, 2])


def _flat(*levels, noise=0.0, seed=0):
    rng = np.random.default_rng(seed)
    return [level + noise * rng.normal(size=(3, 10)) for level in levels]


def test_label_equivalence_by_hand():
    """Half way up between 8 and 16 on a log axis is 8·√2. Catches a linear axis and an off-by-one
    budget; open at both ends.
    """
    tables = _flat(0.5, 0.6, 0.7, 0.8)

    def at(target):
        return label_equivalence(
            np.full((3, 10), target),
            tables,
            range(3),
            BUDGETS,
        )

    assert at(0.65)[:3] == pytest.approx((8 * np.sqrt(2),) * 3, rel=1e-2)
    assert at(0.9)[:3] == pytest.approx((np.inf, 32, np.inf)) and at(0.4)[:3] == pytest.approx(
        (0, 0, 4)
    )
    distance = label_equivalence(
        np.full((3, 10), 15.0), _flat(20, 10, 8, 6), range(3), BUDGETS, rising=False
    )
    assert distance.labels == pytest.approx(4 * np.sqrt(2), rel=1e-2)


def test_label_equivalence_interval_opens_and_pairs():
    """Noise shared by arms cancels; own noise widens; a target near the top has no upper end.
    Catches unpaired tables.
    """
    rng = np.random.default_rng(1)
    shared = 0.2 * rng.normal(size=(3, 1)) + 0.2 * rng.normal(size=10)
    tables = [t + shared for t in _flat(0.5, 0.6, 0.7, 0.8, noise=0.01)]
    narrow = label_equivalence(0.65 + shared, tables, range(3), BUDGETS)
    wide = label_equivalence(
        0.65 + 0.2 * rng.normal(size=(3, 10)),
        tables,
        range(3),
        BUDGETS,
    )
    assert 9 < narrow.low < narrow.labels < narrow.high < 14
    assert wide.low == 0 or np.isinf(wide.high)
    assert np.isinf(label_equivalence(0.798 + shared, tables, range(3), BUDGETS).high)


def test_variance_split_finds_each_component():
    """40 subsets × 3 seeds × 80 subjects of known deviations. Catches components that swallow one
    another's share.
    """
    rng = np.random.default_rng(5)
    truth = (0.5, 0.3, 1.0, 0.4, 0.2)
    j = 40
    n = 3
    s = 80
    y = truth[0] * rng.normal(size=(j, 1, 1)) + truth[1] * rng.normal(size=(j, n, 1))
    y = y + truth[2] * rng.normal(size=s)
    y = y + truth[3] * rng.normal(size=(j, 1, s)) + truth[4] * rng.normal(size=(j, n, s))
    y = y.reshape(j * n, s)
    found = variance_split(y, np.repeat(np.arange(j), n))
    np.testing.assert_allclose(found, truth, rtol=0.25)
    assert sum(found.shares.values()) == pytest.approx(1)
    alone = variance_split(y[::n], range(j))
    assert np.isnan(alone.seed) and alone.subset == pytest.approx(np.hypot(0.5, 0.3), rel=0.25)


def test_rank_stability_by_hand():
    """Same order three times: W = tau = 1. Opposite orders: W 0, tau -1. Ties share the first
    place.
    """
    same = rank_stability(np.array([[0.9, 0.8, 0.7]] * 3))
    assert (same.w, same.tau, *same.first) == pytest.approx((1, 1, 1, 0, 0))
    opposite = rank_stability(np.array([[3, 2, 1.0], [1, 2, 3.0]]))
    assert (opposite.w, opposite.tau, *opposite.first) == pytest.approx((0, -1, 0.5, 0, 0.5))
    assert rank_stability(np.array([[1, 1.0], [1, 0.5]])).first.tolist() == [0.75, 0.25]


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """Supervised .5 .6 .7 at 4 8 16; mean teacher at 4 scores .65, wherever and whenever."""
    folder = tmp_path_factory.mktemp("known")
    rng = np.random.default_rng(0)
    for subset in range(3):
        for method, labels, level in (
            ("supervised", 4, 0.5),
            ("supervised", 8, 0.6),
            ("supervised", 16, 0.7),
            ("mean_teacher", 4, 0.65),
        ):
            run = write_run(folder, method=method, labels=labels, subset=subset, examples=False)
            values = level + np.linspace(-0.1, 0.1, 8) + 0.004 * rng.normal(size=8)
            write_rows(
                run,
                [
                    ["r", "val", "last", f"s{i}", "a", "dice", str(v), "1"]
                    for i, v in enumerate(values)
                ],
            )
    return study(load_runs(folder))


def test_a_study_is_worth_labels(known):
    """Mean teacher at 4 is worth 8·√2 = 11 labels. Catches arms or budgets exchanged, and a saving
    claimed or denied wrongly.
    """
    (w,) = worth(known)
    assert (w.arm, w.labels) == ("mean teacher", 4) and w.equivalence.labels == pytest.approx(
        8 * np.sqrt(2), rel=0.05
    )
    assert equivalence_sentences(known)[0].startswith(
        "Mean teacher with 4 annotated images performs like supervised with about 11 (95 % CI"
    )
    assert "it saves annotations" in equivalence_sentences(known)[0]
    e = w.equivalence
    certain = e._replace(labels=np.inf, low=16.0, high=np.inf)
    open_ = e._replace(labels=np.inf, low=9.3, high=np.inf)
    assert [equivalence_text(Worth("a", 16, x, "")) for x in (certain, open_)] == [
        "more than 16 (95 % CI > 16)", "more than 16 (95 % CI 9.3 to > 16)"
    ]  # fmt: skip
    assert (
        [Worth("a", 16, x, "").saves for x in (certain, open_)] == [True, False]
        and w.saves
        and not w.costs
    )
    assert Worth(
        "a",
        16,
        e._replace(labels=5.0, low=4.2, high=6.0),
        "",
    ).costs


@pytest.mark.parametrize(
    "tested, low, high, verdict, said",
    [
        (
            1,
            9.0,
            13.0,
            "saves",
            "performs like supervised with about 11 (95 % CI 9 to 13): it saves annotations.",
        ),
        (
            0,
            9.0,
            13.0,
            "undecided",
            (
                "no label saving is shown. It performs like supervised with about 11 (95 % CI 9 to "
                "13), which excludes the 4 it was given, but the"
            ),
        ),
        (0, 0.0, 13.0, "undecided", "(95 % CI < 4 to 13), which includes the 4 it was given."),
        (
            1,
            0.0,
            13.0,
            "undecided",
            (
                "is significantly better than supervised, but how many annotations it saves is not "
                "clear"
            ),
        ),
        (
            -1,
            9.0,
            13.0,
            "undecided",
            (
                "is significantly worse than supervised, but how many annotations it costs is not "
                "clear"
            ),
        ),
    ],
)
def test_no_sentence_contradicts_the_comparison(
    known, monkeypatch, tested, low, high, verdict, said
):
    """The interval and the corrected comparison must agree. Catches "it saves annotations" beside
    an undecided or a contrary comparison.
    """
    (w,) = worth(known)
    made = Worth(
        w.arm,
        4,
        w.equivalence._replace(labels=11.0, low=low, high=high),
        "",
        tested,
    )
    monkeypatch.setattr(facts, "worth", lambda s: (made,))
    (sentence,) = equivalence_sentences(known)
    assert made.verdict == verdict and said in sentence
    assert ("saves annotations" in sentence) == (verdict == "saves")


def test_a_curve_that_falls_is_said(tmp_path):
    """Supervised .5 .7 .6 .8 at 4 8 16 32: from 8 to 16 nothing can be told apart. Catches a pooled
    curve that nobody is told of, for Dice and distances.
    """
    for subset in range(2):
        for method, labels, level in (
            ("supervised", 4, 0.5),
            ("supervised", 8, 0.7),
            ("supervised", 16, 0.6),
            ("supervised", 32, 0.8),
            ("bcp", 8, 0.65),
        ):
            run = write_run(tmp_path, method=method, labels=labels, subset=subset, examples=False)
            rows = []
            for i in range(4):
                rows.append(
                    [
                        f"s{i}",
                        "a",
                        "dice",
                        str(level + 0.01 * i),
                        "1",
                    ]
                )
                rows.append(
                    [
                        f"s{i}",
                        "a",
                        "hd95",
                        str(10 - 10 * level + i),
                        "1",
                    ]
                )
            write_rows(run, [["r", "val", "last", *row] for row in rows])
    for metric in ("dice", "hd95"):
        s = study(load_runs(tmp_path), metric)
        assert plateaus(s, "supervised") == [(8, 16)]
        plateau = "Supervised does not improve from 8 to 16 annotated images ("
        assert plateau in equivalence_sentences(s)[-1]
        assert gain(s, "supervised", 8, 16).mean < 0 < gain(s, "supervised", 16, 32).mean


def test_interval_narrower_than_the_grid_is_found():
    """Catches low = high where the test's grid has no point inside the interval."""
    tables = _flat(0.5, 0.6, 0.7, 0.8, noise=0.002)
    e = label_equivalence(
        _flat(0.633, noise=0.002, seed=9)[0],
        tables,
        range(3),
        BUDGETS,
    )
    assert 8 < e.low < e.labels < e.high < 12 and e.high / e.low < 1.1


def test_study_has_a_curve_components_and_a_ranking(known):
    """Catches a curve of the wrong arm, and rankings of a budget at which there is one arm."""
    law, (at,) = learning_curve(known, "supervised", [8])
    assert at.mean == pytest.approx(0.6, abs=0.01) and law.c > 0
    assert learning_curve(known, "mean teacher", [8]) is None
    assert splits(known)[4].subject == pytest.approx(np.linspace(-0.1, 0.1, 8).std(ddof=1), rel=0.1)
    assert ranking(known, 4).first.tolist() == [0.0, 1.0] and ranking(known, 8) is None
