"""Fitting a generator on a label budget: data in, a run folder out, with a grid of samples to look
at every few hundred steps.

    G/config.yaml, env.json, metrics.jsonl, checkpoints/, grids/step_*.png, grid.png,
    weights.safetensors (the average that samples)

A loss that is not finite, or a collapse that lasts or that a fit ends in, stops it; the last good
checkpoint stays, and no weights are written.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from semiseg import devices
from semiseg.augment import centre
from semiseg.data import pools
from semiseg.errors import UserError
from semiseg.generators import gan_program as programs
from semiseg.generators import masks, teacher
from semiseg.generators import settings as setting
from semiseg.generators.gan_program import Data, Program
from semiseg.generators.paint import grid
from semiseg.generators.settings import Settings
from semiseg.train.checkpoint import Checkpoints, save_weights
from semiseg.train.log import Log, StopSignal, progress_of
from semiseg.train.loop import Interrupted

PATIENCE = 6
"""Logged lines in a row with a collapse before a fit stops."""


@dataclasses.dataclass(frozen=True, eq=False)
class Budget:
    """What a generator may see, on the host.

    Attributes:
      images: ``(N, S, S, C)`` uint8, of the whole training split; those outside the budget only if
        unlabelled images may be used.
      labels: ``(N, S, S)`` uint8, IGNORE outside the budget, with regions as classes from
        ``len(classes)`` on.
      shown: indices of the budget's pairs.
      names, subjects: of every image.
      classes: names.
    """

    images: np.ndarray
    labels: np.ndarray
    shown: np.ndarray
    names: tuple[str, ...]
    subjects: tuple[str, ...]
    classes: tuple[str, ...]
    fingerprint: str


def read_budget(settings: Settings) -> Budget:
    """The training split as the settings allow it to be seen.

    Raises:
      UserError: fewer than two labelled images, or a class that no mask of the budget has.
    """
    made, _, training = pools.pools(
        settings.data,
        settings.root,
        settings.frame,
        labels=settings.labels,
        label_subset=settings.label_subset,
    )
    size = (settings.image_size,) * 2
    images, labels = (
        np.asarray(centre(made.image_NHWC, size)),
        np.asarray(centre(made.label_NHW, size)),
    )
    shown = np.unique(np.asarray(made.labelled_N)[: int(made.labelled_count)])
    classes = training.info.classes
    check_pairs(
        labels[shown],
        classes,
        (
            f"data set {settings.data!r}, labels {settings.labels}, label subset "
            f"{settings.label_subset}"
        ),
    )
    if not settings.unlabelled:
        keep, shown = shown, np.arange(len(shown))
        images, labels = images[keep], labels[keep]
        cases = [training.cases[i] for i in keep]
    else:
        cases = list(training.cases)
    labels = labels.copy()
    labels[shown] = masks.with_regions(images[shown], labels[shown], len(classes), settings.regions)
    names, subjects = tuple(c.name for c in cases), tuple(c.subject for c in cases)
    return Budget(images, labels, shown, names, subjects, classes, training.info.fingerprint)


def check_pairs(labels: np.ndarray, classes: tuple[str, ...], where: str) -> None:
    """Refuse pairs no generator can learn from."""
    if len(labels) < 2:
        raise UserError(
            f"{where}: {len(labels)} labelled image, a generator needs at least 2 (and some 30 "
            f"to be any good); raise --labels"
        )
    missing = [name for k, name in enumerate(classes) if not (labels == k).any()]
    if missing:
        raise UserError(
            f"{where}: no mask has class {missing[0]!r}, so none could be painted; raise "
            f"--labels or choose another --label-subset"
        )


def data_of(budget: Budget, pseudo: tuple[np.ndarray, np.ndarray] | None = None) -> Data:
    """The arrays of the program; ``pseudo`` is a teacher's ``(labels (N, S, S), confidence (N,))``
    for images outside the budget.
    """
    n = len(budget.images)
    labels, weight = budget.labels, np.ones(n, np.float32)
    rest = np.setdiff1d(np.arange(n), budget.shown)
    taught = rest if pseudo is not None else rest[:0]
    if pseudo is not None:
        labels = labels.copy()
        labels[rest], weight[rest] = pseudo[0][rest], pseudo[1][rest]
    padded = lambda index: (
        jnp.asarray(np.resize(index, n).astype(np.int32)) if len(index) else jnp.zeros(n, jnp.int32)
    )
    return Data(
        jnp.asarray(budget.images), jnp.asarray(labels), padded(budget.shown), jnp.int32(len(budget.shown)), padded(taught), jnp.int32(len(taught)),
        jnp.asarray(weight),
    )  # fmt: skip


def program_of(settings: Settings, channels: int, classes: int) -> Program:
    """The static part of a fit."""
    return Program(
        settings.generator, settings.discriminator, settings.image_size, channels, classes + settings.regions - 1, settings.batch, settings.adversarial,
        settings.unconditional, settings.r1_every,
    )  # fmt: skip


def fit(
    settings: Settings,
    out: str | Path,
    *,
    progress: bool = True,
    pseudo: tuple[np.ndarray, np.ndarray] | None = None,
) -> dict[str, Any]:
    """Fit a generator, or go on with the one in ``out``; returns the last line of metrics.jsonl.

    The state after a step depends on the settings and the step alone, so a resumed fit ends
    bit-identical to one that never stopped.

    Raises:
      Interrupted: SIGTERM or Ctrl-C; the state is saved.
      UserError: pairs that cannot be learnt from, losses that are not finite, a collapse.
    """
    out = Path(out)
    budget = read_budget(settings)
    whole = (out / "weights.safetensors").exists()
    pseudo = _taught(settings, budget) if pseudo is None and not whole else pseudo
    _folder(out, settings)
    if whole:
        return json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])
    program = program_of(settings, budget.images.shape[-1], len(budget.classes))
    knobs = jax.tree.map(
        jnp.float32, dataclasses.replace(settings.train, steps=float(settings.steps))
    )
    seed = jnp.uint32(settings.seed)
    state = programs.start(program, seed)
    checkpoints = Checkpoints(out / "checkpoints")
    before = 0.0
    if checkpoints.latest() is not None:
        state, extra = checkpoints.restore(state)
        before = extra["seconds"]
    state, data = jax.device_put((state, data_of(budget, pseudo)), devices.copied(program.mesh()))
    step, good = int(state.step), checkpoints.latest()
    log, watch = Log(out / "metrics.jsonl", step), Watch()
    began = saved = time.monotonic()
    line: dict[str, Any] = {}
    pairs = budget.images[budget.shown], budget.labels[budget.shown]
    shown = progress_of(settings.steps, step, progress)
    up = lambda every: (step // every + 1) * every
    with StopSignal() as stop:
        try:
            while step < settings.steps:
                until = min(settings.steps, up(settings.log_every), up(settings.grid_every))
                state, metrics = programs.chunk(program, knobs, seed, data, state, jnp.int32(until))
                line = {
                    "step": until,
                    **{k: float(v) for k, v in metrics.items()},
                    "seconds": round(before + time.monotonic() - began, 2),
                }
                step = until
                kept = (
                    f"the last good checkpoint is step {good}"
                    if good is not None
                    else "there was no checkpoint yet"
                )
                if not all(np.isfinite(v) for v in line.values()):
                    bad = next(k for k, v in line.items() if not np.isfinite(v))
                    raise UserError(
                        f"{out}: {bad} is {line[bad]} at step {step}; {kept}; try a lower "
                        f"--train.lr_g and --train.lr_d"
                    )
                log.write(line)
                shown.update(step, line)
                warning = watch.see(line)
                if warning and watch.count == 1:
                    print(f"semiseg: warning: step {step}: {warning}", file=sys.stderr)
                if watch.count >= PATIENCE or (
                    warning and step == settings.steps
                ):  # a fit that ends so would be a bad set's generator
                    raise UserError(
                        f"{out}: collapsed, {warning} since step {watch.since}; {kept}; raise "
                        f"--train.diversity, or lower --train.lr_d"
                    )
                if step % settings.grid_every == 0 or step == settings.steps:
                    grid(out / "grids" / f"step_{step:06d}.png", program, state.ema, *pairs)
                if not warning and (
                    step == settings.steps
                    or stop.asked
                    or time.monotonic() - saved > settings.checkpoint_seconds
                ):
                    checkpoints.save(step, state, {"seconds": before + time.monotonic() - began})
                    saved, good = time.monotonic(), step
                if stop.asked:
                    raise Interrupted(
                        f"stopped at step {step} of {settings.steps}; the same command goes on "
                        f"from {out}"
                    )
        finally:
            shown.close()
            log.close()
            checkpoints.close()
    grid(out / "grid.png", program, state.ema, *pairs)
    header = {
        "settings": setting.to_dict(settings), "classes": list(budget.classes), "channels": program.channels, "fingerprint": budget.fingerprint,
        "subjects": sorted({budget.subjects[i] for i in budget.shown}), "step": step,
    }  # fmt: skip
    save_weights(
        out / "weights.safetensors", jax.device_get(state.ema), header
    )  # last: its presence says that the fit is whole
    return line


def _taught(settings: Settings, budget: Budget) -> tuple[np.ndarray, np.ndarray] | None:
    """What the teacher says of the budget's images, see :func:`semiseg.generators.teacher.masks`;
    refuses half of a request for it.
    """
    share = settings.train.pseudo
    if settings.teacher is None:
        if share > 0:
            raise UserError(
                f"train.pseudo is {share:g}, but there is no teacher: give --teacher RUN, a run "
                f"of the same budget"
            )
        return None
    if not share > 0 or not settings.unlabelled:
        raise UserError(
            f"--teacher {settings.teacher}: its masks of unlabelled images are used by "
            f"--train.pseudo, e.g. 0.25, and --unlabelled True"
        )
    return teacher.masks(settings, budget.images, budget.classes)


class Watch:
    """Looks for collapse in the logged lines."""

    def __init__(self) -> None:
        self.count, self.since = 0, 0

    def see(self, line: dict[str, Any]) -> str:
        """What is wrong with a line, "" for nothing; counts lines in a row. The first 200 steps are
        no evidence.
        """
        said = ""
        if line["diversity"] < 0.02:
            said = (
                f"two styles of one mask differ by {line['diversity']:.3f} of what two real "
                f"images do"
            )
        elif line["d_real"] - line["d_fake"] > 20:
            said = (
                f"the discriminator tells real from fake with a margin of "
                f"{line['d_real'] - line['d_fake']:.0f}"
            )
        if line["step"] <= 200:
            return ""
        self.since = line["step"] if said and not self.count else self.since
        self.count = self.count + 1 if said else 0
        return said


def _folder(out: Path, settings: Settings) -> None:
    """The fit's folder with its settings; refuses one of another fit."""
    from semiseg import config
    from semiseg.runner.versions import environment

    file = out / "config.yaml"
    if file.exists():
        old, new = config.flatten(config.load_yaml(file)), config.flatten(setting.to_dict(settings))
        field = next(
            (k for k in new if old.get(k) != new[k] and k not in ("root", "checkpoint_seconds")),
            None,
        )
        if field:
            raise UserError(
                f"{out}: holds a fit with {field} = {old.get(field)}, not {new[field]}; choose "
                f"another --out or delete it"
            )
        return
    if out.exists() and any(out.iterdir()):
        raise UserError(f"{out}: is not empty and holds no fit; choose another --out")
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "env.json").write_text(json.dumps(environment(), indent=1))
        file.write_text(setting.to_yaml(settings))
    except OSError as error:
        raise UserError(
            f"{out}: cannot be written ({error.strerror}); choose another --out"
        ) from None
