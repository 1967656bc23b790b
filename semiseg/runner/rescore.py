"""Re-evaluate a finished run on validation or test; its rows join the run's own files."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from semiseg import config
from semiseg.data import store
from semiseg.data.info import StoreInfo
from semiseg.data.pools import training
from semiseg.errors import UserError
from semiseg.evaluate.empty_policy import TRUTH_DECIDES
from semiseg.evaluate.subject_scores import SubjectRow
from semiseg.holding import holding
from semiseg.run_folder import SCORE_COLUMNS, RunFolder
from semiseg.runner.build import model_of, shapes_of
from semiseg.runner.external import is_external
from semiseg.runner.prepare import check_data, check_fold
from semiseg.runner.score_split import (
    means,
    read_test,
    read_validation,
    score_split,
    table_rows,
    with_look_alikes,
    with_regions,
    write_examples,
    write_subjects,
)
from semiseg.train.checkpoint import load_weights


def evaluate(run: Path, split: str = "val", root: str | None = None) -> list[SubjectRow]:
    """Score the last checkpoint of a run on a split; per_subject.csv and summary.json are brought
    up to date.

    Args:
      run: the run's folder.
      split: ``val`` or ``test``.
      root: where the stores are; where the run found them unless given.

    Raises:
      UserError: no finished run there, no such split, or damaged weights.
    """
    folder = RunFolder(run)
    check_name(split)
    with holding(run, "semiseg evaluate"):
        check_scorable(folder)
        trial = config.load(folder.config)
        trial = dataclasses.replace(trial, root=root or trial.root)
        info = store.info(trial.data, trial.root)
        check_data(folder, info)
        model = model_of(trial, info)
        params, _ = load_weights(folder.weights, shapes_of(model))
        trained_on = training(
            trial.data, trial.root, trial.frame, folds=trial.folds, fold=trial.fold
        )
        check_fold(folder, trained_on)
        check_split(info, split, bool(trial.folds))
        if split == "val":
            part = read_validation(trained_on)
        else:
            part = read_test(trial.data, trial.root, trained_on.frame, run=str(folder))
        scores = score_split(model, info, params, part)
        summary = folder.read_summary()
        rows = [
            tuple(row[column] for column in SCORE_COLUMNS)
            for row in folder.read_scores()
            if (row["split"], row["checkpoint"]) != (split, "last")
        ]
        summary["last"][split] = means(scores.rows)
        policy = dataclasses.asdict(TRUTH_DECIDES)
        if summary.get("empty_policy") != policy:  # the other rows were scored by an older program
            summary.setdefault("empty_policy_by_split", {})[split] = policy
        summary.setdefault("calibration", {})[split] = scores.calibration
        summary.setdefault("never_predicted", {})[split] = scores.never_predicted
        summary[f"subjects_{split}"] = part.subjects
        summary["look_alikes"] = with_look_alikes(summary.get("look_alikes", []), part)
        folder.write_scores(rows + table_rows(folder.name, split, "last", scores.rows))
        write_subjects(folder, part, info)
        write_examples(folder, part, scores.predictions)
        folder.write_summary(with_regions(summary, info))
        return scores.rows


def check_name(split: str) -> None:
    """Refuse what is no split to score.

    Raises:
      UserError: it is neither ``val`` nor ``test``.
    """
    if split not in ("val", "test"):
        raise UserError(f"--split is {split!r}: choose val or test")


def check_scorable(folder: RunFolder) -> None:
    """Refuse what is no finished run of a network.

    Raises:
      UserError: no run is there, it has not ended, or it holds another program's masks.
    """
    if not folder.path.is_dir():
        raise UserError(f"{folder}: there is no such folder; name the folder of a run")
    if not folder.finished:
        raise UserError(
            f"{folder}: holds no finished run; run the command that started it again to resume"
        )
    if is_external(folder):
        raise UserError(
            "holds another program's masks and no network",
            where=folder.path,
            remedy="score them with `semiseg score`",
        )


def check_split(info: StoreInfo, split: str, is_fold: bool) -> None:
    """Refuse a split that the set lacks; the remedy names one that it has.

    Raises:
      UserError: it lacks it.
    """
    there = [name for name in ("val", "test") if info.number(name)]
    if is_fold and "val" not in there:
        there.insert(0, "val")  # the subjects that the fold holds out
    if split in there:
        return
    if there:
        remedy = f"evaluate with --split {there[0]}, or import it with {split} cases"
    else:
        remedy = (
            "nothing can be scored with train alone: import it with val or test cases, or "
            "cross-validate with `semiseg train --folds`"
        )
    raise UserError(f"has no {split} split", where=info.name, remedy=remedy)


def ledger_problems(run: Path, root: str | None = None) -> tuple[str, ...]:
    """What is wrong with the ledgers of the test split of a run's data set; empty where they are
    whole.
    """
    trial = config.load(RunFolder(run).config)
    return store.history(trial.data, root or trial.root).problems
