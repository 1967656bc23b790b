"""Training a segmenter: the compiled program of :mod:`semiseg.train.program` in the common loop."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from semiseg import devices
from semiseg.data.rotating import Draws, Rotating, divided
from semiseg.errors import UserError
from semiseg.run_folder import RunFolder
from semiseg.train import hosts
from semiseg.train import program as programs
from semiseg.train.checkpoint import save_weights
from semiseg.train.loop import Learner, Line, Plan, train
from semiseg.train.program import Knobs, Program, State
from semiseg.train.stream import Stream
from semiseg.types import Params, Pools

REMEDY = "try a lower --lr, or --clip=1"


class Fitted(NamedTuple):
    """What training leaves behind."""

    params: Params
    best: dict[str, Any]  # {"step", "val_dice"} of the best validation, or empty
    seconds: float


def fit(
    program: Program,
    knobs: Knobs,
    seed: int,
    pools: Pools | Rotating,
    plan: Plan,
    folder: RunFolder | None,
    validate: Callable[[Params], float] | None,
    *,
    progress: bool = True,
    header: Mapping[str, Any] | None = None,
    initial: Params | None = None,
    remedy: str = REMEDY,
) -> Fitted:
    """Train to the last step, or go on from the last checkpoint in ``folder``.

    The state after a step depends on the seed and the step alone, not on where the run was cut: a
    resumed run's weights are bit-identical to those of one that never stopped.

    Args:
      program: what is compiled in.
      knobs: what is traced.
      seed: of initialisation, batches, augmentation and dropout.
      pools: images and labels to draw from.
      plan: when to log, validate and save.
      folder: where everything is stored; None stores nothing.
      validate: Dice of some variables; None for no validation.
      progress: show a bar on a terminal, a line a minute elsewhere.
      header: what a weights file says of itself.
      initial: variables that networks begin with; None for fresh ones.
      remedy: what to do about a loss that is not finite.

    Raises:
      Interrupted: SIGTERM or Ctrl-C came; the state is saved.
      UserError: a damaged checkpoint, or a loss that is not finite.
    """
    knobs = jax.tree.map(jnp.float32, knobs)
    mesh = program.mesh(knobs.method)
    with placed(pools, program, knobs, seed, mesh) as (program, source):
        state = programs.start(program, knobs, jnp.uint32(seed), initial)
        knobs = devices.replicated(knobs, mesh) if hosts.several() else knobs
        learner = Segmenter(
            program, knobs, seed, source, folder, validate, dict(header or {}), remedy
        )
        trained = train(learner, state, plan, folder, mesh=mesh, progress=progress)
    params = devices.local(programs.final(program, knobs, trained.state))
    return Fitted(params, learner.best, trained.seconds)


@contextlib.contextmanager
def placed(
    pools: Pools | Rotating, program: Program, knobs: Knobs, seed: int, mesh: jax.sharding.Mesh
) -> Iterator[tuple[Program, Pools | Stream]]:
    """Pools on the devices, and the program for them."""
    if isinstance(pools, Rotating):
        labelled = knobs.method.labelled(program.batch)
        pixels = math.prod(program.model.sample.shape[1:-1])
        draws = Draws(labelled, program.batch - labelled, pixels)
        stream = Stream(pools, divided(pools, draws, seed), mesh)
        try:  # what is drawn from has its probabilities, whatever the trial draws by
            yield dataclasses.replace(program, draw="subjects"), stream
        finally:
            stream.close()
        return
    model = program.model._replace(pool=_shape(pools.image.voxels))
    yield dataclasses.replace(program, model=model), devices.replicated(pools, mesh)


def _shape(x: jax.Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype)


@dataclasses.dataclass(eq=False)
class Segmenter(Learner[State]):
    """A segmenter for the loop.

    Attributes:
      best: step and validation Dice of the best validation so far, or empty.
      others: as in :func:`fit`; ``compiled_in`` is its program, ``dice_of`` its ``validate``.
    """

    compiled_in: Program
    knobs: Knobs
    seed: int
    pools: Pools | Stream
    folder: RunFolder | None
    dice_of: Callable[[Params], float] | None
    header: dict[str, Any]
    remedy: str
    best: dict[str, Any] = dataclasses.field(default_factory=dict)
    _nothing: Any = None

    @property
    def program(self) -> Hashable:
        if isinstance(self.pools, Stream):
            shapes = self.pools.shapes
        else:
            shapes = tuple(array.shape for array in jax.tree.leaves(self.pools))
        return self.compiled_in, jax.tree.structure(self.knobs), shapes

    def advance(self, state: State, until: int) -> tuple[State, dict[str, jax.Array]]:
        seed = np.uint32(self.seed)
        if isinstance(self.pools, Stream):
            state, metrics = self._in_parts(self.pools, seed, state, until)
        else:
            state, metrics = programs.chunk(
                self.compiled_in, self.knobs, seed, self.pools, state, np.int32(until)
            )
        return state, {name: value for name, value in metrics.items() if not _absent(name, value)}

    def _in_parts(
        self, stream: Stream, seed: np.uint32, state: State, until: int
    ) -> tuple[State, dict[str, jax.Array]]:
        """:meth:`advance`, with other scans on the device every few steps."""
        first = int(state.step)
        step = first
        total: Any = None
        while step < until:
            pools = stream.at(step)
            if self._nothing is None:
                self._nothing = programs.nothing(self.compiled_in, self.knobs, pools, state)
            if total is None:
                zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), self._nothing)
                total = devices.replicated(zeros, self.compiled_in.mesh(self.knobs.method))
            step = min(until, stream.until(step))
            state, total = programs.part(
                self.compiled_in, self.knobs, seed, pools, state, total, np.int32(step)
            )
        return state, programs.means(total, np.int32(until - first))

    def check(self, line: Line) -> None:
        if not np.isfinite(line["loss"]):
            what = f"the loss is {line['loss']} at step {line['step']}"
            raise UserError(what, where=str(self.folder or "run"), remedy=self.remedy)

    def validate(self, state: State, step: int) -> Line:
        if self.dice_of is None:
            return {}
        params = devices.local(programs.final(self.compiled_in, self.knobs, state))
        dice = round(self.dice_of(params), 6)
        if np.isfinite(dice) and (not self.best or dice > self.best["val_dice"]):
            self.best = {"step": step, "val_dice": dice}
            if self.folder:
                save_weights(self.folder.best_weights, params, {**self.header, "step": step})
        return {"val_dice": dice}

    def payload(self, step: int) -> dict[str, Any]:
        return {"best": self.best}

    def restore(self, step: int, payload: Mapping[str, Any]) -> None:
        self.best = payload["best"]


def _absent(name: str, value: jax.Array) -> bool:
    """Whether it is a share of pixels of a class that no image of these steps had."""
    return name.startswith("pseudo_") and bool(np.isnan(float(value)))
