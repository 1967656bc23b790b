"""A declared study: what its file may say, when it counts as declared, and what the page says."""

import hashlib
import json

import pytest
import yaml
from analysis.fake import write_run

from semiseg import load_runs
from semiseg.analysis.declaration import Primary
from semiseg.analysis.questions import as_good_as
from semiseg.analysis.study import study as analysed
from semiseg.analysis.study_file import read_declaration
from semiseg.cli.main import main
from semiseg.errors import UserError
from semiseg.report.page import write_report

STUDY = """
question: Does mean teacher save annotations?
primary: {method: mean_teacher, labels: 8}
baseline: supervised
margin: 0.02
quote_on: val
date: 2026-01-31
"""


@pytest.fixture
def study(tmp_path):
    """Writes runs, those with a ``declared`` subset begun with the file beside them."""

    def make(text: str = STUDY, declared=(0, 1, 2), name="runs"):
        folder = tmp_path / name
        for method in ("supervised", "mean_teacher", "pseudo_label"):
            for subset in range(3):
                write_run(folder, method=method, subset=subset, seed=0, examples=False)
        (folder / "study.yaml").write_text(text)
        digest = hashlib.sha256(text.encode()).hexdigest()
        for run in folder.glob("*-n*"):
            env = run / "env.json"
            content = json.loads(env.read_text()) if env.exists() else {}
            if any(f"-j{subset}-" in run.name for subset in declared):
                content["study"] = digest
            env.write_text(json.dumps(content))
        return folder

    return make


def report(folder, tmp_path, **options):
    summary = write_report(load_runs(folder), tmp_path / "page", **options)
    return summary, (tmp_path / "page" / "report.html").read_text()


def test_a_declared_comparison_is_first_on_the_page_and_tested_by_itself(study, tmp_path):
    """Catches a primary comparison that pays for the others, and others that are not called
    exploratory.
    """
    summary, page = report(study(), tmp_path)
    (block,) = summary["declared"]
    assert block["title"] == "Declared before the runs"
    assert "mean teacher minus supervised with 8 annotations, Dice: +0." in block["lines"][1]
    assert page.index("Declared before the runs") < page.index("Which method?")
    rows = {row["arm"]: row for row in summary["comparisons"]}
    assert rows["mean teacher"]["p_holm"] == rows["mean teacher"]["p"]
    assert rows["pseudo label"]["p_holm"] >= rows["mean teacher"]["p"]
    assert "8 annotated, declared" in page
    assert "8 annotated, exploratory" in page


def test_a_declaration_after_the_runs_gives_no_comparison_a_privilege(study, tmp_path):
    """Catches a comparison that is declared once its result is known."""
    folder = study(declared=(0,))
    summary, page = report(folder, tmp_path)
    (block,) = summary["declared"]
    assert block["title"] == "Declared, but not before all runs"
    assert "Of 9 runs, 3 began with this declaration beside them, 0 with another one, and 6" in page
    assert "8 annotated, declared" not in page
    (folder / "study.yaml").write_text(STUDY.replace("labels: 8", "labels: 4"))
    assert (
        "0 began with this declaration beside them, 3 with another one"
        in report(folder, tmp_path)[1]
    )


def test_margin_split_and_missing_runs_are_said(study, tmp_path):
    """Catches a margin that nobody reads, and a declared comparison that vanishes unrun."""
    folder = study()
    _, page = report(folder, tmp_path)
    s = analysed(load_runs(folder))
    test = as_good_as(s, "mean teacher", "supervised", 8, 0.02)
    assert test.verdict == "not worse"
    interval = f"90 % interval [+{test.low:.3f},\N{NO-BREAK SPACE}+{test.high:.3f}]"
    assert "It is not inferior: a loss of more than 0.020 is excluded" in page
    assert interval in page
    other = STUDY.replace("labels: 8", "labels: 4").replace("quote_on: val", "quote_on: test")
    summary, page = report(study(other, name="others"), tmp_path)
    assert "with 4 annotations, Dice: it has not been run yet." in page
    assert "It declares to quote the test set; this page shows the validation set." in page
    assert summary["declared"][0]["title"] == "Declared before the runs"


@pytest.mark.parametrize(
    "text, words",
    [
        ("primry: 3", "'primry' is unknown"),
        ("primary: mean_teacher@8", "primary must say `method` and `labels`"),
        ("primary: {method: bcp, labels: many}", "primary.labels is 'many'"),
        ("margin: -1", "margin is -1: it must be a number above 0"),
        ("margin: two", "margin is 'two': it must be a number above 0"),
        ("choose_on: test", "is quoted too high: choose on val"),
        ("quote_on: train", "'train' is no split"),
        ("family: all", "family is 'all'"),
        ("metric: dise", "dise"),
        ("date: soon", "soon"),
        ("- a", "holds no mapping"),
    ],
)
def test_a_wrong_declaration_is_one_line(tmp_path, text, words):
    """Catches a typo that leaves a study undeclared."""
    file = tmp_path / "study.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=words):
        read_declaration(file)


