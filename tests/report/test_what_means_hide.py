"""Words for what was not measured: subjects behind means, and the chance of a single run."""

import dataclasses
import types

import numpy as np
import pytest
from analysis.fake import write_run

from semiseg.analysis import scores_csv
from semiseg.analysis.curves import Equivalence
from semiseg.analysis.load import load_runs
from semiseg.analysis.spread import ranking
from semiseg.analysis.study import study
from semiseg.analysis.worth import Worth
from semiseg.errors import UserError
from semiseg.report import facts, section, summary
from semiseg.report.figures.subject_spread import FIGURE, subject_table, subjects
from semiseg.report.page import write_report

METHODS = ("supervised", "mean_teacher")


def runs_in(folder, subsets=3):
    for method in METHODS:
        for labels in (4, 16):
            for subset in range(subsets):
                write_run(folder, method=method, labels=labels, subset=subset, examples=False)
    return load_runs(folder)


@pytest.fixture(scope="module")
def means(tmp_path_factory):
    """A results.csv without its subjects: three label subsets, two budgets."""
    folder = tmp_path_factory.mktemp("means")
    return runs_in(folder / "runs").write_csv(folder / "results.csv")


def test_means_are_not_paired_by_subject(means, tmp_path):
    """Catches "paired by subject" and "Better in 100 %" from one mean a run, quartiles of one
    value, and a number of labels that is called enough by intervals that ignore subjects.
    """
    runs = load_runs(means)
    s = study(runs)
    for c in s.comparisons:
        assert np.isnan([*c.effect, c.p_wilcoxon]).all()
    answer = " ".join(summary.answer(s))
    assert "paired by run" in answer and "by subject" not in answer
    screen = {a.question: a for a in summary.first_screen(s)}
    assert screen["How many labels?"].short == "Undecided"
    assert "ignore subjects" in screen["How many labels?"].detail
    write_report(runs, tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    for words in ("paired by subject", ">nan", ">100%", "Lower quartile", "1 subject"):
        assert words not in page, words
    assert "<td>–</td><td>–</td>" in page
    assert not (tmp_path / "figures" / "subjects.png").exists()
    table = (tmp_path / "tables" / "comparisons.md").read_text(encoding="utf-8")
    assert "nan" not in table and "100%" not in table


def test_subjects_are_drawn_only_where_they_are_known(means):
    """Catches a mean drawn as if it were a subject."""
    s = study(load_runs(means))
    assert len(subject_table(s)) == 1
    assert not FIGURE.applies(types.SimpleNamespace(study=s))
    with pytest.raises(UserError, match="only their means"):
        subjects(s)


def test_tables_of_means_say_so_beside_subjects(tmp_path):
    """A subjects' file with Dice alone. Catches intervals of HD95 over runs that look like those
    of Dice, and a tooltip that counts one subject.
    """
    runs = runs_in(tmp_path / "runs")
    results = runs.write_csv(tmp_path / "results.csv")
    scores_csv.write(runs, results, ("dice",), "val")
    s = study(load_runs(results))
    assert all(c.by_subject for c in s.comparisons)
    assert "12 subjects" in section.score_rows(s)[0]["entries"][0]["covers"]
    others = {other["name"]: other for other in section._other_metrics(s)}
    hd95 = next(other for name, other in others.items() if name.startswith("HD95"))
    assert hd95["better"] == "lower is better; intervals over label subsets alone"
    covers = hd95["rows"][0]["entries"][0]["covers"]
    assert covers == "over label subsets, 3 runs, scores of single subjects not known"


def test_two_single_runs_have_no_verdict(tmp_path):
    """Every subject is better by the same: p is tiny. Catches "significant" from one seed."""
    s = study(runs_in(tmp_path, subsets=1))
    for c in s.comparisons:
        assert c.single_runs and c.p_holm < 0.05 and c.difference.low > 0
        assert not c.significant and np.isnan(c.detectable)
    assert "over subjects only (one run each: no verdict)" in summary.answer(s)[1]
    which = summary.first_screen(s)[0]
    assert which.short == "Undecided: stay with supervised"
    assert "one run each: no verdict" in which.detail
    several = study(runs_in(tmp_path / "more", subsets=3))
    assert any(c.significant for c in several.comparisons)


def test_the_largest_saving_is_said_first(monkeypatch):
    """Catches the first three settings by name."""
    results = [
        Worth(name, 4, Equivalence(labels, 5.0, np.inf, 4.0, 64.0), "", 1)
        for name, labels in (("a", 6.0), ("b", 9.0), ("c", np.inf), ("d", 20.0))
    ]
    results.append(
        dataclasses.replace(
            results[2],
            arm="e",
            tested=0,
        )
    )
    monkeypatch.setattr(facts, "worth", lambda s: results)
    monkeypatch.setattr(facts, "unit_of_annotation", lambda runs: "images")
    s = types.SimpleNamespace(baseline="supervised", runs=[])
    named = [fact.worth.arm for fact in facts.equivalences(s, most=4)]
    assert named == ["c", "d", "b", "a"]


@pytest.mark.parametrize(("subsets", "is_shown"), [(2, False), (3, True)])
def test_two_rankings_have_no_tau(tmp_path, subsets, is_shown):
    """Catches a rank correlation of -1 or 1 from two label subsets."""
    s = study(runs_in(tmp_path, subsets))
    assert ranking(s, 4).subsets == subsets
    assert [row["tau"] != "–" for row in section._spread(s)] == [is_shown] * 2
