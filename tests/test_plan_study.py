"""``semiseg plan-study``: sizes of the next study, by hand and from runs."""

import json
import math

import numpy as np
import pytest
from analysis.fake import write_grid

from semiseg import load_runs
from semiseg.analysis.families import Difference, family_test
from semiseg.analysis.planning import (
    Goal,
    Size,
    cautious,
    detectable,
    power_of,
    smallest_design,
    standard_error,
)
from semiseg.analysis.statistics import holm, mean_test, spread
from semiseg.analysis.study import study
from semiseg.analysis.variance import Split, variance_split
from semiseg.cli.main import main

SPLIT = Split(
    subset=0.02,
    seed=0.01,
    subject=0.03,
    interaction=0.02,
    residual=0.02,
)


def test_the_error_of_a_design_is_that_of_simulated_studies():
    size = Size(
        4,
        2,
        10,
    )
    rng = np.random.default_rng(0)
    means = []
    for _ in range(4000):
        y_JNS = (
            SPLIT.subset * rng.normal(size=(4, 1, 1))
            + SPLIT.seed * rng.normal(size=(4, 2, 1))
            + SPLIT.subject * rng.normal(size=10)
            + SPLIT.interaction * rng.normal(size=(4, 1, 10))
            + SPLIT.residual * rng.normal(size=(4, 2, 10))
        )
        means.append(y_JNS.mean())
    assert standard_error(SPLIT, size) == pytest.approx(np.std(means), rel=0.04)


def test_what_a_design_detects_it_finds_with_the_wanted_power():
    for comparisons in (1, 24):
        goal = Goal(
            0.03,
            power=0.9,
            comparisons=comparisons,
            together=min(comparisons, 4),
        )
        gain = detectable(
            SPLIT,
            Size(
                6,
                1,
                20,
            ),
            goal,
        )
        power = power_of(
            SPLIT,
            Size(
                6,
                1,
                20,
            ),
            goal._replace(gain=gain),
        )
        assert power == pytest.approx(0.9, abs=1e-3)


def test_more_comparisons_need_more_label_subsets():
    """Catches a plan that forgets the correction: it was 7 times too small at two subsets."""
    sizes = [
        smallest_design(
            SPLIT,
            20,
            Goal(0.04, comparisons=m),
        ).subsets
        for m in (1, 8, 24)
    ]
    assert sizes == sorted(set(sizes))
    one = detectable(
        SPLIT,
        Size(
            3,
            1,
            20,
        ),
        Goal(0.03),
    )
    many = detectable(
        SPLIT,
        Size(
            3,
            1,
            20,
        ),
        Goal(0.03, comparisons=24),
    )
    assert many > 4 * one


def test_one_label_subset_detects_nothing():
    assert (
        detectable(
            SPLIT,
            Size(
                1,
                9,
                100,
            ),
            Goal(0.03),
        )
        == math.inf
    )
    assert (
        power_of(
            SPLIT,
            Size(
                1,
                9,
                100,
            ),
            Goal(0.03),
        )
        == 0
    )


def test_subsets_of_a_small_pool_help_less_and_less():
    apart = [
        standard_error(
            SPLIT,
            Size(
                j,
                1,
                100,
            ),
        )
        for j in (3, 30)
    ]
    overlapping = [
        standard_error(
            SPLIT,
            Size(
                j,
                1,
                100,
                overlap=0.5,
            ),
        )
        for j in (3, 30)
    ]
    assert overlapping[1] > 0.02 > apart[1]
    assert overlapping[0] / overlapping[1] < apart[0] / apart[1]


def test_no_design_reaches_a_gain_below_the_error_of_its_subjects():
    assert (
        smallest_design(
            SPLIT,
            6,
            Goal(0.01),
        )
        is None
    )


def test_a_pilot_that_saw_no_spread_is_not_taken_at_its_word():
    lucky = SPLIT._replace(subset=0.0)
    assert (
        cautious(
            lucky,
            Size(
                3,
                1,
                20,
            ),
        ).subset
        > 0.004
    )
    assert (
        cautious(
            lucky,
            Size(
                30,
                1,
                20,
            ),
        ).subset
        < cautious(
            lucky,
            Size(
                3,
                1,
                20,
            ),
        ).subset
    )


