"""The loop around the compiled chunk: logging, validation, checkpoints, interruption, resumption."""

from __future__ import annotations

import dataclasses
import json
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from semiseg import devices
from semiseg.errors import UserError
from semiseg.train import program as programs
from semiseg.train.checkpoint import Checkpoints, save_weights
from semiseg.train.program import Knobs, Program, State
from semiseg.types import Params, Pools


class Interrupted(Exception):
    """The run was asked to stop and has saved itself."""


class Plan(NamedTuple):
    """When the loop does what, in steps (and seconds)."""

    steps: int
    log_every: int
    eval_every: int
    checkpoint_seconds: float


class Fitted(NamedTuple):
    """What training leaves behind."""

    params: Params
    best: dict[str, Any]  # {"step", "val_dice"} of the best validation, or empty
    seconds: float


def fit(
    program: Program, knobs: Knobs, seed: int, pools: Pools, plan: Plan, folder: Path | None,
    validate: Callable[[Params], float] | None, *, progress: bool = True, header: dict[str, Any] | None = None,
    initial: Params | None = None,
) -> Fitted:  # fmt: skip
    """Train to the last step, or go on from the last checkpoint in ``folder``; networks begin with
    ``initial``, where it is given.

    The state after a step depends on the seed and the step alone, not on where the run was cut: a
    resumed run's weights are bit-identical to those of one that never stopped.

    Raises:
      Interrupted: SIGTERM or Ctrl-C came; the state is saved.
      UserError: a damaged checkpoint, or a loss that is not finite.
    """
    knobs = jax.tree.map(jnp.float32, knobs)
    several = len(pools.synthetic_image_MHWC) if program.synthetic_as == "unlabelled" else 0
    pool = jax.ShapeDtypeStruct(
        (len(pools.image_NHWC) + several, *pools.image_NHWC.shape[1:]), pools.image_NHWC.dtype
    )
    program = dataclasses.replace(program, model=program.model._replace(pool=pool))
    seed_array = jnp.uint32(seed)
    state = programs.start(program, knobs, seed_array, initial)
    checkpoints = Checkpoints(folder / "checkpoints") if folder else None
    best: dict[str, Any] = {}
    before = 0.0
    if checkpoints and checkpoints.latest() is not None:
        state, extra = checkpoints.restore(state)
        best, before = extra["best"], extra["seconds"]
    state, pools = jax.device_put((state, pools), devices.copied(program.mesh(knobs.method)))
    step = int(state.step)
    log = _Log(folder / "metrics.jsonl" if folder else None, step)
    began = saved = time.monotonic()
    seconds = lambda: before + time.monotonic() - began

    def save(state: State) -> None:
        assert checkpoints
        checkpoints.save(step, state, {"best": best, "seconds": seconds()})

    bar = _bar(plan.steps, step, progress)
    with _Stop() as stop:
        try:
            while step < plan.steps:
                until = _next(step, plan)
                state, metrics = programs.chunk(
                    program, knobs, seed_array, pools, state, jnp.int32(until)
                )
                line = {"step": until, **{k: float(v) for k, v in metrics.items()}}
                line = {
                    k: v for k, v in line.items() if not (k.startswith("pseudo_") and np.isnan(v))
                }  # a class that no pixel of these steps had
                step = until
                if not np.isfinite(line["loss"]):
                    raise UserError(
                        f"{folder or 'run'}: the loss is {line['loss']} at step {step}; try a "
                        f"lower --lr, or --clip=1"
                    )
                if validate and (step % plan.eval_every == 0 or step == plan.steps):
                    params = programs.final(program, knobs, state)
                    line["val_dice"] = round(validate(params), 6)
                    if np.isfinite(line["val_dice"]) and (
                        not best or line["val_dice"] > best["val_dice"]
                    ):
                        best = {"step": step, "val_dice": line["val_dice"]}
                        if folder:
                            save_weights(
                                folder / "weights_val_best.safetensors",
                                params,
                                {**(header or {}), "step": step},
                            )
                log.write({**line, "seconds": round(seconds(), 2)})
                bar(step, line)
                if checkpoints and (
                    step == plan.steps
                    or stop.asked
                    or time.monotonic() - saved > plan.checkpoint_seconds
                ):
                    save(state)
                    saved = time.monotonic()
                if stop.asked:
                    raise Interrupted(
                        f"stopped at step {step} of {plan.steps}"
                        + (f"; the same command goes on from {folder}" if folder else "")
                    )
        finally:
            bar(step, None)
            log.close()
            if checkpoints:
                checkpoints.close()
    return Fitted(programs.final(program, knobs, state), best, seconds())


def _next(step: int, plan: Plan) -> int:
    """The next boundary: chunks end at multiples of log_every and eval_every, so that a line means
    the same however the run was cut.
    """
    up = lambda every: (step // every + 1) * every
    return min(plan.steps, up(plan.log_every), up(plan.eval_every))


class _Log:
    """metrics.jsonl; lines after the restored step, and a line cut by a kill, are dropped so that
    each step stands there once.
    """

    def __init__(self, path: Path | None, step: int):
        self._file = None
        if path is None:
            return
        kept = []
        for line in path.read_text().splitlines() if path.exists() else []:
            try:
                if json.loads(line)["step"] <= step:
                    kept.append(line + "\n")
            except (ValueError, KeyError, TypeError):
                continue
        partial = path.with_suffix(".tmp")
        partial.write_text("".join(kept))
        partial.replace(path)
        self._file = path.open("a", buffering=1)

    def write(self, line: dict[str, Any]) -> None:
        if self._file:
            self._file.write(
                json.dumps({k: _short(v) for k, v in line.items()}, allow_nan=False) + "\n"
            )

    def close(self) -> None:
        if self._file:
            self._file.close()


def _short(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.7g}") if np.isfinite(value) else None
    return value


class _Stop:
    """Turns SIGTERM and Ctrl-C into a flag that is looked at between chunks; a second one acts at
    once. What a shell has this process ignore, as Ctrl-C in a script's background, stays ignored.
    """

    asked = False

    def __enter__(self) -> _Stop:
        self._old: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                if signal.getsignal(number) is signal.SIG_IGN:
                    continue
                self._old[number] = signal.signal(number, self._ask)
        return self

    def _ask(self, number: int, frame: Any) -> None:
        self.asked = True
        for known, old in self._old.items():
            signal.signal(known, old)

    def __exit__(self, *_: Any) -> None:
        for number, old in self._old.items():
            signal.signal(number, old)


def _bar(total: int, first: int, show: bool) -> Callable[[int, dict[str, Any] | None], None]:
    """A progress bar with loss, validation Dice and time left, on a terminal; a silent function
    otherwise.
    """
    if not (show and sys.stderr.isatty()):
        return lambda step, line: None
    from tqdm import tqdm

    bar = tqdm(total=total, initial=first, unit="step", dynamic_ncols=True)
    shown: dict[str, str] = {}

    def update(step: int, line: dict[str, Any] | None) -> None:
        if line is None:
            bar.close()
            return
        shown["loss"] = f"{line['loss']:.3f}"
        if "val_dice" in line:
            shown["val Dice"] = f"{line['val_dice']:.3f}"
        bar.set_postfix(shown)
        bar.update(step - bar.n)

    return update
