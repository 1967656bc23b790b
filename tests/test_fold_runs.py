"""Cross-validation: each subject is held out once, unseen, by runs of one compiled program."""

import csv
import dataclasses
import json
import logging
import re
import shutil

import jax
import numpy as np
import pytest

import semiseg
from semiseg import config, sweeps
from semiseg.cli.main import main
from semiseg.config import Trial
from semiseg.data import fold_splits, importing, provenance, store, training_split
from semiseg.data import pools as pool
from semiseg.errors import UserError
from semiseg.generators import ratio, teacher
from semiseg.generators.budget import read_budget
from semiseg.generators.settings import Settings
from semiseg.pretrain import MaskedImage, Weights
from semiseg.runner import execute, leaks
from semiseg.runner import start as starts
from semiseg.runner.rescore import evaluate
from semiseg.runner.score_split import validation_of

FOLDS = 3


@pytest.fixture(scope="module")
def folds(root, tiny, tmp_path_factory):
    """A sweep over three folds and two budgets, its results by name, and what it compiled."""
    place = tmp_path_factory.mktemp("folds")
    lists = {"fold": [0, 1, 2], "labels": [2, 4]}
    fixed = {
        "data": "discs",
        "root": root,
        "folds": FOLDS,
        "net.widths": [4, 8],
        "image_size": 24,
        "batch": 5,  # which no other test uses
        "steps": 4,
    }
    parameters = {name: {"value": value} for name, value in fixed.items()}
    parameters |= {name: {"values": values} for name, values in lists.items()}
    records: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())
    logging.getLogger("jax").addHandler(handler)
    jax.config.update("jax_log_compiles", True)
    try:
        results = sweeps.sweep(
            {"method": "grid", "parameters": parameters}, place, say=lambda line: None
        )
    finally:
        jax.config.update("jax_log_compiles", False)
        logging.getLogger("jax").removeHandler(handler)
    compiled = [text for text in records if re.search(r"Finished XLA.*jit\(chunk\)", text)]
    return {result.path.name: result.path for result in results}, compiled


def subjects(root, split):
    return {case.subject for case in store.read_split("discs", split, root)}


def outside_test(root):
    return subjects(root, "train") | subjects(root, "val")


def summary_of(path):
    return json.loads((path / "summary.json").read_text())


def rows_of(path, split="val"):
    with (path / "per_subject.csv").open(newline="") as file:
        return [row for row in csv.DictReader(file) if row["split"] == split]


# ------------------------------------------------------------------ the wall
def turned_labels(split):
    """The pools of a fold of a set in which the labels that it holds out are turned."""

    def turned(name, which, root=None):
        cases = []
        for case in original(name, which, root):
            if case.subject in split.held_out:
                case = dataclasses.replace(case, label=1 - case.label)
            cases.append(case)
        return cases

    original = store.read_split
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "read_split", turned)
        patch.setattr(
            training_split, "_folds", lambda whole, folds: dict.fromkeys(split.held_out, 1)
        )
        training_split._training.cache_clear()
        options = {"labels": 2, "label_subset": 0, "folds": FOLDS, "fold": 1}
        return pool.pools("discs", split.info.root, split.frame, **options)[0]


def test_nothing_on_the_device_depends_on_a_held_out_label(root, tiny):
    """Catches a held-out label in any array: labels, held-back labels, places of the foreground."""
    options = {"labels": 2, "label_subset": 0, "folds": FOLDS, "fold": 1}
    frame = pool.training("discs", root, tiny.frame, folds=FOLDS, fold=1).frame
    made, _, split = pool.pools("discs", root, frame, **options)
    assert split.held_out
    other = turned_labels(split)
    training_split._training.cache_clear()
    first = jax.tree.leaves(made)
    second = jax.tree.leaves(other)
    assert len(first) == len(second) > 8
    for one, two in zip(first, second, strict=True):
        assert np.array_equal(one, two)


def test_no_held_out_image_is_drawn(root, tiny):
    """Catches a held-out image among the labelled, the unlabelled or the pre-trained ones, and test
    images in the pool.
    """
    made, _, split = pool.pools(
        "discs", root, tiny.frame, labels=2, label_subset=0, folds=FOLDS, fold=0
    )
    whole = training_split._training("discs", root, tiny.frame, split.info.fingerprint, True)
    assert {case.subject for case in whole.cases} == outside_test(root)
    images = starts.images_only(made, split)
    for choice in (made.labelled, made.unlabelled, images.unlabelled):
        drawn = {whole.cases[i].subject for i in np.asarray(choice.images).tolist()}
        assert drawn and not drawn & split.held_out
    assert int(images.unlabelled.number) == len(split.cases)


