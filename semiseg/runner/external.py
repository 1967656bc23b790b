"""A run made of masks that another program, or a second reader, wrote: the same scores, ledger and
files as a run of our own, without a network.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from semiseg.config import Trial
from semiseg.data import splits, store
from semiseg.data.frame import FIT, Frame
from semiseg.data.grey_values import OF_SLICE
from semiseg.data.info import StoreInfo
from semiseg.data.mask_files import NO_MASK, read_masks
from semiseg.errors import UserError
from semiseg.evaluate import misfit
from semiseg.evaluate.empty_policy import TRUTH_DECIDES
from semiseg.evaluate.subject_scores import SubjectRow, score_subjects
from semiseg.run_folder import (
    CONFIG,
    ENVIRONMENT,
    EXAMPLES,
    EXTERNAL,
    SCORE_COLUMNS,
    SCORES,
    SUBJECTS,
    RunFolder,
)
from semiseg.runner.external_checks import check_files, check_method, check_missing, names_of
from semiseg.runner.score_split import (
    Split,
    means,
    table_rows,
    with_look_alikes,
    with_regions,
    write_examples,
    write_subjects,
)
from semiseg.runner.versions import environment
from semiseg.types import Case

REASON = "semiseg score"
BEFORE_THE_SUMMARY = {ENVIRONMENT, CONFIG, SUBJECTS, EXAMPLES, SCORES}
"""Files that are written before the one that says that all are there."""
EXAMPLE_SIZE = 128
"""Longest side of the example pictures, pixels."""


class Masked(NamedTuple):
    """Who made masks, from which labels.

    Attributes:
      data, root: the data set.
      method: a name for the curve, e.g. ``nnU-Net``.
      labels: number of annotated subjects that it learnt from, 0 for all.
      label_subset: which subjects.
      seed: of its training.
    """

    data: str
    root: str | None
    method: str
    labels: int = 0
    label_subset: int = 0
    seed: int = 0


class Outcome(NamedTuple):
    """What was scored.

    Attributes:
      rows: a value for each subject, class and metric.
      missing: subjects without all of their masks.
      unused: mask files without a scan in this split.
      lacking: what each missing subject lacks, in words.
      slight_shift: a small shift that most masks have in common, "" for none.
    """

    rows: list[SubjectRow]
    missing: tuple[str, ...]
    unused: tuple[Path, ...]
    lacking: dict[str, str]
    slight_shift: str


def score_masks(
    masked: Masked,
    predictions: Path,
    out: Path,
    split: str = "val",
    *,
    allow_missing: bool = False,
    as_is: bool = False,
) -> Outcome:
    """Score a folder of masks and write a run folder.

    Args:
      masked: who made the masks.
      predictions: the folder, see :mod:`semiseg.data.mask_files`.
      out: the run's folder; one with the other split of the same masks gets this split as well.
      split: ``val`` or ``test``; test is written into the ledger of the test set.
      allow_missing: score without the subjects that have no mask; the run says so.
      as_is: score masks that seem to be transposed, shifted or renumbered; the run says so.

    Raises:
      UserError: a mask is missing, or does not fit its scan; or ``out`` holds something else.
    """
    if split not in ("val", "test"):
        raise UserError(f"--split is {split!r}: choose val or test")
    check_method(masked.method)
    info = store.info(masked.data, masked.root)
    training = _slices(store.read_split(masked.data, "train", masked.root))
    annotated = {case.subject for case in training if case.label is not None}
    labels = masked.labels or len(annotated)
    subjects = splits.labelled_subjects(info, training, labels, masked.label_subset)
    folder = RunFolder(out)
    config = _config(masked, labels)
    check_folder(folder, config)
    if split == "test":
        check_files(predictions, info, split, allow_missing, names_of(info, training))
    cases = _annotated(_read(masked, split, folder), info, split)
    masks = read_masks(predictions, cases, info)
    volumes = [case.volume for case in cases]
    check_missing(masks, volumes, predictions, split, allow_missing, names_of(info, training))
    scored = [case for case in cases if case.name in masks.by_case]
    drawn = [masks.by_case[case.name] for case in scored]
    doubt = doubts(scored, drawn, info.classes)
    if doubt and not as_is:
        raise UserError(
            doubt, where=predictions, remedy="mend the files, or score them so with --as-is"
        )
    frame = Frame(EXAMPLE_SIZE, spacing=FIT, intensity=OF_SLICE, stored="uint8")
    images = [frame.to_pool(case) for case in scored]
    slight = ""
    if not doubt:
        slight = misfit.slightly_shifted(*_volumes(scored, drawn))
    part = Split(split, tuple(scored), tuple(images))
    rows = score_subjects(scored, drawn, info.classes, info.unit, regions=info.region_values)
    facts = {
        "predictions": str(predictions),
        "missing": list(masks.missing),
        "doubt": doubt,
        "lacking": masks.lacking,
        "slight_shift": slight,
    }
    budget = Budget(subjects, training)
    _write(folder, config, info, part, Scored(rows, drawn, facts), budget)
    return Outcome(rows, masks.missing, masks.unused, masks.lacking, slight)


def _read(masked: Masked, split: str, folder: RunFolder) -> list[Case]:
    if split == "val":
        return _slices(store.read_split(masked.data, "val", masked.root))
    return _slices(store.read_test(masked.data, masked.root, reason=REASON, run=str(folder)))


def _slices(scans: Sequence[Case]) -> list[Case]:
    """Pictures and the slices of volumes, as a 2D network takes them."""
    return list(Trial().frame.scans(scans, "masks"))


def _annotated(cases: Sequence[Case], info: StoreInfo, split: str) -> list[Case]:
    annotated = [case for case in cases if case.label is not None]
    if not annotated:
        raise UserError(
            f"has no annotated {split} subjects",
            where=f"data set {info.name!r}",
            remedy=f"import it again with a {split} split",
        )
    return annotated


def doubts(cases: Sequence[Case], masks: Sequence[np.ndarray], classes: Sequence[str]) -> str:
    """What speaks against the files: masks that fit elsewhere, or with other class numbers.

    Args:
      cases: slices or pictures with their labels.
      masks: ``(H, W)`` of each.
      classes: names, background first.
    """
    truths, drawn = _volumes(cases, masks)
    where = misfit.misplaced(truths, drawn)
    if where:
        return f"the masks fit the truth much better when they are taken as {where}"
    if len(classes) > 2:
        numbers = misfit.renumbered(truths, drawn, classes)
        if numbers:
            return f"the masks have other class numbers: {numbers}"
    return ""


def _volumes(
    cases: Sequence[Case], masks: Sequence[np.ndarray]
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Truth and mask of each volume or picture, ``(D, H, W)`` or ``(H, W)``."""
    volumes: dict[str, list[int]] = {}
    for i, case in sorted(enumerate(cases), key=_index_of_pair):
        volumes.setdefault(case.volume, []).append(i)
    truths: list[np.ndarray] = []
    drawn: list[np.ndarray] = []
    for members in volumes.values():
        labels = [cases[i].label for i in members]
        truth = np.stack([label for label in labels if label is not None])
        mask = np.stack([masks[i] for i in members])
        if len(members) == 1:
            truth = truth[0]
            mask = mask[0]
        truths.append(truth)
        drawn.append(mask)
    return truths, drawn


