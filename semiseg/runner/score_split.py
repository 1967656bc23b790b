"""A split scored by a network: rows by subject, calibration, and examples for the report."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from semiseg.data import store, subjects_csv
from semiseg.data.frame import Frame, PoolImage
from semiseg.data.pools import Training
from semiseg.data.store import StoreInfo
from semiseg.errors import UserError
from semiseg.evaluate import calibration
from semiseg.evaluate.examples import choose_examples
from semiseg.evaluate.metrics import NO_REGIONS, default_names
from semiseg.evaluate.probabilities import probabilities
from semiseg.evaluate.subject_scores import (
    SubjectRow,
    mean,
    never_predicted,
    score_subjects,
    truth_sizes,
)
from semiseg.files import replacing
from semiseg.run_folder import REGIONS, RunFolder
from semiseg.types import IGNORE, Case, Model, Params


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """Annotated cases, their pool images and the labels of these.

    Attributes:
      name: ``val`` or ``test``.
      cases: annotated images, slices, or volumes of a 3D network.
      images: their pool images.
      labels: of each pool image, ``(*space)`` uint8.
      frame: with nothing left open.
    """

    name: str
    cases: tuple[Case, ...]
    images: tuple[PoolImage, ...]
    labels: tuple[np.ndarray, ...] = ()
    frame: Frame = Frame(0)

    @property
    def subjects(self) -> int:
        """Number of subjects."""
        return len({case.subject for case in self.cases})

    @property
    def look_alikes(self) -> list[list[str]]:
        """Subjects of one group, for every group of two or more: they count as one cluster."""
        members: dict[str, set[str]] = {}
        for case in self.cases:
            if case.group:
                members.setdefault(case.group, set()).add(case.subject)
        return sorted(sorted(group) for group in members.values() if len(group) > 1)


class Scores(NamedTuple):
    """What evaluation says of a split.

    Attributes:
      rows: a value for each subject, class and metric.
      predictions: labels of each case at its own size.
      calibration: what summary.json says of confidence and accuracy.
      never_predicted: classes that annotations show and no prediction does.
    """

    rows: list[SubjectRow]
    predictions: list[np.ndarray]
    calibration: dict[str, Any]
    never_predicted: list[str]


# ------------------------------------------------------------------ reading a split
def read_validation(training: Training) -> Split:
    """The validation split in the frame of a training split; of a cross-validation the subjects
    that the fold holds out.

    Training may look at the validation split; what it learns there is reported as val-best.

    Raises:
      UserError: there is none.
    """
    if training.held_out is not None:
        return _held_out(training)
    info = training.info
    return _validation(info.name, info.root, training.frame, info.fingerprint)


def validation_of(training: Training) -> Split:
    """The validation split; an empty one where all subjects of the set train."""
    if training.held_out is None and not training.info.number("val"):
        return Split("val", (), (), (), training.frame)
    return read_validation(training)


@functools.lru_cache(5)
def _held_out(training: Training) -> Split:
    return split_of("val", training.validation, training.frame, training.info.name)


# Stored between the trials of a sweep; the fingerprint is a key, so that a set that was imported
# again is read again.
@functools.lru_cache(2)
def _validation(name: str, root: str | None, frame: Frame, fingerprint: str) -> Split:
    return split_of("val", store.read_split(name, "val", root), frame, name)


def read_test(
    name: str, root: str | None, frame: Frame, *, run: str, reason: str = "evaluate"
) -> Split:
    """The test split in the frame; the data set's ledger records that it was read."""
    return split_of("test", store.read_test(name, root, reason=reason, run=run), frame, name)


def split_of(split: str, cases: Sequence[Case], frame: Frame, name: str) -> Split:
    """The annotated ones of ``cases`` in the frame.

    Raises:
      UserError: none is annotated.
    """
    labelled: list[Case] = []
    images: list[PoolImage] = []
    labels: list[np.ndarray] = []
    for scan in cases:
        of_scan = frame.scans([scan], f"data set {name!r}")
        if all(case.label is None for case in of_scan):
            continue
        for case, image in zip(of_scan, frame.to_pools([scan]), strict=True):
            if case.label is not None:
                labelled.append(case)
                images.append(image)
                labels.append(frame.label_to_pool(case.label, case.spacing))
    if not labelled:
        raise UserError(
            f"data set {name!r} has no annotated {split} subjects: import it again with a "
            f"{split} split"
        )
    return Split(split, tuple(labelled), tuple(images), tuple(labels), frame)


