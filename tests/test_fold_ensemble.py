"""predict and export of a folder that holds the folds of one setting."""

import csv
import dataclasses
import json
import shutil

import numpy as np
import pytest
from PIL import Image

import semiseg
from semiseg.cli.main import main
from semiseg.errors import UserError


@pytest.fixture(scope="module")
def study(tiny, tmp_path_factory):
    """Two folds, some steps each."""
    folder = tmp_path_factory.mktemp("study")
    for fold in range(2):
        trial = dataclasses.replace(tiny, steps=2, folds=2, fold=fold)
        semiseg.run(trial, folder / f"fold{fold}", progress=False)
    return folder


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).integers(0, 255, (40, 36, 1)).astype(np.uint8)


@pytest.fixture(scope="module")
def exported(study, tmp_path_factory):
    out = tmp_path_factory.mktemp("exported") / "model"
    assert main(["export", str(study), f"--out={out}"]) == 0
    return out


def _masks(run, image, folder, *flags):
    source = folder / "in"
    source.mkdir(exist_ok=True)
    Image.fromarray(image[..., 0]).save(source / "a.png")
    words = [f"--input={source}", f"--output={folder / 'out'}", "--overwrite", *flags]
    assert main(["predict", str(run), *words]) == 0
    return np.asarray(Image.open(folder / "out" / "a.png"))


def test_a_study_predicts_as_its_runs_do(study, exported, image, tmp_path, capsys):
    """Catches a folder of which one run predicts, and weights of one fold in the place of another.

    The exported file says the same as the runs, bit for bit.
    """
    runs = [study / "fold0", study / "fold1"]
    ensemble = semiseg.Ensemble.load(runs)
    first, second = ensemble.predictors
    one = first.probabilities(image)
    other = second.probabilities(image)
    averaged = ensemble.probabilities(image)
    assert not np.array_equal(one, other)
    np.testing.assert_allclose(averaged, (one + other) / 2, atol=1e-6)
    mask = ensemble.predict(image)
    np.testing.assert_array_equal(_masks(study, image, tmp_path), mask)
    assert "averaged over 2 runs of 2 folds of supervised" in capsys.readouterr().err
    for model in (exported, exported / "weights.safetensors"):
        loaded = semiseg.Ensemble.load([model])
        assert len(loaded.predictors) == 2
        np.testing.assert_array_equal(loaded.probabilities(image), averaged)
    np.testing.assert_array_equal(_masks(exported, image, tmp_path), mask)
    with pytest.raises(UserError, match="holds 2 networks.*semiseg.Ensemble.load"):
        semiseg.Predictor.load(exported)


def _subjects(file):
    """Subjects that have a Dice, a row each."""
    with file.open() as lines:
        rows = list(csv.DictReader(lines))
    return [row["subject"] for row in rows if row["metric"] == "dice"]


def test_what_is_exported_has_every_subject_once(study, exported):
    held_out = _subjects(study / "fold0" / "per_subject.csv")
    held_out += _subjects(study / "fold1" / "per_subject.csv")
    assert sorted(_subjects(exported / "scores.csv")) == sorted(held_out)
    members = json.loads((exported / "members.json").read_text())
    assert [member["config"]["fold"] for member in members] == [0, 1]
    card = (exported / "README.md").read_text()
    assert "2 networks of 2 folds" in card
    assert "has the score of the networks that did not train on it" in card


def _refusal(capsys, *words):
    assert main([*words]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    return line


def test_missing_folds_and_several_settings_are_refused(study, image, tmp_path, capsys):
    """One line each, and a flag that says otherwise."""
    out = f"--out={tmp_path / 'model'}"
    one = tmp_path / "one"
    shutil.copytree(study / "fold0", one / "fold0")
    line = _refusal(capsys, "export", str(one), out)
    assert "fold 1 of 2 has no finished run here" in line
    assert "--missing-folds" in line
    _masks(one, image, tmp_path, "--missing-folds")
    both = tmp_path / "both"
    shutil.copytree(study, both)
    other = shutil.copytree(study / "fold0", both / "longer")
    config = other / "config.yaml"
    config.write_text(config.read_text().replace("steps: 2", "steps: 4"))
    line = _refusal(capsys, "export", str(both), out)
    assert "holds 2 settings" in line
    assert "(steps 2)" in line
    assert "--where" in line
    _masks(both, image, tmp_path, "--where=steps=2,method=supervised")
    line = _refusal(capsys, "export", str(both), out, "--where=steps=3")
    assert "no run has steps '3'; they have 2, 4" in line
    line = _refusal(capsys, "export", str(both), out, "--where=stepz=3")
    assert "no run has a setting 'stepz'" in line


def test_a_folder_without_folds_is_no_ensemble(study, tmp_path, capsys):
    plain = tmp_path / "plain"
    for name in ("a", "b"):
        shutil.copytree(study / "fold0", plain / name)
        config = plain / name / "config.yaml"
        config.write_text(config.read_text().replace("folds: 2", "folds: 0"))
    line = _refusal(capsys, "export", str(plain), f"--out={tmp_path / 'model'}")
    assert "none is a fold of a cross-validation; name the runs" in line
