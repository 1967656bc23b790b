"""What a search knows of its trials: Bayesian proposals from a journal, and the rungs at which
hopeless trials stop.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from semiseg.config import Trial
from semiseg.errors import UserError
from semiseg.run_folder import RunFolder
from semiseg.shapes import NUMBER, TEXT, problem
from semiseg.sweeps.distributions import bounds, choices, distribution, number, probabilities
from semiseg.sweeps.journal import open_journal, readable
from semiseg.sweeps.spec import Spec

AXES = 1000
"""Seeds of a trial: one for each parameter that is searched."""


class Stopped(Exception):
    """A trial was stopped early, at a Dice of ``dice``; the message says why."""

    failed = False

    def __init__(self, why: str, dice: float):
        super().__init__(why)
        self.dice = dice


class Search:
    """Tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011; Optuna) on a journal file
    that any number of processes share.

    W&B's server fits a Gaussian process instead: the same file explores differently there.
    """

    def __init__(self, spec: Spec, out: Path):
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._optuna = optuna
        self.spec = spec
        self._space = {
            name: self._axis(name, leaf)
            for name, leaf in spec.parameters.items()
            if distribution(name, leaf, spec.where) != "constant"
        }
        self.out = out
        storage = open_journal(out)
        with readable(out):
            self.study = optuna.create_study(
                study_name="sweep",
                storage=storage,
                load_if_exists=True,
                direction="maximize" if spec.maximise else "minimize",
            )

    def names(self) -> dict[str, bool]:
        """Trials asked for so far, and whether each has its result."""
        with readable(self.out):
            trials = self.study.get_trials(deepcopy=False)
        return {_name(t.number): t.state.is_finished() for t in trials if self._is_whole(t)}

    def ask(self) -> str:
        """A new trial's name, or that of one whose asking was killed. The caller holds the lock on
        asking.

        Each parameter has a seed of its own: a search that goes on after a kill proposes what it
        would have proposed, and no two workers propose the same.
        """
        with readable(self.out):
            trials = self.study.get_trials(deepcopy=False)
            begun = [trial for trial in trials if not self._is_whole(trial)]
            if begun:
                trial = self._optuna.trial.Trial(self.study, begun[0]._trial_id)
            else:
                trial = self.study.ask()
            for place, (name, axis) in enumerate(self._space.items()):
                self.study.sampler = self._sampler(AXES * trial.number + place)
                trial._suggest(name, axis)  # as Study.ask does
        return _name(trial.number)

    def _is_whole(self, trial: Any) -> bool:
        """Whether all of a trial's parameters are in the journal, which has a line for each."""
        return trial.state.is_finished() or self._space.keys() <= trial.params.keys()

    def _sampler(self, seed: int) -> Any:
        return self._optuna.samplers.TPESampler(
            seed=seed,
            constant_liar=True,
            n_startup_trials=min(10, max(3, self.spec.cap // 4)),
        )

    def point(self, name: str) -> dict[str, Any]:
        """All parameters of a trial.

        Raises:
          UserError: the journal is damaged: one is missing, or not of its axis.
        """
        with readable(self.out):
            trials = self.study.get_trials(deepcopy=False)
            drawn = trials[int(name.removeprefix("trial"))].params
            for key, axis in self._space.items():
                if not _on(axis, drawn[key]):
                    raise ValueError(f"{key} of {name} is {drawn[key]}")
        point: dict[str, Any] = {}
        for key, leaf in self.spec.parameters.items():
            if key not in drawn:
                point[key] = choices(key, leaf, self.spec.where)[0]
            elif distribution(key, leaf, self.spec.where) == "categorical":
                values = choices(key, leaf, self.spec.where)
                with readable(self.out):
                    point[key] = values[int(drawn[key])]
            elif isinstance(drawn[key], int):
                point[key] = drawn[key]
            else:
                with readable(self.out):
                    point[key] = float(f"{drawn[key]:.6g}")
        return point

    def tell(self, name: str, value: float | None, stopped: bool = False) -> None:
        """The trial's metric; None for one that failed, of which nothing is learnt, or was stopped,
        which counts as worse than any that was not.
        """
        states = self._optuna.trial.TrialState
        if value is not None and math.isfinite(value):
            state = states.COMPLETE
        else:
            value = None
            state = states.PRUNED if stopped else states.FAIL
        number = int(name.removeprefix("trial"))
        with readable(self.out):
            self.study.tell(number, value, state=state, skip_if_finished=True)

    def _axis(self, name: str, leaf: dict[str, Any]) -> Any:
        """The axis in Optuna's terms; a categorical one by index, since its values may be lists."""
        kind = distribution(name, leaf, self.spec.where)
        optuna = self._optuna.distributions
        if kind == "categorical":
            values = choices(name, leaf, self.spec.where)
            probabilities(name, leaf, self.spec.where)
            return optuna.CategoricalDistribution(list(range(len(values))))
        try:
            if kind in ("int_uniform", "uniform", "q_uniform", "log_uniform", "log_uniform_values"):
                low, high = bounds(name, leaf, self.spec.where)
                if kind == "int_uniform":
                    return optuna.IntDistribution(int(low), int(high))
                if kind == "log_uniform":
                    return optuna.FloatDistribution(math.exp(low), math.exp(high), log=True)
                if kind == "q_uniform":
                    step = number(name, leaf, "q", self.spec.where, 1)
                    return optuna.FloatDistribution(low, high, step=step)
                return optuna.FloatDistribution(low, high, log=kind == "log_uniform_values")
        except (OverflowError, ValueError) as error:
            raise UserError(f"{name} ({kind}): {error}", where=self.spec.where) from None
        raise UserError(
            f"{name} has the distribution {kind!r}; method: bayes takes values, uniform, "
            f"int_uniform and log_uniform(_values)",
            where=self.spec.where,
        )


def _on(axis: Any, value: Any) -> bool:
    """Whether a value is one of an axis in Optuna's terms."""
    if hasattr(axis, "choices"):
        return value in axis.choices
    return bool(axis.low <= value <= axis.high)


def _name(number: int) -> str:
    return f"trial{number:03d}"


class Judge:
    """Called with every validation's Dice of a trial; raises :class:`Stopped` at a rung where it is
    not among the best 1/eta so far.

    Only trials of one data set, label budget, label subset and seed compete: a trial with four
    labels is not stopped for being worse than one with sixty-four.
    """

    def __init__(self, spec: Spec, out: Path, name: str, validations: int, trial: Trial):
        assert spec.early
        self.among = [trial.data, trial.labels, trial.label_subset, trial.seed]
        self.early = spec.early
        self.file = out / ".rungs.jsonl"
        self.log = RunFolder(out / name).log
        self.name = name
        self.last = validations

    def __call__(self, value: float) -> None:
        rung = 1  # this validation is not logged yet
        if self.log.exists():
            rung += self.log.read_text(encoding="utf-8", errors="replace").count('"val_dice"')
        if rung not in self.early.rungs or rung >= self.last:
            return
        with self.file.open("a") as file:
            line = {"trial": self.name, "rung": rung, "value": value, "among": self.among}
            file.write(json.dumps(line) + "\n")
        records = map(_record, self.file.read_text(encoding="utf-8", errors="replace").splitlines())
        values: dict[str, float] = {}
        for r in records:
            if r.get("rung") == rung and r.get("among", self.among) == self.among:
                values[r["trial"]] = r["value"]
        places = max(1, math.ceil(len(values) / self.early.eta))
        rank = sum(v > value for v in values.values()) + 1
        if rank > places:
            why = (
                f"validation {rung}: Dice {value:.3f} is place {rank} of {len(values)}, and "
                f"{places} go on"
            )
            raise Stopped(why, value)


def _record(line: str) -> dict[str, Any]:
    """A line of .rungs.jsonl; empty where a full disk or a kill cut it."""
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    fine = isinstance(content, dict) and not problem(content, {"trial": TEXT, "value": NUMBER})
    return content if fine and {"trial", "value"} <= content.keys() else {}