# ------------------------------------------------------------------ runs
def test_every_subject_is_held_out_once_by_one_program(folds, root):
    """Catches a program a fold, a subject that is scored twice or never, and a test subject."""
    results, compiled = folds
    assert len(compiled) == 1
    assert len(results) == 6
    held_out = []
    for fold in range(FOLDS):
        rows = rows_of(results[f"fold{fold}-labels2"])
        held_out += sorted({row["subject"] for row in rows})
    assert sorted(held_out) == sorted(outside_test(root))


def test_budgets_are_nested_within_the_other_folds(folds):
    """Catches a budget that holds out's subjects are drawn into, or that is drawn anew."""
    results, _ = folds
    for fold in range(FOLDS):
        few, more = (
            summary_of(results[f"fold{fold}-labels{number}"])["labelled_subjects"]
            for number in (2, 4)
        )
        assert few == more[:2]
        scored = {row["subject"] for row in rows_of(results[f"fold{fold}-labels2"])}
        assert not scored & set(more)


def test_a_run_says_what_it_holds_out_and_is_not_validated(folds):
    """Catches a checkpoint chosen by the held-out fold, and a run that does not say its fold."""
    results, _ = folds
    path = results["fold2-labels4"]
    summary = summary_of(path)
    number = summary["subjects_val"]
    assert f"fold 2 of 3: {number} subjects held out" in summary["notes"]
    assert summary["val_best"] == {}
    assert not (path / "weights_val_best.safetensors").exists()
    assert "val" not in (path / "metrics.jsonl").read_text()
    trial = config.load(path / "config.yaml")
    assert (trial.folds, trial.fold) == (3, 2)


def test_it_goes_on_and_is_scored_again_on_the_same_subjects(folds, tmp_path, capsys, monkeypatch):
    """Catches a resumed or re-evaluated run that scores the set's val split, a fold that is dealt
    otherwise since, and a test split that folds have touched.
    """
    results, _ = folds
    path = tmp_path / "fold1"
    shutil.copytree(results["fold1-labels4"], path)
    rows = rows_of(path)
    evaluate(path)
    assert [row["subject"] for row in rows_of(path)] == [row["subject"] for row in rows]
    (path / "summary.json").unlink()
    trial = config.load(path / "config.yaml")
    semiseg.run(trial, path, progress=False)
    again = rows_of(path)
    assert [row["value"] for row in again] == [row["value"] for row in rows]
    evaluate(path, "test")
    assert len({row["subject"] for row in rows_of(path, "test")}) == 3
    original = training_split._folds

    def moved(whole, folds):
        fold_of = original(whole, folds)
        return {subject: (fold + 1) % folds for subject, fold in fold_of.items()}

    monkeypatch.setattr(training_split, "_folds", moved)
    training_split._without_fold.cache_clear()
    assert main(["evaluate", str(path)]) == 2
    assert "other folds" in capsys.readouterr().err
    training_split._without_fold.cache_clear()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--folds", "1"], "folds is 1"),
        (["--fold", "2"], "--folds 5"),
        (["--folds", "3", "--fold", "3"], "0 to 2"),
        (["--folds", "12"], "has 11 groups"),
        (["--folds", "11"], "fold of its own"),
        (["--folds", "3", "--labels", "9"], "the held-out fold"),
    ],
)
def test_errors_are_one_line_and_exit_2(root, tmp_path, capsys, flags, message):
    common = ["--data", "discs", "--root", root, "--image-size", "24", "--out", str(tmp_path / "x")]
    assert main(["train", *common, *flags]) == 2
    text = capsys.readouterr().err
    assert message in text
    assert text.count("\n") == 1


def test_a_sweep_does_not_stop_early_by_a_fold(root):
    """Catches trials that are never judged, in silence."""
    spec = {
        "method": "grid",
        "parameters": {"data": {"value": "discs"}, "folds": {"value": 3}},
        "early_terminate": {"type": "hyperband", "min_iter": 1},
    }
    with pytest.raises(UserError, match="scored once"):
        sweeps.trials(spec)


