"""Folds of a cross-validation are one result: no replicates, no label subsets of one test set."""

import json
import shutil

import numpy as np
import pytest
import scipy.stats

from analysis.fake import write_folds, write_run
from semiseg.analysis import questions as ask
from semiseg.analysis import scores_csv
from semiseg.analysis.bounded import logit_ends
from semiseg.analysis.breakdown import class_intervals
from semiseg.analysis.fold_design import fold_design
from semiseg.analysis.fold_members import fold_members
from semiseg.analysis.load import load_runs, once
from semiseg.analysis.pairing import paired, replicates
from semiseg.analysis.statistics import mean_interval
from semiseg.analysis.study import study
from semiseg.cli.main import main
from semiseg.errors import UserError

MT = "mean teacher"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two methods, five folds of 17 subjects: two folds hold out four, three hold out three."""
    return write_folds(tmp_path_factory.mktemp("folds"), subjects=17, classes=("a", "b"))


def test_mean_over_all_held_out_subjects_with_the_corrected_interval(folder):
    """Against the formula of Nadeau & Bengio written out.

    Catches the mean of fold means, an interval over runs or over subjects as if independent, and
    folds that become settings of their own.
    """
    s = study(load_runs(folder))
    assert list(s.arms) == ["supervised", MT]
    assert s.folds == 5
    interval = s.cells[MT, 8].interval
    scores = [run.scores.per_subject("dice", "val", "last") for run in s.arms[MT]]
    fold_means = np.array([np.mean(list(of_fold.values())) for of_fold in scores])
    share = np.array([len(of_fold) for of_fold in scores]) / 17
    mean = share @ fold_means
    squares = share @ (fold_means - mean) ** 2 / 4
    error = np.sqrt(squares * (1 + 5 * (17 / 5) / (17 - 17 / 5)))
    quantile = scipy.stats.t.ppf(0.975, 4)
    low, high = logit_ends(mean, error, quantile, (0.0, 1.0))
    assert interval.n_subjects == 17
    assert interval.n_runs == interval.n_folds == 5
    assert interval.mean == pytest.approx(mean)
    assert interval.low == pytest.approx(low)
    assert interval.high == pytest.approx(high)
    c = s.comparisons[0]
    result = ask.cross_validated(s.arms[MT], s.arms["supervised"])
    assert c.difference.mean == pytest.approx(result.mean)
    assert c.difference.low == pytest.approx(result.low)
    assert c.p == pytest.approx(result.p)
    assert c.paired_by == "fold"
    assert c.significant == (c.p < 0.05)
    assert np.isfinite(c.detectable)
    by_class = class_intervals(s, s.cells[MT, 8])
    assert list(by_class) == ["a", "b"]
    assert by_class["b"].n_subjects == 17


def test_seeds_and_subsets_are_averaged_within_their_fold(folder, tmp_path):
    """Three runs of each fold say no more than one of them if all are alike."""
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    one = study(load_runs(tmp_path)).comparisons[0]
    for run in load_runs(folder):
        for seed in (1, 2):
            copy = shutil.copytree(run.path, tmp_path / f"{run.name}-again-{seed}")
            config = copy / "config.yaml"
            config.write_text(config.read_text().replace("seed: 0", f"seed: {seed}"))
    runs = once(load_runs(tmp_path))
    assert len(runs) == 30
    c = study(runs).comparisons[0]
    assert c.difference.low == pytest.approx(one.difference.low)
    assert c.difference.high == pytest.approx(one.difference.high)
    assert c.p == pytest.approx(one.p)
    assert fold_design(runs.where(method="supervised")).seeds == 3


def test_a_missing_fold_is_named_and_nothing_is_tested(folder, tmp_path):
    """The verdict of four folds of five is not that of five.

    Catches an interval or a p-value of what was not planned.
    """
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "mean_teacher-n8-j0-s0-f3")
    s = study(load_runs(tmp_path))
    design = fold_design(s.cells[MT, 8].runs)
    assert design.missing == (3,)
    assert design.unscored == 3
    assert design.held_out == 14
    assert design.all == 17
    interval = s.cells[MT, 8].interval
    assert interval.low == interval.high == interval.mean
    c = s.comparisons[0]
    assert np.isnan(c.p)
    assert not c.significant
    with pytest.raises(UserError, match="fold 3 is missing"):
        ask.cross_validated(s.arms[MT])


def test_designs_that_cannot_be_handled_are_refused(folder, tmp_path):
    """One line each, instead of a p-value of folds beside something else."""
    other = write_run(tmp_path / "plain", method="mean_teacher", examples=False)
    with pytest.raises(UserError, match="some runs are folds .* and others are not"):
        study(load_runs([folder, other]))
    three = write_folds(tmp_path / "three", ("mean_teacher",), folds=3)
    with pytest.raises(UserError, match="3 and 5 folds"):
        study(load_runs([folder, three]))
    moved = write_folds(tmp_path / "moved", ("fixmatch",), subjects=17)
    scores = moved / "fixmatch-n8-j0-s0-f1" / "per_subject.csv"
    scores.write_text(scores.read_text().replace("val001", "val002"))
    with pytest.raises(UserError, match="val002 is held out by fold 1 in run .* and by fold 2"):
        study(load_runs([folder, moved]))
    with pytest.raises(UserError, match="no independent runs"):
        study(load_runs(folder), split="test")


def test_what_takes_runs_for_replicates_refuses_folds(folder):
    """Variance components, label curves and predictions are of replicates."""
    s = study(load_runs(folder))
    refused = "folds of a cross-validation, which are no replicates"
    with pytest.raises(UserError, match=refused):
        ask.probability_better(s, MT, "supervised", 8)
    with pytest.raises(UserError, match=refused):
        replicates(s.arms[MT])
    with pytest.raises(UserError, match=refused):
        paired([s.arms[MT], s.arms["supervised"]], *s.scored)


def test_a_table_keeps_folds(folder, tmp_path):
    """results.csv with its subjects gives the same interval; without them it is refused."""
    runs = load_runs(folder)
    file = runs.write_csv(tmp_path / "results.csv")
    with pytest.raises(UserError, match="held-out subjects are not known"):
        study(load_runs(file))
    scores_csv.write(runs, file, split="val")
    read = study(load_runs(file)).comparisons[0]
    assert read.p == pytest.approx(study(runs).comparisons[0].p, rel=5e-2)


def test_folds_as_replicates_would_be_too_sure(folder):
    """What the page printed before: five rows of one table, with holes where others score."""
    s = study(load_runs(folder))
    cell = s.cells["supervised", 8]
    _, values_RS = cell.runs.matrix()
    wrong = mean_interval(values_RS, range(5))
    assert cell.interval.high - cell.interval.low > wrong.high - wrong.low


def test_folds_that_train_on_all_others_have_one_budget(folder, tmp_path):
    """Folds of four and of three subjects leave 13 and 14 to train on.

    Catches two budgets of one setting, each with folds that are missing.
    """
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    for run in load_runs(tmp_path):
        config = run.path / "config.yaml"
        config.write_text(config.read_text().replace("labels: 8", "labels: 0"))
        summary = run.summary | {"subjects_labelled": 17 - run.summary["subjects_val"]}
        (run.path / "summary.json").write_text(json.dumps(summary))
    s = study(load_runs(tmp_path))
    assert list(s.cells) == [("supervised", 13), (MT, 13)]
    assert s.cells[MT, 13].interval.n_subjects == 17
    assert len(fold_members(tmp_path, {"method": "supervised", "labels": "0"})) == 5


def test_a_plan_finds_what_the_report_calls_detectable(folder, capsys, tmp_path):
    """The plan of the same folds and subjects repeats the report's detectable difference.

    Catches an error without the correction, and variances of a subject for those of a fold.
    """
    (c,) = study(load_runs(folder)).comparisons
    file = tmp_path / "plan.json"
    assert main(["plan-study", str(folder), "--json", str(file)]) == 0
    assert "5 folds of 17 subjects find a difference" in capsys.readouterr().out
    rows = json.loads(file.read_text())["folds"]
    found = {row["folds"]: row["finds"] for row in rows}
    assert found[5] == pytest.approx(c.detectable, rel=0.05)
    assert found[3] > found[5] > found[10]
    by_hand = ["plan-study", "--subject-sd=0.06", "--subset-sd=0", "--subjects=20"]
    assert main([*by_hand, "--folds=5"]) == 0
    assert "20 subjects find a difference of 0.075" in capsys.readouterr().out
    assert main([*by_hand, "--folds=21"]) == 2
