"""A finished run and a sequence of runs, with tables of their scores.

:mod:`semiseg.analysis.load` makes them from run folders and from a results.csv. Nothing heavier
than numpy is imported before a table is asked for.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from semiseg.analysis import results_csv
from semiseg.analysis.results_csv import COLUMNS, FOLD_COLUMNS, INIT_COLUMNS
from semiseg.analysis.scores import MEAN, Scores, indices, nanmean
from semiseg.data.info import numbered
from semiseg.evaluate.example_arrays import read_examples
from semiseg.fields import flatten
from semiseg.run_folder import EXTERNAL, SCORE_COLUMNS, RunFolder
from semiseg.synthetic_sources import source_of

if TYPE_CHECKING:
    import pandas as pd

BOOKKEEPING = {
    "run", "name", "out", "root", "config", "resume", "tags", "notes", "wandb", "device",
    "log_every", "checkpoint_seconds", "plugins",
}  # fmt: skip
"""Settings that do not change what a run is."""
FOURIER = "augment.fourier.views"
_DEFAULTS = {
    "synthetic_schedule": "constant",
    "synthetic_weight": 1.0,
    "synthetic_as": "labelled",
    "synthetic_softness": 0.5,
    "pseudo": None,
    FOURIER: "neither",
    "average_last": 0.0,
    "init.name": "none",
}
"""Settings that folders of earlier versions lack, and the values that those versions used."""


@dataclasses.dataclass(frozen=True)
class Run:
    """One finished run.

    Attributes:
      path: its folder, or the results.csv it was read from.
      name: unique among the runs loaded together.
      config: config.yaml as nested dictionaries.
      summary: summary.json.
      env: env.json, empty where absent.
      scores: the scores of each subject; a run from a results.csv has its means alone, as if of one
        subject.
      table: the rows of a run from a results.csv, else None.
    """

    path: Path
    name: str
    config: dict[str, Any]
    summary: dict[str, Any]
    env: dict[str, Any]
    scores: Scores
    table: tuple[tuple[Any, ...], ...] | None = None

    def __repr__(self) -> str:
        what = f"{self.data}, {self.method}, {self.labels} labels, subset {self.label_subset}"
        parts = [what, f"seed {self.seed}", f"{self.steps} steps"]
        for split in self.scores.axes[0]:
            dice = self.scores.per_subject("dice", split, "last")
            if dice:
                parts.append(f"{split} Dice {np.mean(list(dice.values())):.3f}")
        return f"Run({self.name}: {', '.join(parts)})"

    # -------------------------------------------------------------- what the run is
    @functools.cached_property
    def settings(self) -> dict[str, Any]:
        """The configuration with dotted names.

        A run without pre-training has no steps of one, and one without masks from elsewhere no
        settings of them; nor an augmentation that is off.
        """
        settings = _DEFAULTS | flatten(self.config)
        if settings["init.name"] == "none":
            settings.pop("init_steps", None)
        if settings["pseudo"] is None:
            settings = {k: v for k, v in settings.items() if not k.startswith("pseudo_")}
        if settings[FOURIER] == "neither":
            settings = {k: v for k, v in settings.items() if k == FOURIER or ".fourier." not in k}
        return settings

    @property
    def data(self) -> str:
        """Name of the data set."""
        return _name(self.config.get("data", ""))

    @property
    def method(self) -> str:
        """Name of the method."""
        return _name(self.config.get("method", ""))

    @property
    def net(self) -> str:
        """Name of the network."""
        return _name(self.config.get("net", ""))

    @property
    def is_external(self) -> bool:
        """Whether another program made its masks, so that nothing is known of a training."""
        return self.net == EXTERNAL

    @property
    def labels(self) -> int:
        """Number of annotated subjects; if all were asked for, as many as the data set has.

        Folds of unlike size that train on all others have one number: their share of all.
        """
        labels = int(self.summary.get("subjects_labelled") or self.config["labels"])
        if not self.folds or self.config["labels"]:
            return labels
        subjects = labels + int(self.summary.get("subjects_val") or 0)
        return subjects * (self.folds - 1) // self.folds

    @property
    def label_subset(self) -> Any:
        """Which choice of annotated subjects."""
        return self.config.get("label_subset", 0)

    @property
    def folds(self) -> int:
        """Folds of the cross-validation that the run is one of; 0 where it is none."""
        return int(self.config.get("folds") or 0)

    @property
    def fold(self) -> int:
        """Which fold the run holds out."""
        return int(self.config.get("fold") or 0)

    @functools.cached_property
    def annotated(self) -> frozenset[str] | None:
        """Names of the annotated subjects; None in folders and tables that do not record them."""
        names = self.summary.get("labelled_subjects")
        return frozenset(map(str, names)) if names else None

    @functools.cached_property
    def look_alikes(self) -> dict[str, str]:
        """Subject → its group of look-alikes, named after the first of them; {} where none is
        recorded.
        """
        groups: dict[str, str] = {}
        for members in self.summary.get("look_alikes") or []:
            groups |= dict.fromkeys(members, members[0])
        return groups

    @property
    def seed(self) -> int:
        """Seed of the initial weights, batches and augmentation."""
        return int(self.config.get("seed", 0))

    @property
    def ratio(self) -> float:
        """Synthetic images per real image."""
        return float(self.config.get("ratio") or 0)

    @property
    def source(self) -> str:
        """What its synthetic images are, if their set was generated on demand: ``spade`` …

        It is "" for an imported set, and without synthetic images.
        """
        return source_of(str(self.config.get("synthetic") or "")) if self.ratio else ""

    @property
    def steps(self) -> int:
        """Optimiser steps of the training."""
        return int(self.config.get("steps", 0))

    @property
    def init(self) -> str:
        """Initial weights: ``none`` (random), a pre-training objective, or a path of weights."""
        return str(self.summary.get("init") or _name(self.config.get("init") or "none"))

    @property
    def total_steps(self) -> int:
        """Steps of the training and of the pre-training before it."""
        return int(self.summary.get("total_steps") or self.steps)

    @property
    def seconds_init(self) -> float:
        """Seconds of the pre-training; 0 for weights that do not record it.

        Runs of one folder with the same pre-training share it.
        """
        return float(self.summary.get("seconds_init") or 0)

    @functools.cached_property
    def order(self) -> tuple[Any, ...]:
        """Sort key: data, method, network, labels, subset, seed, ratio, steps, fold, name."""
        size = (self.data, self.method, self.net, self.labels)
        replica = (str(self.label_subset), self.seed, self.ratio, self.steps)
        return (*size, *replica, self.folds, self.fold, self.name)

    # -------------------------------------------------------------- what the run left behind
    @property
    def folder(self) -> RunFolder:
        """The files of the run."""
        return RunFolder(self.path)

    def metrics(self) -> pd.DataFrame:
        """metrics.jsonl, one row a logged step; NaN at steps at which a value was not logged."""
        import pandas as pd

        return pd.DataFrame(self.log())

    def log(self) -> list[dict[str, Any]]:
        """metrics.jsonl as dictionaries; empty where there is none.

        Raises:
          UserError: a line cannot be read; its number is named.
        """
        return self.folder.read_log()

    def end(self) -> dict[str, float]:
        """The last value of every number in metrics.jsonl, from the end of the file alone."""
        last: dict[str, float] = {}
        for line in self.folder.last_lines():
            last |= {key: value for key, value in line.items() if isinstance(value, (int, float))}
        return last

    def per_subject(self) -> pd.DataFrame:
        """per_subject.csv as it is, NaN where a score is undefined."""
        import pandas as pd

        frame = pd.read_csv(
            self.folder.scores,
            dtype=dict.fromkeys(SCORE_COLUMNS, str) | {"value": float},
            keep_default_na=False,
            na_values={"value": ["", "nan", "NaN"]},
        )
        return frame.assign(run=self.name)

    def examples(self) -> dict[str, np.ndarray] | None:
        """Arrays of examples.npz (image, label, prediction, subject, dice); None where the run
        stored none.

        Raises:
          UserError: the file cannot be read.
        """
        file = self.folder.examples
        if not file.exists():
            return None
        return read_examples(file)

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """Rows of results.csv, with :data:`semiseg.analysis.results_csv.COLUMNS`."""
        if self.table is not None:
            yield from self.table
            return
        what = (self.name, self.data, self.method, self.net, self.labels)
        how = (self.label_subset, self.seed, self.ratio, self.steps)
        splits, checkpoints, metrics, classes, _ = (list(axis) for axis in self.scores.axes)
        classes = [MEAN, *classes]
        value = self.scores.value
        present = self.scores.present
        of_classes = self.scores.of_classes
        mean_of_classes = nanmean(value[:, :, :, of_classes], 3)
        with_mean = np.concatenate([mean_of_classes[:, :, :, None], value], axis=3)
        any_class = present[:, :, :, of_classes].any(3, keepdims=True)
        measured = np.concatenate([any_class, present], axis=3)
        mean = nanmean(with_mean, 4)
        count = (~np.isnan(with_mean)).sum(4)
        for index in np.argwhere(measured).tolist():
            split, checkpoint, metric, class_ = index
            place = (splits[split], checkpoints[checkpoint], classes[class_], metrics[metric])
            scored = (float(mean[tuple(index)]), int(count[tuple(index)]))
            yield (*what, *how, *place, *scored)


class Runs(Sequence[Run]):
    """Runs in a fixed order, see :attr:`Run.order`, whatever order the folders were given in.

    Attributes:
      problems: one line for each folder that was left out, with its reason.
    """

    def __init__(
        self,
        runs: Iterable[Run],
        problems: Sequence[str] = (),
    ):
        self._runs = sorted(runs, key=lambda run: run.order)
        self.problems = list(problems)

    @overload
    def __getitem__(self, index: int) -> Run: ...
    @overload
    def __getitem__(self, index: slice) -> Runs: ...
    def __getitem__(self, index: int | slice) -> Run | Runs:
        if isinstance(index, slice):
            return Runs(self._runs[index], self.problems)
        return self._runs[index]

    def __len__(self) -> int:
        return len(self._runs)

    def __repr__(self) -> str:
        methods = sorted({f"{run.data}/{run.method}" for run in self})
        return f"Runs({numbered(len(self), 'run')}: {', '.join(methods)})"

    def where(self, **factors: Any) -> Runs:
        """The runs whose attributes have these values, e.g. ``runs.where(method="supervised",
        labels=8)``.
        """
        runs = list(self)
        for name, value in factors.items():
            runs = [run for run in runs if getattr(run, name) == value]
        return Runs(runs, self.problems)

    def matrix(
        self, metric: str = "dice", split: str = "val", checkpoint: str = "last", class_: str = MEAN
    ) -> tuple[list[str], np.ndarray]:
        """The scores of each run on each subject.

        Returns:
          The subjects, and ``values_RS``: one row a run, one column a subject of any run; NaN where
          undefined or not scored.
        """
        return matrix(self, metric, split, checkpoint, class_)

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of results.csv; more of them if a run did not begin at random, or is a fold."""
        init = INIT_COLUMNS if any(run.init != "none" for run in self) else ()
        folds = FOLD_COLUMNS if any(run.folds for run in self) else ()
        return COLUMNS + init + folds

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """Rows of results.csv, with :attr:`columns`."""
        more = self.columns[len(COLUMNS) :]
        for run in self:
            values = [getattr(run, name) for name in more]
            for row in run.rows():
                yield (*row, *values)

    def to_pandas(self) -> pd.DataFrame:
        """One row per run × split × checkpoint × class × metric, with exactly the columns of
        results.csv (:attr:`columns`).
        """
        import pandas as pd

        return pd.DataFrame(list(self.rows()), columns=list(self.columns))

    def per_subject(self) -> pd.DataFrame:
        """Every per_subject.csv in one long frame."""
        import pandas as pd

        return pd.concat([run.per_subject() for run in self], ignore_index=True)

    def write_csv(self, file: str | Path) -> Path:
        """Write results.csv: the same runs give the same bytes, whatever order they were found in.

        Undefined means are empty.
        """
        file = Path(file)
        results_csv.write(file, self.columns, self.rows())
        return file


def matrix(
    runs: Sequence[Run],
    metric: str = "dice",
    split: str = "val",
    checkpoint: str = "last",
    class_: str = MEAN,
    absolute: bool = False,
) -> tuple[list[str], np.ndarray]:
    """:meth:`Runs.matrix` of runs in any order; with ``absolute`` of absolute values."""
    place: dict[str, int] = {}
    columns: dict[int, np.ndarray] = {}  # runs of one sweep share their axes, see Layout
    for run in runs:
        subjects = run.scores.axes[4]
        if id(subjects) not in columns:
            columns[id(subjects)] = indices(subjects, place)
    values_RS = np.full((len(runs), len(place)), np.nan)
    for r, run in enumerate(runs):
        row_S = run.scores.row(metric, split, checkpoint, class_, absolute)
        if row_S is not None:
            values_RS[r, columns[id(run.scores.axes[4])]] = row_S
    defined = ~np.isnan(values_RS).all(0)
    subjects_defined = [subject for subject in sorted(place) if defined[place[subject]]]
    return subjects_defined, values_RS[:, [place[subject] for subject in subjects_defined]]


def _name(value: Any) -> str:
    return str(value.get("name", "")) if isinstance(value, dict) else str(value)
