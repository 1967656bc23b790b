"""``semiseg evaluate`` with switches: both ways beside each other, and no folder changed."""

import csv
import dataclasses
import json
import shutil

import numpy as np
import pytest

import semiseg
from semiseg import config
from semiseg.cli.main import main
from semiseg.data import store
from semiseg.data.largest_component import largest_components
from semiseg.data.pools import training
from semiseg.errors import UserError
from semiseg.evaluate import class_thresholds
from semiseg.evaluate.subject_scores import score_subjects
from semiseg.run_folder import RunFolder
from semiseg.runner import prepare, test_time
from semiseg.runner.ensemble import Ensemble
from semiseg.runner.rescore import evaluate
from semiseg.runner.score_split import table_rows
from semiseg.runner.test_time import Switches, compare


@pytest.fixture(scope="module")
def run(tiny, tmp_path_factory):
    """A network that was trained a little, with mirrors."""
    trial = dataclasses.replace(tiny, steps=20)
    return semiseg.run(trial, tmp_path_factory.mktemp("time") / "run", progress=False).path


@pytest.fixture(scope="module")
def other(tiny, tmp_path_factory):
    trial = dataclasses.replace(tiny, steps=20, seed=1)
    return semiseg.run(trial, tmp_path_factory.mktemp("time") / "other", progress=False).path


def files_of(run):
    return {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}


def text(rows):
    """As per_subject.csv has them, where what is undefined is empty."""
    return table_rows("run", "split", "last", rows)


# ------------------------------------------------------------------ thresholds
def test_thresholds_of_two_classes_are_probabilities():
    p = np.linspace(0, 1, 101, dtype=np.float32)
    probability = np.stack([1 - p, p], -1)
    for t in (0.2, 0.5, 0.8):
        clear = abs(p - t) > 1e-6
        assert np.array_equal(class_thresholds.labels(probability, [t])[clear], (p > t)[clear])


def test_half_throughout_is_the_most_likely_class():
    probability = np.random.default_rng(0).dirichlet([1, 1, 1], (40, 40)).astype(np.float32)
    found = class_thresholds.labels(probability, [0.5, 0.5])
    assert np.array_equal(found, probability.argmax(-1))


def scans_of(subjects, best, seed=0):
    """Scans whose class 1 is exactly where its probability is above ``best``."""
    rng = np.random.default_rng(seed)
    scans = []
    for i in range(subjects):
        p = rng.uniform(0, 1, (30, 30)).astype(np.float32)
        label = (p > best).astype(np.uint8)
        scans.append(class_thresholds.Scan(f"p{i}", np.stack([1 - p, p], -1), label))
    return scans


def test_the_thresholds_of_the_best_dice_are_found():
    for best in (0.3, 0.5, 0.7):
        assert class_thresholds.chosen(scans_of(3, best)) == (best,)


def test_a_subject_does_not_choose_its_own_thresholds():
    odd = class_thresholds.Scan("odd", *scans_of(1, 0.8, seed=9)[0][1:])
    chosen = class_thresholds.chosen_without([*scans_of(4, 0.3), odd])
    assert chosen["odd"] == (0.3,)
    assert class_thresholds.chosen_without([odd]) == {"odd": (0.5,)}


def test_pixels_to_ignore_do_not_choose():
    scans = [scan._replace(label=scan.label.copy()) for scan in scans_of(2, 0.3)]
    for scan in scans:
        unsure = scan.probability[..., 1] < 0.6
        scan.label[unsure] = 255
    assert class_thresholds.chosen(scans) == (0.5,)  # below 0.6 all are equal


@pytest.mark.parametrize("typed", ["disc", "disc=", "=0.3", "disc=much", ""])
def test_what_is_no_list_of_thresholds(typed):
    with pytest.raises(UserError, match="disc=0.4,cup=0.35"):
        class_thresholds.typed_thresholds(typed)


def test_thresholds_of_unknown_classes_and_odd_numbers():
    classes = ("background", "disc")
    with pytest.raises(UserError, match="the classes are disc"):
        class_thresholds.of_classes({"cup": 0.3}, classes)
    for value in (0.0, 1.0, -2.0, float("nan")):
        with pytest.raises(UserError, match="between 0 and 1"):
            class_thresholds.of_classes({"disc": value}, classes)


# ------------------------------------------------------------------ runs
def test_without_an_effect_both_ways_are_the_scores_of_the_run(run):
    own = evaluate(run, "val")
    result = compare([run], "val", Switches(thresholds={"class 1": 0.5}))
    assert text(result.plain) == text(own)
    assert text(result.switched) == text(own)


def test_each_switch_is_what_predict_does(run, root):
    cases = list(store.read_split("discs", "val", root))
    info = store.info("discs", root)
    network = Ensemble.load([run], tta=True)
    masks = []
    for case in cases:
        probability = network.probabilities(case.image, case.spacing)
        masks.append(largest_components((probability[..., 1] > 0.3).astype(np.uint8), 2))
    expected = text(score_subjects(cases, masks, info.classes, info.unit))
    found = compare([run], "val", Switches(True, True, {"class 1": 0.3})).switched
    assert text(found) == expected
    assert text(compare([run], "val", Switches(True)).switched) != expected