# ------------------------------------------------------------------ scoring it
def score_split(
    model: Model,
    info: StoreInfo,
    params: Params,
    split: Split,
    metrics: Sequence[str] | None = None,
) -> Scores:
    """Rows by subject, predicted labels and calibration of a split.

    Regions are scored where all metrics are: what a training chooses by is a mean over classes.

    Args:
      model: the network.
      info: classes, regions and unit of the data set.
      params: variables of the network.
      split: what is predicted.
      metrics: names; those scored by default unless given.
    """
    predictions: list[np.ndarray] = []
    counts = np.zeros((3, calibration.BINS))
    frame = split.frame
    results = probabilities(model, frame, params, split.images)
    for probability, case, label in zip(results, split.cases, split.labels, strict=True):
        counts += calibration.count(probability, _shown(label, frame))
        shape = case.image.shape[: len(frame.window)]
        predictions.append(frame.labels(probability, shape))
    regions = info.region_values if metrics is None else NO_REGIONS
    rows = score_subjects(
        split.cases, predictions, info.classes, info.unit, metrics=metrics, regions=regions
    )
    missed = never_predicted(split.cases, predictions, info.classes)
    return Scores(rows, predictions, calibration.summary(counts), missed)


def _shown(label: np.ndarray, frame: Frame) -> np.ndarray:
    """A pool label, with IGNORE in what evaluation does not see."""
    if frame.view != "centre":
        return label
    (start,) = frame.windows(label.shape)
    box = tuple(slice(max(a, 0), a + w) for a, w in zip(start, frame.window, strict=True))
    shown = np.full_like(label, IGNORE)
    shown[box] = label[box]
    return shown


def means(rows: Sequence[SubjectRow]) -> dict[str, float | None]:
    """Mean of every metric; None where no subject has one."""
    return {name: _rounded(mean(rows, name)) for name in default_names()}


def with_regions(summary: Mapping[str, Any], info: StoreInfo) -> dict[str, Any]:
    """A summary that says which rows of per_subject.csv are those of regions.

    Regions that it names already stay: rows of another split may be theirs.

    >>> info = StoreInfo("x", "", (), "mm", 1, "uint8", "", "", (), {}, "", "", "")
    >>> with_regions({"steps": 3}, info)
    {'steps': 3}
    """
    regions = dict(summary.get(REGIONS, {}))
    regions |= {name: list(members) for name, members in info.regions.items()}
    if not regions:
        return dict(summary)
    return {**summary, REGIONS: regions}


def with_look_alikes(groups: Sequence[list[str]], split: Split) -> list[list[str]]:
    """Groups of look-alike subjects that a summary names, with those of another split."""
    every = {tuple(group) for group in (*groups, *split.look_alikes)}
    return [list(group) for group in sorted(every)]


def _rounded(value: float) -> float | None:
    if not np.isfinite(value):
        return None
    return round(value, 6)


# ------------------------------------------------------------------ files of it
def table_rows(
    run: str, split: str, checkpoint: str, rows: Sequence[SubjectRow]
) -> list[tuple[str, ...]]:
    """Rows of per_subject.csv; a value that is undefined is empty.

    Example:
      >>> table_rows("first", "val", "last", [SubjectRow("p07", "nucleus", "dice", 0.5, "")])
      [('first', 'val', 'last', 'p07', 'nucleus', 'dice', '0.5', '')]
    """
    return [
        (run, split, checkpoint, row.subject, row.class_, row.metric, _text(row.value), row.unit)
        for row in rows
    ]


def read_rows(folder: RunFolder, split: str, checkpoint: str) -> list[SubjectRow]:
    """The rows of per_subject.csv of one split and checkpoint."""
    regions = folder.read_summary().get(REGIONS, {})
    return [
        SubjectRow(
            row["subject"],
            row["class"],
            row["metric"],
            float(row["value"] or "nan"),
            row["unit"],
            row["class"] in regions,
        )
        for row in folder.read_scores()
        if row["split"] == split and row["checkpoint"] == checkpoint
    ]


def _text(value: float) -> str:
    if np.isnan(value):
        return ""
    return f"{value:.6g}"


TRUTH_SIZE = "truth_size"
"""Column of a run's subjects.csv: how large the annotated foreground is, in units of the data."""


def write_subjects(folder: RunFolder, split: Split, info: StoreInfo) -> None:
    """Write what is known of the subjects of a split into the run's subjects.csv: the columns of
    the data set's own subjects.csv, and the size of the truth.
    """
    columns = subjects_csv.read_columns(info.folder)
    rows = {}
    for subject, size in truth_sizes(split.cases).items():
        rows[subject] = columns.get(subject, {}) | {TRUTH_SIZE: f"{size:.6g}"}
    folder.write_subjects(split.name, rows)


def write_examples(folder: RunFolder, split: Split, predictions: Sequence[np.ndarray]) -> None:
    """Write examples.npz: the worst to the best images of a split; nothing where none is scored."""
    arrays: dict[str, Any] = choose_examples(split.cases, split.images, predictions)
    if arrays:
        # through an open file: numpy adds .npz to a path that ends otherwise
        with replacing(folder.examples) as partial, partial.open("wb") as file:
            np.savez_compressed(file, **arrays)
