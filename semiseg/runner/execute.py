"""One run, from a trial to a folder of plain files: prepare, begin, train, score, record."""

from __future__ import annotations

import dataclasses
import functools
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from semiseg import config, devices
from semiseg.config import Trial
from semiseg.data import store
from semiseg.escapes import one_line
from semiseg.evaluate.subject_scores import SubjectRow, mean
from semiseg.holding import holding
from semiseg.run_folder import RunFolder
from semiseg.runner import leaks
from semiseg.runner.build import knobs_of, program_of, shapes_of
from semiseg.runner.job import Job as Job
from semiseg.runner.job import prepare as prepare
from semiseg.runner.job_facts import check_processes, summary_of
from semiseg.runner.prepare import open_folder, unchanged_on_failure
from semiseg.runner.score_split import (
    Scores,
    means,
    read_rows,
    read_test,
    table_rows,
    validation_of,
    with_look_alikes,
    with_regions,
    write_examples,
    write_subjects,
)
from semiseg.runner.start import start
from semiseg.train import hosts
from semiseg.train.checkpoint import load_weights, save_weights
from semiseg.train.loop import Plan, forget_programs
from semiseg.train.segmenter import Fitted, fit
from semiseg.types import Model, Params

UNRECORDED = "run"
"""Name of a run without a folder."""
BEST_NOTE = "chosen on validation labels, which count as labels used"


@dataclasses.dataclass(frozen=True)
class Result:
    """A finished run.

    Attributes:
      trial: what was run.
      summary: the content of summary.json; ``summary["last"]["val"]["dice"]`` is the primary
        number.
      rows: per-subject scores of the last checkpoint on the validation split.
      path: the run's folder, None for a run that was not recorded.
      params: the final variables.
    """

    trial: Trial
    summary: dict[str, Any]
    rows: list[SubjectRow]
    path: Path | None
    params: Params

    def __repr__(self) -> str:
        trial = self.trial
        facts = [
            trial.data,
            config.name_of("method", trial.method),
            f"{trial.labels} labels",
            f"subset {trial.label_subset}",
            f"seed {trial.seed}",
            f"{trial.steps} steps",
        ]
        for split, scores in self.summary["last"].items():
            if scores.get("dice") is not None:
                facts.append(f"{split} Dice {scores['dice']:.3f}")
        return f"Result({self.path or 'not recorded'}: {', '.join(facts)})"


def run(
    trial: Trial,
    out: str | Path | None = None,
    *,
    progress: bool = True,
    test: bool = False,
    watch: Callable[[float], None] | None = None,
) -> Result:
    """Train, evaluate on the validation split and record.

    Args:
      trial: everything that names the run.
      out: the run's folder. If it holds an unfinished run of the same trial, that goes on; a
        finished one is read, not run again. None stores nothing on disk.
      progress: show a bar on a terminal, a line a minute elsewhere.
      test: also score the test split, which is written into the data set's ledger.
      watch: called with the Dice of every validation; what it raises ends the run.

    Raises:
      UserError: the folder holds a run of another trial, or a field makes no sense for the data.
      Interrupted: SIGTERM or Ctrl-C came; the run is saved.
    """
    hosts.connect()
    with hosts.together():
        job = prepare(trial)  # first: a mistake in the trial blocks no folder
        check_processes(job)
        if hosts.is_first():
            with holding(out, "semiseg train"):
                folder = None if out is None else RunFolder(Path(out))
                return _run(job, folder, progress, test, watch)
        return _run(job, None, False, False, watch)


def _run(
    job: Job,
    folder: RunFolder | None,
    progress: bool,
    test: bool,
    watch: Callable[[float], None] | None,
) -> Result:
    trial = job.trial
    with unchanged_on_failure(folder):
        if folder:
            open_folder(folder, trial, job.training, job.masks)
        if hosts.fact_from_first(folder is not None and is_recorded(folder, test)):
            if folder:
                return read_result(folder, trial, job.model)
            return Result(trial, {"last": {}}, [], None, shapes_of(job.model))
        if test:
            store.check_test(trial.data, trial.root)
        begin(job, folder, progress)
        fitted = train(job, folder, watch, progress)
    result = record(job, fitted, folder, test)
    hosts.fact_from_first("recorded")  # the others wait for it
    return result


# ------------------------------------------------------------------ begin
def begin(job: Job, folder: RunFolder | None, progress: bool) -> None:
    """Read the validation split and make the initial weights."""
    if devices.make_room():  # whatever compiled the programs: a sweep, a notebook's loop
        forget_programs()
    trial = job.trial
    job.validation = validation_of(job.training)
    if not job.validation.cases:
        job.notes += ("the data set has no validation split: nothing says how good the network is",)
    beside = folder.path.parent if folder else None
    job.initial = start(trial, job.model, job.pools, job.training, beside, progress=progress)
    job.notes += leaks.notes_of(job.initial.provenance, job.training.info, job.training.held_out)
    if progress:
        say(job.notes)


