"""Who is scored, and who carries a difference: traps that a table of means walks into."""

import csv
import dataclasses
import json

import numpy as np
import pytest
from analysis.fake import write_rows, write_run

from semiseg.analysis.influence import influence, influences
from semiseg.analysis.load import load_runs
from semiseg.analysis.runs import Runs
from semiseg.analysis.study import study
from semiseg.evaluate.subject_scores import score_subjects
from semiseg.report import summary
from semiseg.report.page import write_report
from semiseg.types import Case

SUBJECTS = 20
SIDE = 32
CLASSES = ("background", "lesion")


def lesion(rows):
    """A lesion of this many rows, 20 pixels each."""
    label = np.zeros((SIDE, SIDE), np.uint8)
    label[4 : 4 + rows, 4:24] = 1
    return label


def half_healthy():
    """The first ten subjects have a lesion of 20 rows."""
    image = np.zeros((SIDE, SIDE, 1), np.uint8)
    return [
        Case(f"p{i:02d}", f"p{i:02d}", image, lesion(20 * (i < 10)), (1.0, 1.0), f"p{i:02d}")
        for i in range(SUBJECTS)
    ]


def write_scored(folder, method, subset, predictions):
    """A run whose rows are the scores of these predictions."""
    run = write_run(folder, method=method, subset=subset, labels=4, examples=False)
    rows = score_subjects(half_healthy(), predictions, CLASSES, "mm")
    table = []
    for row in rows:
        value = "" if np.isnan(row.value) else f"{row.value:.6g}"
        table.append([run.name, "val", "last", *row[:3], value, row.unit])
    write_rows(run, table)


@pytest.fixture
def painted(tmp_path):
    """Both methods find most of each lesion, mean teacher a row more; it also paints a lesion on
    all ten healthy subjects.
    """
    for subset in range(3):
        for method, more in (("supervised", 0), ("mean_teacher", 1)):
            predictions = []
            for i in range(SUBJECTS):
                rows = 15 + more + (i + subset) % 3
                if i >= 10:
                    rows = 20 * more
                predictions.append(lesion(rows))
            write_scored(tmp_path / "runs", method, subset, predictions)
    return load_runs(tmp_path / "runs")


@pytest.mark.parametrize("metric", ["dice", "hd95", "precision", "iou", "assd"])
def test_painting_healthy_subjects_does_not_move_the_scored_ones(painted, metric):
    """Catches cells of ten and of twenty subjects, whose means say the opposite of their
    difference.
    """
    s = study(painted, metric)
    base = s.cells["supervised", 4].interval
    other = s.cells["mean teacher", 4].interval
    (comparison,) = s.comparisons
    assert base.n_subjects == other.n_subjects == comparison.difference.n_subjects == 10
    assert other.mean - base.mean == pytest.approx(comparison.difference.mean)


