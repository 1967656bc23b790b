"""The folder of a run or of a generator's fit: names of its files, columns of its table.

It lies below training, so that the loop that writes a folder and everything that reads one
(analysis, sweeps, reports, tracking) agree on the names. Nothing else in the package spells them.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from semiseg.errors import UserError
from semiseg.escapes import csv_mapping, csv_row, csv_text
from semiseg.files import file_hash, read_json, replacing, write_text
from semiseg.shapes import AMOUNT, COUNT, LOGGED, NUMBER, TEXT, ByName, Each, optional

CONFIG = "config.yaml"
ENVIRONMENT = "env.json"
LOG = "metrics.jsonl"
SCORES = "per_subject.csv"
SUBJECTS = "subjects.csv"
SUMMARY = "summary.json"
CHECKPOINTS = "checkpoints"
WEIGHTS = "weights.safetensors"
BEST_WEIGHTS = "weights_val_best.safetensors"
EXAMPLES = "examples.npz"
FAILURE = "error.json"
EARLY_STOP = "stopped.json"
DROPPED = "rejected.json"
TRACKING = "wandb.json"
TRACKING_FILES = "wandb"
TENSORBOARD = "tensorboard"
STUDY = "study.yaml"
SAMPLES = "grid.png"
SAMPLES_BY_STEP = "grids"

RESULTS = (CONFIG, SUMMARY, SCORES)
"""What a finished run has at least."""
PUBLISHED = (WEIGHTS, CONFIG, SUMMARY, ENVIRONMENT, SCORES)
"""What ``semiseg export`` copies."""
BEFORE_TRAINING = (CONFIG, ENVIRONMENT, FAILURE, DROPPED, TRACKING, TRACKING_FILES, TENSORBOARD)
"""What a folder may hold that a run has not begun to train in."""
SCORE_COLUMNS = ("run", "split", "checkpoint", "subject", "class", "metric", "value", "unit")
"""Columns of per_subject.csv."""
SUBJECT_COLUMNS = ("split", "subject")
"""First columns of subjects.csv; the others are whatever is known of the subjects."""
EXAMPLE_ARRAYS = ("image", "label", "prediction", "subject", "dice")
"""Arrays of examples.npz."""
REGIONS = "regions"
"""Key of summary.json: region → its classes, where per_subject.csv has rows of regions."""
EXTERNAL = "external"
"""Network, and provenance, of a run that `semiseg score` made of another program's masks."""
TRAIN_AGAIN = "delete the run's folder and run it again"
_SCORES = ByName(optional(NUMBER))
_BINS = Each(AMOUNT)
SUMMARY_SHAPE = {
    "run": TEXT,
    "status": TEXT,
    "init": optional(TEXT),
    "provenance": optional(TEXT),
    "last": ByName(_SCORES),
    "val_best": {"step": COUNT, "val": _SCORES},
    "notes": Each(TEXT),
    "look_alikes": Each(Each(TEXT, least=1)),
    "labelled_subjects": Each(TEXT),
    "like_held_out": Each({"split": TEXT, "set": TEXT, "images": COUNT}),
    "never_predicted": ByName(Each(TEXT)),
    "empty_policy": ByName(TEXT),
    "empty_policy_by_split": ByName(ByName(TEXT)),
    "calibration": ByName(
        {"ece": optional(NUMBER), "pixels": _BINS, "confidence": _BINS, "right": _BINS}
    ),
    "external": ByName({"predictions": TEXT, "missing": Each(TEXT), "doubt": TEXT}),
    REGIONS: ByName(Each(TEXT)),
    **dict.fromkeys(
        (
            "steps",
            "init_steps",
            "total_steps",
            "subjects_labelled",
            "images_labelled",
            "images_unlabelled",
            "images_train",
            "subjects_val",
            "subjects_test",
            "subjects_annotated",
            "parameters",
        ),
        optional(COUNT),
    ),
    **dict.fromkeys(("seconds_init", "seconds_train", "seconds_evaluate"), optional(AMOUNT)),
}
"""What summary.json holds, as far as other programs use it; see :mod:`semiseg.shapes`."""
ENVIRONMENT_SHAPE = {
    "versions": ByName(TEXT),
    **dict.fromkeys(("device", "commit", "data_fingerprint", "study"), optional(TEXT)),
}
"""What env.json holds."""