def _index_of_pair(pair: tuple[int, Case]) -> int:
    return pair[1].index


# ------------------------------------------------------------------ the run's folder
class Budget(NamedTuple):
    """The label budget that the masks were made from.

    Attributes:
      subjects: annotated subjects in it.
      training: all cases of the training split.
    """

    subjects: tuple[str, ...]
    training: Sequence[Case]

    def summary(self) -> dict[str, Any]:
        """What summary.json says of it."""
        members = set(self.subjects)
        labelled = [case for case in self.training if case.label is not None]
        images = sum(case.subject in members for case in labelled)
        return {
            "subjects_labelled": len(self.subjects),
            "images_labelled": images,
            "images_train": len(self.training),
            "images_unlabelled": len(self.training) - images,
            "subjects_annotated": len({case.subject for case in labelled}),
            "labelled_subjects": list(self.subjects),
        }


class Scored(NamedTuple):
    """A split that was scored: rows, masks of its cases, what summary.json says of the files."""

    rows: list[SubjectRow]
    masks: list[np.ndarray]
    facts: dict[str, Any]


def _config(masked: Masked, labels: int) -> dict[str, Any]:
    """config.yaml: what names the run; how the masks were made is not known."""
    return {
        "data": masked.data,
        "root": masked.root,
        "method": {"name": masked.method},
        "net": {"name": EXTERNAL},
        "labels": labels,
        "label_subset": masked.label_subset,
        "seed": masked.seed,
        "steps": 0,
        "ratio": 0.0,
        "init": {"name": "none"},
    }


