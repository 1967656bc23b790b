"""The loop around a compiled chunk of steps: log, validation, checkpoints, stop and resumption.

It serves segmenters (:mod:`semiseg.train.segmenter`) and generators alike: what is trained is a
:class:`Learner`.
"""

from __future__ import annotations

import abc
import time
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import jax

from semiseg import devices
from semiseg.errors import DiskError
from semiseg.run_folder import RunFolder
from semiseg.train import hosts
from semiseg.train.checkpoint import Checkpoints
from semiseg.train.log import Log, StopSignal, progress_of


class Interrupted(Exception):
    """The run was asked to stop and has saved itself."""


class Plan(NamedTuple):
    """When the loop does what, in steps (and seconds)."""

    steps: int
    log_every: int
    eval_every: int
    checkpoint_seconds: float

    def boundary(self, step: int) -> int:
        """The step at which the chunk after ``step`` ends.

        Chunks end at multiples of log_every and eval_every, so that a line of the log means the
        same however the run was cut.

        Example:
          >>> Plan(steps=50, log_every=10, eval_every=25, checkpoint_seconds=60.0).boundary(20)
          25
        """
        log = (step // self.log_every + 1) * self.log_every
        evaluation = (step // self.eval_every + 1) * self.eval_every
        return min(self.steps, log, evaluation)

    def validates(self, step: int) -> bool:
        """Whether the run is validated at ``step``."""
        return step % self.eval_every == 0 or step == self.steps


class Stepped(Protocol):
    """A training state that counts its steps."""

    @property
    def step(self) -> jax.Array:
        """int32: steps done."""
        ...


State = TypeVar("State", bound=Stepped)
Line = dict[str, Any]
"""A line of metrics.jsonl."""


class Learner(abc.ABC, Generic[State]):
    """What the loop trains. Only :meth:`advance` and :attr:`program` must be given.

    For each chunk the loop calls, in this order: ``advance``, ``check``, ``validate`` where it is
    time, (the log), ``inspect``, and ``payload`` where it saves a checkpoint.
    """

    @property
    @abc.abstractmethod
    def program(self) -> Hashable:
        """Equal for two tasks that run through one compiled program."""

    @abc.abstractmethod
    def advance(self, state: State, until: int) -> tuple[State, Mapping[str, jax.Array]]:
        """The state after step ``until``, and means of metrics over the steps taken."""

    def check(self, line: Line) -> None:
        """Raise UserError where training cannot go on; the line is not logged then."""
        return None

    def validate(self, state: State, step: int) -> Line:
        """What a validation adds to the line."""
        return {}

    def inspect(self, state: State, line: Line) -> bool:
        """Called with the logged line; whether this state may become a checkpoint."""
        return True

    def payload(self, step: int) -> dict[str, Any]:
        """JSON that the checkpoint of ``step`` stores beside the state."""
        return {}

    def restore(self, step: int, payload: Mapping[str, Any]) -> None:
        """Take up what :meth:`payload` stored."""
        return None


class Trained(NamedTuple, Generic[State]):
    """What the loop leaves behind."""

    state: State
    line: Line  # the last one logged by this process, or empty
    seconds: float  # of training, those before an interruption included


_compiled: set[Hashable] = set()
"""Programs that this process has compiled."""


def forget_programs() -> None:
    """To be called after JAX's compiled programs were dropped."""
    _compiled.clear()


def train(
    learner: Learner[State],
    state: State,
    plan: Plan,
    folder: RunFolder | None,
    *,
    mesh: jax.sharding.Mesh,
    progress: bool = True,
) -> Trained[State]:
    """Train to the last step, or go on from the last checkpoint in ``folder``.

    Args:
      learner: what is trained.
      state: the initial state, which a checkpoint replaces.
      plan: when to log, validate and save.
      folder: where log and checkpoints go; None stores nothing.
      mesh: devices that hold the state.
      progress: show a bar on a terminal, a line a minute elsewhere.

    Raises:
      Interrupted: SIGTERM or Ctrl-C came; the state is saved.
      UserError: a damaged checkpoint, or what the learner raises.
    """
    checkpoints = Checkpoints(folder.checkpoints) if folder else None
    seconds_before = 0.0
    state = hosts.from_first(state)
    if hosts.fact_from_first(checkpoints is not None and checkpoints.latest() is not None):
        payload: dict[str, Any] = {}
        if checkpoints:
            state, payload = checkpoints.restore(state)
        state = hosts.from_first(state)
        payload = hosts.fact_from_first(payload)
        learner.restore(int(state.step), payload)
        seconds_before = payload["seconds"]
    state = devices.replicated(state, mesh)
    step = int(state.step)
    line: Line = {}
    log = Log(folder.log if folder else None, step)
    seconds = _stopwatch(seconds_before)
    saved = time.monotonic()
    shown = progress_of(plan.steps, step, progress)
    if step < plan.steps and learner.program not in _compiled:
        shown.compiling(jax.default_backend())
    with StopSignal() as stop:
        try:
            while step < plan.steps:
                step = plan.boundary(step)
                state, metrics = learner.advance(state, step)
                line = {"step": step, **{name: float(value) for name, value in metrics.items()}}
                _compiled.add(learner.program)
                learner.check(line)
                if plan.validates(step):
                    line |= learner.validate(state, step)
                line["seconds"] = round(seconds(), 2)
                log.write(line)
                check_there(folder)
                shown.update(step, line)
                sound = learner.inspect(state, line)
                stopped = hosts.any_says(stop.asked)
                late = time.monotonic() - saved > plan.checkpoint_seconds
                if checkpoints and sound and (step == plan.steps or stopped or late):
                    checkpoints.save(step, state, {**learner.payload(step), "seconds": seconds()})
                    saved = time.monotonic()
                if stopped:
                    raise Interrupted(_stopped(step, plan, folder))
        finally:
            shown.close()
            log.close()
            if checkpoints:
                checkpoints.close()
    return Trained(state, line, seconds())


def check_there(folder: RunFolder | None) -> None:
    """End a run whose folder somebody has deleted: nothing of it could be kept.

    Raises:
      DiskError: it has vanished.
    """
    if folder is not None and not folder.log.exists():
        raise DiskError(
            "has vanished while the run wrote to it",
            where=folder.path,
            remedy="run the same command again",
        )


def _stopwatch(before: float) -> Callable[[], float]:
    """Seconds from now on, added to those ``before``."""
    began = time.monotonic()

    def seconds() -> float:
        return before + time.monotonic() - began

    return seconds


def _stopped(step: int, plan: Plan, folder: RunFolder | None) -> str:
    message = f"stopped at step {step} of {plan.steps}"
    if folder is None:
        return message
    return f"{message}; run the same command again to resume from {folder}"