@functools.cache  # once, not in every trial of a sweep
def say(notes: tuple[str, ...]) -> None:
    """Print notes to standard error."""
    for note in notes:
        print(f"note: {one_line(note)}", file=sys.stderr)


# ------------------------------------------------------------------ train
def train(
    job: Job, folder: RunFolder | None, watch: Callable[[float], None] | None, progress: bool
) -> Fitted:
    """Train to the last step; validation Dice is logged, and told to ``watch``.

    A held-out fold is scored once, at the end: a checkpoint that was chosen by it would score too
    high.
    """
    trial = job.trial
    validation = job.validation
    assert validation is not None
    has_validation = bool(validation.cases) and not trial.folds

    def validate(params: Params) -> float:
        dice = mean(job.score(params, validation, ("dice",)).rows, "dice")
        if watch:
            watch(dice)
        return dice

    return fit(
        program_of(trial, job.model),
        knobs_of(trial),
        trial.seed,
        job.pools,
        Plan(trial.steps, trial.log_every, eval_every(trial), trial.checkpoint_seconds),
        folder,
        validate if has_validation else None,
        progress=progress,
        header=job.header,
        initial=job.initial.params,
    )


def eval_every(trial: Trial) -> int:
    """Steps between validations: five in a run unless the trial says otherwise.

    Example:
      >>> eval_every(Trial(steps=1501)), eval_every(Trial(steps=3)), eval_every(Trial(eval_every=7))
      (301, 1, 7)
    """
    return trial.eval_every or max(1, -(-trial.steps // 5))


# ------------------------------------------------------------------ score and record
def record(job: Job, fitted: Fitted, folder: RunFolder | None, test: bool) -> Result:
    """Score the trained network and write the run's last files."""
    trial = job.trial
    validation = job.validation
    assert validation is not None
    began = time.monotonic()
    name = folder.name if folder else UNRECORDED
    scores = job.score(fitted.params, validation)
    table = table_rows(name, "val", "last", scores.rows)
    summary = with_regions(summary_of(job, fitted, name, scores), job.training.info)
    if folder and fitted.best:
        best = _best_rows(job, fitted, folder, scores)
        table += table_rows(name, "val", "val_best", best)
        summary["val_best"] = {
            "step": fitted.best["step"],
            "val": means(best),
            "note": BEST_NOTE,
        }
    scored = [validation]
    for_examples = (validation, scores.predictions)
    if test:
        held_out = read_test(trial.data, trial.root, job.training.frame, run=name)
        test_scores = job.score(fitted.params, held_out)
        table += table_rows(name, "test", "last", test_scores.rows)
        summary["last"]["test"] = means(test_scores.rows)
        summary["subjects_test"] = held_out.subjects
        summary["look_alikes"] = with_look_alikes(summary["look_alikes"], held_out)
        summary["calibration"]["test"] = test_scores.calibration
        summary["never_predicted"]["test"] = test_scores.never_predicted
        scored.append(held_out)
        for_examples = (held_out, test_scores.predictions)
    summary["seconds_evaluate"] = round(time.monotonic() - began, 2)
    if folder:
        save_weights(folder.weights, fitted.params, {**job.header, "step": trial.steps})
        for split in scored:
            write_subjects(folder, split, job.training.info)
        write_examples(folder, *for_examples)
        folder.write_scores(table)
        folder.write_summary(summary)  # last: its presence says that the run is whole
    return Result(trial, summary, scores.rows, folder.path if folder else None, fitted.params)


def _best_rows(job: Job, fitted: Fitted, folder: RunFolder, last: Scores) -> list[SubjectRow]:
    """Rows of the best validation's weights, which may be the last ones."""
    if fitted.best["step"] == job.trial.steps:
        return last.rows
    assert job.validation is not None
    params, _ = load_weights(folder.best_weights, fitted.params)
    return job.score(params, job.validation).rows


# ------------------------------------------------------------------ a run that is recorded already
def is_recorded(folder: RunFolder, test: bool) -> bool:
    """Whether the folder holds all that was asked for."""
    if not folder.finished:
        return False
    return not test or "test" in folder.read_summary()["last"]


def read_result(folder: RunFolder, trial: Trial, model: Model) -> Result:
    """A finished run, read from its folder."""
    params, _ = load_weights(folder.weights, shapes_of(model))
    rows = read_rows(folder, "val", "last")
    return Result(trial, folder.read_summary(), rows, folder.path, params)