def region_label(name: str) -> str:
    """What stands beside the classes' names in a table for people.

    >>> region_label("whole")
    'whole (region)'
    """
    return f"{name} (region)"


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """A run's folder; a property for each file in it.

    Example:
      >>> RunFolder(Path("runs/first")).log.as_posix()
      'runs/first/metrics.jsonl'
    """

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def name(self) -> str:
        """The folder's own name, which names the run."""
        return self.path.name

    @property
    def config(self) -> Path:
        """Every field of the trial, or of a generator's settings."""
        return self.path / CONFIG

    @property
    def environment(self) -> Path:
        """Versions, device, commit, and the fingerprint of the data."""
        return self.path / ENVIRONMENT

    @property
    def log(self) -> Path:
        """A line of JSON every few steps."""
        return self.path / LOG

    @property
    def scores(self) -> Path:
        """A row for each subject, class and metric."""
        return self.path / SCORES

    @property
    def subjects(self) -> Path:
        """What is known of the scored subjects: site, scanner …, size of the truth."""
        return self.path / SUBJECTS

    @property
    def summary(self) -> Path:
        """Means and costs. It is written last: its presence says that the run is whole."""
        return self.path / SUMMARY

    @property
    def checkpoints(self) -> Path:
        """The last training states, see :class:`semiseg.train.checkpoint.Checkpoints`."""
        return self.path / CHECKPOINTS

    @property
    def weights(self) -> Path:
        """The variables after the last step; of a generator the average that samples."""
        return self.path / WEIGHTS

    @property
    def best_weights(self) -> Path:
        """The variables of the best validation."""
        return self.path / BEST_WEIGHTS

    @property
    def examples(self) -> Path:
        """Images, labels and predictions of a few cases, see :data:`EXAMPLE_ARRAYS`."""
        return self.path / EXAMPLES

    @property
    def failure(self) -> Path:
        """Why a trial of a sweep failed."""
        return self.path / FAILURE

    @property
    def early_stop(self) -> Path:
        """Why a sweep stopped a trial early."""
        return self.path / EARLY_STOP

    @property
    def dropped(self) -> Path:
        """Which rejected set a sweep did not let a trial learn from."""
        return self.path / DROPPED

    @property
    def tracking(self) -> Path:
        """Which W&B run mirrors this one."""
        return self.path / TRACKING

    # -------------------------------------------------------------- state
    @property
    def finished(self) -> bool:
        """Whether the run is whole."""
        return self.summary.exists()

    @property
    def begun(self) -> bool:
        """Whether training has begun here."""
        return any(part.exists() for part in (self.log, self.checkpoints, self.summary))

    @property
    def holds_something_else(self) -> bool:
        """Whether files lie here that no run begins with: such a folder is left alone."""
        if not self.path.exists():
            return False
        names = {path.name for path in self.path.iterdir() if path.suffix != ".tmp"}
        return not names <= set(BEFORE_TRAINING)

    @property
    def trained(self) -> bool:
        """Whether final weights are here."""
        return self.weights.exists()

    # -------------------------------------------------------------- reading
    def read_summary(self) -> dict[str, Any]:
        """The content of summary.json. Raises UserError where it cannot be read."""
        return read_json(self.summary, TRAIN_AGAIN, SUMMARY_SHAPE)

    def read_environment(self) -> dict[str, Any]:
        """The content of env.json. Raises UserError where it cannot be read."""
        return read_json(self.environment, TRAIN_AGAIN, ENVIRONMENT_SHAPE)

    def read_scores(self) -> list[dict[str, str]]:
        """The rows of per_subject.csv.

        Raises:
          UserError: the file cannot be read, or has other columns.
        """
        try:
            with self.scores.open(newline="") as file:
                reader = csv.DictReader(file)
                rows = [{key: _text(cell) for key, cell in row.items()} for row in reader]
        except (OSError, csv.Error, UnicodeDecodeError) as error:
            raise UserError(
                f"cannot be read ({error})", where=self.scores, remedy=TRAIN_AGAIN
            ) from None
        if tuple(reader.fieldnames or ()) != SCORE_COLUMNS:
            columns = ",".join(SCORE_COLUMNS)
            raise UserError(f"its columns are not {columns}", where=self.scores, remedy=TRAIN_AGAIN)
        for number, row in enumerate(rows, 2):
            if len(row) > len(SCORE_COLUMNS) or not _is_score(row["value"]):
                raise UserError(f"line {number} is no score", where=self.scores, remedy=TRAIN_AGAIN)
        return rows

    def read_log(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl as dictionaries; none without a log.

        Raises:
          UserError: a line cannot be read; its number is named.
        """
        if not self.log.exists():
            return []
        remedy = "resume the run, or delete the folder and train again"
        try:
            text = self.log.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"cannot be read ({error})", where=self.log, remedy=remedy) from None
        lines = []
        for number, line in enumerate(text.splitlines(), 1):
            content = _logged(line)
            if content is None:
                raise UserError(
                    f"line {number} is no step with its values in JSON",
                    where=self.log,
                    remedy=remedy,
                )
            lines.append(content)
        return lines

    def last_lines(self, size: int = 16384) -> list[dict[str, Any]]:
        """The whole lines in the last ``size`` bytes of metrics.jsonl; none without a log.

        A long log costs as little as a short one. The first of these lines may be cut, and so may
        be the last of a killed run; such a line is left out.
        """
        if not self.log.exists():
            return []
        with self.log.open("rb") as log:
            log.seek(max(0, self.log.stat().st_size - size))
            text = log.read().decode(errors="replace")
        return list(whole_lines(text))

    # -------------------------------------------------------------- writing
    def write_config(self, text: str) -> None:
        """Write config.yaml."""
        write_text(self.config, text)

    def write_environment(self, content: Mapping[str, Any]) -> None:
        """Write env.json."""
        write_text(self.environment, json.dumps(content, indent=1))

    def write_subjects(self, split: str, columns: Mapping[str, Mapping[str, str]]) -> None:
        """Write what is known of the subjects of a split into subjects.csv; other splits stay.

        Args:
          split: "val" or "test".
          columns: subject → column → value.
        """
        rows: list[dict[str, str]] = []
        if self.subjects.exists():
            with self.subjects.open(encoding="utf-8", newline="") as file:
                read = [
                    {key: _text(cell) for key, cell in row.items()} for row in csv.DictReader(file)
                ]
                rows = [row for row in read if row.get("split") != split]
        for subject, values in columns.items():
            rows.append({"split": split, "subject": subject, **values})
        names = dict.fromkeys(SUBJECT_COLUMNS)
        for row in rows:
            names |= dict.fromkeys(row)
        with replacing(self.subjects) as partial:
            with partial.open("w", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, csv_row(names), restval="", lineterminator="\n")
                writer.writeheader()
                writer.writerows(map(csv_mapping, rows))

    def write_summary(self, content: Mapping[str, Any]) -> None:
        """Write summary.json, the last file of a run."""
        write_text(self.summary, json.dumps(content, indent=1))

    def write_scores(self, rows: Iterable[Sequence[str]]) -> None:
        """Write per_subject.csv; a row has :data:`SCORE_COLUMNS`."""
        with replacing(self.scores) as partial, partial.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerows([SCORE_COLUMNS, *map(csv_row, rows)])


def _is_score(text: str | None) -> bool:
    """Whether a cell holds a finite number, or nothing for an undefined score."""
    try:
        return text is not None and not math.isinf(float(text or "nan"))
    except ValueError:
        return False


def _text(cell: Any) -> Any:
    """A cell of a table as it was before :func:`semiseg.escapes.csv_cell`."""
    if isinstance(cell, str):
        return csv_text(cell)
    return cell


def study_hash(folder: Path) -> dict[str, str]:
    """What a run records of the declaration that lies beside its folder: nothing where there is
    none.
    """
    file = folder.absolute().parent / STUDY
    return {"study": file_hash(file)} if file.is_file() else {}


def whole_lines(text: str) -> Iterator[dict[str, Any]]:
    """The JSON objects of a log, one a line; a line that holds none is left out.

    Example:
      >>> list(whole_lines('{"step": 5}\\n{"step": 1'))
      [{'step': 5}]
    """
    for line in text.splitlines():
        content = _logged(line)
        if content is not None:
            yield content


def _logged(line: str) -> dict[str, Any] | None:
    """A line of a log; None for one that is no step with its values."""
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(content, dict) or not COUNT.fits(content.get("step")):
        return None
    if not all(map(LOGGED.fits, content.values())):
        return None
    return content
