"""A class that a network never predicts is said by the run, by training and by evaluation."""

import dataclasses

import numpy as np

import semiseg
from semiseg.cli import train
from semiseg.cli.main import main
from semiseg.evaluate.subject_scores import never_predicted
from semiseg.run_folder import RunFolder
from semiseg.types import IGNORE, Case


def case(subject, values):
    label = np.array([values], np.uint8)
    image = np.zeros((*label.shape, 1), np.uint8)
    return Case(subject, subject, image, label, (1.0, 1.0), subject)


def test_classes_that_are_shown_and_not_predicted_are_named():
    """Catches a class that nobody shows, one that one subject alone has, and what is ignored."""
    classes = ("background", "left", "right", "tumour", "cyst")
    cases = [case("a", [0, 1, 2, IGNORE]), case("b", [0, 1, 3, 0])]
    predictions = [np.array([[0, 1, 1, 4]]), np.array([[0, 0, 0, 0]])]
    assert never_predicted(cases, predictions, classes) == ["right", "tumour"]
    assert never_predicted(cases, [c.label for c in cases], classes) == []


def test_the_run_says_it(tiny, tmp_path, monkeypatch):
    """Catches a class that stays at 0 without a word, in the summary and on the command line."""
    trial = dataclasses.replace(tiny, steps=2, eval_every=2)
    result = semiseg.run(trial, tmp_path / "whole", progress=False)
    assert result.summary["never_predicted"].keys() == {"val"}
    frame = type(trial.frame)
    monkeypatch.setattr(frame, "labels", lambda self, probability, shape: np.zeros(shape, np.uint8))
    result = semiseg.run(trial, tmp_path / "empty", progress=False, test=True)
    summary = RunFolder(tmp_path / "empty").read_summary()
    (disc,) = summary["never_predicted"]["val"]
    assert summary["never_predicted"] == {"val": [disc], "test": [disc]}
    lines = train.result_lines(result.summary, tmp_path)
    assert [line for line in lines if f"never predicts {disc}" in line and "ga" in line]
    assert main(["evaluate", str(tmp_path / "whole"), "--split=test"]) == 0
    summary = RunFolder(tmp_path / "whole").read_summary()
    assert summary["never_predicted"]["test"] == [disc]