def test_several_runs_are_one_ensemble_beside_their_mean(run, other, root):
    result = compare([run, other], "val", Switches())
    singles = [evaluate(path, "val") for path in (run, other)]
    for row, one, two in zip(result.plain, *singles, strict=True):
        assert row.value == pytest.approx((one.value + two.value) / 2, nan_ok=True)
    cases = list(store.read_split("discs", "val", root))
    masks = [Ensemble.load([run, other]).predict(case.image, case.spacing) for case in cases]
    info = store.info("discs", root)
    expected = score_subjects(cases, masks, info.classes, info.unit)
    assert text(result.switched) == text(expected)


def test_validation_chooses_the_thresholds_of_a_test(run):
    test = compare([run], "test", Switches(fit_thresholds=True))
    val = compare([run], "val", Switches(fit_thresholds=True))
    assert test.thresholds == val.thresholds
    stated = compare([run], "test", Switches(thresholds=test.thresholds))
    assert text(test.switched) == text(stated.switched)


def test_no_folder_changes_and_a_test_is_one_line(run, other, root):
    before = files_of(run), files_of(other)
    looked = store.history("discs", root)
    compare([run, other], "test", Switches(tta=True, fit_thresholds=True))
    assert (files_of(run), files_of(other)) == before
    evaluations = looked.evaluations + 1
    assert store.history("discs", root) == looked._replace(evaluations=evaluations)


# ------------------------------------------------------------------ the command
def test_the_command_prints_both_ways(run, tmp_path, capsys):
    table, report = tmp_path / "new" / "scores.csv", tmp_path / "scores.json"
    words = ["--tta", "--largest-component", "--fit-thresholds"]
    assert main(["evaluate", str(run), *words, f"--csv={table}", f"--json={report}"]) == 0
    out = capsys.readouterr().out
    assert out.index("plain\n") < out.index("with mirrors, thresholds, the largest part of each")
    assert "Dice, mean of the classes: " in out and "over subjects for these networks" in out
    assert "thresholds: class 1 0." in out
    facts = json.loads(report.read_text())
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    of_way = {
        way: [float(row["value"]) for row in rows if (row["way"], row["metric"]) == (way, "dice")]
        for way in ("plain", "switched")
    }
    gain = np.mean(of_way["switched"]) - np.mean(of_way["plain"])
    assert facts["dice_gain"]["mean"] == pytest.approx(gain, abs=1e-5)
    assert facts["switched"][0]["dice"] == pytest.approx(np.mean(of_way["switched"]), abs=1e-5)


def test_one_subject_has_no_interval(run, root, capsys, monkeypatch):
    """Catches an interval over nothing."""
    one = list(store.read_split("discs", "val", root))[:1]
    monkeypatch.setattr(test_time.store, "read_split", lambda *unused: one)
    assert main(["evaluate", str(run), "--tta"]) == 0
    out = capsys.readouterr().out
    assert "means over 1 val subject;" in out
    assert "interval" not in out


def test_each_run_says_which_subjects_its_fold_held_out(run, tmp_path, capsys):
    """Catches a second run whose fold was dealt otherwise: it trained on what is scored."""
    runs = [tmp_path / "one", tmp_path / "other"]
    trial = dataclasses.replace(config.load(RunFolder(run).config), folds=2)
    split = training(trial.data, trial.root, trial.frame, folds=2, fold=0)
    held_out = prepare._held_out(split)
    for path, facts in zip(runs, (held_out, {"held_out": "0" * 64}), strict=True):
        shutil.copytree(run, path)
        folder = RunFolder(path)
        folder.write_config(config.to_yaml(trial))
        folder.write_environment({**folder.read_environment(), **facts})
    assert main(["evaluate", *map(str, runs), "--split=test"]) == 2
    assert f"{runs[1]}: data set 'discs' is dealt into other folds" in capsys.readouterr().err


def test_what_cannot_be_compared_is_one_line(run, tmp_path, capsys):
    def refused(*words):
        assert main(["evaluate", *map(str, words)]) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        return line

    fold, unfinished = tmp_path / "fold", tmp_path / "unfinished"
    for copy in (fold, unfinished):
        shutil.copytree(run, copy)
    trial = config.load(RunFolder(run).config)
    RunFolder(fold).write_config(config.to_yaml(dataclasses.replace(trial, folds=2)))
    RunFolder(unfinished).summary.unlink()
    assert "another data set or fold" in refused(run, fold)
    assert "no finished run" in refused(run, unfinished)
    assert "no such folder" in refused(run, tmp_path / "none")
    assert "leave out --thresholds" in refused(run, "--thresholds=class 1=0.3", "--fit-thresholds")
    assert "the classes are class 1" in refused(run, "--thresholds=liver=0.3")
    assert "--csv" in refused(run, f"--csv={tmp_path / 'x.csv'}")
    assert "choose val or test" in refused(run, "--tta", "--split=train")
    assert "name the folder" in refused("--tta")
