"""What a search knows of its trials: Bayesian proposals from a journal, and the rungs at which
hopeless trials stop.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from semiseg.errors import UserError
from semiseg.sweeps.spec import Spec, choices, distribution


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

    def __init__(self, spec: Spec, out: Path, seed: int = 0):
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._optuna, self.spec = optuna, spec
        self._space = {
            name: self._axis(name, leaf)
            for name, leaf in spec.parameters.items()
            if distribution(name, leaf, spec.where) != "constant"
        }
        self.study = optuna.create_study(
            study_name="sweep", storage=JournalStorage(JournalFileBackend(str(out / "journal.log"))), load_if_exists=True,
            direction="maximize" if spec.maximise else "minimize",
            sampler=optuna.samplers.TPESampler(seed=seed, constant_liar=True, n_startup_trials=min(10, max(3, spec.cap // 4))),
        )  # fmt: skip

    def names(self) -> dict[str, bool]:
        """Trials asked for so far, and whether each has been told."""
        return {
            f"trial{t.number:03d}": t.state.is_finished()
            for t in self.study.get_trials(deepcopy=False)
        }

    def ask(self) -> str:
        """A new trial's name. The caller holds the lock on asking."""
        trial = self.study.ask(fixed_distributions=self._space)
        return f"trial{trial.number:03d}"

    def point(self, name: str) -> dict[str, Any]:
        """All parameters of a trial."""
        drawn = self.study.get_trials(deepcopy=False)[int(name.removeprefix("trial"))].params
        found: dict[str, Any] = {}
        for key, leaf in self.spec.parameters.items():
            if key not in drawn:
                found[key] = choices(key, leaf, self.spec.where)[0]
            elif distribution(key, leaf, self.spec.where) == "categorical":
                found[key] = choices(key, leaf, self.spec.where)[int(drawn[key])]
            else:
                found[key] = (
                    drawn[key] if isinstance(drawn[key], int) else float(f"{drawn[key]:.6g}")
                )
        return found

    def tell(self, name: str, value: float | None, stopped: bool = False) -> None:
        """The trial's metric; None for one that failed, of which nothing is learnt, or was stopped,
        which counts as worse than any that was not.
        """
        states = self._optuna.trial.TrialState
        good = value is not None and math.isfinite(value)
        state = states.COMPLETE if good else states.PRUNED if stopped else states.FAIL
        self.study.tell(
            int(name.removeprefix("trial")),
            value if good else None,
            state=state,
            skip_if_finished=True,
        )

    def _axis(self, name: str, leaf: dict[str, Any]) -> Any:
        kind = distribution(name, leaf, self.spec.where)
        d = self._optuna.distributions
        try:
            if kind == "categorical":
                return d.CategoricalDistribution(
                    list(range(len(choices(name, leaf, self.spec.where))))
                )  # values may be lists
            if kind == "int_uniform":
                return d.IntDistribution(int(leaf["min"]), int(leaf["max"]))
            if kind == "log_uniform":
                return d.FloatDistribution(math.exp(leaf["min"]), math.exp(leaf["max"]), log=True)
            if kind in ("uniform", "log_uniform_values"):
                return d.FloatDistribution(
                    float(leaf["min"]), float(leaf["max"]), log=kind != "uniform"
                )
            if kind == "q_uniform":
                return d.FloatDistribution(
                    float(leaf["min"]), float(leaf["max"]), step=float(leaf.get("q", 1))
                )
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{self.spec.where}: {name} ({kind}): {error}") from None
        raise UserError(
            f"{self.spec.where}: {name} has the distribution {kind!r}; method: bayes takes "
            f"values, uniform, int_uniform and log_uniform(_values)"
        )


class Judge:
    """Called with every validation's Dice of a trial; raises :class:`Stopped` at a rung where it is
    not among the best 1/eta so far.
    """

    def __init__(self, spec: Spec, out: Path, name: str, validations: int):
        assert spec.early
        self.early, self.file, self.log, self.name, self.last = (
            spec.early,
            out / ".rungs.jsonl",
            out / name / "metrics.jsonl",
            name,
            validations,
        )

    def __call__(self, value: float) -> None:
        done = (
            self.log.read_text().count('"val_dice"') + 1 if self.log.exists() else 1
        )  # this one is not logged yet
        if done not in self.early.rungs or done >= self.last:
            return
        with self.file.open("a") as file:
            file.write(json.dumps({"trial": self.name, "rung": done, "value": value}) + "\n")
        best = {
            r["trial"]: r["value"]
            for r in map(_record, self.file.read_text().splitlines())
            if r.get("rung") == done
        }
        places = max(1, math.ceil(len(best) / self.early.eta))
        rank = sum(v > value for v in best.values()) + 1
        if rank > places:
            raise Stopped(
                (
                    f"validation {done}: Dice {value:.3f} is place {rank} of {len(best)}, and "
                    f"{places} go on"
                ),
                value,
            )


def _record(line: str) -> dict[str, Any]:
    """A line of .rungs.jsonl; empty where a full disk or a kill cut it."""
    try:
        return json.loads(line)
    except ValueError:
        return {}
