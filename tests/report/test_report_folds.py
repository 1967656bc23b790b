"""The page of a cross-validated study: every subject once, corrected tests, nothing of replicates."""

import csv
import json
import shutil

import pytest
from analysis.fake import write_folds, write_run

from semiseg.analysis.load import load_runs
from semiseg.analysis.study import study
from semiseg.cli.main import main
from semiseg.report import summary
from semiseg.report.fold_findings import lines
from semiseg.report.section import score_rows

NAMES = ("label_efficiency", "differences", "label_equivalence", "synthetic_gain")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folds(tmp_path_factory.mktemp("folds"), subjects=17, classes=("a", "b"))


@pytest.fixture(scope="module")
def page(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("page")
    assert main(["report", str(folder), f"--out={out}", f"--json={out / 'numbers.json'}"]) == 0
    return out


def test_page_counts_every_subject_once(page):
    """Catches five runs of one test set, and folds that are taken for label subsets."""
    numbers = json.loads((page / "numbers.json").read_text())
    assert numbers["folds"] == ["5 folds, every subject held out once: 17 of 17."]
    (sure,) = [a for a in numbers["first_screen"] if a["question"] == "How sure?"]
    assert sure["short"] == "5 folds"
    assert {(c["n_folds"], c["n_subjects"]) for c in numbers["cells"]} == {(5, 17)}
    (c,) = numbers["comparisons"]
    assert c["paired_by"] == "fold"
    assert c["p_wilcoxon"] is None
    html = (page / "report.html").read_text()
    for absent in (
        "Where the spread comes from",
        "Labels saved</h2>",
        "Questions</h2>",
        "Wilcoxon",
    ):
        assert absent not in html
    for present in (
        "Cross-validation</h2>",
        "(1/5 + 1/4)",
        "paired by fold and subject",
        "By class",
    ):
        assert present in html
    assert [name for name in NAMES if (page / "figures" / f"{name}.svg").exists()] == [
        "label_efficiency",
        "differences",
    ]
    assert "held-out subjects of 5 folds" in (page / "tables" / "label_efficiency.md").read_text()
    assert "--fold $f" in html


def test_results_csv_says_which_fold(page):
    with (page / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {(row["folds"], row["fold"]) for row in rows} == {("5", str(f)) for f in range(5)}


def test_a_missing_fold_is_said_and_has_no_verdict(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "runs")
    shutil.rmtree(tmp_path / "runs" / "mean_teacher-n8-j0-s0-f3")
    s = study(load_runs(tmp_path / "runs"))
    assert lines(s) == [
        "5 folds, every subject held out once: 17 of 17.",
        "Mean teacher with 8 annotated images: fold 3 is missing: 3 subjects are unscored, so it "
        "has no interval and no verdict.",
    ]
    which, sure = summary.first_screen(s)
    assert which.short == "Undecided: stay with supervised"
    assert sure.short == "Folds are missing"
    assert "could not be tested" in " ".join(summary.answer(s))
    (entry,) = score_rows(s)[1]["entries"]
    assert entry["why"] == "incomplete"


def test_folds_and_other_runs_in_one_folder_end_in_one_line(folder, tmp_path, capsys):
    other = write_run(tmp_path / "plain", method="mean_teacher", examples=False)
    assert main(["report", str(folder), str(other), f"--out={tmp_path / 'page'}"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "some runs are folds of a cross-validation and others are not" in line