# ------------------------------------------------------------------ leaks
def test_weights_that_have_seen_the_held_out_fold_are_refused(folds, tiny, root):
    """Catches another fold's weights, and those of a run without folds, as initial weights."""
    results, _ = folds
    same = results["fold0-labels2"]
    trial = dataclasses.replace(config.load(same / "config.yaml"), steps=1)
    semiseg.run(
        dataclasses.replace(trial, init=Weights(str(same))),
        progress=False,
    )
    for other in (results["fold1-labels2"], results["fold2-labels4"]):
        with pytest.raises(UserError, match="the same --folds and --fold"):
            semiseg.run(
                dataclasses.replace(trial, init=Weights(str(other))),
                progress=False,
            )


def test_a_set_made_from_the_held_out_fold_is_refused(tiny, root):
    """Catches a synthetic set of another fold's subjects, and one of the val split that trains."""
    split = pool.training("discs", root, tiny.frame, folds=FOLDS, fold=0)
    info = split.info
    inside = sorted({case.subject for case in split.cases})
    good = provenance.of_training(info, inside, held_out=split.held_out)
    assert set(inside) & subjects(root, "val")
    source = leaks.checked(good, info, "set", "make it again", split.held_out)
    assert source.subjects == tuple(inside)
    with pytest.raises(UserError, match="val images"):
        leaks.checked(good, info, "set", "make it again")
    bad = provenance.of_training(info, ["train0"])
    with pytest.raises(UserError, match="val images"):
        leaks.checked(bad, info, "set", "make it again", split.held_out)
    nameless = provenance.Provenance(
        (provenance.Seen("discs", info.fingerprint, frozenset(split.held_out)),)
    )
    with pytest.raises(UserError, match="holds out"):
        leaks.checked(nameless, info, "set", "make it again", split.held_out)


def test_what_is_made_for_a_fold_is_not_that_of_another(tiny):
    """Catches pre-trained weights or a generated set that folds share, and a hash of a trial
    without folds that moved.
    """
    trial = dataclasses.replace(tiny, init=MaskedImage())
    trials = [trial]
    for fold in (0, 1):
        trials.append(dataclasses.replace(trial, folds=3, fold=fold))
    hashes = [starts.content(each, "print") for each in trials]
    assert len(set(hashes)) == 3
    without = starts.content(Trial(init=MaskedImage()), "print")
    assert without.startswith("616b3928fa6d"), (
        "pre-trained weights of earlier versions are not found"
    )
    settings = Settings(data="discs", root=tiny.root)
    fits = [settings]
    for fold in (0, 1):
        fits.append(dataclasses.replace(settings, folds=3, fold=fold))
    sets = [ratio.content("spade", each, 8) for each in fits]
    assert len(set(sets)) == 3
    with pytest.raises(UserError, match="leave it out"):
        ratio.resolved(dataclasses.replace(tiny, folds=3, synthetic="make:spade"), {"card": 5})
    with pytest.raises(UserError, match="fold = 1"):
        teacher._check_budget(Trial(folds=3, fold=1), Settings(folds=3), "--teacher x")


def test_a_generator_sees_no_held_out_pair(root):
    """Catches a generator that is fitted on the held-out fold, and a provenance that names it."""
    settings = Settings(data="discs", root=root, folds=FOLDS, fold=1, image_size=32)
    budget = read_budget(settings)
    assert budget.held_out
    assert not set(budget.subjects) & budget.held_out
    assert len(budget.subjects) + len(budget.held_out) == len(outside_test(root))
    info = store.info("discs", root)
    source = leaks.checked(budget.provenance, info, "set", "make it again", budget.held_out)
    assert source.subjects == tuple(sorted(set(budget.subjects)))


# ------------------------------------------------------------------ sets without a test split
def test_all_subjects_of_a_set_may_be_dealt(tmp_path, tiny, tiny_folder):
    """Catches folds that need a val or a test split."""
    source = tiny_folder / "train"
    importing.import_set("folder", source, "all", root=tmp_path, progress=False, splits="train")
    trial = dataclasses.replace(
        tiny,
        data="all",
        root=str(tmp_path),
        folds=2,
        fold=1,
    )
    job = execute.prepare(trial)
    assert len(job.training.cases) == 4
    assert validation_of(job.training).subjects == 4
    scans = store.read_split("all", "train", tmp_path)
    fold_of = fold_splits.of_scans(job.training.info, scans, 8)
    assert len(set(fold_of.values())) == 8
