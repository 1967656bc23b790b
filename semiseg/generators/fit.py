"""Fitting a generator on a label budget: data in, a run folder out, with a grid of samples to look
at every few hundred steps.

    G/config.yaml, env.json, metrics.jsonl, checkpoints/, grids/step_*.png, grid.png,
    weights.safetensors (the average that samples)

The common loop of :mod:`semiseg.train.loop` trains it. A loss that is not finite, or a collapse
that lasts or that a fit ends in, stops it; the last good checkpoint stays, and no weights are
written.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from semiseg import config, devices
from semiseg.data import provenance
from semiseg.data.provenance import merged
from semiseg.errors import UserError
from semiseg.fields import static_values
from semiseg.generators import gan_program as programs
from semiseg.generators import settings as setting
from semiseg.generators import teacher
from semiseg.generators.budget import Budget, data_of, read_budget
from semiseg.generators.code_version import code_version
from semiseg.generators.collapse import PATIENCE, CollapseWatch
from semiseg.generators.gan_batch import Data, Knobs, Program
from semiseg.generators.gan_program import State
from semiseg.generators.paint import grid
from semiseg.generators.settings import Settings
from semiseg.holding import holding
from semiseg.run_folder import SAMPLES, SAMPLES_BY_STEP, RunFolder
from semiseg.runner.versions import environment
from semiseg.train.checkpoint import save_weights
from semiseg.train.loop import Learner, Line, Plan, train

CHANGEABLE = ("root", "checkpoint_seconds")
"""Settings that a resumed fit may change."""


def fit(
    settings: Settings,
    out: str | Path,
    *,
    progress: bool = True,
    pseudo: tuple[np.ndarray, np.ndarray] | None = None,
) -> dict[str, Any]:
    """Fit a generator, or go on with the one in ``out``.

    The state after a step depends on the settings and the step alone, so a resumed fit ends
    bit-identical to one that never stopped.

    Args:
      settings: of the fit.
      out: its folder.
      progress: show a bar on a terminal, a line a minute elsewhere.
      pseudo: a teacher's masks ``(N, S, S)`` and confidence ``(N,)`` of the budget's images;
        default: those of ``settings.teacher``, if there is one.

    Returns:
      The last line of metrics.jsonl.

    Raises:
      Interrupted: SIGTERM or Ctrl-C; the state is saved.
      UserError: pairs that cannot be learnt from, losses that are not finite, a collapse.
    """
    folder = RunFolder(Path(out))
    with holding(folder.path, "semiseg gan fit"):
        budget = read_budget(setting.check(settings))
        origin = budget.provenance
        if not folder.trained and teacher.requested(settings):
            if pseudo is None:
                pseudo = teacher.pseudo_labels(settings, budget.images, budget.classes)
            origin = merged(
                origin, teacher.origin(settings, budget.labelled_subjects, budget.held_out)
            )
        _prepare_folder(folder, settings)
        if folder.trained:
            return last_line(folder, settings.steps)
        program = program_of(settings, budget.images.shape[-1], len(budget.classes))
        mesh = program.mesh()
        learner = Painter(
            program,
            knobs_of(settings),
            jnp.uint32(settings.seed),
            devices.replicated(data_of(budget, pseudo), mesh),
            _plan(settings),
            folder,
            budget,
        )
        state = programs.start(program, learner.seed)
        trained = train(
            learner,
            state,
            learner.plan,
            folder,
            mesh=mesh,
            progress=progress,
        )
        learner.draw_samples(folder.path / SAMPLES, trained.state)
        header = {
            "settings": setting.to_dict(settings),
            "classes": list(budget.classes),
            "channels": program.channels,
            "fingerprint": budget.fingerprint,
            "subjects": budget.labelled_subjects,
            "step": settings.steps,
            "code": code_version(),
            provenance.KEY: origin.to_dict(),
        }
        # last: the presence of this file says that the fit is whole
        save_weights(folder.weights, jax.device_get(trained.state.ema), header)
        return trained.line or last_line(folder, settings.steps)


def last_line(folder: RunFolder, steps: int) -> dict[str, Any]:
    """The last line of a whole fit's log. Of a log that was lost, as a power cut may leave it, the
    last step alone is known.
    """
    for line in reversed(folder.last_lines()):
        if line.get("step") == steps:
            return line
    return {"step": steps}


def line_in_words(line: Mapping[str, Any]) -> str:
    """A line of the log for people, as far as it holds numbers.

    >>> line_in_words({"step": 8, "diversity": 0.4, "seconds": 3.2}), line_in_words({"step": 8})
    ('step 8, diversity 0.40, 3 s', 'step 8')
    """
    words = [f"step {line['step']}"]
    diversity = line.get("diversity")
    seconds = line.get("seconds")
    if isinstance(diversity, float):
        words.append(f"diversity {diversity:.2f}")
    if isinstance(seconds, int | float):
        words.append(f"{seconds:.0f} s")
    return ", ".join(words)


def program_of(settings: Settings, channels: int, classes: int) -> Program:
    """What is compiled in of a fit: its static settings, channels of the images, classes of the
    masks (regions of the background included).

    >>> program_of(Settings(regions=3), channels=1, classes=2).classes
    4
    """
    static = static_values(settings)
    regions = static.pop("regions")
    return Program(**static, channels=channels, classes=classes + regions - 1)


def knobs_of(settings: Settings) -> Knobs:
    """What the program is handed of a fit."""
    knobs = dataclasses.replace(settings.train, steps=float(settings.steps))
    return jax.tree.map(jnp.float32, knobs)


def _plan(settings: Settings) -> Plan:
    return Plan(
        settings.steps, settings.log_every, settings.grid_every, settings.checkpoint_seconds
    )


@dataclasses.dataclass(eq=False)
class Painter(Learner[State]):
    """A generator and its discriminators for the loop.

    Attributes:
      compiled_in: see :class:`Program`.
      knobs: what is traced.
      seed: uint32 scalar.
      data: on the devices.
      plan: of the fit; a grid of samples is drawn where a segmenter is validated.
      folder: of the fit.
      budget: what the grid shows beside the samples.
      watch: for a collapse.
      saved_step: of the last checkpoint; None before the first.
    """

    compiled_in: Program
    knobs: Knobs
    seed: jax.Array
    data: Data
    plan: Plan
    folder: RunFolder
    budget: Budget
    watch: CollapseWatch = dataclasses.field(default_factory=CollapseWatch)
    saved_step: int | None = None

    @property
    def program(self) -> Hashable:
        return self.compiled_in, self.data.image_NHWC.shape

    def advance(self, state: State, until: int) -> tuple[State, Mapping[str, jax.Array]]:
        return programs.chunk(
            self.compiled_in,
            self.knobs,
            self.seed,
            self.data,
            state,
            jnp.int32(until),
        )

    def check(self, line: Line) -> None:
        for name, value in line.items():
            if not np.isfinite(value):
                what = f"{name} is {value} at step {line['step']}; {self._last_checkpoint()}"
                remedy = "try a lower --train.lr_g and --train.lr_d"
                raise UserError(what, where=self.folder.path, remedy=remedy)

    def inspect(self, state: State, line: Line) -> bool:
        step = line["step"]
        warning = self.watch.see(line)
        if warning and self.watch.count == 1:
            print(f"semiseg: warning: step {step}: {warning}", file=sys.stderr)
        # a fit that ends in a collapse would be the generator of a bad set
        ends_so = bool(warning) and step == self.plan.steps
        if ends_so or self.watch.count >= PATIENCE:
            what = f"collapsed, {warning} since step {self.watch.since}; {self._last_checkpoint()}"
            remedy = "raise --train.diversity, or lower --train.lr_d"
            raise UserError(what, where=self.folder.path, remedy=remedy)
        if self.plan.validates(step):
            path = self.folder.path / SAMPLES_BY_STEP / f"step_{step:06d}.png"
            self.draw_samples(path, state)
        return not warning

    def draw_samples(self, path: Path, state: State) -> None:
        """Write a grid of samples of the average."""
        images = self.budget.labelled_images
        grid(path, self.compiled_in, state.ema, images, self.budget.labelled_masks)

    def payload(self, step: int) -> dict[str, Any]:
        self.saved_step = step
        return {}

    def restore(self, step: int, payload: Mapping[str, Any]) -> None:
        self.saved_step = step

    def _last_checkpoint(self) -> str:
        if self.saved_step is None:
            return "there was no checkpoint yet"
        return f"the last good checkpoint is step {self.saved_step}"


def _prepare_folder(folder: RunFolder, settings: Settings) -> None:
    """The fit's folder with its settings.

    Raises:
      UserError: it holds another fit or anything else, or cannot be written.
    """
    if folder.config.exists():
        _check_same_fit(folder, settings)
        return
    if folder.holds_something_else:
        remedy = "choose another --out"
        raise UserError("is not empty and holds no fit", where=folder.path, remedy=remedy)
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        folder.write_environment(environment())
        folder.write_config(setting.to_yaml(settings))
    except OSError as error:
        what = f"cannot be written ({error.strerror})"
        raise UserError(what, where=folder.path, remedy="choose another --out") from None


def _check_same_fit(folder: RunFolder, settings: Settings) -> None:
    """Refuse to go on with a fit of other settings."""
    old = config.flatten(setting.to_dict(setting.load(folder.config)))
    new = config.flatten(setting.to_dict(settings))
    for field, value in new.items():
        if field not in CHANGEABLE and old.get(field) != value:
            what = f"holds a fit with {field} = {old.get(field)}, not {value}"
            remedy = "choose another --out or delete it"
            raise UserError(what, where=folder.path, remedy=remedy)