def is_external(folder: RunFolder) -> bool:
    """Whether a run was made of another program's masks."""
    return folder.finished and folder.read_summary().get("provenance") == EXTERNAL


def check_folder(folder: RunFolder, config: dict[str, Any]) -> None:
    """Accept a new folder, one with masks of the same maker, and what a killed command has left.

    Raises:
      UserError: it holds something else.
    """
    if not folder.path.exists() or not any(folder.path.iterdir()):
        return
    written = {path.name for path in folder.path.iterdir()}
    is_begun = not folder.finished and written <= BEFORE_THE_SUMMARY
    if is_begun and not folder.config.exists():
        return
    if (is_begun or is_external(folder)) and _named(_load(folder)) == _named(config):
        return
    raise UserError(
        "holds another run or something else", where=folder.path, remedy="choose another --out"
    )


def _load(folder: RunFolder) -> dict[str, Any]:
    content = yaml.safe_load(folder.config.read_text(encoding="utf-8"))
    if isinstance(content, dict):
        return content
    return {}


def _named(config: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key != "root"}


def _write(
    folder: RunFolder,
    config: dict[str, Any],
    info: StoreInfo,
    part: Split,
    scored: Scored,
    budget: Budget,
) -> None:
    summary: dict[str, Any] = {"last": {}, "look_alikes": [], "external": {}}
    rows: list[tuple[str, ...]] = []
    if folder.finished:
        summary = folder.read_summary()
        rows = [
            tuple(row[column] for column in SCORE_COLUMNS)
            for row in folder.read_scores()
            if row["split"] != part.name
        ]
    summary["last"][part.name] = means(scored.rows)
    summary["external"][part.name] = scored.facts
    summary |= {
        "run": folder.name,
        "status": "finished",
        "val_best": {},
        "steps": 0,
        "init": "none",
        "init_steps": 0,
        "total_steps": 0,
        "seconds_init": 0.0,
        "seconds_train": 0.0,
        f"subjects_{part.name}": part.subjects,
        "look_alikes": with_look_alikes(summary["look_alikes"], part),
        "notes": _notes(summary["external"]),
        "empty_policy": dataclasses.asdict(TRUTH_DECIDES),
        "calibration": {},
        "provenance": EXTERNAL,
        **budget.summary(),
    }
    folder.path.mkdir(parents=True, exist_ok=True)
    folder.write_environment({**environment(), "data_fingerprint": info.fingerprint})
    folder.write_config(yaml.safe_dump(config, sort_keys=False))
    write_subjects(folder, part, info)
    write_examples(folder, part, scored.masks)
    folder.write_scores(rows + table_rows(folder.name, part.name, "last", scored.rows))
    summary = with_regions(summary, info)
    folder.write_summary(summary)  # last: its presence says that the run is whole


def _notes(facts: dict[str, Any]) -> list[str]:
    """What the report must say of the masks of each split.

    >>> lacking = {"p1": "has no mask", "p2": "lacks 1 of 3 masks: p2_s02"}
    >>> _notes({"val": {"missing": ["p1", "p2"], "lacking": lacking, "doubt": ""}})
    ['val scored without 2 subjects: p1 has no mask; p2 lacks 1 of 3 masks: p2_s02']
    """
    notes: list[str] = []
    for split, of_split in facts.items():
        missing = of_split["missing"]
        if missing:
            lacking = of_split.get("lacking", {})  # not in runs of earlier versions
            words = [f"{subject} {lacking.get(subject, NO_MASK)}" for subject in missing]
            plural = "s" * (len(missing) != 1)
            notes.append(
                f"{split} scored without {len(missing)} subject{plural}: {'; '.join(words)}"
            )
        if of_split["doubt"]:
            notes.append(f"{split} scored as it is, although {of_split['doubt']}")
        if of_split.get("slight_shift"):
            notes.append(f"{split}: {of_split['slight_shift']}")
    return notes
