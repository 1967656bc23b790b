"""What is gained after training: mirrors, ensembles, thresholds of classes and the largest part of
each class, scored beside the plain prediction of the same networks on the same subjects.

Nothing in the run folders changes: their per_subject.csv stays that of the plain prediction.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from semiseg import config
from semiseg.config import Trial
from semiseg.data import store
from semiseg.data.guard import Recorded
from semiseg.data.info import StoreInfo
from semiseg.data.largest_component import largest_components
from semiseg.data.pools import Training, training
from semiseg.errors import UserError
from semiseg.evaluate import class_thresholds
from semiseg.evaluate.subject_scores import SubjectRow, score_subjects
from semiseg.holding import holding
from semiseg.run_folder import RunFolder
from semiseg.runner.ensemble import Ensemble
from semiseg.runner.predictor import Predictor
from semiseg.runner.prepare import check_data, check_fold
from semiseg.runner.rescore import check_name, check_scorable, check_split
from semiseg.types import Case


class Switches(NamedTuple):
    """What is done with the probabilities of networks.

    Attributes:
      tta: average with those of mirror images, see :class:`semiseg.runner.predictor.Predictor`.
      largest_component: keep the largest part of each class of a scan.
      thresholds: class → its threshold, see :mod:`semiseg.evaluate.class_thresholds`.
      fit_thresholds: choose them on the validation subjects. Validation subjects themselves get
        those that are chosen on all others.
    """

    tta: bool = False
    largest_component: bool = False
    thresholds: dict[str, float] = {}
    fit_thresholds: bool = False


class Comparison(NamedTuple):
    """Scores with and without the switches.

    Attributes:
      plain: rows by subject of the networks by themselves; of several the mean of their scores.
      switched: rows by subject with the switches; of several networks those of their ensemble.
      thresholds: class → threshold, where there are any; for validation subjects that were chosen
        by, those of all of them.
    """

    plain: list[SubjectRow]
    switched: list[SubjectRow]
    thresholds: dict[str, float]


def compare(
    runs: Sequence[Path], split: str, switches: Switches, root: str | None = None
) -> Comparison:
    """Score runs of one data set on a split, with switches and without.

    Args:
      runs: folders of finished runs; of a cross-validation, those of one fold.
      split: ``val`` or ``test``; a test evaluation is one line of the data set's ledger.
      switches: of the second score.
      root: where the stores are; where the first run found them unless given.

    Raises:
      UserError: a run is not finished, or of other data or another fold than the first; no such
        split; thresholds of unknown classes, or stated and fitted at once.
    """
    check_name(split)
    if switches.thresholds and switches.fit_thresholds:
        raise UserError("--fit-thresholds chooses thresholds: leave out --thresholds")
    with contextlib.ExitStack() as held:
        for run in sorted(set(runs)):
            held.enter_context(holding(run, "semiseg evaluate"))
        study = _Study.of(runs, split, root)
        stated = class_thresholds.of_classes(switches.thresholds, study.info.classes)
        return study.compared(split, switches, stated if switches.thresholds else ())


@dataclasses.dataclass(frozen=True, eq=False)
class _Study:
    """Runs that are scored together."""

    runs: tuple[Path, ...]
    trial: Trial
    info: StoreInfo

    @classmethod
    def of(cls, runs: Sequence[Path], split: str, root: str | None) -> _Study:
        first: Trial | None = None
        for run in runs:
            folder = RunFolder(run)
            check_scorable(folder)
            trial = config.load(folder.config)
            if first is None:
                first = dataclasses.replace(trial, root=root or trial.root)
                info = store.info(first.data, first.root)
            if (trial.data, trial.folds, trial.fold) != (first.data, first.folds, first.fold):
                raise UserError(
                    f"is of another data set or fold than {runs[0]}",
                    where=run,
                    remedy="give runs that hold out the same subjects",
                )
            check_data(folder, info)
            if first.folds:
                check_fold(folder, _training(first))
        if first is None:
            raise UserError("name the folder of a run, or several")
        check_split(info, split, bool(first.folds))
        return cls(tuple(runs), first, info)

    def compared(self, split: str, switches: Switches, stated: tuple[float, ...]) -> Comparison:
        plain = self._networks(tta=False)
        switched = Ensemble(self._networks(switches.tta))
        limits: dict[str, tuple[float, ...]] = defaultdict(lambda: stated)
        tuning: list[Case] = []
        if switches.fit_thresholds:
            tuning = self._validation()
            fitted = list(_probabilities(switched, tuning))
            stated = class_thresholds.chosen(fitted)
            limits = defaultdict(lambda: stated)
            if split == "val":
                limits.update(class_thresholds.chosen_without(fitted))
        cases = tuning if split == "val" and tuning else self._scans(split)
        by_run: list[list[np.ndarray]] = [[] for _ in plain]
        together: list[np.ndarray] = []
        for case in cases:
            for masks, network in zip(by_run, plain, strict=True):
                masks.append(network.predict(case.image, case.spacing))
            probability = switched.probabilities(case.image, case.spacing)
            mask = class_thresholds.labels(probability, limits[case.subject])
            if switches.largest_component:
                mask = largest_components(mask, len(self.info.classes))
            together.append(mask)
        scores = [self._scored(cases, masks) for masks in by_run]
        named = dict(zip(self.info.classes[1:], stated, strict=False))
        return Comparison(_mean_rows(scores), self._scored(cases, together), named)

    def _networks(self, tta: bool) -> tuple[Predictor, ...]:
        """Of all runs, as they predict images that the ledger knows of already."""
        loaded = Ensemble.load(self.runs, tta).predictors
        return tuple(dataclasses.replace(one, guard=Recorded(one.guard.run)) for one in loaded)

    def _validation(self) -> list[Case]:
        trial = self.trial
        split = _training(trial)
        if split.held_out is not None:
            return _annotated(split.validation)
        check_split(self.info, "val", is_fold=False)
        return _annotated(store.read_split(trial.data, "val", trial.root))

    def _scans(self, split: str) -> list[Case]:
        if split == "val":
            return self._validation()
        names = ", ".join(map(str, self.runs))
        cases = store.read_test(
            self.trial.data, self.trial.root, reason="semiseg evaluate with switches", run=names
        )
        return _annotated(cases)

    def _scored(self, cases: Sequence[Case], masks: Sequence[np.ndarray]) -> list[SubjectRow]:
        return score_subjects(
            cases, masks, self.info.classes, self.info.unit, regions=self.info.region_values
        )


def _training(trial: Trial) -> Training:
    return training(trial.data, trial.root, trial.frame, folds=trial.folds, fold=trial.fold)


def _annotated(cases: Sequence[Case]) -> list[Case]:
    annotated = [case for case in cases if case.label is not None]
    if not annotated:
        raise UserError("none of the subjects to score is annotated")
    return annotated


def _probabilities(ensemble: Ensemble, cases: Sequence[Case]) -> Iterator[class_thresholds.Scan]:
    """In half precision: those of all subjects are in memory at once."""
    for case in cases:
        assert case.label is not None
        probability = ensemble.probabilities(case.image, case.spacing)
        yield class_thresholds.Scan(case.subject, probability.astype(np.float16), case.label)


def _mean_rows(scores: Sequence[list[SubjectRow]]) -> list[SubjectRow]:
    """Rows of the same subjects, classes and metrics, with the mean of their values; NaN where one
    of them is undefined.
    """
    return [
        rows[0]._replace(value=float(np.mean([row.value for row in rows])))
        for rows in zip(*scores, strict=True)
    ]