def test_planned_power_is_the_power_of_the_test():
    size = Size(
        6,
        1,
        40,
    )
    rng = np.random.default_rng(1)
    hits = []
    for _ in range(600):
        y_JS = 0.03 + 0.02 * rng.normal(size=(6, 1)) + 0.02 * rng.normal(size=(6, 40))
        hits.append(mean_test(y_JS, range(6)) < 0.05)
    planned = power_of(
        Split(
            0.02,
            0.0,
            0.0,
            0.02,
            0.0,
        ),
        size,
        Goal(0.03),
    )
    assert np.mean(hits) == pytest.approx(planned, abs=0.06)


def test_comparisons_of_one_budget_lend_each_other_variance():
    """As the verdict does: four settings beside one baseline detect less than one alone twice."""
    size = Size(
        3,
        1,
        40,
    )
    alone = detectable(
        SPLIT,
        size,
        Goal(0.03, comparisons=4),
    )
    together = detectable(
        SPLIT,
        size,
        Goal(
            0.03,
            comparisons=4,
            together=4,
        ),
    )
    assert together < 0.7 * alone


def test_planned_power_is_that_of_the_verdict_over_a_family():
    """Four settings and one baseline, one of which gains; the rest are as good as the baseline."""
    size = Size(
        4,
        1,
        40,
    )
    goal = Goal(
        0.06,
        comparisons=4,
        together=4,
    )
    rng = np.random.default_rng(2)
    hits = []
    for _ in range(300):
        y_KJS = 0.02 * rng.normal(size=(5, 4, 1)) + 0.02 * rng.normal(size=(5, 4, 40))
        y_KJS[1] += goal.gain
        members = [
            Difference(
                spread(y_KJS[k] - y_KJS[0], range(4)),
                f"{k}",
                "base",
                8,
            )
            for k in range(1, 5)
        ]
        hits.append(holm(family_test(members).p)[0] < 0.05)
    of_difference = Split(
        0.02 * 2**0.5,
        0.0,
        0.0,
        0.02 * 2**0.5,
        0.0,
    )
    assert np.mean(hits) == pytest.approx(
        power_of(
            of_difference,
            size,
            goal,
        ),
        abs=0.1,
    )


# ------------------------------------------------------------------ the command
@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return write_grid(tmp_path_factory.mktemp("runs"), examples=False)


def test_a_plan_from_runs(runs, tmp_path, capsys):
    file = tmp_path / "plan.json"
    assert main(["plan-study", str(runs), "--gain", "0.02", "--json", str(file)]) == 0
    text = capsys.readouterr().out
    plan = json.loads(file.read_text())
    assert plan["comparisons"] == 6
    assert plan["pilot"]["subsets"] == 3
    assert plan["labels"] == 4
    assert "Your next study needs" in text
    assert "corrected for 6 comparisons" in text
    rows = [row for row in plan["alternatives"] if row["subsets"] == 3 and row["seeds"] == 3]
    assert rows[0]["runs"] == 9
    assert rows[0]["seconds"] == pytest.approx(9 * 21)


def test_a_plan_by_hand(tmp_path, capsys):
    file = tmp_path / "plan.json"
    words = "plan-study --subset-sd 0.02 --subject-sd 0.03 --subjects 40 --json"
    assert main([*words.split(), str(file)]) == 0
    assert "7 label subsets × 1 seed × 40 subjects" in capsys.readouterr().out
    assert json.loads(file.read_text())["design"]["subsets"] == 7


def test_a_given_deviation_takes_the_place_of_the_runs(runs, tmp_path, capsys):
    file = tmp_path / "plan.json"
    assert main(["plan-study", str(runs), "--subset-sd", "0.5", "--json", str(file)]) == 0
    plan = json.loads(file.read_text())
    assert plan["sd"]["subset"] == 0.5
    assert plan["design"] is None
    assert "No study with 12 subjects" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words, message",
    [
        ("", "nothing says how much differences vary"),
        ("--subset-sd 0.02", "without runs --subjects must be given"),
        ("--subset-sd 0.02 --subjects 9 --gain 0", "--gain is 0.0: it must be above 0"),
        ("--subset-sd 0.02 --subjects 9 --power 80", "it lies between 0 and 1"),
        ("--subset-sd 0.02 --subjects 9 --metric hd95", "--gain must be given for HD95"),
        ("--subset-sd 0.02 --subjects 0", "--subjects is 0: it must be 1 or more"),
        ("--subset-sd -1 --subjects 9", "--subset-sd is -1.0: a standard deviation is 0 or more"),
        ("--subset-sd 1 --residual-sd -0.1 --subjects 9", "--residual-sd is -0.1: a standard"),
        ("--subset-sd 0.02 --subjects 9 --gain 3", "Dice lies between 0 and 1, so that no gain"),
    ],
)
def test_what_cannot_be_planned_is_named(words, message, capsys):
    assert main(["plan-study", *words.split()]) == 2
    assert message in capsys.readouterr().err