def test_false_alarms_are_reported(painted, tmp_path):
    """Catches a method that paints every healthy subject and whose page does not say so."""
    alarms = study(painted, "false_positive_rate")
    assert alarms.cells["supervised", 4].interval.mean == 0
    assert alarms.cells["mean teacher", 4].interval.mean == 1
    (caution,) = [c for c in summary.cautions(study(painted)) if "nothing of a class" in c]
    assert caution.startswith("mean teacher predicts something in 100 % of the 10 subjects")
    assert "supervised in 0 %" in caution
    write_report(painted, tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "False positives on healthy subjects" in page
    assert "Predicted volume (mm^2)" in page


def write_gains(folder, gains_S, labels=4):
    """Supervised with a Dice of about 0.6, and mean teacher better by these gains."""
    rng = np.random.default_rng(0)
    for subset in range(3):
        base_S = 0.6 + rng.normal(0, 0.01, len(gains_S))
        for method, score_S in (("supervised", base_S), ("mean_teacher", base_S + gains_S)):
            run = write_run(folder, method=method, subset=subset, labels=labels, examples=False)
            rows = []
            for i, value in enumerate(score_S + rng.normal(0, 0.002, len(gains_S))):
                rows.append([run.name, "val", "last", f"p{i:02d}", "a", "dice", f"{value:.5f}", ""])
            write_rows(run, rows)
    return load_runs(folder)


def test_two_subjects_that_carry_a_difference_are_named(tmp_path):
    """Two of twenty gain 0.3, the others nothing. Catches a gain of +0.03 "of the method"."""
    gains_S = np.zeros(20)
    gains_S[[3, 7]] = 0.3
    runs = write_gains(tmp_path, gains_S)
    cautions = summary.cautions(study(runs))
    (caution,) = [c for c in cautions if "the difference between" in c]
    assert caution.startswith("2 subjects of 20 (") and "make up 9" in caution
    ((_, parts),) = influences(study(runs))
    assert sorted(parts.carriers) == ["p03", "p07"]
    assert parts.carried > 0.9 and abs(parts.without) < 0.005


def test_an_even_gain_is_carried_by_nobody(tmp_path):
    """Catches a warning over every difference there is."""
    runs = write_gains(tmp_path, np.full(20, 0.03))
    assert not any("the difference between" in c for c in summary.cautions(study(runs)))
    ((_, parts),) = influences(study(runs))
    assert parts.carried < 0.2 and not parts.by_few
    assert parts.p_range[1] < 0.01


def test_shares_and_ranges_by_hand():
    """Catches shares of absolute values, a range over wrong subjects, and the carriers of a loss
    taken from its gains.
    """
    table = np.array([[-0.4, 0.1, -0.1, 0.0, -0.1, np.nan]])
    parts = influence(table, ["a"], list("abcdef"))
    assert parts.subjects[0] == "a" and parts.subjects[-1] == "b" and "f" not in parts.subjects
    assert parts.carriers == ("a",) and parts.carried == pytest.approx(0.8)
    assert parts.without == pytest.approx(-0.1 / 4)
    assert parts.mean_range == pytest.approx((-0.6 / 4, -0.1 / 4))
    assert (
        influence(
            np.zeros((1, 6)),
            ["a"],
            list("abcdef"),
        )
        is None
    )


def test_runs_of_an_earlier_policy_are_named(painted, tmp_path):
    """Catches scores under two policies in one table without a word."""
    old = {"both": "nan", "missed": "diagonal", "invented": "diagonal"}
    runs = list(painted)
    before = [dataclasses.replace(run, summary=run.summary | {"empty_policy": old}) for run in runs]
    mixed = Runs([*before[:2], *runs[2:]])
    (caution,) = [c for c in summary.cautions(study(mixed)) if "earlier rule" in c]
    assert caution.startswith("2 of 6 runs were scored by an earlier rule for empty masks")
    assert "semiseg evaluate RUN --split val" in caution
    assert not any("earlier rule" in c for c in summary.cautions(study(painted)))


def test_a_comparison_of_fewer_subjects_than_its_results_is_named(tmp_path):
    """A table written by hand, whose methods were scored on different subjects."""
    runs = write_gains(tmp_path, np.full(20, 0.03))
    for run in runs:
        if run.method == "supervised":
            continue
        with (run.path / "per_subject.csv").open() as file:
            header, *rows = csv.reader(file)
        for row in rows[:8]:
            row[6] = ""
        write_rows(run.path, rows)
    cautions = summary.cautions(study(load_runs(tmp_path)))
    (caution,) = [c for c in cautions if "fewer subjects than" in c]
    assert "12 of 20" in caution


def test_the_page_shows_who_carries_it(tmp_path):
    """Catches a table that names no subject, and one of a results.csv without subjects."""
    gains_S = np.zeros(10)
    gains_S[2] = 0.4
    runs = write_gains(tmp_path / "runs", gains_S)
    result = write_report(runs, tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "Who carries a difference" in page and "p02 " in page
    assert any("1 subject of 10 (p02)" in caution for caution in result["cautions"])
    table = load_runs(runs.write_csv(tmp_path / "results.csv"))
    assert influences(study(table)) == ()
    assert json.dumps(write_report(table, tmp_path / "bare")["cautions"])