@pytest.mark.slow
def test_a_sweep_declares_before_it_runs(root, tmp_path, monkeypatch, capsys):
    """The file is put beside the runs, each records its hash, and it cannot be changed later.

    Catches a run that does not know of the declaration, and one that is swapped for another.
    """
    monkeypatch.chdir(tmp_path)
    values = {"data": "discs", "root": root, "net.widths": [4, 8], "image_size": 24, "labels": 8}
    values |= {"steps": 2, "batch": 4, "eval_every": 2}
    parameters = {name: {"value": value} for name, value in values.items()}
    parameters["method"] = {"values": ["supervised", "mean_teacher"]}
    (tmp_path / "s.yaml").write_text(yaml.safe_dump({"method": "grid", "parameters": parameters}))
    (tmp_path / "study.yaml").write_text(STUDY)
    command = ["sweep", "s.yaml", "--out", "out", "--study", "study.yaml"]
    assert main(command) == 0
    environments = list((tmp_path / "out").glob("*/env.json"))
    assert len(environments) == 2
    digest = hashlib.sha256(STUDY.encode()).hexdigest()
    assert {json.loads(file.read_text())["study"] for file in environments} == {digest}
    assert main(["report", "out", "--out", "page"]) == 0
    assert "Declared before the runs" in (tmp_path / "page" / "report.html").read_text()
    (tmp_path / "study.yaml").write_text(STUDY + "metric: hd95\n")
    capsys.readouterr()
    assert main(command) == 2
    assert "another declaration than the one this sweep began with" in capsys.readouterr().err


@pytest.mark.parametrize(
    "primary, words",
    [
        (
            "{method: mean-techer, labels: 8}",
            "no trial has method 'mean-techer': did you mean mean_",
        ),
        ("{method: bcp, labels: 8}", "no trial has method 'BCP': s.yaml has mean_teacher, superv"),
        ("{method: Mean-Teacher, labels: 9}", "no trial has labels 9; s.yaml has 4, 8"),
        ("{method: mean_teacher, labels: 8}\nbaseline: cps", "no trial has method 'CPS'"),
        ("{method: supervised, labels: 8}", "primary compares 'supervised' with itself"),
    ],
)
@pytest.mark.parametrize("kind", ["grid", "random", "bayes"])
def test_a_sweep_refuses_a_primary_that_it_cannot_make(
    root, tmp_path, monkeypatch, capsys, kind, primary, words
):
    """Catches a typo that is found when the sweep has run: the study is then exploratory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.yaml").write_text(
        f"method: {kind}\nrun_cap: 30\nmetric: {{name: val_dice, goal: maximize}}\nparameters:\n"
        f"  data: {{value: discs}}\n  root: {{value: '{root}'}}\n  labels: {{values: [4, 8]}}\n"
        "  method: {values: [supervised, mean_teacher]}\n"
    )
    (tmp_path / "study.yaml").write_text(f"primary: {primary}\n")
    assert main(["sweep", "s.yaml", "--out", "out", "--study", "study.yaml"]) == 2
    assert words in capsys.readouterr().err.replace("\n", " ")
    assert not (tmp_path / "out").exists()
    assert main(["sweep", "s.yaml", "--out", "out", "--study", "nosuch.yaml"]) == 2
    assert "nosuch.yaml: no such file" in capsys.readouterr().err


def test_all_pairs_are_one_family(study, tmp_path):
    """Catches a declared family that changes nothing, and a primary that is told by its setting
    alone: the pair of two other settings would be it, too.
    """
    runs = load_runs(study(STUDY + "family: pairs\n"))
    usual = analysed(runs)
    pairs = analysed(runs, family="pairs")
    assert [(c.arm, c.baseline) for c in pairs.pairs] == [("pseudo label", "mean teacher")]
    assert [c.arm for c in pairs.comparisons] == [c.arm for c in usual.comparisons]
    everything = [*pairs.comparisons, *pairs.pairs]
    ordered = sorted(c.p_family for c in everything)
    smallest = min(everything, key=lambda c: c.p_family)
    assert smallest.p_holm == pytest.approx(max(3 * ordered[0], smallest.p))
    declared = analysed(runs, primary=Primary("pseudo label", 8), family="pairs")
    primary = next(c for c in declared.comparisons if c.arm == "pseudo label")
    assert primary.p_holm == primary.p
    (pair,) = declared.pairs
    assert pair.p_holm >= max(primary.p, pair.p_family)
    summary, page = report(tmp_path / "runs", tmp_path)
    assert "1 of the other settings with each other" in page
    assert "<summary>All pairs</summary>" in page
    assert "pseudo label minus mean teacher" in page
    assert summary["declared"][0]["title"] == "Declared before the runs"


def test_a_primary_is_found_whatever_its_spelling(study, tmp_path):
    """Catches ``mean-teacher``, which was a method that had not been run."""
    text = STUDY.replace("mean_teacher", "Mean-Teacher").replace("supervised", "Supervised")
    _, page = report(study(text), tmp_path)
    assert "8 annotated, declared" in page
