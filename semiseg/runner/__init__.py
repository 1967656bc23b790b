"""One run, from a trial to a folder of plain files: the story of the data's way, told once."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import functools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from semiseg import config, devices
from semiseg.config import Trial
from semiseg.data import pools as pool
from semiseg.data import store
from semiseg.errors import UserError
from semiseg.evaluate import calibration
from semiseg.evaluate import probabilities as predict
from semiseg.evaluate.examples import fullest_slices
from semiseg.evaluate.metrics import EmptyPolicy, default_names
from semiseg.evaluate.subjects import SubjectRow, mean, score_subjects
from semiseg.runner.start import start
from semiseg.train.checkpoint import load_weights, save_weights
from semiseg.train.draw import SCHEDULES
from semiseg.train.loop import Interrupted, Plan, fit
from semiseg.train.program import Knobs, Program
from semiseg.types import Case, Model, Params

FIELDS = ("run", "split", "checkpoint", "subject", "class", "metric", "value", "unit")
EXAMPLES = 6


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
        t = self.trial
        given = [
            t.data,
            config.name_of("method", t.method),
            f"{t.labels} labels",
            f"subset {t.label_subset}",
            f"seed {t.seed}",
            f"{t.steps} steps",
        ]
        scores = [
            f"{split} Dice {v:.3f}"
            for split, found in self.summary["last"].items()
            if (v := found.get("dice")) is not None
        ]
        return f"Result({self.path or 'not recorded'}: {', '.join(given + scores)})"


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
        finished one is read, not run again. None keeps nothing on disk.
      progress: show a bar on a terminal.
      test: also score the test split, which is written into the data set's ledger.
      watch: called with the Dice of every validation; what it raises ends the run.

    Raises:
      UserError: the folder holds a run of another trial, or a field makes no sense for the data.
    """
    config.check(trial)
    config.check_volumes(trial)
    config.check_synthetic(trial)
    made, budget, training = pool.pools(
        trial.data,
        trial.root,
        trial.frame,
        labels=trial.labels,
        label_subset=trial.label_subset,
        ratio=trial.ratio,
        synthetic=trial.synthetic,
    )
    model = model_of(trial, training.info)
    place = None if out is None else Path(out)
    with _no_trace(place):
        folder = place and _folder(
            place, trial, training.info
        )  # after what may refuse the trial: a mistake blocks no folder
        name = folder.name if folder else "run"
        if (
            folder
            and (folder / "summary.json").exists()
            and (not test or "test" in _json(folder / "summary.json")["last"])
        ):
            return _read(folder, trial, model)

        devices.make_room()  # whatever made these programs: a sweep, a notebook's loop
        notes = notes_of(trial, training, budget)
        if progress:
            _say(notes)
        validation = read_validation(trial.data, trial.root, trial.frame)
        eval_every = trial.eval_every or max(1, -(-trial.steps // 5))

        def validate(params: Params) -> float:
            dice = mean(
                score_split(trial, model, training.info, params, validation, metrics=("dice",))[0],
                "dice",
            )
            if watch:
                watch(dice)
            return dice

        header = header_of(trial, training.info)
        begin = start(
            trial, model, made, header, folder.parent if folder else None, progress=progress
        )
        subjects = list(
            dict.fromkeys((*budget.subjects, *begin.subjects))
        )  # what the first weights have seen annotated is paid for, too
        images = (
            budget.images
            if len(subjects) == len(budget.subjects)
            else sum(c.subject in subjects and c.label is not None for c in training.cases)
        )
        header |= {"subjects": subjects, "total_steps": trial.steps + begin.steps}
        fitted = fit(
            program_of(trial, model), knobs_of(trial), trial.seed, made, Plan(trial.steps, trial.log_every, eval_every, trial.checkpoint_seconds), folder,
            validate, progress=progress, header=header, initial=begin.params,
        )  # fmt: skip

    began = time.monotonic()
    rows, predictions, sure = score_split(trial, model, training.info, fitted.params, validation)
    table = [_line(name, "val", "last", row) for row in rows]
    summary: dict[str, Any] = {
        "run": name, "status": "finished", "last": {"val": means(rows)}, "val_best": {},
        "steps": trial.steps, "init": begin.name, "init_steps": begin.steps, "total_steps": trial.steps + begin.steps, "seconds_init": begin.seconds,
        "subjects_labelled": len(subjects), "images_labelled": images,
        "images_train": len(training.cases), "subjects_val": len({c.subject for c in validation.cases}),
        "images_unlabelled": len(training.cases) - budget.images, "notes": list(notes),
        "parameters": int(sum(np.size(x) for x in jax.tree.leaves(fitted.params.weights))),
        "empty_policy": dataclasses.asdict(EmptyPolicy()), "labelled_subjects": subjects, "seconds_train": round(fitted.seconds, 2),
        "calibration": {"val": sure},
    }  # fmt: skip
    if folder and fitted.best:
        best_rows = rows
        if fitted.best["step"] != trial.steps:
            best, _ = load_weights(folder / "weights_val_best.safetensors", fitted.params)
            best_rows, *_ = score_split(trial, model, training.info, best, validation)
        table += [_line(name, "val", "val_best", row) for row in best_rows]
        summary["val_best"] = {
            "step": fitted.best["step"],
            "val": means(best_rows),
            "note": "chosen on validation labels, which count as labels used",
        }
    if test:
        held_out = read_test(trial.data, trial.root, trial.frame, run=name)
        test_rows, predictions, summary["calibration"]["test"] = score_split(
            trial, model, training.info, fitted.params, held_out
        )
        table += [_line(name, "test", "last", row) for row in test_rows]
        summary["last"]["test"], summary["subjects_test"] = (
            means(test_rows),
            len({c.subject for c in held_out.cases}),
        )
    summary["seconds_evaluate"] = round(time.monotonic() - began, 2)
    if folder:
        save_weights(folder / "weights.safetensors", fitted.params, {**header, "step": trial.steps})
        write_examples(folder, held_out if test else validation, predictions)
        write_table(folder, table)
        _write(
            folder / "summary.json", json.dumps(summary, indent=1)
        )  # last: its presence says that the run is whole
    return Result(trial, summary, rows, folder, fitted.params)


# ------------------------------------------------------------------ parts of a run that evaluation
# and prediction share
@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """Annotated cases, their pool images and the labels of these."""

    name: str
    cases: tuple[Case, ...]
    images: np.ndarray
    labels: tuple[np.ndarray, ...] = ()


def read_validation(name: str, root: str | None, frame: pool.Frame) -> Split:
    """The validation split in the frame. Training may look at it; what it learns there is reported
    as val-best.
    """
    return _validation(name, root, frame, store.info(name, root).fingerprint)


@functools.lru_cache(2)
def _validation(name: str, root: str | None, frame: pool.Frame, fingerprint: str) -> Split:
    return _split("val", store.read_split(name, "val", root), frame, name)


def read_test(
    name: str, root: str | None, frame: pool.Frame, *, run: str, reason: str = "evaluate"
) -> Split:
    """The test split in the frame; the look is written into the set's ledger."""
    return _split("test", store.read_test(name, root, reason=reason, run=run), frame, name)


def _split(split: str, cases: Sequence[Case], frame: pool.Frame, name: str) -> Split:
    scans = frame.scans(cases, f"data set {name!r}")
    kept = tuple(c for c in scans if c.label is not None)
    if not kept:
        raise UserError(
            f"data set {name!r} has no annotated {split} subjects: import it again with a "
            f"{split} split"
        )
    labels = tuple(frame.label_to_pool(c.label) for c in kept if c.label is not None)
    return Split(split, kept, frame.to_pools(scans)[[c.label is not None for c in scans]], labels)


def model_of(trial: Trial, info: store.StoreInfo) -> Model:
    """The trial's network bound to the data set's channels and classes."""
    sample = jax.ShapeDtypeStruct(
        (1, *trial.frame.window, info.channels * trial.slices), np.float32
    )
    return Model(trial.net, sample, len(info.classes))


def program_of(trial: Trial, model: Model) -> Program:
    """The static part of a trial."""
    size = trial.frame.window if trial.frame.depth else trial.image_size
    return Program(model, size, trial.batch, trial.optimiser, trial.schedule, trial.synthetic_as)


def knobs_of(trial: Trial) -> Knobs:
    """The traced part of a trial."""
    return Knobs(
        method=trial.method, augment=trial.augment, lr=trial.lr, momentum=trial.momentum, weight_decay=trial.weight_decay,
        warmup=trial.warmup, clip=trial.clip, ratio=trial.ratio, synthetic_schedule=float(SCHEDULES.index(trial.synthetic_schedule)),
        synthetic_weight=trial.synthetic_weight, synthetic_softness=trial.synthetic_softness, steps=float(trial.steps),
    )  # fmt: skip


def header_of(trial: Trial, info: store.StoreInfo) -> dict[str, Any]:
    """What a weights file says of itself."""
    return {
        "config": config.to_dict(trial),
        "classes": list(info.classes),
        "channels": info.channels,
        "unit": info.unit,
        "fingerprint": info.fingerprint,
    }


def notes_of(trial: Trial, training: pool.Training, budget: pool.Budget) -> tuple[str, ...]:
    """What a semi-supervised run cannot do with its data, and does nevertheless or leaves out."""
    if not hasattr(trial.method, "labelled_share"):
        return ()
    name = config.name_of("method", trial.method)
    if budget.images == len(training.cases) and trial.synthetic_as != "unlabelled":
        return (
            (
                f"no training image is without its label: {name} takes the unlabelled part of a "
                f"batch from the labelled images and hides their labels"
            ),
        )
    if budget.images == training.annotated.sum() and trial.synthetic_as != "unlabelled":
        return (
            (
                f"nobody knows the labels of the unlabelled images, so how well {name} guesses them "
                f"cannot be measured: metrics.jsonl has no pseudo_…"
            ),
        )
    return ()


@functools.cache  # once, not in every trial of a sweep
def _say(notes: tuple[str, ...]) -> None:
    for note in notes:
        print(f"note: {note}", file=sys.stderr)


def score_split(
    trial: Trial,
    model: Model,
    info: store.StoreInfo,
    params: Params,
    split: Split,
    metrics: Sequence[str] | None = None,
) -> tuple[list[SubjectRow], list[np.ndarray], dict[str, Any]]:
    """Per-subject rows, the predicted labels, and how far the probabilities can be trusted, of a
    split.
    """
    predictions, total = [], np.zeros((3, calibration.BINS))
    for p, case, label in zip(
        predict.probabilities(model, trial.frame, params, split.images), split.cases, split.labels
    ):
        total += calibration.count(p, _middle(label, p.shape[:-1]))
        predictions.append(trial.frame.from_window(p, case.image.shape[: p.ndim - 1]))
    return (
        score_subjects(split.cases, predictions, info.classes, info.unit, metrics=metrics),
        predictions,
        calibration.told(total),
    )


def _middle(label: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return label[tuple(slice((n - m) // 2, (n - m) // 2 + m) for n, m in zip(label.shape, shape))]


def means(rows: Sequence[SubjectRow]) -> dict[str, float | None]:
    """Mean of every metric; None where no subject has one."""
    found = {m: mean(rows, m) for m in default_names()}
    return {m: (round(v, 6) if np.isfinite(v) else None) for m, v in found.items()}


def write_table(folder: Path, table: Sequence[Sequence[str]]) -> None:
    """per_subject.csv."""
    partial = folder / "per_subject.tmp"
    with partial.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([FIELDS, *table])
    partial.replace(folder / "per_subject.csv")


def read_table(folder: Path) -> list[dict[str, str]]:
    """The rows of per_subject.csv."""
    path = folder / "per_subject.csv"
    try:
        with path.open(newline="") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise UserError(
            f"{path}: cannot be read ({error}); delete the run's folder and run it again"
        ) from None
    if tuple(reader.fieldnames or ()) != FIELDS:
        raise UserError(
            f"{path}: its columns are not {','.join(FIELDS)}; delete the run's folder and run it "
            f"again"
        )
    return rows


def write_examples(folder: Path, split: Split, predictions: Sequence[np.ndarray]) -> None:
    """examples.npz: worst to best images (of volumes: slices) of a split, spread evenly over their
    ranks, scaled to the first one's shape.
    """
    if split.images.ndim == 5:
        shown, images, predictions = fullest_slices(split.cases, split.images, predictions)
        split = Split(split.name, shown, images)
    scores = [_image_dice(p, c.label) for p, c in zip(predictions, split.cases)]
    usable = [i for i in np.argsort(scores) if np.isfinite(scores[i])]
    chosen = (
        [usable[round(j)] for j in np.linspace(0, len(usable) - 1, min(EXAMPLES, len(usable)))]
        if usable
        else []
    )
    if not chosen:
        return
    side = split.images.shape[1]
    frame = pool.Frame(side)
    cases = [split.cases[i] for i in chosen]
    channels = cases[0].image.shape[-1]
    middle = split.images.shape[-1] // channels // 2 * channels  # of adjacent slices
    np.savez_compressed(
        folder / "examples.npz",
        image=np.stack([split.images[i][..., middle] for i in chosen]),
        label=np.stack([frame.label_to_pool(np.asarray(c.label)) for c in cases]),
        prediction=np.stack([frame.label_to_pool(predictions[i]) for i in chosen]),
        subject=np.array([c.name for c in cases]),
        dice=np.array([scores[i] for i in chosen]),
    )


def _image_dice(prediction: np.ndarray, label: np.ndarray | None) -> float:
    """Mean Dice over the classes an image shows or predicts; NaN where it has neither."""
    assert label is not None
    classes = [k for k in np.union1d(prediction, label) if k not in (0, 255)]
    dice = [
        2
        * np.sum((prediction == k) & (label == k))
        / (np.sum(prediction[label != 255] == k) + np.sum(label == k))
        for k in classes
    ]
    return float(np.mean(dice)) if dice else float("nan")


def _line(run: str, split: str, checkpoint: str, row: SubjectRow) -> tuple[str, ...]:
    value = "" if np.isnan(row.value) else f"{row.value:.6g}"
    return run, split, checkpoint, row.subject, row.class_, row.metric, value, row.unit


# ------------------------------------------------------------------ the folder
def _folder(folder: Path, trial: Trial, info: store.StoreInfo) -> Path:
    """The run's folder with its configuration; refuses one that holds another trial, or one of
    other data under the same name.
    """
    file, wanted = folder / "config.yaml", config.to_yaml(trial)
    begun = any(
        (folder / part).exists() for part in ("metrics.jsonl", "checkpoints", "summary.json")
    )
    if file.exists() and begun:
        old, new = (_comparable(t) for t in (config.load(file), trial))
        if old != new:
            field = next(k for k in new if old.get(k) != new[k])
            raise UserError(
                f"{folder}: holds a run with {field} = {old.get(field)}, not {new.get(field)}; "
                f"choose another --out or delete it"
            )
        check_data(folder, info)
        if _json(folder / "env.json").get("devices") != jax.device_count():
            print(
                f"{folder}: goes on with another number of devices, so the last bits may differ",
                file=sys.stderr,
            )
        return folder
    if folder.exists() and {p.name for p in folder.iterdir() if p.suffix != ".tmp"} - {
        "env.json",
        "config.yaml",
        "error.json",
        "wandb",
        "wandb.json",
    }:
        raise UserError(f"{folder}: is not empty and holds no run; choose another --out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(
            folder / "env.json",
            json.dumps(environment() | {"data_fingerprint": info.fingerprint}, indent=1),
        )
        _write(file, wanted)
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be written ({error.strerror}); choose another --out"
        ) from None
    return folder


@contextlib.contextmanager
def _no_trace(folder: Path | None) -> Iterator[None]:
    """What fails before the first step leaves the folder as it found it: an empty run would ask to
    be gone on with, and could not be.
    """
    there, before = (
        folder is not None and folder.exists(),
        {path.name for path in folder.glob("*")} if folder else set(),
    )
    try:
        yield
    except Interrupted:
        raise
    except Exception:
        if folder and not (folder / "metrics.jsonl").exists():
            for name in {"config.yaml", "env.json"} - before:
                (folder / name).unlink(missing_ok=True)
            if not there:
                with contextlib.suppress(OSError):
                    folder.rmdir()
        raise


def check_data(folder: Path, info: store.StoreInfo) -> None:
    """Refuse data that were imported anew under the name the run knows: its test subjects may be
    this run's training subjects.
    """
    known = _json(folder / "env.json").get("data_fingerprint", info.fingerprint)
    if known != info.fingerprint:
        raise UserError(
            f"{folder}: data set {info.name!r} is not the one this run was trained on (imported "
            f"again since); train the run again in a new folder"
        )


def _comparable(trial: Trial) -> dict[str, Any]:
    """Flat fields without what does not change the result: where stores lie, and how often the run
    reports and saves itself.
    """
    return {
        k: v
        for k, v in config.flatten(config.to_dict(trial)).items()
        if k not in ("root", "checkpoint_seconds", "log_every")
    }


def environment() -> dict[str, Any]:
    """Versions, device and commit."""
    from importlib.metadata import version

    commit = ""
    try:
        here = Path(__file__).resolve().parent
        commit = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        commit = ""  # not a checkout, or no git
    packages = ("semiseg", "jax", "jaxlib", "flax", "optax", "numpy", "scipy")
    device = jax.devices()[0]
    return {
        "versions": {p: version(p) for p in packages}, "python": ".".join(map(str, sys.version_info[:3])),
        "device": f"{device.platform}: {device.device_kind}", "devices": jax.device_count(), "cores": os.cpu_count(), "commit": commit,
    }  # fmt: skip


def _read(folder: Path, trial: Trial, model: Model) -> Result:
    like = jax.eval_shape(lambda: model.init(jax.random.key(0)))
    params, _ = load_weights(folder / "weights.safetensors", like)
    lines = [r for r in read_table(folder) if r["split"] == "val" and r["checkpoint"] == "last"]
    rows = [
        SubjectRow(r["subject"], r["class"], r["metric"], float(r["value"] or "nan"), r["unit"])
        for r in lines
    ]
    return Result(trial, _json(folder / "summary.json"), rows, folder, params)


def _json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}: cannot be read ({error}); delete the run's folder and run it again"
        ) from None


def _write(path: Path, text: str) -> None:
    partial = path.with_suffix(".tmp")
    partial.write_text(text)
    partial.replace(path)
