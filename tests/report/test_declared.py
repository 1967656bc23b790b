"""A declared study: what its file may say, when it counts as declared, and what the page says."""

import hashlib
import json

import pytest
import yaml
from analysis.fake import write_run

from semiseg import load_runs
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
    _, page = report(study(), tmp_path)
    assert "It is not inferior: the interval excludes a loss of more than 0.020." in page
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
        ("margin: -1", "margin is -1: it must be above 0"),
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


def test_a_sweep_declares_before_it_runs(root, tmp_path, monkeypatch, capsys):
    """The file is put beside the runs, each records its hash, and it cannot be changed later.

    Catches a run that does not know of the declaration, and one that is swapped for another.
    """
    monkeypatch.chdir(tmp_path)
    values = {"data": "discs", "root": root, "net.widths": [4, 8], "image_size": 24, "labels": 4}
    values |= {"steps": 2, "batch": 4, "eval_every": 2}
    parameters = {name: {"value": value} for name, value in values.items()}
    (tmp_path / "s.yaml").write_text(yaml.safe_dump({"method": "grid", "parameters": parameters}))
    (tmp_path / "study.yaml").write_text(STUDY)
    command = ["sweep", "s.yaml", "--out", "out", "--study", "study.yaml"]
    assert main(command) == 0
    (environment,) = (tmp_path / "out").glob("*/env.json")
    digest = hashlib.sha256(STUDY.encode()).hexdigest()
    assert json.loads(environment.read_text())["study"] == digest
    assert main(["report", "out", "--out", "page"]) == 0
    assert "Declared before the runs" in (tmp_path / "page" / "report.html").read_text()
    (tmp_path / "study.yaml").write_text(STUDY + "metric: hd95\n")
    capsys.readouterr()
    assert main(command) == 2
    assert "another declaration than the one this sweep began with" in capsys.readouterr().err