def test_a_study_without_a_second_subset_cannot_say(tmp_path, capsys):
    folder = write_grid(
        tmp_path,
        subsets=1,
        budgets=(4,),
        examples=False,
    )
    assert main(["plan-study", str(folder)]) == 2
    assert "run a second label subset" in capsys.readouterr().err
    assert main(["plan-study", str(folder), "--method", "cps"]) == 2
    error = capsys.readouterr().err
    assert "no compared setting is called 'cps'" in error
    assert "choose one of mean teacher" in error
    assert main(["plan-study", str(folder), "--method", "mean-techer"]) == 2
    assert "did you mean 'mean teacher'?" in capsys.readouterr().err


def test_a_table_without_its_subjects_is_named(runs, tmp_path, capsys):
    """Catches "one label subset", said of three, where a file is missing."""
    load_runs(runs).write_csv(tmp_path / "results.csv")
    assert main(["plan-study", str(tmp_path / "results.csv")]) == 2
    error = capsys.readouterr().err
    assert "results_subjects.csv is missing beside it" in error
    assert "name the run folders" in error


def test_a_plan_of_one_method_takes_the_verdict_s_test(runs, tmp_path, capsys):
    """Catches the plan of one method that forgot the comparisons beside it, which lend variance: it
    found four times as much as the verdict does.
    """
    file = tmp_path / "plan.json"
    command = ["plan-study", str(runs), "--labels", "8", "--json", str(file)]
    assert main([*command, "--method", "Mean-Teacher"]) == 0
    text = capsys.readouterr().out
    plan = json.loads(file.read_text())
    assert plan["comparisons_used"] == ["mean teacher − supervised"]
    assert plan["together"] == 2
    assert "0.05/6, and the 2 at a label budget lend each other variance" in text
    assert "Detectable differs from `finds`" in text
    assert "The spread is that of mean teacher − supervised alone; the variance that" in text
    now = next(a for a in plan["alternatives"] if (a["subsets"], a["seeds"]) == (3, 3))
    s = study(load_runs(runs))
    detectable = {(c.arm, c.labels): c.detectable for c in s.comparisons}
    assert now["detects"] < 2.5 * detectable["mean teacher", 8]


def test_a_plan_says_what_its_runs_do_not(tmp_path, capsys):
    """Catches rows of 1 and 3 seeds that are the same without a word, and a spread between two."""
    folder = write_grid(tmp_path, subsets=2, seeds=1, budgets=(4,), examples=False)
    assert main(["plan-study", str(folder)]) == 0
    text = capsys.readouterr().out
    assert "Seeds were not measured: rows of 1 and 3 seeds are the same." in text
    assert "rests on one degree of freedom" in text
    assert main("plan-study --subset-sd 0.02 --subjects 1".split()) == 0
    text = capsys.readouterr().out
    assert "No study with 1 subject and" in text
    assert "Seeds were not measured" in text
    assert main("plan-study --subset-sd 0.02 --seed-sd 0.02 --subjects 9".split()) == 0
    assert "not measured" not in capsys.readouterr().out


def test_spread_of_a_plan_is_that_of_the_paired_difference():
    """A subject effect that both methods share must not count."""
    rng = np.random.default_rng(0)
    hard_S = rng.normal(
        0,
        0.2,
        20,
    )
    target, base = (
        hard_S
        + rng.normal(
            0,
            0.01,
            (4, 20),
        )
        for _ in range(2)
    )
    assert variance_split(target - base, range(4)).subject < 0.02
